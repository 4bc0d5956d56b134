//! Causes that a packet filter is behind, as far as the client can tell.

mod data_dropped;
mod data_reset;
mod firewall_drop;
mod firewall_reject;
mod local_firewall;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] =
    &[&local_firewall::CAUSE, &firewall_reject::CAUSE, &firewall_drop::CAUSE, &data_dropped::CAUSE, &data_reset::CAUSE];
