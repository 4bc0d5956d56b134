//! What accepts is a proxy, and nobody answers behind it.

use super::advice::{advice, look_at, reload, though_it_answers};
use super::contained;
use super::front::{Front, holder, may_be_turned_away, met, stop};
use crate::cause::{Case, Cause, checks_again, client, redis_host, startup};
use crate::check::{self, ping, process, state, tcp, tls};
use crate::model::{Code, Confidence, Endpoint, Observed, Step, Support};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::forward::Backend;
use crate::probe::host::process::Process;
use crate::probe::path::redis::{Dialogue, End};
use crate::probe::path::reply::Command;
use crate::probe::path::tcp::{Outcome, Tcp};
use crate::probe::path::tls::{Hello, Tls};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "proxy-backend-down",
    title: "a proxy accepts, and no answer comes from behind it",
    explain: "\
That a connection is accepted proves nothing where a proxy accepts it: docker-proxy for a published port, HAProxy, stunnel, \
nginx, a load balancer, 'ssh -L', 'kubectl port-forward'. It connects to what is behind it only then, and where nobody is \
there it can but close what it has accepted: end of file or a reset, without a word. Before a backend that is down, a TLS \
proxy even completes the handshake.

From the client it is one candidate among others: a TLS port, another service, and a filter close the same way. On the \
proxy's machine redisdoc sees whose the listener is, where it leads as far as its arguments or its configuration say, and \
whether anybody takes a connection there: refused is certain, unless more places may be there than it could see, the file was \
changed after the proxy had started, or a rule of the proxy's own machine may be what refuses. Where a Redis answers behind \
it, proxy and Redis, or proxy and client, may speak differently ('accept-proxy' and 'send-proxy' want the PROXY protocol's \
header on both sides or on none), the proxy's health checks may refuse the server, or a limit or rule of it may end the \
connection; or what is written there was not read yet.

Repair: start Redis where the proxy leads, or name the right place in the proxy's configuration, and reload it. In a container Redis must \
listen on more than 127.0.0.1, and on the port that is published.",
    infer,
    remedy,
};

/// How it shows: after the handshake of TCP, in that of TLS, by a reset so soon that the connection was not noticed, or, where
/// packets to what is behind it are lost, by silence; by every so many connections; or it says so.
const SYMPTOMS: [&Code; 6] =
    [&ping::CLOSED, &tls::CLOSED, &tcp::RESET, &ping::SILENT, &state::UPSTREAM, &ping::CUT_AT_TIMES];

fn infer(case: &Case) -> Option<Support> {
    let code = SYMPTOMS.into_iter().find(|code| case.raised(code).is_some()).or_else(|| said_of_ping(case))?;
    // Who sends an alert speaks for itself, and so does who completes the handshake that was not asked for.
    let alert = case.raised(&tls::REFUSED).is_some();
    let counter = case.facts.counter.seen().and_then(|counter| counter.inside.as_ref());
    if alert || counter.is_some_and(|through| through.hello.is_done()) {
        return None;
    }
    match (case.host(), case.facts.ask.target.port()) {
        (Some(host), Some(port)) => on_host(case, host, port, code),
        (None, Some(_)) => from_afar(case, code),
        (_, None) => None,
    }
}

/// PING itself was answered in the words of a proxy that reaches nobody.
fn said_of_ping(case: &Case) -> Option<&'static Code> {
    let error = crate::cause::dialogue(case.facts)?.reply(Command::Ping)?.error()?;
    Some(case.raised(&ping::ERROR).filter(|_| state::is_of_upstream(error))?.code)
}

