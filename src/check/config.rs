//! What the server is told to do: where to listen, whom to let in, when to hang up; and whether it would start at all.
//!
//! What the running server says (CONFIG GET) wins over its arguments, and these over redis.conf. How sure a cause may be
//! of it is the causes' question.

use serde_json::json;

use super::Check;
use crate::model::{BlockerKind, Code, Evidence, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::host::conf::{Conf, Fault, FoundBy};
use crate::probe::host::instance::{Bind, Instance, Known};
use crate::probe::host::system::Init;
use crate::probe::path::command::Command;
use crate::probe::path::redis::Redis;
use crate::probe::path::reply::{ErrorKind, Reply};
use crate::probe::path::tls::Tls;

/// The check.
pub static CHECK: Check = Check {
    id: "config",
    asks: "does the server's configuration let it start, listen where it is asked for, and let the right clients in?",
    level: None,
    codes: &[&ERROR, &NEXT_START, &BIND_MISSING, &NO_TCP, &EXPOSED, &IDLE, &DIFFERS],
    judge,
};

/// Redis does not start with this file.
pub static ERROR: Code = Code::fail(
    "config/error",
    Level::Reachable,
    "redis.conf keeps Redis from starting",
    "No server runs, and the redis.conf that it would be started with is not there, or holds a line with which Redis does \
     not start: it says 'FATAL CONFIG FILE ERROR' on standard error or in the journal, not in its log file.",
);
/// It runs, but will not start again.
pub static NEXT_START: Code = Code::warn(
    "config/next-start",
    Level::Reachable,
    "Redis will not start again with this redis.conf",
    "The server runs with what it read when it was started; its redis.conf has been changed since, and holds a line with \
     which Redis does not start.",
);
/// `bind` names an address that the machine lacks.
pub static BIND_MISSING: Code = Code::fail(
    "config/bind-missing",
    Level::Reachable,
    "bind names an address that the machine does not have",
    "The address of a 'bind' line is on none of the machine's interfaces, so that bind(2) fails with EADDRNOTAVAIL. Redis \
     6.2 and later then does not start at all (nor 4.0 before 4.0.13 and 5.0 before 5.0.3); the versions between, and any \
     address with a '-' before it, go on with the others.",
);
/// It listens on no TCP port.
pub static NO_TCP: Code = Code::fail(
    "config/no-tcp",
    Level::Reachable,
    "the server listens on no TCP port",
    "'port 0' switches TCP off: the server can be reached over its unix socket only, or over 'tls-port'.",
);
/// Anybody may use it.
pub static EXPOSED: Code = Code::warn(
    "config/exposed",
    Level::Reachable,
    "Redis serves other machines without a password",
    "The server listens on an address that other machines can reach, protected mode is off, and the default user has no \
     password: whoever reaches the port may read, change and delete everything, and often run programs on the machine.",
);
/// Idle clients are cut off soon.
pub static IDLE: Code = Code::warn(
    "config/idle-timeout",
    Level::Reachable,
    "idle clients are cut off within a minute",
    "'timeout' closes the connections of clients that have sent nothing for so many seconds. Connection pools keep idle \
     connections for longer, and meet the end of the stream when they use one again.",
);
/// The file and the running server differ.
pub static DIFFERS: Code = Code {
    severity: crate::model::Severity::Info,
    ..Code::warn(
        "config/differs",
        Level::Reachable,
        "redis.conf and the running server differ",
        "The running server has another value than its redis.conf: it was changed with CONFIG SET, by an argument on the \
         command line, or the file was changed since the start. The next start may change it back.",
    )
};

/// `timeout` below this cuts off the idle connections of common pools, which keep them for a minute at least.
const SHORT_IDLE_S: u64 = 60;

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    facts.server_host()?;
    let Some(instance) = facts.instance() else { return Err(Gap::skipped("the server's machine was not looked at")) };
    if let Some(finding) = missing(&instance) {
        return Ok(Judgement::pass(finding.code.title).finding(vec![finding]));
    }
    let unread = instance.conf.and_then(|conf| conf.parsed.known().err());
    if let (Some(gap), None) = (unread, facts.running_settings()) {
        return Err(gap);
    }
    if instance.conf.is_none() && facts.running_settings().is_none() {
        return Err(Gap::skipped(if instance.is_alive() {
            "no redis.conf is known to be the server's own, and it does not tell its settings"
        } else {
            "no redis.conf was found, and no server tells its settings"
        }));
    }
    let findings: Vec<Finding> = [
        faults(&instance),
        bind_missing(&instance),
        no_tcp(&instance),
        exposed(&instance),
        idle(&instance),
        differs(&instance),
    ]
    .into_iter()
    .flatten()
    .collect();
    Ok(Judgement::pass(summary(&instance, &findings)).observing(&observed(&instance)).finding(findings))
}

