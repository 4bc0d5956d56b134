//! `redisdoc completions`: completions for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Answer;
use crate::cli::Cli;

/// Prints the completions.
pub fn run(shell: Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "redisdoc", &mut script);
    Answer::of(String::from_utf8_lossy(&script).into_owned())
}
