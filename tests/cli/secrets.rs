//! A password is never shown or saved, in whatever way it is given and whatever the server does with it.

use std::path::Path;

use crate::world::{Cli, answering, check, closed_port, encoded, file, listener, redis, redisdoc, silent};

/// Two passwords, so that nothing hangs on one's shape: with everything that means something, and letters only.
const MARKERS: [&str; 2] = ["Zq7m@Kx3/Wv9#Tn4?Ld6%Hp5:Gc2+Bf8 Rj1\"Ys0\\Mu'Ek", "ZqmKxWvTnLdHpGcBfRjYs"];
/// A part this long is a leak; shorter ones may stand there by chance. (Beginnings below four bytes stay on purpose.)
const LEAK: usize = 5;

/// True if any part of the marker, as it is or encoded, stands in `text`.
fn leaked(text: &str, marker: &str) -> Option<String> {
    let parts = |form: String| {
        let bytes = form.into_bytes();
        bytes.windows(LEAK).map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>()
    };
    let forms = [marker.to_owned(), encoded(marker), marker.to_uppercase(), marker.to_lowercase()];
    forms.into_iter().flat_map(parts).find(|part| text.contains(part.as_str()))
}

/// Runs it with all formats, and looks through all that comes out of it.
#[track_caller]
fn keeps(run: Cli, marker: &str, dir: &Path) {
    let ran = run.dir(dir).run();
    let mut texts = vec![ran.stdout.clone(), ran.stderr.clone()];
    for name in ["json", "facts", "human", "ascii"] {
        texts.extend(std::fs::read_to_string(dir.join(name)));
        let _ = std::fs::remove_file(dir.join(name));
    }
    for text in &texts {
        if let Some(part) = leaked(text, marker) {
            panic!("{part:?} of the password stands in\n{text}\n{ran}");
        }
    }
}

const ALL: [&str; 7] = ["-vv", "-o", "json=json", "-o", "facts=facts", "-o", "human"];

/// Every way to give a password for a server on this port, each a run of its own.
fn ways(port: &str, marker: &str, dir: &Path) -> Vec<Cli> {
    let plain = |args: &[&str]| check(&[&ALL, &["-t", "0.3", "--deadline", "2"][..], args].concat());
    let here = ["-p", port];
    let uri = |user: &str| format!("redis://{user}:{}@127.0.0.1:{port}", encoded(marker));
    let with = |args: &[&str]| plain(&[&here, args].concat());
    let dotenv = dir.join("env");
    std::fs::write(&dotenv, format!("REDIS_PORT={port}\nREDIS_PASSWORD='{}'\n", marker.replace('\'', ""))).unwrap();
    let pass = dir.join("pass");
    std::fs::write(&pass, format!("{marker}\n")).unwrap();
    vec![
        with(&["-a", marker]),
        with(&[&format!("--pass={marker}")]),
        with(&["-a", marker, "--user", "somebody"]),
        with(&["-a", marker, "-n", "99", "-3"]),
        plain(&["-u", &uri("")]),
        plain(&["-u", &uri("somebody")]),
        plain(&[&uri("")]),
        plain(&[&format!("redis://127.0.0.1:{port}/?password={}", encoded(marker))]),
        plain(&[&format!("redis://{}@127.0.0.1:{port}", encoded(marker))]),
        with(&[]).env("REDISCLI_AUTH", marker),
        with(&["--env"]).env("REDIS_PASSWORD", marker),
        plain(&["--env"]).env("REDIS_URL", &uri("somebody")),
        plain(&["--env-file", dotenv.to_str().unwrap()]),
        with(&["--pass-file", pass.to_str().unwrap()]),
        with(&["--pass-file", "-"]).stdin(marker),
        with(&["--deep", "-a", marker, "--exists", "k"]),
    ]
}

#[track_caller]
fn all_ways_keep(port: &str) {
    for marker in MARKERS {
        let dir = tempfile::tempdir().unwrap();
        for run in ways(port, marker, dir.path()) {
            keeps(run, marker, dir.path());
        }
    }
}

