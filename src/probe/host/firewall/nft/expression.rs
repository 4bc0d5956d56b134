//! Tests: the left side of a match is a field of the packet, the right one its values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::text;
use crate::model::escape;
use crate::probe::host::firewall::protocols;
use crate::probe::host::firewall::rules::{AddressKind, Field, State, Test, Translation, Values};

/// How the values of a field are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Address,
    Port,
    Protocol,
    /// `meta nfproto`.
    NetfilterFamily,
    /// `meta protocol`.
    EtherType,
    /// `ip version`.
    Version,
    Mark,
    /// By name, with a wildcard at its end.
    Name,
    /// By index, shown as the name that it has now.
    Index,
    State,
    Kind,
}

/// The field that an expression stands for.
pub(super) fn field(expression: &Value) -> Option<(Field, Form)> {
    if let Some(payload) = expression.get("payload") {
        return payload_field(payload.get("protocol")?.as_str()?, payload.get("field")?.as_str()?);
    }
    if let Some(meta) = expression.get("meta") {
        return meta_field(meta.get("key")?.as_str()?);
    }
    if let Some(ct) = expression.get("ct") {
        let state = ct.get("key")?.as_str()? == "state" && ct.get("dir").is_none();
        return state.then_some((Field::State, Form::State));
    }
    let fib = expression.get("fib")?;
    let flags = fib.get("flags")?;
    let flag = flags.as_str().or_else(|| flags.as_array().filter(|flags| flags.len() == 1)?[0].as_str())?;
    match (fib.get("result")?.as_str()?, flag) {
        ("type", "daddr") => Some((Field::ToKind, Form::Kind)),
        ("type", "saddr") => Some((Field::FromKind, Form::Kind)),
        _ => None,
    }
}

fn payload_field(protocol: &str, field: &str) -> Option<(Field, Form)> {
    Some(match (protocol, field) {
        ("ip" | "ip6", "saddr") => (Field::From, Form::Address),
        ("ip" | "ip6", "daddr") => (Field::To, Form::Address),
        ("ip", "protocol") | ("ip6", "nexthdr") => (Field::Protocol, Form::Protocol),
        ("ip" | "ip6", "version") => (Field::IpVersion, Form::Version),
        ("tcp" | "th", "sport") => (Field::FromPort, Form::Port),
        ("tcp" | "th", "dport") => (Field::ToPort, Form::Port),
        _ => return None,
    })
}

fn meta_field(key: &str) -> Option<(Field, Form)> {
    Some(match key {
        "l4proto" => (Field::Protocol, Form::Protocol),
        "nfproto" => (Field::IpVersion, Form::NetfilterFamily),
        "protocol" => (Field::IpVersion, Form::EtherType),
        "mark" => (Field::Mark, Form::Mark),
        "iifname" => (Field::InInterface, Form::Name),
        "oifname" => (Field::OutInterface, Form::Name),
        "iif" => (Field::InInterface, Form::Index),
        "oif" => (Field::OutInterface, Form::Index),
        _ => return None,
    })
}

/// The fields of an expression, several if it is a concatenation.
pub(super) fn fields(expression: &Value) -> Option<Vec<(Field, Form)>> {
    match expression.get("concat").and_then(Value::as_array) {
        Some(parts) => parts.iter().map(field).collect(),
        None => Some(vec![field(expression)?]),
    }
}

/// The test of a match, and whether it is turned round.
pub(super) fn test(left: &Value, op: &str, right: &Value) -> (Test, bool) {
    let negated = matches!(op, "!=" | "!");
    let known = match op {
        "==" | "!=" => equal(left, right),
        // `tcp flags syn` is true if the bit is set, whatever the others are; `tcp flags ! syn` if it is not.
        "in" | "!" => bits(left, right),
        "<" | ">" | "<=" | ">=" => ordered(left, op, right),
        _ => None,
    };
    known.map_or_else(|| (Test::Unknown(text::comparison(left, op, right)), false), |test| (test, negated))
}

