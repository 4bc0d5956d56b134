//! The name has IPv6 addresses, and nothing gets through to them.

use crate::cause::{Case, Cause, path::ways};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::{Attempt, Outcome};
use crate::probe::path::trace::Trace;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "ipv6-path-broken",
    title: "the name has an IPv6 address, and the way there is broken",
    explain: "\
The name has addresses of both families. IPv4 connects; IPv6 gets no answer, or a router says that it cannot reach the \
address. Clients that try one address after the other wait for their timeout with every connection, and those that take \
only the first address fail. A machine that has no IPv6 at all skips such addresses at once, and is not meant here.

Likely where no port of the IPv6 address answers, or a router reports it; where another port answers, the way is good, and \
only this port is filtered (see firewall-drop): many filters were written for IPv4 alone.

Repair: mend the IPv6 route, or take the AAAA record away until there is one; till then let the client use IPv4.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&tcp::SOME_FAILED)?;
    let attempts = &case.facts.tcp.seen()?.attempts;
    let connected = attempts.iter().find(|attempt| attempt.outcome == Outcome::Connected)?;
    let broken: Vec<&Attempt> = attempts.iter().filter(|attempt| is_v6(attempt) && is_lost(attempt)).collect();
    let first = broken.first()?;
    // IPv6 that works for one address is not broken; and an IPv4 address that fails is another story.
    let others = attempts.iter().any(|attempt| is_v6(attempt) == (attempt.outcome == Outcome::Connected));
    if others || is_v6(connected) {
        return None;
    }
    let trace = case.facts.trace.seen().filter(|trace| Some(trace.to) == first.ip);
    if trace.is_some_and(|trace| trace.alive().is_some()) {
        return None;
    }
    let reported = broken.iter().any(|attempt| attempt.outcome != Outcome::TimedOut);
    let silent = trace.is_some_and(Trace::is_all_silent);
    let confidence = if reported || silent { Confidence::Likely } else { Confidence::Possible };
    let summary = format!("{} connects, and nothing gets through to {}", connected.address, first.address);
    let support = Support::new(confidence, &[&tcp::SOME_FAILED], summary)
        .on(finding)
        .with(trace.map(Trace::silence).unwrap_or_default())
        .with(ways(case.facts, first.ip?))
        .not("not-running", "it accepts connections over IPv4");
    let tells = "no answer on any port, or 'unreachable': the way is broken; an answer: only this port is filtered";
    let command = format!("ping -6 -c 3 {}", first.ip?);
    Some(support.settled_by(Step::look(Where::Here, command, tells)))
}

fn is_v6(attempt: &Attempt) -> bool {
    attempt.ip.is_some_and(|ip| ip.to_canonical().is_ipv6())
}

/// True if nothing came back from the address itself.
fn is_lost(attempt: &Attempt) -> bool {
    let unreachable = [Outcome::HostUnreachable, Outcome::NetUnreachable].contains(&attempt.outcome);
    attempt.outcome == Outcome::TimedOut
        || unreachable && attempt.icmp.is_some_and(|icmp| Some(icmp.from) != attempt.ip)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let host = facts.ask.target.host().unwrap_or("the name");
    vec![
        Step::tell(
            Where::Here,
            format!("till it is mended: let the client use IPv4 for {host} (family 4; redisdoc: -4)"),
        ),
        Step::tell(Where::Network, "mend the IPv6 route, and let ICMPv6 through"),
        Step::tell(Where::Network, format!("or take the AAAA record of {host} away (or its line in /etc/hosts)")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::tcp::Icmp;
    use crate::probe::path::trace::tests::{filtered, silent};

    const V6: [u16; 8] = [0xfd00, 0, 0, 0, 0, 0, 0, 9];

    fn beside_v4(attempt: Attempt) -> Facts {
        Facts::healthy().attempting(vec![attempt, Attempt::connected([10, 0, 0, 9].into())])
    }

    fn timed_out() -> Attempt {
        Attempt::failed(V6.into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0)
    }

    fn traced(trace: Trace) -> Facts {
        let trace = Trace { to: V6.into(), ..trace };
        beside_v4(timed_out()).with(|facts| facts.trace = Observed::Seen(trace))
    }

    #[test]
    fn a_way_on_which_nothing_answers_is_likely_broken() {
        check_cause(&CAUSE, &traced(silent(&[1])), Some(Confidence::Likely));
        check_cause(&CAUSE, &beside_v4(timed_out()), Some(Confidence::Possible));
        let icmp = Some(Icmp { kind: 1, code: 0, from: [0xfd00, 0, 0, 0, 0, 0, 0, 1].into() });
        let unreachable = Attempt { icmp, outcome: Outcome::NetUnreachable, ..timed_out() };
        check_cause(&CAUSE, &beside_v4(unreachable), Some(Confidence::Likely));
    }

    #[test]
    fn a_way_that_is_good_is_another_cause() {
        let mut other = filtered(&[1], &[1], 2);
        other.to = V6.into();
        check_cause(&CAUSE, &traced(other), None);
        check_cause(&CAUSE, &beside_v4(Attempt { outcome: Outcome::Refused, ..timed_out() }), None);
        let v4 = Attempt::failed([10, 0, 0, 8].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
        check_cause(&CAUSE, &beside_v4(v4), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
