//! Does the target's name have addresses, and how soon?
//!
//! The symptom is the system's (`getaddrinfo`); which finding it is, our own queries decide: `EAI_AGAIN` alone may be
//! a failing, a silent or a closed nameserver. Why the nameservers say what they say is in `cause/dns`.

use super::Check;
use crate::model::{Code, Evidence, Family, Finding, Gap, Judgement, Level, Severity, escape};
use crate::probe::Facts;
use crate::probe::path::dns::answers::{Outcome, Own, Query, list};
use crate::probe::path::dns::{Dns, LiteralFault, SLOW, System};

/// The check.
pub static CHECK: Check = Check {
    id: "dns",
    asks: "does the target's name have addresses, and how soon?",
    level: Some(Level::Reachable),
    codes: &[
        &NAME_NOT_FOUND,
        &NO_ADDRESS,
        &SERVER_FAILURE,
        &SERVERS_SILENT,
        &SERVERS_CLOSED,
        &TIMEOUT,
        &FAILED,
        &SLOW_LOOKUP,
        &WRONG_FAMILY,
        &UNKNOWN_INTERFACE,
    ],
    judge,
};

/// No such name.
pub static NAME_NOT_FOUND: Code = Code::fail(
    "dns/name-not-found",
    Level::Reachable,
    "the name does not exist",
    "The system's resolver says that there is no such name (EAI_NONAME), or every nameserver answers NXDOMAIN for \
     the name itself and for every name that the search list makes of it.",
);
/// A name without addresses that may be used.
pub static NO_ADDRESS: Code = Code::fail(
    "dns/no-address",
    Level::Reachable,
    "the name has no address",
    "The name exists, but it has no address, or none of the family that -4 or -6 asks for (EAI_NODATA, \
     EAI_ADDRFAMILY; nameservers answer without an error and without a record).",
);
/// Nameservers answer with a failure.
pub static SERVER_FAILURE: Code = Code::fail(
    "dns/server-failure",
    Level::Reachable,
    "the nameserver answers with a failure",
    "A nameserver is there and answers, but with SERVFAIL, REFUSED or another failure: it could not find out, or it \
     will not tell us. The system shows EAI_AGAIN, the same as when nameservers are silent.",
);
/// Nameservers do not answer.
pub static SERVERS_SILENT: Code = Code::fail(
    "dns/servers-silent",
    Level::Reachable,
    "no nameserver answers",
    "Queries to the nameservers of this machine bring no answer that could be used. The system shows EAI_AGAIN, \
     mostly after 5 seconds for each nameserver and attempt.",
);
/// Port 53 is closed.
pub static SERVERS_CLOSED: Code = Code::fail(
    "dns/servers-closed",
    Level::Reachable,
    "nothing listens on port 53 of the nameserver",
    "The nameservers of this machine are reachable, but nobody listens there (ICMP port unreachable). The system \
     shows EAI_AGAIN within milliseconds.",
);
/// The system's resolver takes too long.
pub static TIMEOUT: Code = Code::fail(
    "dns/timeout",
    Level::Reachable,
    "the lookup does not end in time",
    "The system's resolver had not answered within the time of a step (--timeout), although nameservers answer our \
     own queries. Every application on this machine waits as long, before it even connects.",
);
/// Another failure.
pub static FAILED: Code = Code::fail(
    "dns/failed",
    Level::Reachable,
    "the lookup fails",
    "The system's resolver failed in a way that our own queries do not explain: nameservers give addresses, or could \
     not be asked. nsswitch.conf may leave DNS out or stop before it, or the machine lacks memory or descriptors.",
);
/// A lookup that is slow.
pub static SLOW_LOOKUP: Code = Code {
    id: "dns/slow",
    severity: Severity::Warn,
    breaks: Level::Reachable,
    beyond: Severity::Warn,
    title: "the lookup is slow",
    explain: "The name was resolved, but only after a second or more. Every new connection of every application \
              waits as long, which looks like a slow Redis.",
};
/// A literal address that `-4` or `-6` excludes.
pub static WRONG_FAMILY: Code = Code::fail(
    "dns/wrong-family",
    Level::Reachable,
    "the address is not of the family asked for",
    "The target is an IPv6 address while -4 is given, or an IPv4 address while -6 is given.",
);
/// A zone without an interface.
pub static UNKNOWN_INTERFACE: Code = Code::fail(
    "dns/unknown-interface",
    Level::Reachable,
    "the address names an interface that is not here",
    "A link-local address names the interface to use after a percent sign (fe80::1%eth0), and this machine has no \
     such interface. The names of interfaces are each machine's own.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let dns = facts.dns.known()?;
    let family = facts.ask.target.family;
    let judgement = match &dns.system {
        System::Addresses(addresses) if addresses.is_empty() => failed(dns, family, &NO_ADDRESS),
        System::Addresses(_) => resolved(dns),
        System::Failed { code, .. } => failed(dns, family, code_of_failure(dns, family, code)),
        System::TimedOut => {
            facts.ask.waited_out(dns.elapsed_ms)?;
            failed(dns, family, code_of_timeout(dns, family))
        }
        System::Unusable(fault) => unusable(dns, family, fault),
    };
    let judgement = if dns.literal { judgement } else { judgement.took(dns.elapsed_ms) };
    Ok(judgement.observing(dns))
}

