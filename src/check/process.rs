//! Does a Redis server run on the target's machine, and does it listen where it is asked for?
//!
//! Judged by what the server's own machine shows; from elsewhere it is skipped.

use std::net::IpAddr;

use super::Check;
use crate::model::{Code, Endpoint, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::forward;
use crate::probe::host::process::{Process, State};
use crate::probe::host::socket::Listener;
use crate::probe::path::command::Command;
use crate::probe::path::counter::Through;
use crate::probe::path::redis::{Conversation, Dialogue, End, Redis};
use crate::probe::path::tls::{Ended, Hello, Tls};

/// The check.
pub static CHECK: Check = Check {
    id: "process",
    asks: "does a Redis server run on the target's machine, and does it listen where it is asked for?",
    level: None,
    codes: &[&NONE, &DEAD, &STOPPED, &ELSEWHERE, &STRANGER, &PROXY_ELSEWHERE],
    judge,
};

/// No server of the Redis family runs.
pub static NONE: Code = Code::fail(
    "process/none",
    Level::Reachable,
    "no Redis server runs on the target's machine",
    "No process of that machine that we could see is a redis-server, valkey-server, keydb-server or a fork, and nothing \
     listens on the asked port or path.",
);
/// Only dead ones are left.
pub static DEAD: Code = Code::fail(
    "process/dead",
    Level::Reachable,
    "the Redis server is dead; only its entry is left",
    "The process is a zombie (state Z): it has ended, and ps and pgrep show it only because its parent has not asked for \
     its fate. It listens on nothing.",
);
/// The target's server is stopped.
pub static STOPPED: Code = Code::fail(
    "process/stopped",
    Level::Reachable,
    "the Redis server is stopped",
    "The process is in state T or t: a signal (SIGSTOP) or a debugger has stopped it. Its kernel still accepts \
     connections, and nobody answers them.",
);
/// It listens, but not where it was asked for.
pub static ELSEWHERE: Code = Code::fail(
    "process/elsewhere",
    Level::Reachable,
    "the Redis server listens elsewhere",
    "A Redis server runs on the target's machine, and it listens on other addresses, ports or paths than the asked one.",
);
/// Somebody else has the port.
pub static STRANGER: Code = Code::fail(
    "process/stranger",
    Level::Reachable,
    "another program has the port",
    "The process that listens on the asked port of the target's machine is no Redis server.",
);

/// A program that passes connections on has the port, but not where it was asked for.
pub static PROXY_ELSEWHERE: Code = Code::fail(
    "process/proxy-elsewhere",
    Level::Reachable,
    "the proxy or tunnel that has the port listens elsewhere",
    "A program that passes connections on (a proxy, ssh, docker-proxy) listens on the asked port of the target's machine, and on \
     other addresses than the asked one.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let host = facts.server_host()?;
    host.sockets.known()?;
    host.processes.known()?;
    let findings = if is_answered(facts) { Vec::new() } else { findings(facts, host) };
    let summary = match findings.first() {
        Some(finding) => finding.evidence.first().map_or(finding.code.title, |evidence| &evidence.says).to_owned(),
        None => healthy_summary(facts, host),
    };
    let not_used = host.origin.not_used.as_ref();
    let summary = not_used.map_or_else(
        || summary.clone(),
        |name| format!("{summary}; the host facts of {name} are not used: the target is this machine"),
    );
    Ok(Judgement::pass(summary).observing(&host.processes.seen()).finding(findings))
}

/// True if a Redis answered at the target, whatever it said.
fn is_answered(facts: &Facts) -> bool {
    let dialogue = facts.redis.seen().and_then(|redis| redis.preferred());
    dialogue.is_some_and(|dialogue| super::ping::is_proven(dialogue) || dialogue.reply(Command::Ping).is_some())
}

fn findings(facts: &Facts, host: &Host) -> Vec<Finding> {
    let stopped = facts.instance().and_then(|instance| instance.process).filter(|process| is_stopped(process));
    if let Some(process) = stopped {
        let says = format!("{} is {}", who(process), state(process.state));
        return vec![Finding::new(&STOPPED, source(host, process), says)];
    }
    let found = match &facts.ask.target.endpoint {
        Endpoint::Tcp { port, .. } => return on_port(facts, host, *port),
        Endpoint::Unix { path } => on_path(host, path),
    };
    found.into_iter().collect()
}

fn on_port(facts: &Facts, host: &Host, port: u16) -> Vec<Finding> {
    let listeners = host.listeners(port);
    let connected = facts.tcp.seen().is_some_and(|tcp| tcp.connected().is_some());
    if listeners.is_empty() {
        // Somebody accepts all the same: a NAT rule leads to a container or another machine.
        let found = if connected { None } else { nobody(host, &format!("port {port}")) };
        return found.into_iter().collect();
    }
    if let Some(stranger) = stranger(facts, host, port) {
        if is_forwarder(stranger, port) || !is_told_off(facts) || is_met_behind(facts) {
            return Vec::new();
        }
        let says = format!("{} listens on {}", who(stranger), addresses(&listeners_of(host, port, stranger)));
        return vec![Finding::new(&STRANGER, host.source("sock_diag(7)"), says)];
    }
    let asked = facts.asked_addresses();
    let unserved: Vec<&IpAddr> = asked.iter().filter(|ip| !listeners.iter().any(|at| at.serves(**ip))).collect();
    let all_unserved = !connected && !asked.is_empty() && unserved.len() == asked.len();
    if all_unserved { apart(host, port, &unserved) } else { Vec::new() }
}

/// Who has the port, but not on the asked addresses: a server, or else whoever it is, and a proxy beside it.
fn apart(host: &Host, port: u16, unserved: &[&IpAddr]) -> Vec<Finding> {
    let (holder, proxy) = (holder(host, port), forwarder(host, port));
    let wanted: Vec<String> = unserved.iter().map(std::string::ToString::to_string).collect();
    let finding = |code, who: &str, listeners: &[&Listener]| {
        let says = format!("{who} listens on {}, not on {}", addresses(listeners), wanted.join(", "));
        Finding::new(code, host.source("sock_diag(7)"), says)
    };
    let of = |code, owner: &Process| finding(code, &who(owner), &listeners_of(host, port, owner));
    let is_proxy = |owner: &&Process| proxy.is_some_and(|proxy| proxy.pid == owner.pid);
    let server = match holder {
        Some(owner) => Some(owner).filter(|owner| !is_proxy(owner)).map(|owner| of(&ELSEWHERE, owner)),
        None => Some(finding(&ELSEWHERE, "a process", &host.listeners(port))),
    };
    server.into_iter().chain(proxy.map(|proxy| of(&PROXY_ELSEWHERE, proxy))).collect()
}

/// The listeners of this process on the port.
pub fn listeners_of<'a>(host: &'a Host, port: u16, owner: &Process) -> Vec<&'a Listener> {
    host.listeners(port).into_iter().filter(|at| at.owner == Some(owner.pid)).collect()
}

