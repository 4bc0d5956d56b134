//! Is the server, or its machine, at a limit of files, clients or waiting connections?
//!
//! A setting that is merely not the best (somaxconn 128, overcommit 0) is no finding: most machines run well with it.

use serde::Serialize;

use super::Check;
use crate::model::{Code, Evidence, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::host::instance::{Instance, Known};
use crate::probe::host::limits::Limits;

/// The check.
pub static CHECK: Check = Check {
    id: "limits",
    asks: "is the server, or its machine, at a limit of files, clients or waiting connections?",
    level: None,
    codes: &[&FDS_EXHAUSTED, &FDS_NEARLY_EXHAUSTED, &MAXCLIENTS_REDUCED, &QUEUE_FULL, &FILES_EXHAUSTED],
    judge,
};

/// Files that Redis keeps for itself beside its clients (`CONFIG_MIN_RESERVED_FDS`, server.h).
pub const RESERVED: u64 = 32;
/// `maxclients`, where nobody says anything.
const DEFAULT_MAXCLIENTS: u64 = 10_000;

/// `RLIMIT_NOFILE` is reached.
pub static FDS_EXHAUSTED: Code = Code::fail(
    "limits/fds-exhausted",
    Level::Reachable,
    "the server may open no more files",
    "As many entries stand in /proc/PID/fd of the server as its soft limit of open files allows: accept(2) fails with \
     EMFILE, and new connections wait in the kernel's queue. Clients that are connected go on.",
);
/// `RLIMIT_NOFILE` is almost reached.
pub static FDS_NEARLY_EXHAUSTED: Code = Code::warn(
    "limits/fds-nearly-exhausted",
    Level::Reachable,
    "the server can hardly open more files",
    "The server has more than 95 % of the files open that its soft limit allows; when it is reached, it accepts no more \
     connections, and cannot even log it.",
);
/// Fewer clients than were asked for.
pub static MAXCLIENTS_REDUCED: Code = Code::warn(
    "limits/maxclients-reduced",
    Level::Reachable,
    "the limit of open files has no room for maxclients",
    "Redis needs maxclients + 32 files. Where its limit of open files is lower and it may not raise it, it starts with \
     fewer clients ('maxclients has been reduced to N to compensate for low ulimit'); where the limit was lowered later, \
     connections wait for ever before maxclients is reached.",
);
/// The accept queue.
pub static QUEUE_FULL: Code = Code::fail(
    "limits/queue-full",
    Level::Reachable,
    "the queue of the server's listener is full",
    "More connections wait to be accepted than the listener's backlog: the kernel drops further attempts to connect, \
     which are tried again after 1, 3 and 7 s, or time out.",
);
/// fs.file-max.
pub static FILES_EXHAUSTED: Code = Code::fail(
    "limits/files-exhausted",
    Level::Reachable,
    "the machine may open no more files",
    "As many files are open on the machine as fs.file-max allows (/proc/sys/fs/file-nr): whoever is not root is \
     answered ENFILE, the server at accept(2) too.",
);

/// What machines read of it.
#[derive(Serialize)]
struct Seen<'a> {
    open_files: Option<u64>,
    open_files_limit: Option<u64>,
    queue: Option<u32>,
    backlog: Option<u32>,
    kernel: Option<&'a Limits>,
}

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let host = facts.server_host()?;
    let instance = facts.instance().ok_or_else(|| Gap::skipped("nothing is known of the server's machine"))?;
    let process = instance.process;
    let queue = instance.queue(&facts.ask.target);
    let kernel = host.limits.seen();
    let seen = Seen {
        open_files: process.and_then(|process| process.open_files),
        open_files_limit: process.and_then(|process| process.open_files_limit),
        queue: queue.as_ref().map(|queue| queue.waiting),
        backlog: queue.as_ref().map(|queue| queue.backlog),
        kernel,
    };
    let full = queue.as_ref().filter(|queue| queue.is_full());
    let findings: Vec<Finding> = [
        kernel.and_then(machine),
        descriptors(&instance).or_else(|| maxclients(&instance)),
        full.map(|queue| Finding::new(&QUEUE_FULL, "sock_diag(7)", queue.says())),
    ]
    .into_iter()
    .flatten()
    .collect();
    if findings.is_empty() && process.is_none() && queue.is_none() {
        return Err(Gap::skipped("no process or listener of the server is seen"));
    }
    let summary = findings.first().map_or_else(|| well(&seen), |finding| finding.code.title.to_owned());
    Ok(Judgement::pass(summary).observing(&seen).finding(findings))
}

