//! Packets are lost on the way, some and not others.

use crate::cause::{Case, Cause, dialogue};
use crate::check::{dns, ping, tcp};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "packet-loss",
    title: "packets are lost on the way by chance",
    explain: "\
A link that is overloaded, a bad cable or radio, or a limit of packets per second loses some packets and not others. The \
kernel sends a SYN again after 1, 3 and 7 s, and data after 0.2, 0.6 and 1.4 s, and the resolver asks again after 5 s: names \
are found late, connections are made late, and answers come late, one time and not the next.

It is never more than possible from one run: a listener whose queue is full drops SYNs, too, and a busy server answers late. \
Checked several times, a way that loses packets is late at random; a server that is busy is late as long as it is.

Repair: find the link that loses them.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    late(case).or_else(|| now_and_then(case)).or_else(|| lookup(case))
}

/// The system's lookup takes long or does not end, and a nameserver answers our own questions.
fn lookup(case: &Case) -> Option<Support> {
    let code: &'static Code =
        [&dns::TIMEOUT, &dns::SLOW_LOOKUP].into_iter().find(|code| case.raised(code).is_some())?;
    let seen = case.facts.dns.seen()?;
    let own = seen.own.seen()?;
    let server = own.answering().into_iter().find(|server| !case.is_own(*server))?;
    // A question is asked again after a second.
    let answered = own.queries.iter().filter(|query| query.server == server && query.answer.is_answer());
    let late = answered.max_by(|one, other| one.elapsed_ms.total_cmp(&other.elapsed_ms))?;
    let summary = format!("a question to nameserver {server}, or its answer, was lost on the way, and asked again");
    let tells = "an answer each time, and at once: it is not this; one time and not the next: packets are lost";
    let name = shell_quote(&seen.name);
    let command = format!("for i in 1 2 3 4 5; do dig +tries=1 @{server} {name}; done");
    Some(
        Support::new(Confidence::Possible, &[code], summary)
            .because("getaddrinfo(3)", seen.says())
            .because(late.source(), late.says())
            .settled_by(Step::look(Where::Here, command, tells)),
    )
}

/// Nothing answered, and a moment later something did.
fn now_and_then(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::TIMEOUT);
    let trace = case.facts.trace.seen().filter(|trace| trace.asked.reached.is_some() && !case.is_own(trace.to))?;
    let attempt = attempts.into_iter().find(|attempt| attempt.ip == Some(trace.to))?;
    let says = format!("a moment later {} answered", attempt.address);
    let summary = format!("packets to {} or from it are lost one time and not the next", trace.to);
    Some(
        Support::new(Confidence::Possible, &[&tcp::TIMEOUT], summary)
            .because("connect(2)", attempt.says())
            .because("TTL", says)
            .settled_by(look(case.facts)),
    )
}

/// What came late was sent again.
fn late(case: &Case) -> Option<Support> {
    // From a machine to itself nothing is lost.
    let ip = case.facts.tcp.seen()?.connected()?.ip.filter(|ip| !case.is_own(*ip))?;
    let sent_again = dialogue(case.facts).and_then(|dialogue| dialogue.telling().sent_again);
    let again = case.raised(&ping::SLOW).is_some() && sent_again != Some(0);
    let codes: Vec<&'static Code> = [(&tcp::SLOW, true), (&ping::SLOW, again)]
        .into_iter()
        .filter(|(_, fits)| *fits)
        .map(|(code, _)| code)
        .collect();
    let codes = case.all_raised(&codes);
    let finding = case.raised(codes.first()?)?;
    let summary = format!("a packet to {ip} or from it was lost on the way, and sent again");
    let support = Support::new(Confidence::Possible, &codes, summary).on(finding);
    let support = match sent_again.filter(|count| *count > 0) {
        Some(count) => support.because("sock_diag(7)", format!("{count} of our segments were sent again")),
        None => support,
    };
    Some(support.settled_by(look(case.facts)))
}

fn look(facts: &Facts) -> Step {
    let unfound = facts.tcp.seen().is_none();
    let server = || facts.dns.seen()?.own.seen()?.answering().first().map(ToString::to_string);
    let host = server().filter(|_| unfound).or_else(|| facts.ask.target.host().map(str::to_owned));
    let host = shell_quote(&host.unwrap_or_default());
    Step::look(Where::Here, format!("mtr -rwc 100 {host}"), "loss that begins at a router and goes on to the last line")
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let text = "mend the link where the loss begins: its load, its errors (ip -s link), a limit of packets per second";
    vec![look(facts), Step::tell(Where::Network, text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;
    use crate::probe::path::tcp::Attempt;

    #[test]
    fn what_is_late_may_have_been_lost() {
        let possible = Some(Confidence::Possible);
        let late = Attempt { elapsed_ms: 1_020.0, ..Attempt::connected([10, 0, 0, 9].into()) };
        let late = Facts::healthy().attempting(vec![late]);
        check_cause(&CAUSE, &late, possible);
        assert_eq!(diagnose(&late).causes[0].id, "packet-loss");
        let answered = |sent_again| {
            Facts::healthy().with(|facts| {
                let Observed::Seen(redis) = &mut facts.redis else { return };
                let first = &mut redis.dialogues[0].first;
                (first.first_byte_ms, first.sent_again) = (Some(1_800.0), sent_again);
            })
        };
        check_cause(&CAUSE, &answered(Some(2)), possible);
        check_cause(&CAUSE, &answered(None), possible);
        check_cause(&CAUSE, &answered(Some(0)), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
        let own = Attempt { elapsed_ms: 1_020.0, ..Attempt::connected([127, 0, 0, 1].into()) };
        check_cause(&CAUSE, &Facts::at_home().attempting(vec![own]), None);
    }

    #[test]
    fn what_answers_a_moment_later_was_lost_before() {
        use crate::probe::path::tcp::Outcome;
        use crate::probe::path::trace::tests::silent;
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
        let facts = |reached| {
            let mut trace = silent(&[1]);
            trace.asked.reached = reached;
            Facts::healthy().attempting(vec![attempt.clone()]).with(|facts| facts.trace = Observed::Seen(trace))
        };
        check_cause(&CAUSE, &facts(Some(2)), Some(Confidence::Possible));
        check_cause(&CAUSE, &facts(None), None);
    }

    #[test]
    fn a_lookup_may_lose_packets_too() {
        use crate::probe::path::dns::System;
        use crate::probe::path::dns::answers::{Answer, Own};
        let asked = |a, aaaa| {
            Facts::healthy().with(|facts| {
                let Observed::Seen(dns) = &mut facts.dns else { return };
                (dns.system, dns.elapsed_ms) = (System::TimedOut, 5_000.0);
                dns.own = Observed::Seen(Own::of(Answer::Silent, Answer::Silent).and_server([10, 0, 0, 3], a, aaaa));
                facts.tcp = Observed::needs("dns");
            })
        };
        check_cause(&CAUSE, &asked(Answer::a(), Answer::none()), Some(Confidence::Possible));
        check_cause(&CAUSE, &asked(Answer::Silent, Answer::Silent), None);
    }

    #[test]
    fn a_queue_that_never_was_full_is_no_candidate() {
        let late = Attempt { elapsed_ms: 1_020.0, ..Attempt::connected([10, 0, 0, 9].into()) };
        let ids: Vec<&str> =
            diagnose(&Facts::joined().attempting(vec![late])).causes.iter().map(|cause| cause.id).collect();
        assert!(ids.contains(&"packet-loss") && !ids.contains(&"accept-queue-full"), "{ids:?}");
    }
}
