//! The server leaves out a certificate between its own and an authority that is trusted.

use super::{admin_cli, behind, file, has, held, hello, is_own_authority_trusted, remade, top};
use crate::cause::{Case, Cause, redis_host};
use crate::check::tls::UNTRUSTED;
use crate::model::text::shell_quote;
use crate::model::{Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::path::tls::certificate::Certificate;
use crate::probe::path::tls::{Flaw, Hello, is_kin};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "incomplete-chain",
    title: "the server leaves out an intermediate certificate",
    explain: "\
The server sends its own certificate without that of the intermediate authority that signed it, so that nobody who knows only \
the root can follow the chain. Clients that happen to have the intermediate (browsers, Java with a full store, one that \
fetched it before) work, others say 'unable to get local issuer certificate' or 'unknown authority'.

How to be sure: the issuer of the last certificate that is sent is no root. Its certificate, in the server's files or where the \
certificate says (CA Issuers), names a root that is trusted. Without it an unknown root looks the same (untrusted-ca).

Repair: put the whole chain into 'tls-cert-file', the server's own certificate first, then the intermediates \
(certbot: fullchain.pem, not cert.pem), and let Redis read it again: CONFIG SET tls-cert-file. OpenSSL completes the chain by \
itself where 'tls-ca-cert-file' holds the intermediate, too.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&UNTRUSTED)?;
    let tls = case.facts.tls.seen()?;
    if let Some(support) = tls.preferred().and_then(|hello| another(case.facts, hello)) {
        return Some(support.on(finding));
    }
    let hello = tls.preferred().filter(|hello| has(hello, &Flaw::UnknownIssuer))?;
    let last = top(hello).filter(|last| !last.self_signed && tls.trust.authorities > 0)?;
    let missing = &last.issuer;
    let known = intermediate(case.facts, last);
    let trusted = |name: &String| tls.trust.names.contains(name);
    let completes = known.is_some_and(|(_, known)| trusted(&known.issuer));
    let kin = tls.trust.names.iter().find(|name| is_kin(name, missing));
    let confidence = match known {
        Some((_, known)) if completes && last.issuer_key_id.is_some() && last.issuer_key_id == known.key_id => {
            Confidence::Certain
        }
        Some(_) if completes => Confidence::Likely,
        None if kin.is_some() || last.issuer_url.is_some() || is_own_authority_trusted(case.facts) => {
            Confidence::Likely
        }
        None if hello.chain.len() == 1 => Confidence::Possible,
        // What is known leads to nobody that is trusted; or nothing is known, and no root was expected of the server.
        Some(_) | None => return None,
    };
    let mut support =
        Support::new(confidence, &[&UNTRUSTED], format!("the server does not send the certificate of {missing}"))
            .on(finding);
    support = support.with(behind(case.facts).into_iter().collect());
    if let Some((path, known)) = known {
        let says = format!("holds {}, signed by {}, which is trusted here", known.subject, known.issuer);
        support = support.because(case.host().map_or_else(|| path.clone(), |host| host.source(path)), says);
    }
    if let Some(kin) = kin.filter(|_| known.is_none()) {
        support = support.because("trusted here", format!("{kin}, of the same organisation"));
    }
    if let Some(url) = &last.issuer_url {
        support = support.because("CA Issuers of the certificate", url.clone());
    }
    if confidence == Confidence::Certain {
        return Some(support.not("untrusted-ca", "the root of the certificate that is left out is trusted here"));
    }
    let step = match &last.issuer_url {
        Some(url) => Step::look(
            crate::model::Where::Here,
            format!("curl -s {} | openssl x509 -noout -subject -issuer", shell_quote(url)),
            "an issuer that is trusted here: this is it; subject and issuer the same, or another issuer: untrusted-ca",
        ),
        None => Step::look(
            redis_host(case.facts),
            format!("openssl s_client -connect {} -showcerts </dev/null", hello.address),
            format!(
                "where {missing} is an authority between, its root is trusted here: this; where it is a root: untrusted-ca"
            ),
        ),
    };
    Some(support.settled_by(step))
}