fn resolved(dns: &Dns) -> Judgement {
    let (name, addresses) = (escape(dns.name.as_bytes()), list(dns.addresses()));
    if dns.literal {
        return Judgement::pass(format!("{name} is an address and needs no lookup"));
    }
    if dns.elapsed_ms < SLOW.as_secs_f64() * 1000.0 {
        return Judgement::pass(format!("{name} is {addresses}"));
    }
    let seconds = dns.elapsed_ms / 1000.0;
    let mut finding =
        Finding::new(&SLOW_LOOKUP, "getaddrinfo(3)", format!("{name} is {addresses}, after {seconds:.1} s"));
    add_queries(&mut finding, dns);
    Judgement::pass(format!("{name} is {addresses}, but it took {seconds:.1} s to find out")).finding([finding])
}

/// Which finding a failure of the system's resolver is.
fn code_of_failure(dns: &Dns, family: Family, code: &str) -> &'static Code {
    let by_code = match code {
        "EAI_NONAME" => &NAME_NOT_FOUND,
        "EAI_NODATA" | "EAI_ADDRFAMILY" => &NO_ADDRESS,
        _ => &FAILED,
    };
    let Some(own) = dns.own.seen() else { return by_code };
    if hosts_exclude(own, family) {
        return &NO_ADDRESS;
    }
    match (code, own.outcome(family)) {
        // These are about this machine, not about names.
        ("EAI_SYSTEM" | "EAI_MEMORY" | "EAI_BADFLAGS" | "EAI_FAMILY" | "EAI_SOCKTYPE" | "EAI_SERVICE", _)
        | (_, Outcome::Found) => &FAILED,
        // The system is certain without the nameservers: it did not need them.
        ("EAI_NONAME" | "EAI_NODATA" | "EAI_ADDRFAMILY", Outcome::Closed | Outcome::Unanswered)
        | (_, Outcome::NotAsked) => by_code,
        (_, outcome) => code_of_outcome(outcome),
    }
}

fn code_of_timeout(dns: &Dns, family: Family) -> &'static Code {
    dns.own.seen().map_or(&TIMEOUT, |own| code_of_outcome(own.outcome(family)))
}

fn code_of_outcome(outcome: Outcome) -> &'static Code {
    match outcome {
        Outcome::Found | Outcome::NotAsked => &TIMEOUT,
        Outcome::OtherFamily | Outcome::NoData => &NO_ADDRESS,
        Outcome::NotFound => &NAME_NOT_FOUND,
        Outcome::ServerFailure => &SERVER_FAILURE,
        Outcome::Closed => &SERVERS_CLOSED,
        Outcome::Unanswered => &SERVERS_SILENT,
    }
}

/// True if /etc/hosts knows the name, but only with addresses of the other family.
pub fn hosts_exclude(own: &Own, family: Family) -> bool {
    !own.hosts().is_empty() && !own.hosts().iter().any(|entry| family.allows(&entry.address))
}

