//! What the server's own machine shows, seen from inside. Each fact source is a file of its own in this folder.
//!
//! It is gathered where the target is this machine, or taken from a file that `redisdoc collect` wrote on the server.
//! Nothing in it holds a secret: what redis.conf, arguments and titles say of passwords is dropped where it is read.

mod alone;
pub mod certificates;
pub mod conf;
pub mod disk;
mod edited;
pub mod firewall;
pub mod folder;
pub mod forward;
pub mod front;
mod groups;
pub mod instance;
pub mod limits;
pub mod log;
pub mod memory;
pub mod mount;
pub mod network;
pub mod process;
pub mod queue;
mod reach;
pub mod running;
pub mod socket;
pub mod starter;
pub mod system;
mod whose;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Ask, BlockerKind, Endpoint, Observed};
use crate::probe::not_looked_at;
use crate::probe::path::command::Command;
use crate::probe::path::redis::{Dialogue, Redis};
use crate::probe::path::reply::{Info, Reply};
use crate::probe::path::tcp::Tcp;
use crate::probe::path::tls::Tls;
use crate::probe::path::vantage::Vantage;
use crate::sys::{Clock, clock, files, machine};
use conf::{Conf, Leads};
use disk::Disk;
use firewall::Firewall;
use folder::Folder;
use forward::Forward;
use limits::Limits;
use log::Log;
use memory::Memory;
use network::Network;
use process::{Process, Processes};
use running::Running;
use socket::Sockets;
use system::System;

/// The server's machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Which machine this is, and when it was looked at.
    pub origin: Origin,
    /// What is installed on it, and what starts its services. Looked at when something is wrong.
    pub system: Observed<System>,
    /// The sockets that are listened on.
    pub sockets: Observed<Sockets>,
    /// The Redis servers that run, and who owns the listeners.
    pub processes: Observed<Processes>,
    /// The proxies that have the port, and what is behind them. Looked at when something is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
    /// Where such proxies end TLS themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fronts: Vec<front::Front>,
    /// What the servers of this machine say over loopback, apart from the conversation with the target itself.
    pub running: Vec<Running>,
    /// The redis.conf files that were found, the surest first.
    pub confs: Vec<Conf>,
    /// The end of the server's log.
    #[serde(default = "not_looked_at")]
    pub log: Observed<Log>,
    /// What limits connections and files.
    pub limits: Observed<Limits>,
    /// Memory of the machine and of the server's control group.
    pub memory: Observed<Memory>,
    /// The file systems that Redis writes to.
    pub disks: Observed<Vec<Disk>>,
    /// Its packet filter. Looked at when something is wrong.
    #[serde(default = "not_looked_at")]
    pub firewall: Observed<Firewall>,
    /// What its kernel shows of its network. Looked at when something is wrong.
    #[serde(default = "not_looked_at")]
    pub network: Observed<Network>,
    /// The certificates in the files that its servers were told to use. Looked at where TLS is asked for, or something is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<certificates::File>,
}

/// Which machine was looked at, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its name.
    pub hostname: Option<String>,
    /// When (RFC 3339, UTC).
    pub taken_at: String,
    /// Its addresses, in the network namespace that was looked at.
    pub addresses: Vec<IpAddr>,
    /// What `/proc/sys/kernel/random/boot_id` says: one machine, from one start to the next.
    pub boot_id: Option<String>,
    /// Whether bind(2) takes addresses that the machine does not have (`net.ipv4.ip_nonlocal_bind`, or that of IPv6).
    #[serde(default)]
    pub nonlocal_bind: bool,
    /// Networks whose every address is this machine's own, by a route (`ip route add local`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_networks: Vec<(IpAddr, u8)>,
    /// The name of the machine whose facts were given (`--host-facts`) and not used, because the target is this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_used: Option<String>,
    /// True if `redisdoc collect` took it on another machine or at another time.
    pub collected: bool,
}

