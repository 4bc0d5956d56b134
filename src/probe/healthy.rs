//! A healthy run's facts, for the tables of judges and causes: each case breaks one thing.

use std::net::IpAddr;

use super::path::dns::answers::{Answer, Own, Query, Record, Transport};
use super::path::dns::config::{self, HostsEntry, Server};
use super::path::dns::{Dns, System};
use super::path::redis::{Conversation, Dialogue, End, Exchange, Redis};
use super::path::reply::{Command, ErrorKind, ErrorReply, Hello, Info, Reply};
use super::path::tcp::{Attempt, Outcome, Tcp};
use super::path::tls::certificate::Certificate;
use super::path::tls::{Ended, Hello as Shaken, Tls, Trust};
use super::path::vantage::Vantage;
use super::{FACTS_VERSION, Facts};
use crate::model::{Ask, Endpoint, Observed};

impl Facts {
    /// A healthy remote target: `db:6379` at 10.0.0.9, no password.
    pub fn healthy() -> Self {
        let mut ask = Ask::default();
        ask.target.endpoint = Endpoint::Tcp { host: "db".to_owned(), port: 6379 };
        let ip: IpAddr = [10, 0, 0, 9].into();
        Self {
            facts_version: FACTS_VERSION,
            redisdoc: "0.1.0".to_owned(),
            taken_at: "2026-11-20T10:00:00Z".to_owned(),
            took_ms: 2.5,
            ask,
            vantage: Observed::Seen(Vantage {
                hostname: Some("web-1".to_owned()),
                os: "linux".to_owned(),
                container: None,
                own_namespace: None,
                kubernetes_node: false,
                same_host: Some(false),
                own_addresses: vec![[127, 0, 0, 1].into(), [10, 0, 0, 2].into()],
                uid: 1000,
                unused_settings: Vec::new(),
                limits: Observed::skipped("no attempt failed for want of local resources"),
                selinux: None,
                socket_path: Observed::skipped("the target is no unix socket"),
            }),
            dns: Observed::Seen(Dns {
                name: "db".to_owned(),
                literal: false,
                scope: 0,
                system: System::Addresses(vec![ip]),
                elapsed_ms: 1.1,
                own: Observed::skipped("the system's resolver answered"),
            }),
            tcp: Observed::Seen(Tcp { attempts: vec![Attempt::connected(ip)], untried: 0 }),
            routes: Observed::skipped("no attempt failed for want of a route"),
            ways: Observed::skipped("every address was connected to"),
            trace: Observed::skipped("no attempt timed out"),
            others: Observed::skipped("every address was connected to"),
            firewall: Observed::skipped("nothing looks as if it were stopped here"),
            tls: Observed::skipped("not asked for"),
            redis: Observed::Seen(Redis { dialogues: vec![Dialogue::healthy("10.0.0.9:6379")] }),
            counter: Observed::skipped("nothing failed that has another way of asking"),
            mesh: Observed::skipped("no connection to another machine was reset"),
            nodes: Observed::skipped("no cluster was reached over loopback"),
            sizes: Observed::skipped("small and large answers came"),
            hold: Observed::skipped("not asked for (--hold SECONDS)"),
            host: Observed::skipped("only the client's side is looked at"),
        }
    }

    /// The same, seen from another machine, with what `redisdoc collect` saw on the server's.
    pub fn joined() -> Self {
        let joined =
            Self::healthy().with(|facts| facts.host = Observed::Seen(super::host::Host::healthy().elsewhere()));
        joined.listening(&["0.0.0.0:6379", "[::]:6379"])
    }

    /// The same, refused, because the server listens on loopback only.
    pub fn on_loopback() -> Self {
        Self::joined().listening(&["127.0.0.1:6379", "[::1]:6379"]).refused([10, 0, 0, 9])
    }

