//! Connecting: every address of the target, each on its own clock, and how each attempt ended.
//!
//! What an outcome means is in `check/tcp.rs`.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Instant;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::dns::Dns;
use crate::model::{Ask, Endpoint, Observed, Target};
use crate::sys::socket::{self, Dial, Failure, Stream};
use crate::sys::tls::Client;
use crate::sys::{Clock, clock, files};

/// The most addresses that are tried. Names with more are round-robin pools whose first members speak for the rest.
const MOST_ADDRESSES: usize = 32;

/// The attempts to connect, in the order of the resolver's preference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tcp {
    /// One per address.
    pub attempts: Vec<Attempt>,
    /// How many further addresses the name has, which were not tried.
    pub untried: usize,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The address with port, or the path of the unix socket.
    pub address: String,
    /// The IP address, unless it is a unix socket.
    pub ip: Option<IpAddr>,
    /// How it ended.
    pub outcome: Outcome,
    /// The errno behind it, by name.
    pub errno: Option<String>,
    /// True if `connect(2)` itself failed: nothing left this machine.
    pub synchronous: bool,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
    /// The ICMP error that caused it.
    pub icmp: Option<Icmp>,
    /// Our own address, with the port that the answers come to.
    pub local: Option<SocketAddr>,
}

/// How an attempt to connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Accepted by the peer's kernel.
    Connected,
    /// ECONNREFUSED: a reset, or an ICMP port-unreachable.
    Refused,
    /// ECONNRESET or EPIPE during the handshake.
    Reset,
    /// No answer within the step's time (or ETIMEDOUT from the kernel).
    TimedOut,
    /// EHOSTUNREACH.
    HostUnreachable,
    /// ENETUNREACH.
    NetUnreachable,
    /// EACCES or EPERM.
    Denied,
    /// EINVAL.
    Invalid,
    /// EADDRNOTAVAIL.
    AddressUnavailable,
    /// ENOPROTOOPT.
    ProtocolUnavailable,
    /// EAFNOSUPPORT: this machine lacks the address family.
    FamilyUnsupported,
    /// EMFILE or ENFILE: no descriptor was left for the socket.
    NoDescriptors,
    /// EAGAIN on a unix socket: the listener's queue is full.
    QueueFull,
    /// ENOENT: no such unix socket.
    Missing,
    /// ENOTSOCK or EPROTOTYPE: the path is something else.
    NotASocket,
    /// Something else; see the errno.
    Other,
}

/// An ICMP or ICMPv6 error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icmp {
    /// ICMP type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Who sent it.
    pub from: IpAddr,
}

/// What the ICMP error says, the same for both families (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpMeaning {
    /// 3/3, 1/4: nobody has the port. Kernels answer TCP with a reset instead, so a firewall sent this.
    PortUnreachable,
    /// 3/9, 3/10, 3/13, 1/1, 1/5, 1/6: prohibited by policy.
    Prohibited,
    /// 3/1, 1/3: the host does not answer on its link, or there is no way to it.
    HostUnreachable,
    /// 3/0, 1/0: no way to the network.
    NetUnreachable,
    /// 3/2: the protocol is not spoken there.
    ProtocolUnreachable,
    /// Another.
    Other,
}

impl Icmp {
    /// What it says.
    pub fn meaning(&self) -> IcmpMeaning {
        use IcmpMeaning as M;
        match (self.from.is_ipv4(), self.kind, self.code) {
            (true, 3, 3) | (false, 1, 4) => M::PortUnreachable,
            (true, 3, 9 | 10 | 13) | (false, 1, 1 | 5 | 6) => M::Prohibited,
            (true, 3, 1) | (false, 1, 3) => M::HostUnreachable,
            (true, 3, 0) | (false, 1, 0) => M::NetUnreachable,
            (true, 3, 2) => M::ProtocolUnreachable,
            _ => M::Other,
        }
    }

    /// The name of its type and code, as the RFCs and nft have it.
    pub fn name(&self) -> String {
        let name = match (self.from.is_ipv4(), self.kind, self.code) {
            (true, 3, 0) => "net-unreachable",
            (true, 3, 1) => "host-unreachable",
            (true, 3, 2) => "prot-unreachable",
            (true, 3, 3) | (false, 1, 4) => "port-unreachable",
            (true, 3, 9) => "net-prohibited",
            (true, 3, 10) => "host-prohibited",
            (true, 3, 13) | (false, 1, 1) => "admin-prohibited",
            (true, 11, 0) | (false, 3, 0) => "time-exceeded",
            (false, 1, 0) => "no-route",
            (false, 1, 3) => "addr-unreachable",
            (false, 1, 5) => "policy-fail",
            (false, 1, 6) => "reject-route",
            _ => "",
        };
        let family = if self.from.is_ipv4() { "ICMP" } else { "ICMPv6" };
        if name.is_empty() {
            format!("{family} {}/{}", self.kind, self.code)
        } else {
            format!("{family} {}/{} {name}", self.kind, self.code)
        }
    }
}

