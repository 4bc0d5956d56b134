//! A nameserver answers, but with a failure.

use super::{lookup, name, own, with_evidence};
use crate::cause::{Case, Cause};
use crate::check::dns::{FAILED, SERVER_FAILURE};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::dns::System;
use crate::probe::path::dns::answers::{Answer, Query};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "name-server-failure",
    title: "the nameserver answers with a failure",
    explain: "A nameserver of this machine answers SERVFAIL (it could not reach or not validate what it must ask \
              itself) or REFUSED (it does not serve us, or not this zone). The system shows EAI_AGAIN, \"Temporary \
              failure in name resolution\", within milliseconds: the same as for nameservers that are silent or \
              closed, so only the answer to a query of our own tells.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let (dns, own) = lookup(case)?;
    let Some(own) = own else {
        // EAI_AGAIN alone: this, or resolver-unreachable.
        case.raised(&FAILED)?;
        let again = matches!(&dns.system, System::Failed { code, .. } if code == "EAI_AGAIN");
        let summary = format!("a nameserver may answer with a failure for {}", name(case.facts));
        let support = Support::new(Confidence::Possible, &[&FAILED], summary);
        let settle = Step::look(Where::Here, "cat /etc/resolv.conf", "which nameservers to ask, one by one");
        return again.then(|| with_evidence(support, dns, []).settled_by(settle));
    };
    case.raised(&SERVER_FAILURE)?;
    let failing: Vec<&Query> = own.settled().into_iter().filter(|query| is_failure(&query.answer)).collect();
    let sure = own.asked().all(|query| !query.answer.is_final()) && !failing.is_empty();
    let confidence = if sure { Confidence::Certain } else { Confidence::Likely };
    let first = failing.first()?;
    let summary = format!("nameserver {} answers {} for {}", first.server, first.answer.says(), name(case.facts));
    let support = Support::new(confidence, &[&SERVER_FAILURE], summary);
    let support = with_evidence(support, dns, own.asked())
        .not("resolver-unreachable", format!("nameserver {} answers", first.server))
        .not("name-not-found", format!("the answer is {}, not NXDOMAIN", first.answer.says()));
    if sure { Some(support) } else { Some(support.settled_by(look_elsewhere())) }
}

fn is_failure(answer: &Answer) -> bool {
    answer.is_answer() && !answer.is_final()
}

fn look_elsewhere() -> Step {
    let tells = "an address: the nameserver works, and fails for the target's zone only; none: it fails for all names";
    Step::look(Where::Here, "getent ahosts example.com", tells)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let mut steps = vec![look_elsewhere()];
    let Some(own) = own(facts) else { return steps };
    let refused = |query: &&Query| query.answer == Answer::Refused;
    let failing = |query: &&Query| is_failure(&query.answer) && query.answer != Answer::Refused;
    if let Some(query) = own.asked().find(refused) {
        let text =
            format!("let nameserver {} serve this machine: its access list or recursion excludes us", query.server);
        steps.push(Step::tell(Where::Network, text));
    }
    if let Some(query) = own.asked().find(failing) {
        let text = format!(
            "look at the log of nameserver {}: it cannot reach the servers it forwards to, or cannot validate what they say",
            query.server
        );
        steps.push(Step::tell(Where::Network, text));
    }
    steps.push(Step::tell(Where::Here, "or name a nameserver that works in /etc/resolv.conf"));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::dns::tests::{check, check_none, without_own};
    use crate::probe::path::dns::answers::Own;

    #[test]
    fn certain_by_the_answer() {
        for answer in [Answer::ServFail, Answer::Refused, Answer::OtherCode(4)] {
            let facts = Facts::lookup_failed("EAI_AGAIN", Own::of(answer.clone(), answer));
            check(&CAUSE, &facts, Some(Confidence::Certain));
        }
    }

    #[test]
    fn less_sure_where_servers_disagree() {
        let own = Own::of(Answer::ServFail, Answer::nx()).and_server([10, 0, 0, 3], Answer::ServFail, Answer::Silent);
        check(&CAUSE, &Facts::lookup_failed("EAI_AGAIN", own), Some(Confidence::Likely));
        check(&CAUSE, &without_own("EAI_AGAIN"), Some(Confidence::Possible));
    }

    #[test]
    fn not_the_look_alikes() {
        check_none(&CAUSE, &Facts::healthy());
        check_none(&CAUSE, &without_own("EAI_FAIL"));
        for answer in [Answer::Silent, Answer::PortClosed, Answer::nx()] {
            check_none(&CAUSE, &Facts::lookup_failed("EAI_AGAIN", Own::of(answer.clone(), answer)));
        }
    }
}
