//! No Redis is running there.

use crate::cause::dns::hosts_file_override;
use crate::cause::firewall::kept_from_listening;
use crate::cause::repair;
use crate::cause::{Case, Cause, redis_host};
use crate::check::{config, hold, process, target, tcp};
use crate::model::{Code, Confidence, Endpoint, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::process::Process;
use crate::probe::host::system::System;
use crate::probe::path::vantage::is_this_machine;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "not-running",
    title: "Redis is not running there",
    explain: "\
The machine answers, and nothing listens on the port (a TCP reset came back), or nothing stands at the path of the unix \
socket: the server is not installed, was not started, or stopped.

From another machine a server that listens on loopback only, one on another port, and a firewall that rejects with a \
reset look exactly the same. On the machine itself redisdoc sees the processes and the listeners, and is certain. A \
process that has died and whose parent does not ask for its fate stays in the list of ps as a zombie (state Z): it does \
not run, whatever pgrep or a pid file say.

To be sure, look on the Redis host: 'ss -ltn' shows the listeners, 'systemctl status redis-server' (Debian) or 'redis' \
(RHEL, Alpine) the service, 'docker ps -a' the containers.

Repair: start it, and see in its log why it had stopped. Where several services may be meant, redisdoc names them, those \
that are started at boot first, and starts none by a guess.",
    infer,
    remedy,
};

/// What a server that does not run explains, from either side.
pub const ABSENT: &[&Code] = &[&tcp::REFUSED, &tcp::SOCKET_MISSING, &process::NONE, &process::DEAD];

fn infer(case: &Case) -> Option<Support> {
    match case.host() {
        Some(host) => on_host(case, host),
        None => match &case.facts.ask.target.endpoint {
            Endpoint::Tcp { port, .. } => on_port(case, *port),
            Endpoint::Unix { path } => on_socket(case, path),
        },
    }
}

/// What the server's own machine shows.
fn on_host(case: &Case, host: &Host) -> Option<Support> {
    let Some(finding) = case.raised(&process::DEAD).or_else(|| case.raised(&process::NONE)) else {
        return beside_others(case, host);
    };
    // What keeps it from starting is the cause, if it is what it seems.
    let kept = case.raised(&config::ERROR).is_some()
        || case.raised(&config::BIND_MISSING).is_some()
        || kept_from_listening(case.facts).is_some();
    let is_dead = finding.code.id == process::DEAD.id;
    let system = host.system.seen();
    let installed = system.is_some_and(System::has_a_server);
    let port = case.facts.ask.target.port();
    let other_port = repair::own_port(case.facts).map(|(own, _)| own).filter(|own| Some(*own) != port);
    let confidence = match (is_dead || installed, sure_of_absence(case)) {
        (true, _) if kept => Confidence::Possible,
        // Somebody did not want it to run.
        (true, sure) if repair::is_masked(case.facts.instance()) => sure.min(Confidence::Likely),
        // Started, it would not be the target's server.
        (true, sure) if other_port.is_some() && port.is_some() => sure.min(Confidence::Likely),
        // What starts a Sentinel was not looked at.
        (true, sure) if repair::asks_for_sentinel(case.facts) => sure.min(Confidence::Likely),
        (true, sure) => sure,
        // Whether one is installed could not be seen; where none is, that is the cause.
        (false, _) if system.is_none() => Confidence::Likely,
        (false, _) if system.is_some_and(|system| !system.engines.is_empty()) => Confidence::Possible,
        (false, _) => return None,
    };
    let codes = case.all_raised(ABSENT);
    let support = Support::new(confidence, &codes, summary(case, is_dead)).on(finding);
    let support = codes
        .iter()
        .filter(|code| code.id.starts_with("tcp/"))
        .filter_map(|code| case.raised(code))
        .fold(support, Support::on);
    if confidence == Confidence::Certain {
        let support = support.not("wrong-port", "no other Redis server runs there");
        return Some(support.not("loopback-only", "nothing listens on the port, on no address"));
    }
    Some(support.settled_by(status(case.facts)))
}

