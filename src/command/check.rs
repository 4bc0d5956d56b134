//! `redisdoc check`: look, judge, infer, report.

use std::io;
use std::mem::ManuallyDrop;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Answer, runtime, saved, show};
use crate::cli::{CheckArgs, Request};
use crate::error::Error;
use crate::model::report::Report;
use crate::model::{Ask, escape};
use crate::probe::host::Given;
use crate::probe::{self, Collected, Facts, Side};
use crate::sys::{Clock, files, thread};
use crate::{cause, check, render};

/// Checks the target.
///
/// # Errors
/// Bad usage, an unreadable file, an output that cannot be written.
pub fn run(args: CheckArgs) -> Result<Answer, Error> {
    let Request { ask, password, material, host_facts, show, warnings } = args.request()?;
    if let Some(path) = &ask.redis_conf {
        let unreadable = |source| Error::Unreadable { path: escape(path.as_bytes()), source };
        files::readable(path).map_err(unreadable)?;
    }
    let err: String = warnings.into_iter().flat_map(|warning| [warning, "\n"]).collect();
    let answer = match look(ask, Side { password: password.as_ref(), material: &material }, host_facts)? {
        Ok(facts) => {
            // The program ends with them: nobody need take them apart.
            let facts = ManuallyDrop::new(facts);
            show::render(&facts, &ManuallyDrop::new(diagnose(&facts)), &show)?
        }
        Err(signal) => Answer { exit: signal, ..Answer::default() },
    };
    Ok(Answer { err: err + &answer.err, ..answer })
}

/// What the facts mean, why, and what to do: the same for fresh and for saved facts.
pub fn diagnose(facts: &Facts) -> Report {
    let judged = check::judge(facts);
    let diagnosis = cause::infer(facts, &judged);
    render::report::assemble(facts, judged, &diagnosis)
}

/// Gathers the facts, unless a signal comes first: then its exit code.
fn look(ask: Ask, side: Side, host_facts: Option<String>) -> Result<Result<Box<Facts>, u8>, Error> {
    let clock = Clock::start(Duration::from_millis(ask.timeout_ms), ask.whole());
    match runtime::block_on(gather(ask.clone(), side, host_facts, clock)) {
        Ok(facts) => facts.map(Ok),
        Err(runtime::Stop::Signal(code)) => Ok(Err(code)),
        Err(runtime::Stop::Starved(error)) => Ok(Ok(Box::new(probe::starved(ask, &error, &clock)))),
    }
}

/// Gathers the facts, and reads what was collected on the server's machine at the same time: `ssh db redisdoc collect` is
/// looking there while we knock. What cannot be read ends the run at once; what does not come in time does not take from
/// us what we saw ourselves.
async fn gather(ask: Ask, side: Side<'_>, host_facts: Option<String>, clock: Clock) -> Result<Box<Facts>, Error> {
    let patience = ask.whole();
    let (give, given) = oneshot::channel();
    let reading = async move {
        let read = move |path: String| saved::read::<Collected>(&path, patience);
        let collected = match host_facts {
            Some(path) => match thread::beside(move || read(path)).await.map_err(unread)? {
                Ok(collected) => Given::Facts(Box::new(collected.host.elsewhere())),
                Err(error) if saved::is_late(&error) => Given::Late,
                Err(error) => return Err(error),
            },
            None => Given::Nothing,
        };
        // The receiver is gone only where the facts are complete without it.
        let _ = give.send(collected);
        Ok(())
    };
    let given = async { given.await.unwrap_or_default() };
    let gathering = async { Ok(Box::new(Box::pin(probe::gather(ask, side, given, clock)).await)) };
    let ((), facts) = tokio::try_join!(reading, gathering)?;
    Ok(facts)
}

fn unread(source: io::Error) -> Error {
    Error::Unreadable { path: "the host facts".to_owned(), source }
}
