//! Is it the bus port of a cluster? The nodes of a cluster speak a protocol of their own on the port that is 10000 above the
//! clients' port, unless `cluster-port` names another, and reset whoever speaks RESP there. The port for clients is asked
//! which it is: `CLUSTER NODES` names each node's bus port (`address:port@bus`, Redis 4.0 and later).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::nodes::Node;
use super::super::redis::{self, Conversation, End, Redis};
use super::super::reply::{Command, Reply};
use super::super::tcp::Dialled;
use super::super::tls::Ended;
use super::Before;
use super::postgres::mute;
use crate::model::Ask;
use crate::probe::Side;
use crate::sys::tls::Client;

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

/// Asks the port that would be the clients', where the asked one resets RESP without a word, or turns us away inside TLS.
pub(super) async fn gather(ask: &Ask, side: Side<'_>, before: Before<'_>, deadline: Instant) -> Option<Bus> {
    let mut address = if ask.target.tls { turned_away(before)? } else { reset(ask, before)? };
    address.set_port(address.port().checked_sub(ABOVE).filter(|port| *port > 0)?);
    let dial = Dialled::Tcp(address);
    let dial = if ask.target.tls { dial.within(anonymous(ask, side)?) } else { dial };
    let said = redis::ask_cluster(&dial, deadline).await;
    Some(Bus { address: address.to_string(), said })
}

/// The address that reset RESP. What was reset had not been read to its end: the bus looks at eight bytes.
fn reset(ask: &Ask, before: Before<'_>) -> Option<SocketAddr> {
    let (address, dialogue) = mute(ask, before)?;
    matches!(dialogue.first.end, End::Broken(_)).then_some(address)
}

/// The address that asked for a certificate, got none, and ended the connection of TLS: on its bus a cluster with
/// `tls-cluster` wants one of everybody, whatever `tls-auth-clients` says.
fn turned_away(before: Before<'_>) -> Option<SocketAddr> {
    let hello = before.tls.seen()?.preferred().filter(|hello| hello.asked.is_some() && !hello.shown)?;
    let said = before.redis.seen().and_then(Redis::preferred);
    let ends = |end: &End| matches!(end, End::Closed | End::Broken(_) | End::Alert(_));
    let ended = match hello.end {
        Ended::Done => said.is_some_and(|it| !it.first.answers_ping() && ends(&it.first.end)),
        Ended::Alert(_) | Ended::Closed | Ended::Broken(_) => true,
        _ => false,
    };
    hello.address.parse().ok().filter(|_| ended)
}

/// What shakes hands without showing anything of ours, whatever the certificate: nothing secret is said.
fn anonymous(ask: &Ask, side: Side<'_>) -> Option<Client> {
    let name = ask.target.server_name()?;
    let client = Client::new(name, Arc::clone(&side.material.roots().store), None).ok()?;
    Some(client.lenient().anonymous())
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
