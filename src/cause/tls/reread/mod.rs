//! What else Redis reads again when CONFIG SET sets its certificate, and whether that takes something from anybody.

use std::time::{Duration, SystemTime};

use super::{file, held, server};
use crate::probe::Facts;
use crate::probe::host::certificates::{Access, File};

/// What Redis reads again with its certificate and its key: it takes none of them where one of them is bad.
const REST: [&str; 5] =
    ["tls-ca-cert-file", "tls-ca-cert-dir", "tls-client-cert-file", "tls-client-key-file", "tls-dh-params-file"];
/// Its own as a client, for which the same may count as for its own as a server.
const AS_CLIENT: [&str; 2] = ["tls-client-cert-file", "tls-client-key-file"];
/// How far the times of a file and of a process may be apart from what they were: a tick of either clock is 10 ms.
const TICKS: Duration = Duration::from_millis(20);

/// True if that is what it has read already, so that nobody is locked out by it.
pub fn leaves_the_rest(facts: &Facts) -> bool {
    let Some(instance) = server(facts) else { return false };
    let value =
        |setting: &str| instance.setting(setting).and_then(|known| known.values.first().cloned()).unwrap_or_default();
    let is_no = |setting: &str| ["", "no"].contains(&value(setting).as_str());
    // Then nobody's certificate is looked at.
    let trusts_nobody = value("tls-auth-clients") == "no" && is_no("tls-replication") && is_no("tls-cluster");
    let is_kept = |setting: &str| {
        let Some(of) = file(facts, setting) else { return value(setting).is_empty() };
        let own = ["tls-cert-file", "tls-key-file"].map(|setting| file(facts, setting).map(|file| &file.path));
        let is_own = AS_CLIENT.contains(&setting) && own.contains(&Some(&of.path));
        let is_known = is_earlier(facts, of) && setting != "tls-ca-cert-dir" || is_own;
        let is_of_use = setting == "tls-ca-cert-dir" || !held(facts, setting).is_empty();
        of.access == Access::Open && (is_known || trusts_nobody && is_of_use)
    };
    REST.into_iter().all(is_kept)
}

/// Whether a file was changed after the server's start; `None` where it is not known.
pub fn is_later(facts: &Facts, file: &File) -> Option<bool> {
    // Both as RFC 3339 in UTC, to the second: they sort as they are. What was written in the second of the start was read by it, for all
    // that is known.
    let started = server(facts)?.process?.started_at.as_ref()?.get(..19)?;
    let is_later = file.changed_at.as_ref()?.get(..19)? > started;
    // It may have come there in its folder.
    (is_later || is_in_its_place(facts, file)).then_some(is_later)
}

/// True if a file is what it was before the server's start.
pub fn is_earlier(facts: &Facts, file: &File) -> bool {
    is_before(facts, file.changed_at.as_ref()) == Some(true) && is_in_its_place(facts, file)
}

fn is_in_its_place(facts: &Facts, file: &File) -> bool {
    file.moved_at.is_none() || is_before(facts, file.moved_at.as_ref()) == Some(true)
}

/// Whether a time is surely before the server's start.
fn is_before(facts: &Facts, time: Option<&String>) -> Option<bool> {
    let at = |time: Option<&String>| -> Option<SystemTime> { humantime::parse_rfc3339(time?).ok() };
    Some(at(time)? + TICKS < at(server(facts)?.process?.started_at.as_ref())?)
}

#[cfg(test)]
mod tests {
    use super::super::certificate_not_reloaded::CAUSE;
    use super::super::certificate_not_reloaded::tests::{EARLY, LATE, facts, good};
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::{Confidence, Step};
    use crate::probe::healthy_host::seen;

    /// The server with another file, that it may have to read again.
    fn beside(setting: &str, change: impl FnOnce(&mut File)) -> Facts {
        facts(good(), LATE).host(|host| {
            let mut other = host.certificates[0].clone();
            (other.setting, other.path) = (setting.to_owned(), "/etc/tls/other".to_owned());
            change(&mut other);
            host.certificates.push(other);
        })
    }

    #[test]
    fn what_else_is_read_again_must_be_as_it_was() {
        let with = |setting: &str, changed: &str, access: Access, auth: &[(&str, &str)]| {
            facts(good(), LATE).host(|host| {
                let args = &mut seen(&mut host.processes).servers[0].args;
                args.extend(auth.iter().flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]));
                let mut other = host.certificates[0].clone();
                (other.setting, other.path) = (setting.to_owned(), "/etc/tls/other".to_owned());
                (other.changed_at, other.access) = (Some(changed.to_owned()), access);
                host.certificates.push(other);
            })
        };
        let no = ("tls-auth-clients", "no");
        for (setting, changed, access, auth, expected) in [
            ("tls-ca-cert-file", EARLY, Access::Open, &[][..], Confidence::Certain),
            // Whose certificate it signed is locked out, where that is asked for.
            ("tls-ca-cert-file", LATE, Access::Open, &[], Confidence::Likely),
            ("tls-ca-cert-file", LATE, Access::Open, &[no], Confidence::Certain),
            ("tls-ca-cert-file", LATE, Access::Open, &[no, ("tls-replication", "yes")], Confidence::Likely),
            ("tls-ca-cert-dir", EARLY, Access::Open, &[], Confidence::Likely),
            ("tls-ca-cert-dir", EARLY, Access::Open, &[no], Confidence::Certain),
            // The command would fail.
            ("tls-ca-cert-file", EARLY, Access::ClosedFile, &[no], Confidence::Likely),
            ("tls-client-key-file", EARLY, Access::ClosedFile, &[], Confidence::Likely),
            ("tls-client-cert-file", LATE, Access::Open, &[], Confidence::Likely),
        ] {
            let facts = with(setting, changed, access, auth);
            check_cause(&CAUSE, &facts, Some(expected));
            let tells = (CAUSE.remedy)(&facts).iter().all(|step| matches!(step, Step::Tell { .. }));
            assert_eq!(tells, expected == Confidence::Likely, "{setting} {changed}");
        }
    }

    #[test]
    fn what_was_read_already_is_known_to_the_tick() {
        let started = "2026-11-18T08:00:00.500Z";
        let facts = |changed: &str, moved: Option<&str>| {
            beside("tls-ca-cert-file", |file| {
                (file.changed_at, file.moved_at) = (Some(changed.to_owned()), moved.map(str::to_owned));
            })
            .process(|process| process.started_at = Some(started.to_owned()))
        };
        for (changed, moved, expected) in [
            ("2026-11-18T08:00:00.470Z", None, Confidence::Certain),
            ("2026-11-18T08:00:00.490Z", None, Confidence::Likely),
            ("2026-11-18T08:00:00.990Z", None, Confidence::Likely),
            // Its folder was put in the place of another one.
            ("2026-11-01T08:00:00.000Z", Some("2026-11-18T08:00:09.000Z"), Confidence::Likely),
            ("2026-11-01T08:00:00.000Z", Some("2026-11-18T07:00:00.000Z"), Confidence::Certain),
        ] {
            check_cause(&CAUSE, &facts(changed, moved), Some(expected));
        }
    }

    #[test]
    fn one_file_for_both_may_have_lost_an_authority() {
        let one = |setting: &str| {
            beside(setting, |file| {
                "/etc/tls/server.crt".clone_into(&mut file.path);
                file.changed_at = Some(LATE.to_owned());
            })
        };
        check_cause(&CAUSE, &one("tls-ca-cert-file"), Some(Confidence::Likely));
        check_cause(&CAUSE, &one("tls-client-cert-file"), Some(Confidence::Certain));
    }
}
