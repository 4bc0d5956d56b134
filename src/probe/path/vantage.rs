//! Where we look from: this machine, its addresses, whether it is a container, and what limits its own connections.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::dns::Dns;
use super::tcp::{Outcome, Tcp};
use crate::model::{Endpoint, Observed, Target};
use crate::probe::host::network::selinux::{self, Selinux};
use crate::sys::{environment, files, machine};

pub use crate::sys::files::Meta;

/// Settings that applications commonly take their Redis target from. Only the names are kept.
const SETTINGS: &[&str] = &["REDIS_URL", "REDIS_URI", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_TLS_URL"];

/// Where we look from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vantage {
    /// The name of this machine.
    pub hostname: Option<String>,
    /// The operating system.
    pub os: String,
    /// The kind of container we run in: `docker`, `podman`, `kubernetes`, `lxc` …
    pub container: Option<String>,
    /// Whether our network namespace is another than the machine's own (a container, a sandbox, a VPN's); `None` where that
    /// cannot be told.
    #[serde(default)]
    pub own_namespace: Option<bool>,
    /// Whether this machine looks like a Kubernetes node, whose kube-proxy rejects connections to Services without
    /// endpoints; looked at when an ICMP error came back.
    #[serde(default)]
    pub kubernetes_node: bool,
    /// Whether the target is this machine (this network namespace), by its addresses; unknown without addresses.
    pub same_host: Option<bool>,
    /// The addresses of this machine, in this network namespace.
    pub own_addresses: Vec<IpAddr>,
    /// The user we run as.
    pub uid: u32,
    /// Names of the environment's Redis settings that were not used.
    pub unused_settings: Vec<String>,
    /// What limits our own connections, looked at when one could not even be begun.
    pub limits: Observed<Limits>,
    /// `SELinux`, looked at when a connection was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux: Option<Selinux>,
    /// The ends of a unix socket's path, looked at when it could not be used.
    pub socket_path: Observed<Vec<PathPart>>,
}

/// What limits our own connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Soft limit of open files of this process.
    pub open_files: Option<u64>,
    /// `net.ipv4.ip_local_port_range`.
    pub ephemeral_ports: Option<(u16, u16)>,
    /// TCP sockets in use and in `TIME_WAIT`, from /proc/net/sockstat.
    pub sockets: Option<(u64, u64)>,
    /// Whether IPv6 is switched off (`net.ipv6.conf.all.disable_ipv6`, or no IPv6 at all).
    pub ipv6_disabled: bool,
}

/// One part of the way to a unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPart {
    /// The path so far.
    pub path: String,
    /// What stands there; `None` where nothing does or it cannot be seen.
    pub meta: Option<Meta>,
}

/// Looks at this machine, as far as the outcome of the attempts makes it matter.
pub fn gather(
    target: &Target,
    dns: &Observed<Dns>,
    tcp: &Observed<Tcp>,
    own_addresses: Vec<IpAddr>,
) -> Observed<Vantage> {
    Observed::Seen(Vantage {
        hostname: machine::hostname(),
        os: std::env::consts::OS.to_owned(),
        container: container(),
        own_namespace: own_namespace(),
        kubernetes_node: kubernetes_node(tcp),
        same_host: same_host(target, dns, &own_addresses),
        own_addresses,
        uid: machine::effective_user(),
        unused_settings: unused_settings(target),
        limits: limits(tcp),
        selinux: if is_denied(tcp) { selinux::gather() } else { None },
        socket_path: socket_path(target, tcp),
    })
}

