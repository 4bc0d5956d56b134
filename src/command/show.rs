//! Saying the result in every format that was asked for, to standard output or files.

use clap::ColorChoice;

use super::Answer;
use crate::cli::Format;
use crate::cli::request::Show;
use crate::error::Error;
use crate::model::report::Report;
use crate::probe::Facts;
use crate::render::{Look, human, json, paint};
use crate::sys::{environment, files, terminal};

/// Renders the report; writes the files that were asked for.
///
/// # Errors
/// A file that cannot be written.
pub fn render(facts: &Facts, report: &Report, show: &Show) -> Result<Answer, Error> {
    let mut answer = Answer { exit: report.exit_code, ..Answer::default() };
    for output in &show.outputs {
        paint::decide(output.file.is_none() && colored(show.color));
        let text = text(facts, report, output.format, show);
        match &output.file {
            None => answer.out = text,
            Some(path) => {
                let unwritable = |source| Error::Unwritable { path: path.display().to_string(), source };
                files::write(path, &text).map_err(unwritable)?;
            }
        }
    }
    Ok(answer)
}

fn text(facts: &Facts, report: &Report, format: Format, show: &Show) -> String {
    let look = Look { ascii: show.ascii, quiet: show.quiet, verbose: show.verbose > 0 };
    match format {
        Format::Human => human::render(report, look),
        Format::Json => json::render(report),
        Format::Facts => json::facts(facts),
    }
}

/// Whether standard output is to be coloured (no-color.org).
fn colored(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let forbidden = environment::variable("NO_COLOR").is_some_and(|value| !value.is_empty());
            let dumb = environment::variable("TERM").is_some_and(|value| value == "dumb");
            terminal::is_stdout() && !forbidden && !dumb
        }
    }
}
