//! The server wants a certificate of the client, and none was shown.

use super::{admin_cli, file, hello, server};
use crate::cause::service::bus_owner;
use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::{ping, tls};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Evidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::counter::bus::Bus;
use crate::probe::path::redis::End;
use crate::probe::path::tls::{Ended, Hello, alert};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "client-certificate-required",
    title: "the server wants a certificate of the client, and none was shown",
    explain: "\
Redis with TLS asks every client for a certificate unless 'tls-auth-clients no' or 'optional' is set: 'yes' is its default. Without \
one, TLS 1.2 ends in the handshake with handshake_failure (40); with TLS 1.3 the handshake succeeds on the client's side, and the \
first read brings certificate_required (116), or no more than a reset or an end, as many clients report it.

How to be sure: the server asked for a certificate (CertificateRequest), none was shown, and then it ended the connection. The \
server's log says 'peer did not return a certificate'.

Repair: give the client a certificate and its key (--cert, --key), signed by an authority that the server trusts \
('tls-ca-cert-file'); the password is asked for beside it. Or, where the password is enough, 'tls-auth-clients no' (or 'optional') on \
the server, which takes CONFIG SET.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let hello = hello(case.facts).filter(|hello| hello.asked.is_some() && !hello.shown)?;
    let asked = case.facts.ask.target.port().unwrap_or_default();
    if bus_owner(case.facts, asked).is_some() {
        // No client has a business there, whatever it shows: see cluster-bus-port.
        return None;
    }
    let (confidence, code, end) = refusal(case, hello)?;
    let below = bus(case.facts).filter(|bus| bus.wants_a_certificate());
    let confidence = match below {
        _ if wants_none(case.facts) => Confidence::Possible,
        // Both ports of a node of a cluster with 'tls-cluster' do that.
        Some(_) => confidence.min(Confidence::Likely),
        None => confidence,
    };
    // With TLS 1.3, PING meets the same end.
    let explains: [&'static Code; 2] = [code, &ping::CLOSED];
    let mut support =
        Support::new(confidence, &explains, "it asked for a certificate, got none, and ended the connection");
    support = support.with(case.evidence(&explains)).because("CertificateRequest of the server", issuers(hello));
    support = support.with(setting(case.facts).into_iter().collect());
    if let Some(Bus { address, .. }) = below {
        let says =
            format!("{address} wants a certificate, too: if that is a cluster's port for clients, this is its bus");
        support = support.because("TLS", says);
    }
    Some(if confidence == Confidence::Certain && !hello.flaws.is_empty() {
        // Its certificate is not trusted, which was to be overlooked.
        support
    } else if confidence == Confidence::Certain {
        support
            .not("untrusted-ca", "the handshake was complete up to that point: the server's own certificate is trusted")
    } else {
        let tells = "'peer did not return a certificate': this is it";
        let log = "the server's log (journalctl -u redis-server, or 'logfile' in redis.conf)";
        let support = if end.is_empty() { support } else { support.because("read(2)", end) };
        support.settled_by(Step::look(redis_host(case.facts), log, tells))
    })
}

/// True if something says that its clients need none: its settings, or that the port may be the bus of a cluster, where
/// `tls-cluster` wants one of every node.
fn wants_none(facts: &Facts) -> bool {
    let setting = server(facts).and_then(|instance| instance.setting("tls-auth-clients"));
    setting.is_some_and(|known| known.values == ["no"]) || bus(facts).is_some_and(Bus::is_of_a_cluster)
}

/// What was met 10000 below the asked port.
fn bus(facts: &Facts) -> Option<&Bus> {
    facts.counter.seen()?.bus.as_ref()
}

/// How the server said no, and the finding of it.
fn refusal(case: &Case, hello: &Hello) -> Option<(Confidence, &'static Code, String)> {
    match &hello.end {
        Ended::Alert(kind) if alert::MISSING.contains(kind) => {
            Some((Confidence::Certain, &tls::ALERT, alert::name(*kind)))
        }
        Ended::Closed | Ended::Broken(_) => {
            Some((Confidence::Likely, &tls::CLOSED, "closed in the handshake".to_owned()))
        }
        Ended::Done => {
            let said = dialogue(case.facts)?;
            let ends = [Some(&said.first), said.second.as_ref()].into_iter().flatten().map(|one| &one.end);
            if case.raised(&tls::REFUSED).is_some() {
                let is_alert = |end: &End| matches!(end, End::Alert(kind) if alert::MISSING.contains(kind));
                return ends.into_iter().any(is_alert).then(|| (Confidence::Certain, &tls::REFUSED, String::new()));
            }
            let code = case.raised(&ping::CLOSED)?.code;
            Some((Confidence::Likely, code, "closed before anything was said".to_owned()))
        }
        _ => None,
    }
}

fn issuers(hello: &Hello) -> String {
    match hello.asked.as_deref() {
        None | Some([]) => "one of any authority, as far as it says".to_owned(),
        Some(names) => format!("one of {}", names.join("; ")),
    }
}

