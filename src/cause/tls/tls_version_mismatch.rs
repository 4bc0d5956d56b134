//! No version, cipher suite or parameter in common.

use super::{admin_cli, hello, server};
use crate::cause::{Case, Cause, redis_host};
use crate::check::tls::{ALERT, FAILED, INCOMPATIBLE};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::path::tls::oldhello::{Answer, is_common};
use crate::probe::path::tls::{Ended, Hello, alert};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "tls-version-mismatch",
    title: "client and server have no version, cipher suite or parameter of TLS in common",
    explain: "\
The server accepts only versions of TLS, cipher suites or parameters that the client does not offer: TLS 1.0 and 1.1 alone, which \
current libraries refuse, or suites without forward secrecy. Clients say 'protocol version', 'unsupported protocol', 'no shared \
cipher', 'handshake failure'. redisdoc offers TLS 1.2 and 1.3 with the suites of rustls; OpenSSL offers some more.

How to be sure: the same server is sent the ClientHello of an old client, and chooses: that is the proof, and what it chooses is in \
the evidence. handshake_failure (40) alone may also mean that it wants another server name, or has no certificate.

Where it chooses TLS 1.2 or 1.3 with a suite that OpenSSL offers by itself, what is missing is missing in redisdoc: its library has \
P-256, P-384 and X25519, and neither P-521 nor X448 nor the finite fields, and no suites with DHE, CBC or RSA for the exchange of keys. \
Clients with OpenSSL (redis-cli, Node.js, PHP, and Python but for RSA and SHA-1) may well work, and the server needs no repair.

A server whose key does not belong to its certificate starts (Redis 7.0 does with keys of different kinds, RSA and EC), refuses \
everybody with handshake_failure (40), and logs 'no shared cipher'. Where one handshake is refused and the next is answered, a \
balancer may lead to several servers, of which one is broken: ask several times.

Repair: on the server, 'tls-protocols \"TLSv1.2 TLSv1.3\"' (the default since Redis 6) and 'tls-ciphers' and 'tls-ciphersuites' at \
their defaults; all three take CONFIG SET. Where the server is too old for that, put stunnel in front of it, or renew it.",
    infer,
    remedy,
};

/// `protocol_version`.
const PROTOCOL_VERSION: u8 = 70;
/// `insufficient_security`.
const INSUFFICIENT_SECURITY: u8 = 71;
/// `handshake_failure`.
const HANDSHAKE_FAILURE: u8 = 40;

fn infer(case: &Case) -> Option<Support> {
    let hello = hello(case.facts).filter(|hello| hello.asked.is_none() && hello.chain.is_empty())?;
    let older = case.facts.counter.seen().and_then(|counter| counter.older.as_ref());
    let code: &'static Code = match &hello.end {
        Ended::Alert(HANDSHAKE_FAILURE | PROTOCOL_VERSION | INSUFFICIENT_SECURITY) => &ALERT,
        Ended::Incompatible(_) => &INCOMPATIBLE,
        // What it would choose is no fault: it went wrong by something else.
        // What it would choose is no fault: it went wrong by something else.
        Ended::Misbehaved(_) if older.is_some_and(is_usual) => return None,
        Ended::Misbehaved(_) => &FAILED,
        _ => return None,
    };
    let finding = case.raised(code)?;
    let (confidence, summary) = verdict(hello, older)?;
    let mut support = Support::new(confidence, &[code], summary).on(finding);
    if let Some(answer) = older {
        support = support.because("the ClientHello of an old client", answer.says());
    }
    Some(if confidence == Confidence::Certain {
        support.not("server-name-needed", "with the same name, an old client is answered")
    } else if is_another(hello, older) {
        let command = format!(
            "for at in 1 2 3 4 5 6; do openssl s_client -connect {} </dev/null 2>&1 | grep -E 'alert|Cipher is'; done",
            hello.address
        );
        let text = "now an alert, now a cipher: one of several servers behind it is this, look at each of them";
        support.settled_by(Step::look(crate::model::Where::Here, command, text))
    } else if refuses_everybody(hello, older) {
        support.settled_by(Step::look(
            redis_host(case.facts),
            compare(case.facts),
            "two different keys: that is it; the same: see CONFIG GET 'tls-*'",
        ))
    } else {
        support.settled_by(Step::look(
            redis_host(case.facts),
            "redis-cli CONFIG GET 'tls-*'",
            "tls-protocols, tls-ciphers or tls-ciphersuites that leave out TLS 1.2 and 1.3, or their suites: this is it",
        ))
    })
}

