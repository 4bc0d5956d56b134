//! Do the packet filters of the server's machine, and of this one, let the connection through?
//!
//! They are judged only where an attempt failed: a connection that is accepted beats any reading of rules. A finding is
//! raised only for what surely stops the packets of an attempt in the way that it met.

use std::net::IpAddr;

use super::Check;
use crate::model::{BlockerKind, Code, Evidence, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::firewall::passage::{Fate, Passage};
use crate::probe::host::firewall::rules::Rejection;
use crate::probe::host::firewall::walk::{How, Stop};
use crate::probe::path::tcp::{Attempt, Outcome};

/// The check.
pub static CHECK: Check = Check {
    id: "firewall",
    asks: "do the packet filters of the server's machine, and of this one, let this client reach the port?",
    level: None,
    codes: &[&STOPPED, &ANSWER_STOPPED, &STOPPED_HERE],
    judge,
};

/// The server's filter stops the SYN.
pub static STOPPED: Code = Code::fail(
    "firewall/stopped",
    Level::Reachable,
    "the server's packet filter stops the connection",
    "The rules of the packet filter on the server's machine (nftables, iptables) drop or reject the first packet of this \
     client's connection, in the very way that the connection failed.",
);
/// It stops the answer.
pub static ANSWER_STOPPED: Code = Code::fail(
    "firewall/answer-stopped",
    Level::Reachable,
    "the server's packet filter stops the answer",
    "The rules of the packet filter on the server's machine let the client's packets in, and drop or reject the server's \
     answers to them (hook output or postrouting).",
);
/// Our own filter stops the SYN, or the answer.
pub static STOPPED_HERE: Code = Code::fail(
    "firewall/stopped-here",
    Level::Reachable,
    "the packet filter of this machine stops the connection",
    "The rules of the packet filter on the machine we look from drop or reject what it sends to the target, or the \
     target's answers.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    // What was not tried was stopped by nothing, and needs no line of its own.
    let tcp = facts.tcp.seen().ok_or_else(|| Gap::skipped("no connection was tried"))?;
    if tcp.connected().is_some() {
        return Err(Gap::skipped("the connection is accepted: nothing is in its way"));
    }
    let failed = tcp.attempts.as_slice();
    let Some((first, ip)) = failed.iter().find_map(|attempt| Some((attempt, attempt.ip?))) else {
        return Err(Gap::skipped("the target is a unix socket"));
    };
    let findings: Vec<Finding> = failed.iter().filter_map(|attempt| finding(facts, attempt)).collect();
    if let Some(summary) = findings.first().and_then(|_| failed.iter().find_map(|attempt| stopped(facts, attempt))) {
        return Ok(Judgement::pass(summary).finding(merged(findings)));
    }
    let (theirs, ours) = (facts.arrival(ip), facts.departure(ip));
    match (said(theirs, first), said(ours, first)) {
        (Ok(theirs), Ok(ours)) => Ok(Judgement::pass(format!("{theirs}; {ours}"))),
        (Ok(says), Err(Gap::Skipped(_))) | (Err(Gap::Skipped(_)), Ok(says)) => Ok(Judgement::pass(says)),
        // The server's side is the one that most often tells.
        (Err(hidden @ Gap::Hidden(_)), _) | (_, Err(hidden @ Gap::Hidden(_))) => Err(hidden),
        (Err(skipped), Err(_)) => Err(skipped),
    }
}

/// One finding a code, with the evidence of all attempts.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        match merged.iter_mut().find(|known| known.code.id == finding.code.id) {
            Some(known) => known.evidence.extend(finding.evidence),
            None => merged.push(finding),
        }
    }
    merged
}

/// What surely stopped this attempt.
fn finding(facts: &Facts, attempt: &Attempt) -> Option<Finding> {
    let ip = attempt.ip?;
    let (theirs, ours) = (facts.arrival(ip).ok(), facts.departure(ip).ok());
    let there = theirs.as_ref().and_then(|passage| Some((passage, &STOPPED, culprit(&passage.there, attempt)?)));
    let back = || theirs.as_ref().and_then(|it| Some((it, &ANSWER_STOPPED, culprit(it.back.as_ref()?, attempt)?)));
    let here = || ours.as_ref().and_then(|it| Some((it, &STOPPED_HERE, culprit_here(it, attempt)?)));
    // What never leaves is not stopped elsewhere.
    let (passage, code, stop) = here().or(there).or_else(back)?;
    Some(Finding { code, evidence: vec![evidence(passage.host, stop)] })
}

