//! Causes in how the server listens and whom it lets in, as far as the client can tell.

mod loopback_only;
mod socket_missing;
mod socket_permission;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[&loopback_only::CAUSE, &socket_permission::CAUSE, &socket_missing::CAUSE];
