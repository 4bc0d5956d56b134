//! The handshake passes, and what carries data is swallowed.

use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::{hold, ping, state};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::redis::End;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "data-dropped",
    title: "a filter lets connections pass, and drops what they carry",
    explain: "\
The connection was accepted, and then the peer's kernel never acknowledged a byte of ours: our data, or its \
acknowledgements, are dropped on the way. That is what an intrusion prevention system, an application-aware firewall or a \
stateful filter that lost track of the connection does. A process that is stopped or busy is something else: its kernel \
acknowledges what it receives.

It is never certain from the client. A server whose accept queue overflows during the handshake looks the same: the client \
is connected, the server is not. Then, as a rule, no second connection is accepted; where one is, and is as deaf, the filter \
is likely. A host that accepts in another's name (a tarpit, a SYN proxy in front of a dead server) looks the same, too. On \
the Redis host, 'ss -tni' shows our connection with 'bytes_received' missing or 0, and the listener's Recv-Q is 0.

Repair: allow the application, not only the port, in the device that inspects the traffic.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    unheard(case).or_else(|| large(case)).or_else(|| dropped_meanwhile(case))
}

/// It answered before a connection was held for a while; now a fresh one is accepted and not answered.
fn dropped_meanwhile(case: &Case) -> Option<Support> {
    let finding = case.raised(&hold::SERVER_GONE)?;
    let fresh = case.facts.hold.seen()?.fresh.as_ref()?;
    let port = case.facts.ask.target.port()?;
    (!fresh.answered && fresh.failed.is_none()).then_some(())?;
    let summary = "what answered before accepts connections, and what they carry may be dropped since";
    let tells = "bytes_received missing or 0 on our connection: our data is dropped on the way";
    let look = Step::look(redis_host(case.facts), format!("ss -tni 'sport = :{port}'"), tells);
    Some(Support::new(Confidence::Possible, &[&hold::SERVER_GONE], summary).on(finding).settled_by(look))
}

/// PING was answered, and what is larger was not: a filter may look at length or contents.
fn large(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::INFO_SILENT)?;
    case.facts.ask.target.port()?;
    let summary = "small answers come and a large one does not: a filter may drop it for its length or contents";
    let support = Support::new(Confidence::Possible, &[&state::INFO_SILENT], summary).on(finding);
    Some(support.settled_by(Step::look(
        redis_host(case.facts),
        "sudo nft -a list ruleset; sudo iptables-legacy-save",
        "there, and on every router and proxy between: a rule that looks at the length of packets, or at their contents",
    )))
}

fn unheard(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::SILENT)?;
    let dialogue = dialogue(case.facts)?;
    let lost = dialogue.first.unacknowledged.filter(|bytes| *bytes > 0)?;
    let port = case.facts.ask.target.port()?;
    // A queue that is full takes no further connection: it drops the SYN (`tcp_conn_request` in the kernel).
    let again = dialogue
        .second
        .as_ref()
        .is_some_and(|second| second.end == End::Silent && second.unacknowledged.is_some_and(|bytes| bytes > 0));
    let confidence = if again { Confidence::Likely } else { Confidence::Possible };
    let summary = format!("the connection was accepted, and {lost} bytes of ours were never acknowledged");
    let tells = "bytes_received missing or 0 on our connection: our data is dropped on the way; no connection at all: \
                 somebody else accepted it, or the server's queue is full";
    let support = Support::new(confidence, &[&ping::SILENT], summary)
        .on(finding)
        .not("process-stopped", "the kernel of a stopped process acknowledges what it receives")
        .settled_by(Step::look(redis_host(case.facts), format!("ss -tni 'sport = :{port}'"), tells));
    Some(if again {
        support.not("accept-queue-full", "a second connection was accepted, and not heard either")
    } else {
        support
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let port = facts.ask.target.port().unwrap_or_default();
    vec![
        Step::look(
            redis_host(facts),
            "sudo nft -a list ruleset; sudo iptables-legacy-save",
            format!("rules for port {port} that look at TCP flags, conntrack states or contents"),
        ),
        Step::tell(
            Where::Network,
            format!(
                "in the firewall or intrusion prevention on the way: allow Redis' protocol on TCP port {port}, not only \
                     connections to it"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::redis::Redis;

    #[test]
    fn bytes_that_were_never_acknowledged_may_be_dropped() {
        let silent = Facts::healthy().speechless(End::Silent);
        check_cause(&CAUSE, &silent.clone().unheard(50), Some(Confidence::Possible));
        check_cause(&CAUSE, &silent.clone().unheard(0), None);
        check_cause(&CAUSE, &silent, None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn what_answered_before_may_be_dropped_since() {
        use crate::check::hold::tests::{freshly, held, not_made};
        use crate::probe::path::hold::Wait;
        let closed = held(Wait::Closed(12_400.0), None);
        check_cause(&CAUSE, &freshly(closed.clone(), false, None), Some(Confidence::Possible));
        check_cause(&CAUSE, &not_made(closed, "no answer"), None);
    }

    fn second(end: End, unacknowledged: Option<u64>) -> Facts {
        Facts::healthy().speechless(End::Silent).unheard(50).with(|facts| {
            let Observed::Seen(Redis { dialogues }) = &mut facts.redis else { return };
            let second = dialogues[0].second.as_mut().unwrap();
            (second.end, second.unacknowledged) = (end, unacknowledged);
        })
    }

    #[test]
    fn a_second_connection_tells_it_from_a_full_queue() {
        check_cause(&CAUSE, &second(End::Silent, Some(20)), Some(Confidence::Likely));
        check_cause(&CAUSE, &second(End::Silent, Some(0)), Some(Confidence::Possible));
        check_cause(&CAUSE, &second(End::NotMade, None), Some(Confidence::Possible));
    }
}
