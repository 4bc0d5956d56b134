//! Does a Redis answer, and if not, what does?
//!
//! Credentials are `check/auth.rs`'s question, the server's state `check/state.rs`'s.

use super::Check;
use crate::model::{Code, Evidence, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::path::redis::{Alien, Conversation, Dialogue, End};
use crate::probe::path::reply::{Command, ErrorKind, ErrorReply, Reply};
use crate::probe::path::sizes::Try;
use crate::probe::path::tls::alert;

/// The check.
pub static CHECK: Check = Check {
    id: "ping",
    asks: "does a Redis answer, and if not, what does?",
    level: Some(Level::Reachable),
    codes: &[
        &PROTECTED,
        &MAX_CLIENTS,
        &SILENT,
        &HELD_BACK,
        &CLOSED,
        &TLS_ALERT,
        &NOT_REDIS,
        &RENAMED,
        &HEADER,
        &ERROR,
        &CUT_SHORT,
        &LARGE_LOST,
        &DIFFERS,
        &CUT_AT_TIMES,
        &SLOW,
        &LIMITED,
    ],
    judge,
};

/// A reply that comes this much later than the handshake did was held up by the server: the kernel answers the one, the
/// event loop the other. A lost segment costs no more than some 200 ms (RFC 6298 after the handshake has measured the way,
/// Linux' `TCP_RTO_MIN`), two lost ones 600 ms.
const SLOW_MS: f64 = 1_000.0;

/// `-DENIED`.
pub static PROTECTED: Code = Code::fail(
    "ping/protected-mode",
    Level::Reachable,
    "Redis is in protected mode",
    "Redis answered -DENIED and closed: it runs in protected mode, no password is set for the default user, and the \
     connection does not come from a loopback address.",
);
/// `-ERR max number of clients reached`.
pub static MAX_CLIENTS: Code = Code::fail(
    "ping/max-clients",
    Level::Reachable,
    "Redis accepts no more clients",
    "Redis answered that its maximum number of clients is reached, and closed the connection.",
);
/// Accepted, and then nothing.
pub static SILENT: Code = Code::fail(
    "ping/silent",
    Level::Reachable,
    "connected, but nothing answers",
    "The connection was accepted (which the kernel does, without the process) and the command was taken, but no byte \
     came back in time. A blocked, stopped or paused server, one that waits for TLS, and a filter that drops data look \
     the same from the client.",
);
/// The event loop lives, but commands wait.
pub static HELD_BACK: Code = Code::fail(
    "ping/held-back",
    Level::Reachable,
    "Redis takes commands but holds them back",
    "A malformed command was answered at once, while PING was not: the server reads and parses commands, but defers \
     them. That is what CLIENT PAUSE and a failover do (Redis 6.2 and later; older ones are silent).",
);
/// Accepted, then closed or reset without a word.
pub static CLOSED: Code = Code::fail(
    "ping/closed",
    Level::Reachable,
    "connected, then closed without a reply",
    "The connection was accepted and then closed or reset before any reply. A proxy without a backend, a TLS port, and \
     a service that is not Redis look the same from the client.",
);
/// Bytes that no Redis sends.
pub static NOT_REDIS: Code = Code::fail(
    "ping/not-redis",
    Level::Reachable,
    "what answers is not Redis",
    "The bytes that came back are not the Redis protocol (RESP), or not what Redis answers to PING. The evidence shows the \
     first of them: 'HTTP/1.1' is a web server, 'SSH-2.0' an SSH server, '220' a mail or FTP server.",
);
/// The beginning of a TLS record of type alert.
pub static TLS_ALERT: Code = Code::fail(
    "ping/tls-alert",
    Level::Reachable,
    "what answers speaks TLS",
    "A TLS alert came back for the plain command: the port expects TLS. Redis' own TLS port resets the connection instead; \
     an alert comes from a TLS proxy before it. Whether a Redis is behind it shows with --tls.",
);
/// PING is unknown.
pub static RENAMED: Code = Code::fail(
    "ping/renamed",
    Level::Reachable,
    "PING is an unknown command",
    "PING was answered with 'unknown command': it was renamed or disabled with rename-command, or a proxy does not know \
     it.",
);
/// A proxy's header, in the place of our command.
pub static HEADER: Code = Code::fail(
    "ping/proxy-header",
    Level::Reachable,
    "the first answer is for a command PROXY that nobody here has sent",
    "The first command was answered with 'unknown command PROXY', and every answer behind it belongs to the question before: a \
     proxy in between begins with the header of the PROXY protocol, which Redis takes for a command.",
);
/// PING failed in a way that no other code names.
pub static ERROR: Code = Code::fail(
    "ping/error",
    Level::Reachable,
    "PING was answered with an error",
    "PING, or the connection itself, was answered with an error that has no code of its own. It has the form of a Redis \
     error; other services have errors of that form, too.",
);
/// Ended in the middle.
pub static CUT_SHORT: Code = Code::fail(
    "ping/cut-short",
    Level::Reachable,
    "the connection ended before PING was answered",
    "Something came back, but the connection ended, or went silent, before the answer to PING; a second connection with \
     nothing but the credentials and PING fared no better.",
);
/// Small packets pass, large ones do not.
pub static LARGE_LOST: Code = Code::fail(
    "ping/large-lost",
    Level::Ready,
    "small packets get through, large ones do not",
    "The same question was asked over several connections at the same time, each with a limit of its own on the size of \
     packets: where they were small it was answered, where they were large it was not.",
);
/// Addresses that behave differently.
pub static DIFFERS: Code = Code::warn(
    "ping/differs",
    Level::Ready,
    "the addresses of the name do not answer alike",
    "The name has several addresses that accept connections, and some of them do not answer PING as the first does: one \
     pongs, another is silent, loads its data, or asks for a password. Clients meet one or the other by chance.",
);
/// The same words, answered over one connection and cut over another.
pub static CUT_AT_TIMES: Code = Code::warn(
    "ping/cut-at-times",
    Level::Ready,
    "some connections are cut without a word",
    "The same commands were answered over one connection, and another was closed or reset before any reply. A balancer that \
     takes turns with a place where nobody answers does that, or a server that has just been restarted.",
);
/// Late.
pub static SLOW: Code = Code::warn(
    "ping/slow",
    Level::Ready,
    "Redis answers late",
    "The connection was accepted quickly, but the reply to the first command came late: something kept the server's \
     event loop busy.",
);

/// A PONG, and nothing else.
pub static LIMITED: Code = Code::warn(
    "ping/limited",
    Level::Writable,
    "what answers knows few commands",
    "PING was answered, and neither INFO nor HELLO: the connection was closed at them, or they are unknown or left without an \
     answer. A proxy that knows few commands does that, or a Redis where both are renamed. Client libraries that make sure of a Redis with INFO or HELLO fail.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let redis = facts.redis.known()?;
    let dialogue = redis.preferred().ok_or_else(|| Gap::needs("tcp"))?;
    let telling = dialogue.telling();
    let took = telling.first_byte_ms.unwrap_or(telling.elapsed_ms);
    let found = failure(dialogue);
    // What comes after an answer is not waited for as long as that.
    let is_told = dialogue.first.answers_ping() || dialogue.first.unasked.is_some();
    if found.is_some() && dialogue.first.end == End::Silent && !is_told {
        facts.ask.waited_out(dialogue.first.elapsed_ms)?;
    }
    let large = large_lost(facts);
    let worst = found.as_ref().or(large.as_ref());
    let summary = worst.map_or_else(|| healthy_summary(dialogue, took), |finding| said(finding, dialogue));
    let findings = found
        .into_iter()
        .chain(large)
        .chain(limited(facts, dialogue))
        .chain(differs(&redis.dialogues))
        .chain(cut_at_times(dialogue))
        .chain(slow(dialogue, handshake_ms(facts, &dialogue.address)));
    Ok(Judgement::pass(summary).took(took).observing(redis).finding(findings))
}

fn healthy_summary(dialogue: &Dialogue, took: f64) -> String {
    let product = product(dialogue).unwrap_or_else(|| "Redis".to_owned());
    match dialogue.reply(Command::Ping) {
        Some(Reply::Status(pong)) => format!("{product} answered {pong} after {took:.1} ms"),
        _ => format!("{product} answered after {took:.1} ms"),
    }
}

/// What the server calls itself: from INFO, else from HELLO.
pub fn product(dialogue: &Dialogue) -> Option<String> {
    if let Some(Reply::Info(info)) = dialogue.reply(Command::Info)
        && let Some(product) = info.product()
    {
        return Some(product);
    }
    match dialogue.reply(Command::Hello) {
        Some(Reply::Hello(hello)) if hello.server == "valkey" => Some(format!("Valkey {}", hello.version)),
        Some(Reply::Hello(hello)) => Some(format!("Redis {}", hello.version)),
        _ => None,
    }
}

fn said(finding: &Finding, dialogue: &Dialogue) -> String {
    let address = &dialogue.address;
    match finding.code.id {
        "ping/protected-mode" => format!("Redis at {address} is in protected mode and turns us away"),
        "ping/max-clients" => format!("Redis at {address} accepts no more clients"),
        "ping/silent" => format!("{address} accepted the connection and says nothing"),
        "ping/held-back" => format!("Redis at {address} takes commands but holds them back"),
        "ping/closed" => format!("{address} accepted the connection and closed it without a reply"),
        "ping/not-redis" => match dialogue.stranger() {
            Some(stranger) => format!("what answers at {address} is {}", stranger.who()),
            None => format!("what answers at {address} is not Redis"),
        },
        "ping/proxy-header" => format!("{address} answers a command PROXY that nobody here has sent"),
        "ping/renamed" => format!("{address} does not know PING"),
        "ping/tls-alert" => format!("what answers at {address} speaks TLS"),
        "ping/large-lost" => format!("{address} answers what is small, and what is large is lost"),
        "ping/cut-short" => format!("the connection to {address} ended before PING was answered"),
        _ => format!("{address} answered PING with an error"),
    }
}

/// What is wrong with one dialogue, if anything.
pub fn failure(dialogue: &Dialogue) -> Option<Finding> {
    if let Some(reply) = dialogue.unasked() {
        return Some(unasked(reply));
    }
    if let Some(alien) = dialogue.alien() {
        return Some(not_resp(alien));
    }
    if let Some(error) = dialogue.answer_to_header() {
        return Some(Finding::new(&HEADER, "the first answer", error.text.clone()));
    }
    if let Some(Reply::Status(status)) = dialogue.reply(Command::Auth).filter(|reply| !is_ok(reply)) {
        // A mail server's greeting is in the place of the first answer.
        return Some(Finding::new(&NOT_REDIS, "answer to AUTH", format!("+{status}")));
    }
    match dialogue.reply(Command::Ping) {
        Some(reply) => answered(reply),
        None => Some(unanswered(dialogue)),
    }
}

fn is_ok(reply: &Reply) -> bool {
    matches!(reply, Reply::Status(status) if status == "OK")
}

fn replied(code: &'static Code, text: &str) -> Finding {
    Finding::new(code, "redis replied", text)
}

fn unasked(reply: &Reply) -> Finding {
    match reply {
        Reply::Error(error) if error.kind == ErrorKind::Denied => replied(&PROTECTED, &error.text),
        Reply::Error(error) if error.kind == ErrorKind::MaxClients => replied(&MAX_CLIENTS, &error.text),
        Reply::Error(error) => Finding::new(&ERROR, "read(2)", format!("before any command: {}", error.text)),
        reply => Finding::new(&NOT_REDIS, "read(2)", format!("before any command: {}", words(reply))),
    }
}

fn not_resp(alien: &Alien) -> Finding {
    let when = if alien.before_we_spoke { "before we spoke" } else { "after our commands" };
    let code = if is_tls_alert(alien) { &TLS_ALERT } else { &NOT_REDIS };
    Finding::new(code, "read(2)", format!("{when}: {}", alien.head))
}

/// True for the beginning of a TLS record of type 21, alert (RFC 8446 section 5.1), in its escaped form.
fn is_tls_alert(alien: &Alien) -> bool {
    alien.head.starts_with("\\x15\\x03")
}

fn answered(reply: &Reply) -> Option<Finding> {
    match reply {
        Reply::Status(status) if status == "PONG" => None,
        Reply::Error(error) => match error.kind {
            ErrorKind::UnknownCommand => Some(Finding::new(&RENAMED, "answer to PING", error.text.clone())),
            ErrorKind::Protocol | ErrorKind::Arity | ErrorKind::Other => {
                Some(Finding::new(&ERROR, "answer to PING", error.text.clone()))
            }
            // What it means is the question of `auth` and `state`: a Redis it is.
            _ => None,
        },
        // RESP, but no PONG: an echo, a mail server's +OK, another protocol of the family.
        reply => Some(Finding::new(&NOT_REDIS, "answer to PING", words(reply))),
    }
}

/// A reply that is no error, as evidence.
fn words(reply: &Reply) -> String {
    match reply {
        Reply::Status(text) => format!("+{text}"),
        Reply::Integer(number) => format!(":{number}"),
        Reply::Error(error) => format!("-{}", error.text),
        Reply::Hello(_) | Reply::Info(_) | Reply::Settings(_) | Reply::Nodes(_) => {
            "an answer to another command".to_owned()
        }
        Reply::Other(head) => head.clone(),
    }
}

/// True if PING was answered as it ought to be.
pub fn is_well(facts: &Facts) -> bool {
    facts.redis.seen().and_then(|redis| redis.preferred()).is_some_and(|dialogue| failure(dialogue).is_none())
}

/// True if something other than PING proves a Redis.
pub fn is_proven(dialogue: &Dialogue) -> bool {
    is_proven_by(dialogue.telling())
}

fn is_proven_by(conversation: &Conversation) -> bool {
    conversation.exchanges.iter().any(|exchange| match &exchange.reply {
        Some(Reply::Hello(_)) => true,
        Some(Reply::Info(info)) => info.product().is_some(),
        _ => false,
    })
}

fn unanswered(dialogue: &Dialogue) -> Finding {
    if let Some(error) = held_back(dialogue) {
        let says = format!("ECHO without arguments at once ({}), PING not", error.text);
        return Finding::new(&HELD_BACK, "redis replied", says);
    }
    let telling = dialogue.telling();
    let says = ended(telling);
    match telling.end {
        _ if telling.said_something() => Finding::new(&CUT_SHORT, "read(2)", says),
        End::Closed | End::Broken(_) | End::Alert(_) => Finding::new(&CLOSED, "read(2)", says),
        _ => silent(dialogue, says),
    }
}

/// The answer to the malformed command, where nothing else was answered on a connection that still stands.
fn held_back(dialogue: &Dialogue) -> Option<&ErrorReply> {
    let second = dialogue.second.as_ref().filter(|second| second.end == End::Silent && !second.answers_ping())?;
    second.reply(Command::EchoNothing)?.error()
}

fn silent(dialogue: &Dialogue, says: String) -> Finding {
    let mut finding = Finding::new(&SILENT, "read(2)", says);
    finding.evidence.extend(dialogue.first.unacknowledged.map(|bytes| match bytes {
        0 => Evidence::new("/proc/net/tcp", "the peer's kernel has acknowledged our bytes"),
        bytes => Evidence::new("/proc/net/tcp", format!("{bytes} of our bytes were never acknowledged")),
    }));
    if dialogue.second.as_ref().is_some_and(|second| second.end == End::NotMade) {
        finding.evidence.push(Evidence::new("connect(2)", "a second connection was not accepted"));
    }
    finding
}

/// How a conversation ended, in words, with the beginning of a reply that it cut off.
fn ended(conversation: &Conversation) -> String {
    let end = end_of(conversation);
    match &conversation.unfinished {
        Some(head) => format!("{end}; the last of it begins {head}"),
        None => end,
    }
}

fn end_of(conversation: &Conversation) -> String {
    let Conversation { elapsed_ms, bytes, .. } = conversation;
    match &conversation.end {
        End::Answered => format!("all answered after {elapsed_ms:.1} ms"),
        End::Closed => format!("end of file after {elapsed_ms:.1} ms and {bytes} bytes"),
        End::Broken(errno) => format!("{errno} after {elapsed_ms:.1} ms and {bytes} bytes"),
        End::Alert(alert) => {
            format!("TLS alert {} after {elapsed_ms:.1} ms and {bytes} bytes", alert::name(*alert))
        }
        End::Silent => format!("{bytes} bytes in {elapsed_ms:.0} ms, then silence"),
        End::TooMuch => format!("{bytes} bytes, and no end to it"),
        End::Alien => format!("{bytes} bytes that are not RESP"),
        End::NotMade => "a second connection could not be made".to_owned(),
    }
}

/// What was met by INFO and HELLO, where PING was answered and they show no Redis.
fn limited(facts: &Facts, dialogue: &Dialogue) -> Option<Finding> {
    let pongs = matches!(dialogue.reply(Command::Ping), Some(Reply::Status(_))) && failure(dialogue).is_none();
    if !pongs || dialogue.is_cut_at_times() || is_proven(dialogue) || is_proven_by(&dialogue.first) {
        return None;
    }
    let first = &dialogue.first;
    let met = |command| {
        let sent = first.exchanges.iter().any(|exchange| exchange.command == command);
        match (first.reply(command), sent) {
            (Some(Reply::Error(error)), _) => match error.kind {
                ErrorKind::UnknownCommand | ErrorKind::Arity | ErrorKind::Other => Some(format!("'{}'", error.text)),
                _ => None,
            },
            // The PONG that came may have been meant for it.
            (Some(_), _) => Some("another's answer".to_owned()),
            (None, true) => Some(end_of(first)),
            (None, false) => None,
        }
    };
    let (info, hello) = (met(Command::Info)?, met(Command::Hello)?);
    // Silence may be that of a large answer that is lost.
    let hangs = |one: &Try| one.small_ms.is_some() && one.large_ms.is_none();
    let large = || facts.sizes.seen().is_none_or(|sizes| sizes.tries.iter().any(hangs));
    if first.end == End::Silent && first.reply(Command::Info).is_none() && large() {
        return None;
    }
    let says = if info == hello { format!("INFO and HELLO: {info}") } else { format!("INFO: {info}; HELLO: {hello}") };
    Some(Finding::new(&LIMITED, "read(2)", says))
}

/// What passes and what hangs for its size.
fn large_lost(facts: &Facts) -> Option<Finding> {
    let sizes = facts.sizes.seen()?;
    let hole = sizes.hole()?;
    let told = sizes.tries.iter().filter(|one| one.limit == Some(hole.passes) || one.limit == hole.lost);
    Some(Finding { code: &LARGE_LOST, evidence: told.map(tried).collect() })
}

fn tried(one: &Try) -> Evidence {
    let size =
        one.limit.map_or_else(|| "as large as the interface allows".to_owned(), |limit| format!("up to {limit} bytes"));
    let met = match (one.large_ms, one.unacknowledged) {
        (Some(after), _) => format!("a long ECHO was answered after {after:.1} ms"),
        (None, Some(bytes)) if bytes > 0 => {
            format!("PING was answered, {bytes} bytes of a long ECHO never acknowledged")
        }
        (None, _) => "PING was answered, a long ECHO was not".to_owned(),
    };
    Evidence::new("TCP_MAXSEG", format!("packets {size}: {met}"))
}

/// Whether other addresses of the name answer as the preferred one does.
fn differs(dialogues: &[Dialogue]) -> Option<Finding> {
    let (preferred, others) = dialogues.split_first()?;
    let usual = outcome(preferred);
    let odd: Vec<&Dialogue> = others.iter().filter(|other| outcome(other) != usual).collect();
    let evidence = std::iter::once(preferred).chain(odd.iter().copied());
    let evidence =
        evidence.map(|dialogue| Evidence::new("PING", format!("{}: {}", dialogue.address, answer(dialogue))));
    (!odd.is_empty()).then(|| Finding { code: &DIFFERS, evidence: evidence.collect() })
}

/// What PING met, as far as it matters to a client: PONG, the kind of error, or the kind of failure.
fn outcome(dialogue: &Dialogue) -> (Option<&'static str>, Option<ErrorKind>) {
    let error = dialogue.reply(Command::Ping).and_then(Reply::error);
    (failure(dialogue).map(|finding| finding.code.id), error.map(|error| error.kind))
}

fn answer(dialogue: &Dialogue) -> String {
    match (failure(dialogue), dialogue.reply(Command::Ping)) {
        (Some(finding), _) => finding.code.title.to_owned(),
        (None, Some(reply)) => words(reply),
        (None, None) => "no answer".to_owned(),
    }
}

fn cut_at_times(dialogue: &Dialogue) -> Option<Finding> {
    let met = |one: &Conversation| if one.answers_ping() { "PING was answered".to_owned() } else { end_of(one) };
    let evidence = (1..).zip(dialogue.conversations());
    let evidence = evidence.map(|(number, one)| Evidence::new("read(2)", format!("connection {number}: {}", met(one))));
    dialogue.is_cut_at_times().then(|| Finding { code: &CUT_AT_TIMES, evidence: evidence.collect() })
}

fn slow(dialogue: &Dialogue, handshake_ms: f64) -> Option<Finding> {
    let late = dialogue.telling().first_byte_ms?;
    (late - handshake_ms >= SLOW_MS && failure(dialogue).is_none()).then(|| {
        let says = format!("{} answered after {late:.0} ms, the handshake took {handshake_ms:.1} ms", dialogue.address);
        Finding::new(&SLOW, "PING", says)
    })
}

fn handshake_ms(facts: &Facts, address: &str) -> f64 {
    let attempts = facts.tcp.seen().map_or(&[][..], |tcp| &tcp.attempts);
    attempts.iter().find(|attempt| attempt.address == address).map_or(0.0, |attempt| attempt.elapsed_ms)
}

#[cfg(test)]
mod tests;