    /// The same, refused at this address.
    #[must_use]
    pub fn refused(self, ip: [u8; 4]) -> Self {
        self.attempting(vec![Attempt::failed(ip.into(), Outcome::Refused, "ECONNREFUSED", 0.2)])
    }

    /// The same, with the server on its machine listening on these addresses.
    ///
    /// # Panics
    /// Where one is no address with port.
    #[must_use]
    pub fn listening(self, on: &[&str]) -> Self {
        let places: Vec<std::net::SocketAddr> = on.iter().map(|at| at.parse().unwrap()).collect();
        let sockets = places.iter().map(|at| super::host::socket::Listener::healthy(at.ip(), at.port(), 7)).collect();
        let listening = self.host(|host| super::healthy_host::seen(&mut host.sockets).tcp = sockets);
        listening.process(|process| process.listens = places)
    }

    /// The same with one thing broken.
    #[must_use]
    pub fn with(mut self, break_it: impl FnOnce(&mut Self)) -> Self {
        break_it(&mut self);
        self
    }
}

impl Attempt {
    /// A connection to port 6379 of `ip` that was accepted.
    pub fn connected(ip: IpAddr) -> Self {
        Self {
            address: std::net::SocketAddr::new(ip, 6379).to_string(),
            ip: Some(ip),
            outcome: Outcome::Connected,
            errno: None,
            synchronous: false,
            elapsed_ms: 0.3,
            icmp: None,
            local: None,
        }
    }

    /// An attempt on port 6379 of `ip` that failed.
    pub fn failed(ip: IpAddr, outcome: Outcome, errno: &str, elapsed_ms: f64) -> Self {
        Self { outcome, errno: Some(errno.to_owned()), elapsed_ms, ..Self::connected(ip) }
    }
}

/// What a healthy INFO holds.
const INFO: &str = "redis_version:7.0.15\nredis_mode:standalone\nrole:master\nconnected_clients:1\nmaxclients:10000\n\
    used_memory:1000000\nmaxmemory:0\nmaxmemory_policy:noeviction\nloading:0\nrdb_last_bgsave_status:ok\n";

impl Dialogue {
    /// A healthy Redis 7.0.15 without a password.
    pub fn healthy(address: &str) -> Self {
        let hello = Hello {
            server: "redis".to_owned(),
            version: "7.0.15".to_owned(),
            proto: 2,
            mode: "standalone".to_owned(),
            role: "master".to_owned(),
        };
        let replies = [
            (Command::Ping, Reply::Status("PONG".to_owned())),
            (Command::Hello, Reply::Hello(hello)),
            (Command::Info, Reply::Info(Info::parse(INFO))),
        ];
        let first = Conversation {
            unasked: None,
            exchanges: replies.map(|(command, reply)| Exchange { command, reply: Some(reply) }).into(),
            unfinished: None,
            alien: None,
            stranger: None,
            end: End::Answered,
            first_byte_ms: Some(0.4),
            elapsed_ms: 0.5,
            bytes: 5_000,
            sent_again: None,
            unacknowledged: None,
        };
        Self { address: address.to_owned(), first, second: None, further: Vec::new() }
    }
}

impl Facts {
    /// The same, with this reply of the preferred address to `command`, which is added if it was not sent.
    #[must_use]
    pub fn replying(mut self, command: Command, reply: Reply) -> Self {
        let exchanges = &mut self.preferred().first.exchanges;
        match exchanges.iter_mut().find(|exchange| exchange.command == command) {
            Some(exchange) => exchange.reply = Some(reply),
            None => exchanges.insert(0, Exchange { command, reply: Some(reply) }),
        }
        self
    }

    /// The same, with this error text as the preferred address's reply to `command`.
    #[must_use]
    pub fn erring(self, command: Command, text: &str) -> Self {
        self.replying(command, error(text))
    }

    /// The same, with this field of INFO.
    #[must_use]
    pub fn info(mut self, key: &str, value: &str) -> Self {
        for exchange in &mut self.preferred().first.exchanges {
            if let Some(Reply::Info(info)) = &mut exchange.reply {
                info.fields.insert(key.to_owned(), value.to_owned());
            }
        }
        self
    }

