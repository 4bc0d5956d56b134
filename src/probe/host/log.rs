//! The end of the server's log: what it says of clients that it cut off.
//!
//! Redis writes local time without its zone. So the age of a line is reckoned from the last one, which was written when
//! the file was last changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::text::head;
use crate::model::{BlockerKind, Observed, escape};
use crate::sys::files;

/// How much of its end is read.
const TAIL: u64 = 64 << 10;
/// The most events that are kept, the last ones.
const MOST_EVENTS: usize = 20;

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The file.
    pub path: String,
    /// What it says of clients that were cut off, oldest first.
    pub events: Vec<Event>,
}

/// A client that was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Why.
    pub kind: Kind,
    /// Its address, where the log tells.
    pub peer: Option<String>,
    /// When, as the log has it.
    pub at: String,
    /// How long ago, in seconds.
    pub age_s: u64,
    /// What the log says, as far as it is of use.
    pub says: String,
}

/// Why a client was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It sent `POST` or `Host:`: Redis 3.2.7 and later take it for an attack through a browser.
    Http,
    /// It read its answers too slowly.
    OutputBuffer,
    /// It spoke plain text where TLS is wanted.
    PlainText,
    /// It is the master, and the link to it failed at last.
    Link,
    /// The same for the first time since the link was up, or was given a master.
    LinkBegan,
    /// The same many times in a second: a replica that the master turns away asks again at once, and the end of its log has no room
    /// for the first time.
    LinkStorm,
}

/// What a replica says of its way to the master.
const LINK: [&str; 17] = [
    "Error condition on socket for SYNC",
    "Unable to connect to MASTER",
    "Timeout connecting to the MASTER",
    "MASTER aborted replication",
    "Unable to AUTH to MASTER",
    "Master did not respond to command during SYNC handshake",
    "I/O error reading bulk count from MASTER",
    "I/O error trying to sync with MASTER",
    "Error reply to PING from master",
    "MASTER timeout",
    "Opening the temp file needed for MASTER <-> REPLICA synchronization",
    "Failed trying to load the MASTER synchronization DB",
    "Failed trying to rename the temp DB",
    "Unexpected reply to PSYNC",
    "Master is currently unable to PSYNC",
    "Can't handle RDB format",
    "Write error or short write writing to the DB dump file needed for MASTER",
];
/// What it says once the link is up, and of a new beginning: what was said before is over.
const MENDED: [&str; 4] = [
    "MASTER <-> REPLICA sync: Finished with success",
    "Successful partial resynchronization",
    " enabled (user request from ",
    "MASTER MODE enabled",
];
/// What it says on the way: what stopped it before does not stop it now.
const FARTHER: [&str; 1] = ["Master replied to PING"];
/// What it says where the master gives its data: from then on it has to do with nothing that stopped it before.
const GRANTED: [&str; 1] = ["Full resync from master"];
/// So many failures, with nothing mended between, take more than a minute where they are tried again once a second, and are otherwise
/// many in a second.
const STORM: usize = 100;
/// The longest that is kept of it.
const LONGEST_LINK: usize = 160;

/// Reads the end of the log at `path`; `None` where the server logs to its standard output.
pub fn gather(path: Option<&str>) -> Observed<Log> {
    let Some(path) = path else {
        return Observed::skipped("the server's log file is not known; it may log to its standard output");
    };
    match files::tail(path, TAIL) {
        Ok((bytes, age)) => {
            Observed::Seen(Log { path: escape(path.as_bytes()), events: events(&String::from_utf8_lossy(&bytes), age) })
        }
        Err(error) => {
            let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
            let kind = if denied { BlockerKind::Permission } else { BlockerKind::Failed };
            Observed::hidden(kind, format!("{}: {error}", escape(path.as_bytes())))
        }
    }
}

