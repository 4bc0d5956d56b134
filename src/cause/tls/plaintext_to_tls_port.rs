//! The client speaks plain RESP, and the port TLS.

use super::switch;
use crate::cause::{Case, Cause, check_again, hidden, repair};
use crate::check::ping;
use crate::model::{Confidence, Evidence, Step, Support, Target, Where};
use crate::probe::Facts;
use crate::probe::host::instance::Known;
use crate::probe::path::counter::Through;
use crate::probe::path::reply::{Command, Reply};
use crate::probe::path::tls::{Ended, Flaw, Hello, alert};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "plaintext-to-tls-port",
    title: "the port speaks TLS, and the client does not",
    explain: "\
The server expects TLS on this port, and the client sends plain commands. Redis' own TLS port answers them with a reset (its \
log says 'wrong version number'), TLS proxies with a reset, an end, an alert, or not at all. Libraries report 'connection \
reset', 'socket closed unexpectedly', or a timeout.

redisdoc shakes hands at the same port without credentials, and says PING inside. It is certain when a Redis answers there, \
or when the server's own machine shows that the port is its tls-port; likely when the handshake is made and nothing answers \
inside, or when the server wants a certificate of ours first: then something speaks TLS, and what it is was not seen.

Repair: rediss:// instead of redis:// in the application's URI (--tls for redis-cli); the certificate of the server's authority \
where the system does not trust it; a certificate of the client's own where the server asks for one.",
    infer,
    remedy,
};

/// The file that the authority's certificate is saved as.
const AUTHORITY_FILE: &str = "ca.pem";

fn infer(case: &Case) -> Option<Support> {
    let codes = case.all_raised(&hidden::NO_RESP);
    let finding = case.raised(codes.first()?)?;
    let place = case.facts.ask.target.place();
    let met = tried(case.facts).and_then(met);
    let by_server = tls_port(case.facts);
    let confidence = match (met, &by_server) {
        (Some(Met::Redis), _) | (Some(Met::Other) | None, Some(_)) => Confidence::Certain,
        (Some(Met::Other), None) => Confidence::Likely,
        (None, None) if case.raised(&ping::TLS_ALERT).is_some() => Confidence::Likely,
        (None, None) if case.facts.ask.no_counter_probe => Confidence::Possible,
        (Some(Met::Stranger), _) | (None, None) => return None,
    };
    let summary = match (met, confidence) {
        (Some(Met::Redis), _) => format!("{place} answers inside TLS, and was asked without"),
        (_, Confidence::Possible) => format!("{place} may expect TLS, and was asked without"),
        _ => format!("{place} speaks TLS, and was asked without"),
    };
    let mut support = Support::new(confidence, &codes, summary).on(finding).with(evidence(case.facts));
    if let Some(known) = by_server {
        support = support.because(known.source, format!("tls-port {}", known.values.join(" ")));
    }
    support = support.with(provider(case.facts).into_iter().collect());
    if confidence < Confidence::Certain {
        let command = encrypted(case.facts).check_command();
        let tells = "an answer of Redis, or that a certificate is wanted: this is it";
        return Some(support.settled_by(Step::look(Where::Here, command, tells)));
    }
    let why = "TLS is spoken there, and a client without it is cut off or waits for ever";
    Some(support.not("data-reset", why).not("data-dropped", why).not("process-stopped", why))
}

/// What the handshake led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// A Redis, by its own words.
    Redis,
    /// Something else, by its own words.
    Stranger,
    /// Something that speaks TLS, and has said nothing that we could understand.
    Other,
}

fn tried(facts: &Facts) -> Option<&Through> {
    facts.counter.seen()?.inside.as_ref()
}

fn met(through: &Through) -> Option<Met> {
    match (&through.hello.end, &through.inside) {
        (Ended::Done | Ended::Untrusted, Some(inside)) => {
            Some(match inside.reply(Command::Ping).or(inside.unasked.as_ref()) {
                _ if inside.alien.is_some() => Met::Stranger,
                Some(Reply::Error(error)) if !is_redis(&error.text) => Met::Other,
                Some(Reply::Error(_)) => Met::Redis,
                Some(Reply::Status(pong)) if pong == "PONG" => Met::Redis,
                Some(_) => Met::Stranger,
                None => Met::Other,
            })
        }
        (Ended::Done | Ended::Untrusted | Ended::Alert(_) | Ended::Incompatible(_), _) => Some(Met::Other),
        _ => None,
    }
}

/// True for errors that begin with a word of Redis' own.
fn is_redis(error: &str) -> bool {
    ["NOAUTH", "NOPERM", "DENIED", "LOADING", "BUSY", "MASTERDOWN", "MISCONF", "WRONGPASS"]
        .iter()
        .any(|word| error.starts_with(word))
}

