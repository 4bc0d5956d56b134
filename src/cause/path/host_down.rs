//! Nobody answers for the address on its link: the host, or the gateway to it, is gone.

use std::net::IpAddr;

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

A firewall that rejects answers within milliseconds instead. If the route leads through a gateway, it is the gateway \
that does not answer.

Repair: the machine is off, its interface is down, or the address is wrong or has moved to another machine.",
    infer,
    remedy,
};

/// Later than this, nobody rejected: somebody was asked in vain. Neighbour discovery gives up after 3 probes, 1 s apart.
const ASKED_IN_VAIN_MS: f64 = 900.0;

fn infer(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::UNREACHABLE);
    let attempt = attempts.into_iter().find(|attempt| meaning(attempt) == Some(IcmpMeaning::HostUnreachable))?;
    let (ip, from) = (attempt.ip?, attempt.icmp?.from);
    let local = case.is_own(from);
    let late = attempt.elapsed_ms >= ASKED_IN_VAIN_MS;
    let confidence = match (late, local) {
        (true, _) => Confidence::Certain,
        // The kernel may have been asking already, for another program.
        (false, true) => Confidence::Likely,
        (false, false) => return None,
    };
    let support = Support::new(confidence, &[&tcp::UNREACHABLE], summary(case.facts, ip, from, local))
        .because("connect(2)", attempt.says());
    Some(if late {
        support.not("firewall-reject", "it took as long as neighbour discovery takes; a firewall answers at once")
    } else {
        support.settled_by(Step::look(
            Where::Here,
            format!("ip neigh show {ip}"),
            "FAILED or INCOMPLETE: nobody answers",
        ))
    })
}

fn meaning(attempt: &Attempt) -> Option<IcmpMeaning> {
    attempt.icmp.map(|icmp| icmp.meaning())
}

fn summary(facts: &Facts, ip: IpAddr, from: IpAddr, local: bool) -> String {
    match gateway(facts, ip) {
        _ if !local => format!("the router {from} asked for {ip} on its link, and nobody answered"),
        Some(gateway) => format!("the gateway {gateway}, which leads to {ip}, does not answer on our link"),
        None => format!("nobody answers for {ip} on our own link"),
    }
}

fn gateway(facts: &Facts, ip: IpAddr) -> Option<IpAddr> {
    facts.routes.seen()?.to(ip)?.gateway
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
    fn at_once_it_is_only_likely_from_ourselves_and_another_cause_from_a_router() {
        check_cause(&CAUSE, &unreachable([10, 0, 0, 2], 0.2), Some(Confidence::Likely));
        check_cause(&CAUSE, &unreachable([10, 9, 9, 9], 0.2), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
