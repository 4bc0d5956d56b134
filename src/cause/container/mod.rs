//! Causes of the family container.

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[];
