//! `redisdoc explain`: what a cause or a finding means; offline.

use super::Answer;
use crate::error::Error;
use crate::model::{Code, Severity, escape};
use crate::render::human::prose;
use crate::{cause, check};

/// Explains the cause or code with this id.
///
/// # Errors
/// An id that does not exist.
pub fn run(id: &str) -> Result<Answer, Error> {
    if let Some(cause) = cause::causes().find(|cause| cause.id == id) {
        let text = format!("{} — {}\n\n{}", cause.id, cause.title, cause.explain);
        return Ok(Answer::of(prose(&text)));
    }
    match check::code(id) {
        Some(code) => Ok(Answer::of(prose(&about(code)))),
        None => Err(Error::Usage(unknown(id))),
    }
}

fn about(code: &Code) -> String {
    let severity = match code.severity {
        Severity::Info => "a remark",
        Severity::Warn => "a warning",
        Severity::Fail => "a failure",
    };
    format!("{} — {} ({severity})\n\n{}", code.id, code.title, code.explain)
}

fn unknown(id: &str) -> String {
    let ids = cause::causes().map(|cause| cause.id).chain(check::CHECKS.iter().flat_map(|c| c.codes).map(|c| c.id));
    let alike: Vec<&str> = ids.filter(|known| is_alike(known, id)).collect();
    let hint = if alike.is_empty() { String::new() } else { format!("; alike are {}", alike.join(", ")) };
    format!(
        "no cause or code is called '{}'{hint}; see redisdoc list causes and redisdoc list checks",
        escape(id.as_bytes())
    )
}

/// True if one holds a word of the other.
fn is_alike(known: &str, id: &str) -> bool {
    let words = |text: &str| text.to_lowercase().split(['-', '/', ' ', '_']).map(str::to_owned).collect::<Vec<_>>();
    let known = words(known);
    words(id).iter().any(|word| word.len() > 3 && known.contains(word))
}
