//! Causes that keep the server from starting, as far as the client can tell.

mod not_running;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[&not_running::CAUSE];
