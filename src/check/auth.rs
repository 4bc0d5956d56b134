//! Does the server accept who we are, and may that user do what an application does to connect?
//!
//! A reply about the server's state (LOADING, BUSY, MASTERDOWN …) says nothing of credentials and is left to
//! `check/state.rs`. A user may be open (`nopass`) without our knowing: only a wrong password would show it, and none is
//! ever sent.

use super::Check;
use super::{ping, state};
use crate::model::{BlockerKind, Code, Evidence, Finding, Gap, Judgement, Level, Target};
use crate::probe::Facts;
use crate::probe::path::redis::{Conversation, Dialogue, End};
use crate::probe::path::reply::{Command, ErrorKind, ErrorReply, Reply};

/// The check.
pub static CHECK: Check = Check {
    id: "auth",
    asks: "does the server accept who we are, and may that user do what an application does to connect?",
    level: Some(Level::Authenticated),
    codes: &[
        &REQUIRED,
        &REJECTED,
        &NOT_EXPECTED,
        &USER_UNSUPPORTED,
        &AUTH_ERROR,
        &STILL_REQUIRED,
        &PASSWORD_UNCHECKED,
        &PING_DENIED,
        &COMMAND_DENIED,
        &KEY_DENIED,
        &KEY_UNSEEN,
        &DB_OUT_OF_RANGE,
        &SELECT_ERROR,
        &RESP3_UNSUPPORTED,
        &DIFFERS,
    ],
    judge,
};

