//! Causes in what the client asks for.

mod address_family_pinned;
mod bad_host_syntax;
mod db_out_of_range;
mod http_client;
mod injected_port_variable;
mod localhost_in_container;
mod localhost_is_ipv6;
mod macos_local_network;
mod resp3_unsupported;
mod target_defaulted;
mod url_not_encoded;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &injected_port_variable::CAUSE,
    &url_not_encoded::CAUSE,
    &bad_host_syntax::CAUSE,
    &db_out_of_range::CAUSE,
    &resp3_unsupported::CAUSE,
    &address_family_pinned::CAUSE,
    &target_defaulted::CAUSE,
    &localhost_in_container::CAUSE,
    &localhost_is_ipv6::CAUSE,
    &macos_local_network::CAUSE,
    &http_client::CAUSE,
];