/// The events among the lines of a log that was last written to `age` ago.
fn events(text: &str, age: Duration) -> Vec<Event> {
    let Some(last) = text.lines().rev().find_map(|line| date(line).map(|(_, when)| when)) else { return Vec::new() };
    let event = |line: &str| {
        let kind = kind(line)?;
        let (at, when) = date(line)?;
        let age_s = (age + last.saturating_sub(when)).as_secs();
        Some(Event { kind, peer: peer(line, kind), at, age_s, says: says(line, kind) })
    };
    // A replica tries again every second: the first and the last time tell as much as all of them.
    let (mut events, mut began, mut at_last) = (Vec::new(), None::<Event>, None);
    let mut failures = Vec::new();
    let is_of = |line: &str, words: &[&str]| words.iter().any(|says| line.contains(says));
    for line in text.lines() {
        match event(line) {
            Some(event) if event.kind == Kind::Link => {
                began.get_or_insert_with(|| Event { kind: Kind::LinkBegan, ..event.clone() });
                failures.push(event.age_s);
                at_last = Some(event);
            }
            Some(event) => events.push(event),
            None if is_of(line, &MENDED) => {
                (began, at_last) = (None, None);
                failures.clear();
            }
            None if is_of(line, &FARTHER) => at_last = None,
            None if is_of(line, &GRANTED) => {
                at_last = None;
                failures.clear();
            }
            None => {}
        }
    }
    let storm = began.clone().zip(last_of_many(&failures)).map(|(event, age_s)| Event {
        kind: Kind::LinkStorm,
        age_s,
        ..event
    });
    let links: Vec<Event> = began.into_iter().chain(storm).chain(at_last).collect();
    events.drain(..events.len().saturating_sub(MOST_EVENTS - links.len()));
    events.extend(links);
    events.sort_by_key(|event| std::cmp::Reverse(event.age_s));
    events
}

/// How old the last of these failures is, whose ages are these, if they are many.
fn last_of_many(ages: &[u64]) -> Option<u64> {
    ages.last().copied().filter(|_| ages.len() >= STORM)
}

fn kind(line: &str) -> Option<Kind> {
    if line.contains("Possible SECURITY ATTACK detected") {
        Some(Kind::Http)
    } else if line.contains("for overcoming of output buffer limits") {
        Some(Kind::OutputBuffer)
    } else if line.contains("Error accepting a client connection") && line.contains("wrong version number") {
        Some(Kind::PlainText)
    } else if LINK.iter().any(|says| line.contains(says)) {
        Some(Kind::Link)
    } else {
        None
    }
}

/// `3935:M 21 Nov 2026 05:23:36.337 # …`: the date as it stands, and as time since 1970 in whatever zone it is.
fn date(line: &str) -> Option<(String, Duration)> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = line.split_whitespace();
    let (_, day, month) = (words.next()?, words.next()?, words.next()?);
    let (year, time) = (words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let seconds = time.split('.').next()?;
    let day: u8 = day.parse().ok()?;
    let when = humantime::parse_rfc3339(&format!("{year}-{month:02}-{day:02}T{seconds}Z")).ok()?;
    let at = format!("{year}-{month:02}-{day:02} {seconds}");
    Some((at, when.duration_since(std::time::UNIX_EPOCH).ok()?))
}

fn peer(line: &str, kind: Kind) -> Option<String> {
    let start = match kind {
        Kind::Http => "Connection from ",
        Kind::OutputBuffer => " addr=",
        Kind::PlainText => "addr=",
        Kind::Link | Kind::LinkBegan | Kind::LinkStorm => return None,
    };
    let word = line.split_once(start)?.1.split_whitespace().next()?;
    Some(head(word.trim_end_matches(')').as_bytes(), 64))
}

