//! A tunnel leads to one node of a cluster, and the cluster sends clients to the others.

use crate::cause::{Case, Cause, dialogue};
use crate::check::state;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "tunnel-redirect",
    title: "a tunnel leads to one node of a cluster, and its redirects lead past the tunnel",
    explain: "\
Through 'ssh -L', 'kubectl port-forward', socat or a published port one node of a Redis Cluster answers at a local address. \
A cluster answers for keys of other nodes with MOVED and their own addresses, and clients ask for those addresses when they \
start: from this side of the tunnel they time out, are refused, or are another machine's. PING works, and the application \
does not.

redisdoc asks CLUSTER NODES where a cluster answers at a loopback address, and tries the nodes. With TLS, the certificate \
is seldom valid for 'localhost' either: see certificate-name-mismatch, and use --sni.

Repair: a tunnel that leads to all addresses ('ssh -D' as a SOCKS proxy, a VPN), one forwarding for each node and the \
client's map of addresses (natMap of ioredis, nodeAddressMap of node-redis), or run the application there.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::NODES_UNREACHABLE)?;
    let port = case.facts.ask.target.port()?;
    let summary = "one node answers here; those that it sends clients to cannot be reached from here";
    let mut support = Support::new(Confidence::Likely, &[&state::NODES_UNREACHABLE], summary).on(finding);
    if let Some(own) = other_port(case.facts) {
        support = support.because("INFO", format!("tcp_port:{own}, and port {port} was asked for"));
    }
    let tells =
        "ssh, kubectl, socat, docker-proxy: a tunnel; redis-server: it announces addresses that are not reachable";
    Some(support.settled_by(Step::look(Where::Here, format!("sudo ss -ltnp 'sport = :{port}'"), tells)))
}

/// The port that the server says it has, where another was asked for.
fn other_port(facts: &Facts) -> Option<u64> {
    let own = dialogue(facts)?.info()?.number("tcp_port")?;
    (Some(own) != facts.ask.target.port().map(u64::from)).then_some(own)
}

fn remedy(_: &Facts) -> Vec<Step> {
    vec![
        Step::tell(
            Where::Here,
            "use a way that leads to all nodes: 'ssh -D 1080' as a SOCKS proxy, a VPN, or run the application on that side",
        ),
        Step::tell(
            Where::Here,
            "or forward each node's port, and map the announced addresses in the client (ioredis: natMap; node-redis: \
             nodeAddressMap; Lettuce: a SocketAddressResolver)",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::healthy_host::seen;
    use crate::probe::path::tcp::{Attempt, Outcome};
    use crate::probe::path::tunnel::Nodes;

    fn clustered(outcome: Outcome) -> Facts {
        Facts::at_home().info("redis_mode", "cluster").host(|host| seen(&mut host.processes).servers.clear()).with(
            |facts| {
                let node = Attempt::failed([10, 9, 0, 1].into(), outcome, "ETIMEDOUT", 1_000.0);
                facts.nodes = Observed::Seen(Nodes { attempts: vec![node] });
            },
        )
    }

    #[test]
    fn nodes_that_cannot_be_reached_through_a_tunnel() {
        check_cause(&CAUSE, &clustered(Outcome::TimedOut), Some(Confidence::Likely));
        check_cause(&CAUSE, &clustered(Outcome::Connected), None);
        check_cause(&CAUSE, &Facts::at_home(), None);
    }
}
