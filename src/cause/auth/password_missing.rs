//! `password-missing`: the server wants a password, and none was sent.

use super::{may_be_sentinel, redis_cli};
use crate::cause::{Case, Cause, check_again, dialogue, redis_host};
use crate::check::auth::REQUIRED;
use crate::model::{Confidence, Step, Support, Target, Where};
use crate::probe::Facts;
use crate::probe::path::reply::{Command, Reply};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "password-missing",
    title: "Redis wants a password, and none was sent",
    explain: "\
The server requires authentication (`requirepass`, or an ACL without a `nopass` default user), and the client sent no \
AUTH before its first command.

How it looks: NOAUTH Authentication required. To HELLO: NOAUTH HELLO must be called with the client already \
authenticated. Redis before 2.8: ERR operation not permitted. The network, the port and the protocol are proven good by \
this reply.

How to be sure: it is sure, unless PING is answered all the same: then a proxy may stand before Redis that is not logged in to \
it (twemproxy without redis_auth), and a password that the client gives does not help. What cannot be seen from outside is which user is meant: the password alone means the user \
'default', and where that user is off a user name is needed as well.

How to repair: give the client the password it lacks. A variable that is not set where the application runs is the usual \
reason: compare the settings the process really has (env in its container, its unit file) with those you expect. A user \
without a password is not sent by redis-cli, nor by redisdoc. Removing the password from the server is no repair.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&REQUIRED)?;
    let target = &case.facts.ask.target;
    let summary = match &target.user {
        Some(user) => format!("Redis requires authentication, and user {user} was given without a password"),
        None => "Redis requires authentication, and no password was sent".to_owned(),
    };
    let sure = if pongs(case.facts) { Confidence::Likely } else { Confidence::Certain };
    let mut support = Support::new(sure, &[&REQUIRED], summary).on(finding);
    if pongs(case.facts) {
        let tells =
            "nutcracker or another proxy: it may be that, which lacks the password; redis-server: it is something else";
        let port = target.port().unwrap_or_default();
        support = support.because("redis replied", "PONG to PING, without a password: a proxy's own answer");
        support =
            support.settled_by(Step::look(redis_host(case.facts), format!("sudo ss -ltnp 'sport = :{port}'"), tells));
    }
    if !target.searched.is_empty() {
        let says = format!("no password was found there: {}", target.searched.join(", "));
        support = support.because("the settings", says);
    }
    Some(
        support
            .not("credentials-rejected", "none were sent")
            .not("protected-mode", "Redis answered NOAUTH, and in protected mode it hangs up with DENIED"),
    )
}

/// True if PING was answered without the password, as no Redis does that wants one.
fn pongs(facts: &Facts) -> bool {
    matches!(dialogue(facts).and_then(|dialogue| dialogue.reply(Command::Ping)), Some(Reply::Status(_)))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = Target { password: true, ..facts.ask.target.clone() };
    let mut steps = Vec::new();
    if may_be_sentinel(facts) {
        steps.push(Step::tell(
            Where::Here,
            "26379 is the port of Sentinels: if this is one, it wants the password of Sentinel (requirepass in \
             sentinel.conf), not that of Redis",
        ));
    }
    steps.push(Step::tell(
        Where::Here,
        "give the application the password, by the environment or a file rather than in its arguments; with an ACL user, \
         the user too",
    ));
    if pongs(facts) {
        let text = "a proxy that answers PING by itself has to have the password, too (twemproxy: redis_auth in nutcracker.yml)";
        steps.push(Step::tell(redis_host(facts), text));
    }
    steps.push(Step::look(
        redis_host(facts),
        format!("{} ACL WHOAMI", redis_cli(facts)),
        "NOAUTH there too: the password is required from everywhere, and is that of requirepass or of a line 'user' in \
         redis.conf or its aclfile",
    ));
    steps.push(check_again(&target));
    steps
}

#[cfg(test)]
mod tests {
    use super::super::tests::remedy_of;
    use super::*;
    use crate::cause::tests::check_cause;

    const NOAUTH: &str = "NOAUTH Authentication required.";

    fn without() -> Facts {
        [Command::Ping, Command::Hello, Command::Info].into_iter().fold(Facts::healthy(), |f, c| f.erring(c, NOAUTH))
    }

    #[test]
    fn is_certain_when_none_was_sent() {
        check_cause(&CAUSE, &without(), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
        // PING is answered by somebody else.
        check_cause(&CAUSE, &Facts::healthy().erring(Command::Info, NOAUTH), Some(Confidence::Likely));
        check_cause(&CAUSE, &without().erring(Command::Auth, "WRONGPASS invalid username-password pair"), None);
    }

    #[test]
    fn verifies_with_a_password() {
        let remedy = remedy_of(&without(), "password-missing", Confidence::Certain);
        assert_eq!(remedy.last().unwrap(), "redisdoc check -h db -p 6379 --askpass");
    }
}
