//! Does the handshake of TLS succeed, and is the server's certificate one that we trust?
//!
//! "TLS works" is said only where a reply came through it: with TLS 1.3 the server refuses a client after the handshake
//! (RFC 8446 section 4.4.2.4). Whose fault it is, is the causes' question.

mod beyond;

use super::Check;
use crate::model::{BlockerKind, Code, Evidence, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::path::redis::{Dialogue, End};
use crate::probe::path::tls::alert;
use crate::probe::path::tls::certificate::Certificate;
use crate::probe::path::tls::{Ended, Flaw, Hello, Stop, Tls, Why};
use beyond::{beyond_us, elsewhere, may_be_of_another, unnamed, unseen, unsent};

/// The check.
pub static CHECK: Check = Check {
    id: "tls",
    asks: "does the handshake of TLS succeed, and is the server's certificate one that we trust?",
    level: Some(Level::Reachable),
    codes: &[
        &NOT_TLS,
        &SILENT,
        &CLOSED,
        &ALERT,
        &INCOMPATIBLE,
        &FAILED,
        &UNTRUSTED,
        &EXPIRED,
        &NOT_YET_VALID,
        &WRONG_NAME,
        &REFUSED,
        &EXPIRES_SOON,
        &DIFFERS,
        &BY_ITSELF,
        &PARTLY_TRUSTED,
        &UNLOADABLE,
        &OVERLOOKED,
    ],
    judge,
};

/// Bytes that are no TLS.
pub static NOT_TLS: Code = Code::fail(
    "tls/not-tls",
    Level::Reachable,
    "what answers does not speak TLS",
    "The bytes that came back for our ClientHello are no TLS. Clients call that 'wrong version number' or 'unknown protocol': \
     the peer wrote plain text first, and what it wrote is the real error.",
);
/// Nothing.
pub static SILENT: Code = Code::fail(
    "tls/silent",
    Level::Reachable,
    "nothing answers the TLS handshake",
    "The connection was accepted and our ClientHello taken, but no byte came back in time. A Redis without TLS waits so for \
     the end of a line that never comes; a stopped server and a filter that drops data look the same.",
);
/// An end without a word.
pub static CLOSED: Code = Code::fail(
    "tls/closed",
    Level::Reachable,
    "closed during the TLS handshake",
    "The connection was accepted, and closed or reset before the handshake was complete.",
);
/// An alert instead of a handshake.
pub static ALERT: Code = Code::fail(
    "tls/alert",
    Level::Reachable,
    "the server refuses the TLS handshake",
    "The server answered our part of the handshake with an alert (RFC 8446 section 6.2), whose name is in the evidence.",
);
/// Nothing in common.
pub static INCOMPATIBLE: Code = Code::fail(
    "tls/incompatible",
    Level::Reachable,
    "no version or cipher of TLS in common",
    "The server speaks TLS, but none of the versions (1.2 and 1.3), cipher suites or signatures of our library. Clients with \
     OpenSSL may still be able to connect.",
);
/// Anything else that ends a handshake.
pub static FAILED: Code = Code::fail(
    "tls/failed",
    Level::Reachable,
    "the TLS handshake failed",
    "The handshake ended for a reason that has no code of its own; the evidence has the library's words.",
);
/// Nobody we trust vouches for it.
pub static UNTRUSTED: Code = Code::fail(
    "tls/untrusted",
    Level::Reachable,
    "the server's certificate is not trusted",
    "None of the authorities that are trusted here signed the server's certificate, or it must not be used as a server's.",
);
/// Its time is over.
pub static EXPIRED: Code = Code::fail(
    "tls/expired",
    Level::Reachable,
    "the server's certificate has expired",
    "By the clock of this machine, the time of the server's certificate, or of one that it depends on, is over.",
);
/// Its time has not come.
pub static NOT_YET_VALID: Code = Code::fail(
    "tls/not-yet-valid",
    Level::Reachable,
    "the server's certificate is not yet valid",
    "By the clock of this machine, the time of the server's certificate, or of one that it depends on, has not begun.",
);
/// Another's.
pub static WRONG_NAME: Code = Code::fail(
    "tls/wrong-name",
    Level::Reachable,
    "the server's certificate is for another name",
    "None of the names of the server's certificate (subjectAltName) is the one it was reached by. redis-cli does not check \
     that, most client libraries do.",
);
/// An alert on the first read.
pub static REFUSED: Code = Code::fail(
    "tls/refused",
    Level::Reachable,
    "the server refuses us after the TLS handshake",
    "The handshake was complete on our side, and then the server ended the connection with an alert: in TLS 1.3 that is how \
     it refuses a client's certificate, or the lack of one.",
);

/// Not yet over.
pub static EXPIRES_SOON: Code = Code::warn(
    "tls/expires-soon",
    Level::Reachable,
    "a certificate expires soon",
    "All is well, but the server's certificate, or the one that we show it, is valid for less than 14 days more. What renews \
     certificates by itself does so 30 days before their end, or when a third of their time is left, so that whoever sees \
     this has a renewal that fails. For certificates with a life of less than 30 days it is a third of their life.",
);
/// Another at another address.
pub static DIFFERS: Code = Code::warn(
    "tls/differs",
    Level::Reachable,
    "TLS does not succeed at every address",
    "The name has several addresses, and TLS succeeds at one and not at another. Clients take either, so that the fault comes \
     and goes.",
);
/// A matter of opinion.
pub static BY_ITSELF: Code = Code::remark(
    "tls/by-itself",
    Level::Reachable,
    "the server's certificate is trusted by itself, and not by an authority",
    "The server's certificate signed itself and is among those that are trusted. OpenSSL, Go, Java and Python accept that, \
     and so does redisdoc; libraries of Rust (rustls, webpki) refuse a certificate that is one of an authority (CA:TRUE) and \
     used as a server's.",
);
/// Trusted here, and elsewhere not.
pub static PARTLY_TRUSTED: Code = Code::warn(
    "tls/partly-trusted",
    Level::Reachable,
    "the certificate is trusted here, and not by every client",
    "What is trusted is an intermediate authority without the one that signed it, or among the trusted ones stands one that OpenSSL \
     stops at: of two with the same name it takes the first, whatever its key; it goes on from an intermediate to its root, and looks at \
     the dates of both. redisdoc tries every way and takes an intermediate for enough, as Go, Java and curl do. OpenSSL does not unless \
     it is told to (X509_V_FLAG_PARTIAL_CHAIN): redis-cli, Python before 3.13, Node.js, PHP and Ruby say 'unable to get issuer \
     certificate', 'certificate signature failure' or 'certificate has expired'.",
);
/// Of no use to OpenSSL.
pub static UNLOADABLE: Code = Code::warn(
    "tls/cacert-malformed",
    Level::Reachable,
    "OpenSSL does not load the file of the trusted authorities",
    "redisdoc takes every whole certificate of the file. To OpenSSL one block that it cannot read spoils all: redis-cli says 'Invalid CA \
     Certificate File/Directory', Python 'PEM lib' or NO_CERTIFICATE_OR_CRL_FOUND, and neither connects.",
);
/// With eyes shut.
pub static OVERLOOKED: Code = Code::remark(
    "tls/overlooked",
    Level::Reachable,
    "the certificate is not trusted, which --insecure overlooks",
    "The evidence says what is wrong with the certificate. With --insecure it is as good as any: whoever can get between may \
     read the password.",
);

/// How much may be left of a certificate that is renewed in time, in seconds.
const SOON: i64 = 14 * DAY;
/// The longest life of a certificate that counts as short: what lives for a week or less is renewed every few days.
const SHORT_LIFE: i64 = 30 * DAY;
const DAY: i64 = 86_400;

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let tls = facts.tls.known()?;
    let hello = tls.preferred().ok_or_else(|| Gap::needs("tcp"))?;
    let dialogue = dialogue(facts, hello);
    let refused = dialogue.and_then(refused);
    let failure = failure(hello, facts.ask.target.certificates.insecure);
    if hello.end == Ended::Silent {
        facts.ask.waited_out(hello.elapsed_ms)?;
    }
    let unknown = unsent(facts, hello).or_else(|| beyond_us(facts, hello)).or_else(|| unnamed(facts, hello));
    if let Some(why) = unknown {
        return Err(Gap::hidden(BlockerKind::Unsupported, why + &elsewhere(facts, tls)));
    }
    let flaws = flaws(facts, hello);
    let summary = match (&refused, failure.as_ref().or(flaws.first())) {
        (_, Some(finding)) => format!("{}: {}", hello.address, finding.code.title),
        (Some(_), None) => format!("{} completed the handshake and then refused us", hello.address),
        (None, None) => healthy_summary(hello, dialogue) + &unseen(facts, tls),
    };
    let all_well = failure.is_none() && flaws.is_empty();
    let soon = if all_well { soon(facts) } else { None };
    let partly = if all_well && !facts.ask.target.certificates.insecure { partly_trusted(hello) } else { None };
    let more = [soon, partly, unloadable(tls), differs(facts, tls), by_itself(hello), overlooked(facts, hello)];
    let findings = failure.into_iter().chain(flaws).chain(refused).chain(more.into_iter().flatten());
    Ok(Judgement::pass(summary).took(hello.elapsed_ms).observing(tls).finding(findings))
}

