//! Saved facts and the reports they must give, in every format: wording is a contract too. `BLESS=1 cargo test --test
//! cases` rewrites the reports; read the difference before you commit it.

#![allow(
    clippy::disallowed_methods,
    reason = "the rule that only sys/ touches the machine is the program's, not its tests'"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use serde_json::Value;

const FACTS: &str = ".facts.json";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// The names of the cases.
fn cases() -> Vec<String> {
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut cases: Vec<String> = names.filter_map(|name| name.strip_suffix(FACTS).map(str::to_owned)).collect();
    cases.sort();
    assert!(cases.len() >= 10, "the cases are gone");
    cases
}

/// What `redisdoc` prints.
fn redisdoc(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redisdoc"));
    let output = command.args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn replay(case: &str, format: &str) -> String {
    let facts = folder().join(format!("{case}{FACTS}"));
    redisdoc(&["replay", facts.to_str().unwrap(), "-o", format, "--color", "never"])
}

/// Asserts that the file holds the text, or makes it so.
fn golden(path: &Path, text: &str) {
    if env::var_os("BLESS").is_some() {
        fs::write(path, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(expected == text, "{} differs (BLESS=1 rewrites it):\n{text}", path.display());
}

#[test]
fn people_read_what_they_should() {
    for case in cases() {
        golden(&folder().join(format!("{case}.txt")), &replay(&case, "human"));
    }
}

#[test]
fn the_readme_shows_what_people_read() {
    let readme = fs::read_to_string(folder().join("../../README.md")).unwrap();
    let shown = fs::read_to_string(folder().join("protected-mode.txt")).unwrap();
    assert!(readme.contains(shown.trim_end()), "the first screen of the README is not what redisdoc says:\n{shown}");
}

#[test]
fn programs_read_what_they_should_by_the_schema() {
    let schema: Value = serde_json::from_str(&redisdoc(&["schema"])).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for case in cases() {
        let text = replay(&case, "json");
        golden(&folder().join(format!("{case}.json")), &text);
        let report: Value = serde_json::from_str(&text).unwrap();
        let errors: Vec<String> = schema.iter_errors(&report).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{case}: {errors:?}");
    }
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let schema: Value = serde_json::from_str(&redisdoc(&["schema"])).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let mut report: Value = serde_json::from_str(&replay(&cases()[0], "json")).unwrap();
    report["status"] = Value::from("fine");
    assert!(!schema.is_valid(&report));
}

#[test]
fn facts_survive_being_saved_again() {
    for case in cases() {
        golden(&folder().join(format!("{case}{FACTS}")), &replay(&case, "facts"));
    }
}
