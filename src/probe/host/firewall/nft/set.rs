//! Named sets and maps of verdicts.

use serde_json::Value;

use super::expression::{Form, content, field, is_all, parts_of, values};
use super::{Object, statement, word};
use crate::model::escape;
use crate::probe::host::firewall::rules::{Set, Values};

/// What may stand beside an element without bearing on whether it is one.
const BESIDE: [&str; 6] = ["val", "timeout", "expires", "comment", "counter", "last"];

/// A named set, or a map of verdicts; `None` if there is something in it that is not understood, or that decides at each
/// lookup (a limit): a test of a set that is not there is unknown.
pub(super) fn parse(body: &Object) -> Option<Set> {
    let forms = forms(body.get("type")?)?;
    let name = escape(word(body, "name").ok()?.as_bytes());
    let elements = match body.get("elem") {
        None => &[],
        Some(Value::Array(elements)) => elements.as_slice(),
        Some(element) => std::slice::from_ref(element),
    };
    let decides = body.get("stmt").and_then(Value::as_array).is_some_and(|all| !all.iter().all(only_counts));
    if decides {
        return None;
    }
    match body.get("map") {
        None => Some(Set { name, elements: plain(&forms, elements)?, verdicts: Vec::new() }),
        Some(data) if data.as_str() == Some("verdict") => map(name, &forms, elements),
        Some(_) => None,
    }
}

fn only_counts(statement: &Value) -> bool {
    statement.as_object().is_some_and(|statement| statement.keys().all(|key| BESIDE.contains(&key.as_str())))
}

fn forms(types: &Value) -> Option<Vec<Form>> {
    match types {
        Value::String(name) => Some(vec![form(name)?]),
        Value::Array(names) => names.iter().map(|name| form(name.as_str()?)).collect(),
        // nft 1.1.3 writes the expression of a set that was made with `typeof`.
        _ => parts_of(types.get("typeof")?).iter().map(|part| Some(field(part)?.1)).collect(),
    }
}

fn form(name: &str) -> Option<Form> {
    Some(match name {
        "ipv4_addr" | "ipv6_addr" => Form::Address,
        "inet_service" => Form::Port,
        "inet_proto" => Form::Protocol,
        "nf_proto" => Form::NetfilterFamily,
        "ether_type" => Form::EtherType,
        "mark" => Form::Mark,
        "ifname" => Form::Name,
        "iface_index" => Form::Index,
        "ct_state" => Form::State,
        "fib_addrtype" => Form::Kind,
        _ => return None,
    })
}

/// The elements of a set; those of a single field are joined into one.
fn plain(forms: &[Form], elements: &[Value]) -> Option<Vec<Vec<Values>>> {
    if !elements.iter().all(is_settled) {
        return None;
    }
    if elements.iter().any(is_all) {
        return Some(vec![Vec::new()]);
    }
    match forms {
        _ if elements.is_empty() => Some(Vec::new()),
        [form] => Some(vec![vec![values(*form, elements)?]]),
        _ => elements.iter().map(|element| tuple(forms, content(element))).collect(),
    }
}

fn tuple(forms: &[Form], element: &Value) -> Option<Vec<Values>> {
    let parts = parts_of(element);
    let value = |(form, part): (&Form, &Value)| values(*form, std::slice::from_ref(part));
    if forms.len() == parts.len() { forms.iter().zip(parts).map(value).collect() } else { None }
}

/// A map of verdicts; the element that stands for all others comes last.
fn map(name: String, forms: &[Form], pairs: &[Value]) -> Option<Set> {
    let (mut elements, mut verdicts, mut others) = (Vec::new(), Vec::new(), None);
    for pair in pairs {
        let [key, verdict] = pair.as_array()?.as_slice() else { return None };
        let verdict = statement::verdict(verdict)?;
        if !is_settled(key) {
            return None;
        }
        if is_all(key) {
            others = Some(verdict);
        } else {
            elements.push(tuple(forms, content(key))?);
            verdicts.push(verdict);
        }
    }
    elements.extend(others.is_some().then(Vec::new));
    verdicts.extend(others);
    Some(Set { name, elements, verdicts })
}

fn is_settled(element: &Value) -> bool {
    element.get("elem").is_none_or(only_counts)
}