    /// The same, with the preferred address saying nothing at all and ending so.
    #[must_use]
    pub fn speechless(mut self, end: End) -> Self {
        let dialogue = self.preferred();
        let silent = Conversation {
            exchanges: vec![Exchange { command: Command::Ping, reply: None }],
            end,
            first_byte_ms: None,
            elapsed_ms: 5_000.0,
            bytes: 0,
            sent_again: None,
            ..dialogue.first.clone()
        };
        dialogue.second = Some(silent.clone());
        dialogue.first = silent;
        self
    }

    /// The same, with this many of our bytes not acknowledged by the preferred address.
    #[must_use]
    pub fn unheard(mut self, bytes: u64) -> Self {
        self.preferred().first.unacknowledged = Some(bytes);
        self
    }

    /// The same, with the preferred address sending this error instead of an answer, then closing.
    #[must_use]
    pub fn refused_with(mut self, text: &str) -> Self {
        let first = &mut self.preferred().first;
        first.unasked = Some(error(text));
        first.exchanges.iter_mut().for_each(|exchange| exchange.reply = None);
        first.end = End::Closed;
        self
    }

    /// The same, with these attempts to connect; nothing was said when none of them succeeded.
    #[must_use]
    pub fn attempting(mut self, attempts: Vec<Attempt>) -> Self {
        let tcp = Tcp { attempts, untried: 0 };
        if tcp.connected().is_none() {
            self.redis = Observed::needs("tcp");
        }
        self.tcp = Observed::Seen(tcp);
        self
    }

    /// The same, with the unix socket /run/redis.sock as its target, which could not be used.
    #[must_use]
    pub fn on_socket(self, outcome: Outcome, errno: &str) -> Self {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), outcome, errno, 0.1);
        let attempt = Attempt { ip: None, address: "/run/redis.sock".to_owned(), ..attempt };
        self.attempting(vec![attempt]).with(|facts| {
            facts.ask.target.endpoint = Endpoint::Unix { path: "/run/redis.sock".to_owned() };
        })
    }

    fn preferred(&mut self) -> &mut Dialogue {
        match &mut self.redis {
            Observed::Seen(redis) => &mut redis.dialogues[0],
            Observed::Hidden(_) | Observed::Skipped(_) => panic!("healthy facts hold a dialogue"),
        }
    }
}

fn error(text: &str) -> Reply {
    Reply::Error(ErrorReply { kind: ErrorKind::of(text), text: text.to_owned() })
}

impl Facts {
    /// The same over TLS, with a certificate for `db` that is trusted.
    pub fn encrypted() -> Self {
        Self::healthy().with(|facts| {
            facts.ask.target.tls = true;
            let trust = Trust {
                authorities: 140,
                of_the_system: true,
                problems: Vec::new(),
                unloadable: None,
                own: None,
                own_chain: 0,
                names: Vec::new(),
            };
            facts.tls = Observed::Seen(Tls { trust, hellos: vec![Shaken::healthy("10.0.0.9:6379")] });
        })
    }

    /// The same, with this changed in the handshake with the preferred address. Where it does not end as done, nothing was
    /// said inside.
    ///
    /// # Panics
    /// Where there was no handshake.
    #[must_use]
    pub fn hello(mut self, break_it: impl FnOnce(&mut Shaken)) -> Self {
        let Observed::Seen(tls) = &mut self.tls else { panic!("no handshake") };
        break_it(&mut tls.hellos[0]);
        if !tls.hellos[0].is_done() {
            self.redis = Observed::needs("tls");
        }
        self
    }
}

