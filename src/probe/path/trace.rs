//! How far packets get that nobody answers: which routers they pass (by their TTL, on the very port that is asked for),
//! whether the machine answers on other ports, and whether it answers an ICMP echo.
//!
//! Looked at only after an attempt to connect has timed out, all of it side by side, and for a second at most. It needs no
//! privilege: a SYN whose TTL is too small fails with an ICMP error in the socket's own queue, and its sender is the hop.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::tcp::{self, Attempt, Icmp, Outcome, Tcp};
use crate::model::{BlockerKind, Evidence, Observed};
use crate::sys::clock::{self, Clock};
use crate::sys::datagram::{Datagrams, Received};
use crate::sys::socket::{self, Dial, Reach};

/// How long everything here may take: nearly all of the Internet answers sooner, and a SYN is sent again after 1 s.
const WAIT: Duration = Duration::from_secs(1);
/// Less time than this left for the run is too little to tell silence from distance.
const LEAST: Duration = Duration::from_millis(300);
/// The most hops that are looked for. Ways through the Internet are rarely longer, those to a Redis mostly much shorter.
const MOST_HOPS: u8 = 24;
/// Ports that machines commonly answer on: with a connection, or with the reset of a closed port.
const PORTS: [u16; 3] = [22, 80, 443];

/// How far packets to one address get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The address.
    pub to: IpAddr,
    /// The way of packets to the port that is asked for.
    pub asked: Path,
    /// Attempts on other ports of the same address.
    pub others: Vec<Attempt>,
    /// The way of packets to one of them that answered.
    pub other: Option<Path>,
    /// When an ICMP echo was answered, in milliseconds; `None`: it was not.
    pub echo: Observed<Option<f64>>,
    /// How long was waited for all of it, in milliseconds.
    pub waited_ms: f64,
}

/// The way of packets to one port, as far as routers tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// The port.
    pub port: u16,
    /// The routers that said that a packet expired there, the nearest first.
    pub hops: Vec<Hop>,
    /// The smallest TTL with which a packet was answered: the distance of who answers.
    pub reached: Option<u8>,
}

/// A router on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Which one it is, from 1.
    pub distance: u8,
    /// The address it speaks from.
    pub from: IpAddr,
}

/// Where packets to the asked port are lost, by comparison with those to a port that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Before this router, which passes those to the other port on; `after` is the last one that has both.
    Before {
        /// The last router that both kinds reach; `None` if not even the first is.
        after: Option<Hop>,
        /// The first that only the other kind reaches.
        router: Hop,
    },
    /// After this router, the last before the machine that answers on the other port; `None`: there is no router between.
    AtTheEnd(Option<Hop>),
}

impl Trace {
    /// The attempt on another port that proves that somebody is there: a connection, a reset, or an ICMP error of the
    /// address itself.
    pub fn alive(&self) -> Option<&Attempt> {
        let connected = self.others.iter().find(|other| other.outcome == Outcome::Connected);
        connected.or_else(|| self.others.iter().find(|other| is_answered(other, self.to)))
    }

    /// The same, where the asked port has still not answered: then packets to that port alone are lost.
    pub fn filtered(&self) -> Option<&Attempt> {
        self.alive().filter(|_| self.asked.reached.is_none())
    }

    /// True if nothing at all came back from the address itself. An echo that could not be asked for is not counted.
    pub fn is_all_silent(&self) -> bool {
        let silent = |other: &Attempt| other.outcome == Outcome::TimedOut;
        let answered = self.asked.reached.is_some() || self.echoes();
        self.others.iter().all(silent) && !self.others.is_empty() && !answered
    }

    /// What was silent, as evidence.
    pub fn silence(&self) -> Vec<Evidence> {
        let silent = self.others.iter().filter(|other| other.outcome == Outcome::TimedOut);
        let ports: Vec<&str> = silent.filter_map(|other| other.address.rsplit(':').next()).collect();
        let says = format!("no answer on ports {} of {} either in {:.0} ms", ports.join(", "), self.to, self.waited_ms);
        let echo = match &self.echo {
            Observed::Seen(None) => Some("no answer to an echo".to_owned()),
            Observed::Seen(Some(after)) => Some(format!("an echo was answered after {after:.1} ms")),
            Observed::Hidden(_) | Observed::Skipped(_) => None,
        };
        let ports = (!ports.is_empty()).then(|| Evidence::new("connect(2)", says));
        ports.into_iter().chain(echo.map(|says| Evidence::new("ICMP", says))).collect()
    }

