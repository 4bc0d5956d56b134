//! Causes of the family path.

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[];
