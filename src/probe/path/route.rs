//! The routes of this machine, looked at when it refused to send at all: which of them speaks of the target.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::tcp::{Outcome, Tcp};
use crate::model::{BlockerKind, Observed};
use crate::sys::files;

/// The main routing tables. Policy rules (`ip rule`) and their other tables are not in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// The routes, in the kernel's order.
    pub routes: Vec<Route>,
    /// True if there are other tables for IPv4, or that cannot be seen: rules may send packets there.
    pub other_tables: bool,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The network.
    pub network: IpAddr,
    /// The length of its prefix.
    pub prefix: u8,
    /// The next hop, if not on the link.
    pub gateway: Option<IpAddr>,
    /// The interface; `*` or `lo` on routes that reject.
    pub interface: String,
    /// Its metric: of routes for the same network, the lowest counts.
    pub metric: u32,
    /// How it rejects, if it does.
    pub rejects: Option<Rejection>,
}

/// How a route rejects, as far as the kernel's table tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// `unreachable` or `prohibit`: the flag `RTF_REJECT`.
    Flagged,
    /// `blackhole` or `throw`: no flag, and no interface.
    NoInterface,
}

const RTF_UP: u32 = 0x0001;
const RTF_GATEWAY: u32 = 0x0002;
const RTF_REJECT: u32 = 0x0200;

impl Route {
    /// The network as `ip route` writes it.
    pub fn name(&self) -> String {
        if self.prefix == 0 { "default".to_owned() } else { format!("{}/{}", self.network, self.prefix) }
    }

    fn covers(&self, ip: IpAddr) -> bool {
        shares_prefix(self.network, ip, self.prefix)
    }
}

/// True if the first `prefix` bits of two addresses are the same.
pub fn shares_prefix(one: IpAddr, two: IpAddr, prefix: u8) -> bool {
    match (one, two) {
        (IpAddr::V4(one), IpAddr::V4(two)) => u32::from(prefix) <= (one.to_bits() ^ two.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(two)) => u32::from(prefix) <= (one.to_bits() ^ two.to_bits()).leading_zeros(),
        _ => false,
    }
}

impl Routes {
    /// The route for `ip`: the most specific one, and of equals the one with the lowest metric.
    pub fn to(&self, ip: IpAddr) -> Option<&Route> {
        self.routes.iter().filter(|route| route.covers(ip)).max_by_key(|route| (route.prefix, Reverse(route.metric)))
    }

    /// True if nothing but these routes can have decided about `ip`: `/proc/net/ipv6_route` shows every table,
    /// `/proc/net/route` the main one only.
    pub fn are_all_for(&self, ip: IpAddr) -> bool {
        ip.is_ipv6() || !self.other_tables
    }
}

/// Reads the routes when an attempt failed in a way that a route may explain.
pub fn gather(tcp: &Observed<Tcp>) -> Observed<Routes> {
    let Observed::Seen(tcp) = tcp else { return Observed::needs("tcp") };
    let unreachable = [Outcome::HostUnreachable, Outcome::NetUnreachable, Outcome::Denied, Outcome::Invalid];
    if !tcp.attempts.iter().any(|attempt| unreachable.contains(&attempt.outcome)) {
        return Observed::skipped("no attempt failed for want of a route");
    }
    read()
}

/// Reads the routes.
pub fn read() -> Observed<Routes> {
    let v4 = files::read_text("/proc/net/route");
    let v6 = files::read_text("/proc/net/ipv6_route");
    if let (Err(error), Err(_)) = (&v4, &v6) {
        return Observed::hidden(BlockerKind::Missing, format!("/proc/net/route: {error}"));
    }
    let mut routes = parse_v4(&v4.unwrap_or_default());
    routes.extend(parse_v6(&v6.unwrap_or_default()));
    Observed::Seen(Routes { routes, other_tables: has_other_tables() })
}

/// `/proc/net/fib_trie` lists every IPv4 table that has routes: `Main:`, `Local:`, and others as `Id 100:`.
fn has_other_tables() -> bool {
    files::read_text("/proc/net/fib_trie").map_or(true, |text| text.lines().any(|line| line.starts_with("Id ")))
}