/// The server's own setting, where its machine shows that the port is for TLS.
fn tls_port(facts: &Facts) -> Option<Known> {
    let instance = facts.instance().filter(|instance| instance.process.is_some())?;
    let port = facts.ask.target.port()?.to_string();
    let known = instance.setting("tls-port").filter(|known| known.values == [port.clone()])?;
    instance.setting("port").is_some_and(|plain| plain.values != [port]).then_some(known)
}

fn evidence(facts: &Facts) -> Vec<Evidence> {
    let Some(Through { hello, inside }) = tried(facts) else { return Vec::new() };
    let says = match &hello.end {
        Ended::Alert(number) => format!("an alert of TLS, {}", alert::name(*number)),
        Ended::Incompatible(why) => format!("TLS, and none that we speak: {why}"),
        Ended::Done | Ended::Untrusted => {
            let version = hello.version.as_deref().unwrap_or("TLS");
            let whose = hello.leaf().map(|leaf| format!(" by {}, signed by {}", leaf.subject, leaf.issuer));
            format!("a handshake of {version}{} in {:.1} ms", whose.unwrap_or_default(), hello.elapsed_ms)
        }
        _ => return Vec::new(),
    };
    let asked = hello.asked.is_some().then(|| Evidence::new("ClientHello", "it asks for a certificate of ours"));
    let said = inside.as_ref().and_then(|inside| {
        let says = match inside.reply(Command::Ping).or(inside.unasked.as_ref())? {
            Reply::Status(text) => text.clone(),
            Reply::Error(error) => error.text.clone(),
            _ => return None,
        };
        Some(Evidence::new("PING inside TLS", says))
    });
    [Some(Evidence::new("ClientHello", says)), asked, said].into_iter().flatten().collect()
}

fn provider(facts: &Facts) -> Option<Evidence> {
    let provider = repair::cloud::provider(facts)?;
    let port = provider.port.filter(|port| port.contains("TLS"))?;
    Some(Evidence::new("the name", format!("it is one of {}, whose port is {port}", provider.name)))
}

/// The target as the application should ask for it.
fn encrypted(facts: &Facts) -> Target {
    let mut target = facts.ask.target.clone();
    target.tls = true;
    if is_unknown(facts) && target.certificates.cacert.is_none() && target.certificates.cacertdir.is_none() {
        target.certificates.cacert = Some(authority(facts).unwrap_or_else(|| AUTHORITY_FILE.to_owned()));
    }
    if wants_ours(facts) && target.certificates.cert.is_none() {
        (target.certificates.cert, target.certificates.key) =
            (Some("client.crt".to_owned()), Some("client.key".to_owned()));
    }
    target
}

fn hello(facts: &Facts) -> Option<&Hello> {
    Some(&tried(facts)?.hello)
}

fn is_unknown(facts: &Facts) -> bool {
    hello(facts).is_some_and(|hello| hello.flaws.contains(&Flaw::UnknownIssuer))
}

/// True if the server lets nobody in without a certificate; one that merely asks answers PING all the same.
fn wants_ours(facts: &Facts) -> bool {
    hello(facts).is_some_and(|hello| hello.asked.is_some()) && tried(facts).and_then(met) != Some(Met::Redis)
}

