//! The report for people: the verdict in a sentence, a line a check, and under problems the cause, why, why not
//! something else, how to repair it and how to verify that. It fits in 80 columns.

use std::fmt::Write as _;

use super::paint;
use crate::model::report::{CauseReport, CheckReport, Overall, Report, StepKind, StepReport, TargetReport};
use crate::model::text::shell_quote;
use crate::model::{Confidence, Evidence, Risk, Severity, Status, Where, escape};

/// How the report is to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Glyphs of ASCII only.
    pub ascii: bool,
    /// Only the verdict and the causes (`-q`).
    pub quiet: bool,
    /// Everything: evidence of checks that passed, remedies of all candidates (`-v`).
    pub verbose: bool,
}

/// The width that everything but commands and what servers said is wrapped to.
const WIDTH: usize = 80;
/// The room for the names of checks, unless a longer one is told.
const SHORT_NAME: usize = 7;

/// The report as text.
pub fn render(report: &Report, look: Look) -> String {
    let mut out = String::new();
    headline(&mut out, report);
    if let Some(error) = &report.error {
        paragraph(&mut out, "  ", error);
    }
    if !look.quiet {
        let told = report.checks.iter().enumerate().filter(|(at, check)| {
            let before = &report.checks[..*at];
            look.verbose || is_told(check, report.status) && !is_repeated(check, before)
        });
        let told: Vec<&CheckReport> = told.map(|(_, check)| check).collect();
        // The glyph, a blank, the longest name and another blank.
        let margin = told.iter().map(|check| check.id.len()).fold(SHORT_NAME, usize::max) + 3;
        for check in told {
            check_lines(&mut out, check, &told_below(report), (margin, look));
        }
    }
    causes(&mut out, report, look);
    unexplained(&mut out, report);
    if look.ascii { to_ascii(&out) } else { out }
}

fn headline(out: &mut String, report: &Report) {
    let place = report.target.as_ref().map_or_else(|| "redisdoc".to_owned(), place);
    let first = report.causes.first();
    let sentence = match (report.status, first) {
        (Overall::Healthy, _) => format!("{place} is healthy"),
        (_, Some(cause)) if cause.confidence == Confidence::Certain => format!("{place}: {}", cause.title),
        (_, Some(cause)) if cause.confidence == Confidence::Likely && cause.title != worst_title(report) => {
            format!("{place}: {}; likely: {}", worst_title(report), cause.title)
        }
        (_, Some(cause)) if cause.confidence == Confidence::Possible => {
            format!("{place}: {}, and it could be more than one thing", worst_title(report))
        }
        (Overall::Inconclusive, None) => format!("{place}: could not tell"),
        (_, Some(_) | None) => format!("{place}: {}", worst_title(report)),
    };
    let word = match report.status {
        Overall::Healthy => (Status::Pass, "healthy"),
        Overall::Degraded => (Status::Warn, "degraded"),
        Overall::Unhealthy => (Status::Fail, "unhealthy"),
        Overall::Inconclusive => (Status::Unknown, "inconclusive"),
    };
    let suffix = if report.status == Overall::Healthy { String::new() } else { format!(" ({})", word.1) };
    for line in wrap(&format!("{sentence}{suffix}"), WIDTH) {
        let _ = writeln!(out, "{}", paint::status(word.0, &line));
    }
}

/// The title of the worst finding.
fn worst_title(report: &Report) -> String {
    let findings = report.checks.iter().flat_map(|check| &check.findings);
    let mut worst: Vec<_> = findings.filter(|finding| finding.severity > Severity::Info).collect();
    worst.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    worst.first().map_or_else(|| "not usable as required".to_owned(), |finding| finding.title.clone())
}

