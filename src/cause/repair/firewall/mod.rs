//! Letting one client through a packet filter, in the words of the tool that owns the rule that stops it: a rule that
//! another tool puts in is gone, or in the way, as soon as the owner loads its own again.

use std::net::IpAddr;

use crate::model::text::shell_quote;
use crate::model::{Risk, Step, Where};
use crate::probe::host::firewall::rules::{Family, Firewall, Hook, Part, Source, Table, Verdict};
use crate::probe::host::firewall::walk::{Place, Stop};

/// What is to be let through: packets of one connection, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Packets of this machine's peer: it sends them, or they are sent to it.
    pub peer: IpAddr,
    /// The port of the server.
    pub port: u16,
    /// True for packets that leave this machine.
    pub leaves: bool,
    /// True for the answers, which come from the port.
    pub answers: bool,
    /// True if they do not leave the machine: then all that does not is let through.
    pub over_loopback: bool,
}

/// Who owns a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// `ufw`.
    Ufw,
    /// firewalld's panic mode, which drops everything.
    Panic,
    /// firewalld, with the zone, where the chain tells.
    Firewalld(Option<String>),
    /// fail2ban.
    Fail2ban,
    /// Docker.
    Docker,
    /// Kubernetes, or its network.
    Kubernetes,
    /// Whoever types the rules in, or loads them from a file.
    Nobody,
}

impl Owner {
    /// The owner of a rule or policy, by the names of its chain and its table.
    pub fn of(firewall: &Firewall, at: &Place) -> Self {
        let chain = at.chain.as_str();
        let begins = |names: &[&str]| names.iter().any(|name| chain.starts_with(name));
        let table = table(firewall, at);
        let has = |name: &str| table.is_some_and(|table| table.chains.iter().any(|chain| chain.name == name));
        if begins(&["ufw-", "ufw6-"]) || at.rule.is_none() && (has("ufw-user-input") || has("ufw6-user-input")) {
            Self::Ufw
        } else if begins(&["f2b-"]) || at.table.starts_with("f2b-") {
            Self::Fail2ban
        } else if begins(&["DOCKER"]) {
            Self::Docker
        } else if begins(&["KUBE-", "cali-", "CILIUM_", "WEAVE-", "FLANNEL-"]) || at.table == "kube-proxy" {
            Self::Kubernetes
        } else if at.table == "firewalld_policy_drop" {
            Self::Panic
        } else if at.table == "firewalld" || has("INPUT_ZONES") && begins(&["IN_", "INPUT"]) {
            Self::Firewalld(table.and_then(|table| zone(table, chain)))
        } else {
            Self::Nobody
        }
    }
}

fn table<'a>(firewall: &'a Firewall, at: &Place) -> Option<&'a Table> {
    let its = |table: &&Table| table.source == at.source && table.family == at.family && table.name == at.table;
    firewall.tables.iter().find(its)
}

/// The zone of one of firewalld's chains: `filter_IN_public`, `filter_IN_public_deny`; `IN_public` over iptables.
fn zone(table: &Table, chain: &str) -> Option<String> {
    let prefix = if chain.starts_with("filter_IN_") { "filter_IN_" } else { "IN_" };
    let rest = chain.strip_prefix(prefix)?;
    let is_zone = |name: &str| table.chains.iter().any(|chain| chain.name == format!("{prefix}{name}_allow"));
    let cut = || rest.rsplit_once('_').map(|(zone, _)| zone).filter(|zone| is_zone(zone));
    Some(rest).filter(|zone| is_zone(zone)).or_else(cut).map(str::to_owned)
}

/// The steps that let a flow through all of these, least first; each chain that stops it takes one.
pub fn open(firewall: &Firewall, stops: &[Stop], flow: Flow, on: &Where) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for stop in stops {
        for step in step(firewall, &stop.at, flow, on) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
    }
    steps
}