fn summary(instance: &Instance, findings: &[Finding]) -> String {
    if let Some(finding) = findings.first() {
        return finding.code.title.to_owned();
    }
    let said = |name: &str| instance.setting(name).map(|known| format!("{name} {}", known.values.join(" ")));
    let mode = said("protected-mode").filter(|mode| mode != "protected-mode yes");
    let said: Vec<String> = said("bind").into_iter().chain(mode).collect();
    let file = instance.read_conf().map(|conf| conf.path.as_str());
    match (file, said.is_empty()) {
        (Some(file), false) => format!("{file}: {}{}", said.join(", "), unused(instance)),
        (Some(file), true) => file.to_owned(),
        (None, false) => format!("no redis.conf{}; {}", unused(instance), said.join(", ")),
        (None, true) => "the running server tells neither".to_owned(),
    }
}

/// That the redis.conf that was given is not the one that the server names.
fn unused(instance: &Instance) -> String {
    let given = instance.host.confs.iter().find(|conf| conf.found_by == FoundBy::Given);
    let unused = given.filter(|given| instance.conf.is_none_or(|own| own.path != given.path));
    unused.map(|given| format!(" ({} was given, which this server does not read)", given.path)).unwrap_or_default()
}

fn observed(instance: &Instance) -> serde_json::Value {
    let names = ["bind", "port", "protected-mode", "tls-port", "unixsocket", "timeout", "maxclients", "aclfile"];
    let said = names.iter().filter_map(|name| Some((*name, instance.setting(name)?)));
    let settings: serde_json::Map<String, serde_json::Value> = said
        .map(|(name, known)| (name.to_owned(), json!({ "value": known.values.join(" "), "source": known.source })))
        .collect();
    json!({ "file": instance.read_conf().map(|conf| &conf.path), "settings": settings })
}

/// The redis.conf that a service starts Redis with, and that is not there.
fn missing(instance: &Instance) -> Option<Finding> {
    let conf = instance.conf.filter(|conf| conf.found_by == FoundBy::Unit && !instance.is_alive())?;
    let Err(Gap::Hidden(blocker)) = conf.parsed.known() else { return None };
    // A server that runs may have been started without it; where nothing starts services, a unit starts nothing.
    instance.host.living().next().is_none().then_some(())?;
    instance.host.system.seen().filter(|system| system.init != Init::None)?;
    let unit = conf.unit.as_deref().unwrap_or_default();
    let says = format!("the service {unit} starts Redis with it: Redis ends with 'can't open config file'");
    (blocker.kind == BlockerKind::Missing)
        .then(|| Finding::new(&ERROR, instance.host.source(format!("stat(2) of {}", conf.path)), says))
}

