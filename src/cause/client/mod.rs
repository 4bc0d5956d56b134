//! Causes of the family client.

mod db_out_of_range;
mod resp3_unsupported;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[&db_out_of_range::CAUSE, &resp3_unsupported::CAUSE];