/// Other servers run, and a redis.conf that no running server is known to read would put one where the target is.
fn beside_others(case: &Case, host: &Host) -> Option<Support> {
    let finding = case.raised(&process::ELSEWHERE)?;
    if repair::asks_for_sentinel(case.facts) {
        let summary = "26379 is the port of Sentinels, and none listens there; the servers that run are not it";
        let support = Support::new(Confidence::Likely, &[&tcp::REFUSED, &process::ELSEWHERE], summary).on(finding);
        return Some(support.settled_by(status(case.facts)));
    }
    let rivals = host.rivals(case.facts);
    let conf = rivals.first()?;
    let kept = case.raised(&config::ERROR).is_some() || case.raised(&config::BIND_MISSING).is_some();
    let place = case.facts.ask.target.place();
    let (unread, untold) = (conf.parsed.seen().is_none(), host.may_be_read(conf));
    let confidence = if kept || unread || untold { Confidence::Possible } else { Confidence::Likely };
    let summary = match (unread, untold) {
        (true, _) => format!("{} could not be read, and may be that of a server for {place}", conf.path),
        (_, true) => {
            format!("{} is meant for {place}; whether a server that runs had read it before cannot be told", conf.path)
        }
        _ => format!("{} is meant for {place}, and no server runs with it; the others are not it", conf.path),
    };
    let codes = case.all_raised(&[&tcp::REFUSED, &tcp::SOCKET_MISSING, &process::ELSEWHERE]);
    Some(Support::new(confidence, &codes, summary).on(finding).settled_by(status(case.facts)))
}

fn summary(case: &Case, is_dead: bool) -> String {
    let place = case.facts.ask.target.place();
    if is_dead {
        return "the server has ended; ps shows a zombie, because its parent does not ask for its fate".to_owned();
    }
    format!("no Redis server runs there, and nothing listens on {place}")
}

/// How sure one may be that a server that ought to be on this machine is not: in a container, and where the application's
/// settings name another place, it may not have been meant to be here.
pub fn sure_of_absence(case: &Case) -> Confidence {
    let defaulted = case.facts.ask.target.host_is_default();
    let unset = case.raised(&target::DEFAULTED).is_some();
    let elsewhere = case.vantage().is_some_and(|vantage| {
        let in_container = vantage.container.is_some() && vantage.same_host == Some(true);
        in_container || unset || (!vantage.unused_settings.is_empty() && defaulted)
    });
    let elsewhere = elsewhere || hosts_file_override::hides_another(case.facts);
    // A listener whose owner may not be seen may be a server on another port.
    let hidden = case.host().and_then(|host| host.processes.seen()).is_none_or(|processes| processes.some_hidden);
    // What stands in for a Redis under another name may be the one.
    let strangers =
        case.host().and_then(|host| host.processes.seen()).map_or(&[][..], |processes| &processes.strangers);
    let hidden = hidden || strangers.iter().any(Process::is_kin);
    match (elsewhere, hidden) {
        (true, _) => Confidence::Possible,
        (false, true) => Confidence::Likely,
        (false, false) => Confidence::Certain,
    }
}

/// It answered, and was gone after a connection had been held for a while: refused, or another run of it.
fn gone(case: &Case) -> Option<Support> {
    let finding = case.raised(&hold::SERVER_GONE)?;
    let hold = case.facts.hold.seen()?;
    let restarted = hold.fresh.as_ref().is_some_and(|fresh| fresh.answered);
    let summary = match (restarted, hold.is_refused()) {
        (true, _) => "the server was stopped and started again, or gave its place to another, in the meantime",
        (false, true) => "the server was stopped in the meantime: a fresh connection is refused or closed",
        (false, false) => return None,
    };
    Some(Support::new(Confidence::Possible, &[&hold::SERVER_GONE], summary).on(finding).settled_by(status(case.facts)))
}

fn on_port(case: &Case, port: u16) -> Option<Support> {
    refused(case, port).or_else(|| gone(case))
}

