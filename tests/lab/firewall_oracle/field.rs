//! A client and a server on one cable; SYNs from every address of the one to every address and port of the other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use redisdoc::probe::host::firewall::Firewall;
use redisdoc::probe::host::firewall::rules::{Hook, Part, Rejection, State, Translation, Verdict};
use redisdoc::probe::host::firewall::walk::{How, Outcome, Packet, Walk, incoming, outgoing};
use socket2::{Domain, SockAddr, Socket, Type};

use super::random::Random;
use crate::world::{Host, Lab};

pub const CLIENT: [&str; 6] = ["10.77.1.1", "10.77.1.3", "10.77.1.130", "fd77:1::1", "fd77:1::3", "fd77:1:0:0:8::1"];
pub const SERVER: [&str; 4] = ["10.77.1.2", "10.77.1.20", "fd77:1::2", "fd77:1::20"];
/// The first two have a listener.
pub const PORTS: [u16; 4] = [6379, 6380, 7000, 22];
const LISTENING: usize = 2;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const INTERFACE: &str = "eth0";
/// How many cases say something.
pub const LEAST_CASES: usize = 2_000;
/// After this long no answer will come: of 11,430 on a busy machine (load 8, two cores) two came after 5 ms, the last after
/// 12 ms.
const SILENCE: Duration = Duration::from_millis(50);
/// The same, when a disagreement is looked at again.
const SURE_SILENCE: Duration = Duration::from_millis(700);

/// Whose rules are made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Server,
    Client,
}

/// Makes rules, loads them, and lists them.
pub struct Maker {
    pub name: &'static str,
    /// What the program reads.
    pub make: fn(&mut Random, Side) -> String,
    /// The program that loads them, in place of all that were there.
    pub load: &'static [&'static str],
    /// The rules as they are listed.
    pub list: fn(&Host) -> Firewall,
}

/// What became of a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Connected,
    Reset,
    /// An ICMP error of this code.
    Icmp(u8),
    Silence,
    Other(i32),
}

/// What was compared.
#[derive(Debug, Default)]
pub struct Tally {
    pub rule_sets: usize,
    /// Rule sets that the kernel would not have.
    pub not_loaded: usize,
    pub cases: usize,
    pub undecided: usize,
    pub stopped: usize,
    /// Disagreements that a second, longer look did not confirm.
    pub late: usize,
}

#[derive(Debug, Clone, Copy)]
struct Syn {
    from: SocketAddr,
    to: SocketAddr,
}

pub struct Field {
    client: Host,
    server: Host,
    listeners: Vec<Socket>,
}

impl Field {
    pub fn new(lab: &Lab) -> Self {
        let (client, server) = lab.pair();
        for (host, others, own) in [(&client, &SERVER[..], &CLIENT[..]), (&server, &CLIENT[..], &SERVER[..])] {
            // The lab has given them the first address of either family.
            for address in own.iter().filter(|ip| !["10.77.1.1", "10.77.1.2", "fd77:1::1", "fd77:1::2"].contains(ip)) {
                let length = if address.contains(':') { "64 nodad" } else { "24" };
                host.sh(&format!("ip addr add {address}/{length} dev {INTERFACE}"));
            }
            // Rules that drop the search for a neighbour would be seen as rules that drop the SYN.
            let peer = if host.name() == "client" { &server } else { &client };
            let mac = peer.read(&format!("/sys/class/net/{INTERFACE}/address"));
            for other in others {
                host.sh(&format!("ip neigh replace {other} lladdr {} dev {INTERFACE} nud permanent", mac.trim()));
            }
            // No ICMP error is held back for there having been others.
            host.sysctl("net.ipv4.icmp_ratemask", "0").sysctl("net.ipv4.icmp_ratelimit", "0");
            host.sysctl("net.ipv6.icmp.ratelimit", "0");
        }
        let addresses = ["0.0.0.0", "::"].map(|ip| ip.parse::<IpAddr>().expect("an address"));
        let all = addresses.iter().flat_map(|ip| PORTS[..LISTENING].iter().map(|port| SocketAddr::new(*ip, *port)));
        let all: Vec<SocketAddr> = all.collect();
        let listeners = server.inside(move || all.into_iter().map(listen).collect());
        Self { client, server, listeners }
    }

