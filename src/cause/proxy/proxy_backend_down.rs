//! What accepts is a proxy, and nobody answers behind it.

use std::net::IpAddr;

use crate::cause::{Case, Cause, checks_again, redis_host, startup};
use crate::check::{self, ping, process, tcp, tls};
use crate::model::{Code, Confidence, Endpoint, Observed, Step, Support};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::forward::{self, Backend, Forward};
use crate::probe::host::process::Process;
use crate::probe::path::redis::{Dialogue, End};
use crate::probe::path::tcp::{Outcome, Tcp};
use crate::probe::path::tls::{Hello, Tls};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "proxy-backend-down",
    title: "a proxy accepts, and nothing answers behind it",
    explain: "\
That a connection is accepted proves nothing where a proxy accepts it: docker-proxy for a published port, HAProxy, stunnel, \
nginx, a load balancer, 'ssh -L', 'kubectl port-forward'. It connects to what is behind it only then, and where nobody is \
there it can but close what it has accepted: end of file or a reset, without a word. Before a backend that is down, a TLS \
proxy even completes the handshake.

From the client it is one candidate among others: a TLS port, another service, and a filter close the same way. On the \
proxy's machine redisdoc sees whose the listener is, where it leads as far as its arguments or its configuration say, and \
whether anybody takes a connection there: refused is certain.

Repair: start Redis where the proxy leads, or name the right place in the proxy's configuration. In a container Redis must \
listen on more than 127.0.0.1, and on the port that is published.",
    infer,
    remedy,
};

/// How it shows: after the handshake of TCP, in that of TLS, or by a reset so soon that the connection was not noticed.
const SYMPTOMS: [&Code; 3] = [&ping::CLOSED, &tls::CLOSED, &tcp::RESET];

fn infer(case: &Case) -> Option<Support> {
    let code = SYMPTOMS.into_iter().find(|code| case.raised(code).is_some())?;
    // Who sends an alert speaks for itself, and so does who completes the handshake that was not asked for.
    let alert = case.raised(&tls::REFUSED).is_some();
    let counter = case.facts.counter.seen().and_then(|counter| counter.inside.as_ref());
    if alert || counter.is_some_and(|through| through.hello.is_done()) {
        return None;
    }
    match (case.host(), case.facts.ask.target.port()) {
        (Some(host), Some(port)) => on_host(case, host, port, code),
        (None, Some(_)) => Some(from_afar(case, code)),
        (_, None) => None,
    }
}

/// What the proxy's own machine shows.
fn on_host(case: &Case, host: &Host, port: u16, code: &'static Code) -> Option<Support> {
    let Some(proxy) = process::stranger(case.facts, host, port) else {
        // A rule may lead the port elsewhere, or the owner is out of sight; a Redis that closes is no proxy.
        let unseen = host.listeners(port).iter().all(|at| at.owner.is_none());
        return unseen.then(|| from_afar(case, code));
    };
    if !forward::is_proxy(&proxy.name) {
        return None;
    }
    let who = process::who(proxy);
    let forward = host.forwards.iter().find(|forward| forward.pid == proxy.pid);
    let behind: Vec<&Backend> = forward.map_or_else(Vec::new, |forward| forward.behind(port).collect());
    let finding = case.raised(code)?;
    let listens = format!("{who} listens on port {port}");
    let supported = |confidence, summary: String| {
        let support = Support::new(confidence, &[code], summary).on(finding);
        let support = support.because(host.source("sock_diag(7)"), listens.clone());
        behind.iter().fold(support, |support, backend| {
            support.because(host.source(backend.said_by.as_str()), format!("it leads to {}", met(backend)))
        })
    };
    let places = || behind.iter().map(|backend| backend.place.as_str()).collect::<Vec<_>>().join(", ");
    let support = match confidence(case, &behind) {
        Some(Confidence::Certain) => {
            let support = supported(Confidence::Certain, format!("{who} accepts, and {} refuses", places()));
            let support = support.not("plaintext-to-tls-port", "who closes is the proxy, and it has nowhere to go");
            return Some(with_contained(support, host, &behind));
        }
        Some(Confidence::Likely) if !behind.is_empty() => {
            supported(Confidence::Likely, format!("{who} accepts, and {} does not", places()))
        }
        Some(confidence) => supported(confidence, format!("{who} accepts, and closes: behind it nobody may be there")),
        None => {
            let says = format!("{who} closes, though {} takes connections", places());
            supported(Confidence::Possible, says)
        }
    };
    Some(support.settled_by(look_at(case.facts, proxy, forward)))
}

