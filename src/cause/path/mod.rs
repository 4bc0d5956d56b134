//! Causes on the network path, as far as routes and ICMP errors tell them.

mod host_down;
mod local_route_policy;
mod no_return_path;
mod no_route;
mod router_unreachable;

use std::net::IpAddr;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &local_route_policy::CAUSE,
    &no_route::CAUSE,
    &host_down::CAUSE,
    &router_unreachable::CAUSE,
    &no_return_path::CAUSE,
];

/// Broadcast, multicast, and link-local addresses without a zone cannot be connected to, whatever the routes.
fn is_one_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unicast_link_local(),
    }
}
