//! A healthy server's own machine, for the tables of judges and causes: each case breaks one thing.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Facts;
use super::host::conf::{Conf, FoundBy, Parsed, Setting};
use super::host::disk::{Disk, Room};
use super::host::firewall::Firewall;
use super::host::firewall::rules::{
    Base, Chain, Family, Field, Hook, Kind, Match, Part, Rule, Source, Table, Test, Values, Verdict,
};
use super::host::firewall::walk::Place;
use super::host::limits::Limits;
use super::host::log::Log;
use super::host::memory::Memory;
use super::host::network::{Conntrack, Interface, Network, ReversePath};
use super::host::process::{Process, Processes, State};
use super::host::socket::{Listener, Sockets};
use super::host::system::{Init, System, Unit};
use super::host::{Host, Origin};
use super::path::dns::{self, Dns};
use super::path::redis::{Dialogue, Exchange, Redis};
use super::path::reply::{Command, Reply};
use super::path::route::{Route, Routes};
use super::path::tcp::{Attempt, Tcp};
use crate::model::{Endpoint, Observed};
use crate::sys::files::Meta;

/// The process of the healthy server.
pub const PID: u32 = 812;
/// Its user, `redis`.
pub const UID: u32 = 105;
/// Its redis.conf.
pub const CONF: &str = "/etc/redis/redis.conf";
const GIB: u64 = 1 << 30;

impl Facts {
    /// A healthy target on this machine: Debian 12's redis-server at 127.0.0.1:6379, seen by root.
    pub fn at_home() -> Self {
        let ip: IpAddr = [127, 0, 0, 1].into();
        Self::healthy().with(|facts| {
            facts.ask.target.endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 6379 };
            facts.dns = Observed::Seen(Dns {
                name: "127.0.0.1".to_owned(),
                literal: true,
                scope: 0,
                system: dns::System::Addresses(vec![ip]),
                elapsed_ms: 0.0,
                own: Observed::skipped("it is a literal address"),
            });
            facts.tcp = Observed::Seen(Tcp { attempts: vec![Attempt::connected(ip)], untried: 0 });
            facts.redis = Observed::Seen(Redis { dialogues: vec![Dialogue::at_home()] });
            facts.host = Observed::Seen(Host::healthy());
            if let Observed::Seen(vantage) = &mut facts.vantage {
                vantage.hostname = Some("db-1".to_owned());
                vantage.same_host = Some(true);
                vantage.own_addresses = addresses();
                vantage.uid = 0;
            }
        })
    }

    /// The same, with something else on the server's machine.
    ///
    /// # Panics
    /// Where there are no facts of it.
    #[must_use]
    pub fn host(mut self, change: impl FnOnce(&mut Host)) -> Self {
        match &mut self.host {
            Observed::Seen(host) => change(host),
            Observed::Hidden(_) | Observed::Skipped(_) => panic!("facts at home hold a host"),
        }
        self
    }

    /// The same, with something else about the server's process.
    #[must_use]
    pub fn process(self, change: impl FnOnce(&mut Process)) -> Self {
        self.host(|host| change(&mut seen(&mut host.processes).servers[0]))
    }

    /// The same, with no server running: its process and its listeners are gone, and connections refused.
    #[must_use]
    pub fn not_running(self) -> Self {
        let refused = Attempt::failed([127, 0, 0, 1].into(), super::path::tcp::Outcome::Refused, "ECONNREFUSED", 0.1);
        self.attempting(vec![refused]).host(|host| {
            seen(&mut host.processes).servers.clear();
            seen(&mut host.sockets).tcp.clear();
            host.confs[0].pid = None;
            host.confs[0].found_by = FoundBy::Unit;
        })
    }

    /// The same, with this line of redis.conf, in place of that of the same name or at the end; what the server itself
    /// says stays as it is.
    #[must_use]
    pub fn conf(self, line: &str) -> Self {
        self.host(|host| {
            let parsed = seen(&mut host.confs[0].parsed);
            let name = line.split_whitespace().next().unwrap_or_default();
            let at = parsed.settings.iter().position(|setting| setting.name == name);
            let number = at.map_or(2300, |at| parsed.settings[at].line);
            parsed.settings.retain(|setting| setting.name != name);
            parsed.settings.push(Setting::healthy(number, line));
        })
    }

    /// The same, with CONFIG GET telling this of a setting.
    ///
    /// # Panics
    /// Where nothing was said.
    #[must_use]
    pub fn running_with(mut self, name: &str, value: &str) -> Self {
        let Observed::Seen(redis) = &mut self.redis else { panic!("facts at home hold a dialogue") };
        for exchange in &mut redis.dialogues[0].first.exchanges {
            if let Some(Reply::Settings(settings)) = &mut exchange.reply {
                settings.insert(name.to_owned(), value.to_owned());
            }
        }
        self
    }
}

