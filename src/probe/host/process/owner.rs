//! Who has a listener open: the inodes of sockets among the open files of processes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::look::Looked;
use crate::probe::host::socket::{Listener, Sockets, table};
use crate::sys::{clock, files, process as sys};

/// A server opens its listeners first, so they have low numbers, however many clients it has.
const LOW: u32 = 64;
/// The longest that the open files of the named process are looked through, in milliseconds.
const NAMED_MS: u64 = 20;
/// The port that strangers are of most interest on.
const USUAL: u16 = 6379;
/// The most addresses of one process that are told.
const MOST_ADDRESSES: usize = 64;

/// What came of looking at the open files of all processes.
#[derive(Debug, Clone, Copy)]
pub struct Searched {
    /// Some could not be seen.
    pub denied: bool,
    /// There was time for all that was needed.
    pub whole: bool,
}

/// The inodes among `wanted` that the named process has open: by its low descriptors, and by all only if none is there.
///
/// # Errors
/// We may not look.
pub fn of_named(pid: u32, wanted: &HashSet<u64>) -> io::Result<HashSet<u64>> {
    let low = sys::holds_low(pid, wanted, LOW)?;
    if !low.is_empty() || wanted.is_empty() {
        return Ok(low);
    }
    sys::holds(pid, wanted, clock::now() + std::time::Duration::from_millis(NAMED_MS))
}

/// Notes which listeners a server has open, here or in its own network; true if that could not be seen.
pub fn of_server(server: &mut Looked, sockets: &mut Sockets, until: Instant) -> bool {
    let pid = server.process.pid;
    if !server.lives() {
        return false;
    }
    let elsewhere = if server.process.same_network == Some(false) { listeners_of(pid) } else { Vec::new() };
    let wanted: HashSet<u64> =
        sockets.without_owner().into_iter().chain(elsewhere.iter().map(|one| one.inode)).collect();
    match sys::holds(pid, &wanted, until) {
        Ok(held) => {
            note(sockets, pid, &held);
            let own = elsewhere.iter().filter(|one| held.contains(&one.inode));
            server.process.listens = own.map(Listener::address).take(MOST_ADDRESSES).collect();
        }
        Err(error) => server.sealed = error.kind() == io::ErrorKind::PermissionDenied,
    }
    server.sealed
}

/// The TCP listeners of the network that a process is in.
fn listeners_of(pid: u32) -> Vec<Listener> {
    let of = |name: &str| table::tcp(&files::read_text(&format!("/proc/{pid}/net/{name}")).unwrap_or_default());
    let mut found = of("tcp");
    found.extend(of("tcp6"));
    found
}

/// Looks for the owners of listeners that have none yet, among these processes, until all have one or time is up.
pub fn search(pids: &[u32], sockets: &mut Sockets, until: Instant) -> Searched {
    let mut wanted = sockets.without_owner();
    let mut owners: HashMap<u64, u32> = HashMap::new();
    let mut searched = Searched { denied: false, whole: true };
    for pid in pids {
        if wanted.is_empty() {
            break;
        }
        if clock::now() > until {
            searched.whole = false;
            break;
        }
        match sys::holds(*pid, &wanted, until) {
            Ok(held) => {
                wanted.retain(|inode| !held.contains(inode));
                owners.extend(held.into_iter().map(|inode| (inode, *pid)));
            }
            Err(error) => searched.denied |= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    note_all(sockets, &owners);
    searched
}

/// Notes the owner of these listeners.
pub fn note(sockets: &mut Sockets, pid: u32, held: &HashSet<u64>) {
    note_all(sockets, &held.iter().map(|inode| (*inode, pid)).collect());
}

fn note_all(sockets: &mut Sockets, owners: &HashMap<u64, u32>) {
    for listener in &mut sockets.tcp {
        listener.owner = listener.owner.or_else(|| owners.get(&listener.inode).copied());
    }
    for listener in &mut sockets.unix {
        listener.owner = listener.owner.or_else(|| owners.get(&listener.inode).copied());
    }
}

/// The owners of listeners that are not among the `known`: of every TCP listener, those nearest to Redis' port first, and
/// of unix listeners whose path speaks of the family.
pub fn strangers(sockets: &Sockets, known: &HashSet<u32>) -> Vec<u32> {
    let mut tcp: Vec<(u16, u32)> =
        sockets.tcp.iter().filter_map(|one| Some((one.port.abs_diff(USUAL), one.owner?))).collect();
    tcp.sort_unstable();
    let unix = sockets.unix.iter().filter(|one| super::family::may_be(&one.path)).filter_map(|one| one.owner);
    let mut seen = known.clone();
    unix.chain(tcp.into_iter().map(|(_, pid)| pid)).filter(|pid| seen.insert(*pid)).collect()
}

/// Fills in what processes listen on, by the owners that were noted.
pub fn list(processes: &mut [Looked], sockets: &Sockets) {
    for process in processes.iter_mut().map(|looked| &mut looked.process) {
        let tcp = sockets.tcp.iter().filter(|one| one.owner == Some(process.pid)).map(Listener::address);
        process.listens.extend(tcp.take(MOST_ADDRESSES));
        let unix = sockets.unix.iter().filter(|one| one.owner == Some(process.pid)).map(|one| one.path.clone());
        process.listens_unix.extend(unix.take(MOST_ADDRESSES));
    }
}

/// Where the open files of servers may not be seen: the listeners of their user on the port, or the socket of the path,
/// that their title says, where only one server can mean them. Their owner is not noted: it was not seen.
pub fn derive(servers: &mut [Looked], sockets: &Sockets) {
    let claims: Vec<Claim> = servers.iter().map(Claim::of).collect();
    for (server, claim) in servers.iter_mut().zip(&claims) {
        let alone = claims.iter().filter(|other| *other == claim).count() == 1;
        if !server.sealed || !alone || !server.lives() {
            continue;
        }
        if let Some(port) = claim.port {
            server.process.listens = claimed(server, sockets, port);
        }
        if let Some(path) = claim.path.as_ref().filter(|_| server.process.same_network == Some(true)) {
            let is_there = sockets.unix.iter().any(|one| one.owner.is_none() && one.path == *path);
            server.process.listens_unix.extend(is_there.then(|| path.clone()));
        }
    }
}

/// What a server's title says, and whose it is.
#[derive(PartialEq)]
struct Claim {
    uid: u32,
    same_network: Option<bool>,
    port: Option<u16>,
    path: Option<String>,
}

impl Claim {
    fn of(server: &Looked) -> Self {
        Self {
            uid: server.process.uid,
            same_network: server.process.same_network,
            port: server.line.title_port(),
            path: server.line.title_path().map(str::to_owned),
        }
    }
}

fn claimed(server: &Looked, sockets: &Sockets, port: u16) -> Vec<SocketAddr> {
    let elsewhere;
    let listeners = match server.process.same_network {
        Some(true) => &sockets.tcp,
        Some(false) => {
            elsewhere = listeners_of(server.process.pid);
            &elsewhere
        }
        None => return Vec::new(),
    };
    let own = |one: &&Listener| one.port == port && one.uid == server.process.uid && one.owner.is_none();
    listeners.iter().filter(own).map(Listener::address).take(MOST_ADDRESSES).collect()
}

/// True if processes may own listeners here and be out of our sight: /proc hides those of others (`hidepid`), or they are
/// in another PID namespace and share our network, as the containers of one pod do.
pub fn some_out_of_sight() -> bool {
    !files::exists("/proc/1") || !sys::in_first_pids()
}
