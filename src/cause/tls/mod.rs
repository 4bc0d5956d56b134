//! Causes in TLS: certificates, who vouches for them and until when, and what both sides speak.

mod cacert_malformed;
mod certificate_expired;
mod certificate_name_mismatch;
mod certificate_not_reloaded;
mod certificate_not_yet_valid;
mod certificate_unsupported;
mod client_certificate_rejected;
mod client_certificate_required;
mod incomplete_chain;
mod own_cli;
mod plaintext_to_tls_port;
mod reread;
mod server_name_needed;
mod tls_to_plaintext_port;
mod tls_version_mismatch;
mod untrusted_ca;

use std::net::SocketAddr;

use super::{Cause, dialogue, local_cli};
use crate::check::tls::{span, taken_at};
use crate::model::target::Part;
use crate::model::text::shell_quote;
use crate::model::{Evidence, Risk, Step, Target, Where};
use crate::probe::Facts;
use crate::probe::host::certificates::File;
use crate::probe::host::instance::Instance;
use crate::probe::path::command::Command;
use crate::probe::path::counter::Through;
use crate::probe::path::redis::End;
use crate::probe::path::reply::{Info, Reply};
use crate::probe::path::tls::alert;
use crate::probe::path::tls::certificate::Certificate;
use crate::probe::path::tls::{Flaw, Hello};
pub(super) use own_cli::{LACKING, own_cli};

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &plaintext_to_tls_port::CAUSE,
    &tls_to_plaintext_port::CAUSE,
    &certificate_not_reloaded::CAUSE,
    &certificate_expired::CAUSE,
    &certificate_not_yet_valid::CAUSE,
    &cacert_malformed::CAUSE,
    &incomplete_chain::CAUSE,
    &untrusted_ca::CAUSE,
    &certificate_unsupported::CAUSE,
    &certificate_name_mismatch::CAUSE,
    &server_name_needed::CAUSE,
    &client_certificate_rejected::CAUSE,
    &client_certificate_required::CAUSE,
    &tls_version_mismatch::CAUSE,
];

/// A clock that is before this was wrong when this was written (2026-01-01).
const EARLIEST: i64 = 1_767_225_600;
/// How much two clocks may differ before one of them is wrong, in seconds.
const TOLERANCE: i64 = 300;

/// The handshake with the preferred address.
fn hello(facts: &Facts) -> Option<&Hello> {
    facts.tls.seen()?.preferred()
}

fn has(hello: &Hello, flaw: &Flaw) -> bool {
    hello.flaws.contains(flaw)
}

/// What was met behind a certificate that is not trusted.
fn unverified(facts: &Facts) -> Option<&Through> {
    facts.counter.seen()?.unverified.as_deref()
}

/// The same as evidence: whether a Redis is there at all.
fn behind(facts: &Facts) -> Option<Evidence> {
    let inside = unverified(facts)?.inside.as_ref()?;
    let says = match (inside.reply(Command::Ping).or(inside.unasked.as_ref()), &inside.end) {
        (Some(Reply::Status(status)), _) => format!("behind it, a Redis answers {status}"),
        (Some(Reply::Error(error)), _) => format!("behind it, a Redis answers {}", error.text),
        (_, End::Alert(alert)) => {
            format!("behind it, the server refuses a client without certificate: {}", alert::name(*alert))
        }
        _ => return None,
    };
    Some(Evidence::new("a handshake that went on all the same", says))
}

/// Where the chain that the server sent ends: with one that signed itself, or with one whose issuer is not among them.
fn top(hello: &Hello) -> Option<&Certificate> {
    Some(end_of(hello.leaf()?, &hello.chain.iter().collect::<Vec<_>>()))
}

