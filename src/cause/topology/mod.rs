//! Causes in replication and in which server was asked.

mod read_only_replica;
mod replica_stale;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[&replica_stale::CAUSE, &read_only_replica::CAUSE];
