//! Of all that the server's machine shows: what belongs to the target. Which process should serve it, which redis.conf
//! that process reads, and which value of a setting counts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::Host;
use super::conf::{Conf, FoundBy};
use super::disk::Disk;
use super::process::{Process, State};
use super::running::Running;
use super::socket::{Listener, Sockets};
use super::system::Init;
use crate::model::{BlockerKind, Endpoint, Gap, Observed};
use crate::probe::Facts;
use crate::probe::path::command::Command;
use crate::probe::path::redis::{Dialogue, Redis};
use crate::probe::path::reply::{ErrorKind, Reply};
use crate::probe::path::tls::Tls;

/// The server that is, or ought to be, behind the target.
#[derive(Debug, Clone, Copy)]
pub struct Instance<'a> {
    facts: &'a Facts,
    /// The machine.
    pub host: &'a Host,
    /// Its process, if one runs and is known to be the target's.
    pub process: Option<&'a Process>,
    /// Its redis.conf: that which was given, or that which its process is known to read. Where no server is seen that is the
    /// target's, the one that would put one there.
    pub conf: Option<&'a Conf>,
}

/// An address of a `bind` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// The address; unspecified for `*`, `0.0.0.0`, `::` and `::*`.
    pub ip: IpAddr,
    /// True if a `-` stands before it: since Redis 6.2 the server starts without it, if it must.
    pub optional: bool,
}

impl Bind {
    /// Parses one word of a `bind` line; `None` for names, zones and what is no address.
    pub fn parse(word: &str) -> Option<Self> {
        let (word, optional) = word.strip_prefix('-').map_or((word, false), |rest| (rest, true));
        let ip = match word {
            "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            word => word.parse().ok()?,
        };
        Some(Self { ip, optional })
    }
}

/// A setting, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its arguments.
    pub values: Vec<String>,
    /// Who says so: `CONFIG GET`, `/etc/redis/redis.conf:87`, `the arguments of pid 812`.
    pub source: String,
    /// File, line and text of the line, where one says so and may be edited.
    pub line: Option<(String, u32, String)>,
}

impl Facts {
    /// The server's machine, where its facts are those of the target.
    ///
    /// # Errors
    /// Why there are none.
    pub fn server_host(&self) -> Result<&Host, Gap> {
        let host = self.host.known()?;
        if host.origin.collected {
            host.origin.fits(self)?;
        }
        Ok(host)
    }

    /// The server behind the target, as far as its machine shows it. Where none runs there, the redis.conf that would put
    /// one there.
    pub fn instance(&self) -> Option<Instance<'_>> {
        let host = self.server_host().ok()?;
        Some(self.instance_of(host, process(self, host)))
    }

    /// The one server that listens on the target's port, if on other addresses only.
    pub fn neighbour(&self) -> Option<Instance<'_>> {
        let (host, port) = (self.server_host().ok()?, self.ask.target.port()?);
        let owners = owners_of_port(&host.sockets, port, &[]);
        let near =
            |server: &&Process| owners.contains(&server.pid) || listens_at(server, &self.ask.target.endpoint, &[]);
        let server = single(host.living().filter(near))?;
        Some(self.instance_of(host, Some(server)))
    }

    pub(super) fn instance_of<'a>(&'a self, host: &'a Host, process: Option<&'a Process>) -> Instance<'a> {
        // A server that was started without a redis.conf has none, whatever stands in the usual places or was given.
        let bare = process.is_some() && self.config_file(host, process).is_some_and(str::is_empty);
        // Whoever answers without being seen has a redis.conf of its own, and tells it or does not.
        let replied = self.redis.seen().and_then(Redis::preferred).is_some_and(Dialogue::has_replied);
        let unseen = process.is_none() && replied;
        let told =
            |conf: &Conf| conf.found_by == FoundBy::Info && conf.pid.is_none_or(|pid| host.server(pid).is_none());
        let free = |conf: &Conf| match process {
            Some(_) => true,
            None if unseen => told(conf),
            None => !host.is_read(conf),
        };
        let open = |conf: &&Conf| !bare && (conf.found_by == FoundBy::Given || free(conf));
        let confs: Vec<&Conf> = host.confs.iter().filter(open).collect();
        Instance { facts: self, host, process, conf: conf_of(&confs, process, self.ask.target.port()) }
    }

    /// The address at which the target replied, whatever it said.
    pub fn answered_at(&self) -> Option<SocketAddr> {
        self.redis.seen().and_then(Redis::preferred).filter(|dialogue| dialogue.has_replied())?.address.parse().ok()
    }

    /// What INFO says of its redis.conf; empty where it has none.
    fn config_file<'a>(&'a self, host: &'a Host, process: Option<&Process>) -> Option<&'a str> {
        let own = self.redis.seen().and_then(Redis::preferred).and_then(Dialogue::info);
        let running = || host.running.iter().find(|it| it.pid.is_some() && it.pid == process.map(|server| server.pid));
        own.or_else(|| running().map(|running| &running.info))?.get("config_file")
    }

    /// The settings of the target's server, if it tells them (CONFIG GET).
    pub fn running_settings(&self) -> Option<BTreeMap<String, String>> {
        self.instance()?.settings()
    }
}

