//! The nameservers of this machine cannot be reached.

use std::net::IpAddr;

use super::{lookup, name, own, with_evidence};
use crate::cause::{Case, Cause};
use crate::check::dns::{FAILED, SERVERS_CLOSED, SERVERS_SILENT, SLOW_LOOKUP, TIMEOUT};
use crate::model::{Code, Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::dns::answers::{Answer, Own, Query, Transport};
use crate::probe::path::dns::config::Server;
use crate::probe::path::dns::{Dns, System};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "resolver-unreachable",
    title: "a nameserver of this machine cannot be reached",
    explain: "The nameservers in /etc/resolv.conf do not answer: packets are dropped on the way (the system shows \
              EAI_AGAIN after 5 seconds for each nameserver and attempt), nobody listens on port 53 (EAI_AGAIN within \
              milliseconds), or there is no route to them. Where a later nameserver answers, the dead one before it \
              makes every lookup slow.",
    infer,
    remedy,
};

/// Silence that is shorter proves little: resolvers that must ask others first mostly answer within two seconds. A little
/// less, because a step of three seconds (`-t 3`) leaves our own queries two, minus what it takes to begin.
const SILENCE_MS: f64 = 1900.0;

fn infer(case: &Case) -> Option<Support> {
    let (dns, own) = lookup(case)?;
    match own {
        None => unasked(case, dns),
        Some(own) if own.answering().is_empty() => all_dead(case, dns, own),
        Some(own) => first_dead(case, dns, own),
    }
}

/// `EAI_AGAIN` alone: this, or name-server-failure.
fn unasked(case: &Case, dns: &Dns) -> Option<Support> {
    case.raised(&FAILED)?;
    let again = matches!(&dns.system, System::Failed { code, .. } if code == "EAI_AGAIN");
    let support = Support::new(Confidence::Possible, &[&FAILED], "the nameservers of this machine may be unreachable");
    let settle = Step::look(Where::Here, "cat /etc/resolv.conf", "which nameservers to ask, one by one");
    again.then(|| with_evidence(support, dns, []).settled_by(settle))
}

fn all_dead(case: &Case, dns: &Dns, own: &Own) -> Option<Support> {
    let code: &'static Code =
        [&SERVERS_SILENT, &SERVERS_CLOSED].into_iter().find(|code| case.raised(code).is_some())?;
    let silent = own.asked().any(|query| query.answer == Answer::Silent);
    let over_tcp = own.queries.iter().any(is_alive_over_tcp);
    let sure = own.asked().all(is_dead) && (!silent || over_tcp || waited_out(dns));
    let confidence = if sure { Confidence::Certain } else { Confidence::Likely };
    let support = Support::new(confidence, &[code], summary(own));
    let mut support = with_evidence(support, dns, shown(own));
    if sure {
        support = support.not("name-server-failure", "no nameserver answers at all, not even with a failure");
    } else {
        let tells = "which nameservers there are: something that is no nameserver, or a filter, answers in their place";
        support = support.settled_by(Step::look(Where::Here, "cat /etc/resolv.conf", tells));
    }
    Some(support)
}

/// True if silence was waited for as long as glibc gives a nameserver (5 s, resolv.conf(5)), or glibc itself gave up: a
/// nameserver that is merely slow is silent for a while, too.
fn waited_out(dns: &Dns) -> bool {
    matches!(dns.system, System::Failed { .. }) || dns.elapsed_ms >= 4_900.0
}

fn summary(own: &Own) -> String {
    let servers = own.servers();
    let unroutable = own.asked().find_map(|query| match &query.answer {
        Answer::Unreachable(errno) => Some(errno),
        _ => None,
    });
    let over_tcp = own.queries.iter().any(is_alive_over_tcp);
    match unroutable {
        Some(errno) => format!("queries cannot be delivered to nameserver {servers}: {errno}"),
        None if over_tcp => format!("nameserver {servers} answers over TCP, but datagrams to its port 53 are lost"),
        None if own.asked().all(|query| query.answer == Answer::PortClosed) => {
            format!("nobody listens on port 53 of nameserver {servers}")
        }
        None if own.asked().any(|query| is_useless(&query.answer)) => {
            format!("nameserver {servers} answers nothing that can be used")
        }
        None => format!("nameserver {servers} does not answer"),
    }
}

/// A nameserver that the system asks in vain before it comes to one that answers.
fn first_dead(case: &Case, dns: &Dns, own: &Own) -> Option<Support> {
    let code: &'static Code = [&SLOW_LOOKUP, &TIMEOUT].into_iter().find(|code| case.raised(code).is_some())?;
    let dead = dead_before_answering(own)?;
    let answering = own.answering().first().copied()?;
    let summary = format!(
        "nameserver {dead} does not answer, and the system waits for it before it asks {answering}: {} is late",
        name(case.facts)
    );
    let waited = dns.elapsed_ms >= f64::from(own.config.timeout_s) * 950.0;
    let confidence = if waited { Confidence::Certain } else { Confidence::Likely };
    let support = with_evidence(Support::new(confidence, &[code], summary), dns, own.asked());
    let settle = Step::look(Where::Here, "cat /etc/resolv.conf", "the order of the nameservers and the time for each");
    Some(if waited { support } else { support.settled_by(settle) })
}

/// The first nameserver, if it is dead though others live. (All of its answers: one lost datagram is no death.)
fn dead_before_answering(own: &Own) -> Option<IpAddr> {
    let first = own.config.servers.first()?.address;
    let mut asked = own.asked().filter(|query| query.server == first).peekable();
    (asked.peek().is_some() && asked.all(|query| query.answer == Answer::Silent)).then_some(first)
}

