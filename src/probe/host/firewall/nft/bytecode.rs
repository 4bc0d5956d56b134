//! What `nft` forgets when it lists rules, from the rules as the kernel keeps them (`nft --debug=netlink list ruleset`).
//!
//! nft 1.0.6 leaves out a `meta nfproto ipv6` before `reject with tcp reset` if there are only tests between the two
//! (measured; not with a `counter` or a `log` there): the rule seems to be for both versions of IP.

use std::collections::HashMap;

use crate::model::escape;
use crate::probe::host::firewall::rules::{Family, Field, Match, Part, Rule, Table, Test, Values};

/// What such a rule is taken to test.
pub(super) const ONE_VERSION: &str = "nft does not list whether it is for one version of IP only";

/// True if a rule has to be looked up in what [`settle`] reads.
pub fn is_unsettled(tables: &[Table]) -> bool {
    let rules = tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    rules.flat_map(|rule| &rule.parts).any(is_open)
}

/// Settles whether rules are for one version of IP, by what `nft --debug=netlink list ruleset` prints; where it does not
/// say, that stays unknown.
pub fn settle(tables: &mut [Table], printed: &str) {
    let versions = versions(printed);
    for table in tables {
        let family = match table.family {
            Family::Inet => "inet",
            Family::Netdev => "netdev",
            Family::Bridge => "bridge",
            _ => continue,
        };
        for chain in &mut table.chains {
            for rule in &mut chain.rules {
                let Some(handle) = rule.handle else { continue };
                let place = format!("{family} {} {} {handle}", table.name, chain.name);
                match versions.get(&place) {
                    Some(Version::Both) => rule.parts.retain(|part| !is_open(part)),
                    Some(Version::Only(version)) => make_sure(rule, *version),
                    Some(Version::Unknown) | None => {}
                }
            }
        }
    }
}

/// The versions of IP that a rule is for.
#[derive(Clone, Copy)]
enum Version {
    Both,
    Only(u64),
    Unknown,
}

fn is_open(part: &Part) -> bool {
    matches!(part, Part::Match(Match { test: Test::Unknown(says), .. }) if says == ONE_VERSION)
}

fn make_sure(rule: &mut Rule, version: u64) {
    for part in rule.parts.iter_mut().filter(|part| is_open(part)) {
        let test = Test::Is(Field::IpVersion, Values::Numbers(vec![(version, version)]));
        *part = Part::Match(Match { negated: false, test });
    }
}

/// The version of each rule, by family, table, chain and handle.
fn versions(printed: &str) -> HashMap<String, Version> {
    let mut all = HashMap::new();
    let mut place = None;
    // True after the version was loaded, until it is compared.
    let mut loaded = false;
    for line in printed.lines() {
        let words: Vec<&str> = line.split_whitespace().take(6).collect();
        if !line.starts_with(' ') {
            place = place_of(&words);
            loaded = false;
            if let Some(place) = &place {
                all.insert(String::clone(place), Version::Both);
            }
            continue;
        }
        let Some(version) = place.as_ref().and_then(|place| all.get_mut(place)) else { continue };
        match words.as_slice() {
            ["[", "cmp", "eq", "reg", _, value] if loaded => *version = by_number(value),
            ["[", "meta", "load", "nfproto" | "protocol", ..] => {
                *version = Version::Unknown;
                loaded = true;
                continue;
            }
            // An Ethernet header tells the version as well.
            ["[", "payload", "load", ..] if line.contains("link header") => *version = Version::Unknown,
            _ => {}
        }
        loaded = false;
    }
    all
}

/// `inet t c 7`, and the rule that it comes after.
fn place_of(words: &[&str]) -> Option<String> {
    let ([family, table, chain, handle] | [family, table, chain, handle, _]) = words else { return None };
    handle.parse::<u64>().ok()?;
    let [table, chain] = [table, chain].map(|name| escape(name.as_bytes()));
    Some(format!("{family} {table} {chain} {handle}"))
}

/// `nfproto` is a byte, `protocol` the Ethernet type in the order of the network (as little-endian machines print it).
fn by_number(value: &str) -> Version {
    match value {
        "0x00000002" | "0x00000008" => Version::Only(4),
        "0x0000000a" | "0x0000dd86" => Version::Only(6),
        _ => Version::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::host::firewall::nft;

    /// What nft 1.0.6 prints of four rules, all of them listed as `reject with tcp reset` after a test of the port.
    const PRINTED: &str = "inet t @__set0
\telement 00000500  : 0 [end]
inet t f 3
  [ meta load l4proto => reg 1 ]
  [ cmp eq reg 1 0x00000006 ]
  [ payload load 2b @ transport header + 2 => reg 1 ]
  [ cmp eq reg 1 0x00000500 ]
  [ reject type 1 code 0 ]

inet t f 4 3
  [ meta load l4proto => reg 1 ]
  [ cmp eq reg 1 0x00000006 ]
  [ meta load nfproto => reg 1 ]
  [ cmp eq reg 1 0x0000000a ]
  [ reject type 1 code 0 ]
  userdata = { \\x00\\x02x\\x00 }
inet t f 5 4
  [ meta load protocol => reg 1 ]
  [ cmp eq reg 1 0x00000008 ]
  [ reject type 1 code 0 ]

inet t f 6 5
  [ meta load nfproto => reg 1 ]
  [ cmp neq reg 1 0x00000002 ]
  [ reject type 1 code 0 ]

table inet t {
\tchain f {
";

    #[test]
    fn the_kernel_knows_what_nft_forgets() {
        let port = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 5}}"#;
        let rule = |handle| {
            format!(
                r#"{{"rule": {{"family": "inet", "table": "t", "chain": "f", "handle": {handle},
                "expr": [{port}, {{"reject": {{"type": "tcp reset"}}}}]}}}}"#
            )
        };
        let rules: Vec<String> = (3..8).map(rule).collect();
        let json = format!(
            r#"{{"nftables": [{{"table": {{"family": "inet", "name": "t"}}}},
            {{"chain": {{"family": "inet", "table": "t", "name": "f"}}}}, {}]}}"#,
            rules.join(", ")
        );
        let mut tables = nft::parse(&json).unwrap();
        assert!(is_unsettled(&tables));
        settle(&mut tables, PRINTED);
        let is_for = |version| Test::Is(Field::IpVersion, Values::Numbers(vec![(version, version)]));
        let open = || Some(Test::Unknown(ONE_VERSION.to_owned()));
        for (rule, want) in
            tables[0].chains[0].rules.iter().zip([None, Some(is_for(6)), Some(is_for(4)), open(), open()])
        {
            let tests = rule.parts.iter().filter_map(|part| match part {
                Part::Match(Match { test: test @ (Test::Unknown(_) | Test::Is(Field::IpVersion, _)), .. }) => {
                    Some(test)
                }
                _ => None,
            });
            assert_eq!(tests.collect::<Vec<_>>(), want.iter().collect::<Vec<_>>(), "{:?}", rule.handle);
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_printed_breaks_it(printed in "(inet t f 3\n|  \\[ (meta load|cmp eq) (nfproto|reg) ?[0-9a-z ]*\\]\n|.*\n){0,12}") {
            versions(&printed);
        }
    }
}
