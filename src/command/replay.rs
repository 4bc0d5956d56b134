//! `redisdoc replay`: judges saved facts and touches nothing.

use super::{Answer, check, saved, show};
use crate::cli::ReplayArgs;
use crate::error::Error;
use crate::probe::Facts;
use crate::sys::files;

/// Diagnoses the facts in a file.
///
/// # Errors
/// A file that cannot be read or holds no facts.
pub fn run(args: ReplayArgs) -> Result<Answer, Error> {
    let show = args.show.show()?;
    let facts: Facts = saved::read(&args.facts, files::PATIENCE)?;
    show::render(&facts, &check::diagnose(&facts), &show)
}