/// How sure it is by what is met behind the proxy; `None` where somebody takes a connection there.
fn confidence(case: &Case, behind: &[&Backend]) -> Option<Confidence> {
    let outcomes: Vec<Outcome> = behind.iter().filter_map(|backend| Some(backend.attempt()?.outcome)).collect();
    if outcomes.contains(&Outcome::Connected) {
        return None;
    }
    let all = !behind.is_empty() && outcomes.len() == behind.len();
    let refused = all && outcomes.iter().all(|outcome| *outcome == Outcome::Refused);
    let sure = refused && !case.facts.has_old_host() && !may_be_led_elsewhere(case);
    Some(if sure { Confidence::Certain } else { Confidence::Likely })
}

/// True if a rule of the proxy's machine may lead the port past the proxy, as Docker's do.
fn may_be_led_elsewhere(case: &Case) -> bool {
    let asked = case.facts.asked_addresses();
    asked.into_iter().filter(|ip| !ip.is_loopback()).any(|ip| match case.facts.arrival(ip) {
        Ok(passage) => {
            let there = &passage.there;
            there.translated_by.is_some() || there.may_go_elsewhere || !passage.firewall.unread.is_empty()
        }
        Err(_) => true,
    })
}

/// A place behind a proxy, and what was met there.
fn met(backend: &Backend) -> String {
    let Backend { place, met, .. } = backend;
    match met {
        Observed::Seen(met) => match (&met.ping, met.attempt.outcome) {
            (Some(ping), _) => format!("{place}: PING is answered {ping}"),
            (None, Outcome::Connected) => format!("{place}: it takes connections, and does not answer PING"),
            (None, _) => format!("{place}: {}", met.attempt.says()),
        },
        Observed::Skipped(skip) => format!("{place}: {}", skip.reason),
        Observed::Hidden(blocker) => format!("{place}: {}", blocker.says),
    }
}

/// The Redis of the container that a published port leads to.
fn contained<'a>(host: &'a Host, behind: &[&Backend]) -> Option<&'a Process> {
    let ips: Vec<IpAddr> = behind.iter().filter_map(|backend| backend.attempt()?.ip).collect();
    host.servers()
        .iter()
        .find(|server| server.same_network == Some(false) && server.addresses.iter().any(|ip| ips.contains(ip)))
}

fn with_contained(support: Support, host: &Host, behind: &[&Backend]) -> Support {
    let Some(server) = contained(host, behind) else { return support };
    let places: Vec<String> = server.listens.iter().map(ToString::to_string).collect();
    let says = format!("{} listens on {}", process::who(server), places.join(", "));
    support.because(host.source(format!("/proc/{}/net/tcp", server.pid)), says)
}

fn from_afar(case: &Case, code: &'static Code) -> Support {
    let shaken = case.facts.tls.seen().and_then(Tls::preferred).is_some_and(Hello::is_done);
    let quiet = |dialogue: &Dialogue| matches!(dialogue.first.end, End::Closed | End::Broken(_));
    let inside = shaken && crate::cause::dialogue(case.facts).is_some_and(quiet);
    let (confidence, summary) = if inside {
        (Confidence::Likely, "the TLS of a proxy answers, and then it closes: nobody seems to be behind it")
    } else {
        (Confidence::Possible, "what accepts may be a proxy, a tunnel or a published port with nobody behind it")
    };
    let support = Support::new(confidence, &[code], summary);
    let support = case.raised(code).map_or(support.clone(), |finding| support.on(finding));
    support.settled_by(whose(case.facts))
}

/// Shows whose the port is.
fn whose(facts: &Facts) -> Step {
    let port = facts.ask.target.port().unwrap_or_default();
    let tells = "docker-proxy, haproxy, stunnel, ssh, kubectl …: a proxy, and Redis is to be looked for behind it; \
                 redis-server: it is no proxy";
    Step::look(redis_host(facts), format!("sudo ss -ltnp 'sport = :{port}'"), tells)
}

