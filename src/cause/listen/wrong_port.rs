//! Redis listens on another port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::loopback_only;
use crate::cause::dns::hosts_file_override;
use crate::cause::{Case, Cause, caps, check_again, redis_host, repair};
use crate::check::{config, process, tcp};
use crate::model::target::DEFAULT_PORT;
use crate::model::{Confidence, Endpoint, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::conf::Conf;
use crate::probe::host::instance::{reached, serves};
use crate::probe::host::process::{Process, State};
use crate::probe::path::vantage::is_this_machine;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "wrong-port",
    title: "Redis listens on another port or address",
    explain: "\
The machine answers and nothing listens on the asked port; Redis may be on another one: 6379 by default, 6380 for TLS at \
some providers, 26379 for Sentinel, or what 'port' in redis.conf or the published port of a container says.

From the client this is one candidate among others for 'Connection refused'. On the Redis host redisdoc sees where the \
server listens, and 'ss -ltnp' shows it. It is certain where the default port was asked for, and that server is the only \
one that the machine has: a port that somebody chose, a redis.conf or a service that is meant for it, or a container, may \
be those of another server, which does not run. A server whose redis.conf names the asked port, and was changed after its \
start, only has to be restarted.

Repair: name that port in the application's settings, or change 'port' in redis.conf.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    match case.host() {
        Some(host) => on_host(case, host),
        None => from_afar(case),
    }
}

/// What the server's own machine shows: a server that listens, but not where it is asked for.
fn on_host(case: &Case, host: &Host) -> Option<Support> {
    let finding = case.raised(&process::ELSEWHERE)?;
    if case.raised(&config::NO_TCP).is_some() {
        return None;
    }
    let port = case.facts.ask.target.port()?;
    let proxy = process::forwarder(host, port);
    let listeners = process::listeners_but_of(host, port, proxy);
    if !listeners.is_empty()
        && listeners.iter().all(|at| at.ip.is_loopback())
        && !case.facts.asked_addresses().iter().all(|ip| is_this_machine(*ip))
    {
        return None;
    }
    if only_other_family(case, host, port) {
        // See localhost-is-ipv6.
        return None;
    }
    if hosts_file_override::hides_listener(case) {
        return None;
    }
    // A port that a rule sends elsewhere is meant to be asked for.
    let moved = case.facts.asked_addresses().into_iter().find_map(|ip| sent_on(case.facts, ip));
    // What does not answer at all may be another server's address, translated on the way.
    let meant = !host.rivals(case.facts).is_empty() || case.raised(&tcp::REFUSED).is_none();
    let places: Vec<String> = servers(host).map(process::whereabouts).collect();
    let Some(only) = servers(host).next() else { return apart(case, host, port) };
    // Its own file names the port, and it has not read that yet.
    let edited = case.facts.edited().filter(|edited| edited.process.map(|it| it.pid) == Some(only.pid));
    // The default is what is asked for where nobody chose a port; another was chosen for some server, which may be one that
    // does not run, and that nothing here tells of.
    let chosen = port == DEFAULT_PORT || edited.is_some();
    let sure = !meant && chosen && host.has_only(only) && moved.is_none() && proxy.is_none();
    // Another that is meant for the port and does not run has the better claim.
    let claims = |conf: &&Conf| conf.parsed.seen().is_some() || is_of_another_service(host, conf);
    let claimed = host.rivals(case.facts).iter().any(claims) || case.raised(&config::ERROR).is_some();
    let claimed = claimed || repair::asks_for_sentinel(case.facts);
    let confidence = match (sure, moved.is_some() || claimed) {
        (true, _) => Confidence::Certain,
        (false, false) => Confidence::Likely,
        (false, true) => Confidence::Possible,
    };
    let codes = case.all_raised(&[&tcp::REFUSED, &process::ELSEWHERE]);
    let summary = format!("{}, and {} was asked for", places.join("; "), case.facts.ask.target.place());
    let mut support = Support::new(confidence, &codes, summary).on(finding);
    if let Some(moved) = moved {
        support = support.because(host.source("the packet filter"), moved);
    }
    if let Some(conf) = edited.and_then(|edited| edited.conf) {
        let says = format!("port {port}: changed after the start of {}, which has not read it", process::who(only));
        support = support.because(host.source(&conf.path), says);
    }
    Some(if sure {
        let support = support.not("not-running", "a Redis server runs there, and no other is meant to");
        support.not("loopback-only", "it does not listen where it is asked for, on loopback either")
    } else {
        let tells = format!("a redis.conf with port {port}, or a container, whose server does not run: start that one");
        support.with(caps::traces(host, &case.facts.other_starters())).settled_by(Step::look(
            redis_host(case.facts),
            "grep -rn '^port' /etc/redis /etc/valkey /etc/redis.conf; docker ps -a",
            tells,
        ))
    })
}

