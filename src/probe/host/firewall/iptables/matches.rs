//! What a rule of iptables tests (iptables-extensions(8), MATCH EXTENSIONS).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::ipset::Sets;
use super::super::protocols;
use super::super::rules::{AddressKind, Family, Field, Match, State, Test, Translation, Values};
use super::target::hex;
use super::{Word, joined};

/// One option: `! --dport 6379`.
struct Asked<'a> {
    negated: bool,
    name: &'a str,
    values: &'a [Word],
}

impl Asked<'_> {
    /// Its value, where it has exactly one.
    fn value(&self) -> Option<&str> {
        match self.values {
            [value] => Some(&value.text),
            _ => None,
        }
    }
}

/// What every rule may test: addresses, interfaces, protocol.
pub fn basic(family: Family, words: &[Word]) -> Vec<Match> {
    let read = |option: &Asked| -> Option<Vec<Test>> {
        let value = option.value()?;
        Some(vec![match option.name {
            "-s" | "--source" => Test::Is(Field::From, addresses(family, value)?),
            "-d" | "--destination" => Test::Is(Field::To, addresses(family, value)?),
            "-i" | "--in-interface" => Test::Is(Field::InInterface, interface(value)?),
            "-o" | "--out-interface" => Test::Is(Field::OutInterface, interface(value)?),
            "-p" | "--protocol" if ["all", "0"].contains(&value) && !option.negated => return Some(Vec::new()),
            "-p" | "--protocol" => Test::Is(Field::Protocol, number(protocol(value)?)),
            _ => return None,
        }])
    };
    tests("", words, read)
}

/// What an extension (`-m`) tests.
pub fn module(family: Family, sets: &Sets, name: &str, words: &[Word]) -> Vec<Match> {
    let read = |option: &Asked| -> Option<Vec<Test>> {
        let test = match name {
            "comment" => return Some(Vec::new()),
            "tcp" => tcp(option)?,
            "multiport" => multiport(option)?,
            "conntrack" | "state" => state(option)?,
            "mark" if option.name == "--mark" => mark(option.value()?)?,
            "iprange" => iprange(family, option)?,
            "addrtype" => addrtype(family, option)?,
            "set" => match (option.name, option.values) {
                ("--match-set", [name, ends]) => sets.test(family, &name.text, &ends.text)?,
                _ => return None,
            },
            _ => return None,
        };
        Some(vec![test])
    };
    // Some have no options at all (`-m socket`).
    match words {
        [] if !["tcp", "comment"].contains(&name) => vec![unknown(name, words)],
        words => tests(name, words, read),
    }
}

/// Reads the options one by one. Where they cannot even be told apart, nothing is known of any.
fn tests(module: &str, words: &[Word], read: impl Fn(&Asked) -> Option<Vec<Test>>) -> Vec<Match> {
    let Some(options) = options(words) else { return vec![unknown(module, words)] };
    let read = |option: Asked| match read(&option) {
        Some(tests) => tests.into_iter().map(|test| Match { negated: option.negated, test }).collect(),
        None => vec![unknown(module, words)],
    };
    let mut tests: Vec<Match> = options.into_iter().flat_map(read).collect();
    // What is not known is said once.
    let mut said = false;
    tests.retain(|test| !matches!(test.test, Test::Unknown(_)) || !std::mem::replace(&mut said, true));
    tests
}

fn unknown(module: &str, words: &[Word]) -> Match {
    let says = joined(words);
    let says = if module.is_empty() { says } else { format!("-m {} {says}", crate::model::escape(module.as_bytes())) };
    Match { negated: false, test: Test::Unknown(says.trim_end().to_owned()) }
}

fn options(words: &[Word]) -> Option<Vec<Asked<'_>>> {
    let begins = |word: &Word| !word.quoted && word.text.starts_with('-') && word.text.len() > 1;
    let mut options = Vec::new();
    let mut rest = words;
    while let Some(first) = rest.first() {
        let negated = first.turns();
        let (name, after) = rest[usize::from(negated)..].split_first().filter(|(name, _)| begins(name))?;
        let count = after.iter().position(|word| begins(word) || word.turns()).unwrap_or(after.len());
        let (values, others) = after.split_at(count);
        options.push(Asked { negated, name: &name.text, values });
        rest = others;
    }
    Some(options)
}

