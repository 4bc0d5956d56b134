//! What keeps a cause from being certain, whichever it is: other machines behind the name, facts of another moment, another
//! service that may be meant, a rule that leads elsewhere.

use super::{Case, Cause, listen, redis_host, startup};
use crate::check;
use crate::model::{Code, Confidence, Gap, Step, Support};
use crate::probe::host::firewall::passage::Passage;
use crate::probe::host::system::Init;

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
        Some(look) => Support { confidence: Confidence::Likely, ..support }.settled_by(look),
        None => support,
    }
}

/// Facts that are older than the check may show what was mended since.
fn old_facts(case: &Case) -> Option<Step> {
    let tells = "check with these: the same answer, and this is it";
    let look = || Step::look(redis_host(case.facts), "redisdoc collect -o now.facts", tells);
    case.facts.has_old_host().then(look)
}

/// The server's machine has another service that may be meant for the target.
fn another_service(case: &Case) -> Option<Step> {
    let tells = "another service that is meant for that port, and does not run: start that one; none: this is it";
    let command = "systemctl list-unit-files --type=service; docker ps -a";
    may_be_anothers(case).then(|| Step::look(redis_host(case.facts), command, tells))
}

/// A rule of the server's machine may lead the refused connections elsewhere.
fn led_elsewhere(case: &Case) -> Option<Step> {
    let tells = "a rule with dnat, redirect or DNAT for that port: look where it leads; none: this is it";
    let command = "sudo nft list ruleset; sudo iptables-legacy-save -t nat";
    may_be_led_elsewhere(case).then(|| Step::look(redis_host(case.facts), command, tells))
}

/// True if the server's machine has another service that may be meant for the target, where anything starts services.
fn may_be_anothers(case: &Case) -> bool {
    let Some(host) = case.host() else { return false };
    let starts = host.system.seen().is_some_and(|system| system.init != Init::None);
    let of_port = || case.facts.neighbour();
    let own = case.facts.instance().filter(|it| it.process.is_some() || it.conf.is_some()).or_else(of_port);
    let mut living = host.living();
    let only = living.next().filter(|_| living.next().is_none());
    let of_only = || only.and_then(|server| server.unit.as_deref()).map(|unit| unit.trim_end_matches(".service"));
    let unit = own.and_then(|own| own.unit()).or_else(of_only);
    starts && host.another_may_serve(unit, case.facts.ask.target.port())
}

/// True if a rule of the server's machine may lead the refused connections elsewhere, to a container or another machine: then
/// who listens on it explains nothing.
fn may_be_led_elsewhere(case: &Case) -> bool {
    let refused = case.attempts(&check::tcp::REFUSED).into_iter().filter_map(|attempt| attempt.ip);
    // Loopback is left alone, unless somebody went to great lengths (`route_localnet`).
    let asked = refused.filter(|ip| case.host().is_some() && !ip.is_loopback());
    asked.map(|ip| case.facts.arrival(ip)).any(|passage| match passage {
        Ok(Passage { there, firewall, .. }) => {
            there.translated_by.is_some() || there.may_go_elsewhere || !firewall.unread.is_empty()
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

fn is_among(cause: &Cause, family: &[&Cause]) -> bool {
    family.iter().any(|known| known.id == cause.id)
}
