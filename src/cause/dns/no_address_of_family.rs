//! The name exists, but without an address.

use super::{look_up, lookup, name, platform_hints, with_evidence};
use crate::cause::{Case, Cause};
use crate::check::dns::{NO_ADDRESS, hosts_exclude};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::dns::answers::{Answer, Outcome};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "no-address-of-family",
    title: "the name exists but has no address",
    explain: "Nameservers know the name and give neither an IPv4 nor an IPv6 address for it (NODATA; glibc says \
              EAI_NODATA, \"No address associated with hostname\"). The record is missing, or the container or pod \
              behind the name is not running: docker keeps the name of a stopped container without an address.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    case.raised(&NO_ADDRESS)?;
    let (dns, own) = lookup(case)?;
    let name = name(case.facts);
    let support = |confidence, summary: String| Support::new(confidence, &[&NO_ADDRESS], summary);
    let Some(own) = own else {
        let settle = look_up(case.facts, "nothing: the name has no address of any family");
        let summary = format!("the system's resolver knows {name}, but no address");
        return Some(with_evidence(support(Confidence::Likely, summary), dns, []).settled_by(settle));
    };
    let family = case.facts.ask.target.family;
    // Addresses of the other family only are a matter of -4 or -6: see address-family-pinned.
    if hosts_exclude(own, family) || own.outcome(family) == Outcome::OtherFamily {
        return None;
    }
    let empty = |answer: &Answer| matches!(answer, Answer::NoData { .. } | Answer::NxDomain { .. });
    let sure = own.outcome(family) == Outcome::NoData
        && own.asked().all(|query| empty(&query.answer) || !query.answer.is_answer())
        && own.settled().iter().all(|query| query.answer.is_final());
    let confidence = if sure { Confidence::Certain } else { Confidence::Likely };
    let summary = format!("{name} exists in DNS, but has neither an IPv4 nor an IPv6 address");
    let support = with_evidence(support(confidence, summary), dns, own.asked());
    if sure {
        return Some(
            support
                .not("name-not-found", "the answer is an empty one, not NXDOMAIN")
                .not("address-family-pinned", "there is no address of the other family either"),
        );
    }
    Some(support.settled_by(look_up(case.facts, "an address: nameservers disagree about the name")))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let name = name(facts);
    let mut steps = vec![look_up(facts, "the addresses of the name; nothing means that it still has none")];
    steps.extend(platform_hints(facts));
    steps.push(Step::tell(Where::RedisHost, format!("see that what {name} stands for is running")));
    steps.push(Step::tell(Where::Network, format!("make an A or AAAA record for {name}")));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::dns::tests::{check, check_none};
    use crate::model::Family;
    use crate::probe::path::dns::answers::Own;

    #[test]
    fn certain_where_both_answers_are_empty() {
        let facts = |own| Facts::lookup_failed("EAI_NODATA", own);
        check(&CAUSE, &facts(Own::of(Answer::none(), Answer::none())), Some(Confidence::Certain));
        let failing = Own::of(Answer::none(), Answer::ServFail);
        check(&CAUSE, &facts(failing), Some(Confidence::Likely));
    }

    #[test]
    fn not_where_the_other_family_has_one_or_the_name_is_unknown() {
        check_none(&CAUSE, &Facts::healthy());
        let pinned = Facts::lookup_failed("EAI_NODATA", Own::of(Answer::none(), Answer::aaaa()));
        check_none(&CAUSE, &pinned.with(|facts| facts.ask.target.family = Family::V4));
        check_none(&CAUSE, &Facts::lookup_failed("EAI_NONAME", Own::of(Answer::nx(), Answer::nx())));
    }
}