/// The same for a certificate, and those that it may lean on.
fn end_of<'a>(leaf: &'a Certificate, chain: &[&'a Certificate]) -> &'a Certificate {
    way_of(leaf, chain).last().copied().unwrap_or(leaf)
}

/// The way from a certificate over those that it may lean on, itself first.
fn way_of<'a>(leaf: &'a Certificate, chain: &[&'a Certificate]) -> Vec<&'a Certificate> {
    let mut way = vec![leaf];
    // Each step leads to one where the way was not yet: it may lead in a circle.
    while let Some(last) = way.last().copied().filter(|last| !last.self_signed) {
        match chain.iter().find(|one| !way.contains(one) && last.may_be_signed_by(one)) {
            Some(issuer) => way.push(issuer),
            None => break,
        }
    }
    way
}

/// The name of a root that was made again: the one that the server sends has another key than that which signed what is below it.
fn remade(hello: &Hello) -> Option<&str> {
    let name = hello.chain.get(hello.misfit?)?.issuer.as_str();
    let mut sent = hello.chain.iter().filter(|one| one.subject == name).peekable();
    (sent.peek().is_some() && sent.all(|one| one.self_signed)).then_some(name)
}

/// Who refuses it, where that is not the library itself: an authority that is out of its time.
fn whose_verdict(hello: &Hello) -> Option<Evidence> {
    hello.lapsed.as_ref()?;
    let says = "OpenSSL, Python and Go refuse what an authority out of its time has signed; Java and Rust do not look at its dates";
    Some(Evidence::new("the libraries of clients", says))
}

/// Steps for an authority that is out of its time.
fn renew_the_authority() -> Vec<Step> {
    vec![Step::tell(
        Where::Here,
        "have the authority's own certificate made again with the same key and name, so that what it signed stays good, and give it to every \
         client (--cacert) and to the server ('tls-ca-cert-file'); or take a new authority, and have the server's certificate made again by it",
    )]
}

/// The server's clock, in seconds since 1970, and who told it.
fn server_clock(facts: &Facts) -> Option<(i64, String)> {
    let vantage = facts.vantage.seen();
    if vantage.and_then(|vantage| vantage.same_host) == Some(true) {
        // It is our own.
        return None;
    }
    let behind = || unverified(facts)?.inside.as_ref()?.info();
    let told = |info: &Info| i64::try_from(info.number("server_time_usec")? / 1_000_000).ok();
    dialogue(facts).and_then(|said| said.info()).or_else(behind).and_then(told).map(|at| (at, "INFO".to_owned()))
}

/// What another clock says of ours.
#[derive(Debug, Clone, PartialEq)]
enum Clock {
    /// There is no other.
    Alone,
    /// It says the same.
    Agreed(Evidence),
    /// They differ: ours is so many seconds ahead of the other, or behind it (less than 0). By the other, the certificate
    /// is valid, or not.
    Differs {
        /// How much.
        ahead: i64,
        /// Whether the chain is valid by the other.
        valid_there: bool,
        /// Who says so.
        evidence: Evidence,
    },
    /// Ours cannot be right: it is earlier than this program.
    Impossible(Evidence),
}

fn clock(facts: &Facts, hello: &Hello) -> Clock {
    let Some(own) = taken_at(facts) else { return Clock::Alone };
    if own < EARLIEST {
        return Clock::Impossible(Evidence::new("the clock of this machine", facts.taken_at.clone()));
    }
    let Some((other, source)) = server_clock(facts) else { return Clock::Alone };
    let ahead = own - other;
    if ahead.abs() <= TOLERANCE {
        return Clock::Agreed(Evidence::new(source, "the server's clock says the same time as ours"));
    }
    let way = if ahead > 0 { "behind" } else { "ahead of" };
    let evidence = Evidence::new(source, format!("the server's clock is {} {way} ours", span(ahead)));
    let valid_there = hello.needed().into_iter().chain(&hello.lapsed).all(|one| one.is_valid_at(other));
    Clock::Differs { ahead, valid_there, evidence }
}

/// Steps that set the clock of this machine.
fn set_the_clock() -> Vec<Step> {
    vec![
        Step::look(Where::Here, "date -u; timedatectl", "the time of this machine, and whether it is synchronised"),
        Step::tell(
            Where::Here,
            "set the clock, and keep it right: 'timedatectl set-ntp true', or 'chronyc makestep' where chrony runs; a container or \
             virtual machine has the clock of its host",
        ),
    ]
}

/// The server whose process has the listener of the very address that the handshake was with. Where there was none, that behind
/// the target. What belongs to another server behind the same name, or to one behind a front, says nothing of what was served.
fn server(facts: &Facts) -> Option<Instance<'_>> {
    let instance = facts.instance()?;
    let Some(hello) = hello(facts) else { return Some(instance) };
    let at: SocketAddr = hello.address.parse().ok()?;
    // What was said to another tells the settings of another.
    let is_said_there = dialogue(facts).is_none_or(|said| said.address == hello.address);
    let is_there = facts.asked_addresses().contains(&at.ip()) && instance.serves_at(at);
    (is_there && is_said_there).then_some(instance)
}

/// The file of this setting that the target's server was told of, where its machine was looked at.
fn file<'a>(facts: &'a Facts, setting: &str) -> Option<&'a File> {
    let instance = server(facts)?;
    let pid = instance.process.map(|process| process.pid);
    let mut files = instance.host.certificates.iter().filter(|file| file.setting == setting);
    files.find(|file| file.pid == pid)
}