fn healthy_summary(hello: &Hello, dialogue: Option<&Dialogue>) -> String {
    let version = hello.version.as_deref().unwrap_or("TLS");
    if dialogue.is_some_and(|dialogue| dialogue.telling().said_something()) {
        format!("{version} with {}", hello.address)
    } else {
        format!("the handshake of {version} with {} was completed, and nothing came through it yet", hello.address)
    }
}

/// What was said inside.
fn dialogue<'a>(facts: &'a Facts, hello: &Hello) -> Option<&'a Dialogue> {
    facts.redis.seen()?.dialogues.iter().find(|dialogue| dialogue.address == hello.address)
}

/// An alert that ended the conversation before anything was said.
fn refused(dialogue: &Dialogue) -> Option<Finding> {
    let conversations = [Some(&dialogue.first), dialogue.second.as_ref()];
    let alert = conversations.into_iter().flatten().find_map(|conversation| match conversation.end {
        End::Alert(alert) if !conversation.said_something() => Some(alert),
        _ => None,
    })?;
    Some(Finding::new(&REFUSED, "TLS alert", format!("{} after the handshake", alert::name(alert))))
}

/// Why there is no conversation, apart from the certificate.
fn failure(hello: &Hello, insecure: bool) -> Option<Finding> {
    let heard = hello.heard.as_deref().unwrap_or_default();
    let took = hello.elapsed_ms;
    let (code, source, says) = match &hello.end {
        // What is wrong with the certificate says why; where that is overlooked, it is the library that cannot go on.
        Ended::Untrusted if insecure || hello.flaws.is_empty() => {
            let why = hello.flaws.last().map_or_else(|| "the certificate is refused".to_owned(), |last| flaw(last).1);
            (&FAILED, "rustls", why)
        }
        Ended::Done | Ended::Untrusted => return None,
        Ended::Alert(alert) => (&ALERT, "TLS alert", format!("{} after {took:.1} ms", alert::name(*alert))),
        Ended::NotTls => (&NOT_TLS, "read(2)", format!("instead of a ServerHello: {heard}")),
        Ended::Incompatible(why) => (&INCOMPATIBLE, "rustls", why.clone()),
        Ended::Misbehaved(why) | Ended::BadName(why) => (&FAILED, "rustls", why.clone()),
        Ended::TooMuch => (&FAILED, "read(2)", format!("more than a handshake has in {took:.0} ms, and no end to it")),
        Ended::Closed => (&CLOSED, "read(2)", format!("end of file after {took:.1} ms")),
        Ended::Broken(errno) => (&CLOSED, "read(2)", format!("{errno} after {took:.1} ms")),
        Ended::Silent if !heard.is_empty() => (&SILENT, "read(2)", format!("no more in {took:.0} ms than {heard}")),
        Ended::Silent => (&SILENT, "read(2)", format!("nothing in {took:.0} ms")),
    };
    Some(Finding::new(code, source, says))
}

