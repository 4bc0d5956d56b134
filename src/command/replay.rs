//! `redisdoc replay`: judges saved facts and touches nothing.

use serde_json::Value;

use super::{Answer, check, show};
use crate::cli::ReplayArgs;
use crate::error::Error;
use crate::model::escape;
use crate::probe::{FACTS_VERSION, Facts};
use crate::sys::files;

/// Diagnoses the facts in a file.
///
/// # Errors
/// A file that cannot be read or holds no facts.
pub fn run(args: ReplayArgs) -> Result<Answer, Error> {
    let path = escape(args.facts.as_bytes());
    let show = args.show.show()?;
    let text = match args.facts.as_str() {
        "-" => files::read_stdin(),
        path => files::read_given(path, files::PATIENCE),
    };
    let text = text.map_err(|source| Error::Unreadable { path: path.clone(), source })?;
    let facts = parse(&text).map_err(|says| Error::NotFacts { path, says: escape(says.as_bytes()) })?;
    show::render(&facts, &check::diagnose(&facts), &show)
}

/// Reads saved facts. They come from anywhere, so that every text in them is made printable first.
fn parse(text: &str) -> Result<Facts, String> {
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

    #[test]
    fn what_was_saved_is_read_again() {
        let facts = Facts::healthy();
        let text = crate::render::json::facts(&facts);
        let again = parse(&text).unwrap();
        assert_eq!(crate::render::json::facts(&again), text);
    }

    #[test]
    fn what_is_no_facts_is_said() {
        assert!(parse("{}").unwrap_err().contains("no facts_version"));
        assert!(parse("{\"facts_version\": 999}").unwrap_err().contains("999"));
        assert!(parse("nonsense").is_err());
        assert!(parse("{\"facts_version\": 1}").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,300}") {
            let _ = parse(&text);
        }
    }
}
