//! The server, its control group or its machine has no memory left, or will have none before Redis notices.

use crate::cause::{Case, Cause, local_cli, redis_host, repair};
use crate::check::memory;
use crate::model::text::size;
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::memory::Group;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "memory-exhausted",
    title: "the kernel may kill Redis for want of memory",
    explain: "\
Redis has a limit of its own, maxmemory, at which it evicts keys or refuses writes. Where the machine, or the \
control group of its container or service, has less, the kernel ends the server first: clients see a reset, then \
refused connections until it is started again, and LOADING after that. A machine without free memory also swaps \
or reclaims, and everything is slow.

/proc/meminfo, the files of the control group (memory.max, memory.current; page cache does not count) and CONFIG \
GET maxmemory show it, so the shortage is certain; whether the kernel will kill, nobody knows.

Repair: set maxmemory to three quarters of what there is, with a policy that evicts where it is a cache; or give \
the machine, or the group, more memory.",
    infer,
    remedy,
};

const CODES: [&Code; 3] = [&memory::GROUP_EXHAUSTED, &memory::HOST_EXHAUSTED, &memory::MAXMEMORY_OVER_LIMIT];

fn infer(case: &Case) -> Option<Support> {
    let raised: Vec<&'static Code> = CODES.into_iter().filter(|code| case.raised(code).is_some()).collect();
    let summary = match raised.first()?.id {
        "memory/group-exhausted" => "the kernel kills a process of the server's control group when it asks for more",
        "memory/host-exhausted" => "the machine swaps or kills when anybody asks for more",
        _ => "Redis takes more than there is before it evicts a key or refuses a write",
    };
    let mut support = Support::new(Confidence::Certain, &raised, summary);
    for finding in raised.iter().filter_map(|code| case.raised(code)) {
        support = support.on(finding);
    }
    let kills = group(case.facts).and_then(|group| group.oom_kills).filter(|kills| *kills > 0);
    if let Some(kills) = kills {
        support =
            support.because("the control group", format!("the kernel has killed {kills} of its processes already"));
    }
    Some(support.not("memory-full", "Redis' own limit is not what is reached"))
}

/// The tightest control group of the server.
fn group(facts: &Facts) -> Option<&Group> {
    let instance = facts.instance()?;
    let pid = instance.process?.pid;
    instance.host.memory.seen()?.groups.iter().find(|group| group.pids.contains(&pid))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let (cli, on) = (local_cli(facts), redis_host(facts));
    let host = facts.server_host().ok();
    let total = host.and_then(|host| Some(host.memory.seen()?.total)).unwrap_or_default();
    let limit = group(facts).map_or(total, |group| group.limit.min(total));
    let most = limit / 4 * 3;
    let used = super::super::dialogue(facts).and_then(|dialogue| dialogue.info()?.number("used_memory"));
    let look = Step::look(
        on.clone(),
        format!("free -m; {cli} INFO memory; ps -eo rss,pid,comm --sort=-rss | head"),
        "how much there is, and who has it",
    );
    let mut steps = vec![look];
    if used.is_some_and(|used| used < most) {
        let text = format!("let Redis evict keys or refuse writes at {}, three quarters of what there is", size(most));
        let command = repair::config_set(facts, &format!("maxmemory {most}"));
        steps.push(Step::run(on.clone(), Risk::Safe, text, command));
    }
    let line = facts.instance().and_then(|instance| instance.from_conf("maxmemory")?.line);
    steps.push(match line {
        Some((file, number, text)) => {
            let to = format!("maxmemory {most}");
            let why = "keep it for the next start".to_owned();
            Step::Edit { text: why, file, line: Some(number), from: text, to, on, risk: Risk::Safe }
        }
        None => Step::tell(
            on,
            format!(
                "keep it with 'maxmemory {most}' in redis.conf; or give the machine, or the control group, more memory"
            ),
        ),
    });
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::{PID, seen};

    const GIB: u64 = 1 << 30;

    fn grouped(used: u64) -> Facts {
        let path = "/docker/3f".to_owned();
        let group = Group { path, pids: vec![PID], limit: GIB, used: Some(used), cache: Some(0), oom_kills: Some(2) };
        Facts::at_home().host(|host| seen(&mut host.memory).groups.push(group))
    }

    #[test]
    fn a_shortage_that_is_seen_is_certain() {
        check_cause(&CAUSE, &grouped(GIB), Some(Confidence::Certain));
        check_cause(&CAUSE, &grouped(GIB / 2), None);
        check_cause(&CAUSE, &Facts::at_home().running_with("maxmemory", "9000000000"), Some(Confidence::Certain));
        let short = Facts::at_home().host(|host| {
            let memory = seen(&mut host.memory);
            (memory.available, memory.swap_free) = (Some(1 << 20), 0);
        });
        check_cause(&CAUSE, &short, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn the_repair_leaves_a_quarter() {
        let command = |facts: &Facts| {
            remedy(facts).into_iter().find_map(|step| match step {
                Step::Run { command, .. } => Some(command),
                _ => None,
            })
        };
        assert!(
            command(&grouped(GIB))
                .is_some_and(|it| it.starts_with("redis-cli -p 6379 CONFIG SET maxmemory 805306368 |"))
        );
        assert_eq!(command(&grouped(GIB).info("used_memory", "900000000")), None);
        let steps = remedy(&grouped(GIB).conf("maxmemory 2gb"));
        assert!(matches!(&steps[2], Step::Edit { line: Some(2300), to, .. } if to == "maxmemory 805306368"));
    }
}
