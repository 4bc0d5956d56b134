//! Redis cannot save and has stopped taking writes, or will.

use super::{drop_in, process, systemd_unit};
use crate::cause::{Case, Cause, dialogue, local_cli, redis_host};
use crate::check::{disk, state};
use crate::model::text::{shell_quote, size};
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::disk::Disk;
use crate::probe::host::process::Process;
use crate::probe::path::reply::Command;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "persistence-failing",
    title: "Redis cannot save its data and refuses writes",
    explain: "\
Redis answered MISCONF, to PING too: its last snapshot (RDB) or append to the AOF failed, and it refuses writes \
rather than lose them (stop-writes-on-bgsave-error). GET and HELLO still work, so that some health checks say \
all is well.

The text is certain; the reason stands in the server's log: a full disk, a folder it may not write to or that is \
gone ('Failed opening the temp RDB file'), or no memory for the fork ('Can't save in background: fork: Cannot \
allocate memory', cured by vm.overcommit_memory=1). On the server's own machine the folders are looked at, and a \
fault there is told before it stops writes.

A folder that is deleted under a running server does not come back by making one of its name: the server stands in \
the deleted one until it is started again, or told CONFIG SET dir (not permitted by default since Redis 7).

Repair: mend that, then BGSAVE (the AOF is tried again every second by itself); writes are taken again when it succeeds. Switching stop-writes-on-bgsave-error \
off only hides that nothing is saved.",
    infer,
    remedy,
};

/// Faults of the folders that Redis saves to.
const FAULTS: [&Code; 5] =
    [&disk::FULL, &disk::INODES_FULL, &disk::READ_ONLY, &disk::FOLDER_MISSING, &disk::NOT_WRITABLE];

fn infer(case: &Case) -> Option<Support> {
    // A server that does not run saves nothing; its start is another matter.
    let faults = || FAULTS.into_iter().filter(|code| runs(case.facts) && case.raised(code).is_some());
    let misconf = case.raised(&state::PERSISTENCE);
    let fault = faults().next().and_then(|code| case.raised(code));
    let summary = match (misconf, fault) {
        (Some(_), Some(fault)) => format!("the last save failed, and Redis refuses writes: {}", fault.code.title),
        (Some(_), None) => {
            "the last snapshot or append to disk failed, and Redis refuses writes until one succeeds".to_owned()
        }
        (None, Some(fault)) => {
            let then = if goes_on(case.facts) { "goes on without it" } else { "refuses writes then" };
            format!("the next save will fail, and Redis {then}: {}", fault.code.title)
        }
        (None, None) => return None,
    };
    let explains: Vec<&'static Code> = misconf.map(|_| &state::PERSISTENCE).into_iter().chain(faults()).collect();
    let mut support = Support::new(Confidence::Certain, &explains, summary);
    for finding in misconf.into_iter().chain(faults().filter_map(|code| case.raised(code))) {
        support = support.on(finding);
    }
    if let (Some(_), None, Some(says)) = (misconf, fault, starved_fork(case.facts)) {
        support = support.because("/proc/sys/vm/overcommit_memory", says);
    }
    Some(match misconf {
        Some(_) => support.not("memory-full", "the error is MISCONF, not OOM"),
        None => support,
    })
}

/// True if it was told to take writes that it cannot save (`stop-writes-on-bgsave-error no`).
fn goes_on(facts: &Facts) -> bool {
    let instance = facts.instance();
    instance.and_then(|it| it.setting("stop-writes-on-bgsave-error")).is_some_and(|known| known.values == ["no"])
}

fn runs(facts: &Facts) -> bool {
    process(facts).is_some() || dialogue(facts).is_some()
}

