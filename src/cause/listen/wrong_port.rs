//! Redis listens on another port.

use crate::cause::{Case, Cause, redis_host};
use crate::check::tcp;
use crate::model::target::DEFAULT_PORT;
use crate::model::{Confidence, Step, Support};
use crate::probe::Facts;
use crate::probe::path::vantage::is_this_machine;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "wrong-port",
    title: "Redis may listen on another port or address",
    explain: "\
The machine answers and nothing listens on the asked port; Redis may be on another one: 6379 by default, 6380 for TLS at \
some providers, 26379 for Sentinel, or what 'port' in redis.conf or the published port of a container says.

From the client this is one candidate among others for 'Connection refused'. On the Redis host 'ss -ltnp' shows the port \
of the redis-server process.

Repair: name that port in the application's settings, or change 'port' in redis.conf.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let attempt = *case.attempts(&tcp::REFUSED).first()?;
    attempt.ip?;
    let port = case.facts.ask.target.port()?;
    let summary = if attempt.ip.is_some_and(is_this_machine) {
        "it may use another port, or listen on another address of this machine only".to_owned()
    } else if port == DEFAULT_PORT {
        "the default port was asked for; this server may use another".to_owned()
    } else {
        format!("port {port} was asked for; Redis' default is {DEFAULT_PORT}")
    };
    let settle = Step::look(
        redis_host(case.facts),
        "sudo ss -ltnp | grep -E 'redis|valkey|keydb'",
        "shows the addresses and ports that the server listens on",
    );
    Some(
        Support::new(Confidence::Possible, &[&tcp::REFUSED], summary)
            .because("connect(2)", attempt.says())
            .settled_by(settle),
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    vec![Step::tell(redis_host(facts), "name the port that the server listens on in the application's settings")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::tcp::{Attempt, Outcome};

    #[test]
    fn a_candidate_for_a_refused_port_only() {
        let attempt = |outcome| Attempt::failed([10, 0, 0, 9].into(), outcome, "ECONNREFUSED", 0.2);
        let facts = Facts::healthy().attempting(vec![attempt(Outcome::Refused)]);
        check_cause(&CAUSE, &facts, Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![attempt(Outcome::TimedOut)]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
