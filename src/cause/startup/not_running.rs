//! No Redis is running there.

use crate::cause::{Case, Cause, redis_host};
use crate::check::tcp;
use crate::model::{Code, Confidence, Endpoint, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::vantage::is_this_machine;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "not-running",
    title: "Redis is not running there",
    explain: "\
The machine answers, and nothing listens on the port (a TCP reset came back), or nothing stands at the path of the unix \
socket: the server is not installed, was not started, or stopped.

From another machine a server that listens on loopback only, one on another port, and a firewall that rejects with a \
reset look exactly the same. On the machine itself, over loopback, only another port or address remain.

To be sure, look on the Redis host: 'ss -ltn' shows the listeners, 'systemctl status redis-server' (Debian) or 'redis' \
(RHEL, Alpine) the service, 'docker ps -a' the containers.

Repair: start it, and see in its log why it had stopped.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    match &case.facts.ask.target.endpoint {
        Endpoint::Tcp { port, .. } => on_port(case, *port),
        Endpoint::Unix { path } => on_socket(case, path),
    }
}

fn on_port(case: &Case, port: u16) -> Option<Support> {
    let attempt = *case.attempts(&tcp::REFUSED).first()?;
    let ip = attempt.ip?;
    let in_container = case.vantage().is_some_and(|vantage| vantage.container.is_some());
    let confidence = if is_this_machine(ip) && !in_container { Confidence::Likely } else { Confidence::Possible };
    let settle = Step::look(
        redis_host(case.facts),
        format!("ss -ltn 'sport = :{port}'"),
        "no line: nothing listens on the port; a line: it does, and something else stands between",
    );
    Some(
        Support::new(confidence, &[&tcp::REFUSED], format!("nothing that we can reach listens on {}", attempt.address))
            .because("connect(2)", attempt.says())
            .settled_by(settle),
    )
}

fn on_socket(case: &Case, path: &str) -> Option<Support> {
    let codes: [(&'static Code, Confidence, &str); 2] = [
        (&tcp::REFUSED, Confidence::Likely, "the socket is there, but no process listens on it: the server has ended"),
        (&tcp::SOCKET_MISSING, Confidence::Possible, "Redis removes its socket when it stops"),
    ];
    let (code, confidence, summary) = codes.into_iter().find(|(code, ..)| case.raised(code).is_some())?;
    let attempt = *case.attempts(code).first()?;
    let tells = format!("no line: no process listens on {path}");
    Some(Support::new(confidence, &[code], summary).because("connect(2)", attempt.says()).settled_by(Step::look(
        Where::Here,
        "ss -lx",
        tells,
    )))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    vec![
        Step::look(
            on.clone(),
            "systemctl status redis-server redis valkey; docker ps -a",
            "shows the service or container, whether it runs, and how it ended",
        ),
        Step::tell(
            on,
            "start it: 'sudo systemctl start redis-server' on Debian and Ubuntu, 'sudo systemctl start redis' on RHEL and \
             Fedora, 'rc-service redis start' on Alpine, 'docker start NAME' for a container; if none is there, install it",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::tcp::{Attempt, Outcome};

    fn refused(ip: [u8; 4]) -> Facts {
        Facts::healthy().attempting(vec![Attempt::failed(ip.into(), Outcome::Refused, "ECONNREFUSED", 0.2)])
    }

    #[test]
    fn over_loopback_it_is_likely_from_afar_only_possible() {
        check_cause(&CAUSE, &refused([127, 0, 0, 1]), Some(Confidence::Likely));
        check_cause(&CAUSE, &refused([10, 0, 0, 9]), Some(Confidence::Possible));
    }

    #[test]
    fn a_socket_without_listener_is_likely_a_missing_one_possible() {
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::Refused, "ECONNREFUSED"), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::Missing, "ENOENT"), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::Denied, "EACCES"), None);
    }

    #[test]
    fn a_server_that_answers_runs() {
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
