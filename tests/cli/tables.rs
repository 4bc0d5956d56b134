//! The commands that look at nothing: explain, list, schema, completions, man.

use crate::world::redisdoc;

#[test]
fn everything_that_is_listed_is_explained() {
    let causes = redisdoc(&["list", "causes", "--json"]).run().exit(0).quiet().json();
    let checks = redisdoc(&["list", "checks", "--json"]).run().exit(0).quiet().json();
    let (causes, checks) = (causes.as_array().unwrap(), checks.as_array().unwrap());
    let codes = checks.iter().flat_map(|check| check["codes"].as_array().unwrap());
    let ids: Vec<String> = causes
        .iter()
        .map(|cause| &cause["id"])
        .chain(codes.map(|code| &code["code"]))
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    assert!(causes.len() > 10 && ids.len() > 40, "{ids:?}");
    let (listed, checked) = (redisdoc(&["list", "causes"]).run().exit(0), redisdoc(&["list", "checks"]).run().exit(0));
    for id in &ids {
        let ran = redisdoc(&["explain", id]).run().exit(0).quiet();
        assert!(ran.stdout.starts_with(id.as_str()) && ran.stdout.len() > id.len() + 80, "{ran}");
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{ran}");
        assert!(listed.stdout.contains(id.as_str()) || checked.stdout.contains(id.as_str()), "{id} is not listed");
    }
}

#[test]
fn what_does_not_exist_is_not_explained() {
    let ran = redisdoc(&["explain", "name-found"]).run().exit(2);
    assert!(ran.stderr.contains("name-not-found") && ran.stdout.is_empty(), "{ran}");
    let ran = redisdoc(&["explain", "\x1b[2Jxyz"]).run().exit(2);
    assert!(!ran.stderr.contains('\x1b'), "{ran}");
    redisdoc(&["list", "nonsense"]).run().exit(2).says("causes, checks");
}

#[test]
fn there_is_a_schema_a_manual_and_completions() {
    assert!(redisdoc(&["schema"]).run().exit(0).quiet().json()["$schema"].is_string());
    redisdoc(&["man"]).run().exit(0).quiet().says(".TH redisdoc");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        redisdoc(&["completions", shell]).run().exit(0).quiet().says("redisdoc");
    }
    redisdoc(&["completions", "tcsh"]).run().exit(2).says("bash");
}
