//! One table of two listings: iptables over nftables keeps its tables where `nft` lists them too, but much of them only as
//! "xt", which says nothing. What iptables says of them is taken where both agree on chains and rules.

use super::list::OverNft;
use super::rules::{Chain, Match, Part, Rule, Source, Table, Test, Unread, Verdict};

/// Puts what iptables lists in the place of nft's tables of the same names. `nft_listed`: nft could list at all.
pub fn over_nft(tables: &mut Vec<Table>, unread: &mut Vec<Unread>, nft_listed: bool, listing: OverNft) {
    let OverNft { family, tables: listed, foreign } = listing;
    let mut doubt = |says: String| unread.push(Unread { source: Source::Iptables, says });
    for table in listed.into_iter().filter(|table| !foreign.contains(&table.name)) {
        match tables.iter_mut().find(|other| other.family == family && other.name == table.name) {
            Some(other) if agree(&table, other) => *other = join(table, other),
            // nft's is what the kernel has, even where it is not legible.
            Some(_) => {}
            None if !nft_listed => tables.push(table),
            None if is_empty(&table) => {}
            None => doubt(format!("iptables lists a table {} that nft does not list", table.name)),
        }
    }
    if !nft_listed {
        for name in foreign {
            doubt(format!("iptables says that it cannot list the table {name}"));
        }
    }
}

/// iptables lists the chains that could be there, with their policies, even where nobody has made them.
fn is_empty(table: &Table) -> bool {
    table.chains.iter().all(is_nominal)
}

fn is_nominal(chain: &Chain) -> bool {
    chain.rules.is_empty() && chain.base.as_ref().is_some_and(|base| !base.drops)
}

fn agree(iptables: &Table, nft: &Table) -> bool {
    let same = |one: &Chain, other: &Chain| {
        let bases = match (&one.base, &other.base) {
            (Some(one), Some(other)) => one.hook == other.hook && one.drops == other.drops && one.kind == other.kind,
            (one, other) => one.is_none() && other.is_none(),
        };
        one.rules.len() == other.rules.len() && bases
    };
    let find = |chains: &'_ [Chain], name: &str| chains.iter().position(|chain| chain.name == name);
    let is_in_nft = |chain: &Chain| match find(&nft.chains, &chain.name) {
        Some(at) => same(chain, &nft.chains[at]),
        None => is_nominal(chain),
    };
    iptables.chains.iter().all(is_in_nft)
        && nft.chains.iter().all(|chain| find(&iptables.chains, &chain.name).is_some())
}

/// iptables' table, in the places that nft tells, without the chains that nobody has made.
fn join(mut iptables: Table, nft: &Table) -> Table {
    iptables.chains.retain_mut(|chain| {
        let Some(other) = nft.chains.iter().find(|other| other.name == chain.name) else { return false };
        if let (Some(base), Some(other)) = (&mut chain.base, &other.base) {
            base.priority = other.priority;
        }
        chain.rules.iter_mut().zip(&other.rules).for_each(|(rule, other)| add_tests(rule, other));
        true
    });
    iptables.sets.clone_from(&nft.sets);
    iptables
}

/// A rule holds where both readings of it hold: if one of the tools leaves out a test that it does not know, the other's
/// counts.
fn add_tests(rule: &mut Rule, nft: &Rule) {
    let test = |part: &Part| match part {
        Part::Match(test) if !is_xt(test) => Some(Part::Match(test.clone())),
        _ => None,
    };
    let tests: Vec<Part> = nft.parts.iter().filter_map(test).filter(|part| !rule.parts.contains(part)).collect();
    rule.parts.splice(0..0, tests);
    let differs = match (verdict(rule), verdict(nft)) {
        (_, None | Some(Verdict::Unknown(_))) => false,
        (Some(one), Some(other)) => std::mem::discriminant(one) != std::mem::discriminant(other),
        (None, Some(_)) => true,
    };
    if differs {
        rule.parts.retain(|part| !matches!(part, Part::Verdict(_)));
        rule.parts.push(Part::Verdict(Verdict::Unknown("iptables and nft do not agree what it does".to_owned())));
    }
}

fn verdict(rule: &Rule) -> Option<&Verdict> {
    rule.parts.iter().find_map(|part| if let Part::Verdict(verdict) = part { Some(verdict) } else { None })
}

/// What nft lists of iptables' own extensions.
fn is_xt(test: &Match) -> bool {
    matches!(&test.test, Test::Unknown(what) if what.starts_with("xt "))
}
