//! Something between forgets connections that say nothing.

use crate::cause::{Case, Cause, local_cli, redis_host};
use crate::check::hold::{self, seconds};
use crate::model::{Code, Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::hold::Hold;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "idle-cut",
    title: "something on the way forgets idle connections",
    explain: "\
Load balancers, NAT gateways, stateful firewalls and proxies keep a table of connections, and drop from it what has been \
silent for too long (Azure 4 minutes, AWS' network load balancer 350 s, many firewalls an hour). What is said then is \
dropped without a word, or answered with a reset; the server knows nothing of it. Applications meet a timeout, a reset or \
'Socket closed unexpectedly' with the first command after a pause, and fresh connections are always fine.

'redisdoc check --hold SECONDS' shows it: the connection is dead after the wait, and a fresh one is answered by the same run \
of the server. Likely, not certain: an outage that was over just before the fresh connection looks the same. An orderly end \
(FIN) comes rather from the server's own 'timeout' (see idle-timeout), or from a proxy.

Repair: let the client send something before that time is up (TCP keepalive with a shorter time, a PING or health check of \
the pool), or the server: 'tcp-keepalive' of redis.conf, which keeps the tables on the way alive, too.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let codes: [(&'static Code, Confidence); 3] = [
        (&hold::SILENT, Confidence::Likely),
        (&hold::RESET, Confidence::Likely),
        (&hold::CLOSED, Confidence::Possible),
    ];
    let (code, confidence) = codes.into_iter().find(|(code, _)| case.raised(code).is_some())?;
    let hold = case.facts.hold.seen()?;
    // A way that ends in this very machine has nobody on it who could forget.
    let ip = case.facts.tcp.seen()?.connected()?.ip?;
    (!case.is_own(ip)).then_some(())?;
    let same = hold.fresh.as_ref().is_some_and(|fresh| fresh.same_run == Some(true));
    let confidence = if same { confidence } else { Confidence::Possible };
    let summary = format!("a connection that says nothing for {} s is forgotten on the way", seconds(hold));
    let support = Support::new(confidence, &[code], summary).on(case.raised(code)?);
    let support = if code.id == hold::CLOSED.id {
        support
    } else {
        support.not("idle-timeout", "the server's own 'timeout' ends a connection in order (FIN), not so")
    };
    Some(support.settled_by(look(case.facts)))
}

fn look(facts: &Facts) -> Step {
    Step::look(
        redis_host(facts),
        format!("{} CLIENT LIST", local_cli(facts)),
        "connections of the client with a large 'idle=' that it has long given up: the server was never told of their end",
    )
}

/// How often something must be said: twice in the time that is too long, at the least.
fn often(hold: &Hold) -> u64 {
    (hold.asked_ms / 2_000).clamp(1, 300)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let often = facts.hold.seen().map_or(60, often);
    if facts.hold.seen().is_some_and(|hold| hold.closed_ms().is_some()) {
        return ended_in_order(often);
    }
    let set = format!("{} CONFIG SET tcp-keepalive {often}", local_cli(facts));
    let text = format!("let the server ask every idle client each {often} s, from the next connection on");
    let mut steps = vec![
        Step::tell(
            Where::Here,
            format!(
                "let the application say something at least every {often} s: TCP keepalive in the client's settings, or the \
                 pool's health check (PING); and give it a timeout, so that a dead connection does not hold it for minutes"
            ),
        ),
        Step::run(on.clone(), Risk::Safe, text, set),
    ];
    let to = format!("tcp-keepalive {often}");
    if let Some((file, line, from)) = facts.instance().and_then(|instance| instance.from_conf("tcp-keepalive")?.line) {
        let text = "and after the next start".to_owned();
        steps.push(Step::Edit { text, file, line: Some(line), from, to, on, risk: Risk::Safe });
    } else {
        steps.push(Step::tell(on, format!("put '{to}' into redis.conf, too, or it is gone with the next start")));
    }
    steps
        .push(Step::tell(Where::Network, "or raise the idle timeout of the load balancer, NAT or firewall on the way"));
    steps
}

/// Whoever ends connections in order counts what is said over them, and keepalives are not said.
fn ended_in_order(often: u64) -> Vec<Step> {
    vec![
        Step::tell(
            Where::Here,
            format!(
                "let the application say something at least every {often} s: the pool's health check (PING), or an idle limit \
                 of the pool that is shorter; TCP keepalive does not count"
            ),
        ),
        Step::tell(Where::Network, "or raise the idle timeout of the proxy or load balancer on the way"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::check::hold::tests::{freshly, held, met};
    use crate::probe::path::hold::Wait;
    use crate::probe::path::redis::End;

    #[test]
    fn what_goes_dead_or_is_reset_was_likely_forgotten() {
        let reset = || End::Broken("ECONNRESET".to_owned());
        check_cause(&CAUSE, &held(Wait::Quiet, met(End::Silent)), Some(Confidence::Likely));
        check_cause(&CAUSE, &held(Wait::Quiet, met(reset())), Some(Confidence::Likely));
        check_cause(&CAUSE, &freshly(held(Wait::Quiet, met(reset())), true, None), Some(Confidence::Possible));
        check_cause(&CAUSE, &held(Wait::Closed(12_300.0), None), Some(Confidence::Possible));
    }

    #[test]
    fn what_stands_or_ended_with_its_server_was_not() {
        check_cause(&CAUSE, &held(Wait::Quiet, met(End::Answered)), None);
        check_cause(&CAUSE, &freshly(held(Wait::Closed(9.0), None), true, Some(false)), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn against_an_end_in_order_keepalives_do_not_help() {
        let steps = remedy(&held(Wait::Closed(12_300.0), None));
        assert!(!steps.iter().any(|step| matches!(step, Step::Run { .. } | Step::Edit { .. })), "{steps:?}");
    }

    #[test]
    fn something_is_said_twice_in_that_time() {
        let facts = held(Wait::Quiet, met(End::Silent));
        let set = |step: &Step| matches!(step, Step::Run { command, .. } if command.ends_with("tcp-keepalive 30"));
        assert!(remedy(&facts).iter().any(set));
    }
}
