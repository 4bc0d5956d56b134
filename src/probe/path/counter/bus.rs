//! Is it the bus port of a cluster? The nodes of a cluster speak a protocol of their own on the port that is 10000 above the
//! clients' port, unless `cluster-port` names another, and reset whoever speaks RESP there. The port for clients is asked
//! which it is: `CLUSTER NODES` names each node's bus port (`address:port@bus`, Redis 4.0 and later).

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::nodes::Node;
use super::super::redis::{self, Conversation, End};
use super::super::reply::{Command, Reply};
use super::super::tcp::Dialled;
use super::Before;
use super::postgres::mute;
use crate::model::Ask;

/// How far the bus port is above the other (`CLUSTER_PORT_INCR`).
const ABOVE: u16 = 10_000;

/// What the port for clients says, where the asked one may be the bus port of its cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bus {
    /// The address with port that was asked.
    pub address: String,
    /// What was said there.
    pub said: Conversation,
}

/// Asks the port that would be the clients', where the asked one resets RESP without a word.
pub(super) async fn gather(ask: &Ask, before: Before<'_>, deadline: Instant) -> Option<Bus> {
    let (mut address, dialogue) = mute(ask, before)?;
    let port = address.port().checked_sub(ABOVE).filter(|port| *port > 0)?;
    // What was reset had not been read to its end: the bus looks at eight bytes.
    matches!(dialogue.first.end, End::Broken(_)).then_some(())?;
    address.set_port(port);
    let said = redis::ask_cluster(&Dialled::Tcp(address), deadline).await;
    Some(Bus { address: address.to_string(), said })
}

impl Bus {
    /// True if a node of a cluster answers at the port for clients.
    pub fn is_of_a_cluster(&self) -> bool {
        let by_info = self.said.info().is_some_and(|info| info.get("cluster_enabled") == Some("1"));
        by_info || matches!(self.said.reply(Command::ClusterNodes), Some(Reply::Nodes(_)))
    }

    /// The node's own line in `CLUSTER NODES`, where it tells its bus port.
    pub fn itself(&self) -> Option<&Node> {
        match self.said.reply(Command::ClusterNodes)? {
            Reply::Nodes(nodes) => nodes.iter().find(|node| node.myself),
            _ => None,
        }
    }
}
