//! Causes on the network path, as far as routes and ICMP errors tell them.

mod host_down;
mod local_route_policy;
mod no_route;
mod router_unreachable;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] =
    &[&local_route_policy::CAUSE, &no_route::CAUSE, &host_down::CAUSE, &router_unreachable::CAUSE];
