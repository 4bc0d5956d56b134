//! From argv to [`Cli`], and what there is to say where that fails: never a password, and a JSON document where one
//! was asked for.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};

use super::{Cli, Format, Output};
use crate::exit;
use crate::model::report::{Overall, Reached, Report, SCHEMA_VERSION};
use crate::sys::clock;

/// The longest timeout: a day. What is longer is a slip.
const LONGEST_SECONDS: f64 = 86_400.0;

/// Why there is nothing to run: help was asked for, or the command line makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What to print: to standard output where the exit code is 0, else to standard error.
    pub text: String,
    /// The exit code.
    pub exit: u8,
}

/// Reads the command line; `argv` begins with the program's name.
///
/// # Errors
/// What to print instead of running.
pub fn parse(argv: &[OsString]) -> Result<Cli, Refusal> {
    Cli::try_parse_from(with_help(argv)).map_err(|error| {
        let exit = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => exit::USABLE,
            _ => exit::USAGE,
        };
        Refusal { text: without_credentials(&error.render().to_string(), argv), exit }
    })
}

/// A bare trailing `-h` prints help, as redis-cli has it.
fn with_help(argv: &[OsString]) -> Vec<OsString> {
    let mut argv = argv.to_vec();
    let takes_it = !argv.iter().any(|word| word == "--");
    if let Some(last) = argv.last_mut().filter(|word| takes_it && *word == "-h") {
        *last = "--help".into();
    }
    argv
}

/// `text` with every word of the command line that may hold a password replaced.
fn without_credentials(text: &str, argv: &[OsString]) -> String {
    argv.iter().filter_map(|word| word.to_str()).fold(text.to_owned(), |text, word| {
        // `--flag=value`: the parser repeats the value alone.
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => (flag, value),
            _ => ("", word),
        };
        match fit_to_print(flag, value) {
            Some(fit) if !value.is_empty() => text.replace(value, &fit),
            _ => text,
        }
    })
}

/// What is printed of a value; `None` where it may be printed as it is.
fn fit_to_print(flag: &str, value: &str) -> Option<String> {
    let is_place = |tail: &str| tail.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:[]/".contains(c));
    match value.rsplit_once('@') {
        _ if flag.contains("pass") => Some("…".to_owned()),
        Some((before, tail)) if !before.is_empty() && is_place(tail) => Some(format!("…@{tail}")),
        Some((before, _)) if !before.is_empty() => Some("…".to_owned()),
        _ => value.contains("://").then(|| "…".to_owned()),
    }
}

/// True if the command line asks for JSON on standard output, however broken it is otherwise.
pub fn wants_json(argv: &[OsString]) -> bool {
    let words: Vec<&str> = argv.iter().skip(1).map_while(|word| Some(word.to_str().unwrap_or_default())).collect();
    let words = words.split(|word| *word == "--").next().unwrap_or_default();
    let attached = ["--json", "-ojson", "-o=json", "--output=json"];
    words.iter().any(|word| attached.contains(word))
        || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
}

/// The report of a run that could not be made, for those who asked for JSON.
pub fn usage_report(error: &str) -> Report {
    Report {
        schema_version: SCHEMA_VERSION,
        redisdoc: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: clock::date(),
        duration_ms: 0.0,
        target: None,
        vantage: None,
        status: Overall::Inconclusive,
        reached: Reached::Nothing,
        exit_code: exit::USAGE,
        error: Some(error.trim_end().to_owned()),
        checks: Vec::new(),
        causes: Vec::new(),
        unexplained: Vec::new(),
    }
}