fn equal(left: &Value, right: &Value) -> Option<Test> {
    if let Some(test) = masked(left, right) {
        return Some(test);
    }
    if is_flags(left) {
        return match elements(right) {
            Some(values) => {
                let exactly = |value: &Value| Some(vec![Test::Flags { mask: 0xff, value: flags(value)? }]);
                values.iter().map(exactly).collect::<Option<_>>().map(Test::Any)
            }
            None => Some(Test::Flags { mask: 0xff, value: flags(right)? }),
        };
    }
    let fields = fields(left)?;
    if let Some(name) = right.as_str().and_then(|right| right.strip_prefix('@')) {
        let of = fields.into_iter().map(|(field, _)| field).collect();
        return Some(Test::InSet { of, name: escape(name.as_bytes()) });
    }
    match (fields.as_slice(), elements(right)) {
        ([(field, form)], Some(set)) if !set.iter().any(is_all) => Some(Test::Is(*field, values(*form, set)?)),
        ([(field, form)], None) => Some(Test::Is(*field, values(*form, std::slice::from_ref(right))?)),
        (_, Some(set)) => set.iter().map(|element| key(left, element)).collect::<Option<_>>().map(Test::Any),
        (_, None) => Some(Test::Any(vec![key(left, right)?])),
    }
}

/// The tests that make an element of an anonymous set or map; none for the element that stands for all others.
pub(super) fn key(left: &Value, element: &Value) -> Option<Vec<Test>> {
    let element = content(element);
    if is_all(element) {
        return Some(Vec::new());
    }
    if is_flags(left) || left.get("&").is_some() {
        return Some(vec![equal(left, element)?]);
    }
    let fields = fields(left)?;
    let parts = parts_of(element);
    if fields.len() != parts.len() {
        return None;
    }
    let test = |((field, form), part): (&(Field, Form), &Value)| {
        Some(Test::Is(*field, values(*form, std::slice::from_ref(part))?))
    };
    fields.iter().zip(parts).map(test).collect()
}

/// The parts of a concatenation; anything else is its own only part.
pub(super) fn parts_of(element: &Value) -> &[Value] {
    let parts = element.get("concat").and_then(Value::as_array);
    parts.map_or(std::slice::from_ref(element), Vec::as_slice)
}

fn masked(left: &Value, right: &Value) -> Option<Test> {
    let [of, mask] = left.get("&")?.as_array()?.as_slice() else { return None };
    if is_flags(of) {
        return Some(Test::Flags { mask: flags(mask)?, value: flags(right)? });
    }
    let (Field::Mark, _) = field(of)? else { return None };
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    Some(Test::Marked { mask: number(mask)?, value: number(right)? })
}

fn bits(left: &Value, right: &Value) -> Option<Test> {
    if is_flags(left) {
        let mask = flags(right)?;
        let unset = Test::Flags { mask, value: 0 };
        // Any of them: not none of them. One alone is set when it is.
        return if mask.is_power_of_two() {
            Some(Test::Flags { mask, value: mask })
        } else {
            Some(Test::Any(one_of(mask).chain((mask == 0).then_some(vec![unset])).collect()))
        };
    }
    if left.get("ct").and_then(|ct| ct.get("key")).and_then(Value::as_str) == Some("status") {
        let ends = listed(right).iter().map(translation).collect::<Option<_>>()?;
        return Some(Test::Is(Field::Translated, Values::Translations(ends)));
    }
    let (Field::State, form) = field(left)? else { return None };
    Some(Test::Is(Field::State, values(form, listed(right))?))
}

/// One test for each bit: it is set.
fn one_of(mask: u8) -> impl Iterator<Item = Vec<Test>> {
    let bits = (0..8).map(|bit| 1_u8 << bit).filter(move |bit| mask & bit != 0);
    bits.map(|bit| vec![Test::Flags { mask: bit, value: bit }])
}

fn translation(name: &Value) -> Option<Translation> {
    match name.as_str()? {
        "snat" => Some(Translation::Source),
        "dnat" => Some(Translation::Destination),
        _ => None,
    }
}

