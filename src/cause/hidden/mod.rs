//! The error behind the error: asked in the other way, with TLS or without, the same place says what is wrong, and the failure
//! of the first way only hides it. The facts are judged once more as if that other way had been asked for.

use crate::cause::{Case, Supported, causes, checks_again, supported, verified};
use crate::check::{self, ping, tls};
use crate::model::target::Certificates;
use crate::model::{Code, Evidence, Finding, Observed};
use crate::probe::Facts;
use crate::probe::path::redis::{Alien, Dialogue, Redis};
use crate::probe::path::stranger::Protocol;
use crate::probe::path::tls::{Tls, Trust};

/// What TLS meets where none is spoken.
pub const NO_TLS: [&Code; 3] = [&tls::NOT_TLS, &tls::SILENT, &tls::CLOSED];
/// What plain RESP meets where TLS is spoken.
pub const NO_RESP: [&Code; 3] = [&ping::CLOSED, &ping::SILENT, &ping::TLS_ALERT];
/// What a peer says that is the error itself.
const WORDS: [&Code; 6] =
    [&ping::PROTECTED, &ping::MAX_CLIENTS, &ping::NOT_REDIS, &ping::RENAMED, &ping::HEADER, &ping::ERROR];

/// The causes of what the other way of asking met, as those of what the first way met.
pub fn hidden(case: &Case) -> Vec<Supported> {
    let without = || of(case, &without_tls(case.facts)?, &NO_TLS, "without TLS");
    let within = || of(case, &within_tls(case.facts)?, &NO_RESP, "inside TLS");
    without().or_else(within).unwrap_or_default()
}

/// What was said without TLS, where TLS failed.
pub fn said_without_tls(facts: &Facts) -> Option<Dialogue> {
    let address = facts.tls.seen()?.preferred()?.address.clone();
    let first = facts.counter.seen()?.plain.clone()?;
    Some(Dialogue { address, first, second: None, further: Vec::new() })
}

/// What was said inside TLS, where plain RESP failed.
pub fn said_within_tls(facts: &Facts) -> Option<Dialogue> {
    let through = facts.counter.seen()?.inside.as_ref()?;
    let (address, first) = (through.hello.address.clone(), through.inside.clone()?);
    Some(Dialogue { address, first, second: None, further: Vec::new() })
}

/// The same facts as if TLS had not been asked for.
fn without_tls(facts: &Facts) -> Option<(Facts, Dialogue)> {
    let dialogue = said_without_tls(facts)?;
    let mut plain = asked_otherwise(facts, &dialogue);
    (plain.ask.target.tls, plain.ask.target.sni) = (false, None);
    plain.ask.target.certificates = Certificates::default();
    plain.tls = Observed::skipped("not asked for");
    Some((plain, dialogue))
}

/// The same facts as if TLS had been asked for, whatever the certificate.
fn within_tls(facts: &Facts) -> Option<(Facts, Dialogue)> {
    let dialogue = said_within_tls(facts)?;
    let hello = facts.counter.seen()?.inside.as_ref()?.hello.clone();
    let mut inside = asked_otherwise(facts, &dialogue);
    (inside.ask.target.tls, inside.ask.target.certificates.insecure) = (true, true);
    let trust = Trust { of_the_system: true, ..Trust::default() };
    inside.tls = Observed::Seen(Tls { trust, hellos: vec![hello] });
    Some((inside, dialogue))
}

fn asked_otherwise(facts: &Facts, dialogue: &Dialogue) -> Facts {
    let mut other = facts.clone();
    other.redis = Observed::Seen(Redis { dialogues: vec![dialogue.clone()] });
    other.counter = Observed::skipped("this is what it met");
    // The first way has waited the whole step.
    let waited = dialogue.first.elapsed_ms.max(0.0).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds of a wait")]
    let waited = waited as u64;
    other.ask.timeout_ms = other.ask.timeout_ms.min(waited);
    other
}

/// The causes of what was said in the other way; `None` where it is no failure.
fn of(
    case: &Case,
    (other, dialogue): &(Facts, Dialogue),
    hides: &[&'static Code],
    way: &str,
) -> Option<Vec<Supported>> {
    let failure = ping::failure(dialogue)?;
    if case.facts.ask.target.tls && (is_tls(&failure, dialogue) || has_begun_tls(case.facts)) {
        // It speaks TLS: as it was asked to.
        return None;
    }
    if case.facts.ask.target.tls && failure.code.id == ping::CLOSED.id {
        // Every port of TLS hangs up on RESP.
        return None;
    }
    let told = WORDS.iter().any(|word| word.id == failure.code.id);
    let hiding = case.all_raised(hides);
    // What neither way says a word of looks like TLS or no TLS alike; plain RESP has its candidates by itself.
    let may_be = told || case.facts.ask.target.tls;
    if hiding.is_empty() || !may_be {
        return None;
    }
    let judged = check::judge(other);
    let asked = Case { facts: other, judged: &judged };
    let explains = |cause: &Supported| cause.support.explains.iter().any(|code| code.id == failure.code.id);
    let found = causes().filter_map(|cause| supported(cause, &asked)).filter(explains);
    Some(found.map(|cause| renamed(case, cause, &hiding, way, told)).collect())
}

/// True if what came without TLS is TLS itself.
fn is_tls(failure: &Finding, dialogue: &Dialogue) -> bool {
    let by_bytes = || dialogue.first.stranger.as_ref().is_some_and(|stranger| stranger.protocol == Protocol::Tls);
    let begins = || dialogue.alien().is_some_and(Alien::may_be_tls);
    failure.code.id == ping::TLS_ALERT.id || by_bytes() || begins()
}

/// True if the handshake has brought the beginning of TLS: whoever is there runs, and was heard.
fn has_begun_tls(facts: &Facts) -> bool {
    let heard = facts.tls.seen().and_then(Tls::preferred).and_then(|hello| hello.heard.as_deref());
    heard.is_some_and(|heard| heard.starts_with("\\x16\\x03"))
}

/// The cause as one of what the first way met.
fn renamed(case: &Case, mut cause: Supported, hiding: &[&'static Code], way: &str, told: bool) -> Supported {
    let support = &mut cause.support;
    support.explains.retain(|code| case.raised(code).is_some());
    support.explains.extend(hiding);
    for Evidence { source, .. } in &mut support.evidence {
        *source = format!("{way}, {source}");
    }
    if told && case.raised(&tls::NOT_TLS).is_some() {
        support.summary.push_str("; TLS clients call this 'wrong version number'");
    }
    // What was not told in the other way is mended in the way that was asked for.
    if let (false, Some(last)) = (told, cause.remedy.last_mut().filter(|step| checks_again(step))) {
        *last = verified(case.facts);
    }
    cause
}
