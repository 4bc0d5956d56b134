//! The binary from outside: flags, streams, exit codes, formats, and that no password ever comes out of it.

// The rule that only `sys/` touches the machine is redisdoc's.
#![allow(clippy::disallowed_methods, clippy::print_stderr)]

mod bounds;
mod certificates;
mod exits;
mod flags;
mod human;
mod saved;
mod secrets;
mod streams;
mod tables;
mod world;