impl Host {
    /// The servers that live in this network namespace and serve somebody; without sentinels, which are asked for under
    /// names of their own.
    pub fn living(&self) -> impl Iterator<Item = &Process> {
        self.running().filter(|server| server.same_network != Some(false))
    }

    /// The same in any network namespace: a service may have one of its own (`PrivateNetwork=`).
    pub(super) fn running(&self) -> impl Iterator<Item = &Process> {
        let living = |server: &&Process| server.state != State::Zombie && !server.sentinel && !server.is_idle();
        self.servers().iter().filter(living)
    }

    /// The redis.conf files that would put a server where the target is, and that no living server is known to read: a
    /// server that does not run may be the one that is asked for. One that is there and may not be read says nothing, so
    /// that it counts.
    pub fn rivals(&self, facts: &Facts) -> Vec<&Conf> {
        let asked = facts.asked_addresses();
        let wants = |conf: &&Conf| match &facts.ask.target.endpoint {
            Endpoint::Tcp { port, .. } => conf.parsed.seen().is_some_and(|parsed| parsed.wants(*port, &asked)),
            Endpoint::Unix { path } => conf.parsed.seen().is_some_and(|parsed| parsed.names_socket(path)),
        };
        let unread = |conf: &Conf| {
            conf.parsed.known().is_err_and(|gap| !matches!(gap, Gap::Hidden(why) if why.kind == BlockerKind::Missing))
        };
        self.confs.iter().filter(|conf| !self.is_read(conf)).filter(|conf| unread(conf) || wants(conf)).collect()
    }

    /// True if a living server is known to read this redis.conf.
    fn is_read(&self, conf: &Conf) -> bool {
        conf.pid.is_some_and(|pid| self.running().any(|server| server.pid == pid))
    }

    /// The only server that lives and has no TCP port, where nobody listens on the asked one and no other is meant to.
    fn without_port(&self, facts: &Facts) -> Option<&Process> {
        let port = facts.ask.target.port()?;
        let silent = |server: &&Process| server.listens.is_empty() && !server.listens_unix.is_empty();
        let server = single(self.living().filter(silent))?;
        (self.listeners(port).is_empty() && self.rivals(facts).is_empty()).then_some(server)
    }

    /// True if the server that was spoken to is one of this machine, by its run id.
    pub fn is_home_of(&self, dialogue: Option<&Dialogue>) -> bool {
        let Some(id) = dialogue.and_then(Dialogue::info).and_then(|info| info.get("run_id")) else { return false };
        self.running.iter().any(|running| running.info.get("run_id") == Some(id))
    }

