//! Does the server accept who we are, and may that user do what an application does to connect?

use super::Check;
use super::ping;
use crate::model::{Code, Finding, Gap, Judgement, Level, Severity, Target};
use crate::probe::Facts;
use crate::probe::path::redis::Dialogue;
use crate::probe::path::reply::{Command, ErrorKind, ErrorReply, Reply};

/// The check.
pub static CHECK: Check = Check {
    id: "auth",
    asks: "does the server accept who we are, and may that user do what an application does to connect?",
    level: Level::Authenticated,
    codes: &[
        &REQUIRED,
        &REJECTED,
        &NOT_EXPECTED,
        &USER_UNSUPPORTED,
        &AUTH_ERROR,
        &PASSWORD_UNCHECKED,
        &PING_DENIED,
        &COMMAND_DENIED,
        &KEY_DENIED,
        &DB_OUT_OF_RANGE,
        &RESP3_UNSUPPORTED,
    ],
    judge,
};

const fn fail(id: &'static str, breaks: Level, title: &'static str, explain: &'static str) -> Code {
    Code { id, severity: Severity::Fail, breaks, beyond: Severity::Info, title, explain }
}

const fn warn(id: &'static str, breaks: Level, title: &'static str, explain: &'static str) -> Code {
    Code { id, severity: Severity::Warn, breaks, beyond: Severity::Info, title, explain }
}

/// `-NOAUTH`, and no password was sent.
pub static REQUIRED: Code = fail(
    "auth/required",
    Level::Authenticated,
    "Redis requires authentication",
    "Redis answered NOAUTH: the network, the port and the protocol are good, but commands need credentials first.",
);
/// `-WRONGPASS`.
pub static REJECTED: Code = fail(
    "auth/rejected",
    Level::Authenticated,
    "Redis rejects the credentials",
    "Redis answered that the password is wrong, the user unknown, or the user disabled. It answers all three with one \
     text, on purpose.",
);
/// A password was sent to a server without one.
pub static NOT_EXPECTED: Code = fail(
    "auth/not-expected",
    Level::Authenticated,
    "a password was sent, but Redis has none",
    "Redis answered that no password is configured for the default user. Most client libraries fail here.",
);
/// AUTH with a user before Redis 6.
pub static USER_UNSUPPORTED: Code = fail(
    "auth/user-unsupported",
    Level::Authenticated,
    "a user was sent, but this Redis knows no users",
    "Redis answered that AUTH has too many arguments: ACL users exist since Redis 6.",
);
/// AUTH failed otherwise.
pub static AUTH_ERROR: Code = fail(
    "auth/error",
    Level::Authenticated,
    "AUTH was answered with an error",
    "Redis, or a proxy before it, answered AUTH with an error that has no code of its own.",
);
/// Any password is accepted.
pub static PASSWORD_UNCHECKED: Code = warn(
    "auth/password-unchecked",
    Level::Ready,
    "the password is not checked",
    "AUTH with the user 'default' succeeded, and AUTH with the password alone says that none is configured: the default \
     user is 'nopass', and any password is accepted.",
);
/// PING is denied.
pub static PING_DENIED: Code = warn(
    "auth/ping-denied",
    Level::Ready,
    "the user may not PING",
    "The credentials were accepted, but the user has no permission to run PING. Health checks and many client \
     libraries send it; whether the server is ready to serve cannot be seen with this user.",
);
/// SELECT is denied.
pub static COMMAND_DENIED: Code = fail(
    "auth/command-denied",
    Level::Ready,
    "the user may not run a command the connection needs",
    "The credentials were accepted, but the user has no permission to run a command that is needed to use the asked \
     database.",
);
/// The asked key is denied.
pub static KEY_DENIED: Code = fail(
    "auth/key-denied",
    Level::Ready,
    "the user may not touch the key",
    "The credentials were accepted, but the key given with --key is outside the user's key patterns.",
);
/// SELECT failed.
pub static DB_OUT_OF_RANGE: Code = fail(
    "auth/db-out-of-range",
    Level::Ready,
    "the database does not exist",
    "The handshake succeeded and only SELECT failed: the server has fewer databases, or is a cluster, which has only \
     database 0.",
);
/// HELLO 3 failed.
pub static RESP3_UNSUPPORTED: Code = fail(
    "auth/resp3-unsupported",
    Level::Ready,
    "RESP3 is asked for, but not spoken here",
    "The target asks for RESP3 (-3, or ?protocol=3) and the server does not take HELLO 3: it is older than Redis 6, a \
     proxy stands before it, or HELLO was renamed.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let redis = facts.redis.known()?;
    let dialogue = redis.preferred().ok_or_else(|| Gap::needs("tcp"))?;
    if ping::failure(dialogue).is_some_and(|finding| finding.code.id != ping::RENAMED.id) {
        return Err(Gap::needs("ping"));
    }
    let target = &facts.ask.target;
    let findings = match credentials(dialogue, target) {
        Some(finding) => vec![finding],
        None => permissions(dialogue, target),
    };
    let summary = findings.first().map_or_else(|| healthy_summary(dialogue, target), |finding| said(finding, target));
    Ok(Judgement::pass(summary).finding(findings))
}

