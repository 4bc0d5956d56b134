//! Documents that redisdoc saved: facts, and what was collected on a server's machine.

use std::io::ErrorKind;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;
use crate::model::escape;
use crate::probe::FACTS_VERSION;
use crate::sys::files;

/// Reads the document in a file, or on standard input if it is `-`; whoever writes it has `patience` to do so.
///
/// # Errors
/// A file that cannot be read, or that holds no such document; see [`is_late`].
pub fn read<T: DeserializeOwned>(path: &str, patience: Duration) -> Result<T, Error> {
    let shown = if path == "-" { "standard input".to_owned() } else { escape(path.as_bytes()) };
    let mut brackets = Brackets::default();
    let text = files::read_document(path, patience, move |part| brackets.close_in(part));
    let text = text.map_err(|source| Error::Unreadable { path: shown.clone(), source })?;
    parse(&text).map_err(|says| Error::NotFacts { path: shown, says: escape(says.as_bytes()) })
}

/// True if nobody wrote the document in time.
pub fn is_late(error: &Error) -> bool {
    matches!(error, Error::Unreadable { source, .. } if source.kind() == ErrorKind::TimedOut)
}

/// The brackets of a JSON text that is read piece by piece: it ends where the first one is closed.
#[derive(Debug, Default)]
struct Brackets {
    open: usize,
    in_text: bool,
    escaped: bool,
}

impl Brackets {
    /// True if the first bracket is closed in this piece.
    fn close_in(&mut self, part: &[u8]) -> bool {
        part.iter().any(|byte| self.close_with(*byte))
    }

    fn close_with(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_text => self.escaped = true,
            b'"' => self.in_text = !self.in_text,
            b'{' | b'[' if !self.in_text => self.open += 1,
            b'}' | b']' if !self.in_text => {
                self.open = self.open.saturating_sub(1);
                return self.open == 0;
            }
            _ => {}
        }
        false
    }
}

/// Reads a saved document. It comes from anywhere, so that every text in it is made printable first.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let version = value.get("facts_version").and_then(Value::as_u64);
    if version != Some(u64::from(FACTS_VERSION)) {
        let version =
            version.map_or_else(|| "no facts_version".to_owned(), |version| format!("facts_version {version}"));
        return Err(format!("it has {version}; this is version {FACTS_VERSION}"));
    }
    make_printable(&mut value);
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn make_printable(value: &mut Value) {
    match value {
        Value::String(text) => *text = escape(text.as_bytes()),
        Value::Array(items) => items.iter_mut().for_each(make_printable),
        Value::Object(fields) => fields.values_mut().for_each(make_printable),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Facts;

    #[test]
    fn what_was_saved_is_read_again() {
        let facts = Facts::healthy();
        let text = crate::render::json::facts(&facts);
        let again = parse::<Facts>(&text).unwrap();
        assert_eq!(crate::render::json::facts(&again), text);
    }

    #[test]
    fn a_document_ends_with_its_last_bracket() {
        let whole = crate::render::json::facts(&Facts::healthy());
        for size in [1, 7, 4096] {
            let mut brackets = Brackets::default();
            let ends: Vec<bool> = whole.trim_end().as_bytes().chunks(size).map(|it| brackets.close_in(it)).collect();
            assert_eq!(ends.iter().position(|end| *end), Some(ends.len() - 1), "{size}");
        }
        let ends = |text: &str| Brackets::default().close_in(text.as_bytes());
        assert!(ends(r#"{"a": "}\"]}", "b": [{}]}"#) && ends("}"));
        assert!(!ends(r#"{"a": "}\"]}", "b": [{}]"#) && !ends("Welcome\n") && !ends(""));
    }

    #[test]
    fn what_is_no_facts_is_said() {
        assert!(parse::<Facts>("{}").unwrap_err().contains("no facts_version"));
        assert!(parse::<Facts>("{\"facts_version\": 999}").unwrap_err().contains("999"));
        assert!(parse::<Facts>("nonsense").is_err());
        assert!(parse::<Facts>("{\"facts_version\": 1}").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,300}") {
            let _ = parse::<Facts>(&text);
        }
    }
}
