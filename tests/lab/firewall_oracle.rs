//! The kernel as oracle: random rules are loaded, real SYNs are sent, and what became of them is compared with what
//! `walk.rs` says of the rules as the tools list them.
//!
//! `field` is where it happens and compares, `random` chooses, `nft` and `iptables` make rules. Another generator
//! is plugged in as another `Maker`.

mod field;
mod iptables;
mod nft;
mod random;

use std::time::Duration;

use redisdoc::probe::Collected;
use redisdoc::probe::host::firewall::rules::{Family, Source};
use redisdoc::probe::host::firewall::{Firewall, nft as nft_listing};

use crate::world::{Host, Lab};
use field::{Field, Maker, Side};

/// How long one test sends SYNs: some 700 a second.
const AS_LONG_AS: Duration = Duration::from_secs(15);
/// How many of a hundred cases may be undecided: limits and other doubts are in a few rules on purpose (measured: 2 to 6).
const MOST_UNDECIDED: usize = 12;

const NFT: Maker = Maker { name: "nft", make: nft::rules, load: &["nft", "-f", "-"], list: list_nft };

const IPTABLES: Maker = Maker { name: "iptables", make: iptables::rules, load: iptables::LOAD, list: list_all_ways };
const LEGACY: Maker =
    Maker { name: "iptables-legacy", make: iptables::rules, load: iptables::LOAD_LEGACY, list: list_all };

/// As redisdoc itself lists them. Of the same rules nft and iptables must not say what contradicts the other.
fn list_all_ways(host: &Host) -> Firewall {
    let saved = |tool: &str, family: Family| {
        let text = host.run(&[tool, "-c"]).ok().stdout;
        redisdoc::probe::host::firewall::iptables::parse(&text, Source::Iptables, family).expect("a listing")
    };
    let mut tables = saved("iptables-nft-save", Family::Ip);
    tables.extend(saved("ip6tables-nft-save", Family::Ip6));
    let (saved, nft) = (Firewall { tables, unread: Vec::new() }, list_nft(host));
    let rules = host.read("/run/rules");
    // Of two of them in one rule `iptables-nft-save` 1.8.9 makes one that is neither.
    if !rules.lines().any(|rule| rule.matches("-m tcp ").count() > 1) {
        field::same(&saved, &nft, &rules);
    }
    list_all(host)
}

/// As redisdoc itself lists them.
fn list_all(host: &Host) -> Firewall {
    let collected: Collected = serde_json::from_str(&host.collect()).expect("what was collected");
    let firewall = collected.host.firewall.seen().cloned();
    let firewall = firewall.unwrap_or_else(|| panic!("{:?}", collected.host.firewall));
    assert_eq!(firewall.unread, [], "{firewall:?}");
    firewall
}

fn list_nft(host: &Host) -> Firewall {
    let listed = host.run(&["nft", "-j", "list", "ruleset"]).ok().stdout;
    let mut tables = nft_listing::parse(&listed).unwrap_or_else(|why| panic!("{why}: {listed}"));
    if nft_listing::is_unsettled(&tables) {
        nft_listing::settle(&mut tables, &host.run(&["nft", "--debug=netlink", "list", "ruleset"]).ok().stdout);
        assert!(!nft_listing::is_unsettled(&tables), "nft --debug=netlink settles it: {listed}");
    }
    Firewall { tables, unread: Vec::new() }
}

/// `REDISDOC_ORACLE=seed` begins with another rule set, `REDISDOC_ORACLE_SECONDS=n` sends for longer.
fn compare(maker: &Maker, side: Side) {
    let Some(lab) = Lab::enter() else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let long = number("REDISDOC_ORACLE_SECONDS").map_or(AS_LONG_AS, Duration::from_secs);
    let tally = Field::new(&lab).compare(maker, side, number("REDISDOC_ORACLE").unwrap_or(1), long);
    eprintln!("lab: {} on the {side:?}: {tally:?}", maker.name);
    assert!(tally.cases > field::LEAST_CASES, "only {tally:?}");
    assert!(tally.undecided * 100 <= tally.cases * MOST_UNDECIDED, "too many are undecided: {tally:?}");
    assert!(tally.not_loaded * 10 <= tally.rule_sets, "the kernel takes too few: {tally:?}");
}

#[test]
fn nft_rules_on_the_server_do_what_the_walk_says() {
    compare(&NFT, Side::Server);
}

#[test]
fn nft_rules_on_the_client_do_what_the_walk_says() {
    compare(&NFT, Side::Client);
}

#[test]
fn iptables_rules_on_the_server_do_what_the_walk_says() {
    compare(&IPTABLES, Side::Server);
}

#[test]
fn iptables_rules_on_the_client_do_what_the_walk_says() {
    compare(&IPTABLES, Side::Client);
}

#[test]
fn legacy_rules_on_the_server_do_what_the_walk_says() {
    compare(&LEGACY, Side::Server);
}

#[test]
fn legacy_rules_on_the_client_do_what_the_walk_says() {
    compare(&LEGACY, Side::Client);
}
