//! Random rules of iptables, loaded for real: what the kernel does with a SYN is what `walk.rs` says of the rules as they are
//! listed, or nothing is said for sure.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use redisdoc::probe::Collected;
use redisdoc::probe::host::firewall::Firewall;
use redisdoc::probe::host::firewall::rules::Rejection;
use redisdoc::probe::host::firewall::walk::{self, How, Packet};
use socket2::{Domain, Socket, Type};

use crate::world::{Host, Lab};

/// Ports on which the server listens.
const PORTS: [u16; 3] = [6379, 6380, 7000];
/// SYNs for each set of rules.
const SYNS: usize = 24;
/// A swallowed SYN is sent again after a second; answers come in less than one.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a tool is called, and the addresses that its rules are about.
#[derive(Clone, Copy)]
struct Kind {
    restore: &'static str,
    v6: bool,
    rounds: usize,
}

#[test]
fn iptables_over_nftables() {
    compare(Kind { restore: "iptables-nft-restore", v6: false, rounds: 45 });
}

#[test]
fn iptables_legacy() {
    compare(Kind { restore: "iptables-legacy-restore", v6: false, rounds: 45 });
}

#[test]
fn ip6tables_over_nftables() {
    compare(Kind { restore: "ip6tables-nft-restore", v6: true, rounds: 25 });
}

#[test]
fn ip6tables_legacy() {
    compare(Kind { restore: "ip6tables-legacy-restore", v6: true, rounds: 25 });
}

