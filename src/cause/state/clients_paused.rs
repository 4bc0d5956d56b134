//! CLIENT PAUSE or a failover holds commands back.

use crate::cause::{Case, Cause, dialogue, is_unheard, local_cli};
use crate::check::{ping, state};
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::redis::Dialogue;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "clients-paused",
    title: "clients are paused",
    explain: "\
Somebody called CLIENT PAUSE, or a failover is in progress. Paused for ALL, every command waits: the connection \
is accepted and nothing is answered. Paused for WRITE, PING is fast and only writes wait.

A server paused for ALL still answers a malformed command at once, because Redis checks the number of arguments \
before it looks at the pause; a stopped or blocked one does not. That is what redisdoc tries, so that it is \
likely when the malformed command is answered and PING is not; a proxy that checks commands itself before a \
silent server looks the same. Redis 6.0 and older stop reading when they are paused, and are merely silent. A pause \
of writes shows in INFO on Valkey 9 (paused_actions), and a failover on all (master_failover_state): then it is \
certain. Elsewhere redisdoc sends PFCOUNT, which reads, but is held back with writes.

Repair: it ends by itself when the time of the pause is over. CLIENT UNPAUSE (Redis 6.2) ends a pause of writes \
at once; under a pause of ALL it waits like every other command.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    if let Some(finding) = case.raised(&ping::HELD_BACK) {
        let summary = "the server reads and parses commands, but defers them: CLIENT PAUSE ALL, or a failover";
        let support = Support::new(Confidence::Likely, &[&ping::HELD_BACK], summary).on(finding);
        let tells =
            "the time of a pause is over by itself: an answer comes then; none ever: it is a proxy or the server";
        return Some(
            support
                .not("process-stopped", "a malformed command was answered at once")
                .not("event-loop-blocked", "a malformed command was answered at once")
                .settled_by(Step::look(Where::RedisHost, format!("{} PING", local_cli(case.facts)), tells)),
        );
    }
    if let Some(finding) = case.raised(&ping::SILENT).filter(|_| !is_unheard(case.facts) && !case.is_a_strangers()) {
        let summary = "Redis 6.0 and older stop reading when clients are paused";
        let support = Support::new(Confidence::Possible, &[&ping::SILENT], summary).on(finding);
        let tells = "an answer after some time, and later ones at once: it was a pause (or a command that took long)";
        let command = format!("time {} PING", local_cli(case.facts));
        return Some(support.settled_by(Step::look(Where::RedisHost, command, tells)));
    }
    let finding = case.raised(&state::PAUSED)?;
    let by_info = finding.evidence.iter().any(|evidence| evidence.source == "INFO");
    let confidence = if by_info { Confidence::Certain } else { Confidence::Likely };
    let support = Support::new(confidence, &[&state::PAUSED], "reads are answered, and writes wait").on(finding);
    Some(if by_info {
        support
    } else {
        let command = format!("{} INFO commandstats | grep -i pause", local_cli(case.facts));
        support.settled_by(Step::look(Where::RedisHost, command, "calls of CLIENT PAUSE since the start (Redis 7)"))
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let wait = Step::tell(
        Where::RedisHost,
        "wait: a pause ends when its time is over, a failover when it is done; find who calls CLIENT PAUSE or FAILOVER",
    );
    let writes_only = dialogue(facts).is_some_and(|dialogue| ping::failure(dialogue).is_none());
    if !writes_only {
        return vec![wait];
    }
    let (what, text) = if is_failover(facts) {
        ("FAILOVER ABORT", "give the failover up, if its replica does not catch up")
    } else {
        ("CLIENT UNPAUSE", "end the pause, if nobody needs it")
    };
    vec![wait, Step::run(Where::RedisHost, Risk::Safe, text, format!("{} {what}", local_cli(facts)))]
}

fn is_failover(facts: &Facts) -> bool {
    let info = dialogue(facts).and_then(Dialogue::info);
    info.is_some_and(|info| info.get("master_failover_state") == Some("waiting-for-sync"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::redis::{End, Exchange};
    use crate::probe::path::reply::{Command, ErrorKind, ErrorReply, Reply};

    #[test]
    fn a_malformed_command_that_is_answered_makes_it_likely() {
        let facts = Facts::healthy().speechless(End::Silent).with(|facts| {
            let crate::model::Observed::Seen(redis) = &mut facts.redis else { return };
            let text = "ERR wrong number of arguments for 'echo' command".to_owned();
            let reply = Some(Reply::Error(ErrorReply { kind: ErrorKind::Arity, text }));
            let second = redis.dialogues[0].second.as_mut().unwrap();
            second.exchanges.insert(0, Exchange { command: Command::EchoNothing, reply });
            second.bytes = 50;
        });
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
    }

    #[test]
    fn info_makes_it_certain_and_silence_possible() {
        check_cause(&CAUSE, &Facts::healthy().info("paused_actions", "write"), Some(Confidence::Certain));
        let failover = Facts::healthy().info("master_failover_state", "waiting-for-sync");
        check_cause(&CAUSE, &failover, Some(Confidence::Certain));
        assert!(matches!(&remedy(&failover)[1], Step::Run { command, .. } if command.ends_with("FAILOVER ABORT")));
        let silent = Facts::healthy().speechless(End::Silent);
        check_cause(&CAUSE, &silent, Some(Confidence::Possible));
        check_cause(&CAUSE, &silent.unheard(31), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
