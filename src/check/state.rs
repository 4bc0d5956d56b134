//! Is the server in a state to serve, as far as it says so itself?

use super::{Check, ping};
use crate::model::{BlockerKind, Code, Evidence, Finding, Gap, Judgement, Level, Severity, Target};
use crate::probe::Facts;
use crate::probe::host::log::Kind;
pub use crate::probe::path::keyed::is_of_upstream;
use crate::probe::path::redis::{Dialogue, End};
use crate::probe::path::reply::{Command, ErrorKind, ErrorReply, Info, Reply};
use crate::probe::path::sizes::Try;
use crate::probe::path::tcp::Outcome;

/// The check.
pub static CHECK: Check = Check {
    id: "state",
    asks: "is the server in a state to serve, as far as it says so itself?",
    level: Some(Level::Ready),
    codes: &[
        &LOADING,
        &BUSY,
        &PERSISTENCE,
        &MASTER_DOWN,
        &CLUSTER_DOWN,
        &SENTINEL,
        &PAUSED,
        &READ_ONLY,
        &MEMORY_FULL,
        &NOT_ENOUGH_REPLICAS,
        &INFO_SILENT,
        &NODES_UNREACHABLE,
        &UPSTREAM,
        &REFUSED,
        &LINK_DOWN,
    ],
    judge,
};

