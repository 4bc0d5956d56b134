//! `redisdoc check`: look, judge, infer, report.

use std::time::Duration;

use super::{Answer, runtime, saved, show};
use crate::cli::{CheckArgs, Request};
use crate::error::Error;
use crate::model::report::Report;
use crate::model::{Ask, Secret, escape};
use crate::probe::host::Host;
use crate::probe::{self, Collected, Facts};
use crate::sys::{Clock, files};
use crate::{cause, check, render};

/// Checks the target.
///
/// # Errors
/// Bad usage, an unreadable file, an output that cannot be written.
pub fn run(args: CheckArgs) -> Result<Answer, Error> {
    let Request { ask, password, host_facts, show, warnings } = args.request()?;
    if let Some(path) = &ask.redis_conf {
        let unreadable = |source| Error::Unreadable { path: escape(path.as_bytes()), source };
        files::readable(path).map_err(unreadable)?;
    }
    let patience = Duration::from_millis(ask.deadline_ms);
    let collected: Option<Collected> = host_facts.map(|path| saved::read(&path, patience)).transpose()?;
    let given = collected.map(|collected| collected.host.elsewhere());
    let err: String = warnings.into_iter().flat_map(|warning| [warning, "\n"]).collect();
    let answer = match look(ask, password.as_ref(), given) {
        Ok(facts) => show::render(&facts, &diagnose(&facts), &show)?,
        Err(signal) => Answer { exit: signal, ..Answer::default() },
    };
    Ok(Answer { err: err + &answer.err, ..answer })
}

/// What the facts mean, why, and what to do: the same for fresh and for saved facts.
pub fn diagnose(facts: &Facts) -> Report {
    let judged = check::judge(facts);
    let diagnosis = cause::infer(facts, &judged);
    render::report::assemble(facts, &judged, &diagnosis)
}

/// Gathers the facts, unless a signal comes first: then its exit code.
fn look(ask: Ask, password: Option<&Secret>, given: Option<Host>) -> Result<Facts, u8> {
    let clock = Clock::start(Duration::from_millis(ask.timeout_ms), ask.whole());
    match runtime::block_on(probe::gather(ask.clone(), password, given, clock)) {
        Ok(facts) => Ok(facts),
        Err(runtime::Stop::Signal(code)) => Err(code),
        Err(runtime::Stop::Starved(error)) => Ok(probe::starved(ask, &error, &clock)),
    }
}
