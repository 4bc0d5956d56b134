//! A packet filter swallows the packets, or the answers to them.

use super::{Stopped, doubted_there, not_by_rules, opening, stopped_there};
use crate::cause::path::ways;
use crate::cause::{Case, Cause, redis_host};
use crate::check::{firewall, hold, tcp};
use crate::model::{Code, Confidence, Evidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::{Attempt, Outcome};
use crate::probe::path::trace::{Lost, Trace};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "firewall-drop",
    title: "a firewall drops the packets",
    explain: "\
No answer came to several SYNs, neither a reset nor an ICMP error: something on the way, on the server or on this machine \
drops them silently. That is what host firewalls with a DROP policy (ufw's 'deny'), cloud security groups and network \
policies do.

On the server's machine redisdoc follows the SYN through the rules of nftables and iptables as the kernel does, and \
where they drop it, that is certain: the rule, its handle and its counter are named, and the repair is that of the tool \
that owns the rule. Rules that may not be read (only root may) leave it open; so does a translated address on the way, \
where the rules ask for the client's.

redisdoc then tries other ports of the same address. Where one is answered, if only with the reset of a closed port, the \
machine is up and the way there and back is good: the port is filtered, likely. It also sends SYNs with a small TTL to both \
ports: the routers where they expire say so, and a router that only those to the other port reach stands behind the filter.

It is never certain from the client: a server whose accept queue is full drops SYNs to its port, too; where nothing answers at \
all, the host may be gone behind a router that says nothing, or its way back is missing. The server's own side settles it: \
when connections in state SYN-RECV from this client show up there, the packets arrive and the answers are lost; when \
nothing shows up, they are dropped before.

Repair: allow the client's address to reach the Redis port, where the packets are dropped.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    by_rules(case).or_else(|| no_answer(case)).or_else(|| dropped_meanwhile(case))
}

/// It answered before a connection was held for a while; now nothing answers a fresh one.
fn dropped_meanwhile(case: &Case) -> Option<Support> {
    let finding = case.raised(&hold::SERVER_GONE)?;
    let hold = case.facts.hold.seen()?;
    let failed = hold.fresh.as_ref()?.failed.is_some() && !hold.is_refused();
    let attempt = case.facts.tcp.seen()?.connected().filter(|_| failed)?;
    let summary = "what answered before does not any more: the machine is gone, or the packets are dropped since";
    let support = Support::new(Confidence::Possible, &[&hold::SERVER_GONE], summary).on(finding);
    Some(support.settled_by(look(case, attempt)?))
}

/// The rules of the server's machine stop what nothing answered to.
fn by_rules(case: &Case) -> Option<Support> {
    let stopped = dropped(case.facts)?;
    let summary = format!(
        "the packet filter of the server's machine {} what comes from {} to port {}",
        firewall::verb(stopped.stop()?.how),
        stopped.passage.client.map_or_else(|| "this client".to_owned(), |ip| ip.to_string()),
        stopped.passage.to.port()
    );
    let support = stopped.support(case.facts, &firewall::STOPPED, summary)?;
    Some(support.not("not-running", "the packets do not come as far as a listener"))
}

fn dropped(facts: &Facts) -> Option<Stopped<'_>> {
    let wanted = |attempt: &Attempt| attempt.outcome == Outcome::TimedOut;
    stopped_there(facts, false, wanted).or_else(|| doubted_there(facts, wanted))
}

/// True if the packets of an attempt to this machine arrive: it answers them, and waits.
fn arrives(facts: &Facts, attempt: &Attempt) -> bool {
    let client = attempt.ip.and_then(|ip| facts.source_to(ip));
    let network = facts.server_host().ok().and_then(|host| host.network.seen());
    network.zip(facts.ask.target.port()).zip(client).is_some_and(|((network, port), client)| {
        network.waiting(port, Some(client)).any(|half_open| half_open.retransmits > 0)
    })
}

