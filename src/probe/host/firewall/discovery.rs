//! What a packet filter makes of neighbour discovery: ARP, which only tables of its own family see, and NDP (ICMPv6), which
//! a filter that drops by policy drops with the rest.

use std::net::IpAddr;

use super::rules::{
    Chain, Family, Field, Firewall, Hook, Match, Part, Rule, Source, State, Table, Test, Values, Verdict,
};

/// ICMPv6.
const ICMPV6: u64 = 58;
/// How rules name the messages of neighbour discovery: nft, iptables by number and by name.
const NAMES: [&str; 5] = ["nd-neighbor", "--icmpv6-type 135", "--icmpv6-type 136", "neighbour-", "neighbor-"];

/// What may keep a machine from finding its neighbours, or from being found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurdle {
    /// Who lists it.
    pub source: Source,
    /// The table and the chain, and what it does.
    pub says: String,
}

/// The first chain that may drop neighbour discovery for an address of this family.
pub fn hurdle(firewall: &Firewall, ip: IpAddr) -> Option<Hurdle> {
    firewall.tables.iter().find_map(|table| {
        let sees = match table.family {
            Family::Arp => ip.is_ipv4(),
            Family::Netdev | Family::Bridge => true,
            Family::Ip6 | Family::Inet => ip.is_ipv6(),
            Family::Ip => false,
        };
        if !sees || ip.is_ipv6() && chains(table).iter().flat_map(|chain| &chain.rules).any(accepts) {
            return None;
        }
        chains(table).into_iter().find_map(|chain| Some(Hurdle { source: table.source, says: dropped(table, chain)? }))
    })
}

/// The chains that packets to and from the machine itself may come through.
fn chains(table: &Table) -> Vec<&Chain> {
    let ours = |chain: &&Chain| chain.base.as_ref().is_some_and(|base| base.hook != Hook::Forward);
    let mut reached: Vec<&Chain> = table.chains.iter().filter(ours).collect();
    let mut next = 0;
    while let Some(chain) = reached.get(next) {
        let named = |other: &&Chain| chain.rules.iter().any(|rule| leads_to(rule, &other.name));
        let new = |other: &&Chain| reached.iter().all(|known| known.name != other.name);
        let more: Vec<&Chain> = table.chains.iter().filter(named).filter(new).collect();
        reached.extend(more);
        next += 1;
    }
    reached
}

fn leads_to(rule: &Rule, name: &str) -> bool {
    rule.parts.iter().any(|part| match part {
        Part::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => to == name,
        // Where a map leads is not followed: it may be anywhere.
        Part::Map(_) | Part::NamedMap { .. } => true,
        _ => false,
    })
}

fn dropped(table: &Table, chain: &Chain) -> Option<String> {
    let family = match table.family {
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
        Family::Inet => "inet",
        Family::Netdev => "netdev",
        Family::Bridge => "bridge",
        Family::Arp => "arp",
    };
    let at = format!("{family} {} {}", table.name, chain.name);
    let rule = chain.rules.iter().find(|rule| drops(rule) && may_meet(rule));
    let by_rule = || rule.map(|rule| format!("{at}: {}", rule.text));
    let policy = chain.base.as_ref().is_some_and(|base| base.drops);
    by_rule().or_else(|| policy.then(|| format!("{at} drops by policy, and no rule lets neighbour discovery through")))
}

fn drops(rule: &Rule) -> bool {
    let stops = |part: &Part| {
        matches!(part, Part::Verdict(Verdict::Drop | Verdict::Reject(_) | Verdict::Unknown(_)))
            || matches!(part, Part::Map(entries) if entries.iter().any(|entry| entry.verdict == Verdict::Drop))
    };
    rule.parts.iter().any(stops)
}

/// True unless a test of the rule keeps it from neighbour discovery, which is ICMPv6 and not tracked.
fn may_meet(rule: &Rule) -> bool {
    !rule.parts.iter().any(|part| match part {
        Part::Match(Match { negated: false, test: Test::Is(field, values) }) => is_other(*field, values),
        Part::Match(Match { negated: false, test: Test::Flags { .. } }) => true,
        _ => false,
    })
}

fn is_other(field: Field, values: &Values) -> bool {
    match (field, values) {
        (Field::FromPort | Field::ToPort, _) => true,
        (Field::Protocol, Values::Numbers(numbers)) => !holds(numbers, ICMPV6),
        (Field::IpVersion, Values::Numbers(numbers)) => !holds(numbers, 6),
        (Field::State, Values::States(states)) => !states.contains(&State::Untracked),
        (Field::From | Field::To, Values::Addresses(ranges)) => ranges.iter().all(|(from, _)| from.is_ipv4()),
        _ => false,
    }
}

