//! Programs of the server's machine that pass connections on: which one has the port, where it leads, and whether somebody
//! takes a connection there. That a proxy accepts says nothing of what is behind it.

pub mod arguments;
mod conf;
mod file;
mod meet;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use conf::Way;
pub(super) use file::is_after;

use super::process::{Process, Processes};
use super::socket::Sockets;
use crate::model::{Observed, escape};
use crate::probe::path::tcp::{Attempt, Outcome};
use crate::sys::{Clock, clock};

/// The most proxies that are told of, and the most places of each.
const MOST: usize = 256;
const MOST_PLACES: usize = 256;
/// The most places behind one listener that are tried, and behind all of them.
const MOST_TRIES: usize = 8;
const MOST_TRIES_IN_ALL: usize = 256;
/// How long a place behind a proxy may take to answer, all at once. It is near by: most of them are on the same machine.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why nothing is known of a place that would be within reach.
const NOT_TRIED: &str = "it was not tried: there are many";

/// Programs that pass connections on, by the name of their process, of which the kernel keeps 15 bytes.
const PROXIES: [&str; 37] = [
    "docker-proxy",
    "rootlessport",
    "rootlesskit",
    "slirp4netns",
    "pasta",
    "conmon",
    "gvproxy",
    "vpnkit-bridge",
    "wslrelay",
    "haproxy",
    "stunnel",
    "stunnel4",
    "ghostunnel",
    "hitch",
    "nginx",
    "envoy",
    "pilot-agent",
    "linkerd2-proxy",
    "traefik",
    "caddy",
    "nutcracker",
    "twemproxy",
    "predixy",
    "codis-proxy",
    "redis-cluster-p",
    "ssh",
    "sshd",
    "sshd-session",
    "autossh",
    "socat",
    "kubectl",
    "rinetd",
    "xinetd",
    "cloud-sql-proxy",
    "systemd-socket-",
    "frpc",
    "frps",
];

/// A program that has a port and passes its connections on.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forward {
    /// Its process.
    pub pid: u32,
    /// The file that says where it leads, where its arguments name one.
    pub file: Option<String>,
    /// Where it leads, as far as its arguments or that file tell.
    pub backends: Vec<Backend>,
    /// True if all that says where it leads was understood: else there may be other places.
    #[serde(default)]
    pub whole: bool,
    /// When that file was last changed (RFC 3339, UTC), where that was after the start of the process, which may not have read
    /// it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<String>,
    /// How many more places it leads to, which are not told of.
    #[serde(default, skip_serializing_if = "is_none")]
    pub left_out: usize,
    /// Its places that are names, where it looked them up when it started, and may still lead to what they meant then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixed: Vec<String>,
    /// What lets others change where it leads while it runs: the line with `HAProxy`'s 'stats socket … level admin', or its
    /// arguments with '-S'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settable_by: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks it so")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A place behind a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// The port of the proxy that leads there, where it tells.
    pub port: Option<u16>,
    /// The address that it has this port on; `None` for every one, and where it does not tell.
    #[serde(default)]
    pub at: Option<IpAddr>,
    /// The place, as it is written: `172.17.0.2:6379`.
    pub place: String,
    /// Who says so: `/etc/haproxy/haproxy.cfg:12`, `the arguments of pid 7`.
    pub said_by: String,
    /// True if what does not begin with the PROXY protocol's header is ended on the way there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wants_header: bool,
    /// Where the way there is one of HTTP: the lines of its own sections that say so, if it is not the defaults alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Vec<usize>>,
    /// What is met there from the machine of the proxy.
    pub met: Observed<Met>,
}

/// What is met behind a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Met {
    /// The attempt to connect.
    pub attempt: Attempt,
    /// What PING was answered there, where anything was.
    pub ping: Option<String>,
}

