//! The binary: parse, run, print, exit.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use redisdoc::cli;
use redisdoc::command::{self, Answer};
use redisdoc::exit;
use redisdoc::render::json;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let answer = match cli::parse(&argv) {
        Ok(cli) => command::run(cli).unwrap_or_else(|error| unusable(&format!("redisdoc: {error}\n"), &argv)),
        Err(refusal) if refusal.exit == exit::USABLE => Answer { out: refusal.text, ..Answer::default() },
        Err(refusal) => unusable(&refusal.text, &argv),
    };
    print(&answer)
}

/// What to say of bad usage: on standard error, and as a document for those who read one.
fn unusable(error: &str, argv: &[OsString]) -> Answer {
    let out = if cli::wants_json(argv) { json::render(&cli::usage_report(error)) } else { String::new() };
    Answer { out, err: error.to_owned(), exit: exit::USAGE }
}

/// Prints, and gives the exit code. A reader that went away is no error: `redisdoc … | head` keeps its verdict.
fn print(answer: &Answer) -> ExitCode {
    let _ = io::stderr().write_all(answer.err.as_bytes());
    let mut stdout = io::stdout().lock();
    match stdout.write_all(answer.out.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "redisdoc: cannot write the report: {error}");
            ExitCode::from(exit::UNKNOWN)
        }
        _ => ExitCode::from(answer.exit),
    }
}