/// What stands in it.
fn held<'a>(facts: &'a Facts, setting: &str) -> &'a [Certificate] {
    file(facts, setting).and_then(|file| file.certificates.seen()).map_or(&[], Vec::as_slice)
}

/// redis-cli on the server's own machine with user and password as [`local_cli`] has it, where it is known how to get in.
fn admin_cli(facts: &Facts) -> Option<String> {
    server(facts).and_then(|_| own_cli(facts)).filter(|cli| !cli.contains(LACKING)).map(|_| local_cli(facts))
}

/// True if an authority that is trusted here is the server's own, too ('tls-ca-cert-file').
fn is_own_authority_trusted(facts: &Facts) -> bool {
    let names = facts.tls.seen().map_or(&[][..], |tls| &tls.trust.names);
    held(facts, "tls-ca-cert-file").iter().any(|one| one.self_signed && names.contains(&one.subject))
}

/// The step that makes the application ask for TLS, or stop to, where it was told.
fn switch(target: &Target, to_tls: bool) -> Step {
    let (scheme, word) = if to_tls { ("rediss://", "true") } else { ("redis://", "false") };
    let Some(by) = target.given_by.get(&Part::Tls) else { return Step::tell(Where::Here, elsewhere(to_tls)) };
    let (place, name) = by.rsplit_once(' ').unwrap_or(("", by));
    let is_switch = ["TLS", "SSL"].iter().any(|part| name.ends_with(part));
    if let (Some((file, line)), false) = (of_file(place), is_switch) {
        let text = format!("write {scheme} in {by}, and restart the application");
        return Step::run(Where::Here, Risk::Restarts, text, rewrite(file, line, to_tls));
    }
    let text = match by.as_str() {
        "flag" | "default" => elsewhere(to_tls),
        "uri" => format!("write {scheme} in the application's URI (what redisdoc was given says otherwise)"),
        _ if is_switch => format!("set {name} to {word} ({by}), and restart the application"),
        _ => format!("write {scheme} in {by}, and restart the application"),
    };
    Step::tell(Where::Here, text)
}

fn elsewhere(to_tls: bool) -> String {
    let text = if to_tls {
        "let the application use TLS: rediss:// instead of redis:// in its URI; ssl=True (redis-py), tls: {} (ioredis), \
         socket: { tls: true } (node-redis), spring.data.redis.ssl.enabled=true, TLSConfig (go-redis)"
    } else {
        "let the application use no TLS here: redis:// instead of rediss:// in its URI, or without its setting for ssl or tls"
    };
    text.to_owned()
}

/// The file and the line of a setting: `.env:3`.
fn of_file(place: &str) -> Option<(&str, u32)> {
    let (file, line) = place.rsplit_once(':')?;
    Some((file, line.parse().ok()?))
}