/// Lines with which Redis does not start.
fn faults(instance: &Instance) -> Option<Finding> {
    // A version that runs may take what others refuse; one that does not run may be any.
    let alive = instance.is_alive();
    if instance.is_sentinel() {
        return None;
    }
    let faults = instance.conf?.parsed.seen()?.errors.iter();
    let modern = instance.major_version().is_some_and(|major| major >= 6);
    let faults = faults.filter(|fault| fault.sure || !alive || (modern && fault.sure_since_6));
    let evidence: Vec<Evidence> = faults.map(|fault| refused_line(instance, fault)).collect();
    let answered = instance.facts().tcp.seen().is_some_and(|tcp| tcp.connected().is_some());
    let listened_on = instance.facts().ask.target.port().is_some_and(|port| !instance.host.listeners(port).is_empty());
    if evidence.is_empty() || (!alive && (answered || listened_on)) {
        return None;
    }
    // The next start is with a file that this very process reads.
    let reads =
        |conf: &Conf| conf.found_by <= FoundBy::Arguments || conf.pid == instance.process.map(|process| process.pid);
    if alive && !instance.conf.is_some_and(reads) {
        return None;
    }
    let code = if alive { &NEXT_START } else { &ERROR };
    Some(Finding { code, evidence })
}

fn refused_line(instance: &Instance, fault: &Fault) -> Evidence {
    let source = instance.host.source(format!("{}:{}", fault.file, fault.line));
    Evidence::new(source, format!("{}: {}", fault.text, fault.says))
}

/// Addresses of `bind` that the machine lacks, where they matter: nothing runs, or it is the asked one.
fn bind_missing(instance: &Instance) -> Option<Finding> {
    let known = instance.setting("bind")?;
    let asked = instance.asked_addresses();
    let missing: Vec<Bind> = if instance.is_alive() {
        instance.missing_binds(&known).into_iter().filter(|bind| asked.contains(&bind.ip)).collect()
    } else {
        instance.needed_binds(&known)
    };
    let failed = instance.facts().tcp.seen().is_none_or(|tcp| tcp.connected().is_none());
    let failed = failed && (instance.is_alive() || !is_served_elsewhere(instance));
    let list: Vec<String> = missing.iter().map(|bind| bind.ip.to_string()).collect();
    (failed && !missing.is_empty()).then(|| {
        let says = format!("bind {}; this machine has no address {}", known.values.join(" "), list.join(", "));
        Finding::new(&BIND_MISSING, instance.host.source(known.source), says)
    })
}

/// True if a server has the asked port on other addresses: a file that would put one there is another's, or was read before
/// it was changed.
fn is_served_elsewhere(instance: &Instance) -> bool {
    let port = instance.facts().ask.target.port();
    instance.host.living().any(|server| server.listens.iter().any(|at| Some(at.port()) == port))
}

fn no_tcp(instance: &Instance) -> Option<Finding> {
    instance.facts().ask.target.port()?;
    let tls = instance.setting("tls-port").is_some_and(|known| known.values != ["0"]);
    let listens = match instance.process {
        Some(process) => !process.listens.is_empty(),
        // It may have been started with that very file before it was changed.
        None => instance.host.has_untold(),
    };
    let connected = instance.facts().tcp.seen().is_some_and(|tcp| tcp.connected().is_some());
    if tls || listens || connected {
        return None;
    }
    match instance.setting("port") {
        Some(port) => {
            (port.values == ["0"]).then(|| Finding::new(&NO_TCP, instance.host.source(port.source), "port 0"))
        }
        None => silent(instance),
    }
}

/// A server that is seen to listen on a socket alone, whatever it was told.
fn silent(instance: &Instance) -> Option<Finding> {
    let process = instance.process?;
    let path = process.listens_unix.first()?;
    let says = format!("pid {} listens on {path}, and on no TCP port", process.pid);
    Some(Finding::new(&NO_TCP, instance.host.source("sock_diag(7)"), says))
}

/// A passwordless server that protected mode does not guard, on an address that others can reach.
fn exposed(instance: &Instance) -> Option<Finding> {
    let mode = instance.setting("protected-mode").filter(|_| !instance.is_sentinel())?;
    (serves_anybody(instance)? && !guards(instance, &mode)).then_some(())?;
    let open = instance.reachable_from_afar();
    open.first()?;
    let list: Vec<String> = open.iter().map(ToString::to_string).collect();
    let listens = Evidence::new(instance.host.source("sock_diag(7)"), format!("it listens on {}", list.join(", ")));
    let mode_says = match instance.setting("bind").filter(|_| mode.values == ["yes"]) {
        Some(bind) => {
            format!("protected-mode yes, which this version only heeds without 'bind' (bind {})", bind.values.join(" "))
        }
        None => format!("protected-mode {}", mode.values.join(" ")),
    };
    let unguarded = Evidence::new(instance.host.source(mode.source), mode_says);
    let answered = Evidence::new("redis replied", "PONG, without a password");
    Some(Finding { code: &EXPOSED, evidence: vec![answered, listens, unguarded] })
}

