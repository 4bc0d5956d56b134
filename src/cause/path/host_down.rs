//! Nobody answers for the address on its link: the host, or the gateway to it, is gone.

use std::net::IpAddr;

use super::ways;
use crate::cause::{Case, Cause, redis_host};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::firewall::discovery::{Hurdle, hurdle};
use crate::probe::host::firewall::rules::{Source, Unread};
use crate::probe::path::route::Route;
use crate::probe::path::tcp::{Attempt, IcmpMeaning};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "host-down",
    title: "nobody answers for that address on its link",
    explain: "\
Neighbour discovery (ARP, or NDP for IPv6) got no answer on the last link. The kernel asks three times, one second \
apart, and reports 'No route to host' after about 3.1 s (measured: 3.07 to 3.14 s). When the target is on our own link \
the ICMP error in the socket's queue is from our own address; when it is behind a router, from that router. If the route \
leads through a gateway, it is the gateway that does not answer.

That nobody answers is sure; why, is not to be seen from here, so that it is never more than likely. Most often the machine \
is off, or the address wrong or moved to another machine. But a machine that is up is not found either where its own filter \
drops the question or the answer (a table 'arp' of nft, arptables, or rules that drop ICMPv6 types 135 and 136 with the \
rest), where a filter of ours does, where a switch keeps the two apart (VLAN), or where the interface that asks has too wide \
a prefix (/16 for /24) and takes for a neighbour what is behind a router. It is only possible where the facts of the \
server's machine show that it is up. A firewall that rejects answers within milliseconds instead.

Where not even that error comes, and no other port is answered either, it is one of two candidates: the machine is gone \
behind a router that says nothing, or everything to it is filtered.

Repair: the machine is off, its interface is down, the address is wrong or has moved to another machine, the prefix of the \
interface is too wide, or a filter drops neighbour discovery.",
    infer,
    remedy,
};

/// What neighbour discovery takes: 3 probes, 1 s apart (measured: 3.07 to 3.14 s). Answers to a SYN that was sent again come
/// 1 s, 2 s or 3 s and a round trip later.
const ASKED_IN_VAIN_MS: std::ops::RangeInclusive<f64> = 3_040.0..=3_400.0;
/// Before this, the answer is as quick as a firewall's.
const AT_ONCE_MS: f64 = 50.0;

fn infer(case: &Case) -> Option<Support> {
    reported(case).or_else(|| silent(case))
}

/// Nothing comes back on any port: the host is gone behind a router that says nothing, or everything is filtered.
fn silent(case: &Case) -> Option<Support> {
    let trace = case.facts.trace.seen().filter(|trace| trace.is_all_silent())?;
    if is_up(case.facts, trace.to).is_some() {
        return None;
    }
    let attempt = case.attempts(&tcp::TIMEOUT).into_iter().find(|attempt| attempt.ip == Some(trace.to))?;
    let summary = format!("nothing at all comes back from {}: the machine may be gone, or the address wrong", trace.to);
    let support = Support::new(Confidence::Possible, &[&tcp::TIMEOUT], summary)
        .because("connect(2)", attempt.says())
        .with(trace.silence())
        .with(ways(case.facts, trace.to));
    let tells = "FAILED or INCOMPLETE: nobody answers there; REACHABLE or STALE: somebody does, and is filtered";
    let command = format!("ip neigh show {}", trace.to);
    Some(match trace.asked.hops.last() {
        Some(hop) => support.because("TTL", trace.asked.says()).settled_by(Step::look(
            Where::Network,
            command,
            format!("on the last router, which is {} or follows it: {tells}", hop.from),
        )),
        None => {
            support.settled_by(Step::look(Where::Network, command, format!("on the router of its network: {tells}")))
        }
    })
}

