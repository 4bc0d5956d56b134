//! redis-cli as it is typed on the server's own machine where the server speaks TLS, with a certificate that the server takes.

use super::reread::is_later;
use super::{file, held, way_of};
use crate::cause::dialogue;
use crate::check::tls::taken_at;
use crate::model::text::shell_quote;
use crate::probe::Facts;
use crate::probe::host::instance::{Instance, reached};
use crate::probe::path::redis::Dialogue;
use crate::probe::path::tls::Hello;
use crate::probe::path::tls::certificate::Certificate;

/// What stands where the server wants a certificate, and none is known that it takes: no command for anybody.
pub const LACKING: &str = " --cert CERT --key KEY";

/// By its unix socket if it has one, else, where one must be shown, with a certificate; the server's unchecked, for that may be what is
/// broken, and nobody is between. `None` where the server is not seen.
pub fn own_cli(facts: &Facts) -> Option<String> {
    let instance = facts.instance()?;
    let process = instance.process?;
    if let Some(path) = process.listens_unix.first() {
        return Some(format!("redis-cli -s {}", shell_quote(path)));
    }
    let port = facts.ask.target.port()?;
    let at = process.listens.iter().find(|at| at.port() == port).map(|at| reached(*at))?;
    let plain = format!("redis-cli -h {} -p {port} --tls --insecure", at.ip());
    if is_let_in(facts, &instance) {
        return Some(plain);
    }
    if let Some((cert, key)) = ours(facts) {
        return Some(format!("{plain} --cert {cert} --key {key}"));
    }
    Some(match its(facts, &instance) {
        // Its key may be root's alone.
        Some((cert, key)) => format!("sudo {plain} --cert {cert} --key {key}"),
        None => format!("{plain}{LACKING}"),
    })
}

/// True if nobody has to show a certificate.
fn is_let_in(facts: &Facts, instance: &Instance) -> bool {
    let is_free = named(instance, "tls-auth-clients").is_some_and(|value| ["no", "optional"].contains(&value.as_str()));
    let Some(hello) = hello_with(facts, instance) else { return is_free };
    let is_unasked = !hello.chain.is_empty() && hello.asked.is_none();
    is_free || is_unasked || !hello.shown && has_replied(facts, hello)
}

fn hello_with<'a>(facts: &'a Facts, instance: &Instance) -> Option<&'a Hello> {
    let hellos = facts.tls.seen().map_or(&[][..], |tls| &tls.hellos);
    hellos.iter().find(|hello| hello.address.parse().is_ok_and(|at| instance.serves_at(at)))
}

fn has_replied(facts: &Facts, hello: &Hello) -> bool {
    dialogue(facts).filter(|said| said.address == hello.address).is_some_and(Dialogue::has_replied)
}

/// Our own certificate and its key, where they lie on the server's machine, and it takes them.
fn ours(facts: &Facts) -> Option<(String, String)> {
    facts.vantage.seen()?.same_host.filter(|same| *same)?;
    let (instance, tls) = (facts.instance()?, facts.tls.seen()?);
    let said = &facts.ask.target.certificates;
    let is_accepted = || hello_with(facts, &instance).is_some_and(|hello| hello.shown && has_replied(facts, hello));
    // What stands behind it in its file is not kept.
    let fits = || tls.trust.own.as_ref().is_some_and(|own| is_taken(facts, own, &[]));
    let files = said.cert.as_deref().zip(said.key.as_deref()).filter(|_| is_accepted() || fits());
    files.map(|(cert, key)| (shell_quote(cert), shell_quote(key)))
}

/// That which the server has as a client, or as a server, where it would take it itself.
fn its(facts: &Facts, instance: &Instance) -> Option<(String, String)> {
    let pairs = [("tls-client-cert-file", "tls-client-key-file"), ("tls-cert-file", "tls-key-file")];
    pairs.into_iter().find_map(|(cert, key)| {
        let one = held(facts, cert).first()?;
        let path = |setting: &str| {
            let seen_at = file(facts, setting).and_then(|file| file.seen_at.clone());
            seen_at.or_else(|| named(instance, setting)).map(|path| shell_quote(&path))
        };
        let files = path(cert).zip(path(key));
        files.filter(|_| is_taken(facts, one, held(facts, cert)))
    })
}