/// True if PING was answered without a password; `None` where that was not seen.
fn serves_anybody(instance: &Instance) -> Option<bool> {
    let facts = instance.facts();
    let dialogue = facts.redis.seen().and_then(Redis::preferred);
    let denied = |command| {
        let error = dialogue.and_then(|dialogue| dialogue.reply(command)).and_then(Reply::error);
        error.is_some_and(|error| error.kind == ErrorKind::NoPermission)
    };
    if denied(Command::Info) || denied(Command::ConfigGet) {
        // An ACL lets anybody do little: a user for health checks.
        return Some(false);
    }
    let pong = dialogue.is_some_and(|dialogue| matches!(dialogue.reply(Command::Ping), Some(Reply::Status(_))));
    // What is answered to a client with a certificate is not answered to anybody.
    let by_certificate =
        facts.tls.seen().and_then(Tls::preferred).is_some_and(|hello| hello.asked.is_some() && hello.shown);
    let is_optional = || instance.setting("tls-auth-clients").is_some_and(|known| known.values == ["optional"]);
    if by_certificate && !is_optional() {
        return Some(false);
    }
    if pong && !facts.ask.target.password {
        return Some(true);
    }
    let pid = instance.process?.pid;
    // It was asked at another port: that of a cluster's bus answers nobody.
    let port = facts.ask.target.port()?.to_string();
    let has = |name: &str| instance.setting(name).is_some_and(|known| known.values == [port.as_str()]);
    if !has("port") && !has("tls-port") {
        return Some(false);
    }
    let running = instance.host.running.iter().find(|running| running.pid == Some(pid))?;
    Some(running.ping.as_deref() == Some("PONG") && running.settings.seen().is_some())
}

/// True if protected mode turns clients of other machines away: since 7.0 whatever `bind` says, before only without it
/// (`acceptCommonHandler` of networking.c; catalogue section 0.2).
fn guards(instance: &Instance, mode: &Known) -> bool {
    let bound = instance.setting("bind").is_some_and(|bind| !bind.values.is_empty());
    mode.values != ["no"] && (!bound || instance.major_version().is_none_or(|major| major >= 7))
}

fn idle(instance: &Instance) -> Option<Finding> {
    let known = instance.setting("timeout")?;
    let seconds: u64 = known.values.first()?.parse().ok()?;
    (1..SHORT_IDLE_S).contains(&seconds).then(|| {
        let says = format!("timeout {seconds}: a client that says nothing for {seconds} s is cut off");
        Finding::new(&IDLE, instance.host.source(known.source), says)
    })
}