fn holds(ranges: &[(u64, u64)], number: u64) -> bool {
    ranges.iter().any(|(from, to)| (*from..=*to).contains(&number))
}

/// True if the rule lets neighbour discovery through: by its name, or all of ICMPv6.
fn accepts(rule: &Rule) -> bool {
    let all = |part: &Part| match part {
        Part::Match(Match { negated: false, test: Test::Is(Field::Protocol, Values::Numbers(numbers)) }) => {
            holds(numbers, ICMPV6)
        }
        Part::Match(Match { negated: false, test: Test::Is(Field::IpVersion, _) }) | Part::Verdict(Verdict::Accept) => {
            true
        }
        _ => false,
    };
    let names_icmp = |part: &Part| matches!(part, Part::Match(Match { test: Test::Is(Field::Protocol, _), .. }));
    let whole = rule.parts.iter().all(all) && rule.parts.iter().any(names_icmp);
    let accepts = rule.parts.contains(&Part::Verdict(Verdict::Accept));
    accepts && (whole || NAMES.iter().any(|name| rule.text.contains(name)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::probe::host::firewall::rules::{Base, Kind};

    /// A filter with one chain of these rules for what comes in.
    pub fn filter(family: Family, drops: bool, rules: Vec<Rule>) -> Firewall {
        let base =
            Base { hook: Hook::Input, priority: 0, kind: Kind::Filter, drops, devices: Vec::new(), packets: None };
        let chains = vec![Chain { name: "f".to_owned(), base: Some(base), rules }];
        let table = Table { source: Source::Nft, family, name: "t".to_owned(), chains, sets: Vec::new() };
        Firewall { tables: vec![table], unread: Vec::new() }
    }

    fn rule(text: &str, parts: Vec<Part>) -> Rule {
        Rule { handle: None, number: 1, packets: None, text: text.to_owned(), parts }
    }

    fn test(test: Test) -> Part {
        Part::Match(Match { negated: false, test })
    }

    #[test]
    fn what_may_drop_discovery_is_named() {
        let (four, six): (IpAddr, IpAddr) = ([10, 0, 0, 9].into(), "fd00::9".parse().unwrap());
        let protocol = |number| test(Test::Is(Field::Protocol, Values::Numbers(vec![(number, number)])));
        let invalid = || test(Test::Is(Field::State, Values::States(vec![State::Invalid])));
        let (accept, drop) = (|| Part::Verdict(Verdict::Accept), || Part::Verdict(Verdict::Drop));
        let unknown = || test(Test::Unknown("icmpv6 type".to_owned()));
        let echo = || rule("icmpv6 type echo-request accept", vec![protocol(58), unknown(), accept()]);
        let solicit = || rule("icmpv6 type nd-neighbor-solicit accept", vec![protocol(58), unknown(), accept()]);
        let all = || rule("meta l4proto ipv6-icmp accept", vec![protocol(58), accept()]);
        let table: [(Family, bool, Vec<Rule>, bool, bool); 12] = [
            (Family::Inet, false, vec![], false, false),
            (Family::Inet, true, vec![], false, true),
            (Family::Ip, true, vec![], false, false),
            (Family::Inet, true, vec![echo()], false, true),
            (Family::Inet, true, vec![solicit()], false, false),
            (Family::Inet, true, vec![all()], false, false),
            (Family::Ip6, false, vec![rule("tcp drop", vec![protocol(6), drop()])], false, false),
            (Family::Ip6, false, vec![rule("ct state invalid drop", vec![invalid(), drop()])], false, false),
            (Family::Ip6, false, vec![rule("drop", vec![drop()])], false, true),
            (Family::Arp, false, vec![], false, false),
            (Family::Arp, true, vec![], true, false),
            (Family::Arp, false, vec![rule("drop", vec![drop()])], true, false),
        ];
        for (family, drops, rules, for_four, for_six) in table {
            let firewall = filter(family, drops, rules);
            let found = (hurdle(&firewall, four).is_some(), hurdle(&firewall, six).is_some());
            assert_eq!(found, (for_four, for_six), "{firewall:?}");
        }
    }

    #[test]
    fn what_is_forwarded_only_is_not_in_the_way() {
        let mut firewall = filter(Family::Ip6, true, Vec::new());
        firewall.tables[0].chains[0].base.as_mut().unwrap().hook = Hook::Forward;
        assert_eq!(hurdle(&firewall, "fd00::9".parse().unwrap()), None);
    }
}