/// The stop that surely explains how the attempt ended.
fn culprit<'a>(fate: &'a Fate, attempt: &Attempt) -> Option<&'a Stop> {
    fate.stopped().filter(|(stop, sure)| *sure && explains(stop.how, attempt)).map(|(stop, _)| stop)
}

/// The same of our own filter, there and back.
fn culprit_here<'a>(passage: &'a Passage, attempt: &Attempt) -> Option<&'a Stop> {
    culprit(&passage.there, attempt).or_else(|| culprit(passage.back.as_ref()?, attempt))
}

/// A rule as evidence.
pub fn evidence(host: Option<&Host>, stop: &Stop) -> Evidence {
    let source = stop.at.source.list().to_owned();
    let source = match host {
        Some(host) => host.source(source),
        None => format!("{source} here"),
    };
    Evidence::new(source, stop.at.says())
}

/// True if an attempt that is stopped so ends as this one did.
pub fn explains(how: How, attempt: &Attempt) -> bool {
    match how {
        How::Dropped => attempt.outcome == Outcome::TimedOut,
        How::Rejected(Rejection::Reset) => attempt.outcome == Outcome::Refused && attempt.icmp.is_none(),
        // `icmpx` has a code for each family, so that only the type is compared.
        How::Rejected(Rejection::Icmp(_)) => {
            attempt.icmp.is_some_and(|icmp| icmp.kind == if icmp.from.is_ipv4() { 3 } else { 1 })
        }
    }
}

/// What becomes of a packet that is stopped so.
pub fn verb(how: How) -> &'static str {
    match how {
        How::Dropped => "drops",
        How::Rejected(_) => "rejects",
    }
}

fn stopped(facts: &Facts, attempt: &Attempt) -> Option<String> {
    let ip = attempt.ip?;
    let theirs = facts.arrival(ip).ok();
    if let Some(stop) = facts.departure(ip).ok().and_then(|ours| culprit_here(&ours, attempt).cloned()) {
        return Some(format!(
            "this machine {} what it sends to {}: {}",
            verb(stop.how),
            attempt.address,
            stop.at.name()
        ));
    }
    let theirs = theirs?;
    if let Some(stop) = culprit(&theirs.there, attempt) {
        return Some(format!(
            "{} {} to port {}: {}",
            verb(stop.how),
            client(&theirs),
            theirs.to.port(),
            stop.at.name()
        ));
    }
    let stop = culprit(theirs.back.as_ref()?, attempt)?;
    Some(format!("{} the answers to {}: {}", verb(stop.how), client(&theirs), stop.at.name()))
}

fn client(passage: &Passage) -> String {
    passage.client.map_or_else(|| "this client".to_owned(), |ip: IpAddr| ip.to_string())
}