impl Shaken {
    /// TLS 1.3 with a server whose certificate is for `db`.
    pub fn healthy(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            server_name: Some("db".to_owned()),
            end: Ended::Done,
            version: Some("TLS 1.3".to_owned()),
            cipher: Some("TLS13_AES_256_GCM_SHA384".to_owned()),
            chain: vec![Certificate::healthy()],
            flaws: Vec::new(),
            only_itself: false,
            anchors: Vec::new(),
            misfit: None,
            unsent_name: None,
            anchor: None,
            stop: None,
            lapsed: None,
            asked: None,
            shown: false,
            heard: None,
            elapsed_ms: 2.0,
        }
    }
}

impl Certificate {
    /// One for `db`, of an authority, from 2026-01-01 until 2027-07-01.
    pub fn healthy() -> Self {
        Self {
            subject: "CN=db".to_owned(),
            issuer: "CN=Example CA".to_owned(),
            common_name: Some("db".to_owned()),
            names: vec!["db".to_owned()],
            other_names: Vec::new(),
            not_before: 1_767_225_600,
            not_after: 1_814_400_000,
            self_signed: false,
            is_ca: false,
            limits_names: false,
            purposes: vec!["serverAuth".to_owned()],
            key: Some("EC P-256".to_owned()),
            signed_with: "ECDSA with SHA-256".to_owned(),
            sha256: "5f".repeat(32),
            key_id: None,
            issuer_key_id: None,
            issuer_url: None,
        }
    }
}

impl Facts {
    /// A lookup of `db` that failed with `code`, and what we found out ourselves.
    pub fn lookup_failed(code: &str, own: Own) -> Self {
        Self::healthy().with(|facts| {
            let Observed::Seen(dns) = &mut facts.dns else { return };
            dns.system = System::Failed { code: code.to_owned(), says: "as the system says it".to_owned() };
            dns.own = Observed::Seen(own);
            facts.tcp = Observed::needs("dns");
            facts.redis = Observed::needs("tcp");
        })
    }
}

impl Own {
    /// One nameserver, 10.0.0.2, that answers so about `db`, and an /etc/hosts that does not know it.
    pub fn of(a: Answer, aaaa: Answer) -> Self {
        let config = config::Config { servers: Vec::new(), ..config::parse("") };
        let own = Self {
            config,
            hosts: Observed::Seen(Vec::new()),
            queries: Vec::new(),
            untried: 0,
            beside_hosts: Vec::new(),
        };
        own.and_server([10, 0, 0, 2], a, aaaa)
    }

    /// The same with one more nameserver.
    #[must_use]
    pub fn and_server(mut self, server: [u8; 4], a: Answer, aaaa: Answer) -> Self {
        let line = u32::try_from(self.config.servers.len() + 1).ok();
        self.config.servers.push(Server { address: server.into(), scope: 0, line });
        for (record, answer) in [(Record::A, a), (Record::Aaaa, aaaa)] {
            let elapsed_ms = if answer == Answer::Silent { 3000.0 } else { 0.4 };
            let (server, name) = (server.into(), "db".to_owned());
            self.queries.push(Query { server, name, record, over: Transport::Udp, answer, elapsed_ms });
        }
        self
    }

    /// The same with the name in /etc/hosts.
    #[must_use]
    pub fn and_hosts(mut self, address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        self.hosts = Observed::Seen(vec![HostsEntry { line: 3, address, text: format!("{address} db") }]);
        self
    }
}

impl Answer {
    /// NXDOMAIN.
    pub fn nx() -> Self {
        Self::NxDomain { aliases: Vec::new() }
    }

    /// No such record.
    pub fn none() -> Self {
        Self::NoData { aliases: Vec::new() }
    }

    /// 10.0.0.9.
    pub fn a() -> Self {
        Self::Addresses { addresses: vec![[10, 0, 0, 9].into()], aliases: Vec::new() }
    }

    /// `fd00::9`.
    pub fn aaaa() -> Self {
        Self::Addresses { addresses: vec![[0xfd00, 0, 0, 0, 0, 0, 0, 9].into()], aliases: Vec::new() }
    }
}