/// In its stead another one of the same name was sent, with another key.
fn another(facts: &Facts, hello: &Hello) -> Option<Support> {
    let is_broken = has(hello, &Flaw::UnknownIssuer) || has(hello, &Flaw::BadSignature);
    let misfit = hello.chain.get(hello.misfit?).filter(|_| is_broken && remade(hello).is_none())?;
    let says = format!(
        "the certificate of {} that the server sends has another key than the one that signed its own",
        misfit.issuer
    );
    let support = Support::new(Confidence::Likely, &[&UNTRUSTED], says);
    let signature = format!("that of {} is not by the key of {} that is sent with it", misfit.subject, misfit.issuer);
    let support = support.because("the signatures of the chain", signature).with(behind(facts).into_iter().collect());
    Some(support.settled_by(Step::look(
        redis_host(facts),
        format!("openssl s_client -connect {} -showcerts </dev/null", hello.address),
        format!(
            "two certificates of {}, that which is sent and that which the authority gave with the server's: this",
            misfit.issuer
        ),
    )))
}

/// The certificate that is left out, among the server's own files, and the file.
fn intermediate<'a>(facts: &'a Facts, last: &Certificate) -> Option<(&'a String, &'a Certificate)> {
    ["tls-cert-file", "tls-ca-cert-file"].into_iter().find_map(|setting| {
        let found = held(facts, setting).iter().find(|one| !one.self_signed && last.may_be_signed_by(one))?;
        Some((&file(facts, setting)?.path, found))
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let hello = hello(facts);
    let misfit = hello.and_then(|hello| hello.chain.get(hello.misfit?));
    let missing = misfit.or_else(|| top(hello?)).map_or("the intermediate authority", |last| &last.issuer);
    let path = file(facts, "tls-cert-file").map(|file| shell_quote(&file.path));
    let name = path.as_deref().unwrap_or("the file of 'tls-cert-file'");
    let text = if misfit.is_some() {
        format!(
            "put the certificate of {missing} that came with the server's own into {name}, behind it, instead of the other one"
        )
    } else {
        format!("append the certificate of {missing} to {name}, behind the server's own (certbot: use fullchain.pem)")
    };
    let mut steps = vec![Step::tell(on.clone(), text)];
    match admin_cli(facts).zip(path) {
        Some((cli, path)) => {
            let text = "then let Redis read it again";
            steps.push(Step::run(on, Risk::Safe, text, format!("{cli} CONFIG SET tls-cert-file {path}")));
        }
        None => steps
            .push(Step::tell(on, "then let Redis read it again: CONFIG SET tls-cert-file with its path, or a restart")),
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::tests::flawed;
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;

    fn trusting(names: &[&str]) -> Facts {
        flawed(&[Flaw::UnknownIssuer]).with(|facts| {
            let Observed::Seen(tls) = &mut facts.tls else { return };
            tls.trust.names = names.iter().map(|name| (*name).to_owned()).collect();
        })
    }

    #[test]
    fn from_afar_it_is_no_more_than_likely() {
        check_cause(&CAUSE, &trusting(&["CN=Root"]), Some(Confidence::Possible));
        let kin =
            trusting(&["O=Example, CN=Root"]).hello(|hello| hello.chain[0].issuer = "O=Example, CN=E1".to_owned());
        check_cause(&CAUSE, &kin, Some(Confidence::Likely));
        let url = trusting(&[]).hello(|hello| hello.chain[0].issuer_url = Some("http://ca.example/e1.crt".to_owned()));
        check_cause(&CAUSE, &url, Some(Confidence::Likely));
    }

    #[test]
    fn another_of_the_same_name_is_not_the_one() {
        let other = |flaw| flawed(&[flaw]).hello(|hello| hello.misfit = Some(0));
        check_cause(&CAUSE, &other(Flaw::BadSignature), Some(Confidence::Likely));
        check_cause(&CAUSE, &other(Flaw::UnknownIssuer), Some(Confidence::Likely));
        check_cause(&CAUSE, &other(Flaw::WrongPurpose), None);
        // A root that was made again is no intermediate that is left out.
        let root = |it: &mut Hello| {
            let (subject, issuer) = (it.chain[0].issuer.clone(), it.chain[0].issuer.clone());
            it.chain.push(Certificate { subject, issuer, self_signed: true, ..Certificate::healthy() });
        };
        check_cause(&CAUSE, &other(Flaw::BadSignature).hello(root), None);
    }

    #[test]
    fn a_chain_that_ends_at_a_root_lacks_nothing() {
        let whole = trusting(&[]).hello(|hello| hello.chain[0].self_signed = true);
        check_cause(&CAUSE, &whole, None);
        check_cause(&CAUSE, &flawed(&[Flaw::Expired]), None);
    }
}