/// That the kernel may have refused the memory for a fork: it does not overcommit at all, or the server has more than half
/// of what there is.
fn starved_fork(facts: &Facts) -> Option<String> {
    let host = facts.server_host().ok()?;
    let mode = host.limits.seen()?.overcommit_memory?;
    let used = dialogue(facts)?.info()?.number("used_memory")?;
    let total = host.memory.seen()?.total;
    let starves = mode == 2 || mode == 0 && used > total / 2;
    (starves && !is_aof(facts))
        .then(|| format!("{mode}, with {} of data on a machine of {}: fork(2) may be refused", size(used), size(total)))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some(disk) = faulty(facts) else { return unseen(facts) };
    let mut steps = match (disk.deleted, disk.errno.as_deref(), disk.room) {
        (true, ..) => return deleted(facts, disk),
        (_, Some("ENOENT"), _) => vec![make(facts, disk)],
        (_, _, Some(room)) if room.read_only => read_only(facts, disk),
        (_, _, Some(room)) if room.available == 0 && room.inodes_available > 0 || room.available < 1 << 20 => {
            vec![room_for(facts, disk, "-h", "make room on that file system")]
        }
        (_, _, Some(room)) if room.inodes > 0 && room.inodes_available == 0 => {
            vec![room_for(facts, disk, "-i", "delete files there that nobody needs: there may be no more of them")]
        }
        _ => vec![give(facts, disk)],
    };
    steps.extend(save(facts));
    steps
}

/// The first folder with a fault, as the check sees it.
fn faulty(facts: &Facts) -> Option<&Disk> {
    let instance = facts.instance()?;
    instance
        .disks()
        .ok()?
        .into_iter()
        .filter(|disk| disk.purpose != "log")
        .find(|disk| disk::fault(disk, &instance, true).is_some())
}

/// Without a fault in sight.
fn unseen(facts: &Facts) -> Vec<Step> {
    let (cli, on) = (local_cli(facts), redis_host(facts));
    let look = Step::look(
        on.clone(),
        format!("{cli} CONFIG GET dir; {cli} CONFIG GET logfile; {cli} INFO persistence; df -h"),
        "the folder it writes to, the log that says why it failed, and the room on its disk",
    );
    let mut steps = vec![look];
    steps.push(if starved_fork(facts).is_some() {
        let text =
            "let fork(2) succeed although all memory might be needed twice (write it to /etc/sysctl.d to keep it)";
        Step::run(on, Risk::Safe, text, "sudo sysctl -w vm.overcommit_memory=1")
    } else {
        let text = "mend what the log names: make room, make the folder or give it to Redis' user, or set \
                    vm.overcommit_memory=1 if fork had no memory";
        Step::tell(on, text)
    });
    steps.extend(save(facts));
    steps
}

/// The AOF is tried again every second, and writes are taken as soon as that succeeds.
fn save(facts: &Facts) -> Option<Step> {
    let cli = local_cli(facts);
    let command = format!("{cli} BGSAVE; while {cli} INFO persistence | grep -q in_progress:1; do sleep 1; done");
    let text = "then save once: writes are taken again";
    (!is_aof(facts)).then(|| Step::run(redis_host(facts), Risk::Safe, text, command))
}

fn owner(facts: &Facts) -> String {
    let name = |process: &Process| process.user.clone().unwrap_or_else(|| process.uid.to_string());
    shell_quote(&process(facts).map_or_else(|| "redis".to_owned(), name))
}

/// True for a folder that may be made for Redis or given to it. A server that writes to a system's own folder was told to by
/// mistake, or by an attacker ('CONFIG SET dir /etc').
fn is_for_data(disk: &Disk) -> bool {
    const DATA: [&str; 6] = ["/var/lib/", "/var/db/", "/srv/", "/data", "/mnt/", "/opt/"];
    let deep = disk.path.matches('/').count() >= 2 || disk.path == "/data";
    deep && DATA.iter().any(|folder| disk.path.starts_with(folder))
}

/// What to do about a folder that is none for data.
fn another_folder(facts: &Facts, disk: &Disk) -> Step {
    let text = format!(
        "{} is no folder for data: set 'dir' to one of Redis' own, like /var/lib/redis; if nobody here set it so, somebody \
         else may have ('CONFIG SET dir' is how open servers are broken into)",
        disk.path
    );
    Step::tell(redis_host(facts), text)
}

/// The path from outside of a container or sandbox.
fn path(disk: &Disk) -> String {
    let within = disk.within.map(|pid| format!("/proc/{pid}/root")).unwrap_or_default();
    shell_quote(&format!("{within}{}", disk.path))
}

fn make(facts: &Facts, disk: &Disk) -> Step {
    if !is_for_data(disk) {
        return another_folder(facts, disk);
    }
    let (path, owner) = (path(disk), owner(facts));
    let command = format!("sudo mkdir -p {path} && sudo chown {owner}: {path} && sudo chmod 750 {path}");
    Step::run(redis_host(facts), Risk::Safe, format!("make the folder, and give it to {owner}"), command)
}