    /// True if an ICMP echo was answered.
    pub fn echoes(&self) -> bool {
        matches!(self.echo, Observed::Seen(Some(_)))
    }

    /// Where packets to the asked port are lost; `None` where the two ways cannot be compared: packets to different ports
    /// may well take different ways (RFC 2992).
    pub fn lost(&self) -> Option<Lost> {
        let other = self.other.as_ref()?;
        let differs = |hop: &Hop| other.at(hop.distance).is_some_and(|there| there.from != hop.from);
        if self.asked.reached.is_some() || self.asked.hops.iter().any(differs) {
            return None;
        }
        let last = self.asked.hops.last().copied();
        let next = last.map_or(0, |hop| hop.distance) + 1;
        match other.at(next) {
            Some(router) => Some(Lost::Before { after: last, router }),
            None if other.reached == Some(next) => Some(Lost::AtTheEnd(last)),
            None => None,
        }
    }
}

impl Path {
    fn at(&self, distance: u8) -> Option<Hop> {
        self.hops.iter().find(|hop| hop.distance == distance).copied()
    }

    /// The way in words: `port 6379: 1 10.0.0.1, 2 10.0.1.1, then silence`.
    pub fn says(&self) -> String {
        let hops: Vec<String> = self.hops.iter().map(|hop| format!("{} {}", hop.distance, hop.from)).collect();
        let hops = if hops.is_empty() { "no router".to_owned() } else { hops.join(", ") };
        match self.reached {
            Some(distance) => format!("port {}: {hops}, answered from distance {distance}", self.port),
            None => format!("port {}: {hops}, then silence", self.port),
        }
    }
}

/// Looks how far packets get to the first address that was silent, unless it is one of our `own`.
pub async fn gather(tcp: &Observed<Tcp>, own: &[IpAddr], clock: &Clock) -> Observed<Trace> {
    let Observed::Seen(tcp) = tcp else { return Observed::needs("tcp") };
    let silent = tcp.attempts.iter().find(|attempt| attempt.outcome == Outcome::TimedOut && attempt.ip.is_some());
    let Some(to) = silent.and_then(|attempt| attempt.address.parse::<SocketAddr>().ok()) else {
        return Observed::skipped("no attempt timed out");
    };
    if own.contains(&to.ip().to_canonical()) || super::vantage::is_this_machine(to.ip()) {
        return Observed::skipped("the address is this machine's own");
    }
    let began = clock::now();
    let end = (began + WAIT).min(clock.end());
    if end.saturating_duration_since(began) < LEAST {
        return Observed::hidden(BlockerKind::Deadline, "the deadline of the whole run left no time to trace the way");
    }
    let (asked, (others, other), echo) = tokio::join!(path(to, end), other_ports(to, end), echo(to.ip(), end));
    let starved = others.iter().any(|other| other.outcome == Outcome::NoDescriptors);
    match (asked, other) {
        (Ok(asked), Ok(other)) if !starved => {
            Observed::Seen(Trace { to: to.ip(), asked, others, other, echo, waited_ms: clock::ms_since(began) })
        }
        _ => Observed::hidden(BlockerKind::Failed, "no file descriptor was left to trace the way with"),
    }
}

/// No descriptor was left for all the sockets: hops that were not tried must not look silent.
#[derive(Debug)]
struct Starved;

