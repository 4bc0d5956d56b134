//! Documents that redisdoc saved: facts, and what was collected on a server's machine.

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
/// A file that cannot be read, or that holds no such document.
pub fn read<T: DeserializeOwned>(path: &str, patience: Duration) -> Result<T, Error> {
    let shown = if path == "-" { "standard input".to_owned() } else { escape(path.as_bytes()) };
    let text = files::read_saved(path, patience).map_err(|source| Error::Unreadable { path: shown.clone(), source })?;
    parse(&text).map_err(|says| Error::NotFacts { path: shown, says: escape(says.as_bytes()) })
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
