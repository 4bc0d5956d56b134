//! `localhost` inside a container is the container itself.

use crate::cause::{Case, Cause};
use crate::check::{process, tcp};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::path::vantage::is_this_machine;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "localhost-in-container",
    title: "localhost inside a container is the container itself",
    explain: "\
The target is a loopback address (127.0.0.1, ::1, localhost), and redisdoc runs in a container. A container has a \
network of its own: its loopback leads to nothing but its own processes, never to the host and never to another \
container. When Redis runs beside it, the connection is refused although Redis is fine. Where IPv6 is off in the \
container, some clients say 'Cannot assign requested address' instead: that is the answer for ::1.

It is likely, not certain, because a Redis may be meant to run in this very container (or in the same pod, which shares \
its network).

Repair: use the name of the Redis service (docker compose and Kubernetes give each one a name) and put both on the same \
network; for a Redis on the host itself, use host.docker.internal with extra_hosts: host-gateway.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let container = case.vantage()?.container.clone()?;
    let attempts: Vec<_> = [&tcp::REFUSED, &tcp::NO_ADDRESS].into_iter().flat_map(|code| case.attempts(code)).collect();
    let all_loopback = !attempts.is_empty() && attempts.iter().all(|attempt| attempt.ip.is_some_and(is_this_machine));
    // Whoever is at home here may well be who is meant: where it listens, and where not, is seen.
    let is_at_home = |host: &Host| host.living().next().is_some();
    let seen_here = case.host().is_some_and(is_at_home) || case.raised(&process::PROXY_ELSEWHERE).is_some();
    if !all_loopback || seen_here {
        return None;
    }
    let host = case.facts.ask.target.host().unwrap_or_default();
    let summary = format!("{host} means this {container} container, and no Redis listens in it");
    let mut support = Support::new(Confidence::Likely, &[&tcp::REFUSED, &tcp::NO_ADDRESS], summary)
        .because("vantage", format!("redisdoc runs in a {container} container"))
        .settled_by(Step::look(
            Where::Here,
            "getent hosts redis",
            "an address: a service of that name is on this network; use the name your compose file or Service gives it",
        ));
    for attempt in attempts {
        support = support.because("connect(2)", attempt.says());
    }
    Some(support)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let port = facts.ask.target.port().unwrap_or_default();
    let kind = facts.vantage.seen().and_then(|vantage| vantage.container.as_deref());
    let name = match kind {
        Some("kubernetes") => {
            "the name of the Redis Service (SERVICE.NAMESPACE.svc.cluster.local from another namespace)"
        }
        _ => "the name of the Redis service or container, and put both on the same network (docker compose does)",
    };
    vec![
        Step::tell(Where::Here, format!("in the application's settings, instead of localhost use {name}")),
        Step::tell(
            Where::Here,
            format!(
                "if Redis runs on the host itself: add 'extra_hosts: [\"host.docker.internal:host-gateway\"]', use \
                 host.docker.internal:{port}, and let Redis bind the address of the docker bridge"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::tcp::{Attempt, Outcome};

    fn refused(ip: [u8; 4], container: Option<&str>) -> Facts {
        let attempt = Attempt::failed(ip.into(), Outcome::Refused, "ECONNREFUSED", 0.1);
        Facts::healthy().attempting(vec![attempt]).with(|facts| {
            if let Observed::Seen(vantage) = &mut facts.vantage {
                vantage.container = container.map(str::to_owned);
            }
        })
    }

    #[test]
    fn loopback_refused_in_a_container_is_likely() {
        check_cause(&CAUSE, &refused([127, 0, 0, 1], Some("docker")), Some(Confidence::Likely));
    }

    #[test]
    fn outside_or_to_another_address_it_is_not() {
        check_cause(&CAUSE, &refused([127, 0, 0, 1], None), None);
        check_cause(&CAUSE, &refused([10, 0, 0, 9], Some("docker")), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
