//! The subcommands: glue between what was typed and the flow of the crate.

pub mod check;
