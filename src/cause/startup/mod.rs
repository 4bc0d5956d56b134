//! Causes in how the server starts, or does not.

mod bind_address_missing;
mod config_error;
mod fd_limit_too_low;
mod not_installed;
pub mod not_running;
pub mod port_taken;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &config_error::CAUSE,
    &bind_address_missing::CAUSE,
    &fd_limit_too_low::CAUSE,
    &port_taken::CAUSE,
    &not_installed::CAUSE,
    &not_running::CAUSE,
];