fn failed(dns: &Dns, family: Family, code: &'static Code) -> Judgement {
    let mut finding = Finding::new(code, "getaddrinfo(3)", dns.says());
    let sources = dns.own.seen().and_then(|own| own.config.sources.as_deref());
    if let (Some(sources), true) = (sources, code.id == FAILED.id) {
        finding.evidence.push(Evidence::new("/etc/nsswitch.conf", format!("hosts: {sources}")));
    }
    add_queries(&mut finding, dns);
    Judgement::pass(summary(dns, family, code)).finding([finding])
}

fn summary(dns: &Dns, family: Family, code: &Code) -> String {
    let name = escape(dns.name.as_bytes());
    let servers = dns.own.seen().map(Own::servers).unwrap_or_default();
    match code.id {
        id if id == NAME_NOT_FOUND.id => format!("there is no name {name}"),
        id if id == NO_ADDRESS.id => match family {
            Family::Any => format!("{name} has no address"),
            Family::V4 => format!("{name} has no IPv4 address"),
            Family::V6 => format!("{name} has no IPv6 address"),
        },
        id if id == SERVER_FAILURE.id => format!("nameserver {servers} fails to resolve {name}"),
        id if id == SERVERS_SILENT.id => format!("no answer from nameserver {servers} about {name}"),
        id if id == SERVERS_CLOSED.id => format!("port 53 of nameserver {servers} is closed"),
        _ => dns.says(),
    }
}

/// Our own queries as evidence: of each question the one that decides.
fn add_queries(finding: &mut Finding, dns: &Dns) {
    const SHOWN: usize = 6;
    let Some(own) = dns.own.seen() else { return };
    let hosts = own.hosts().iter().map(|entry| entry.evidence(&dns.name));
    finding.evidence.extend(hosts.chain(own.settled().into_iter().map(Query::evidence)).take(SHOWN));
}

