//! Causes in replication and in which server was asked.

mod cluster_down;
mod not_enough_replicas;
mod read_only_replica;
mod replica_stale;
mod replica_unlinked;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &cluster_down::CAUSE,
    &replica_stale::CAUSE,
    &replica_unlinked::CAUSE,
    &not_enough_replicas::CAUSE,
    &read_only_replica::CAUSE,
];
