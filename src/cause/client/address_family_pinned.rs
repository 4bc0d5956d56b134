//! Only one address family may be used, and the target has only the other.

use crate::cause::{Case, Cause};
use crate::check::dns::{NO_ADDRESS, WRONG_FAMILY, hosts_exclude};
use crate::model::text::shell_quote;
use crate::model::{Confidence, Family, Risk, Step, Support, Where, escape};
use crate::probe::Facts;
use crate::probe::path::dns::Dns;
use crate::probe::path::dns::answers::{Answer, Outcome, Own, Query, list};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "address-family-pinned",
    title: "the client may use only one address family, and the target has the other",
    explain: "The client is pinned to IPv4 or IPv6 (-4, -6, family: 4, the default of some libraries), and the name \
              has addresses of the other family only, as in the private networks of Fly and Railway and in IPv6-only \
              clusters. Libraries then say ENOTFOUND, as if the name did not exist.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let (dns, family) = (case.facts.dns.seen()?, case.facts.ask.target.family);
    let (flag, has) = pinned(family)?;
    let name = escape(dns.name.as_bytes());
    if case.raised(&WRONG_FAMILY).is_some() {
        let summary = format!("{name} is an {has} address, and {flag} excludes those");
        let support = Support::new(Confidence::Certain, &[&WRONG_FAMILY], summary);
        return Some(support.because("command line", format!("{flag} with the address {name}")));
    }
    case.raised(&NO_ADDRESS)?;
    let own = dns.own.seen()?;
    let in_hosts = hosts_exclude(own, family);
    if !in_hosts && own.outcome(family) != Outcome::OtherFamily {
        return None;
    }
    let sure = in_hosts || own.settled().iter().all(|query| query.answer.is_final()) && !disagree(own, family);
    let confidence = if sure { Confidence::Certain } else { Confidence::Likely };
    let summary = format!("{name} has only {has} addresses ({}), and {flag} excludes those", found(own));
    let support = Support::new(confidence, &[&NO_ADDRESS], summary);
    let support = with_evidence(support, dns, own, in_hosts);
    let host = shell_quote(&dns.name);
    let tells = "addresses of one family only: it is so; of both: nameservers disagree";
    Some(if sure {
        support
    } else {
        support.settled_by(Step::look(Where::Here, format!("getent ahosts {host}"), tells))
    })
}

/// The flag, and the family that it excludes.
fn pinned(family: Family) -> Option<(&'static str, &'static str)> {
    match family {
        Family::Any => None,
        Family::V4 => Some(("-4", "IPv6")),
        Family::V6 => Some(("-6", "IPv4")),
    }
}

/// True if a nameserver whose answer does not count has an address that may be used.
fn disagree(own: &Own, family: Family) -> bool {
    own.asked().any(|query| match &query.answer {
        Answer::Addresses { addresses, .. } => addresses.iter().any(|ip| family.allows(ip)),
        _ => false,
    })
}

fn found(own: &Own) -> String {
    let in_hosts: Vec<_> = own.hosts().iter().map(|entry| entry.address).collect();
    list(if in_hosts.is_empty() { own.addresses() } else { in_hosts }.as_slice())
}

fn with_evidence(support: Support, dns: &Dns, own: &Own, in_hosts: bool) -> Support {
    const SHOWN: usize = 4;
    let mut support = support.because("getaddrinfo(3)", dns.says());
    support.evidence.extend(own.hosts().iter().map(|entry| entry.evidence(&dns.name)));
    if !in_hosts {
        let final_ones = own.settled().into_iter().filter(|query| query.answer.is_final());
        support.evidence.extend(final_ones.take(SHOWN).map(Query::evidence));
    }
    support
        .not("no-address-of-family", "the name has an address of the other family")
        .not("name-not-found", "the name exists")
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let mut target = facts.ask.target.clone();
    let flag = pinned(target.family).map_or("-4", |(flag, _)| flag);
    target.family = Family::Any;
    vec![
        Step::tell(
            Where::Here,
            "in the application allow both families (family: 0, ?family=0; redisdoc's -4 and -6 stand for them)",
        ),
        Step::tell(Where::Network, "or give the name an address of the family that the application insists on"),
        Step::run(Where::Here, Risk::Safe, format!("check again, without {flag}"), target.check_command()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::dns::tests::{check, check_none};
    use crate::model::Observed;
    use crate::probe::path::dns::{LiteralFault, System};

    fn v4(facts: Facts) -> Facts {
        facts.with(|facts| facts.ask.target.family = Family::V4)
    }

    #[test]
    fn certain_where_only_the_other_family_has_addresses() {
        let facts = v4(Facts::lookup_failed("EAI_NODATA", Own::of(Answer::none(), Answer::aaaa())));
        let support = check(&CAUSE, &facts, Some(Confidence::Certain)).unwrap();
        assert_eq!(support.summary, "db has only IPv6 addresses (fd00::9), and -4 excludes those");
        let hosts = Own::of(Answer::nx(), Answer::nx()).and_hosts([0xfd00, 0, 0, 0, 0, 0, 0, 9]);
        check(&CAUSE, &v4(Facts::lookup_failed("EAI_ADDRFAMILY", hosts)), Some(Confidence::Certain));
        let literal = v4(Facts::healthy()).with(|facts| {
            let Observed::Seen(dns) = &mut facts.dns else { return };
            *dns = Dns { literal: true, system: System::Unusable(LiteralFault::WrongFamily), ..dns.clone() };
        });
        check(&CAUSE, &literal, Some(Confidence::Certain));
    }

    #[test]
    fn less_sure_where_nameservers_disagree() {
        let own = Own::of(Answer::none(), Answer::aaaa()).and_server([10, 0, 0, 3], Answer::a(), Answer::none());
        check(&CAUSE, &v4(Facts::lookup_failed("EAI_NODATA", own)), Some(Confidence::Likely));
        let failing = Own::of(Answer::ServFail, Answer::aaaa());
        check(&CAUSE, &v4(Facts::lookup_failed("EAI_AGAIN", failing)), Some(Confidence::Likely));
    }

    #[test]
    fn not_without_a_flag_or_an_address() {
        check_none(&CAUSE, &Facts::healthy());
        check_none(&CAUSE, &v4(Facts::healthy()));
        check_none(&CAUSE, &v4(Facts::lookup_failed("EAI_NODATA", Own::of(Answer::none(), Answer::none()))));
        check_none(&CAUSE, &v4(Facts::lookup_failed("EAI_NONAME", Own::of(Answer::nx(), Answer::nx()))));
    }

    #[test]
    fn the_check_that_verifies_leaves_the_flag_out() {
        let facts = v4(Facts::lookup_failed("EAI_NODATA", Own::of(Answer::none(), Answer::aaaa())));
        let remedy = remedy(&facts);
        let Some(Step::Run { command, .. }) = remedy.last() else { panic!("a command") };
        assert_eq!(command, "redisdoc check -h db -p 6379");
    }
}
