//! A script, function or module command holds the server.

use crate::cause::{Case, Cause, dialogue, local_cli};
use crate::check::state;
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::reply::Command;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "busy-script",
    title: "a script blocks Redis",
    explain: "\
Redis answered BUSY: a Lua script, a function or a module command has been running for longer than busy-reply- \
threshold (lua-time-limit before Redis 7; 5 s by default). Everything else waits until it ends. Before that time \
is over the server is simply silent.

The text is Redis' own, so this is certain. Which script it is shows in SLOWLOG once it has ended.

Repair: SCRIPT KILL (FUNCTION KILL for functions) ends it if it has not written yet; if it has, Redis says \
UNKILLABLE, and only waiting or SHUTDOWN NOSAVE, which loses data, remains. Then mend the script.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::BUSY)?;
    let summary = "a script or function has been running for longer than busy-reply-threshold, and all others wait";
    let support = Support::new(Confidence::Certain, &[&state::BUSY], summary).on(finding);
    Some(support.not("event-loop-blocked", "Redis says itself that it is a script"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let kill = if is_function(facts) { "FUNCTION KILL" } else { "SCRIPT KILL" };
    vec![
        Step::run(
            Where::RedisHost,
            Risk::Safe,
            "end it, if it has not written yet (its caller gets an error)",
            format!("{} {kill}", local_cli(facts)),
        ),
        Step::tell(
            Where::RedisHost,
            "if the answer is UNKILLABLE, it has written: wait, or SHUTDOWN NOSAVE as the last resort, which loses data",
        ),
    ]
}

/// True if Redis names FUNCTION KILL as the way out (7.0 and later).
fn is_function(facts: &Facts) -> bool {
    let ping = dialogue(facts).and_then(|dialogue| dialogue.reply(Command::Ping)?.error());
    ping.is_some_and(|error| error.text.contains("FUNCTION KILL"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    #[test]
    fn the_text_is_certain_and_names_the_way_out() {
        let script = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
        let facts = Facts::healthy().erring(Command::Ping, script);
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        assert!(!is_function(&facts));
        assert!(is_function(&Facts::healthy().erring(Command::Ping, "BUSY … You can only call FUNCTION KILL or …")));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
