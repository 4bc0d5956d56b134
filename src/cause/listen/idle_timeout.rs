//! The server hangs up on idle clients.

use crate::cause::{Case, Cause, local_cli, redis_host};
use crate::check::config;
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

redisdoc warns where the running server's timeout is under a minute; whether it is what the application met, only the time \
between the last use and the error tells: a little more than N seconds.

Repair: 'timeout 0' (the default) and tcp-keepalive, which finds dead peers; or a pool that tests or renews idle \
connections sooner.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
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
    let set = format!("{} CONFIG SET timeout 0", local_cli(facts));
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
    fn a_short_timeout_is_likely() {
        check_cause(&CAUSE, &Facts::at_home().running_with("timeout", "12"), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::at_home(), None);
        let steps = remedy(&Facts::at_home().running_with("timeout", "12").conf("timeout 12"));
        assert!(matches!(&steps[1], Step::Edit { to, .. } if to == "timeout 0"));
    }
}