fn step(firewall: &Firewall, at: &Place, flow: Flow, on: &Where) -> Vec<Step> {
    let Flow { peer, port, .. } = flow;
    match Owner::of(firewall, at) {
        Owner::Ufw => ufw(at, flow, on),
        Owner::Firewalld(zone) => firewalld(at, zone.as_deref(), flow, on),
        // Also while firewalld starts or reloads (`src/firewall/core/nftables.py`, set_policy).
        Owner::Panic => vec![
            Step::look(on.clone(), "sudo firewall-cmd --query-panic", "yes: somebody has had it drop everything"),
            Step::tell(
                on.clone(),
                "if the reason for that is over: sudo firewall-cmd --panic-off; then check again for the rules behind it",
            ),
        ],
        Owner::Fail2ban => vec![Step::tell(
            on.clone(),
            format!(
                "fail2ban has banned {peer}: see why (fail2ban-client status), then: sudo fail2ban-client unban {peer}"
            ),
        )],
        // Out of DOCKER-USER, RETURN leads to Docker's other chains; ACCEPT passes them.
        Owner::Docker => vec![Step::tell(
            on.clone(),
            format!(
                "the rule is in a chain of Docker's, which it makes anew; let {peer} reach TCP port {port} in DOCKER-USER, \
                 which it leaves alone: sudo iptables -I DOCKER-USER -s {peer} -p tcp --dport {port} -j ACCEPT"
            ),
        )],
        Owner::Kubernetes => vec![Step::tell(
            Where::Cluster,
            format!("the rule is in a chain of the cluster's: let {peer} reach TCP port {port} in a NetworkPolicy"),
        )],
        Owner::Nobody if !is_plain(at) => vec![Step::tell(
            on.clone(),
            format!("let {peer} reach TCP port {port} there, before the rule: {}", at.name()),
        )],
        Owner::Nobody => match at.source {
            Source::Nft => nft(firewall, at, flow, on),
            Source::Iptables => iptables(firewall, at, flow, on, ["iptables", "ip6tables"]),
            // Their rules are not read, and so none of them is met.
            Source::ArptablesLegacy | Source::EbtablesLegacy => Vec::new(),
            Source::IptablesLegacy => iptables(firewall, at, flow, on, ["iptables-legacy", "ip6tables-legacy"]),
        },
    }
}

/// Names that mean the same to nft, to iptables and to a shell.
fn is_plain(at: &Place) -> bool {
    let plain = |name: &str| {
        name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) && !name.starts_with(['-', '.'])
    };
    plain(&at.table) && plain(&at.chain)
}

/// What is let through, in a few words.
fn text(flow: Flow) -> String {
    let Flow { peer, port, .. } = flow;
    match (flow.leaves, flow.answers) {
        _ if flow.over_loopback => "let this machine reach itself".to_owned(),
        (false, false) => format!("let {peer} reach TCP port {port}"),
        (true, false) => format!("let this machine reach TCP port {port} of {peer}"),
        (true, true) => format!("let the answers from TCP port {port} go to {peer}"),
        (false, true) => format!("let the answers from TCP port {port} of {peer} in"),
    }
}

/// ufw's own rules for users come after those of before.rules, and a rule that denies before one that is added.
fn ufw(at: &Place, flow: Flow, on: &Where) -> Vec<Step> {
    let Flow { peer, port, .. } = flow;
    let by_hand = at.chain.contains("-before-") && at.rule.is_some();
    if by_hand || flow.answers {
        let file = if peer.is_ipv6() { "/etc/ufw/before6.rules" } else { "/etc/ufw/before.rules" };
        return vec![Step::tell(
            on.clone(),
            format!("{} in {file}, before the rule that stops it ({}); then: sudo ufw reload", text(flow), at.name()),
        )];
    }
    let what = if flow.leaves {
        format!("to {peer} port {port} proto tcp")
    } else {
        format!("from {peer} to any port {port} proto tcp")
    };
    let direction = if flow.leaves { "allow out" } else { "allow" };
    let route = if at.hook == Hook::Forward { "route " } else { "" };
    // A rule of the user's stands in the way: rules of IPv6 are numbered after those of IPv4, so that there is no first one.
    let first = match (at.chain.contains("-user-"), peer.is_ipv6()) {
        (true, false) => "insert 1 ",
        (true, true) => "prepend ",
        (false, _) => "",
    };
    let command = format!("sudo ufw {route}{first}{direction} {what}");
    vec![Step::run(on.clone(), Risk::WidensAccess, text(flow), command)]
}

