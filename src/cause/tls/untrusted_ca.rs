//! Nobody that is trusted here vouches for the server's certificate.

use super::{behind, file, has, held, hello, is_own_authority_trusted, remade, top};
use crate::cause::{Case, Cause, redis_host};
use crate::check::tls::{PARTLY_TRUSTED, UNTRUSTED};
use crate::model::text::shell_quote;
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tls::certificate::Certificate;
use crate::probe::path::tls::{Flaw, Hello, Stop, Trust, Why};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "untrusted-ca",
    title: "the authority that signed the server's certificate is not trusted here",
    explain: "\
The server's certificate is signed by itself, or by an authority that is not among those that are trusted: the file of \
--cacert, or the system's. Clients say 'certificate verify failed', 'unable to get local issuer certificate', \
'self-signed certificate in certificate chain', 'PKIX path building failed', 'x509: certificate signed by unknown authority'.

How to be sure: the chain that the server sends names its authority. Where it sends that one too, and it is not trusted, that \
is it. Where it does not, an intermediate certificate may be missing instead (incomplete-chain). An authority of the same \
name with another key is another authority: somebody made it again, and not everybody got the new one. A machine or \
container without any authorities (no package ca-certificates) trusts nobody.

Repair: give the client the authority's certificate (--cacert, ssl_ca_certs, ca, sslrootcert …) or install it on the machine. \
Not: switch verification off (rejectUnauthorized false, ssl_cert_reqs none): then whoever gets between reads the password.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    if let Some(finding) = case.raised(&PARTLY_TRUSTED) {
        let hello = hello(case.facts)?;
        let summary = match hello.stop.as_ref()?.why {
            Why::Unrooted => {
                "an intermediate authority is trusted without its root: OpenSSL, as most set it up, does not take that for enough"
            }
            _ => "OpenSSL takes another way through the authorities that are trusted here, and stops on it",
        };
        let support = Support::new(Confidence::Likely, &[&PARTLY_TRUSTED], summary).on(finding);
        return Some(support.settled_by(as_openssl_sees_it(case.facts, hello)));
    }
    let finding = case.raised(&UNTRUSTED)?;
    let tls = case.facts.tls.seen()?;
    let hello = tls.preferred()?;
    let (confidence, summary) = verdict(&tls.trust, hello, case.facts)?;
    // What stood in the broken part of the file, nobody knows.
    let confidence = if tls.trust.unloadable.is_some() { confidence.min(Confidence::Likely) } else { confidence };
    let mut support = Support::new(confidence, &[&UNTRUSTED], summary).on(finding);
    support = support.because("the chain that the server sent", chain(hello));
    support = support.because("trusted here", trusted(&tls.trust)).with(behind(case.facts).into_iter().collect());
    for problem in tls.trust.problems.iter().take(3) {
        support = support.because("not to be used of it", problem.clone());
    }
    if confidence == Confidence::Certain && tls.trust.authorities > 0 {
        let text = "the authority that it ends with is known, and is not one that is trusted";
        support = support.not("incomplete-chain", text);
    }
    Some(match confidence {
        Confidence::Certain => support,
        _ if remade(hello).is_some() => support.settled_by(settle_remade(case.facts, hello)),
        _ if is_made_again(hello) => support.settled_by(as_openssl_sees_it(case.facts, hello)),
        _ => support.settled_by(settle(case.facts, hello)),
    })
}