fn is_alive_over_tcp(query: &Query) -> bool {
    query.over == Transport::TcpInstead && query.answer.is_answer()
}

fn is_useless(answer: &Answer) -> bool {
    matches!(answer, Answer::Garbage | Answer::Mismatched)
}

fn is_dead(query: &Query) -> bool {
    match &query.answer {
        Answer::Silent => query.elapsed_ms >= SILENCE_MS,
        Answer::PortClosed => true,
        Answer::Unreachable(errno) => ["ENETUNREACH", "EHOSTUNREACH", "EACCES", "EPERM"].contains(&errno.as_str()),
        _ => false,
    }
}

/// One query of each kind for each nameserver says enough.
fn shown(own: &Own) -> Vec<&Query> {
    let mut shown: Vec<&Query> = Vec::new();
    for query in &own.queries {
        let same =
            |other: &&&Query| (other.server, other.over, &other.answer) == (query.server, query.over, &query.answer);
        if shown.iter().find(same).is_none() {
            shown.push(query);
        }
    }
    shown
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some(own) = own(facts) else {
        return vec![Step::look(Where::Here, "cat /etc/resolv.conf", "which nameservers this machine asks")];
    };
    let mut steps = Vec::new();
    for server in &own.config.servers {
        let queries: Vec<&Query> = own.queries.iter().filter(|query| query.server == server.address).collect();
        let answers = queries.iter().any(|query| query.over != Transport::TcpInstead && query.answer.is_answer());
        if queries.is_empty() || answers {
            continue;
        }
        steps.extend(revive(server, &queries));
        if let (Some(line), false) = (server.line, own.answering().is_empty()) {
            steps.push(leave_out(server, line));
        }
    }
    if own.answering().is_empty() {
        steps.push(Step::tell(Where::Here, "or name a nameserver that works in /etc/resolv.conf"));
    }
    steps
}

/// What brings a nameserver back.
fn revive(server: &Server, queries: &[&Query]) -> Vec<Step> {
    let any = |test: fn(&Query) -> bool| queries.iter().any(|query| test(query));
    if any(|query| matches!(query.answer, Answer::Unreachable(_))) {
        let route = format!("ip route get {}", server.address);
        return vec![
            Step::look(Where::Here, route, "the way to the nameserver, or that there is none"),
            Step::tell(Where::Here, format!("give this machine a way to nameserver {}", server.says())),
        ];
    }
    let (on, text) = if any(is_alive_over_tcp) {
        (Where::Network, format!("let UDP datagrams pass to port 53 of nameserver {} and back", server.says()))
    } else if server.address.is_loopback() {
        (Where::Here, format!("start the resolver of this machine that should answer on {}", server.says()))
    } else if any(|query| query.answer == Answer::PortClosed) {
        (Where::Network, format!("start the nameserver on {}", server.says()))
    } else {
        let text = format!("let port 53 (UDP and TCP) pass to nameserver {}, and see that it runs", server.says());
        (Where::Network, text)
    };
    vec![Step::tell(on, text)]
}

fn leave_out(server: &Server, line: u32) -> Step {
    Step::Edit {
        text: "or leave the dead nameserver out (NetworkManager, netplan and DHCP clients write this file anew: \
               change it there)"
            .to_owned(),
        file: "/etc/resolv.conf".to_owned(),
        line: Some(line),
        from: format!("nameserver {}", server.address),
        to: format!("#nameserver {}", server.address),
        on: Where::Here,
        risk: Risk::Safe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::dns::tests::{check, check_none, slow, without_own};

    fn both(answer: &Answer) -> Own {
        Own::of(answer.clone(), answer.clone())
    }

    #[test]
    fn certain_where_every_nameserver_is_dead() {
        for answer in [Answer::Silent, Answer::PortClosed, Answer::Unreachable("ENETUNREACH".to_owned())] {
            let facts = Facts::lookup_failed("EAI_AGAIN", both(&answer));
            check(&CAUSE, &facts, Some(Confidence::Certain));
            assert!(!remedy(&facts).is_empty());
        }
    }

    #[test]
    fn less_sure_where_something_answers_or_nobody_was_asked() {
        check(&CAUSE, &Facts::lookup_failed("EAI_AGAIN", both(&Answer::Garbage)), Some(Confidence::Likely));
        check(&CAUSE, &without_own("EAI_AGAIN"), Some(Confidence::Possible));
        let mut brief = both(&Answer::Silent);
        brief.queries.iter_mut().for_each(|query| query.elapsed_ms = 200.0);
        check(&CAUSE, &Facts::lookup_failed("EAI_AGAIN", brief), Some(Confidence::Likely));
    }

    #[test]
    fn a_dead_first_nameserver_makes_lookups_slow() {
        let own = both(&Answer::Silent).and_server([10, 0, 0, 3], Answer::a(), Answer::none());
        let facts = slow(5004.0, own.clone());
        check(&CAUSE, &facts, Some(Confidence::Certain));
        assert!(matches!(remedy(&facts).last(), Some(Step::Edit { line: Some(1), .. })));
        check(&CAUSE, &slow(1200.0, own), Some(Confidence::Likely));
    }

    #[test]
    fn not_the_look_alikes() {
        check_none(&CAUSE, &Facts::healthy());
        check_none(&CAUSE, &slow(5004.0, Own::of(Answer::a(), Answer::Silent)));
        for answer in [Answer::ServFail, Answer::Refused, Answer::nx(), Answer::none()] {
            check_none(&CAUSE, &Facts::lookup_failed("EAI_AGAIN", both(&answer)));
        }
    }
}
