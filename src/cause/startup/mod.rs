//! Causes of the family startup.

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[];
