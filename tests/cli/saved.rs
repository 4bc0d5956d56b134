//! Reports in files, and facts that are saved and diagnosed again.

use serde_json::Value;

use crate::world::{answering, check, closed_port, file, redis, redisdoc, silent};

/// What must not change when saved facts are diagnosed again.
fn verdict(report: &Value) -> [&Value; 8] {
    ["target", "vantage", "status", "reached", "exit_code", "checks", "causes", "unexplained"].map(|key| &report[key])
}

#[test]
fn replayed_facts_give_the_same_verdict() {
    let closed = closed_port();
    let (mute, odd) = (silent(), answering(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    let open = redis(&["--requirepass", "pw"]);
    let mut runs: Vec<Vec<&str>> = vec![
        vec!["-p", &closed],
        vec!["-p", &mute, "-t", "0.3"],
        vec!["-p", &odd, "-t", "0.5"],
        vec!["-h", "db:6379"],
        vec!["-h", "name.invalid", "-t", "1"],
        vec!["-s", "/nonexistent.sock"],
        vec!["--env"],
        vec!["-h", "::1", "-4"],
    ];
    if let Some(redis) = &open {
        runs.extend([
            vec!["-p", &redis.port],
            vec!["-p", &redis.port, "--require", "reachable"],
            vec!["-p", &redis.port, "-a", "pw"],
            vec!["-p", &redis.port, "-a", "wrong", "--user", "somebody"],
            vec!["-p", &redis.port, "-a", "pw", "-n", "99", "--fail-on", "never"],
            vec!["-p", &redis.port, "--only", "tcp"],
            vec!["-s", &redis.socket, "-a", "pw", "--deep"],
        ]);
    }
    for args in runs {
        let dir = tempfile::tempdir().unwrap();
        let saved = ["-o", "facts=facts", "-o", "json=json", "-o", "human"];
        let first = check(&[&args[..], &saved].concat()).dir(dir.path()).run();
        let code = first.code.expect("an exit code");
        let json: Value = serde_json::from_slice(&std::fs::read(dir.path().join("json")).unwrap()).unwrap();
        let again = redisdoc(&["replay", "facts", "--json"]).dir(dir.path()).run().exit(code).quiet();
        assert_eq!(verdict(&again.json()), verdict(&json), "{args:?}");
        let human = redisdoc(&["replay", "facts"]).dir(dir.path()).run().exit(code).quiet();
        assert_eq!(human.stdout, first.stdout, "{args:?}");
        let facts = std::fs::read_to_string(dir.path().join("facts")).unwrap();
        let piped = redisdoc(&["replay", "-", "-o", "facts"]).stdin(facts.clone()).run().exit(code).quiet();
        assert_eq!(piped.stdout, facts, "{args:?}");
    }
}

#[test]
fn reports_go_to_files_too() {
    let port = closed_port();
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let ran = check(&["-p", &port, "-o", "json=a=b.json", "-o", "human=report"]).dir(dir.path()).run().exit(1).quiet();
    assert_eq!(ran.stdout, "");
    assert!(read("report").contains("refused"));
    assert_eq!(serde_json::from_str::<Value>(&read("a=b.json")).unwrap()["exit_code"], 1);
    let ran = check(&["-p", &port, "-o", "json=c.json", "--json"]).dir(dir.path()).run().exit(1);
    assert_eq!(verdict(&ran.json()), verdict(&serde_json::from_str(&read("c.json")).unwrap()));
    check(&["-o", "json", "-o", "human"]).run().exit(2).says("standard output");
    check(&["-p", &port, "-o", "json=/"]).run().exit(2).says("cannot write /");
}

#[test]
fn reports_keep_to_their_schema() {
    let schema: Value = redisdoc(&["schema"]).run().exit(0).json();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let (closed, mute) = (closed_port(), silent());
    let open = redis(&[]);
    let mut runs = vec![
        vec!["-p", closed.as_str()],
        vec!["-p", &mute, "-t", "0.2"],
        vec!["-h", "redis://x"],
        vec!["--nope"],
        vec!["-h", "name.invalid", "-t", "1"],
        vec!["-s", "/nonexistent.sock"],
    ];
    runs.extend(open.as_ref().map(|redis| vec!["-p", redis.port.as_str(), "--deep"]));
    for args in runs {
        let ran = check(&[&args[..], &["--json"]].concat()).run();
        let report = ran.json();
        let errors: Vec<String> =
            validator.iter_errors(&report).map(|error| format!("{error} at {}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{ran}");
    }
}

#[test]
fn facts_from_strangers_do_no_harm() {
    let port = closed_port();
    let facts = check(&["-p", &port, "-o", "facts"]).run().stdout;
    // Another version, a cut file, control codes in a text.
    let (_dir, newer) = file("facts", facts.replacen("\"facts_version\": 1", "\"facts_version\": 2", 1));
    redisdoc(&["replay", newer.to_str().unwrap()]).run().exit(2).says("facts_version 2");
    let (_dir, cut) = file("facts", &facts[..facts.len() / 2]);
    redisdoc(&["replay", cut.to_str().unwrap()]).run().exit(2).says("holds no facts");
    let (_dir, evil) = file("facts", facts.replace("127.0.0.1", "\\u001b[2J\\u202ex"));
    let ran = redisdoc(&["replay", evil.to_str().unwrap()]).run();
    assert!(!ran.stdout.contains('\x1b') && !ran.stderr.contains('\x1b'), "{ran}");
    assert!(!ran.stdout.contains('\u{202e}') && !ran.stderr.contains('\u{202e}'), "{ran}");
    redisdoc(&["replay", "/dev/zero"]).run().exit(2);
    redisdoc(&["replay", "/"]).run().exit(2);
    redisdoc(&["replay", "-"]).run().exit(2);
}
