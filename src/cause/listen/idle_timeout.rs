//! The server hangs up on idle clients.

use crate::cause::{Case, Cause, local_cli, redis_host, repair};
use crate::check::{config, hold};
use crate::model::{Confidence, Risk, Step, Support};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "idle-timeout",
    title: "Redis hangs up on idle clients soon",
    explain: "\
'timeout N' in redis.conf closes the connection of a client that has sent nothing for N seconds. Applications keep \
connections open in a pool, often idle for minutes, and meet 'Unexpected end of stream', 'Connection closed by server' or \
a reset when they use one again. A load balancer or NAT that forgets idle connections looks the same from the client, but \
there the server's timeout is 0.

With --hold SECONDS redisdoc waits for it: an orderly end just when N seconds are over is certain where the server's \
machine shows that setting, and else a candidate, for proxies do the same. Without it, redisdoc warns where the running \
server's timeout is under a minute; whether it is what the application met, only the time \
between the last use and the error tells: a little more than N seconds.

Repair: 'timeout 0' (the default) and tcp-keepalive, which finds dead peers; or a pool that tests or renews idle \
connections sooner.",
    infer,
    remedy,
};

/// How much later than its time Redis may end a connection: it looks at every client once a second (`clientsCron`), and
/// counts whole seconds.
const LATE_S: f64 = 2.5;

fn infer(case: &Case) -> Option<Support> {
    held(case).or_else(|| configured(case))
}

/// A connection that was held came to its end in order.
fn held(case: &Case) -> Option<Support> {
    let finding = case.raised(&hold::CLOSED)?;
    let after = case.facts.hold.seen()?.closed_ms()? / 1e3;
    let known = case.facts.instance().and_then(|instance| instance.setting("timeout"));
    let seconds: Option<f64> = known.as_ref().and_then(|known| known.values.first()?.parse().ok());
    let fits = |seconds: f64| seconds > 0.0 && (seconds - 0.1..seconds + LATE_S).contains(&after);
    let summary = format!("the server, or a proxy before it, ended the connection after {after:.1} s without a word");
    let support = |confidence, summary| Support::new(confidence, &[&hold::CLOSED, &config::IDLE], summary).on(finding);
    match (seconds, known) {
        (Some(seconds), Some(known)) if fits(seconds) => {
            let summary =
                format!("Redis ends a connection after {seconds} s without a word, and did so after {after:.1} s");
            let source = case.host()?.source(known.source);
            let support = support(Confidence::Certain, summary).because(source, format!("timeout {seconds}"));
            Some(support.not("idle-cut", "it came to an orderly end, just when the server's own time was up"))
        }
        (Some(_), _) => None,
        (None, _) => Some(support(Confidence::Possible, summary).settled_by(Step::look(
            redis_host(case.facts),
            format!("{} CONFIG GET timeout", local_cli(case.facts)),
            format!("{:.0} or a little less: this is it; 0: something on the way ended it", after.floor()),
        ))),
    }
}

fn configured(case: &Case) -> Option<Support> {
    let finding = case.raised(&config::IDLE)?;
    let seconds = case.facts.instance()?.setting("timeout")?.values.into_iter().next()?;
    let summary =
        format!("a client that has said nothing for {seconds} s is cut off: pools keep idle connections longer");
    let support = Support::new(Confidence::Likely, &[&config::IDLE], summary).on(finding);
    Some(support.settled_by(Step::look(
        redis_host(case.facts),
        format!("{} CLIENT LIST", local_cli(case.facts)),
        format!("'idle=' of the application's connections: if it comes near {seconds}, this is it"),
    )))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let set = repair::config_set(facts, "timeout 0");
    let mut steps = vec![Step::run(on.clone(), Risk::Safe, "let idle clients stay, from now on", set)];
    if let Some((file, line, from)) = facts.instance().and_then(|instance| instance.from_conf("timeout")?.line) {
        let text = "and after the next start".to_owned();
        steps.push(Step::Edit { text, file, line: Some(line), from, to: "timeout 0".to_owned(), on, risk: Risk::Safe });
    } else {
        steps.push(Step::tell(
            on,
            "put 'timeout 0' where the server gets its settings from, too, or it is back with the next start",
        ));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;

    #[test]
    fn an_end_in_time_is_certain() {
        use crate::check::hold::tests::held;
        use crate::probe::path::hold::Wait;
        let closed = |ms| held(Wait::Closed(ms), None);
        check_cause(&CAUSE, &closed(12_400.0), Some(Confidence::Possible));
        let there = |ms, setting| {
            let hold = closed(ms).hold;
            Facts::at_home().running_with("timeout", setting).with(|facts| facts.hold = hold)
        };
        check_cause(&CAUSE, &there(12_400.0, "12"), Some(Confidence::Certain));
        check_cause(&CAUSE, &there(12_400.0, "0"), None);
        check_cause(&CAUSE, &there(12_400.0, "300"), None);
        check_cause(&CAUSE, &there(20_000.0, "12"), Some(Confidence::Likely));
    }

    #[test]
    fn a_short_timeout_is_likely() {
        check_cause(&CAUSE, &Facts::at_home().running_with("timeout", "12"), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::at_home(), None);
        let steps = remedy(&Facts::at_home().running_with("timeout", "12").conf("timeout 12"));
        assert!(matches!(&steps[1], Step::Edit { to, .. } if to == "timeout 0"));
    }
}