/// By our own clock, in seconds since 1970.
pub fn taken_at(facts: &Facts) -> Option<i64> {
    let at = humantime::parse_rfc3339(&facts.taken_at).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(at.as_secs()).ok()
}

/// True if so little time is left of a certificate that its renewal must have failed.
pub fn is_soon(certificate: &Certificate, now: i64) -> bool {
    let (life, left) = (certificate.not_after.saturating_sub(certificate.not_before), certificate.not_after - now);
    left >= 0 && left < if life < SHORT_LIFE { life / 3 } else { SOON }
}

/// A time that is left, or over, in words.
pub fn span(seconds: i64) -> String {
    let count = |number: i64, unit: &str| format!("{number} {unit}{}", if number == 1 { "" } else { "s" });
    match seconds.abs() {
        seconds if seconds >= 2 * DAY => count(seconds / DAY, "day"),
        seconds if seconds >= 7200 => count(seconds / 3600, "hour"),
        seconds => count(seconds / 60, "minute"),
    }
}

fn soon(facts: &Facts) -> Option<Finding> {
    let now = taken_at(facts)?;
    if facts.ask.target.certificates.insecure {
        return None;
    }
    let (whose, one) = first_to_end(facts)?;
    let (until, left) = (date(one.not_after), span(one.not_after - now));
    let says = format!("{}, {}, is valid until {until}: {left} more", whose.says(), one.subject);
    Some(Finding::new(&EXPIRES_SOON, "certificate", says))
}

