//! The certificate was renewed on disk, and Redis still serves the old one.

use super::certificate_name_mismatch::matches;
use super::reread::{self, is_later};
use super::{admin_cli, file, has, held, hello, server, top, way_of};
use crate::cause::{Case, Cause, redis_host};
use crate::check::tls::{EXPIRED, EXPIRES_SOON, NOT_YET_VALID, UNTRUSTED, WRONG_NAME, date, is_soon, taken_at};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::certificates::Access;
use crate::probe::path::tls::certificate::{Certificate, MOST_NAMES};
use crate::probe::path::tls::{Flaw, Hello};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "certificate-not-reloaded",
    title: "Redis serves an old certificate, and has not read the new one",
    explain: "\
The file that 'tls-cert-file' names holds another certificate than the one that Redis shows: it was renewed, and Redis reads its \
certificates only when it starts, and when CONFIG SET sets one of the tls- settings.

How to be sure: on the Redis host, 'openssl x509 -noout -fingerprint -sha256 -in FILE' and the same of what is served \
('openssl s_client -connect HOST:PORT') differ, and the file's dates are the newer ones. Whether the new one is of use is compared, too: it must be for the same names and purposes, by the same \
authority, and its key must be there; else no command is printed that might cut clients off.

Repair: CONFIG SET tls-cert-file with the same path; no connection is cut by that. Redis reads the files as the user it runs as: a key \
that is root's alone (0600, as certbot writes it) must be made readable for its group first. Sentinels know no such command: restart them, one \
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
    server(facts)?.process?;
    let differs = served.sha256 != stored.sha256 && stored.not_before >= served.not_before;
    let is_in_time = way(facts, stored).iter().all(|one| one.is_valid_at(now)) && !is_soon(stored, now);
    let is_for_servers = |one: &&Certificate| one.is_for("serverAuth");
    let may_sign = way(facts, stored).iter().skip(1).all(|one| one.is_ca);
    let is_good = is_in_time && may_sign && way(facts, stored).iter().all(is_for_servers);
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

/// What clients get to see of it: itself and those between it and a root. OpenSSL completes what it sends out of the
/// authorities' file where its own has no more than the one.
fn way<'a>(facts: &'a Facts, stored: &'a Certificate) -> Vec<&'a Certificate> {
    let own = held(facts, "tls-cert-file");
    let more = if own.len() > 1 { &[][..] } else { held(facts, "tls-ca-cert-file") };
    let way = way_of(stored, &own.iter().chain(more).collect::<Vec<_>>());
    way.into_iter().enumerate().filter(|(at, one)| *at == 0 || !one.self_signed).map(|(_, one)| one).collect()
}