fn well(seen: &Seen<'_>) -> String {
    let files = match (seen.open_files, seen.open_files_limit) {
        (Some(open), Some(limit)) => Some(format!("{open} of {limit} files open")),
        (None, Some(limit)) => Some(format!("it may open {limit} files")),
        _ => None,
    };
    let queue = seen.queue.zip(seen.backlog).map(|(queue, backlog)| match backlog {
        0 => format!("{queue} connections waiting"),
        _ => format!("{queue} of {backlog} connections waiting"),
    });
    match [files, queue].into_iter().flatten().collect::<Vec<_>>() {
        parts if parts.is_empty() => "no limit is reached".to_owned(),
        parts => parts.join(", "),
    }
}

fn machine(limits: &Limits) -> Option<Finding> {
    let (open, most) = limits.files?;
    let says = || format!("{open} files are open, {most} may be");
    (open >= most).then(|| Finding::new(&FILES_EXHAUSTED, "/proc/sys/fs/file-nr", says()))
}

fn descriptors(instance: &Instance<'_>) -> Option<Finding> {
    let pid = instance.process?.pid;
    let (open, limit) = instance.descriptors()?;
    let code = match () {
        () if open >= limit => &FDS_EXHAUSTED,
        () if open.saturating_mul(100) > limit.saturating_mul(95) => &FDS_NEARLY_EXHAUSTED,
        () => return None,
    };
    let says = format!("pid {pid} has {open} files open and may open {limit}");
    Some(Finding::new(code, format!("/proc/{pid}/fd, /proc/{pid}/limits"), says))
}

/// `maxclients` as it was asked for, and who asked.
pub fn wanted(instance: &Instance<'_>) -> Option<(u64, Known)> {
    let known = instance.from_arguments("maxclients").or_else(|| instance.from_conf("maxclients"));
    let default = || {
        // Without its redis.conf nobody knows what was asked for.
        instance.conf.filter(|conf| conf.parsed.seen().is_some_and(|parsed| parsed.unread.is_empty()))?;
        let values = vec![DEFAULT_MAXCLIENTS.to_string()];
        Some(Known { values, source: "the default of Redis".to_owned(), line: None })
    };
    let known = known.or_else(default)?;
    Some((known.values.first()?.parse().ok()?, known))
}

