//! What `iptables-save -c` and its kin print, as rules: those over nftables and the legacy ones write the same form.
//!
//! `matches.rs` reads what a rule tests, `target.rs` what it does. What is not known there is [`Test::Unknown`] or
//! [`Verdict::Unknown`](super::rules::Verdict::Unknown), never nothing: a test left out would make a rule hold for all.

mod matches;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::ipset::Sets;
use super::rules::{Base, Chain, Family, Hook, Kind, Match, Part, Rule, Source, Table, Test};
use crate::model::text::{escape, head};

/// How much of a rule, or of a line that is none, is kept.
const MOST_TEXT: usize = 4_000;

/// Reads the listing of all tables of one address family.
///
/// # Errors
/// The line that is none of such a listing, or that it is cut short.
pub fn parse(text: &str, source: Source, family: Family) -> Result<Vec<Table>, String> {
    parse_with(text, source, family, &Sets::default())
}

/// The same, where these sets are known.
pub(super) fn parse_with(text: &str, source: Source, family: Family, sets: &Sets) -> Result<Vec<Table>, String> {
    let mut tables = Vec::new();
    let mut open: Option<Table> = None;
    for line in text.lines().map(str::trim_end) {
        let strange = || format!("a line that no listing has: {}", head(line.as_bytes(), 100));
        match (line.chars().next(), &mut open) {
            (None | Some('#'), _) => {}
            (Some('*'), None) => {
                let name = escape(&line.as_bytes()[1..]);
                open = Some(Table { source, family, name, chains: Vec::new(), sets: Vec::new() });
            }
            (Some(':'), Some(table)) => table.chains.push(chain(line, table).ok_or_else(strange)?),
            (Some('[' | '-'), Some(table)) => add_rule(line, table, sets).ok_or_else(strange)?,
            (Some('C'), Some(_)) if line == "COMMIT" => tables.extend(open.take().map(|table| with(sets, table))),
            _ => return Err(strange()),
        }
    }
    match open {
        Some(table) => Err(format!("the listing of the table {} is cut short", table.name)),
        None => Ok(tables),
    }
}

/// The table with the sets that its rules look something up in.
fn with(sets: &Sets, mut table: Table) -> Table {
    let parts = table.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.parts);
    let name = |part| match part {
        &Part::Match(Match { test: Test::InSet { ref name, .. }, .. }) => Some(name.as_str()),
        _ => None,
    };
    let used: BTreeSet<&str> = parts.filter_map(name).collect();
    let used = sets.of_table().filter(|set| used.contains(set.name.as_str())).collect();
    table.sets = used;
    table
}

/// `:INPUT DROP [3:90]`, or `:mine - [0:0]`.
fn chain(line: &str, table: &Table) -> Option<Chain> {
    let mut words = line[1..].split(' ');
    let (name, policy) = (words.next().filter(|name| !name.is_empty())?, words.next()?);
    let packets = words.next().and_then(counter);
    let base = match policy {
        "-" => None,
        "ACCEPT" | "DROP" => Some(base(table, name, policy == "DROP", packets)?),
        _ => return None,
    };
    Some(Chain { name: escape(name.as_bytes()), base, rules: Vec::new() })
}

/// `[3:90]`: packets and bytes.
fn counter(word: &str) -> Option<u64> {
    let (packets, bytes) = word.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    bytes.parse::<u64>().ok()?;
    packets.parse().ok()
}

/// Where the kernel asks the chains that are there from the beginning (`NF_IP_PRI_…`).
fn base(table: &Table, chain: &str, drops: bool, packets: Option<u64>) -> Option<Base> {
    let hook = match chain {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        "POSTROUTING" => Hook::Postrouting,
        _ => return None,
    };
    let (priority, kind) = match (table.name.as_str(), hook) {
        ("raw", _) => (-300, Kind::Filter),
        ("mangle", Hook::Output) => (-150, Kind::Route),
        ("mangle", _) => (-150, Kind::Filter),
        ("nat", Hook::Prerouting | Hook::Output) => (-100, Kind::Nat),
        ("nat", _) => (100, Kind::Nat),
        ("filter", _) => (0, Kind::Filter),
        // iptables over nftables puts it behind everything (seen with 1.8.9).
        ("security", _) if table.source == Source::Iptables => (150, Kind::Filter),
        ("security", _) => (50, Kind::Filter),
        _ => return None,
    };
    Some(Base { hook, priority, kind, drops, devices: Vec::new(), packets })
}