/// Now and for good, without `--reload`: that would drop what others have changed for now, and Docker's chains with it.
fn firewalld(at: &Place, zone: Option<&str>, flow: Flow, on: &Where) -> Vec<Step> {
    let Flow { peer, port, .. } = flow;
    if flow.leaves || flow.answers {
        return vec![Step::tell(
            on.clone(),
            format!(
                "{} in the firewalld policy that stops it ({}): firewall-cmd --list-all-policies",
                text(flow),
                at.name()
            ),
        )];
    }
    let zone = zone.map_or_else(String::new, |zone| format!(" --zone={}", shell_quote(zone)));
    let family = if peer.is_ipv6() { "ipv6" } else { "ipv4" };
    // Of rules with one priority those that deny come first (firewalld.richlanguage(5)).
    let priority = match at.chain.rsplit('_').next() {
        Some("deny") => "priority=\"-1\" ",
        Some("pre") => "priority=\"-32768\" ",
        _ => "",
    };
    let rule = format!(
        "rule {priority}family=\"{family}\" source address=\"{peer}\" port port=\"{port}\" protocol=\"tcp\" accept"
    );
    let add = |permanent: &str| format!("sudo firewall-cmd{permanent}{zone} --add-rich-rule='{rule}'");
    let lasting = "keep that for the next start of firewalld";
    vec![
        Step::run(on.clone(), Risk::WidensAccess, text(flow), add("")),
        Step::run(on.clone(), Risk::WidensAccess, lasting, add(" --permanent")),
    ]
}

fn nft(firewall: &Firewall, at: &Place, flow: Flow, on: &Where) -> Vec<Step> {
    let Flow { peer, port, .. } = flow;
    let ip = if peer.is_ipv6() { "ip6" } else { "ip" };
    let (address, end) = ends(flow, ["saddr", "daddr"], ["dport", "sport"]);
    let family = match at.family {
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
        Family::Inet => "inet",
        Family::Netdev => "netdev",
        Family::Bridge => "bridge",
        Family::Arp => "arp",
    };
    let place = match at.rule.as_ref().map(|rule| rule.handle) {
        Some(Some(handle)) => format!("insert rule {family} {} {} position {handle}", at.table, at.chain),
        None if !may_leave_early(firewall, at) => format!("add rule {family} {} {}", at.table, at.chain),
        _ => format!("insert rule {family} {} {}", at.table, at.chain),
    };
    let rule = match (flow.over_loopback, flow.leaves) {
        (true, true) => "oifname lo accept".to_owned(),
        (true, false) => "iifname lo accept".to_owned(),
        (false, _) => format!("{ip} {address} {peer} tcp {end} {port} accept"),
    };
    vec![
        Step::run(on.clone(), Risk::WidensAccess, text(flow), format!("sudo nft {place} {rule}")),
        Step::tell(
            on.clone(),
            format!(
                "so that it lasts, put the same rule ({rule}) where the rules are loaded from, often /etc/nftables.conf"
            ),
        ),
    ]
}

fn iptables(firewall: &Firewall, at: &Place, flow: Flow, on: &Where, programs: [&str; 2]) -> Vec<Step> {
    let Flow { peer, port, .. } = flow;
    let program = programs[usize::from(peer.is_ipv6())];
    let (address, end) = ends(flow, ["-s", "-d"], ["--dport", "--sport"]);
    let table = if at.table == "filter" { String::new() } else { format!(" -t {}", at.table) };
    let place = match &at.rule {
        Some(rule) => format!("-I {} {}", at.chain, rule.number),
        None if !may_leave_early(firewall, at) => format!("-A {}", at.chain),
        None => format!("-I {}", at.chain),
    };
    let what = match (flow.over_loopback, flow.leaves) {
        (true, true) => "-o lo".to_owned(),
        (true, false) => "-i lo".to_owned(),
        (false, _) => format!("{address} {peer} -p tcp {end} {port}"),
    };
    let command = format!("sudo {program}{table} {place} {what} -j ACCEPT");
    vec![
        Step::run(on.clone(), Risk::WidensAccess, text(flow), command),
        Step::tell(
            on.clone(),
            "so that it lasts: sudo netfilter-persistent save (package iptables-persistent), or put it into the script \
             that sets the rules",
        ),
    ]
}

/// Whether it is the source or the destination that names the peer, and the port.
fn ends<'a>(flow: Flow, address: [&'a str; 2], port: [&'a str; 2]) -> (&'a str, &'a str) {
    (address[usize::from(flow.leaves)], port[usize::from(flow.answers)])
}

