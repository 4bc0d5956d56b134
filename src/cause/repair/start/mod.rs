//! Starting a server, and starting it again: by the service that does it, or by hand where no service would. Where several
//! may be meant, none is started by a guess.

use std::net::{IpAddr, Ipv4Addr};

use crate::cause::redis_host;
use crate::model::text::shell_quote;
use crate::model::{Endpoint, Risk, Step};
use crate::probe::Facts;
use crate::probe::host::conf::{Conf, FoundBy};
use crate::probe::host::instance::Instance;
use crate::probe::host::starter::Starter;
use crate::probe::host::system::{Init, System, Unit};

/// The port that Sentinels listen on unless told otherwise.
pub const SENTINEL_PORT: u16 = 26379;

/// The most candidates that are told.
const MOST_CANDIDATES: usize = 8;

/// The forks that do not take each other's redis.conf, by what their programs and files are named after.
const FORKS: [&str; 3] = ["valkey", "keydb", "redict"];

/// Starts the server; where a living one may have read the same file, two of them would write to one folder.
pub fn start(facts: &Facts) -> Step {
    let instance = facts.instance();
    let conf = instance.and_then(|instance| instance.conf);
    let twin =
        conf.zip(instance).is_some_and(|(conf, instance)| !instance.is_alive() && instance.host.may_be_read(conf));
    if twin {
        let text = "a server runs there that may have been started with that very redis.conf, before it was changed: restart \
                    that one; start another only if it has another 'dir'";
        return Step::tell(redis_host(facts), text);
    }
    if asks_for_sentinel(facts) {
        return sentinel(facts);
    }
    which(facts).or_else(|| which_file(facts)).unwrap_or_else(|| step(facts, instance, "start", "start it"))
}

/// Where several services may be meant, which ones: those that are started at boot first. A redis.conf that the user named
/// says which.
fn which(facts: &Facts) -> Option<Step> {
    let (host, instance) = (facts.server_host().ok()?, facts.instance()?);
    if instance.conf.is_some_and(|conf| conf.found_by == FoundBy::Given && conf.unit.is_some()) {
        return None;
    }
    let on_port = own_port(facts).is_none_or(|(own, _)| facts.ask.target.port().is_none_or(|port| port == own));
    let own = facts.own_service().and_then(|name| host.unit(name)).filter(|unit| !unit.gone && on_port);
    let runs = |unit: &Unit| {
        host.living()
            .any(|server| server.unit.as_deref().map(|name| name.trim_end_matches(".service")) == Some(&unit.name))
    };
    let is_down = |one: &Starter| !matches!(one, Starter::Service(unit) if runs(unit));
    let mut all: Vec<Starter> = own.map(Starter::Service).into_iter().chain(facts.other_starters()).collect();
    all.retain(is_down);
    let only = |one: &Starter| matches!(one, Starter::Service(unit) if instance.unit() == Some(unit.name.as_str()));
    if all.iter().all(only) {
        return None;
    }
    all.sort_by_key(|one| !matches!(one, Starter::Service(unit) if unit.enabled));
    let list: Vec<String> = all.iter().take(MOST_CANDIDATES).map(|one| candidate(host.system.seen(), one)).collect();
    Some(Step::tell(redis_host(facts), choice(facts, &list)))
}

/// Where no service starts one, and several files would put it where the target is: those.
fn which_file(facts: &Facts) -> Option<Step> {
    let (host, instance) = (facts.server_host().ok()?, facts.instance()?);
    host.system.seen().filter(|system| system.init == Init::None)?;
    let is_given = instance.conf.is_some_and(|conf| conf.found_by == FoundBy::Given);
    let files = host.rivals(facts).into_iter().take(MOST_CANDIDATES);
    let list: Vec<String> = files.map(|conf| format!("a server with {}", conf.path)).collect();
    (list.len() > 1 && !is_given).then(|| Step::tell(redis_host(facts), choice(facts, &list)))
}

/// What to start, of what may be meant.
fn choice(facts: &Facts, list: &[String]) -> String {
    let place = facts.ask.target.place();
    match list {
        [only] => format!("if this is meant for {place}, which cannot be told from here, start it: {only}"),
        _ => format!("start the one that is meant for {place}, which cannot be told from here: {}", list.join("; ")),
    }
}

/// `cache, which is started at boot ('sudo systemctl start cache')`.
fn candidate(system: Option<&System>, one: &Starter) -> String {
    let unit = match one {
        Starter::Service(unit) => unit,
        Starter::Trace(trace) => return format!("what {trace} starts"),
    };
    let how = service(system, "start", &unit.name).map(|command| format!(" ('{command}')")).unwrap_or_default();
    match (unit.masked, unit.enabled) {
        (true, _) => format!("{}, which somebody masked", unit.name),
        (false, true) => format!("{}, which is started at boot{how}", unit.name),
        (false, false) => format!("{}{how}", unit.name),
    }
}