/// The file with the server's authority, where it is one of this machine.
fn authority(facts: &Facts) -> Option<String> {
    let here = facts.vantage.seen()?.same_host == Some(true);
    let known = facts.instance().filter(|_| here)?.setting("tls-ca-cert-file")?;
    known.values.into_iter().next().filter(|file| file.starts_with('/'))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = encrypted(facts);
    let mut steps = vec![switch(&facts.ask.target, true)];
    if let (true, Some(leaf)) = (is_unknown(facts), hello(facts).and_then(Hello::leaf)) {
        let text = match authority(facts) {
            Some(file) => format!("give the application the certificate of the server's authority: {file}"),
            None => format!(
                "give the application the certificate of the authority ({}), which this system does not trust: ask whoever \
                 runs the server for it, and save it as {AUTHORITY_FILE}",
                leaf.issuer
            ),
        };
        steps.push(Step::tell(Where::Here, text));
    }
    if wants_ours(facts) {
        let text = "the server lets in only clients with a certificate: have one made by its authority, save it with its key as \
                    client.crt and client.key, and give both to the application";
        steps.push(Step::tell(Where::Here, text));
    }
    steps.push(check_again(&target));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;
    use crate::probe::path::counter::Counter;
    use crate::probe::path::redis::{Alien, Conversation, Dialogue, End};
    use crate::probe::path::reply::{ErrorKind, ErrorReply};

    fn reset() -> Facts {
        Facts::healthy().speechless(End::Broken("ECONNRESET".to_owned()))
    }

    fn inside(end: Ended, said: impl FnOnce(&mut Conversation)) -> Facts {
        reset().with(|facts| {
            let mut inside = Dialogue::healthy("10.0.0.9:6379").first;
            inside.exchanges.truncate(1);
            said(&mut inside);
            let is_done = end == Ended::Done;
            let hello = Hello { end, ..Hello::healthy("10.0.0.9:6379") };
            let through = Through { hello, inside: is_done.then_some(inside) };
            facts.counter = Observed::Seen(Counter { inside: Some(through), ..Counter::default() });
        })
    }

    fn answering(text: &str) -> Facts {
        let reply = Reply::Error(ErrorReply { kind: ErrorKind::of(text), text: text.to_owned() });
        inside(Ended::Done, |inside| inside.exchanges[0].reply = Some(reply))
    }

    fn mute(facts: &mut Conversation, end: End) {
        facts.exchanges[0].reply = None;
        (facts.bytes, facts.end) = (0, end);
    }

    #[test]
    fn an_answer_inside_is_certain() {
        check_cause(&CAUSE, &inside(Ended::Done, |_| {}), Some(Confidence::Certain));
        check_cause(&CAUSE, &answering("NOAUTH Authentication required."), Some(Confidence::Certain));
        let diagnosis = diagnose(&inside(Ended::Done, |_| {}));
        assert_eq!(diagnosis.causes.len(), 1, "data-reset is settled");
        assert!(matches!(diagnosis.causes[0].remedy.last(),
            Some(Step::Run { command, .. }) if command == "redisdoc check -h db -p 6379 --tls"));
    }

    #[test]
    fn tls_alone_is_likely() {
        check_cause(&CAUSE, &inside(Ended::Alert(40), |_| {}), Some(Confidence::Likely));
        check_cause(&CAUSE, &inside(Ended::Incompatible("x".to_owned()), |_| {}), Some(Confidence::Likely));
        check_cause(&CAUSE, &inside(Ended::Done, |it| mute(it, End::Alert(116))), Some(Confidence::Likely));
        check_cause(&CAUSE, &inside(Ended::Done, |it| mute(it, End::Closed)), Some(Confidence::Likely));
        check_cause(&CAUSE, &answering("ERR what is this"), Some(Confidence::Likely));
    }

    #[test]
    fn no_tls_and_strangers_inside_are_something_else() {
        check_cause(&CAUSE, &inside(Ended::Closed, |_| {}), None);
        check_cause(&CAUSE, &inside(Ended::NotTls, |_| {}), None);
        check_cause(&CAUSE, &inside(Ended::Silent, |_| {}), None);
        let web = inside(Ended::Done, |inside| {
            inside.exchanges[0].reply = None;
            inside.alien = Some(Alien { head: "HTTP/1.1 400".to_owned(), before_we_spoke: false });
        });
        check_cause(&CAUSE, &web, None);
        let first = &diagnose(&web).causes[0];
        assert_eq!((first.id, first.support.explains[0].id), ("not-redis", "ping/closed"));
        check_cause(&CAUSE, &reset(), None);
        check_cause(&CAUSE, &reset().with(|facts| facts.ask.no_counter_probe = true), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy(), None);
        check_cause(&CAUSE, &Facts::encrypted(), None);
    }

    #[test]
    fn its_own_machine_knows_its_ports() {
        let home = |port: &str, tls: &str| {
            Facts::at_home().speechless(End::Broken("ECONNRESET".to_owned())).conf(port).conf(tls)
        };
        check_cause(&CAUSE, &home("port 0", "tls-port 6379"), Some(Confidence::Certain));
        check_cause(&CAUSE, &home("port 6379", "tls-port 6380"), None);
    }

    #[test]
    fn what_the_client_needs_is_said() {
        let private = inside(Ended::Done, |it| mute(it, End::Alert(116))).with(|facts| {
            let Observed::Seen(Counter { inside: Some(through), .. }) = &mut facts.counter else { return };
            (through.hello.flaws, through.hello.asked) = (vec![Flaw::UnknownIssuer], Some(Vec::new()));
        });
        let steps = remedy(&private);
        let command = "redisdoc check -h db -p 6379 --tls --cacert ca.pem --cert client.crt --key client.key";
        assert_eq!(steps.len(), 4);
        assert!(matches!(&steps[3], Step::Run { command: it, .. } if it == command), "{steps:?}");
    }
}
