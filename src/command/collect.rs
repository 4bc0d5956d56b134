//! `redisdoc collect`: saves what the Redis host shows, for a check that is made elsewhere.

use std::time::Duration;

use super::{Answer, runtime};
use crate::cli::CollectArgs;
use crate::error::Error;
use crate::model::escape;
use crate::probe;
use crate::render::json;
use crate::sys::{Clock, files};

/// How long it may take in all.
const WHOLE: Duration = Duration::from_secs(20);
/// How long one step may take.
const STEP: Duration = Duration::from_secs(5);

/// Collects the facts of this machine.
///
/// # Errors
/// A file that cannot be written, or no file descriptors left to look with.
pub fn run(args: &CollectArgs) -> Result<Answer, Error> {
    if let Some(path) = &args.redis_conf {
        let unreadable = |source| Error::Unreadable { path: escape(path.as_bytes()), source };
        files::readable(path).map_err(unreadable)?;
    }
    let clock = Clock::start(STEP, WHOLE);
    let collected = match runtime::block_on(probe::collect(args.redis_conf.as_deref(), clock)) {
        Ok(collected) => json::collected(&collected),
        Err(runtime::Stop::Signal(exit)) => return Ok(Answer { exit, ..Answer::default() }),
        Err(runtime::Stop::Starved(error)) => return Err(Error::Usage(format!("no file can be opened: {error}"))),
    };
    match &args.output {
        None => Ok(Answer::of(collected)),
        Some(path) => {
            let unwritable = |source| Error::Unwritable { path: path.display().to_string(), source };
            files::write(path, &collected).map_err(unwritable)?;
            Ok(Answer::default())
        }
    }
}
