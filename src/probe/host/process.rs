//! The Redis servers that run on the machine, in whatever state and namespace, and the strangers on its port.

mod arguments;
mod family;
mod look;
mod owner;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::socket::Sockets;
use crate::model::target::DEFAULT_PORT;
use crate::model::{BlockerKind, Observed};
use crate::sys::{clock, process as sys};
pub(super) use arguments::after_scheme;
pub(super) use family::is_named_like_a_server;
use look::Looked;

/// The most processes that are looked at: twice what a kernel allows by itself (`pid_max`).
const MOST_PROCESSES: usize = 65_536;
/// The most servers, and the most strangers, that are told of.
const MOST_SERVERS: usize = 256;
const MOST_STRANGERS: usize = 256;
/// How long looking at all processes may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long looking for the server may take where all is well, and INFO did not lead to it: in a container's namespace its
/// number is another. To know it is no more than nice.
const HASTE: Duration = Duration::from_millis(10);

/// The processes that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// Servers of the Redis family: redis-server, valkey-server, keydb-server and forks.
    pub servers: Vec<Process>,
    /// Other processes that own a TCP listener of those that were asked for, or a unix listener named like one of Redis.
    pub strangers: Vec<Process>,
    /// True if every process was looked at; false if only those that the listener and INFO named.
    pub all: bool,
    /// True if the open files of some process could not be seen for want of rights: then a listener without owner says
    /// nothing.
    pub some_hidden: bool,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number, in our PID namespace.
    pub pid: u32,
    /// Its name as the kernel has it (`/proc/PID/comm`).
    pub name: String,
    /// Its arguments, or the title it gave itself in their place (`redis-server 127.0.0.1:6379`), without secrets.
    pub args: Vec<String>,
    /// Its program, where we may see it.
    pub exe: Option<String>,
    /// Its state.
    pub state: State,
    /// The user it runs as (effective).
    pub uid: u32,
    /// The name of that user; none for a container's, where the number may have another name.
    pub user: Option<String>,
    /// Its working directory, where we may see it: Redis changes into its `dir`.
    pub cwd: Option<String>,
    /// When it started (RFC 3339, UTC).
    pub started_at: Option<String>,
    /// Whether it is in our network namespace, where that could be seen.
    pub same_network: Option<bool>,
    /// The addresses of its network namespace but for loopback, where that is another and could be seen.
    pub addresses: Vec<std::net::IpAddr>,
    /// Whether it is in our PID namespace, where that could be seen.
    pub same_pids: Option<bool>,
    /// Its number in its own PID namespace, which is what its INFO and its pidfile say.
    #[serde(default)]
    pub pid_inside: Option<u32>,
    /// Whether it is a sentinel, by its name, its title or its arguments.
    #[serde(default)]
    pub sentinel: bool,
    /// Its groups, the effective one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gids: Vec<u32>,
    /// Whether it may write whatever the permissions of files say (`CAP_DAC_OVERRIDE`), as root may.
    #[serde(default)]
    pub overrides_modes: bool,
    /// Whether it may read every file and search every folder (`CAP_DAC_READ_SEARCH`).
    #[serde(default)]
    pub reads_all: bool,
    /// The systemd unit of its control group: `redis-server.service`.
    pub unit: Option<String>,
    /// The id of the container of its control group.
    pub container: Option<String>,
    /// The highest descriptor it has open plus one is bounded by this: soft limit of open files.
    pub open_files_limit: Option<u64>,
    /// How many files it has open, where we may see them; before Linux 6.2 counted only if something is wrong.
    pub open_files: Option<u64>,
    /// The addresses of its TCP listeners, also in another network namespace. Where its open files may not be seen, those
    /// of its user on the port of its title, if no other server can mean them.
    pub listens: Vec<std::net::SocketAddr>,
    /// The paths of its unix listeners.
    pub listens_unix: Vec<String>,
}

impl Process {
    /// True if it is none of the servers that are known, and may be one all the same: by a name of the family, because it
    /// speaks Redis' protocol, or because it listens on Redis' own port.
    pub fn is_kin(&self) -> bool {
        family::is_kin(&self.name) || self.listens.iter().any(|at| at.port() == DEFAULT_PORT)
    }

    /// True if its sockets could be seen.
    pub fn shows_sockets(&self) -> bool {
        self.open_files.is_some() || !self.listens.is_empty() || !self.listens_unix.is_empty()
    }

    /// True if it is seen to listen on nothing: a Redis that serves nobody, or something else of that name.
    pub fn is_idle(&self) -> bool {
        self.shows_sockets() && self.listens.is_empty() && self.listens_unix.is_empty()
    }
}

/// What a process is doing (`proc_pid_stat(5)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// R or S: it runs, or waits for something to do.
    Alive,
    /// D: it waits in the kernel, for a disk or a network file system.
    InKernel,
    /// T: stopped by a signal.
    Stopped,
    /// t: stopped by a debugger.
    Traced,
    /// Z or X: dead; only its entry is left until its parent asks for its fate.
    Zombie,
    /// I or another.
    Other,
}