/// The checks that need it.
const CHECKS: [&str; 7] = ["process", "config", "firewall", "log", "limits", "memory", "disk"];
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the path to the target showed.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// Where we look from.
    pub vantage: &'a Observed<Vantage>,
    /// The attempts to connect.
    pub tcp: &'a Observed<Tcp>,
    /// The handshakes.
    pub tls: &'a Observed<Tls>,
    /// What was said.
    pub redis: &'a Observed<Redis>,
    /// What [`limits::overflows`] said before, where the target is this machine.
    pub overflows: Option<(u64, u64)>,
}

/// What `--host-facts` gave.
#[derive(Debug, Default)]
pub enum Given {
    /// It was not asked for.
    #[default]
    Nothing,
    /// The facts that were collected on the target's machine.
    Facts(Box<Host>),
    /// They were not written in time.
    Late,
}

/// Whether any check of this run looks at the server's own machine.
pub fn is_wanted(ask: &Ask) -> bool {
    CHECKS.iter().any(|check| ask.wants(check))
}

/// Looks at this machine, if the target is on it: at what a healthy target's check tells, and at all that might tell why,
/// where the path did not lead to a PONG. `given` are the facts that were collected on the target's machine.
pub async fn gather(ask: &Ask, path: Path<'_>, given: Given, clock: &Clock) -> Observed<Host> {
    if !is_wanted(ask) {
        return Observed::skipped("not selected");
    }
    let is_here = path.vantage.seen().and_then(|vantage| vantage.same_host) == Some(true);
    let dialogue = path.redis.seen().and_then(Redis::preferred);
    let not_used = match given {
        Given::Facts(host) if !is_here || host.is_home_of(dialogue) => return Observed::Seen(*host),
        Given::Late if !is_here => {
            return Observed::hidden(BlockerKind::Deadline, "the host facts did not come in time");
        }
        Given::Facts(host) => Some(host.origin.hostname.unwrap_or_else(|| "a machine without a name".to_owned())),
        Given::Late | Given::Nothing => None,
    };
    let is_well = |dialogue| says_pong(dialogue) && !dialogue.is_cut_at_times() && !dialogue.is_stuck_behind();
    let all = ask.deep || !dialogue.is_some_and(is_well);
    if !is_here {
        let within = if all { contained(path.tcp) } else { None };
        return Observed::skipped(within.unwrap_or_else(|| "the target is not this machine".to_owned()));
    }
    let addresses = path.vantage.seen().map(|vantage| vantage.own_addresses.as_slice());
    let target = Some(&ask.target.endpoint);
    let asked = asked_addresses(path.tcp);
    let wanted = Wanted {
        target,
        asked: &asked,
        met: instance::met_at(dialogue, path.tls.seen()),
        conf: ask.redis_conf.as_deref(),
        dialogue,
        addresses,
        overflows: path.overflows,
        all,
        tls: ask.target.tls,
    };
    let mut host = look(wanted, clock).await;
    host.origin.not_used = not_used;
    Observed::Seen(host)
}

/// Looks at everything that this machine shows, whatever the target may be.
pub async fn collect(conf: Option<&str>, clock: &Clock) -> Host {
    let overflows = limits::overflows();
    let wanted = Wanted {
        target: None,
        asked: &[],
        met: None,
        conf,
        dialogue: None,
        addresses: None,
        overflows,
        all: true,
        tls: false,
    };
    look(wanted, clock).await.elsewhere()
}

impl Host {
    /// The same facts, marked as taken on another machine or at another time.
    #[must_use]
    pub fn elsewhere(mut self) -> Self {
        self.origin.collected = true;
        self
    }
}

fn asked_addresses(tcp: &Observed<Tcp>) -> Vec<IpAddr> {
    let tried = tcp.seen().map_or(&[][..], |tcp| &tcp.attempts);
    tried.iter().filter_map(|attempt| attempt.ip).collect()
}

