//! What our library cannot do, and clients with OpenSSL can: then nothing is known of the server.

use super::ends;
use crate::probe::Facts;
use crate::probe::path::tls::oldhello::{self, Answer};
use crate::probe::path::tls::{Ended, Flaw, Hello, Tls, alert};

/// `handshake_failure` and `protocol_version` (RFC 8446 section 6).
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

/// What the library says of a message of the handshake that is too long for it.
const TOO_LARGE: &str = "HandshakePayloadTooLarge";

/// What is to be said of a server that our library cannot follow: it refused our `ClientHello` and would go on with a version and
/// a suite that clients have, or its chain is signed in a way that only the library lacks.
pub(super) fn beyond_us(facts: &Facts, hello: &Hello) -> Option<String> {
    let is_beyond = |flaw: &Flaw| matches!(flaw, Flaw::Beyond(_));
    if let (Ended::Untrusted, Some(first)) =
        (&hello.end, hello.flaws.first().filter(|_| hello.flaws.iter().all(is_beyond)))
    {
        return Some(format!(
            "{}: clients with OpenSSL may well work; look with redis-cli --tls",
            super::flaw(first).1
        ));
    }
    // Of a server that speaks TLS well otherwise, it is that message which may be long.
    let older = facts.counter.seen().and_then(|counter| counter.older.as_ref());
    let is_server = matches!(older, Some(Answer::Chosen { .. }));
    if matches!(&hello.end, Ended::Misbehaved(why) if is_server && why.contains(TOO_LARGE)) {
        return Some(
            "the server sends more certificates than redisdoc's library (rustls) takes, 64 KiB of them (OpenSSL takes 100 KiB): leave \
             in tls-cert-file only its own and those between it and its authority"
                .to_owned(),
        );
    }
    // Those behind one name are asked once: the first of them.
    let asked = facts.tls.seen()?.turned_away().filter(|asked| hello.is_turned_away() && asked.end == hello.end)?;
    let answer = facts.counter.seen()?.older.as_ref()?;
    let Answer::Chosen { version, cipher } = answer else { return None };
    let suits = ["TLS 1.2", "TLS 1.3"].contains(&version.as_str()) && oldhello::is_common(cipher);
    // Who speaks these versions does not refuse them: another has answered (see tls-version-mismatch).
    let is_another = asked.end == Ended::Alert(PROTOCOL_VERSION);
    let or_another = if asked.end == Ended::Alert(HANDSHAKE_FAILURE) && oldhello::is_ours(cipher) {
        "; or more than one server is behind this address, and one of them refuses everybody: one handshake failed, and the next was \
         answered (several times redis-cli tells: now and then it fails)"
    } else {
        ""
    };
    (suits && !is_another && !matches!(asked.end, Ended::Misbehaved(_))).then(|| {
        format!(
            "the server's key, or the curve, group, signature or cipher suite that it wants, is one that redisdoc's library (rustls) does \
             not have, such as P-521, DHE or CBC (of an old client's offer {}): clients with OpenSSL may well work; look with \
             redis-cli --tls{or_another}",
            answer.says()
        )
    })
}

/// The same where a front may have missed the name that our library could not send; the old client's offer has it.
pub(super) fn unsent(facts: &Facts, hello: &Hello) -> Option<String> {
    let name = hello.unsent_name.as_ref().filter(|_| hello.asked.is_none() && hello.chain.is_empty())?;
    let older = facts.counter.seen().and_then(|counter| counter.older.as_ref());
    let (is_for_want_of_it, how) = match &hello.end {
        // handshake_failure, access_denied, internal_error, unrecognized_name (RFC 8446 section 6.2).
        Ended::Alert(alert @ (40 | 49 | 80 | 112)) => (older != Some(&Answer::Alert(*alert)), alert::name(*alert)),
        Ended::Closed | Ended::Broken(_) => (matches!(older, Some(Answer::Chosen { .. })), "it closes".to_owned()),
        _ => return None,
    };
    is_for_want_of_it.then(|| {
        format!(
            "redisdoc's library (rustls) cannot send the server name {name} (SNI), which it takes for none of DNS; without it the server \
             refuses ({how}): clients with OpenSSL send it, and may well work; look with redis-cli --tls --sni {name}"
        )
    })
}

/// What is to be said of a certificate that has the name which our library could not send, and is refused for another reason: a front
/// may have another with that name for whoever sends it. A Redis that ends TLS itself has but one.
pub(super) fn unnamed(facts: &Facts, hello: &Hello) -> Option<String> {
    let name = hello.unsent_name.as_ref().filter(|_| hello.end == Ended::Untrusted && !may_be_of_another(hello))?;
    let first = hello.flaws.first()?;
    let is_its = |instance: crate::probe::host::instance::Instance| {
        instance.process.is_some() && hello.address.parse().is_ok_and(|at| instance.serves_at(at))
    };
    (!facts.instance().is_some_and(is_its)).then(|| {
        format!(
            "the certificate that is shown without a server name (SNI) is not accepted ({}), and redisdoc's library (rustls) cannot send {name}, \
             which it takes for none of DNS: clients with OpenSSL send it, and may be shown another; look with redis-cli --tls --sni {name}",
            super::flaw(first).1
        )
    })
}

/// True if the certificate may be the one that a front shows to whoever sends no name, as our library could not: then all that is
/// against it is against another server's.
pub(super) fn may_be_of_another(hello: &Hello) -> bool {
    hello.unsent_name.is_some() && hello.flaws.contains(&Flaw::WrongName)
}

/// What is wrong at another address, where nothing is known of the preferred one.
pub(super) fn elsewhere(facts: &Facts, tls: &Tls) -> String {
    let is_wrong =
        |hello: &&Hello| !hello.is_done() && beyond_us(facts, hello).is_none() && unsent(facts, hello).is_none();
    tls.hellos.iter().find(is_wrong).map_or_else(String::new, |hello| format!("; {}", ends(hello)))
}

/// The addresses of which nothing is known for want of what our library lacks.
pub(super) fn unseen(facts: &Facts, tls: &Tls) -> String {
    let unseen = tls.hellos.iter().filter(|hello| beyond_us(facts, hello).is_some());
    let told: Vec<&str> = unseen.map(|hello| hello.address.as_str()).collect();
    if told.is_empty() {
        return String::new();
    }
    format!("; {} wants what redisdoc's library (rustls) does not have, and could not be looked at", told.join(", "))
}