fn ordered(left: &Value, op: &str, right: &Value) -> Option<Test> {
    let (field, form) = field(left)?;
    Some(Test::Is(
        field,
        match values(form, std::slice::from_ref(right))? {
            Values::Numbers(ranges) => {
                let [(value, _)] = ranges.as_slice() else { return None };
                Values::Numbers(beside(
                    op,
                    *value,
                    0,
                    u64::MAX,
                    |value| value.checked_sub(1),
                    |value| value.checked_add(1),
                ))
            }
            Values::Addresses(ranges) => {
                let [(value, last)] = ranges.as_slice() else { return None };
                let ranges = if value == last { addresses_beside(op, *value) } else { return None };
                Values::Addresses(ranges)
            }
            _ => return None,
        },
    ))
}

fn addresses_beside(op: &str, value: IpAddr) -> Vec<(IpAddr, IpAddr)> {
    match value {
        IpAddr::V4(value) => {
            let ranges = beside(op, value.to_bits(), 0, u32::MAX, |v| v.checked_sub(1), |v| v.checked_add(1));
            let ip = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
            ranges.into_iter().map(|(first, last)| (ip(first), ip(last))).collect()
        }
        IpAddr::V6(value) => {
            let ranges = beside(op, value.to_bits(), 0, u128::MAX, |v| v.checked_sub(1), |v| v.checked_add(1));
            let ip = |bits| IpAddr::V6(Ipv6Addr::from_bits(bits));
            ranges.into_iter().map(|(first, last)| (ip(first), ip(last))).collect()
        }
    }
}

/// The range of what is smaller or greater; none where nothing is.
fn beside<T: Copy>(
    op: &str,
    value: T,
    least: T,
    most: T,
    before: fn(T) -> Option<T>,
    after: fn(T) -> Option<T>,
) -> Vec<(T, T)> {
    let range = match op {
        "<" => before(value).map(|last| (least, last)),
        "<=" => Some((least, value)),
        ">" => after(value).map(|first| (first, most)),
        _ => Some((value, most)),
    };
    range.into_iter().collect()
}

fn is_flags(expression: &Value) -> bool {
    let of = |key: &str| expression.get("payload").and_then(|payload| payload.get(key)).and_then(Value::as_str);
    (of("protocol"), of("field")) == (Some("tcp"), Some("flags"))
}

/// TCP flags by their names, together.
fn flags(value: &Value) -> Option<u8> {
    if let Some(number) = value.as_u64() {
        return u8::try_from(number).ok();
    }
    if value.as_str() == Some("0x0") {
        return Some(0);
    }
    listed(value).iter().try_fold(0, |all, flag| {
        Some(
            all | match flag.as_str() {
                Some("fin") => 1,
                Some("syn") => 2,
                Some("rst") => 4,
                Some("psh") => 8,
                Some("ack") => 16,
                Some("urg") => 32,
                Some("ecn") => 64,
                Some("cwr") => 128,
                Some(_) => return None,
                // `|` of several may be nested, two by two.
                None => flags(flag.get("|").map(|_| flag).or_else(|| flag.as_u64().map(|_| flag))?)?,
            },
        )
    })
}

