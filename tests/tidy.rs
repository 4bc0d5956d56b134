//! The invariants of `src/ARCHITECTURE.md` that a machine can check.

#![allow(
    clippy::disallowed_methods,
    reason = "the rule that only sys/ touches the machine is the program's, not its tests'"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use redisdoc::cause;
use redisdoc::check::CHECKS;

/// Causes that no lab scenario raises, and why.
const NOT_IN_THE_LAB: &[(&str, &str)] = &[("macos-local-network", "needs macOS; known from reports only")];

/// The longest a file may be. A longer one holds more than one room.
const LONGEST: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder of the project.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The code of a file without its comments and its tests.
fn code(path: &Path) -> String {
    let text = text(path);
    let code = text.split("#[cfg(test)]\n").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The ids that the files of a folder stand for: `not_running.rs` is `not-running`.
fn ids_of_files(folder: &str) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().replace('_', "-");
    rust_files(folder).into_iter().map(stem).filter(|stem| stem != "mod" && stem != "tests").collect()
}

#[test]
fn what_judges_is_pure() {
    for folder in ["src/check", "src/cause", "src/render", "src/model"] {
        for path in rust_files(folder) {
            let code = code(&path);
            for word in ["async ", ".await", "crate::sys", "tokio", "std::fs", "std::env::var", "std::process"] {
                assert!(!code.contains(word), "{} is not pure: it names {word}", name(&path));
            }
        }
    }
}

#[test]
fn every_check_and_cause_is_registered() {
    let checks: BTreeSet<String> = CHECKS.iter().map(|check| check.id.to_owned()).collect();
    assert_eq!(checks, ids_of_files("src/check"));
    let causes: BTreeSet<String> = cause::causes().map(|cause| cause.id.to_owned()).collect();
    assert_eq!(causes, ids_of_files("src/cause"));
}

#[test]
fn ids_are_unique_and_kebab_case() {
    let codes = CHECKS.iter().flat_map(|check| check.codes).map(|code| code.id);
    let ids: Vec<&str> = cause::causes().map(|cause| cause.id).chain(codes).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "an id stands twice");
    for id in ids {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '/';
        assert!(id.chars().all(fits), "{id} is not kebab-case");
    }
    for check in CHECKS {
        for code in check.codes {
            assert!(code.id.starts_with(&format!("{}/", check.id)), "{} is not of {}", code.id, check.id);
        }
    }
}

#[test]
fn the_readme_lists_every_check_and_cause() {
    let readme = text(&root().join("README.md"));
    let ids = CHECKS.iter().map(|check| check.id).chain(cause::causes().map(|cause| cause.id));
    let missing: Vec<&str> = ids.filter(|id| !readme.contains(&format!("`{id}`"))).collect();
    assert!(missing.is_empty(), "the README does not list {missing:?}");
}

#[test]
fn everything_is_explained() {
    let causes = cause::causes().map(|cause| (cause.id, cause.title, cause.explain, 200));
    let codes = CHECKS.iter().flat_map(|check| check.codes).map(|code| (code.id, code.title, code.explain, 60));
    for (id, title, explain, least) in causes.chain(codes) {
        assert!(explain.len() >= least, "{id} is hardly explained");
        assert!(explain.ends_with('.'), "the explanation of {id} has no end");
        assert!(!title.ends_with('.'), "the title of {id} is a sentence");
    }
}

#[test]
fn every_code_is_raised_by_a_table() {
    for check in CHECKS {
        let path = root().join(format!("src/check/{}.rs", check.id.replace('-', "_")));
        let tests = tests_of(&path);
        for code in check.codes {
            let constant = constant_of(&text(&path), code.id);
            let raised = tests.contains(&format!("\"{}\"", code.id)) || tests.contains(&format!("&{constant}"));
            assert!(raised, "no table of {} raises {}", check.id, code.id);
        }
    }
}

/// The name of the static that declares this code.
fn constant_of(source: &str, id: &str) -> String {
    let before = source.split(&format!("\"{id}\"")).next().unwrap_or_default();
    let declaration = before.rfind("pub static ").map(|at| &before[at + "pub static ".len()..]).unwrap_or_default();
    declaration.split(':').next().unwrap_or_default().to_owned()
}

#[test]
fn every_cause_has_a_table() {
    for path in rust_files("src/cause").into_iter().filter(|path| path.file_stem().unwrap() != "mod") {
        assert!(tests_of(&path).contains("Confidence::"), "{} has no table of how sure it is", name(&path));
    }
}

/// The tests beside the code, in the file or in the `tests.rs` of its folder.
fn tests_of(path: &Path) -> String {
    let own = text(path);
    let beside = path.with_extension("").join("tests.rs");
    let beside = if beside.exists() { text(&beside) } else { String::new() };
    own.split_once("#[cfg(test)]\n").map(|(_, tests)| tests.to_owned()).unwrap_or_default() + &beside
}

#[test]
fn every_cause_is_raised_in_the_lab() {
    let scenarios: String = rust_files("tests/lab").iter().map(|path| text(path)).collect();
    for cause in cause::causes() {
        let raised = scenarios.contains(&format!("\"{}\"", cause.id));
        let reason = NOT_IN_THE_LAB.iter().find(|(id, _)| *id == cause.id);
        assert!(raised != reason.is_some(), "{}: in the lab, or on the list with a reason, not both", cause.id);
    }
}

#[test]
fn files_have_one_room() {
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        let lines = text(&path).lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", name(&path));
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [["TO", "DO"], ["FIX", "ME"], ["todo", "!("], ["unimplemented", "!("], ["#[ig", "nore"]]
        .map(|mark| mark.concat());
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        let text = text(&path);
        for mark in &marks {
            assert!(!text.contains(mark), "{} holds {mark}", name(&path));
        }
    }
}
