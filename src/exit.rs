//! The exit codes, a contract with scripts.

/// Usable as required (warnings allowed, unless `--fail-on warning`).
pub const USABLE: u8 = 0;
/// A problem was found.
pub const PROBLEM: u8 = 1;
/// Bad usage: an unknown flag or check id, an unreadable file, a malformed target.
pub const USAGE: u8 = 2;
/// Could not tell: the deadline, a lack of rights, an internal error.
pub const UNKNOWN: u8 = 3;
/// Interrupted from the keyboard (SIGINT).
pub const INTERRUPTED: u8 = 130;
/// Told to end (SIGTERM).
pub const TERMINATED: u8 = 143;