fn unusable(dns: &Dns, family: Family, fault: &LiteralFault) -> Judgement {
    let name = escape(dns.name.as_bytes());
    let (code, says) = match fault {
        LiteralFault::WrongFamily => {
            let (is, flag) = if family == Family::V4 { ("IPv6", "-4") } else { ("IPv4", "-6") };
            (&WRONG_FAMILY, format!("{name} is an {is} address, which {flag} excludes"))
        }
        LiteralFault::UnknownInterface(zone) => {
            (&UNKNOWN_INTERFACE, format!("this machine has no interface {}", escape(zone.as_bytes())))
        }
    };
    let source = if code.id == WRONG_FAMILY.id { "command line" } else { "if_nametoindex(3)" };
    Judgement::pass(says.clone()).finding([Finding::new(code, source, says)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Observed, Verdict};
    use crate::probe::path::dns::answers::Answer;

    #[track_caller]
    fn check(facts: &Facts, want: &[&str], summary: &str) {
        let Verdict::Judged(judgement) = Verdict::of(judge(facts)) else { panic!("judged") };
        let found: Vec<&str> = judgement.findings.iter().map(|finding| finding.code.id).collect();
        assert_eq!((found.as_slice(), judgement.summary.as_str()), (want, summary));
    }

    fn failed(code: &str, a: Answer, aaaa: Answer) -> Facts {
        Facts::lookup_failed(code, Own::of(a, aaaa))
    }

    fn dns(facts: &mut Facts) -> &mut Dns {
        let Observed::Seen(dns) = &mut facts.dns else { panic!("seen") };
        dns
    }

    #[test]
    fn names_with_addresses_pass() {
        check(&Facts::healthy(), &[], "db is 10.0.0.9");
        let slow = Facts::healthy().with(|facts| dns(facts).elapsed_ms = 5004.0);
        check(&slow, &["dns/slow"], "db is 10.0.0.9, but it took 5.0 s to find out");
    }

    #[test]
    fn eai_again_is_told_apart_by_the_nameservers() {
        let both = |answer: Answer| failed("EAI_AGAIN", answer.clone(), answer);
        check(&both(Answer::ServFail), &["dns/server-failure"], "nameserver 10.0.0.2 fails to resolve db");
        check(&both(Answer::Refused), &["dns/server-failure"], "nameserver 10.0.0.2 fails to resolve db");
        check(&both(Answer::Silent), &["dns/servers-silent"], "no answer from nameserver 10.0.0.2 about db");
        check(&both(Answer::Garbage), &["dns/servers-silent"], "no answer from nameserver 10.0.0.2 about db");
        check(&both(Answer::PortClosed), &["dns/servers-closed"], "port 53 of nameserver 10.0.0.2 is closed");
        check(&both(Answer::nx()), &["dns/name-not-found"], "there is no name db");
        let says = "db: EAI_AGAIN (as the system says it) after 1.1 ms";
        check(&failed("EAI_AGAIN", Answer::a(), Answer::none()), &["dns/failed"], says);
    }

    #[test]
    fn other_codes_are_told_apart_too() {
        check(&failed("EAI_NONAME", Answer::nx(), Answer::nx()), &["dns/name-not-found"], "there is no name db");
        let without_dns = failed("EAI_NONAME", Answer::Silent, Answer::Silent);
        check(&without_dns, &["dns/name-not-found"], "there is no name db");
        check(&failed("EAI_NODATA", Answer::none(), Answer::none()), &["dns/no-address"], "db has no address");
        let disagrees = "db: EAI_NONAME (as the system says it) after 1.1 ms";
        check(&failed("EAI_NONAME", Answer::a(), Answer::none()), &["dns/failed"], disagrees);
        let broken = "db: EAI_SYSTEM (as the system says it) after 1.1 ms";
        check(&failed("EAI_SYSTEM", Answer::nx(), Answer::nx()), &["dns/failed"], broken);
        let pinned = failed("EAI_NODATA", Answer::none(), Answer::aaaa()).with(|f| f.ask.target.family = Family::V4);
        check(&pinned, &["dns/no-address"], "db has no IPv4 address");
        let in_hosts = failed("EAI_ADDRFAMILY", Answer::nx(), Answer::nx()).with(|facts| {
            facts.ask.target.family = Family::V6;
            dns(facts).own = Observed::Seen(Own::of(Answer::nx(), Answer::nx()).and_hosts([10, 0, 0, 9]));
        });
        check(&in_hosts, &["dns/no-address"], "db has no IPv6 address");
    }

    #[test]
    fn without_our_own_queries_only_the_code_speaks() {
        let alone = |code| failed(code, Answer::nx(), Answer::nx()).with(|f| dns(f).own = Observed::skipped("test"));
        check(&alone("EAI_NONAME"), &["dns/name-not-found"], "there is no name db");
        check(&alone("EAI_NODATA"), &["dns/no-address"], "db has no address");
        check(&alone("EAI_AGAIN"), &["dns/failed"], "db: EAI_AGAIN (as the system says it) after 1.1 ms");
    }

    #[test]
    fn a_lookup_without_an_end_is_what_the_nameservers_say() {
        let endless = |own: Own| {
            Facts::lookup_failed("", own).with(|facts| {
                dns(facts).system = System::TimedOut;
                dns(facts).elapsed_ms = 5000.2;
            })
        };
        let says = "db: no answer after 5000.2 ms";
        check(&endless(Own::of(Answer::a(), Answer::Silent)), &["dns/timeout"], says);
        let silent = "no answer from nameserver 10.0.0.2 about db";
        check(&endless(Own::of(Answer::Silent, Answer::Silent)), &["dns/servers-silent"], silent);
        check(&endless(Own::of(Answer::nx(), Answer::nx())), &["dns/name-not-found"], "there is no name db");
    }

    #[test]
    fn literal_addresses_may_be_unusable() {
        let literal = |name: &str, system: System| {
            let name = name.to_owned();
            Facts::healthy().with(move |facts| {
                facts.ask.target.family = Family::V4;
                *dns(facts) = Dns { name, literal: true, system, ..dns(facts).clone() };
            })
        };
        let wrong = literal("::1", System::Unusable(LiteralFault::WrongFamily));
        check(&wrong, &["dns/wrong-family"], "::1 is an IPv6 address, which -4 excludes");
        let zone = System::Unusable(LiteralFault::UnknownInterface("eth9\x1b".to_owned()));
        check(&literal("fe80::1%eth9", zone), &["dns/unknown-interface"], "this machine has no interface eth9\\x1b");
        let fine = literal("10.0.0.9", System::Addresses(vec![[10, 0, 0, 9].into()]));
        check(&fine, &[], "10.0.0.9 is an address and needs no lookup");
    }
}
