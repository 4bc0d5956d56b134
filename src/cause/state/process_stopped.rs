//! The server process is stopped or hangs.

use crate::cause::{Case, Cause, is_unheard, redis_host};
use crate::check::{ping, tcp};
use crate::model::{Confidence, Risk, Step, Support};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "process-stopped",
    title: "the Redis process may be stopped",
    explain: "\
The connection is accepted and nothing is ever answered. The kernel accepts connections on behalf of the \
process, so a process that is stopped (SIGSTOP, a debugger, a paused container) or hangs in the kernel (state D: \
a dead disk or NFS) looks alive until somebody asks it something. When its accept queue is full too, even the \
connection times out.

From the client it cannot be told from a blocked event loop or a server without free descriptors. Where the peer's \
kernel did not even acknowledge our bytes it is none of these: they were lost, or its queue is full. On the Redis host ps shows the state: T stopped, D in the kernel; and 'ss -ltn' a growing Recv-Q at \
the listener.

Repair: continue it (kill -CONT PID, docker unpause NAME), or mend what it hangs in and restart it.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let code = [&ping::SILENT, &tcp::TIMEOUT].into_iter().find(|code| case.raised(code).is_some())?;
    let finding = case.raised(code)?;
    if is_unheard(case.facts) {
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
}
