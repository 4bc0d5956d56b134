//! The server has no file descriptor left.

use super::{doing, drop_in, process, queue, stat_of, systemd_unit};
use crate::cause::{Case, Cause, is_unheard, redis_host};
use crate::check::{limits, ping, tcp};
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::process::State;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "server-fds-exhausted",
    title: "the Redis process is out of file descriptors",
    explain: "\
The kernel accepts the connection, but the process cannot: accept(2) fails with EMFILE, the connection stays in \
the queue, and nothing is answered. Clients that are connected already go on working. Redis cannot even log it, \
because writing to its log takes a descriptor too.

From the client it is one candidate among others for silence. On the Redis host the number of entries in \
/proc/PID/fd reaches 'Max open files' of /proc/PID/limits, and then it is certain. The limit of the whole machine \
(fs.file-max, shown by /proc/sys/fs/file-nr) has the same effect.

Repair: prlimit raises the limit of the running process, without a restart. Then raise LimitNOFILE of the service (or ulimit -n before the start) and restart; see why so many are open.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    of_process(case).or_else(|| of_machine(case)).or_else(|| nearly(case)).or_else(|| candidate(case))
}

/// What an exhausted limit of descriptors shows as.
const SYMPTOMS: [&Code; 5] =
    [&ping::SILENT, &tcp::TIMEOUT, &tcp::QUEUE_FULL, &limits::QUEUE_FULL, &limits::MAXCLIENTS_REDUCED];

fn of_process(case: &Case) -> Option<Support> {
    let finding = case.raised(&limits::FDS_EXHAUSTED)?;
    let process = process(case.facts)?;
    let (open, limit) = case.facts.instance()?.descriptors()?;
    let summary =
        format!("pid {} has {open} files open and may open {limit}: accept(2) fails with EMFILE", process.pid);
    let support = Support::new(Confidence::Certain, &[&limits::FDS_EXHAUSTED], summary).on(finding);
    Some(with_silence(case, support))
}

/// A stopped process is silent for that reason; its limit is a second fault.
fn with_silence(case: &Case, mut support: Support) -> Support {
    let Some(process) = process(case.facts).filter(|process| process.state == State::Alive) else { return support };
    support.explains.extend(SYMPTOMS);
    if let Some(queue) = queue(case.facts).filter(|queue| queue.waiting > 0) {
        support = support.because("sock_diag(7)", queue.says());
    }
    support.because(stat_of(process), doing(process)).not("process-stopped", doing(process))
}

fn of_machine(case: &Case) -> Option<Support> {
    let finding = case.raised(&limits::FILES_EXHAUSTED)?;
    let summary = "the whole machine has as many files open as fs.file-max allows: accept(2) fails with ENFILE";
    let support = Support::new(Confidence::Certain, &[&limits::FILES_EXHAUSTED], summary).on(finding);
    Some(with_silence(case, support))
}

fn nearly(case: &Case) -> Option<Support> {
    let finding = case.raised(&limits::FDS_NEARLY_EXHAUSTED)?;
    let summary = "when the limit is reached, new connections are neither accepted nor refused";
    Some(Support::new(Confidence::Certain, &[&limits::FDS_NEARLY_EXHAUSTED], summary).on(finding))
}

fn candidate(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::SILENT).filter(|_| !is_unheard(case.facts) && !case.is_a_strangers())?;
    if case.facts.instance().and_then(|instance| instance.is_out_of_descriptors()) == Some(false) {
        return None;
    }
    let summary = "a process without free descriptors leaves new connections in its kernel's queue";
    let support = Support::new(Confidence::Possible, &[&ping::SILENT], summary).on(finding);
    Some(support.settled_by(look(case.facts)))
}

fn look(facts: &Facts) -> Step {
    let command = "for p in $(pgrep -x 'redis-server|valkey-server'); do sudo ls /proc/$p/fd | wc -l; \
                   grep 'open files' /proc/$p/limits; done";
    Step::look(redis_host(facts), command, "as many open files as the limit allows: this is it")
}

