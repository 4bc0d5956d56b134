//! Something speaks HTTP to Redis.

use crate::cause::{Case, Cause, redis_host};
use crate::check::log;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::log::Kind;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "http-client",
    title: "an HTTP client is pointed at Redis",
    explain: "\
A health check, a load balancer, a metrics collector or an application sends HTTP to the Redis port. Redis closes such a \
connection without a word (it takes POST and Host: for an attack through a browser), so that the client meets the end of \
the stream; RESP clients are served meanwhile.

Redis logs it at most once a minute, newer versions with the client's address: that makes it certain. From the client's \
side nothing tells it from a server that closes on everybody.

Repair: make the health check a TCP or a Redis one, or point the client at the right port; if nobody knows the client, \
close the port to it.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&log::HTTP)?;
    let summary = match peer(case.facts) {
        Some(peer) => format!("{peer} sends HTTP, and Redis closes the connection without a word"),
        None => "some client sends HTTP, and Redis closes the connection without a word".to_owned(),
    };
    Some(Support::new(Confidence::Certain, &[&log::HTTP], summary).on(finding))
}

/// Who it was, at last.
fn peer(facts: &Facts) -> Option<String> {
    let log = facts.server_host().ok()?.log.seen()?;
    log::of_late(log, Kind::Http).last()?.peer.clone()
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let who = peer(facts).map_or_else(|| "the client".to_owned(), |peer| format!("the client at {peer}"));
    vec![
        Step::tell(
            Where::Network,
            format!("find {who}: let its health check be of type TCP or Redis (PING), or name the right port to it"),
        ),
        Step::tell(
            redis_host(facts),
            "if nobody knows it, let only the applications' addresses through the firewall to that port",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::host::log::{Event, Log};

    #[test]
    fn the_log_makes_it_certain() {
        let event = Event {
            kind: Kind::Http,
            peer: Some("10.0.0.5:51712".to_owned()),
            at: "2026-11-20 09:59:00".to_owned(),
            age_s: 60,
            says: "…".to_owned(),
        };
        let log = Log { path: "/var/log/redis/redis-server.log".to_owned(), events: vec![event] };
        let facts = Facts::at_home().host(|host| host.log = Observed::Seen(log));
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::at_home(), None);
    }
}