/// That the target is a container on this machine: a server in another network namespace has its address.
fn contained(tcp: &Observed<Tcp>) -> Option<String> {
    let processes = process::gather(&mut Observed::Seen(Sockets::default()), None, true);
    let asked = asked_addresses(tcp);
    let has = |server: &&Process| server.addresses.iter().any(|ip| asked.contains(ip));
    let server = processes.seen()?.servers.iter().find(has)?;
    let container = server.container.as_deref().map_or_else(String::new, |id| format!(" {}", &id[..id.len().min(12)]));
    Some(format!(
        "the target is a container{container} on this machine ({}, pid {}); it is not looked into from here: run redisdoc in it",
        server.name, server.pid
    ))
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    /// The target; none where all that is here is to be seen.
    target: Option<&'a Endpoint>,
    /// The addresses that were tried.
    asked: &'a [IpAddr],
    /// That of whoever was spoken to.
    met: Option<IpAddr>,
    /// `--redis-conf`.
    conf: Option<&'a str>,
    /// What the target said.
    dialogue: Option<&'a Dialogue>,
    /// The addresses of this machine, where they are known already.
    addresses: Option<&'a [IpAddr]>,
    /// How many connections had found a queue full in the beginning.
    overflows: Option<(u64, u64)>,
    /// Everything, or only what is told of a healthy server.
    all: bool,
    /// Whether TLS is asked for.
    tls: bool,
}

async fn look(wanted: Wanted<'_>, clock: &Clock) -> Host {
    let Wanted { target, asked, dialogue, all, .. } = wanted;
    let port = match target {
        Some(Endpoint::Tcp { port, .. }) => Some(*port),
        Some(Endpoint::Unix { .. }) | None => None,
    };
    let told = dialogue.and_then(Dialogue::info);
    let pid = told.and_then(|info| info.number("process_id")).and_then(|pid| u32::try_from(pid).ok());
    let mut sockets = socket::gather(port.filter(|_| !all), port.is_none() || all);
    let processes = process::gather(&mut sockets, pid, all);
    let known = dialogue.filter(|dialogue| says_pong(dialogue)).map(|dialogue| dialogue.address.as_str());
    let forwards = if all { forward::gather(&processes, &sockets, port, asked, clock).await } else { Vec::new() };
    let fronts = front::gather(&forwards, &processes);
    let running = if all { running::gather(&processes, known, clock).await } else { Vec::new() };
    let system = if all { system::gather() } else { Observed::skipped("all is well") };
    let servers = processes.seen().map_or(&[][..], |processes| &processes.servers);
    let units = system.seen().map_or(&[][..], |system| &system.units);
    let of_others = running.iter().filter_map(|running| conf_of(Some(&running.info), running.pid));
    // Of what the target says of itself, only that counts which the owner of its listener said.
    let places = (wanted.met, asked);
    let own = target.and_then(|target| instance::process_met(target, places, servers, &sockets, dialogue));
    let is_own = pid.is_some_and(|pid| own.is_some_and(|own| own.pid == pid || own.pid_inside == Some(pid)));
    let of_target = conf_of(told, pid.filter(|_| is_own)).filter(|_| is_own || own.is_none());
    let told: Vec<(&str, Option<u32>)> = of_target.into_iter().chain(of_others).collect();
    let leads = Leads { given: wanted.conf, told: &told, servers, units, usual: all };
    let confs = conf::gather(leads, clock.step_end());
    let pids: Vec<u32> = servers.iter().map(|process| process.pid).collect();
    let mounts = mount::gather(None);
    let memory = memory::gather(&pids, &mounts);
    let behind: Vec<Option<&Process>> = match target {
        Some(_) => vec![own],
        None if servers.is_empty() => vec![None],
        None => servers.iter().map(Some).collect(),
    };
    // Who answers and is not seen has a redis.conf that is not known; so has who has the port on other addresses.
    let answered = dialogue.is_some_and(Dialogue::has_replied);
    let has_port = |server: &Process| server.listens.iter().any(|at| Some(at.port()) == port);
    let unseen = own.is_none() && (answered || servers.iter().any(has_port));
    let known = if unseen { &[][..] } else { &confs };
    let (folders, log_file) = written_to(&behind, known, port, |process| settings(dialogue, process, &running));
    let with_tls = if all || wanted.tls { behind.as_slice() } else { &[] };
    let certificates = certificates_of(with_tls, known, port, |process| settings(dialogue, process, &running));
    let disks = disk::gather(&folders, &mounts);
    let log = log::gather(log_file.as_deref());
    let firewall = if all { firewall::gather(clock).await } else { Observed::skipped("all is well") };
    let network = if all { network::gather(servers) } else { Observed::skipped("all is well") };
    let limits = limits::gather(wanted.overflows);
    let origin = origin(wanted.addresses.map_or_else(machine::addresses, <[IpAddr]>::to_vec));
    Host {
        origin,
        system,
        sockets,
        processes,
        forwards,
        fronts,
        running,
        confs,
        log,
        limits,
        memory,
        disks,
        firewall,
        network,
        certificates,
    }
}

