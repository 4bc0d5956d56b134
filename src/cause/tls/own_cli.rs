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
