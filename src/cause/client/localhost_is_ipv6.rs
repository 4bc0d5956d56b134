//! `localhost` is `::1` first, and Redis listens on 127.0.0.1 only.

use std::net::{IpAddr, Ipv6Addr};

use crate::cause::listen::wrong_port::only_other_family;
use crate::cause::{Case, Cause, redis_host};
use crate::check::{process, tcp};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::Outcome;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "localhost-is-ipv6",
    title: "localhost is ::1 first, and Redis is not there",
    explain: "\
The name resolves to ::1 and to 127.0.0.1, ::1 is refused and 127.0.0.1 is accepted: Redis listens on IPv4 loopback only. \
redis-cli and most clients try one address after the other and notice nothing; clients that take only the first address \
(Node.js 17 and later without happy eyeballs, some Java and PHP clients) fail with 'ECONNREFUSED ::1:6379'.

Repair: name 127.0.0.1 in the application's settings, or let Redis listen on both: 'bind 127.0.0.1 -::1'. With TLS the certificate must \
be valid for what is named: where it knows the name alone, listening on both is the way.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let attempts = &case.facts.tcp.seen()?.attempts;
    let loopback6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let refused =
        attempts.iter().find(|a| a.ip == Some(loopback6) && a.outcome == Outcome::Refused && a.icmp.is_none())?;
    let accepted = attempts.iter().find(|a| a.outcome == Outcome::Connected && a.ip.is_some_and(|ip| ip.is_loopback()));
    let because = |support: Support| support.because("connect(2)", refused.says());
    if let Some(accepted) = accepted {
        let summary = format!("{} is refused, {} is accepted", refused.address, accepted.address);
        return Some(
            because(Support::new(Confidence::Certain, &[&tcp::SOME_FAILED], summary))
                .because("connect(2)", accepted.says())
                .not("not-running", "it accepts connections on the other address"),
        );
    }
    // Only ::1 was tried, by a pinned family or a literal: the other address is still to be asked.
    let alone = attempts.len() == 1;
    let port = case.facts.ask.target.port()?;
    if let Some(host) = case.host().filter(|_| alone) {
        // The listeners are seen: 127.0.0.1 is among them, or this is not it.
        let elsewhere = case.raised(&process::ELSEWHERE).filter(|_| only_other_family(case, host, port))?;
        let summary = "Redis listens on 127.0.0.1, and only ::1 was tried";
        let codes = [&tcp::REFUSED, &process::ELSEWHERE];
        return Some(
            because(Support::new(Confidence::Certain, &codes, summary))
                .on(elsewhere)
                .not("not-running", "it listens on 127.0.0.1"),
        );
    }
    let step = Step::look(Where::Here, format!("redisdoc check -h 127.0.0.1 -p {port}"), "healthy: this is it");
    alone.then(|| {
        because(Support::new(
            Confidence::Possible,
            &[&tcp::REFUSED],
            "only ::1 was tried; Redis may listen on 127.0.0.1 only",
        ))
        .settled_by(step)
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    let (name, port) = (target.host().unwrap_or("localhost"), target.port().unwrap_or_default());
    let both = "let Redis listen on both: 'bind 127.0.0.1 -::1' in redis.conf, and restart it";
    let instead = format!("name 127.0.0.1:{port} instead of {name} in the application's settings");
    if is_named(facts) {
        return vec![Step::tell(Where::Here, instead), Step::tell(redis_host(facts), format!("or {both}"))];
    }
    let kept = target.server_name().unwrap_or(name);
    let beside = format!(
        "or {instead}, and beside it the name that the certificate is valid for: --sni {kept}, or what the client library calls server name \
         or hostname of TLS"
    );
    vec![Step::tell(redis_host(facts), both), Step::tell(Where::Here, beside)]
}

/// True if 127.0.0.1 may be asked for in the name's place: without TLS, or where the certificate is valid for it, too.
fn is_named(facts: &Facts) -> bool {
    let target = &facts.ask.target;
    let leaf = facts.tls.seen().and_then(|tls| tls.preferred()?.leaf());
    let names_it = leaf.is_some_and(|leaf| leaf.names.iter().any(|name| name == "127.0.0.1"));
    !target.tls || target.certificates.insecure || names_it
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Family;
    use crate::probe::path::tcp::Attempt;

    fn refused6() -> Attempt {
        Attempt::failed(Ipv6Addr::LOCALHOST.into(), Outcome::Refused, "ECONNREFUSED", 0.1)
    }

    #[test]
    fn refused_there_and_accepted_here_is_certain() {
        let facts = Facts::healthy().attempting(vec![refused6(), Attempt::connected([127, 0, 0, 1].into())]);
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
    }

    #[test]
    fn with_a_pinned_family_it_is_a_candidate() {
        let facts = Facts::healthy().attempting(vec![refused6()]).with(|facts| facts.ask.target.family = Family::V6);
        check_cause(&CAUSE, &facts, Some(Confidence::Possible));
    }

    #[test]
    fn with_tls_the_certificate_must_name_it() {
        let first = |facts: &Facts| match remedy(facts).remove(0) {
            Step::Tell { text, .. } => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(first(&Facts::healthy()), "name 127.0.0.1:6379 instead of db in the application's settings");
        assert!(first(&Facts::encrypted()).starts_with("let Redis listen on both"));
        let named = Facts::encrypted().hello(|hello| hello.chain[0].names.push("127.0.0.1".to_owned()));
        assert!(first(&named).starts_with("name 127.0.0.1"));
        let overlooked = Facts::encrypted().with(|facts| facts.ask.target.certificates.insecure = true);
        assert!(first(&overlooked).starts_with("name 127.0.0.1"));
    }

    #[test]
    fn both_refused_is_another_cause() {
        let refused4 = Attempt::failed([127, 0, 0, 1].into(), Outcome::Refused, "ECONNREFUSED", 0.1);
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![refused6(), refused4]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