/// A limit that has room for the default of maxclients.
const ENOUGH: u64 = 10_000 + limits::RESERVED;

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let machine = facts.server_host().ok().and_then(|host| host.limits.seen()?.files);
    if let Some((_, most)) = machine.filter(|(open, most)| open >= most) {
        let (text, most) = ("let the machine open twice as many files, until it is booted", most.saturating_mul(2));
        let after = "see what holds so many ('sudo lsof | cut -d\\  -f1 | sort | uniq -c | sort -n'); if that is right, set \
                     fs.file-max in /etc/sysctl.d";
        let command = format!("sudo sysctl -w fs.file-max={most}");
        return vec![Step::run(on.clone(), Risk::Safe, text, command), Step::tell(on, after)];
    }
    let known = facts.instance().and_then(|instance| Some((instance, instance.process?)));
    let Some((instance, process)) = known else {
        let text = "raise the limit (LimitNOFILE= in the service's unit, --ulimit nofile= for a container) and restart \
                    Redis; it should be maxclients + 32 at least";
        return vec![look(facts), Step::tell(on, text)];
    };
    let limit = process.open_files_limit.unwrap_or_default().saturating_mul(2).max(ENOUGH);
    let mut steps = vec![raise(facts, process.pid, limit)];
    steps.push(match systemd_unit(&instance) {
        Some(unit) => drop_in(facts, unit, &format!("LimitNOFILE={limit}"), "keep that for its next start"),
        None => Step::tell(
            on,
            format!(
                "keep that where Redis is started: 'ulimit -n {limit}', or --ulimit nofile={limit} for a container"
            ),
        ),
    });
    steps
}

/// Raises the limit of a running process.
pub fn raise(facts: &Facts, pid: u32, limit: u64) -> Step {
    let text = format!("let the running server open {limit} files: it goes on at once");
    // The hard limit only where it is in the way: raising it takes a right that root lacks in some containers.
    let prlimit = format!("sudo prlimit --pid {pid} --nofile={limit}");
    Step::run(redis_host(facts), Risk::Safe, text, format!("{prlimit}: || {prlimit}:{limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;
    use crate::probe::path::redis::End;

    #[test]
    fn silence_is_only_a_candidate() {
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Silent), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Closed), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn a_kernel_that_took_nothing_is_not_the_process() {
        let facts = Facts::healthy().speechless(End::Silent).unheard(31);
        check_cause(&CAUSE, &facts, None);
        check_cause(&CAUSE, &facts.unheard(0), Some(Confidence::Possible));
    }

    fn out(facts: Facts) -> Facts {
        facts.process(|process| process.open_files_limit = process.open_files)
    }

    #[test]
    fn on_its_own_machine_the_descriptors_tell() {
        let silent = Facts::at_home().speechless(End::Silent);
        check_cause(&CAUSE, &out(silent.clone()), Some(Confidence::Certain));
        check_cause(&CAUSE, &silent, None);
        check_cause(&CAUSE, &silent.clone().process(|process| process.open_files = None), Some(Confidence::Possible));
        let files = silent.host(|host| seen(&mut host.limits).files = Some((9, 9)));
        check_cause(&CAUSE, &files, Some(Confidence::Certain));
        let nearly = Facts::at_home().process(|process| process.open_files_limit = Some(13));
        check_cause(&CAUSE, &nearly.process(|process| process.open_files = Some(12)), None);
    }

    #[test]
    fn the_limit_is_a_second_fault_of_a_stopped_process() {
        let facts = out(Facts::at_home().speechless(End::Silent));
        let explains = |facts: &Facts| {
            let judged = crate::check::judge(facts);
            let support = infer(&Case { facts, judged: &judged }).unwrap();
            support.explains.iter().any(|code| code.id == "ping/silent")
        };
        assert!(explains(&facts));
        assert!(!explains(&facts.process(|process| process.state = State::Stopped)));
    }

    #[test]
    fn the_repair_names_process_and_unit() {
        let steps = remedy(&out(Facts::at_home().speechless(End::Silent)));
        let command = |at: usize| match &steps[at] {
            Step::Run { command, .. } => command.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(command(0), "sudo prlimit --pid 812 --nofile=10032: || sudo prlimit --pid 812 --nofile=10032:10032");
        assert_eq!(
            command(1),
            "sudo mkdir -p /etc/systemd/system/redis-server.service.d && printf '[Service]\\nLimitNOFILE=10032\\n' | sudo \
             tee -a /etc/systemd/system/redis-server.service.d/redisdoc.conf >/dev/null && sudo systemctl daemon-reload"
        );
    }
}
