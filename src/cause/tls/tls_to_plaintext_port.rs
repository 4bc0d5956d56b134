//! The client speaks TLS, and the port plain RESP.

use super::switch;
use crate::cause::{Case, Cause, check_again, hidden, redis_host};
use crate::check::ping;
use crate::model::target::Certificates;
use crate::model::{Confidence, Evidence, Step, Support, Target, Where};
use crate::probe::Facts;
use crate::probe::host::instance::Known;
use crate::probe::path::redis::Dialogue;
use crate::probe::path::reply::{Command, Reply};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "tls-to-plaintext-port",
    title: "the client speaks TLS, and the port does not",
    explain: "\
The client begins with a handshake of TLS, and the port speaks plain RESP. A Redis without TLS waits for the end of a line \
that never comes: no version of it ever answers a ClientHello, so that the client runs into its timeout. Where it says \
something first (protected mode, too many clients), TLS clients report 'wrong version number', and what it said is an error \
of its own.

redisdoc says PING without TLS and without credentials at the same port; it is certain when a Redis answers that, or when the \
server's own machine shows that the port is its 'port'. A server that is stopped, and a filter that swallows data, are silent \
to both.

Repair: redis:// instead of rediss:// in the application's URI. What is said is readable on the way then, passwords too: across a \
network that others share, give the server a tls-port and its certificate instead.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let codes = case.all_raised(&hidden::NO_TLS);
    let finding = case.raised(codes.first()?)?;
    let place = case.facts.ask.target.place();
    let said = hidden::said_without_tls(case.facts);
    let by_server = plain_port(case.facts);
    let answers = said.as_ref().is_some_and(is_redis);
    let is_mute = said.as_ref().is_none_or(|said| !said.first.said_something());
    let confidence = match by_server {
        _ if answers => Confidence::Certain,
        Some(_) if is_mute => Confidence::Certain,
        None if case.facts.ask.no_counter_probe => Confidence::Possible,
        _ => return None,
    };
    let summary = match confidence {
        Confidence::Possible => format!("{place} may speak no TLS"),
        _ => format!("{place} is a Redis without TLS, and was asked with"),
    };
    let mut support = Support::new(confidence, &codes, summary).on(finding);
    if let Some(says) = said.as_ref().and_then(words) {
        support.evidence.push(Evidence::new("PING without TLS", says));
    }
    if let Some(known) = by_server {
        support = support.because(known.source, format!("port {}", known.values.join(" ")));
    }
    if confidence < Confidence::Certain {
        let tells = "an answer: this is it; silence: the server hangs, or a filter swallows what it is sent";
        return Some(support.settled_by(Step::look(Where::Here, plain(&case.facts.ask.target).check_command(), tells)));
    }
    let why = "it answers without TLS";
    Some(if answers { support.not("process-stopped", why).not("data-dropped", why) } else { support })
}

/// True if what was said without TLS is a Redis' own.
fn is_redis(dialogue: &Dialogue) -> bool {
    match ping::failure(dialogue) {
        None => true,
        Some(finding) => [&ping::PROTECTED, &ping::MAX_CLIENTS].iter().any(|code| code.id == finding.code.id),
    }
}

fn words(dialogue: &Dialogue) -> Option<String> {
    match dialogue.reply(Command::Ping).or(dialogue.unasked())? {
        Reply::Status(text) => Some(text.clone()),
        Reply::Error(error) => Some(error.text.clone()),
        _ => None,
    }
}

/// The server's own setting, where its machine shows that the port is not for TLS.
fn plain_port(facts: &Facts) -> Option<Known> {
    let instance = facts.instance().filter(|instance| instance.process.is_some())?;
    let port = facts.ask.target.port()?.to_string();
    let known = instance.setting("port").filter(|known| known.values == [port.clone()])?;
    instance.setting("tls-port").is_none_or(|tls| tls.values != [port]).then_some(known)
}

/// The port for TLS that the server has beside.
fn tls_port(facts: &Facts) -> Option<u16> {
    let known = facts.instance()?.setting("tls-port")?;
    known.values.first()?.parse().ok().filter(|port| *port != 0)
}

