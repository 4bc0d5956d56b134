//! A password with reserved characters stands raw in a URI.

use crate::cause::{Case, Cause};
use crate::check::target::URL_NOT_ENCODED;
use crate::model::target::ComplaintKind;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "url-not-encoded",
    title: "the URI holds a user or password that is not percent-encoded",
    explain: "A password with `@ / ? # %` or the like was put into a URI as it stands. Those characters end the \
              password early: parsers then fail, look up a piece of the password as a host name (ENOTFOUND), or log \
              in with half of it (WRONGPASS). To be sure, look for such characters between `://` and the last `@`. \
              The repair is to percent-encode the password, or to give it apart from the URI.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&URL_NOT_ENCODED)?;
    let origin = &finding.evidence.first()?.source;
    let summary = format!("the URI given by {origin} is not percent-encoded, so it names no certain host or password");
    let support = Support::new(Confidence::Certain, &[&URL_NOT_ENCODED], summary).on(finding);
    Some(support)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let encode = "python3 -c 'import getpass, urllib.parse; print(urllib.parse.quote(getpass.getpass(), safe=\"\"))'";
    let mut steps = vec![Step::look(
        Where::Here,
        encode,
        "asks for the password without showing it and prints its percent-encoded form, to stand in the URI",
    )];
    for complaint in &facts.ask.target.complaints {
        if let (ComplaintKind::NotEncoded, Some(meant)) = (complaint.kind, &complaint.meant) {
            steps.push(Step::tell(Where::Here, format!("write {meant} ({})", complaint.origin)));
        }
    }
    let apart = "or give the password apart from the URI: REDISCLI_AUTH or --askpass here, a setting of its own in the \
                 application";
    steps.push(Step::tell(Where::Here, apart));
    steps
}

#[cfg(test)]
mod tests {
    use super::super::bad_host_syntax::tests::{facts_with, inferred};
    use super::*;

    #[test]
    fn is_certain_where_a_character_stands_raw() {
        let facts = facts_with(ComplaintKind::NotEncoded, "flag -u", Some("redis://:<password, percent-encoded>@db"));
        let (support, remedy) = inferred(&CAUSE, &facts).unwrap();
        assert_eq!(support.confidence, Confidence::Certain);
        assert!(support.summary.contains("flag -u"));
        assert!(matches!(&remedy[1], Step::Tell { text, .. } if text.contains("redis://:<password")));
    }

    #[test]
    fn is_not_raised_by_health_or_by_a_bad_host() {
        assert!(inferred(&CAUSE, &Facts::healthy()).is_none());
        assert!(inferred(&CAUSE, &facts_with(ComplaintKind::BadHost, "flag -h", None)).is_none());
        assert!(inferred(&CAUSE, &facts_with(ComplaintKind::Ignored, "flag -u", None)).is_none());
    }
}