/// True if a file that says nothing, because it may not be read, is that of a service that does not run.
fn is_of_another_service(host: &Host, conf: &Conf) -> bool {
    let named = |server: &Process, unit: &str| server.unit.as_deref() == Some(format!("{unit}.service").as_str());
    conf.unit.as_deref().is_some_and(|unit| !host.living().any(|server| named(server, unit)))
}

/// Its only server is a service in a network namespace of its own, in which nobody can ask it.
fn apart(case: &Case, host: &Host, port: u16) -> Option<Support> {
    let (server, unit) = service_apart(host)?;
    let codes = case.all_raised(&[&tcp::REFUSED, &process::ELSEWHERE]);
    let who = process::who(server);
    let summary = format!("{who}, of the service {unit}, listens in a network namespace of its own: not here");
    let support = Support::new(Confidence::Likely, &codes, summary).on(case.raised(&process::ELSEWHERE)?);
    let command = format!("sudo nsenter -t {} -n redis-cli -p {port} ping", server.pid);
    Some(support.not("not-running", format!("{who} runs")).settled_by(Step::look(
        redis_host(case.facts),
        command,
        "PONG, or an error that it replies: this is it",
    )))
}

/// A server that one of the machine's services has started in another network namespace, and no container engine.
fn service_apart(host: &Host) -> Option<(&Process, &str)> {
    let apart = |server: &&Process| {
        server.same_network == Some(false)
            && server.state != State::Zombie
            && !server.sentinel
            && server.container.is_none()
    };
    host.servers().iter().filter(apart).find_map(|server| {
        let unit = server.unit.as_deref()?.trim_end_matches(".service");
        Some((server, host.unit(unit)?.name.as_str()))
    })
}

/// Where a rule of the machine sends what is meant for the asked port.
fn sent_on(facts: &Facts, ip: IpAddr) -> Option<String> {
    let passage = facts.arrival(ip).ok()?;
    passage.moved().map(|(to, place)| format!("it sends it on to {to}: {}", place.says()))
}

/// True if only `::1` was asked for, and the server listens on 127.0.0.1.
pub fn only_other_family(case: &Case, host: &Host, port: u16) -> bool {
    let asked = case.facts.asked_addresses();
    let v4 = host.listeners(port).iter().any(|at| at.serves(Ipv4Addr::LOCALHOST.into()));
    v4 && !asked.is_empty() && asked.iter().all(|ip| *ip == Ipv6Addr::LOCALHOST)
}

/// The servers that live, and listen somewhere.
fn servers(host: &Host) -> impl Iterator<Item = &Process> {
    host.living().filter(|process| !process.listens.is_empty() || !process.listens_unix.is_empty())
}

