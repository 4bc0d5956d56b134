//! Causes of the family auth, and the words they share.

mod acl_denies_command;
mod acl_denies_key;
mod acl_unsupported;
mod credentials_rejected;
mod open_default_user;
mod password_missing;
mod password_not_expected;
mod proxy_unauthenticated;
mod sentinel_credentials;

use std::net::SocketAddr;

use super::{Cause, dialogue, redis_host};
use crate::check::auth::is_sentinel;
use crate::model::target::Part;
use crate::model::{Endpoint, Step, Target};
use crate::probe::Facts;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &sentinel_credentials::CAUSE,
    &acl_unsupported::CAUSE,
    &proxy_unauthenticated::CAUSE,
    &password_not_expected::CAUSE,
    &password_missing::CAUSE,
    &credentials_rejected::CAUSE,
    &acl_denies_command::CAUSE,
    &acl_denies_key::CAUSE,
    &open_default_user::CAUSE,
];

/// True if HELLO or INFO proves that a Sentinel answers.
fn sentinel_answers(facts: &Facts) -> bool {
    dialogue(facts).is_some_and(is_sentinel)
}

/// True if nothing but the port says that it may be a Sentinel: one that asks for a password tells nothing before.
fn may_be_sentinel(facts: &Facts) -> bool {
    facts.ask.target.port() == Some(crate::cause::repair::SENTINEL_PORT)
}

/// Where a part of the target came from, as a remark: ` (from env REDIS_URL)`; empty where nobody gave it.
pub(super) fn from(target: &Target, part: Part) -> String {
    match target.given_by.get(&part).map(String::as_str) {
        None | Some("default") => String::new(),
        Some("flag") => " (from the command line)".to_owned(),
        Some("uri") => " (from the URI)".to_owned(),
        Some(by) => format!(" (from {by})"),
    }
}

/// True if the password was read from a URI, where it must be percent-encoded.
fn password_in_uri(target: &Target) -> bool {
    target.given_by.get(&Part::Password).is_some_and(|by| {
        let by = by.to_ascii_lowercase();
        by.contains("uri") || by.contains("url")
    })
}

/// The user that commands run as.
fn user(target: &Target) -> &str {
    target.user.as_deref().filter(|_| target.password).unwrap_or("default")
}

/// The redis-cli command that reaches the very server that answered, as nobody in particular. By address: the server's
/// own host may not know the name.
fn redis_cli(facts: &Facts) -> String {
    let target = &facts.ask.target;
    let address = dialogue(facts).and_then(|dialogue| dialogue.address.parse::<SocketAddr>().ok());
    // A certificate is made out to the name.
    let endpoint = match address.filter(|_| !target.tls) {
        Some(address) => Endpoint::Tcp { host: address.ip().to_string(), port: address.port() },
        None => target.endpoint.clone(),
    };
    format!("redis-cli {}", Target { endpoint, user: None, db: 0, ..target.clone() }.flags())
}

/// Says how an administrator's redis-cli logs in without a password in its arguments.
const AS_ADMIN: &str =
    "as an administrator: if the default user has a password, put it into the environment variable REDISCLI_AUTH first";

/// An ACL rule set at run time is gone after a restart.
fn keep_acl(facts: &Facts) -> Step {
    Step::tell(
        redis_host(facts),
        "to keep it beyond a restart: ACL SAVE where the server has an aclfile (CONFIG GET aclfile tells), otherwise \
         CONFIG REWRITE",
    )
}

#[cfg(test)]
pub(super) mod tests {
    //! What the tables of these causes share.

    use super::*;
    use crate::cause::tests::diagnose;
    use crate::model::Confidence;
    use crate::probe::path::reply::{Command, Reply};

    /// Healthy facts with a password, accepted.
    pub fn with_password() -> Facts {
        Facts::healthy()
            .with(|facts| facts.ask.target.password = true)
            .replying(Command::Auth, Reply::Status("OK".to_owned()))
    }

    /// The same with a user.
    pub fn with_user(user: &str) -> Facts {
        with_password().with(|facts| facts.ask.target.user = Some(user.to_owned()))
    }

    /// The texts and commands of the first cause's remedy, which is asserted to be `id`.
    #[track_caller]
    pub fn remedy_of(facts: &Facts, id: &str, confidence: Confidence) -> Vec<String> {
        let diagnosis = diagnose(facts);
        let first = diagnosis.causes.first().map(|cause| (cause.id, cause.support.confidence));
        assert_eq!(first, Some((id, confidence)));
        assert!(diagnosis.unexplained.is_empty(), "unexplained: {:?}", diagnosis.unexplained);
        diagnosis.causes[0].remedy.iter().map(words).collect()
    }

    fn words(step: &Step) -> String {
        match step {
            Step::Look { command, .. } | Step::Run { command, .. } => command.clone(),
            Step::Edit { to, .. } => to.clone(),
            Step::Tell { text, .. } => text.clone(),
        }
    }

    #[test]
    fn redis_cli_reaches_the_server_that_answered() {
        let facts = with_user("app").with(|facts| facts.ask.target.db = 3);
        assert_eq!(redis_cli(&facts), "redis-cli -h 10.0.0.9 -p 6379");
        let facts = facts.with(|facts| facts.ask.target.tls = true);
        assert_eq!(redis_cli(&facts), "redis-cli -h db -p 6379 --tls");
        let socket = Endpoint::Unix { path: "/run/my redis.sock".to_owned() };
        let facts = Facts::healthy().with(|facts| facts.ask.target.endpoint = socket);
        let facts = facts.with(|facts| {
            let crate::model::Observed::Seen(redis) = &mut facts.redis else { unreachable!("healthy facts") };
            redis.dialogues[0].address = "/run/my redis.sock".to_owned();
        });
        assert_eq!(redis_cli(&facts), "redis-cli -s '/run/my redis.sock'");
    }
}
