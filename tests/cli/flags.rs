//! The flags: redis-cli's, help where redis-cli has it, passwords from everywhere, and selecting checks.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use crate::world::{REDISDOC, Redis, by, check, closed_port, encoded, file, redis, redisdoc, skipped, wait};

const WARNING: &str = "Warning: Using a password with '-a' or '-u'";
const PASSWORD: &str = "p@ss/w#r?d%41:x+y z&=;[]";

#[test]
fn help_is_where_redis_cli_has_it() {
    for args in [&["check", "-h"][..], &["check", "--help"], &["check", "-p", "1", "-h"], &["-h"], &["--help"]] {
        let ran = redisdoc(args).run().exit(0).quiet();
        assert!(ran.stdout.contains("Usage"), "{ran}");
    }
    for command in ["replay", "explain", "list", "schema", "completions", "man"] {
        redisdoc(&[command, "--help"]).run().exit(0).quiet().says("Usage");
    }
    redisdoc(&["--version"]).run().exit(0).quiet().says(env!("CARGO_PKG_VERSION"));
    // In the middle it takes a host.
    check(&["-h", "127.0.0.1", "-p", &closed_port()]).run().exit(1).says("127.0.0.1");
}

#[test]
fn an_unknown_check_names_the_known_ones() {
    for flag in ["--only", "--skip"] {
        let ran = check(&[flag, "nope"]).run().exit(2);
        for id in ["target", "dns", "tcp", "ping", "auth", "state"] {
            assert!(ran.stderr.contains(id), "{ran}");
        }
    }
    check(&["-o", "xml"]).run().exit(2).says("human, json");
}

#[test]
fn checks_can_be_selected() {
    let port = closed_port();
    let statuses = |args: &[&str]| -> Vec<(String, String)> {
        let ran = check(&[&["-p", &port, "--json"], args].concat()).run();
        let report = ran.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        report["checks"].as_array().unwrap().iter().map(|check| (text(&check["id"]), text(&check["status"]))).collect()
    };
    let of = |statuses: &[(String, String)], id: &str| {
        statuses.iter().find(|(check, _)| check == id).map(|(_, status)| status.clone()).unwrap_or_default()
    };
    let all = statuses(&[]);
    assert_eq!(of(&all, "tcp"), "fail");
    let only = statuses(&["--only", "target,dns"]);
    assert_eq!(of(&only, "dns"), "pass");
    let skip = statuses(&["--skip", "tcp"]);
    for (selected, which) in [(&only, "--only"), (&skip, "--skip")] {
        assert_eq!(of(selected, "tcp"), "skipped", "{which}");
        let ids = |list: &[(String, String)]| list.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(selected), ids(&all), "every check is listed, in order");
    }
}

#[test]
fn the_place_can_be_given_in_every_way() {
    let Some(redis) = redis(&["--databases", "20"]) else { return };
    let place = format!("127.0.0.1:{}", redis.port);
    let uri = format!("redis://{place}/17");
    for (args, host, db) in [
        (vec!["-p", &redis.port], "default", 0),
        (vec!["-h", "127.0.0.1", "-p", &redis.port, "-n", "17"], "flag", 17),
        (vec![&*place], "argument", 0),
        (vec![&*uri], "uri", 17),
        (vec!["-u", &uri], "uri", 17),
    ] {
        let report = check(&[&args[..], &["--json"]].concat()).run().exit(0).json();
        assert_eq!(report["target"]["given_by"]["host"], host, "{args:?}");
        assert_eq!(report["target"]["db"], db, "{args:?}");
    }
    let report = check(&["-s", &redis.socket, "--json"]).run().exit(0).json();
    assert_eq!((&report["target"]["socket"], &report["target"]["host"]), (&redis.socket.clone().into(), &().into()));
    let by_env = check(&["--env", "--json"]).env("REDIS_URL", &uri).run().exit(0).json();
    assert_eq!(by_env["target"]["given_by"]["host"], "env REDIS_URL");
    let (_dir, path) = file("app.env", format!("REDIS_HOST=127.0.0.1\nREDIS_PORT={}\n", redis.port));
    check(&["--env-file", path.to_str().unwrap()]).run().exit(0).quiet();
    // Nothing is read that was not asked for.
    check(&["-p", &redis.port]).env("REDIS_URL", "redis://192.0.2.1").run().exit(0).quiet();
}

/// Healthy, with the password from there, and a warning only if it was typed.
#[track_caller]
fn accepted(run: crate::world::Cli, from: &str, warned: bool) {
    let ran = run.run().exit(0);
    assert_eq!(ran.json()["target"]["given_by"]["password"], from, "{ran}");
    assert_eq!(ran.stderr.contains(WARNING), warned, "{ran}");
    assert!(!ran.stdout.contains(WARNING) && ran.stderr.lines().count() == usize::from(warned), "{ran}");
}