/// True if a Sentinel is asked for, by its usual port, and nothing gives a server that port.
pub fn asks_for_sentinel(facts: &Facts) -> bool {
    facts.ask.target.port() == Some(SENTINEL_PORT)
        && own_port(facts).is_none_or(|(own, _)| own != SENTINEL_PORT)
        && facts.neighbour().is_none()
}

/// A server in a Sentinel's place would answer, and watch nobody.
fn sentinel(facts: &Facts) -> Step {
    Step::tell(
        redis_host(facts),
        "26379 is the port of Sentinels, which have a service and a file of their own: 'sudo systemctl start redis-sentinel' \
         (package redis-sentinel on Debian and Ubuntu, redis or valkey elsewhere), or redis-sentinel with its sentinel.conf; \
         start no redis-server in its place",
    )
}

/// The port that the server would have, and who says so: an argument of its service overrides its redis.conf.
pub fn own_port(facts: &Facts) -> Option<(u16, &'static str)> {
    let instance = facts.instance()?;
    let unit = instance.unit().and_then(|name| instance.host.unit(name)).and_then(Unit::port);
    let conf = || instance.conf?.parsed.seen()?.port();
    unit.map(|port| (port, "service")).or_else(|| Some((conf()?, "redis.conf")))
}

/// Starts the server again, so that it reads its redis.conf.
pub fn restart(facts: &Facts, instance: Option<Instance>) -> Step {
    step(facts, instance, "restart", "restart it")
}

fn step(facts: &Facts, instance: Option<Instance>, verb: &str, text: &str) -> Step {
    let on = redis_host(facts);
    let risk = if verb == "start" { Risk::Safe } else { Risk::Restarts };
    let system = instance.and_then(|instance| instance.host.system.seen());
    if let (true, Some(unit)) = (is_masked(instance), instance.and_then(|instance| instance.unit())) {
        let unit = shell_quote(unit);
        let text = format!(
            "somebody masked its service, so that nothing starts it; if it is meant to run all the same: 'systemctl unmask \
             {unit}', then 'systemctl {verb} {unit}'"
        );
        return Step::tell(on, text);
    }
    let command = instance.and_then(|instance| instance.unit()).and_then(|unit| service(system, verb, unit));
    let bare = || instance.filter(|_| verb == "start").and_then(|instance| by_hand(instance, system?));
    match command.or_else(bare) {
        Some(command) => Step::run(on, risk, text, command),
        None => {
            Step::tell(on, format!("{text} the way it was started: its service or container is not known from here"))
        }
    }
}

/// True if the service that would start it is masked (`systemctl mask`).
pub fn is_masked(instance: Option<Instance>) -> bool {
    let unit = instance.and_then(|instance| instance.host.unit(instance.unit()?));
    unit.is_some_and(|unit| unit.masked) && instance.is_some_and(|instance| !instance.is_alive())
}

/// The command that does `verb` to a service.
fn service(system: Option<&System>, verb: &str, name: &str) -> Option<String> {
    let unit = shell_quote(name);
    match system.map(|system| system.init) {
        // The unit of a control group is systemd's, whatever else was not looked at.
        Some(Init::Systemd) | None => Some(format!("sudo systemctl {verb} {unit}")),
        Some(Init::OpenRc) => Some(format!("sudo rc-service {unit} {verb}")),
        Some(Init::SysV) => Some(format!("sudo service {unit} {verb}")),
        Some(Init::Launchd | Init::None) => None,
    }
}

/// The command that starts an installed server where no service does. Without a redis.conf, Redis would listen on all
/// addresses and save into whatever folder it is started in.
fn by_hand(instance: Instance, system: &System) -> Option<String> {
    let conf = instance.read_conf();
    let program = program(system, conf).filter(|_| system.init == Init::None)?;
    let mut command = shell_quote(program);
    if let Some(conf) = conf {
        command.extend([" ", &shell_quote(&conf.path)]);
    }
    let named = |path: &str| conf.and_then(|conf| conf.parsed.seen()).is_some_and(|parsed| parsed.names_socket(path));
    match (&instance.facts().ask.target.endpoint, conf) {
        (Endpoint::Unix { path }, _) if !named(path) => {
            command.extend([" --unixsocket ", &shell_quote(path)]);
            command.push_str(if conf.is_none() { " --port 0" } else { "" });
        }
        (Endpoint::Tcp { port, .. }, None) => {
            let asked = instance.asked_addresses();
            // To open it to others takes a redis.conf with a password.
            asked.iter().all(IpAddr::is_loopback).then_some(())?;
            let ip = asked.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
            command.extend([" --port ", &port.to_string(), " --bind ", &ip.to_string()]);
        }
        _ => {}
    }
    Some(match conf {
        Some(_) => format!("{command} --daemonize yes"),
        None => format!("mkdir -p ~/redis && {command} --dir ~/redis --daemonize yes"),
    })
}

