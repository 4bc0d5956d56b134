//! Of several addresses that the name has, one does not serve.

use super::ways;
use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::{Attempt, Outcome};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "endpoint-dead",
    title: "one of the addresses of the name does not serve",
    explain: "\
The name has several addresses of one family; some accept connections, and another does not: a machine or pod that is gone \
and still has its record, or a Redis that does not run at one of them. Clients take one address or another, so that it works \
one time and not the next; those that try all of them wait for the dead one first.

That it does not accept is sure, and the finding names the address. Why, is told by a check of that address alone: its Redis \
may be stopped, or a firewall may stand before it. So it is likely where something said no (a reset, or neighbour discovery in \
vain), and possible where nothing answered.

Repair: start the Redis at that address, or take the address out of the name.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&tcp::SOME_FAILED)?;
    let dead = dead(case.facts);
    let first = *dead.first()?;
    let said = dead.iter().all(|attempt| attempt.outcome != Outcome::TimedOut);
    let confidence = if said { Confidence::Likely } else { Confidence::Possible };
    let serving = case.facts.tcp.seen()?.connected()?;
    let which: Vec<&str> = dead.iter().map(|attempt| attempt.address.as_str()).collect();
    let verb = if dead.len() == 1 { "does" } else { "do" };
    let summary = format!("{} accepts connections, and {} {verb} not", serving.address, which.join(", "));
    Some(
        Support::new(confidence, &[&tcp::SOME_FAILED], summary)
            .on(finding)
            .with(ways(case.facts, first.ip?))
            .settled_by(alone(case.facts, first)?),
    )
}

/// The failed attempts to addresses of which others of the same family serve: a family that is broken is another story.
fn dead(facts: &Facts) -> Vec<&Attempt> {
    let attempts = facts.tcp.seen().map_or(&[][..], |tcp| &tcp.attempts);
    let six = |attempt: &Attempt| attempt.ip.map(|ip| ip.to_canonical().is_ipv6());
    let serves = |attempt: &&Attempt| {
        attempts.iter().any(|other| other.outcome == Outcome::Connected && six(other) == six(attempt))
    };
    attempts.iter().filter(|attempt| attempt.outcome != Outcome::Connected).filter(serves).collect()
}

/// The check of one address.
fn alone(facts: &Facts, attempt: &Attempt) -> Option<Step> {
    let command = format!("redisdoc check -h {} -p {}", attempt.ip?, facts.ask.target.port()?);
    Some(Step::look(Where::Here, command, "says what is wrong with that address alone"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let dead = dead(facts);
    let mut steps: Vec<Step> = dead.iter().filter_map(|attempt| alone(facts, attempt)).collect();
    let name = facts.ask.target.host().unwrap_or("the name");
    let which: Vec<String> = dead.iter().filter_map(|attempt| Some(attempt.ip?.to_string())).collect();
    let text = format!(
        "start what serves at {which}, or take {which} out of {name}: its DNS record, line in /etc/hosts, or endpoint",
        which = which.join(", ")
    );
    steps.push(Step::tell(Where::Network, text));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::tcp::Icmp;

    fn beside(others: Vec<Attempt>) -> Facts {
        Facts::healthy().attempting([vec![Attempt::connected([10, 0, 0, 9].into())], others].concat())
    }

    fn failed(outcome: Outcome) -> Attempt {
        Attempt::failed([10, 0, 0, 7].into(), outcome, "", 0.3)
    }

    #[test]
    fn an_address_of_several_that_says_no_is_likely() {
        let facts = beside(vec![failed(Outcome::Refused)]);
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
        let first = &remedy(&facts)[0];
        assert!(matches!(first, Step::Look { command, .. } if command == "redisdoc check -h 10.0.0.7 -p 6379"));
        let icmp = Some(Icmp { kind: 3, code: 1, from: [10, 0, 0, 2].into() });
        let gone = Attempt { icmp, ..failed(Outcome::HostUnreachable) };
        check_cause(&CAUSE, &beside(vec![gone]), Some(Confidence::Likely));
        check_cause(&CAUSE, &beside(vec![failed(Outcome::TimedOut)]), Some(Confidence::Possible));
    }

    #[test]
    fn a_family_that_fails_or_all_of_them_are_another_story() {
        let six = Attempt::failed("fd00::9".parse().unwrap(), Outcome::TimedOut, "", 5_000.0);
        check_cause(&CAUSE, &beside(vec![six]), None);
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![failed(Outcome::Refused)]), None);
        check_cause(&CAUSE, &beside(Vec::new()), None);
    }
}
