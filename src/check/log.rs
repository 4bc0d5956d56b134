//! What has the server logged of clients that it cut off of late?

use super::Check;
use crate::model::{Code, Evidence, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::host::log::{Event, Kind, Log};

/// The check.
pub static CHECK: Check = Check {
    id: "log",
    asks: "on the server's own machine: what has the server logged of clients that it cut off of late?",
    level: None,
    codes: &[&HTTP, &OUTPUT_BUFFER, &PLAIN_TEXT],
    judge,
};

/// Older events are over, and no warning.
const OF_LATE_S: u64 = 10 * 60;
/// What goes on for so long is no single check.
const KEEPS_ON_S: u64 = 30;
/// How many lines have to come of nobody knows whom, or from this machine.
const MANY: usize = 10;

/// Somebody speaks HTTP to Redis.
pub static HTTP: Code = Code::warn(
    "log/http",
    Level::Reachable,
    "somebody speaks HTTP to Redis",
    "Redis logs 'Possible SECURITY ATTACK detected' when a client sends POST or Host: and closes the connection without a \
     word. Mostly it is a health check, a proxy or a metrics collector of the wrong kind; it may be an attack through a browser.",
);
/// A client read too slowly.
pub static OUTPUT_BUFFER: Code = Code::warn(
    "log/output-buffer",
    Level::Reachable,
    "a client was cut off because it read too slowly",
    "The answers that wait for a client have passed 'client-output-buffer-limit' of its class (normal, replica, pubsub), and \
     Redis closed the connection in the middle of them.",
);

/// Somebody speaks plain text to the TLS port.
pub static PLAIN_TEXT: Code = Code::warn(
    "log/plain-text",
    Level::Reachable,
    "somebody speaks plain text to the TLS port",
    "Redis logs 'wrong version number' when a client of its TLS port does not speak TLS. It keeps happening, while our own \
     connection has TLS: a health check, an exporter or a replica of the wrong kind.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let log = facts.server_host()?.log.known()?;
    let found: Vec<Finding> = [(&HTTP, Kind::Http), (&OUTPUT_BUFFER, Kind::OutputBuffer)]
        .into_iter()
        .filter_map(|(code, kind)| finding(facts, log, code, kind))
        .chain(keeps_on(facts, log).then(|| finding(facts, log, &PLAIN_TEXT, Kind::PlainText)).flatten())
        .collect();
    let summary = match found.first() {
        Some(finding) => finding.code.title.to_owned(),
        None => format!("{}: nobody was cut off of late", log.path),
    };
    Ok(Judgement::pass(summary).observing(log).finding(found))
}

fn finding(facts: &Facts, log: &Log, code: &'static Code, kind: Kind) -> Option<Finding> {
    let host = facts.server_host().ok()?;
    let of_late: Vec<&Event> = of_late(log, kind).collect();
    let last = of_late.last()?;
    let who = last.peer.as_deref().map_or_else(String::new, |peer| format!(" (client {peer})"));
    let times = if of_late.len() == 1 { "once".to_owned() } else { format!("{} times", of_late.len()) };
    let says = format!("{times} in the last 10 minutes, at last at {}: {}{who}", last.at, last.says);
    Some(Finding { code, evidence: vec![Evidence::new(host.source(&log.path), says)] })
}

/// True if somebody keeps speaking plain text while we speak TLS: three times over half a minute. A check of redisdoc without
/// TLS leaves its lines at one moment.
fn keeps_on(facts: &Facts, log: &Log) -> bool {
    let ages: Vec<u64> = of_late(log, Kind::PlainText).map(|event| event.age_s).collect();
    let span = ages.iter().max().zip(ages.iter().min()).map_or(0, |(oldest, newest)| oldest - newest);
    // Who checks this machine's servers from here, redisdoc among them, leaves such lines, too: one a check.
    let from_afar = |event: &Event| {
        event.peer.as_deref().is_some_and(|peer| !peer.starts_with("127.") && !peer.starts_with("[::1]"))
    };
    let many = if of_late(log, Kind::PlainText).all(from_afar) { 3 } else { MANY };
    facts.ask.target.tls && super::ping::is_well(facts) && ages.len() >= many && span >= KEEPS_ON_S
}

/// The events of a kind that are not over yet.
pub fn of_late(log: &Log, kind: Kind) -> impl Iterator<Item = &Event> {
    log.events.iter().filter(move |event| event.kind == kind && event.age_s <= OF_LATE_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Observed;

    fn logged(kind: Kind, age_s: u64) -> Facts {
        let (at, says) = ("2026-11-20 09:59:00".to_owned(), "…".to_owned());
        let event = Event { kind, peer: Some("10.0.0.5:51712".to_owned()), at, age_s, says };
        let path = "/var/log/redis/redis-server.log".to_owned();
        Facts::at_home().host(|host| host.log = Observed::Seen(Log { path, events: vec![event] }))
    }

    #[track_caller]
    fn check(facts: &Facts, codes: &[&str]) {
        let found = judge(facts).unwrap().findings;
        assert_eq!(found.iter().map(|finding| finding.code.id).collect::<Vec<_>>(), codes);
    }

    #[test]
    fn tells_of_those_that_were_cut_off_of_late() {
        check(&Facts::at_home(), &[]);
        check(&logged(Kind::Http, 60), &["log/http"]);
        check(&logged(Kind::OutputBuffer, 60), &["log/output-buffer"]);
        check(&logged(Kind::Http, 3_600), &[]);
        check(&logged(Kind::PlainText, 60), &[]);
        let probed = |tls| {
            logged(Kind::PlainText, 70).with(|facts| facts.ask.target.tls = tls).host(|host| {
                let Observed::Seen(log) = &mut host.log else { return };
                let again = |age_s| Event { age_s, ..log.events[0].clone() };
                log.events.extend([again(40), again(10)]);
            })
        };
        check(&probed(true), &["log/plain-text"]);
        check(&probed(false), &[]);
    }
}