/// True if it would choose what clients have.
fn is_usual(answer: &Answer) -> bool {
    matches!(answer, Answer::Chosen { version, cipher } if !is_old(version) && is_common(cipher))
}

/// True if it takes nothing that any client offers.
fn refuses_everybody(hello: &Hello, older: Option<&Answer>) -> bool {
    hello.end == Ended::Alert(HANDSHAKE_FAILURE) && older == Some(&Answer::Alert(HANDSHAKE_FAILURE))
}

/// True if another than the one that refused us has answered the old client: who speaks TLS 1.2 or 1.3 does not refuse the version.
fn is_another(hello: &Hello, older: Option<&Answer>) -> bool {
    let is_refused = hello.end == Ended::Alert(PROTOCOL_VERSION);
    is_refused && matches!(older, Some(Answer::Chosen { version, .. }) if !is_old(version))
}

/// The command that shows the key of the certificate and that of the file of keys.
fn compare(facts: &Facts) -> String {
    let named = |setting: &str, placeholder: &str| {
        let known = server(facts).and_then(|instance| instance.setting(setting)?.values.first().cloned());
        known.map_or_else(|| placeholder.to_owned(), |path| shell_quote(&path))
    };
    format!(
        "openssl x509 -noout -pubkey -in {}; openssl pkey -pubout -in {}",
        named("tls-cert-file", "TLS-CERT-FILE"),
        named("tls-key-file", "TLS-KEY-FILE")
    )
}

fn is_old(version: &str) -> bool {
    !["TLS 1.2", "TLS 1.3"].contains(&version)
}