/// The target as the application should ask for it.
fn plain(target: &Target) -> Target {
    Target { tls: false, sni: None, certificates: Certificates::default(), ..target.clone() }
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    let instead = match tls_port(facts) {
        Some(port) => format!("or let it keep TLS, and use the server's port for that: {port}"),
        None => "or, where others could listen on the way, give the server a 'tls-port' with 'tls-cert-file', 'tls-key-file' and \
                 'tls-ca-cert-file' in redis.conf, and let the application use that port"
            .to_owned(),
    };
    let on = if tls_port(facts).is_some() { Where::Here } else { redis_host(facts) };
    vec![switch(target, false), Step::tell(on, instead), check_again(&plain(target))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;
    use crate::probe::path::counter::Counter;
    use crate::probe::path::redis::{Alien, Conversation, End};
    use crate::probe::path::reply::{ErrorKind, ErrorReply};
    use crate::probe::path::tls::Ended;

    fn failing(end: Ended, said: impl FnOnce(&mut Conversation)) -> Facts {
        let facts = Facts::encrypted().hello(|hello| (hello.end, hello.elapsed_ms) = (end, 5_000.0));
        facts.with(|facts| {
            let mut plain = Dialogue::healthy("10.0.0.9:6379").first;
            plain.exchanges.truncate(1);
            said(&mut plain);
            facts.counter = Observed::Seen(Counter { plain: Some(plain), ..Counter::default() });
        })
    }

    fn speaking_first(text: &str) -> Facts {
        failing(Ended::NotTls, |plain| {
            plain.exchanges.clear();
            plain.unasked = Some(Reply::Error(ErrorReply { kind: ErrorKind::of(text), text: text.to_owned() }));
            plain.end = End::Closed;
        })
    }

    fn mute(plain: &mut Conversation, end: End) {
        plain.exchanges[0].reply = None;
        (plain.bytes, plain.end, plain.elapsed_ms) = (0, end, 650.0);
    }

    #[test]
    fn an_answer_without_tls_is_certain() {
        let facts = failing(Ended::Silent, |_| {});
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &failing(Ended::Closed, |_| {}), Some(Confidence::Certain));
        let diagnosis = diagnose(&facts);
        assert_eq!(diagnosis.causes.len(), 1);
        assert!(matches!(diagnosis.causes[0].remedy.last(),
            Some(Step::Run { command, .. }) if command == "redisdoc check -h db -p 6379"));
    }

    #[test]
    fn an_alert_for_plain_words_is_tls_as_it_was_asked_for() {
        let facts = failing(Ended::Silent, |plain| {
            let head = "\\x15\\x03\\x01\\x00\\x02\\x02\\x46".to_owned();
            plain.exchanges[0].reply = None;
            (plain.alien, plain.end) = (Some(Alien { head, before_we_spoke: false }), End::Alien);
        });
        check_cause(&CAUSE, &facts, None);
        let told: Vec<_> = diagnose(&facts).causes.iter().map(|cause| cause.id).collect();
        assert!(!told.contains(&"plaintext-to-tls-port") && !told.contains(&"not-redis"), "{told:?}");
    }

    #[test]
    fn what_it_said_first_is_the_cause_and_tls_another() {
        let diagnosis = diagnose(&speaking_first("DENIED Redis is running in protected mode because …"));
        let told: Vec<_> = diagnosis.causes.iter().map(|cause| (cause.id, cause.support.confidence)).collect();
        assert_eq!(told, [("protected-mode", Confidence::Certain), ("tls-to-plaintext-port", Confidence::Certain)]);
        assert!(diagnosis.causes[0].support.summary.ends_with("TLS clients call this 'wrong version number'"));
        assert!(diagnosis.causes[0].support.evidence[0].source.starts_with("without TLS, "));
        assert!(diagnosis.unexplained.is_empty());
    }

    #[test]
    fn a_stranger_without_tls_is_no_redis() {
        let ssh = failing(Ended::NotTls, |plain| {
            plain.exchanges.clear();
            plain.alien = Some(Alien { head: "SSH-2.0-OpenSSH".to_owned(), before_we_spoke: true });
        });
        check_cause(&CAUSE, &ssh, None);
        let diagnosis = diagnose(&ssh);
        assert_eq!((diagnosis.causes[0].id, diagnosis.unexplained.len()), ("not-redis", 0));
    }

    #[test]
    fn silence_to_both_is_not_called_so() {
        let silent = failing(Ended::Silent, |plain| mute(plain, End::Silent));
        check_cause(&CAUSE, &silent, None);
        let diagnosis = diagnose(&silent);
        assert!(diagnosis.causes.iter().any(|cause| cause.id == "process-stopped"), "{:?}", diagnosis.unexplained);
        assert!(diagnosis.causes.iter().all(|cause| cause.support.confidence < Confidence::Certain));
        check_cause(&CAUSE, &failing(Ended::Closed, |plain| mute(plain, End::Closed)), None);
        check_cause(&CAUSE, &Facts::encrypted(), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
        let unasked = silent.with(|facts| {
            facts.counter = Observed::skipped("--no-counter-probe");
            facts.ask.no_counter_probe = true;
        });
        check_cause(&CAUSE, &unasked, Some(Confidence::Possible));
    }

    #[test]
    fn its_own_machine_knows_its_ports() {
        let home = |port: &str, tls: &str| {
            Facts::at_home().conf(port).conf(tls).with(|facts| {
                let silent = failing(Ended::Silent, |plain| mute(plain, End::Silent));
                (facts.tls, facts.redis, facts.counter) = (silent.tls, silent.redis, silent.counter);
                facts.ask.target.tls = true;
            })
        };
        check_cause(&CAUSE, &home("port 6379", "tls-port 0"), Some(Confidence::Certain));
        check_cause(&CAUSE, &home("port 6380", "tls-port 6379"), None);
        assert_eq!(tls_port(&home("port 6379", "tls-port 6380")), Some(6380));
    }
}
