//! Addresses: which of a `bind` the machine has, and on which of a server's others can reach it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Origin;
use super::instance::{Bind, Instance, Known};
use super::socket::Listener;
use crate::probe::path::route::shares_prefix;
use crate::sys::files;

impl Instance<'_> {
    /// The addresses of this `bind` that the machine lacks.
    pub fn missing_binds(&self, bind: &Known) -> Vec<Bind> {
        let parsed = bind.values.iter().filter_map(|word| Bind::parse(word));
        let origin = &self.host.origin;
        parsed.filter(|bind| !origin.has(bind.ip) && !origin.nonlocal_bind).collect()
    }

    /// Those of them without which it does not start: that have no '-', or all, where nothing else is left.
    pub fn needed_binds(&self, bind: &Known) -> Vec<Bind> {
        let mut missing = self.missing_binds(bind);
        let has_socket =
            self.setting("unixsocket").is_some_and(|known| known.values.iter().any(|path| !path.is_empty()));
        if missing.len() < bind.values.len() || has_socket {
            missing.retain(|bind| !bind.optional);
        }
        missing
    }

    /// Its listeners that other machines can reach, as far as addresses tell: none where the machine has only loopback. Of a
    /// server that is not seen itself, they are those of whatever passes connections on to it (see [`Self::passed_on_by`]).
    pub fn reachable_from_afar(&self) -> Vec<SocketAddr> {
        let outside = |ip: &IpAddr| !ip.is_loopback() && !is_link_local(*ip);
        let has = |v4: bool| self.host.origin.addresses.iter().any(|ip| outside(ip) && ip.is_ipv4() == v4);
        let open = |ip: IpAddr| !ip.is_loopback() && (!ip.is_unspecified() || has(ip.is_ipv4()));
        let Some(port) = self.facts().ask.target.port() else { return Vec::new() };
        let listens: Vec<SocketAddr> = match self.process {
            Some(process) => process.listens.iter().filter(|at| at.port() == port).copied().collect(),
            None => self.passed_on_by(port).into_iter().map(Listener::address).collect(),
        };
        listens.into_iter().filter(|at| open(at.ip())).collect()
    }

    /// The listeners on this port that lead to where the dialogue led: the one that serves its address, and the others of
    /// the same owner. Those of anybody else lead to something else.
    fn passed_on_by(&self, port: u16) -> Vec<&Listener> {
        let Some(at) = self.facts().answered_at() else { return Vec::new() };
        let listeners = self.host.listeners(port);
        // Of two, the kernel takes the one with the very address.
        let exact = || listeners.iter().find(|listener| listener.ip == at.ip());
        let Some(served) = exact().or_else(|| listeners.iter().find(|it| it.serves(at.ip()))) else {
            return Vec::new();
        };
        let same = |it: &&Listener| it.inode == served.inode || (it.owner.is_some() && it.owner == served.owner);
        listeners.iter().copied().filter(same).collect()
    }

    /// True if it is known whose listeners lead to it: its own, or those of a program that was seen.
    pub fn has_known_owner(&self) -> bool {
        let port = self.facts().ask.target.port();
        let owned = |port| self.passed_on_by(port).iter().all(|listener| listener.owner.is_some());
        self.process.is_some() || port.is_some_and(owned)
    }
}

impl Origin {
    /// True if a server may listen on this address here: it is one of the machine, or of a network that a route makes its
    /// own (`ip route add local 10.99.0.0/24 dev lo`), as all of 127.0.0.0/8 is.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        let within = |(network, prefix): &(IpAddr, u8)| shares_prefix(ip, *network, *prefix);
        let loopback = ip.is_loopback() && ip.is_ipv4();
        ip.is_unspecified() || loopback || self.addresses.contains(&ip) || self.local_networks.iter().any(within)
    }
}

/// The IPv4 networks whose every address is this machine's own, but for 127.0.0.0/8. Of IPv6, bind(2) takes only addresses
/// that an interface has (measured; `ipv6_chk_addr` in the kernel).
pub fn local_networks() -> Vec<(IpAddr, u8)> {
    files::read_text("/proc/net/fib_trie").map(|text| of_trie(&text)).unwrap_or_default()
}

/// `|-- 10.99.0.0` and, below it, `/24 host LOCAL`; all tables are listed.
fn of_trie(text: &str) -> Vec<(IpAddr, u8)> {
    let mut found = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
            continue;
        }
        let prefix =
            line.strip_suffix(" LOCAL").and_then(|line| line.strip_prefix('/')?.split(' ').next()?.parse().ok());
        if let (Some(network), Some(prefix)) =
            (last.filter(|ip| !ip.is_loopback()), prefix.filter(|prefix| *prefix < 32))
            && !found.contains(&(network.into(), prefix))
        {
            found.push((network.into(), prefix));
        }
    }
    found
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_a_route_makes_its_own() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.99.0.0\n        \
                    /24 host LOCAL\n     |-- 10.5.5.1\n        /32 host LOCAL\n     |-- 127.0.0.0\n        /8 host LOCAL\n";
        assert_eq!(of_trie(trie), [([10, 99, 0, 0].into(), 24)]);
        assert!(shares_prefix([10, 99, 0, 7].into(), [10, 99, 0, 0].into(), 24));
        assert!(!shares_prefix([10, 99, 1, 7].into(), [10, 99, 0, 0].into(), 24));
    }

    proptest::proptest! {
        #[test]
        fn no_table_panics(text in ".{0,300}") {
            of_trie(&text);
        }
    }
}