fn verdict(hello: &Hello, older: Option<&Answer>) -> Option<(Confidence, String)> {
    if is_another(hello, older) {
        let says = "one handshake failed (protocol_version), and another was answered: more than one server may be behind this address, and \
                    one of them accepts neither TLS 1.2 nor TLS 1.3";
        return Some((Confidence::Likely, says.to_owned()));
    }
    if let Some(Answer::Chosen { version, cipher }) = older {
        let says = if is_old(version) {
            format!("the server speaks no more than {version}; redisdoc, like current libraries, begins at TLS 1.2")
        } else {
            format!(
                "the server speaks {version}, but only with {cipher} or the like, which redisdoc's library (rustls) does not have"
            )
        };
        return Some((Confidence::Certain, says));
    }
    match &hello.end {
        Ended::Alert(PROTOCOL_VERSION) => {
            Some((Confidence::Likely, "the server accepts neither TLS 1.2 nor TLS 1.3".to_owned()))
        }
        Ended::Alert(INSUFFICIENT_SECURITY) => Some((
            Confidence::Likely,
            "the server wants stronger cipher suites than those that were offered".to_owned(),
        )),
        Ended::Incompatible(why) => {
            Some((Confidence::Likely, format!("the server chose what the library does not have: {why}")))
        }
        Ended::Alert(kind) if older.is_none_or(|answer| *answer == Answer::Alert(*kind)) => {
            let refused = alert::name(*kind);
            Some((
                Confidence::Possible,
                if refuses_everybody(hello, older) {
                    format!(
                        "the server takes nothing that any client offers ({refused}): its certificate and key do not belong together, or its tls-ciphers leave nothing"
                    )
                } else {
                    format!("the server finds nothing that suits it: {refused}")
                },
            ))
        }
        _ => None,
    }
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let older = facts.counter.seen().and_then(|counter| counter.older.as_ref());
    let by_version = matches!(older, Some(Answer::Chosen { version, .. }) if is_old(version));
    let instance = server(facts);
    let limits = |name: &str| {
        instance.is_some_and(|instance| instance.setting(name).is_some_and(|known| !known.values.is_empty()))
    };
    let mut steps = Vec::new();
    if hello(facts).is_some_and(|hello| refuses_everybody(hello, older)) {
        steps.push(Step::tell(
            on.clone(),
            "where certificate and key do not belong together, put the key that the certificate was made for where 'tls-key-file' says, or have \
             a certificate made for this key, and restart the server",
        ));
    }
    // redis-cli itself speaks nothing older than TLS 1.2 with Debian's OpenSSL: only over another way in.
    match admin_cli(facts).filter(|cli| by_version && !cli.contains("--tls") && limits("tls-protocols")) {
        Some(cli) => steps.push(Step::run(
            on.clone(),
            Risk::Safe,
            "let the server speak TLS 1.2 and 1.3",
            format!("{cli} CONFIG SET tls-protocols 'TLSv1.2 TLSv1.3'"),
        )),
        None => steps.push(Step::tell(
            on.clone(),
            "let the server speak TLS 1.2 and 1.3 with common cipher suites: take tls-protocols, tls-ciphers and tls-ciphersuites out of \
             redis.conf and restart it, or CONFIG SET tls-protocols 'TLSv1.2 TLSv1.3'",
        )),
    }
    steps.push(Step::tell(on, "change it in redis.conf, too, or it is gone with the next start; a server that is too old for TLS 1.2: stunnel in front of it"));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::{Observed, Verdict};
    use crate::probe::path::counter::Counter;

    fn refused(end: Ended, older: Option<Answer>) -> Facts {
        let facts = Facts::encrypted().hello(|hello| {
            (hello.end, hello.chain) = (end, Vec::new());
        });
        facts.with(|facts| facts.counter = Observed::Seen(Counter { older, ..Counter::default() }))
    }

    fn chosen(version: &str) -> Answer {
        Answer::Chosen { version: version.to_owned(), cipher: "RC4-SHA".to_owned() }
    }

    #[test]
    fn what_an_old_client_is_answered_is_the_proof() {
        for end in [Ended::Alert(70), Ended::Alert(40), Ended::Incompatible("ServerDoesNotSupportTls12Or13".to_owned())]
        {
            check_cause(&CAUSE, &refused(end.clone(), Some(chosen("TLS 1.1"))), Some(Confidence::Certain));
            let says = if end == Ended::Alert(70) { Confidence::Likely } else { Confidence::Certain };
            check_cause(&CAUSE, &refused(end, Some(chosen("TLS 1.2"))), Some(says));
        }
    }

    #[test]
    fn what_our_library_lacks_is_no_fault_of_the_server() {
        for (version, cipher) in [
            ("TLS 1.3", "TLS_AES_256_GCM_SHA384"),
            ("TLS 1.2", "ECDHE-RSA-AES128-GCM-SHA256"),
            ("TLS 1.2", "DHE-RSA-AES256-GCM-SHA384"),
            ("TLS 1.2", "ECDHE-RSA-AES256-SHA384"),
            ("TLS 1.2", "AES256-SHA"),
        ] {
            let (version, cipher) = (version.to_owned(), cipher.to_owned());
            let facts = refused(Ended::Alert(40), Some(Answer::Chosen { version, cipher }));
            check_cause(&CAUSE, &facts, None);
            let judged = crate::check::judge(&facts);
            let tls = judged.iter().find(|judged| judged.check.id == "tls").unwrap();
            assert!(matches!(&tls.verdict, Verdict::Unknown(why) if why.says.contains("P-521")));
        }
    }

    #[test]
    fn an_alert_alone_proves_little() {
        check_cause(&CAUSE, &refused(Ended::Alert(70), None), Some(Confidence::Likely));
        check_cause(&CAUSE, &refused(Ended::Alert(71), None), Some(Confidence::Likely));
        let everybody = refused(Ended::Alert(40), Some(Answer::Alert(40)));
        check_cause(&CAUSE, &everybody, Some(Confidence::Possible));
        let summary = &diagnose(&everybody).causes[0].support.summary;
        assert!(summary.contains("certificate and key do not belong together"), "{summary}");
        check_cause(&CAUSE, &refused(Ended::Alert(40), Some(Answer::Closed)), None);
        check_cause(&CAUSE, &refused(Ended::Alert(112), None), None);
        check_cause(&CAUSE, &Facts::encrypted(), None);
        let asked = refused(Ended::Alert(40), None).hello(|hello| hello.asked = Some(Vec::new()));
        check_cause(&CAUSE, &asked, None);
    }
}
