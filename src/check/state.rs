//! Is the server in a state to serve, as far as it says so itself?

use super::{Check, ping};
use crate::model::{BlockerKind, Code, Finding, Gap, Judgement, Level, Severity};
use crate::probe::Facts;
use crate::probe::path::redis::Dialogue;
use crate::probe::path::reply::{Command, ErrorKind, Info, Reply};

/// The check.
pub static CHECK: Check = Check {
    id: "state",
    asks: "is the server in a state to serve, as far as it says so itself?",
    level: Level::Ready,
    codes: &[&LOADING, &BUSY, &PERSISTENCE, &MASTER_DOWN, &SENTINEL, &PAUSED, &READ_ONLY, &MEMORY_FULL],
    judge,
};

const fn fail(id: &'static str, title: &'static str, explain: &'static str) -> Code {
    Code { id, severity: Severity::Fail, breaks: Level::Ready, beyond: Severity::Info, title, explain }
}

/// `-LOADING`.
pub static LOADING: Code = fail(
    "state/loading",
    "Redis is loading its data",
    "Redis answered LOADING: it reads its data set from disk, or a replica receives it from its master, and serves no \
     commands until that is done.",
);
/// `-BUSY`.
pub static BUSY: Code = fail(
    "state/busy",
    "Redis is busy running a script",
    "Redis answered BUSY: a Lua script, a function or a module command runs longer than busy-reply-threshold \
     (lua-time-limit), and nothing else is served.",
);
/// `-MISCONF`.
pub static PERSISTENCE: Code = fail(
    "state/persistence",
    "Redis cannot save its data and refuses writes",
    "Redis answered MISCONF, to PING too: the last snapshot or append to the AOF failed, and it stops writes until one \
     succeeds (stop-writes-on-bgsave-error). Reads work.",
);
/// `-MASTERDOWN`.
pub static MASTER_DOWN: Code = fail(
    "state/master-down",
    "the replica has lost its master and serves no stale data",
    "Redis answered MASTERDOWN: it is a replica whose link to the master is down, and replica-serve-stale-data is 'no'.",
);
/// A Sentinel.
pub static SENTINEL: Code = fail(
    "state/sentinel",
    "this is a Sentinel, not a data server",
    "What answers is a Redis Sentinel: it answers PING, and knows no data commands. Ask it for the master's address.",
);
/// CLIENT PAUSE, as INFO shows it (Redis 7.4 and later).
pub static PAUSED: Code = Code {
    id: "state/paused",
    severity: Severity::Fail,
    breaks: Level::Writable,
    beyond: Severity::Warn,
    title: "clients are paused",
    explain: "INFO shows paused_actions: CLIENT PAUSE or a failover in progress holds commands back.",
};
/// A replica.
pub static READ_ONLY: Code = Code {
    id: "state/read-only",
    severity: Severity::Fail,
    breaks: Level::Writable,
    beyond: Severity::Info,
    title: "this is a read-only replica",
    explain: "INFO shows role:slave with slave_read_only:1: it serves reads and answers writes with READONLY.",
};
/// maxmemory with noeviction.
pub static MEMORY_FULL: Code = Code {
    id: "state/memory-full",
    severity: Severity::Fail,
    breaks: Level::Writable,
    beyond: Severity::Warn,
    title: "Redis is out of memory for writes",
    explain: "INFO shows used_memory above maxmemory with the policy noeviction: reads work, writes are answered with OOM.",
};

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let redis = facts.redis.known()?;
    let dialogue = redis.preferred().ok_or_else(|| Gap::needs("tcp"))?;
    if ping::failure(dialogue).is_some() {
        return Err(Gap::needs("ping"));
    }
    let ping = dialogue.reply(Command::Ping);
    let error = ping.and_then(Reply::error);
    if error.is_some_and(|error| error.kind == ErrorKind::NoAuth) {
        return Err(Gap::needs("auth"));
    }
    let mut findings: Vec<Finding> =
        error.and_then(|error| said_by_ping(error.kind, &error.text)).into_iter().collect();
    findings.extend(sentinel(dialogue));
    match info(dialogue) {
        Some(info) => findings.extend(shown_by_info(info)),
        None if facts.ask.require == Level::Writable && findings.is_empty() => return Err(cannot_see(dialogue)),
        None => {}
    }
    let summary = findings.first().map_or_else(|| healthy_summary(dialogue), |finding| finding.code.title.to_owned());
    Ok(Judgement::pass(summary).finding(findings))
}

