//! The report as JSON, for programs.

use crate::model::report::Report;
use crate::probe::Facts;

/// The report as an indented JSON document with a final newline.
pub fn render(report: &Report) -> String {
    // A report holds nothing that JSON cannot: strings, finite numbers, lists and maps with text keys.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

/// The facts as an indented JSON document with a final newline, for `replay`.
pub fn facts(facts: &Facts) -> String {
    let mut text = serde_json::to_string_pretty(facts).unwrap_or_default();
    text.push('\n');
    text
}

/// The JSON Schema of the report, as an indented document with a final newline.
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(Report)).unwrap_or_default();
    text.push('\n');
    text
}