impl Tcp {
    /// The first attempt that connected, in the order of preference.
    pub fn connected(&self) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.outcome == Outcome::Connected)
    }
}

impl Attempt {
    /// The attempt in words, as evidence: `10.0.0.9:6379 ECONNREFUSED after 0.3 ms, no ICMP: a reset`.
    pub fn says(&self) -> String {
        let Self { address, elapsed_ms, .. } = self;
        let what = match (&self.errno, self.outcome) {
            (_, Outcome::Connected) => "connected".to_owned(),
            (None, _) => "no answer".to_owned(),
            (Some(errno), _) => errno.clone(),
        };
        let cause = match (&self.icmp, self.outcome) {
            (Some(icmp), _) => format!(", {} from {}", icmp.name(), icmp.from),
            (None, Outcome::Refused) if self.ip.is_some() => ", no ICMP: a reset".to_owned(),
            (None, Outcome::Connected | Outcome::TimedOut) => String::new(),
            (None, _) if self.synchronous && self.ip.is_some() => ", at once, nothing was sent".to_owned(),
            (None, _) => String::new(),
        };
        format!("{address} {what} after {elapsed_ms:.1} ms{cause}")
    }
}

/// Tries every address of the target at the same time. Returns the connections beside the observations, in the same
/// order, for the conversation that follows on the very connection that was timed.
pub async fn gather(ask: &Ask, dns: &Observed<Dns>, clock: &Clock) -> (Observed<Tcp>, Vec<Connection>) {
    let past_tcp = ["tcp", "tls", "ping", "auth", "state", "hold"].iter().any(|check| ask.wants(check));
    if !past_tcp {
        return (Observed::skipped("not selected"), Vec::new());
    }
    match &ask.target.endpoint {
        Endpoint::Unix { path } if ask.target.is_usable() => observed(vec![try_unix(path, clock.step_end()).await], 0),
        Endpoint::Tcp { port, .. } => match dns {
            Observed::Seen(dns) if !dns.addresses().is_empty() => try_all(dns, *port, clock.step_end()).await,
            _ => (Observed::needs("dns"), Vec::new()),
        },
        Endpoint::Unix { .. } => (Observed::needs("target"), Vec::new()),
    }
}

/// A connection that stands, with the attempt that made it.
#[derive(Debug)]
pub struct Connection {
    /// The address it leads to, as in [`Attempt::address`].
    pub address: String,
    /// Where to dial again.
    pub dial: Dialled,
    /// The connection.
    pub stream: Stream,
}

/// What was dialled, to dial it again.
#[derive(Debug, Clone)]
pub enum Dialled {
    /// An address with port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(String),
    /// An address with port, and TLS with what answers there.
    Tls(SocketAddr, Box<Client>),
}

/// What was dialled for each connection that stood, by its address as in [`Attempt::address`].
pub type Dials = BTreeMap<String, Dialled>;

impl Dialled {
    /// Connects again; `None` if that fails.
    pub async fn again(&self, deadline: Instant) -> Option<Stream> {
        match self.dial(deadline).await {
            Dial::Connected(stream) => Some(stream),
            Dial::Failed(_) | Dial::TimedOut(_) => None,
        }
    }

    /// Connects again.
    pub async fn dial(&self, deadline: Instant) -> Dial {
        match self {
            Self::Tcp(address) => socket::dial(*address, deadline).await,
            Self::Unix(path) => socket::dial_unix(path, deadline).await,
            Self::Tls(address, client) => match socket::dial(*address, deadline).await {
                Dial::Connected(stream) => client.over(stream, deadline).await,
                failed => failed,
            },
        }
    }

    /// The same inside TLS.
    #[must_use]
    pub fn within(self, client: Client) -> Self {
        match self {
            Self::Tcp(address) | Self::Tls(address, _) => Self::Tls(address, Box::new(client)),
            // A unix socket is used without TLS (see `model/target/resolve.rs`).
            Self::Unix(path) => Self::Unix(path),
        }
    }
}

/// The attempt of a process that may open no more files.
pub fn starved(target: &Target, error: &io::Error) -> Observed<Tcp> {
    let dial = Dial::Failed(Failure::synchronous(error));
    let attempt = attempt(target.place(), None, &dial, 0.0);
    Observed::Seen(Tcp { attempts: vec![attempt], untried: 0 })
}

/// An attempt, and the connection where it came about.
pub(super) type Tried = (Attempt, Option<Connection>);

