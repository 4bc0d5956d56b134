//! Other programs of this machine that wait in vain for an answer on the target's port, at addresses that its name does
//! not have now: one that resolved the name long ago keeps what it got.
//!
//! The kernel tells of their sockets (`sock_diag(7)`) without privilege; whose they are, only as far as we may see. Looked at
//! when an attempt to connect failed, or with `--deep`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dns::Dns;
use super::tcp::{Outcome, Tcp};
use crate::model::{Ask, BlockerKind, Endpoint, Observed, escape};
use crate::sys::{clock, netlink, process};

/// The most sockets that are looked at.
const MOST_SOCKETS: usize = 4_096;
/// The most of them whose owner is told.
const MOST_TOLD: usize = 8;
/// The most processes, and the longest, that an owner is looked for.
const MOST_PIDS: usize = 4_096;
const SEARCH: Duration = Duration::from_millis(50);
/// A connection that stands has lost something when it sends again for the second time; a lost segment costs one.
const LOSING: u8 = 2;

/// A socket that waits in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// The address that it waits for.
    pub to: IpAddr,
    /// Whether the connection stands; else it is being made.
    pub established: bool,
    /// How many times what is unanswered has been sent again.
    pub retries: u8,
    /// The user who made it.
    pub uid: u32,
    /// The process that has it, as far as we may see.
    pub pid: Option<u32>,
    /// The name of its program.
    pub program: Option<String>,
}

/// Looks for them.
pub fn gather(ask: &Ask, dns: &Observed<Dns>, tcp: &Observed<Tcp>) -> Observed<Vec<Other>> {
    let (Endpoint::Tcp { port, .. }, Some(dns), Some(tcp)) = (&ask.target.endpoint, dns.seen(), tcp.seen()) else {
        return Observed::needs("tcp");
    };
    if dns.literal || dns.addresses().is_empty() {
        return Observed::skipped("the target is no name that could have changed");
    }
    let failed = tcp.attempts.iter().any(|attempt| attempt.outcome != Outcome::Connected);
    if !failed && !ask.deep {
        return Observed::skipped("every address was connected to");
    }
    let peers = [false, true].map(|v6| netlink::peers(v6, *port, MOST_SOCKETS));
    if let [Err(error), Err(_)] = &peers {
        return Observed::hidden(BlockerKind::Failed, format!("sock_diag(7): {error}"));
    }
    let current = dns.addresses();
    let waits = |peer: &netlink::Peer| peer.retries >= if peer.established { LOSING } else { 1 };
    let elsewhere = |peer: &netlink::Peer| !current.iter().any(|ip| ip.to_canonical() == peer.ip.to_canonical());
    let stuck = peers.into_iter().flatten().flatten().filter(|peer| waits(peer) && elsewhere(peer));
    Observed::Seen(owned(stuck.take(MOST_TOLD).collect()))
}

/// The sockets with their owners, as far as we may see.
fn owned(peers: Vec<netlink::Peer>) -> Vec<Other> {
    let mut wanted: HashSet<u64> = peers.iter().map(|peer| peer.inode).collect();
    let (mut owners, until) = (Vec::new(), clock::now() + SEARCH);
    let pids = if wanted.is_empty() { Vec::new() } else { process::pids(MOST_PIDS).unwrap_or_default() };
    for pid in pids {
        if wanted.is_empty() || clock::now() > until {
            break;
        }
        for inode in process::holds(pid, &wanted, until).unwrap_or_default() {
            wanted.remove(&inode);
            owners.push((inode, pid));
        }
    }
    let other = |peer: netlink::Peer| {
        let pid = owners.iter().find(|(inode, _)| *inode == peer.inode).map(|(_, pid)| *pid);
        let program = pid.and_then(|pid| process::comm(pid).ok()).map(|name| escape(&name));
        let netlink::Peer { ip, established, retries, uid, .. } = peer;
        Other { to: ip.to_canonical(), established, retries, uid, pid, program }
    };
    peers.into_iter().map(other).collect()
}

impl Other {
    /// Whose it is, as far as we may see.
    pub fn owner(&self) -> String {
        match (self.pid, &self.program) {
            (Some(pid), Some(program)) => format!("{program} (pid {pid})"),
            (Some(pid), None) => format!("pid {pid}"),
            (None, _) => format!("a process of the user {}", self.uid),
        }
    }
}