/// True if packets may meet the policy without having come to the end of the base chain: then a rule at the end is not
/// asked.
fn may_leave_early(firewall: &Firewall, at: &Place) -> bool {
    let chain = table(firewall, at).and_then(|table| table.chains.iter().find(|chain| chain.name == at.chain));
    let leaves = |verdict: &Verdict| matches!(verdict, Verdict::Return | Verdict::Goto(_));
    chain.is_none_or(|chain| {
        chain.rules.iter().flat_map(|rule| &rule.parts).any(|part| match part {
            Part::Verdict(verdict) => leaves(verdict),
            Part::Map(entries) => entries.iter().any(|entry| leaves(&entry.verdict)),
            Part::NamedMap { .. } => true,
            Part::Match(_) | Part::Mark(_) | Part::NoTrack | Part::Zone => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::host::firewall::rules::Rule;
    use crate::probe::host::firewall::walk::How;

    const IN: Flow = Flow {
        peer: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5)),
        port: 6379,
        leaves: false,
        answers: false,
        over_loopback: false,
    };

    fn at(source: Source, table: &str, chain: &str, handle: Option<u64>) -> Place {
        let rule = Rule { handle, number: 3, packets: Some(1), text: String::new(), parts: Vec::new() };
        Place {
            source,
            family: if source == Source::Nft { Family::Inet } else { Family::Ip },
            table: table.to_owned(),
            base: "INPUT".to_owned(),
            hook: Hook::Input,
            chain: chain.to_owned(),
            rule: Some(rule),
            packets: Some(1),
        }
    }

    /// The first step for a table that has these chains.
    #[track_caller]
    fn check(at: &Place, chains: &[&str], flow: Flow, expected: &str) {
        let firewall = Firewall::of(at, chains);
        let steps = step(&firewall, at, flow, &Where::RedisHost);
        let says = match &steps[0] {
            Step::Run { command, risk, .. } => {
                assert_eq!(*risk, Risk::WidensAccess);
                command
            }
            Step::Tell { text, .. } => text,
            other => panic!("{other:?}"),
        };
        assert!(says.contains(expected), "{says}");
    }

    fn policy(at: Place) -> Place {
        Place { rule: None, ..at }
    }

    #[test]
    fn bare_rules_are_preceded() {
        let rule = "ip saddr 10.0.0.5 tcp dport 6379 accept";
        let nft = || at(Source::Nft, "filter", "input", Some(12));
        check(&nft(), &[], IN, &format!("sudo nft insert rule inet filter input position 12 {rule}"));
        check(&policy(nft()), &["input"], IN, &format!("sudo nft add rule inet filter input {rule}"));
        let legacy = || at(Source::IptablesLegacy, "filter", "INPUT", None);
        check(&legacy(), &[], IN, "sudo iptables-legacy -I INPUT 3 -s 10.0.0.5 -p tcp --dport 6379 -j ACCEPT");
        check(&policy(legacy()), &["INPUT"], IN, "sudo iptables-legacy -A INPUT -s 10.0.0.5");
        let raw = at(Source::Iptables, "raw", "PREROUTING", None);
        check(&raw, &[], IN, "sudo iptables -t raw -I PREROUTING 3");
        let v6 = Flow { peer: "fd00::5".parse().unwrap(), ..IN };
        check(&at(Source::Iptables, "filter", "INPUT", None), &[], v6, "sudo ip6tables -I INPUT 3 -s fd00::5");
        check(&nft(), &[], v6, "position 12 ip6 saddr fd00::5 tcp dport 6379 accept");
    }

    #[test]
    fn what_leaves_and_what_answers_is_named_by_its_other_end() {
        let nft = || at(Source::Nft, "filter", "output", Some(4));
        check(&nft(), &[], Flow { leaves: true, ..IN }, "ip daddr 10.0.0.5 tcp dport 6379 accept");
        check(&nft(), &[], Flow { leaves: true, answers: true, ..IN }, "ip daddr 10.0.0.5 tcp sport 6379 accept");
        check(&nft(), &[], Flow { answers: true, ..IN }, "ip saddr 10.0.0.5 tcp sport 6379 accept");
    }

    #[test]
    fn a_machine_may_reach_itself() {
        let (nft, iptables) =
            (at(Source::Nft, "filter", "input", Some(4)), at(Source::Iptables, "filter", "INPUT", None));
        let itself = Flow { over_loopback: true, ..IN };
        check(&nft, &[], itself, "insert rule inet filter input position 4 iifname lo accept");
        check(&iptables, &[], itself, "sudo iptables -I INPUT 3 -i lo -j ACCEPT");
        let out = Flow { leaves: true, ..itself };
        check(&nft, &[], out, "oifname lo accept");
        check(&iptables, &[], out, "-o lo -j ACCEPT");
    }

    #[test]
    fn ufw_is_asked_where_it_owns_the_rule() {
        let ufw = |chain| at(Source::Iptables, "filter", chain, None);
        let chains = ["INPUT", "ufw-user-input"];
        check(&policy(ufw("INPUT")), &chains, IN, "sudo ufw allow from 10.0.0.5 to any port 6379 proto tcp");
        check(&ufw("ufw-user-input"), &chains, IN, "sudo ufw insert 1 allow from 10.0.0.5 to any port 6379 proto tcp");
        let v6 = Flow { peer: "fd00::5".parse().unwrap(), ..IN };
        check(&ufw("ufw6-user-input"), &chains, v6, "sudo ufw prepend allow from fd00::5 to any port 6379 proto tcp");
        check(&ufw("ufw-before-input"), &chains, IN, "in /etc/ufw/before.rules");
        let out = Flow { leaves: true, ..IN };
        check(&policy(ufw("OUTPUT")), &chains, out, "sudo ufw allow out to 10.0.0.5 port 6379 proto tcp");
        // A rule that somebody typed in beside ufw is not ufw's.
        check(&ufw("INPUT"), &chains, IN, "sudo iptables -I INPUT 3");
    }

    #[test]
    fn firewalld_is_asked_with_the_zone() {
        let chains = ["filter_INPUT", "filter_IN_public_allow", "filter_IN_my_zone_allow"];
        let rule = |chain| at(Source::Nft, "firewalld", chain, Some(9));
        let rich = "--add-rich-rule='rule family=\"ipv4\" source address=\"10.0.0.5\" port port=\"6379\" protocol=\"tcp\" accept'";
        check(&rule("filter_IN_public"), &chains, IN, &format!("sudo firewall-cmd --zone=public {rich}"));
        check(&rule("filter_IN_my_zone"), &chains, IN, "--zone=my_zone ");
        check(&rule("filter_INPUT"), &chains, IN, &format!("sudo firewall-cmd {rich}"));
        check(
            &rule("filter_IN_public_deny"),
            &chains,
            IN,
            "--zone=public --add-rich-rule='rule priority=\"-1\" family",
        );
    }

    #[test]
    fn the_rules_of_other_programs_are_theirs() {
        check(&at(Source::Iptables, "filter", "f2b-redis", None), &[], IN, "fail2ban-client unban 10.0.0.5");
        check(&at(Source::Iptables, "filter", "DOCKER-USER", None), &[], IN, "iptables -I DOCKER-USER -s 10.0.0.5");
        check(&at(Source::Iptables, "filter", "KUBE-FIREWALL", None), &[], IN, "NetworkPolicy");
        check(&at(Source::Nft, "a b", "x; reboot", Some(1)), &[], IN, "let 10.0.0.5 reach TCP port 6379 there");
    }

    #[test]
    fn a_chain_that_is_left_early_takes_its_rule_at_the_beginning() {
        let policy = policy(at(Source::Nft, "filter", "input", None));
        let mut firewall = Firewall::of(&policy, &["input"]);
        let part = |verdict| Rule {
            handle: Some(1),
            number: 1,
            packets: None,
            text: String::new(),
            parts: vec![Part::Verdict(verdict)],
        };
        firewall.tables[0].chains[0].rules = vec![part(Verdict::Jump("x".to_owned()))];
        assert!(!may_leave_early(&firewall, &policy));
        firewall.tables[0].chains[0].rules = vec![part(Verdict::Goto("x".to_owned()))];
        assert!(may_leave_early(&firewall, &policy));
    }

    #[test]
    fn each_chain_takes_its_step_once() {
        let one = Stop { at: policy(at(Source::Iptables, "filter", "INPUT", None)), how: How::Dropped };
        let firewall = Firewall::of(&one.at, &["INPUT", "ufw-user-input"]);
        assert_eq!(open(&firewall, &[one.clone(), one], IN, &Where::RedisHost).len(), 1);
    }
}