/// `-LOADING`.
pub static LOADING: Code = Code::fail(
    "state/loading",
    Level::Ready,
    "Redis is loading its data",
    "Redis answered LOADING: it reads its data set from disk, or a replica receives it from its master, and serves no \
     commands until that is done.",
);
/// `-BUSY`.
pub static BUSY: Code = Code::fail(
    "state/busy",
    Level::Ready,
    "Redis is busy running a script",
    "Redis answered BUSY: a Lua script, a function or a module command runs longer than busy-reply-threshold \
     (lua-time-limit), and nothing else is served.",
);
/// `-MISCONF`.
pub static PERSISTENCE: Code = Code::fail(
    "state/persistence",
    Level::Ready,
    "Redis cannot save its data and refuses writes",
    "Redis answered MISCONF, to PING too: the last snapshot or append to the AOF failed, and it stops writes until one \
     succeeds (stop-writes-on-bgsave-error). Reads work.",
);
/// `-MASTERDOWN`.
pub static MASTER_DOWN: Code = Code::fail(
    "state/master-down",
    Level::Ready,
    "the replica has lost its master and serves no stale data",
    "Redis answered MASTERDOWN: it is a replica whose link to the master is down, and replica-serve-stale-data is 'no'.",
);
/// `-CLUSTERDOWN`.
pub static CLUSTER_DOWN: Code = Code::fail(
    "state/cluster-down",
    Level::Ready,
    "the cluster is down",
    "Redis answered CLUSTERDOWN to a command with a key: the cluster is not formed, has lost nodes, or does not cover the \
     key's slot. PING is answered all the same.",
);
/// A Sentinel.
pub static SENTINEL: Code = Code::fail(
    "state/sentinel",
    Level::Ready,
    "this is a Sentinel, not a data server",
    "What answers is a Redis Sentinel: it answers PING, and knows no data commands. Ask it for the master's address.",
);
/// CLIENT PAUSE of writes, as Valkey 9 shows it in INFO, or as a command shows it that is held back with them.
pub static PAUSED: Code = Code {
    id: "state/paused",
    severity: Severity::Fail,
    breaks: Level::Writable,
    beyond: Severity::Warn,
    title: "clients are paused",
    explain: "CLIENT PAUSE or a failover in progress holds writes back: INFO shows paused_actions (Valkey 9) or a failover that waits for its replica, or PFCOUNT, \
              which a pause of writes holds back with them, was not answered while INFO was. Reads work.",
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
/// min-replicas-to-write.
pub static NOT_ENOUGH_REPLICAS: Code = Code {
    id: "state/not-enough-replicas",
    severity: Severity::Fail,
    breaks: Level::Writable,
    beyond: Severity::Warn,
    title: "too few replicas for writes",
    explain: "INFO shows min_slaves_good_slaves:0, which it does only where min-replicas-to-write asks for one or more: \
              writes are answered with NOREPLICAS until enough replicas are connected and keep up.",
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
/// Small answers come, a large one does not.
pub static INFO_SILENT: Code = Code::fail(
    "state/info-silent",
    Level::Ready,
    "small answers come, a large one does not",
    "PING was answered, and INFO, whose answer takes several packets, with silence: no error, no end of the connection. What \
     an application reads is as large. A server where INFO is renamed or denied answers with an error; a proxy that swallows \
     commands it does not know looks the same.",
);

/// A cluster behind a tunnel.
pub static NODES_UNREACHABLE: Code = Code::warn(
    "state/nodes-unreachable",
    Level::Ready,
    "the cluster's nodes cannot be reached from here",
    "A node of a cluster answers at a loopback address, though it is no server of this machine: a tunnel or a published port \
     leads to it. CLUSTER NODES names addresses that cannot be reached from here, and clients are sent to them.",
);

/// A proxy's words for nobody behind it.
pub static UPSTREAM: Code = Code::fail(
    "state/upstream",
    Level::Ready,
    "a proxy answers that it does not reach a Redis behind it",
    "PING was answered, as some proxies do by themselves, and another command with an error that no Redis has: twemproxy passes \
     on what connecting met (Connection refused), for one of its servers or for all; Envoy says 'upstream failure' or 'no upstream \
     host', predixy 'no server connection avaliable'.",
);
/// A key is answered with what no Redis says, behind a pong.
pub static REFUSED: Code = Code::warn(
    "state/refused",
    Level::Ready,
    "PING is answered, and a command with a key is refused",
    "What answers PING shows no Redis, neither by INFO nor by HELLO, and EXISTS with a key was answered with an error that has no \
     meaning of its own: a proxy may pass nothing on, or forbid the command; Envoy says 'finished with 1 error(s)' where it reaches \
     nobody, or has no route for such a key. What the application asks may be refused as well: --exists with a key of its own tells.",
);
/// A replica without a link to its master.
pub static LINK_DOWN: Code = Code::warn(
    "state/link-down",
    Level::Ready,
    "the replica has no link to its master",
    "INFO shows role:slave with master_link_status:down for a minute at least, and no synchronisation under way; where the link never \
     was up, the log has had its failures for as long, or many times a second. What is written to the master does not arrive here.",
);
/// A link that is down for less may come back by itself: 'repl-timeout' is a minute.
const LINK_DOWN_S: u64 = 60;

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
        STATEFUL.iter().find_map(|command| said_by(*command, dialogue)).into_iter().collect();
    findings.extend(sentinel(dialogue));
    let written = facts.ask.require == Level::Writable;
    if findings.is_empty() {
        match dialogue.info() {
            Some(info) => findings.extend(shown_by_info(facts, info, dialogue)),
            None if is_info_lost(dialogue) && is_redis(facts, dialogue) => {
                // After a pong, less is waited for.
                if !dialogue.first.answers_ping() {
                    facts.ask.waited_out(dialogue.first.elapsed_ms)?;
                }
                findings.push(Finding::new(&INFO_SILENT, "read(2)", "PING was answered, INFO with silence"));
            }
            None => {}
        }
    }
    let beyond = upstream(dialogue).or_else(|| refused(dialogue));
    if written && findings.is_empty() && beyond.is_none() {
        if dialogue.info().is_none() {
            return Err(cannot_see(dialogue));
        }
        may_write(dialogue, &facts.ask.target)?;
    }
    findings.extend(nodes_unreachable(facts));
    findings.extend(beyond);
    // A replica that is only read from is as it should be.
    findings.extend(dialogue.info().filter(|_| written).and_then(read_only));
    let summary = findings.first().map_or_else(|| healthy_summary(dialogue), |finding| finding.code.title.to_owned());
    Ok(Judgement::pass(summary).finding(findings))
}

/// Whether the user may write can be told for the default user only, and only without ACL rules: asking would write.
fn may_write(dialogue: &Dialogue, target: &Target) -> Result<(), Gap> {
    let named = target.user.as_deref().filter(|user| target.password && *user != "default");
    let denied = dialogue.reply(Command::PfCount).and_then(Reply::error);
    let denied = denied.filter(|error| error.kind == ErrorKind::NoPermission);
    match (named, denied) {
        (None, None) => Ok(()),
        (Some(user), _) => {
            let says = format!("whether user {user} may write cannot be seen without writing");
            Err(Gap::hidden(BlockerKind::Permission, says))
        }
        (None, Some(error)) => {
            let says = format!("whether writes are permitted cannot be seen: PFCOUNT was answered '{}'", error.text);
            Err(Gap::hidden(BlockerKind::Permission, says))
        }
    }
}

fn cannot_see(dialogue: &Dialogue) -> Gap {
    let says = match dialogue.reply(Command::Info).and_then(Reply::error) {
        Some(error) => format!("whether writes are served cannot be seen: INFO was answered '{}'", error.text),
        None => "whether writes are served cannot be seen: INFO was not answered".to_owned(),
    };
    Gap::hidden(BlockerKind::Permission, says)
}

/// INFO turned down for want of the right to it, as only a Redis does.
fn denied_info(dialogue: &Dialogue) -> Option<&ErrorReply> {
    dialogue.reply(Command::Info)?.error().filter(|error| error.kind == ErrorKind::NoPermission)
}

fn healthy_summary(dialogue: &Dialogue) -> String {
    let Some(info) = dialogue.info() else {
        return match dialogue.reply(Command::Ping) {
            Some(Reply::Status(_)) if !ping::is_proven(dialogue) && denied_info(dialogue).is_none() => {
                "PING is answered; whether it serves other commands cannot be seen".to_owned()
            }
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

/// The commands whose errors tell the state. Redis 5 to 6.2 answer PING in states in which SELECT and EXISTS already say
/// MASTERDOWN (measured on 5.0.10, 6.0.9 and 6.2.14), and only a command with a key meets CLUSTERDOWN.
const STATEFUL: &[Command] = &[Command::Ping, Command::Select, Command::Exists, Command::PfCount];

fn said_by(command: Command, dialogue: &Dialogue) -> Option<Finding> {
    let error = dialogue.reply_beyond(command)?.error()?;
    let code = match error.kind {
        ErrorKind::Loading => &LOADING,
        ErrorKind::Busy => &BUSY,
        ErrorKind::MisConf => &PERSISTENCE,
        ErrorKind::MasterDown => &MASTER_DOWN,
        ErrorKind::ClusterDown => &CLUSTER_DOWN,
        _ => return None,
    };
    Some(Finding::new(code, "redis replied", error.text.clone()))
}

/// What a proxy says of its way, in the place of an answer.
fn upstream(dialogue: &Dialogue) -> Option<Finding> {
    let error = dialogue.upstream()?;
    let says = match dialogue.share(error) {
        (asked, met) if 0 < met && met < asked => format!("{} to {met} of {asked} keys", error.text),
        _ => error.text.clone(),
    };
    Some(Finding::new(&UPSTREAM, "a proxy replied", says))
}

/// What may be a proxy's word, and has no other code.
fn refused(dialogue: &Dialogue) -> Option<Finding> {
    Some(Finding::new(&REFUSED, "answer to EXISTS", dialogue.refused()?.text.clone()))
}

/// True if INFO was asked for and nothing came, where PING was answered, by whichever connection.
fn is_info_lost(dialogue: &Dialogue) -> bool {
    let first = &dialogue.first;
    let asked = first.exchanges.iter().any(|exchange| exchange.command == Command::Info && exchange.reply.is_none());
    // A proxy that swallows HELLO answers INFO in its place.
    let shifted = first.reply(Command::Hello).is_some_and(|reply| !matches!(reply, Reply::Hello(_) | Reply::Error(_)));
    let pongs = matches!(dialogue.reply(Command::Ping), Some(Reply::Status(_)));
    asked && first.end == End::Silent && pongs && !shifted
}

/// True unless it is a proxy that knows few commands and leaves the rest: HELLO was answered, or a large question that was
/// asked by itself was not answered either.
fn is_redis(facts: &Facts, dialogue: &Dialogue) -> bool {
    let unanswered = |one: &Try| one.small_ms.is_some() && one.large_ms.is_none();
    let hangs = || facts.sizes.seen().is_none_or(|sizes| sizes.tries.iter().any(unanswered));
    matches!(dialogue.reply(Command::Hello), Some(Reply::Hello(_))) || hangs()
}

/// The nodes of a cluster that is reached through a tunnel, as far as they are out of reach.
fn nodes_unreachable(facts: &Facts) -> Option<Finding> {
    let nodes = facts.nodes.seen()?;
    // Where some are reached, the others are down.
    let lost = !nodes.attempts.iter().any(|attempt| attempt.outcome == Outcome::Connected);
    let attempts = nodes.attempts.iter().filter(|_| lost);
    let evidence: Vec<Evidence> = attempts.map(|attempt| Evidence::new("connect(2)", attempt.says())).collect();
    // A server of this machine announces what it likes, and is no tunnel.
    let own = facts.instance().is_some_and(|instance| instance.process.is_some());
    (!evidence.is_empty() && !own).then_some(Finding { code: &NODES_UNREACHABLE, evidence })
}

fn sentinel(dialogue: &Dialogue) -> Option<Finding> {
    if let Some(Reply::Hello(hello)) = dialogue.reply(Command::Hello)
        && hello.mode == "sentinel"
    {
        return Some(Finding::new(&SENTINEL, "HELLO", "mode: sentinel"));
    }
    // Valkey 9 names the field server_mode.
    let mut fields = ["redis_mode", "server_mode"].into_iter();
    let field = fields.find(|field| dialogue.info().and_then(|info| info.get(field)) == Some("sentinel"))?;
    Some(Finding::new(&SENTINEL, "INFO", format!("{field}:sentinel")))
}

fn shown_by_info(facts: &Facts, info: &Info, dialogue: &Dialogue) -> Vec<Finding> {
    let findings = [loading(info), paused(info, dialogue), memory_full(info), replicas(info), link_down(facts, info)];
    findings.into_iter().flatten().collect()
}

/// For users that may not PING.
fn loading(info: &Info) -> Option<Finding> {
    let is_loading = info.get("loading") == Some("1") && info.get("async_loading") != Some("1");
    is_loading.then(|| Finding::new(&LOADING, "INFO", "loading:1"))
}

fn paused(info: &Info, dialogue: &Dialogue) -> Option<Finding> {
    if let Some(actions) = info.get("paused_actions").filter(|actions| *actions != "none") {
        let reason = info.get("paused_reason").unwrap_or("unknown");
        return Some(Finding::new(&PAUSED, "INFO", format!("paused_actions:{actions}, paused_reason:{reason}")));
    }
    if info.get("master_failover_state") == Some("waiting-for-sync") {
        return Some(Finding::new(&PAUSED, "INFO", "master_failover_state:waiting-for-sync"));
    }
    let telling = dialogue.telling();
    let asked = telling.exchanges.iter().any(|exchange| exchange.command == Command::PfCount);
    (asked && telling.end == End::Silent && telling.reply(Command::PfCount).is_none())
        .then(|| Finding::new(&PAUSED, "PFCOUNT", "not answered, while INFO before it was"))
}

fn read_only(info: &Info) -> Option<Finding> {
    // slave_read_only is part of INFO since 2.8; a replica made writable says 0.
    let replica = info.get("role") == Some("slave") && info.get("slave_read_only") != Some("0");
    replica.then(|| {
        let master = info.get("master_host").unwrap_or("?");
        Finding::new(&READ_ONLY, "INFO", format!("role:slave, slave_read_only:1, master_host:{master}"))
    })
}

/// INFO shows the field only where min-replicas-to-write asks for at least one.
fn replicas(info: &Info) -> Option<Finding> {
    let good = info.number("min_slaves_good_slaves")?;
    (good == 0).then(|| Finding::new(&NOT_ENOUGH_REPLICAS, "INFO", "min_slaves_good_slaves:0"))
}

/// A link that never was has -1 seconds, as has one to a new master, which may have other things to do before it sends its
/// data (a BGSAVE of its own, 'repl-diskless-sync-delay'): then the log tells how long it fails.
fn link_down(facts: &Facts, info: &Info) -> Option<Finding> {
    let is_down = info.get("role") == Some("slave") && info.get("master_link_status") == Some("down");
    let is_idle = info.get("master_sync_in_progress") != Some("1");
    let since = info.number("master_link_down_since_seconds");
    // Who begins many times a second is seen at work, and gets no further.
    let is_storm = || since.is_none() && logged(facts, Kind::LinkStorm).is_some_and(|last| last <= LINK_DOWN_S);
    let how_long = match (since, failing_for(facts)) {
        _ if is_storm() => "failing many times a second".to_owned(),
        _ if !is_idle => return None,
        (Some(since), _) if since >= LINK_DOWN_S => format!("{since} seconds"),
        (None, Some(age)) if age >= LINK_DOWN_S => format!("failing for {age} seconds"),
        _ => return None,
    };
    let says = format!("role:slave, master_link_status:down ({how_long})");
    is_down.then(|| Finding::new(&LINK_DOWN, "INFO", says))
}

/// For how long the log has nothing but failures of the link, the last of them a moment ago.
fn failing_for(facts: &Facts) -> Option<u64> {
    let lasts = || logged(facts, Kind::Link).is_some_and(|last| last <= LINK_DOWN_S);
    logged(facts, Kind::LinkBegan).filter(|_| lasts())
}

/// How long ago, in seconds, its log had this for the last time.
fn logged(facts: &Facts, kind: Kind) -> Option<u64> {
    let events = &facts.server_host().ok()?.log.seen()?.events;
    events.iter().rev().find(|event| event.kind == kind).map(|event| event.age_s)
}

fn memory_full(info: &Info) -> Option<Finding> {
    let (used, most) = (info.number("used_memory")?, info.number("maxmemory")?);
    let policy = info.get("maxmemory_policy")?;
    // As `getMaxmemoryState` does: the buffers of replicas and of the AOF do not count.
    let counted = used.saturating_sub(info.number("mem_not_counted_for_evict").unwrap_or(0));
    (most > 0 && counted > most && policy == "noeviction").then(|| {
        Finding::new(&MEMORY_FULL, "INFO", format!("used_memory:{used}, maxmemory:{most}, maxmemory_policy:{policy}"))
    })
}

#[cfg(test)]
mod tests;
