//! The server does not accept the certificate that was shown.

use super::{file, held};
use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::ping::CLOSED;
use crate::check::tls::{ALERT, REFUSED, date, span, taken_at};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::redis::End;
use crate::probe::path::tls::certificate::Certificate;
use crate::probe::path::tls::{Ended, Hello, Trust, alert};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "client-certificate-rejected",
    title: "the server rejects the client's certificate",
    explain: "\
The certificate that was shown (--cert) is not accepted. The alert says why: unknown_ca (48): the server trusts no authority that \
signed it; certificate_expired (45); unsupported_certificate (43): it is limited to other purposes (extendedKeyUsage without \
clientAuth, as server certificates often are); bad_certificate (42) and certificate_unknown (46): anything else, a date in the \
future among them; certificate_revoked (44). With TLS 1.3 it comes after a handshake that seemed to succeed.

How to be sure: the server's log has 'certificate verify failed'. On the Redis host, 'openssl verify -CAfile (tls-ca-cert-file) \
-purpose sslclient CERT' says the same.

Repair: a certificate signed by an authority of the server's 'tls-ca-cert-file', for clients, with the intermediate certificates behind \
it in the same file; or put the authority that signed it into that file and let Redis read it: CONFIG SET tls-ca-cert-file.",
    infer,
    remedy,
};

/// Alerts about a certificate (RFC 8446 section 6.2).
const ALERTS: [u8; 8] = [42, 43, 44, 45, 46, 48, 49, 51];

fn infer(case: &Case) -> Option<Support> {
    let tls = case.facts.tls.seen()?;
    let hello = tls.preferred().filter(|hello| hello.asked.is_some() && hello.shown)?;
    let (code, kind) = rejection(case, hello)?;
    let support = Support::new(Confidence::Certain, &[code, &CLOSED], summary(kind, &tls.trust, case.facts));
    let mut support = support.with(case.evidence(&[code]));
    if let Some(own) = &tls.trust.own {
        let purposes = if own.purposes.is_empty() { "any".to_owned() } else { own.purposes.join(", ") };
        let says = format!(
            "{}, signed by {}, valid from {} until {}, purposes: {purposes}",
            own.subject,
            own.issuer,
            date(own.not_before),
            date(own.not_after)
        );
        support = support.because("the certificate that was shown", says);
    }
    if let Some([_, ..]) = hello.asked.as_deref() {
        support =
            support.because("CertificateRequest of the server", hello.asked.as_deref().unwrap_or_default().join("; "));
    }
    let takes: Vec<&str> = held(case.facts, "tls-ca-cert-file").iter().map(|one| one.subject.as_str()).collect();
    if let (false, Some(file), Some(host)) = (takes.is_empty(), file(case.facts, "tls-ca-cert-file"), case.host()) {
        support =
            support.because(host.source(&file.path), format!("the server takes certificates of {}", takes.join("; ")));
    }
    Some(support.not("client-certificate-required", "one was shown"))
}

/// The alert that is about it, and the finding of it.
fn rejection(case: &Case, hello: &Hello) -> Option<(&'static Code, u8)> {
    let kind = match &hello.end {
        Ended::Alert(kind) => Some((&ALERT, *kind)),
        Ended::Done => {
            let said = dialogue(case.facts).filter(|_| case.raised(&REFUSED).is_some())?;
            let ends = [Some(&said.first), said.second.as_ref()].into_iter().flatten();
            ends.into_iter().find_map(|one| match one.end {
                End::Alert(kind) => Some((&REFUSED, kind)),
                _ => None,
            })
        }
        _ => None,
    };
    kind.filter(|(_, kind)| ALERTS.contains(kind))
}

fn summary(kind: u8, trust: &Trust, facts: &Facts) -> String {
    let own = trust.own.as_ref();
    let issuer = own.map_or("nobody that is known", |own| own.issuer.as_str());
    let now = taken_at(facts).unwrap_or_default();
    match (kind, own) {
        (48, Some(own)) if own.self_signed => {
            "our certificate signed itself, and the server does not know it".to_owned()
        }
        (48, Some(own)) if is_asked_for(facts, own) => format!(
            "the server takes certificates of an authority called {issuer}, and not this one: that authority was made again with another key, on one \
             of the two sides"
        ),
        (48, _) if trust.own_chain == 0 => {
            format!(
                "the server does not trust {issuer}, which signed our certificate, or lacks an intermediate certificate that --cert leaves out"
            )
        }
        (48, _) => format!("the server does not trust {issuer}, which signed our certificate"),
        (45, Some(own)) if own.not_after < now => format!("our certificate expired {} ago", span(now - own.not_after)),
        (45, _) => "our certificate has expired by the server's clock, and not by ours".to_owned(),
        (43, Some(own)) if !own.purposes.iter().any(|one| one == "clientAuth" || one == "any") => {
            "our certificate is not for clients (extendedKeyUsage without clientAuth)".to_owned()
        }
        (42, Some(own)) if own.not_before > now => {
            format!("our certificate is not valid yet: in {}", span(own.not_before - now))
        }
        (44, _) => "our certificate has been revoked".to_owned(),
        (kind, _) => format!("the server does not accept our certificate: {}", alert::name(kind)),
    }
}

