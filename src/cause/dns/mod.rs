//! Causes of the family dns: why the target's name has no address, or has it late.

pub mod aaaa_lookup_slow;
pub mod hosts_file_override;
pub mod name_not_found;
pub mod name_server_failure;
pub mod no_address_of_family;
pub mod resolver_unreachable;
pub mod search_list_multiplies;

use super::{Case, Cause};
use crate::model::text::shell_quote;
use crate::model::{Step, Support, Where, escape};
use crate::probe::Facts;
use crate::probe::path::dns::Dns;
use crate::probe::path::dns::answers::{Own, Query};

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &hosts_file_override::CAUSE,
    &name_not_found::CAUSE,
    &no_address_of_family::CAUSE,
    &name_server_failure::CAUSE,
    &aaaa_lookup_slow::CAUSE,
    &search_list_multiplies::CAUSE,
    &resolver_unreachable::CAUSE,
];

/// The nameserver that docker runs in every container of a user-defined network.
const DOCKER: &str = "127.0.0.11";

/// The lookup, and what we found out ourselves.
fn lookup<'a>(case: &Case<'a>) -> Option<(&'a Dns, Option<&'a Own>)> {
    let dns = case.facts.dns.seen()?;
    Some((dns, dns.own.seen()))
}

fn own(facts: &Facts) -> Option<&Own> {
    facts.dns.seen()?.own.seen()
}

/// The target's name, fit to be printed.
fn name(facts: &Facts) -> String {
    facts.dns.seen().map(|dns| escape(dns.name.as_bytes())).unwrap_or_default()
}

/// Adds what the system said, and a few of our queries.
fn with_evidence<'a>(mut support: Support, dns: &Dns, queries: impl IntoIterator<Item = &'a Query>) -> Support {
    const SHOWN: usize = 6;
    support = support.because("getaddrinfo(3)", dns.says());
    support.evidence.extend(queries.into_iter().take(SHOWN).map(Query::evidence));
    support
}

/// The look at what this machine makes of the name.
fn look_up(facts: &Facts, tells: &str) -> Step {
    let host = facts.ask.target.host().unwrap_or_default();
    Step::look(Where::Here, format!("getent ahosts {}", shell_quote(host)), tells)
}

/// The kind of container we run in.
fn container(facts: &Facts) -> Option<&str> {
    facts.vantage.seen()?.container.as_deref()
}

/// True if docker's own nameserver is asked.
fn asks_docker(facts: &Facts) -> bool {
    own(facts).is_some_and(|own| own.config.servers.iter().any(|server| server.address.to_string() == DOCKER))
}

/// What a container platform has to do with names, if we run on one.
fn platform_hints(facts: &Facts) -> Vec<Step> {
    let name = name(facts);
    if container(facts) == Some("kubernetes") {
        let service = name.split('.').next().unwrap_or(&name);
        return vec![
            Step::look(
                Where::Cluster,
                "kubectl get services --all-namespaces",
                "which services there are, and in which namespace: a short name works only inside its own",
            ),
            Step::tell(
                Where::Here,
                format!("from another namespace use the full name: {service}.NAMESPACE.svc.cluster.local"),
            ),
        ];
    }
    if asks_docker(facts) {
        return vec![Step::tell(
            Where::Here,
            format!(
                "docker's nameserver {DOCKER} knows the running containers of the networks that this container is \
                 in: start {name}, put both on one network, and use the service or container name"
            ),
        )];
    }
    Vec::new()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::check;
    use crate::model::{Confidence, Observed};

    /// What the cause says in this case; it must be this sure.
    #[track_caller]
    pub fn check(cause: &Cause, facts: &Facts, want: Option<Confidence>) -> Option<Support> {
        let judged = check::judge(facts);
        let support = (cause.infer)(&Case { facts, judged: &judged });
        assert_eq!(support.as_ref().map(|support| support.confidence), want, "{}: {support:?}", cause.id);
        // Where it is not certain, it says what would settle it.
        assert!(support.iter().all(|s| s.confidence == Confidence::Certain || s.settled_by.is_some()), "{support:?}");
        support
    }

    /// The cause has nothing to say in this case.
    #[track_caller]
    pub fn check_none(cause: &Cause, facts: &Facts) {
        check(cause, facts, None);
    }

    /// A lookup that failed where we could not ask ourselves.
    pub fn without_own(code: &str) -> Facts {
        broken(|dns| {
            dns.system =
                crate::probe::path::dns::System::Failed { code: code.to_owned(), says: "so it says".to_owned() };
            dns.own = Observed::skipped("test");
        })
    }

    /// A lookup that took so long.
    pub fn slow(elapsed_ms: f64, own: Own) -> Facts {
        broken(|dns| {
            dns.elapsed_ms = elapsed_ms;
            dns.own = Observed::Seen(own);
        })
    }

    fn broken(break_it: impl FnOnce(&mut Dns)) -> Facts {
        Facts::healthy().with(|facts| {
            if let Observed::Seen(dns) = &mut facts.dns {
                break_it(dns);
            }
        })
    }
}
