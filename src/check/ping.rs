//! Does a Redis answer, and if not, what does?
//!
//! Credentials are `check/auth.rs`'s question, the server's state `check/state.rs`'s.

use super::Check;
use crate::model::{Code, Finding, Gap, Judgement, Level, Severity};
use crate::probe::Facts;
use crate::probe::path::redis::{Conversation, Dialogue, End};
use crate::probe::path::reply::{Command, ErrorKind, Reply};

/// The check.
pub static CHECK: Check = Check {
    id: "ping",
    asks: "does a Redis answer, and if not, what does?",
    level: Level::Reachable,
    codes: &[
        &PROTECTED,
        &MAX_CLIENTS,
        &SILENT,
        &HELD_BACK,
        &CLOSED,
        &NOT_REDIS,
        &RENAMED,
        &ERROR,
        &CUT_SHORT,
        &DIFFERS,
        &SLOW,
    ],
    judge,
};

/// A reply that comes this much later than the handshake did was held up by the server: the kernel answers the one, the
/// event loop the other.
const SLOW_MS: f64 = 1_000.0;

const fn fail(id: &'static str, title: &'static str, explain: &'static str) -> Code {
    Code { id, severity: Severity::Fail, breaks: Level::Reachable, beyond: Severity::Info, title, explain }
}

const fn warn(id: &'static str, title: &'static str, explain: &'static str) -> Code {
    Code { id, severity: Severity::Warn, breaks: Level::Ready, beyond: Severity::Info, title, explain }
}

/// `-DENIED`.
pub static PROTECTED: Code = fail(
    "ping/protected-mode",
    "Redis is in protected mode",
    "Redis answered -DENIED and closed: it runs in protected mode, no password is set for the default user, and the \
     connection does not come from a loopback address.",
);
/// `-ERR max number of clients reached`.
pub static MAX_CLIENTS: Code = fail(
    "ping/max-clients",
    "Redis accepts no more clients",
    "Redis answered that its maximum number of clients is reached, and closed the connection.",
);
/// Accepted, and then nothing.
pub static SILENT: Code = fail(
    "ping/silent",
    "connected, but nothing answers",
    "The connection was accepted (which the kernel does, without the process) and the command was taken, but no byte \
     came back in time. A blocked, stopped or paused server, one that waits for TLS, and a filter that drops data look \
     the same from the client.",
);
/// The event loop lives, but commands wait.
pub static HELD_BACK: Code = fail(
    "ping/held-back",
    "Redis takes commands but holds them back",
    "A malformed command was answered at once, while PING was not: the server reads and parses commands, but defers \
     them.",
);
/// Accepted, then closed or reset without a word.
pub static CLOSED: Code = fail(
    "ping/closed",
    "connected, then closed without a reply",
    "The connection was accepted and then closed or reset before any reply. A proxy without a backend, a TLS port, and \
     a service that is not Redis look the same from the client.",
);
/// Bytes that no Redis sends.
pub static NOT_REDIS: Code = fail(
    "ping/not-redis",
    "what answers is not Redis",
    "The bytes that came back are not the Redis protocol (RESP), or not what Redis answers.",
);
/// PING is unknown.
pub static RENAMED: Code = fail(
    "ping/renamed",
    "PING is an unknown command",
    "Redis answered PING with 'unknown command': it was renamed or disabled with rename-command, or a proxy does not \
     know it.",
);
/// PING failed in a way that no other code names.
pub static ERROR: Code = fail(
    "ping/error",
    "PING was answered with an error",
    "Redis answered PING with an error that has no code of its own.",
);
/// Ended in the middle.
pub static CUT_SHORT: Code = fail(
    "ping/cut-short",
    "the connection ended before PING was answered",
    "Something was answered, but the connection ended, or went silent, before the answer to PING.",
);
/// Addresses that behave differently.
pub static DIFFERS: Code = warn(
    "ping/differs",
    "the addresses of the name do not answer alike",
    "The name has several addresses that accept connections, and some of them do not answer PING as the first does. \
     Clients meet one or the other by chance.",
);
/// Late.
pub static SLOW: Code = warn(
    "ping/slow",
    "Redis answers late",
    "The connection was accepted quickly, but the reply to the first command came late: something kept the server's \
     event loop busy.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let redis = facts.redis.known()?;
    let dialogue = redis.preferred().ok_or_else(|| Gap::needs("tcp"))?;
    let telling = dialogue.telling();
    let took = telling.first_byte_ms.unwrap_or(telling.elapsed_ms);
    let found = failure(dialogue);
    let summary = found.as_ref().map_or_else(|| healthy_summary(dialogue, took), |finding| said(finding, dialogue));
    let findings = found.into_iter().chain(differs(&redis.dialogues)).chain(slow(dialogue));
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
        "ping/not-redis" => format!("what answers at {address} is not Redis"),
        "ping/renamed" => format!("Redis at {address} does not know PING"),
        "ping/cut-short" => format!("the connection to {address} ended before PING was answered"),
        _ => format!("{address} answered PING with an error"),
    }
}

