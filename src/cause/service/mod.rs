//! Causes in which service answers.

mod cluster_bus_port;
mod not_redis;
mod sentinel_port;

use super::Cause;

pub(super) use cluster_bus_port::owner as bus_owner;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[&cluster_bus_port::CAUSE, &not_redis::CAUSE, &sentinel_port::CAUSE];