/// `-NOAUTH`, and no password was sent.
pub static REQUIRED: Code = Code::fail(
    "auth/required",
    Level::Authenticated,
    "Redis requires authentication",
    "Redis answered NOAUTH: the network, the port and the protocol are good, but commands need credentials first.",
);
/// `-WRONGPASS`.
pub static REJECTED: Code = Code::fail(
    "auth/rejected",
    Level::Authenticated,
    "Redis rejects the credentials",
    "Redis answered that the password is wrong, the user unknown, or the user disabled. It answers all three with one \
     text, on purpose.",
);
/// A password was sent to a server without one.
pub static NOT_EXPECTED: Code = Code::fail(
    "auth/not-expected",
    Level::Authenticated,
    "a password was sent, but Redis has none",
    "Redis answered that no password is configured for the default user. Most client libraries fail here.",
);
/// AUTH with a user before Redis 6.
pub static USER_UNSUPPORTED: Code = Code::fail(
    "auth/user-unsupported",
    Level::Authenticated,
    "a user was sent, but this Redis knows no users",
    "Redis answered that AUTH has too many arguments: ACL users exist since Redis 6.",
);
/// AUTH failed otherwise.
pub static AUTH_ERROR: Code = Code::fail(
    "auth/error",
    Level::Authenticated,
    "AUTH was answered with an error",
    "Redis, or a proxy before it, answered AUTH with an error that has no code of its own. 'unknown command' means that \
     AUTH was renamed or disabled (rename-command); Valkey 9 says NOAUTH instead.",
);
/// AUTH succeeded, and NOAUTH came all the same.
pub static STILL_REQUIRED: Code = Code::fail(
    "auth/still-required",
    Level::Authenticated,
    "a proxy answers AUTH, and the Redis behind it still wants a password",
    "AUTH was answered OK, or that no password is set, and a later command NOAUTH. No Redis does that: a proxy answers \
     AUTH by itself, and is not logged in to the Redis behind it.",
);
/// Any password is accepted.
pub static PASSWORD_UNCHECKED: Code = Code::warn(
    "auth/password-unchecked",
    Level::Ready,
    "the password is not checked",
    "AUTH with the user 'default' succeeded, and AUTH with the password alone says that none is configured: the default \
     user is 'nopass', and any password is accepted.",
);
/// PING is denied.
pub static PING_DENIED: Code = Code::warn(
    "auth/ping-denied",
    Level::Ready,
    "the user may not PING",
    "The credentials were accepted, but the user has no permission to run PING. Health checks and many client \
     libraries send it; whether the server is ready to serve cannot be seen with this user.",
);
/// A command that the asked use needs is denied.
pub static COMMAND_DENIED: Code = Code::fail(
    "auth/command-denied",
    Level::Ready,
    "the user may not run a command the connection needs",
    "The credentials were accepted, but the user has no permission to run SELECT, needed for the asked database, or \
     HELLO, needed for RESP3 (Redis 6.0 asks permission for HELLO, later versions do not).",
);
/// The asked key is denied.
pub static KEY_DENIED: Code = Code::fail(
    "auth/key-denied",
    Level::Ready,
    "the user may not touch the key",
    "The credentials were accepted, but the key given with --exists is outside the user's key patterns.",
);
/// EXISTS is denied, which an application may never send.
pub static KEY_UNSEEN: Code = Code::warn(
    "auth/key-unseen",
    Level::Ready,
    "whether the user may touch the key cannot be seen",
    "The key given with --exists is looked at with EXISTS, and the user has no permission to run that. Redis looks at the \
     command before the key, so the key patterns of the user stay unknown. An application that never sends EXISTS may \
     work all the same.",
);
/// There is no such database.
pub static DB_OUT_OF_RANGE: Code = Code::fail(
    "auth/db-out-of-range",
    Level::Ready,
    "the database does not exist",
    "The handshake succeeded and only SELECT failed: the server has fewer databases, or is a cluster, which has only \
     database 0.",
);
/// SELECT failed otherwise.
pub static SELECT_ERROR: Code = Code::fail(
    "auth/select-error",
    Level::Ready,
    "the database cannot be selected",
    "The handshake succeeded and SELECT was answered with an error that has no code of its own: a proxy or a managed \
     service with one database only, or SELECT was renamed.",
);
/// HELLO 3 failed.
pub static RESP3_UNSUPPORTED: Code = Code::fail(
    "auth/resp3-unsupported",
    Level::Ready,
    "RESP3 is asked for, but not spoken here",
    "The target asks for RESP3 (-3, or ?protocol=3) and the server does not take HELLO 3: it is older than Redis 6, a \
     proxy stands before it, or HELLO was renamed.",
);
/// Addresses that judge us differently.
pub static DIFFERS: Code = Code::warn(
    "auth/differs",
    Level::Ready,
    "the addresses of the name do not take the credentials alike",
    "The name has several addresses, and a server behind another one treats the same credentials differently: a \
     replica with a password of its own, or a change of password that has not reached all of them. Clients meet one or \
     the other by chance.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let redis = facts.redis.known()?;
    let dialogue = redis.preferred().ok_or_else(|| Gap::needs("tcp"))?;
    if !answers(dialogue) {
        return Err(Gap::needs("ping"));
    }
    if let Some(error) = put_off(dialogue) {
        return Err(Gap::hidden(BlockerKind::Failed, format!("redis replied '{}' to AUTH", error.text)));
    }
    let target = &facts.ask.target;
    let mut findings = found(dialogue, target);
    let summary = findings.first().map_or_else(|| healthy_summary(dialogue, target), |finding| said(finding, target));
    findings.extend(differs(&redis.dialogues, target));
    Ok(Judgement::pass(summary).finding(findings))
}

/// True if the answers can be judged: a Redis that does not know PING is one, and so is a proxy that hangs up after it
/// has turned AUTH down.
fn answers(dialogue: &Dialogue) -> bool {
    ping::failure(dialogue).is_none_or(|finding| match finding.code.id {
        id if [ping::RENAMED.id, ping::HEADER.id].contains(&id) => true,
        id if id == ping::CUT_SHORT.id => dialogue.reply(Command::Auth).is_some_and(|reply| reply.error().is_some()),
        _ => false,
    })
}

/// AUTH answered with the state of the server, as only proxies do: Redis takes AUTH while it loads, is busy with a
/// script, cannot save, or has lost its master (measured: 5.0 to 8.0, Valkey 8 and 9).
fn put_off(dialogue: &Dialogue) -> Option<&ErrorReply> {
    use ErrorKind::{Busy, ClusterDown, Loading, MasterDown, MisConf};
    error_of(dialogue, Command::Auth, &[Loading, Busy, MisConf, MasterDown, ClusterDown])
}

