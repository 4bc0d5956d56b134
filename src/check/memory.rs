//! Is there memory left for the server?

use super::Check;
use crate::model::text::size;
use crate::model::{Code, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::host::instance::{Instance, Known};
use crate::probe::host::memory::{Group, Memory};

/// The check.
pub static CHECK: Check = Check {
    id: "memory",
    asks: "is there memory left for the server, on its machine and in its control group?",
    level: None,
    codes: &[&HOST_EXHAUSTED, &GROUP_EXHAUSTED, &MAXMEMORY_OVER_LIMIT],
    judge,
};

/// `MemAvailable`.
pub static HOST_EXHAUSTED: Code = Code::warn(
    "memory/host-exhausted",
    Level::Reachable,
    "the machine is out of memory",
    "Less than 2 % of the machine's memory is available and there is no swap, or less than 5 % of it is left: a server \
     that forks or grows is slowed down by reclaim, or killed by the kernel.",
);
/// memory.max.
pub static GROUP_EXHAUSTED: Code = Code::warn(
    "memory/group-exhausted",
    Level::Reachable,
    "the server's control group is out of memory",
    "The control group of the server (its container or service) uses 97 % or more of its limit, page cache not counted: \
     the kernel kills a process of it when it asks for more.",
);
/// Redis may take more than there is.
pub static MAXMEMORY_OVER_LIMIT: Code = Code::warn(
    "memory/maxmemory-over-limit",
    Level::Reachable,
    "maxmemory is more than there is",
    "maxmemory is above the memory of the machine, or above the limit of the server's control group: the kernel kills \
     the server before Redis evicts a key or refuses a write.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let memory = facts.server_host()?.memory.known()?;
    let instance = facts.instance();
    let pid = instance.and_then(|instance| Some(instance.process?.pid));
    let groups: Vec<&Group> =
        memory.groups.iter().filter(|group| pid.is_some_and(|pid| group.pids.contains(&pid))).collect();
    let exhausted = groups.iter().find(|group| used(group) * 100.0 >= as_f64(group.limit) * 97.0);
    let findings: Vec<Finding> = [
        machine(memory),
        exhausted.map(|group| Finding::new(&GROUP_EXHAUSTED, place(group), says(group))),
        instance.and_then(|instance| maxmemory(&instance, memory, groups.first().copied())),
    ]
    .into_iter()
    .flatten()
    .collect();
    let well = || well(memory, groups.first().copied());
    let summary = findings.first().map_or_else(well, |finding| finding.code.title.to_owned());
    Ok(Judgement::pass(summary).observing(memory).finding(findings))
}

#[expect(clippy::cast_precision_loss, reason = "only ratios of it count")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

/// What a group uses and cannot give back; nothing where that is not known.
fn used(group: &Group) -> f64 {
    as_f64(group.used.zip(group.cache).map_or(0, |(used, cache)| used.saturating_sub(cache)))
}

fn place(group: &Group) -> String {
    format!("the control group {}", group.path)
}

fn says(group: &Group) -> String {
    let (used, cache) = (group.used.unwrap_or_default(), group.cache.unwrap_or_default());
    format!("uses {} of {}, {} of it page cache", size(used), size(group.limit), size(cache))
}

fn well(memory: &Memory, group: Option<&Group>) -> String {
    let machine = match memory.available {
        Some(available) => format!("{} of {} available", size(available), size(memory.total)),
        None => format!("the machine has {}", size(memory.total)),
    };
    match group.and_then(|group| Some((group.used?, group.limit))) {
        Some((used, limit)) => format!("{machine}; its control group uses {} of {}", size(used), size(limit)),
        None => machine,
    }
}

fn machine(memory: &Memory) -> Option<Finding> {
    let available = memory.available?;
    let swap_is_full = memory.swap_free.saturating_mul(20) < memory.swap_total || memory.swap_total == 0;
    let swap = match memory.swap_total {
        0 => "no swap".to_owned(),
        total => format!("{} of {} swap free", size(memory.swap_free), size(total)),
    };
    let says = || format!("{} of {} available, {swap}", size(available), size(memory.total));
    let exhausted = available.saturating_mul(50) < memory.total && swap_is_full;
    exhausted.then(|| Finding::new(&HOST_EXHAUSTED, "/proc/meminfo", says()))
}

fn maxmemory(instance: &Instance<'_>, memory: &Memory, group: Option<&Group>) -> Option<Finding> {
    let known = instance.setting("maxmemory")?;
    let most = bytes(&known)?;
    let (limit, whose) = match group {
        Some(group) if group.limit < memory.total => (group.limit, place(group) + " allows"),
        _ => (memory.total, "the machine has".to_owned()),
    };
    let says = || format!("maxmemory is {}; {whose} {}", size(most), size(limit));
    (most > limit && limit > 0).then(|| Finding::new(&MAXMEMORY_OVER_LIMIT, known.source.clone(), says()))
}

/// As Redis reads a size (`memtoull`): `100mb`, `1g`; k, m and g are powers of 1000, kb, mb and gb of 1024.
fn bytes(known: &Known) -> Option<u64> {
    let text = known.values.first()?.to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit: u64 = match &text[digits..] {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::healthy_host::{PID, seen};

    const GIB: u64 = 1 << 30;

    #[track_caller]
    fn check(facts: &Facts, codes: &[&str]) -> Judgement {
        let judgement = judge(facts).unwrap();
        let found: Vec<&str> = judgement.findings.iter().map(|finding| finding.code.id).collect();
        assert_eq!(found, codes);
        judgement
    }

    fn with(change: impl FnOnce(&mut Memory)) -> Facts {
        Facts::at_home().host(|host| change(seen(&mut host.memory)))
    }

    fn grouped(pid: u32, used: u64, cache: Option<u64>) -> Facts {
        let path = "/docker/3f".to_owned();
        let group = Group { path, pids: vec![pid], limit: GIB, used: Some(used), cache, oom_kills: Some(0) };
        with(|memory| memory.groups.push(group))
    }

    #[test]
    fn a_well_machine_says_how_well() {
        assert_eq!(check(&Facts::at_home(), &[]).summary, "6.0 GiB of 8.0 GiB available");
        let says = "6.0 GiB of 8.0 GiB available; its control group uses 512 MiB of 1.0 GiB";
        assert_eq!(check(&grouped(PID, GIB / 2, Some(0)), &[]).summary, says);
    }

    #[test]
    fn a_machine_without_memory_or_swap() {
        let short = |swap_free| {
            with(|memory| {
                memory.available = Some(100 << 20);
                memory.swap_free = swap_free;
            })
        };
        check(&short(0), &["memory/host-exhausted"]);
        check(&short(GIB), &[]);
        check(&short(0).host(|host| seen(&mut host.memory).swap_total = 0), &["memory/host-exhausted"]);
        check(&with(|memory| memory.available = None), &[]);
    }

    #[test]
    fn page_cache_is_no_use_of_memory() {
        check(&grouped(PID, GIB, Some(0)), &["memory/group-exhausted"]);
        check(&grouped(PID, GIB, Some(GIB / 10)), &[]);
        check(&grouped(PID, GIB, None), &[]);
        check(&grouped(7, GIB, Some(0)), &[]);
    }

    #[test]
    fn maxmemory_has_to_fit() {
        let told = |value: &str| Facts::at_home().running_with("maxmemory", value);
        check(&told("8589934593"), &["memory/maxmemory-over-limit"]);
        check(&told("8589934592"), &[]);
        check(&grouped(PID, 0, Some(0)).running_with("maxmemory", "2147483648"), &["memory/maxmemory-over-limit"]);
    }

    #[test]
    fn sizes_are_read_as_redis_does() {
        let read = |text: &str| bytes(&Known { values: vec![text.to_owned()], source: String::new(), line: None });
        assert_eq!(read("100"), Some(100));
        assert_eq!(read("2gb"), Some(2 << 30));
        assert_eq!(read("2G"), Some(2_000_000_000));
        assert_eq!(read("10%"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn without_facts_there_is_nothing_to_say() {
        assert!(matches!(judge(&Facts::healthy()), Err(Gap::Skipped(_))));
    }
}
