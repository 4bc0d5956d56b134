//! What keeps a cause from being certain, whichever it is: other machines behind the name, facts of another moment, another
//! service that may be meant, a rule that leads elsewhere.

use super::{Case, Cause, listen, redis_host, startup};
use crate::check;
use crate::model::{Code, Confidence, Evidence, Gap, Step, Support};
use crate::probe::host::Host;
use crate::probe::host::firewall::passage::Passage;
use crate::probe::host::starter::Starter;

/// The most of what may start another server that is told.
const MOST_TRACES: usize = 4;

/// Why a cause is not certain, and what would settle it.
struct Doubt {
    because: Vec<Evidence>,
    look: Step,
}

impl From<Step> for Doubt {
    fn from(look: Step) -> Self {
        Self { because: Vec::new(), look }
    }
}

/// What a cause says, no surer than the whole of the facts lets it be.
pub fn hold(cause: &Cause, case: &Case, mut support: Support) -> Support {
    if case.facts.has_more_machines() {
        // What one machine shows says nothing of the others that the name leads to.
        support.confidence = support.confidence.min(Confidence::Likely);
    }
    let of_the_machine = [listen::CAUSES, startup::CAUSES].iter().any(|family| is_among(cause, family));
    let by_its_facts = support.explains.iter().any(|code| is_of_the_host(code));
    if support.confidence < Confidence::Certain {
        return support;
    }
    let old = by_its_facts.then(|| old_facts(case)).flatten();
    let another = || if of_the_machine && by_its_facts { another_service(case) } else { None };
    let led = || if of_the_machine { led_elsewhere(case) } else { None };
    match old.or_else(another).or_else(led) {
        Some(Doubt { because, look }) => {
            Support { confidence: Confidence::Likely, ..support }.with(because).settled_by(look)
        }
        None => support,
    }
}

/// Facts that are older than the check may show what was mended since.
fn old_facts(case: &Case) -> Option<Doubt> {
    let tells = "check with these: the same answer, and this is it";
    let look = || Step::look(redis_host(case.facts), "redisdoc collect -o now.facts", tells);
    case.facts.has_old_host().then(look).map(Doubt::from)
}

/// The server's machine has another service that may be meant for the target, where anything starts services.
fn another_service(case: &Case) -> Option<Doubt> {
    if case.facts.answered_at().is_some() {
        // Who answers is the one that is asked.
        return None;
    }
    let others = case.facts.other_starters();
    let host = case.host().filter(|_| !others.is_empty())?;
    let tells = "another service that is meant for that port, and does not run: start that one; none: this is it";
    let command = "systemctl list-unit-files --type=service; docker ps -a";
    let look = Step::look(redis_host(case.facts), command, tells);
    Some(Doubt { because: traces(host, &others), look })
}

/// What else may start a server, as evidence of why something is not certain.
pub fn traces(host: &Host, others: &[Starter]) -> Vec<Evidence> {
    let evidence = |other: &Starter| match other {
        Starter::Service(unit) => {
            Evidence::new(host.source(&unit.file), format!("{} starts a Redis server", unit.name))
        }
        Starter::Trace(trace) => Evidence::new(host.source(*trace), "it may start a Redis server"),
    };
    others.iter().take(MOST_TRACES).map(evidence).collect()
}

/// A rule of the server's machine may lead the refused connections elsewhere.
fn led_elsewhere(case: &Case) -> Option<Doubt> {
    let tells = "a rule with dnat, redirect or DNAT for that port: look where it leads; none: this is it";
    let command = "sudo nft list ruleset; sudo iptables-legacy-save -t nat";
    may_be_led_elsewhere(case).then(|| Step::look(redis_host(case.facts), command, tells)).map(Doubt::from)
}

/// True if a rule of the server's machine may lead the refused connections elsewhere, to a container or another machine: then
/// who listens on it explains nothing.
fn may_be_led_elsewhere(case: &Case) -> bool {
    let refused = case.attempts(&check::tcp::REFUSED).into_iter().filter_map(|attempt| attempt.ip);
    // Loopback is left alone, unless somebody went to great lengths (`route_localnet`).
    let asked = refused.filter(|ip| case.host().is_some() && !ip.is_loopback());
    asked.map(|ip| case.facts.arrival(ip)).any(|passage| match passage {
        Ok(Passage { there, firewall, .. }) => {
            there.translated_by.is_some()
                || there.may_go_elsewhere
                || firewall.unread.iter().any(|unread| !unread.source.is_beside())
        }
        // Facts of a time when rules were not looked at.
        Err(Gap::Skipped(_)) => false,
        Err(Gap::Hidden(_)) => true,
    })
}

/// True if a check of the server's machine raises it.
fn is_of_the_host(code: &Code) -> bool {
    check::CHECKS.iter().any(|check| check.level.is_none() && check.codes.iter().any(|known| known.id == code.id))
}

/// True for a cause of this family.
pub fn is_among(cause: &Cause, family: &[&Cause]) -> bool {
    family.iter().any(|known| known.id == cause.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::diagnose;
    use crate::probe::Facts;
    use crate::probe::healthy_host::seen;

    #[test]
    fn what_may_start_another_server_is_named_where_it_takes_the_certainty() {
        let sure = |facts: &Facts| diagnose(facts).causes.into_iter().map(|cause| cause.support.confidence).max();
        let down = Facts::at_home().not_running();
        assert_eq!(sure(&down), Some(Confidence::Certain));
        let traced = down.host(|host| seen(&mut host.system).hints.push("/etc/cron.d/r".to_owned()));
        assert_eq!(sure(&traced), Some(Confidence::Likely));
        let causes = diagnose(&traced).causes;
        let named =
            |cause: &crate::model::Supported| cause.support.evidence.iter().any(|it| it.source == "/etc/cron.d/r");
        assert!(causes.iter().any(named));
        // Who answers is meant, whatever else may be started.
        let open = Facts::at_home().running_with("protected-mode", "no").listening(&["0.0.0.0:6379"]);
        let open = open.host(|host| seen(&mut host.system).hints.push("/etc/cron.d/r".to_owned()));
        assert_eq!(sure(&open), Some(Confidence::Certain));
    }
}