/// The target as people write it, with what distinguishes it.
fn place(target: &TargetReport) -> String {
    let place = match (&target.socket, &target.host, target.port) {
        (Some(path), ..) => path.clone(),
        (None, Some(host), Some(port)) if host.contains(':') => format!("[{host}]:{port}"),
        (None, Some(host), Some(port)) => format!("{host}:{port}"),
        _ => "the target".to_owned(),
    };
    let db = if target.db == 0 { String::new() } else { format!("/{}", target.db) };
    let tls = if target.tls { " with TLS" } else { "" };
    format!("{place}{db}{tls}")
}

/// Checks of the server's machine that need no line where all is well.
const RESOURCES: [&str; 4] = ["log", "limits", "memory", "disk"];

/// Checks that were deselected, or that have nothing to do with this target, are told only on demand.
fn is_told(check: &CheckReport, overall: Overall) -> bool {
    if overall == Overall::Healthy && RESOURCES.contains(&check.id.as_str()) {
        return false;
    }
    check.status != Status::Skipped || check.blocked_by.as_ref().is_some_and(Option::is_some)
}

/// True if an earlier check could not be made for the very same reason.
fn is_repeated(check: &CheckReport, before: &[CheckReport]) -> bool {
    let same = |other: &CheckReport| other.status == Status::Unknown && other.summary == check.summary;
    check.status == Status::Unknown && before.iter().any(same)
}

/// The evidence that stands under a cause told in full, and need not stand under its check too.
fn told_below(report: &Report) -> Vec<&Evidence> {
    let in_full = |cause: &&CauseReport| cause.confidence > Confidence::Possible || report.causes.len() == 1;
    report.causes.iter().filter(in_full).flat_map(|cause| &cause.evidence).collect()
}

fn check_lines(out: &mut String, check: &CheckReport, told_below: &[&Evidence], (margin, look): (usize, Look)) {
    let time = check.duration_ms.map_or_else(String::new, milliseconds);
    let room = WIDTH - margin - 11;
    let (names, lines) = (margin - 3, wrap(&check.summary, room));
    let glyph = paint::status(check.status, paint::glyph(check.status, look.ascii));
    let dimmed = |text: &str| if check.status == Status::Skipped { paint::dim(text) } else { text.to_owned() };
    for (number, line) in lines.iter().enumerate() {
        let row = if number == 0 {
            let padding = if time.is_empty() { String::new() } else { format!(" {time:>10}") };
            let gap = " ".repeat(if padding.is_empty() { 0 } else { room.saturating_sub(columns(line)) });
            format!("{glyph} {:<names$} {}{gap}{}", check.id, dimmed(line), paint::dim(&padding))
        } else {
            format!("{:margin$}{}", "", dimmed(line))
        };
        let _ = writeln!(out, "{}", row.trim_end());
    }
    for finding in check.findings.iter().filter(|finding| look.verbose || finding.severity > Severity::Info) {
        for evidence in finding.evidence.iter().filter(|evidence| !told_below.contains(evidence)) {
            paragraph(out, &" ".repeat(margin), &format!("{}: {}", evidence.source, evidence.says));
        }
    }
}

fn milliseconds(ms: f64) -> String {
    if ms >= 1_000.0 { format!("{:.2} s", ms / 1_000.0) } else { format!("{ms:.1} ms") }
}

fn causes(out: &mut String, report: &Report, look: Look) {
    let Some((first, others)) = report.causes.split_first() else { return };
    if first.confidence == Confidence::Possible && !others.is_empty() {
        out.push('\n');
        paragraph(out, "", "It cannot be told from here which of these it is. Each says how to settle it:");
        for (number, cause) in report.causes.iter().enumerate() {
            candidate(out, number + 1, cause, look);
        }
        both_ends(out, report);
        return;
    }
    cause_in_full(out, first);
    for cause in others.iter().filter(|cause| cause.confidence > Confidence::Possible) {
        cause_in_full(out, cause);
    }
    let candidates: Vec<_> = others.iter().filter(|cause| cause.confidence == Confidence::Possible).collect();
    if !candidates.is_empty() {
        out.push('\n');
        paragraph(out, "", "If that is not it:");
        for (number, cause) in candidates.into_iter().enumerate() {
            candidate(out, number + 1, cause, look);
        }
    }
}

