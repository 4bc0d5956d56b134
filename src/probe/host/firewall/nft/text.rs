//! A rule as `nft list ruleset` would print it, or nearly: nft's text and its JSON are two listings.

use serde_json::Value;

use crate::model::escape;
use crate::model::text::head;

/// The longest text of a rule that is kept.
const LONGEST: usize = 1000;
/// How many elements of a set are shown.
const MOST_ELEMENTS: usize = 12;
/// What nft names without `meta`.
const BARE: [&str; 8] = ["iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup", "ibrname", "obrname"];

/// The text of a rule.
pub(super) fn rule(statements: &[Value], comment: Option<&str>) -> String {
    let kinds = statements.iter().map(|statement| match statement.as_object().and_then(|body| body.iter().next()) {
        Some((kind, body)) => self::statement(kind, body),
        None => "?".to_owned(),
    });
    let comment = comment.map(|comment| format!("comment \"{}\"", escape(comment.as_bytes())));
    let text = kinds.chain(comment).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
    head(text.as_bytes(), LONGEST)
}

/// The text of a statement.
pub(super) fn statement(kind: &str, body: &Value) -> String {
    let of = |key: &str| body.get(key).map(show).unwrap_or_default();
    match kind {
        "match" => comparison(&body["left"], body["op"].as_str().unwrap_or("?"), &body["right"]),
        "vmap" => format!("{} vmap {}", of("key"), of("data")),
        "jump" | "goto" => format!("{kind} {}", of("target")),
        "counter" => match body {
            Value::String(name) => format!("counter name \"{}\"", escape(name.as_bytes())),
            Value::Object(_) => format!("counter packets {} bytes {}", of("packets"), of("bytes")),
            _ => "counter".to_owned(),
        },
        "reject" => match body.get("type").and_then(Value::as_str) {
            Some("icmpx") if of("expr") == "port-unreachable" => "reject".to_owned(),
            None => "reject".to_owned(),
            Some(_) => words(&["reject with", &of("type"), &of("expr")]),
        },
        "dnat" | "snat" | "redirect" | "masquerade" | "tproxy" => translation(kind, body),
        "mangle" => format!("{} set {}", of("key"), value(&body["key"], &body["value"])),
        "limit" | "quota" if body.is_string() => format!("{kind} name \"{}\"", show(body)),
        "limit" => format!("limit rate {}{}/{}", over(body), of("rate"), of("per")),
        "ct count" => format!("ct count {}{}", over(body), of("val")),
        "quota" => words(&["quota", over(body).trim_end(), &of("val"), &of("val_unit")]),
        "log" if body.get("prefix").is_some() => format!("log prefix \"{}\"", of("prefix")),
        "set" | "map" => format!("{} {} {{ {} }}", of("op"), of(kind), of("elem")),
        "xt" => words(&["xt", &of("type"), &format!("\"{}\"", of("name"))]),
        "queue" => words(&["queue", if body.get("num").is_some() { "to" } else { "" }, &of("num")]),
        _ => escape(kind.as_bytes()),
    }
}

fn over(body: &Value) -> &'static str {
    if body.get("inv").and_then(Value::as_bool) == Some(true) { "over " } else { "" }
}