/// What can be said of a way on which nothing surely stopped this attempt.
fn said(passage: Result<Passage<'_>, Gap>, attempt: &Attempt) -> Result<String, Gap> {
    let passage = passage?;
    let open = passage.there.open.first().or_else(|| passage.back.as_ref()?.open.first());
    let whose = if passage.host.is_some() { "the server" } else { "this machine" };
    if let Some(open) = open {
        return Err(Gap::hidden(
            BlockerKind::Failed,
            format!("whether the packet filter of {whose} lets it through: {open}"),
        ));
    }
    let stop = passage.there.stopped().or_else(|| passage.back.as_ref()?.stopped());
    if let (None, Some((to, place))) = (stop, passage.moved()) {
        return Ok(format!("{whose} sends what goes to {} on to {to}: {}", passage.to, place.name()));
    }
    Ok(match (stop, passage.host) {
        (Some((stop, _)), _) => {
            let ended = attempt.says();
            format!("the packet filter of {whose} {} it ({}), and yet: {ended}", verb(stop.how), stop.at.name())
        }
        (None, Some(_)) => format!("lets {} reach port {}", client(&passage), passage.to.port()),
        (None, None) => format!("this machine lets us out to {}", passage.to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Observed;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::firewall::Firewall;
    use crate::probe::host::firewall::rules::{Hook, Source, Unread, Verdict};

    #[track_caller]
    fn check(facts: &Facts, codes: &[&str]) -> String {
        let judgement = judge(facts).unwrap();
        assert_eq!(judgement.findings.iter().map(|finding| finding.code.id).collect::<Vec<_>>(), codes);
        judgement.summary
    }

    fn ours(hook: Hook, verdict: Verdict, answers: bool) -> Facts {
        let firewall = Observed::Seen(Firewall::with_rule(hook, verdict, answers));
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
        Facts::healthy().attempting(vec![attempt]).with(|facts| facts.firewall = firewall)
    }

    #[test]
    fn names_the_rule_that_stops_the_client() {
        let facts = Facts::filtered(Hook::Input, Verdict::Drop, false);
        let says = check(&facts, &["firewall/stopped"]);
        assert_eq!(says, "drops 10.0.0.2 to port 6379: inet filter f, handle 12");
        let finding = judge(&facts).unwrap().findings.remove(0);
        assert_eq!(finding.evidence[0].source, "on db-1, nft -a list ruleset");
        assert!(finding.evidence[0].says.ends_with("handle 12: tcp dport 6379 drop (counter: 3)"));
        let says = check(&Facts::filtered(Hook::Output, Verdict::Drop, true), &["firewall/answer-stopped"]);
        assert_eq!(says, "drops the answers to 10.0.0.2: inet filter f, handle 12");
        let says = check(&ours(Hook::Output, Verdict::Drop, false), &["firewall/stopped-here"]);
        assert_eq!(says, "this machine drops what it sends to 10.0.0.9:6379: inet filter f, handle 12");
        check(&ours(Hook::Input, Verdict::Drop, true), &["firewall/stopped-here"]);
    }

    #[test]
    fn a_rule_that_does_not_fit_what_was_met_is_no_finding() {
        let reset = Verdict::Reject(Rejection::Reset);
        let says = check(&Facts::filtered(Hook::Input, reset.clone(), false), &[]);
        assert!(says.contains("rejects it") && says.contains("and yet"), "{says}");
        check(&Facts::filtered(Hook::Input, reset, false).refused([10, 0, 0, 9]), &["firewall/stopped"]);
        check(&Facts::filtered(Hook::Input, Verdict::Drop, false).refused([10, 0, 0, 9]), &[]);
    }

    #[test]
    fn a_rule_that_has_counted_nothing_did_not_stop_us() {
        let uncounted = ours(Hook::Output, Verdict::Drop, false).with(|facts| {
            let rule = &mut seen(&mut facts.firewall).tables[0].chains[0].rules[0];
            rule.packets = Some(0);
        });
        assert!(matches!(judge(&uncounted), Err(Gap::Hidden(why)) if why.says.contains("counter")));
    }

    #[test]
    fn what_lets_through_says_so() {
        let passes = Facts::filtered(Hook::Input, Verdict::Accept, false);
        assert_eq!(check(&passes, &[]), "lets 10.0.0.2 reach port 6379");
        assert_eq!(
            check(&ours(Hook::Output, Verdict::Accept, false), &[]),
            "this machine lets us out to 10.0.0.9:6379"
        );
    }

    #[test]
    fn rules_that_were_not_read_are_never_no_firewall() {
        let unread = Unread { source: Source::IptablesLegacy, says: "permission denied".to_owned() };
        let hidden = Facts::filtered(Hook::Input, Verdict::Accept, false);
        let hidden = hidden.host(|host| seen(&mut host.firewall).unread.push(unread));
        assert!(matches!(judge(&hidden), Err(Gap::Hidden(why)) if why.says.contains("permission denied")));
    }

    #[test]
    fn an_accepted_connection_beats_the_rules() {
        let facts = Facts::filtered(Hook::Input, Verdict::Drop, false);
        let facts = facts.attempting(vec![Attempt::connected([10, 0, 0, 9].into())]);
        assert!(matches!(judge(&facts), Err(Gap::Skipped(_))));
        assert!(matches!(judge(&Facts::healthy()), Err(Gap::Skipped(_))));
    }
}
