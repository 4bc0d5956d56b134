//! Rules in nft's language, as odd as they come.

#![expect(clippy::format_push_string, reason = "it reads as what it writes")]

use super::field::{CLIENT, PORTS, SERVER, Side};
use super::random::Random;

const PRIORITIES: [&str; 9] = ["-310", "-225", "-150", "-50", "0", "0", "10", "110", "150"];
/// Chains that can be jumped to, and only to those behind them.
const CHAINS: usize = 4;

/// A whole file for `nft -f -`, in place of all rules that there were.
pub fn rules(random: &mut Random, side: Side) -> String {
    let mut text = "flush ruleset\n".to_owned();
    for number in 0..random.between(1, 3) {
        let family = random.pick(&["ip", "ip6", "inet", "inet", "inet"]);
        let mut table = Table { random, family, side, quiet: false };
        text += &table.text(number);
    }
    text
}

struct Table<'a> {
    random: &'a mut Random,
    family: &'a str,
    side: Side,
    /// True where nothing can be rejected, because a hook that allows no rejection comes here.
    quiet: bool,
}

impl Table<'_> {
    fn text(&mut self, number: usize) -> String {
        let hooks: &[&str] = match self.side {
            Side::Server => &["input", "input", "input", "prerouting", "output", "postrouting"],
            Side::Client => &["output", "output", "output", "postrouting", "input", "prerouting"],
        };
        let bases: Vec<&str> = (0..self.random.between(1, 3)).map(|_| self.random.pick(hooks)).collect();
        self.quiet = bases.contains(&"postrouting");
        let mut text = format!("table {} t{number} {{\n", self.family);
        text += &self.sets();
        for chain in (0..CHAINS).rev() {
            text += &format!("  chain c{chain} {{\n{}  }}\n", self.some_rules(chain + 1, 4));
        }
        for (place, hook) in bases.into_iter().enumerate() {
            let priority = self.random.pick(&PRIORITIES);
            let policy = if self.random.percent(20) { "drop" } else { "accept" };
            let head = format!("    type filter hook {hook} priority {priority}; policy {policy};\n");
            text += &format!("  chain b{place} {{\n{head}{}  }}\n", self.some_rules(0, 6));
        }
        if self.random.percent(30) {
            text += &self.nat();
        }
        text + "}\n"
    }

    fn sets(&mut self) -> String {
        let mut text = String::new();
        for version in self.versions() {
            let kind = if version == "4" { "ipv4_addr" } else { "ipv6_addr" };
            let elements = self.addresses(version).join(", ");
            text += &format!(
                "  set a{version} {{\n type {kind}; flags interval; auto-merge\n elements = {{ {elements} }}\n }}\n"
            );
            let hosts = self.hosts(version);
            let plain = if self.random.percent(50) { "" } else { "flags timeout;" };
            text +=
                &format!("  set h{version} {{\n type {kind}; {plain}\n elements = {{ {} }}\n }}\n", hosts.join(", "));
            let tuples = self.tuples(version).join(", ");
            text += &format!(
                "  set c{version} {{\n type {kind} . inet_service; flags interval\n elements = {{ {tuples} }}\n }}\n"
            );
            let verdicts: Vec<String> = hosts.iter().map(|host| format!("{host} : {}", self.end(0))).collect();
            let others = if self.random.percent(30) { format!(", * : {}", self.end(0)) } else { String::new() };
            text += &format!(
                "  map v{version} {{\n type {kind} : verdict\n elements = {{ {}{others} }}\n }}\n",
                verdicts.join(", ")
            );
        }
        let ports = self.ports().join(", ");
        text +=
            &format!("  set p {{\n type inet_service; flags interval; auto-merge\n elements = {{ {ports} }}\n }}\n");
        let names = self.random.some(&["\"eth0\"", "\"lo\"", "\"eth1\""]).join(", ");
        text + &format!("  set n {{\n type ifname\n elements = {{ {names} }}\n }}\n")
    }

    fn nat(&mut self) -> String {
        let hook = if self.side == Side::Server { "prerouting" } else { "output" };
        let priority = self.random.pick(&["-100", "-99", "0", "50"]);
        let mut text = format!("  chain nat {{\n    type nat hook {hook} priority {priority};\n");
        if self.random.percent(20) {
            text += &format!("    {} accept\n", self.test());
        }
        for _ in 0..self.random.between(1, 2) {
            let test = self.test();
            let port = PORTS[self.random.below(PORTS.len())];
            let version = self.version();
            let own: Vec<&str> = SERVER.iter().filter(|ip| ip.contains(':') == (version == "6")).copied().collect();
            let ip = self.random.pick(&own);
            let (ip, ip_port) = if version == "6" {
                (ip.to_owned(), format!("[{ip}]:{port}"))
            } else {
                (ip.to_owned(), format!("{ip}:{port}"))
            };
            let inet = if self.family == "inet" { if version == "6" { "ip6 " } else { "ip " } } else { "" };
            let redirect = format!("redirect to :{port}");
            let to = match self.random.below(4) {
                0 => format!("dnat {inet}to {ip}"),
                1 if self.side == Side::Server => redirect,
                2 => format!("dnat to :{port}"),
                _ => format!("dnat {inet}to {ip_port}"),
            };
            let rule = format!("meta l4proto tcp {test} {to}");
            if is_consistent(&rule) {
                text += &format!("    {rule}\n");
            }
        }
        text + "  }\n"
    }

    fn some_rules(&mut self, level: usize, most: usize) -> String {
        let count = self.random.between(0, most);
        (0..count).map(|_| format!("    {}\n", self.rule(level))).collect::<Vec<_>>().concat()
    }

    /// A rule that nft does not refuse for contradicting itself.
    fn rule(&mut self, level: usize) -> String {
        loop {
            let rule = self.any_rule(level);
            if is_consistent(&rule) {
                return rule;
            }
        }
    }

    fn any_rule(&mut self, level: usize) -> String {
        let mut parts: Vec<String> = (0..self.random.below(3)).map(|_| self.test()).collect();
        if self.random.percent(30) {
            parts.push("counter".to_owned());
        }
        if self.random.percent(8) {
            parts.push(format!("meta mark set {}", self.random.below(3)));
        }
        if self.random.percent(2) {
            parts.push("notrack".to_owned());
        }
        if self.random.percent(2) {
            parts.push("limit rate 1/hour burst 1 packets".to_owned());
        }
        if self.random.percent(2) {
            parts.push("log".to_owned());
        }
        if self.random.percent(10) {
            parts.push(self.map(level));
            return parts.join(" ");
        }
        let comment = if self.random.percent(5) { " comment \"why; not # {\"" } else { "" };
        parts.push(if self.random.percent(5) { "counter".to_owned() } else { self.verdict(level) });
        parts.join(" ") + comment
    }

    fn verdict(&mut self, level: usize) -> String {
        if !self.quiet && self.random.percent(25) {
            return self.rejection();
        }
        self.end(level)
    }

    fn end(&mut self, level: usize) -> String {
        match self.random.below(10) {
            3..5 => "drop".to_owned(),
            5 => "return".to_owned(),
            6 => "continue".to_owned(),
            7..9 if level < CHAINS => format!("jump c{}", self.random.between(level, CHAINS - 1)),
            9 if level < CHAINS => format!("goto c{}", self.random.between(level, CHAINS - 1)),
            _ => "accept".to_owned(),
        }
    }

    fn rejection(&mut self) -> String {
        let v4 = [
            "port-unreachable",
            "host-unreachable",
            "net-unreachable",
            "admin-prohibited",
            "host-prohibited",
            "net-prohibited",
        ];
        let v6 =
            ["port-unreachable", "admin-prohibited", "no-route", "addr-unreachable", "policy-fail", "reject-route"];
        match (self.random.below(4), self.version()) {
            (0, _) => "reject".to_owned(),
            (1, _) => "reject with tcp reset".to_owned(),
            (2, _) if self.family == "inet" => {
                let code = self.random.pick(&["port-unreachable", "admin-prohibited", "no-route", "host-unreachable"]);
                format!("reject with icmpx type {code}")
            }
            (_, "4") => format!("reject with icmp type {}", self.random.pick(&v4)),
            _ => format!("reject with icmpv6 type {}", self.random.pick(&v6)),
        }
    }

    fn map(&mut self, level: usize) -> String {
        let version = self.version();
        let ip = if version == "4" { "ip" } else { "ip6" };
        match self.random.below(6) {
            0 => {
                let mut pairs: Vec<String> = Vec::new();
                for port in self.random.some(&["22", "6379", "6380", "7000-7010", "9000"]) {
                    pairs.push(format!("{port} : {}", self.end(level)));
                }
                format!("tcp dport vmap {{ {} }}", pairs.join(", "))
            }
            1 => {
                let mut pairs: Vec<String> = Vec::new();
                for state in self.random.some(&["new", "established", "invalid", "untracked"]) {
                    pairs.push(format!("{state} : {}", self.end(level)));
                }
                format!("ct state vmap {{ {} }}", pairs.join(", "))
            }
            2 if level == 0 => format!("{ip} saddr vmap @v{version}"),
            3 => {
                let mut pairs: Vec<String> = Vec::new();
                for tuple in self.tuples(version) {
                    pairs.push(format!("{tuple} : {}", self.end(level)));
                }
                format!("{ip} saddr . tcp dport vmap {{ {} }}", pairs.join(", "))
            }
            4 => format!("iifname vmap {{ \"eth0\" : {}, \"lo\" : accept }}", self.end(level)),
            _ => {
                let mut pairs: Vec<String> = Vec::new();
                for host in self.hosts(version) {
                    pairs.push(format!("{host} : {}", self.end(level)));
                }
                if self.random.percent(40) {
                    pairs.push(format!("* : {}", self.end(level)));
                }
                let end = self.random.pick(&["saddr", "daddr"]);
                format!("{ip} {end} vmap {{ {} }}", pairs.join(", "))
            }
        }
    }

    fn test(&mut self) -> String {
        let not = if self.random.percent(30) { "!= " } else { "" };
        match self.random.below(12) {
            0..3 => self.address_test(not),
            3..6 => self.port_test(not),
            6 => self.protocol_test(not),
            7 => self.interface_test(not),
            8 => self.state_test(not),
            9 => self.flags_test(not),
            10 => self.mark_test(not),
            _ => self.other_test(not),
        }
    }

    fn address_test(&mut self, not: &str) -> String {
        let version = self.version();
        let ip = if version == "4" { "ip" } else { "ip6" };
        let end = self.random.pick(&["saddr", "saddr", "daddr"]);
        let host = self.hosts(version).remove(0);
        match self.random.below(8) {
            0 => format!("{ip} {end} {not}{host}"),
            1 => {
                let op = self.random.pick(&["<", ">", "<=", ">="]);
                format!("{ip} {end} {op} {host}")
            }
            2 => format!("{ip} {end} {not}@a{version}"),
            3 => format!("{ip} {end} {not}@h{version}"),
            4 => format!("{ip} {end} . tcp dport {not}@c{version}"),
            5 => format!("{ip} {end} . tcp dport {not}{{ {} }}", self.tuples(version).join(", ")),
            6 => format!("{ip} {end} {not}{{ {} }}", self.addresses(version).join(", ")),
            _ => format!("{ip} {end} {not}{}", self.addresses(version).remove(0)),
        }
    }

    fn port_test(&mut self, not: &str) -> String {
        let port = PORTS[self.random.below(PORTS.len())].to_string();
        match self.random.below(8) {
            0..3 => format!("tcp dport {not}{port}"),
            3 => format!("tcp dport {} {port}", self.random.pick(&["<", ">", "<=", ">="])),
            4 => format!("tcp dport {not}{{ {} }}", self.ports().join(", ")),
            5 => format!("tcp dport {not}@p"),
            6 => format!("th dport {not}{port}"),
            _ => format!("tcp sport {not}{}", self.random.pick(&["1024-65535", "32768-45000", "45001-60999", "6379"])),
        }
    }

    fn protocol_test(&mut self, not: &str) -> String {
        let values = self.random.pick(&["tcp", "udp", "{ tcp, udp }", "{ udp, sctp }", "icmp"]);
        match (self.random.below(3), self.version()) {
            (0, _) => format!("meta l4proto {not}{values}"),
            (1, "4") => format!("ip protocol {not}{values}"),
            (1, _) => format!("ip6 nexthdr {not}{values}"),
            (_, version) if self.family == "inet" => format!("meta nfproto {not}ipv{version}"),
            _ => format!("meta protocol {not}{}", self.random.pick(&["ip", "ip6", "{ ip, ip6 }"])),
        }
    }

    fn interface_test(&mut self, not: &str) -> String {
        let key = self.random.pick(&["iifname", "oifname"]);
        match self.random.below(4) {
            0 => format!("{key} {not}{}", self.random.pick(&["\"eth0\"", "\"eth*\"", "\"lo\"", "\"e*\""])),
            1 => format!(
                "{key} {not}{{ {} }}",
                self.random.some(&["\"eth0\"", "\"lo\"", "\"wg*\"", "\"eth*\""]).join(", ")
            ),
            2 => format!("{key} {not}@n"),
            _ => format!("{} {not}{}", self.random.pick(&["iif", "oif"]), self.random.pick(&["\"eth0\"", "\"lo\""])),
        }
    }

    fn state_test(&mut self, not: &str) -> String {
        let states = self.random.some(&["new", "established", "related", "invalid", "untracked"]);
        match self.random.below(6) {
            0 => format!("ct state {}", states.join(",")),
            1 => format!("ct state {not}{{ {} }}", states.join(", ")),
            2 => format!("ct state ! {}", states[0]),
            3 => format!("ct state {not}{}", states[0]),
            4 => "ct state established,related".to_owned(),
            _ => "ct status dnat".to_owned(),
        }
    }

    fn flags_test(&mut self, not: &str) -> String {
        let tests = [
            "tcp flags & (fin|syn|rst|ack) == syn",
            "tcp flags & (fin|syn|rst|ack) != syn",
            "tcp flags syn",
            "tcp flags == syn",
            "tcp flags != syn",
            "tcp flags ! syn",
            "tcp flags ! ack",
            "tcp flags syn,ack",
            "tcp flags rst,fin",
            "tcp flags & (syn|ack) == (syn|ack)",
            "tcp flags & (syn|ack) != 0",
            "tcp flags & (fin|rst) == 0",
        ];
        match self.random.below(tests.len() + 1) {
            0 => format!("tcp flags {not}{{ syn, ack, rst }}"),
            number => tests[number - 1].to_owned(),
        }
    }

    fn mark_test(&mut self, not: &str) -> String {
        let mark = self.random.below(3);
        match self.random.below(4) {
            0 => format!("meta mark & 0x1 == {}", self.random.below(2)),
            1 => format!("meta mark {not}{{ {mark}, 7 }}"),
            _ => format!("meta mark {not}{mark}"),
        }
    }

    fn other_test(&mut self, not: &str) -> String {
        match self.random.below(8) {
            0..3 => format!("fib daddr type {not}local"),
            3 => format!("fib saddr type {not}local"),
            4 => "udp dport 6379".to_owned(),
            5 => "meta l4proto . th dport { tcp . 6379, udp . 53, tcp . 22 }".to_owned(),
            6 if self.random.percent(30) => "meta skuid 0".to_owned(),
            _ => format!("tcp sport {not}1-1023"),
        }
    }

    fn versions(&self) -> Vec<&'static str> {
        match self.family {
            "ip" => vec!["4"],
            "ip6" => vec!["6"],
            _ => vec!["4", "6"],
        }
    }

    fn version(&mut self) -> &'static str {
        let versions = self.versions();
        versions[self.random.below(versions.len())]
    }

    /// Addresses of either machine, and one of nobody.
    fn hosts(&mut self, version: &str) -> Vec<String> {
        let of = |ip: &&&str| ip.contains(':') == (version == "6");
        let nobody = if version == "6" { "fd77:9::9" } else { "10.99.0.9" };
        let all: Vec<&str> = CLIENT.iter().chain(&SERVER).filter(of).copied().chain([nobody]).collect();
        self.random.some(&all).into_iter().map(str::to_owned).collect()
    }

    /// Addresses, prefixes and ranges that do not overlap.
    fn addresses(&mut self, version: &str) -> Vec<String> {
        let v4 =
            ["10.77.1.1", "10.77.1.2-10.77.1.3", "10.77.1.128/25", "10.77.1.16/28", "10.0.0.0/16", "192.168.0.0/16"];
        let v6 = ["fd77:1::1", "fd77:1::2-fd77:1::3", "fd77:1:0:0:8::/96", "fd77:1::20/124", "2001:db8::/32", "::1"];
        self.random.some(if version == "6" { &v6 } else { &v4 }).into_iter().map(str::to_owned).collect()
    }

    fn ports(&mut self) -> Vec<String> {
        let all = ["22", "6379", "6380-6390", "7000-7999", "1-21", "40000-65535"];
        self.random.some(&all).into_iter().map(str::to_owned).collect()
    }

    /// Addresses with ports, of which no two overlap.
    fn tuples(&mut self, version: &str) -> Vec<String> {
        let mut tuples = Vec::new();
        for address in self.addresses(version) {
            let port = self.random.pick(&["22", "6379", "6379-6380", "1-7000", "0-65535"]);
            tuples.push(format!("{address} . {port}"));
        }
        tuples
    }
}

/// True if it does not want two protocols, or two versions of IP, at once.
fn is_consistent(rule: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| rule.contains(word));
    let tcp = has(&["tcp dport", "tcp sport", "tcp flags", "tcp reset", "meta l4proto tcp"]);
    let other = has(&["udp", "sctp", "icmp\n", "l4proto icmp", "protocol icmp", "nexthdr icmp", "!= icmp"]);
    let v4 = has(&["ip saddr", "ip daddr", "ip protocol", "ipv4", "icmp type", "dnat ip to", "protocol ip "]);
    let v6 = has(&["ip6", "ipv6", "icmpv6"]);
    !(tcp && other || v4 && v6)
}