/// Looks at the servers: at the process that INFO named, and at all processes where that is not the listener's owner or
/// where `all` are asked for. Notes the owners of the listeners.
pub fn gather(sockets: &mut Observed<Sockets>, named: Option<u32>, all: bool) -> Observed<Processes> {
    if !sys::are_seen() {
        return Observed::hidden(BlockerKind::Unsupported, "there is no /proc that shows processes");
    }
    let mut none = Sockets::default();
    let sockets = if let Observed::Seen(sockets) = sockets { sockets } else { &mut none };
    if !all && let Some(found) = named.and_then(|pid| only(pid, sockets)) {
        return Observed::Seen(found);
    }
    let until = clock::now() + if all { PATIENCE } else { HASTE };
    match sys::pids(MOST_PROCESSES) {
        Ok(pids) => Observed::Seen(walk(&pids, sockets, all, until)),
        Err(error) => Observed::hidden(BlockerKind::Failed, format!("/proc: {error}")),
    }
}

/// The effective user of a process, and its groups; none where it is gone or hidden.
pub(super) fn ids(pid: u32) -> Option<(u32, Vec<u32>)> {
    let status = parse::status(&String::from_utf8_lossy(&sys::read(pid, "status").ok()?));
    Some((status.uid?, status.gids))
}

/// The process that INFO named, if it is a server and the listener is its own: the number may be that of another PID
/// namespace, and be anybody's here.
fn only(pid: u32, sockets: &mut Sockets) -> Option<Processes> {
    let server = look::server(pid, false)?;
    let wanted = sockets.without_owner();
    let mut servers = vec![server];
    match owner::of_named(pid, &wanted) {
        Ok(held) if held.is_empty() && !wanted.is_empty() => return None,
        Ok(held) => owner::note(sockets, pid, &held),
        Err(_) => owner::derive(&mut servers, sockets),
    }
    let denied = sockets.tcp.iter().all(|listener| listener.owner.is_none());
    owner::list(&mut servers, sockets);
    let server = &servers[0].process;
    if !wanted.is_empty() && server.listens.is_empty() && server.listens_unix.is_empty() {
        return None;
    }
    let some_hidden = denied && !sockets.without_owner().is_empty();
    Some(Processes { servers: told(servers), strangers: Vec::new(), all: false, some_hidden })
}

/// Looks at all processes: at the names of all, at more of those that may be servers, and at the open files of others as
/// long as a listener is without owner.
fn walk(pids: &[u32], sockets: &mut Sockets, all: bool, until: Instant) -> Processes {
    let (candidates, mut denied, whole) = candidates(pids, until);
    let mut servers: Vec<Looked> = candidates.iter().filter_map(|pid| look::server(*pid, all)).collect();
    look::drop_children(&mut servers);
    servers.truncate(MOST_SERVERS);
    for server in &mut servers {
        denied |= owner::of_server(server, sockets, until);
    }
    let mut in_time = whole;
    let mut strangers = Vec::new();
    if all {
        let known: HashSet<u32> = servers.iter().map(|server| server.process.pid).collect();
        let rest: Vec<u32> = pids.iter().copied().filter(|pid| !known.contains(pid)).collect();
        let searched = owner::search(&rest, sockets, until);
        denied |= searched.denied;
        in_time &= searched.whole;
        // A server under another name is known by its program, which is looked at only where it listens.
        let owners = owner::strangers(sockets, &known).into_iter().take(MOST_STRANGERS);
        let (more, others): (Vec<Looked>, _) =
            owners.filter_map(|pid| look::any(pid, true)).partition(|looked| looked.is_server);
        servers.extend(more);
        strangers = others;
        strangers.iter_mut().for_each(Looked::forget_arguments);
    }
    owner::derive(&mut servers, sockets);
    owner::list(&mut servers, sockets);
    owner::list(&mut strangers, sockets);
    let ownerless = !sockets.without_owner().is_empty();
    let some_hidden = ownerless && (denied || owner::some_out_of_sight());
    Processes { servers: told(servers), strangers: told(strangers), all: all && in_time, some_hidden }
}

/// Those whose name may be a server's; whether a name was kept from us; whether there was time for all.
fn candidates(pids: &[u32], until: Instant) -> (Vec<u32>, bool, bool) {
    let (mut found, mut denied) = (Vec::new(), false);
    for (at, pid) in pids.iter().enumerate() {
        if at % 64 == 63 && clock::now() > until {
            return (found, denied, false);
        }
        match sys::comm(*pid) {
            Ok(comm) if family::may_be(&String::from_utf8_lossy(&comm)) => found.push(*pid),
            Ok(_) => {}
            Err(error) => denied |= error.kind() == std::io::ErrorKind::PermissionDenied,
        }
    }
    (found, denied, pids.len() < MOST_PROCESSES)
}

fn told(looked: Vec<Looked>) -> Vec<Process> {
    let mut told: Vec<Process> = looked.into_iter().map(|looked| looked.process).collect();
    told.sort_by_key(|process| process.pid);
    told
}
