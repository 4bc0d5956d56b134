//! `sentinel-credentials`: the credentials of Redis were sent to a Sentinel.

use super::{from, redis_cli, sentinel_answers};
use crate::cause::{Case, Cause, check_again};
use crate::check::auth::{NOT_EXPECTED, REJECTED, USER_UNSUPPORTED};
use crate::model::target::Part;
use crate::model::{Code, Confidence, Finding, Step, Support, Target, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "sentinel-credentials",
    title: "the credentials of Redis were sent to a Sentinel",
    explain: "\
Sentinel has credentials of its own, mostly none, and they have nothing to do with those of the Redis it watches. Client \
libraries keep the two apart (redis-py: sentinel_kwargs and password; ioredis: sentinelPassword and password; go-redis: \
SentinelPassword and Password), and are easily given the one for the other.

How it looks: from the Sentinel, ERR AUTH <password> called without any password configured; WRONGPASS for a named user; \
from a Sentinel before 6.2 a wrong number of arguments when a user is sent. In the library: No master found.

How to be sure: HELLO or INFO says mode sentinel. A Sentinel that requires a password says nothing of itself before it \
has got it, so then only the port (26379) is a hint. Ask the Sentinel and the Redis separately, each with its own \
credentials.

How to repair: give the client the Sentinel's credentials apart from those of Redis. If the Sentinel was not meant at \
all, ask it for the address of the master. The Sentinel itself logs in to Redis with sentinel auth-pass and auth-user.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = trouble(case).filter(|_| sentinel_answers(case.facts))?;
    let target = &case.facts.ask.target;
    let what = if target.user.is_some() { "the user and password" } else { "the password" };
    let summary = format!(
        "{what} sent{} are not for this server: it is a Sentinel, which needs none",
        from(target, Part::Password)
    );
    // That it is a Sentinel is proven; whether one was meant is for the user to say.
    let codes: &[&'static Code] = &[finding.code];
    let support = Support::new(Confidence::Likely, codes, summary).on(finding);
    Some(
        support
            .because("HELLO or INFO", "mode: sentinel")
            .not("password-not-expected", "it is no data server, whose password would be missing here")
            .settled_by(Step::look(
                Where::Here,
                format!("{} SENTINEL MASTERS", redis_cli(case.facts)),
                "the masters this Sentinel watches: if the application names one of them, a Sentinel is what it means",
            )),
    )
}

/// What went wrong at a Sentinel that shows itself: one that wants a password does not.
fn trouble<'a>(case: &'a Case) -> Option<&'a Finding> {
    [&NOT_EXPECTED, &REJECTED, &USER_UNSUPPORTED].into_iter().find_map(|code| case.raised(code))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    vec![
        Step::tell(
            Where::Here,
            "configure the Sentinel without a password, apart from that of Redis (redis-py: sentinel_kwargs, ioredis: \
             sentinelPassword, go-redis: SentinelPassword)",
        ),
        Step::look(
            Where::Here,
            format!("{} SENTINEL MASTERS", redis_cli(facts)),
            "the masters with address and port: if data is wanted, that is where to connect with the password",
        ),
        check_again(&Target { password: false, user: None, ..target.clone() }),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{with_password, with_user};
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::probe::path::reply::{Command, Hello, Reply};

    fn sentinel(facts: Facts) -> Facts {
        let hello = Hello {
            server: "redis".to_owned(),
            version: "7.0.15".to_owned(),
            proto: 2,
            mode: "sentinel".to_owned(),
            role: String::new(),
        };
        facts.replying(Command::Hello, Reply::Hello(hello)).info("redis_mode", "sentinel")
    }

    #[test]
    fn explains_every_rejection_by_a_proven_sentinel() {
        let not_set = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
        for (made, text) in [
            (with_password as fn() -> Facts, not_set),
            (|| with_user("app"), "WRONGPASS invalid username-password pair or user is disabled."),
            (|| with_user("app"), "ERR wrong number of arguments for 'auth' command"),
        ] {
            let facts = sentinel(made().erring(Command::Auth, text));
            check_cause(&CAUSE, &facts, Some(Confidence::Likely));
            let others = ["password-not-expected", "credentials-rejected", "acl-unsupported"];
            let wrong = diagnose(&facts).causes.into_iter().find(|cause| others.contains(&cause.id));
            assert!(wrong.is_none(), "{text}: {:?}", wrong.map(|cause| cause.id));
        }
        check_cause(&CAUSE, &sentinel(Facts::healthy()), None);
        check_cause(&CAUSE, &with_password().erring(Command::Auth, not_set), None);
    }
}