/// Seconds, fractions allowed, as milliseconds.
pub(super) fn milliseconds(text: &str) -> Result<u64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is meant".to_owned())?;
    // NaN is in no range.
    if !(0.001..=LONGEST_SECONDS).contains(&seconds) {
        return Err(format!("it goes from 0.001 to {LONGEST_SECONDS} seconds"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
    Ok((seconds * 1e3).round() as u64)
}

/// `FORMAT[=FILE]`.
pub(super) fn output(text: &str) -> Result<Output, String> {
    let (format, file) = text.split_once('=').map_or((text, None), |(format, file)| (format, Some(file)));
    let known = || Format::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let names = || known().map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ");
    let format = Format::from_str(format, false).map_err(|_| format!("the formats are {}", names()))?;
    match file {
        Some("") => Err("the name of the file is empty".to_owned()),
        file => Ok(Output { format, file: file.map(Into::into) }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CheckArgs, Command};
    use super::*;

    fn argv(line: &[&str]) -> Vec<OsString> {
        std::iter::once("redisdoc").chain(line.iter().copied()).map(Into::into).collect()
    }

    fn checked(line: &[&str]) -> Box<CheckArgs> {
        match parse(&argv(line)) {
            Ok(Cli { command: Command::Check(args), .. }) => args,
            Ok(_) => panic!("another command"),
            Err(refusal) => panic!("{}", refusal.text),
        }
    }

    #[track_caller]
    fn refused(line: &[&str], exit: u8, says: &str) {
        let refusal = parse(&argv(line)).err().expect("a refusal");
        assert_eq!((refusal.exit, refusal.text.contains(says)), (exit, true), "{}", refusal.text);
        assert!(!refusal.text.contains("marker"), "{}", refusal.text);
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_subcommand_says_of_itself_what_the_list_says_of_it() {
        use clap::CommandFactory;
        let (listed, mut built) = (Cli::command(), Cli::command());
        built.build();
        for command in listed.get_subcommands() {
            let itself = built.find_subcommand(command.get_name()).and_then(clap::Command::get_about);
            assert_eq!(itself.map(ToString::to_string), command.get_about().map(ToString::to_string));
        }
    }

    #[test]
    fn takes_redis_clis_flags() {
        let args = checked(&["check", "-h", "db", "-p", "7000", "-n", "-1", "-a", "-x", "-3", "-4", "-t", "0.5"]);
        assert_eq!((args.target.host.as_deref(), args.target.port.as_deref()), (Some("db"), Some("7000")));
        assert_eq!((args.target.db.as_deref(), args.target.pass.as_deref()), (Some("-1"), Some("-x")));
        assert_eq!((args.run.timeout, args.run.deadline), (500, 20_000));
        let args = checked(&["check", "-h", "", "--only", "dns,tcp", "--only", "ping", "-o", "json=x=y", "--json"]);
        assert_eq!(args.run.only, ["dns", "tcp", "ping"]);
        assert_eq!(args.show.outputs, [Output { format: Format::Json, file: Some("x=y".into()) }]);
    }

    #[test]
    fn helps_where_redis_cli_does() {
        refused(&["check", "-h"], 0, "--askpass");
        refused(&["-h"], 0, "Usage");
        refused(&["check", "--help"], 0, "TARGET");
        refused(&["replay", "--help"], 0, "FACTS");
        refused(&["--version"], 0, "redisdoc");
        refused(&[], 2, "Usage");
    }

    #[test]
    fn refuses_bad_usage() {
        for seconds in ["0", "-1", "NaN", "inf", "1e9", "x", ""] {
            refused(&["check", "-t", seconds], 2, "seconds");
        }
        refused(&["check", "--only", "nope"], 2, "target, process, dns, tcp");
        refused(&["check", "-o", "xml"], 2, "human, json");
        refused(&["check", "-o", "json="], 2, "empty");
        refused(&["check", "-4", "-6"], 2, "cannot be used with");
        refused(&["check", "-q", "-v"], 2, "cannot be used with");
        refused(&["check", "--nope"], 2, "--nope");
    }

    #[test]
    fn no_refusal_repeats_a_password() {
        refused(&["redis://:marker@db"], 2, "…@db");
        refused(&["check", "--pass", "marker", "--pass", "marker"], 2, "--pass");
        refused(&["check", "--password=marker"], 2, "--pass");
        refused(&["list", "causes", "redis://marker@db"], 2, "…@db");
        refused(&["list", "redis://:mar@ker/marker?marker"], 2, "…");
        refused(&["list", "redis://db/?password=marker"], 2, "…");
        refused(&["check", "--askpass=marker"], 2, "--askpass");
    }

    #[test]
    fn finds_the_wish_for_json_in_broken_lines() {
        for line in [&["--nope", "--json"][..], &["check", "-o", "json"], &["-ojson"], &["x", "--output=json"]] {
            assert!(wants_json(&argv(line)), "{line:?}");
        }
        for line in [&["check", "-o", "json=file"][..], &["check", "--", "--json"], &["check", "-o", "human"]] {
            assert!(!wants_json(&argv(line)), "{line:?}");
        }
        let report = usage_report("error: no\n");
        assert_eq!((report.exit_code, report.error.as_deref()), (2, Some("error: no")));
    }
}