/// Whose a certificate is that expires soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Of the server, or between it and its authority: its place, and the address where that is not the preferred one.
    Server(&'static str, Option<String>),
    /// The authority's that is trusted here.
    Authority,
    /// The one that we show.
    Own,
}

impl Whose {
    /// In words, before `certificate`.
    pub fn says(&self) -> String {
        match self {
            Self::Server(place, None) => (*place).to_owned(),
            Self::Server(place, Some(address)) => format!("at {address}, {place}"),
            Self::Authority => "the trusted authority's".to_owned(),
            Self::Own => "our own".to_owned(),
        }
    }
}

/// Of all that a client depends on, at every address where TLS succeeds, the first that ends soon.
pub fn first_to_end(facts: &Facts) -> Option<(Whose, &Certificate)> {
    let (now, tls) = (taken_at(facts)?, facts.tls.seen()?);
    let served = |at: usize, hello: &'_ Hello| (at > 0).then(|| hello.address.clone());
    let done = || tls.hellos.iter().enumerate().filter(|(_, hello)| hello.is_done() && hello.flaws.is_empty());
    let of_servers = done().flat_map(|(at, hello)| {
        let counts = |one: &Certificate| !one.self_signed || hello.chain.len() == 1;
        let whose = move |place| Whose::Server(place, served(at, hello));
        with_place(hello).filter(move |(_, one)| counts(one)).map(move |(place, one)| (whose(place), one))
    });
    let authorities = done().filter_map(|(_, hello)| Some((Whose::Authority, hello.anchor.as_ref()?)));
    let is_shown = || done().any(|(_, hello)| hello.asked.is_some());
    let own = tls.trust.own.as_ref().filter(|_| is_shown()).map(|own| (Whose::Own, own));
    let all = of_servers.chain(authorities).chain(own);
    all.filter(|(_, one)| is_soon(one, now)).min_by_key(|(_, one)| one.not_after)
}

/// The certificates that a client needs of the server, and what they are. Others may be sent (an authority that is trusted itself, signed
/// crosswise by an older one), and nobody looks at their dates.
pub fn with_place(hello: &Hello) -> impl Iterator<Item = (&'static str, &Certificate)> {
    let place = |at: usize| if at == 0 { "the server's" } else { "an intermediate" };
    hello.needed().into_iter().enumerate().map(move |(at, one)| (place(at), one))
}

/// A date, as RFC 3339 writes it.
pub fn date(seconds: i64) -> String {
    let since = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let at = std::time::UNIX_EPOCH.checked_add(since);
    // humantime knows no year beyond 9999, which RFC 5280 (section 4.1.2.5) uses for never.
    let at = at.filter(|_| since.as_secs() < 253_402_300_800);
    at.map_or_else(|| "the end of time".to_owned(), |at| humantime::format_rfc3339_seconds(at).to_string())
}

/// An address where TLS ends otherwise than at the preferred one.
fn differs(facts: &Facts, tls: &Tls) -> Option<Finding> {
    let preferred = tls.preferred()?;
    let differs = |hello: &&Hello| hello.is_done() != preferred.is_done() && beyond_us(facts, hello).is_none();
    let other = tls.hellos.iter().find(differs)?;
    Some(Finding::new(&DIFFERS, "rustls", format!("{}; {}", ends(preferred), ends(other))))
}

/// How TLS ends at an address.
fn ends(hello: &Hello) -> String {
    let finding = || failure(hello, false).or_else(|| hello.flaws.first().map(|flaw| flawed(flaw, hello)));
    match finding() {
        _ if hello.is_done() => format!("{} completes the handshake", hello.address),
        Some(finding) => format!("{}: {}", hello.address, finding.code.title),
        None => format!("{} does not", hello.address),
    }
}

/// What OpenSSL makes of what is trusted here.
fn partly_trusted(hello: &Hello) -> Option<Finding> {
    let Stop { at, why } = hello.stop.as_ref()?;
    let (subject, issuer) = (&at.subject, &at.issuer);
    let says = match why {
        Why::Unrooted => {
            format!("{subject}, which vouches for it, is trusted; {issuer}, which signed that one, is not")
        }
        Why::NamesAnother => format!(
            "the certificate of {subject} names a key or a number of its authority (authorityKeyIdentifier) that no trusted {issuer} has"
        ),
        Why::AnotherKey => format!(
            "of the trusted ones called {subject}, OpenSSL takes the first that is within its time, and that one has another key than the one \
             that signed"
        ),
        Why::OutOfTime => format!(
            "OpenSSL goes on to {subject}, which is valid from {} until {}",
            date(at.not_before),
            date(at.not_after)
        ),
        Why::Unfit(why) => format!("OpenSSL goes on to {subject}, which may not sign others: {why}"),
    };
    let mut finding = Finding::new(&PARTLY_TRUSTED, "certificate", says);
    finding.evidence.push(described(at));
    Some(finding)
}

