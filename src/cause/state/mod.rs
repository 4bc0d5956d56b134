//! Causes in a server that is there and does not serve, and in the resources of either side.

mod accept_queue_full;
mod busy_script;
mod client_fds_exhausted;
mod clients_paused;
mod ephemeral_ports_exhausted;
mod event_loop_blocked;
mod loading;
mod memory_full;
mod persistence_failing;
mod process_stopped;
mod server_fds_exhausted;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &client_fds_exhausted::CAUSE,
    &ephemeral_ports_exhausted::CAUSE,
    &loading::CAUSE,
    &busy_script::CAUSE,
    &persistence_failing::CAUSE,
    &memory_full::CAUSE,
    &clients_paused::CAUSE,
    &event_loop_blocked::CAUSE,
    &process_stopped::CAUSE,
    &server_fds_exhausted::CAUSE,
    &accept_queue_full::CAUSE,
];