/// What was seen, to be changed.
///
/// # Panics
/// Where nothing was.
pub fn seen<T>(observed: &mut Observed<T>) -> &mut T {
    match observed {
        Observed::Seen(value) => value,
        Observed::Hidden(_) | Observed::Skipped(_) => panic!("healthy facts hold it"),
    }
}

fn addresses() -> Vec<IpAddr> {
    vec![[127, 0, 0, 1].into(), [10, 0, 0, 9].into(), Ipv6Addr::LOCALHOST.into()]
}

/// What CONFIG GET tells of Debian 12's server.
const SETTINGS: [(&str, &str); 23] = [
    ("aclfile", ""),
    ("appenddirname", "appendonlydir"),
    ("appendonly", "no"),
    ("bind", "127.0.0.1 -::1"),
    ("cluster-enabled", "no"),
    ("daemonize", "no"),
    ("dbfilename", "dump.rdb"),
    ("dir", "/var/lib/redis"),
    ("logfile", "/var/log/redis/redis-server.log"),
    ("maxclients", "10000"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("pidfile", "/run/redis/redis-server.pid"),
    ("port", "6379"),
    ("protected-mode", "yes"),
    ("save", "3600 1 300 100 60 10000"),
    ("stop-writes-on-bgsave-error", "yes"),
    ("supervised", "systemd"),
    ("tcp-backlog", "511"),
    ("timeout", "0"),
    ("tls-port", "0"),
    ("unixsocket", ""),
    ("unixsocketperm", "0"),
];

/// Lines of Debian 12's redis.conf.
const LINES: [(u32, &str); 11] = [
    (87, "bind 127.0.0.1 -::1"),
    (111, "protected-mode yes"),
    (138, "port 6379"),
    (147, "tcp-backlog 511"),
    (309, "daemonize yes"),
    (341, "pidfile /run/redis/redis-server.pid"),
    (354, "logfile /var/log/redis/redis-server.log"),
    (481, "dbfilename dump.rdb"),
    (504, "dir /var/lib/redis"),
    (1379, "appendonly no"),
    (1412, "appenddirname \"appendonlydir\""),
];

impl Dialogue {
    /// With Debian 12's redis-server over loopback, which tells its settings.
    fn at_home() -> Self {
        let mut dialogue = Self::healthy("127.0.0.1:6379");
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for exchange in &mut dialogue.first.exchanges {
            if let Some(Reply::Info(info)) = &mut exchange.reply {
                info.fields.insert("process_id".to_owned(), PID.to_string());
                info.fields.insert("config_file".to_owned(), CONF.to_owned());
            }
        }
        let reply = Some(Reply::Settings(settings.into()));
        dialogue.first.exchanges.push(Exchange { command: Command::ConfigGet, reply });
        dialogue
    }
}

impl Host {
    /// Debian 12 with its redis-server running, and nothing else.
    pub fn healthy() -> Self {
        let loopback = |ip: IpAddr, inode: u64| Listener::healthy(ip, 6379, inode);
        let tcp = vec![loopback([127, 0, 0, 1].into(), 21_001), loopback(Ipv6Addr::LOCALHOST.into(), 21_002)];
        let processes =
            Processes { servers: vec![Process::healthy()], strangers: Vec::new(), all: true, some_hidden: false };
        Self {
            origin: Origin {
                hostname: Some("db-1".to_owned()),
                taken_at: "2026-11-20T10:00:00Z".to_owned(),
                addresses: addresses(),
                boot_id: Some("5d3f2a54-8f6c-4a7e-9d0b-0c7a4f1f2e3d".to_owned()),
                nonlocal_bind: false,
                local_networks: Vec::new(),
                not_used: None,
                collected: false,
            },
            system: Observed::Seen(System::healthy()),
            sockets: Observed::Seen(Sockets { tcp, unix: Vec::new(), only_port: None, with_unix: true, cut: false }),
            processes: Observed::Seen(processes),
            forwards: Vec::new(),
            fronts: Vec::new(),
            running: Vec::new(),
            confs: vec![Conf::healthy()],
            log: Observed::Seen(Log { path: "/var/log/redis/redis-server.log".to_owned(), events: Vec::new() }),
            limits: Observed::Seen(Limits {
                somaxconn: Some(4096),
                overcommit_memory: Some(0),
                transparent_hugepages: Some("always".to_owned()),
                files: Some((2_080, 9_223_372)),
                listen_overflows: Some((0, 0)),
                overflowed: Some(0),
            }),
            memory: Observed::Seen(Memory {
                total: 8 * GIB,
                available: Some(6 * GIB),
                swap_total: GIB,
                swap_free: GIB,
                groups: Vec::new(),
            }),
            firewall: Observed::Seen(Firewall::default()),
            network: Observed::Seen(Network::healthy()),
            certificates: Vec::new(),
            disks: Observed::Seen(vec![
                Disk::healthy("data", "/var/lib/redis"),
                Disk::healthy("log", "/var/log/redis"),
            ]),
        }
    }
}

impl Firewall {
    /// A table with these chains, all empty, as a place in it has it.
    pub fn of(at: &Place, chains: &[&str]) -> Self {
        let chain = |name: &&str| Chain { name: (*name).to_owned(), base: None, rules: Vec::new() };
        let chains = chains.iter().map(chain).collect();
        let table = Table { source: at.source, family: at.family, name: at.table.clone(), chains, sets: Vec::new() };
        Self { tables: vec![table], unread: Vec::new() }
    }

    /// One that has one rule, for TCP port 6379 to come in, go out or be answered (from the port), in a table of nft's.
    pub fn with_rule(hook: Hook, verdict: Verdict, answers: bool) -> Self {
        let field = if answers { Field::FromPort } else { Field::ToPort };
        let test = Test::Is(field, Values::Numbers(vec![(6379, 6379)]));
        let parts = vec![Part::Match(Match { negated: false, test }), Part::Verdict(verdict)];
        let rule =
            Rule { handle: Some(12), number: 1, packets: Some(3), text: "tcp dport 6379 drop".to_owned(), parts };
        let base = Base { hook, priority: 0, kind: Kind::Filter, drops: false, devices: Vec::new(), packets: None };
        let chain = Chain { name: "f".to_owned(), base: Some(base), rules: vec![rule] };
        let (source, family, name) = (Source::Nft, Family::Inet, "filter".to_owned());
        Self { tables: vec![Table { source, family, name, chains: vec![chain], sets: Vec::new() }], unread: Vec::new() }
    }
}

impl Facts {
    /// The same, from 10.7.7.7, which the server's machine has not on its link.
    #[must_use]
    pub fn behind_a_router(self) -> Self {
        self.with(|facts| seen(&mut facts.vantage).own_addresses = vec![[127, 0, 0, 1].into(), [10, 7, 7, 7].into()])
    }

    /// Seen from another machine: nothing answers, and the server's packet filter has this one rule.
    pub fn filtered(hook: Hook, verdict: Verdict, answers: bool) -> Self {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), super::path::tcp::Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
        let firewall = Observed::Seen(Firewall::with_rule(hook, verdict, answers));
        Self::joined().attempting(vec![attempt]).host(|host| host.firewall = firewall)
    }
}