    /// A source of evidence on this machine; where it was collected elsewhere, with the machine's name.
    pub fn source(&self, source: impl Into<String>) -> String {
        let source = source.into();
        match (&self.origin.hostname, self.origin.collected) {
            (Some(name), true) => format!("on {name}, {source}"),
            (None, true) => format!("on the server, {source}"),
            (_, false) => source,
        }
    }

    /// The TCP listeners of this port.
    pub fn listeners(&self, port: u16) -> Vec<&Listener> {
        let all = self.sockets.seen().map_or(&[][..], |sockets| &sockets.tcp);
        all.iter().filter(|listener| listener.port == port).collect()
    }

    /// The servers of the Redis family, dead or alive.
    pub fn servers(&self) -> &[Process] {
        self.processes.seen().map_or(&[], |processes| &processes.servers)
    }

    /// The server with this number.
    pub fn server(&self, pid: u32) -> Option<&Process> {
        self.servers().iter().find(|process| process.pid == pid)
    }
}

fn process<'a>(facts: &Facts, host: &'a Host) -> Option<&'a Process> {
    let said = facts.redis.seen().and_then(Redis::preferred);
    let asked = facts.asked_addresses();
    let met = met_at(said, facts.tls.seen()).filter(|ip| asked.contains(ip));
    let behind = process_met(&facts.ask.target.endpoint, (met, &asked), host.servers(), &host.sockets, said);
    behind.or_else(|| host.without_port(facts))
}

/// The address of whoever was spoken to: of several that a name has, that of the conversation, or of the handshake that came to
/// nothing.
pub fn met_at(said: Option<&Dialogue>, tls: Option<&Tls>) -> Option<IpAddr> {
    let said = said.filter(|said| said.has_replied()).map(|said| said.address.as_str());
    let at: SocketAddr = said.or_else(|| Some(tls?.preferred()?.address.as_str()))?.parse().ok()?;
    Some(at.ip())
}

/// The process behind the target. Of several servers behind one name it is the one that was spoken to; where another program
/// was, it is none of them.
pub fn process_met<'a>(
    target: &Endpoint,
    (met, asked): (Option<IpAddr>, &[IpAddr]),
    servers: &'a [Process],
    sockets: &Observed<Sockets>,
    said: Option<&Dialogue>,
) -> Option<&'a Process> {
    if let (Some(ip), Endpoint::Tcp { port, .. }) = (met, target) {
        let own = process_of(target, &[ip], servers, sockets, said);
        if own.is_some() || !owners_of_port(sockets, *port, &[ip]).is_empty() {
            return own;
        }
    }
    process_of(target, asked, servers, sockets, said)
}

/// The process behind the target: the owner of a listener that serves it; else the one that INFO names.
pub fn process_of<'a>(
    target: &Endpoint,
    asked: &[IpAddr],
    servers: &'a [Process],
    sockets: &Observed<Sockets>,
    said: Option<&Dialogue>,
) -> Option<&'a Process> {
    let owners = match target {
        Endpoint::Tcp { port, .. } => owners_of_port(sockets, *port, asked),
        Endpoint::Unix { path } => owners_of_path(sockets, path),
    };
    let owner = servers.iter().find(|server| owners.contains(&server.pid) || listens_at(server, target, asked));
    // INFO says what number a process has in its own namespace; two containers may both say 1.
    let pid = said
        .and_then(Dialogue::info)
        .and_then(|info| info.number("process_id"))
        .and_then(|pid| u32::try_from(pid).ok());
    let is_named = |server: &&Process| pid.is_some() && Some(server.pid_inside.unwrap_or(server.pid)) == pid;
    // A liar may name any: where its listeners are seen, the target must be among them.
    let fits = |server: &&Process| !server.shows_sockets() || listens_at(server, target, asked);
    let named = || single(servers.iter().filter(is_named)).filter(fits).filter(|_| owners.is_empty());
    owner.or_else(named)
}