/// How sure it is, and in what words.
fn verdict(trust: &Trust, hello: &Hello, facts: &Facts) -> Option<(Confidence, String)> {
    let (leaf, last) = (hello.leaf()?, top(hello)?);
    let unknown = has(hello, &Flaw::UnknownIssuer);
    let forged = has(hello, &Flaw::BadSignature);
    let own_authority = has(hello, &Flaw::AuthorityAsServer) && leaf.self_signed;
    if !unknown && !forged && !own_authority {
        return None;
    }
    if is_made_again(hello) {
        let says = "the certificate signed itself, and the one that is trusted has its name and key, and is another: it was made again, \
                    and OpenSSL wants the very one";
        return Some((Confidence::Likely, says.to_owned()));
    }
    if let Some(name) = remade(hello) {
        let says = format!(
            "{name} was made again: the certificate of it that the server sends has another key than the one that signed the server's, which \
             is not trusted here"
        );
        return Some((Confidence::Likely, says));
    }
    // The chain breaks before its end: whose that is, is another question (incomplete-chain).
    if hello.misfit.is_some() || (!own_authority && is_anchor(hello, last)) {
        return None;
    }
    if trust.authorities == 0 {
        let whom = if trust.of_the_system {
            "this machine trusts no authority at all"
        } else {
            "the files that were named hold no authority"
        };
        return Some((Confidence::Certain, format!("{whom}: no certificate can be verified")));
    }
    let name = &last.issuer;
    if forged || (trust.names.contains(name) && last.self_signed) {
        let same = format!(
            "an authority called {name} is trusted, but with another key than that which signed the certificate: it was made again"
        );
        return Some((if last.self_signed { Confidence::Certain } else { Confidence::Likely }, same));
    }
    if leaf.self_signed {
        return Some((
            Confidence::Certain,
            "the certificate signed itself, and is not among those that are trusted".to_owned(),
        ));
    }
    if last.self_signed {
        let says = format!("{name}, whose chain is complete, is not trusted here");
        return Some((Confidence::Certain, says));
    }
    if root(facts, last).is_some() {
        return Some((Confidence::Certain, format!("{name} is the server's own authority, and is not trusted here")));
    }
    // Public authorities sign by intermediates; and where the server's own authority is trusted, that is not what is missing.
    let between = leaf.issuer_url.is_some() || is_own_authority_trusted(facts);
    let confidence = if hello.chain.len() == 1 && between { Confidence::Possible } else { Confidence::Likely };
    Some((confidence, format!("{name}, which signed it, is not trusted here")))
}

/// True if the server's certificate signed itself, and one of its name and key is trusted, which is not the same.
fn is_made_again(hello: &Hello) -> bool {
    let unknown = has(hello, &Flaw::UnknownIssuer);
    unknown && hello.leaf().is_some_and(|leaf| leaf.self_signed && is_anchor(hello, leaf))
}

/// True if it is among those that are trusted: the same name, the same key.
fn is_anchor(hello: &Hello, one: &Certificate) -> bool {
    hello.anchors.iter().any(|at| hello.chain.get(*at) == Some(one))
}

/// The root that signed it, among the server's own files.
fn root<'a>(facts: &'a Facts, last: &Certificate) -> Option<&'a Certificate> {
    held(facts, "tls-ca-cert-file").iter().find(|one| one.self_signed && last.may_be_signed_by(one))
}

fn chain(hello: &Hello) -> String {
    let mut says: Vec<String> = hello.chain.iter().map(|one| one.subject.clone()).collect();
    says.extend(top(hello).filter(|last| !last.self_signed).map(|last| format!("(not sent: {})", last.issuer)));
    says.join(", signed by ")
}

fn trusted(trust: &Trust) -> String {
    let whose = if trust.of_the_system { "of this system" } else { "of the files that were named" };
    let names = if trust.names.is_empty() { String::new() } else { format!(": {}", trust.names.join("; ")) };
    let among = if trust.names.len() < trust.authorities && !names.is_empty() { ", among them" } else { "" };
    let plural = if trust.authorities == 1 { "authority" } else { "authorities" };
    format!("{} {plural} {whose}{among}{names}", trust.authorities)
}

fn as_openssl_sees_it(facts: &Facts, hello: &Hello) -> Step {
    let cacert = facts.ask.target.certificates.cacert.as_deref();
    let trusting = cacert.map_or_else(String::new, |path| format!(" -CAfile {}", shell_quote(path)));
    let command = format!("openssl s_client -connect {}{trusting} -verify_return_error </dev/null", hello.address);
    Step::look(
        Where::Here,
        command,
        "an error of verification: clients with OpenSSL meet it, too; none: this one takes it",
    )
}

fn settle(facts: &Facts, hello: &Hello) -> Step {
    let issuer = top(hello).map(|last| last.issuer.clone()).unwrap_or_default();
    let text = format!(
        "one with the subject {issuer} that is another's (issuer and subject differ): incomplete-chain; one that signed itself: this"
    );
    let path = file(facts, "tls-ca-cert-file").map_or("the authority's file", |file| &file.path);
    let command = format!("openssl x509 -noout -subject -issuer -in {}", shell_quote(path));
    Step::look(redis_host(facts), command, text)
}