impl Network {
    /// The network of 10.0.0.9/24 with a default route and nothing unusual.
    pub fn healthy() -> Self {
        let at = |name: &str, ip: [u8; 4], prefix| Interface { name: name.to_owned(), ip: ip.into(), prefix };
        let route = |network: [u8; 4], prefix, gateway| Route {
            network: network.into(),
            prefix,
            gateway,
            interface: "eth0".to_owned(),
            metric: 0,
            rejects: None,
        };
        let gateway: IpAddr = [10, 0, 0, 254].into();
        let routes = vec![route([0, 0, 0, 0], 0, Some(gateway)), route([10, 0, 0, 0], 24, None)];
        Self {
            interfaces: vec![at("lo", [127, 0, 0, 1], 8), at("eth0", [10, 0, 0, 9], 24)],
            routes: Observed::Seen(Routes { routes, other_tables: false }),
            half_open: Observed::Seen(Vec::new()),
            conntrack: Some(Conntrack { count: 40, max: 262_144, full_s_ago: None }),
            reverse_path: vec![ReversePath { interface: "eth0".to_owned(), mode: 2 }],
            reverse_path_drops: Some(0),
            selinux: None,
            confined: Vec::new(),
            published: Vec::new(),
        }
    }
}

impl Listener {
    /// A listener of the healthy server with an empty queue.
    pub fn healthy(ip: IpAddr, port: u16, inode: u64) -> Self {
        let v6only = ip.is_ipv6().then_some(true);
        Self { ip, port, inode, uid: UID, queue: 0, backlog: 511, v6only, owner: Some(PID) }
    }
}