/// Nothing answered, and no rule that we know of says why.
fn no_answer(case: &Case) -> Option<Support> {
    let (code, attempts) = silent(case)?;
    let attempt = attempts.iter().find(|attempt| attempt.ip.is_some())?;
    // See no-return-path, local-firewall.
    if arrives(case.facts, attempt) || case.raised(&firewall::STOPPED_HERE).is_some() {
        return None;
    }
    let trace = traced(case.facts).filter(|trace| Some(trace.to) == attempt.ip);
    let support = match trace.and_then(|trace| Some((trace, trace.filtered()?))) {
        Some((trace, other)) => filtered(code, attempt, trace, other),
        None => unanswered(code, attempt, trace),
    };
    let support = support
        .with(ways(case.facts, attempt.ip?))
        .not("not-running", "a closed port would have answered with a reset")
        .settled_by(look(case, attempt)?);
    Some(not_by_rules(case, attempt, support))
}

/// The attempts that nothing answered, of all addresses or of some.
fn silent<'a>(case: &Case<'a>) -> Option<(&'static Code, Vec<&'a Attempt>)> {
    if case.raised(&tcp::TIMEOUT).is_some() {
        return Some((&tcp::TIMEOUT, case.attempts(&tcp::TIMEOUT)));
    }
    // A way to one address that is broken, or its machine that is gone, is another story; a port that is filtered is not.
    case.raised(&tcp::SOME_FAILED)?;
    let trace = traced(case.facts).filter(|trace| trace.filtered().is_some())?;
    let attempts = case.facts.tcp.seen()?.attempts.iter();
    Some((&tcp::SOME_FAILED, attempts.filter(|attempt| attempt.ip == Some(trace.to)).collect()))
}

fn traced(facts: &Facts) -> Option<&Trace> {
    facts.trace.seen()
}

/// The machine answers on another port: this one is filtered.
fn filtered(code: &'static Code, attempt: &Attempt, trace: &Trace, other: &Attempt) -> Support {
    let says = answered(other);
    let summary = format!("the port is filtered: {says}, and nothing answers for {}", attempt.address);
    let mut support = Support::new(Confidence::Likely, &[code], summary)
        .because("connect(2)", attempt.says())
        .because("connect(2)", other.says())
        .with(routers(trace))
        .not("host-down", says);
    if let Some(lost) = trace.lost() {
        support = support.because("TTL", place(lost, trace));
        if matches!(lost, Lost::Before { .. }) {
            support = support.not("accept-queue-full", "the packets do not get as far as the server");
        }
    }
    support
}

fn answered(other: &Attempt) -> String {
    let Attempt { address, elapsed_ms, .. } = other;
    match (other.outcome, other.icmp) {
        (Outcome::Connected, _) => format!("{address} accepts connections after {elapsed_ms:.1} ms"),
        (_, Some(icmp)) => format!("{address} answers with {} after {elapsed_ms:.1} ms", icmp.name()),
        (_, None) => format!("{address} answers with a reset after {elapsed_ms:.1} ms"),
    }
}

/// The routers on both ways, where any spoke.
fn routers(trace: &Trace) -> Vec<Evidence> {
    let paths = [Some(&trace.asked), trace.other.as_ref()].into_iter().flatten();
    let told = paths.clone().any(|path| !path.hops.is_empty());
    paths.filter(|_| told).map(|path| Evidence::new("TTL", path.says())).collect()
}

/// Where the packets are lost, in words.
fn place(lost: Lost, trace: &Trace) -> String {
    let (asked, other) = (trace.asked.port, trace.other.as_ref().map_or(0, |other| other.port));
    match lost {
        Lost::Before { after: Some(after), router } => format!(
            "packets to port {asked} get to the router {} and not to the next, {}, which those to port {other} reach: one of \
             the two drops them",
            after.from, router.from
        ),
        Lost::Before { after: None, router } => format!(
            "packets to port {asked} do not even get to the first router, {}, which those to port {other} reach: this machine \
             itself drops them, or that router",
            router.from
        ),
        Lost::AtTheEnd(Some(after)) => format!(
            "packets to port {asked} get to the router {}, the last one before {}: one of the two drops them",
            after.from, trace.to
        ),
        Lost::AtTheEnd(None) => format!("no router is between: {} itself drops them, or this machine", trace.to),
    }
}

/// Nothing answers, or nothing else was tried.
fn unanswered(code: &'static Code, attempt: &Attempt, trace: Option<&Trace>) -> Support {
    let summary = format!("nothing answers for {}: the packets, or the answers to them, are dropped", attempt.address);
    let support = Support::new(Confidence::Possible, &[code], summary).because("connect(2)", attempt.says());
    match trace {
        Some(trace) => support.with(trace.silence()).with(routers(trace)),
        None => support,
    }
}