#[test]
fn the_password_can_be_given_in_every_way() {
    let Some(redis) = redis(&["--requirepass", PASSWORD]) else { return };
    let to = |args: &[&str]| check(&[&["-p", &redis.port, "--json"], args].concat());
    let (_dir, path) = file("pw", format!("{PASSWORD}\n"));
    let path = path.to_str().unwrap();
    let uri = format!("redis://:{}@127.0.0.1:{}", encoded(PASSWORD), redis.port);
    accepted(to(&["-a", PASSWORD]), "flag", true);
    accepted(to(&["--pass", PASSWORD]), "flag", true);
    accepted(check(&["--json", "-u", &uri]), "uri", true);
    accepted(check(&["--json", &uri]), "uri", true);
    accepted(to(&[]).env("REDISCLI_AUTH", PASSWORD), "env REDISCLI_AUTH", false);
    accepted(to(&["--pass-file", path]), &format!("file {path}"), false);
    accepted(to(&["--pass-file", "-"]).stdin(format!("{PASSWORD}\n")), "standard input", false);
    accepted(to(&["--pass-file", "-"]).stdin(format!("{PASSWORD}\r\n")), "standard input", false);
    accepted(to(&["--pass-file", "-"]).stdin(PASSWORD), "standard input", false);
    accepted(check(&["--json", "--env"]).env("REDIS_URL", &uri), "env REDIS_URL", false);
    // The nearest one counts.
    accepted(to(&["--pass-file", path]).env("REDISCLI_AUTH", "wrong"), &format!("file {path}"), false);
    accepted(to(&["-a", PASSWORD]).env("REDISCLI_AUTH", "wrong"), "flag", true);
    // With a user as well.
    let named = uri.replace("redis://:", "redis://default:");
    accepted(check(&["--json", &named]), "uri", true);
    accepted(to(&["--user", "default"]).env("REDISCLI_AUTH", PASSWORD), "env REDISCLI_AUTH", false);
}

#[test]
fn password_files_may_be_pipes_and_are_read_with_a_bound() {
    let Some(redis) = redis(&["--requirepass", "pw"]) else { return };
    let script = format!("{REDISDOC} check -p {} --pass-file <(echo pw)", redis.port);
    by("bash", &["-c", &script]).run().exit(0).quiet();
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fifo = fifo.to_str().unwrap();
    // Nobody writes to it.
    let ran = check(&["-p", &redis.port, "--pass-file", fifo, "--deadline", "0.5"]).run().exit(2);
    assert!(ran.wall < Duration::from_secs(2), "{ran}");
    check(&["--pass-file", "/dev/zero"]).run().exit(2);
    let (_dir, empty) = file("pw", "");
    check(&["-p", &redis.port, "--pass-file", empty.to_str().unwrap()]).run().exit(1).says("empty");
    let (_dir, bytes) = file("pw", b"\xff\xfe");
    check(&["--pass-file", bytes.to_str().unwrap()]).run().exit(2).says("UTF-8");
}

#[test]
fn asking_needs_a_terminal() {
    let ran = by("setsid", &["--wait", REDISDOC, "check", "--askpass", "--json"]).run().exit(2);
    assert!(ran.stderr.contains("terminal"), "{ran}");
    assert_eq!(ran.json()["exit_code"], 2);
}

#[test]
fn a_terminal_is_asked_and_shows_nothing() {
    let Some(redis) = redis(&["--requirepass", "marker-of-this-test"]) else { return };
    let Some((said, code)) = on_terminal(&redis, "--askpass", b"marker-of-this-test\n") else { return };
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is healthy") && !said.contains("marker"), "{said}");
    let Some((said, code)) = on_terminal(&redis, "--askpass", b"\x03") else { return };
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("interrupted"), "{said}");
}

/// Runs it on a terminal and types once it has asked; all that the terminal showed, and the exit code.
fn on_terminal(redis: &Redis, flag: &str, typed: &[u8]) -> Option<(String, Option<i32>)> {
    let line = format!("{REDISDOC} check -p {} {flag}", redis.port);
    let mut command = by("script", &["-qec", &line, "/dev/null"]).command();
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
        skipped("there is no script(1) to make a terminal");
        return None;
    };
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    let mut asked = false;
    loop {
        match output.read(&mut buffer) {
            Ok(length) if length > 0 => said.extend(&buffer[..length]),
            _ => break,
        }
        if !asked && said.windows(9).any(|part| part == b"password:") {
            asked = true;
            input.write_all(typed).unwrap();
        }
    }
    let code = wait(&mut child, Duration::from_secs(10)).code();
    Some((String::from_utf8_lossy(&said).into_owned(), code))
}
