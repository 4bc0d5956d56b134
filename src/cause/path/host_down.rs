//! Nobody answers for the address on its link: the host, or the gateway to it, is gone.

use std::net::IpAddr;

use super::ways;
use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::{Attempt, IcmpMeaning};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "host-down",
    title: "no machine answers at that address",
    explain: "\
Neighbour discovery (ARP, or NDP for IPv6) got no answer on the last link. The kernel asks three times, one second \
apart, and reports 'No route to host' after about 3.1 s (measured: 3.07 to 3.14 s). When the target is on our own link \
the ICMP error in the socket's queue is from our own address; when it is behind a router, from that router.

Where not even that error comes, and no other port is answered either, it is one of two candidates: the machine is gone \
behind a router that says nothing, or everything to it is filtered.

A firewall that rejects answers within milliseconds instead. If the route leads through a gateway, it is the gateway \
that does not answer.

Repair: the machine is off, its interface is down, or the address is wrong or has moved to another machine.",
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
    let confidence = match (late, local) {
        (true, _) => Confidence::Certain,
        // The kernel or the router may have been asking already, for another program.
        (false, true) if attempt.elapsed_ms > AT_ONCE_MS => Confidence::Likely,
        (false, _) => Confidence::Possible,
    };
    let support = Support::new(confidence, &[&tcp::UNREACHABLE], summary(case.facts, ip, from, local))
        .because("connect(2)", attempt.says())
        .with(ways(case.facts, ip));
    Some(if late {
        support.not("firewall-reject", "it took as long as neighbour discovery takes; a firewall answers at once")
    } else {
        let on = if local { Where::Here } else { Where::Network };
        support.settled_by(Step::look(on, format!("ip neigh show {ip}"), "FAILED or INCOMPLETE: nobody answers"))
    })
}

fn meaning(attempt: &Attempt) -> Option<IcmpMeaning> {
    attempt.icmp.map(|icmp| icmp.meaning())
}

fn summary(facts: &Facts, ip: IpAddr, from: IpAddr, local: bool) -> String {
    let routes = facts.routes.seen().filter(|routes| routes.are_all_for(ip));
    match routes.and_then(|routes| routes.to(ip)).map(|route| route.gateway) {
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
    vec![
        Step::look(Where::Here, "ip neigh", "shows which neighbours answer: REACHABLE and STALE do, FAILED does not"),
        Step::tell(Where::RedisHost, format!("see that the machine is on, its interface up, and {whose}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::tcp::{Icmp, Outcome};

    fn unreachable(from: [u8; 4], elapsed_ms: f64) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::HostUnreachable, "EHOSTUNREACH", elapsed_ms);
        let icmp = Some(Icmp { kind: 3, code: 1, from: from.into() });
        Facts::healthy().attempting(vec![Attempt { icmp, ..attempt }])
    }

    #[test]
    fn three_seconds_are_a_neighbour_that_does_not_answer() {
        check_cause(&CAUSE, &unreachable([10, 0, 0, 2], 3080.0), Some(Confidence::Certain));
        check_cause(&CAUSE, &unreachable([10, 9, 9, 9], 3100.0), Some(Confidence::Certain));
    }

    #[test]
    fn silence_on_every_port_is_a_candidate() {
        use crate::model::Observed;
        use crate::probe::path::trace::tests::{filtered, silent};
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
        let facts = Facts::healthy().attempting(vec![attempt]);
        let traced = |trace| facts.clone().with(|facts| facts.trace = Observed::Seen(trace));
        check_cause(&CAUSE, &traced(silent(&[1, 2])), Some(Confidence::Possible));
        check_cause(&CAUSE, &traced(silent(&[])), Some(Confidence::Possible));
        check_cause(&CAUSE, &traced(filtered(&[1], &[1], 2)), None);
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
