//! Something keeps the event loop busy.

use super::{doing, process, queue, stat_of};
use crate::cause::{Case, Cause, dialogue, is_unheard, local_cli, redis_host};
use crate::check::{limits, ping, state, tcp};
use crate::model::{Code, Confidence, Step, Support};
use crate::probe::Facts;
use crate::probe::host::process::State;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "event-loop-blocked",
    title: "something keeps Redis busy",
    explain: "\
Redis runs commands one after the other. One that takes seconds (KEYS, a big DEL, SORT or Lua script, DEBUG \
SLEEP), a fork of a huge heap, swapping, transparent huge pages or a throttled CPU keep all clients waiting. The \
connection is quick, because the kernel accepts it; the reply is late, or does not come in time at all.

Late by a second or more after a quick handshake it is likely, where the kernel says that nothing had to be sent again: \
else packets may have been lost. Silent until \
the deadline it is one candidate among others, and likely where the server's machine shows a process that is neither \
stopped nor out of descriptors, with connections in its listener's queue.

Repair: SLOWLOG GET and LATENCY LATEST name what it was, once the server answers again. Use SCAN for KEYS and \
UNLINK for DEL, and look at latest_fork_usec, swap and CPU throttling.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    if cannot(case.facts) { None } else { on_its_machine(case).or_else(|| from_afar(case)) }
}

/// True if the process does not accept for a reason that has a name of its own.
fn cannot(facts: &Facts) -> bool {
    let runs = |state| matches!(state, State::Alive | State::InKernel);
    let out = || facts.instance().and_then(|instance| instance.is_out_of_descriptors()) == Some(true);
    process(facts).is_some_and(|process| !runs(process.state)) || out()
}

/// What a blocked event loop shows as, beside a late answer.
const SYMPTOMS: [&Code; 4] = [&ping::SILENT, &tcp::TIMEOUT, &tcp::QUEUE_FULL, &limits::QUEUE_FULL];

/// By the server's machine, where that tells anything of silence.
fn on_its_machine(case: &Case) -> Option<Support> {
    let process = process(case.facts)?;
    let raised: Vec<&'static Code> = SYMPTOMS.into_iter().filter(|code| case.raised(code).is_some()).collect();
    let finding = case.raised(raised.first()?)?;
    let out_of_descriptors = case.facts.instance()?.is_out_of_descriptors();
    // Connections that wait say that it accepts none; without them it may have gone on in the meantime.
    let queue = queue(case.facts).filter(|queue| queue.waiting > 0)?;
    let confidence = match (process.state, out_of_descriptors) {
        (State::Alive, Some(false)) => Confidence::Likely,
        _ => Confidence::Possible,
    };
    let summary =
        format!("pid {} runs, and neither accepts nor answers: one command keeps all others waiting", process.pid);
    let mut support = Support::new(confidence, &raised, summary)
        .on(finding)
        .because("sock_diag(7)", queue.says())
        .because(stat_of(process), doing(process))
        .settled_by(look(case.facts));
    if process.state == State::Alive {
        support = support.not("process-stopped", doing(process));
    }
    if let Some((open, limit)) = case.facts.instance()?.descriptors() {
        support = support.not("server-fds-exhausted", format!("it has {open} files open and may open {limit}"));
    }
    Some(support)
}

fn from_afar(case: &Case) -> Option<Support> {
    let codes: [(&'static Code, Confidence); 3] = [
        (&ping::SLOW, Confidence::Likely),
        (&ping::SILENT, Confidence::Possible),
        (&state::INFO_SILENT, Confidence::Possible),
    ];
    let (code, confidence) = codes.into_iter().find(|(code, _)| case.raised(code).is_some())?;
    let finding = case.raised(code).filter(|_| !is_unheard(case.facts) && !case.is_a_strangers())?;
    let confidence = if code.id == ping::SLOW.id && !arrived_at_once(case) { Confidence::Possible } else { confidence };
    let summary = match confidence {
        Confidence::Possible if code.id == ping::SLOW.id => "a command that takes long keeps all others waiting",
        Confidence::Possible => "a command that takes longer than our patience keeps all others waiting",
        _ => "the kernel accepted the connection quickly, and the server answered late",
    };
    let support = Support::new(confidence, &[code], summary).on(finding);
    Some(support.settled_by(look(case.facts)))
}

/// True if nothing of ours had to be sent again: then it was not the way that made the answer late.
fn arrived_at_once(case: &Case) -> bool {
    let ip = case.facts.tcp.seen().and_then(|tcp| tcp.connected()?.ip);
    let Some(dialogue) = dialogue(case.facts) else { return false };
    ip.is_none_or(|ip| case.is_own(ip)) || dialogue.telling().sent_again == Some(0)
}

fn look(facts: &Facts) -> Step {
    let cli = local_cli(facts);
    let command = format!("{cli} SLOWLOG GET 5; {cli} LATENCY LATEST; {cli} INFO stats | grep fork");
    Step::look(
        redis_host(facts),
        command,
        "the commands that took longest, as soon as it answers again; and the last fork",
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    vec![
        look(facts),
        Step::tell(
            redis_host(facts),
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
    use crate::probe::healthy_host::seen;
    use crate::probe::path::redis::End;

    #[test]
    fn late_is_likely_silent_only_possible() {
        let late = Facts::healthy().with(|facts| {
            let Observed::Seen(redis) = &mut facts.redis else { return };
            redis.dialogues[0].first.first_byte_ms = Some(1_800.0);
        });
        check_cause(&CAUSE, &late, Some(Confidence::Possible));
        let counted = |count| {
            late.clone().with(|facts| {
                let Observed::Seen(redis) = &mut facts.redis else { return };
                redis.dialogues[0].first.sent_again = Some(count);
            })
        };
        check_cause(&CAUSE, &counted(0), Some(Confidence::Likely));
        check_cause(&CAUSE, &counted(3), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Silent), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn a_kernel_that_took_nothing_is_not_the_process() {
        let facts = Facts::healthy().speechless(End::Silent).unheard(31);
        check_cause(&CAUSE, &facts, None);
        check_cause(&CAUSE, &facts.unheard(0), Some(Confidence::Possible));
    }

    fn waiting(facts: Facts) -> Facts {
        facts.host(|host| seen(&mut host.sockets).tcp[0].queue = 2)
    }

    #[test]
    fn on_its_own_machine_a_living_process_is_likely_busy() {
        let silent = Facts::at_home().speechless(End::Silent);
        check_cause(&CAUSE, &silent, Some(Confidence::Possible));
        let silent = waiting(silent);
        check_cause(&CAUSE, &silent, Some(Confidence::Likely));
        let state = |state| silent.clone().process(|process| process.state = state);
        check_cause(&CAUSE, &state(State::InKernel), Some(Confidence::Possible));
        check_cause(&CAUSE, &state(State::Stopped), None);
        check_cause(&CAUSE, &silent.clone().process(|process| process.open_files = None), Some(Confidence::Possible));
        check_cause(&CAUSE, &silent.clone().process(|process| process.open_files_limit = Some(13)), None);
        check_cause(&CAUSE, &waiting(Facts::at_home()), None);
    }
}
