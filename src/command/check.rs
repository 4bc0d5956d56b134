//! `redisdoc check`: look, judge, infer, report.

use std::io;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::{Answer, show};
use crate::cli::{CheckArgs, Request};
use crate::error::Error;
use crate::exit;
use crate::model::report::Report;
use crate::model::{Ask, Secret};
use crate::probe::{self, Facts};
use crate::sys::{Clock, machine};
use crate::{cause, check, render};

/// The files that the runtime, its signals and one connection need. tokio panics where those of its signals cannot be
/// had, so they are tried beforehand (measured: it needs six).
const RUNTIME_FILES: usize = 7;

/// Checks the target.
///
/// # Errors
/// Bad usage, an unreadable file, an output that cannot be written.
pub fn run(args: CheckArgs) -> Result<Answer, Error> {
    let Request { ask, password, show, warnings } = args.request()?;
    let err: String = warnings.into_iter().flat_map(|warning| [warning, "\n"]).collect();
    let answer = match look(ask, password.as_ref()) {
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
fn look(ask: Ask, password: Option<&Secret>) -> Result<Facts, u8> {
    let clock = Clock::start(Duration::from_millis(ask.timeout_ms), Duration::from_millis(ask.deadline_ms));
    let runtime =
        match machine::can_open(RUNTIME_FILES).and_then(|()| Builder::new_current_thread().enable_all().build()) {
            Ok(runtime) => runtime,
            Err(error) => return Ok(probe::starved(ask, &error, &clock)),
        };
    let facts = runtime.block_on(async {
        tokio::select! {
            facts = probe::gather(ask, password, clock) => Ok(facts),
            code = interrupted() => Err(code),
        }
    });
    // A lookup that still hangs in the system's resolver must not hold the exit.
    runtime.shutdown_background();
    facts
}

/// Waits for SIGINT or SIGTERM; for ever where they cannot be waited for.
async fn interrupted() -> u8 {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)): (io::Result<_>, io::Result<_>) = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => exit::INTERRUPTED,
        _ = terminate.recv() => exit::TERMINATED,
    }
}