/// A proxy or tunnel that has the port, on whatever address.
pub fn forwarder(host: &Host, port: u16) -> Option<&Process> {
    let strangers = host.processes.seen().map_or(&[][..], |processes| &processes.strangers);
    let has_port = |process: &&Process| !listeners_of(host, port, process).is_empty();
    strangers.iter().find(|process| forward::passes_on(process, port) && has_port(process))
}

/// The listeners on the port that are not this proxy's.
pub fn listeners_but_of<'a>(host: &'a Host, port: u16, proxy: Option<&Process>) -> Vec<&'a Listener> {
    let is_its = |at: &&Listener| proxy.is_some_and(|proxy| at.owner == Some(proxy.pid));
    host.listeners(port).into_iter().filter(|at| !is_its(at)).collect()
}

/// Whether the failure is told to its end: silence that was not waited out proves nothing of anybody, nor does TLS that our library
/// cannot do.
fn is_told_off(facts: &Facts) -> bool {
    let is_told = |check: &Check| (check.judge)(facts).is_ok();
    if facts.tls.seen().is_some() && !is_told(&super::tls::CHECK) {
        return false;
    }
    facts.redis.seen().is_none() || is_told(&super::ping::CHECK)
}

/// True if what has the port ends TLS before a Redis, as far as can be seen: one answers behind a certificate that is not trusted, or
/// inside TLS that was not asked for; or whoever shows no certificate of the right authority is not let in.
fn is_met_behind(facts: &Facts) -> bool {
    let counter = facts.counter.seen();
    let inside = counter.and_then(|counter| counter.inside.as_ref());
    let unverified = counter.and_then(|counter| counter.unverified.as_deref());
    let is_behind = |through: &Through| match &through.inside {
        Some(said) => {
            said.reply(Command::Ping).or(said.unasked.as_ref()).is_some() || is_for_ours(&through.hello, Some(said))
        }
        None => is_for_ours(&through.hello, None),
    };
    let Some(hello) = facts.tls.seen().and_then(Tls::preferred) else { return inside.is_some_and(is_behind) };
    let said = facts.redis.seen().and_then(Redis::preferred).map(Dialogue::telling);
    // What is behind a certificate that is not trusted, and was not looked at, is nobody known.
    let is_unseen = || unverified.is_none_or(|through| through.inside.is_none());
    is_for_ours(hello, said) || unverified.is_some_and(is_behind) || (hello.end == Ended::Untrusted && is_unseen())
}