    /// Compares rule set after rule set for so long, and longer where that made too few cases.
    pub fn compare(&self, maker: &Maker, side: Side, first: u64, long: Duration) -> Tally {
        let mut tally = Tally::default();
        let begun = Instant::now();
        let host = if side == Side::Server { &self.server } else { &self.client };
        let mut seed = first;
        // A machine with much else to do sends fewer.
        while begun.elapsed() < long || (tally.cases <= LEAST_CASES && begun.elapsed() < 4 * long) {
            let rules = (maker.make)(&mut Random::new(seed), side);
            tally.rule_sets += 1;
            let loaded = host.command(maker.load).stdin(rules.clone()).run();
            if loaded.code == Some(0) {
                let firewall = (maker.list)(host);
                let say = || format!("{} on the {side:?}, REDISDOC_ORACLE={seed}\n{rules}", maker.name);
                self.look(&firewall, side, &mut tally, &say);
            } else {
                tally.not_loaded += 1;
            }
            seed += 1;
        }
        tally
    }

    fn look(&self, firewall: &Firewall, side: Side, tally: &mut Tally, say: &dyn Fn() -> String) {
        for (syn, fate) in self.send(cases(), SILENCE) {
            let expected = expected(firewall, side, syn);
            tally.cases += 1;
            match expected.as_slice() {
                [] => tally.undecided += 1,
                expected => {
                    tally.stopped += usize::from(!expected.contains(&Fate::Connected) && fate != Fate::Reset);
                    if !expected.contains(&fate) {
                        self.look_again(firewall, side, syn, say);
                        tally.late += 1;
                    }
                }
            }
        }
    }

    fn look_again(&self, firewall: &Firewall, side: Side, syn: Syn, say: &dyn Fn() -> String) {
        let again = Syn { from: SocketAddr::new(syn.from.ip(), 0), to: syn.to };
        let (syn, fate) = self.send(vec![again], SURE_SILENCE)[0];
        let expected = expected(firewall, side, syn);
        let walk = match side {
            Side::Server => arriving(firewall, syn).1,
            Side::Client => leaving(firewall, syn).1,
        };
        assert!(
            expected.is_empty() || expected.contains(&fate),
            "{}\n{syn:?}\nthe kernel: {fate:?}\nthe walk: {expected:?}\n{walk:#?}",
            say()
        );
    }

    fn send(&self, cases: Vec<Syn>, silence: Duration) -> Vec<(Syn, Fate)> {
        let fates = self.client.inside(move || send_all(&cases, silence));
        for listener in &self.listeners {
            while listener.accept().is_ok() {}
        }
        fates
    }
}

fn listen(at: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None).expect("a socket");
    if at.is_ipv6() {
        socket.set_only_v6(true).expect("IPV6_V6ONLY");
    }
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&at.into()).unwrap_or_else(|error| panic!("{at}: {error}"));
    socket.listen(1024).expect("listening");
    socket.set_nonblocking(true).expect("non-blocking");
    socket
}

fn cases() -> Vec<Syn> {
    let parsed = |all: &[&str]| all.iter().map(|ip| ip.parse::<IpAddr>().expect("an address")).collect::<Vec<_>>();
    let mut cases = Vec::new();
    for from in parsed(&CLIENT) {
        for to in parsed(&SERVER).into_iter().filter(|to| to.is_ipv4() == from.is_ipv4()) {
            let syn = |port: &u16| Syn { from: SocketAddr::new(from, 0), to: SocketAddr::new(to, *port) };
            cases.extend(PORTS.iter().map(syn));
        }
    }
    cases
}

