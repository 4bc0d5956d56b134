//! The way that packets to the target leave this machine: by which interface, from which address, through which gateway.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::tcp::Tcp;
use crate::model::Observed;

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

/// Looks at the way to each address that could not be connected to.
pub fn gather(_tcp: &Observed<Tcp>) -> Observed<Vec<Way>> {
    Observed::skipped("not looked at")
}
