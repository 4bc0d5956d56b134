//! Causes in how the server listens and whom it lets in.

mod command_renamed;
mod exposed_without_password;
mod idle_timeout;
mod loopback_only;
mod max_clients;
mod output_buffer_limit;
mod protected_mode;
mod socket_missing;
mod socket_permission;
mod tcp_disabled;
pub mod wrong_port;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &protected_mode::CAUSE,
    &max_clients::CAUSE,
    &command_renamed::CAUSE,
    &tcp_disabled::CAUSE,
    &loopback_only::CAUSE,
    &wrong_port::CAUSE,
    &socket_permission::CAUSE,
    &socket_missing::CAUSE,
    &exposed_without_password::CAUSE,
    &idle_timeout::CAUSE,
    &output_buffer_limit::CAUSE,
];