fn tcp(option: &Asked) -> Option<Test> {
    match (option.name, option.values) {
        ("--sport" | "--source-port", _) => Some(Test::Is(Field::FromPort, ports(option.value()?)?)),
        ("--dport" | "--destination-port", _) => Some(Test::Is(Field::ToPort, ports(option.value()?)?)),
        ("--syn", []) => Some(Test::Flags { mask: 1 | 2 | 4 | 16, value: 2 }),
        ("--tcp-flags", [mask, value]) => {
            let (mask, value) = (flags(&mask.text)?, flags(&value.text)?);
            Some(Test::Flags { mask, value })
        }
        _ => None,
    }
}

fn flags(names: &str) -> Option<u8> {
    let flag = |name: &str| {
        Some(match name {
            "FIN" => 1,
            "SYN" => 2,
            "RST" => 4,
            "PSH" => 8,
            "ACK" => 16,
            "URG" => 32,
            "ALL" => 63,
            "NONE" => 0,
            _ => return None,
        })
    };
    names.split(',').try_fold(0, |all, name| Some(all | flag(name)?))
}

fn multiport(option: &Asked) -> Option<Test> {
    let list = option.value()?;
    let ranges: Option<Vec<(u64, u64)>> = list.split(',').map(port_range).collect();
    let ports = Values::Numbers(ranges?);
    Some(match option.name {
        "--sports" | "--source-ports" => Test::Is(Field::FromPort, ports),
        "--dports" | "--destination-ports" => Test::Is(Field::ToPort, ports),
        "--ports" => {
            let either = [Field::FromPort, Field::ToPort].map(|field| vec![Test::Is(field, ports.clone())]);
            Test::Any(either.into())
        }
        _ => return None,
    })
}

/// States and translations may be mixed, and one of them suffices (`xt_conntrack`: they are bits of one mask).
fn state(option: &Asked) -> Option<Test> {
    if !["--ctstate", "--state"].contains(&option.name) {
        return None;
    }
    let (mut states, mut translations) = (Vec::new(), Vec::new());
    for name in option.value()?.split(',') {
        match name {
            "NEW" => states.push(State::New),
            "ESTABLISHED" => states.push(State::Established),
            "RELATED" => states.push(State::Related),
            "INVALID" => states.push(State::Invalid),
            "UNTRACKED" => states.push(State::Untracked),
            "SNAT" => translations.push(Translation::Source),
            "DNAT" => translations.push(Translation::Destination),
            _ => return None,
        }
    }
    let states = Test::Is(Field::State, Values::States(states));
    if translations.is_empty() {
        return Some(states);
    }
    let translated = Test::Is(Field::Translated, Values::Translations(translations));
    Some(Test::Any(vec![vec![states], vec![translated]]))
}

/// `0x5`, or `0x5/0xff`.
fn mark(text: &str) -> Option<Test> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (hex(value)?, hex(mask)?),
        None => (hex(text)?, u32::MAX),
    };
    Some(match mask {
        u32::MAX => Test::Is(Field::Mark, number(value.into())),
        mask => Test::Marked { mask, value },
    })
}

fn iprange(family: Family, option: &Asked) -> Option<Test> {
    let (first, last) = option.value()?.split_once('-')?;
    let range = (first.parse::<IpAddr>().ok()?, last.parse::<IpAddr>().ok()?);
    let fits = |ip: IpAddr| ip.is_ipv4() == (family == Family::Ip);
    let field = match option.name {
        "--src-range" => Field::From,
        "--dst-range" => Field::To,
        _ => return None,
    };
    (fits(range.0) && fits(range.1)).then(|| Test::Is(field, Values::Addresses(vec![range])))
}

