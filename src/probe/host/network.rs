//! What the kernel of the server's machine shows of its network beside listeners and rules: the way back to clients,
//! connections that are half open, connection tracking, what `SELinux` denied, and ports that belong to containers.

mod published;
pub mod selinux;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use crate::sys::machine::Interface;
pub use published::Published;
pub use selinux::{Denial, Selinux};

use super::process::Process;
use super::socket::table;
use crate::model::{BlockerKind, Observed, escape};
use crate::probe::not_looked_at;
use crate::probe::path::route::{self, Routes, shares_prefix};
use crate::sys::{files, machine, netlink, process};

/// The most half-open connections that are kept: as many as a listener's queue usually holds.
const MOST_HALF_OPEN: usize = 1024;
/// The most records of the kernel's log that are looked through, the last ones.
const MOST_RECORDS: usize = 4096;

/// The network of the server's machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Its interfaces, one entry for each address.
    pub interfaces: Vec<Interface>,
    /// Its routes.
    #[serde(default = "not_looked_at")]
    pub routes: Observed<Routes>,
    /// Connections whose SYN was answered, and whose ACK has not come.
    #[serde(default = "not_looked_at")]
    pub half_open: Observed<Vec<HalfOpen>>,
    /// The table of connection tracking, where there is one.
    pub conntrack: Option<Conntrack>,
    /// How strictly each interface takes packets only from where their answers would go (`rp_filter`).
    pub reverse_path: Vec<ReversePath>,
    /// How many packets were dropped for that reason (`TcpExtIPReversePathFilter`).
    pub reverse_path_drops: Option<u64>,
    /// `SELinux`.
    pub selinux: Option<Selinux>,
    /// What `AppArmor` or `SELinux` confine the servers to, by process (`/proc/PID/attr/current`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confined: Vec<(u32, String)>,
    /// Ports that are published for containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
}

/// A connection in `SYN-RECV`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HalfOpen {
    /// This machine's end.
    pub local: SocketAddr,
    /// Who wants to connect.
    pub remote: SocketAddr,
    /// How many times the answer was sent again: 0 may be a connection that is being made this very moment.
    pub retransmits: u8,
}

/// The table of connection tracking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conntrack {
    /// How many connections are in it, those of this network namespace.
    pub count: u64,
    /// How many may be.
    pub max: u64,
    /// How long ago, in seconds, the kernel logged `table full, dropping packet`; none where it did not, or where its log
    /// may not be read.
    pub full_s_ago: Option<u64>,
}

/// What `rp_filter` an interface has: the stricter of its own and that of all (`ip-sysctl` in the kernel's documentation).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReversePath {
    /// The interface.
    pub interface: String,
    /// 0: none; 1: strict, the answer must leave by the same interface; 2: loose.
    pub mode: u8,
}

impl Conntrack {
    /// True if no further connection fits.
    pub fn is_full(&self) -> bool {
        self.max > 0 && self.count >= self.max
    }
}

impl Network {
    /// The interface that has this address, or on whose link it is.
    pub fn link_of(&self, ip: IpAddr) -> Option<&Interface> {
        let on_link = |at: &&Interface| shares_prefix(at.ip, ip, at.prefix) && !at.ip.is_loopback();
        self.interfaces.iter().filter(on_link).max_by_key(|at| (at.ip == ip, at.prefix))
    }

    /// The half-open connections to this port from this address, or from any.
    pub fn waiting(&self, port: u16, from: Option<IpAddr>) -> impl Iterator<Item = &HalfOpen> {
        let all = self.half_open.seen().map_or(&[][..], Vec::as_slice);
        let wanted = move |it: &&HalfOpen| {
            it.local.port() == port && from.is_none_or(|from| it.remote.ip().to_canonical() == from)
        };
        all.iter().filter(wanted)
    }
}

/// Looks at it; `servers` are the Redis servers of the machine.
pub fn gather(servers: &[Process]) -> Observed<Network> {
    if !process::are_seen() {
        return Observed::hidden(BlockerKind::Unsupported, "there is no /proc that shows the kernel's network");
    }
    let interfaces = machine::links();
    Observed::Seen(Network {
        reverse_path: reverse_path(&interfaces),
        interfaces,
        routes: route::read(),
        half_open: half_open(),
        conntrack: conntrack(),
        reverse_path_drops: files::read_text("/proc/net/netstat").ok().and_then(|text| dropped(&text)),
        selinux: selinux::gather(),
        confined: servers.iter().filter_map(|server| Some((server.pid, confinement(server.pid)?))).collect(),
        published: published::gather(),
    })
}

fn half_open() -> Observed<Vec<HalfOpen>> {
    let (Some(v4), v6) = (of_family(false), of_family(true)) else {
        return Observed::hidden(BlockerKind::Unsupported, "this system has neither sock_diag nor /proc/net/tcp");
    };
    // A kernel without IPv6 has no table of its connections.
    Observed::Seen(v4.into_iter().chain(v6.unwrap_or_default()).collect())
}

