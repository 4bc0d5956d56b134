//! The exit codes, which are the same in every format.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{check, closed_port, file, redis, redisdoc, silent, wait};

#[test]
fn zero_for_a_server_that_is_usable() {
    let Some(redis) = redis(&[]) else { return };
    for format in ["human", "json", "facts"] {
        check(&["-p", &redis.port, "-o", format]).run().exit(0).quiet();
    }
    check(&["-s", &redis.socket]).run().exit(0).quiet();
    check(&[&format!("unix://{}", redis.socket)]).run().exit(0).quiet();
    check(&[&format!("127.0.0.1:{}", redis.port)]).run().exit(0).quiet();
    check(&["-u", &format!("redis://127.0.0.1:{}/3", redis.port)]).run().exit(0).quiet();
}

#[test]
fn one_for_a_problem() {
    let port = closed_port();
    for format in ["human", "json", "facts"] {
        check(&["-p", &port, "-o", format]).run().exit(1).quiet();
    }
}

#[test]
fn the_report_repeats_its_exit_code() {
    let Some(redis) = redis(&["--requirepass", "pw"]) else { return };
    for (args, code) in [
        (vec!["-p", &redis.port], 1),
        (vec!["-p", &redis.port, "--require", "reachable"], 0),
        (vec!["-p", &redis.port, "-h", "redis://x"], 2),
    ] {
        let ran = check(&[args, vec!["--json"]].concat()).run().exit(code);
        assert_eq!(ran.json()["exit_code"], code, "{ran}");
    }
}

#[test]
fn levels_are_required_in_order() {
    let Some(redis) = redis(&["--requirepass", "pw"]) else { return };
    let with = |password: Option<&str>, level: &str, more: &[&str]| {
        let run = check(&[&["-p", &redis.port, "--require", level], more].concat());
        match password {
            Some(password) => run.env("REDISCLI_AUTH", password).run(),
            None => run.run(),
        }
    };
    with(None, "reachable", &[]).exit(0);
    with(Some("wrong"), "reachable", &[]).exit(0);
    for level in ["authenticated", "ready", "writable"] {
        with(None, level, &[]).exit(1).says("requires authentication");
        with(Some("wrong"), level, &[]).exit(1).says("rejects the credentials");
        with(Some("pw"), level, &[]).exit(0);
    }
    // The credentials are good, the database is not there.
    with(Some("pw"), "authenticated", &["-n", "99"]).exit(0);
    with(Some("pw"), "ready", &["-n", "99"]).exit(1).says("database 99");
    let refused = closed_port();
    check(&["-p", &refused, "--require", "reachable"]).run().exit(1);
    check(&["--require", "nonsense"]).run().exit(2).says("reachable, authenticated, ready, writable");
}

#[test]
fn a_read_only_replica_is_ready_and_not_writable() {
    let Some(master) = redis(&[]) else { return };
    let Some(replica) = redis(&["--replicaof", &format!("127.0.0.1 {}", master.port)]) else { return };
    check(&["-p", &replica.port, "--require", "writable"]).run().exit(1);
    check(&["-p", &master.port, "--require", "writable"]).run().exit(0);
}

#[test]
fn warnings_count_only_where_they_are_asked_to() {
    let Some(redis) = redis(&[]) else { return };
    // No setting names a host: a warning.
    let args = ["--env", "-p", &redis.port];
    check(&args).run().exit(0).says("target-defaulted");
    check(&[&args[..], &["--fail-on", "warning"]].concat()).run().exit(1);
    check(&[&args[..], &["--fail-on", "error"]].concat()).run().exit(0);
    let refused = closed_port();
    check(&["-p", &refused, "--fail-on", "never"]).run().exit(0).says("refused");
    check(&["--fail-on", "sometimes"]).run().exit(2).says("never");
}

#[test]
fn two_for_bad_usage_with_a_document_for_those_who_asked_for_one() {
    let (_dir, not_facts) = file("facts.json", "{}");
    let (_dir, not_json) = file("facts.json", "nonsense");
    let (not_facts, not_json) = (not_facts.to_str().unwrap(), not_json.to_str().unwrap());
    for args in [
        vec!["check", "--nope"],
        vec!["check", "--only", "nope"],
        vec!["check", "--skip", "nope"],
        vec!["check", "-t", "0"],
        vec!["check", "-t", "x"],
        vec!["check", "--deadline", "-1"],
        vec!["check", "-4", "-6"],
        vec!["check", "-q", "-v"],
        vec!["check", "a", "b"],
        vec!["check", "-o", "xml"],
        vec!["check", "-o", "json="],
        vec!["check", "-o", "human"],
        vec!["check", "--pass-file", "/nonexistent"],
        vec!["check", "--pass-file", "/"],
        vec!["check", "--env-file", "/nonexistent"],
        vec!["check", "-o", "human=/nonexistent/x"],
        vec!["check", "--require", "x"],
        vec!["check", "-h"],
        vec!["replay"],
        vec!["replay", "/nonexistent"],
        vec!["replay", not_facts],
        vec!["replay", not_json],
        vec!["nonsense"],
    ] {
        let ran = redisdoc(&[&args[..], &["--json"]].concat()).run().exit(2);
        let report = ran.json();
        assert_eq!((&report["schema_version"], &report["exit_code"]), (&1.into(), &2.into()), "{ran}");
        assert!(report["error"].as_str().is_some_and(|error| !error.is_empty()), "{ran}");
        assert!(report["checks"].as_array().is_some_and(Vec::is_empty), "{ran}");
        assert!(!ran.stderr.is_empty(), "{ran}");
    }
    // Without the wish, stdout is empty.
    let ran = redisdoc(&["check", "--nope"]).run().exit(2);
    assert_eq!(ran.stdout, "", "{ran}");
    redisdoc(&[]).run().exit(2).says("Usage");
}

#[test]
fn two_for_a_target_that_makes_no_sense_with_a_whole_report() {
    for args in [
        vec!["-h", "redis://db"],
        vec!["-h", ""],
        vec!["-p", "0"],
        vec!["-p", "-1"],
        vec!["-n", "-1"],
        vec!["-n", "x"],
        vec!["-s", ""],
        vec!["-u", "http://db"],
        vec!["-u", ""],
        vec!["redis://:p@ss@db"],
        vec![""],
    ] {
        let ran = check(&[&args[..], &["--json"]].concat()).run().exit(2);
        let report = ran.json();
        assert!(report["causes"][0]["id"].is_string() && report["checks"][0]["status"] == "fail", "{ran}");
    }
}

#[test]
fn three_where_the_report_cannot_be_written() {
    let port = closed_port();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut child = check(&["-p", &port]).command().stdout(full).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(wait(&mut child, Duration::from_secs(10)).code(), Some(3));
}

#[test]
fn signals_end_it_at_once_with_their_own_codes() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let port = silent();
        let mut command = check(&["-p", &port, "--json"]).command();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let begun = std::time::Instant::now();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(wait(&mut child, Duration::from_secs(10)).code(), Some(code));
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        let output = child.wait_with_output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    }
}
