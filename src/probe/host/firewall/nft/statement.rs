//! Statements: what a rule tests and does.

use std::net::IpAddr;

use serde_json::Value;

use super::bytecode::ONE_VERSION;
use super::{expression, text};
use crate::model::escape;
use crate::probe::host::firewall::rules::{
    Entry, FAR_ENOUGH, Family, Field, Match, Part, Rejection, Test, Values, Verdict,
};

/// Targets of iptables that only write something down, or change what nobody tests.
const HARMLESS: [&str; 6] = ["LOG", "NFLOG", "TCPMSS", "CHECKSUM", "AUDIT", "TRACE"];

/// What was read of a rule.
pub(super) struct Read {
    pub(super) parts: Vec<Part>,
    pub(super) packets: Option<u64>,
    /// The sets that it changes.
    pub(super) changes: Vec<String>,
}

/// Reads the statements of a rule.
pub(super) fn parse(family: Family, statements: &[Value]) -> Read {
    let mut rule = Reading {
        family,
        version: None,
        protocol: None,
        after_a_test: true,
        parts: Vec::new(),
        packets: None,
        changes: Vec::new(),
    };
    for statement in statements {
        match statement.as_object().and_then(|statement| statement.iter().next()) {
            Some((kind, body)) => {
                rule.statement(kind, body);
                rule.after_a_test = kind == "match";
            }
            None => rule.unknown("a statement", statement),
        }
    }
    Read { parts: rule.parts, packets: rule.packets, changes: rule.changes }
}

struct Reading {
    family: Family,
    /// The version of IP that was tested last, and the protocol.
    version: Option<u64>,
    protocol: Option<u64>,
    /// True if the last statement was a test, or none.
    after_a_test: bool,
    parts: Vec<Part>,
    packets: Option<u64>,
    changes: Vec<String>,
}

impl Reading {
    fn statement(&mut self, kind: &str, body: &Value) {
        match kind {
            "match" => self.compare(body),
            "vmap" => self.verdicts(body),
            "counter" => self.packets = body.get("packets").and_then(Value::as_u64),
            "log" | "comment" | "last" | "dup" | "ct helper" | "ct timeout" | "ct expectation" => {}
            // A limit may be used up, a set may be full: then the rule ends here.
            "limit" | "quota" | "ct count" | "meter" | "flow" => self.perhaps(kind, body),
            "set" | "map" => {
                let set = body.get(kind).and_then(Value::as_str).unwrap_or_default();
                self.changes.push(escape(set.strip_prefix('@').unwrap_or(set).as_bytes()));
                self.perhaps(kind, body);
            }
            "notrack" => self.parts.push(Part::NoTrack),
            "mangle" => self.mangle(body),
            "reject" => self.reject(body),
            "dnat" | "redirect" | "snat" | "masquerade" => self.translate(kind, body),
            "xt" => self.xt(body),
            "queue" => self.decide(Verdict::Unknown(format!("let a program decide ({})", text::statement(kind, body)))),
            _ => match verdict_of(kind, body) {
                Some(verdict) => self.decide(verdict),
                None => self.unknown(kind, body),
            },
        }
    }

    fn decide(&mut self, verdict: Verdict) {
        self.parts.push(Part::Verdict(verdict));
    }

    fn require(&mut self, negated: bool, test: Test) {
        // What is counted before another test is not what met the rule.
        self.packets = None;
        self.parts.push(Part::Match(Match { negated, test }));
    }

    fn perhaps(&mut self, kind: &str, body: &Value) {
        self.require(false, Test::Unknown(text::statement(kind, body)));
    }

    /// It may be a test, and it may decide.
    fn unknown(&mut self, kind: &str, body: &Value) {
        self.perhaps(kind, body);
        self.decide(Verdict::Unknown(format!("do something unknown ({})", text::statement(kind, body))));
    }

    /// The tests that an expression implies and that a listing leaves out.
    fn imply(&mut self, expression: &Value) {
        if let Some(parts) = expression.get("concat").or_else(|| expression.get("&")).and_then(Value::as_array) {
            for part in parts {
                self.imply(part);
            }
        }
        let Some(protocol) = expression.get("payload").and_then(|payload| payload.get("protocol")?.as_str()) else {
            return;
        };
        match protocol {
            "ip" => self.version(4),
            "ip6" => self.version(6),
            "tcp" => self.protocol(6),
            other => {
                if let Some(number) = expression::protocol(&Value::from(other)) {
                    self.protocol(number);
                }
            }
        }
    }

    fn version(&mut self, version: u64) {
        let own = match self.family {
            Family::Ip => Some(4),
            Family::Ip6 => Some(6),
            _ => self.version,
        };
        if own != Some(version) {
            self.version = Some(version);
            self.parts.push(is(Field::IpVersion, version));
        }
    }

