//! What `nft -j list ruleset` says (libnftables-json(5)), in the form of `rules.rs`.
//!
//! A listing leaves out what nft can infer again: in a table of both families `ip saddr` says that the packet is IPv4, and a
//! rejection by ICMP does. The kernel has these tests, and so has the rule that is made here. What is not understood becomes
//! unknown, never true.

mod bytecode;
mod expression;
mod set;
mod statement;
#[cfg(test)]
mod tests;
mod text;

pub use bytecode::{is_unsettled, settle};

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::rules::{Base, Chain, Family, Hook, Kind, Match, Part, Rule, Source, Table, Test, Verdict};
use crate::model::escape;

/// How many tables, chains and rules are kept: far more than any machine has.
const MOST_OBJECTS: usize = 200_000;

type Object = Map<String, Value>;

/// The tables of a listing.
///
/// # Errors
/// When it is no listing, or one that does not hang together: then nobody may say what the rules are.
pub fn parse(json: &str) -> Result<Vec<Table>, String> {
    let listing: Value = serde_json::from_str(json).map_err(|error| format!("no JSON: {error}"))?;
    let objects = listing.get("nftables").and_then(Value::as_array).ok_or("no list of \"nftables\"")?;
    if objects.len() > MOST_OBJECTS {
        return Err(format!("{} objects are too many", objects.len()));
    }
    let mut listed = Listed::default();
    for object in objects {
        let (kind, body) = object.as_object().and_then(|object| object.iter().next()).ok_or("an object of no kind")?;
        let body = body.as_object().ok_or("an object without content")?;
        listed.add(kind, body)?;
    }
    Ok(listed.tables())
}

/// What was listed so far.
#[derive(Default)]
struct Listed<'a> {
    tables: Vec<Table>,
    /// Which table stands where in `tables`.
    places: HashMap<(&'a str, &'a str), usize>,
    /// Which chain stands where in its table.
    chains: HashMap<(usize, &'a str), usize>,
    /// The tables of which some chains may see no packet.
    sleepy: Vec<(usize, Sleep)>,
    /// The sets that packets change.
    moving: HashSet<(usize, String)>,
    /// True if the names of flags are not to be trusted.
    garbled: bool,
}

/// Whether a table sleeps: its chains are asked about nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Asleep,
    Perhaps,
}

impl<'a> Listed<'a> {
    fn add(&mut self, kind: &str, body: &'a Object) -> Result<(), String> {
        match kind {
            "metainfo" => {
                self.garbled = body.get("version").and_then(Value::as_str) == Some("1.0.6");
                match body.get("json_schema_version").and_then(Value::as_u64) {
                    Some(1) | None => {}
                    Some(version) => return Err(format!("schema version {version}, and only 1 is known")),
                }
            }
            "table" => self.table(body)?,
            "chain" => self.chain(body)?,
            "rule" => self.rule(body)?,
            "set" | "map" => {
                let place = self.place(body)?;
                self.tables[place].sets.extend(set::parse(body));
            }
            // Counters, quotas, limits, helpers and flow tables decide nothing by themselves.
            _ => {}
        }
        Ok(())
    }

    fn table(&mut self, body: &'a Object) -> Result<(), String> {
        let (family, name) = (word(body, "family")?, word(body, "name")?);
        let place = self.tables.len();
        let table = Table {
            source: Source::Nft,
            family: family_of(family).ok_or_else(|| format!("a table of the family {}", escape(family.as_bytes())))?,
            name: escape(name.as_bytes()),
            chains: Vec::new(),
            sets: Vec::new(),
        };
        if let Some(sleep) = sleep(body.get("flags"), self.garbled) {
            self.sleepy.push((place, sleep));
        }
        self.places.insert((family, name), place);
        self.tables.push(table);
        Ok(())
    }

    fn chain(&mut self, body: &'a Object) -> Result<(), String> {
        let (place, name) = (self.place(body)?, word(body, "name")?);
        let base = if body.contains_key("hook") { Some(base(body)?) } else { None };
        let chains = &mut self.tables[place].chains;
        self.chains.insert((place, name), chains.len());
        chains.push(Chain { name: escape(name.as_bytes()), base, rules: Vec::new() });
        Ok(())
    }

