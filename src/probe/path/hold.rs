//! What becomes of a connection that says nothing for a while (`--hold SECONDS`): PING, silence, and PING again over the
//! same connection, then a fresh one, which tells the connection's end from the server's.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::redis::{Conversation, Dialogue, End, Line, Redis, auth_line, line};
use super::reply::Command;
use super::talk::Talk;
use super::tcp::{Dialled, Dials};
use super::tls::alert;
use crate::model::{Ask, BlockerKind, Observed, Secret};
use crate::sys::clock::{self, Clock};
use crate::sys::socket::{Dial, Read, Stream};

/// What became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// The address.
    pub address: String,
    /// How long nothing was to be said, in milliseconds.
    pub asked_ms: u64,
    /// What happened meanwhile.
    pub wait: Wait,
    /// What PING met after that, where the connection still stood.
    pub after: Option<After>,
    /// What a fresh connection met, where this one had an end.
    pub fresh: Option<Fresh>,
}

/// A fresh connection that was accepted and came to its end before an answer.
const ENDED: &str = "closed without an answer";

/// What happened while nothing was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Nothing.
    Quiet,
    /// The peer closed, after so many milliseconds.
    Closed(f64),
    /// The connection broke, after so many milliseconds, with this errno.
    Broken(f64, String),
    /// The peer said something unasked, after so many milliseconds.
    Spoke(f64),
}

/// What PING met over the connection that had been idle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct After {
    /// Whether it was answered, with whatever.
    pub answered: bool,
    /// How it ended.
    pub end: End,
    /// How long that took, in milliseconds.
    pub elapsed_ms: f64,
    /// Where nothing came: how many of our bytes the peer's kernel has not acknowledged.
    pub unacknowledged: Option<u64>,
}

/// What a fresh connection met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fresh {
    /// Whether PING was answered, with whatever.
    pub answered: bool,
    /// Whether INFO names the same run of the server as before; `None` where it does not tell.
    pub same_run: Option<bool>,
    /// Why it came to nothing: the errno of connecting, silence, or its end before an answer.
    #[serde(default)]
    pub failed: Option<String>,
}

impl Hold {
    /// True if the connection outlived the wait.
    pub fn survived(&self) -> bool {
        self.after.as_ref().is_some_and(|after| after.answered)
    }

    /// True if the server is not there any more, or is another run of it: then its end was that of the connection.
    pub fn server_is_gone(&self) -> bool {
        self.fresh.as_ref().is_some_and(|fresh| !fresh.answered || fresh.same_run == Some(false))
    }

    /// True if a fresh connection was refused, or ended at once: nothing listens there any more.
    pub fn is_refused(&self) -> bool {
        let failed = self.fresh.as_ref().and_then(|fresh| fresh.failed.as_deref());
        failed.is_some_and(|failed| failed == "ECONNREFUSED" || failed == ENDED)
    }

    /// When the peer closed it, in milliseconds after the last word.
    pub fn closed_ms(&self) -> Option<f64> {
        if let Wait::Closed(after) = self.wait { Some(after) } else { None }
    }
}

/// Holds a connection, if that is asked for and the server answers.
pub async fn gather(
    ask: &Ask,
    password: Option<&Secret>,
    dials: &Dials,
    redis: &Observed<Redis>,
    clock: &Clock,
) -> Observed<Hold> {
    let Some(asked_ms) = ask.hold_ms else { return Observed::skipped("not asked for (--hold SECONDS)") };
    let Some(dialogue) = redis.seen().and_then(Redis::preferred).filter(|dialogue| dialogue.telling().answers_ping())
    else {
        return Observed::needs("ping");
    };
    let Some(dial) = dials.get(&dialogue.address) else { return Observed::needs("tcp") };
    let small: Vec<Line> = [auth_line(ask, password), Some(line(Command::Ping, &[]))].into_iter().flatten().collect();
    let stream = match dial.dial(clock.step_end()).await {
        Dial::Connected(stream) => stream,
        Dial::Failed(failure) => return not_to_hold(&format!("{:?}", failure.errno)),
        Dial::TimedOut(_) => return not_to_hold("no answer"),
    };
    let began = said(&stream, &small, password, clock.step_end()).await;
    if !began.answers_ping() {
        return Observed::hidden(BlockerKind::Failed, "PING was not answered on the connection to hold");
    }
    let wait = idle(&stream, Duration::from_millis(asked_ms), clock).await;
    let after = match wait {
        Wait::Quiet => Some(spoken_to(&stream, password, clock.step_end()).await),
        Wait::Closed(_) | Wait::Broken(..) | Wait::Spoke(_) => None,
    };
    let hold = Hold { address: dialogue.address.clone(), asked_ms, wait, after, fresh: None };
    if hold.survived() {
        return Observed::Seen(hold);
    }
    let fresh = fresh(dial, small, password, dialogue, clock.step_end()).await;
    Observed::Seen(Hold { fresh: Some(fresh), ..hold })
}

/// A second connection is what a limit on new ones stops.
fn not_to_hold(why: &str) -> Observed<Hold> {
    let says = format!(
        "a second connection, the one to hold, could not be made ({why}), right after the first: see what limits new ones"
    );
    Observed::hidden(BlockerKind::Failed, says)
}

async fn said(stream: &Stream, lines: &[Line], secret: Option<&Secret>, deadline: Instant) -> Conversation {
    let mut talk = Talk::new(stream, secret);
    talk.say(lines, deadline).await;
    talk.listen(deadline).await;
    talk.conclude()
}

async fn idle(stream: &Stream, time: Duration, clock: &Clock) -> Wait {
    let began = clock::now();
    let read = stream.read(&mut [0; 512], (began + time).min(clock.end())).await;
    let after = clock::ms_since(began);
    match read {
        Read::Silence => Wait::Quiet,
        Read::End => Wait::Closed(after),
        Read::Broken(errno) => Wait::Broken(after, format!("{errno:?}")),
        Read::Alert(alert) => Wait::Broken(after, format!("TLS alert {}", alert::name(alert))),
        Read::Bytes(_) => Wait::Spoke(after),
    }
}

async fn spoken_to(stream: &Stream, secret: Option<&Secret>, deadline: Instant) -> After {
    let talk = said(stream, &[line(Command::Ping, &[])], secret, deadline).await;
    After {
        answered: talk.answers_ping(),
        end: talk.end,
        elapsed_ms: talk.elapsed_ms,
        unacknowledged: talk.unacknowledged,
    }
}

async fn fresh(
    dial: &Dialled,
    mut lines: Vec<Line>,
    secret: Option<&Secret>,
    before: &Dialogue,
    deadline: Instant,
) -> Fresh {
    let not_made = |why: String| Fresh { answered: false, same_run: None, failed: Some(why) };
    let stream = match dial.dial(deadline).await {
        Dial::Connected(stream) => stream,
        Dial::Failed(failure) => return not_made(format!("{:?}", failure.errno)),
        Dial::TimedOut(_) => return not_made("no answer".to_owned()),
    };
    lines.push(line(Command::Info, &[]));
    let talk = said(&stream, &lines, secret, deadline).await;
    let run = |conversation: &Conversation| conversation.info().and_then(|info| info.get("run_id").map(str::to_owned));
    let same_run = run(before.telling()).zip(run(&talk)).map(|(before, now)| before == now);
    // A server that is about to end may have accepted it.
    let ended = matches!(talk.end, End::Closed | End::Broken(_)) && !talk.answers_ping();
    Fresh { answered: talk.answers_ping(), same_run, failed: ended.then(|| ENDED.to_owned()) }
}
