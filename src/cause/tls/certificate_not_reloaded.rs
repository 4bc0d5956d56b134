//! The certificate was renewed on disk, and Redis still serves the old one.

use super::certificate_name_mismatch::matches;
use super::{admin_cli, file, has, held, hello};
use crate::cause::{Case, Cause, redis_host};
use crate::check::tls::{EXPIRED, EXPIRES_SOON, NOT_YET_VALID, UNTRUSTED, WRONG_NAME, date, is_soon, taken_at};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::path::tls::Flaw;
use crate::probe::path::tls::certificate::Certificate;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "certificate-not-reloaded",
    title: "Redis serves an old certificate, and has not read the new one",
    explain: "\
The file that 'tls-cert-file' names holds another certificate than the one that Redis shows: it was renewed, and Redis reads its \
certificates only when it starts, and when CONFIG SET sets one of the tls- settings.

How to be sure: on the Redis host, 'openssl x509 -noout -fingerprint -sha256 -in FILE' and the same of what is served \
('openssl s_client -connect HOST:PORT') differ, and the file's dates are the newer ones.

Repair: CONFIG SET tls-cert-file with the same path; no connection is cut by that. Sentinels know no such command: restart them, one \
by one. Let whatever renews the certificate do so from then on (certbot: a deploy hook).",
    infer,
    remedy,
};

/// What a new certificate may mend.
const MENDS: [&Code; 5] = [&EXPIRED, &EXPIRES_SOON, &NOT_YET_VALID, &WRONG_NAME, &UNTRUSTED];

/// The certificate in the server's file, where it is another than the one that is served, and without what is wrong with it.
pub(super) fn renewed(facts: &Facts) -> Option<&Certificate> {
    let (hello, now) = (hello(facts)?, taken_at(facts)?);
    let (served, stored) = (hello.leaf()?, held(facts, "tls-cert-file").first()?);
    // What listens there is the server itself, and no front with certificates of its own.
    facts.instance()?.process?;
    let differs = served.sha256 != stored.sha256 && stored.not_before >= served.not_before;
    let is_good = stored.is_valid_at(now) && !is_soon(stored, now);
    let names = facts.ask.target.server_name().is_some_and(|name| stored.names.iter().any(|one| matches(one, name)));
    let mends = match hello.flaws.as_slice() {
        [] => is_soon(served, now),
        flaws => flaws.iter().all(|flaw| match flaw {
            Flaw::Expired | Flaw::NotYetValid => true,
            Flaw::WrongName => names,
            Flaw::UnknownIssuer => trusted(facts, stored, served),
            _ => false,
        }),
    };
    (differs && is_good && mends).then_some(stored)
}

/// True if an authority of the name that signed it is trusted here, and is not the one that signed what is served.
fn trusted(facts: &Facts, stored: &Certificate, served: &Certificate) -> bool {
    let names = facts.tls.seen().map_or(&[][..], |tls| &tls.trust.names);
    stored.issuer != served.issuer && names.contains(&stored.issuer)
}