/// Redis names the client's user and the command; no more is kept than tells what it did.
fn says(line: &str, kind: Kind) -> String {
    match kind {
        Kind::Http => {
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands".to_owned()
        }
        Kind::PlainText => "Error accepting a client connection: wrong version number".to_owned(),
        Kind::Link | Kind::LinkBegan | Kind::LinkStorm => {
            let from = LINK.iter().find_map(|says| line.find(says)).unwrap_or_default();
            head(&line.as_bytes()[from..], LONGEST_LINK)
        }
        Kind::OutputBuffer => {
            let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
            let field = |name| head(field(name).unwrap_or("?").as_bytes(), 32);
            let (command, flags, memory) = (field("cmd="), field("flags="), field("omem="));
            format!("closed for overcoming of output buffer limits: cmd={command} flags={flags} omem={memory}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "3935:M 21 Nov 2026 05:23:36.024 * Ready to accept connections\n";
    const HTTP: &str = "3935:M 21 Nov 2026 05:24:00.337 # Possible SECURITY ATTACK detected. It looks like somebody is sending \
                        POST or Host: commands to Redis. This is likely due to an attacker attempting to use Cross Protocol \
                        Scripting to compromise your Redis instance. Connection from 10.0.0.5:51712 aborted.\n";
    const BUFFER: &str = "3935:M 21 Nov 2026 05:24:30.728 # Client id=6 addr=10.0.0.6:53276 laddr=10.0.0.9:6379 fd=8 name=x \
                          flags=P omem=20544 cmd=subscribe user=app scheduled to be closed ASAP for overcoming of output \
                          buffer limits.\n";

    #[test]
    fn tells_who_was_cut_off_and_when() {
        let found = events(&format!("{START}{HTTP}{BUFFER}"), Duration::from_secs(5));
        let told: Vec<_> = found.iter().map(|event| (event.kind, event.peer.as_deref(), event.age_s)).collect();
        assert_eq!(told, [(Kind::Http, Some("10.0.0.5:51712"), 35), (Kind::OutputBuffer, Some("10.0.0.6:53276"), 5)]);
        assert_eq!(found[0].at, "2026-11-21 05:24:00");
        assert!(found[1].says.contains("cmd=subscribe flags=P omem=20544") && !found[1].says.contains("app"));
        let plain = "9:M 21 Nov 2026 05:24:31.000 # Error accepting a client connection: error:0A00010B:SSL \
                     routines::wrong version number (addr=10.0.0.7:40404 laddr=10.0.0.9:6379)\n";
        let found = events(plain, Duration::ZERO);
        assert_eq!((found[0].kind, found[0].peer.as_deref()), (Kind::PlainText, Some("10.0.0.7:40404")));
        // Redis 7.0 does not say who it was.
        let old = HTTP.replace("Connection from 10.0.0.5:51712 aborted", "Connection aborted");
        assert_eq!(events(&old, Duration::ZERO)[0].peer, None);
        assert_eq!(events(START, Duration::ZERO), []);
        let link = "9:S 21 Nov 2026 05:24:31.000 # Error condition on socket for SYNC: Connection reset by peer\n";
        let found = events(link, Duration::ZERO);
        assert_eq!((found[1].kind, found[1].says.as_str()), (Kind::Link, &link[31..link.len() - 1]));
    }

    #[test]
    fn what_is_over_is_no_reason_any_more() {
        #[track_caller]
        fn check(lines: &[&str], expected: &[(Kind, u64)]) {
            let line = |(second, says): (usize, &&str)| format!("9:S 21 Nov 2026 05:24:{second:02}.000 # {says}\n");
            let text: String = (10..).zip(lines).map(line).collect();
            let told = events(&text, Duration::ZERO);
            assert_eq!(told.iter().map(|event| (event.kind, event.age_s)).collect::<Vec<_>>(), expected);
        }
        let (refused, auth) =
            ("Error condition on socket for SYNC: Connection refused", "Unable to AUTH to MASTER: -WRONGPASS");
        let (pong, done) =
            ("Master replied to PING, replication can continue...", "MASTER <-> REPLICA sync: Finished with success");
        check(&[refused, refused, refused], &[(Kind::LinkBegan, 2), (Kind::Link, 0)]);
        check(&[refused, pong, auth], &[(Kind::LinkBegan, 2), (Kind::Link, 0)]);
        check(&[refused, auth, pong], &[(Kind::LinkBegan, 2)]);
        check(&[refused, pong, done], &[]);
        check(&[refused, done, auth], &[(Kind::LinkBegan, 0), (Kind::Link, 0)]);
        let check_storm = |count: usize, is_one: bool| {
            let text = format!("9:S 21 Nov 2026 05:24:10.000 # {auth}\n").repeat(count);
            assert_eq!(events(&text, Duration::ZERO).iter().any(|event| event.kind == Kind::LinkStorm), is_one);
        };
        check_storm(STORM, true);
        check_storm(STORM - 1, false);
        let line = |second: u8, says: &str| format!("9:S 21 Nov 2026 05:24:{second:02}.000 # {says}\n");
        let mended = line(10, auth).repeat(STORM) + &line(11, "Full resync from master: 1f:0");
        assert!(events(&mended, Duration::ZERO).iter().all(|event| event.kind == Kind::LinkBegan));
        check(&[refused, "REPLICAOF 10.0.0.1:6379 enabled (user request from 'id=3')"], &[]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(.{0,40}|[0-9]{1,6}:M [0-9]{1,9} Nov [0-9]{1,9} [0-9:.]{0,12} # Possible SECURITY ATTACK detected\n){0,5}") {
            assert!(events(&text, Duration::MAX / 2).len() <= MOST_EVENTS);
        }
    }
}