fn refused(case: &Case, port: u16) -> Option<Support> {
    let attempt = *case.attempts(&tcp::REFUSED).first()?;
    let ip = attempt.ip?;
    let in_container = case.vantage().is_some_and(|vantage| vantage.container.is_some());
    let confidence = if is_this_machine(ip) && !in_container { Confidence::Likely } else { Confidence::Possible };
    let settle = Step::look(
        redis_host(case.facts),
        format!("ss -ltn 'sport = :{port}'"),
        "no line: nothing listens on the port; a line: it does, and something else stands between",
    );
    Some(
        Support::new(confidence, &[&tcp::REFUSED], format!("nothing that we can reach listens on {}", attempt.address))
            .because("connect(2)", attempt.says())
            .settled_by(settle),
    )
}

fn on_socket(case: &Case, path: &str) -> Option<Support> {
    let codes: [(&'static Code, Confidence, &str); 2] = [
        (&tcp::REFUSED, Confidence::Likely, "the socket is there, but no process listens on it: the server has ended"),
        (&tcp::SOCKET_MISSING, Confidence::Possible, "Redis removes its socket when it stops"),
    ];
    let (code, confidence, summary) = codes.into_iter().find(|(code, ..)| case.raised(code).is_some())?;
    let attempt = *case.attempts(code).first()?;
    let tells = format!("no line: no process listens on {path}");
    Some(Support::new(confidence, &[code], summary).because("connect(2)", attempt.says()).settled_by(Step::look(
        Where::Here,
        "ss -lx",
        tells,
    )))
}

fn status(facts: &Facts) -> Step {
    Step::look(
        redis_host(facts),
        if repair::asks_for_sentinel(facts) {
            "systemctl status redis-sentinel valkey-sentinel; docker ps -a"
        } else {
            "systemctl status redis-server redis valkey; docker ps -a"
        },
        "shows the service or container, whether it runs, and how it ended",
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    if facts.server_host().is_ok() {
        let see = Step::tell(on.clone(), "see in its log, or with journalctl, why it had stopped");
        let other = repair::own_port(facts).filter(|(own, _)| facts.ask.target.port().is_some_and(|port| port != *own));
        let other = other.filter(|_| !repair::asks_for_sentinel(facts)).map(|(port, who)| {
            let text =
                format!("its {who} says port {port}: name that port in the application's settings, if it is the one");
            Step::tell(on, text)
        });
        return [repair::start(facts), see].into_iter().chain(other).collect();
    }
    if repair::asks_for_sentinel(facts) {
        return vec![status(facts), repair::start(facts)];
    }
    vec![
        status(facts),
        Step::tell(
            on,
            "start it: 'sudo systemctl start redis-server' on Debian and Ubuntu, 'sudo systemctl start redis' on RHEL and \
             Fedora, 'rc-service redis start' on Alpine, 'docker start NAME' for a container; if none is there, install it",
        ),
    ]
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::process::State;
    use crate::probe::path::tcp::{Attempt, Outcome};

    fn refused(ip: [u8; 4]) -> Facts {
        Facts::healthy().attempting(vec![Attempt::failed(ip.into(), Outcome::Refused, "ECONNREFUSED", 0.2)])
    }

    #[test]
    fn a_server_that_went_away_may_have_been_stopped() {
        use crate::check::hold::tests::{freshly, held, not_made};
        use crate::probe::path::hold::Wait;
        let closed = held(Wait::Closed(12_400.0), None);
        let possible = Some(Confidence::Possible);
        check_cause(&CAUSE, &not_made(closed.clone(), "ECONNREFUSED"), possible);
        check_cause(&CAUSE, &freshly(closed.clone(), true, Some(false)), possible);
        check_cause(&CAUSE, &not_made(closed.clone(), "no answer"), None);
        check_cause(&CAUSE, &closed, None);
    }

    #[test]
    fn over_loopback_it_is_likely_from_afar_only_possible() {
        check_cause(&CAUSE, &refused([127, 0, 0, 1]), Some(Confidence::Likely));
        check_cause(&CAUSE, &refused([10, 0, 0, 9]), Some(Confidence::Possible));
    }

    #[test]
    fn a_socket_without_listener_is_likely_a_missing_one_possible() {
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::Refused, "ECONNREFUSED"), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::Missing, "ENOENT"), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::Denied, "EACCES"), None);
    }

    #[test]
    fn the_servers_own_machine_makes_it_certain() {
        check_cause(&CAUSE, &Facts::at_home().not_running(), Some(Confidence::Certain));
        let joined = Facts::on_loopback().with(|facts| facts.host = Facts::at_home().not_running().host);
        check_cause(&CAUSE, &joined, Some(Confidence::Certain));
        // It runs, and is refused for another reason.
        check_cause(&CAUSE, &Facts::on_loopback(), None);
        check_cause(&CAUSE, &Facts::at_home(), None);
    }

    #[test]
    fn a_zombie_does_not_run() {
        let zombie = Facts::at_home().refused([127, 0, 0, 1]).process(|process| process.state = State::Zombie);
        let zombie = zombie.host(|host| seen(&mut host.sockets).tcp.clear());
        check_cause(&CAUSE, &zombie, Some(Confidence::Certain));
    }

    #[test]
    fn an_argument_of_the_service_overrides_the_port_of_its_file() {
        let started_with = |port: &str, asked: &str| {
            let down = Facts::at_home().not_running().conf(asked);
            down.host(|host| seen(&mut host.system).units[0].args = vec!["--port".to_owned(), port.to_owned()])
        };
        check_cause(&CAUSE, &started_with("6380", "port 6379"), Some(Confidence::Likely));
        check_cause(&CAUSE, &started_with("6379", "port 6380"), Some(Confidence::Certain));
    }

    #[test]
    fn a_server_of_another_port_may_not_be_the_one() {
        let facts = Facts::at_home().not_running().conf("port 6380");
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
        assert!(matches!(remedy(&facts).last(), Some(Step::Tell { text, .. }) if text.contains("6380")));
    }

    #[test]
    fn it_is_started_by_its_unit() {
        let remedy = remedy(&Facts::at_home().not_running());
        assert!(matches!(&remedy[0], Step::Run { command, .. } if command == "sudo systemctl start redis-server"));
    }

    #[test]
    fn what_listens_on_redis_own_port_may_be_the_one() {
        let facts = Facts::at_home().refused([127, 0, 0, 1]).not_running().host(|host| {
            let stranger = |pid, port| Process {
                pid,
                name: "mydb".to_owned(),
                listens: vec![([127, 0, 0, 1], port).into()],
                ..Process::healthy()
            };
            seen(&mut host.processes).strangers = vec![stranger(7, 22), stranger(8, 6379)];
        });
        let asked = facts.with(|facts| {
            facts.ask.target.endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 7777 };
        });
        check_cause(&CAUSE, &asked, Some(Confidence::Likely));
    }

    #[test]
    fn what_somebody_masked_is_not_started() {
        let masked = Facts::at_home().not_running().host(|host| seen(&mut host.system).units[0].masked = true);
        check_cause(&CAUSE, &masked, Some(Confidence::Likely));
        assert!(matches!(&remedy(&masked)[0], Step::Tell { text, .. } if text.contains("systemctl unmask")));
    }

    #[test]
    fn another_target_may_have_been_meant() {
        let facts = Facts::at_home().not_running();
        let inside = facts.with(|facts| seen(&mut facts.vantage).container = Some("docker".to_owned()));
        check_cause(&CAUSE, &inside, Some(Confidence::Possible));
    }

    #[test]
    fn a_sentinel_is_not_replaced_by_a_server() {
        let asked = |facts: Facts| {
            facts.with(|facts| {
                facts.ask.target.endpoint = Endpoint::Tcp { host: "10.0.0.9".to_owned(), port: 26379 };
            })
        };
        let names = |facts: &Facts| format!("{:?}", remedy(facts)).contains("start redis-server");
        for facts in [refused([10, 0, 0, 9]), Facts::at_home().not_running()] {
            assert!(names(&facts) && !names(&asked(facts)));
        }
        check_cause(&CAUSE, &asked(Facts::at_home().not_running()), Some(Confidence::Likely));
        let beside = asked(Facts::at_home().refused([127, 0, 0, 1]));
        check_cause(&CAUSE, &beside, Some(Confidence::Likely));
    }

    #[test]
    fn a_server_that_answers_runs() {
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
