//! The cluster does not serve the key.

use crate::cause::{Case, Cause, dialogue, local_cli};
use crate::check::state;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "cluster-down",
    title: "the cluster does not serve: it has slots without a node, or has lost nodes",
    explain: "\
Redis answered CLUSTERDOWN to a command with a key, and PONG to PING. 'Hash slot not served': no node has the slot of that key; a \
node that was started with 'cluster-enabled yes' and never joined to a cluster has none at all. 'The cluster is down': this node \
sees slots without a node, or too few masters, and serves nothing until that is over.

The text is Redis' own, so this is certain. What the cluster lacks is told by CLUSTER INFO (cluster_slots_assigned, \
cluster_slots_fail, cluster_known_nodes) and CLUSTER NODES.

Repair: create the cluster, if it was never made; bring lost nodes back, or let their replicas take over; give slots that nobody \
has to a node ('redis-cli --cluster fix'). Where no cluster is wanted at all: 'cluster-enabled no'.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::CLUSTER_DOWN)?;
    let is_unserved = finding.evidence.iter().any(|it| it.says.contains("Hash slot not served"));
    let summary = if is_unserved {
        "no node of the cluster serves the slot of that key"
    } else {
        "this node holds its cluster for down, and serves no keys"
    };
    Some(Support::new(Confidence::Certain, &[&state::CLUSTER_DOWN], summary).on(finding))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let cli = local_cli(facts);
    let at = dialogue(facts).map_or("HOST:PORT", |dialogue| dialogue.address.as_str());
    vec![
        Step::look(
            Where::RedisHost,
            format!("{cli} CLUSTER INFO"),
            "cluster_known_nodes:1 and cluster_slots_assigned:0: the cluster was never made; cluster_slots_assigned below 16384: \
             slots without a node; cluster_slots_fail above 0: their nodes are gone",
        ),
        Step::look(
            Where::RedisHost,
            format!("{cli} CLUSTER NODES"),
            "which nodes are 'fail' or 'handshake', or have no slots",
        ),
        Step::tell(
            Where::RedisHost,
            format!(
                "never made: redis-cli --cluster create with the addresses of all its nodes; nodes lost: start them, and let them \
                 reach each other's bus port (10000 above); slots without a node: redis-cli --cluster fix {at}"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::reply::{Command, Reply};

    #[test]
    fn the_text_is_certain() {
        let facts = |text| Facts::healthy().replying(Command::Exists, Reply::Integer(0)).erring(Command::Exists, text);
        check_cause(&CAUSE, &facts("CLUSTERDOWN Hash slot not served"), Some(Confidence::Certain));
        check_cause(&CAUSE, &facts("CLUSTERDOWN The cluster is down"), Some(Confidence::Certain));
        check_cause(&CAUSE, &facts("MOVED 15495 10.0.0.7:7002"), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