/// The installed server that a redis.conf is written for, by the names of both: the forks have settings that the others do
/// not know.
fn program<'a>(system: &'a System, conf: Option<&Conf>) -> Option<&'a String> {
    let fork_of = |path: &str| FORKS.into_iter().find(|fork| path.contains(fork));
    let Some(fork) = conf.map(|conf| fork_of(&conf.path)) else { return system.programs.first() };
    let named = |program: &&String| fork_of(program.rsplit('/').next().unwrap_or_default()) == fork;
    system.programs.iter().find(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::healthy_host::{CONF, seen};

    fn told(facts: &Facts) -> String {
        match start(facts) {
            Step::Tell { text, .. } => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_several_services_none_is_started_by_a_guess() {
        let two = |change: fn(&mut Unit)| {
            Facts::at_home().not_running().host(|host| {
                let units = &mut seen(&mut host.system).units;
                let mut cache = Unit { name: "cache".to_owned(), conf: None, args: Vec::new(), ..units[0].clone() };
                change(&mut cache);
                units.push(cache);
            })
        };
        let enabled = two(|cache| cache.enabled = true);
        assert!(told(&enabled).ends_with(
            "cache, which is started at boot ('sudo systemctl start cache'); redis-server ('sudo systemctl start redis-server')"
        ));
        for other in
            [two(|cache| cache.masked = true), two(|cache| cache.args = ["--port", "1"].map(str::to_owned).into())]
        {
            assert!(matches!(start(&other), Step::Run { .. }));
        }
        // The user says which.
        let given = enabled.host(|host| host.confs[0].found_by = FoundBy::Given);
        assert!(matches!(start(&given), Step::Run { command, .. } if command == "sudo systemctl start redis-server"));
        let traced = two(|cache| cache.gone = true).host(|host| seen(&mut host.system).hints.push("/etc/x".to_owned()));
        assert!(told(&traced).ends_with("what /etc/x starts"));
    }

    #[test]
    fn a_sentinel_is_not_replaced_by_a_server() {
        let asked = |facts: Facts| {
            facts.with(|facts| {
                facts.ask.target.endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: SENTINEL_PORT };
            })
        };
        assert!(told(&asked(Facts::at_home().not_running())).contains("redis-sentinel"));
        let own = asked(Facts::at_home().not_running().conf("port 26379"));
        assert!(matches!(start(&own), Step::Run { .. }));
    }

    #[test]
    fn a_redis_conf_is_for_the_program_of_its_name() {
        let system = |programs: &[&str]| System {
            programs: programs.iter().map(|name| format!("/usr/bin/{name}")).collect(),
            ..System::healthy()
        };
        let both = system(&["redis-server", "valkey-server"]);
        let of = |system: &System, path: &str| {
            let conf = Conf { path: path.to_owned(), ..Conf::healthy() };
            program(system, Some(&conf)).map(|program| program.trim_start_matches("/usr/bin/").to_owned())
        };
        assert_eq!(of(&both, "/etc/valkey/valkey.conf").as_deref(), Some("valkey-server"));
        assert_eq!(of(&both, CONF).as_deref(), Some("redis-server"));
        assert_eq!(of(&system(&["redis-server"]), "/etc/valkey/valkey.conf"), None);
        assert_eq!(program(&system(&["valkey-server"]), None).map(String::as_str), Some("/usr/bin/valkey-server"));
    }

    #[test]
    fn what_no_service_starts_is_started_for_this_machine_alone() {
        let command = |facts: &Facts| match start(facts) {
            Step::Run { command, .. } => Some(command),
            _ => None,
        };
        let bare = |facts: Facts| {
            facts.not_running().host(|host| {
                host.confs.clear();
                let system = seen(&mut host.system);
                (system.init, system.units) = (Init::None, Vec::new());
            })
        };
        let by_hand =
            "mkdir -p ~/redis && /usr/bin/redis-server --port 6379 --bind 127.0.0.1 --dir ~/redis --daemonize yes";
        assert_eq!(command(&bare(Facts::at_home())).as_deref(), Some(by_hand));
        assert_eq!(command(&bare(Facts::at_home()).refused([10, 0, 0, 9])), None);
    }
}
