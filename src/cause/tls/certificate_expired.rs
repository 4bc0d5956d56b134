//! The time of the server's certificate is over, or nearly; or the clock of this machine is ahead.

use super::{Clock, certificate_not_reloaded, clock, hello, set_the_clock};
use crate::cause::{Case, Cause, redis_host};
use crate::check::tls::{EXPIRED, EXPIRES_SOON, Whose, date, first_to_end, span, taken_at};
use crate::model::{Confidence, Finding, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tls::Hello;
use crate::probe::path::tls::certificate::Certificate;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "certificate-expired",
    title: "the server's certificate has expired, or is about to",
    explain: "\
The time of the server's certificate, or of an intermediate one that it sends, is over. Every client that verifies refuses it \
from one second to the next: 'certificate has expired'. The time of the authority that is trusted may be over, too (--cacert): OpenSSL, \
Python and Go refuse what it signed, Java and Rust do not look at its dates.

How to be sure: notAfter is in the evidence. A client whose clock is ahead sees the same of a good certificate: where the server \
tells its time (INFO, if it answers without a password), both clocks are compared. A certificate that was renewed on disk and not \
read again by Redis is certificate-not-reloaded.

That it expires soon is a warning 14 days before: what renews by itself does so earlier, so that the renewal has failed.

Repair: renew it, put it where 'tls-cert-file' says, and let Redis read it: CONFIG SET tls-cert-file. Then see why the renewal failed, \
and let whatever renews it tell Redis, too. Where it is the clock: set the clock.",
    infer,
    remedy,
};

const PUT_AND_READ: &str = "put it where 'tls-cert-file' says, and let Redis read it: CONFIG SET tls-cert-file with its path (a Sentinel: restart it)";
/// Where the file was not seen.
const MAY_BE_THERE: &str = "; if the renewed one is there already, only the reading is missing";

fn infer(case: &Case) -> Option<Support> {
    let over = case.raised(&EXPIRED);
    let finding = over.or_else(|| case.raised(&EXPIRES_SOON))?;
    if certificate_not_reloaded::renewed(case.facts).is_some() {
        return None;
    }
    let hello = hello(case.facts)?;
    if over.is_none() {
        return soon(case.facts, finding);
    }
    let now = taken_at(case.facts)?;
    let (place, one) = expired(hello, now)?;
    let end =
        format!("{place}, {}, was valid until {}: {} ago", one.subject, date(one.not_after), span(now - one.not_after));
    let support = |confidence, summary: String| {
        let support = Support::new(confidence, &[&EXPIRED], summary).on(finding).because("certificate", end.clone());
        support.with(super::whose_verdict(hello).into_iter().collect())
    };
    Some(match clock(case.facts, hello) {
        Clock::Agreed(evidence) => support(Confidence::Certain, format!("{place} has expired"))
            .with(vec![evidence])
            .with(super::behind(case.facts).into_iter().collect()),
        Clock::Differs { ahead, valid_there: true, evidence } if ahead > 0 => {
            let says = format!(
                "the clock of this machine is ahead by {}; by the server's own, the certificate is valid",
                span(ahead)
            );
            support(Confidence::Likely, says).with(vec![evidence]).settled_by(compare())
        }
        Clock::Differs { evidence, .. } => support(Confidence::Likely, format!("{place} has expired by our clock"))
            .with(vec![evidence])
            .settled_by(compare()),
        Clock::Alone | Clock::Impossible(_) => {
            let support =
                support(Confidence::Likely, format!("{place} has expired, if the clock of this machine is right"));
            support.with(super::behind(case.facts).into_iter().collect()).settled_by(compare())
        }
    })
}

/// The certificate whose time is over, and which one it is.
fn expired(hello: &Hello, now: i64) -> Option<(&'static str, &Certificate)> {
    if let Some(lapsed) = hello.lapsed.as_ref().filter(|one| one.not_after < now) {
        return Some(("the certificate of the authority that is trusted here", lapsed));
    }
    let one = hello.needed().into_iter().chain(&hello.chain).find(|one| one.not_after < now)?;
    let place = if Some(one) == hello.leaf() { "the server's certificate" } else { "an intermediate certificate" };
    Some((place, one))
}

fn soon(facts: &Facts, finding: &Finding) -> Option<Support> {
    let (now, (whose, one)) = (taken_at(facts)?, first_to_end(facts)?);
    let left = span(one.not_after - now);
    // Of another address, or an authority, the file was not seen.
    let is_in_file = super::held(facts, "tls-cert-file").iter().any(|held| held.sha256 == one.sha256);
    let kept = if is_in_file { ", and is not renewed yet" } else { "" };
    let says = format!("{} certificate, {}, expires in {left}{kept}", whose.says(), one.subject);
    Some(Support::new(Confidence::Certain, &[&EXPIRES_SOON], says).on(finding))
}