#[test]
fn from_a_closed_port() {
    all_ways_keep(&closed_port());
}

#[test]
fn from_a_server_that_takes_it() {
    for marker in MARKERS {
        let Some(redis) = redis(&["--requirepass", marker]) else { return };
        let dir = tempfile::tempdir().unwrap();
        check(&["-p", &redis.port]).env("REDISCLI_AUTH", marker).run().exit(0);
        for run in ways(&redis.port, marker, dir.path()) {
            keeps(run, marker, dir.path());
        }
    }
}

#[test]
fn from_servers_that_reject_it() {
    let Some(other) = redis(&["--requirepass", "another"]) else { return };
    all_ways_keep(&other.port);
    let Some(none) = redis(&[]) else { return };
    all_ways_keep(&none.port);
}

#[test]
fn from_a_server_that_repeats_everything() {
    all_ways_keep(&listener(|mut stream| {
        let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
    }));
}

/// All words of a command in one line.
fn line(words: &[Vec<u8>]) -> Vec<u8> {
    words.join(&b' ').into_iter().map(|byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }).collect()
}

#[test]
fn from_servers_that_answer_with_what_they_were_sent() {
    // As Redis does: 128 bytes of the command, and of the arguments as many as 128 bytes hold.
    all_ways_keep(&answering(|words| {
        let mut args = Vec::new();
        for word in &words[1..] {
            let room = 128_usize.saturating_sub(args.len());
            args.extend([b"'".as_slice(), &word[..word.len().min(room)], b"' "].concat());
        }
        let command = String::from_utf8_lossy(&words[0]).into_owned();
        let head = format!("-ERR unknown command '{command}', with args beginning with: ");
        [head.as_bytes(), &args, b"\r\n"].concat()
    }));
    all_ways_keep(&answering(|words| [b"+", line(words).as_slice(), b"\r\n"].concat()));
}

#[test]
fn from_servers_that_hide_it_in_other_shapes() {
    all_ways_keep(&answering(|words| {
        let line = line(words);
        [format!("${}\r\n", line.len()).as_bytes(), &line, b"\r\n"].concat()
    }));
    all_ways_keep(&answering(|words| [b"-WRONGPASS ", line(words).as_slice(), b"\r\n"].concat()));
    // Cut anywhere, and behind a banner.
    all_ways_keep(&answering(|words| {
        let line = line(words);
        [b"-NOAUTH who said ", &line[..line.len() * 2 / 3], b"\r\n"].concat()
    }));
    // Loud, and without a line end.
    all_ways_keep(&answering(|words| line(words).to_ascii_uppercase()));
}

#[test]
fn from_a_server_that_says_nothing() {
    let port = silent();
    let dir = tempfile::tempdir().unwrap();
    keeps(check(&["-p", &port, "-t", "0.3", "-a", MARKERS[0], "-v"]), MARKERS[0], dir.path());
}

