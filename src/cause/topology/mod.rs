//! Causes in replication and in which server was asked.

mod not_enough_replicas;
mod read_only_replica;
mod replica_stale;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[&replica_stale::CAUSE, &not_enough_replicas::CAUSE, &read_only_replica::CAUSE];
