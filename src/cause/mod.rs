//! Why. A cause looks at the findings and the facts behind them, and says how surely it explains them; pure.

pub mod auth;
pub mod client;
pub mod dns;
pub mod firewall;
pub mod listen;
pub mod path;
pub mod startup;
pub mod state;

use std::cmp::Reverse;

use crate::check::Judged;
use crate::model::{Code, Confidence, Diagnosis, Finding, Risk, Severity, Step, Support, Supported, Target, Where};
use crate::probe::Facts;

/// A cause, declared as data.
pub struct Cause {
    /// Its id in the fault catalogue; stable.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// The text of `redisdoc explain`.
    pub explain: &'static str,
    /// How surely it explains what was found in this case; `None` if it does not.
    pub infer: fn(&Case) -> Option<Support>,
    /// The steps that repair it here, least risky first. The command that verifies is added to every remedy that does not
    /// end with one of its own (see [`check_again`]).
    pub remedy: fn(&Facts) -> Vec<Step>,
}

/// The families of causes, specific before general; within a family too.
pub static FAMILIES: &[&[&Cause]] = &[
    client::CAUSES,
    dns::CAUSES,
    path::CAUSES,
    firewall::CAUSES,
    auth::CAUSES,
    listen::CAUSES,
    state::CAUSES,
    startup::CAUSES,
];

/// The text of the step that verifies.
const CHECK_AGAIN: &str = "check again";

/// Every cause, in order.
pub fn causes() -> impl Iterator<Item = &'static Cause> {
    FAMILIES.iter().flat_map(|family| family.iter()).copied()
}

/// The facts of one run with what the checks made of them.
pub struct Case<'a> {
    /// The facts.
    pub facts: &'a Facts,
    /// The verdicts.
    pub judged: &'a [Judged],
}

impl Case<'_> {
    /// The finding with this code, if it was raised.
    pub fn raised(&self, code: &Code) -> Option<&Finding> {
        self.findings().find(|finding| finding.code.id == code.id)
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.judged.iter().flat_map(|judged| judged.verdict.findings())
    }
}

/// Finds what explains the findings.
pub fn infer(facts: &Facts, judged: &[Judged]) -> Diagnosis {
    let case = Case { facts, judged };
    let mut causes: Vec<Supported> = causes().filter_map(|cause| supported(cause, &case)).collect();
    causes.sort_by_key(|cause| Reverse((gravity(cause, facts), cause.support.confidence)));
    let causes = without_settled(causes);
    let explained = |code: &Code| causes.iter().any(|cause| explains(cause, code));
    let serious = |finding: &&Finding| finding.code.severity_for(facts.ask.require) > Severity::Info;
    let unexplained =
        case.findings().filter(serious).map(|finding| finding.code).filter(|code| !explained(code)).collect();
    Diagnosis { causes, unexplained }
}

fn supported(cause: &'static Cause, case: &Case) -> Option<Supported> {
    let support = (cause.infer)(case)?;
    let mut remedy = (cause.remedy)(case.facts);
    if !remedy.last().is_some_and(checks_again) {
        remedy.push(check_again(&case.facts.ask.target));
    }
    Some(Supported { id: cause.id, title: cause.title, support, remedy })
}

/// The last step of a remedy: the command that verifies it. A remedy that changes what is asked for (another database, no
/// user) ends with its own, for the same command would fail again.
pub fn check_again(target: &Target) -> Step {
    Step::run(Where::Here, Risk::Safe, CHECK_AGAIN, target.check_command())
}

fn checks_again(step: &Step) -> bool {
    matches!(step, Step::Run { text, .. } if text == CHECK_AGAIN)
}

/// The severity of the worst finding that a cause explains: the root of a failure stands before that of a warning.
fn gravity(cause: &Supported, facts: &Facts) -> Option<Severity> {
    cause.support.explains.iter().map(|code| code.severity_for(facts.ask.require)).max()
}

fn explains(cause: &Supported, code: &Code) -> bool {
    cause.support.explains.iter().any(|explained| explained.id == code.id)
}

/// Drops candidates for findings that a certain cause explains already.
fn without_settled(mut causes: Vec<Supported>) -> Vec<Supported> {
    let settled: Vec<&'static Code> = causes
        .iter()
        .filter(|cause| cause.support.confidence == Confidence::Certain)
        .flat_map(|cause| cause.support.explains.iter().copied())
        .collect();
    causes.retain(|cause| {
        cause.support.confidence == Confidence::Certain
            || cause.support.explains.iter().any(|code| !settled.iter().any(|settled| settled.id == code.id))
    });
    causes
}

#[cfg(test)]
pub(crate) mod tests {
    //! The assertion that the tables of every cause share.

    use super::*;
    use crate::check;

    /// Diagnoses the facts.
    pub fn diagnose(facts: &Facts) -> Diagnosis {
        infer(facts, &check::judge(facts))
    }

    /// Asserts how sure `cause` is of the facts; `None`: it says nothing.
    #[track_caller]
    pub fn check_cause(cause: &'static Cause, facts: &Facts, expected: Option<Confidence>) {
        let judged = check::judge(facts);
        let support = (cause.infer)(&Case { facts, judged: &judged });
        assert_eq!(support.map(|support| support.confidence), expected, "{}", cause.id);
    }

    #[test]
    fn healthy_facts_raise_nothing() {
        let facts = Facts::healthy();
        for judged in check::judge(&facts) {
            assert!(judged.verdict.findings().is_empty(), "{} finds something", judged.check.id);
        }
        let diagnosis = diagnose(&facts);
        assert!(diagnosis.causes.is_empty() && diagnosis.unexplained.is_empty());
    }
}