/// Where the server's machine would settle it: how redisdoc looks there itself.
fn both_ends(out: &mut String, report: &Report) {
    let there = |cause: &CauseReport| cause.settled_by.as_ref().is_some_and(|step| step.on == Where::RedisHost);
    let is_joined = report.checks.iter().any(|check| check.id == "process" && check.status != Status::Skipped);
    let host = report.target.as_ref().and_then(|target| target.host.as_deref());
    let again = report.causes.iter().filter_map(|cause| cause.remedy.last()?.command.as_deref());
    let again =
        again.filter(|command| command.starts_with("redisdoc check")).find(|command| !command.contains("--askpass"));
    let (Some(host), Some(again), false) = (host, again, is_joined || !report.causes.iter().any(there)) else { return };
    out.push('\n');
    paragraph(out, "", "Or let redisdoc look on the Redis host too, and join what both ends see:");
    let command = format!("ssh {} redisdoc collect | {again} --host-facts -", shell_quote(host));
    let _ = writeln!(out, "    {}", paint::command(&escape(command.as_bytes())));
}

fn cause_in_full(out: &mut String, cause: &CauseReport) {
    let sure = match cause.confidence {
        Confidence::Certain => "certain",
        Confidence::Likely => "likely",
        Confidence::Possible => "possible",
    };
    out.push('\n');
    titled(out, "", &cause.title, &format!("[{}, {sure}]", cause.id));
    paragraph(out, "  ", &cause.summary);
    for (number, evidence) in cause.evidence.iter().enumerate() {
        labelled(out, if number == 0 { "because" } else { "" }, &format!("{}: {}", evidence.source, evidence.says));
    }
    for (number, ruled_out) in cause.ruled_out.iter().enumerate() {
        labelled(out, if number == 0 { "not" } else { "" }, &format!("{}: {}", ruled_out.id, ruled_out.because));
    }
    if let Some(step) = &cause.settled_by {
        settled_by(out, step);
    }
    remedy(out, &cause.remedy);
}

fn candidate(out: &mut String, number: usize, cause: &CauseReport, look: Look) {
    titled(out, &format!("  {number}. "), &cause.title, &format!("[{}]", cause.id));
    paragraph(out, "     ", &cause.summary);
    if let Some(step) = &cause.settled_by {
        paragraph(out, "     ", &format!("to settle it, {}:", place_of(&step.on)));
        if let Some(command) = &step.command {
            let _ = writeln!(out, "         {}", paint::command(&escape(command.as_bytes())));
        }
        paragraph(out, "       ", &step.text);
    }
    if look.verbose {
        remedy(out, &cause.remedy);
    } else {
        paragraph(out, "     ", &format!("repair: redisdoc explain {}", cause.id));
    }
}

fn settled_by(out: &mut String, step: &StepReport) {
    labelled(out, "settle", &format!("{}:", place_of(&step.on)));
    if let Some(command) = &step.command {
        let _ = writeln!(out, "              {}", paint::command(&escape(command.as_bytes())));
    }
    labelled(out, "", &step.text);
}

fn remedy(out: &mut String, steps: &[StepReport]) {
    let Some((verify, repairs)) = steps.split_last() else { return };
    for (number, step) in repairs.iter().enumerate() {
        let label = if number == 0 { "repair" } else { "" };
        let risk = step.risk.map_or("", risk_words);
        labelled(out, label, &format!("{}. {}: {}{risk}", number + 1, place_of(&step.on), step.text));
        if let Some(command) = &step.command {
            let _ = writeln!(out, "              {}", paint::command(&escape(command.as_bytes())));
        }
        if step.kind == StepKind::Edit {
            edit(out, step);
        }
    }
    labelled(out, "verify", &verify.text);
    if let Some(command) = &verify.command {
        let _ = writeln!(out, "              {}", paint::command(&escape(command.as_bytes())));
    }
}