/// Where a proxy leads, by its arguments or its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// The port of the proxy that leads there, where it tells.
    pub port: Option<u16>,
    /// The address that it has this port on; `None` for every one, and where it does not tell.
    pub at: Option<IpAddr>,
    /// The place.
    pub place: String,
    /// The line of the file that says so.
    pub line: Option<usize>,
    /// See [`Backend::wants_header`].
    pub wants_header: bool,
    /// See [`Backend::http`].
    pub http: Option<Vec<usize>>,
}

impl Lead {
    fn new(port: Option<u16>, at: Option<IpAddr>, place: String, line: Option<usize>) -> Self {
        Self { port, at, place, line, wants_header: false, http: None }
    }
}

/// True for a process that passes connections on.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
}

/// True for a process that passes on what comes to this port, as it is: a SOCKS proxy wants to be told where to, first.
pub fn passes_on(process: &Process, port: u16) -> bool {
    is_proxy(&process.name) && !arguments::is_socks(&process.args, port)
}

impl Forward {
    /// The places that the asked port leads to, asked at these addresses: a listener on one address takes what comes to it
    /// before that on all of them does.
    pub fn behind(&self, port: u16, asked: &[IpAddr]) -> Vec<&Backend> {
        let of_port: Vec<&Backend> = self.backends.iter().filter(|it| it.port.is_none_or(|own| own == port)).collect();
        let is_taken = |ip: &IpAddr| of_port.iter().any(|backend| backend.at == Some(ip.to_canonical()));
        let leads = |backend: &&&Backend| match backend.at {
            _ if asked.is_empty() => true,
            Some(at) => asked.iter().any(|ip| ip.to_canonical() == at),
            None => !asked.iter().all(is_taken),
        };
        of_port.iter().filter(leads).copied().collect()
    }
}

impl Backend {
    /// The attempt to connect there, if one was made.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.met.seen().map(|met| &met.attempt)
    }

    /// Its own port, where it is named.
    pub fn port(&self) -> Option<u16> {
        conf::port(&self.place)
    }

    /// True if somebody takes a connection there.
    pub fn takes(&self) -> bool {
        self.attempt().is_some_and(|attempt| attempt.outcome == Outcome::Connected)
    }

    /// True if something answers PING there, with PONG or with an error.
    pub fn pongs(&self) -> bool {
        self.met.seen().is_some_and(|met| met.ping.is_some())
    }

    /// True if nobody takes a connection there.
    pub fn is_down(&self) -> bool {
        self.attempt().is_some_and(|attempt| attempt.outcome != Outcome::Connected)
    }
}

/// Looks at the proxies among the strangers: at those that have `port`, or at all, and at what is behind them.
pub async fn gather(
    processes: &Observed<Processes>,
    sockets: &Observed<Sockets>,
    port: Option<u16>,
    asked: &[IpAddr],
    clock: &Clock,
) -> Vec<Forward> {
    let strangers = processes.seen().map_or(&[][..], |processes| &processes.strangers);
    // Not by what a process listens on: of a proxy with many ports only some are told.
    let listeners = sockets.seen().map_or(&[][..], |sockets| &sockets.tcp);
    let owners: HashSet<u32> =
        listeners.iter().filter(|at| Some(at.port) == port).filter_map(|listener| listener.owner).collect();
    let has_port = |process: &&Process| port.is_none() || owners.contains(&process.pid);
    let proxies = strangers.iter().filter(|process| is_proxy(&process.name)).filter(has_port).take(MOST);
    let mut found: Vec<Forward> = proxies.map(|process| of(process, port)).collect();
    let deadline = clock.end().min(clock::now() + PATIENCE);
    let mut tries = tokio::task::JoinSet::new();
    for (proxy, forward) in found.iter().enumerate() {
        for order in to_try(forward, port, asked) {
            if tries.len() < MOST_TRIES_IN_ALL {
                let place = forward.backends[order].place.clone();
                tries.spawn(async move { (proxy, order, meet::met(&place, deadline).await) });
            }
        }
    }
    for (proxy, order, (met, is_sure)) in tries.join_all().await {
        found[proxy].backends[order].met = met;
        found[proxy].whole &= is_sure;
    }
    found
}

