//! The certificate is for other names than the one the server is reached by.

use std::net::IpAddr;

use super::{behind, has, hello};
use crate::cause::{Case, Cause, check_again, redis_host};
use crate::check::tls::WRONG_NAME;
pub(super) use crate::model::text::matches;
use crate::model::text::shell_quote;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tls::certificate::Certificate;
use crate::probe::path::tls::{Flaw, Hello};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "certificate-name-mismatch",
    title: "the server's certificate is for another name",
    explain: "\
The name or address that the client connects to is none of those that the certificate is valid for (subjectAltName). Clients \
say 'Hostname/IP does not match certificate's altnames', 'certificate is valid for …, not …', 'IP address mismatch'. redis-cli \
says PONG all the same: it checks no names, and sends none (SNI) unless it is told to (--sni).

How to be sure: compare the names of the certificate with the host that the application uses. An address is only valid where the \
certificate holds it as an address. A tunnel, a port-forward or an alias gives the server another name. A front that serves \
several names (a TLS proxy, a managed service) shows a default certificate to whoever sends no name, or one that it does not know.

A certificate with no subjectAltName at all, only a common name, is a matter of opinion: OpenSSL's X509_check_host, Python's ssl, \
Java and Node.js fall back to the common name, Go and rustls refuse it. For an address none of them does.

Repair: connect by one of its names; or, through a tunnel, say the name beside the address (--sni, server_hostname, \
tls.servername); or have a certificate made that holds the name. Not: switch verification off.",
    infer,
    remedy,
};

/// The most names that are told.
const MOST: usize = 8;

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&WRONG_NAME)?;
    let hello = hello(case.facts).filter(|hello| has(hello, &Flaw::WrongName))?;
    let leaf = hello.leaf()?;
    let name = case.facts.ask.target.server_name()?;
    // An address is never looked for in the common name.
    let by_common_name = leaf.names.is_empty()
        && !is_address(name)
        && leaf.common_name.as_deref().is_some_and(|common| matches(common, name));
    let summary = if by_common_name {
        format!(
            "the certificate says {name} in its common name alone, which Go and rustls refuse, and OpenSSL, Python, Java and Node.js accept"
        )
    } else {
        format!("{name} is none of the names of the certificate: {}", names(leaf))
    };
    // Whose client it is that fails, only the application knows.
    let confidence =
        if by_common_name || hello.unsent_name.is_some() { Confidence::Likely } else { Confidence::Certain };
    let mut support = Support::new(confidence, &[&WRONG_NAME], summary).on(finding);
    support = support.because("the names of the certificate (subjectAltName)", names(leaf));
    support = support.because("reached by", reached_by(hello, name)).with(behind(case.facts).into_iter().collect());
    if !by_common_name && hello.flaws == [Flaw::WrongName] {
        let text =
            "the certificate is signed by one that is trusted, so that redis-cli, which checks no names, goes on";
        support = support.not("untrusted-ca", text);
    }
    Some(if by_common_name && hello.unsent_name.is_none() {
        let text =
            "the application is in Go or Rust, or uses urllib3: this is it; another library: it takes the common name";
        support.settled_by(Step::look(Where::Here, "openssl version", text))
    } else if let Some(unsent) = &hello.unsent_name {
        let command = format!(
            "openssl s_client -connect {} -servername {} </dev/null | openssl x509 -noout -ext subjectAltName",
            hello.address,
            shell_quote(unsent)
        );
        let text = "the same names: this is it; others: a front gives them to whoever sends the name, as clients with OpenSSL do, and \
                    redisdoc's library (rustls) cannot";
        support.settled_by(Step::look(Where::Here, command, text))
    } else {
        support
    })
}

fn names(leaf: &Certificate) -> String {
    if leaf.names.is_empty() {
        return format!("none (common name {})", leaf.common_name.as_deref().unwrap_or("none, either"));
    }
    let more = leaf.names.len().saturating_sub(MOST);
    let told = leaf.names.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{told} and {more} more") } else { told }
}

fn reached_by(hello: &Hello, name: &str) -> String {
    match (&hello.server_name, &hello.unsent_name) {
        (Some(sent), _) => format!("{name}; {sent} was sent as the server's name (SNI)"),
        (None, Some(_)) => {
            format!("{name}; no server name was sent (SNI), for redisdoc's library takes this one for none")
        }
        (None, None) => format!("{name}; no server name was sent (SNI), as none is for addresses"),
    }
}

/// True for an address, with or without the zone that the kernel reads.
fn is_address(name: &str) -> bool {
    name.split('%').next().unwrap_or(name).parse::<IpAddr>().is_ok()
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    let Some((leaf, name)) = hello(facts).and_then(Hello::leaf).zip(target.server_name()) else { return Vec::new() };
    let usable = leaf.names.iter().find(|name| !name.contains(['*', ':']) && !is_address(name));
    let reissue = Step::tell(
        redis_host(facts),
        format!(
            "or have a certificate made that is valid for {name}, too (subjectAltName), and give it to Redis (CONFIG SET tls-cert-file)"
        ),
    );
    let Some(usable) = usable.filter(|_| !leaf.names.is_empty()) else { return vec![reissue] };
    let mut named = target.clone();
    named.sni = Some(usable.clone());
    vec![
        Step::tell(
            Where::Here,
            format!(
                "connect by a name of the certificate, if it is this server's; through a tunnel or by an address, say the name beside \
                 it: --sni {usable}, or what the client library calls server name or hostname of TLS"
            ),
        ),
        reissue,
        check_again(&named),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::flawed;
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};

    #[test]
    fn the_names_are_compared() {
        check_cause(
            &CAUSE,
            &flawed(&[Flaw::WrongName]).hello(|it| it.chain[0].names = vec!["cache".to_owned()]),
            Some(Confidence::Certain),
        );
        check_cause(&CAUSE, &flawed(&[Flaw::UnknownIssuer]), None);
    }

    #[test]
    fn a_common_name_alone_is_a_matter_of_opinion() {
        let facts = |common: &str| {
            flawed(&[Flaw::WrongName]).hello(|hello| {
                (hello.chain[0].names, hello.chain[0].common_name) = (Vec::new(), Some(common.to_owned()));
            })
        };
        check_cause(&CAUSE, &facts("DB"), Some(Confidence::Likely));
        check_cause(&CAUSE, &facts("cache"), Some(Confidence::Certain));
        // Not for an address.
        let address = facts("10.0.0.9").with(|facts| facts.ask.target.sni = Some("10.0.0.9".to_owned()));
        check_cause(&CAUSE, &address, Some(Confidence::Certain));
    }

    #[test]
    fn a_name_that_was_not_sent_may_have_another_certificate() {
        let other = |it: &mut Hello| it.chain[0].names = vec!["cache".to_owned()];
        let facts = flawed(&[Flaw::WrongName]).hello(other).hello(|it| it.unsent_name = Some("redis.1".to_owned()));
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
    }

    #[test]
    fn a_name_that_would_do_is_named() {
        let facts = flawed(&[Flaw::WrongName])
            .hello(|it| it.chain[0].names = ["10.0.0.7", "DNS:10.0.0.9", "cache"].map(str::to_owned).to_vec());
        let causes = diagnose(&facts).causes;
        let last = causes[0].remedy.last();
        assert!(matches!(last, Some(Step::Run { command, .. }) if command.ends_with("--tls --sni cache")), "{last:?}");
    }
}
