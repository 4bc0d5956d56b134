//! Does the handshake of TLS succeed, and is the server's certificate one that we trust?
//!
//! "TLS works" is said only where a reply came through it: with TLS 1.3 the server refuses a client after the handshake
//! (RFC 8446 section 4.4.2.4). Whose fault it is, is the causes' question.

use super::Check;
use crate::model::{Code, Evidence, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::path::redis::{Dialogue, End};
use crate::probe::path::tls::alert;
use crate::probe::path::tls::certificate::Certificate;
use crate::probe::path::tls::{Ended, Flaw, Hello};

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

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let tls = facts.tls.known()?;
    let hello = tls.preferred().ok_or_else(|| Gap::needs("tcp"))?;
    let dialogue = dialogue(facts, hello);
    let refused = dialogue.and_then(refused);
    let failure = failure(hello);
    if hello.end == Ended::Silent {
        facts.ask.waited_out(hello.elapsed_ms)?;
    }
    let flaws = flaws(facts, hello);
    let summary = match (&refused, failure.as_ref().or(flaws.first())) {
        (_, Some(finding)) => format!("{}: {}", hello.address, finding.code.title),
        (Some(_), None) => format!("{} completed the handshake and then refused us", hello.address),
        (None, None) => healthy_summary(hello, dialogue),
    };
    let findings = failure.into_iter().chain(flaws).chain(refused);
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
fn failure(hello: &Hello) -> Option<Finding> {
    let heard = hello.heard.as_deref().unwrap_or_default();
    let took = hello.elapsed_ms;
    let (code, source, says) = match &hello.end {
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

/// What is wrong with the certificate, unless that was to be overlooked.
fn flaws(facts: &Facts, hello: &Hello) -> Vec<Finding> {
    if facts.ask.target.certificates.insecure {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = Vec::new();
    for flaw in &hello.flaws {
        let (code, says) = match flaw {
            Flaw::UnknownIssuer => (&UNTRUSTED, "none of the authorities we trust signed it".to_owned()),
            Flaw::AuthorityAsServer => {
                (&UNTRUSTED, "it is the certificate of an authority, and not a server's".to_owned())
            }
            Flaw::WrongPurpose => (&UNTRUSTED, "it is limited to other purposes than a server's".to_owned()),
            Flaw::Other(says) => (&UNTRUSTED, says.clone()),
            Flaw::Expired => (&EXPIRED, "its time is over".to_owned()),
            Flaw::NotYetValid => (&NOT_YET_VALID, "its time has not come".to_owned()),
            Flaw::WrongName => (&WRONG_NAME, "it is not valid for this name".to_owned()),
        };
        let mut finding = Finding::new(code, "rustls", says);
        finding.evidence.extend(hello.leaf().map(described));
        if findings.iter().all(|known| known.code.id != code.id) {
            findings.push(finding);
        }
    }
    findings
}

/// A certificate, as evidence.
fn described(certificate: &Certificate) -> Evidence {
    let Certificate { subject, issuer, .. } = certificate;
    Evidence::new("certificate", format!("{subject}, signed by {issuer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(facts: &Facts, codes: &[&str]) {
        let judgement = judge(facts).unwrap();
        let found: Vec<_> = judgement.findings.iter().map(|finding| finding.code.id).collect();
        assert_eq!(found, codes, "{}", judgement.summary);
    }

    fn ends(end: Ended) -> Facts {
        Facts::encrypted().hello(|hello| hello.end = end)
    }

    #[test]
    fn each_end_has_its_code() {
        check(&Facts::encrypted(), &[]);
        check(&ends(Ended::NotTls), &["tls/not-tls"]);
        check(&ends(Ended::Alert(70)), &["tls/alert"]);
        check(&ends(Ended::Incompatible("NoCipherSuitesInCommon".to_owned())), &["tls/incompatible"]);
        check(&ends(Ended::Misbehaved("x".to_owned())), &["tls/failed"]);
        check(&ends(Ended::TooMuch), &["tls/failed"]);
        check(&ends(Ended::Closed), &["tls/closed"]);
        check(&ends(Ended::Broken("ECONNRESET".to_owned())), &["tls/closed"]);
        check(&ends(Ended::Silent).hello(|hello| hello.elapsed_ms = 5_000.0), &["tls/silent"]);
        assert!(judge(&ends(Ended::Silent).hello(|hello| hello.elapsed_ms = 9.0)).is_err(), "not waited out");
    }

    #[test]
    fn each_flaw_has_its_code_and_all_are_told() {
        let flawed = |flaws: &[Flaw]| {
            Facts::encrypted().hello(|hello| {
                (hello.end, hello.flaws) = (Ended::Untrusted, flaws.to_vec());
            })
        };
        check(&flawed(&[Flaw::UnknownIssuer]), &["tls/untrusted"]);
        check(&flawed(&[Flaw::Expired, Flaw::UnknownIssuer]), &["tls/expired", "tls/untrusted"]);
        check(&flawed(&[Flaw::NotYetValid, Flaw::WrongName]), &["tls/not-yet-valid", "tls/wrong-name"]);
        check(&flawed(&[Flaw::WrongPurpose, Flaw::AuthorityAsServer]), &["tls/untrusted"]);
        check(&flawed(&[Flaw::Expired]).with(|facts| facts.ask.target.certificates.insecure = true), &[]);
    }

    #[test]
    fn a_refusal_may_come_after_the_handshake() {
        check(&Facts::encrypted().speechless(End::Alert(116)), &["tls/refused"]);
        check(&Facts::encrypted().speechless(End::Closed), &[]);
    }
}