/// What is listed, or joined by `|`; anything else is its own list.
fn listed(value: &Value) -> &[Value] {
    let list = value.as_array().or_else(|| value.get("|")?.as_array());
    list.map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// The elements of an anonymous set.
fn elements(value: &Value) -> Option<&[Value]> {
    let set = value.get("set")?;
    Some(set.as_array().map_or(std::slice::from_ref(set), Vec::as_slice))
}

/// An element without its counter, timeout and comment.
pub(super) fn content(element: &Value) -> &Value {
    element.get("elem").and_then(|elem| elem.get("val")).unwrap_or(element)
}

/// The element that stands for all others.
pub(super) fn is_all(element: &Value) -> bool {
    content(element).as_str() == Some("*")
}

/// Values of the same form; `None` if there is one that is not understood.
pub(super) fn values(form: Form, of: &[Value]) -> Option<Values> {
    let of = of.iter().map(content);
    Some(match form {
        Form::Address => Values::Addresses(of.map(addresses).collect::<Option<_>>()?),
        Form::Port | Form::Mark => Values::Numbers(of.map(|value| range(value, Value::as_u64)).collect::<Option<_>>()?),
        Form::Protocol => Values::Numbers(of.map(|value| range(value, protocol)).collect::<Option<_>>()?),
        Form::NetfilterFamily => Values::Numbers(of.map(|value| one(netfilter_family(value)?)).collect::<Option<_>>()?),
        Form::EtherType => Values::Numbers(of.map(|value| one(ether_type(value)?)).collect::<Option<_>>()?),
        Form::Version => Values::Numbers(of.map(|value| range(value, Value::as_u64)).collect::<Option<_>>()?),
        Form::Name => Values::Names(of.map(|value| interface(value.as_str()?)).collect::<Option<_>>()?),
        Form::Index => Values::Names(of.map(|value| indexed(value.as_str()?)).collect::<Option<_>>()?),
        Form::State => Values::States(of.map(|value| state(value.as_str()?)).collect::<Option<_>>()?),
        Form::Kind => Values::Kinds(of.map(|value| kind(value.as_str()?)).collect::<Option<_>>()?),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "one of several that may fail")]
fn one(number: u64) -> Option<(u64, u64)> {
    Some((number, number))
}

fn range(value: &Value, number: fn(&Value) -> Option<u64>) -> Option<(u64, u64)> {
    match value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => Some((number(first)?, number(last)?)),
        _ => one(number(value)?),
    }
}

/// A range of addresses: one, a prefix, or first and last.
pub(super) fn addresses(value: &Value) -> Option<(IpAddr, IpAddr)> {
    let ip = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some(prefix) = value.get("prefix") {
        let length = u32::try_from(prefix.get("len")?.as_u64()?).ok()?;
        return network(ip(prefix.get("addr")?)?, length);
    }
    let (first, last) = match value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => (ip(first)?, ip(last)?),
        _ => (ip(value)?, ip(value)?),
    };
    (first.is_ipv4() == last.is_ipv4()).then_some((first, last))
}

fn network(ip: IpAddr, length: u32) -> Option<(IpAddr, IpAddr)> {
    Some(match ip {
        IpAddr::V4(ip) => {
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            let first = ip.to_bits() & !hosts;
            (length <= 32).then(|| (Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(first | hosts).into()))?
        }
        IpAddr::V6(ip) => {
            let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
            let first = ip.to_bits() & !hosts;
            (length <= 128).then(|| (Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(first | hosts).into()))?
        }
    })
}

/// A protocol, as /etc/protocols names it.
pub(super) fn protocol(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| protocols::number(value.as_str()?))
}

fn netfilter_family(value: &Value) -> Option<u64> {
    match (value.as_str(), value.as_u64()) {
        (Some("ipv4"), _) | (_, Some(2)) => Some(4),
        (Some("ipv6"), _) | (_, Some(10)) => Some(6),
        _ => None,
    }
}

fn ether_type(value: &Value) -> Option<u64> {
    match (value.as_str(), value.as_u64()) {
        (Some("ip"), _) | (_, Some(0x800)) => Some(4),
        (Some("ip6"), _) | (_, Some(0x86dd)) => Some(6),
        // Neither, and so never a packet that we follow.
        (Some("arp"), _) => Some(0),
        _ => None,
    }
}

/// A backslash makes the asterisk after it one that is meant.
fn interface(name: &str) -> Option<String> {
    let plain = !name.contains('\\') && escape(name.as_bytes()) == name;
    plain.then(|| name.to_owned())
}

/// The number of an interface that is gone stands for none, but could be a name.
fn indexed(name: &str) -> Option<String> {
    let number = name.bytes().all(|byte| byte.is_ascii_digit());
    if number || name.contains('*') { None } else { interface(name) }
}

fn state(name: &str) -> Option<State> {
    Some(match name {
        "new" => State::New,
        "established" => State::Established,
        "related" => State::Related,
        "invalid" => State::Invalid,
        "untracked" => State::Untracked,
        _ => return None,
    })
}

fn kind(name: &str) -> Option<AddressKind> {
    Some(match name {
        "local" => AddressKind::Local,
        "unicast" => AddressKind::Unicast,
        "broadcast" | "multicast" | "anycast" => AddressKind::Other,
        _ => return None,
    })
}
