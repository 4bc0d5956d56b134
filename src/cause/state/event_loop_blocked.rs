//! Something keeps the event loop busy.

use crate::cause::{Case, Cause, is_unheard, local_cli};
use crate::check::ping;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "event-loop-blocked",
    title: "something keeps Redis busy",
    explain: "\
Redis runs commands one after the other. One that takes seconds (KEYS, a big DEL, SORT or Lua script, DEBUG \
SLEEP), a fork of a huge heap, swapping, transparent huge pages or a throttled CPU keep all clients waiting. The \
connection is quick, because the kernel accepts it; the reply is late, or does not come in time at all.

Late by a second or more after a quick handshake it is likely: lost packets cost fractions of that. Silent until \
the deadline it is one candidate among others.

Repair: SLOWLOG GET and LATENCY LATEST name what it was, once the server answers again. Use SCAN for KEYS and \
UNLINK for DEL, and look at latest_fork_usec, swap and CPU throttling.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let (code, confidence) = [(&ping::SLOW, Confidence::Likely), (&ping::SILENT, Confidence::Possible)]
        .into_iter()
        .find(|(code, _)| case.raised(code).is_some())?;
    let finding = case.raised(code).filter(|_| !is_unheard(case.facts))?;
    let summary = match confidence {
        Confidence::Possible => "a command that takes longer than our patience keeps all others waiting",
        _ => "the kernel accepted the connection quickly, and the server answered late",
    };
    let support = Support::new(confidence, &[code], summary).on(finding);
    Some(support.settled_by(look(case.facts)))
}

fn look(facts: &Facts) -> Step {
    let cli = local_cli(facts);
    let command = format!("{cli} SLOWLOG GET 5; {cli} LATENCY LATEST; {cli} INFO stats | grep fork");
    Step::look(
        Where::RedisHost,
        command,
        "the commands that took longest, as soon as it answers again; and the last fork",
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    vec![
        look(facts),
        Step::tell(
            Where::RedisHost,
            "mend what that names: SCAN instead of KEYS, UNLINK instead of DEL, smaller scripts; and see that the machine \
             does not swap or throttle it",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::redis::End;

    #[test]
    fn late_is_likely_silent_only_possible() {
        let late = Facts::healthy().with(|facts| {
            let Observed::Seen(redis) = &mut facts.redis else { return };
            redis.dialogues[0].first.first_byte_ms = Some(1_800.0);
        });
        check_cause(&CAUSE, &late, Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Silent), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn a_kernel_that_took_nothing_is_not_the_process() {
        let facts = Facts::healthy().speechless(End::Silent).unheard(31);
        check_cause(&CAUSE, &facts, None);
        check_cause(&CAUSE, &facts.unheard(0), Some(Confidence::Possible));
    }
}