fn found(dialogue: &Dialogue, target: &Target) -> Vec<Finding> {
    match credentials(dialogue, target) {
        Some(finding) => vec![finding],
        None => permissions(dialogue, target),
    }
}

fn healthy_summary(dialogue: &Dialogue, target: &Target) -> String {
    let who = match (&target.user, target.password) {
        (Some(user), true) => format!("the credentials of user {user} are accepted"),
        (None, true) => "the password is accepted".to_owned(),
        (Some(user), false) => format!("no password is needed; user {user} was not sent for want of a password"),
        (None, false) => "no password is needed".to_owned(),
    };
    match error_of(dialogue, Command::Info, &[ErrorKind::NoPermission]) {
        Some(_) => format!("{who} (INFO is not permitted)"),
        None => who,
    }
}

fn said(finding: &Finding, target: &Target) -> String {
    let who = target.user.as_deref().map_or_else(String::new, |user| format!(" of user {user}"));
    match (finding.code.id, &target.user) {
        ("auth/required", None) => "Redis requires authentication, and no password was sent".to_owned(),
        ("auth/required", Some(user)) => {
            format!("Redis requires authentication, and user {user} was not sent for want of a password")
        }
        ("auth/rejected", _) => format!("Redis rejects the credentials{who}"),
        ("auth/db-out-of-range", _) => format!("database {} does not exist", target.db),
        ("auth/select-error", _) => format!("database {} cannot be selected", target.db),
        _ => finding.code.title.to_owned(),
    }
}

/// What is wrong with who we are. Looked at before PING's answer: after a failed AUTH, a PONG proves nothing but a
/// server that would have served without.
fn credentials(dialogue: &Dialogue, target: &Target) -> Option<Finding> {
    match dialogue.reply(Command::Auth) {
        Some(Reply::Error(error)) => Some(rejected(error, dialogue, target)),
        Some(Reply::Status(ok)) if ok == "OK" => {
            let error = not_authenticated(dialogue)?;
            Some(Finding::new(&STILL_REQUIRED, "redis replied", format!("OK to AUTH, then: {}", error.text)))
        }
        Some(reply) => Some(Finding::new(&AUTH_ERROR, "answer to AUTH", format!("{reply:?}"))),
        None => not_authenticated(dialogue).map(|error| replied(&REQUIRED, error)),
    }
}

/// NOAUTH to any command. PING alone is not enough: where it was renamed, Redis says so before it asks who we are, and a
/// proxy may answer it by itself.
fn not_authenticated(dialogue: &Dialogue) -> Option<&ErrorReply> {
    let commands = [Command::Ping, Command::Select, Command::Exists, Command::Hello, Command::Info];
    let errors = commands.into_iter().filter_map(|command| dialogue.reply_beyond(command)?.error());
    errors.into_iter().find(|error| error.kind == ErrorKind::NoAuth)
}

fn rejected(error: &ErrorReply, dialogue: &Dialogue, target: &Target) -> Finding {
    if let (ErrorKind::NoPasswordSet, Some(wanted)) = (error.kind, not_authenticated(dialogue)) {
        // Who has none set, and who wants one, are two.
        let says = format!("to AUTH: {}; then: {}", error.text, wanted.text);
        return Finding::new(&STILL_REQUIRED, "redis replied", says);
    }
    let code = match error.kind {
        ErrorKind::WrongPass => &REJECTED,
        ErrorKind::NoPasswordSet => &NOT_EXPECTED,
        ErrorKind::AuthArity if target.user.is_some() => &USER_UNSUPPORTED,
        _ => &AUTH_ERROR,
    };
    let mut finding = replied(code, error);
    if serves_anybody(dialogue) {
        finding.evidence.push(Evidence::new("redis replied", "PONG to PING all the same, without authentication"));
    }
    finding
}

/// True if PING was answered although AUTH failed: the default user needs no password.
pub fn serves_anybody(dialogue: &Dialogue) -> bool {
    let turned_down = dialogue.reply(Command::Auth).is_some_and(|reply| reply.error().is_some());
    turned_down && !took_password_alone(dialogue) && is_status(dialogue.reply(Command::Ping), "PONG")
}

