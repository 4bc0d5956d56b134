//! The certificate is of a kind that is refused, whoever signed it.

use super::{behind, hello};
use crate::cause::{Case, Cause, redis_host};
use crate::check::tls::UNTRUSTED;
use crate::model::text::shell_quote;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tls::{Flaw, Hello};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "certificate-unsupported",
    title: "the server's certificate is of a kind that is refused",
    explain: "\
The certificate cannot be a server's, whoever signed it: it is limited to other purposes (extendedKeyUsage without serverAuth), it \
is that of an authority (CA:TRUE), it is of version 1 (made by 'openssl x509 -req' without extensions), or signed with an algorithm \
that is not accepted any more (SHA-1, MD5), or with a key that is too short. Or the certificate that is trusted (--cacert), and signed \
it, is none of an authority: CA:FALSE, no basicConstraints, or a keyUsage or extendedKeyUsage that does not let it sign servers.

How to be sure: every library refuses the wrong purpose. Of the others, libraries are of different opinions: rustls, whose verdict \
the evidence has, refuses them all; OpenSSL accepts authorities and version 1, and SHA-1 only at a low security level. At what a trusted authority may do, rustls does not look: \
OpenSSL does, and with it redis-cli, Python, Node.js and PHP; an authority without basicConstraints, rustls takes.

Repair: have it made again, of version 3, with a subjectAltName, CA:FALSE, serverAuth (and clientAuth where it is used for \
replication, too), signed with SHA-256.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&UNTRUSTED)?;
    let hello = hello(case.facts)?;
    let (confidence, summary) = hello.flaws.iter().find_map(|flaw| refused(flaw, hello))?;
    let mut support = Support::new(confidence, &[&UNTRUSTED], summary).on(finding);
    if let Some(leaf) = hello.leaf() {
        let purposes = if leaf.purposes.is_empty() { "any".to_owned() } else { leaf.purposes.join(", ") };
        let says = format!(
            "purposes: {purposes}; CA:{}; signed with {}",
            leaf.is_ca.to_string().to_uppercase(),
            leaf.signed_with
        );
        support = support.because("certificate", says);
    }
    support = support.with(behind(case.facts).into_iter().collect());
    let named = case.facts.ask.target.certificates.cacert.as_deref();
    let trusting = named.map_or_else(String::new, |path| format!(" -CAfile {}", shell_quote(path)));
    Some(match confidence {
        Confidence::Certain if is_unfit(hello) => support
            .because(
                "the libraries of clients",
                "OpenSSL, and with it redis-cli, Python, Node.js and PHP, refuses what such a one has signed",
            )
            .not("untrusted-ca", "the one that signed it is trusted, and may not sign"),
        Confidence::Certain => support.not("untrusted-ca", "whoever signed it, it is not made for a server"),
        _ => support.settled_by(Step::look(
            Where::Here,
            format!("openssl s_client -connect {}{trusting} -verify_return_error </dev/null", hello.address),
            "an error: OpenSSL refuses it, too; none: the application's library decides",
        )),
    })
}

/// Why it is refused, where that has nothing to do with who signed it.
fn refused(flaw: &Flaw, hello: &Hello) -> Option<(Confidence, String)> {
    match flaw {
        Flaw::WrongPurpose
            if hello.leaf().is_some_and(|leaf| leaf.purposes.iter().any(|one| one == "serverGatedCrypto")) =>
        {
            let says = "the certificate has serverGatedCrypto in place of serverAuth, which rustls refuses, and OpenSSL accepts";
            Some((Confidence::Likely, says.to_owned()))
        }
        Flaw::WrongPurpose => {
            Some((Confidence::Certain, "the certificate is limited to other purposes than a server's".to_owned()))
        }
        Flaw::AuthorityAsServer if hello.leaf().is_some_and(|leaf| !leaf.self_signed) => {
            let says =
                "the server shows the certificate of an authority (CA:TRUE), which rustls refuses, and OpenSSL accepts";
            Some((Confidence::Likely, says.to_owned()))
        }
        Flaw::UnfitAuthority(says) => Some((Confidence::Certain, says.clone())),
        Flaw::OddAuthority(says) => {
            Some((Confidence::Likely, format!("{says}: OpenSSL refuses what it signed, rustls takes it")))
        }
        Flaw::Other(says) => Some((Confidence::Likely, format!("rustls does not accept the certificate: {says}"))),
        _ => None,
    }
}

fn is_unfit(hello: &Hello) -> bool {
    hello.flaws.iter().any(|flaw| matches!(flaw, Flaw::UnfitAuthority(_) | Flaw::OddAuthority(_)))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    if hello(facts).is_some_and(is_unfit) {
        return vec![Step::tell(
            Where::Here,
            "have the authority's own certificate made again with the same key and name, as that of an authority (CA:TRUE, keyUsage keyCertSign, no \
             extendedKeyUsage or one with serverAuth), and give it to every client (--cacert); or have the server's certificate signed by an \
             authority that is one",
        )];
    }
    vec![Step::tell(
        redis_host(facts),
        "have the certificate made again: version 3, CA:FALSE, extendedKeyUsage serverAuth, a subjectAltName with the names that clients use, \
         signed with SHA-256; then let Redis read it: CONFIG SET tls-cert-file",
    )]
}

#[cfg(test)]
mod tests {
    use super::super::tests::flawed;
    use super::*;
    use crate::cause::tests::check_cause;

    #[test]
    fn the_wrong_purpose_is_certain_the_rest_is_a_matter_of_opinion() {
        check_cause(&CAUSE, &flawed(&[Flaw::WrongPurpose]), Some(Confidence::Certain));
        check_cause(&CAUSE, &flawed(&[Flaw::AuthorityAsServer]), Some(Confidence::Likely));
        check_cause(&CAUSE, &flawed(&[Flaw::Other("UnsupportedCertVersion".to_owned())]), Some(Confidence::Likely));
        check_cause(&CAUSE, &flawed(&[Flaw::UnfitAuthority("CA:FALSE".to_owned())]), Some(Confidence::Certain));
        check_cause(&CAUSE, &flawed(&[Flaw::OddAuthority("of CN=CA".to_owned())]), Some(Confidence::Likely));
        let gated = |it: &mut Hello| it.chain[0].purposes = vec!["serverGatedCrypto".to_owned()];
        check_cause(&CAUSE, &flawed(&[Flaw::WrongPurpose]).hello(gated), Some(Confidence::Likely));
        let of_clients = |it: &mut Hello| it.chain[0].purposes = vec!["clientAuth".to_owned()];
        check_cause(&CAUSE, &flawed(&[Flaw::WrongPurpose]).hello(of_clients), Some(Confidence::Certain));
        check_cause(&CAUSE, &flawed(&[Flaw::Beyond("P-521".to_owned())]), None);
        check_cause(&CAUSE, &flawed(&[Flaw::UnknownIssuer]), None);
        let own = flawed(&[Flaw::AuthorityAsServer]).hello(|hello| hello.chain[0].self_signed = true);
        check_cause(&CAUSE, &own, None);
    }
}