/// `[0:0] -A INPUT -s 10.0.0.0/8 -j DROP`.
fn add_rule(line: &str, table: &mut Table, sets: &Sets) -> Option<()> {
    let (packets, text) = match line.strip_prefix('[') {
        Some(_) => line.split_once(' ').map(|(count, text)| (Some(count), text))?,
        None => (None, line),
    };
    let packets = match packets {
        Some(count) => Some(counter(count)?),
        None => None,
    };
    let words = words(text)?;
    let [add, name, options @ ..] = words.as_slice() else { return None };
    if add.text != "-A" {
        return None;
    }
    let mut reader = Reader { family: table.family, sets, chains: &table.chains, parts: Vec::new() };
    reader.rule(options)?;
    let parts = reader.parts;
    let name = escape(name.text.as_bytes());
    let chain = table.chains.iter_mut().find(|chain| chain.name == name)?;
    let number = u32::try_from(chain.rules.len() + 1).ok()?;
    chain.rules.push(Rule { handle: None, number, packets, text: head(text.as_bytes(), MOST_TEXT), parts });
    Some(())
}

/// A word of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    /// What it says, without quotes.
    text: String,
    /// True if it stood in quotes, and so is no option.
    quoted: bool,
}

impl Word {
    fn is_option(&self, name: &str) -> bool {
        !self.quoted && self.text == name
    }

    fn turns(&self) -> bool {
        self.is_option("!")
    }
}

/// Splits a rule into its words: blanks part them, except in double quotes, where a backslash protects what follows.
fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let mut word = Word { text: String::new(), quoted: rest.starts_with('"') };
        let mut within = false;
        let mut end = rest.len();
        let mut characters = rest.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => within = !within,
                '\\' if within => word.text.push(characters.next()?.1),
                ' ' if !within => {
                    end = at;
                    break;
                }
                c => word.text.push(c),
            }
        }
        if within {
            return None;
        }
        words.push(word);
        rest = rest[end..].trim_start_matches(' ');
    }
    Some(words)
}

/// Reads one rule.
struct Reader<'a> {
    family: Family,
    sets: &'a Sets,
    chains: &'a [Chain],
    parts: Vec<Part>,
}

impl Reader<'_> {
    /// The words of a rule come in groups: what every rule may test, then each `-m`, then the target.
    fn rule(&mut self, words: &[Word]) -> Option<()> {
        let begins = |word: &Word| ["-m", "-j", "-g"].into_iter().any(|name| word.is_option(name));
        let mut rest = words;
        while !rest.is_empty() {
            let end = rest.iter().skip(1).position(begins).map_or(rest.len(), |at| at + 1);
            let is_target = rest[0].is_option("-j") || rest[0].is_option("-g");
            // Nothing that belongs to a target begins a group.
            let end = if is_target { rest.len() } else { end };
            let (group, others) = rest.split_at(end);
            match group {
                [word, name, options @ ..] if word.is_option("-m") => {
                    let tests = matches::module(self.family, self.sets, &name.text, options);
                    self.parts.extend(tests.into_iter().map(Part::Match));
                }
                [_] if is_target => return None,
                [word, name, options @ ..] if is_target => {
                    let target = target::Target { name: &name.text, options, goes: word.is_option("-g") };
                    self.parts.extend(target.parts(self.family, self.chains));
                }
                group => self.parts.extend(matches::basic(self.family, group).into_iter().map(Part::Match)),
            }
            rest = others;
        }
        Some(())
    }
}

/// Words as one text, fit to be shown.
fn joined(words: &[Word]) -> String {
    let all: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    head(all.join(" ").as_bytes(), 200)
}
