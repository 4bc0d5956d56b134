//! The password appears nowhere: in no format, on neither stream, whatever the server makes of it.

use crate::world::{Host, Lab, Server, Stub};

const MARKER: &str = "marker-Zq7%/@:x";
/// How a server that cuts or quotes what it echoes might let a part of it through.
const PART: &str = "marker-Z";
const FORMATS: [&str; 3] = ["human", "json", "facts"];

#[track_caller]
fn keeps_quiet(host: &Host, args: &[&str]) {
    let whole = |host: &Host, args: &[&str], env: bool| {
        let mut task = host.redisdoc(&[&["check", "-t", "1"], args].concat());
        if env {
            task = task.env("REDISCLI_AUTH", MARKER);
        }
        let ran = task.run();
        assert!(ran.code.is_some(), "{ran}");
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains(PART), "{ran}");
        }
    };
    for format in FORMATS {
        let more = ["-o", format, "-vv", "--deep"];
        whole(host, &[args, &more].concat(), true);
        whole(host, &[args, &["-a", MARKER], &more].concat(), false);
        let uri = "redis://app:marker-Zq7%25%2F%40%3Ax@127.0.0.1:6379/1";
        whole(host, &[&["-u", uri], &more[..]].concat(), false);
    }
}

#[test]
fn a_password_is_never_repeated() {
    let Some(lab) = Lab::enter() else { return };
    for server in Server::ALL {
        for args in [
            &[][..],
            &["--requirepass", MARKER],
            &["--requirepass", "other"],
            &["--requirepass", MARKER, "--rename-command", "AUTH", ""],
            &["--rename-command", "AUTH", ""],
        ] {
            let one = lab.host("solo");
            let Some(_redis) = one.redis_of(server, args) else { continue };
            keeps_quiet(&one, &[]);
            keeps_quiet(&one, &["--user", "default"]);
        }
    }
}

#[test]
fn a_server_that_repeats_it_is_not_repeated() {
    let Some(lab) = Lab::enter() else { return };
    for said in [
        format!("-ERR bad {MARKER}\r\n"),
        format!("-ERR unknown command `AUTH`, with args beginning with: `{PART}`, \r\n"),
        format!("+{MARKER}\r\n"),
        format!("${}\r\n{MARKER}\r\n", MARKER.len()),
        format!("HTTP/1.1 400 {MARKER}\r\n\r\n"),
        format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{MARKER}\r\n", MARKER.len()),
    ] {
        let one = lab.host("solo");
        one.tcp_stub(6379, Stub::Reply(said.into_bytes()));
        keeps_quiet(&one, &[]);
    }
}