fn maxclients(instance: &Instance<'_>) -> Option<Finding> {
    let limit = instance.process?.open_files_limit;
    let running = instance.from_server("maxclients").and_then(|known| known.values.first()?.parse::<u64>().ok());
    let fits = |clients: u64| limit.is_none_or(|limit| limit >= clients.saturating_add(RESERVED));
    let reduced = match (wanted(instance), running) {
        // Fewer with room for all: somebody said CONFIG SET.
        (Some((wanted, known)), Some(running)) if running < wanted && (limit.is_none() || !fits(wanted)) => {
            let says = format!("maxclients is {running}, and {wanted} are asked for by {}", known.source);
            Evidence::new("CONFIG GET", says)
        }
        (_, Some(running)) if !fits(running) => Evidence::new("CONFIG GET", format!("maxclients is {running}")),
        _ => return None,
    };
    let limit = limit.map(|limit| {
        let pid = instance.process.map_or(0, |process| process.pid);
        Evidence::new(
            format!("/proc/{pid}/limits"),
            format!("pid {pid} may open {limit} files, {RESERVED} of them for itself"),
        )
    });
    Some(Finding { code: &MAXCLIENTS_REDUCED, evidence: [Some(reduced), limit].into_iter().flatten().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::healthy_host::seen;

    #[track_caller]
    fn check(facts: &Facts, codes: &[&str]) -> Judgement {
        let judgement = judge(facts).unwrap();
        let found: Vec<&str> = judgement.findings.iter().map(|finding| finding.code.id).collect();
        assert_eq!(found, codes);
        judgement
    }

    fn limited(limit: u64, open: u64) -> Facts {
        Facts::at_home().process(|process| {
            process.open_files_limit = Some(limit);
            process.open_files = Some(open);
        })
    }

    #[test]
    fn a_well_server_says_how_well() {
        let judgement = check(&Facts::at_home(), &[]);
        assert_eq!(judgement.summary, "13 of 65535 files open, 0 of 511 connections waiting");
        let hidden = Facts::at_home().process(|process| process.open_files = None);
        let says = "it may open 65535 files, 0 of 511 connections waiting";
        assert_eq!(check(&hidden, &[]).summary, says);
    }

    #[test]
    fn tuning_is_no_finding() {
        let facts = Facts::at_home().host(|host| {
            let limits = seen(&mut host.limits);
            limits.somaxconn = Some(128);
            limits.listen_overflows = Some((9, 9));
            for listener in &mut seen(&mut host.sockets).tcp {
                listener.backlog = 128;
                listener.queue = 100;
            }
        });
        check(&facts, &[]);
    }

    #[test]
    fn descriptors_run_out() {
        check(&limited(20_000, 20_000), &["limits/fds-exhausted"]);
        check(&limited(20_000, 19_001), &["limits/fds-nearly-exhausted"]);
        check(&limited(20_000, 19_000), &[]);
        // One finding for one limit, although maxclients has no room either.
        check(&limited(20, 20), &["limits/fds-exhausted"]);
    }

    #[test]
    fn maxclients_needs_room() {
        check(&limited(10_032, 13), &[]);
        check(&limited(10_031, 13), &["limits/maxclients-reduced"]);
        check(&limited(1_024, 13).running_with("maxclients", "992"), &["limits/maxclients-reduced"]);
        let asked = |line: &str| limited(1_024, 13).running_with("maxclients", "992").conf(line);
        check(&asked("maxclients 992"), &[]);
        let judgement = check(&asked("maxclients 993"), &["limits/maxclients-reduced"]);
        let says = "maxclients is 992, and 993 are asked for by /etc/redis/redis.conf:2300";
        assert_eq!(judgement.findings[0].evidence[0].says, says);
    }

    #[test]
    fn fewer_clients_by_choice_are_no_finding() {
        check(&Facts::at_home().running_with("maxclients", "100"), &[]);
        let unknown = limited(1_024, 13).running_with("maxclients", "992").host(|host| host.confs.clear());
        check(&unknown, &[]);
    }

    #[test]
    fn a_queue_overflows() {
        let queue = |waiting| Facts::at_home().host(|host| seen(&mut host.sockets).tcp[0].queue = waiting);
        check(&queue(512), &["limits/queue-full"]);
        check(&queue(511), &[]);
    }

    #[test]
    fn the_machine_runs_out_of_files() {
        let files = |open| Facts::at_home().host(|host| seen(&mut host.limits).files = Some((open, 1_000)));
        check(&files(1_000), &["limits/files-exhausted"]);
        check(&files(999), &[]);
    }

    #[test]
    fn without_facts_there_is_nothing_to_say() {
        assert!(matches!(judge(&Facts::healthy()), Err(Gap::Skipped(_))));
        assert!(matches!(judge(&Facts::at_home().not_running()), Err(Gap::Skipped(_))));
    }
}
