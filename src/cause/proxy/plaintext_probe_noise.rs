//! Somebody keeps speaking plain text to the port that wants TLS.

use std::net::IpAddr;

use crate::cause::{Case, Cause, redis_host};
use crate::check::log;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::log::Kind;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "plaintext-probe-noise",
    title: "somebody keeps speaking plain text to the TLS port",
    explain: "\
The server's log fills with 'Error accepting a client connection: … wrong version number', while clients with TLS are \
served: a health check of the platform, an exporter, or a replica or node of a cluster whose own connections are plain \
(tls-replication, tls-cluster) connects without TLS, again and again.

The server's log says so, since Redis 7.2 with the address. A check of redisdoc without TLS, or of another server of the same \
machine, leaves such lines too: it takes three over half a minute from another machine, or ten of nobody knows whom.

Repair: give that probe TLS (redis-cli --tls, rediss://), or 'tls-replication yes' and 'tls-cluster yes' to the servers.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&log::PLAIN_TEXT)?;
    let who = peer(case.facts).unwrap_or_else(|| "a client".to_owned());
    let summary = format!("{who} connects without TLS again and again; clients with TLS are served");
    let known = peer(case.facts).is_some_and(|peer| peer.parse().is_ok_and(|ip: IpAddr| !case.is_own(ip)));
    let confidence = if known { Confidence::Certain } else { Confidence::Likely };
    Some(Support::new(confidence, &[&log::PLAIN_TEXT], summary).on(finding))
}

/// Who it was, at last, without its port, which changes.
fn peer(facts: &Facts) -> Option<String> {
    let log = facts.server_host().ok()?.log.seen()?;
    let peer = log::of_late(log, Kind::PlainText).last()?.peer.clone()?;
    Some(peer.rsplit_once(':').map_or(peer.as_str(), |(ip, _)| ip).to_owned())
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let who = peer(facts).map_or_else(|| "the client".to_owned(), |peer| format!("the client at {peer}"));
    let text =
        format!("find {who}: a health check, an exporter or a replica; give it TLS (rediss://, redis-cli --tls)");
    let own = "where it is a replica or a node of the cluster: 'tls-replication yes', 'tls-cluster yes' in redis.conf";
    vec![Step::tell(Where::Network, text), Step::tell(redis_host(facts), own)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::host::log::{Event, Log};

    #[test]
    fn the_log_makes_it_certain() {
        let event = |age_s| Event {
            kind: Kind::PlainText,
            peer: Some("10.0.0.5:51712".to_owned()),
            at: "2026-11-20 09:59:00".to_owned(),
            age_s,
            says: "…".to_owned(),
        };
        let logged = |ages: [u64; 3]| {
            let log = Log { path: "/var/log/redis.log".to_owned(), events: ages.map(event).into() };
            let at_home = Facts::at_home().host(|host| host.log = Observed::Seen(log));
            at_home.with(|facts| facts.ask.target.tls = true)
        };
        check_cause(&CAUSE, &logged([70, 40, 10]), Some(Confidence::Certain));
        check_cause(&CAUSE, &logged([11, 10, 10]), None);
        check_cause(&CAUSE, &Facts::at_home(), None);
    }
}