/// True if it asked for a certificate of ours and ended the connection, in the handshake or, with TLS 1.3, after it.
fn is_for_ours(hello: &Hello, said: Option<&Conversation>) -> bool {
    let ended = match &hello.end {
        Ended::Alert(_) | Ended::Closed | Ended::Broken(_) => true,
        Ended::Done => {
            said.is_some_and(|said| said.is_cut() || (!said.said_something() && matches!(said.end, End::Alert(_))))
        }
        _ => false,
    };
    hello.asked.is_some() && ended
}

fn on_path(host: &Host, path: &str) -> Option<Finding> {
    let unix = host.sockets.seen().map_or(&[][..], |sockets| &sockets.unix);
    let is_there = unix.iter().any(|listener| listener.path == path);
    if is_there { None } else { nobody(host, path) }
}

/// Nobody listens at `place`: who else is there?
fn nobody(host: &Host, place: &str) -> Option<Finding> {
    let apart = |process: &&Process| process.state != State::Zombie && process.same_network == Some(false);
    let alive: Vec<&Process> = host.living().chain(host.servers().iter().filter(apart)).collect();
    let dead: Vec<&Process> =
        host.servers().iter().filter(|process| process.state == State::Zombie && !process.sentinel).collect();
    match (alive.as_slice(), dead.as_slice()) {
        ([], []) => {
            let all = host.processes.seen().is_some_and(|processes| processes.all);
            let hidden = host.processes.seen().is_some_and(|processes| processes.some_hidden);
            let says = if hidden {
                format!(
                    "nothing listens on {place}, and no process that can be seen from here is a Redis server; whose the \
                     other listeners are is hidden"
                )
            } else {
                format!("nothing listens on {place}, and no process is a Redis server")
            };
            all.then(|| Finding::new(&NONE, host.source("/proc and sock_diag(7)"), says))
        }
        ([], [process, ..]) => {
            let says = format!("{} is a zombie, and nothing listens on {place}", who(process));
            Some(Finding::new(&DEAD, source(host, process), says))
        }
        (alive, _) => {
            let places: Vec<String> = alive.iter().map(|process| whereabouts(process)).collect();
            let says = format!("{}; nothing listens on {place}", places.join("; "));
            Some(Finding::new(&ELSEWHERE, host.source("sock_diag(7)"), says))
        }
    }
}

/// True for programs that pass connections on, behind which may well be a Redis, and for those that speak its protocol.
fn is_forwarder(process: &Process, port: u16) -> bool {
    const SPEAKERS: [&str; 7] = ["systemd", "dragonfly", "kvrocks", "pika", "garnet", "GarnetServer", "ardb-server"];
    forward::passes_on(process, port) || SPEAKERS.contains(&process.name.as_str())
}

/// Who listens on the port, on whatever address: a server before any other program.
pub fn holder(host: &Host, port: u16) -> Option<&Process> {
    let owners: Vec<u32> = host.listeners(port).into_iter().filter_map(|at| at.owner).collect();
    let strangers = host.processes.seen().map_or(&[][..], |processes| &processes.strangers);
    host.servers().iter().chain(strangers).find(|process| owners.contains(&process.pid))
}

/// The owner of the listeners that serve the target, if none of them is a Redis server's.
pub fn stranger<'a>(facts: &Facts, host: &'a Host, port: u16) -> Option<&'a Process> {
    strangers(facts, host, port).into_iter().next()
}

/// All of them: several may share an address with its port (`SO_REUSEPORT`), and the kernel deals out the connections.
pub fn strangers<'a>(facts: &Facts, host: &'a Host, port: u16) -> Vec<&'a Process> {
    let owners = owners(facts, host, port);
    let is_served = owners.iter().flatten().any(|pid| host.server(*pid).is_some());
    let strangers = host.processes.seen().filter(|_| !is_served).map_or(&[][..], |processes| &processes.strangers);
    strangers.iter().filter(|process| owners.contains(&Some(process.pid))).collect()
}

