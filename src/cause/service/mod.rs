//! Causes in which service answers.

mod not_redis;
mod sentinel_port;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[&not_redis::CAUSE, &sentinel_port::CAUSE];
