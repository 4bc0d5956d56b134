//! Redis cannot save and has stopped taking writes.

use crate::cause::{Case, Cause, dialogue, local_cli};
use crate::check::state;
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
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
allocate memory', cured by vm.overcommit_memory=1).

Repair: mend that, then BGSAVE (the AOF is tried again every second by itself); writes are taken again when it succeeds. Switching stop-writes-on-bgsave-error \
off only hides that nothing is saved.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::PERSISTENCE)?;
    let summary = "the last snapshot or append to disk failed, and Redis refuses writes until one succeeds";
    let support = Support::new(Confidence::Certain, &[&state::PERSISTENCE], summary).on(finding);
    Some(support.not("memory-full", "the error is MISCONF, not OOM"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let cli = local_cli(facts);
    let mut steps = vec![
        Step::look(
            Where::RedisHost,
            format!("{cli} CONFIG GET dir; {cli} CONFIG GET logfile; {cli} INFO persistence; df -h"),
            "the folder it writes to, the log that says why it failed, and the room on its disk",
        ),
        Step::tell(
            Where::RedisHost,
            "mend what the log names: make room, make the folder or give it to Redis' user, or set \
             vm.overcommit_memory=1 if fork had no memory",
        ),
    ];
    // The AOF is tried again every second, and writes are taken as soon as that succeeds.
    if !is_aof(facts) {
        let save = format!("{cli} BGSAVE; while {cli} INFO persistence | grep -q in_progress:1; do sleep 1; done");
        steps.push(Step::run(Where::RedisHost, Risk::Safe, "then save once: writes are taken again", save));
    }
    steps
}

fn is_aof(facts: &Facts) -> bool {
    let ping = dialogue(facts).and_then(|dialogue| dialogue.reply(Command::Ping)?.error());
    ping.is_some_and(|error| error.text.contains("AOF"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;

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
}