/// What the proxy's own machine shows.
fn on_host(case: &Case, host: &Host, port: u16, code: &'static Code) -> Option<Support> {
    if process::strangers(case.facts, host, port).is_empty() {
        // A rule may lead the port elsewhere, or the owner is out of sight; a Redis that closes is no proxy.
        let unseen = host.listeners(port).iter().all(|at| at.owner.is_none());
        return if unseen { from_afar(case, code) } else { None };
    }
    let front = Front::of(case.facts, host, port)?;
    let (who, behind) = (front.who(), &front.behind);
    let finding = case.raised(code)?;
    let (listen, share) = if front.proxies.len() > 1 { ("listen", ", and share it") } else { ("listens", "") };
    let listens = format!("{who} {listen} on port {port}{share}");
    let supported = |confidence, summary: String| {
        let support = Support::new(confidence, &[code], summary).on(finding);
        let support = support.because(host.source("sock_diag(7)"), listens.clone());
        let support = behind.iter().fold(support, |support, backend| {
            support.because(host.source(backend.said_by.as_str()), format!("it leads to {}", met(backend)))
        });
        let support = with_rules(front.shown_in(support, host), case.facts, host, behind);
        let contained = behind.iter().filter_map(|backend| contained::of(host, backend));
        contained.fold(with_holders(support, host, behind), |support, it| it.shown_in(support, host))
    };
    if let Some((to, place)) = front.passed_by(case.facts) {
        let summary =
            format!("a rule leads what comes to port {port} to {to}: a proxy may have that, with nobody behind it");
        let support = Support::new(Confidence::Possible, &[code], summary).on(finding);
        let support = support.because(host.source(place.source.list()), place.says());
        return Some(support.because(host.source("sock_diag(7)"), listens).settled_by(whose_is(case.facts, to.port())));
    }
    let takes: Vec<&str> = behind.iter().filter(|it| it.takes()).map(|it| it.place.as_str()).collect();
    let down: Vec<&str> = behind.iter().filter(|it| it.is_down()).map(|it| it.place.as_str()).collect();
    let support = if takes.is_empty() && is_certain(case, host, &front, code) {
        let support = supported(Confidence::Certain, format!("{who} accepts, and {} refuses", down.join(", ")));
        let support = support.not("plaintext-to-tls-port", "who closes is the proxy, and it has nowhere to go");
        return Some(support);
    } else if down.is_empty() && behind.iter().any(|backend| backend.pongs()) {
        let (sure, says) = though_it_answers(&front);
        supported(sure, format!("{who} brings no answer, though {} does: {says}", takes.join(", ")))
    } else if code.id == state::UPSTREAM.id && !takes.is_empty() && !down.is_empty() {
        let says =
            format!("{who} reaches not all: {} takes no connection, and has its share of the keys", down.join(", "));
        supported(Confidence::Likely, says)
    } else if code.id == ping::CUT_AT_TIMES.id && !down.is_empty() {
        let says = format!("{who} takes turns, and {} takes no connection", down.join(", "));
        supported(Confidence::Likely, says)
    } else if !takes.is_empty() {
        let says = if down.is_empty() { String::new() } else { format!(", and {} does not", down.join(", ")) };
        let says = format!("{who} brings no answer; {} takes connections{says}", takes.join(", "));
        supported(Confidence::Possible, says)
    } else if down.is_empty() {
        // The arguments of ssh do not tell what its own file says: it may be a SOCKS, which says nothing to a PING.
        let is_untold = behind.is_empty() && front.proxies.iter().any(|proxy| is_ssh(proxy));
        let sure = if code.id == ping::SILENT.id || is_untold { Confidence::Possible } else { Confidence::Likely };
        let socks =
            if is_untold { ", or it is a SOCKS proxy (DynamicForward), and not to be spoken to as Redis" } else { "" };
        supported(sure, format!("{who} accepts, and brings no answer: behind it nobody may be there{socks}"))
    } else {
        supported(Confidence::Likely, format!("{who} accepts, and {} does not", down.join(", ")))
    };
    Some(support.settled_by(look_at(case.facts, front.proxies[0], front.forwards.first().copied())))
}

fn is_ssh(proxy: &Process) -> bool {
    ["ssh", "autossh"].contains(&proxy.name.as_str())
}