    fn rule(&mut self, body: &Object) -> Result<(), String> {
        let place = self.place(body)?;
        let chain = self.chains.get(&(place, word(body, "chain")?)).ok_or("a rule of an unknown chain")?;
        let statements = body.get("expr").and_then(Value::as_array).ok_or("a rule without statements")?;
        let table = &mut self.tables[place];
        let read = statement::parse(table.family, statements);
        self.moving.extend(read.changes.into_iter().map(|set| (place, set)));
        let rules = &mut table.chains[*chain].rules;
        rules.push(Rule {
            handle: body.get("handle").and_then(Value::as_u64),
            number: u32::try_from(rules.len() + 1).unwrap_or(u32::MAX),
            packets: read.packets,
            text: text::rule(statements, body.get("comment").and_then(Value::as_str)),
            parts: read.parts,
        });
        Ok(())
    }

    fn place(&self, body: &Object) -> Result<usize, String> {
        let key = (word(body, "family")?, word(body, "table")?);
        self.places.get(&key).copied().ok_or_else(|| "something of an unknown table".to_owned())
    }

    fn tables(mut self) -> Vec<Table> {
        for (place, set) in self.moving {
            // What the next packet finds in such a set is not what was listed: a set that is not there makes a test unknown.
            self.tables[place].sets.retain(|kept| kept.name != set);
        }
        for (place, sleep) in &self.sleepy {
            let bases = self.tables[*place].chains.iter_mut().filter(|chain| chain.base.is_some());
            match sleep {
                Sleep::Perhaps => bases.for_each(may_sleep),
                Sleep::Asleep => self.tables[*place].chains.clear(),
            }
        }
        self.tables.retain(|table| !table.chains.is_empty());
        self.tables
    }
}

/// A base chain that may not be asked at all lets the packet pass, or not.
fn may_sleep(chain: &mut Chain) {
    let test = Test::Unknown("the table has a flag that nft does not name, and may be dormant".to_owned());
    let parts = vec![Part::Match(Match { negated: false, test }), Part::Verdict(Verdict::Accept)];
    let text = "flags dormant (perhaps)".to_owned();
    chain.rules.insert(0, Rule { handle: None, number: 0, packets: None, text, parts });
}

/// nft 1.0.6 writes what happens to be in its memory as the name of a flag (measured: nothing, and so no JSON; or the
/// name of the table). Newer ones write the flag.
fn sleep(flags: Option<&Value>, garbled: bool) -> Option<Sleep> {
    let flags: Vec<&str> = match flags? {
        Value::String(flag) => vec![flag],
        Value::Array(flags) => flags.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let awake = |flag: &&str| ["owner", "persist"].contains(flag);
    match flags.as_slice() {
        [] => Some(Sleep::Perhaps),
        _ if garbled => Some(Sleep::Perhaps),
        flags if flags.contains(&"dormant") => Some(Sleep::Asleep),
        flags if flags.iter().all(awake) => None,
        _ => Some(Sleep::Perhaps),
    }
}

fn base(body: &Object) -> Result<Base, String> {
    let strange = |what: &str, value: &str| format!("a chain of the {what} {}", escape(value.as_bytes()));
    let (hook, kind) = (word(body, "hook")?, word(body, "type")?);
    let priority = body.get("prio").and_then(Value::as_i64).and_then(|prio| i32::try_from(prio).ok());
    Ok(Base {
        hook: hook_of(hook).ok_or_else(|| strange("hook", hook))?,
        priority: priority.ok_or("a base chain without a priority")?,
        kind: kind_of(kind).ok_or_else(|| strange("type", kind))?,
        drops: body.get("policy").and_then(Value::as_str) == Some("drop"),
        devices: devices(body.get("dev")),
        packets: None,
    })
}

/// The devices of a chain; none where nft does not say (1.0.6 never does).
fn devices(dev: Option<&Value>) -> Vec<String> {
    match dev {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn word<'a>(body: &'a Object, key: &str) -> Result<&'a str, String> {
    body.get(key).and_then(Value::as_str).ok_or_else(|| format!("an object without {key}"))
}

fn family_of(name: &str) -> Option<Family> {
    Some(match name {
        "ip" => Family::Ip,
        "ip6" => Family::Ip6,
        "inet" => Family::Inet,
        "netdev" => Family::Netdev,
        "bridge" => Family::Bridge,
        "arp" => Family::Arp,
        _ => return None,
    })
}

fn hook_of(name: &str) -> Option<Hook> {
    Some(match name {
        "ingress" => Hook::Ingress,
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" => Hook::Postrouting,
        "egress" => Hook::Egress,
        _ => return None,
    })
}

fn kind_of(name: &str) -> Option<Kind> {
    Some(match name {
        "filter" => Kind::Filter,
        "nat" => Kind::Nat,
        "route" => Kind::Route,
        _ => return None,
    })
}