fn healthy_summary(dialogue: &Dialogue, target: &Target) -> String {
    let who = match (&target.user, target.password) {
        (Some(user), true) => format!("the credentials of user {user} are accepted"),
        (None, true) => "the password is accepted".to_owned(),
        (_, false) => "no password is needed".to_owned(),
    };
    match dialogue.reply(Command::Info).and_then(Reply::error) {
        Some(error) if error.kind == ErrorKind::NoPermission => format!("{who} (INFO is not permitted)"),
        _ => who,
    }
}

fn said(finding: &Finding, target: &Target) -> String {
    let who = target.user.as_deref().map_or_else(String::new, |user| format!(" of user {user}"));
    match finding.code.id {
        "auth/required" => "Redis requires authentication, and no password was sent".to_owned(),
        "auth/rejected" => format!("Redis rejects the credentials{who}"),
        "auth/db-out-of-range" => format!("database {} does not exist", target.db),
        _ => finding.code.title.to_owned(),
    }
}

/// What is wrong with who we are. Looked at before PING's answer: after a failed AUTH, a PONG proves nothing but a
/// server that would have served without.
fn credentials(dialogue: &Dialogue, target: &Target) -> Option<Finding> {
    if let Some(reply) = dialogue.reply(Command::Auth) {
        if let Reply::Error(error) = reply {
            return Some(rejected(error, target));
        }
        if !matches!(reply, Reply::Status(ok) if ok == "OK") {
            return Some(Finding::new(&AUTH_ERROR, "answer to AUTH", format!("{reply:?}")));
        }
    }
    let ping = dialogue.reply(Command::Ping)?.error()?;
    (ping.kind == ErrorKind::NoAuth).then(|| replied(&REQUIRED, ping))
}

fn rejected(error: &ErrorReply, target: &Target) -> Finding {
    let code = match error.kind {
        ErrorKind::WrongPass => &REJECTED,
        ErrorKind::NoPasswordSet => &NOT_EXPECTED,
        ErrorKind::AuthArity if target.user.is_some() => &USER_UNSUPPORTED,
        _ => &AUTH_ERROR,
    };
    replied(code, error)
}

/// What an accepted user may not do.
fn permissions(dialogue: &Dialogue, target: &Target) -> Vec<Finding> {
    let unchecked =
        error_of(dialogue, Command::AuthAlone, &[ErrorKind::NoPasswordSet]).map(|e| replied(&PASSWORD_UNCHECKED, e));
    let ping = error_of(dialogue, Command::Ping, &[ErrorKind::NoPermission]).map(|e| replied(&PING_DENIED, e));
    let select = error_of(dialogue, Command::Select, &[ErrorKind::NoPermission]).map(|e| replied(&COMMAND_DENIED, e));
    let exists = error_of(dialogue, Command::Exists, &[ErrorKind::NoPermission]).map(|e| replied(&COMMAND_DENIED, e));
    let key = error_of(dialogue, Command::Exists, &[ErrorKind::NoPermissionKey]).map(|e| replied(&KEY_DENIED, e));
    let out_of_range = &[ErrorKind::DbOutOfRange, ErrorKind::SelectInCluster];
    let db = error_of(dialogue, Command::Select, out_of_range).map(|e| replied(&DB_OUT_OF_RANGE, e));
    let refusals = &[ErrorKind::UnknownCommand, ErrorKind::NoProto, ErrorKind::Other, ErrorKind::Arity];
    let hello =
        error_of(dialogue, Command::Hello, refusals).filter(|_| target.resp3).map(|e| replied(&RESP3_UNSUPPORTED, e));
    [unchecked, ping, select, exists.filter(|_| target.key.is_some()), key, db, hello].into_iter().flatten().collect()
}

fn error_of<'a>(dialogue: &'a Dialogue, command: Command, kinds: &[ErrorKind]) -> Option<&'a ErrorReply> {
    dialogue.reply(command)?.error().filter(|error| kinds.contains(&error.kind))
}

fn replied(code: &'static Code, error: &ErrorReply) -> Finding {
    Finding::new(code, "redis replied", error.text.clone())
}
