//! The report for people fits in 80 columns, commands and lines of files aside.

use serde_json::Value;

use crate::world::{answering, check, closed_port, redis, silent};

const WIDTH: usize = 80;

/// Every text of the report that may be as long as it is: commands, and lines of files to be edited.
fn verbatim(report: &Value, into: &mut Vec<String>) {
    match report {
        Value::Array(items) => items.iter().for_each(|item| verbatim(item, into)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if ["command", "from", "to", "file"].contains(&key.as_str()) => {
                        into.push(text.clone());
                    }
                    value => verbatim(value, into),
                }
            }
        }
        _ => {}
    }
}

/// Runs it as people see it, and looks at every line.
#[track_caller]
fn fits(args: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    for more in [&[][..], &["-v"], &["-q"], &["--ascii", "-v"]] {
        let line = [args, more, &["-o", "human", "-o", "json=json"]].concat();
        let ran = check(&line).dir(dir.path()).run();
        let report: Value = serde_json::from_slice(&std::fs::read(dir.path().join("json")).unwrap()).unwrap();
        let mut free = Vec::new();
        verbatim(&report, &mut free);
        for line in ran.stdout.lines().filter(|line| line.chars().count() > WIDTH) {
            let is_free = free.iter().any(|text| line.trim_start_matches([' ', '-', '+']).starts_with(text.as_str()));
            assert!(is_free, "{} columns: {line:?}\n{ran}", line.chars().count());
        }
        assert!(ran.stdout.lines().all(|line| line.trim_end() == line), "blanks at the end of a line\n{ran}");
    }
}

#[test]
fn failures_of_the_path_fit() {
    let port = closed_port();
    fits(&["-p", &port]);
    fits(&["-h", "::1", "-p", &port]);
    fits(&["-h", "::1", "-4"]);
    fits(&["-h", "127.0.0.1", "-6"]);
    fits(&["-h", "fe80::1%nosuch0"]);
    fits(&["-h", "name-that-nobody-has-given-to-anything-at-all.invalid", "-t", "0.5"]);
    fits(&["-s", "/nonexistent/directory/with/a/rather/long/name/that/goes/on/and/on/redis.sock"]);
}

#[test]
fn malformed_targets_fit() {
    let long = "a".repeat(300);
    for host in ["redis://db", "db:6379", "", "${REDIS_HOST}", "a b c", &long, "\x1b[2J", "user:pw@db/0"] {
        fits(&["-h", host]);
    }
    fits(&["-u", "redis://:p@ss@db-with-a-name-that-is-long.and-a-domain-that-is-longer.example.com:6379/0"]);
    fits(&["-p", "tcp://10.0.0.1:6379"]);
    fits(&["-n", "-1"]);
    fits(&["--env-file", "/dev/null"]);
}

#[test]
fn what_servers_say_fits() {
    let (mute, http) = (silent(), answering(|_| b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n".to_vec()));
    fits(&["-p", &mute, "-t", "0.2"]);
    fits(&["-p", &http, "-t", "0.5"]);
    let long = answering(|_| [b"-ERR ".as_slice(), &b"long-word".repeat(40), b"\r\n"].concat());
    fits(&["-p", &long, "-t", "0.5"]);
    let words = answering(|_| [b"-NOAUTH ".as_slice(), &b"many words ".repeat(40), b"\r\n"].concat());
    fits(&["-p", &words, "-t", "0.5"]);
}

#[test]
fn real_servers_fit() {
    let Some(open) = redis(&["--databases", "4"]) else { return };
    let Some(closed) = redis(&["--requirepass", "pw"]) else { return };
    fits(&["-p", &open.port]);
    fits(&["-p", &open.port, "-a", "pw"]);
    fits(&["-p", &open.port, "-n", "99"]);
    fits(&["-p", &open.port, "--env"]);
    fits(&["-p", &closed.port]);
    fits(&["-p", &closed.port, "-a", "wrong", "--user", "somebody-with-a-very-long-name-indeed-and-more-of-it"]);
    fits(&["-s", &open.socket]);
}
