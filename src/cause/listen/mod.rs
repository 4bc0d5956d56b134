//! Causes in how the server listens and whom it lets in, as far as the client can tell.

mod command_renamed;
mod loopback_only;
mod max_clients;
mod protected_mode;
mod socket_missing;
mod socket_permission;
mod wrong_port;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &protected_mode::CAUSE,
    &max_clients::CAUSE,
    &command_renamed::CAUSE,
    &loopback_only::CAUSE,
    &wrong_port::CAUSE,
    &socket_permission::CAUSE,
    &socket_missing::CAUSE,
];
