//! Causes in what the client asks for.

mod address_family_pinned;
mod localhost_in_container;
mod localhost_is_ipv6;
mod macos_local_network;
mod wrong_port;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &address_family_pinned::CAUSE,
    &localhost_in_container::CAUSE,
    &localhost_is_ipv6::CAUSE,
    &macos_local_network::CAUSE,
    &wrong_port::CAUSE,
];