/// What is wrong with one dialogue, if anything.
pub fn failure(dialogue: &Dialogue) -> Option<Finding> {
    if let Some(Reply::Error(error)) = dialogue.unasked() {
        return Some(match error.kind {
            ErrorKind::Denied => replied(&PROTECTED, &error.text),
            ErrorKind::MaxClients => replied(&MAX_CLIENTS, &error.text),
            _ => replied(&NOT_REDIS, &error.text),
        });
    }
    if let Some(reply) = dialogue.unasked() {
        return Some(Finding::new(&NOT_REDIS, "read(2)", format!("before any command: {reply:?}")));
    }
    if let Some(alien) = dialogue.alien() {
        let when = if alien.before_we_spoke { "before we spoke" } else { "after our commands" };
        return Some(Finding::new(&NOT_REDIS, "read(2)", format!("{when}: {}", alien.head)));
    }
    let telling = dialogue.telling();
    match telling.reply(Command::Ping) {
        Some(reply) => answered(reply, telling),
        None => Some(unanswered(dialogue)),
    }
}

fn replied(code: &'static Code, text: &str) -> Finding {
    Finding::new(code, "redis replied", text)
}

fn answered(reply: &Reply, conversation: &Conversation) -> Option<Finding> {
    match reply {
        Reply::Status(status) if status == "PONG" => None,
        Reply::Error(error) => match error.kind {
            ErrorKind::UnknownCommand if proven(conversation) => Some(replied(&RENAMED, &error.text)),
            ErrorKind::UnknownCommand => Some(replied(&NOT_REDIS, &error.text)),
            ErrorKind::Protocol | ErrorKind::Arity | ErrorKind::Other => Some(replied(&ERROR, &error.text)),
            // What it means is the question of `auth` and `state`: a Redis it is.
            _ => None,
        },
        // RESP, but no PONG: an echo, a mail server's +OK, another protocol of the family.
        reply => Some(Finding::new(&NOT_REDIS, "answer to PING", format!("{reply:?}"))),
    }
}

/// True if something other than PING proves a Redis.
fn proven(conversation: &Conversation) -> bool {
    conversation.exchanges.iter().any(|exchange| match &exchange.reply {
        Some(Reply::Hello(_)) => true,
        Some(Reply::Info(info)) => info.product().is_some(),
        _ => false,
    })
}

fn unanswered(dialogue: &Dialogue) -> Finding {
    if let Some(Reply::Error(error)) = dialogue.reply(Command::EchoNothing) {
        let says = format!("ECHO without arguments at once ({}), PING not", error.text);
        return Finding::new(&HELD_BACK, "redis replied", says);
    }
    let telling = dialogue.telling();
    let says = ended(telling);
    match telling.end {
        _ if telling.said_something() => Finding::new(&CUT_SHORT, "read(2)", says),
        End::Closed | End::Broken(_) => Finding::new(&CLOSED, "read(2)", says),
        _ => Finding::new(&SILENT, "read(2)", says),
    }
}

/// How a conversation ended, in words.
fn ended(conversation: &Conversation) -> String {
    let Conversation { elapsed_ms, bytes, .. } = conversation;
    match &conversation.end {
        End::Answered => format!("all answered after {elapsed_ms:.1} ms"),
        End::Closed => format!("end of file after {elapsed_ms:.1} ms and {bytes} bytes"),
        End::Broken(errno) => format!("{errno} after {elapsed_ms:.1} ms and {bytes} bytes"),
        End::Silent => format!("nothing more for {elapsed_ms:.0} ms after {bytes} bytes"),
        End::TooMuch => format!("more than {bytes} bytes, and no end"),
        End::Alien => format!("{bytes} bytes that are not RESP"),
        End::NotMade => "a second connection could not be made".to_owned(),
    }
}

/// Whether other addresses of the name answer as the preferred one does.
fn differs(dialogues: &[Dialogue]) -> Option<Finding> {
    let (preferred, others) = dialogues.split_first()?;
    let usual = failure(preferred).map(|finding| finding.code.id);
    let odd = others.iter().find(|other| failure(other).map(|finding| finding.code.id) != usual)?;
    let says = match failure(odd) {
        Some(finding) => format!("{}: {}", odd.address, finding.code.title),
        None => format!("{} answers, {} does not", odd.address, preferred.address),
    };
    Some(Finding::new(&DIFFERS, "PING", says))
}

fn slow(dialogue: &Dialogue) -> Option<Finding> {
    let late = dialogue.first.first_byte_ms?;
    (late >= SLOW_MS && failure(dialogue).is_none())
        .then(|| Finding::new(&SLOW, "PING", format!("{} answered after {late:.0} ms", dialogue.address)))
}
