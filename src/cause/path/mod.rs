//! Causes on the network path, as far as routes and ICMP errors tell them.

mod addresses_differ;
mod endpoint_dead;
mod host_down;
mod idle_cut;
mod ipv6_path_broken;
mod local_route_policy;
mod mtu_black_hole;
mod no_return_path;
mod no_route;
mod packet_loss;
mod router_unreachable;
mod stale_address;

use std::net::IpAddr;

use super::Cause;
use crate::model::Evidence;
use crate::probe::Facts;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &local_route_policy::CAUSE,
    &no_route::CAUSE,
    &host_down::CAUSE,
    &router_unreachable::CAUSE,
    &no_return_path::CAUSE,
    &mtu_black_hole::CAUSE,
    &idle_cut::CAUSE,
    &ipv6_path_broken::CAUSE,
    &endpoint_dead::CAUSE,
    &addresses_differ::CAUSE,
    &stale_address::CAUSE,
    &packet_loss::CAUSE,
];

/// Broadcast, multicast, and link-local addresses without a zone cannot be connected to, whatever the routes.
fn is_one_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unicast_link_local(),
    }
}

/// How packets to `ip` leave this machine, as evidence: a tunnel or a network namespace of its own has routes and filters
/// that the rest of the machine does not have.
pub fn ways(facts: &Facts, ip: IpAddr) -> Vec<Evidence> {
    let way = facts.ways.seen().and_then(|ways| ways.iter().find(|way| way.to == ip)?.says());
    let apart = facts.vantage.seen().and_then(|vantage| vantage.own_namespace) == Some(true);
    let way = way.map(|says| Evidence::new("getsockname(2)", says));
    let apart =
        apart.then(|| Evidence::new("/proc/self/ns/net", "this is a network namespace of its own, not the machine's"));
    way.into_iter().chain(apart).collect()
}