fn reported(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::UNREACHABLE);
    // Nobody reports himself as gone: that is a filter, or a translated address.
    let by_other = |attempt: &&Attempt| attempt.icmp.is_some_and(|icmp| Some(icmp.from) != attempt.ip);
    let mut by_others = attempts.into_iter().filter(by_other);
    let attempt = by_others.find(|attempt| meaning(attempt) == Some(IcmpMeaning::HostUnreachable))?;
    let (ip, from) = (attempt.ip?, attempt.icmp?.from);
    let local = case.is_own(from);
    let late = ASKED_IN_VAIN_MS.contains(&attempt.elapsed_ms);
    let up = is_up(case.facts, ip).filter(|_| !local || may_be_on_link(case.facts, ip));
    let confidence = match (late, local) {
        _ if up.is_some() => Confidence::Possible,
        // A machine that is up and drops the question is as silent as one that is off.
        (true, _) => Confidence::Likely,
        // The kernel or the router may have been asking already, for another program.
        (false, true) if attempt.elapsed_ms > AT_ONCE_MS => Confidence::Likely,
        (false, _) => Confidence::Possible,
    };
    let mut support = Support::new(confidence, &[&tcp::UNREACHABLE], summary(case.facts, ip, from, local))
        .because("connect(2)", attempt.says())
        .with(ways(case.facts, ip));
    if let Some(hurdle) = hurdle_here(case.facts, ip).filter(|_| local) {
        support = support.because(hurdle.source.list(), hurdle.says);
    }
    if let Some(host) = up {
        support = support.because(host.source("addresses"), format!("{ip}: the machine is up"));
        if let Some(hurdle) = hurdle_there(case.facts, ip) {
            support = support.because(host.source(hurdle.source.list()), hurdle.says);
        }
        return Some(support.settled_by(heard(case.facts)));
    }
    Some(if late {
        let support =
            support.not("firewall-reject", "it took as long as neighbour discovery takes; a firewall answers at once");
        let here = local && !finds_neighbours(case.facts, ip);
        support.settled_by(if here {
            own_rules(case.facts, ip)
        } else {
            at_its_console(case.facts, if local { next_hop(case.facts, ip) } else { ip })
        })
    } else {
        let on = if local { Where::Here } else { Where::Network };
        support.settled_by(Step::look(on, format!("ip neigh show {ip}"), "FAILED or INCOMPLETE: nobody answers"))
    })
}

fn meaning(attempt: &Attempt) -> Option<IcmpMeaning> {
    attempt.icmp.map(|icmp| icmp.meaning())
}

/// The server's machine, where its facts show that it is up and has the address.
fn is_up(facts: &Facts, ip: IpAddr) -> Option<&Host> {
    facts.server_host().ok().filter(|host| host.origin.addresses.contains(&ip.to_canonical()))
}

/// True if this machine's own rules are known, and let neighbour discovery through.
fn finds_neighbours(facts: &Facts, ip: IpAddr) -> bool {
    let matters = |unread: &Unread| unread.source != Source::ArptablesLegacy || ip.is_ipv4();
    let known = facts.firewall.seen().is_some_and(|firewall| !firewall.unread.iter().any(matters));
    known && hurdle_here(facts, ip).is_none()
}

fn hurdle_here(facts: &Facts, ip: IpAddr) -> Option<Hurdle> {
    hurdle(facts.firewall.seen()?, ip)
}

fn hurdle_there(facts: &Facts, ip: IpAddr) -> Option<Hurdle> {
    hurdle(is_up(facts, ip)?.firewall.seen()?, ip)
}

/// Whether the question arrives at a machine that is up.
fn heard(facts: &Facts) -> Step {
    Step::look(
        redis_host(facts),
        "sudo tcpdump -ni any 'arp or icmp6'",
        "while you check again: questions that arrive and are not answered are dropped by a filter there; none at all: the \
         link between, or the prefix of the client's interface",
    )
}

fn own_rules(facts: &Facts, ip: IpAddr) -> Step {
    let command =
        hurdle_here(facts, ip).map_or("sudo nft -a list ruleset; sudo arptables -L -n", |it| it.source.shown());
    let what = if ip.is_ipv4() { "ARP" } else { "ICMPv6 types 135 and 136" };
    Step::look(
        Where::Here,
        command,
        format!("a rule or policy that drops {what}: then that is it; none: nobody answers"),
    )
}

/// What tells a machine that is gone from one that does not answer.
fn at_its_console(facts: &Facts, ip: IpAddr) -> Step {
    let (what, command) = if ip.is_ipv4() {
        ("ARP", "ip -br addr; sudo nft list tables arp; sudo arptables -L -n")
    } else {
        ("ICMPv6 types 135 and 136", "ip -br addr; sudo nft list ruleset; sudo ip6tables-save")
    };
    let tells = format!(
        "at its console: no {ip}, or an interface that is DOWN: the address is wrong or has moved, or the interface is off; \
         rules that drop {what}: they are it; neither: the link between, or the prefix of the interface that asks"
    );
    let on = if facts.asked_addresses().contains(&ip) { redis_host(facts) } else { Where::Network };
    Step::look(on, command, tells)
}