/// Those of one family: from `sock_diag`, or where it is blocked (seccomp) or not built in, from the table.
fn of_family(v6: bool) -> Option<Vec<HalfOpen>> {
    if let Ok(found) = netlink::half_open(v6, None, MOST_HALF_OPEN) {
        let told = |it: netlink::HalfOpen| HalfOpen { local: it.local, remote: it.remote, retransmits: it.retransmits };
        return Some(found.into_iter().map(told).collect());
    }
    let path = if v6 { "/proc/self/net/tcp6" } else { "/proc/self/net/tcp" };
    let found = table::half_open(&files::read_text(path).ok()?);
    let told = |(local, remote, retransmits)| HalfOpen { local, remote, retransmits };
    Some(found.into_iter().take(MOST_HALF_OPEN).map(told).collect())
}

fn number<T: std::str::FromStr>(path: &str) -> Option<T> {
    files::read_text(path).ok()?.trim().parse().ok()
}

fn conntrack() -> Option<Conntrack> {
    let of = |name: &str| number(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
    let (count, max) = (of("count")?, of("max")?);
    let now = process::since_boot().map(|since| since.as_secs());
    let records = files::kernel_log(MOST_RECORDS).unwrap_or_default();
    let full_s_ago = records.iter().rev().find_map(|record| full_at(record)).zip(now);
    Some(Conntrack { count, max, full_s_ago: full_s_ago.map(|(at, now)| now.saturating_sub(at)) })
}

/// When, in seconds since the start, a record of the kernel's log says that the table is full:
/// `4,1234,56789012,-;nf_conntrack: nf_conntrack: table full, dropping packet` (dev-kmsg in the kernel's ABI).
fn full_at(record: &str) -> Option<u64> {
    let (prefix, message) = record.split_once(';')?;
    (message.starts_with("nf_conntrack") && message.contains("table full, dropping packet")).then_some(())?;
    let microseconds: u64 = prefix.split(',').nth(2)?.parse().ok()?;
    Some(microseconds / 1_000_000)
}

fn reverse_path(interfaces: &[Interface]) -> Vec<ReversePath> {
    let of = |name: &str| number::<u8>(&format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
    let all = of("all").unwrap_or(0);
    let mut names: Vec<&str> =
        interfaces.iter().map(|at| at.name.as_str()).filter(|name| !name.contains('/')).collect();
    names.dedup();
    let told = |name: &str| Some(ReversePath { interface: name.to_owned(), mode: of(name)?.max(all) });
    names.into_iter().filter_map(told).collect()
}

/// `IPReversePathFilter` of the pair of lines `TcpExt:` that names its columns in the first.
fn dropped(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    columns.find(|(name, _)| *name == "IPReversePathFilter")?.1.parse().ok()
}

fn confinement(pid: u32) -> Option<String> {
    let text = process::read(pid, "attr/current").ok()?;
    let text = text.strip_suffix(b"\0").unwrap_or(&text).trim_ascii();
    (!text.is_empty() && text != b"unconfined").then(|| escape(&text[..text.len().min(200)]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sees_this_machine() {
        let network = gather(&[]).seen().cloned().unwrap();
        assert!(network.interfaces.iter().any(|at| at.name == "lo" && at.prefix == 8), "{network:?}");
        assert!(network.half_open.seen().is_some() && network.reverse_path_drops.is_some(), "{network:?}");
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        let record = "4,1234,56789012,-;nf_conntrack: nf_conntrack: table full, dropping packet\n SUBSYSTEM=x";
        assert_eq!(full_at(record), Some(56));
        assert_eq!(full_at("6,1,1,-;eth0: link up"), None);
        assert_eq!(full_at("12,1,1,-;somebody: nf_conntrack: table full, dropping packet"), None);
        assert_eq!(dropped("TcpExt: A IPReversePathFilter\nTcpExt: 1 7\n"), Some(7));
        assert_eq!(dropped("TcpExt: A\nTcpExt: 1\n"), None);
    }

    #[test]
    fn knows_its_links() {
        let at = |name: &str, ip: &str, prefix| Interface { name: name.to_owned(), ip: ip.parse().unwrap(), prefix };
        let interfaces = vec![at("lo", "127.0.0.1", 8), at("eth0", "10.0.0.9", 24), at("eth1", "fd77::2", 64)];
        let network = Network { interfaces, ..Network::healthy() };
        let link = |ip: &str| network.link_of(ip.parse().unwrap()).map(|at| at.name.as_str());
        assert_eq!(link("10.0.0.77"), Some("eth0"));
        assert_eq!(link("10.0.1.77"), None);
        assert_eq!(link("fd77::99"), Some("eth1"));
        assert_eq!(link("127.0.0.5"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = (full_at(&text), dropped(&format!("TcpExt: {text}\nTcpExt: {text}")));
        }
    }
}