    fn protocol(&mut self, protocol: u64) {
        if self.protocol != Some(protocol) {
            self.protocol = Some(protocol);
            self.parts.push(is(Field::Protocol, protocol));
        }
    }

    fn compare(&mut self, body: &Value) {
        let (left, right) = (&body["left"], &body["right"]);
        self.imply(left);
        let (test, negated) = expression::test(left, body["op"].as_str().unwrap_or_default(), right);
        self.require(negated, test);
    }

    fn verdicts(&mut self, body: &Value) {
        let (key, data) = (&body["key"], &body["data"]);
        self.imply(key);
        self.packets = None;
        match vmap(key, data) {
            Some(part) => self.parts.push(part),
            None => self.unknown("vmap", body),
        }
    }

    fn mangle(&mut self, body: &Value) {
        let (key, value) = (&body["key"], &body["value"]);
        let of = |kind: &str, field: &str| key.get(kind).and_then(|key| key.get(field)).and_then(Value::as_str);
        if of("meta", "key") == Some("mark") {
            let mark = value.as_u64().and_then(|mark| u32::try_from(mark).ok());
            if mark.is_none() && !is_of_the_mark(value) {
                // A lookup that finds nothing, and a connection that is not tracked, end the rule.
                self.perhaps("mangle", body);
            }
            return self.parts.push(Part::Mark(mark));
        }
        if of("ct", "key") == Some("zone") {
            return self.parts.push(Part::Zone);
        }
        if key.get("meta").is_some() || key.get("ct").is_some() {
            return;
        }
        let followed = ["saddr", "daddr", "sport", "dport", "flags", "protocol", "nexthdr"];
        match of("payload", "field") {
            Some("ttl" | "hoplimit") if value.as_u64().is_none_or(|left| left < FAR_ENOUGH) => {
                self.imply(key);
                self.decide(Verdict::Unknown(format!("let it live too short ({})", text::statement("mangle", body))));
            }
            Some(field) if !followed.contains(&field) => self.imply(key),
            None if key.get("payload").is_none() => self.perhaps("mangle", body),
            _ => {
                self.imply(key);
                self.decide(Verdict::Unknown(format!("change it ({})", text::statement("mangle", body))));
            }
        }
    }

    fn reject(&mut self, body: &Value) {
        let code = body.get("expr").and_then(Value::as_str);
        let kind = body.get("type").and_then(Value::as_str);
        match kind {
            Some("icmp") => self.version(4),
            Some("icmpv6") => self.version(6),
            Some("tcp reset") => {
                self.protocol(6);
                self.may_be_of_one_version();
            }
            _ => {}
        }
        let how = match kind {
            Some("tcp reset") => Some(vec![(None, Rejection::Reset)]),
            Some("icmp") => icmp(code).map(|code| vec![(None, Rejection::Icmp(code))]),
            Some("icmpv6") => icmpv6(code).map(|code| vec![(None, Rejection::Icmp(code))]),
            None | Some("icmpx") => {
                icmpx(code).map(|(v4, v6)| vec![(Some(4), Rejection::Icmp(v4)), (Some(6), Rejection::Icmp(v6))])
            }
            Some(_) => None,
        };
        match how {
            None => self.decide(Verdict::Unknown(format!("reject it ({})", text::statement("reject", body)))),
            Some(ways) => match ways.as_slice() {
                [(None, way)] => self.decide(Verdict::Reject(*way)),
                ways => self.parts.push(Part::Map(ways.iter().filter_map(by_version).collect())),
            },
        }
    }

    /// See `bytecode.rs`: what is listed as a rule for both versions may be for one.
    fn may_be_of_one_version(&mut self) {
        let told = |part: &Part| matches!(part, Part::Match(Match { test: Test::Is(Field::IpVersion, _), .. }));
        let both = !matches!(self.family, Family::Ip | Family::Ip6);
        if both && self.after_a_test && !self.parts.iter().any(told) {
            self.parts.push(Part::Match(Match { negated: false, test: Test::Unknown(ONE_VERSION.to_owned()) }));
        }
    }

    fn translate(&mut self, kind: &str, body: &Value) {
        match body.get("family").and_then(Value::as_str) {
            Some("ip") => self.version(4),
            Some("ip6") => self.version(6),
            _ => {}
        }
        let verdict = match kind {
            "snat" | "masquerade" => Ok(Verdict::Source),
            "redirect" => port(body).map(Verdict::Redirect),
            _ => ip(body).and_then(|ip| Ok(Verdict::Destination(ip, port(body)?))),
        };
        let unknown = || Verdict::Unknown(format!("send it elsewhere ({})", text::statement(kind, body)));
        self.decide(verdict.unwrap_or_else(|_| unknown()));
    }

