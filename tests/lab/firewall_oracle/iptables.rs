//! Rules in iptables' language, for both families: a file for `iptables-restore` and, after a line `# v6`, one for
//! `ip6tables-restore`.

use std::fmt::Write as _;

use super::field::Side;
use super::random::Random;

/// Loads both files with the tools over nftables.
pub const LOAD: &[&str] = &["sh", "-c", LOADER, "nft"];
/// The same with the legacy tools.
pub const LOAD_LEGACY: &[&str] = &["sh", "-c", LOADER, "legacy"];

const LOADER: &str = "cat > /run/rules
ipset -exist restore <<END
create some hash:ip
add some 10.77.1.1
add some 10.77.1.20
create nets hash:net
add nets 10.77.1.128/25
add nets 10.77.1.2/31
create doors bitmap:port range 6000-7000
add doors 6379
create pairs hash:ip,port
add pairs 10.77.1.1,tcp:6379
add pairs 10.77.1.3,tcp:22
add pairs 10.77.1.3,udp:6379
create some6 hash:ip family inet6
add some6 fd77:1::1
create nets6 hash:net family inet6
add nets6 fd77:1:0:0:8::/80
create pairs6 hash:net,port family inet6
add pairs6 fd77:1::/112,6379-6380
END
sed '/^# v6$/,$d' /run/rules | iptables-$0-restore && sed '1,/^# v6$/d' /run/rules | ip6tables-$0-restore";
/// Chains that rules may jump to, each only to those after it.
const CHAINS: [&str; 3] = ["one", "two", "three"];
/// The states that a rule may ask for, some of which are none.
const STATES: [&str; 8] =
    ["NEW", "ESTABLISHED,RELATED", "INVALID", "NEW,ESTABLISHED", "UNTRACKED", "DNAT", "NEW,SNAT", "UNTRACKED,DNAT"];

/// Rules of both families.
pub fn rules(random: &mut Random, side: Side) -> String {
    let v4 = Maker { random, v6: false, side }.file();
    v4 + "# v6\n" + &Maker { random, v6: true, side }.file()
}

struct Maker<'a> {
    random: &'a mut Random,
    v6: bool,
    side: Side,
}

/// Where a rule stands.
#[derive(Clone, Copy)]
struct At<'a> {
    table: &'a str,
    /// Empty in a chain of our own.
    base: &'a str,
    /// The first chain that may be jumped to.
    jumps_from: usize,
}