/// Sends a SYN with every TTL at the same time.
async fn path(to: SocketAddr, end: Instant) -> Result<Path, Starved> {
    let mut tries = JoinSet::new();
    for hops in 1..=MOST_HOPS {
        let reach = Reach { hops: Some(hops), ..Reach::default() };
        tries.spawn(async move { (hops, met(&socket::dial_within(to, reach, end).await, to.ip())) });
    }
    let mut tried = tries.join_all().await;
    tried.sort_by_key(|(distance, _)| *distance);
    if tried.iter().any(|(_, met)| *met == Met::Starved) {
        return Err(Starved);
    }
    let reached = tried.iter().find(|(_, met)| *met == Met::Target).map(|(distance, _)| *distance);
    let hop = |(distance, met): &(u8, Met)| match met {
        Met::Router(from) if reached.is_none_or(|reached| *distance < reached) => {
            Some(Hop { distance: *distance, from: *from })
        }
        _ => None,
    };
    Ok(Path { port: to.port(), hops: tried.iter().filter_map(hop).collect(), reached })
}

/// What a SYN with a small TTL met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    Target,
    Router(IpAddr),
    Nobody,
    Starved,
}

fn met(dial: &Dial, to: IpAddr) -> Met {
    match dial {
        Dial::Connected(_) => Met::Target,
        Dial::TimedOut(_) => Met::Nobody,
        Dial::Failed(failure) => match failure.icmp {
            // Time exceeded in transit: 11/0, 3/0 (RFC 792, RFC 4443).
            Some(icmp) if matches!((icmp.from.is_ipv4(), icmp.kind, icmp.code), (true, 11, 0) | (false, 3, 0)) => {
                Met::Router(icmp.from)
            }
            Some(icmp) if icmp.from == to => Met::Target,
            None if failure.errno == Errno::ECONNREFUSED => Met::Target,
            None if [Errno::EMFILE, Errno::ENFILE].contains(&failure.errno) => Met::Starved,
            _ => Met::Nobody,
        },
    }
}

/// Tries other ports at the same time, and follows the way to the first that answers.
async fn other_ports(to: SocketAddr, end: Instant) -> (Vec<Attempt>, Result<Option<Path>, Starved>) {
    let ports = PORTS.into_iter().chain([high_port()]).filter(|port| *port != to.port());
    let mut tries = JoinSet::new();
    for port in ports {
        let to = SocketAddr::new(to.ip(), port);
        tries.spawn(async move { (port, tcp::once(to, end).await) });
    }
    let (mut others, mut way) = (Vec::new(), JoinSet::new());
    while let Some(tried) = tries.join_next().await {
        let Ok((port, attempt)) = tried else { continue };
        if way.is_empty() && is_answered(&attempt, to.ip()) {
            way.spawn(path(SocketAddr::new(to.ip(), port), end));
        }
        others.push((port, attempt));
    }
    others.sort_by_key(|(port, _)| *port);
    let way = way.join_next().await.and_then(Result::ok).transpose();
    (others.into_iter().map(|(_, attempt)| attempt).collect(), way)
}

/// True if the address itself answered, with whatever.
fn is_answered(attempt: &Attempt, to: IpAddr) -> bool {
    match (attempt.outcome, attempt.icmp) {
        (Outcome::Connected, _) | (Outcome::Refused, None) => true,
        (_, Some(Icmp { from, .. })) => from == to,
        _ => false,
    }
}

/// A port that nobody is likely to listen on or to filter by name, another in each run. A machine without a firewall
/// answers with a reset.
fn high_port() -> u16 {
    let random = RandomState::new().build_hasher().finish();
    40_000 + u16::try_from(random % 20_000).unwrap_or_default()
}