/// The known owners of the listeners that serve one of these addresses; of any, where none is known.
fn owners_of_port(sockets: &Observed<Sockets>, port: u16, asked: &[IpAddr]) -> Vec<u32> {
    let listeners = sockets.seen().map_or(&[][..], |sockets| &sockets.tcp).iter();
    let wanted = |at: &&Listener| at.port == port && (asked.is_empty() || asked.iter().any(|ip| at.serves(*ip)));
    listeners.filter(wanted).filter_map(|at| at.owner).collect()
}

fn owners_of_path(sockets: &Observed<Sockets>, path: &str) -> Vec<u32> {
    let listeners = sockets.seen().map_or(&[][..], |sockets| &sockets.unix).iter();
    listeners.filter(|at| at.path == path).filter_map(|at| at.owner).collect()
}

/// True if a server listens at the target, by what is known of its own network namespace.
fn listens_at(server: &Process, target: &Endpoint, asked: &[IpAddr]) -> bool {
    let here = server.same_network != Some(false);
    let wanted = |ip: IpAddr| asked.is_empty() || asked.iter().any(|asked| serves(ip, *asked));
    match target {
        Endpoint::Tcp { port, .. } => here && server.listens.iter().any(|at| at.port() == *port && wanted(at.ip())),
        Endpoint::Unix { path } => server.listens_unix.contains(path),
    }
}

fn single<'a>(mut of: impl Iterator<Item = &'a Process>) -> Option<&'a Process> {
    of.next().filter(|_| of.next().is_none())
}

/// The redis.conf of the target: that which was given, else that which its process is known to read: what merely stands
/// there, on the same port even, may be another server's, and must not be told of this one or edited for it. Without a
/// process, that of the port, or the only one.
pub fn conf_of<'a>(confs: &[&'a Conf], process: Option<&Process>, port: Option<u16>) -> Option<&'a Conf> {
    let given = confs.iter().copied().find(|conf| conf.found_by == FoundBy::Given);
    if let Some(process) = process {
        // What the process is known to read is its own, whatever was given.
        return confs.iter().copied().find(|conf| conf.pid == Some(process.pid)).or(given);
    }
    let says = |conf: &&Conf| port.is_some() && conf.parsed.seen().is_some_and(|parsed| parsed.port() == port);
    let of_port = || confs.iter().copied().find(says);
    // One that merely stands in its usual place may be another server's.
    let usual = |conf: &&Conf| conf.found_by != FoundBy::UsualPlace || port.is_none();
    let only = || confs.first().copied().filter(|_| confs.len() == 1).filter(usual);
    given.or_else(of_port).or_else(only)
}

impl<'a> Instance<'a> {
    /// The value of a setting that counts: what the running server says, else its arguments, else its redis.conf; `None`
    /// where nobody says anything, so that the default of its version counts.
    pub fn setting(&self, name: &str) -> Option<Known> {
        self.from_server(name).or_else(|| self.from_arguments(name)).or_else(|| self.from_conf(name))
    }

    /// The settings it tells (CONFIG GET), over the target's own conversation, or where it was asked over loopback.
    pub fn settings(&self) -> Option<BTreeMap<String, String>> {
        let own = self.facts.redis.seen().and_then(Redis::preferred).and_then(Dialogue::settings);
        own.or_else(|| self.running()?.settings.seen().cloned())
    }