/// What the server's machine shows of it.
fn setting(facts: &Facts) -> Option<Evidence> {
    let instance = server(facts)?;
    instance.process?;
    let (source, says) = match instance.setting("tls-auth-clients") {
        Some(known) => (known.source, format!("tls-auth-clients {}", known.values.join(" "))),
        None => ("redis.conf and arguments".to_owned(), "no tls-auth-clients: the default is yes".to_owned()),
    };
    Some(Evidence::new(instance.host.source(source), says))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let whom = match hello(facts).and_then(|hello| hello.asked.as_deref()) {
        Some([first, ..]) => format!("signed by {first}"),
        _ => file(facts, "tls-ca-cert-file").map_or_else(
            || "signed by an authority that the server trusts ('tls-ca-cert-file')".to_owned(),
            |file| format!("signed by an authority of {} on the Redis host", shell_quote(&file.path)),
        ),
    };
    let text = format!("give the application a certificate and its key (--cert FILE --key FILE), {whom}");
    let mut steps = vec![Step::tell(Where::Here, text)];
    let text = "or let clients in without one, where the password is enough; 'tls-auth-clients' in redis.conf, too, or it is gone with the \
                next start";
    match admin_cli(facts) {
        Some(cli) => {
            steps.push(Step::run(on, Risk::WidensAccess, text, format!("{cli} CONFIG SET tls-auth-clients no")));
        }
        None => steps.push(Step::tell(
            on,
            "or let clients in without one, where the password is enough: CONFIG SET tls-auth-clients no",
        )),
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::counter::Counter;
    use crate::probe::path::redis::{Conversation, Dialogue};
    use crate::probe::path::reply::Reply;

    fn asked(facts: Facts, shown: bool) -> Facts {
        facts.hello(|hello| (hello.asked, hello.shown) = (Some(Vec::new()), shown))
    }

    fn alert(kind: u8) -> Facts {
        Facts::encrypted().hello(|hello| hello.end = Ended::Alert(kind))
    }

    #[test]
    fn both_ways_are_certain() {
        // TLS 1.3: after the handshake.
        let after = || Facts::encrypted().speechless(End::Alert(116));
        check_cause(&CAUSE, &asked(after(), false), Some(Confidence::Certain));
        check_cause(&CAUSE, &asked(after(), true), None);
        // TLS 1.2: in it.
        check_cause(&CAUSE, &asked(alert(40), false), Some(Confidence::Certain));
        check_cause(&CAUSE, &alert(40), None);
        check_cause(&CAUSE, &asked(alert(70), false), None);
    }

    #[test]
    fn a_server_that_wants_none_is_not_called_certain() {
        let set = |value: &str| {
            let after = asked(Facts::encrypted().speechless(End::Alert(116)), false);
            after.with(|facts| {
                let said = Dialogue::healthy("10.0.0.9:6379").first;
                let mut bus = Bus { address: "10.0.0.9:6379".to_owned(), said };
                for exchange in &mut bus.said.exchanges {
                    if let Some(Reply::Info(info)) = &mut exchange.reply {
                        info.fields.insert("cluster_enabled".to_owned(), value.to_owned());
                    }
                }
                facts.counter = Observed::Seen(Counter { bus: Some(bus), ..Counter::default() });
            })
        };
        check_cause(&CAUSE, &set("0"), Some(Confidence::Certain));
        check_cause(&CAUSE, &set("1"), Some(Confidence::Possible));
        let below = |end: End| {
            set("0").with(|facts| {
                let Observed::Seen(Counter { bus: Some(bus), .. }) = &mut facts.counter else { return };
                bus.said = Conversation { end, ..Conversation::not_made() };
            })
        };
        check_cause(&CAUSE, &below(End::Alert(116)), Some(Confidence::Likely));
        check_cause(&CAUSE, &below(End::NotMade), Some(Confidence::Certain));
    }

    #[test]
    fn the_bus_of_a_cluster_is_not_to_be_shown_one() {
        let title = |title: &str| {
            let facts = Facts::joined().listening(&["0.0.0.0:6379", "0.0.0.0:6380"]).speechless(End::Alert(116));
            let facts = facts.process(|process| process.args = vec![title.to_owned()]);
            asked(facts.with(|facts| (facts.ask.target.tls, facts.tls) = (true, Facts::encrypted().tls)), false)
        };
        check_cause(&CAUSE, &title("redis-server *:6380 [cluster]"), None);
        check_cause(&CAUSE, &title("redis-server *:6379 [cluster]"), Some(Confidence::Certain));
    }

    #[test]
    fn an_end_without_a_word_is_likely() {
        check_cause(&CAUSE, &asked(Facts::encrypted().speechless(End::Closed), false), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::encrypted().speechless(End::Closed), None);
        check_cause(&CAUSE, &asked(Facts::encrypted(), false), None);
    }
}