fn from_afar(case: &Case) -> Option<Support> {
    let attempt = *case.attempts(&tcp::REFUSED).first()?;
    attempt.ip?;
    let port = case.facts.ask.target.port()?;
    let summary = if attempt.ip.is_some_and(is_this_machine) {
        "it may use another port, or listen on another address of this machine only".to_owned()
    } else if port == DEFAULT_PORT {
        "the default port was asked for; this server may use another".to_owned()
    } else {
        format!("port {port} was asked for; Redis' default is {DEFAULT_PORT}")
    };
    let settle = Step::look(
        redis_host(case.facts),
        "sudo ss -ltnp | grep -E 'redis|valkey|keydb'",
        "shows the addresses and ports that the server listens on",
    );
    Some(
        Support::new(Confidence::Possible, &[&tcp::REFUSED], summary)
            .because("connect(2)", attempt.says())
            .settled_by(settle),
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let text = "name the port that the server listens on in the application's settings";
    let Some(host) = facts.server_host().ok() else { return vec![Step::tell(on, text)] };
    if let (None, Some((_, unit))) = (servers(host).next(), service_apart(host)) {
        let text = format!(
            "let it share the machine's network: take PrivateNetwork= or NetworkNamespacePath= out of its unit \
             ('sudo systemctl edit {unit}'), and restart it; or let the application run in that namespace, too"
        );
        return vec![Step::tell(on, text)];
    }
    if let Some(edited) = facts.edited() {
        return vec![repair::reread(facts, edited)];
    }
    let all: Vec<&Process> = servers(host).collect();
    let [server] = all.as_slice() else {
        // Each has its own data.
        let places: Vec<String> = all.iter().copied().map(process::whereabouts).collect();
        return vec![Step::tell(on, format!("{text}, of the server that is meant: {}", places.join("; ")))];
    };
    let doubt = !host.rivals(facts).is_empty() || !host.has_only(server);
    let meant = if doubt { "if that server is the one that is meant: " } else { "" };
    match (place(facts, server), server.listens_unix.first()) {
        (Some(place), _) => name(facts, place, meant),
        (None, Some(path)) => {
            let text = format!("{meant}it has no port; name its socket {path}, or give it a port");
            vec![Step::tell(on, text)]
        }
        (None, None) => vec![Step::tell(on, text)],
    }
}

/// Where a server is best asked: where it serves an address that was asked for, if it does.
fn place(facts: &Facts, server: &Process) -> Option<SocketAddr> {
    let asked = facts.asked_addresses();
    let serves_it = |at: &&SocketAddr| asked.iter().any(|ip| serves(at.ip(), *ip));
    server.listens.iter().find(serves_it).or_else(|| server.listens.first()).copied()
}

/// Names that place in the application's settings.
fn name(facts: &Facts, place: SocketAddr, meant: &str) -> Vec<Step> {
    let mut there = facts.clone();
    let asked = facts.asked_addresses().into_iter().find(|ip| serves(place.ip(), *ip));
    // The loopback address of the server's machine is another one where the client is.
    let out_of_reach = asked.is_none() && place.ip().is_loopback() && redis_host(facts) != Where::Here;
    let host = match (asked.is_some() || out_of_reach, facts.ask.target.host()) {
        (true, Some(host)) => host.to_owned(),
        _ => reached(place).ip().to_string(),
    };
    let port = place.port();
    let also = if out_of_reach { ", and let Redis listen on that address, too" } else { "" };
    let text = format!("{meant}name {host} and port {port} in the application's settings{also}");
    there.ask.target.endpoint = Endpoint::Tcp { host, port };
    let mut steps = vec![Step::tell(Where::Here, text)];
    if out_of_reach {
        steps.extend((loopback_only::CAUSE.remedy)(&there));
    }
    if !out_of_reach || !steps.iter().any(repair::makes_password) {
        steps.push(check_again(&there.ask.target));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::{BlockerKind, Observed};
    use crate::probe::healthy_host::seen;
    use crate::probe::path::tcp::{Attempt, Outcome};

    /// The only server listens on 6380.
    fn away() -> Facts {
        Facts::at_home().refused([127, 0, 0, 1]).conf("port 6380").host(|host| {
            for listener in &mut seen(&mut host.sockets).tcp {
                listener.port = 6380;
            }
            for server in &mut seen(&mut host.processes).servers {
                server.listens.iter_mut().for_each(|at| at.set_port(6380));
            }
        })
    }

    /// The same, seen from another machine, which asks for the address that the server's machine has.
    fn away_from_afar() -> Facts {
        Facts { host: away().host.clone(), ..Facts::on_loopback() }.host(|host| host.origin.collected = true)
    }

    fn asking(port: u16) -> Facts {
        Facts::at_home().refused([127, 0, 0, 1]).with(|facts| {
            facts.ask.target.endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port };
        })
    }

    #[test]
    fn the_listeners_make_it_certain() {
        check_cause(&CAUSE, &away(), Some(Confidence::Certain));
        // Who asks for another port than the default may mean another server.
        check_cause(&CAUSE, &asking(6380), Some(Confidence::Likely));
        // A server that does not run may be meant for the port.
        let meant = asking(6380).conf("port 6380").host(|host| host.confs[0].pid = None);
        check_cause(&CAUSE, &meant.conf("bind 127.0.0.1"), Some(Confidence::Possible));
        let hinted = away().host(|host| seen(&mut host.system).hints.push("app-redis.service".to_owned()));
        check_cause(&CAUSE, &hinted, Some(Confidence::Likely));
        // Nor is anything certain beside a redis.conf that may not be read, as Debian's by most users.
        let unread = |kind| {
            away().host(|host| {
                let mut other = host.confs[0].clone();
                other.pid = None;
                other.parsed = Observed::hidden(kind, "EACCES");
                host.confs.push(other);
            })
        };
        check_cause(&CAUSE, &unread(BlockerKind::Permission), Some(Confidence::Likely));
        check_cause(&CAUSE, &unread(BlockerKind::Missing), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::at_home().not_running(), None);
        check_cause(&CAUSE, &Facts::on_loopback(), None);
    }

    #[test]
    fn a_service_in_a_network_of_its_own_is_not_here() {
        let apart = |change: fn(&mut Process)| {
            Facts::at_home().refused([127, 0, 0, 1]).host(|host| seen(&mut host.sockets).tcp.clear()).process(
                |server| {
                    server.same_network = Some(false);
                    change(server);
                },
            )
        };
        check_cause(&CAUSE, &apart(|_| {}), Some(Confidence::Likely));
        assert!(matches!(&remedy(&apart(|_| {}))[..], [Step::Tell { text, .. }] if text.contains("PrivateNetwork")));
        check_cause(&CAUSE, &apart(|server| server.container = Some("0a".to_owned())), None);
        check_cause(&CAUSE, &apart(|server| server.unit = Some("app.service".to_owned())), None);
    }

    #[test]
    fn the_port_is_named_and_tried() {
        let joined = Facts::on_loopback().with(|facts| {
            facts.ask.target.endpoint = Endpoint::Tcp { host: "db".to_owned(), port: 6380 };
        });
        let joined = joined.process(|process| process.listens = vec!["0.0.0.0:6379".parse().unwrap()]);
        let steps = remedy(&joined);
        assert!(
            matches!(&steps[1], Step::Run { command, .. } if command == "redisdoc check -h db -p 6379"),
            "{steps:?}"
        );
    }

    #[test]
    fn nobody_is_sent_to_a_loopback_that_is_not_the_servers() {
        let steps = remedy(&away_from_afar());
        assert!(
            matches!(&steps[0], Step::Tell { text, .. } if text.contains("port 6380") && !text.contains("127.0.0.1")),
            "{steps:?}"
        );
        assert!(steps.iter().any(|step| matches!(step, Step::Edit { to, .. } if to == "bind 127.0.0.1 -::1 10.0.0.9")));
        let own = remedy(&away());
        assert!(
            matches!(&own[0], Step::Tell { text, .. } if text == "name 127.0.0.1 and port 6380 in the application's settings")
        );
    }

    #[test]
    fn of_several_servers_none_is_named_by_a_guess() {
        let two = away().host(|host| {
            let mut other = seen(&mut host.processes).servers[0].clone();
            (other.pid, other.listens) = (7, vec!["10.0.0.9:6391".parse().unwrap()]);
            seen(&mut host.processes).servers.push(other);
        });
        let steps = remedy(&two);
        assert!(matches!(&steps[..], [Step::Tell { text, .. }] if text.contains("that is meant")), "{steps:?}");
        let on_socket = away().process(|server| {
            (server.listens, server.listens_unix) = (Vec::new(), vec!["/run/redis.sock".to_owned()]);
        });
        assert!(matches!(&remedy(&on_socket)[..], [Step::Tell { text, .. }] if text.contains("/run/redis.sock")));
    }

    #[test]
    fn a_port_that_was_written_after_the_start_wants_a_restart() {
        let edited = asking(6380).conf("port 6380").host(|host| {
            host.confs[0].changed_at = Some("2026-11-20T09:00:00Z".to_owned());
        });
        check_cause(&CAUSE, &edited, Some(Confidence::Certain));
        assert!(
            matches!(&remedy(&edited)[..], [Step::Run { command, .. }] if command.contains("restart redis-server"))
        );
    }

    #[test]
    fn a_candidate_for_a_refused_port_only() {
        let attempt = |outcome| Attempt::failed([10, 0, 0, 9].into(), outcome, "ECONNREFUSED", 0.2);
        let facts = Facts::healthy().attempting(vec![attempt(Outcome::Refused)]);
        check_cause(&CAUSE, &facts, Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![attempt(Outcome::TimedOut)]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
