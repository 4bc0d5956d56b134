//! The way that packets to the target leave this machine: by which interface, from which address, through which gateway.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::route::{self, Routes};
use super::tcp::{Attempt, Outcome, Tcp};
use crate::model::{Observed, escape};
use crate::sys::{datagram, files, machine};

/// The way to one address, as the kernel itself routes it (policy rules and all).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The address of the target.
    pub to: IpAddr,
    /// The address that packets to it come from; `None` where there is no route.
    pub source: Option<IpAddr>,
    /// The interface that has that address.
    pub interface: Option<String>,
    /// The kind of tunnel that the interface is, if it is one: `wireguard`, `tun`, `ppp` …
    pub tunnel: Option<String>,
    /// The next hop, where the main routing table alone decides.
    pub gateway: Option<IpAddr>,
}

impl Way {
    /// The way in words: `from 10.0.0.2 (eth0) through the gateway 10.0.0.1`.
    pub fn says(&self) -> Option<String> {
        let interface = match (&self.interface, &self.tunnel) {
            (Some(interface), Some(tunnel)) => format!(" ({interface}, a tunnel: {tunnel})"),
            (Some(interface), None) => format!(" ({interface})"),
            (None, _) => String::new(),
        };
        let through = self.gateway.map(|gateway| format!(" through the gateway {gateway}")).unwrap_or_default();
        Some(format!("packets to {} leave from {}{interface}{through}", self.to, self.source?))
    }
}

/// Looks at the way to each address that could not be connected to.
pub fn gather(tcp: &Observed<Tcp>) -> Observed<Vec<Way>> {
    let Observed::Seen(tcp) = tcp else { return Observed::needs("tcp") };
    let failed = tcp.attempts.iter().filter(|attempt| attempt.outcome != Outcome::Connected);
    let addresses: Vec<SocketAddr> = failed.filter_map(address).collect();
    if addresses.is_empty() {
        return Observed::skipped("every address was connected to");
    }
    let (interfaces, routes) = (machine::interfaces(), route::read());
    Observed::Seen(addresses.into_iter().map(|to| way(to, &interfaces, routes.seen())).collect())
}

/// The address of an attempt, with its zone.
fn address(attempt: &Attempt) -> Option<SocketAddr> {
    attempt.ip.and_then(|_| attempt.address.parse().ok())
}

fn way(to: SocketAddr, interfaces: &[(String, IpAddr)], routes: Option<&Routes>) -> Way {
    let ip = to.ip();
    let source = datagram::source_for(to).ok();
    let interface = interfaces.iter().find(|(_, own)| Some(*own) == source).map(|(name, _)| name.clone());
    let routes = routes.filter(|routes| routes.are_all_for(ip) && source.is_some());
    Way {
        to: ip,
        source,
        tunnel: interface.as_deref().and_then(tunnel),
        interface: interface.map(|name| escape(name.as_bytes())),
        gateway: routes.and_then(|routes| routes.to(ip)?.gateway),
    }
}

/// The kind of tunnel that an interface is, by what its driver shows in /sys.
fn tunnel(interface: &str) -> Option<String> {
    let read = |file: &str| files::read_text(&format!("/sys/class/net/{interface}/{file}")).ok();
    kind(read("tun_flags").as_deref(), read("uevent").as_deref(), read("type").as_deref())
}

/// `tun_flags` is there for tun and tap devices alone (`IFF_TAP` is 2, `linux/if_tun.h`); the driver may name its kind as
/// DEVTYPE; `type` is the link's ARPHRD number (`linux/if_arp.h`).
fn kind(tun_flags: Option<&str>, uevent: Option<&str>, link: Option<&str>) -> Option<String> {
    if let Some(flags) = tun_flags {
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or_default();
        return Some(if flags & 2 == 0 { "tun" } else { "tap" }.to_owned());
    }
    let named = uevent.and_then(|text| text.lines().find_map(|line| line.strip_prefix("DEVTYPE=")));
    let kind = match (named, link.map(str::trim)) {
        (Some("wireguard"), _) => "wireguard",
        (Some("vxlan"), _) => "vxlan",
        (Some("geneve"), _) => "geneve",
        (_, Some("512")) => "ppp",
        (_, Some("768")) => "ipip",
        (_, Some("769")) => "ip6tnl",
        (_, Some("776")) => "sit",
        (_, Some("778")) => "gre",
        (_, Some("823")) => "ip6gre",
        _ => return None,
    };
    Some(kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_tunnels_by_their_marks() {
        let kind = |tun, uevent, link| kind(tun, uevent, link);
        assert_eq!(kind(Some("0x1001\n"), None, Some("65534\n")).as_deref(), Some("tun"));
        assert_eq!(kind(Some("0x1002\n"), None, Some("1\n")).as_deref(), Some("tap"));
        assert_eq!(kind(None, Some("DEVTYPE=wireguard\nINTERFACE=wg0\n"), None).as_deref(), Some("wireguard"));
        assert_eq!(kind(None, Some("INTERFACE=ppp0\n"), Some("512\n")).as_deref(), Some("ppp"));
        assert_eq!(kind(None, Some("INTERFACE=eth0\nIFINDEX=2\n"), Some("1\n")), None);
        assert_eq!(kind(None, Some("DEVTYPE=wlan\n"), Some("1\n")), None);
    }

    #[test]
    fn says_how_packets_leave() {
        let way = Way {
            to: [10, 9, 0, 9].into(),
            source: Some([10, 8, 0, 2].into()),
            interface: Some("wg0".to_owned()),
            tunnel: Some("wireguard".to_owned()),
            gateway: None,
        };
        assert_eq!(way.says().unwrap(), "packets to 10.9.0.9 leave from 10.8.0.2 (wg0, a tunnel: wireguard)");
        let routed = Way { tunnel: None, gateway: Some([10, 8, 0, 1].into()), ..way };
        assert!(routed.says().unwrap().ends_with("(wg0) through the gateway 10.8.0.1"));
        assert_eq!(Way { source: None, ..routed }.says(), None);
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        let way = way("127.0.0.1:6379".parse().unwrap(), &[("lo".to_owned(), [127, 0, 0, 1].into())], None);
        assert_eq!((way.source, way.interface.as_deref()), (Some([127, 0, 0, 1].into()), Some("lo")));
    }
}