/// True if every place behind the proxy refuses, all of them are known, and it is nobody but those places that refuses.
fn is_certain(case: &Case, host: &Host, front: &Front, code: &Code) -> bool {
    let behind = &front.behind;
    let refuses = |backend: &&Backend| backend.attempt().is_some_and(|attempt| attempt.outcome == Outcome::Refused);
    // An admin may have set other places, which nobody answers at either: only the proxy's own socket tells.
    let is_whole = !front.forwards.is_empty() && front.forwards.iter().all(|it| it.whole && it.settable_by.is_none());
    let all_refuse = !behind.is_empty() && behind.iter().all(refuses) && is_whole && front.is_alone;
    let is_contained = |backend: &Backend| contained::of(host, backend).is_some_and(|it| it.listens_there());
    let is_vacant = |backend: &Backend| holder(host, backend).is_none() && !is_contained(backend);
    let vacant = behind.iter().all(|backend| is_vacant(backend) && !may_be_turned_away(case.facts, host, backend));
    // Who has met a refusal does not stay silent for long, but may try again; and who answers at times has another place.
    let fits = ![ping::SILENT.id, ping::CUT_AT_TIMES.id].contains(&code.id);
    // What a name meant when the proxy started may be another place; and who wants a header ends what has none.
    let is_plain = front.fixed().is_empty() && !front.wants_header;
    all_refuse && vacant && is_plain && fits && !case.facts.has_old_host() && !may_be_led_elsewhere(case)
}

/// The rules of the proxy's own machine that stop what it sends to the places behind it.
fn with_rules(support: Support, facts: &Facts, host: &Host, behind: &[&Backend]) -> Support {
    behind.iter().filter_map(|backend| Some((backend, stop(facts, backend)?))).fold(
        support,
        |support, (backend, at)| {
            support
                .because(host.source(at.source.list()), format!("{} stops what goes to {}", at.says(), backend.place))
        },
    )
}

/// Who has the ports of places that took no connection.
fn with_holders(support: Support, host: &Host, behind: &[&Backend]) -> Support {
    let holders = behind.iter().filter_map(|backend| holder(host, backend));
    holders.fold(support, |support, at| {
        let who = at.owner.and_then(|pid| host.server(pid)).map_or_else(|| "a process".to_owned(), process::who);
        support.because(host.source("sock_diag(7)"), format!("{who} listens on {}", at.address()))
    })
}

/// True if a rule of the proxy's machine may lead the port past the proxy, as Docker's do; also what the machine sends itself.
pub(super) fn may_be_led_elsewhere(case: &Case) -> bool {
    case.facts.asked_addresses().into_iter().any(|ip| match case.facts.arrival(ip) {
        Ok(passage) => {
            let there = &passage.there;
            there.translated_by.is_some() || there.may_go_elsewhere || !passage.firewall.unread.is_empty()
        }
        Err(_) => true,
    })
}

fn from_afar(case: &Case, code: &'static Code) -> Option<Support> {
    // Silence has so many reasons that it says nothing of a proxy.
    if code.id == ping::SILENT.id {
        return None;
    }
    let shaken = case.facts.tls.seen().and_then(Tls::preferred).is_some_and(Hello::is_done);
    let quiet = |dialogue: &Dialogue| matches!(dialogue.first.end, End::Closed | End::Broken(_));
    let inside = shaken && crate::cause::dialogue(case.facts).is_some_and(quiet);
    let (confidence, summary) = if code.id == ping::CUT_AT_TIMES.id {
        (
            Confidence::Possible,
            "what accepts may be a balancer, and at some of the places that it takes turns with nobody answers",
        )
    } else if [state::UPSTREAM.id, ping::ERROR.id].contains(&code.id) {
        (
            Confidence::Likely,
            "what answers says, in a proxy's words, that it does not reach the Redis behind it, or one of several",
        )
    } else if inside {
        (Confidence::Likely, "the TLS of a proxy answers, and then it closes: nobody seems to be behind it")
    } else {
        (Confidence::Possible, "what accepts may be a proxy, a tunnel or a published port with nobody behind it")
    };
    let support = Support::new(confidence, &[code], summary);
    let support = case.raised(code).map_or(support.clone(), |finding| support.on(finding));
    Some(support.settled_by(whose(case.facts)))
}

