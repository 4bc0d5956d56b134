//! The server process is stopped or hangs.

use super::{doing, process, queue, stat_of};
use crate::cause::{Case, Cause, is_lost_on_the_way, is_unheard, redis_host};
use crate::check::{self, limits, ping, tcp};
use crate::model::{BlockerKind, Code, Confidence, Observed, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::process::{Process, State};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "process-stopped",
    title: "the Redis process is stopped or hangs",
    explain: "\
The connection is accepted and nothing is ever answered. The kernel accepts connections on behalf of the \
process, so a process that is stopped (SIGSTOP, a debugger, a paused container) or hangs in the kernel (state D: \
a dead disk or NFS) looks alive until somebody asks it something. When its accept queue is full too, even the \
connection times out.

From the client it cannot be told from a blocked event loop or a server without free descriptors. Where the peer's \
kernel did not even acknowledge our bytes it is none of these: they were lost, or its queue is full. On the Redis host ps shows the state: T stopped, D in the kernel; and 'ss -ltn' a growing Recv-Q at \
the listener. Seen there, it is certain; a process in state D hangs at this moment, and likely has been.

Repair: continue it (kill -CONT PID, docker unpause NAME), or mend what it hangs in and restart it.",
    infer,
    remedy,
};

/// What a stopped process shows as. Its kernel takes connections, then bytes, until the queues are full.
const SYMPTOMS: [&Code; 5] =
    [&ping::SILENT, &tcp::TIMEOUT, &tcp::QUEUE_FULL, &limits::QUEUE_FULL, &check::process::STOPPED];

fn infer(case: &Case) -> Option<Support> {
    let Some(process) = process(case.facts) else { return from_afar(case) };
    match process.state {
        State::Stopped | State::Traced => seen(case, process, Confidence::Certain),
        State::InKernel => seen(case, process, Confidence::Likely),
        // A paused container is frozen, which is no state of its processes (cgroups(7), freezer).
        State::Alive | State::Other if process.container.is_some() => from_afar(case),
        State::Alive | State::Other | State::Zombie => None,
    }
}

fn seen(case: &Case, process: &Process, confidence: Confidence) -> Option<Support> {
    let raised: Vec<&'static Code> = SYMPTOMS.into_iter().filter(|code| case.raised(code).is_some()).collect();
    let finding = case.raised(raised.first()?)?;
    let summary = format!("{}: its kernel accepts connections, and it answers none", doing(process));
    let mut support = Support::new(confidence, &raised, summary).on(finding).because(stat_of(process), doing(process));
    if let Some(queue) = queue(case.facts).filter(|queue| queue.waiting > 0) {
        support = support.because("sock_diag(7)", queue.says());
    }
    if let (State::InKernel, Some(says)) = (process.state, hanging(case.facts)) {
        support = support.because("statvfs(3)", says);
    }
    if confidence == Confidence::Certain {
        return Some(support.not("event-loop-blocked", format!("{}: it runs no command", doing(process))));
    }
    Some(support.settled_by(look(case.facts)))
}

/// The folder that did not answer either.
fn hanging(facts: &Facts) -> Option<String> {
    match &facts.server_host().ok()?.disks {
        Observed::Hidden(blocker) if blocker.kind == BlockerKind::Deadline => Some(blocker.says.clone()),
        _ => None,
    }
}

fn from_afar(case: &Case) -> Option<Support> {
    let code = [&ping::SILENT, &tcp::TIMEOUT].into_iter().find(|code| case.raised(code).is_some())?;
    let finding = case.raised(code)?;
    let lost = is_unheard(case.facts) || code.id == tcp::TIMEOUT.id && is_lost_on_the_way(case.facts);
    if lost || case.is_a_strangers() {
        return None;
    }
    let summary = "a stopped process leaves its kernel to accept connections, and answers none";
    let support = Support::new(Confidence::Possible, &[code], summary).on(finding);
    Some(support.settled_by(look(case.facts)))
}

fn look(facts: &Facts) -> Step {
    let command = "ps -o pid,stat,wchan:20,args -C redis-server,valkey-server";
    Step::look(redis_host(facts), command, "STAT T: stopped; D: hangs in the kernel; S or R: it is something else")
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    if let Some(process) = process(facts) {
        match process.state {
            State::Stopped => return go_on(facts, process),
            State::Traced => return detach(facts, process),
            _ => {}
        }
    }
    let text = "if it is stopped, let it continue (the process that ps shows in state T)";
    let command = "sudo kill -CONT $(ps -o stat=,pid= -C redis-server,valkey-server | awk '$1 ~ /^T/ {print $2}')";
    vec![
        look(facts),
        Step::run(on.clone(), Risk::Safe, text, command),
        Step::tell(
            on,
            "if it is a paused container: docker unpause NAME; in state D, mend the disk or mount it waits for",
        ),
    ]
}

fn go_on(facts: &Facts, process: &Process) -> Vec<Step> {
    let on = redis_host(facts);
    let text = "let it continue: what waits in its queue is served then";
    let why = "see who stopped it: SIGSTOP, or Ctrl-Z in the shell that started it";
    vec![Step::run(on.clone(), Risk::Safe, text, format!("sudo kill -CONT {}", process.pid)), Step::tell(on, why)]
}

fn detach(facts: &Facts, process: &Process) -> Vec<Step> {
    let on = redis_host(facts);
    let command = format!("ps -o pid,user,args -p $(awk '/^TracerPid/ {{print $2}}' /proc/{}/status)", process.pid);
    let text = "let that debugger go on ('continue') or leave ('detach'): Redis continues with it";
    vec![Step::look(on.clone(), command, "the debugger that holds it"), Step::tell(on, text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
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

    #[test]
    fn on_its_own_machine_the_state_tells() {
        let silent = Facts::at_home().speechless(End::Silent);
        let state = |state| silent.clone().process(|process| process.state = state);
        check_cause(&CAUSE, &state(State::Stopped), Some(Confidence::Certain));
        check_cause(&CAUSE, &state(State::Traced), Some(Confidence::Certain));
        check_cause(&CAUSE, &state(State::InKernel), Some(Confidence::Likely));
        check_cause(&CAUSE, &silent, None);
        let frozen = silent.clone().process(|process| process.container = Some("3f2a".to_owned()));
        check_cause(&CAUSE, &frozen, Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::at_home().process(|process| process.state = State::Stopped), None);
    }

    #[test]
    fn the_repair_names_the_process() {
        let stopped = Facts::at_home().process(|process| process.state = State::Stopped);
        let Step::Run { command, .. } = &remedy(&stopped)[0] else { panic!("a command") };
        assert_eq!(command, "sudo kill -CONT 812");
        let traced = stopped.process(|process| process.state = State::Traced);
        assert!(matches!(&remedy(&traced)[0], Step::Look { command, .. } if command.contains("/proc/812/status")));
    }
}