/// Whose the listeners are that take what comes to the asked port, each once; `None` of one whose owner is not known.
pub fn owners(facts: &Facts, host: &Host, port: u16) -> Vec<Option<u32>> {
    let listeners = host.listeners(port);
    let asked = facts.asked_addresses();
    let attempts = facts.tcp.seen().map_or(&[][..], |tcp| &tcp.attempts);
    let taken = attempts.iter().filter(|attempt| attempt.is_taken()).filter_map(|attempt| attempt.ip);
    let taken: Vec<IpAddr> = taken.filter(|ip| asked.contains(ip)).collect();
    let at = if taken.is_empty() { &asked } else { &taken };
    let serving: Vec<&Listener> =
        if at.is_empty() { listeners } else { at.iter().flat_map(|ip| nearest(&listeners, *ip)).collect() };
    let mut owners: Vec<Option<u32>> = serving.into_iter().map(|listener| listener.owner).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// Of the listeners that serve an address, those that the kernel takes: on this very address before on all of them, and of
/// those on all, of its own family before IPv6 ones that take both (`inet_lhash2_lookup`).
pub fn nearest<'a>(listeners: &[&'a Listener], ip: IpAddr) -> Vec<&'a Listener> {
    let rank = |at: &Listener| {
        if at.ip.to_canonical() == ip.to_canonical() {
            2
        } else {
            u8::from(at.ip.is_ipv4() == ip.to_canonical().is_ipv4())
        }
    };
    let serving = listeners.iter().filter(|at| at.serves(ip));
    let best = serving.clone().map(|at| rank(at)).max();
    serving.filter(|at| Some(rank(at)) == best).copied().collect()
}

fn healthy_summary(facts: &Facts, host: &Host) -> String {
    if let Some(port) = facts.ask.target.port()
        && let Some(stranger) = stranger(facts, host, port)
    {
        return format!("{} serves port {port}; what is behind it may be on another machine", who(stranger));
    }
    match facts.instance().and_then(|instance| instance.process) {
        Some(process) => place(process),
        None => "the server's process cannot be seen from here: another user's, in a container, or behind a proxy"
            .to_owned(),
    }
}

/// `redis-server (pid 812) on 127.0.0.1:6379`: short enough for a line.
fn place(process: &Process) -> String {
    let tcp = process.listens.iter().map(ToString::to_string);
    let places: Vec<String> = tcp.chain(process.listens_unix.iter().cloned()).collect();
    if places.is_empty() {
        return whereabouts(process);
    }
    format!("{} (pid {}) on {}", process.name, process.pid, places.join(", "))
}

/// `redis-server (pid 812, user redis) listens on 127.0.0.1:6379`.
pub fn whereabouts(process: &Process) -> String {
    let tcp = process.listens.iter().map(ToString::to_string);
    let places: Vec<String> = tcp.chain(process.listens_unix.iter().cloned()).collect();
    match (places.is_empty(), process.same_network) {
        (_, Some(false)) => format!("{} is in another network namespace (a container?)", who(process)),
        (true, _) => format!("{} runs; where it listens cannot be seen", who(process)),
        (false, _) => format!("{} listens on {}", who(process), places.join(", ")),
    }
}

/// `redis-server (pid 812, user redis)`.
pub fn who(process: &Process) -> String {
    match &process.user {
        Some(user) => format!("{} (pid {}, user {user})", process.name, process.pid),
        None => format!("{} (pid {}, uid {})", process.name, process.pid, process.uid),
    }
}

/// The addresses of listeners, as evidence.
pub fn addresses(listeners: &[&Listener]) -> String {
    listeners.iter().map(|listener| listener.address().to_string()).collect::<Vec<_>>().join(", ")
}

fn is_stopped(process: &Process) -> bool {
    matches!(process.state, State::Stopped | State::Traced)
}

fn state(state: State) -> &'static str {
    match state {
        State::Alive => "alive",
        State::InKernel => "waiting in the kernel (state D)",
        State::Stopped => "stopped by a signal (state T)",
        State::Traced => "stopped by a debugger (state t)",
        State::Zombie => "dead (state Z)",
        State::Other => "in a state that is not known",
    }
}

fn source(host: &Host, process: &Process) -> String {
    host.source(format!("/proc/{}/stat", process.pid))
}

#[cfg(test)]
mod tests;