fn infer(case: &Case) -> Option<Support> {
    let stored = renewed(case.facts)?;
    let (host, file) = (case.host()?, file(case.facts, "tls-cert-file")?);
    let hello = hello(case.facts)?;
    let served = hello.leaf()?;
    let explains: Vec<&'static Code> = case.all_raised(&MENDS);
    let says = |one: &Certificate| {
        format!(
            "{}, valid from {} until {}, sha256 {}…",
            one.subject,
            date(one.not_before),
            date(one.not_after),
            &one.sha256[..one.sha256.len().min(16)]
        )
    };
    let started = case.facts.instance()?.process?.started_at.clone();
    // Both as RFC 3339 in UTC, to the second: they sort as they are.
    let seconds = |at: &String| at.get(..19).map(str::to_owned);
    let later = file
        .changed_at
        .as_ref()
        .and_then(seconds)
        .zip(started.as_ref().and_then(seconds))
        .is_some_and(|(changed, started)| changed >= started);
    let confidence = if later && !has(hello, &Flaw::UnknownIssuer) { Confidence::Certain } else { Confidence::Likely };
    let mut support =
        Support::new(confidence, &explains, "the file holds a newer certificate than the one that Redis serves")
            .because("served", says(served))
            .because(host.source(&file.path), says(stored));
    if let (Some(changed), Some(started)) = (&file.changed_at, &started) {
        support = support.because(
            host.source("stat(2)"),
            format!("{} was changed {changed}; Redis was started {started}", file.path),
        );
    }
    let tells = "another fingerprint than that which is served: this is it";
    let command = format!("openssl x509 -noout -fingerprint -sha256 -in {}", shell_quote(&file.path));
    Some(match confidence {
        Confidence::Certain => support.not("certificate-expired", "the renewed one is there"),
        _ => support.settled_by(Step::look(redis_host(case.facts), command, tells)),
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let path = file(facts, "tls-cert-file").map(|file| shell_quote(&file.path));
    if facts.instance().is_some_and(|instance| instance.is_sentinel()) {
        return vec![Step::tell(
            on,
            "restart the Sentinel: it has no command that reads certificates again; one after the other",
        )];
    }
    let hook = Step::tell(on.clone(), "let whatever renews the certificate run that, too (certbot: --deploy-hook)");
    match admin_cli(facts).zip(path) {
        Some((cli, path)) => {
            let text = "let Redis read its certificate and key again; no connection is cut";
            vec![Step::run(on, Risk::Safe, text, format!("{cli} CONFIG SET tls-cert-file {path}")), hook]
        }
        None => vec![Step::tell(on, "let Redis read it again: CONFIG SET tls-cert-file with its path"), hook],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::now;
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::host::certificates::File;
    use crate::probe::path::tls::Ended;

    const DAY: i64 = 86_400;

    /// A server that serves one that expired, with this certificate in its file.
    fn facts(stored: Certificate, changed_at: &str) -> Facts {
        Facts::joined()
            .with(|facts| {
                let tls = Facts::encrypted().hello(|hello| {
                    (hello.end, hello.flaws) = (Ended::Untrusted, vec![Flaw::Expired]);
                    hello.chain[0].not_after = now() - DAY;
                    hello.chain[0].sha256 = "00".repeat(32);
                });
                (facts.ask.target.tls, facts.tls, facts.redis) = (true, tls.tls, Observed::needs("tls"));
            })
            .host(|host| {
                let pid = host.servers().first().map(|server| server.pid);
                let (setting, path) = ("tls-cert-file".to_owned(), "/etc/tls/server.crt".to_owned());
                let (changed_at, certificates) = (Some(changed_at.to_owned()), Observed::Seen(vec![stored]));
                host.certificates = vec![File { setting, path, pid, changed_at, certificates }];
            })
    }

    #[test]
    fn a_newer_file_is_certain_where_it_came_after_the_start() {
        let late = "2026-11-20T08:00:00.000Z";
        check_cause(&CAUSE, &facts(Certificate::healthy(), late), Some(Confidence::Certain));
        check_cause(&CAUSE, &facts(Certificate::healthy(), "2026-11-01T08:00:00.000Z"), Some(Confidence::Likely));
        let same = Certificate { sha256: "00".repeat(32), ..Certificate::healthy() };
        check_cause(&CAUSE, &facts(same, late), None);
        let over = Certificate { not_after: now() - 1, ..Certificate::healthy() };
        check_cause(&CAUSE, &facts(over, late), None);
        check_cause(&CAUSE, &Facts::encrypted(), None);
    }

    #[test]
    fn a_front_with_another_certificate_is_no_old_one() {
        let front = facts(Certificate::healthy(), "2026-11-20T08:00:00.000Z").with(|facts| {
            facts.ask.target.endpoint = crate::model::Endpoint::Tcp { host: "db".to_owned(), port: 7000 };
        });
        check_cause(&CAUSE, &front, None);
    }
}