/// The route to `ip`, where all that count are known.
fn route(facts: &Facts, ip: IpAddr) -> Option<&Route> {
    facts.routes.seen().filter(|routes| routes.are_all_for(ip))?.to(ip)
}

/// Whom this machine asks for on its own link, to send to `ip`.
fn next_hop(facts: &Facts, ip: IpAddr) -> IpAddr {
    route(facts, ip).and_then(|route| route.gateway).unwrap_or(ip)
}

/// True if no gateway is known to lead to `ip`: then it may be on our own link.
fn may_be_on_link(facts: &Facts, ip: IpAddr) -> bool {
    route(facts, ip).is_none_or(|route| route.gateway.is_none())
}

fn summary(facts: &Facts, ip: IpAddr, from: IpAddr, local: bool) -> String {
    match route(facts, ip).map(|route| route.gateway) {
        _ if !local => format!("the router {from} asked for {ip} on its link, and nobody answered"),
        Some(Some(gateway)) => format!("the gateway {gateway}, which leads to {ip}, does not answer on our link"),
        Some(None) => format!("nobody answers for {ip} on our own link"),
        None => format!("the next hop on the way to {ip}, or {ip} itself, does not answer on our link"),
    }
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some(ip) = facts.tcp.seen().and_then(|tcp| tcp.attempts.first()?.ip) else { return Vec::new() };
    let name = facts.ask.target.host().filter(|host| *host != ip.to_string());
    let whose =
        name.map_or_else(|| format!("that {ip} is right"), |name| format!("that {ip} is still the address of {name}"));
    let mut steps = vec![Step::look(
        Where::Here,
        "ip neigh",
        "shows which neighbours answer: REACHABLE and STALE do, FAILED does not",
    )];
    if may_be_on_link(facts, ip) {
        let tells =
            format!("shows the prefix of our interface: one that is too wide takes {ip} for a neighbour of ours");
        steps.push(Step::look(Where::Here, "ip -br addr", tells));
    }
    let hurdles = [(Where::Here, hurdle_here(facts, ip)), (redis_host(facts), hurdle_there(facts, ip))];
    let what = if ip.is_ipv4() { "ARP" } else { "neighbour discovery (ICMPv6 types 135 and 136)" };
    let found = hurdles.iter().any(|(_, hurdle)| hurdle.is_some());
    steps.extend(hurdles.into_iter().filter_map(|(on, hurdle)| {
        Some(Step::tell(on, format!("let {what} in and out; now there is {}", hurdle?.says)))
    }));
    steps.push(if is_up(facts, ip).is_some() {
        Step::tell(redis_host(facts), "see that its interface is up, and on the link that the client is on")
    } else {
        Step::tell(Where::RedisHost, format!("see that the machine is on, its interface up, and {whose}"))
    });
    if !found {
        let tools = if ip.is_ipv4() { "a table arp of nft, arptables, ebtables" } else { "nft, ip6tables" };
        steps.push(Step::tell(
            redis_host(facts),
            format!("if it is on and has the address: let {what} in and out in its own filter ({tools})"),
        ));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::host::firewall::Firewall;
    use crate::probe::host::firewall::discovery::tests::filter;
    use crate::probe::host::firewall::rules::Family;
    use crate::probe::path::tcp::{Icmp, Outcome};

    fn unreachable(from: [u8; 4], elapsed_ms: f64) -> Facts {
        met(Facts::healthy(), from, elapsed_ms)
    }

    /// Where this machine's rules are known, and stop nothing.
    fn met(facts: Facts, from: [u8; 4], elapsed_ms: f64) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::HostUnreachable, "EHOSTUNREACH", elapsed_ms);
        let icmp = Some(Icmp { kind: 3, code: 1, from: from.into() });
        facts
            .attempting(vec![Attempt { icmp, ..attempt }])
            .with(|facts| facts.firewall = Observed::Seen(Firewall::default()))
    }

    fn settling(facts: &Facts) -> String {
        let diagnosis = crate::cause::tests::diagnose(facts);
        format!("{:?}", diagnosis.causes.iter().find(|cause| cause.id == CAUSE.id).unwrap().support.settled_by)
    }

    #[test]
    fn our_own_rules_may_keep_the_answer_out() {
        let local = unreachable([10, 0, 0, 2], 3080.0);
        let hidden = local.clone().with(|facts| facts.firewall = Observed::skipped("not looked at"));
        let with = |firewall| local.clone().with(|facts| facts.firewall = Observed::Seen(firewall));
        let unread =
            |source| Firewall { tables: Vec::new(), unread: vec![Unread { source, says: "it is there".to_owned() }] };
        let far = unreachable([10, 9, 9, 9], 3080.0).with(|facts| facts.firewall = Observed::skipped("not looked at"));
        for (facts, here) in [
            (&hidden, true),
            (&with(filter(Family::Arp, true, Vec::new())), true),
            (&with(filter(Family::Inet, true, Vec::new())), false),
            (&with(unread(Source::ArptablesLegacy)), true),
            (&with(unread(Source::IptablesLegacy)), true),
            (&local, false),
            // A router that has asked knows nothing of our rules.
            (&far, false),
        ] {
            check_cause(&CAUSE, facts, Some(Confidence::Likely));
            assert_eq!(settling(facts).contains("at its console"), !here, "{}", settling(facts));
        }
    }

    #[test]
    fn a_machine_that_is_up_is_not_gone() {
        for from in [[10, 0, 0, 2], [10, 9, 9, 9]] {
            check_cause(&CAUSE, &met(Facts::joined(), from, 3080.0), Some(Confidence::Possible));
        }
        let filtered = met(Facts::joined(), [10, 0, 0, 2], 3080.0)
            .host(|host| host.firewall = Observed::Seen(filter(Family::Arp, true, Vec::new())));
        let tells = |step: &Step| matches!(step, Step::Tell { text, .. } if text.contains("arp t f drops by policy"));
        assert!(remedy(&filtered).iter().any(tells));
        let prefix = |step: &Step| matches!(step, Step::Look { command, .. } if command == "ip -br addr");
        assert!(remedy(&filtered).iter().any(prefix));
    }

    #[test]
    fn three_seconds_are_a_neighbour_that_does_not_answer() {
        check_cause(&CAUSE, &unreachable([10, 0, 0, 2], 3080.0), Some(Confidence::Likely));
        check_cause(&CAUSE, &unreachable([10, 9, 9, 9], 3100.0), Some(Confidence::Likely));
        let filter =
            |step: &Step| matches!(step, Step::Tell { text, .. } if text.contains("table arp of nft, arptables"));
        assert!(remedy(&unreachable([10, 0, 0, 2], 3080.0)).iter().any(filter));
    }

    #[test]
    fn silence_on_every_port_is_a_candidate() {
        use crate::probe::path::trace::tests::{filtered, silent};
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
        let facts = Facts::healthy().attempting(vec![attempt]);
        let traced = |trace| facts.clone().with(|facts| facts.trace = Observed::Seen(trace));
        check_cause(&CAUSE, &traced(silent(&[1, 2])), Some(Confidence::Possible));
        check_cause(&CAUSE, &traced(silent(&[])), Some(Confidence::Possible));
        check_cause(&CAUSE, &traced(filtered(&[1], &[1], 2)), None);
        let joined = Facts::joined().attempting(facts.tcp.seen().unwrap().attempts.clone());
        check_cause(&CAUSE, &joined.with(|facts| facts.trace = Observed::Seen(silent(&[1, 2]))), None);
        check_cause(&CAUSE, &facts, None);
    }

    #[test]
    fn at_another_time_somebody_may_reject() {
        check_cause(&CAUSE, &unreachable([10, 0, 0, 2], 0.2), Some(Confidence::Possible));
        check_cause(&CAUSE, &unreachable([10, 0, 0, 2], 1_500.0), Some(Confidence::Likely));
        check_cause(&CAUSE, &unreachable([10, 9, 9, 9], 0.2), Some(Confidence::Possible));
        // As late as a SYN that was sent again: a firewall whose first answer was lost.
        check_cause(&CAUSE, &unreachable([10, 9, 9, 9], 1_030.0), Some(Confidence::Possible));
        check_cause(&CAUSE, &unreachable([10, 0, 0, 9], 3_100.0), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
