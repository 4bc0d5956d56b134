//! Where a cluster would send a client that reached it over loopback: the addresses of its nodes, and whether they can be
//! reached from here. Through a tunnel the first node answers, and the others are somewhere else.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::nodes::Node;
use super::redis::{Redis, auth_line, line};
use super::reply::{Command, Reply};
use super::talk::Talk;
use super::tcp::{self, Attempt, Dials};
use crate::model::{Ask, BlockerKind, Observed, Secret};
use crate::sys::{Clock, clock};

/// The most nodes that are tried.
const MOST: usize = 16;
/// How long asking for them, and trying all of them at once, may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The nodes of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Nodes {
    /// One attempt for each address that the cluster announces, and that can be tried.
    pub attempts: Vec<Attempt>,
}

/// Asks a cluster that was reached over loopback for its nodes, and tries them.
pub async fn gather(
    ask: &Ask,
    password: Option<&Secret>,
    dials: &Dials,
    redis: &Observed<Redis>,
    clock: &Clock,
) -> Observed<Nodes> {
    let dialogue = redis.seen().and_then(Redis::preferred);
    let in_cluster = |name| dialogue.and_then(|it| it.info()).and_then(|info| info.get(name)) == Some("cluster");
    let address = dialogue.and_then(|dialogue| dialogue.address.parse::<SocketAddr>().ok());
    let (Some(address), true) =
        (address.filter(|at| at.ip().is_loopback()), in_cluster("redis_mode") || in_cluster("server_mode"))
    else {
        return Observed::skipped("no cluster was reached over loopback");
    };
    let deadline = clock.end().min(clock::now() + PATIENCE);
    let Some(dial) = dials.get(&address.to_string()) else { return Observed::needs("tcp") };
    let Some(stream) = dial.again(deadline).await else { return Observed::needs("tcp") };
    let mut talk = Talk::new(&stream, password);
    let lines: Vec<_> = auth_line(ask, password).into_iter().chain([line(Command::ClusterNodes, &["NODES"])]).collect();
    talk.say(&lines, deadline).await;
    talk.listen(deadline).await;
    let said = talk.conclude();
    match said.reply(Command::ClusterNodes) {
        Some(Reply::Nodes(nodes)) => Observed::Seen(Nodes { attempts: try_all(nodes, clock).await }),
        Some(Reply::Error(error)) => Observed::hidden(BlockerKind::Permission, format!("redis replied {}", error.text)),
        _ => Observed::hidden(BlockerKind::Failed, "it did not tell its nodes"),
    }
}

async fn try_all(nodes: &[Node], clock: &Clock) -> Vec<Attempt> {
    let deadline = clock.end().min(clock::now() + PATIENCE);
    // A node without an address has port 0.
    let address = |node: &Node| Some(SocketAddr::new(node.host.parse().ok()?, node.port));
    let addresses = nodes.iter().filter(|node| node.port > 0).filter_map(address).take(MOST);
    let mut tries = tokio::task::JoinSet::new();
    for address in addresses {
        tries.spawn(tcp::once(address, deadline));
    }
    let mut attempts = tries.join_all().await;
    attempts.sort_by(|a, b| a.address.cmp(&b.address));
    attempts
}