/// What OpenSSL makes of the file itself.
fn unloadable(tls: &Tls) -> Option<Finding> {
    Some(Finding::new(&UNLOADABLE, "--cacert", tls.trust.unloadable.clone()?))
}

fn by_itself(hello: &Hello) -> Option<Finding> {
    let leaf = hello.leaf().filter(|_| hello.only_itself && hello.is_done())?;
    Some(Finding::new(&BY_ITSELF, "certificate", format!("{} signed itself, and is trusted", leaf.subject)))
}

fn overlooked(facts: &Facts, hello: &Hello) -> Option<Finding> {
    let first = hello.flaws.first().filter(|_| facts.ask.target.certificates.insecure)?;
    let mut finding = Finding::new(&OVERLOOKED, "rustls", flaw(first).1);
    finding.evidence.extend(hello.flaws[1..].iter().map(|other| Evidence::new("rustls", flaw(other).1)));
    finding.evidence.extend(hello.leaf().map(described));
    Some(finding)
}

/// What is wrong with the certificate, unless that was to be overlooked.
fn flaws(facts: &Facts, hello: &Hello) -> Vec<Finding> {
    if facts.ask.target.certificates.insecure {
        return Vec::new();
    }
    if may_be_of_another(hello) {
        let mut finding = flawed(&Flaw::WrongName, hello);
        let others = hello.flaws.iter().filter(|flaw| **flaw != Flaw::WrongName);
        finding.evidence.extend(others.map(|other| Evidence::new("rustls", flaw(other).1)));
        return vec![finding];
    }
    let mut findings: Vec<Finding> = Vec::new();
    // Where something is wrong for all, what the library lacks besides is nobody else's matter.
    let of_all = hello.flaws.iter().filter(|flaw| !matches!(flaw, Flaw::Beyond(_)));
    for found in of_all.map(|flaw| flawed(flaw, hello)) {
        if findings.iter().all(|known| known.code.id != found.code.id) {
            findings.push(found);
        }
    }
    findings
}

fn flawed(found: &Flaw, hello: &Hello) -> Finding {
    let (code, says) = flaw(found);
    if let (Some(lapsed), Flaw::Expired | Flaw::NotYetValid) = (&hello.lapsed, found) {
        // The library itself does not look at these dates; OpenSSL, Python and Go do.
        let says = format!("of the authority that vouches for it, and is trusted here, {says}");
        let mut finding = Finding::new(code, "certificate", says);
        finding.evidence.push(described(lapsed));
        return finding;
    }
    // Neither does it look at what an authority that is trusted may do.
    let source =
        if matches!(found, Flaw::UnfitAuthority(_) | Flaw::OddAuthority(_)) { "certificate" } else { "rustls" };
    let mut finding = Finding::new(code, source, says);
    finding.evidence.extend(hello.leaf().map(described));
    finding
}

/// What a flaw is called.
fn flaw(flaw: &Flaw) -> (&'static Code, String) {
    let (code, says) = match flaw {
        Flaw::UnknownIssuer => (&UNTRUSTED, "none of the authorities we trust signed it"),
        Flaw::AuthorityAsServer => (&UNTRUSTED, "it is the certificate of an authority, and not a server's"),
        Flaw::WrongPurpose => (&UNTRUSTED, "it is limited to other purposes than a server's"),
        Flaw::BadSignature => {
            (&UNTRUSTED, "the authority of that name that is known here has another key, and did not sign it")
        }
        Flaw::UnfitAuthority(says) | Flaw::OddAuthority(says) | Flaw::Beyond(says) | Flaw::Other(says) => {
            (&UNTRUSTED, says.as_str())
        }
        Flaw::Expired => (&EXPIRED, "its time is over"),
        Flaw::NotYetValid => (&NOT_YET_VALID, "its time has not come"),
        Flaw::WrongName => (&WRONG_NAME, "it is not valid for this name"),
    };
    (code, says.to_owned())
}

/// A certificate, as evidence.
fn described(certificate: &Certificate) -> Evidence {
    let Certificate { subject, issuer, .. } = certificate;
    Evidence::new("certificate", format!("{subject}, signed by {issuer}"))
}

#[cfg(test)]
mod tests;
