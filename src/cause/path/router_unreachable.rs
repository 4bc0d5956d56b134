//! A router on the way says that it cannot or may not pass the packets on.

use super::ways;
use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::{Attempt, IcmpMeaning};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "router-unreachable",
    title: "a router on the way cannot reach the target",
    explain: "\
An ICMP error (net-unreachable 3/0, host-unreachable 3/1, or their ICMPv6 kin) came back within milliseconds from an \
address that is neither ours nor the target's: a router has no route, or one that says 'unreachable'. Applications say \
'No route to host' or 'Network is unreachable'.

A firewall can be configured to send the same codes, so this is likely, not certain; the sender's address tells which \
machine to look at in either case. After about 3 s instead of milliseconds, the same code means that the router got no \
answer from the host: see host-down.

Repair: on the router named, add or mend the route to the target's network.",
    infer,
    remedy,
};

/// Before this, the router did not have to ask anybody (see host-down).
const AT_ONCE_MS: f64 = 900.0;

fn infer(case: &Case) -> Option<Support> {
    let (code, attempt, confidence) = by_router(case)?;
    let from = attempt.icmp?.from;
    let summary = format!("the router {from} says that {} cannot be reached through it", attempt.ip?);
    let step = Step::look(
        Where::Network,
        format!("ip route get {}", attempt.ip?),
        "on that router: shows the route, or that there is none",
    );
    Some(
        Support::new(confidence, &[code], summary)
            .because("ICMP", attempt.says())
            .with(ways(case.facts, attempt.ip?))
            .not("no-route", "the packet left this machine: the answer came from a router")
            .settled_by(step),
    )
}

fn by_router<'a>(case: &Case<'a>) -> Option<(&'static Code, &'a Attempt, Confidence)> {
    let foreign = |attempt: &&Attempt| {
        let from = attempt.icmp.map(|icmp| icmp.from);
        let by_other = from.is_some_and(|from| !case.is_own(from)) && from != attempt.ip;
        let known = attempt.icmp.is_some_and(|icmp| icmp.meaning() != IcmpMeaning::Other);
        by_other && known && attempt.elapsed_ms < AT_ONCE_MS
    };
    if let Some(attempt) = case.attempts(&tcp::UNREACHABLE).into_iter().find(foreign) {
        return Some((&tcp::UNREACHABLE, attempt, Confidence::Likely));
    }
    // A prohibit route answers as a firewall does that rejects with admin-prohibited.
    let prohibited = |attempt: &&Attempt| {
        attempt.icmp.is_some_and(|icmp| icmp.meaning() == IcmpMeaning::Prohibited && matches!(icmp.code, 13 | 1))
    };
    let attempt = case.attempts(&tcp::REJECTED).into_iter().filter(foreign).find(prohibited)?;
    Some((&tcp::REJECTED, attempt, Confidence::Possible))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let attempt = facts.tcp.seen().and_then(|tcp| tcp.attempts.iter().find(|attempt| attempt.icmp.is_some()));
    let Some((ip, from)) = attempt.and_then(|attempt| Some((attempt.ip?, attempt.icmp?.from))) else {
        return Vec::new();
    };
    vec![Step::tell(Where::Network, format!("on the router {from}, add or mend the route to {ip}"))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::tcp::{Icmp, Outcome};

    fn answered(code: u8, from: [u8; 4], elapsed_ms: f64) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::HostUnreachable, "EHOSTUNREACH", elapsed_ms);
        let icmp = Some(Icmp { kind: 3, code, from: from.into() });
        Facts::healthy().attempting(vec![Attempt { icmp, ..attempt }])
    }

    #[test]
    fn a_router_that_answers_at_once_is_likely() {
        check_cause(&CAUSE, &answered(1, [10, 0, 0, 1], 0.4), Some(Confidence::Likely));
        check_cause(&CAUSE, &answered(0, [10, 0, 0, 1], 0.4), Some(Confidence::Likely));
        check_cause(&CAUSE, &answered(13, [10, 0, 0, 1], 0.4), Some(Confidence::Possible));
    }

    #[test]
    fn others_are_not_routers() {
        check_cause(&CAUSE, &answered(1, [10, 0, 0, 1], 3100.0), None);
        check_cause(&CAUSE, &answered(1, [10, 0, 0, 2], 0.4), None);
        check_cause(&CAUSE, &answered(13, [10, 0, 0, 9], 0.4), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