fn give(facts: &Facts, disk: &Disk) -> Step {
    if !is_for_data(disk) {
        return another_folder(facts, disk);
    }
    let (path, owner) = (path(disk), owner(facts));
    let command = format!("sudo chown {owner} {path} && sudo chmod u+rwx {path}");
    Step::run(redis_host(facts), Risk::Safe, format!("give the folder to {owner}, as whom the server runs"), command)
}

fn room_for(facts: &Facts, disk: &Disk, flag: &str, text: &str) -> Step {
    let path = path(disk);
    let counts = if flag == "-i" { "--inodes " } else { "" };
    let top = format!("$(df --output=target {path} | tail -n 1)");
    let command = format!("df {flag} {path}; sudo du -x {counts}\"{top}\" 2>/dev/null | sort -n | tail");
    Step::look(redis_host(facts), command, format!("what fills the file system; {text}"))
}

fn read_only(facts: &Facts, disk: &Disk) -> Vec<Step> {
    let (on, folder) = (redis_host(facts), shell_quote(&disk.path));
    let unit = facts.instance().and_then(|instance| systemd_unit(&instance));
    if let (Some(pid), Some(unit)) = (disk.within, unit) {
        let now = format!(
            "sudo nsenter -t {pid} -m mount -o remount,bind,rw \"$(df --output=target {} | tail -n 1)\"",
            path(disk)
        );
        let text = "take the file system of the running server out of the sandbox of its unit";
        let setting = format!("ReadWritePaths={}", disk.path);
        return vec![
            Step::run(on, Risk::Safe, text, now),
            drop_in(facts, unit, &setting, "let the unit write there from its next start"),
        ];
    }
    let look = "sudo dmesg | grep -iE 'remount|i/o error|ext4-fs error|xfs' | tail";
    let command = format!("sudo mount -o remount,rw \"$(df --output=target {folder} | tail -n 1)\"");
    vec![
        Step::look(
            on.clone(),
            look,
            "errors of the disk, after which the kernel lets nobody write: save the data first",
        ),
        Step::run(on, Risk::Safe, "mount it for writing again", command),
    ]
}

/// The server stands in a folder that is gone: nothing it saves can be found again.
fn deleted(facts: &Facts, disk: &Disk) -> Vec<Step> {
    let (cli, on, folder) = (local_cli(facts), redis_host(facts), shell_quote(&disk.path));
    let mut steps = vec![make(facts, disk)];
    let setting = |name: &str| Some(facts.running_settings()?.get(name)?.clone());
    if setting("appendonly").as_deref() != Some("no") {
        let text = "its AOF is gone with the folder: let a replica copy the data (REPLICAOF), or save what matters with \
                    'redis-cli --rdb FILE', before it is started again";
        steps.push(Step::tell(on, text));
        return steps;
    }
    let set = format!("{cli} CONFIG SET dir {folder} | grep -q OK");
    let file =
        shell_quote(&format!("{}/{}", disk.path, setting("dbfilename").unwrap_or_else(|| "dump.rdb".to_owned())));
    let copy = format!("sudo {cli} --rdb {file} && sudo chown {}: {file}", owner(facts));
    let text = "let the server go there (Redis 6 and older), or else save a copy there through a connection (Redis 7 and later)";
    steps.push(Step::run(on.clone(), Risk::Safe, text, format!("{set} || {{ {copy}; }}")));
    steps.extend(save(facts).filter(|_| is_old(facts)));
    if !is_old(facts) {
        let text = "then start it again without a last snapshot, for which it has no folder: 'redis-cli SHUTDOWN NOSAVE' \
                    and start the service; it loads that copy";
        steps.push(Step::tell(on, text));
    }
    steps
}

/// True if CONFIG SET dir is permitted (`enable-protected-configs` came with 7.0).
fn is_old(facts: &Facts) -> bool {
    let version = dialogue(facts).and_then(|dialogue| dialogue.info()?.get("redis_version"));
    version.and_then(|version| version.split('.').next()?.parse::<u32>().ok()).is_some_and(|major| major < 7)
}