fn compare() -> Step {
    Step::look(
        Where::Here,
        "date -u",
        "the true time: the certificate has expired; one that is ahead: the clock is wrong, and the certificate is not",
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let hello = hello(facts);
    if let Some(Clock::Differs { ahead: 1.., valid_there: true, .. }) = hello.map(|hello| clock(facts, hello)) {
        return set_the_clock();
    }
    let ends_soon = first_to_end(facts).filter(|_| hello.is_some_and(Hello::is_done)).map(|(whose, _)| whose);
    if hello.is_some_and(|hello| hello.lapsed.is_some()) || ends_soon == Some(Whose::Authority) {
        return super::renew_the_authority();
    }
    if ends_soon == Some(Whose::Own) {
        return vec![Step::tell(Where::Here, "renew the client's own certificate (--cert), and see why that failed")];
    }
    let on = redis_host(facts);
    let of_chain = hello
        .zip(taken_at(facts))
        .is_some_and(|(hello, now)| expired(hello, now).is_some_and(|(_, one)| Some(one) != hello.leaf()));
    let what = if of_chain { "the chain of the certificate" } else { "the certificate" };
    let file = super::file(facts, "tls-cert-file");
    let (own, is_seen) = (file.and_then(|file| file.seen_at.as_ref()), file.is_some());
    let place = match own {
        Some(seen_at) => format!(
            "put it where Redis has the file of 'tls-cert-file', which is another than that of this machine ({seen_at}): where its service takes it \
             from, and restart that service"
        ),
        None if super::server(facts).is_some_and(|server| server.process.is_some()) => {
            format!("{PUT_AND_READ}{}", if is_seen { "" } else { MAY_BE_THERE })
        }
        None => format!(
            "put it where what ends TLS has it: for Redis where 'tls-cert-file' says, and let Redis read it: CONFIG SET tls-cert-file with its \
             path (a Sentinel: restart it); for a proxy (stunnel, HAProxy, nginx) where its own file says, and let that read it again{MAY_BE_THERE}"
        ),
    };
    vec![
        Step::tell(
            on.clone(),
            format!(
                "renew {what} where it is renewed (certbot, cert-manager, your own authority), and see why that failed"
            ),
        ),
        Step::tell(on, place),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{flawed, now, with_clock};
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::probe::path::tls::Flaw;

    const DAY: i64 = 86_400;

    fn ended(days: i64) -> Facts {
        flawed(&[Flaw::Expired]).hello(|hello| hello.chain[0].not_after = now() - days * DAY)
    }

    #[test]
    fn two_clocks_make_it_certain() {
        check_cause(&CAUSE, &ended(3), Some(Confidence::Likely));
        check_cause(&CAUSE, &with_clock(ended(3), now()), Some(Confidence::Certain));
        check_cause(&CAUSE, &flawed(&[Flaw::WrongName]), None);
    }

    #[test]
    fn a_clock_that_is_ahead_is_set_and_nothing_is_renewed() {
        let facts = with_clock(ended(3), now() - 10 * DAY);
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
        let causes = diagnose(&facts).causes;
        assert!(causes[0].support.summary.contains("ahead by 10 days"), "{}", causes[0].support.summary);
        assert!(causes[0].remedy.iter().all(|step| !format!("{step:?}").contains("renew")));
        // By the server's clock it has expired, too.
        check_cause(&CAUSE, &with_clock(ended(3), now() - DAY), Some(Confidence::Likely));
    }

    #[test]
    fn an_intermediate_one_counts_as_well() {
        let facts = with_clock(flawed(&[Flaw::Expired]), now()).hello(|hello| {
            let between =
                Certificate { subject: "CN=Example CA".to_owned(), not_after: now() - DAY, ..Certificate::healthy() };
            hello.chain.push(between);
        });
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        assert!(diagnose(&facts).causes[0].support.summary.contains("intermediate"));
    }

    #[test]
    fn the_authority_that_is_trusted_counts_as_well() {
        let root = Certificate { subject: "CN=Root".to_owned(), not_after: now() - DAY, ..Certificate::healthy() };
        let facts = with_clock(flawed(&[Flaw::Expired]).hello(|hello| hello.lapsed = Some(root)), now());
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        let cause = &diagnose(&facts).causes[0];
        assert!(format!("{:?}", cause.support.evidence).contains("CN=Root"));
        assert!(!format!("{:?}", cause.remedy).contains("tls-cert-file"));
    }

    #[test]
    fn what_is_sent_and_not_needed_does_not_count() {
        let cross = |anchors: Vec<usize>| {
            Facts::encrypted().hello(|hello| {
                let (subject, issuer) = ("CN=Example CA".to_owned(), "CN=Old Root".to_owned());
                hello.chain.push(Certificate { subject, issuer, not_after: now() + 5 * DAY, ..Certificate::healthy() });
                hello.anchors = anchors;
            })
        };
        check_cause(&CAUSE, &cross(vec![1]), None);
        check_cause(&CAUSE, &cross(Vec::new()), Some(Confidence::Certain));
        let summary = &diagnose(&cross(Vec::new())).causes[0].support.summary;
        assert!(summary.starts_with("an intermediate certificate, CN=Example CA, expires in"), "{summary}");
    }

    #[test]
    fn so_do_the_authority_and_every_address() {
        let soon = |subject: &str| Certificate {
            subject: subject.to_owned(),
            not_after: now() + 4 * DAY,
            ..Certificate::healthy()
        };
        let trusted = Facts::encrypted().hello(|hello| hello.anchor = Some(soon("CN=Root")));
        check_cause(&CAUSE, &trusted, Some(Confidence::Certain));
        let cause = &diagnose(&trusted).causes[0];
        assert_eq!(cause.support.summary, "the trusted authority's certificate, CN=Root, expires in 4 days");
        assert!(!format!("{:?}", cause.remedy).contains("tls-cert-file"));
        let second = Facts::encrypted().with(|facts| {
            let crate::model::Observed::Seen(tls) = &mut facts.tls else { return };
            tls.hellos.push(Hello { chain: vec![soon("CN=db")], ..Hello::healthy("10.0.0.10:6379") });
        });
        check_cause(&CAUSE, &second, Some(Confidence::Certain));
        let summary = &diagnose(&second).causes[0].support.summary;
        assert!(
            summary.starts_with("at 10.0.0.10:6379, the server's certificate, CN=db, expires in 4 days"),
            "{summary}"
        );
    }

    #[test]
    fn a_warning_comes_before() {
        let facts = Facts::encrypted().hello(|hello| hello.chain[0].not_after = now() + 5 * DAY);
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::encrypted(), None);
    }
}