impl Process {
    /// Debian 12's redis-server, started by systemd.
    pub fn healthy() -> Self {
        let listens = |ip: IpAddr| SocketAddr::new(ip, 6379);
        Self {
            pid: PID,
            name: "redis-server".to_owned(),
            args: vec!["/usr/bin/redis-server 127.0.0.1:6379".to_owned()],
            exe: Some("/usr/bin/redis-check-rdb".to_owned()),
            state: State::Alive,
            uid: UID,
            user: Some("redis".to_owned()),
            cwd: Some("/var/lib/redis".to_owned()),
            started_at: Some("2026-11-19T08:00:00Z".to_owned()),
            same_network: Some(true),
            addresses: Vec::new(),
            same_pids: Some(true),
            pid_inside: Some(PID),
            sentinel: false,
            gids: vec![UID],
            overrides_modes: false,
            reads_all: false,
            unit: Some("redis-server.service".to_owned()),
            container: None,
            open_files_limit: Some(65_535),
            open_files: Some(13),
            listens: vec![listens([127, 0, 0, 1].into()), listens(Ipv6Addr::LOCALHOST.into())],
            listens_unix: Vec::new(),
        }
    }
}

impl System {
    /// Debian 12 with systemd and the package redis-server.
    pub fn healthy() -> Self {
        Self {
            distribution: Some("debian".to_owned()),
            name: Some("Debian GNU/Linux 12 (bookworm)".to_owned()),
            like: Vec::new(),
            init: Init::Systemd,
            programs: vec!["/usr/bin/redis-server".to_owned()],
            units: vec![Unit {
                name: "redis-server".to_owned(),
                file: "/lib/systemd/system/redis-server.service".to_owned(),
                conf: Some(CONF.to_owned()),
                args: ["--supervised", "systemd", "--daemonize", "no"].map(str::to_owned).into(),
                user: Some("redis".to_owned()),
                open_files_limit: Some("65535".to_owned()),
                enabled: false,
                masked: false,
                gone: false,
            }],
            engines: Vec::new(),
            hints: Vec::new(),
            scripts: Vec::new(),
        }
    }
}

impl Conf {
    /// Debian 12's redis.conf, as pid 812 reads it.
    pub fn healthy() -> Self {
        Self {
            path: CONF.to_owned(),
            found_by: FoundBy::Info,
            pid: Some(PID),
            unit: Some("redis-server".to_owned()),
            unseen_by: Vec::new(),
            changed_at: Some("2026-11-01T08:00:00.000Z".to_owned()),
            parsed: Observed::Seen(Parsed {
                settings: LINES.iter().map(|(number, line)| Setting::healthy(*number, line)).collect(),
                errors: Vec::new(),
                files: vec![CONF.to_owned()],
                unread: Vec::new(),
            }),
        }
    }
}

impl Setting {
    /// A line of /etc/redis/redis.conf.
    pub fn healthy(number: u32, line: &str) -> Self {
        let mut words = line.split_whitespace().map(|word| word.trim_matches('"').to_owned());
        Self {
            name: words.next().unwrap_or_default(),
            values: words.collect(),
            secret: false,
            file: CONF.to_owned(),
            line: number,
            text: line.to_owned(),
        }
    }
}

impl Disk {
    /// A folder of the user redis with 12 of 40 GiB free.
    pub fn healthy(purpose: &str, path: &str) -> Self {
        Self {
            purpose: purpose.to_owned(),
            pid: Some(PID),
            path: path.to_owned(),
            within: None,
            deleted: false,
            filesystem: Some("ext4".to_owned()),
            meta: Some(Meta { kind: "folder".to_owned(), mode: 0o750, uid: UID, gid: UID, usable: true }),
            errno: None,
            room: Some(Room {
                total: 40 * GIB,
                available: 12 * GIB,
                free: 14 * GIB,
                inodes: 2_621_440,
                inodes_available: 2_400_000,
                read_only: false,
            }),
        }
    }
}