fn is_aof(facts: &Facts) -> bool {
    let ping = dialogue(facts).and_then(|dialogue| dialogue.reply(Command::Ping)?.error());
    ping.is_some_and(|error| error.text.contains("AOF"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Level;
    use crate::probe::healthy_host::seen;

    #[test]
    fn the_text_is_certain() {
        let facts = Facts::healthy().erring(Command::Ping, "MISCONF Redis is configured to save RDB snapshots, but …");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        assert!(remedy(&facts).iter().any(|step| matches!(step, Step::Run { .. })));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn the_aof_is_tried_again_by_itself() {
        let facts = Facts::healthy().erring(Command::Ping, "MISCONF Errors writing to the AOF file: No space left");
        assert!(!remedy(&facts).iter().any(|step| matches!(step, Step::Run { .. })));
    }

    fn with(change: impl FnOnce(&mut Disk)) -> Facts {
        Facts::at_home().host(|host| change(&mut seen(&mut host.disks)[0]))
    }

    fn commands(facts: &Facts) -> Vec<String> {
        let command = |step: Step| match step {
            Step::Run { command, .. } => Some(command),
            _ => None,
        };
        remedy(facts).into_iter().filter_map(command).collect()
    }

    #[test]
    fn a_folder_that_is_wrong_is_certain_before_it_stops_writes() {
        let full = with(|disk| disk.room.as_mut().unwrap().available = 0);
        check_cause(&CAUSE, &full, Some(Confidence::Certain));
        let found = crate::cause::tests::diagnose(&full.with(|facts| facts.ask.require = Level::Writable));
        assert_eq!(found.causes[0].support.explains[0].id, "disk/full");
        assert!(found.unexplained.is_empty());
    }

    #[test]
    fn a_server_that_does_not_run_saves_nothing() {
        let missing = with(|disk| (disk.meta, disk.room, disk.errno) = (None, None, Some("ENOENT".to_owned())));
        check_cause(&CAUSE, &missing, Some(Confidence::Certain));
        check_cause(&CAUSE, &missing.not_running(), None);
    }

    #[test]
    fn each_fault_has_its_repair() {
        let missing = with(|disk| (disk.meta, disk.room, disk.errno) = (None, None, Some("ENOENT".to_owned())));
        let make = "sudo mkdir -p /var/lib/redis && sudo chown redis: /var/lib/redis && sudo chmod 750 /var/lib/redis";
        assert_eq!(commands(&missing)[0], make);
        let foreign = with(|disk| disk.meta.as_mut().unwrap().uid = 0);
        assert_eq!(commands(&foreign)[0], "sudo chown redis /var/lib/redis && sudo chmod u+rwx /var/lib/redis");
        let read_only = with(|disk| disk.room.as_mut().unwrap().read_only = true);
        assert!(commands(&read_only)[0].starts_with("sudo mount -o remount,rw "));
        let sandbox = read_only.host(|host| seen(&mut host.disks)[0].within = Some(812));
        assert!(commands(&sandbox)[0].starts_with("sudo nsenter -t 812 -m mount -o remount,bind,rw "));
        assert!(commands(&sandbox)[1].contains("ReadWritePaths=/var/lib/redis"));
        let full = with(|disk| disk.room.as_mut().unwrap().available = 0);
        assert!(
            matches!(&remedy(&full)[0], Step::Look { command, .. } if command.starts_with("df -h /var/lib/redis;"))
        );
        let inodes = with(|disk| disk.room.as_mut().unwrap().inodes_available = 0);
        assert!(
            matches!(&remedy(&inodes)[0], Step::Look { command, .. } if command.starts_with("df -i /var/lib/redis;"))
        );
    }

    #[test]
    fn a_deleted_folder_is_not_mended_by_making_another() {
        let deleted = with(|disk| disk.deleted = true);
        let steps = commands(&deleted);
        assert!(steps[1].contains("--rdb /var/lib/redis/dump.rdb"), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("BGSAVE")));
        let old = deleted.clone().info("redis_version", "6.2.14");
        assert!(commands(&old)[2].contains("BGSAVE"));
        assert_eq!(commands(&deleted.running_with("appendonly", "yes")).len(), 1);
    }

    #[test]
    fn memory_for_the_fork_is_named_where_it_may_lack() {
        let misconf = Facts::at_home().erring(Command::Ping, "MISCONF Redis is configured to save RDB snapshots");
        assert_eq!(starved_fork(&misconf), None);
        let strict = misconf.clone().host(|host| seen(&mut host.limits).overcommit_memory = Some(2));
        assert!(commands(&strict)[0].contains("overcommit_memory=1"));
        assert!(starved_fork(&misconf.info("used_memory", "5000000000")).is_some());
    }
}