/// What INFO shows, if it was answered.
pub fn info(dialogue: &Dialogue) -> Option<&Info> {
    match dialogue.reply(Command::Info)? {
        Reply::Info(info) => Some(info),
        _ => None,
    }
}

fn cannot_see(dialogue: &Dialogue) -> Gap {
    let says = match dialogue.reply(Command::Info).and_then(Reply::error) {
        Some(error) => format!("whether writes are served cannot be seen: INFO was answered '{}'", error.text),
        None => "whether writes are served cannot be seen: INFO was not answered".to_owned(),
    };
    Gap::hidden(BlockerKind::Permission, says)
}

fn healthy_summary(dialogue: &Dialogue) -> String {
    let Some(info) = info(dialogue) else {
        return match dialogue.reply(Command::Ping) {
            Some(Reply::Status(_)) => "it serves commands; INFO is not to be had".to_owned(),
            _ => "it cannot be seen with this user whether it serves".to_owned(),
        };
    };
    let clients = match (info.number("connected_clients"), info.number("maxclients")) {
        (Some(clients), Some(most)) => format!(", {clients} of {most} clients"),
        (Some(clients), None) => format!(", {clients} clients"),
        _ => String::new(),
    };
    match (info.get("role"), info.get("master_host"), info.get("master_port")) {
        (Some("slave"), Some(host), Some(port)) => format!("a replica of {host}:{port}{clients}"),
        (Some(role), ..) => format!("{role}{clients}"),
        _ => format!("it serves commands{clients}"),
    }
}

fn said_by_ping(kind: ErrorKind, text: &str) -> Option<Finding> {
    let code = match kind {
        ErrorKind::Loading => &LOADING,
        ErrorKind::Busy => &BUSY,
        ErrorKind::MisConf => &PERSISTENCE,
        ErrorKind::MasterDown => &MASTER_DOWN,
        _ => return None,
    };
    Some(Finding::new(code, "redis replied", text))
}

fn sentinel(dialogue: &Dialogue) -> Option<Finding> {
    if let Some(Reply::Hello(hello)) = dialogue.reply(Command::Hello)
        && hello.mode == "sentinel"
    {
        return Some(Finding::new(&SENTINEL, "HELLO", "mode: sentinel"));
    }
    let mode = info(dialogue)?.get("redis_mode")?;
    (mode == "sentinel").then(|| Finding::new(&SENTINEL, "INFO", "redis_mode:sentinel"))
}

fn shown_by_info(info: &Info) -> Vec<Finding> {
    let paused = info.get("paused_actions").filter(|actions| *actions != "none");
    let paused = paused.map(|actions| Finding::new(&PAUSED, "INFO", format!("paused_actions:{actions}")));
    [paused, read_only(info), memory_full(info)].into_iter().flatten().collect()
}

fn read_only(info: &Info) -> Option<Finding> {
    // slave_read_only is part of INFO since 2.8; a replica made writable says 0.
    let replica = info.get("role") == Some("slave") && info.get("slave_read_only") != Some("0");
    replica.then(|| {
        let master = info.get("master_host").unwrap_or("?");
        Finding::new(&READ_ONLY, "INFO", format!("role:slave, slave_read_only:1, master_host:{master}"))
    })
}

fn memory_full(info: &Info) -> Option<Finding> {
    let (used, most) = (info.number("used_memory")?, info.number("maxmemory")?);
    let policy = info.get("maxmemory_policy")?;
    (most > 0 && used > most && policy == "noeviction").then(|| {
        Finding::new(&MEMORY_FULL, "INFO", format!("used_memory:{used}, maxmemory:{most}, maxmemory_policy:{policy}"))
    })
}