/// Asks for an ICMP echo, where the kernel lets us.
async fn echo(to: IpAddr, end: Instant) -> Observed<Option<f64>> {
    let socket = match Datagrams::echo(to) {
        Ok(socket) => socket,
        Err(Errno::EACCES | Errno::EPERM) => {
            return Observed::hidden(BlockerKind::Permission, "net.ipv4.ping_group_range does not let us ask");
        }
        Err(errno) => return Observed::hidden(BlockerKind::Failed, format!("socket(2): {errno:?}")),
    };
    let (request, reply) = if to.is_ipv4() { (8, 0) } else { (128, 129) };
    let began = clock::now();
    // Type, code, checksum and identifier (which the kernel fills in), sequence number 1.
    if let Err(errno) = socket.send(&[request, 0, 0, 0, 0, 0, 0, 1], end).await {
        return Observed::hidden(BlockerKind::Failed, format!("send(2): {errno:?}"));
    }
    match socket.receive(end).await {
        Received::Bytes(bytes) if bytes.first() == Some(&reply) => Observed::Seen(Some(clock::ms_since(began))),
        Received::Bytes(_) | Received::Failed(_) | Received::Silence => Observed::Seen(None),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The way to `port` over these routers (10.1.0.N at distance N).
    pub fn way(port: u16, routers: &[u8], reached: Option<u8>) -> Path {
        let hops = routers.iter().map(|&distance| Hop { distance, from: [10, 1, 0, distance].into() }).collect();
        Path { port, hops, reached }
    }

    /// A trace to 10.0.0.9 whose asked port is silent behind these routers.
    pub fn silent(routers: &[u8]) -> Trace {
        let other = |port: u16| Attempt {
            address: format!("10.0.0.9:{port}"),
            ..Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 1_000.0)
        };
        Trace {
            to: [10, 0, 0, 9].into(),
            asked: way(6379, routers, None),
            others: [22, 80, 443, 54_321].map(other).into(),
            other: None,
            echo: Observed::hidden(BlockerKind::Permission, "net.ipv4.ping_group_range does not let us ask"),
            waited_ms: 1_000.0,
        }
    }

    /// The same, where port 22 answers with a reset, over these routers and from that distance.
    pub fn filtered(routers: &[u8], other: &[u8], reached: u8) -> Trace {
        let mut trace = silent(routers);
        trace.others[0] = Attempt { outcome: Outcome::Refused, elapsed_ms: 0.3, ..trace.others[0].clone() };
        trace.others[0].errno = Some("ECONNREFUSED".to_owned());
        Trace { other: Some(way(22, other, Some(reached))), ..trace }
    }

    fn hop(distance: u8) -> Hop {
        Hop { distance, from: [10, 1, 0, distance].into() }
    }

    #[test]
    fn the_two_ways_tell_where_packets_are_lost() {
        let lost = |asked: &[u8], other: &[u8], reached| filtered(asked, other, reached).lost();
        assert_eq!(lost(&[1], &[1, 2], 3), Some(Lost::Before { after: Some(hop(1)), router: hop(2) }));
        assert_eq!(lost(&[], &[1, 2], 3), Some(Lost::Before { after: None, router: hop(1) }));
        assert_eq!(lost(&[1, 2], &[1, 2], 3), Some(Lost::AtTheEnd(Some(hop(2)))));
        assert_eq!(lost(&[], &[], 1), Some(Lost::AtTheEnd(None)));
        // Router 2 never says anything: it may have passed them on.
        assert_eq!(lost(&[1], &[1], 3), None);
        assert_eq!(silent(&[1]).lost(), None);
    }

    #[test]
    fn ways_that_differ_are_not_compared() {
        let mut trace = filtered(&[1], &[1, 2], 3);
        trace.asked.hops[0].from = [10, 1, 9, 9].into();
        assert_eq!(trace.lost(), None);
    }

    #[test]
    fn a_reset_proves_that_somebody_is_there() {
        assert!(filtered(&[1], &[1], 2).alive().is_some());
        assert!(silent(&[1]).alive().is_none() && silent(&[1]).is_all_silent());
        let echoes = Trace { echo: Observed::Seen(Some(0.4)), ..silent(&[1]) };
        assert!(!echoes.is_all_silent());
        // An error of a router proves nothing of the machine.
        let mut rejected = silent(&[1]);
        rejected.others[0].icmp = Some(Icmp { kind: 3, code: 13, from: [10, 1, 0, 1].into() });
        rejected.others[0].outcome = Outcome::HostUnreachable;
        assert!(rejected.alive().is_none() && !rejected.is_all_silent());
    }

    #[test]
    fn says_the_way() {
        assert_eq!(way(6379, &[1, 2], None).says(), "port 6379: 1 10.1.0.1, 2 10.1.0.2, then silence");
        assert_eq!(way(22, &[], Some(1)).says(), "port 22: no router, answered from distance 1");
    }
}
