//! A packet filter on this very machine rejects the connection.

use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::Attempt;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "local-firewall",
    title: "a firewall on this machine rejects the connection",
    explain: "\
The ICMP error behind the failed connect came from one of our own addresses: the packet was rejected before it left this \
machine, by an egress rule (nftables or iptables, chain OUTPUT) or, on a Kubernetes node or in a pod, by kube-proxy for \
a Service without endpoints. Applications say 'Connection refused' or 'No route to host', as if the server had said so.

Sure when the target is another machine and this is no Kubernetes node.

Repair: find the rule (nft -a list ruleset; iptables-save and iptables-legacy-save, which do not show each other's \
rules) and let the target's address and port through.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::REJECTED);
    let attempt = attempts.into_iter().find(|attempt| attempt.icmp.is_some_and(|icmp| case.is_own(icmp.from)))?;
    let (ip, from) = (attempt.ip?, attempt.icmp?.from);
    if case.is_own(ip) {
        return None;
    }
    let in_cluster = case.vantage().and_then(|vantage| vantage.container.as_deref()) == Some("kubernetes");
    let confidence = if in_cluster { Confidence::Likely } else { Confidence::Certain };
    let summary = format!("the connection to {} was rejected by this machine itself ({from})", attempt.address);
    let support = Support::new(confidence, &[&tcp::REJECTED], summary)
        .because("ICMP", attempt.says())
        .not("not-running", "the packet never left this machine")
        .not("firewall-reject", format!("the sender of the error, {from}, is our own address"));
    Some(if in_cluster {
        let tells = "no endpoints: kube-proxy rejects connections to the Service";
        support.settled_by(Step::look(Where::Cluster, "kubectl get endpoints", tells))
    } else {
        support
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some(attempt) = rejected(facts) else { return Vec::new() };
    let says = format!("shows the rule that rejects {} (chain with hook output)", attempt.address);
    vec![
        Step::look(Where::Here, "sudo nft -a list ruleset; sudo iptables-legacy-save", says),
        Step::tell(Where::Here, format!("let {} through in the tool that owns the rule", attempt.address)),
    ]
}

fn rejected(facts: &Facts) -> Option<&Attempt> {
    facts.tcp.seen()?.attempts.iter().find(|attempt| attempt.icmp.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::tcp::{Icmp, Outcome};

    fn rejected_by(from: [u8; 4]) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::Refused, "ECONNREFUSED", 0.1);
        let icmp = Some(Icmp { kind: 3, code: 3, from: from.into() });
        Facts::healthy().attempting(vec![Attempt { icmp, ..attempt }])
    }

    #[test]
    fn our_own_address_is_our_own_firewall() {
        check_cause(&CAUSE, &rejected_by([10, 0, 0, 2]), Some(Confidence::Certain));
        check_cause(&CAUSE, &rejected_by([10, 0, 0, 9]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn on_a_kubernetes_node_it_may_be_kube_proxy() {
        let facts = rejected_by([10, 0, 0, 2]).with(|facts| {
            if let Observed::Seen(vantage) = &mut facts.vantage {
                vantage.container = Some("kubernetes".to_owned());
            }
        });
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
    }
}