/// Side by side; each case comes back with the port that the kernel chose.
fn send_all(cases: &[Syn], silence: Duration) -> Vec<(Syn, Fate)> {
    let mut fates: Vec<(Syn, Option<Socket>, Option<Fate>)> = cases.iter().map(send).collect();
    let begun = Instant::now();
    while begun.elapsed() < silence && fates.iter().any(|(_, _, fate)| fate.is_none()) {
        for (_, socket, fate) in fates.iter_mut().filter(|(_, _, fate)| fate.is_none()) {
            *fate = socket.as_ref().and_then(settled);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    let fate = |(syn, _, fate): (Syn, Option<Socket>, Option<Fate>)| (syn, fate.unwrap_or(Fate::Silence));
    fates.into_iter().map(fate).collect()
}

fn send(syn: &Syn) -> (Syn, Option<Socket>, Option<Fate>) {
    let socket = Socket::new(Domain::for_address(syn.to), Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("non-blocking");
    // Ends without a word, or with a reset: nothing is left behind.
    socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    if syn.to.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true).expect("IPV6_RECVERR");
    } else {
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true).expect("IP_RECVERR");
    }
    socket.bind(&SockAddr::from(syn.from)).unwrap_or_else(|error| panic!("{}: {error}", syn.from));
    let from = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("our address");
    let fate = match socket.connect(&syn.to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Some(failed(&socket, &error)),
        _ => None,
    };
    (Syn { from, ..*syn }, Some(socket), fate)
}

fn settled(socket: &Socket) -> Option<Fate> {
    match socket.take_error() {
        Ok(None) => socket.peer_addr().is_ok().then_some(Fate::Connected),
        Ok(Some(error)) | Err(error) => Some(failed(socket, &error)),
    }
}

fn failed(socket: &Socket, error: &io::Error) -> Fate {
    match (icmp(socket), error.raw_os_error()) {
        (Some(code), _) => Fate::Icmp(code),
        (None, Some(errno)) if errno == Errno::ECONNREFUSED as i32 => Fate::Reset,
        (None, errno) => Fate::Other(errno.unwrap_or(-1)),
    }
}

fn icmp(socket: &Socket) -> Option<u8> {
    let mut control = nix::cmsg_space!([u8; 128]);
    let mut data = [0; 512];
    let mut iov = [io::IoSliceMut::new(&mut data)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut control), flags).ok()?;
    message.cmsgs().ok()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => Some(error.ee_code),
        _ => None,
    })
}

/// What may become of a SYN by the rules; nothing where they leave it open.
fn expected(firewall: &Firewall, side: Side, syn: Syn) -> Vec<Fate> {
    let (packet, walk) = match side {
        Side::Server => arriving(firewall, syn),
        Side::Client => leaving(firewall, syn),
    };
    match walk.outcome() {
        Outcome::Open => Vec::new(),
        Outcome::Stopped(How::Dropped) => vec![Fate::Silence],
        Outcome::Stopped(How::Rejected(how)) => {
            let fate = match how {
                Rejection::Reset => Fate::Reset,
                Rejection::Icmp(code) => Fate::Icmp(code),
            };
            // The answer has to pass the rules as well, and it may be no TCP.
            if others_are_asked(firewall, side) { vec![fate, Fate::Silence] } else { vec![fate] }
        }
        Outcome::Passes => answer(firewall, side, &packet, &walk),
    }
}

fn others_are_asked(firewall: &Firewall, side: Side) -> bool {
    let hooks = match side {
        Side::Server => [Hook::Output, Hook::Postrouting],
        // What is rejected in `output` is answered to this very machine.
        Side::Client => [Hook::Prerouting, Hook::Input],
    };
    let bases = firewall.tables.iter().flat_map(|table| &table.chains).filter_map(|chain| chain.base.as_ref());
    let mut asked = bases.map(|base| base.hook);
    asked.any(|hook| hooks.contains(&hook) || side == Side::Client)
}

