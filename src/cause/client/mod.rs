//! Causes of the family client.

pub mod bad_host_syntax;
pub mod injected_port_variable;
pub mod target_defaulted;
pub mod url_not_encoded;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] =
    &[&injected_port_variable::CAUSE, &url_not_encoded::CAUSE, &bad_host_syntax::CAUSE, &target_defaulted::CAUSE];