    /// What its process said over loopback.
    fn running(&self) -> Option<&'a Running> {
        let pid = self.process?.pid;
        self.host.running.iter().find(|running| running.pid == Some(pid))
    }

    /// What the running server says (CONFIG GET).
    pub fn from_server(&self, name: &str) -> Option<Known> {
        let value = self.settings()?.get(name)?.clone();
        let values = value.split_whitespace().map(str::to_owned).collect();
        // A line that says something else is not what the server heeds: an argument, or CONFIG SET, overrides it.
        let line = self.from_conf(name).filter(|known| known.values == values).and_then(|known| known.line);
        Some(Known { values, source: "CONFIG GET".to_owned(), line })
    }

    /// What the arguments of the process say, where they can still be read.
    pub fn from_arguments(&self, name: &str) -> Option<Known> {
        let process = self.process?;
        let flag = format!("--{name}");
        let at = process.args.iter().rposition(|arg| *arg == flag)?;
        let values = process.args[at + 1..].iter().take_while(|arg| !arg.starts_with("--")).cloned().collect();
        Some(Known { values, source: format!("the arguments of pid {}", process.pid), line: None })
    }

    /// What redis.conf says.
    pub fn from_conf(&self, name: &str) -> Option<Known> {
        let setting = self.conf?.parsed.seen()?.last(name)?;
        let line = (setting.line > 0).then(|| (setting.file.clone(), setting.line, setting.text.clone()));
        Some(Known { values: setting.values.clone(), source: setting.place(), line })
    }

    /// True if its process has read its redis.conf as it stands now: it was started after the last change. A clock tick is
    /// 10 ms.
    pub fn has_read_conf(&self) -> bool {
        let at = |date: Option<&String>| humantime::parse_rfc3339(date?).ok();
        let changed = self.conf.and_then(|conf| at(conf.changed_at.as_ref()));
        let started = self.process.and_then(|process| at(process.started_at.as_ref()));
        changed.zip(started).is_some_and(|(changed, started)| changed <= started + Duration::from_millis(10))
    }

    /// The `bind` that its process was told: by what it says itself, its arguments, or its redis.conf as it has read it.
    pub fn heeded_bind(&self) -> Option<Known> {
        let said = self.from_server("bind").or_else(|| self.from_arguments("bind"));
        said.or_else(|| self.from_conf("bind").filter(|_| self.has_read_conf()))
    }

    /// Its redis.conf, where it could be read.
    pub fn read_conf(&self) -> Option<&'a Conf> {
        self.conf.filter(|conf| conf.parsed.seen().is_some())
    }

    /// The folders it writes to, where any was seen.
    ///
    /// # Errors
    /// Why none was.
    pub fn disks(&self) -> Result<Vec<&'a Disk>, Gap> {
        let pid = self.process.map(|process| process.pid);
        let own: Vec<_> =
            self.host.disks.known()?.iter().filter(|disk| disk.pid.is_none_or(|of| Some(of) == pid)).collect();
        if own.is_empty() { Err(Gap::skipped("no folder is known that it writes to")) } else { Ok(own) }
    }

    /// True if it is a sentinel, which serves no data and has another file.
    pub fn is_sentinel(&self) -> bool {
        let info = self.facts.redis.seen().and_then(|redis| redis.preferred()?.info());
        let mode = info.and_then(|info| info.get("redis_mode").or_else(|| info.get("server_mode")));
        mode == Some("sentinel") || self.process.is_some_and(|process| process.sentinel)
    }

    /// The facts it is part of.
    pub fn facts(&self) -> &'a Facts {
        self.facts
    }

    /// True if its process is known to have the listener that takes connections to this address.
    pub fn serves_at(&self, at: SocketAddr) -> bool {
        let target = Endpoint::Tcp { host: String::new(), port: at.port() };
        let owner = process_of(&target, &[at.ip()], self.host.servers(), &self.host.sockets, None);
        owner.is_some_and(|owner| self.process.is_some_and(|process| process.pid == owner.pid))
    }

    /// True if its process lives, whatever it is doing.
    pub fn is_alive(&self) -> bool {
        self.process.is_some_and(|process| process.state != State::Zombie)
    }

    /// The addresses that were asked for.
    pub fn asked_addresses(&self) -> Vec<IpAddr> {
        self.facts.asked_addresses()
    }

    /// The major version of the running server, where it tells.
    pub fn major_version(&self) -> Option<u32> {
        let dialogue = self.facts.redis.seen().and_then(Redis::preferred);
        let own = dialogue.and_then(Dialogue::info);
        let info = own.or_else(|| self.running().map(|running| &running.info))?;
        info.get("redis_version")?.split('.').next()?.parse().ok()
    }

    /// Whether a client needs a password: by what PING was answered, else by redis.conf; `None` where neither tells.
    pub fn has_password(&self) -> Option<bool> {
        let dialogue = self.facts.redis.seen().and_then(Redis::preferred);
        let asked = dialogue.and_then(|dialogue| dialogue.reply(Command::Ping)).and_then(|reply| match reply {
            Reply::Status(_) => Some(self.facts.ask.target.password),
            Reply::Error(error) => (error.kind == ErrorKind::NoAuth).then_some(true),
            _ => None,
        });
        // Without one, AUTH is refused, and PING is answered all the same.
        let refused = dialogue.and_then(|dialogue| dialogue.reply(Command::Auth)).and_then(Reply::error);
        let lacks_one = refused.is_some_and(|error| error.kind == ErrorKind::NoPasswordSet).then_some(false);
        let told = || match self.running()?.ping.as_deref()? {
            "PONG" => Some(false),
            error => (ErrorKind::of(error) == ErrorKind::NoAuth).then_some(true),
        };
        let written = || {
            let parsed = self.conf?.parsed.seen()?;
            let by_acl = parsed.last("aclfile").is_some() || parsed.last("user").is_some();
            (!by_acl).then(|| parsed.last("requirepass").is_some_and(|setting| setting.secret))
        };
        lacks_one.or(asked).or_else(told).or_else(written)
    }

    /// The unit of its control group, if that is one of a server: what cron or a supervisor has started is in theirs.
    pub fn running_unit(&self) -> Option<&'a str> {
        let unit = self.process?.unit.as_deref()?;
        let name = unit.trim_end_matches(".service");
        let known = self.host.system.seen().is_some_and(|system| system.units.iter().any(|known| known.name == name));
        let named = || ["redis", "valkey", "keydb"].iter().any(|part| name.contains(part));
        (known || named()).then_some(unit)
    }

    /// The unit that starts a server with its redis.conf. One that was given may be another's than the process that runs.
    pub fn unit_of_conf(&self) -> Option<&'a str> {
        // What systemd starts is in the control group of its unit.
        let systemd = || self.host.system.seen().is_some_and(|system| system.init == Init::Systemd);
        let may_be = |process: &Process| process.unit.is_none() && !systemd();
        let is_its = |conf: &&Conf| self.process.is_none_or(|process| conf.pid == Some(process.pid) && may_be(process));
        self.conf.filter(is_its)?.unit.as_deref()
    }

    /// The unit that starts it: of its control group, or of its redis.conf.
    pub fn unit(&self) -> Option<&'a str> {
        let running = self.running_unit();
        let only = || match self.host.system.seen()?.units.as_slice() {
            [unit] if self.process.is_none() => Some(unit.name.as_str()),
            _ => None,
        };
        running.or_else(|| self.unit_of_conf()).or_else(only).map(|unit| unit.trim_end_matches(".service"))
    }
}

/// The address at which a listener can be reached from its own machine.
pub fn reached(at: SocketAddr) -> SocketAddr {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, at.port())
}

impl Listener {
    /// True if it takes connections to `ip`.
    pub fn serves(&self, ip: IpAddr) -> bool {
        let both = self.v6only == Some(false) && self.ip == Ipv6Addr::UNSPECIFIED;
        both || serves(self.ip, ip)
    }
}

/// True if a listener on `listens` takes connections to `ip`. An IPv6 wildcard is not taken to serve IPv4: Redis sets
/// `IPV6_V6ONLY` (anet.c); of others, [`Listener::serves`] knows.
pub fn serves(listens: IpAddr, ip: IpAddr) -> bool {
    let (listens, ip) = (listens.to_canonical(), ip.to_canonical());
    listens == ip || (listens.is_unspecified() && listens.is_ipv4() == ip.is_ipv4())
}

#[cfg(test)]
mod tests;