    /// What iptables has written and nft has no words for.
    fn xt(&mut self, body: &Value) {
        let of = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (of("type"), of("name"));
        match kind {
            "match" => self.perhaps("xt", body),
            "watcher" => {}
            "target" if HARMLESS.contains(&name) => {}
            "target" => {
                self.decide(Verdict::Unknown(format!("do what the target {} does", escape(name.as_bytes()))));
            }
            _ => self.unknown("xt", body),
        }
    }
}

fn is(field: Field, number: u64) -> Part {
    Part::Match(Match { negated: false, test: Test::Is(field, Values::Numbers(vec![(number, number)])) })
}

fn by_version((version, how): &(Option<u64>, Rejection)) -> Option<Entry> {
    let version = (*version)?;
    let key = vec![Test::Is(Field::IpVersion, Values::Numbers(vec![(version, version)]))];
    Some(Entry { key, verdict: Verdict::Reject(*how) })
}

/// The mark itself, with bits set or cleared: it never ends the rule.
fn is_of_the_mark(value: &Value) -> bool {
    let operands = ["|", "&", "^"].iter().find_map(|op| value.get(op)).and_then(Value::as_array);
    match operands {
        Some(operands) => operands.iter().all(is_of_the_mark),
        None => value.is_u64() || value.get("meta").is_some_and(|meta| meta["key"] == "mark"),
    }
}

fn vmap(key: &Value, data: &Value) -> Option<Part> {
    if let Some(name) = data.as_str().and_then(|data| data.strip_prefix('@')) {
        let of = expression::fields(key)?.into_iter().map(|(field, _)| field).collect();
        return Some(Part::NamedMap { of, name: escape(name.as_bytes()) });
    }
    let pairs = data.get("set")?.as_array()?;
    let entry = |pair: &Value| {
        let [element, verdict] = pair.as_array()?.as_slice() else { return None };
        Some(Entry { key: expression::key(key, element)?, verdict: self::verdict(verdict)? })
    };
    let mut entries: Vec<Entry> = pairs.iter().map(entry).collect::<Option<_>>()?;
    // The one that stands for all others comes last.
    entries.sort_by_key(|entry| entry.key.is_empty());
    Some(Part::Map(entries))
}

/// A verdict of a map.
pub(super) fn verdict(value: &Value) -> Option<Verdict> {
    let (kind, body) = value.as_object()?.iter().next()?;
    verdict_of(kind, body)
}

fn verdict_of(kind: &str, body: &Value) -> Option<Verdict> {
    let target = || Some(escape(body.get("target")?.as_str()?.as_bytes()));
    Some(match kind {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "continue" => Verdict::Continue,
        "return" => Verdict::Return,
        "jump" => Verdict::Jump(target()?),
        "goto" => Verdict::Goto(target()?),
        _ => return None,
    })
}

/// The code of an ICMP error of type 3, by nft's name.
fn icmp(name: Option<&str>) -> Option<u8> {
    Some(match name.unwrap_or("port-unreachable") {
        "net-unreachable" => 0,
        "host-unreachable" => 1,
        "prot-unreachable" => 2,
        "port-unreachable" => 3,
        "net-prohibited" => 9,
        "host-prohibited" => 10,
        "admin-prohibited" => 13,
        _ => return None,
    })
}

/// The code of an ICMPv6 error of type 1.
fn icmpv6(name: Option<&str>) -> Option<u8> {
    Some(match name.unwrap_or("port-unreachable") {
        "no-route" => 0,
        "admin-prohibited" => 1,
        "addr-unreachable" => 3,
        "port-unreachable" => 4,
        "policy-fail" => 5,
        "reject-route" => 6,
        _ => return None,
    })
}

/// The codes of ICMP and of ICMPv6 for what means the same in both.
fn icmpx(name: Option<&str>) -> Option<(u8, u8)> {
    Some(match name.unwrap_or("port-unreachable") {
        "no-route" => (0, 0),
        "port-unreachable" => (3, 4),
        "host-unreachable" => (1, 3),
        "admin-prohibited" => (13, 1),
        _ => return None,
    })
}

/// It is there, and it is not one alone.
struct Several;

fn port(body: &Value) -> Result<Option<u16>, Several> {
    let one = |port: &Value| port.as_u64().and_then(|port| u16::try_from(port).ok()).ok_or(Several);
    body.get("port").map(one).transpose()
}

fn ip(body: &Value) -> Result<Option<IpAddr>, Several> {
    let one = |addr: &Value| addr.as_str().and_then(|addr| addr.parse().ok()).ok_or(Several);
    body.get("addr").map(one).transpose()
}