fn edit(out: &mut String, step: &StepReport) {
    let line = step.line.map_or_else(String::new, |line| format!(":{line}"));
    let printable = |text: &Option<String>| escape(text.as_deref().unwrap_or_default().as_bytes());
    let _ = writeln!(out, "              {}{line}", printable(&step.file));
    if step.from.as_ref().is_some_and(|from| !from.is_empty()) {
        let _ = writeln!(out, "              - {}", printable(&step.from));
    }
    let _ = writeln!(out, "              + {}", printable(&step.to));
}

fn place_of(on: &Where) -> String {
    match on {
        Where::Here => "here".to_owned(),
        Where::RedisHost => "on the Redis host".to_owned(),
        Where::Network => "on the network".to_owned(),
        Where::Container(name) => format!("in the container {name}"),
        Where::Cluster => "in the cluster".to_owned(),
    }
}

fn risk_words(risk: Risk) -> &'static str {
    match risk {
        Risk::Safe => "",
        Risk::Restarts => " (cuts clients off)",
        Risk::WidensAccess => " (widens access)",
        Risk::LosesData => " (may lose data)",
    }
}

fn unexplained(out: &mut String, report: &Report) {
    if report.unexplained.is_empty() {
        return;
    }
    let codes = report.unexplained.join(", ");
    out.push('\n');
    paragraph(out, "", &format!("No known cause explains {codes}; 'redisdoc explain CODE' says what it means."));
}

/// A title with its tag, which moves to a line of its own where both do not fit.
fn titled(out: &mut String, lead: &str, title: &str, tag: &str) {
    if columns(lead) + columns(title) + 1 + columns(tag) <= WIDTH {
        let _ = writeln!(out, "{lead}{} {}", paint::bold(title), paint::dim(tag));
        return;
    }
    let indent = " ".repeat(columns(lead));
    for (number, line) in wrap(title, WIDTH - columns(lead)).iter().enumerate() {
        let lead = if number == 0 { lead } else { &indent };
        let _ = writeln!(out, "{lead}{}", paint::bold(line));
    }
    let _ = writeln!(out, "{indent}{}", paint::dim(tag));
}

/// A paragraph whose first line begins with a label and whose others are aligned below its text.
fn labelled(out: &mut String, label: &str, text: &str) {
    for (number, line) in wrap(text, WIDTH - 11).iter().enumerate() {
        let label = if number == 0 { label } else { "" };
        let _ = writeln!(out, "  {} {line}", paint::dim(&format!("{label:<8}")));
    }
}

fn paragraph(out: &mut String, indent: &str, text: &str) {
    for line in wrap(text, WIDTH - indent.len()) {
        let _ = writeln!(out, "{indent}{line}");
    }
}

/// Prose for people: paragraphs, wrapped.
pub fn prose(text: &str) -> String {
    text.split("\n\n").map(|paragraph| textwrap::fill(paragraph, unbroken(WIDTH)) + "\n").collect::<Vec<_>>().join("\n")
}

/// Words are broken only where they do not fit a line: a hyphen is part of a name here.
fn unbroken(width: usize) -> textwrap::Options<'static> {
    textwrap::Options::new(width).word_splitter(textwrap::WordSplitter::NoHyphenation)
}

/// Wraps what may hold foreign text, which is made printable once more: names and keys come as they were typed.
fn wrap(text: &str, width: usize) -> Vec<String> {
    // Three dots from the start: with --ascii they are wider than the ellipsis, and lines are broken before.
    let text = escape(text.as_bytes()).replace('…', "...");
    textwrap::wrap(&text, unbroken(width)).into_iter().map(std::borrow::Cow::into_owned).collect()
}

fn columns(text: &str) -> usize {
    textwrap::core::display_width(text)
}

/// The glyphs of our own that are not ASCII, and anything else that is not.
fn to_ascii(text: &str) -> String {
    text.replace('…', "...").chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}