fn settle_remade(facts: &Facts, hello: &Hello) -> Step {
    let name = remade(hello).unwrap_or_default();
    let text = format!(
        "several certificates of {name} with keys of their own, among what is sent and what whoever runs it has: this; one alone: the \
         server's own certificate was signed by somebody else"
    );
    Step::look(redis_host(facts), format!("openssl s_client -connect {} -showcerts </dev/null", hello.address), text)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some((tls, hello)) = facts.tls.seen().zip(hello(facts)) else { return Vec::new() };
    if let Some(stop) = &hello.stop {
        return vec![Step::tell(Where::Here, past(stop))];
    }
    if let Some(name) = remade(hello) {
        let text = format!(
            "get the certificate of {name} that signed the server's own (its newer one, as a rule, and not the one that the server sends) from \
             whoever runs that authority, and give it to the application in the other one's place (--cacert FILE)"
        );
        return vec![Step::tell(Where::Here, text)];
    }
    let mut steps = Vec::new();
    if tls.trust.of_the_system && tls.trust.authorities == 0 {
        let text = "install the system's authorities: 'apt-get install ca-certificates', 'apk add ca-certificates', 'dnf install \
                    ca-certificates'; or, in an image FROM scratch, copy /etc/ssl/certs/ca-certificates.crt into it";
        steps.push(Step::tell(Where::Here, text));
    }
    let last = top(hello);
    let of_server = last.filter(|last| root(facts, last).is_some() || holds(facts, last));
    let file = file(facts, "tls-ca-cert-file").filter(|_| of_server.is_some());
    let who = last.map_or("the authority", |last| if last.self_signed { &last.subject } else { &last.issuer });
    match file {
        Some(file) if redis_host(facts) == Where::Here => {
            let text = format!("give the application the certificate of {who} (--cacert {})", shell_quote(&file.path));
            steps.push(Step::tell(Where::Here, text));
            let mut target = facts.ask.target.clone();
            target.certificates.cacert = Some(file.path.clone());
            steps.push(Step::run(Where::Here, Risk::Safe, "check again", target.check_command()));
        }
        Some(file) => {
            let text = format!(
                "copy {} from the Redis host, and give it to the application: it holds {who} (--cacert FILE)",
                shell_quote(&file.path)
            );
            steps.push(Step::tell(Where::Here, text));
        }
        None => {
            let text = format!(
                "get the certificate of {who} from whoever runs the Redis ('tls-ca-cert-file' in its redis.conf, or the provider's page), and give it to the application (--cacert FILE), or install it on this machine"
            );
            steps.push(Step::tell(Where::Here, text));
        }
    }
    steps
}

/// What helps OpenSSL past the place where it stops.
fn past(Stop { at, why }: &Stop) -> String {
    let (subject, issuer) = (&at.subject, &at.issuer);
    match why {
        Why::Unrooted => format!(
            "add the certificate of {issuer}, the root, to those that the application trusts (--cacert); or, where they hold a certificate of \
             {subject} that signed itself, or its root by another way, take this one out (SHA-256 {})",
            at.sha256
        ),
        Why::NamesAnother => format!(
            "get the certificate of {issuer} that {subject} names (authorityKeyIdentifier) from whoever runs that authority, and give it to the \
             application (--cacert); or have the certificate of {subject} made again by the one that is trusted"
        ),
        Why::AnotherKey => format!(
            "in the file that the application trusts (--cacert), put the certificate of {subject} that has signed into the place of this one \
             (SHA-256 {}), or before it",
            at.sha256
        ),
        Why::OutOfTime => format!(
            "in the file that the application trusts (--cacert), put the renewed certificate of {subject} into the place of this one; if there is none \
             any more, take out what it signed, too, where the file has a certificate of the same name that signed itself"
        ),
        Why::Unfit(_) => format!(
            "in the file that the application trusts (--cacert), put a certificate of {subject} into the place of this one (SHA-256 {}) that may sign \
             others (CA:TRUE, keyUsage keyCertSign)",
            at.sha256
        ),
    }
}

