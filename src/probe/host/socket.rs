//! The sockets that are listened on, from the kernel's `sock_diag` (`sock_diag(7)`): 0.1 ms where reading /proc/net/tcp
//! costs up to 100 ms on a busy machine.

pub mod table;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::model::{BlockerKind, Observed, escape};
use crate::sys::{files, netlink};

/// The most listeners of a kind that are kept. Machines have some dozens.
const MOST: usize = 4096;

/// The sockets that are listened on, in one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    /// TCP listeners.
    pub tcp: Vec<Listener>,
    /// Unix stream listeners that have a path.
    pub unix: Vec<UnixListener>,
    /// The port that was looked for, where not all were: then `tcp` holds no others.
    pub only_port: Option<u16>,
    /// True if unix listeners were looked for.
    pub with_unix: bool,
    /// True if there are more than were kept: then the absence of one says nothing.
    #[serde(default)]
    pub cut: bool,
}

/// A TCP socket that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its address; unspecified (`0.0.0.0`, `::`) where it takes every address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// The inode of the socket, by which its owner is found.
    pub inode: u64,
    /// The user who made it.
    pub uid: u32,
    /// Connections that wait to be accepted.
    pub queue: u32,
    /// How many may wait: the smaller of `tcp-backlog` and `net.core.somaxconn`; 0 where only /proc/net/tcp could be
    /// read, which does not tell.
    pub backlog: u32,
    /// Whether an IPv6 listener takes IPv6 alone (`IPV6_V6ONLY`), as Redis sets it; `::` without it serves IPv4 too.
    #[serde(default)]
    pub v6only: Option<bool>,
    /// The process that has it open, where that could be seen.
    pub owner: Option<u32>,
}

/// A unix stream socket that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixListener {
    /// Its path, as it was bound; `@` and its name where it is an abstract one, which no file stands for.
    pub path: String,
    /// The inode of the socket.
    pub inode: u64,
    /// Connections that wait to be accepted; 0 where only /proc/net/unix could be read, which does not tell.
    pub queue: u32,
    /// How many may wait; 0 where only /proc/net/unix could be read.
    pub backlog: u32,
    /// The process that has it open, where that could be seen.
    pub owner: Option<u32>,
}

impl Listener {
    /// Address and port.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

impl Sockets {
    /// The inodes of the listeners that no owner is known of.
    pub fn without_owner(&self) -> HashSet<u64> {
        let tcp = self.tcp.iter().filter(|listener| listener.owner.is_none()).map(|listener| listener.inode);
        let unix = self.unix.iter().filter(|listener| listener.owner.is_none()).map(|listener| listener.inode);
        // A socket that no process has open any more has none.
        tcp.chain(unix).filter(|inode| *inode != 0).collect()
    }
}

/// Looks at the TCP listeners, of one port or of all, and at the unix listeners.
pub fn gather(port: Option<u16>, unix: bool) -> Observed<Sockets> {
    let (Some(v4), v6) = (tcp(false, port), tcp(true, port)) else {
        return Observed::hidden(BlockerKind::Unsupported, "this system has neither sock_diag nor /proc/net/tcp");
    };
    let unix_listeners = if unix { local() } else { Some(Vec::new()) };
    let counts = [v4.len(), v6.as_ref().map_or(0, Vec::len), unix_listeners.as_ref().map_or(0, Vec::len)];
    Observed::Seen(Sockets {
        // A kernel without IPv6 has no table of its listeners.
        tcp: v4.into_iter().chain(v6.unwrap_or_default()).collect(),
        with_unix: unix && unix_listeners.is_some(),
        unix: unix_listeners.unwrap_or_default(),
        only_port: port,
        cut: counts.iter().any(|count| *count >= MOST),
    })
}

/// The TCP listeners of one family: from `sock_diag`, or where it is blocked (seccomp) or not built in, from the table.
fn tcp(v6: bool, port: Option<u16>) -> Option<Vec<Listener>> {
    if let Ok(found) = netlink::tcp(v6, port, MOST) {
        return Some(found.into_iter().map(Listener::from).collect());
    }
    let path = if v6 { "/proc/self/net/tcp6" } else { "/proc/self/net/tcp" };
    let mut found = table::tcp(&files::read_text(path).ok()?);
    found.retain(|listener| port.is_none_or(|port| listener.port == port));
    found.truncate(MOST);
    Some(found)
}

/// The unix listeners.
fn local() -> Option<Vec<UnixListener>> {
    if let Ok(found) = netlink::unix(MOST) {
        return Some(found.into_iter().map(UnixListener::from).collect());
    }
    let mut found = table::unix(&files::read_text("/proc/self/net/unix").ok()?);
    found.truncate(MOST);
    Some(found)
}

impl From<netlink::Tcp> for Listener {
    fn from(socket: netlink::Tcp) -> Self {
        let netlink::Tcp { ip, port, inode, uid, queue, backlog, v6only } = socket;
        Self { ip, port, inode, uid, queue, backlog, v6only, owner: None }
    }
}

impl From<netlink::Unix> for UnixListener {
    fn from(socket: netlink::Unix) -> Self {
        let netlink::Unix { name, inode, queue, backlog } = socket;
        Self { path: escape(&name), inode, queue, backlog, owner: None }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn both_sources_tell_the_same() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = gather(Some(port), false).seen().cloned().unwrap();
        let told = table::tcp(&files::read_text("/proc/self/net/tcp").unwrap());
        let mut told: Vec<Listener> = told.into_iter().filter(|one| one.port == port).collect();
        assert_eq!((seen.tcp.len(), told.len()), (1, 1));
        told[0].backlog = seen.tcp[0].backlog;
        assert_eq!(seen.tcp, told);
        assert_eq!((seen.only_port, seen.with_unix, seen.cut), (Some(port), false, false));
        assert_eq!(seen.without_owner(), HashSet::from([told[0].inode]));
    }

    #[test]
    fn unix_listeners_are_seen_by_both_sources() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let path = path.to_str().unwrap();
        let seen = gather(None, true).seen().cloned().unwrap();
        let one = seen.unix.iter().find(|one| one.path == path).unwrap();
        let told = table::unix(&files::read_text("/proc/self/net/unix").unwrap());
        assert!(told.iter().any(|two| two.path == path && two.inode == one.inode));
    }
}