fn words(words: &[&str]) -> String {
    words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

fn translation(kind: &str, body: &Value) -> String {
    let of = |key: &str| body.get(key).map(show).unwrap_or_default();
    let (addr, port) = (of("addr"), of("port"));
    let to = match (addr.as_str(), port.as_str()) {
        ("", "") => String::new(),
        (addr, "") => format!("to {addr}"),
        (addr, port) if addr.contains(':') => format!("to [{addr}]:{port}"),
        (addr, port) => format!("to {addr}:{port}"),
    };
    words(&[kind, &of("family"), &to])
}

/// The text of a test.
pub(super) fn comparison(left: &Value, op: &str, right: &Value) -> String {
    let bits = left.get("ct").is_some() || left.get("payload").is_some_and(|payload| payload["field"] == "flags");
    let right_text = value(left, right);
    match (op, left.get("&").and_then(Value::as_array).map(Vec::as_slice)) {
        ("==" | "!=", Some([of, mask])) if of.get("payload").is_some_and(|payload| payload["field"] == "flags") => {
            let not = if op == "!=" { "!= " } else { "" };
            format!("{} {not}{right_text} / {}", show(of), show(mask))
        }
        ("==", None) if !bits || right.get("set").is_some() => format!("{} {right_text}", show(left)),
        ("in", _) => format!("{} {right_text}", show(left)),
        _ => format!("{} {} {right_text}", show(left), escape(op.as_bytes())),
    }
}

/// A value of a field: names of interfaces stand in quotes, marks are hexadecimal.
fn value(left: &Value, right: &Value) -> String {
    let key = left.get("&").and_then(|both| both.get(0)).unwrap_or(left);
    match key.get("meta").and_then(|meta| meta["key"].as_str()) {
        Some("mark") => all(right, &|value| value.as_u64().map(|mark| format!("{mark:#010x}"))),
        Some(key) if BARE.contains(&key) => all(right, &|value| {
            value.as_str().filter(|name| !name.starts_with('@')).map(|name| format!("\"{}\"", escape(name.as_bytes())))
        }),
        _ => show(right),
    }
}

fn show(expression: &Value) -> String {
    all(expression, &|_| None)
}

/// An expression, in which `own` may write single values in its own way.
fn all(expression: &Value, own: &dyn Fn(&Value) -> Option<String>) -> String {
    if let Some(text) = own(expression) {
        return text;
    }
    match expression {
        Value::Null => String::new(),
        Value::Bool(there) => if *there { "exists" } else { "missing" }.to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => escape(text.as_bytes()),
        Value::Array(list) => few(list, own).join(","),
        Value::Object(object) => match object.iter().next() {
            Some((kind, body)) => named(kind, body, own),
            None => String::new(),
        },
    }
}

fn few(list: &[Value], own: &dyn Fn(&Value) -> Option<String>) -> Vec<String> {
    let more = list.len() > MOST_ELEMENTS;
    let shown = list.iter().take(MOST_ELEMENTS).map(|element| match element.as_array().map(Vec::as_slice) {
        Some([key, target]) => format!("{} : {}", all(key, own), show(target)),
        _ => all(element, own),
    });
    shown.chain(more.then(|| "…".to_owned())).collect()
}

fn named(kind: &str, body: &Value, own: &dyn Fn(&Value) -> Option<String>) -> String {
    let of = |key: &str| body.get(key).map(|part| all(part, own)).unwrap_or_default();
    let listed = || body.as_array().map(|list| few(list, own)).unwrap_or_default();
    match kind {
        "payload" if body.get("base").is_some() => format!("@{},{},{}", of("base"), of("offset"), of("len")),
        "payload" => words(&[&of("protocol"), &of("field")]),
        "meta" if BARE.contains(&of("key").as_str()) => of("key"),
        "meta" => format!("meta {}", of("key")),
        "ct" | "rt" | "socket" => words(&[kind, &of("dir"), &of("family"), &of("key")]),
        "fib" => {
            let flags = body.get("flags").map(|flags| match flags.as_array() {
                Some(list) => few(list, own).join(" . "),
                None => all(flags, own),
            });
            words(&["fib", &flags.unwrap_or_default(), &of("result")])
        }
        "prefix" => format!("{}/{}", of("addr"), of("len")),
        "range" => listed().join("-"),
        "concat" => listed().join(" . "),
        "set" => format!("{{ {} }}", if body.is_array() { listed().join(", ") } else { all(body, own) }),
        "elem" => of("val"),
        "map" => format!("{} map {}", of("key"), of("data")),
        "&" | "|" | "^" | "<<" | ">>" => listed().join(&format!(" {kind} ")),
        "jump" | "goto" => format!("{kind} {}", of("target")),
        "tcp option" | "ip option" | "exthdr" => words(&[kind, &of("name"), &of("field")]),
        _ => escape(kind.as_bytes()),
    }
}