#[test]
fn from_command_lines_that_make_no_sense() {
    for marker in MARKERS {
        let dir = tempfile::tempdir().unwrap();
        let coded = encoded(marker);
        for (secret, place) in [(marker, "db"), (coded.as_str(), "db"), (marker, ""), (coded.as_str(), "db:x")] {
            for line in [
                vec![format!("redis://:{secret}@{place}")],
                vec![format!("redis://user:{secret}@{place}")],
                vec![format!("redis://{secret}@{place}")],
                vec![format!("redis:/:{secret}@{place}")],
                vec![format!("redis:user:{secret}@{place}")],
                vec![format!("redis//:{secret}@{place}")],
                vec![format!("http://user:{secret}@{place}")],
                vec![format!("://user:{secret}@{place}")],
                vec![format!(":{secret}@{place}")],
                vec![format!("user:{secret}@{place}")],
                vec![format!("{secret}@{place}")],
                vec![format!("redis://:{secret}@{place}:port/x")],
                vec![format!("redis://:{secret}@{place}/?db=x&password={secret}")],
                vec![format!("redis://db/?password={secret}")],
                vec![format!("redis://db/?pass={secret}&nonsense={secret}")],
                vec![format!("redis://a:{secret}@b:{secret}@{place}")],
                vec![format!("unix://:{secret}@/run/x.sock")],
                vec![format!("unix:///run/x.sock?password={secret}")],
                vec![" ".to_owned() + &format!("redis://:{secret}@{place}")],
                vec!["-u".to_owned(), format!("redis://:{secret}@{place}")],
                vec!["-u".to_owned(), format!(":{secret}@{place}")],
                vec!["-h".to_owned(), format!("redis://:{secret}@{place}")],
                vec!["-h".to_owned(), format!("user:{secret}@{place}")],
                vec!["-s".to_owned(), format!("redis://:{secret}@{place}")],
                vec!["-h".to_owned(), "db".to_owned(), format!("redis://:{secret}@{place}")],
                vec!["--sni".to_owned(), format!("redis://:{secret}@{place}"), "--tls".to_owned()],
                vec!["a".to_owned(), format!("redis://:{secret}@{place}")],
                vec!["-a".to_owned(), secret.to_owned(), "-a".to_owned(), secret.to_owned()],
                vec!["-a".to_owned(), secret.to_owned(), "--nope".to_owned()],
                vec!["-a".to_owned(), secret.to_owned(), "-t".to_owned(), "x".to_owned()],
                vec![format!("--password={secret}")],
                vec![format!("--askpass={secret}")],
                vec![format!("--uri=redis://:{secret}@{place}"), "--nope".to_owned()],
            ] {
                let words: Vec<&str> = line.iter().map(String::as_str).collect();
                let run = |more: &[&str]| check(&[&["-t", "0.2", "--deadline", "1"], more, &words].concat());
                keeps(run(&["--json"]), marker, dir.path());
                keeps(run(&["-v", "-o", "facts=facts"]), marker, dir.path());
                let other: Vec<&str> = std::iter::once("list").chain(words.iter().copied()).collect();
                keeps(redisdoc(&other), marker, dir.path());
            }
        }
    }
}

#[test]
fn from_settings_that_make_no_sense() {
    for marker in MARKERS {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in [
            ("REDIS_URL", format!("redis://:{marker}@db")),
            ("REDIS_URL", format!("redis://user:{marker}@db:x/y")),
            ("REDIS_URL", format!("user:{marker}@db")),
            ("REDIS_HOST", format!("redis://:{marker}@db")),
            ("REDIS_HOST", format!("user:{marker}@db")),
            ("REDIS_PORT", format!("tcp://user:{marker}@db:1")),
            ("REDIS_TLS_URL", format!("rediss://:{marker}@")),
        ] {
            let run = |args: &[&str]| check(&[&["-t", "0.2", "--deadline", "1", "-v"], args].concat());
            keeps(run(&["--env"]).env(name, &value), marker, dir.path());
            keeps(run(&["--env", "--json"]).env(name, &value), marker, dir.path());
            for line in [format!("{name}={value}\n"), format!("{name}='{value}\n"), format!("export {name} {value}\n")]
            {
                let (_guard, path) = file("env", line);
                keeps(run(&["--json", "--env-file", path.to_str().unwrap()]), marker, dir.path());
            }
        }
        let (_guard, path) = file("facts", marker);
        keeps(redisdoc(&["replay", path.to_str().unwrap(), "--json"]), marker, dir.path());
    }
}

#[test]
fn from_suggested_commands_of_the_whole_report() {
    // What would show up in the process table of whoever follows the advice.
    let marker = MARKERS[1];
    let port = closed_port();
    let ran = check(&["-p", &port, "-a", marker, "--user", "somebody", "--json"]).run().exit(1);
    let report = ran.json().to_string();
    assert!(report.contains("--askpass") && !report.contains(marker), "{ran}");
}