/// True if the server asked for one by an authority of the very name that signed ours.
fn is_asked_for(facts: &Facts, own: &Certificate) -> bool {
    let asked = super::hello(facts).and_then(|hello| hello.asked.as_deref()).unwrap_or_default();
    asked.contains(&own.issuer)
}

/// True if no authority helps: ours is out of its time, or not for clients.
fn is_spent(facts: &Facts) -> bool {
    let own = facts.tls.seen().and_then(|tls| tls.trust.own.as_ref());
    let is_valid = |own: &Certificate| taken_at(facts).is_none_or(|now| own.is_valid_at(now));
    own.is_some_and(|own| !is_valid(own) || !own.is_for("clientAuth"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    let cert = target.certificates.cert.as_deref().map_or_else(|| "the certificate".to_owned(), shell_quote);
    let file = file(facts, "tls-ca-cert-file").map(|file| shell_quote(&file.path));
    let authority = file.as_deref().unwrap_or("CA_FILE");
    let on = redis_host(facts);
    let mut steps = vec![
        Step::look(
            on.clone(),
            // The file may hold the intermediate certificates, too.
            format!("openssl verify -purpose sslclient -CAfile {authority} -untrusted {cert} {cert}"),
            "why it is refused, with a copy of the certificate there ('tls-ca-cert-file' names the authorities)",
        ),
        Step::tell(
            Where::Here,
            "use a certificate for clients (clientAuth) that an authority of the server has signed and that is valid now, with the intermediate \
             certificates behind it in the file of --cert",
        ),
    ];
    if !is_spent(facts) {
        let text = "or put the authority that signed it into the file of 'tls-ca-cert-file', and let Redis read it: CONFIG SET tls-ca-cert-file";
        steps.push(Step::tell(on, text));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::tests::now;
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;

    fn rejected(kind: u8, change: impl FnOnce(&mut Certificate)) -> Facts {
        let facts = Facts::encrypted().speechless(End::Alert(kind));
        facts.hello(|hello| (hello.asked, hello.shown) = (Some(Vec::new()), true)).with(|facts| {
            let Observed::Seen(tls) = &mut facts.tls else { return };
            let mut own = Certificate::healthy();
            change(&mut own);
            tls.trust.own = Some(own);
        })
    }

    #[track_caller]
    fn reason(facts: &Facts, words: &str) {
        check_cause(&CAUSE, facts, Some(Confidence::Certain));
        let summary = &diagnose(facts).causes[0].support.summary;
        assert!(summary.contains(words), "{summary}");
    }

    #[test]
    fn each_alert_has_its_reason() {
        reason(&rejected(48, |_| {}), "does not trust CN=Example CA");
        reason(&rejected(48, |own| own.self_signed = true), "signed itself");
        let namesake = rejected(48, |_| {}).hello(|hello| hello.asked = Some(vec!["CN=Example CA".to_owned()]));
        reason(&namesake, "was made again with another key");
        reason(&rejected(45, |own| own.not_after = now() - 86_400 * 3), "expired 3 days ago");
        reason(&rejected(45, |_| {}), "by the server's clock");
        reason(&rejected(43, |own| own.purposes = vec!["serverAuth".to_owned()]), "not for clients");
        reason(&rejected(42, |own| own.not_before = now() + 7_200), "not valid yet: in 2 hours");
        reason(&rejected(46, |_| {}), "certificate_unknown (46)");
    }

    #[test]
    fn what_is_over_is_signed_anew_and_not_trusted() {
        let steps = |facts: &Facts| remedy(facts).len();
        let of_clients = |own: &mut Certificate| own.purposes = vec!["clientAuth".to_owned()];
        assert_eq!(steps(&rejected(48, of_clients)), 3);
        assert_eq!(steps(&rejected(45, |own| own.not_after = now() - 60)), 2);
        assert_eq!(steps(&rejected(43, |own| own.purposes = vec!["serverAuth".to_owned()])), 2);
    }

    #[test]
    fn without_one_shown_or_another_alert_it_is_not_that() {
        let none = rejected(48, |_| {}).hello(|hello| hello.shown = false);
        check_cause(&CAUSE, &none, None);
        check_cause(&CAUSE, &rejected(80, |_| {}), None);
        check_cause(&CAUSE, &Facts::encrypted(), None);
    }
}