/// True if AUTH with the password alone was accepted. Servers before users do so after they have turned down AUTH with
/// the user 'default', and serve from then on.
pub fn took_password_alone(dialogue: &Dialogue) -> bool {
    is_status(dialogue.reply(Command::AuthAlone), "OK")
}

fn is_status(reply: Option<&Reply>, expected: &str) -> bool {
    matches!(reply, Some(Reply::Status(status)) if status == expected)
}

/// What an accepted user may not do.
fn permissions(dialogue: &Dialogue, target: &Target) -> Vec<Finding> {
    let raise = |code, command, kind| error_of(dialogue, command, &[kind]).map(|error| replied(code, error));
    [
        raise(&PASSWORD_UNCHECKED, Command::AuthAlone, ErrorKind::NoPasswordSet),
        raise(&PING_DENIED, Command::Ping, ErrorKind::NoPermission),
        command_denied(dialogue, target),
        // A key that nobody asked for is ours, to see whether anybody is behind a proxy.
        raise(&KEY_DENIED, Command::Exists, ErrorKind::NoPermissionKey).filter(|_| target.key.is_some()),
        key_unseen(dialogue).filter(|_| target.key.is_some()),
        select(dialogue),
        resp3(dialogue).filter(|_| target.resp3),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn command_denied(dialogue: &Dialogue, target: &Target) -> Option<Finding> {
    let select = error_of(dialogue, Command::Select, &[ErrorKind::NoPermission]);
    let hello = error_of(dialogue, Command::Hello, &[ErrorKind::NoPermission]).filter(|_| target.resp3);
    let evidence: Vec<_> =
        select.into_iter().chain(hello).map(|error| Evidence::new("redis replied", &error.text)).collect();
    (!evidence.is_empty()).then_some(Finding { code: &COMMAND_DENIED, evidence })
}

/// Why the key could not be looked at, although the user may touch it for all we know. What the state of the server has to
/// do with it is `check/state.rs`'s question.
fn key_unseen(dialogue: &Dialogue) -> Option<Finding> {
    use ErrorKind::{Arity, NoPermission, Other, UnknownCommand};
    match dialogue.reply(Command::Exists) {
        Some(reply) => {
            let error =
                reply.error().filter(|error| [Arity, NoPermission, Other, UnknownCommand].contains(&error.kind))?;
            Some(replied(&KEY_UNSEEN, error)).filter(|_| !is_sentinel(dialogue) && !state::is_of_upstream(error))
        }
        None => unanswered(dialogue, Command::Exists).map(|says| Finding::new(&KEY_UNSEEN, "EXISTS", says)),
    }
}

/// How a command that was sent after PING went without an answer, although PING had one.
fn unanswered(dialogue: &Dialogue, command: Command) -> Option<String> {
    let telling = dialogue.telling();
    let asked = telling.exchanges.iter().any(|exchange| exchange.command == command && exchange.reply.is_none());
    asked.then(|| match &telling.end {
        End::Closed | End::Broken(_) => "not answered: the connection was closed instead".to_owned(),
        _ => "not answered, although PING was".to_owned(),
    })
}

/// What is wrong with the database. A Sentinel knows no SELECT, which `check/state.rs` says better.
fn select(dialogue: &Dialogue) -> Option<Finding> {
    let Some(reply) = dialogue.reply(Command::Select) else {
        let hung_up =
            || hung_up_at_select(dialogue).then(|| "the connection was closed wherever it was sent".to_owned());
        let says = unanswered(dialogue, Command::Select).or_else(hung_up);
        return says.map(|says| Finding::new(&SELECT_ERROR, "SELECT", says));
    };
    let error = reply.error()?;
    match error.kind {
        ErrorKind::DbOutOfRange | ErrorKind::SelectInCluster => Some(replied(&DB_OUT_OF_RANGE, error)),
        ErrorKind::UnknownCommand | ErrorKind::Other | ErrorKind::Arity if !is_sentinel(dialogue) => {
            Some(replied(&SELECT_ERROR, error))
        }
        _ => None,
    }
}

/// True if PING was answered wherever no SELECT was beside it, and nothing where one was (measured on twemproxy 0.5).
fn hung_up_at_select(dialogue: &Dialogue) -> bool {
    let selects = |one: &Conversation| one.exchanges.iter().any(|exchange| exchange.command == Command::Select);
    let fits = |one: &Conversation| if selects(one) { one.is_cut() } else { one.answers_ping() };
    // Twice each, or it may be chance.
    let (with, without): (Vec<_>, Vec<_>) = dialogue.conversations().partition(|one| selects(one));
    with.len() > 1 && without.len() > 1 && dialogue.conversations().all(fits)
}

/// True if HELLO or INFO proves a Sentinel.
pub fn is_sentinel(dialogue: &Dialogue) -> bool {
    let mode = match (dialogue.reply(Command::Hello), dialogue.reply(Command::Info)) {
        (Some(Reply::Hello(hello)), _) => Some(hello.mode.as_str()),
        (_, Some(Reply::Info(info))) => info.get("redis_mode").or_else(|| info.get("server_mode")),
        _ => None,
    };
    mode == Some("sentinel")
}

/// Why HELLO 3 did not bring RESP3.
fn resp3(dialogue: &Dialogue) -> Option<Finding> {
    use ErrorKind::{Arity, NoProto, Other, UnknownCommand};
    match dialogue.reply(Command::Hello) {
        Some(Reply::Error(error)) if [Arity, NoProto, Other, UnknownCommand].contains(&error.kind) => {
            Some(replied(&RESP3_UNSUPPORTED, error))
        }
        Some(Reply::Hello(hello)) if hello.proto == 2 => {
            Some(Finding::new(&RESP3_UNSUPPORTED, "redis replied", "proto: 2 to HELLO 3"))
        }
        None => hung_up_at_hello(dialogue),
        _ => None,
    }
}

/// A proxy may close the connection at a command it does not know.
fn hung_up_at_hello(dialogue: &Dialogue) -> Option<Finding> {
    // Which is sent over the first alone.
    let first = &dialogue.first;
    let unanswered = first.exchanges.iter().find(|exchange| exchange.reply.is_none())?;
    if first.has_ended() && unanswered.command == Command::Hello {
        return Some(Finding::new(&RESP3_UNSUPPORTED, "read(2)", "the connection was closed at HELLO 3"));
    }
    // twemproxy ends it without the answers to what was asked before; what it was is shown by what is answered without HELLO.
    let is_sent = first.exchanges.iter().any(|exchange| exchange.command == Command::Hello);
    let is_served = dialogue.telling().end == End::Answered && !hung_up_at_select(dialogue);
    let serves_without = is_served && !dialogue.is_cut_at_times();
    let says =
        "the connection was closed without a word where HELLO 3 was sent, and PING was answered where it was not";
    (first.is_cut() && is_sent && serves_without).then(|| Finding::new(&RESP3_UNSUPPORTED, "read(2)", says))
}

/// Whether the servers behind other addresses of the name treat us as the preferred one does.
fn differs(dialogues: &[Dialogue], target: &Target) -> Option<Finding> {
    let codes = |dialogue| -> Vec<&str> { found(dialogue, target).iter().map(|finding| finding.code.id).collect() };
    let (preferred, others) = dialogues.split_first()?;
    let usual = codes(preferred);
    // What does not answer at all is ping/differs.
    let odd = others.iter().find(|other| answers(other) && put_off(other).is_none() && codes(other) != usual)?;
    let says = found(odd, target).first().map_or("the credentials are good", |finding| finding.code.title);
    Some(Finding::new(&DIFFERS, "redis replied", format!("{}: {says}", odd.address)))
}

fn error_of<'a>(dialogue: &'a Dialogue, command: Command, kinds: &[ErrorKind]) -> Option<&'a ErrorReply> {
    dialogue.reply(command)?.error().filter(|error| kinds.contains(&error.kind))
}

fn replied(code: &'static Code, error: &ErrorReply) -> Finding {
    Finding::new(code, "redis replied", error.text.clone())
}

#[cfg(test)]
mod tests;