impl Maker<'_> {
    fn file(&mut self) -> String {
        let (near, far) = match self.side {
            Side::Server => ("INPUT", "OUTPUT"),
            Side::Client => ("OUTPUT", "INPUT"),
        };
        let mut text = String::new();
        for (table, bases) in [
            ("raw", &["PREROUTING", "OUTPUT"][..]),
            ("mangle", &["PREROUTING", near, far, "POSTROUTING"]),
            ("nat", &["PREROUTING", "INPUT", "OUTPUT"]),
            ("filter", &[near, near, far]),
            ("security", &[near]),
        ] {
            text += &self.table(table, bases, near);
        }
        text
    }

    fn table(&mut self, table: &str, bases: &[&str], near: &str) -> String {
        let mut text = format!("*{table}\n");
        for (place, base) in bases.iter().enumerate() {
            let drops = table != "nat" && self.random.percent(if *base == near { 20 } else { 3 });
            if !bases[..place].contains(base) {
                let _ = writeln!(text, ":{base} {} [0:0]", if drops { "DROP" } else { "ACCEPT" });
            }
        }
        for chain in CHAINS {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        for base in bases {
            let most = match (table, *base == near) {
                ("filter", true) => 6,
                (_, true) => 2,
                _ => 1,
            };
            for _ in 0..self.random.between(0, most) {
                let rule = self.rule(At { table, base, jumps_from: 0 });
                let _ = writeln!(text, "-A {base} {rule}");
            }
        }
        for (place, chain) in CHAINS.iter().enumerate() {
            for _ in 0..self.random.between(0, 3) {
                let rule = self.rule(At { table, base: "", jumps_from: place + 1 });
                let _ = writeln!(text, "-A {chain} {rule}");
            }
        }
        text + "COMMIT\n"
    }

    fn rule(&mut self, at: At) -> String {
        let (mut protocol, mut basic, mut modules) = (String::new(), String::new(), String::new());
        for _ in 0..self.random.between(0, 2) {
            let not = if self.random.percent(25) { "! " } else { "" };
            let once = |flag: &str, basic: &str| !basic.contains(flag);
            match self.random.below(12) {
                0 if once("-s ", &basic) => {
                    let _ = write!(basic, "{not}-s {} ", self.network());
                }
                1 if once("-d ", &basic) => {
                    let _ = write!(basic, "{not}-d {} ", self.network());
                }
                2 if once("-i ", &basic) && once("-o ", &basic) => {
                    let flag = match at.base {
                        "PREROUTING" | "INPUT" => "-i",
                        "OUTPUT" | "POSTROUTING" => "-o",
                        _ => self.random.pick(&["-i", "-o"]),
                    };
                    let _ = write!(basic, "{not}{flag} {} ", self.random.pick(&["eth0", "eth+", "e+", "lo", "eth1"]));
                }
                3 if protocol.is_empty() => {
                    let protocols = ["-p tcp ", "! -p udp ", "-p udp ", "-p all ", "! -p tcp ", "-p 6 ", "-p icmp "];
                    self.random.pick(&protocols).clone_into(&mut protocol);
                }
                4..=7 if protocol.is_empty() || protocol == "-p tcp " => {
                    "-p tcp ".clone_into(&mut protocol);
                    modules += &self.ports(not);
                }
                _ => modules += &self.module(not),
            }
        }
        let mut target = self.target(at);
        if target.contains(" --to-") || target.contains("tcp-reset") {
            match protocol.as_str() {
                "" => "-p tcp ".clone_into(&mut protocol),
                "-p tcp " => {}
                _ => target.clear(),
            }
        }
        format!("{protocol}{basic}{modules}{target}")
    }

    fn network(&mut self) -> &'static str {
        if self.v6 {
            self.random.pick(&[
                "fd77:1::1",
                "fd77:1::/112",
                "fd77:1:0:0:8::/80",
                "fd77::/16",
                "fd77:1::2",
                "fd77:1::2/127",
                "fd77:1::20",
                "fe80::/10",
                "::1/::ff",
            ])
        } else {
            self.random.pick(&[
                "10.77.1.1",
                "10.77.1.0/25",
                "10.77.1.128/25",
                "10.0.0.0/8",
                "10.77.1.2",
                "10.77.1.2/31",
                "10.77.1.20",
                "192.168.0.0/16",
                "0.0.0.3/0.0.0.255",
            ])
        }
    }

    fn ports(&mut self, not: &str) -> String {
        let ports = self.random.pick(&["6379", "6379:6380", ":6379", "6380:", "22", "32768:60999", "40000:"]);
        let flags = ["SYN,ACK SYN", "ALL SYN", "ALL NONE", "ACK ACK", "FIN,RST FIN", "SYN,RST,ACK SYN,ACK"];
        let list = self.random.pick(&["6379", "22,6380:7000", "7000,7001", "32768:45000,22"]);
        match self.random.below(7) {
            0 | 1 => format!("-m tcp {not}--dport {ports} "),
            2 => format!("-m tcp {not}--sport {ports} "),
            3 => format!("-m multiport {not}--{}ports {list} ", self.random.pick(&["d", "s"])),
            4 => format!("-m multiport {not}--ports {list} "),
            5 => format!("-m tcp {not}--tcp-flags {} ", self.random.pick(&flags)),
            _ => format!("-m tcp {not}--syn "),
        }
    }

    fn module(&mut self, not: &str) -> String {
        let marks = ["0x0", "0x1", "0x2", "0x1/0x1", "0x0/0xf0", "0x2/0xfffffffe", "0x3/0x1"];
        let kinds: &[&str] = if self.v6 {
            &["LOCAL", "UNICAST", "LOCAL,UNICAST", "MULTICAST"]
        } else {
            &["LOCAL", "UNICAST", "BROADCAST,LOCAL", "MULTICAST"]
        };
        match self.random.below(11) {
            0 | 1 => format!("-m conntrack {not}--ctstate {} ", self.random.pick(&STATES)),
            2 => format!("-m state {not}--state {} ", self.random.pick(&["NEW", "ESTABLISHED,RELATED", "UNTRACKED"])),
            3 | 4 => format!("-m mark {not}--mark {} ", self.random.pick(&marks)),
            5 if self.v6 => format!("-m iprange {not}--src-range fd77:1::1-fd77:1::2 "),
            5 => format!("-m iprange {not}--src-range 10.77.1.2-10.77.1.140 ! --dst-range 10.77.1.1-10.77.1.2 "),
            6 | 7 => {
                format!("-m addrtype {not}--{}-type {} ", self.random.pick(&["src", "dst"]), self.random.pick(kinds))
            }
            8 => {
                let end = self.random.pick(&["src", "dst"]);
                let other = self.random.pick(&["src", "dst"]);
                let family = if self.v6 { "6" } else { "" };
                let set = match self.random.pick(&["some", "nets", "pairs", "doors"]) {
                    "doors" => format!("doors {end}"),
                    "pairs" => format!("pairs{family} {end},{other}"),
                    set => format!("{set}{family} {end}"),
                };
                format!("-m set {not}--match-set {set} ")
            }
            9 => "-m comment --comment \"a \\\"quoted\\\" -j DROP\" ".to_owned(),
            _ if self.random.percent(20) => "-m limit --limit 100/sec ".to_owned(),
            _ if self.random.percent(20) => format!("-m conntrack {not}--ctstatus ASSURED "),
            _ => String::new(),
        }
    }

    fn target(&mut self, at: At) -> String {
        if at.jumps_from < CHAINS.len() && self.random.percent(33) {
            let how = self.random.pick(&["-j", "-j", "-g"]);
            return format!("{how} {}", self.random.pick(&CHAINS[at.jumps_from..]));
        }
        let translates = at.table == "nat" && ["PREROUTING", "OUTPUT"].contains(&at.base);
        match (self.random.below(8), at.table) {
            (0, "nat") if translates => {
                let to = if self.v6 { "[fd77:1::20]" } else { "10.77.1.20" };
                format!("-j DNAT --to-destination {to}:{}", self.random.pick(&["6379", "7000", "6379-6380"]))
            }
            (1, "nat") if at.base == "PREROUTING" => {
                format!("-j REDIRECT --to-ports {}", self.random.pick(&["6379", "22"]))
            }
            (_, "nat") => self.random.pick(&["-j ACCEPT", "-j RETURN", ""]).to_owned(),
            (0 | 1, "filter") => self.rejection(),
            (1, "raw") if !at.base.is_empty() => "-j CT --notrack".to_owned(),
            (2, "mangle" | "raw") => {
                let marks = ["0x1", "0x2", "0x1/0x1", "0x3/0xffffffff"];
                format!("-j MARK --set-xmark {}", self.random.pick(&marks))
            }
            (3, "mangle") => {
                format!("-j CONNMARK {}", self.random.pick(&["--save-mark", "--restore-mark", "--set-mark 1"]))
            }
            (4, _) => "-j RETURN".to_owned(),
            (5, _) => "-j DROP".to_owned(),
            (6, _) => String::new(),
            _ => "-j ACCEPT".to_owned(),
        }
    }

    fn rejection(&mut self) -> String {
        let v4 = ["net-unreachable", "host-unreachable", "proto-unreachable", "net-prohibited", "admin-prohibited"];
        let v6 = ["no-route", "adm-prohibited", "addr-unreachable", "port-unreachable", "policy-fail", "reject-route"];
        match self.random.below(3) {
            0 => "-j REJECT --reject-with tcp-reset".to_owned(),
            1 => "-j REJECT".to_owned(),
            _ if self.v6 => format!("-j REJECT --reject-with icmp6-{}", self.random.pick(&v6)),
            _ => format!("-j REJECT --reject-with icmp-{}", self.random.pick(&v4)),
        }
    }
}
