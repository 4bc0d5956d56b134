//! The certificate was renewed on disk, and Redis still serves the old one.

use super::certificate_name_mismatch::matches;
use super::{admin_cli, end_of, file, has, held, hello, top};
use crate::cause::{Case, Cause, redis_host};
use crate::check::tls::{EXPIRED, EXPIRES_SOON, NOT_YET_VALID, UNTRUSTED, WRONG_NAME, date, is_soon, taken_at};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::certificates::File;
use crate::probe::path::tls::certificate::Certificate;
use crate::probe::path::tls::{Flaw, Hello};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "certificate-not-reloaded",
    title: "Redis serves an old certificate, and has not read the new one",
    explain: "\
The file that 'tls-cert-file' names holds another certificate than the one that Redis shows: it was renewed, and Redis reads its \
certificates only when it starts, and when CONFIG SET sets one of the tls- settings.

How to be sure: on the Redis host, 'openssl x509 -noout -fingerprint -sha256 -in FILE' and the same of what is served \
('openssl s_client -connect HOST:PORT') differ, and the file's dates are the newer ones. Whether the new one is of use is compared, too: it must be for the same names, by the same \
authority, and its key must be there; else no command is printed that might cut clients off.

Repair: CONFIG SET tls-cert-file with the same path; no connection is cut by that. Sentinels know no such command: restart them, one \
by one. Let whatever renews the certificate do so from then on (certbot: a deploy hook).",
    infer,
    remedy,
};

/// What a new certificate may mend.
const MENDS: [&Code; 5] = [&EXPIRED, &EXPIRES_SOON, &NOT_YET_VALID, &WRONG_NAME, &UNTRUSTED];

/// The certificate in the server's file, where it is another than the one that is served, without what is wrong with it, and good for
/// those who are served now.
pub(super) fn renewed(facts: &Facts) -> Option<&Certificate> {
    let (hello, now) = (hello(facts)?, taken_at(facts)?);
    let (served, stored) = (hello.leaf()?, held(facts, "tls-cert-file").first()?);
    // What listens there is the server itself, and no front with certificates of its own.
    facts.instance()?.process?;
    let differs = served.sha256 != stored.sha256 && stored.not_before >= served.not_before;
    let is_good = stored.is_valid_at(now) && !is_soon(stored, now);
    let names = facts.ask.target.server_name().is_some_and(|name| stored.names.iter().any(|one| matches(one, name)));
    let is_over = !served.is_valid_at(now) && hello.lapsed.is_none();
    let mends = match hello.flaws.as_slice() {
        [] => is_soon(served, now),
        flaws => flaws.iter().all(|flaw| match flaw {
            Flaw::Expired | Flaw::NotYetValid => is_over,
            Flaw::WrongName | Flaw::UnknownIssuer => true,
            _ => false,
        }),
    };
    (differs && is_good && names && mends && vouched(facts, hello, stored).is_some()).then_some(stored)
}

/// Whether clients will trust what is stored: surely (the authority of what is served, by its key), perhaps, or not at all.
fn vouched(facts: &Facts, hello: &Hello, stored: &Certificate) -> Option<bool> {
    let (served, top) = (hello.leaf()?, top(hello)?);
    let is_named = || trusted(facts, stored, served).then_some(false);
    if has(hello, &Flaw::UnknownIssuer) {
        return is_named();
    }
    // OpenSSL completes what it sends out of the authorities' file.
    let files = ["tls-cert-file", "tls-ca-cert-file"].map(|setting| held(facts, setting));
    let end = end_of(stored, &files.into_iter().flatten().collect::<Vec<_>>());
    if end.issuer != top.issuer {
        return is_named();
    }
    match (end.authority_key_id(), top.authority_key_id()) {
        (Some(one), Some(other)) => (one == other).then_some(true),
        _ => Some(false),
    }
}

/// True if an authority of the name that signed it is trusted here, and is not the one that signed what is served.
fn trusted(facts: &Facts, stored: &Certificate, served: &Certificate) -> bool {
    let names = facts.tls.seen().map_or(&[][..], |tls| &tls.trust.names);
    stored.issuer != served.issuer && names.contains(&stored.issuer)
}

/// True if the key in the server's file is that of the stored certificate, as far as the times tell: the key itself is not looked at.
fn has_its_key(facts: &Facts, stored: &Certificate) -> bool {
    let files = file(facts, "tls-cert-file").zip(file(facts, "tls-key-file"));
    let Some((certificate, key)) = files else { return false };
    let is_kept = || {
        let served = hello(facts).and_then(Hello::leaf).and_then(|leaf| leaf.key_id.as_ref());
        served.is_some() && served == stored.key_id.as_ref()
    };
    certificate.path == key.path || is_later(facts, key).is_some_and(|is_later| is_later != is_kept())
}