/// For IPv4 an address has one kind, that of the table `local` (`inet_addr_type`); for IPv6 it may have several: what is
/// local is unicast too, and all that are named must hold (`match_type6` in `xt_addrtype`).
fn addrtype(family: Family, option: &Asked) -> Option<Test> {
    let field = match option.name {
        "--src-type" => Field::FromKind,
        "--dst-type" => Field::ToKind,
        _ => return None,
    };
    let names: Vec<&str> = option.value()?.split(',').collect();
    let kinds = if family == Family::Ip6 {
        match names.as_slice() {
            ["UNICAST"] => vec![AddressKind::Local, AddressKind::Unicast],
            ["LOCAL"] | ["LOCAL", "UNICAST"] | ["UNICAST", "LOCAL"] => vec![AddressKind::Local],
            ["MULTICAST"] => vec![AddressKind::Other],
            _ => return None,
        }
    } else {
        let kind = |name: &&str| {
            Some(match *name {
                "LOCAL" => AddressKind::Local,
                "UNICAST" => AddressKind::Unicast,
                "UNSPEC" | "BROADCAST" | "ANYCAST" | "MULTICAST" | "BLACKHOLE" | "UNREACHABLE" | "PROHIBIT"
                | "THROW" | "NAT" | "XRESOLVE" => AddressKind::Other,
                _ => return None,
            })
        };
        names.iter().map(kind).collect::<Option<Vec<_>>>()?
    };
    Some(Test::Is(field, Values::Kinds(kinds)))
}

/// `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `10.0.0.9`, and the same of IPv6. Masks with holes are no range.
fn addresses(family: Family, text: &str) -> Option<Values> {
    let (ip, mask) = text.split_once('/').map_or((text, None), |(ip, mask)| (ip, Some(mask)));
    let range = match family {
        Family::Ip => range_v4(ip.parse().ok()?, mask)?,
        _ => range_v6(ip.parse().ok()?, mask)?,
    };
    Some(Values::Addresses(vec![range]))
}

fn range_v4(ip: Ipv4Addr, mask: Option<&str>) -> Option<(IpAddr, IpAddr)> {
    let below = match mask {
        None => 0,
        Some(mask) if mask.contains('.') => !mask.parse::<Ipv4Addr>().ok()?.to_bits(),
        Some(length) => u32::MAX.checked_shr(length.parse().ok()?).unwrap_or(0),
    };
    let first = ip.to_bits() & !below;
    let is_range = (u64::from(below) + 1).is_power_of_two();
    is_range.then(|| (Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(first | below).into()))
}

fn range_v6(ip: Ipv6Addr, mask: Option<&str>) -> Option<(IpAddr, IpAddr)> {
    let below = match mask {
        None => 0,
        Some(mask) if mask.contains(':') => !mask.parse::<Ipv6Addr>().ok()?.to_bits(),
        Some(length) => u128::MAX.checked_shr(length.parse().ok()?).unwrap_or(0),
    };
    let first = ip.to_bits() & !below;
    let is_range = below & below.wrapping_add(1) == 0;
    is_range.then(|| (Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(first | below).into()))
}

/// A `+` at the end stands for any rest. In rules a `*` does, so that a name which really ends in one is not known.
fn interface(name: &str) -> Option<Values> {
    let name = match name.strip_suffix('+') {
        Some(beginning) => format!("{beginning}*"),
        None if name.ends_with('*') => return None,
        None => name.to_owned(),
    };
    Some(Values::Names(vec![crate::model::escape(name.as_bytes())]))
}

/// `-p 0` is written as `-p all`, and any.
fn protocol(name: &str) -> Option<u64> {
    protocols::number(name).filter(|number| *number != 0)
}

fn number(value: u64) -> Values {
    Values::Numbers(vec![(value, value)])
}

fn ports(text: &str) -> Option<Values> {
    Some(Values::Numbers(vec![port_range(text)?]))
}

/// `6379`, `6379:6400`, `:1023`, `1024:`.
fn port_range(text: &str) -> Option<(u64, u64)> {
    let port = |text: &str| text.parse::<u16>().ok().map(u64::from);
    match text.split_once(':') {
        None => port(text).map(|port| (port, port)),
        Some(("", last)) => Some((0, port(last)?)),
        Some((first, "")) => Some((port(first)?, u64::from(u16::MAX))),
        Some((first, last)) => Some((port(first)?, port(last)?)),
    }
}
