//! What `ipset save` prints: the sets that rules of iptables look addresses and ports up in.
//!
//! Sets of other kinds, with elements that are excepted, or that packets change are not known: then a test of them is
//! unknown, too.

use std::net::IpAddr;

use super::rules::{Family, Field, Set, Test, Values};
use crate::model::escape;

/// Sets with more elements than this are not looked at.
const MOST_ELEMENTS: usize = 20_000;

/// The sets of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sets(Vec<IpSet>);

/// A set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct IpSet {
    name: String,
    /// The family of its addresses; none where it has no addresses.
    family: Option<Family>,
    /// What each of its dimensions holds.
    holds: Vec<Kind>,
    /// One for each element and dimension.
    elements: Vec<Vec<Values>>,
}

/// What a dimension of a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Address,
    Port,
}

/// Reads a listing. What is not understood of it is left out.
pub fn parse(text: &str) -> Sets {
    let mut sets: Vec<IpSet> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["create", name, kind, options @ ..] => sets.extend(create(name, kind, options)),
            ["add", name, element, options @ ..] => {
                let Some(at) = sets.iter().position(|set| set.name == *name) else { continue };
                let set = &mut sets[at];
                let added = set.elements.len() < MOST_ELEMENTS && !options.contains(&"nomatch") && set.add(element);
                // A set that is known in part is not known.
                if !added {
                    sets.swap_remove(at);
                }
            }
            _ => {}
        }
    }
    Sets(sets)
}

fn create(name: &str, kind: &str, options: &[&str]) -> Option<IpSet> {
    let (_, of) = kind.split_once(':')?;
    let kind = |word: &str| match word {
        "ip" | "net" => Some(Kind::Address),
        "port" => Some(Kind::Port),
        _ => None,
    };
    let holds: Vec<Kind> = of.split(',').map(kind).collect::<Option<_>>()?;
    // The packet's address is cut before it is looked up.
    if ["netmask", "bitmask"].iter().any(|option| options.contains(option)) {
        return None;
    }
    let family = match options.iter().position(|option| *option == "family").and_then(|at| options.get(at + 1)) {
        Some(&"inet6") => Some(Family::Ip6),
        _ if holds.contains(&Kind::Address) => Some(Family::Ip),
        _ => None,
    };
    Some(IpSet { name: name.to_owned(), family, holds, elements: Vec::new() })
}

impl IpSet {
    /// Adds `10.0.0.0/8`, `10.0.0.9,tcp:6379`, …; false if it is not understood.
    fn add(&mut self, element: &str) -> bool {
        let parts: Vec<&str> = element.split(',').collect();
        if parts.len() != self.holds.len() {
            return false;
        }
        let mut values = Vec::new();
        for (part, kind) in parts.into_iter().zip(&self.holds) {
            match (kind, part.split_once(':')) {
                (Kind::Address, _) => match addresses(part) {
                    Some(range) => values.push(Values::Addresses(vec![range])),
                    None => return false,
                },
                // Elements of other protocols hold for no packet of ours.
                (Kind::Port, Some((protocol, _))) if ["udp", "sctp", "udplite", "icmp"].contains(&protocol) => {
                    return true;
                }
                (Kind::Port, Some((protocol, _))) if protocol != "tcp" => return false,
                (Kind::Port, port) => match ports(port.map_or(part, |(_, port)| port)) {
                    Some(range) => values.push(Values::Numbers(vec![range])),
                    None => return false,
                },
            }
        }
        self.elements.push(values);
        true
    }
}

impl Sets {
    /// The test that `--match-set NAME src,dst` makes, of packets of this family.
    pub fn test(&self, family: Family, name: &str, ends: &str) -> Option<Test> {
        let set = self.0.iter().find(|set| set.name == name)?;
        let ends: Vec<&str> = ends.split(',').collect();
        // More ends than dimensions are allowed and not looked at.
        if ends.len() < set.holds.len() {
            return None;
        }
        let field = |(end, kind): (&&str, &Kind)| match (*end, kind) {
            ("src", Kind::Address) => Some(Field::From),
            ("dst", Kind::Address) => Some(Field::To),
            ("src", Kind::Port) => Some(Field::FromPort),
            ("dst", Kind::Port) => Some(Field::ToPort),
            _ => None,
        };
        let of: Vec<Field> = ends.iter().zip(&set.holds).map(field).collect::<Option<_>>()?;
        set.family.is_none_or(|known| known == family).then(|| Test::InSet { of, name: known_as(name) })
    }