/// True if the authority's file of the server holds the very certificate.
fn holds(facts: &Facts, certificate: &Certificate) -> bool {
    held(facts, "tls-ca-cert-file").iter().any(|one| one.sha256 == certificate.sha256)
}

#[cfg(test)]
mod tests {
    use super::super::tests::flawed;
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;

    fn trusting(facts: Facts, authorities: usize, names: &[&str]) -> Facts {
        facts.with(|facts| {
            let Observed::Seen(tls) = &mut facts.tls else { return };
            tls.trust.authorities = authorities;
            tls.trust.names = names.iter().map(|name| (*name).to_owned()).collect();
        })
    }

    fn and_root(facts: Facts, name: &str) -> Facts {
        facts.hello(|hello| {
            let (subject, issuer) = (name.to_owned(), name.to_owned());
            hello.chain.push(Certificate { subject, issuer, self_signed: true, is_ca: true, ..Certificate::healthy() });
        })
    }

    #[test]
    fn a_chain_that_is_complete_is_certain() {
        let facts = || flawed(&[Flaw::UnknownIssuer]);
        check_cause(&CAUSE, &and_root(facts(), "CN=Example CA"), Some(Confidence::Certain));
        check_cause(&CAUSE, &facts().hello(|hello| hello.chain[0].self_signed = true), Some(Confidence::Certain));
        // The root is not sent, as is right: an intermediate may be missing.
        check_cause(&CAUSE, &facts(), Some(Confidence::Likely));
        let public = facts().hello(|hello| hello.chain[0].issuer_url = Some("http://r11.i.lencr.org/".to_owned()));
        check_cause(&CAUSE, &public, Some(Confidence::Possible));
        check_cause(&CAUSE, &flawed(&[Flaw::Expired]), None);
        check_cause(&CAUSE, &flawed(&[Flaw::WrongPurpose]), None);
    }

    #[test]
    fn an_intermediate_alone_is_a_matter_of_the_library() {
        let stopped = |why| Facts::encrypted().hello(|it| it.stop = Some(Stop { at: Certificate::healthy(), why }));
        check_cause(&CAUSE, &stopped(Why::Unrooted), Some(Confidence::Likely));
        check_cause(&CAUSE, &stopped(Why::AnotherKey), Some(Confidence::Likely));
        check_cause(&CAUSE, &stopped(Why::Unrooted).hello(|hello| hello.stop = None), None);
        // The same name and key, made again.
        let again = flawed(&[Flaw::UnknownIssuer]).hello(|hello| {
            hello.chain[0].self_signed = true;
            hello.anchors = vec![0];
        });
        check_cause(&CAUSE, &again, Some(Confidence::Likely));
    }

    #[test]
    fn a_machine_without_authorities_trusts_nobody() {
        let nobody = || trusting(flawed(&[Flaw::UnknownIssuer]), 0, &[]);
        check_cause(&CAUSE, &nobody(), Some(Confidence::Certain));
        let broken = nobody().with(|facts| {
            let Observed::Seen(tls) = &mut facts.tls else { return };
            tls.trust.unloadable = Some("ca.pem: it is DER".to_owned());
        });
        check_cause(&CAUSE, &broken, Some(Confidence::Likely));
    }

    #[test]
    fn an_authority_that_was_made_again_is_another() {
        let facts = || trusting(flawed(&[Flaw::BadSignature]), 1, &["CN=Example CA"]);
        check_cause(&CAUSE, &facts(), Some(Confidence::Likely));
        check_cause(&CAUSE, &and_root(facts(), "CN=Example CA"), Some(Confidence::Certain));
        // The root is the one that is trusted; what breaks the chain is below it.
        let trusted = and_root(facts(), "CN=Example CA").hello(|hello| hello.anchors = vec![1]);
        check_cause(&CAUSE, &trusted, None);
        // The one that is sent did not sign it.
        let sent = || and_root(facts(), "CN=Example CA").hello(|hello| hello.misfit = Some(0));
        check_cause(&CAUSE, &sent(), Some(Confidence::Likely));
        check_cause(&CAUSE, &sent().hello(|hello| hello.chain[1].self_signed = false), None);
    }
}
