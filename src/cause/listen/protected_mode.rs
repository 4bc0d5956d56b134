//! Protected mode turns clients of other machines away.

use crate::cause::{Case, Cause, check_again, redis_host, repair};
use crate::check::ping;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "protected-mode",
    title: "Redis is in protected mode",
    explain: "\
Redis answered -DENIED and closed. Protected mode is on by default and lets in nobody but loopback peers while \
no password is set for the default user. Since Redis 7.0 it does so whatever 'bind' says; before, only without \
any 'bind' line, so that an upgrade may switch it on. In a container no client is ever a loopback peer, not even \
the Docker host. The same server answers PONG on 127.0.0.1.

The text is Redis' own, so this is certain.

Repair: set a password (requirepass) or ACL users, and give it to the clients. 'protected-mode no' opens Redis \
to everybody who can reach the port, and is right only on a network that is closed to others.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::PROTECTED)?;
    let summary = "no password is set for the default user, and this connection does not come from loopback";
    let support = Support::new(Confidence::Certain, &[&ping::PROTECTED], summary).on(finding);
    Some(support.not("not-running", "it answers").not("password-missing", "Redis asks for no password: it has none"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let [set, keep] = repair::password_now(facts, facts.instance());
    let mut target = facts.ask.target.clone();
    target.password = true;
    let loopback = format!("redisdoc check -h 127.0.0.1 -p {}", target.port().unwrap_or_default());
    let tells = "PONG without a password: an application on this machine may use that address instead";
    let instead = (redis_host(facts) == Where::Here).then(|| Step::look(Where::Here, loopback, tells));
    let steps = vec![
        set,
        keep,
        Step::tell(Where::Here, repair::HAND_OUT),
        Step::tell(
            Where::RedisHost,
            "only on a network that nobody else can reach: 'protected-mode no' instead, which lets everybody in",
        ),
        check_again(&target),
    ];
    instead.into_iter().chain(steps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    #[test]
    fn the_text_is_certain_and_a_password_comes_first() {
        let facts = Facts::healthy().refused_with("DENIED Redis is running in protected mode because …");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
        let remedy = remedy(&facts);
        assert!(matches!(&remedy[0], Step::Run { command, .. } if command.contains("requirepass")));
        assert!(matches!(remedy.last(), Some(Step::Run { command, .. }) if command.ends_with("--askpass")));
    }
}
