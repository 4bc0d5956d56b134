//! The platform injected an address into the variable that the application reads its port from.

use crate::cause::{Case, Cause};
use crate::check::target::INJECTED_PORT;
use crate::model::target::ComplaintKind;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "injected-port-variable",
    title: "a variable of the container platform collides with the port setting",
    explain: "Kubernetes gives each pod, for each Service of its namespace, variables like \
              REDIS_PORT=tcp://10.108.226.199:6379, and Docker's links do the same. An application that reads \
              REDIS_PORT for its port gets an address: NaN, `invalid port`, or a URI like redis:tcp://…. It appears \
              when somebody creates a Service called `redis`, and only in pods started afterwards. To be sure, look \
              at the variable's value inside the container. The repair is to switch service links off for the pod, \
              or to set the variable explicitly.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&INJECTED_PORT)?;
    let origin = &finding.evidence.first()?.source;
    let summary = format!("{origin} holds an address (tcp://…) where a port is meant: a container platform sets it so");
    let support = Support::new(Confidence::Certain, &[&INJECTED_PORT], summary).on(finding);
    match container(case.facts) {
        Some(kind) => Some(support.because("this machine", format!("we run in a container ({kind})"))),
        None => Some(support),
    }
}

fn container(facts: &Facts) -> Option<&str> {
    facts.vantage.seen()?.container.as_deref()
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let injected = facts.ask.target.complaints.iter().filter(|complaint| complaint.kind == ComplaintKind::InjectedPort);
    let mut steps: Vec<Step> = injected
        .filter_map(|complaint| {
            Some(Step::tell(Where::Here, format!("set it explicitly: {}", complaint.meant.as_ref()?)))
        })
        .collect();
    let kubernetes = "in Kubernetes, set enableServiceLinks: false in the pod's spec, or give the Service a name other \
                      than redis; pods take it up when they are created anew";
    let docker = "with Docker, replace links by a network of the containers' own, where names need no variables";
    match container(facts) {
        Some("kubernetes") => steps.push(Step::tell(Where::Cluster, kubernetes)),
        Some("docker") => steps.push(Step::tell(Where::Here, docker)),
        _ => steps.extend([Step::tell(Where::Cluster, kubernetes), Step::tell(Where::Here, docker)]),
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::bad_host_syntax::tests::{facts_with, inferred};
    use super::*;
    use crate::model::Observed;

    fn in_container(facts: Facts, kind: &str) -> Facts {
        facts.with(|facts| {
            if let Observed::Seen(vantage) = &mut facts.vantage {
                vantage.container = Some(kind.to_owned());
            }
        })
    }

    #[test]
    fn is_certain_of_an_injected_address() {
        let facts = facts_with(ComplaintKind::InjectedPort, "env REDIS_PORT", Some("REDIS_PORT=6379"));
        let (support, remedy) = inferred(&CAUSE, &facts).unwrap();
        assert_eq!((support.confidence, support.evidence.len(), remedy.len()), (Confidence::Certain, 1, 3));
        assert_eq!(remedy[0], Step::tell(Where::Here, "set it explicitly: REDIS_PORT=6379"));
    }

    #[test]
    fn advises_for_the_platform_it_runs_on() {
        for (kind, on) in [("kubernetes", Where::Cluster), ("docker", Where::Here)] {
            let facts = in_container(facts_with(ComplaintKind::InjectedPort, "env REDIS_PORT", None), kind);
            let (support, remedy) = inferred(&CAUSE, &facts).unwrap();
            assert!(support.evidence[1].says.contains(kind));
            assert!(matches!(remedy.as_slice(), [Step::Tell { on: place, .. }] if *place == on));
        }
    }

    #[test]
    fn is_not_raised_by_health_or_by_another_bad_port() {
        assert!(inferred(&CAUSE, &in_container(Facts::healthy(), "kubernetes")).is_none());
        assert!(inferred(&CAUSE, &facts_with(ComplaintKind::BadValue, "env REDIS_PORT", None)).is_none());
    }
}