    /// The sets, as they are kept with a table.
    pub fn of_table(&self) -> impl Iterator<Item = Set> + '_ {
        let set = |set: &IpSet| Set { name: known_as(&set.name), elements: set.elements.clone(), verdicts: Vec::new() };
        self.0.iter().map(set)
    }
}

/// nftables may have a set of the same name in the same table; none of its names has a colon.
fn known_as(name: &str) -> String {
    format!("ipset:{}", escape(name.as_bytes()))
}

/// `10.0.0.9`, `10.0.0.0/8`, `10.0.0.1-10.0.0.9`.
fn addresses(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        return Some((first.parse().ok()?, last.parse().ok()?));
    }
    let (ip, length) = text.split_once('/').map_or((text, None), |(ip, length)| (ip, Some(length)));
    let length: Option<u32> = match length {
        Some(length) => Some(length.parse().ok()?),
        None => None,
    };
    Some(match ip.parse().ok()? {
        IpAddr::V4(ip) => {
            let below = u32::MAX.checked_shr(length.unwrap_or(32)).unwrap_or(0);
            let first = ip.to_bits() & !below;
            (IpAddr::V4(first.into()), IpAddr::V4((first | below).into()))
        }
        IpAddr::V6(ip) => {
            let below = u128::MAX.checked_shr(length.unwrap_or(128)).unwrap_or(0);
            let first = ip.to_bits() & !below;
            (IpAddr::V6(first.into()), IpAddr::V6((first | below).into()))
        }
    })
}

/// `6379`, `6379-6400`.
fn ports(text: &str) -> Option<(u64, u64)> {
    let port = |text: &str| text.parse::<u16>().ok().map(u64::from);
    match text.split_once('-') {
        Some((first, last)) => Some((port(first)?, port(last)?)),
        None => port(text).map(|port| (port, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "create pairs hash:ip,port family inet hashsize 1024 maxelem 65536 bucketsize 12\n\
                         add pairs 1.2.3.4,tcp:80\nadd pairs 1.2.3.4,udp:53\n\
                         create nets hash:net family inet hashsize 1024\nadd nets 1.2.3.0/24\nadd nets 9.9.9.9\n\
                         create holes hash:net family inet\nadd holes 1.2.3.0/28 nomatch\nadd holes 1.2.3.0/24\n\
                         create doors bitmap:port range 0-1000\nadd doors 33\nadd doors 34 timeout 9\n\
                         create six hash:ip family inet6 timeout 300\nadd six fd00::1 timeout 7\n\
                         create cut hash:ip family inet netmask 24\nadd cut 1.2.3.0\n\
                         create cards hash:mac\nadd cards 00:11:22:33:44:55\ncreate all list:set size 8\nadd all nets\n";

    #[test]
    fn reads_sets_and_what_is_looked_up_in_them() {
        let sets = parse(SAVED);
        let test = |family, name: &str, ends: &str| match sets.test(family, name, ends) {
            Some(Test::InSet { of, .. }) => of,
            _ => Vec::new(),
        };
        for (name, ends, of) in [
            ("pairs", "src,dst", vec![Field::From, Field::ToPort]),
            ("pairs", "src", vec![]),
            ("nets", "dst", vec![Field::To]),
            ("nets", "dst,src", vec![Field::To]),
            ("doors", "dst", vec![Field::ToPort]),
            ("six", "src", vec![]),
            ("holes", "src", vec![]),
            ("cut", "src", vec![]),
            ("cards", "src", vec![]),
            ("all", "src", vec![]),
            ("none", "src", vec![]),
        ] {
            assert_eq!(test(Family::Ip, name, ends), of, "{name} {ends}");
        }
        assert_eq!(test(Family::Ip6, "six", "src"), [Field::From]);
        assert_eq!(test(Family::Ip6, "doors", "src"), [Field::FromPort]);
        let pairs = sets.of_table().find(|set| set.name == "ipset:pairs").unwrap();
        let ip: IpAddr = "1.2.3.4".parse().unwrap();
        let expected = vec![Values::Addresses(vec![(ip, ip)]), Values::Numbers(vec![(80, 80)])];
        assert_eq!(pairs.elements, [expected]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "((create|add) [a-c] (hash|bitmap|list):?(ip|net|port|,){0,3}[ 0-9a-f:./,-]{0,20}\n|\\PC{0,9}\n){0,9}") {
            let _ = parse(&text).test(Family::Ip, "a", "src,dst");
        }
    }
}
