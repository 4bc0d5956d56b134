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
use super::super::tls::{Ended, alert};
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
    let (mut address, shown) = if ask.target.tls { turned_away(before)? } else { (reset(ask, before)?, false) };
    address.set_port(address.port().checked_sub(ABOVE).filter(|port| *port > 0)?);
    let dial = Dialled::Tcp(address);
    let dial = match (ask.target.tls, shown) {
        (false, _) => dial,
        (true, false) => dial.within(anonymous(ask, side)?),
        (true, true) => dial.within(known(ask, side)?),
    };
    let said = redis::ask_cluster(&dial, deadline).await;
    Some(Bus { address: address.to_string(), said })
}

/// The address that reset RESP. What was reset had not been read to its end: the bus looks at eight bytes.
fn reset(ask: &Ask, before: Before<'_>) -> Option<SocketAddr> {
    let (address, dialogue) = mute(ask, before)?;
    matches!(dialogue.first.end, End::Broken(_)).then_some(address)
}

/// The address that asked for a certificate and ended the connection of TLS, and whether it got one: on its bus a cluster with
/// `tls-cluster` wants one of everybody, whatever `tls-auth-clients` says, and hangs up on RESP without a word.
fn turned_away(before: Before<'_>) -> Option<(SocketAddr, bool)> {
    let hello = before.tls.seen()?.preferred().filter(|hello| hello.asked.is_some())?;
    let said = before.redis.seen().and_then(Redis::preferred);
    let ends = |end: &End| matches!(end, End::Closed | End::Broken(_)) || !hello.shown && matches!(end, End::Alert(_));
    let ended = match hello.end {
        Ended::Done => said.is_some_and(|it| !it.first.said_something() && ends(&it.first.end)),
        Ended::Alert(_) | Ended::Closed | Ended::Broken(_) => !hello.shown,
        _ => false,
    };
    hello.address.parse().ok().filter(|_| ended).map(|address| (address, hello.shown))
}

/// What shakes hands without showing anything of ours, whatever the certificate: nothing secret is said.
fn anonymous(ask: &Ask, side: Side<'_>) -> Option<Client> {
    let name = ask.target.server_name()?;
    let client = Client::new(name, Arc::clone(&side.material.roots().store), None).ok()?;
    Some(client.lenient().anonymous())
}

/// What shows our certificate, to whom it was shown a moment ago: the certificate of this one has to be trusted as that was.
fn known(ask: &Ask, side: Side<'_>) -> Option<Client> {
    let (name, material) = (ask.target.server_name()?, side.material);
    let client = Client::new(name, Arc::clone(&material.roots().store), material.identity.as_ref()).ok()?;
    Some(if ask.target.certificates.insecure { client.lenient() } else { client })
}

impl Bus {
    /// True if this port wants a certificate, too, and told nothing without.
    pub fn wants_a_certificate(&self) -> bool {
        matches!(self.said.end, End::Alert(kind) if alert::MISSING.contains(&kind))
    }

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
