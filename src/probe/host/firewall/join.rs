//! One table of two listings: iptables over nftables keeps its tables where `nft` lists them too, but much of them only as
//! "xt", which says nothing. What iptables says of them is taken where both agree on chains and rules.

use super::list::OverNft;
use super::rules::{Chain, Field, Match, Part, Rule, Source, Table, Test, Unread, Verdict};

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
    iptables.sets.extend(nft.sets.iter().cloned());
    iptables
}

/// A rule holds where both readings of it hold: if one of the tools leaves out a test that it does not know, the other's
/// counts. Where they tell different things of the same field neither is believed: of two `-m tcp` in one rule
/// `iptables-nft-save` 1.8.9 makes one that is neither.
fn add_tests(rule: &mut Rule, nft: &Rule) {
    let test = |part: &Part| match part {
        Part::Match(test) if !is_xt(test) => Some(test.clone()),
        _ => None,
    };
    let told: Vec<Match> = nft.parts.iter().filter_map(test).collect();
    for part in &mut rule.parts {
        if let Part::Match(test) = part
            && !told.contains(test)
            && told.iter().any(|told| same_field(&told.test, &test.test))
        {
            let says = "iptables and nft do not agree what it tests".to_owned();
            *test = Match { negated: false, test: Test::Unknown(says) };
        }
    }
    let new: Vec<Part> = told.into_iter().map(Part::Match).filter(|part| !rule.parts.contains(part)).collect();
    rule.parts.splice(0..0, new);
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

fn same_field(one: &Test, other: &Test) -> bool {
    let mark = |test: &Test| matches!(test, Test::Marked { .. } | Test::Is(Field::Mark, _));
    let flags = |test: &Test| matches!(test, Test::Flags { .. });
    match (one, other) {
        (Test::Is(one, _), Test::Is(other, _)) => one == other,
        (one, other) => mark(one) && mark(other) || flags(one) && flags(other),
    }
}

fn verdict(rule: &Rule) -> Option<&Verdict> {
    rule.parts.iter().find_map(|part| if let Part::Verdict(verdict) = part { Some(verdict) } else { None })
}

/// What nft lists of iptables' own extensions.
fn is_xt(test: &Match) -> bool {
    matches!(&test.test, Test::Unknown(what) if what.starts_with("xt "))
}

#[cfg(test)]
mod tests {
    use super::super::iptables;
    use super::super::rules::{Family, Values};
    use super::*;

    fn saved(text: &str) -> OverNft {
        let tables = iptables::parse(text, Source::Iptables, Family::Ip).unwrap();
        OverNft { family: Family::Ip, tables, foreign: Vec::new() }
    }

    fn match_of(test: Test) -> Part {
        Part::Match(Match { negated: false, test })
    }

    /// nft's listing of `*filter` with one rule in `INPUT`.
    fn nft(parts: Vec<Part>) -> Vec<Table> {
        let mut table = saved("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n").tables.remove(0);
        table.source = Source::Nft;
        table.chains[0].base.as_mut().unwrap().priority = 7;
        table.chains[0].rules[0].parts = parts;
        vec![table]
    }

    const SAVED: &str =
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n-A INPUT -m tcp --dport 22 -j DROP\nCOMMIT\n";

    fn joined(nft_listed: bool, mut tables: Vec<Table>, listing: OverNft) -> (Vec<Table>, Vec<Unread>) {
        let mut unread = Vec::new();
        over_nft(&mut tables, &mut unread, nft_listed, listing);
        (tables, unread)
    }

    #[test]
    fn what_nft_cannot_read_is_iptables_to_tell() {
        let port = match_of(Test::Is(Field::ToPort, Values::Numbers(vec![(22, 22)])));
        let xt = match_of(Test::Unknown("xt match \"tcp\"".to_owned()));
        let (tables, unread) = joined(true, nft(vec![xt, Part::Verdict(Verdict::Drop)]), saved(SAVED));
        let [table] = tables.as_slice() else { panic!("{tables:?}") };
        let [input] = table.chains.as_slice() else { panic!("the chain that nobody made is gone: {table:?}") };
        assert_eq!((table.source, input.base.as_ref().unwrap().priority, unread), (Source::Iptables, 7, Vec::new()));
        assert_eq!(input.rules[0].parts, [port, Part::Verdict(Verdict::Drop)]);
    }

    #[test]
    fn what_one_leaves_out_the_other_tells() {
        let from = match_of(Test::Is(Field::InInterface, Values::Names(vec!["eth0".to_owned()])));
        let (tables, _) = joined(true, nft(vec![from.clone(), Part::Verdict(Verdict::Drop)]), saved(SAVED));
        let parts = &tables[0].chains[0].rules[0].parts;
        assert!(parts.contains(&from) && parts.len() == 3, "{parts:?}");
        let other = match_of(Test::Is(Field::ToPort, Values::Numbers(vec![(23, 23)])));
        let (tables, _) = joined(true, nft(vec![other.clone(), Part::Verdict(Verdict::Drop)]), saved(SAVED));
        let parts = &tables[0].chains[0].rules[0].parts;
        let doubted = |part: &Part| matches!(part, Part::Match(Match { test: Test::Unknown(_), .. }));
        assert!(parts.contains(&other) && parts.iter().any(doubted) && parts.len() == 3, "{parts:?}");
        let (tables, _) = joined(true, nft(vec![from, Part::Verdict(Verdict::Accept)]), saved(SAVED));
        let parts = &tables[0].chains[0].rules[0].parts;
        assert!(matches!(parts.last(), Some(Part::Verdict(Verdict::Unknown(_)))), "{parts:?}");
    }

    #[test]
    fn tables_that_are_not_iptables_own_stay_as_nft_lists_them() {
        let listed = nft(vec![Part::Verdict(Verdict::Drop)]);
        let foreign = OverNft { foreign: vec!["filter".to_owned()], ..saved(SAVED) };
        assert_eq!(joined(true, listed.clone(), foreign.clone()), (listed.clone(), Vec::new()));
        let (tables, unread) = joined(false, Vec::new(), foreign);
        assert!(tables.is_empty() && unread.len() == 1);
        // Two rules there, one here: somebody changes them just now, or one of the tools lies.
        let two = saved("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\n-A INPUT -j DROP\nCOMMIT\n");
        assert_eq!(joined(true, listed.clone(), two).0, listed);
    }

    #[test]
    fn a_table_that_only_iptables_lists_is_doubted() {
        let (tables, unread) = joined(true, Vec::new(), saved(SAVED));
        assert_eq!((tables.len(), unread.len()), (0, 1));
        let nominal = saved("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n");
        assert_eq!(joined(true, Vec::new(), nominal), (Vec::new(), Vec::new()));
        let (tables, unread) = joined(false, Vec::new(), saved(SAVED));
        assert_eq!((tables.len(), unread.len()), (1, 0));
    }
}
