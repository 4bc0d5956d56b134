//! One process, looked at closely.

use std::net::IpAddr;

use super::arguments::{self, Line};
use super::{Process, State, family, parse};
use crate::model::escape;
use crate::sys::{files, process as sys};

/// A process, and what is needed of it besides what is told.
#[derive(Debug, Clone)]
pub struct Looked {
    /// What is told.
    pub process: Process,
    /// Whether it is a server of the family.
    pub is_server: bool,
    /// Its parent.
    pub parent: u32,
    /// What it says it listens on.
    pub line: Line,
    /// True if its open files may not be seen.
    pub sealed: bool,
}

/// The capabilities to pass over permissions, and over those for reading and searching (linux/capability.h).
const CAP_DAC_OVERRIDE: u64 = 1 << 1;
const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
/// What `/proc/PID/uid_map` holds in the first user namespace: every user, under its own number (`user_namespaces(7)`).
const FIRST_USERS: [&str; 3] = ["0", "0", "4294967295"];

/// The process, if it is a server. Where `wrong`, what takes longer is looked at too.
pub fn server(pid: u32, wrong: bool) -> Option<Looked> {
    any(pid, wrong).filter(|looked| looked.is_server)
}

/// The process, whatever it is; `None` if it is gone or hidden.
pub fn any(pid: u32, wrong: bool) -> Option<Looked> {
    let stat = parse::stat(&sys::read(pid, "stat").ok()?)?;
    let line = arguments::parse(&sys::read(pid, "cmdline").unwrap_or_default());
    let exe = sys::link(pid, "exe").map(|exe| escape(exe.as_bytes()));
    let is_server = family::is_server(&stat.comm, &line, exe.as_deref());
    // Where all is well, only servers are looked at any further.
    if !is_server && !wrong {
        return None;
    }
    let (status, cgroup) = (parse::status(&text(pid, "status")), text(pid, "cgroup"));
    let (uid, container) = (status.uid?, parse::container(&cgroup));
    let capabilities = status.capabilities.filter(|bits| *bits != 0 && in_first_users(pid)).unwrap_or_default();
    let process = Process {
        pid,
        sentinel: is_server && family::is_sentinel(&stat.comm, &line),
        name: stat.comm,
        args: line.args.clone(),
        exe,
        state: stat.state,
        uid,
        user: if container.is_some() { None } else { sys::user_name(uid, wrong).map(|name| escape(name.as_bytes())) },
        cwd: sys::link(pid, "cwd").map(|cwd| escape(cwd.as_bytes())),
        started_at: sys::started_at(stat.started),
        same_network: sys::same_network(pid),
        addresses: Vec::new(),
        same_pids: same_pids(&status),
        pid_inside: status.pids.last().copied(),
        gids: status.gids,
        overrides_modes: capabilities & CAP_DAC_OVERRIDE != 0,
        reads_all: capabilities & CAP_DAC_READ_SEARCH != 0,
        unit: parse::unit(&cgroup),
        container,
        open_files_limit: parse::open_files_limit(&text(pid, "limits")),
        open_files: if stat.state == State::Zombie { None } else { sys::open_files(pid, wrong) },
        listens: Vec::new(),
        listens_unix: Vec::new(),
    };
    let mut looked = Looked { process, is_server, parent: stat.parent, line, sealed: false };
    looked.elsewhere();
    Some(looked)
}

impl Looked {
    /// Looks at the network it is in, where that is another.
    fn elsewhere(&mut self) {
        let pid = self.process.pid;
        if self.process.same_network == Some(false) {
            self.process.addresses = addresses(pid);
        }
    }

    /// Keeps of its arguments what is known to be no secret of a stranger.
    pub fn forget_arguments(&mut self) {
        self.process.args = self.line.of_stranger(&self.process.name);
    }

    /// True if it can listen: it lives, if stopped.
    pub fn lives(&self) -> bool {
        self.process.state != State::Zombie
    }
}

/// True if it is in the first user namespace: capabilities in another one count only for the files of its own users. Kernels without such
/// namespaces have no such file.
fn in_first_users(pid: u32) -> bool {
    let map = files::read_text(&format!("/proc/{pid}/uid_map"));
    map.map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |map| map.split_whitespace().eq(FIRST_USERS))
}

/// One number in all PID namespaces that we see means that there is but one: ours.
fn same_pids(status: &parse::Status) -> Option<bool> {
    (!status.pids.is_empty()).then_some(status.pids.len() == 1)
}

fn addresses(pid: u32) -> Vec<IpAddr> {
    let mut found = parse::local_addresses(&text(pid, "net/fib_trie"));
    found.extend(parse::inet6_addresses(&text(pid, "net/if_inet6")));
    found
}

fn text(pid: u32, name: &str) -> String {
    files::read_text(&format!("/proc/{pid}/{name}")).unwrap_or_default()
}

/// Drops what servers have forked: a snapshot's child that is not to be told by a title of its own (`set-proc-title no`,
/// or it is dead already). Another server may be a server's child too, as in a container where the first one is process 1,
/// but says that it listens elsewhere.
pub fn drop_children(servers: &mut Vec<Looked>) {
    let parents: Vec<(u32, String, Line)> =
        servers.iter().map(|one| (one.process.pid, one.process.name.clone(), one.line.clone())).collect();
    servers.retain(|one| {
        let forked = |(pid, name, line): &(u32, String, Line)| {
            *pid == one.parent && *name == one.process.name && (!one.lives() || *line == one.line)
        };
        !parents.iter().any(forked)
    });
}