/// Shows whose the port is.
fn whose(facts: &Facts) -> Step {
    whose_is(facts, facts.ask.target.port().unwrap_or_default())
}

fn whose_is(facts: &Facts, port: u16) -> Step {
    let tells = "docker-proxy, haproxy, stunnel, ssh, kubectl …: a proxy, and Redis is to be looked for behind it; \
                 redis-server: it is no proxy";
    Step::look(redis_host(facts), format!("sudo ss -ltnp 'sport = :{port}'"), tells)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = || redis_host(facts);
    let port = facts.ask.target.port().unwrap_or_default();
    let host = facts.server_host().ok();
    let (Some(host), Some(front)) = (host, host.and_then(|host| Front::of(facts, host, port))) else {
        let text = "if it is a proxy: start Redis where it leads, or name the right place in its configuration";
        return vec![whose(facts), Step::tell(on(), text)];
    };
    if let Some((to, place)) = front.passed_by(facts) {
        let text = format!("see what listens at {to} and where that leads, or take the rule away: {}", place.says());
        return vec![whose_is(facts, to.port()), Step::tell(on(), text)];
    }
    let Front { behind, proxies, forwards, .. } = &front;
    let reload = reload(on(), &front);
    let further = if let Some(steps) = behind.iter().find_map(|backend| behind_it(facts, host, backend)) {
        steps
    } else if let Some(contained) = behind.iter().find_map(|backend| contained::of(host, backend)) {
        vec![Step::tell(on(), contained.advice())]
    } else {
        vec![look_at(facts, proxies[0], forwards.first().copied()), advice(facts, host, proxies[0], behind)]
    };
    reload.into_iter().chain(further).collect()
}

