//! What the kernel of the server's machine shows of its network beside listeners and rules: connections that are half open,
//! counters of what was dropped, connection tracking, routes back to clients.

use serde::{Deserialize, Serialize};

use crate::model::Observed;

/// The network of the server's machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {}

/// Looks at it.
pub fn gather() -> Observed<Network> {
    Observed::skipped("not looked at")
}