/// xorshift64*: the same cases every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end as u64).expect("small")
    }

    fn one_in(&mut self, end: usize) -> bool {
        self.below(end) == 0
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

#[track_caller]
fn compare(kind: Kind) {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    client.interface("eth0", &["10.77.1.3/24", "10.77.1.130/24", "fd77:1::3/64", "fd77:1::1:1/64"]);
    server.interface("eth0", &["10.77.1.4/24", "fd77:1::4/64"]);
    server.sysctl("net.ipv4.icmp_ratemask", "0").sysctl("net.ipv4.icmp_ratelimit", "0");
    server.sysctl("net.ipv6.icmp.ratelimit", "0").sysctl("net.ipv6.icmp.ratemask", "");
    // Nothing that is sent by itself may be lost to the rules.
    let _ = client
        .sh("for a in 10.77.1.2 10.77.1.4; do timeout 1 sh -c \"redis-cli -h $a -p 1 ping\"; done 2>/dev/null; :");
    let _listeners: Vec<_> = PORTS.into_iter().map(|port| server.tcp_stub(port, crate::world::Stub::Silent)).collect();
    let seed = std::env::var("REDISDOC_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x9E37_79B9_u64);
    let mut dice = Dice(seed);
    let (mut next_port, mut told, mut passed, mut open) = (20_000, 0, 0, 0);
    for round in 0..kind.rounds {
        let rules = rules(&mut dice, kind);
        let loaded = server.command(&[kind.restore]).stdin(rules.clone()).run();
        assert_eq!(loaded.code, Some(0), "round {round}:\n{rules}\n{loaded}");
        let firewall = listed(&server);
        let syns: Vec<Syn> = (0..SYNS).map(|_| syn(&mut dice, kind.v6, &mut next_port)).collect();
        let ends = ask(&client, &syns, PATIENCE);
        for (syn, end) in syns.iter().zip(ends) {
            let Some(expected) = predicted(&firewall, syn) else {
                open += 1;
                continue;
            };
            told += 1;
            passed += usize::from(end == End::Connected);
            if expected == end {
                continue;
            }
            // A busy machine may be late: asked again, alone and with patience.
            let again = Syn { from: SocketAddr::new(syn.from.ip(), syn.from.port() + 20_000), ..*syn };
            let later = ask(&client, &[again], Duration::from_secs(1))[0];
            let now = predicted(&firewall, &again);
            assert_eq!(now.unwrap_or(later), later, "round {round} {syn:?} ended {end:?}\n{rules}\n{firewall:#?}");
        }
    }
    eprintln!("{}: {told} SYNs as told, {passed} of them let through; {open} open", kind.restore);
    assert!(told > open && passed > told / 5, "{told} told, {passed} let through, {open} open");
}

fn listed(server: &Host) -> Firewall {
    let collected: Collected = serde_json::from_str(&server.collect()).expect("facts");
    let firewall = collected.host.firewall.seen().cloned().unwrap_or_else(|| panic!("{:?}", collected.host.firewall));
    assert_eq!(firewall.unread, [], "{firewall:?}");
    firewall
}

#[derive(Debug, Clone, Copy)]
struct Syn {
    from: SocketAddr,
    to: SocketAddr,
}

fn addresses(v6: bool) -> ([&'static str; 3], [&'static str; 2]) {
    if v6 {
        (["fd77:1::1", "fd77:1::3", "fd77:1::1:1"], ["fd77:1::2", "fd77:1::4"])
    } else {
        (["10.77.1.1", "10.77.1.3", "10.77.1.130"], ["10.77.1.2", "10.77.1.4"])
    }
}

/// From a port that was not used before: to connection tracking an old one is no new connection.
fn syn(dice: &mut Dice, v6: bool, next_port: &mut u16) -> Syn {
    let (from, to) = addresses(v6);
    *next_port += 1;
    let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
    Syn {
        from: SocketAddr::new(ip(dice.of(&from)), *next_port),
        to: SocketAddr::new(ip(dice.of(&to)), PORTS[dice.below(PORTS.len())]),
    }
}

/// How an attempt to connect ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Connected,
    Silence,
    Errno(i32),
}

/// What the rules say, if they say it for sure.
fn predicted(firewall: &Firewall, syn: &Syn) -> Option<End> {
    let own: Vec<IpAddr> =
        ["10.77.1.2", "10.77.1.4", "fd77:1::2", "fd77:1::4"].map(|ip| ip.parse().expect("an address")).into();
    let mut packet = Packet::syn_in(Some(syn.from.ip()), syn.to, Some("eth0".to_owned()));
    packet.from_port = Some(syn.from.port());
    let walk = walk::incoming(firewall, packet, &own);
    if !walk.doubts.is_empty() {
        return None;
    }
    match walk.stops.first().map(|stop| stop.how) {
        Some(How::Dropped) => Some(End::Silence),
        Some(How::Rejected(how)) => Some(End::Errno(errno(how, syn.to.is_ipv4()))),
        None if walk.to.1.is_some_and(|port| PORTS.contains(&port)) => Some(End::Connected),
        None => Some(End::Errno(nix::libc::ECONNREFUSED)),
    }
}

fn errno(how: Rejection, v4: bool) -> i32 {
    match (how, v4) {
        (Rejection::Reset, _) | (Rejection::Icmp(3), true) | (Rejection::Icmp(4), false) => nix::libc::ECONNREFUSED,
        (Rejection::Icmp(0 | 9), true) | (Rejection::Icmp(0), false) => nix::libc::ENETUNREACH,
        (Rejection::Icmp(2), true) => nix::libc::ENOPROTOOPT,
        (Rejection::Icmp(1 | 5 | 6), false) => nix::libc::EACCES,
        _ => nix::libc::EHOSTUNREACH,
    }
}

/// Connects all at once, and sees how each ends.
fn ask(client: &Host, syns: &[Syn], patience: Duration) -> Vec<End> {
    let syns = syns.to_vec();
    client.inside(move || {
        let dial = |syn: &Syn| {
            let socket = Socket::new(Domain::for_address(syn.from), Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("nonblocking");
            let _ = socket.set_linger(Some(Duration::ZERO));
            socket.bind(&syn.from.into()).unwrap_or_else(|error| panic!("{syn:?}: {error}"));
            let _ = socket.connect(&syn.to.into());
            socket
        };
        let sockets: Vec<Socket> = syns.iter().map(dial).collect();
        let mut ends = vec![End::Silence; sockets.len()];
        let begun = Instant::now();
        while begun.elapsed() < patience && ends.contains(&End::Silence) {
            for (socket, end) in sockets.iter().zip(&mut ends).filter(|(_, end)| **end == End::Silence) {
                // Connected comes first: what befalls later packets shows as an error of the socket too.
                if socket.peer_addr().is_ok() {
                    *end = End::Connected;
                } else if let Ok(Some(error)) = socket.take_error() {
                    *end = End::Errno(error.raw_os_error().unwrap_or_default());
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        ends
    })
}

/// Chains that rules may jump to, each only to those after it.
const CHAINS: [&str; 3] = ["one", "two", "three"];

fn rules(dice: &mut Dice, kind: Kind) -> String {
    let mut text = String::new();
    for (table, bases) in [
        ("raw", &["PREROUTING"][..]),
        ("mangle", &["PREROUTING", "INPUT"]),
        ("nat", &["PREROUTING", "INPUT"]),
        ("filter", &["INPUT"]),
        ("security", &["INPUT"]),
    ] {
        let policy = if table != "nat" && dice.one_in(6) { "DROP" } else { "ACCEPT" };
        let _ = writeln!(text, "*{table}");
        for base in bases {
            let _ = writeln!(text, ":{base} {policy} [0:0]");
        }
        for chain in CHAINS {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        for base in bases {
            if kind.v6 {
                let _ = writeln!(text, "-A {base} -p ipv6-icmp -j ACCEPT");
            }
            let count = if table == "filter" { 8 } else { 2 };
            for _ in 0..dice.below(count) {
                let _ = writeln!(text, "-A {base} {}", rule(dice, kind.v6, table, base, 0));
            }
        }
        for (at, chain) in CHAINS.iter().enumerate() {
            for _ in 0..dice.below(4) {
                let _ = writeln!(text, "-A {chain} {}", rule(dice, kind.v6, table, "", at + 1));
            }
        }
        text += "COMMIT\n";
    }
    text
}

fn rule(dice: &mut Dice, v6: bool, table: &str, base: &str, jumps_from: usize) -> String {
    let mut protocol = String::new();
    let mut basic = String::new();
    let mut modules = String::new();
    for _ in 0..dice.below(3) {
        let not = if dice.one_in(4) { "! " } else { "" };
        match dice.below(12) {
            0 if !basic.contains("-s ") => {
                let _ = write!(basic, "{not}-s {} ", network(dice, v6));
            }
            1 if !basic.contains("-d ") => {
                let _ = write!(basic, "{not}-d {} ", network(dice, v6));
            }
            2 if !basic.contains("-i ") => {
                let _ = write!(basic, "{not}-i {} ", dice.of(&["eth0", "eth+", "e+", "lo", "eth1"]));
            }
            3 if protocol.is_empty() => {
                protocol = ["-p tcp ", "! -p udp ", "-p udp ", "-p all ", "! -p tcp "][dice.below(5)].to_owned();
            }
            4..=7 if protocol.is_empty() || protocol == "-p tcp " => {
                "-p tcp ".clone_into(&mut protocol);
                modules += &ports(dice, not);
            }
            _ => modules += &module(dice, v6, not),
        }
    }
    let mut target = target(dice, v6, table, base, jumps_from);
    if target.contains(" --to-") {
        match protocol.as_str() {
            "" => "-p tcp ".clone_into(&mut protocol),
            "-p tcp " => {}
            _ => target.clear(),
        }
    }
    format!("{protocol}{basic}{modules}{target}")
}

fn network<'a>(dice: &mut Dice, v6: bool) -> &'a str {
    if v6 {
        dice.of(&[
            "fd77:1::1",
            "fd77:1::/112",
            "fd77:1::1:0/112",
            "fd77::/16",
            "fd77:1::2",
            "fd77:1::4/127",
            "fe80::/10",
            "::1:0/::ffff:0",
        ])
    } else {
        dice.of(&[
            "10.77.1.1",
            "10.77.1.0/25",
            "10.77.1.128/25",
            "10.0.0.0/8",
            "10.77.1.2",
            "10.77.1.4/31",
            "192.168.0.0/16",
            "0.0.0.3/0.0.0.255",
        ])
    }
}

fn ports(dice: &mut Dice, not: &str) -> String {
    match dice.below(6) {
        0 => format!("-m tcp {not}--dport {} ", dice.of(&["6379", "6379:6380", ":6379", "6380:", "22"])),
        1 => format!("-m tcp {not}--sport {} ", dice.of(&["20000:20200", "1024:", ":1023", "20300:30000"])),
        2 => format!("-m multiport {not}--dports {} ", dice.of(&["6379", "22,6380:7000", "7000,7001"])),
        3 => format!("-m multiport {not}--ports {} ", dice.of(&["6379", "20000:20200"])),
        4 => format!(
            "-m tcp {not}--tcp-flags {} ",
            dice.of(&["SYN,ACK SYN", "ALL SYN", "ALL NONE", "ACK ACK", "FIN,RST FIN"])
        ),
        _ => format!("-m tcp {not}--syn "),
    }
}

fn module(dice: &mut Dice, v6: bool, not: &str) -> String {
    let states =
        ["NEW", "ESTABLISHED,RELATED", "INVALID", "NEW,ESTABLISHED", "UNTRACKED", "DNAT", "NEW,SNAT", "UNTRACKED,DNAT"];
    match dice.below(9) {
        0 | 1 => format!("-m conntrack {not}--ctstate {} ", dice.of(&states)),
        2 => format!("-m state {not}--state {} ", dice.of(&["NEW", "ESTABLISHED,RELATED", "UNTRACKED"])),
        3 | 4 => {
            format!("-m mark {not}--mark {} ", dice.of(&["0x0", "0x1", "0x2", "0x1/0x1", "0x0/0xf0", "0x2/0xfffffffe"]))
        }
        5 if v6 => format!("-m iprange {not}--src-range fd77:1::1-fd77:1::3 "),
        5 => format!("-m iprange {not}--src-range 10.77.1.2-10.77.1.140 ! --dst-range 10.77.1.1-10.77.1.2 "),
        6 => {
            let kinds = if v6 {
                ["LOCAL", "UNICAST", "LOCAL,UNICAST", "MULTICAST"]
            } else {
                ["LOCAL", "UNICAST", "BROADCAST,LOCAL", "MULTICAST"]
            };
            format!("-m addrtype {not}--{}-type {} ", dice.of(&["src", "dst"]), dice.of(&kinds))
        }
        7 => "-m comment --comment \"a \\\"quoted\\\" -j DROP\" ".to_owned(),
        _ if dice.one_in(4) => "-m limit --limit 100/sec ".to_owned(),
        _ => format!("-m addrtype --dst-type {} ", dice.of(&["LOCAL", "UNICAST"])),
    }
}

fn target(dice: &mut Dice, v6: bool, table: &str, base: &str, jumps_from: usize) -> String {
    if jumps_from < CHAINS.len() && dice.one_in(3) {
        return format!(
            "-{} {}",
            dice.of(&["j", "j", "g"]),
            CHAINS[jumps_from + dice.below(CHAINS.len() - jumps_from)]
        );
    }
    match (dice.below(8), table) {
        (0, "nat") if base == "PREROUTING" => {
            let to = if v6 { "[fd77:1::4]" } else { "10.77.1.4" };
            format!("-j DNAT --to-destination {to}:{}", dice.of(&["6379", "7000", "9"]))
        }
        (1, "nat") if base == "PREROUTING" => format!("-j REDIRECT --to-ports {}", dice.of(&["6379", "9"])),
        (0..=3, "nat") => dice.of(&["-j ACCEPT", "-j RETURN"]).to_owned(),
        (0, "filter") if v6 => {
            let with =
                ["no-route", "adm-prohibited", "addr-unreachable", "port-unreachable", "policy-fail", "reject-route"];
            format!("-j REJECT --reject-with icmp6-{}", dice.of(&with))
        }
        (0, "filter") => {
            let with = [
                "net-unreachable",
                "host-unreachable",
                "proto-unreachable",
                "port-unreachable",
                "net-prohibited",
                "host-prohibited",
                "admin-prohibited",
            ];
            format!("-j REJECT --reject-with icmp-{}", dice.of(&with))
        }
        (1, "raw") if base == "PREROUTING" => "-j CT --notrack".to_owned(),
        (2, "mangle" | "raw") => {
            format!("-j MARK --set-xmark {}", dice.of(&["0x1", "0x2", "0x1/0x1", "0x3/0xffffffff"]))
        }
        (3, "mangle") => format!("-j CONNMARK {}", dice.of(&["--save-mark", "--restore-mark", "--set-mark 1"])),
        (4, _) => "-j RETURN".to_owned(),
        (5, _) if table != "nat" => "-j DROP".to_owned(),
        (6, _) => String::new(),
        _ => "-j ACCEPT".to_owned(),
    }
}
