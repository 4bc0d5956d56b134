//! OpenSSL does not load the file of the trusted authorities.

use super::hello;
use crate::cause::{Case, Cause};
use crate::check::tls::{UNLOADABLE, UNTRUSTED};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "cacert-malformed",
    title: "OpenSSL does not load the file of the trusted authorities",
    explain: "\
One block of the file is cut off or garbled, has an empty line within, or begins on the line on which the one before it ends ('cat' of \
files without a last line end); or the file is DER. OpenSSL then takes nothing of it: redis-cli says 'Invalid CA Certificate \
File/Directory', Python '[X509] PEM lib' or NO_CERTIFICATE_OR_CRL_FOUND. redisdoc and other libraries (Go, Java, rustls) take what is whole.

How to be sure: OpenSSL's own tool reads the file as its library does. Whether the application is told by it, is the library's matter.

Repair: put the file together again, each certificate from '-----BEGIN CERTIFICATE-----' to '-----END CERTIFICATE-----' on lines of \
their own.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&UNLOADABLE)?;
    let is_untrusted = case.raised(&UNTRUSTED).is_some() && hello(case.facts)?.anchor.is_none();
    let explains: &[&'static Code] = if is_untrusted { &[&UNLOADABLE, &UNTRUSTED] } else { &[&UNLOADABLE] };
    let path = shell_quote(case.facts.ask.target.certificates.cacert.as_deref().unwrap_or("FILE"));
    let summary =
        "one bad block spoils the whole file of --cacert for clients with OpenSSL (redis-cli, Python, Node.js, PHP)";
    let support = Support::new(Confidence::Likely, explains, summary).on(finding);
    Some(support.settled_by(Step::look(
        Where::Here,
        format!("openssl crl2pkcs7 -nocrl -certfile {path} | openssl pkcs7 -print_certs -noout"),
        "an error, or no certificate: this is it, where the application's library is OpenSSL; all of the file's authorities: it is not",
    )))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let path = shell_quote(facts.ask.target.certificates.cacert.as_deref().unwrap_or("FILE"));
    let is_der =
        facts.tls.seen().and_then(|tls| tls.trust.unloadable.as_deref()).is_some_and(|says| says.contains("DER"));
    let text = if is_der {
        format!("write it as PEM ('openssl x509 -inform DER -in {path} -out ca.pem'), and give that to the application")
    } else {
        format!(
            "put {path} together again: each certificate whole, and its '-----BEGIN CERTIFICATE-----' and '-----END CERTIFICATE-----' on lines of \
             their own, without empty lines between the two"
        )
    };
    vec![Step::tell(Where::Here, text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::cause::tls::tests::flawed;
    use crate::model::Observed;
    use crate::probe::path::tls::Flaw;

    fn malformed(facts: Facts, says: &str) -> Facts {
        facts.with(|facts| {
            let Observed::Seen(tls) = &mut facts.tls else { return };
            tls.trust.unloadable = Some(says.to_owned());
        })
    }

    #[test]
    fn it_is_a_matter_of_the_library() {
        let cut = "ca.pem: the block that begins on line 1 has no end";
        check_cause(&CAUSE, &malformed(Facts::encrypted(), cut), Some(Confidence::Likely));
        check_cause(&CAUSE, &malformed(flawed(&[Flaw::UnknownIssuer]), cut), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::encrypted(), None);
    }

    #[test]
    fn der_is_written_anew() {
        let der = malformed(Facts::encrypted(), "ca.der: it is DER, and not PEM (BEGIN CERTIFICATE)");
        assert!(matches!(&remedy(&der)[..], [Step::Tell { text, .. }] if text.contains("-inform DER")));
    }
}