/// What the client sees of a SYN that arrived: its answer has to come back, and what is sent then may be rejected.
fn answer(firewall: &Firewall, side: Side, syn: &Packet, walk: &Walk) -> Vec<Fate> {
    let (Some(port), to) = (walk.to.1, walk.to.0) else { return Vec::new() };
    if !own(Side::Server).contains(&to) {
        // Sent to where nobody is.
        return Vec::new();
    }
    let listening = PORTS[..LISTENING].contains(&port);
    let (fate, flags) = if listening { (Fate::Connected, SYN | ACK) } else { (Fate::Reset, RST | ACK) };
    let changed = (to, port) != (syn.to, syn.to_port.unwrap_or_default());
    let translated: Vec<Translation> = changed.then_some(Translation::Destination).into_iter().collect();
    if is_redirected(walk) {
        // To one of several addresses, we do not know which.
        return Vec::new();
    }
    // Without tracking, what follows is no connection's.
    let state = (!is_untracked(firewall)).then_some(State::Established);
    let established = Packet { state, translated: translated.clone(), ..syn.clone() };
    let back = Packet {
        from: Some(to),
        from_port: Some(port),
        to: syn.from.expect("the source is known"),
        to_port: syn.from_port,
        in_interface: syn.out_interface.clone(),
        out_interface: syn.in_interface.clone(),
        flags,
        ..established.clone()
    };
    let last = Packet { to, to_port: Some(port), flags: ACK, ..established };
    let (back, last) = match side {
        Side::Server => (outgoing(firewall, back, &own(side)), incoming(firewall, last, &own(side))),
        Side::Client => (incoming(firewall, back, &own(side)), outgoing(firewall, last, &own(side))),
    };
    match (back.outcome(), last.outcome()) {
        (Outcome::Open, _) => Vec::new(),
        // Whatever is rejected on its way back is answered to the server.
        (Outcome::Stopped(_), _) => vec![Fate::Silence],
        // It was connected for a moment.
        (Outcome::Passes, Outcome::Open | Outcome::Stopped(How::Rejected(_))) if listening => Vec::new(),
        (Outcome::Passes, _) => vec![fate],
    }
}

fn is_untracked(firewall: &Firewall) -> bool {
    let chains = firewall.tables.iter().flat_map(|table| &table.chains);
    chains.flat_map(|chain| &chain.rules).any(|rule| rule.parts.contains(&Part::NoTrack))
}

fn is_redirected(walk: &Walk) -> bool {
    let parts = walk.translated_by.iter().filter_map(|place| place.rule.as_ref()).flat_map(|rule| &rule.parts);
    parts.into_iter().any(|part| matches!(part, Part::Verdict(Verdict::Redirect(_))))
}

/// Asserts that two listings of the same rules come to the same, where both come to anything.
pub fn same(one: &Firewall, other: &Firewall, rules: &str) {
    for syn in cases() {
        for way in [arriving, leaving] {
            let (one, other) = (way(one, syn).1, way(other, syn).1);
            let told = [&one, &other].map(Walk::outcome);
            let open = told.contains(&Outcome::Open);
            assert!(open || told[0] == told[1], "{rules}\n{syn:?}: {told:?}\n{one:#?}\n{other:#?}");
        }
    }
}

fn arriving(firewall: &Firewall, syn: Syn) -> (Packet, Walk) {
    let packet = Packet::syn_in(Some(syn.from.ip()), syn.to, Some(INTERFACE.to_owned()));
    let packet = Packet { from_port: Some(syn.from.port()), ..packet };
    let walk = incoming(firewall, packet.clone(), &own(Side::Server));
    (packet, walk)
}

fn leaving(firewall: &Firewall, syn: Syn) -> (Packet, Walk) {
    let packet = Packet::syn_out(Some(syn.from.ip()), syn.to, Some(INTERFACE.to_owned()));
    let packet = Packet { from_port: Some(syn.from.port()), ..packet };
    let walk = outgoing(firewall, packet.clone(), &own(Side::Client));
    (packet, walk)
}

/// The addresses of a machine, those that it gives itself left out: nobody sends to them.
fn own(side: Side) -> Vec<IpAddr> {
    let all = if side == Side::Server { &SERVER[..] } else { &CLIENT[..] };
    all.iter().map(|ip| ip.parse().expect("an address")).collect()
}