/// Shows where a proxy leads, or what it logs.
fn look_at(facts: &Facts, proxy: &Process, forward: Option<&Forward>) -> Step {
    let on = redis_host(facts);
    let tells = "where it leads, and what it says of that place";
    let args = format!("ps -o args= -p {}", proxy.pid);
    let file = forward.and_then(|forward| forward.file.as_deref()).map(crate::model::text::shell_quote);
    let unit = proxy.unit.as_deref().map(crate::model::text::shell_quote);
    let shown = file.map(|file| format!("sudo grep -nE 'server|connect|proxy_pass|address' {file}"));
    let logged = unit.map(|unit| format!("journalctl -n 20 -u {unit}"));
    let command: Vec<String> = std::iter::once(args).chain(shown).chain(logged).collect();
    Step::look(on, command.join("; "), tells)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let port = facts.ask.target.port().unwrap_or_default();
    let host = facts.server_host().ok();
    let proxy = host.and_then(|host| process::stranger(facts, host, port)).filter(|it| forward::is_proxy(&it.name));
    let (Some(host), Some(proxy)) = (host, proxy) else {
        let text = "if it is a proxy: start Redis where it leads, or name the right place in its configuration";
        return vec![whose(facts), Step::tell(on, text)];
    };
    let forward = host.forwards.iter().find(|forward| forward.pid == proxy.pid);
    let behind: Vec<&Backend> = forward.map_or_else(Vec::new, |forward| forward.behind(port).collect());
    if let Some(steps) = behind.iter().find_map(|backend| behind_it(facts, host, backend)) {
        return steps;
    }
    if let Some(server) = contained(host, &behind) {
        let places: Vec<String> = server.listens.iter().map(ToString::to_string).collect();
        let text = format!(
            "the Redis in that container listens on {}: let it listen on the container's own address ('bind * -::*', with a \
             password), and publish the port that it has",
            places.join(", ")
        );
        return vec![Step::tell(on, text)];
    }
    let text = match behind.first() {
        Some(Backend { place, said_by, .. }) => {
            format!("start Redis at {place}, or name the place where it is ({said_by}) and restart {}", proxy.name)
        }
        None => {
            format!("start Redis where {} leads, or name the right place in its configuration", process::who(proxy))
        }
    };
    vec![look_at(facts, proxy, forward), Step::tell(on, text)]
}

/// How what is behind the proxy is started, where that is a Redis of the same machine.
fn behind_it(facts: &Facts, host: &Host, backend: &Backend) -> Option<Vec<Step>> {
    let attempt = backend.attempt().filter(|_| backend.is_down() && !host.origin.collected)?;
    let ip = attempt.ip?;
    let port = backend.place.rsplit_once(':')?.1.parse().ok()?;
    (ip.is_loopback() || host.origin.addresses.contains(&ip)).then_some(())?;
    let mut behind = facts.clone();
    behind.ask.target.endpoint = Endpoint::Tcp { host: ip.to_string(), port };
    behind.ask.target.tls = false;
    behind.tcp = Observed::Seen(Tcp { attempts: vec![attempt.clone()], untried: 0 });
    behind.tls = Observed::needs("tcp");
    (behind.redis, behind.counter) = (Observed::needs("tcp"), Observed::needs("tcp"));
    let found = crate::cause::infer(&behind, &check::judge(&behind));
    let starts = |id: &str| startup::CAUSES.iter().any(|cause| cause.id == id);
    let first = found.causes.into_iter().next()?;
    (starts(first.id) && first.support.confidence >= Confidence::Likely).then_some(())?;
    let tell = Step::tell(redis_host(facts), format!("behind it, at {}: {}", backend.place, first.support.summary));
    Some(std::iter::once(tell).chain(first.remedy.into_iter().filter(|step| !checks_again(step))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::forward::Met;
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
            place: "127.0.0.1:6380".to_owned(),
            said_by: "/etc/haproxy/haproxy.cfg:6".to_owned(),
            met,
        };
        facts.speechless(End::Closed).host(|host| {
            let processes = seen(&mut host.processes);
            let mut proxy = processes.servers.remove(0);
            name.clone_into(&mut proxy.name);
            let file = Some("/etc/haproxy/haproxy.cfg".to_owned());
            host.forwards = vec![Forward { pid: proxy.pid, file, backends: vec![backend] }];
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
        let old = joined.with(|facts| facts.taken_at = "2026-11-20T10:05:00Z".to_owned());
        check_cause(&CAUSE, &old, Some(Confidence::Likely));
    }

    #[test]
    fn from_afar_it_is_a_candidate() {
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Closed), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Silent), None);
        check_cause(&CAUSE, &Facts::encrypted().speechless(End::Closed), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::encrypted().speechless(End::Alert(116)), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
        // On its own machine it is a Redis that closes.
        check_cause(&CAUSE, &Facts::at_home().speechless(End::Closed), None);
    }
}
