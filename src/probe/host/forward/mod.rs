//! Programs of the server's machine that pass connections on: which one has the port, where it leads, and whether somebody
//! takes a connection there. That a proxy accepts says nothing of what is behind it.

pub mod arguments;
mod conf;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::process::{Process, Processes};
use crate::model::{Family, Observed, escape};
use crate::probe::path::redis;
use crate::probe::path::reply::{Command, Reply};
use crate::probe::path::tcp::{self, Attempt, Dialled, Outcome};
use crate::sys::resolver::{self, Lookup};
use crate::sys::{Clock, clock, files};

/// The most proxies that are told of, and the most places behind each.
const MOST: usize = 8;
const MOST_BACKENDS: usize = 8;
/// How long a place behind a proxy may take to answer, all at once. It is near by: most of them are on the same machine.
const PATIENCE: Duration = Duration::from_secs(1);

/// Programs that pass connections on, by the name of their process, of which the kernel keeps 15 bytes.
const PROXIES: [&str; 36] = [
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forward {
    /// Its process.
    pub pid: u32,
    /// The file that says where it leads, where its arguments name one.
    pub file: Option<String>,
    /// Where it leads, as far as its arguments or that file tell.
    pub backends: Vec<Backend>,
}

/// A place behind a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// The port of the proxy that leads there, where it tells.
    pub port: Option<u16>,
    /// The place, as it is written: `172.17.0.2:6379`.
    pub place: String,
    /// Who says so: `/etc/haproxy/haproxy.cfg:12`, `the arguments of pid 7`.
    pub said_by: String,
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
    /// The place.
    pub place: String,
    /// The line of the file that says so.
    pub line: Option<usize>,
}

/// True for a process that passes connections on.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
}

impl Forward {
    /// The places that the asked port leads to.
    pub fn behind(&self, port: u16) -> impl Iterator<Item = &Backend> {
        self.backends.iter().filter(move |backend| backend.port.is_none_or(|own| own == port))
    }
}

impl Backend {
    /// The attempt to connect there, if one was made.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.met.seen().map(|met| &met.attempt)
    }

    /// True if nobody takes a connection there.
    pub fn is_down(&self) -> bool {
        self.attempt().is_some_and(|attempt| attempt.outcome != Outcome::Connected)
    }
}

/// Looks at the proxies among the strangers: at those that have `port`, or at all, and at what is behind them.
pub async fn gather(processes: &Observed<Processes>, port: Option<u16>, clock: &Clock) -> Vec<Forward> {
    let strangers = processes.seen().map_or(&[][..], |processes| &processes.strangers);
    let has_port = |process: &&Process| port.is_none_or(|port| process.listens.iter().any(|at| at.port() == port));
    let proxies = strangers.iter().filter(|process| is_proxy(&process.name)).filter(has_port).take(MOST);
    let deadline = clock.end().min(clock::now() + PATIENCE);
    let mut found = Vec::new();
    for process in proxies {
        found.push(of(process, deadline).await);
    }
    found
}

async fn of(process: &Process, deadline: Instant) -> Forward {
    let file = arguments::file(&process.name, &process.args).map(|file| absolute(&file, process.cwd.as_deref()));
    let mut leads = arguments::leads(&process.name, &process.args);
    let by_arguments = !leads.is_empty();
    if let (false, Some(file)) = (by_arguments, &file) {
        leads = conf::parse(&process.name, &files::read_text(file).unwrap_or_default());
    }
    leads.truncate(MOST_BACKENDS);
    let mut tries = tokio::task::JoinSet::new();
    for (order, lead) in leads.iter().enumerate() {
        let (place, why_not) = (lead.place.clone(), out_of_reach(process));
        tries.spawn(async move { (order, met(&place, why_not, deadline).await) });
    }
    let mut met = tries.join_all().await;
    met.sort_by_key(|(order, _)| *order);
    let said_by = |lead: &Lead| match (&file, lead.line) {
        (Some(file), Some(line)) => format!("{}:{line}", escape(file.as_bytes())),
        _ => format!("the arguments of pid {}", process.pid),
    };
    let told = |(lead, (_, met)): (&Lead, _)| Backend {
        port: lead.port,
        place: escape(lead.place.as_bytes()),
        said_by: said_by(lead),
        met,
    };
    let backends = leads.iter().zip(met).map(told).collect();
    Forward { pid: process.pid, file: file.map(|file| escape(file.as_bytes())), backends }
}

/// Why what a proxy leads to is not to be met from here.
fn out_of_reach(process: &Process) -> Option<&'static str> {
    match (process.name.as_str(), process.same_network) {
        ("ssh" | "autossh", _) => Some("it is meant as seen from the other end of the tunnel"),
        (_, Some(true)) => None,
        (_, Some(false) | None) => Some("the proxy is in another network namespace"),
    }
}

fn absolute(file: &str, cwd: Option<&str>) -> String {
    match cwd {
        Some(cwd) if !file.starts_with('/') => format!("{}/{file}", cwd.trim_end_matches('/')),
        _ => file.to_owned(),
    }
}

async fn met(place: &str, why_not: Option<&'static str>, deadline: Instant) -> Observed<Met> {
    if let Some(why) = why_not {
        return Observed::skipped(why);
    }
    let Some(address) = resolve(place, deadline).await else {
        return Observed::skipped("its address is not known");
    };
    let attempt = tcp::once(address, deadline).await;
    let ping = match attempt.outcome {
        Outcome::Connected => said(address, deadline).await,
        _ => None,
    };
    Observed::Seen(Met { attempt, ping })
}

async fn said(address: SocketAddr, deadline: Instant) -> Option<String> {
    let said = redis::greet(&Dialled::Tcp(address), deadline).await;
    match said.reply(Command::Ping).or(said.unasked.as_ref())? {
        Reply::Status(status) => Some(status.clone()),
        Reply::Error(error) => Some(error.text.clone()),
        _ => None,
    }
}

/// The address of a place, by this machine's own resolver.
async fn resolve(place: &str, deadline: Instant) -> Option<SocketAddr> {
    let (host, port) = place.rsplit_once(':')?;
    let (host, port) = (host.trim_matches(['[', ']']), port.parse().ok()?);
    if let Ok(ip) = host.parse::<IpAddr>() {
        // Who connects to the unspecified address connects to this machine (ip(7)).
        return Some(SocketAddr::new(if ip.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { ip }, port));
    }
    match resolver::lookup(host, Family::Any, deadline).await {
        Lookup::Addresses { addresses, .. } => addresses.first().map(|ip| SocketAddr::new(*ip, port)),
        Lookup::Failed { .. } | Lookup::TimedOut => None,
    }
}
