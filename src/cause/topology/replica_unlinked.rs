//! A replica has no link to its master, and serves what it has.

use crate::cause::{Case, Cause, dialogue, local_cli};
use crate::check::state;
use crate::model::text::shell_quote;
use crate::model::{Confidence, Evidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::log::{Event, Kind};
use crate::probe::path::reply::Info;

/// How often a replica tries again at least: 'repl-timeout' is a minute.
const AGAIN_S: u64 = 90;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "replica-unlinked",
    title: "the replica has no link to its master, and serves old data or none",
    explain: "\
INFO shows role:slave and master_link_status:down, for a minute at least, and no synchronisation under way: what is written to the \
master does not arrive here. With 'replica-serve-stale-data yes', which is the default, the replica answers all the same, with what \
it had when the link broke; if it never had one, with nothing.

It is certain where the replica's log says why, of late; without that the master may be about to send its data. The log says: 'Error condition on socket for SYNC' with a \
reset or an end of file is mostly a master that wants TLS ('tls-replication yes' on the replica) or turns plain text away; \
'certificate verify failed' an authority that 'tls-ca-cert-file' of the replica lacks; 'MASTER aborted replication' or 'Unable to \
AUTH to MASTER' a password ('masterauth'); 'Connection refused' or a timeout a master that is gone or out of reach.

Repair: what the log names. Until then the replica is no copy to fail over to.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::LINK_DOWN)?;
    let to =
        master(case.facts).map_or_else(|| "its master".to_owned(), |(host, port)| format!("its master {host}:{port}"));
    let logged = logged(case.facts);
    let summary = match logged {
        Some(event) => format!("the link to {to} is down: '{}'", event.says),
        None => format!("the link to {to} is down"),
    };
    let sure = if logged.is_some() { Confidence::Certain } else { Confidence::Likely };
    let support = Support::new(sure, &[&state::LINK_DOWN], summary).on(finding);
    let support = if logged.is_some() { support } else { support.settled_by(at_the_master(case.facts)) };
    let evidence = logged.zip(case.host()).and_then(|(event, host)| {
        let path = host.log.seen()?.path.as_str();
        Some(Evidence::new(host.source(path), format!("at {}: {}", event.at, event.says)))
    });
    Some(support.with(evidence.into_iter().collect()))
}

fn info(facts: &Facts) -> Option<&Info> {
    dialogue(facts)?.info()
}

fn master(facts: &Facts) -> Option<(&str, &str)> {
    Some((info(facts)?.get("master_host")?, info(facts)?.get("master_port")?))
}

/// What the replica logged of it at last: it tries again every second, or after a timeout of a minute. What is older than
/// that, or than the outage, is another's.
fn logged(facts: &Facts) -> Option<&Event> {
    let down_s = info(facts).and_then(|info| info.number("master_link_down_since_seconds")).unwrap_or(u64::MAX);
    let events = &facts.server_host().ok()?.log.seen()?.events;
    let is_failure = |event: &Event| matches!(event.kind, Kind::Link | Kind::LinkStorm);
    let is_of_now = |event: &&Event| is_failure(event) && event.age_s <= AGAIN_S.min(down_s.saturating_add(1));
    events.iter().rev().find(is_of_now)
}

/// The master may just have other things to do before it sends its data.
fn at_the_master(facts: &Facts) -> Step {
    let (host, port) = master(facts).unwrap_or(("MASTER", "6379"));
    let tells =
        "the replica with state=wait_bgsave or send_bulk: it gets its data, wait; not listed: it does not get through";
    Step::look(Where::RedisHost, format!("redis-cli -h {} -p {port} INFO replication", shell_quote(host)), tells)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let mut steps = Vec::new();
    if logged(facts).is_none() {
        let text = "look at the last lines with MASTER or SYNC in the replica's log ('logfile' in redis.conf, or the journal of its unit): they \
                    say why the link fails";
        steps.push(Step::tell(Where::RedisHost, text));
    }
    if let Some((host, port)) = master(facts) {
        let command = format!("redisdoc check -h {} -p {port}", shell_quote(host));
        let tells = "what the replica meets on its way to the master; a port of TLS is asked with --tls";
        steps.push(Step::look(Where::RedisHost, command, tells));
    }
    let tls = format!("{} CONFIG GET tls-replication", local_cli(facts));
    steps.push(Step::look(Where::RedisHost, tls, "'no', where the master's port wants TLS: set it to 'yes'"));
    let text = "mend what the log names: 'tls-replication yes' and an authority in 'tls-ca-cert-file' that signed the master's \
                certificate, where it wants TLS; 'masteruser' and 'masterauth', where it rejects the replica; or start or reach \
                the master";
    steps.push(Step::tell(Where::RedisHost, text));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::host::log::Log;

    fn unlinked(facts: Facts) -> Facts {
        let set = [("role", "slave"), ("master_link_status", "down"), ("master_link_down_since_seconds", "900")];
        let master = [("master_host", "10.0.0.1"), ("master_port", "6379")];
        set.into_iter().chain(master).fold(facts, |facts, (name, value)| facts.info(name, value))
    }

    #[test]
    fn the_link_is_down() {
        check_cause(&CAUSE, &unlinked(Facts::healthy()), Some(Confidence::Likely));
        check_cause(&CAUSE, &unlinked(Facts::healthy()).info("master_link_status", "up"), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn the_log_says_why() {
        let says = "Error condition on socket for SYNC: Connection reset by peer".to_owned();
        let facts = |age_s| {
            let at = "2026-11-20 09:59:00".to_owned();
            let event = Event { kind: Kind::Link, peer: None, at, age_s, says: says.clone() };
            let log = Log { path: "/var/log/redis.log".to_owned(), events: vec![event] };
            unlinked(Facts::at_home()).host(|host| host.log = Observed::Seen(log))
        };
        assert!(logged(&facts(1)).unwrap().says.contains("SYNC"));
        check_cause(&CAUSE, &facts(1), Some(Confidence::Certain));
        check_cause(&CAUSE, &facts(600), Some(Confidence::Likely));
        check_cause(&CAUSE, &facts(70).info("master_link_down_since_seconds", "62"), Some(Confidence::Likely));
    }
}