/// True if the server takes this certificate: it is for clients, in its time, and of an authority that the server was told of before
/// it was started.
fn is_taken(facts: &Facts, one: &Certificate, chain: &[Certificate]) -> bool {
    let Some(now) = taken_at(facts) else { return false };
    let is_read = file(facts, "tls-ca-cert-file").is_some_and(|file| is_later(facts, file) == Some(false));
    let authorities = held(facts, "tls-ca-cert-file");
    let way = way_of(one, &chain.iter().chain(authorities).collect::<Vec<_>>());
    let end = way.last().copied().unwrap_or(one);
    let is_fit = way.iter().all(|one| one.is_for("clientAuth") && one.is_valid_at(now));
    is_read && is_fit && end.self_signed && authorities.contains(end)
}

fn named(instance: &Instance, setting: &str) -> Option<String> {
    instance.setting(setting).and_then(|known| known.values.first().cloned())
}

#[cfg(test)]
mod tests {
    use super::super::certificate_not_reloaded::tests::{EARLY, LATE, facts, good};
    use super::*;
    use crate::model::Observed;
    use crate::probe::healthy_host::seen;

    /// A server that wants a certificate, with this one in the file of a setting, and the authority that signed it.
    fn wants(setting: &str, one: Certificate, ca_changed: &str) -> Facts {
        let root = Certificate {
            subject: "CN=Example CA".to_owned(),
            issuer: "CN=Example CA".to_owned(),
            key_id: Some("aa".to_owned()),
            self_signed: true,
            is_ca: true,
            purposes: Vec::new(),
            ..Certificate::healthy()
        };
        facts(good(), LATE).hello(|hello| hello.asked = Some(Vec::new())).host(|host| {
            host.certificates.retain(|file| file.setting == "tls-key-file");
            let mut add = |setting: &str, changed: &str, holds: Vec<Certificate>| {
                let mut file = host.certificates[0].clone();
                (file.setting, file.path) = (setting.to_owned(), format!("/etc/{setting}"));
                (file.changed_at, file.certificates) = (Some(changed.to_owned()), Observed::Seen(holds));
                host.certificates.push(file);
            };
            add(setting, EARLY, vec![one]);
            add("tls-ca-cert-file", ca_changed, vec![root]);
            let key = if setting == "tls-cert-file" { "tls-key-file" } else { "tls-client-key-file" };
            let args = &mut seen(&mut host.processes).servers[0].args;
            for setting in [setting, key] {
                args.extend([format!("--{setting}"), format!("/etc/{setting}")]);
            }
        })
    }

    fn taken() -> Certificate {
        Certificate { purposes: vec!["serverAuth".to_owned(), "clientAuth".to_owned()], ..good() }
    }

    #[test]
    fn only_a_certificate_that_the_server_takes_is_shown() {
        let servers = || Certificate { purposes: vec!["serverAuth".to_owned()], ..taken() };
        let other = || Certificate { issuer_key_id: Some("bb".to_owned()), ..taken() };
        for (setting, one, ca_changed, expected) in [
            ("tls-cert-file", taken(), EARLY, " --cert /etc/tls-cert-file --key /etc/tls-key-file"),
            (
                "tls-client-cert-file",
                taken(),
                EARLY,
                " --cert /etc/tls-client-cert-file --key /etc/tls-client-key-file",
            ),
            ("tls-cert-file", servers(), EARLY, LACKING),
            ("tls-cert-file", other(), EARLY, LACKING),
            // Which authorities it knows is not known.
            ("tls-cert-file", taken(), LATE, LACKING),
        ] {
            let cli = own_cli(&wants(setting, one, ca_changed)).unwrap();
            assert!(cli.ends_with(expected), "{cli}");
            assert_eq!(cli.starts_with("sudo "), expected != LACKING);
        }
    }

    #[test]
    fn our_own_is_shown_where_it_was_taken() {
        let shown = |same: bool| {
            let facts = wants("tls-cert-file", taken(), EARLY).hello(|hello| hello.shown = true);
            facts.with(|facts| {
                seen(&mut facts.vantage).same_host = Some(same);
                let said = &mut facts.ask.target.certificates;
                (said.cert, said.key) = (Some("own.crt".to_owned()), Some("own.key".to_owned()));
                seen(&mut facts.tls).trust.own = Some(taken());
            })
        };
        let cli = own_cli(&shown(true)).unwrap();
        assert!(cli.starts_with("redis-cli ") && cli.ends_with(" --cert own.crt --key own.key"), "{cli}");
        assert!(own_cli(&shown(false)).unwrap().ends_with(" --cert /etc/tls-cert-file --key /etc/tls-key-file"));
        let unasked = shown(true).hello(|hello| hello.asked = None);
        assert!(own_cli(&unasked).unwrap().ends_with("--insecure"));
    }
}
