//! `acl-unsupported`: a user was sent to a server that knows no users.

use super::{from, sentinel_answers};
use crate::cause::{Case, Cause, check_again, dialogue, redis_host};
use crate::check::auth::{USER_UNSUPPORTED, serves_anybody, took_password_alone};
use crate::check::ping::{CUT_SHORT, product};
use crate::model::target::Part;
use crate::model::{Code, Confidence, Step, Support, Target, Where};
use crate::probe::Facts;
use crate::probe::path::reply::{Command, ErrorKind, Reply};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "acl-unsupported",
    title: "a user was sent, but this server knows no users",
    explain: "\
AUTH with a user and a password exists since Redis 6. Older servers, and proxies that imitate them, take the password \
alone and reject the pair as a wrong number of arguments. Sentinel takes a user since 6.2.

How it looks: ERR wrong number of arguments for 'auth' command. Typical: a URI like redis://user:password@host, where any \
word before the colon is taken for a user by newer client libraries and was ignored by older ones.

How to be sure: HELLO is an unknown command too, or INFO shows a redis_version below 6.

How to repair: leave the user out (redis://:password@host), or upgrade the server.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&USER_UNSUPPORTED).filter(|_| !sentinel_answers(case.facts))?;
    let dialogue = dialogue(case.facts)?;
    let target = &case.facts.ask.target;
    let explained: &[&'static Code] =
        if case.raised(&CUT_SHORT).is_some() { &[&USER_UNSUPPORTED, &CUT_SHORT] } else { &[&USER_UNSUPPORTED] };
    let hello = dialogue.reply(Command::Hello).and_then(Reply::error);
    let no_hello = hello.filter(|error| error.kind == ErrorKind::UnknownCommand);
    // A Sentinel of 6.0 that wants a password answers the same and does not say what it is.
    let confidence = if no_hello.is_some() { Confidence::Certain } else { Confidence::Likely };
    let summary = format!(
        "user {}{} was sent, and what answers takes a password only",
        target.user.as_deref().unwrap_or("default"),
        from(target, Part::User)
    );
    let mut support = Support::new(confidence, explained, summary).on(finding);
    if let Some(error) = no_hello {
        support = support.because("redis replied", format!("to HELLO, which came with users: {}", error.text));
    }
    if took_password_alone(dialogue) {
        support = support.because("redis replied", "OK to AUTH with the password alone");
    }
    if let Some(product) = product(dialogue) {
        support = support.because("INFO", product);
    }
    let support = support.not("credentials-rejected", "they were never compared");
    Some(match confidence {
        Confidence::Certain => support,
        _ => support.settled_by(Step::look(
            redis_host(case.facts),
            "redis-server --version",
            "below 6: there are no users; otherwise it is a Sentinel before 6.2, or a proxy stands before Redis",
        )),
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    let open = dialogue(facts).is_some_and(serves_anybody);
    let text = format!("leave the user{} out and send the password alone", from(target, Part::User));
    let more = if open { "; as it answers PING without any, it may want no password either" } else { "" };
    vec![
        Step::tell(Where::Here, format!("{text}{more}")),
        Step::tell(redis_host(facts), "or upgrade to Redis 6 or later, if users are wanted"),
        check_again(&Target { user: None, password: target.password && !open, ..target.clone() }),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{remedy_of, with_user};
    use super::*;
    use crate::cause::tests::check_cause;

    fn old() -> Facts {
        with_user("app")
            .erring(Command::Auth, "ERR wrong number of arguments for 'auth' command")
            .erring(Command::Hello, "ERR unknown command `HELLO`,")
    }

    #[test]
    fn is_certain_without_hello() {
        check_cause(&CAUSE, &old(), Some(Confidence::Certain));
        let wanting = old().erring(Command::Hello, "NOAUTH HELLO must be called with the client already authenticated");
        check_cause(&CAUSE, &wanting, Some(Confidence::Likely));
        check_cause(&CAUSE, &with_user("app"), None);
    }

    #[test]
    fn verifies_without_the_user() {
        let remedy =
            remedy_of(&old().erring(Command::Ping, "NOAUTH Authentication required."), CAUSE.id, Confidence::Certain);
        assert_eq!(remedy.last().unwrap(), "redisdoc check -h db -p 6379 --askpass");
        let remedy = remedy_of(&old(), CAUSE.id, Confidence::Certain);
        assert_eq!(remedy.last().unwrap(), "redisdoc check -h db -p 6379");
    }
}