fn look(case: &Case, attempt: &Attempt) -> Option<Step> {
    let port = case.facts.ask.target.port()?;
    let on = if case.is_own(attempt.ip?) { Where::Here } else { Where::RedisHost };
    let tells =
        "a line with the client's address: the packets arrive and the answers are lost; none: they are dropped before";
    Some(Step::look(on, format!("ss -tn state syn-recv 'sport = :{port}'"), tells))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    if let Some(stopped) = dropped(facts) {
        return opening(facts, stopped.steps(&redis_host(facts)));
    }
    let port = facts.ask.target.port().unwrap_or_default();
    let here =
        Step::look(Where::Here, "sudo nft -a list ruleset", "shows whether this machine itself drops what it sends");
    let there = Step::look(
        Where::RedisHost,
        "sudo ufw status; sudo firewall-cmd --list-all; sudo nft -a list ruleset; sudo iptables-legacy-save",
        format!("shows whether port {port} is allowed; also look at the cloud's security group"),
    );
    let allow = format!("allow this client's address (not everybody's) to reach TCP port {port}");
    match traced(facts).and_then(Trace::lost) {
        Some(Lost::Before { after: Some(after), router }) => {
            vec![Step::tell(Where::Network, format!("on the router {} or {}: {allow}", after.from, router.from))]
        }
        Some(Lost::Before { after: None, router }) => {
            let text = format!("or, if it does not, on the router {}: {allow}", router.from);
            vec![here, Step::tell(Where::Network, text)]
        }
        Some(Lost::AtTheEnd(Some(after))) => {
            let text = format!("or, if it is allowed there, on the router {}: {allow}", after.from);
            vec![there, Step::tell(redis_host(facts), allow), Step::tell(Where::Network, text)]
        }
        Some(Lost::AtTheEnd(None)) | None => vec![there, here, Step::tell(redis_host(facts), allow)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::firewall::rules::{
        Field, Hook, Match, Part, Rejection, Source, Test, Unread, Values, Verdict,
    };
    use crate::probe::host::network::HalfOpen;
    use crate::probe::path::trace::tests::{filtered, silent};
    use std::net::IpAddr;

    fn attempt(outcome: Outcome) -> Attempt {
        Attempt::failed([10, 0, 0, 9].into(), outcome, "ETIMEDOUT", 5000.0)
    }

    fn timed_out(trace: Trace) -> Facts {
        let facts = Facts::healthy().attempting(vec![attempt(Outcome::TimedOut)]);
        facts.with(|facts| facts.trace = Observed::Seen(trace))
    }

    #[test]
    fn a_rule_on_the_server_makes_it_certain() {
        let dropped = Facts::filtered(Hook::Input, Verdict::Drop, false);
        check_cause(&CAUSE, &dropped, Some(Confidence::Certain));
        let steps = remedy(&dropped.clone().host(|host| host.running.clear()));
        let run = |step: &Step| matches!(step, Step::Run { command, .. } if command.contains("position 12 ip saddr 10.0.0.2"));
        assert!(steps.iter().any(run), "{steps:?}");
        check_cause(&CAUSE, &Facts::filtered(Hook::Input, Verdict::Accept, false), Some(Confidence::Possible));
        // It would be answered with a reset, and nothing came: that may have been lost, too.
        let reset = Verdict::Reject(Rejection::Reset);
        check_cause(&CAUSE, &Facts::filtered(Hook::Input, reset, false), Some(Confidence::Likely));
        check_cause(&CAUSE, &dropped.refused([10, 0, 0, 9]), None);
    }

    #[test]
    fn what_was_not_read_and_what_is_translated_leave_it_open() {
        let unread = Unread { source: Source::IptablesLegacy, says: "permission denied".to_owned() };
        let facts = Facts::filtered(Hook::Input, Verdict::Drop, false);
        let hidden = facts.host(|host| seen(&mut host.firewall).unread.push(unread));
        check_cause(&CAUSE, &hidden, Some(Confidence::Likely));
        // The port alone decides, whoever comes: not even a translated address changes that.
        let behind = Facts::filtered(Hook::Input, Verdict::Drop, false).behind_a_router();
        check_cause(&CAUSE, &behind, Some(Confidence::Certain));
        let by_source = behind.host(|host| {
            let parts = &mut seen(&mut host.firewall).tables[0].chains[0].rules[0].parts;
            let client = IpAddr::from([10, 7, 7, 7]);
            let test = Test::Is(Field::From, Values::Addresses(vec![(client, client)]));
            parts.insert(0, Part::Match(Match { negated: false, test }));
        });
        check_cause(&CAUSE, &by_source, Some(Confidence::Likely));
    }

    #[test]
    fn packets_that_arrive_are_not_dropped() {
        let (local, remote) = ("10.0.0.9:6379".parse().unwrap(), "10.0.0.2:50000".parse().unwrap());
        let half_open = HalfOpen { local, remote, retransmits: 1 };
        let facts = Facts::filtered(Hook::Input, Verdict::Accept, false);
        let facts = facts.host(|host| seen(&mut seen(&mut host.network).half_open).push(half_open));
        check_cause(&CAUSE, &facts, None);
    }

    #[test]
    fn silence_is_only_a_candidate() {
        let facts = Facts::healthy().attempting(vec![attempt(Outcome::TimedOut)]);
        check_cause(&CAUSE, &facts, Some(Confidence::Possible));
        check_cause(&CAUSE, &timed_out(silent(&[1, 2])), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![attempt(Outcome::Refused)]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn another_port_that_answers_makes_it_likely() {
        check_cause(&CAUSE, &timed_out(filtered(&[], &[], 1)), Some(Confidence::Likely));
        check_cause(&CAUSE, &timed_out(filtered(&[1], &[1, 2], 3)), Some(Confidence::Likely));
        // A port that answers a moment later is not filtered: packets are lost by chance, or its queue was full.
        let mut later = filtered(&[1], &[1], 2);
        later.asked.reached = Some(2);
        check_cause(&CAUSE, &timed_out(later), Some(Confidence::Possible));
        // The trace of another address says nothing of this one.
        let other = Trace { to: [10, 0, 0, 8].into(), ..filtered(&[], &[], 1) };
        check_cause(&CAUSE, &timed_out(other), Some(Confidence::Possible));
    }

    #[test]
    fn what_answered_before_may_be_dropped_since() {
        use crate::check::hold::tests::{held, not_made};
        use crate::probe::path::hold::Wait;
        let closed = held(Wait::Closed(12_400.0), None);
        check_cause(&CAUSE, &not_made(closed.clone(), "no answer"), Some(Confidence::Possible));
        check_cause(&CAUSE, &not_made(closed, "ECONNREFUSED"), None);
    }

    #[test]
    fn one_address_of_several_may_be_filtered() {
        let attempts = vec![attempt(Outcome::TimedOut), Attempt::connected([10, 0, 0, 8].into())];
        let facts = Facts::healthy().attempting(attempts);
        let traced = |trace| facts.clone().with(|facts| facts.trace = Observed::Seen(trace));
        check_cause(&CAUSE, &traced(filtered(&[], &[], 1)), Some(Confidence::Likely));
        check_cause(&CAUSE, &traced(silent(&[])), None);
        check_cause(&CAUSE, &facts, None);
    }

    #[test]
    fn names_the_router_that_drops() {
        let diagnosis = diagnose(&timed_out(filtered(&[1], &[1, 2], 3)));
        let cause = &diagnosis.causes[0];
        assert_eq!(cause.id, "firewall-drop");
        assert!(matches!(&cause.remedy[0], Step::Tell { text, .. } if text.contains("10.1.0.1 or 10.1.0.2")));
        // What does not get to the server cannot fill its queue.
        let ids: Vec<&str> = diagnosis.causes.iter().map(|cause| cause.id).collect();
        assert!(!ids.contains(&"accept-queue-full") && !ids.contains(&"process-stopped"), "{ids:?}");
        let at_the_end = diagnose(&timed_out(filtered(&[1, 2], &[1, 2], 3)));
        assert!(at_the_end.causes.iter().any(|cause| cause.id == "accept-queue-full"));
    }
}