/// The redis.conf that INFO names.
fn conf_of(told: Option<&Info>, pid: Option<u32>) -> Option<(&str, Option<u32>)> {
    let file = told?.get("config_file").filter(|file| !file.is_empty())?;
    Some((file, pid))
}

fn says_pong(dialogue: &Dialogue) -> bool {
    matches!(dialogue.reply(Command::Ping), Some(Reply::Status(_)))
}

fn origin(addresses: Vec<IpAddr>) -> Origin {
    Origin {
        hostname: machine::hostname(),
        taken_at: clock::date(),
        addresses,
        boot_id: files::read_text(BOOT_ID).ok().map(|id| crate::model::escape(id.trim().as_bytes())),
        nonlocal_bind: ["ipv4", "ipv6"].into_iter().any(may_bind_any),
        local_networks: reach::local_networks(),
        not_used: None,
        collected: false,
    }
}

fn may_bind_any(family: &str) -> bool {
    let path = format!("/proc/sys/net/{family}/ip_nonlocal_bind");
    files::read_text(&path).is_ok_and(|text| text.trim() == "1")
}

/// What a server tells of its settings: over the target's own conversation, else where it was asked over loopback.
fn settings(
    dialogue: Option<&Dialogue>,
    process: Option<&Process>,
    running: &[Running],
) -> Option<BTreeMap<String, String>> {
    let of_process = || running.iter().find(|running| running.pid.is_some() && running.pid == process.map(|it| it.pid));
    dialogue.and_then(Dialogue::settings).or_else(|| of_process()?.settings.seen().cloned())
}

/// The certificates that these servers were told of, by what a running one says, else by its redis.conf.
fn certificates_of(
    servers: &[Option<&Process>],
    confs: &[Conf],
    port: Option<u16>,
    told: impl Fn(Option<&Process>) -> Option<BTreeMap<String, String>>,
) -> Vec<certificates::File> {
    let confs: Vec<&Conf> = confs.iter().collect();
    let of = |process: Option<&Process>| {
        let own_port = || process.and_then(|process| process.listens.first().map(std::net::SocketAddr::port));
        let conf = instance::conf_of(&confs, process, port.or_else(own_port));
        certificates::gather(told(process).as_ref(), process, conf)
    };
    servers.iter().copied().flat_map(of).collect()
}

/// The folders that these servers write to, and the log where there is one server; by what a running one says of them, else
/// by its redis.conf.
fn written_to(
    servers: &[Option<&Process>],
    confs: &[Conf],
    port: Option<u16>,
    told: impl Fn(Option<&Process>) -> Option<BTreeMap<String, String>>,
) -> (Vec<Folder>, Option<String>) {
    let (mut folders, mut logs) = (Vec::new(), Vec::new());
    let confs: Vec<&Conf> = confs.iter().collect();
    for &process in servers {
        let own_port = || process.and_then(|process| process.listens.first().map(std::net::SocketAddr::port));
        let conf = instance::conf_of(&confs, process, port.or_else(own_port));
        let settings = told(process);
        let server = folder::Server { settings: settings.as_ref(), process, conf };
        folders.extend(folder::folders(server));
        logs.extend(folder::log_file(server));
    }
    let log = if servers.len() == 1 { logs.pop() } else { None };
    (folders, log)
}
