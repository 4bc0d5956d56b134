//! Causes that a packet filter is behind, as far as the client can tell.

mod cloud_perimeter;
mod firewall_drop;
mod firewall_reject;
mod local_firewall;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] =
    &[&local_firewall::CAUSE, &cloud_perimeter::CAUSE, &firewall_reject::CAUSE, &firewall_drop::CAUSE];
