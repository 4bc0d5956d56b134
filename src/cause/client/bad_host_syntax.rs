//! The host, or another part of the target, is not written as it has to be.

use crate::cause::{Case, Cause};
use crate::check::target::{BAD_HOST, BAD_VALUE};
use crate::model::target::{Complaint, ComplaintKind};
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "bad-host-syntax",
    title: "the host, or another part of the target, is malformed",
    explain: "A host field takes a bare name or address. With a scheme (`redis://db`), a port (`db:6379`), brackets \
              (`[::1]`), a blank, a list or a variable that was never expanded (`${HOST}`) in it, the resolver \
              refuses the name at once without asking any name server: `Name or service not known`. The same goes \
              for ports outside 1 to 65535, database indexes that are no numbers and unknown URI schemes. The repair \
              is to write each part where it belongs.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let findings: Vec<_> = [&BAD_HOST, &BAD_VALUE].into_iter().filter_map(|code| case.raised(code)).collect();
    let first = findings.first()?.evidence.first()?;
    let codes: Vec<&'static Code> = findings.iter().map(|finding| finding.code).collect();
    let mut support = Support::new(Confidence::Certain, &codes, format!("{}: {}", first.source, first.says));
    for complaint in complaints(case.facts) {
        support = support.because(&complaint.origin, &complaint.says);
    }
    Some(support)
}

fn complaints(facts: &Facts) -> impl Iterator<Item = &Complaint> {
    let malformed = |complaint: &&Complaint| matches!(complaint.kind, ComplaintKind::BadHost | ComplaintKind::BadValue);
    facts.ask.target.complaints.iter().filter(malformed)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let step = |complaint: &Complaint| match &complaint.meant {
        Some(meant) => Step::tell(Where::Here, format!("{}: write {meant}", complaint.origin)),
        None => Step::tell(Where::Here, format!("{}: mend this: {}", complaint.origin, complaint.says)),
    };
    complaints(facts).map(step).collect()
}

#[cfg(test)]
pub mod tests {
    //! Tables of this cause, and what its siblings' tables share.

    use super::*;
    use crate::check;

    /// Healthy facts with one complaint about the target.
    pub fn facts_with(kind: ComplaintKind, origin: &str, meant: Option<&str>) -> Facts {
        let (origin, meant) = (origin.to_owned(), meant.map(ToOwned::to_owned));
        let complaint = Complaint { kind, origin, says: "it is wrong".to_owned(), meant };
        Facts::healthy().with(|facts| facts.ask.target.complaints.push(complaint))
    }

    /// What `cause` says of the facts, as all checks judge them, with its remedy.
    pub fn inferred(cause: &Cause, facts: &Facts) -> Option<(Support, Vec<Step>)> {
        let judged = check::judge(facts);
        let support = (cause.infer)(&Case { facts, judged: &judged })?;
        Some((support, (cause.remedy)(facts)))
    }

    #[test]
    fn is_certain_of_what_is_malformed() {
        let facts = facts_with(ComplaintKind::BadHost, "flag -h", Some("-h db -p 7000"));
        let (support, remedy) = inferred(&CAUSE, &facts).unwrap();
        assert_eq!((support.confidence, support.explains.as_slice()), (Confidence::Certain, &[&BAD_HOST][..]));
        assert_eq!(remedy, [Step::tell(Where::Here, "flag -h: write -h db -p 7000")]);
    }

    #[test]
    fn explains_bad_values_too() {
        let facts = facts_with(ComplaintKind::BadValue, "flag -p", None).with(|facts| {
            let host = facts_with(ComplaintKind::BadHost, "flag -h", None).ask.target.complaints;
            facts.ask.target.complaints.extend(host);
        });
        let (support, remedy) = inferred(&CAUSE, &facts).unwrap();
        assert_eq!((support.explains.len(), support.evidence.len(), remedy.len()), (2, 2, 2));
        assert_eq!(remedy[0], Step::tell(Where::Here, "flag -p: mend this: it is wrong"));
    }

    #[test]
    fn is_not_raised_by_health_or_by_look_alikes() {
        assert!(inferred(&CAUSE, &Facts::healthy()).is_none());
        assert!(inferred(&CAUSE, &facts_with(ComplaintKind::NotEncoded, "flag -u", None)).is_none());
        assert!(inferred(&CAUSE, &facts_with(ComplaintKind::InjectedPort, "flag -p", None)).is_none());
    }
}