/// The command that changes the scheme of the URI in this line. The line may hold a password, so it is not repeated.
fn rewrite(file: &str, line: u32, to_tls: bool) -> String {
    let (from, to) = if to_tls { ("", "s") } else { ("s", "") };
    let change = |scheme: &str| format!("-e '{line}s#{scheme}{from}://#{scheme}{to}://#'");
    format!("sed -i {} {} {}", change("redis"), change("valkey"), shell_quote(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Observed;
    use crate::probe::path::redis::Dialogue;
    use crate::probe::path::tls::Ended;

    /// A handshake that ended over these flaws.
    pub fn flawed(flaws: &[Flaw]) -> Facts {
        Facts::encrypted().hello(|hello| (hello.end, hello.flaws) = (Ended::Untrusted, flaws.to_vec()))
    }

    /// The same, with what is behind it telling this time.
    pub fn with_clock(facts: Facts, at: i64) -> Facts {
        let told = Facts::healthy().info("server_time_usec", &format!("{at}000000"));
        let said: Dialogue = dialogue(&told).unwrap().clone();
        let hello = hello(&facts).unwrap().clone();
        facts.with(|facts| {
            let counter = crate::probe::path::counter::Counter {
                unverified: Some(Box::new(Through { hello, inside: Some(said.first) })),
                ..Default::default()
            };
            facts.counter = Observed::Seen(counter);
        })
    }

    /// Our own clock, as the tables have it.
    pub fn now() -> i64 {
        taken_at(&Facts::healthy()).unwrap()
    }

    #[test]
    fn a_chain_ends_where_nobody_is_named_or_at_itself() {
        let facts = |more: &[(&str, &str)]| {
            Facts::encrypted().hello(|hello| {
                for (subject, issuer) in more {
                    let (subject, issuer) = ((*subject).to_owned(), (*issuer).to_owned());
                    let self_signed = subject == issuer;
                    hello.chain.push(Certificate { subject, issuer, self_signed, ..Certificate::healthy() });
                }
            })
        };
        let ends = |more: &[(&str, &str)]| top(hello(&facts(more)).unwrap()).unwrap().subject.clone();
        assert_eq!(ends(&[]), "CN=db");
        assert_eq!(ends(&[("CN=Example CA", "CN=Root")]), "CN=Example CA");
        assert_eq!(ends(&[("CN=Root", "CN=Root"), ("CN=Example CA", "CN=Root")]), "CN=Root");
        assert_eq!(ends(&[("CN=Other", "CN=Root")]), "CN=db");
        // A circle.
        assert!(!ends(&[("CN=Example CA", "CN=B"), ("CN=B", "CN=Example CA")]).is_empty());
    }

    #[test]
    fn clocks_are_compared() {
        let says = |facts: &Facts| clock(facts, hello(facts).unwrap());
        let facts = || flawed(&[Flaw::Expired]);
        assert_eq!(says(&facts()), Clock::Alone);
        assert!(matches!(says(&with_clock(facts(), now() - 60)), Clock::Agreed(_)));
        let far = says(&with_clock(facts(), now() - 86_400 * 30));
        assert!(matches!(far, Clock::Differs { ahead: 2_592_000, valid_there: true, .. }), "{far:?}");
        let old = facts().with(|facts| facts.taken_at = "1970-01-02T00:00:00Z".to_owned());
        assert!(matches!(says(&old), Clock::Impossible(_)));
        let here = with_clock(facts(), now() - 60).with(|facts| {
            let Observed::Seen(vantage) = &mut facts.vantage else { return };
            vantage.same_host = Some(true);
        });
        assert_eq!(says(&here), Clock::Alone, "the same clock twice is one");
    }

    fn step(by: &str, to_tls: bool) -> Step {
        let mut target = Target::default();
        target.given_by.insert(Part::Tls, by.to_owned());
        switch(&target, to_tls)
    }

    #[track_caller]
    fn says(by: &str, part: &str) {
        let step = step(by, true);
        assert!(matches!(&step, Step::Tell { text, .. } if text.contains(part)), "{step:?}");
    }

    #[test]
    fn the_place_is_named_where_it_was_said() {
        says("flag", "ssl=True");
        says("uri", "rediss:// in the application's URI");
        says("env REDIS_URL", "rediss:// in env REDIS_URL");
        says("env REDIS_SSL", "set REDIS_SSL to true (env REDIS_SSL)");
        says(".env:3 REDIS_TLS", "set REDIS_TLS to true (.env:3 REDIS_TLS)");
        let Step::Run { command, .. } = step("my conf/.env:3 REDIS_URL", false) else { panic!("no command") };
        let change = "sed -i -e '3s#rediss://#redis://#' -e '3s#valkeys://#valkey://#' 'my conf/.env'";
        assert_eq!(command, change);
    }
}
