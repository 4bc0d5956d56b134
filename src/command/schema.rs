//! `redisdoc schema`: the JSON Schema of the report.

use super::Answer;
use crate::render::json;

/// Prints the schema.
pub fn run() -> Answer {
    Answer::of(json::schema())
}
