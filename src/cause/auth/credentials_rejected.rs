//! `credentials-rejected`: wrong password, unknown user, disabled user; the server does not tell which.

use super::{AS_ADMIN, from, may_be_sentinel, password_in_uri, redis_cli, sentinel_answers, user};
use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::auth::REJECTED;
use crate::check::ping::CUT_SHORT;
use crate::model::target::Part;
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Evidence, Step, Support, Target, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "credentials-rejected",
    title: "Redis rejects the user or the password",
    explain: "\
The password is wrong, the user does not exist, or the user is off. Redis answers all three with one text on purpose, so \
nobody outside can tell them apart; that the credentials as a whole are rejected is certain.

How it looks: WRONGPASS invalid username-password pair or user is disabled. Redis before 6 and some proxies: ERR invalid \
password, which can only be the password. A password without a user belongs to the user 'default': where that one is off \
and only named users exist, the right password is rejected for want of its user.

How to be sure which part: on the Redis host, ACL USERS lists the users and ACL LOG shows the user name of the attempt. \
Of a user, ACL GETUSER shows whether it is on.

How to repair: correct the part that is wrong. Look for a newline at the end of a secret's file, quotes that became part \
of the value, a password in a URI that is not percent-encoded (or is encoded and not decoded), a password that was \
rotated on one side only, a replica with a password of its own, and a Sentinel's password sent to Redis or the reverse.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&REJECTED).filter(|_| !sentinel_answers(case.facts))?;
    let target = &case.facts.ask.target;
    // A proxy that hangs up after the rejection leaves PING without an answer.
    let explained: &[&'static Code] =
        if case.raised(&CUT_SHORT).is_some() { &[&REJECTED, &CUT_SHORT] } else { &[&REJECTED] };
    let support =
        Support::new(Confidence::Certain, explained, summary(target, knows_users(&finding.evidence))).on(finding);
    Some(
        support
            .not("password-missing", "one was sent, and is what Redis rejects")
            .not("password-not-expected", "Redis compared it, and says otherwise when it has none to compare with"),
    )
}

/// True unless the text is the one that servers without users have.
fn knows_users(evidence: &[Evidence]) -> bool {
    evidence.iter().any(|evidence| evidence.says.starts_with("WRONGPASS"))
}

fn summary(target: &Target, knows_users: bool) -> String {
    match &target.user {
        _ if !knows_users => "the password is wrong: this server has one password, and no users".to_owned(),
        Some(user) => format!("user {user} is unknown or off, or its password is wrong; Redis does not say which"),
        None => "the password is wrong, or the user 'default', whose it would be, is off and a user name is needed; \
                 Redis does not say which"
            .to_owned(),
    }
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    let mut steps = vec![compare(target)];
    if password_in_uri(target) {
        steps.push(Step::tell(
            Where::Here,
            "in a URI, the characters @ : / ? # % of a password must be percent-encoded; --askpass tries it as it is",
        ));
    }
    if may_be_sentinel(facts) {
        steps.push(Step::tell(
            Where::Here,
            "26379 is the port of Sentinels: if this is one, it wants the password of Sentinel, not that of Redis",
        ));
    }
    let users = case_knows_users(facts);
    if !users {
        steps.push(Step::tell(
            redis_host(facts),
            "compare it with requirepass in redis.conf, as the running server has it",
        ));
        return steps;
    }
    if target.user.is_none() {
        steps.push(Step::tell(Where::Here, "if the password belongs to a named user, give the user too (--user)"));
    }
    let cli = redis_cli(facts);
    steps.push(Step::look(
        redis_host(facts),
        format!("{cli} ACL LOG 5"),
        format!("which user name the attempt came with ({AS_ADMIN})"),
    ));
    steps.push(Step::look(
        redis_host(facts),
        format!("{cli} ACL GETUSER {}", shell_quote(user(target))),
        "nil: there is no such user; flags with 'off': it is disabled; otherwise it is the password",
    ));
    steps
}

fn case_knows_users(facts: &Facts) -> bool {
    use crate::probe::path::reply::{Command, Reply};
    let reply = dialogue(facts).and_then(|dialogue| dialogue.reply(Command::Auth));
    reply.and_then(Reply::error).is_some_and(|error| error.text.starts_with("WRONGPASS"))
}

fn compare(target: &Target) -> Step {
    let text = format!(
        "compare the password{} with the one Redis has: no blank, quote or newline at its end, and not an old one",
        from(target, Part::Password)
    );
    Step::tell(Where::Here, text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{remedy_of, with_password, with_user};
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::reply::Command;

    const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

    #[test]
    fn is_certain_of_the_rejection_in_every_wording() {
        for text in [WRONGPASS, "WRONGPASS invalid username-password pair", "ERR invalid password"] {
            let facts =
                with_password().erring(Command::Auth, text).erring(Command::Ping, "NOAUTH Authentication required.");
            check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        }
        check_cause(&CAUSE, &with_password(), None);
    }

    #[test]
    fn looks_at_the_user_where_there_are_users() {
        let remedy = remedy_of(&with_user("my app").erring(Command::Auth, WRONGPASS), CAUSE.id, Confidence::Certain);
        assert!(remedy.contains(&"redis-cli -h 10.0.0.9 -p 6379 ACL GETUSER 'my app'".to_owned()), "{remedy:?}");
        assert!(remedy.last().unwrap().ends_with("--user 'my app' --askpass"), "{remedy:?}");
        let remedy =
            remedy_of(&with_password().erring(Command::Auth, "ERR invalid password"), CAUSE.id, Confidence::Certain);
        assert!(!remedy.iter().any(|step| step.contains("ACL")), "{remedy:?}");
    }

    #[test]
    fn remembers_that_uris_are_encoded() {
        let facts = with_password().erring(Command::Auth, WRONGPASS);
        let facts = facts.with(|f| drop(f.ask.target.given_by.insert(Part::Password, "env REDIS_URL".to_owned())));
        let remedy = remedy_of(&facts, CAUSE.id, Confidence::Certain);
        assert!(remedy.iter().any(|step| step.contains("percent-encoded")), "{remedy:?}");
    }
}
