//! Causes of the family client.

pub mod address_family_pinned;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[&address_family_pinned::CAUSE];