/// Whether clients will trust what is stored: surely (the authority of what is served, by its key), perhaps, or not at all.
fn vouched(facts: &Facts, hello: &Hello, stored: &Certificate) -> Option<bool> {
    let (served, top) = (hello.leaf()?, top(hello)?);
    let is_named = || trusted(facts, stored, served).then_some(false);
    if has(hello, &Flaw::UnknownIssuer) {
        return is_named();
    }
    let way = way(facts, stored);
    let end = way.last().copied().unwrap_or(stored);
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

/// True if it is as good as the served one for all that others use that for: other names, as a client's (replicas and the nodes of a
/// cluster show it to each other), by libraries that take no authority for a server, with suites for its kind of key.
fn is_no_less(served: &Certificate, stored: &Certificate) -> bool {
    let common: Vec<String> = served.common_name.iter().cloned().collect();
    let names = if served.names.is_empty() { &common } else { &served.names };
    let has_name = |name: &String| stored.names.iter().any(|one| matches(one, name));
    // There may be more than were kept.
    let all_names = names.len() < MOST_NAMES && names.iter().all(has_name);
    let all_names = all_names && served.other_names.iter().all(|name| stored.other_names.contains(name));
    let is_any = |one: &Certificate| one.purposes.iter().any(|purpose| purpose == "any");
    let all_purposes = !is_any(served) || stored.purposes.is_empty() || is_any(stored);
    let all_purposes =
        all_purposes && ["serverAuth", "clientAuth"].iter().all(|one| !served.is_for(one) || stored.is_for(one));
    let kind = |one: &Certificate| one.key.as_ref().and_then(|key| key.split(' ').next().map(str::to_owned));
    all_names && all_purposes && (served.is_ca || !stored.is_ca) && kind(served) == kind(stored)
}

/// True if its clients will take it, and its key is there: a command that lets the server read it does no harm.
fn is_safe(facts: &Facts) -> bool {
    let safe = || {
        let (stored, hello, now) = (renewed(facts)?, hello(facts)?, taken_at(facts)?);
        // Which names an authority may give is not looked at.
        let lasts = !way(facts, stored).iter().any(|one| is_soon(one, now) || one.limits_names);
        let is_good = lasts && is_no_less(hello.leaf()?, stored);
        Some(is_good && reread::leaves_the_rest(facts) && vouched(facts, hello, stored)? && has_its_key(facts, stored))
    };
    safe().unwrap_or(false)
}

/// The steps after which the server may read both files; `None` where none is known that takes nothing from anybody.
fn opening(facts: &Facts) -> Option<Vec<Step>> {
    let process = server(facts)?.process?;
    let mut steps = Vec::new();
    for file in ["tls-cert-file", "tls-key-file"].map(|setting| file(facts, setting)) {
        let file = file?;
        match (file.access, &file.meta, file.own_group) {
            (Access::Open, ..) => {}
            // Its group has no right that it could lose, the owner's rights are not the server's, and the server's group is nobody else's.
            (Access::ClosedFile, Some(meta), Some(group))
                if file.seen_at.is_none()
                    && meta.uid != process.uid
                    && (meta.mode & 0o070 == 0 || meta.gid == group) =>
            {
                let path = shell_quote(&file.path);
                let text = format!("let the server's group read {path}: it is closed to the user that Redis runs as");
                let command = format!("sudo chgrp {group} {path} && sudo chmod g+r {path}");
                let step = Step::run(redis_host(facts), Risk::WidensAccess, text, command);
                // Both may be in one file.
                if !steps.contains(&step) {
                    steps.push(step);
                }
            }
            _ => return None,
        }
    }
    Some(steps)
}

fn infer(case: &Case) -> Option<Support> {
    let stored = renewed(case.facts)?;
    let (host, file) = (case.host()?, file(case.facts, "tls-cert-file")?);
    let hello = hello(case.facts)?;
    let served = hello.leaf()?;
    let explains: Vec<&'static Code> = case.all_raised(&MENDS);
    let seen_at = file.seen_at.as_ref().unwrap_or(&file.path);
    let says = |one: &Certificate| {
        format!(
            "{}, valid from {} until {}, sha256 {}…",
            one.subject,
            date(one.not_before),
            date(one.not_after),
            &one.sha256[..one.sha256.len().min(16)]
        )
    };
    let started = server(case.facts)?.process?.started_at.clone();
    let is_sure = is_later(case.facts, file) == Some(true) && is_safe(case.facts) && opening(case.facts).is_some();
    let confidence = if is_sure { Confidence::Certain } else { Confidence::Likely };
    let mut support =
        Support::new(confidence, &explains, "the file holds a newer certificate than the one that Redis serves")
            .because("served", says(served))
            .because(host.source(seen_at), says(stored));
    if let (Some(changed), Some(started)) = (&file.changed_at, &started) {
        support = support
            .because(host.source("stat(2)"), format!("{seen_at} was changed {changed}; Redis was started {started}"));
    }
    let tells = "another fingerprint than that which is served: this is it";
    let command = format!("openssl x509 -noout -fingerprint -sha256 -in {}", shell_quote(seen_at));
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
    let hook = Step::tell(
        on.clone(),
        "let whatever renews the certificate run that, too, and keep its key readable for Redis (certbot: --deploy-hook)",
    );
    let Some(mut steps) = opening(facts).filter(|_| is_safe(facts)) else {
        let text = "see that the certificate in the file of 'tls-cert-file' belongs to the key of 'tls-key-file', that the user Redis runs as may \
                    read both, as what else Redis reads again with them (tls-ca-cert-file and the client's files), which must be what its clients need, that \
                    it is for every name and purpose of the one that is served ('openssl x509 -noout -text'), and that clients \
                    trust who signed it; then let Redis read both again: CONFIG SET tls-cert-file with its path";
        return vec![Step::tell(on, text), hook];
    };
    steps.push(match admin_cli(facts).zip(path) {
        Some((cli, path)) => {
            let text = "let Redis read its certificate and key again; no connection is cut";
            Step::run(on, Risk::Safe, text, format!("{cli} CONFIG SET tls-cert-file {path}"))
        }
        None => Step::tell(on, "let Redis read it again: CONFIG SET tls-cert-file with its path"),
    });
    steps.push(hook);
    steps
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::now;
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;
    use crate::probe::host::certificates::File;
    use crate::probe::path::redis::{Dialogue, Redis};
    use crate::probe::path::tcp::Attempt;
    use crate::probe::path::tls::Ended;
    use crate::sys::files::Meta;

    const DAY: i64 = 86_400;

    /// A server that serves one that expired, with this certificate in its file.
    pub fn facts(stored: Certificate, changed_at: &str) -> Facts {
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
                let (access, meta, own_group, seen_at, moved_at) = (Access::Open, None, Some(105), None, None);
                let certificate =
                    File { setting, path, pid, seen_at, changed_at, moved_at, meta, access, own_group, certificates };
                let (setting, path) = ("tls-key-file".to_owned(), "/etc/tls/server.key".to_owned());
                let key =
                    File { setting, path, certificates: Observed::skipped("it holds a key"), ..certificate.clone() };
                host.certificates = vec![certificate, key];
            })
    }

    /// One that is valid for the name of the table's target, of the same authority.
    pub fn good() -> Certificate {
        let names = vec!["db".to_owned(), "10.0.0.9".to_owned(), "127.0.0.1".to_owned()];
        Certificate { names, issuer_key_id: Some("aa".to_owned()), ..Certificate::healthy() }
    }

    pub const LATE: &str = "2026-11-20T08:00:00.000Z";
    pub const EARLY: &str = "2026-11-01T08:00:00.000Z";

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
    fn what_others_use_is_not_taken_from_them() {
        let served = |stored: Certificate| {
            facts(stored, LATE).hello(|hello| {
                hello.chain[0].names = good().names;
                hello.chain[0].other_names = vec!["URI(spiffe://a)".to_owned()];
                hello.chain[0].purposes = vec!["serverAuth".to_owned(), "clientAuth".to_owned()];
            })
        };
        let is = |stored: Certificate, expected| {
            let facts = served(stored);
            check_cause(&CAUSE, &facts, expected);
            let tells = |step: &Step| matches!(step, Step::Tell { .. });
            assert_eq!(remedy(&facts).iter().all(tells), expected != Some(Confidence::Certain));
        };
        let purposes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        is(good(), Some(Confidence::Likely));
        is(Certificate { purposes: purposes(&["clientAuth"]), ..good() }, None);
        let other_names = vec!["URI(spiffe://a)".to_owned()];
        let good = || Certificate {
            purposes: purposes(&["serverAuth", "clientAuth"]),
            other_names: other_names.clone(),
            ..good()
        };
        is(good(), Some(Confidence::Certain));
        // OpenSSL refuses it.
        is(Certificate { purposes: purposes(&["any"]), ..good() }, None);
        is(Certificate { purposes: Vec::new(), ..good() }, Some(Confidence::Certain));
        is(Certificate { other_names: Vec::new(), ..good() }, Some(Confidence::Likely));
        is(Certificate { is_ca: true, ..good() }, Some(Confidence::Likely));
        is(Certificate { key: Some("RSA of 2048 bits".to_owned()), ..good() }, Some(Confidence::Likely));
        is(Certificate { names: vec!["db".to_owned()], ..good() }, Some(Confidence::Likely));
        let by_name = ["db", "DNS:10.0.0.9", "127.0.0.1"].map(str::to_owned);
        is(Certificate { names: by_name.to_vec(), ..good() }, Some(Confidence::Likely));
    }

    #[test]
    fn those_between_it_and_the_root_are_looked_at_as_well() {
        let between = |days: i64| Certificate {
            subject: "CN=Between".to_owned(),
            issuer: "CN=Example CA".to_owned(),
            issuer_key_id: Some("aa".to_owned()),
            key_id: Some("dd".to_owned()),
            is_ca: true,
            not_after: now() + days * DAY,
            ..Certificate::healthy()
        };
        let with = |days: i64| {
            let (issuer, issuer_key_id) = ("CN=Between".to_owned(), Some("dd".to_owned()));
            let stored = Certificate { issuer, issuer_key_id, ..good() };
            facts(stored.clone(), LATE)
                .host(|host| host.certificates[0].certificates = Observed::Seen(vec![stored, between(days)]))
        };
        let changed = |change: fn(&mut Certificate)| {
            with(90).host(|host| {
                let Observed::Seen(held) = &mut host.certificates[0].certificates else { return };
                change(&mut held[1]);
            })
        };
        check_cause(&CAUSE, &with(90), Some(Confidence::Certain));
        check_cause(&CAUSE, &changed(|one| one.is_ca = false), None);
        check_cause(&CAUSE, &changed(|one| one.purposes = vec!["clientAuth".to_owned()]), None);
        check_cause(&CAUSE, &changed(|one| one.limits_names = true), Some(Confidence::Likely));
        check_cause(&CAUSE, &with(5), Some(Confidence::Likely));
        check_cause(&CAUSE, &with(-1), None);
    }

    #[test]
    fn the_authorities_complete_only_what_stands_alone() {
        let between = |name: &str| Certificate {
            subject: name.to_owned(),
            issuer_key_id: Some("aa".to_owned()),
            is_ca: true,
            ..Certificate::healthy()
        };
        let with = |more: &[&str]| {
            let stored = Certificate { issuer: "CN=Between".to_owned(), issuer_key_id: None, ..good() };
            let mut held = vec![stored.clone()];
            held.extend(more.iter().map(|name| between(name)));
            facts(stored, LATE).host(|host| {
                host.certificates[0].certificates = Observed::Seen(held);
                let mut authorities = host.certificates[0].clone();
                (authorities.setting, authorities.path) = ("tls-ca-cert-file".to_owned(), "/etc/tls/ca.crt".to_owned());
                authorities.changed_at = Some(EARLY.to_owned());
                authorities.certificates = Observed::Seen(vec![between("CN=Between")]);
                host.certificates.push(authorities);
            })
        };
        check_cause(&CAUSE, &with(&[]), Some(Confidence::Certain));
        check_cause(&CAUSE, &with(&["CN=Another"]), None);
    }

    #[test]
    fn a_file_that_the_server_may_not_read_is_opened_for_it_first() {
        let closed = |access, mode: u32, gid: u32| {
            facts(good(), LATE).host(|host| {
                let meta = Meta { kind: "file".to_owned(), mode, uid: 0, gid, usable: true };
                (host.certificates[1].access, host.certificates[1].meta) = (access, Some(meta));
            })
        };
        let first = |facts: &Facts| remedy(facts).first().cloned();
        let root = closed(Access::ClosedFile, 0o600, 0);
        check_cause(&CAUSE, &root, Some(Confidence::Certain));
        let command = "sudo chgrp 105 /etc/tls/server.key && sudo chmod g+r /etc/tls/server.key";
        assert!(matches!(first(&root), Some(Step::Run { command: it, .. }) if it == command), "{:?}", first(&root));
        let shared = closed(Access::ClosedFile, 0o600, 0).host(|host| host.certificates[1].own_group = None);
        check_cause(&CAUSE, &shared, Some(Confidence::Likely));
        // It lies where only the server has it so.
        let apart = root.host(|host| host.certificates[1].seen_at = Some("/proc/7/root/etc/tls/server.key".to_owned()));
        check_cause(&CAUSE, &apart, Some(Confidence::Likely));
        // Others of its group would lose it; or the folder is closed, too; or nobody has looked.
        for (access, mode) in [(Access::ClosedFile, 0o640), (Access::ClosedFolder, 0o600), (Access::Unknown, 0o644)] {
            let facts = closed(access, mode, 0);
            check_cause(&CAUSE, &facts, Some(Confidence::Likely));
            assert!(matches!(first(&facts), Some(Step::Tell { .. })));
        }
    }

    #[test]
    fn another_server_behind_the_name_says_nothing() {
        // The file is that of 10.0.0.9, and the handshake was with another address of the machine.
        let two = facts(good(), LATE).listening(&["10.0.0.9:6379"]);
        check_cause(&CAUSE, &two, Some(Confidence::Certain));
        let other = two.clone().hello(|hello| hello.address = "10.0.0.7:6379".to_owned()).with(|facts| {
            let Observed::Seen(tcp) = &mut facts.tcp else { return };
            tcp.attempts.insert(0, Attempt::connected([10, 0, 0, 7].into()));
        });
        check_cause(&CAUSE, &other, None);
        assert!(diagnose(&other).causes.iter().any(|cause| cause.id == "certificate-expired"));
        // What was said inside, if that was elsewhere, is of another, too.
        let said = two.with(|facts| {
            let elsewhere = Dialogue::healthy("10.0.0.7:6379");
            facts.redis = Observed::Seen(Redis { dialogues: vec![elsewhere] });
        });
        check_cause(&CAUSE, &said, None);
    }

    #[test]
    fn a_front_with_another_certificate_is_no_old_one() {
        let front = facts(good(), LATE).with(|facts| {
            facts.ask.target.endpoint = crate::model::Endpoint::Tcp { host: "db".to_owned(), port: 7000 };
        });
        check_cause(&CAUSE, &front, None);
    }
}
