//! `redisdoc man`: the manual page.

use clap::CommandFactory;

use super::Answer;
use crate::cli::Cli;
use crate::error::Error;

/// Prints the manual page, with the flags of `check`.
///
/// # Errors
/// None that can be met: the page is written to memory.
pub fn run() -> Result<Answer, Error> {
    let mut page = Vec::new();
    let unwritable = |source| Error::Unwritable { path: "the manual page".to_owned(), source };
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(unwritable)?;
    if let Some(check) = command.find_subcommand("check") {
        clap_mangen::Man::new(check.clone()).render_options_section(&mut page).map_err(unwritable)?;
    }
    Ok(Answer::of(String::from_utf8_lossy(&page).into_owned()))
}