/// Which places behind a proxy are tried: of each of its listeners a few, where they are within reach.
fn to_try(forward: &Forward, port: Option<u16>, asked: &[IpAddr]) -> Vec<usize> {
    let behind = port.map(|port| forward.behind(port, asked));
    let is_asked =
        |backend: &Backend| behind.as_ref().is_none_or(|all| all.iter().any(|it| std::ptr::eq(*it, backend)));
    let mut tried: BTreeMap<(Option<u16>, Option<IpAddr>), usize> = BTreeMap::new();
    let mut may_try = |backend: &Backend| {
        let count = tried.entry((backend.port, backend.at)).or_default();
        *count += 1;
        *count <= MOST_TRIES
    };
    let backends = forward.backends.iter().enumerate();
    let within_reach = backends.filter(|(_, it)| it.met == Observed::skipped(NOT_TRIED) && is_asked(it));
    within_reach.filter(|(_, backend)| may_try(backend)).map(|(order, _)| order).collect()
}

/// Where a proxy leads, at the asked port or at all, before anything was tried.
fn of(process: &Process, port: Option<u16>) -> Forward {
    let leads = arguments::leads(&process.name, &process.args);
    let mut way = Way { leads, whole: arguments::are_whole(&process.args), ..Way::default() };
    let file = if way.leads.is_empty() { file::find(process) } else { None };
    if let Some(file) = &file {
        way = conf::parse(&process.name, &file.text);
        way.leads.retain(|lead| port.is_none_or(|asked| lead.port.is_none_or(|own| own == asked)));
        way.whole &= file.is_its && file.edited_at.is_none();
    }
    let named = way.leads.iter().any(|lead| meet::literal(&lead.place).is_none());
    way.whole &= !named || file::shares_names(process.pid);
    let keeps = |lead: &&Lead| file.is_some() && !way.resolves_anew && meet::is_name(&lead.place);
    let fixed = way.leads.iter().filter(keeps).take(MOST_PLACES).map(|lead| escape(lead.place.as_bytes())).collect();
    let said_by = |lead: &Lead| match (&file, lead.line) {
        (Some(file), Some(line)) => format!("{}:{line}", escape(file.path.as_bytes())),
        _ => format!("the arguments of pid {}", process.pid),
    };
    let told = |lead: &Lead| Backend {
        port: lead.port,
        at: lead.at,
        place: escape(lead.place.as_bytes()),
        said_by: said_by(lead),
        wants_header: lead.wants_header,
        http: lead.http.clone(),
        met: Observed::skipped(out_of_reach(process).unwrap_or(NOT_TRIED)),
    };
    let left_out = way.leads.len().saturating_sub(MOST_PLACES);
    let backends = way.leads.iter().take(MOST_PLACES).map(told).collect();
    let edited_at = file.as_ref().and_then(|file| file.edited_at.clone());
    let file = file.as_ref().map(|file| escape(file.path.as_bytes()));
    let by_file = || Some(format!("{}:{}", file.as_deref()?, way.settable?));
    let by_master = arguments::has_master_socket(&process.name, &process.args);
    let settable_by = by_file().or_else(|| by_master.then(|| format!("the arguments of pid {}", process.pid)));
    Forward {
        pid: process.pid,
        file,
        backends,
        whole: way.whole && left_out == 0,
        edited_at,
        left_out,
        fixed,
        settable_by,
    }
}

/// Why what a proxy leads to is not to be met from here.
fn out_of_reach(process: &Process) -> Option<&'static str> {
    match (process.name.as_str(), process.same_network) {
        ("ssh" | "autossh", _) => Some("it is meant as seen from the other end of the tunnel"),
        (_, Some(true)) => None,
        (_, Some(false) | None) => Some("the proxy is in another network namespace"),
    }
}
