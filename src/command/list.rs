//! `redisdoc list`: the tables of causes and checks.

use serde_json::json;

use super::Answer;
use crate::cli::{ListArgs, Listed};
use crate::{cause, check};

/// Lists what was asked for, for people or as JSON.
pub fn run(args: &ListArgs) -> Answer {
    let text = match (args.what, args.json) {
        (Listed::Causes, false) => causes(),
        (Listed::Checks, false) => checks(),
        (Listed::Causes, true) => pretty(&causes_json()),
        (Listed::Checks, true) => pretty(&checks_json()),
    };
    Answer::of(text)
}

fn causes() -> String {
    let width = cause::causes().map(|cause| cause.id.len()).max().unwrap_or_default();
    lines(cause::causes().map(|cause| format!("{:<width$}  {}", cause.id, cause.title)))
}

fn checks() -> String {
    let line = |check: &&check::Check| {
        let head = format!("{}: {}", check.id, check.asks);
        lines(std::iter::once(head).chain(check.codes.iter().map(|code| format!("    {:<28} {}", code.id, code.title))))
    };
    check::CHECKS.iter().map(line).collect()
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

fn causes_json() -> serde_json::Value {
    cause::causes().map(|cause| json!({ "id": cause.id, "title": cause.title, "explain": cause.explain })).collect()
}

fn checks_json() -> serde_json::Value {
    let code = |code: &&crate::model::Code| json!({ "code": code.id, "severity": code.severity, "title": code.title });
    let check = |check: &&check::Check| json!({ "id": check.id, "asks": check.asks, "codes": check.codes.iter().map(code).collect::<Vec<_>>() });
    check::CHECKS.iter().map(check).collect()
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
