//! Does a connection outlive the time that it was held without a word?

use super::Check;
use crate::model::{Code, Evidence, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::path::hold::{After, Hold, Wait};
use crate::probe::path::redis::End;

/// The check.
pub static CHECK: Check = Check {
    id: "hold",
    asks: "does a connection that says nothing for a while still stand after it? (with --hold SECONDS)",
    level: Some(Level::Ready),
    codes: &[&CLOSED, &RESET, &SILENT, &SERVER_GONE],
    judge,
};

/// The end of the stream.
pub static CLOSED: Code = Code::fail(
    "hold/closed",
    Level::Ready,
    "the idle connection was closed",
    "While nothing was said, or when something was said again, the other side closed the connection in order (FIN). A \
     fresh connection to the same run of the server works.",
);
/// A reset.
pub static RESET: Code = Code::fail(
    "hold/reset",
    Level::Ready,
    "the idle connection was reset",
    "While nothing was said, or when something was said again, the connection was reset. A fresh connection to the same run \
     of the server works.",
);
/// Silence.
pub static SILENT: Code = Code::fail(
    "hold/silent",
    Level::Ready,
    "the idle connection has gone dead without a word",
    "After the wait, PING was not answered over the connection that had been idle, and nothing said that it had ended. A \
     fresh connection to the same run of the server works. Applications wait for their timeout there, or, without one, \
     for some 15 minutes.",
);
/// The server ended.
pub static SERVER_GONE: Code = Code::fail(
    "hold/server-gone",
    Level::Ready,
    "the server went away while the connection was idle",
    "The connection ended, and a fresh one is not answered, or by another run of the server: it was stopped or restarted \
     meanwhile, or another server has taken its place.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let hold = facts.hold.known()?;
    let seconds = seconds(hold);
    if hold.survived() {
        let summary = format!("the connection still works after {seconds} s without a word");
        return Ok(Judgement::pass(summary).observing(hold));
    }
    let code = code(hold);
    let finding = Finding { code, evidence: evidence(hold) };
    let summary = format!("held for {seconds} s: {}", code.title);
    Ok(Judgement::pass(summary).observing(hold).finding([finding]))
}

/// How long the connection was to be held, in seconds.
pub fn seconds(hold: &Hold) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most an hour")]
    let ms = hold.asked_ms as f64;
    ms / 1e3
}

fn code(hold: &Hold) -> &'static Code {
    match (&hold.wait, &hold.after) {
        _ if hold.server_is_gone() => &SERVER_GONE,
        (Wait::Broken(..), _) => &RESET,
        (Wait::Closed(_) | Wait::Spoke(_), _) | (_, Some(After { end: End::Closed, .. })) => &CLOSED,
        (_, Some(After { end: End::Broken(_), .. })) => &RESET,
        _ => &SILENT,
    }
}

fn evidence(hold: &Hold) -> Vec<Evidence> {
    let meanwhile = match &hold.wait {
        Wait::Quiet => None,
        Wait::Closed(after) => Some(format!("end of file after {:.1} s without a word", after / 1e3)),
        Wait::Broken(after, errno) => Some(format!("{errno} after {:.1} s without a word", after / 1e3)),
        Wait::Spoke(after) => Some(format!("unasked words after {:.1} s", after / 1e3)),
    };
    let then = hold.after.as_ref().map(|after| {
        let After { elapsed_ms, .. } = after;
        match (&after.end, after.unacknowledged) {
            (End::Closed, _) => format!("end of file {elapsed_ms:.1} ms after PING"),
            (End::Broken(errno), _) => format!("{errno} {elapsed_ms:.1} ms after PING"),
            (_, Some(bytes)) if bytes > 0 => format!("no answer to PING, {bytes} bytes of it never acknowledged"),
            _ => "no answer to PING".to_owned(),
        }
    });
    let fresh = hold.fresh.as_ref().map(|fresh| match (fresh.answered, fresh.same_run, &fresh.failed) {
        (false, _, Some(why)) => format!("a fresh connection comes to nothing: {why}"),
        (false, _, None) => "a fresh connection is not answered either".to_owned(),
        (true, Some(true), _) => "a fresh connection is answered by the same run of the server".to_owned(),
        (true, Some(false), _) => "a fresh connection is answered by another run of the server".to_owned(),
        (true, None, _) => "a fresh connection is answered".to_owned(),
    });
    let words = [meanwhile, then].into_iter().flatten().map(|says| Evidence::new("read(2)", says));
    words.chain(fresh.map(|says| Evidence::new("PING", says))).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::Observed;
    use crate::probe::path::hold::Fresh;

    /// Facts of a connection to the same run of a server, held for 60 s.
    pub fn held(wait: Wait, after: impl Into<Option<After>>) -> Facts {
        let after = after.into();
        let fresh = Some(Fresh { answered: true, same_run: Some(true), failed: None });
        let hold = Hold { address: "10.0.0.9:6379".to_owned(), asked_ms: 60_000, wait, after, fresh };
        Facts::healthy().with(|facts| facts.hold = Observed::Seen(hold))
    }

    /// What PING met after the wait.
    pub fn met(end: End) -> After {
        let answered = end == End::Answered;
        After { answered, end, elapsed_ms: 0.4, unacknowledged: (!answered).then_some(14) }
    }

    /// The same, where the fresh connection met this.
    pub fn freshly(facts: Facts, answered: bool, same_run: Option<bool>) -> Facts {
        facts.with(|facts| {
            let Observed::Seen(hold) = &mut facts.hold else { return };
            hold.fresh = Some(Fresh { answered, same_run, failed: None });
        })
    }

    /// The same, where the fresh connection was not made, for this reason.
    pub fn not_made(facts: Facts, why: &str) -> Facts {
        freshly(facts, false, None).with(|facts| {
            let Observed::Seen(Hold { fresh: Some(fresh), .. }) = &mut facts.hold else { return };
            fresh.failed = Some(why.to_owned());
        })
    }

    #[track_caller]
    fn check(facts: &Facts, codes: &[&str]) {
        let found: Vec<&str> = judge(facts).unwrap().findings.iter().map(|finding| finding.code.id).collect();
        assert_eq!(found, codes);
    }

    #[test]
    fn a_connection_that_stands_is_no_finding() {
        check(&held(Wait::Quiet, met(End::Answered)), &[]);
        assert!(matches!(judge(&Facts::healthy()), Err(Gap::Skipped(_))));
    }

    #[test]
    fn each_end_has_its_code() {
        check(&held(Wait::Closed(12_400.0), None), &["hold/closed"]);
        check(&held(Wait::Quiet, met(End::Closed)), &["hold/closed"]);
        check(&held(Wait::Broken(12_400.0, "ECONNRESET".to_owned()), None), &["hold/reset"]);
        check(&held(Wait::Quiet, met(End::Broken("ECONNRESET".to_owned()))), &["hold/reset"]);
        check(&held(Wait::Quiet, met(End::Silent)), &["hold/silent"]);
    }

    #[test]
    fn a_server_that_ended_is_no_idle_connection() {
        let closed = held(Wait::Closed(12_400.0), None);
        check(&freshly(closed.clone(), true, Some(false)), &["hold/server-gone"]);
        check(&freshly(closed.clone(), false, None), &["hold/server-gone"]);
        check(&freshly(closed, true, None), &["hold/closed"]);
    }
}
