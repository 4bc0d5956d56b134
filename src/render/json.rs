//! The report as JSON, for programs; and what is saved for another run.

use serde::Serialize;

use crate::model::report::Report;
use crate::probe::{Collected, Facts};

/// The report as an indented JSON document with a final newline.
pub fn render(report: &Report) -> String {
    document(report)
}

/// The facts as an indented JSON document with a final newline, for `replay`.
pub fn facts(facts: &Facts) -> String {
    document(facts)
}

/// What was collected on a server's machine, as an indented JSON document with a final newline, for `--host-facts`.
pub fn collected(collected: &Collected) -> String {
    document(collected)
}

/// The JSON Schema of the report, as an indented document with a final newline.
pub fn schema() -> String {
    document(&schemars::schema_for!(Report))
}

/// None of these holds anything that JSON cannot: strings, finite numbers, lists and maps with text keys.
fn document(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
