//! There is no Redis on the machine.

use super::not_running::{ABSENT, sure_of_absence};
use crate::cause::{Case, Cause, caps, redis_host, repair};
use crate::check::process;
use crate::model::{Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::system::{Init, System};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "not-installed",
    title: "no Redis is installed on that machine",
    explain: "\
Nothing listens on the port, no process of the machine is a Redis server, none of the folders for programs holds \
redis-server, valkey-server or keydb-server, and no service would start one.

On a machine with a container engine Redis may be meant to run in a container that is stopped, or was never made: then \
this is not certain, and 'docker ps -a' tells.

It is a cause only where the machine was looked at from inside. Look-alikes from elsewhere: a server that is not running, \
or the wrong machine.

Repair: install it and start it; or name the machine that has it in the application's settings.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let none = case.raised(&process::NONE)?;
    let host = case.host()?;
    let system = host.system.seen()?;
    if system.has_a_server() {
        return None;
    }
    // A unit that was left behind, and a script that may start one, show that there was, or is, a server somewhere.
    let traces = !system.units.is_empty() || !system.hints.is_empty();
    let confidence = match (system.engines.is_empty(), traces) {
        (false, _) => Confidence::Possible,
        (true, true) => sure_of_absence(case).min(Confidence::Likely),
        // Debian's Sentinel is a package of its own, without a server.
        (true, false) if repair::asks_for_sentinel(case.facts) => sure_of_absence(case).min(Confidence::Likely),
        (true, false) => sure_of_absence(case),
    };
    let name = system.name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
    let service = match system.units.first() {
        Some(unit) => format!("the program that the service {} starts is not there", unit.name),
        None => "no service would start one".to_owned(),
    };
    let says = format!("no program of a Redis server is installed{name}, and {service}");
    let support = Support::new(confidence, &case.all_raised(ABSENT), "there is no Redis on this machine to be started");
    let support = support.on(none).because(host.source("/usr/bin and the other folders for programs"), says);
    if confidence == Confidence::Certain {
        return Some(
            support.not("wrong-port", "no Redis server runs here").not("loopback-only", "nothing listens on the port"),
        );
    }
    Some(support.with(caps::traces(host, &case.facts.other_starters())).settled_by(engines(case.facts)))
}

/// Where Redis may be instead: in a container.
fn engines(facts: &Facts) -> Step {
    Step::look(
        redis_host(facts),
        "docker ps -a; podman ps -a",
        "a Redis container that has ended, or runs without a published port",
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let system = facts.server_host().ok().and_then(|host| host.system.seen());
    let elsewhere =
        Step::tell(on.clone(), "if Redis runs on another machine, name that one in the application's settings");
    let is = |names: &[&str]| system.is_some_and(|system| of_family(system, names));
    if repair::asks_for_sentinel(facts) {
        return vec![repair::start(facts), elsewhere];
    }
    let install = |command: &str| Step::run(on.clone(), Risk::Safe, "install it", command.to_owned());
    let mut steps = if is(&["debian", "ubuntu"]) {
        vec![install("sudo apt-get update && sudo apt-get install -y redis-server")]
    } else {
        vec![Step::tell(on.clone(), package(&is))]
    };
    steps.extend(
        system
            .and_then(|system| enable(system, is(&["debian", "ubuntu"])))
            .map(|command| Step::run(on.clone(), Risk::Safe, "start it, now and at every boot", command)),
    );
    steps.push(elsewhere);
    steps
}

fn of_family(system: &System, names: &[&str]) -> bool {
    let own = system.distribution.iter().chain(&system.like);
    own.into_iter().any(|id| names.contains(&id.as_str()))
}

/// How the package is called, where the command could not be tried.
fn package(is: &impl Fn(&[&str]) -> bool) -> String {
    let how = if is(&["fedora", "rhel", "centos"]) {
        "dnf install redis, or valkey on Fedora 41, RHEL 10 and later"
    } else if is(&["alpine"]) {
        "apk add redis"
    } else if is(&["arch"]) {
        "pacman -S valkey"
    } else if is(&["suse", "opensuse"]) {
        "zypper install redis"
    } else {
        "its package is called redis, redis-server or valkey"
    };
    format!("install it with the machine's package manager: {how}")
}

/// The command that starts it for good, on systems where it was tried.
fn enable(system: &System, is_debian: bool) -> Option<String> {
    match system.init {
        Init::Systemd if is_debian => Some("sudo systemctl enable --now redis-server".to_owned()),
        Init::None if is_debian => Some("redis-server /etc/redis/redis.conf --daemonize yes".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;

    fn bare() -> Facts {
        Facts::at_home().not_running().host(|host| {
            host.confs.clear();
            let system = seen(&mut host.system);
            system.programs.clear();
            system.units.clear();
        })
    }

    #[test]
    fn certain_where_the_machine_has_none() {
        check_cause(&CAUSE, &bare(), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::at_home().not_running(), None);
        check_cause(&CAUSE, &Facts::at_home(), None);
        check_cause(&CAUSE, &Facts::healthy().refused([127, 0, 0, 1]), None);
    }

    #[test]
    fn it_may_be_in_a_container() {
        let docker = bare().host(|host| seen(&mut host.system).engines.push("docker".to_owned()));
        check_cause(&CAUSE, &docker, Some(Confidence::Possible));
        let inside = bare().with(|facts| seen(&mut facts.vantage).container = Some("docker".to_owned()));
        check_cause(&CAUSE, &inside, Some(Confidence::Possible));
    }

    #[test]
    fn traces_of_a_server_make_it_likely() {
        let hinted = bare().host(|host| seen(&mut host.system).hints.push("app-redis.service".to_owned()));
        check_cause(&CAUSE, &hinted, Some(Confidence::Likely));
        let left = Facts::at_home().not_running().host(|host| {
            let system = seen(&mut host.system);
            (system.programs, system.units[0].gone) = (Vec::new(), true);
        });
        check_cause(&CAUSE, &left, Some(Confidence::Likely));
    }

    #[test]
    fn the_command_is_that_of_the_distribution() {
        let command = |facts: &Facts| match &remedy(facts)[0] {
            Step::Run { command, .. } => command.clone(),
            other => panic!("{other:?}"),
        };
        assert!(command(&bare()).contains("apt-get install -y redis-server"));
        let fedora = bare().host(|host| seen(&mut host.system).distribution = Some("fedora".to_owned()));
        assert!(matches!(&remedy(&fedora)[0], Step::Tell { text, .. } if text.contains("dnf install redis")));
    }
}