/// The container we run in, by the marks its runtimes leave.
fn container() -> Option<String> {
    if environment::variable("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("kubernetes".to_owned());
    }
    let mark =
        [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")].into_iter().find(|(path, _)| files::exists(path));
    if let Some((_, kind)) = mark
        && !in_the_machines_own_namespaces()
    {
        return Some(kind.to_owned());
    }
    // systemd's convention (systemd.io/CONTAINER_INTERFACE): nspawn, LXC and others set it for PID 1.
    files::read_text("/run/systemd/container").ok().map(|kind| crate::model::escape(kind.trim().as_bytes()))
}

/// True on a machine that only began as a container's image (a virtual machine, a CI runner): the mark is there, but PID
/// and network namespace are the machine's own.
fn in_the_machines_own_namespaces() -> bool {
    in_first_pid_namespace() && own_namespace() == Some(false)
}

/// The first PID namespace has a fixed number (`PROC_PID_INIT_INO`, since Linux 3.8).
fn in_first_pid_namespace() -> bool {
    files::link("/proc/self/ns/pid").is_some_and(|pid| pid == "pid:[4026531836]")
}

/// The first network namespace has a fixed number on recent kernels (measured on 6.18); that of older ones is PID 1's, if
/// we may see it. PID 1 of a container is in the container's own, and tells nothing.
fn own_namespace() -> Option<bool> {
    let own = files::link("/proc/self/ns/net")?;
    if own == "net:[4026531833]" {
        return Some(false);
    }
    match files::link("/proc/1/ns/net") {
        Some(first) if first != own => Some(true),
        Some(_) if in_first_pid_namespace() => Some(false),
        _ => None,
    }
}

fn kubernetes_node(tcp: &Observed<Tcp>) -> bool {
    const MARKS: [&str; 4] =
        ["/var/lib/kubelet", "/etc/kubernetes", "/sys/class/net/kube-ipvs0", "/sys/class/net/cni0"];
    let by_icmp = tcp.seen().is_some_and(|tcp| tcp.attempts.iter().any(|attempt| attempt.icmp.is_some()));
    by_icmp && MARKS.iter().any(|mark| files::exists(mark))
}

fn is_denied(tcp: &Observed<Tcp>) -> bool {
    tcp.seen().is_some_and(|tcp| tcp.attempts.iter().any(|attempt| attempt.outcome == Outcome::Denied))
}

/// True if the target is this machine, by its own addresses.
pub fn is_here(target: &Target, dns: &Observed<Dns>, own: &[IpAddr]) -> bool {
    same_host(target, dns, own) == Some(true)
}

fn same_host(target: &Target, dns: &Observed<Dns>, own: &[IpAddr]) -> Option<bool> {
    if matches!(target.endpoint, Endpoint::Unix { .. }) {
        return Some(true);
    }
    let addresses = dns.seen()?.addresses();
    let is_own = |ip: &IpAddr| is_this_machine(*ip) || own.contains(&ip.to_canonical());
    (!addresses.is_empty()).then(|| addresses.iter().any(is_own))
}

/// True for addresses that mean the machine one is on: loopback, also in its IPv4-mapped form, and the unspecified
/// address, which connect(2) takes for loopback.
pub fn is_this_machine(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified()
}

fn unused_settings(target: &Target) -> Vec<String> {
    let used = |name: &str| target.given_by.values().any(|by| by.contains(name));
    SETTINGS
        .iter()
        .filter(|name| environment::variable(name).is_some() && !used(name))
        .map(|&name| name.to_owned())
        .collect()
}

fn limits(tcp: &Observed<Tcp>) -> Observed<Limits> {
    let starved = [Outcome::AddressUnavailable, Outcome::NoDescriptors, Outcome::FamilyUnsupported];
    let Observed::Seen(tcp) = tcp else { return Observed::needs("tcp") };
    if !tcp.attempts.iter().any(|attempt| starved.contains(&attempt.outcome)) {
        return Observed::skipped("no attempt failed for want of local resources");
    }
    Observed::Seen(Limits {
        open_files: machine::open_files_limit().map(|(soft, _)| soft),
        ephemeral_ports: files::read_text("/proc/sys/net/ipv4/ip_local_port_range")
            .ok()
            .and_then(|text| parse_range(&text)),
        sockets: files::read_text("/proc/net/sockstat").ok().and_then(|text| parse_sockstat(&text)),
        ipv6_disabled: files::read_text("/proc/sys/net/ipv6/conf/all/disable_ipv6")
            .map_or(true, |text| text.trim() == "1"),
    })
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// `TCP: inuse 3 orphan 0 tw 2 alloc 4 mem 1` as (inuse, tw).
fn parse_sockstat(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |key: &str| words.windows(2).find(|pair| pair[0] == key)?[1].parse().ok();
    Some((number("inuse")?, number("tw")?))
}

/// Every folder on the way to the socket and the socket itself, when it could not be used.
fn socket_path(target: &Target, tcp: &Observed<Tcp>) -> Observed<Vec<PathPart>> {
    let (Endpoint::Unix { path }, Observed::Seen(tcp)) = (&target.endpoint, tcp) else {
        return Observed::skipped("the target is no unix socket");
    };
    if tcp.connected().is_some() {
        return Observed::skipped("the socket could be used");
    }
    let ends = path.char_indices().filter(|&(at, c)| c == '/' && at > 0).map(|(at, _)| at).chain([path.len()]);
    Observed::Seen(ends.map(|end| PathPart { path: path[..end].to_owned(), meta: files::meta(&path[..end]) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_kernels_tables() {
        assert_eq!(parse_range("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(parse_range("x"), None);
        let sockstat = "sockets: used 143\nTCP: inuse 3 orphan 0 tw 2 alloc 4 mem 1\nUDP: inuse 0 mem 0\n";
        assert_eq!(parse_sockstat(sockstat), Some((3, 2)));
        assert_eq!(parse_sockstat("TCP: inuse"), None);
    }
}
