//! The cluster does not serve the key.

use std::net::SocketAddr;

use crate::cause::{Case, Cause, dialogue, local_cli, verified};
use crate::check::state;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// A node that is up for less may just have been started.
const YOUNG_S: u64 = 10;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "cluster-down",
    title: "the cluster does not serve: it has slots without a node, or has lost nodes",
    explain: "\
Redis answered CLUSTERDOWN to a command with a key, and PONG to PING. 'Hash slot not served': no node has the slot of that key; a \
node that was started with 'cluster-enabled yes' and never joined to a cluster has none at all. 'The cluster is down': this node \
sees slots without a node, or too few masters, and serves nothing until that is over.

The text is Redis' own, so this is certain, unless the node was started a few seconds ago: it says so for its first two seconds, \
whatever the cluster is like. What the cluster lacks is told by CLUSTER INFO (cluster_slots_assigned, \
cluster_slots_fail, cluster_known_nodes) and CLUSTER NODES.

Repair: create the cluster, if it was never made; bring lost nodes back, or let their replicas take over; give slots that nobody \
has to a node ('redis-cli --cluster fix'). Where no cluster is wanted at all: 'cluster-enabled no'.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::CLUSTER_DOWN)?;
    let is_unserved = finding.evidence.iter().any(|it| it.says.contains("Hash slot not served"));
    let (sure, summary) = match () {
        () if is_unserved => (Confidence::Certain, "no node of the cluster serves the slot of that key"),
        () if is_young(case.facts) => (
            Confidence::Likely,
            "this node has just been started, and holds its cluster for down for its first seconds: ask again",
        ),
        () => (Confidence::Certain, "this node holds its cluster for down, and serves no keys"),
    };
    let support = Support::new(sure, &[&state::CLUSTER_DOWN], summary).on(finding);
    if sure == Confidence::Certain {
        return Some(support);
    }
    let tells = "still down after some seconds: the cluster lacks nodes or slots; up: it was no more than the start";
    let look = Step::look(Where::RedisHost, format!("{} CLUSTER INFO", local_cli(case.facts)), tells);
    Some(support.because("INFO", "the server is up for less than 10 seconds").settled_by(look))
}

/// True if the node was started a moment ago: it waits two seconds before it says that it serves
/// (`CLUSTER_WRITABLE_DELAY`), and for the others to answer.
fn is_young(facts: &Facts) -> bool {
    let uptime = dialogue(facts).and_then(|dialogue| dialogue.info()?.number("uptime_in_seconds"));
    uptime.is_some_and(|uptime| uptime < YOUNG_S)
}

/// `redis-cli --cluster WHAT`, which logs in as our own redis-cli does.
fn for_the_cluster(facts: &Facts, what: &str) -> String {
    let cli = local_cli(facts);
    let flags = cli.split_once(" --").map_or_else(String::new, |(_, flags)| format!(" --{flags}"));
    let sudo = if cli.starts_with("sudo ") { "sudo " } else { "" };
    format!("{sudo}redis-cli --cluster {what}{flags}")
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let cli = local_cli(facts);
    let at = dialogue(facts).map(|dialogue| dialogue.address.as_str());
    let at = at.filter(|at| at.parse::<SocketAddr>().is_ok()).unwrap_or("HOST:PORT");
    let (create, fix) = (for_the_cluster(facts, "create NODE:PORT …"), for_the_cluster(facts, &format!("fix {at}")));
    let again = is_young(facts).then(|| verified(facts));
    let steps = vec![
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
                "never made: {create}, with the addresses of all its nodes; nodes lost: start them, and let them reach each \
                 other's bus port (10000 above); slots without a node, once all masters are there (it does not give away what a \
                 lost one has): {fix}"
            ),
        ),
    ];
    again.into_iter().chain(steps).collect()
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
        let young = |text| facts(text).info("uptime_in_seconds", "1");
        check_cause(&CAUSE, &young("CLUSTERDOWN The cluster is down"), Some(Confidence::Likely));
        check_cause(&CAUSE, &young("CLUSTERDOWN Hash slot not served"), Some(Confidence::Certain));
        check_cause(&CAUSE, &facts("MOVED 15495 10.0.0.7:7002"), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn the_cluster_is_mended_as_it_is_asked() {
        let facts = Facts::healthy().with(|facts| {
            (facts.ask.target.tls, facts.ask.target.password) = (true, true);
            facts.ask.target.user = Some("app".to_owned());
        });
        let fix = for_the_cluster(&facts, "fix 10.0.0.9:6379");
        assert_eq!(fix, "redis-cli --cluster fix 10.0.0.9:6379 --tls --insecure --user app --askpass");
        assert_eq!(for_the_cluster(&Facts::healthy(), "fix a:1"), "redis-cli --cluster fix a:1");
    }
}