/// How what is behind the proxy is mended, where that is a Redis of the same machine.
fn behind_it(facts: &Facts, host: &Host, backend: &Backend) -> Option<Vec<Step>> {
    let attempt = backend.attempt().filter(|_| !host.origin.collected)?;
    // What resets may be the very proxy: it would be asked what is behind it without end.
    [Outcome::Refused, Outcome::TimedOut].contains(&attempt.outcome).then_some(())?;
    let ip = attempt.ip?;
    let port = backend.port()?;
    (ip.is_loopback() || host.origin.addresses.contains(&ip)).then_some(())?;
    let mut behind = facts.clone();
    behind.ask.target.endpoint = Endpoint::Tcp { host: ip.to_string(), port };
    behind.ask.target.tls = false;
    behind.tcp = Observed::Seen(Tcp { attempts: vec![attempt.clone()], untried: 0 });
    behind.tls = Observed::needs("tcp");
    (behind.redis, behind.counter) = (Observed::needs("tcp"), Observed::needs("tcp"));
    let found = crate::cause::infer(&behind, &check::judge(&behind));
    let first = found.causes.into_iter().next()?;
    let is_of = |causes: &[&Cause]| causes.iter().any(|cause| cause.id == first.id);
    let is_start = is_of(startup::CAUSES);
    // It is the proxy that asks, not the application.
    let is_other = first.id != CAUSE.id && !is_of(client::CAUSES);
    (first.support.confidence >= Confidence::Likely && is_other).then_some(())?;
    (!is_start || holder(host, backend).is_none()).then_some(())?;
    let tell = Step::tell(redis_host(facts), format!("behind it, at {}: {}", backend.place, first.support.summary));
    Some(std::iter::once(tell).chain(first.remedy.into_iter().filter(|step| !checks_again(step))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::forward::{Forward, Met};
    use crate::probe::host::socket::Listener;
    use crate::probe::path::tcp::Attempt;

    /// A proxy of this name has the port, and leads to 127.0.0.1:6380, where this is met.
    fn proxied(name: &str, outcome: Option<Outcome>) -> Facts {
        before(Facts::at_home(), name, outcome)
    }

    fn before(facts: Facts, name: &str, outcome: Option<Outcome>) -> Facts {
        let met = outcome.map_or_else(
            || Observed::skipped("its address is not known"),
            |outcome| {
                let attempt = Attempt::failed([127, 0, 0, 1].into(), outcome, "ECONNREFUSED", 0.1);
                Observed::Seen(Met { attempt, ping: None })
            },
        );
        let backend = Backend {
            port: Some(6379),
            at: None,
            place: "127.0.0.1:6380".to_owned(),
            said_by: "/etc/haproxy/haproxy.cfg:6".to_owned(),
            wants_header: false,
            http: None,
            met,
        };
        facts.speechless(End::Closed).host(|host| {
            let processes = seen(&mut host.processes);
            let mut proxy = processes.servers.remove(0);
            name.clone_into(&mut proxy.name);
            let file = Some("/etc/haproxy/haproxy.cfg".to_owned());
            let (pid, backends) = (proxy.pid, vec![backend]);
            host.forwards = vec![Forward { pid, file, backends, whole: true, ..Forward::default() }];
            processes.strangers.push(proxy);
        })
    }

    #[test]
    fn refused_behind_the_proxy_is_certain() {
        check_cause(&CAUSE, &proxied("haproxy", Some(Outcome::Refused)), Some(Confidence::Certain));
        check_cause(&CAUSE, &proxied("haproxy", Some(Outcome::TimedOut)), Some(Confidence::Likely));
        check_cause(&CAUSE, &proxied("haproxy", None), Some(Confidence::Likely));
        check_cause(&CAUSE, &proxied("haproxy", Some(Outcome::Connected)), Some(Confidence::Possible));
        check_cause(&CAUSE, &proxied("python3", Some(Outcome::Refused)), None);
        // Another port of the proxy leads there.
        let other = proxied("haproxy", Some(Outcome::Refused)).host(|host| host.forwards[0].backends[0].port = Some(1));
        check_cause(&CAUSE, &other, Some(Confidence::Likely));
        let joined = before(Facts::joined(), "haproxy", Some(Outcome::Refused));
        check_cause(&CAUSE, &joined, Some(Confidence::Certain));
        // What was not understood of its file may lead elsewhere; and so may a server that is not met by TCP.
        let part = proxied("haproxy", Some(Outcome::Refused)).host(|host| host.forwards[0].whole = false);
        check_cause(&CAUSE, &part, Some(Confidence::Likely));
        let unknown = proxied("haproxy", Some(Outcome::Refused)).host(|host| {
            let socket = Backend { met: Observed::skipped("no address"), ..host.forwards[0].backends[0].clone() };
            host.forwards[0].backends.push(socket);
        });
        check_cause(&CAUSE, &unknown, Some(Confidence::Likely));
        // It has this port on another address.
        let apart = |at: [u8; 4]| {
            proxied("haproxy", Some(Outcome::Refused)).host(|host| host.forwards[0].backends[0].at = Some(at.into()))
        };
        check_cause(&CAUSE, &apart([10, 0, 0, 77]), Some(Confidence::Likely));
        let old = joined.with(|facts| facts.taken_at = "2026-11-20T10:05:00Z".to_owned());
        check_cause(&CAUSE, &old, Some(Confidence::Likely));
    }

    #[test]
    fn what_was_changed_or_is_shared_is_not_certain() {
        let edited = |facts: Facts| {
            facts.host(|host| {
                host.forwards[0].whole = false;
                host.forwards[0].edited_at = Some("2026-11-20T09:00:00Z".to_owned());
            })
        };
        let dead = edited(proxied("haproxy", Some(Outcome::Refused)));
        check_cause(&CAUSE, &dead, Some(Confidence::Likely));
        let steps = format!("{:?}", remedy(&dead));
        assert!(steps.contains("haproxy.cfg was changed after") && steps.contains("sudo systemctl reload"), "{steps}");
        let answering = |name: &str| {
            proxied(name, Some(Outcome::Connected)).host(|host| {
                seen(&mut host.forwards[0].backends[0].met).ping = Some("PONG".to_owned());
            })
        };
        check_cause(&CAUSE, &answering("haproxy"), Some(Confidence::Possible));
        check_cause(&CAUSE, &edited(answering("haproxy")), Some(Confidence::Likely));
        check_cause(&CAUSE, &edited(answering("stunnel4")), Some(Confidence::Possible));
        let shared = proxied("haproxy", Some(Outcome::Refused)).host(|host| {
            let twin = Process { pid: 9, ..seen(&mut host.processes).strangers[0].clone() };
            seen(&mut host.processes).strangers.push(twin);
            let twin = Listener { owner: Some(9), ..seen(&mut host.sockets).tcp[0].clone() };
            seen(&mut host.sockets).tcp.push(twin);
        });
        check_cause(&CAUSE, &shared, Some(Confidence::Likely));
        // What ssh reads in its own file is not seen.
        let socks = proxied("ssh", Some(Outcome::Refused)).host(|host| host.forwards[0].backends.clear());
        check_cause(&CAUSE, &socks, Some(Confidence::Possible));
    }

    #[test]
    fn what_is_set_while_it_runs_or_ends_all_is_not_certain() {
        let dead = |change: fn(&mut Forward)| {
            proxied("haproxy", Some(Outcome::Refused)).host(|host| change(&mut host.forwards[0]))
        };
        check_cause(&CAUSE, &dead(|it| it.fixed = vec!["127.0.0.1:6380".to_owned()]), Some(Confidence::Likely));
        check_cause(&CAUSE, &dead(|it| it.fixed = vec!["other.lan:6380".to_owned()]), Some(Confidence::Certain));
        check_cause(&CAUSE, &dead(|it| it.backends[0].wants_header = true), Some(Confidence::Likely));
        let set = |it: &mut Forward| it.settable_by = Some("/etc/haproxy/haproxy.cfg:2".to_owned());
        check_cause(&CAUSE, &dead(set), Some(Confidence::Likely));
        let told = |facts: &Facts| format!("{:?}", crate::cause::tests::diagnose(facts).causes[0]);
        assert!(told(&dead(set)).contains("haproxy.cfg:2"));
        let named = dead(|it| it.fixed = vec!["127.0.0.1:6380".to_owned()]);
        assert!(told(&named).contains("sudo systemctl reload"), "{}", told(&named));
    }

    #[test]
    fn a_dead_place_among_others_is_likely_where_it_is_seen() {
        let by_turns = |mut facts: Facts| {
            let seen = Facts::healthy().redis;
            let Observed::Seen(redis) = &mut facts.redis else { return facts };
            let answered = seen.seen().map(|redis| redis.dialogues[0].first.clone());
            let dialogue = &mut redis.dialogues[0];
            if let Some(answered) = answered {
                dialogue.first.exchanges = answered.exchanges.clone();
                dialogue.first.exchanges.iter_mut().for_each(|exchange| exchange.reply = None);
                dialogue.second = Some(answered);
            }
            facts
        };
        check_cause(&CAUSE, &by_turns(proxied("haproxy", Some(Outcome::Refused))), Some(Confidence::Likely));
        check_cause(&CAUSE, &by_turns(Facts::healthy().speechless(End::Closed)), Some(Confidence::Possible));
        check_cause(&CAUSE, &by_turns(Facts::at_home().speechless(End::Closed)), None);
    }

    #[test]
    fn from_afar_it_is_a_candidate() {
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Closed), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Silent), None);
        check_cause(&CAUSE, &Facts::encrypted().speechless(End::Closed), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::encrypted().speechless(End::Alert(116)), None);
        let says = Facts::healthy().erring(Command::Exists, "ERR Connection refused");
        check_cause(&CAUSE, &says, Some(Confidence::Likely));
        let of_ping = |text| Facts::healthy().erring(Command::Ping, text);
        check_cause(&CAUSE, &of_ping("ERR no upstream host"), Some(Confidence::Likely));
        check_cause(&CAUSE, &of_ping("ERR something else"), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
        // On its own machine it is a Redis that closes.
        check_cause(&CAUSE, &Facts::at_home().speechless(End::Closed), None);
    }
}