/// Whether a file was changed after the server's start.
fn is_later(facts: &Facts, file: &File) -> Option<bool> {
    // Both as RFC 3339 in UTC, to the second: they sort as they are. What was written in the second of the start was read by it, for all
    // that is known.
    let started = facts.instance()?.process?.started_at.as_ref()?.get(..19)?;
    Some(file.changed_at.as_ref()?.get(..19)? > started)
}

/// True if the server can read it, and its clients will take it: a command that says so does no harm.
fn is_safe(facts: &Facts) -> bool {
    let safe = || {
        let (stored, hello) = (renewed(facts)?, hello(facts)?);
        Some(vouched(facts, hello, stored)? && has_its_key(facts, stored))
    };
    safe().unwrap_or(false)
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
    let is_sure = is_later(case.facts, file) == Some(true) && is_safe(case.facts);
    let confidence = if is_sure { Confidence::Certain } else { Confidence::Likely };
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
    if !is_safe(facts) {
        let text = "see that the certificate in the file of 'tls-cert-file' belongs to the key of 'tls-key-file', and that clients trust who signed it; \
                    then let Redis read both again: CONFIG SET tls-cert-file with its path";
        return vec![Step::tell(on, text), hook];
    }
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
                    hello.chain[0].issuer_key_id = Some("aa".to_owned());
                });
                (facts.ask.target.tls, facts.tls, facts.redis) = (true, tls.tls, Observed::needs("tls"));
            })
            .host(|host| {
                let pid = host.servers().first().map(|server| server.pid);
                let (setting, path) = ("tls-cert-file".to_owned(), "/etc/tls/server.crt".to_owned());
                let (changed_at, certificates) = (Some(changed_at.to_owned()), Observed::Seen(vec![stored]));
                let certificate = File { setting, path, pid, changed_at, certificates };
                let (setting, path) = ("tls-key-file".to_owned(), "/etc/tls/server.key".to_owned());
                let key =
                    File { setting, path, certificates: Observed::skipped("it holds a key"), ..certificate.clone() };
                host.certificates = vec![certificate, key];
            })
    }

    /// One that is valid for the name of the table's target, of the same authority.
    fn good() -> Certificate {
        let names = vec!["db".to_owned(), "10.0.0.9".to_owned(), "127.0.0.1".to_owned()];
        Certificate { names, issuer_key_id: Some("aa".to_owned()), ..Certificate::healthy() }
    }

    const LATE: &str = "2026-11-20T08:00:00.000Z";
    const EARLY: &str = "2026-11-01T08:00:00.000Z";

    #[test]
    fn a_newer_file_is_certain_where_it_came_after_the_start() {
        check_cause(&CAUSE, &facts(good(), LATE), Some(Confidence::Certain));
        check_cause(&CAUSE, &facts(good(), EARLY), Some(Confidence::Likely));
        check_cause(&CAUSE, &facts(Certificate { sha256: "00".repeat(32), ..good() }, LATE), None);
        check_cause(&CAUSE, &facts(Certificate { not_after: now() - 1, ..good() }, LATE), None);
        check_cause(&CAUSE, &Facts::encrypted(), None);
    }

    #[test]
    fn what_clients_would_not_take_is_no_repair() {
        let other = |name: &str, key: Option<&str>| Certificate {
            issuer: name.to_owned(),
            issuer_key_id: key.map(str::to_owned),
            ..good()
        };
        check_cause(&CAUSE, &facts(other("CN=Other CA", Some("bb")), LATE), None);
        // The authority was made again under the same name.
        check_cause(&CAUSE, &facts(other("CN=Example CA", Some("bb")), LATE), None);
        check_cause(&CAUSE, &facts(Certificate { names: vec!["other".to_owned()], ..good() }, LATE), None);
        let unknown = facts(other("CN=Example CA", None), LATE);
        check_cause(&CAUSE, &unknown, Some(Confidence::Likely));
        assert!(remedy(&unknown).iter().all(|step| matches!(step, Step::Tell { .. })));
    }

    #[test]
    fn a_key_that_was_not_replaced_is_no_repair() {
        let old_key = facts(good(), LATE).host(|host| host.certificates[1].changed_at = Some(EARLY.to_owned()));
        check_cause(&CAUSE, &old_key, Some(Confidence::Likely));
        assert!(remedy(&old_key).iter().all(|step| matches!(step, Step::Tell { .. })));
        // Unless the certificate was renewed for the same key.
        let key_id = Some("cc".to_owned());
        let same = facts(Certificate { key_id: key_id.clone(), ..good() }, LATE)
            .hello(|hello| hello.chain[0].key_id = key_id)
            .host(|host| host.certificates[1].changed_at = Some(EARLY.to_owned()));
        check_cause(&CAUSE, &same, Some(Confidence::Certain));
    }

    #[test]
    fn a_front_with_another_certificate_is_no_old_one() {
        let front = facts(good(), LATE).with(|facts| {
            facts.ask.target.endpoint = crate::model::Endpoint::Tcp { host: "db".to_owned(), port: 7000 };
        });
        check_cause(&CAUSE, &front, None);
    }
}
