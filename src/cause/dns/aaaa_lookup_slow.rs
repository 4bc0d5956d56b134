//! The question for IPv6 addresses is dropped, and every lookup waits for its answer.

use std::net::IpAddr;

use super::{lookup, name, own, with_evidence};
use crate::cause::{Case, Cause};
use crate::check::dns::{SLOW_LOOKUP, TIMEOUT};
use crate::model::{Code, Confidence, Family, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::dns::System;
use crate::probe::path::dns::answers::{Answer, Own, Query, Record};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "aaaa-lookup-slow",
    title: "the lookup waits for an IPv6 answer that never comes",
    explain: "The nameserver, or a device in front of it, answers the question for IPv4 addresses (A) at once, but \
              drops the one for IPv6 addresses (AAAA). The system asks for both and waits for both: glibc gives up \
              after 5 seconds and asks again, so each lookup takes 5 to 20 seconds and looks like a slow Redis.",
    infer,
    remedy,
};

/// An answer within this time is prompt.
const PROMPT_MS: f64 = 500.0;
/// One that takes longer than this is what the lookup waits for. Less than a second: a step of two (`-t 2`) leaves our own
/// queries one, minus what it takes to begin.
const LATE_MS: f64 = 900.0;
/// We ask again every second. One question, or two, may be lost by chance while the one for IPv4 is not.
const THREE_QUESTIONS_MS: f64 = 2_500.0;

fn infer(case: &Case) -> Option<Support> {
    let code: &'static Code = [&SLOW_LOOKUP, &TIMEOUT].into_iter().find(|code| case.raised(code).is_some())?;
    let (dns, own) = lookup(case)?;
    let own = own?;
    // An IPv6 address that came was not waited for in vain: packets are lost by chance.
    let came = matches!(&dns.system, System::Addresses(addresses) if addresses.iter().any(IpAddr::is_ipv6));
    if case.facts.ask.target.family == Family::V4 || came {
        return None;
    }
    let pairs = pairs(own);
    let lame = pairs.iter().filter(|(a, aaaa)| is_prompt(a) && is_late(aaaa)).count();
    let (a, aaaa) = *pairs.iter().find(|(a, aaaa)| is_prompt(a) && is_late(aaaa))?;
    let waited = dns.elapsed_ms >= f64::from(own.config.timeout_s) * 950.0;
    let asked_in_vain = aaaa.answer == Answer::Silent && aaaa.elapsed_ms >= THREE_QUESTIONS_MS;
    let sure = lame == pairs.len() && waited && asked_in_vain;
    let summary = format!(
        "nameserver {} answers for the IPv4 addresses of {} in {:.1} ms, but for IPv6 {} in {:.1} s",
        a.server,
        name(case.facts),
        a.elapsed_ms,
        aaaa.answer.says(),
        aaaa.elapsed_ms / 1000.0
    );
    let confidence = if sure { Confidence::Certain } else { Confidence::Likely };
    let support = with_evidence(Support::new(confidence, &[code], summary), dns, own.asked())
        .not("resolver-unreachable", format!("nameserver {} answers for IPv4", a.server));
    let settle =
        Step::look(Where::Here, look_command(case.facts), "an address at once: only the IPv6 question is slow");
    Some(if sure { support } else { support.settled_by(settle) })
}

/// The two questions about each name to each nameserver.
fn pairs(own: &Own) -> Vec<(&Query, &Query)> {
    let is_pair =
        |a: &Query, other: &Query| other.record == Record::Aaaa && (other.server, &other.name) == (a.server, &a.name);
    let four = own.asked().filter(|query| query.record == Record::A);
    four.filter_map(|a| own.asked().find(|other| is_pair(a, other)).map(|aaaa| (a, aaaa))).collect()
}

fn is_prompt(query: &Query) -> bool {
    query.answer.is_final() && query.elapsed_ms < PROMPT_MS
}

fn is_late(query: &Query) -> bool {
    query.elapsed_ms >= LATE_MS
}

fn look_command(facts: &Facts) -> String {
    let host = facts.ask.target.host().unwrap_or_default();
    format!("getent ahostsv4 {}", crate::model::text::shell_quote(host))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let servers = own(facts).map(Own::servers).unwrap_or_default();
    vec![
        Step::look(Where::Here, look_command(facts), "an address at once: only the IPv6 question is slow"),
        Step::tell(Where::Here, "let the application ask for IPv4 only (often family=4), as redisdoc does with -4"),
        Step::Edit {
            text: "or let this machine ask for IPv4 only (glibc 2.36 and later; applications then never use IPv6)"
                .to_owned(),
            file: "/etc/resolv.conf".to_owned(),
            line: None,
            from: String::new(),
            to: "options no-aaaa".to_owned(),
            on: Where::Here,
            risk: Risk::Safe,
        },
        Step::tell(
            Where::Network,
            format!("mend nameserver {servers} or the device in front of it: AAAA questions must be answered"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::dns::tests::{check, check_none, slow};
    use crate::model::Observed;

    #[test]
    fn certain_where_only_aaaa_is_dropped_and_the_system_waits_for_it() {
        let own = || Own::of(Answer::a(), Answer::Silent);
        check(&CAUSE, &slow(15_070.0, own()), Some(Confidence::Certain));
        let timed_out = slow(5001.0, own()).with(|facts| {
            let Observed::Seen(dns) = &mut facts.dns else { return };
            dns.system = System::TimedOut;
        });
        check(&CAUSE, &timed_out, Some(Confidence::Certain));
        check(&CAUSE, &slow(2000.0, own()), Some(Confidence::Likely));
        let other_answers = own().and_server([10, 0, 0, 3], Answer::a(), Answer::none());
        check(&CAUSE, &slow(5004.0, other_answers), Some(Confidence::Likely));
    }

    #[test]
    fn not_where_the_ipv6_address_came_all_the_same() {
        let facts = slow(15_070.0, Own::of(Answer::a(), Answer::Silent)).with(|facts| {
            let Observed::Seen(dns) = &mut facts.dns else { return };
            dns.system = System::Addresses(vec!["fd77:2::2".parse().unwrap(), [10, 0, 0, 9].into()]);
        });
        check_none(&CAUSE, &facts);
    }

    #[test]
    fn not_where_both_are_silent_or_both_are_prompt() {
        check_none(&CAUSE, &Facts::healthy());
        check_none(&CAUSE, &slow(5004.0, Own::of(Answer::a(), Answer::none())));
        let second = Own::of(Answer::Silent, Answer::Silent).and_server([10, 0, 0, 3], Answer::a(), Answer::none());
        check_none(&CAUSE, &slow(5004.0, second));
        let pinned = slow(5004.0, Own::of(Answer::a(), Answer::Silent));
        check_none(&CAUSE, &pinned.with(|facts| facts.ask.target.family = Family::V4));
    }
}