/// Parses /proc/net/route: fields in hexadecimal, addresses in the machine's byte order (proc(5)).
fn parse_v4(text: &str) -> Vec<Route> {
    text.lines().skip(1).filter_map(parse_v4_line).collect()
}

fn parse_v4_line(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [interface, network, gateway, flags, _, _, metric, mask, ..] = fields[..] else { return None };
    let address = |hex: &str| Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()));
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let mask = u32::from_str_radix(mask, 16).ok()?;
    (flags & RTF_UP != 0).then_some(())?;
    Some(Route {
        network: address(network)?.into(),
        prefix: u8::try_from(mask.count_ones()).ok()?,
        gateway: if flags & RTF_GATEWAY == 0 { None } else { Some(address(gateway)?.into()) },
        interface: interface.to_owned(),
        metric: metric.parse().ok()?,
        rejects: match (flags & RTF_REJECT != 0, interface == "*") {
            (true, _) => Some(Rejection::Flagged),
            (false, true) => Some(Rejection::NoInterface),
            (false, false) => None,
        },
    })
}

/// Parses `/proc/net/ipv6_route`: network, prefix, source, its prefix, next hop, metric, counters, flags, interface. The
/// kernel's own catch-all (`::/0` unreachable on `lo`, metric ffffffff) says only that there is no other route.
fn parse_v6(text: &str) -> Vec<Route> {
    text.lines().filter_map(parse_v6_line).collect()
}

fn parse_v6_line(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [network, prefix, _, _, gateway, metric, _, _, flags, interface] = fields[..] else { return None };
    let address = |hex: &str| Some(Ipv6Addr::from(u128::from_str_radix(hex, 16).ok()?));
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let is_catch_all = metric == "ffffffff" && interface == "lo";
    (flags & (RTF_UP | RTF_REJECT) != 0 && !is_catch_all).then_some(())?;
    Some(Route {
        network: address(network)?.into(),
        prefix: u8::from_str_radix(prefix, 16).ok()?,
        gateway: if flags & RTF_GATEWAY == 0 { None } else { Some(address(gateway)?.into()) },
        interface: interface.to_owned(),
        metric: u32::from_str_radix(metric, 16).ok()?,
        rejects: (flags & RTF_REJECT != 0).then_some(Rejection::Flagged),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t01004D0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        *\t0009090A\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        eth0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    #[test]
    fn the_most_specific_route_speaks() {
        let routes = Routes { routes: parse_v4(V4), other_tables: false };
        let to = |ip: &str| routes.to(ip.parse().unwrap()).unwrap();
        assert_eq!(to("10.9.9.4").rejects, Some(Rejection::Flagged));
        assert_eq!(to("10.77.0.9").gateway, None);
        assert_eq!(to("192.0.2.1").gateway, Some("10.77.0.1".parse().unwrap()));
        assert_eq!(to("192.0.2.1").name(), "default");
    }

    #[test]
    fn of_equal_networks_the_lowest_metric_counts() {
        let kill_switch = "*\t00000000\t00000000\t0201\t0\t0\t4278198272\t00000000\t0\t0\t0\n";
        let text = V4.lines().next().unwrap().to_owned() + "\n" + kill_switch + V4.lines().nth(1).unwrap();
        let routes = Routes { routes: parse_v4(&text), other_tables: false };
        assert_eq!(routes.to("192.0.2.1".parse().unwrap()).unwrap().rejects, None);
    }

    #[test]
    fn the_kernels_catch_all_is_no_route() {
        let text = "fd770001000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
            00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
        let routes = Routes { routes: parse_v6(text), other_tables: false };
        assert_eq!(routes.to("fd77:2::1".parse().unwrap()), None);
        assert_eq!(routes.to("fd77:1::9".parse().unwrap()).unwrap().interface, "eth0");
    }

    proptest::proptest! {
        #[test]
        fn no_table_panics(text in ".{0,400}") {
            parse_v4(&text);
            parse_v6(&text);
        }
    }
}