async fn try_all(dns: &Dns, port: u16, deadline: Instant) -> (Observed<Tcp>, Vec<Connection>) {
    let addresses = dns.addresses();
    let chosen = &addresses[..addresses.len().min(MOST_ADDRESSES)];
    let mut tries = tokio::task::JoinSet::new();
    for (order, ip) in chosen.iter().enumerate() {
        // An IPv4 address in IPv6's clothes goes out as IPv4 (RFC 4291 section 2.5.5.2), by its routes and rules.
        let address = with_scope(ip.to_canonical(), dns.scope(), port);
        tries.spawn(async move { (order, try_address(address, deadline).await) });
    }
    let mut tried = tries.join_all().await;
    tried.sort_by_key(|(order, _)| *order);
    observed(tried.into_iter().map(|(_, tried)| tried).collect(), addresses.len() - chosen.len())
}

fn with_scope(ip: IpAddr, scope: u32, port: u16) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, scope)),
        ip => SocketAddr::new(ip, port),
    }
}

fn observed(tried: Vec<Tried>, untried: usize) -> (Observed<Tcp>, Vec<Connection>) {
    let (attempts, connections): (Vec<_>, Vec<_>) = tried.into_iter().unzip();
    (Observed::Seen(Tcp { attempts, untried }), connections.into_iter().flatten().collect())
}

/// One attempt whose connection is not used.
pub async fn once(address: SocketAddr, deadline: Instant) -> Attempt {
    try_address(address, deadline).await.0
}

/// One attempt, with the connection where it came about.
pub(super) async fn try_address(address: SocketAddr, deadline: Instant) -> Tried {
    let began = clock::now();
    let dial = socket::dial(address, deadline).await;
    let attempt = attempt(address.to_string(), Some(address.ip()), &dial, clock::ms_since(began));
    (attempt, connection(dial, Dialled::Tcp(address), address.to_string()))
}

async fn try_unix(path: &str, deadline: Instant) -> Tried {
    let began = clock::now();
    let dial = socket::dial_unix(path, deadline).await;
    let mut attempt = attempt(path.to_owned(), None, &dial, clock::ms_since(began));
    // Linux answers ECONNREFUSED for a file or folder too (unix_find_bsd).
    if attempt.outcome == Outcome::Refused && files::meta(path).is_some_and(|meta| meta.kind != "socket") {
        attempt.outcome = Outcome::NotASocket;
    }
    (attempt, connection(dial, Dialled::Unix(path.to_owned()), path.to_owned()))
}

fn connection(dial: Dial, dialled: Dialled, address: String) -> Option<Connection> {
    match dial {
        Dial::Connected(stream) => Some(Connection { address, dial: dialled, stream }),
        Dial::Failed(_) | Dial::TimedOut(_) => None,
    }
}

fn attempt(address: String, ip: Option<IpAddr>, dial: &Dial, elapsed_ms: f64) -> Attempt {
    let (outcome, failure, local) = match dial {
        Dial::Connected(stream) => (Outcome::Connected, None, stream.local()),
        Dial::TimedOut(local) => (Outcome::TimedOut, None, *local),
        Dial::Failed(failure) => (outcome_of(failure.errno), Some(failure), failure.local),
    };
    Attempt {
        address,
        ip,
        outcome,
        errno: failure.map(|failure| format!("{:?}", failure.errno)),
        synchronous: failure.is_some_and(|failure| failure.synchronous),
        elapsed_ms,
        icmp: failure.and_then(icmp),
        local,
    }
}

fn icmp(failure: &Failure) -> Option<Icmp> {
    failure.icmp.map(|icmp| Icmp { kind: icmp.kind, code: icmp.code, from: icmp.from })
}

fn outcome_of(errno: Errno) -> Outcome {
    match errno {
        Errno::ECONNREFUSED => Outcome::Refused,
        Errno::ECONNRESET | Errno::EPIPE => Outcome::Reset,
        Errno::ETIMEDOUT => Outcome::TimedOut,
        Errno::EHOSTUNREACH => Outcome::HostUnreachable,
        Errno::ENETUNREACH => Outcome::NetUnreachable,
        Errno::EACCES | Errno::EPERM => Outcome::Denied,
        Errno::EINVAL => Outcome::Invalid,
        Errno::EADDRNOTAVAIL => Outcome::AddressUnavailable,
        Errno::ENOPROTOOPT => Outcome::ProtocolUnavailable,
        Errno::EAFNOSUPPORT => Outcome::FamilyUnsupported,
        Errno::EMFILE | Errno::ENFILE => Outcome::NoDescriptors,
        Errno::EAGAIN => Outcome::QueueFull,
        Errno::ENOENT => Outcome::Missing,
        Errno::ENOTSOCK | Errno::EPROTOTYPE | Errno::ENOTDIR => Outcome::NotASocket,
        _ => Outcome::Other,
    }
}
