//! The subcommands: glue between what was typed and the flow of the crate. Each says what to print; `main` prints it.

pub mod check;
mod collect;
mod completions;
mod explain;
mod list;
mod man;
mod replay;
mod runtime;
mod saved;
mod schema;
mod show;

use crate::cli::{Cli, Command};
use crate::error::Error;

/// What a command has to say, and the exit code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// The exit code.
    pub exit: u8,
}

impl Answer {
    fn of(out: String) -> Self {
        Self { out, ..Self::default() }
    }
}

/// Runs what was asked for.
///
/// # Errors
/// What stops the tool: bad usage, an unreadable file.
pub fn run(cli: Cli) -> Result<Answer, Error> {
    match cli.command {
        Command::Check(args) => check::run(*args),
        Command::Collect(args) => collect::run(&args),
        Command::Replay(args) => replay::run(args),
        Command::Explain { id } => explain::run(&id),
        Command::List(args) => Ok(list::run(&args)),
        Command::Schema => Ok(schema::run()),
        Command::Completions { shell } => Ok(completions::run(shell)),
        Command::Man => man::run(),
    }
}
