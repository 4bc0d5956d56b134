//! No setting named a host, so the default was tried.

use crate::cause::{Case, Cause};
use crate::check::target::DEFAULTED;
use crate::model::{Code, Confidence, Level, Severity, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "target-defaulted",
    title: "the host was never configured, so the default 127.0.0.1 is used",
    explain: "A variable, file or secret that should name the server was not loaded, or is called otherwise than the \
              library expects. Most client libraries then fall back to 127.0.0.1:6379 without a word, and the \
              refusal that follows looks like a server that is down. To be sure, compare the address in the error \
              with the one that was configured. The repair is to set the variable that the library really reads.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let failures = failures(case);
    if let Some(finding) = case.raised(&DEFAULTED) {
        let codes: Vec<&'static Code> = std::iter::once(&DEFAULTED).chain(failures).collect();
        let summary = format!("settings were asked for and name no host, so {} is used", case.facts.ask.target.place());
        let support = Support::new(Confidence::Likely, &codes, summary).on(finding);
        return Some(support.settled_by(Step::tell(
            Where::Here,
            "look up how the application names its Redis settings: redisdoc reads REDIS_URL, REDIS_HOST and their like",
        )));
    }
    let unused = unused(case.facts);
    if failures.is_empty() || unused.is_empty() || !case.facts.ask.target.host_is_default() {
        return None;
    }
    let place = case.facts.ask.target.place();
    let summary = format!("no target was given, so {place} was tried, while {} goes unused", unused.join(", "));
    Some(
        Support::new(Confidence::Possible, &failures, summary)
            .because("environment", format!("{} set and not used", unused.join(", ")))
            .settled_by(Step::look(
                Where::Here,
                "redisdoc check --env",
                "whether the target in the environment answers",
            )),
    )
}

/// The failures of connecting that a wrong target would explain.
fn failures(case: &Case) -> Vec<&'static Code> {
    let no_connection = case.facts.tcp.seen().is_some_and(|tcp| tcp.connected().is_none());
    let failure =
        |code: &&'static Code| code.id.starts_with("tcp/") && code.severity_for(Level::Reachable) == Severity::Fail;
    case.findings().map(|finding| finding.code).filter(|_| no_connection).filter(failure).collect()
}

fn unused(facts: &Facts) -> &[String] {
    facts.vantage.seen().map_or(&[], |vantage| &vantage.unused_settings)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    if facts.ask.target.searched.is_empty() {
        return vec![Step::look(Where::Here, "redisdoc check --env", "whether the target in the environment answers")];
    }
    let searched = facts.ask.target.searched.join(" and ");
    vec![
        Step::tell(Where::Here, format!("set REDIS_URL or REDIS_HOST, or what the application reads, in {searched}")),
        Step::tell(Where::Here, "restart the application: a process keeps the environment it was started with"),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::bad_host_syntax::tests::inferred;
    use super::*;
    use crate::check::{self, Judged};
    use crate::model::target::Part;
    use crate::model::{Finding, Judgement, Observed, Verdict};
    use crate::probe::path::tcp::{Attempt, Outcome};

    static REFUSED: Code = Code {
        id: "tcp/refused",
        severity: Severity::Fail,
        breaks: Level::Reachable,
        beyond: Severity::Fail,
        title: "connection refused",
        explain: "",
    };

    fn searched(facts: &mut Facts) {
        facts.ask.target.searched = vec!["environment".to_owned()];
    }

    fn defaulted(facts: &mut Facts) {
        facts.ask.target.given_by.insert(Part::Host, "default".to_owned());
        if let Observed::Seen(vantage) = &mut facts.vantage {
            vantage.unused_settings = vec!["REDIS_URL".to_owned()];
        }
    }

    fn refused(facts: &mut Facts) {
        if let Observed::Seen(tcp) = &mut facts.tcp {
            let ip = [127, 0, 0, 1].into();
            tcp.attempts = vec![Attempt::failed(ip, Outcome::Refused, "ECONNREFUSED", 0.1)];
        }
    }

    /// What the cause says where, besides what `check/target.rs` finds, the connection was refused.
    fn when_refused(facts: &Facts) -> Option<Support> {
        let facts = facts.clone().with(refused);
        let target =
            Judged { check: &check::target::CHECK, verdict: Verdict::of((check::target::CHECK.judge)(&facts)) };
        let finding = Finding::new(&REFUSED, "connect(2)", "ECONNREFUSED");
        let verdict = Verdict::Judged(Judgement::pass("refused").finding([finding]));
        let judged = [target, Judged { check: &check::tcp::CHECK, verdict }];
        infer(&Case { facts: &facts, judged: &judged })
    }

    #[test]
    fn is_likely_where_settings_were_sought_in_vain() {
        let facts = Facts::healthy().with(searched).with(defaulted);
        let (support, remedy) = inferred(&CAUSE, &facts).unwrap();
        assert_eq!((support.confidence, support.explains.as_slice()), (Confidence::Likely, &[&DEFAULTED][..]));
        assert!(matches!(&remedy[0], Step::Tell { text, .. } if text.ends_with("in environment")));
        let explains: Vec<_> = when_refused(&facts).unwrap().explains.iter().map(|code| code.id).collect();
        assert_eq!(explains, ["target/defaulted", "tcp/refused"]);
    }

    #[test]
    fn is_possible_where_settings_go_unused() {
        let support = when_refused(&Facts::healthy().with(defaulted)).unwrap();
        assert_eq!((support.confidence, support.explains.as_slice()), (Confidence::Possible, &[&REFUSED][..]));
        assert!(support.settled_by.is_some());
        assert_eq!(remedy(&Facts::healthy()).len(), 1);
    }

    #[test]
    fn is_not_raised_by_health_or_by_look_alikes() {
        assert!(inferred(&CAUSE, &Facts::healthy()).is_none());
        assert!(inferred(&CAUSE, &Facts::healthy().with(defaulted)).is_none(), "the default answers");
        assert!(when_refused(&Facts::healthy()).is_none(), "a host was given");
        let unset = Facts::healthy().with(|facts| {
            facts.ask.target.given_by.insert(Part::Host, "default".to_owned());
        });
        assert!(when_refused(&unset).is_none(), "nothing is set");
    }
}