/// What the running server and its own redis.conf say differently. Where the file is only guessed at, nothing is said.
fn differs(instance: &Instance) -> Option<Finding> {
    let conf = instance.conf.filter(|conf| conf.found_by <= FoundBy::Arguments)?;
    let differences = instance.differences().into_iter();
    let evidence: Vec<Evidence> =
        differences.map(|(source, says)| Evidence::new(instance.host.source(source), says)).collect();
    (!evidence.is_empty() && conf.parsed.seen().is_some()).then_some(Finding { code: &DIFFERS, evidence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, Observed};
    use crate::probe::healthy_host::{CONF, seen};
    use crate::probe::host::Host;
    use crate::probe::host::process::Process;
    use crate::probe::host::socket::Listener;

    #[track_caller]
    fn check(facts: &Facts, codes: &[&str]) {
        let judgement = judge(facts).unwrap();
        assert_eq!(judgement.findings.iter().map(|finding| finding.code.id).collect::<Vec<_>>(), codes);
    }

    fn refused_line(host: &mut Host, sure: bool) {
        let text = "maxclients many".to_owned();
        let says = "argument couldn't be parsed into an integer".to_owned();
        seen(&mut host.confs[0].parsed).errors.push(Fault {
            file: CONF.to_owned(),
            line: 900,
            text,
            says,
            sure,
            sure_since_6: sure,
        });
    }

    #[test]
    fn a_healthy_configuration() {
        check(&Facts::at_home(), &[]);
        let judgement = judge(&Facts::at_home()).unwrap();
        assert_eq!(judgement.summary, "/etc/redis/redis.conf: bind 127.0.0.1 -::1");
        assert_eq!(judgement.observed["settings"]["bind"]["source"], "CONFIG GET");
        assert!(matches!(judge(&Facts::healthy()), Err(Gap::Skipped(_))));
    }

    #[test]
    fn a_line_that_redis_refuses() {
        check(&Facts::at_home().not_running().host(|host| refused_line(host, true)), &["config/error"]);
        check(&Facts::at_home().host(|host| refused_line(host, true)), &["config/next-start"]);
        check(&Facts::at_home().not_running().host(|host| refused_line(host, false)), &["config/error"]);
        check(&Facts::at_home().host(|host| refused_line(host, false)), &[]);
    }

    #[test]
    fn an_address_that_the_machine_lacks() {
        let down = || Facts::at_home().not_running();
        check(&down().conf("bind 127.0.0.1 10.9.9.9"), &["config/bind-missing"]);
        check(&down().conf("bind 127.0.0.1 -10.9.9.9"), &[]);
        check(&down().conf("bind * -::*"), &[]);
        // What may be missing may not be all that there is, unless it has a socket.
        check(&down().conf("bind -10.9.9.9"), &["config/bind-missing"]);
        check(&down().conf("bind -10.9.9.9").conf("unixsocket /run/r.sock"), &[]);
        let beside = |port| {
            down().conf("bind 10.9.9.9").host(|host| {
                let listens = vec![std::net::SocketAddr::from(([10, 0, 0, 9], port))];
                seen(&mut host.processes).servers = vec![Process { pid: 7, unit: None, listens, ..Process::healthy() }];
            })
        };
        check(&beside(6379), &[]);
        check(&beside(7000), &["config/bind-missing"]);
        check(&Facts::at_home().running_with("bind", "127.0.0.1 10.9.9.9"), &["config/differs"]);
    }

    #[test]
    fn no_port_at_all() {
        let facts = Facts::at_home().refused([127, 0, 0, 1]).conf("port 0").host(|host| {
            seen(&mut host.sockets).tcp.clear();
        });
        let facts = facts.process(|process| {
            process.listens.clear();
            process.listens_unix = vec!["/run/redis.sock".to_owned()];
        });
        check(&facts, &["config/no-tcp"]);
        check(&facts.clone().conf("tls-port 6380"), &[]);
        let unix =
            facts.with(|facts| facts.ask.target.endpoint = Endpoint::Unix { path: "/run/redis.sock".to_owned() });
        check(&unix, &[]);
    }

    #[test]
    fn a_file_that_a_server_may_have_read_before_it_was_changed_switches_nothing_off() {
        let port_0 = |facts: Facts| facts.conf("port 0").refused([127, 0, 0, 1]);
        check(&port_0(Facts::at_home().not_running()), &["config/no-tcp"]);
        let other = |host: &mut Host| {
            let at = std::net::SocketAddr::from(([127, 0, 0, 1], 7000));
            let server = Process { pid: 7, unit: None, listens: vec![at], ..Process::healthy() };
            seen(&mut host.processes).servers = vec![server];
            seen(&mut host.sockets).tcp.clear();
            (host.confs[0].pid, host.confs[0].found_by) = (None, FoundBy::Unit);
        };
        check(&port_0(Facts::at_home()).host(other), &[]);
    }

    #[test]
    fn a_server_that_tells_nothing_is_seen_to_have_a_socket_alone() {
        let silent = Facts::at_home().refused([127, 0, 0, 1]).host(|host| {
            seen(&mut host.sockets).tcp.clear();
            host.confs.clear();
            let server = &mut seen(&mut host.processes).servers[0];
            (server.listens, server.listens_unix) = (Vec::new(), vec!["/run/redis.sock".to_owned()]);
        });
        let instance = silent.instance().unwrap();
        assert!(no_tcp(&instance).is_some_and(|finding| finding.evidence[0].source == "sock_diag(7)"));
    }

    #[test]
    fn a_tunnel_to_a_server_without_password_exposes_nobody_else() {
        let open = Facts::at_home().running_with("protected-mode", "no").host(|host| {
            seen(&mut host.processes).servers.clear();
            host.confs.clear();
            let at = |ip: [u8; 4], owner| Listener { owner, ..Listener::healthy(ip.into(), 6379, u64::from(ip[0])) };
            seen(&mut host.sockets).tcp = vec![at([127, 0, 0, 1], Some(5)), at([10, 0, 0, 9], Some(6))];
        });
        check(&open, &[]);
        let owned = |a, b| {
            open.clone().host(|host| {
                let tcp = &mut seen(&mut host.sockets).tcp;
                (tcp[0].owner, tcp[1].owner) = (a, b);
            })
        };
        check(&owned(None, None), &[]);
        check(&owned(Some(5), Some(5)), &["config/exposed"]);
    }

    #[test]
    fn open_to_everybody() {
        let open = || Facts::at_home().listening(&["0.0.0.0:6379"]).running_with("protected-mode", "no");
        check(&open(), &["config/exposed", "config/differs"]);
        check(&Facts::at_home().listening(&["0.0.0.0:6379"]), &[]);
        check(&Facts::at_home().running_with("protected-mode", "no"), &["config/differs"]);
        check(&open().with(|facts| facts.ask.target.password = true), &["config/differs"]);
        let alone = open().host(|host| host.origin.addresses = vec![[127, 0, 0, 1].into()]);
        check(&alone, &["config/differs"]);
        // A certificate that the server wants is as good as a password; at the bus of a cluster nobody is served.
        let with_certificate = |mode: &str| {
            let shaken = Facts::encrypted().hello(|hello| (hello.asked, hello.shown) = (Some(Vec::new()), true)).tls;
            open().running_with("tls-auth-clients", mode).with(|facts| facts.tls = shaken)
        };
        check(&with_certificate("yes"), &["config/differs"]);
        check(&with_certificate("optional"), &["config/exposed", "config/differs"]);
        // Before 7.0, protected mode is heeded without 'bind' only.
        let old = |bind| {
            Facts::at_home().listening(&["0.0.0.0:6379"]).info("redis_version", "6.2.14").running_with("bind", bind)
        };
        check(&old("0.0.0.0"), &["config/exposed", "config/differs"]);
        check(&old(""), &["config/differs"]);
    }

    #[test]
    fn idle_clients_are_cut_off() {
        check(&Facts::at_home().running_with("timeout", "12"), &["config/idle-timeout"]);
        check(&Facts::at_home().running_with("timeout", "300"), &[]);
    }

    #[test]
    fn what_cannot_be_read_is_unknown_unless_the_server_tells() {
        let hidden = |facts: Facts| {
            facts.host(|host| host.confs[0].parsed = Observed::hidden(crate::model::BlockerKind::Permission, "EACCES"))
        };
        check(&hidden(Facts::at_home()), &[]);
        assert!(matches!(judge(&hidden(Facts::at_home().not_running())), Err(Gap::Hidden(_))));
    }

    #[test]
    fn the_file_and_the_server_differ() {
        check(&Facts::at_home().conf("port 6380"), &["config/differs"]);
        let guessed = Facts::at_home().conf("port 6380").host(|host| host.confs[0].found_by = FoundBy::UsualPlace);
        check(&guessed, &[]);
    }
}
