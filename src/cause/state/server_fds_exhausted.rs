//! The server has no file descriptor left.

use crate::cause::{Case, Cause, is_unheard, redis_host};
use crate::check::ping;
use crate::model::{Confidence, Step, Support};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "server-fds-exhausted",
    title: "the Redis process may be out of file descriptors",
    explain: "\
The kernel accepts the connection, but the process cannot: accept(2) fails with EMFILE, the connection stays in \
the queue, and nothing is answered. Clients that are connected already go on working. Redis cannot even log it, \
because writing to its log takes a descriptor too.

From the client it is one candidate among others for silence. On the Redis host the number of entries in \
/proc/PID/fd reaches 'Max open files' of /proc/PID/limits.

Repair: raise LimitNOFILE of the service (or ulimit -n before the start) and restart; see why so many are open.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::SILENT).filter(|_| !is_unheard(case.facts))?;
    let summary = "a process without free descriptors leaves new connections in its kernel's queue";
    let support = Support::new(Confidence::Possible, &[&ping::SILENT], summary).on(finding);
    Some(support.settled_by(look(case.facts)))
}

fn look(facts: &Facts) -> Step {
    let command = "for p in $(pgrep -x 'redis-server|valkey-server'); do sudo ls /proc/$p/fd | wc -l; \
                   grep 'open files' /proc/$p/limits; done";
    Step::look(redis_host(facts), command, "as many open files as the limit allows: this is it")
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let text = "raise the limit (LimitNOFILE= in the service's unit, --ulimit nofile= for a container) and restart Redis; \
                it should be maxclients + 32 at least";
    vec![look(facts), Step::tell(redis_host(facts), text)]
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
