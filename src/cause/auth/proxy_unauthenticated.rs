//! `proxy-unauthenticated`: a proxy answers AUTH by itself, and is not logged in to the Redis behind it.

use crate::cause::{Case, Cause, redis_host};
use crate::check::auth::STILL_REQUIRED;
use crate::model::{Confidence, Step, Support};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "proxy-unauthenticated",
    title: "a proxy is not logged in to the Redis behind it",
    explain: "\
A proxy stands before Redis and answers AUTH by itself: with OK, or that it has no password. The Redis behind it has one, \
which the proxy does not give, and so commands are answered with NOAUTH, whatever the client sends.

How it looks: ERR Client sent AUTH, but no password is set (twemproxy without redis_auth), or OK, and then NOAUTH \
Authentication required to the next command that the proxy passes on. No Redis says both.

How to be sure: on the proxy's machine, its configuration has no password for the Redis behind it, or another than Redis has.

How to repair: give the proxy the password: redis_auth in nutcracker.yml, or what it is called in your proxy. With twemproxy \
the clients send the same one from then on.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&STILL_REQUIRED)?;
    let summary =
        "what answers AUTH has no need of the password, and what is behind it wants one: a proxy is not logged in";
    let support = Support::new(Confidence::Likely, &[&STILL_REQUIRED], summary).on(finding);
    let port = case.facts.ask.target.port().unwrap_or_default();
    let tells = "nutcracker, envoy, predixy …: a proxy, and its configuration tells which password it gives; redis-server: it \
                 is something else";
    let look = Step::look(redis_host(case.facts), format!("sudo ss -ltnp 'sport = :{port}'"), tells);
    Some(support.not("password-not-expected", "a password is wanted").settled_by(look))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    vec![Step::tell(
        redis_host(facts),
        "give the proxy the password of the Redis behind it (twemproxy: redis_auth in nutcracker.yml), and start it again",
    )]
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_password;
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::reply::Command;

    #[test]
    fn a_password_that_is_not_set_and_wanted_is_a_proxys() {
        let sent = || with_password().erring(Command::Auth, "ERR Client sent AUTH, but no password is set");
        let noauth = "NOAUTH Authentication required.";
        check_cause(&CAUSE, &sent().erring(Command::Exists, noauth), Some(Confidence::Likely));
        check_cause(&CAUSE, &sent().erring(Command::Info, noauth), Some(Confidence::Likely));
        check_cause(&CAUSE, &with_password().erring(Command::Info, noauth), Some(Confidence::Likely));
        check_cause(&CAUSE, &sent(), None);
    }
}
