//! The streams: the report alone on stdout, in colour only where a terminal or a flag asks for it, and readers that go
//! away.

use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use crate::world::{REDISDOC, by, check, closed_port, redis, redisdoc, skipped, wait};

const ESCAPE: char = '\x1b';

#[test]
fn no_colour_in_a_pipe() {
    let port = closed_port();
    for args in [&[][..], &["-v"], &["-q"], &["--color", "auto"], &["--color", "never"], &["--json"]] {
        let ran = check(&[&["-p", &port], args].concat()).env("CLICOLOR_FORCE", "1").env("TERM", "xterm").run().exit(1);
        assert!(!ran.stdout.contains(ESCAPE) && !ran.stderr.contains(ESCAPE), "{ran}");
    }
    for args in [&["check", "--help"][..], &["check", "--nope"], &["explain", "name-not-found"], &["list", "causes"]] {
        let ran = redisdoc(args).env("TERM", "xterm").run();
        assert!(!ran.stdout.contains(ESCAPE) && !ran.stderr.contains(ESCAPE), "{ran}");
    }
}

#[test]
fn colour_where_it_is_demanded() {
    let port = closed_port();
    for no_color in ["", "1"] {
        let always = check(&["-p", &port, "--color", "always"]).env("NO_COLOR", no_color).run().exit(1);
        assert!(always.stdout.contains(ESCAPE), "{always}");
    }
    // Files and JSON stay plain.
    let json = check(&["-p", &port, "--color", "always", "--json"]).run().exit(1);
    assert!(!json.stdout.contains(ESCAPE), "{json}");
    let dir = tempfile::tempdir().unwrap();
    check(&["-p", &port, "--color", "always", "-o", "human=report"]).dir(dir.path()).run().exit(1);
    assert!(!std::fs::read_to_string(dir.path().join("report")).unwrap().contains(ESCAPE));
    check(&["--color", "sometimes"]).run().exit(2).says("always");
}

#[test]
fn colour_on_a_terminal_unless_it_is_unwanted() {
    let port = closed_port();
    let shown = |flags: &str, set: &[(&str, &str)]| -> Option<String> {
        let line = format!("{REDISDOC} check -p {port} {flags}");
        let run = by("script", &["-qec", &line, "/dev/null"]).env("TERM", "xterm");
        let mut command = set.iter().fold(run, |run, (key, value)| run.env(key, value)).command();
        let Ok(output) = command.stdin(Stdio::null()).output() else {
            skipped("there is no script(1) to make a terminal");
            return None;
        };
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(plain) = shown("", &[]) else { return };
    assert!(plain.contains(ESCAPE) && plain.contains("refused"), "{plain}");
    for (flags, set) in
        [("--color never", &[][..]), ("", &[("NO_COLOR", "1")]), ("", &[("TERM", "dumb")]), ("--json", &[])]
    {
        let plain = shown(flags, set).unwrap();
        assert!(!plain.contains(ESCAPE) && plain.contains("refused"), "{flags} {set:?}\n{plain}");
    }
    // An empty NO_COLOR forbids nothing (no-color.org).
    assert!(shown("", &[("NO_COLOR", "")]).unwrap().contains(ESCAPE));
}

#[test]
fn a_reader_that_goes_away_leaves_the_exit_code() {
    let (refused, open) = (closed_port(), redis(&[]));
    let mut runs = vec![(refused.as_str(), 1)];
    runs.extend(open.as_ref().map(|redis| (redis.port.as_str(), 0)));
    for (port, code) in runs {
        for args in [&["--json"][..], &["-v"], &["-o", "facts"]] {
            let mut command = check(&[&["-p", port], args].concat()).command();
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            drop(child.stdout.take());
            assert_eq!(wait(&mut child, Duration::from_secs(10)).code(), Some(code), "{args:?}");
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert_eq!(said, "", "{args:?}");
        }
        let script = format!("{REDISDOC} check -p {port} --json | head -c 1; exit ${{PIPESTATUS[0]}}");
        by("bash", &["-c", &script]).run().exit(code).quiet();
    }
    for args in ["schema", "man", "list causes", "completions bash", "--help"] {
        let script = format!("{REDISDOC} {args} | true; exit ${{PIPESTATUS[0]}}");
        by("bash", &["-c", &script]).run().exit(0).quiet();
    }
}

#[test]
fn closed_streams_do_no_harm() {
    let port = closed_port();
    for closed in ["<&-", "2>&-", "<&- 2>&-"] {
        by("bash", &["-c", &format!("exec {REDISDOC} check -p {port} {closed}")]).run().exit(1);
    }
}

#[test]
fn quiet_says_less_and_verbose_more() {
    let Some(redis) = redis(&[]) else { return };
    let lines =
        |flag: &[&str]| check(&[&["-p", &redis.port], flag].concat()).run().exit(0).quiet().stdout.lines().count();
    let (quiet, normal, verbose) = (lines(&["-q"]), lines(&[]), lines(&["-v"]));
    assert_eq!(quiet, 1);
    assert!(quiet < normal && normal <= verbose && normal <= 9, "{quiet} {normal} {verbose}");
}

#[test]
fn ascii_is_ascii() {
    for args in [&["-p", "1"][..], &["-h", "größe.example"], &["-h", "redis://x"]] {
        let ran = check(&[&["--ascii"], args].concat()).run();
        assert!(ran.stdout.is_ascii(), "{ran}");
    }
}
