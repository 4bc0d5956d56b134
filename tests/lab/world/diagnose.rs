//! What redisdoc says on a host, what it ought to say, and whether its repairs repair.

use std::time::Duration;

use serde_json::Value;

use super::{Host, Ran, Task};

/// The program under test.
pub const REDISDOC: &str = env!("CARGO_BIN_EXE_redisdoc");
/// Ten seconds more than redisdoc's own deadline: reaching it is a hang.
const HANGS: Duration = Duration::from_secs(30);
/// Where the tools are that a repair may call for and a bare machine lacks.
const TOOLS: &str = "/run/lab/bin";

/// How sure a cause is, as in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// One of several candidates.
    Possible,
    /// The best explanation.
    Likely,
    /// Nothing else explains what was seen.
    Certain,
}

/// One report, and how it was come by.
pub struct Diagnosis {
    /// The run of the program.
    pub ran: Ran,
    /// The report.
    pub report: Value,
}

impl Host {
    /// Runs `redisdoc check --json` with these arguments here.
    #[track_caller]
    pub fn diagnose(&self, args: &[&str]) -> Diagnosis {
        self.doctor(args).diagnose()
    }

    /// The same, not started yet: for an environment, stdin or another user.
    #[must_use]
    pub fn doctor(&self, args: &[&str]) -> Task {
        let line: Vec<&str> = [REDISDOC, "check", "--json"].into_iter().chain(args.iter().copied()).collect();
        self.command(&line).deadline(HANGS)
    }

    /// What `redisdoc collect` prints here.
    #[track_caller]
    pub fn collect(&self) -> String {
        self.redisdoc(&["collect"]).run().ok().stdout
    }

    /// Runs `redisdoc check --json` here, with what `redisdoc collect` sees on the server's host.
    #[track_caller]
    pub fn joined(&self, server: &Host, args: &[&str]) -> Diagnosis {
        let line: Vec<&str> = args.iter().copied().chain(["--host-facts", "-"]).collect();
        self.doctor(&line).stdin(server.collect()).diagnose()
    }

    /// Any other subcommand of redisdoc, not started yet.
    #[must_use]
    pub fn redisdoc(&self, args: &[&str]) -> Task {
        let line: Vec<&str> = std::iter::once(REDISDOC).chain(args.iter().copied()).collect();
        self.command(&line).deadline(HANGS)
    }
}

impl Task {
    /// Runs it to its end and reads the report on its stdout.
    ///
    /// # Panics
    /// When it hangs, is killed, or prints anything but one JSON document.
    #[track_caller]
    pub fn diagnose(self) -> Diagnosis {
        let ran = self.run();
        assert!(!ran.timed_out, "redisdoc hangs\n{ran}");
        assert!(ran.code.is_some(), "redisdoc was killed\n{ran}");
        let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no report: {error}\n{ran}"));
        Diagnosis { ran, report }
    }
}

impl Diagnosis {
    /// Asserts that this cause is named, at least that sure, and that no other is called certain.
    #[track_caller]
    pub fn cause(&self, id: &str, at_least: Confidence) -> &Self {
        let causes = self.causes();
        let found = causes.iter().find(|(name, _)| name == id);
        assert!(
            found.is_some_and(|(_, sure)| *sure >= at_least),
            "expected {id}, at least {at_least:?}, among {causes:?}\n{self}"
        );
        let wrong = causes.iter().find(|(name, sure)| name != id && *sure == Confidence::Certain);
        assert!(wrong.is_none(), "expected {id}, but {wrong:?} is called certain\n{self}");
        self
    }

    /// Asserts that this cause is the first, at least that sure.
    #[track_caller]
    pub fn first_cause(&self, id: &str, at_least: Confidence) -> &Self {
        let causes = self.causes();
        let first = causes.first();
        assert!(
            first.is_some_and(|(name, sure)| name == id && *sure >= at_least),
            "expected {id} first, at least {at_least:?}, of {causes:?}\n{self}"
        );
        let left = self.list("unexplained");
        assert!(at_least < Confidence::Certain || left.is_empty(), "{id} is certain, and {left:?} unexplained\n{self}");
        self
    }

    /// Asserts that this cause is named, at least that sure, beside another that may be called certain: two faults at once.
    #[track_caller]
    pub fn cause_beside(&self, id: &str, at_least: Confidence, other: &str) -> &Self {
        let causes = self.causes();
        let found = causes.iter().any(|(name, sure)| name == id && *sure >= at_least);
        assert!(found, "expected {id}, at least {at_least:?}, among {causes:?}\n{self}");
        let wrong = causes.iter().find(|(name, sure)| name != id && name != other && *sure == Confidence::Certain);
        assert!(wrong.is_none(), "expected {id} beside {other}, but {wrong:?} is called certain\n{self}");
        self
    }

    /// Asserts that this cause is not named at all.
    #[track_caller]
    pub fn not_cause(&self, id: &str) -> &Self {
        assert!(self.causes().iter().all(|(name, _)| name != id), "{id} is named\n{self}");
        self
    }

    /// Asserts that nothing is called certain: from here it cannot be.
    #[track_caller]
    pub fn nothing_certain(&self) -> &Self {
        let sure = self.causes().into_iter().find(|(_, sure)| *sure == Confidence::Certain);
        assert!(sure.is_none(), "{sure:?} is called certain\n{self}");
        self
    }

    /// Asserts that a check raised this finding.
    #[track_caller]
    pub fn finding(&self, code: &str) -> &Self {
        let findings = self.findings();
        assert!(findings.iter().any(|found| found == code), "expected {code} among {findings:?}\n{self}");
        self
    }

    /// Asserts the status of one check.
    #[track_caller]
    pub fn check(&self, id: &str, status: &str) -> &Self {
        let check = self.list("checks").iter().find(|check| check["id"] == id);
        assert!(
            check.is_some_and(|check| check["status"] == status),
            "expected {id} to be {status}: {check:?}\n{self}"
        );
        self
    }

    /// Asserts the exit code, which the report must repeat.
    #[track_caller]
    pub fn exit(&self, code: i32) -> &Self {
        assert!(self.ran.code == Some(code), "expected exit code {code}\n{self}");
        assert!(self.report["exit_code"] == code, "the report says exit code {}\n{self}", self.report["exit_code"]);
        self
    }

    /// Asserts that it took no longer than this.
    #[track_caller]
    pub fn within(&self, wall: Duration) -> &Self {
        assert!(self.ran.wall <= wall, "took {:?}, expected at most {wall:?}\n{self}", self.ran.wall);
        self
    }

    /// Asserts that all is well: exit code 0, healthy, not one finding, no cause, nothing unexplained.
    #[track_caller]
    pub fn healthy(&self) -> &Self {
        self.exit(0);
        let (findings, causes) = (self.findings(), self.causes());
        assert!(findings.is_empty(), "findings: {findings:?}\n{self}");
        assert!(causes.is_empty(), "causes: {causes:?}\n{self}");
        assert!(self.list("unexplained").is_empty(), "unexplained: {}\n{self}", self.report["unexplained"]);
        assert!(self.report["status"] == "healthy", "status {}\n{self}", self.report["status"]);
        self
    }

    /// Carries out the repair of the first cause, step by step, on the host that `on` gives for "here" or "redis-host".
    ///
    /// Steps that only look, tell, or check again are left out: the test checks again.
    ///
    /// # Panics
    /// When there is nothing to carry out, when a line to be edited is not what the step says, or a command fails.
    #[track_caller]
    pub fn apply<'a>(&self, on: impl Fn(&str) -> &'a Host) -> &Self {
        let first = self.causes().first().map(|(id, _)| id.clone()).unwrap_or_default();
        self.apply_of(&first, on)
    }

    /// The same for the repair of this cause, where it is one of several candidates.
    ///
    /// # Panics
    /// As [`Self::apply`].
    #[track_caller]
    pub fn apply_of<'a>(&self, cause: &str, on: impl Fn(&str) -> &'a Host) -> &Self {
        let cause = self.list("causes").iter().find(|found| found["id"] == cause).unwrap_or(&Value::Null);
        let steps: Vec<&Value> = cause["remedy"].as_array().into_iter().flatten().collect();
        let done = steps.iter().filter(|step| self.carry_out(step, &on)).count();
        assert!(done > 0, "no step of the repair can be carried out\n{self}");
        self
    }

    #[track_caller]
    fn carry_out<'a>(&self, step: &Value, on: &impl Fn(&str) -> &'a Host) -> bool {
        let place = step["on"].as_str().unwrap_or("here");
        match (step["kind"].as_str(), step["command"].as_str()) {
            (Some("edit"), _) => edit(on(place), step).unwrap_or_else(|why| panic!("{why}: {step}\n{self}")),
            (Some("run"), Some(command)) if !checks_again(command) => {
                let ran = shell(on(place), command);
                assert!(ran.code == Some(0), "a step of the repair fails\n{ran}\n{self}");
            }
            _ => return false,
        }
        true
    }

    /// What the command that would settle this cause prints on the host that `on` gives.
    ///
    /// # Panics
    /// When the cause has none.
    #[track_caller]
    pub fn settle<'a>(&self, cause: &str, on: impl Fn(&str) -> &'a Host) -> String {
        let cause = self.list("causes").iter().find(|found| found["id"] == cause).unwrap_or(&Value::Null);
        let step = &cause["settled_by"];
        let command = step["command"].as_str().unwrap_or_else(|| panic!("nothing settles it\n{self}"));
        shell(on(step["on"].as_str().unwrap_or("here")), command).stdout
    }

    /// The causes and how sure they are, in order.
    #[must_use]
    #[track_caller]
    pub fn causes(&self) -> Vec<(String, Confidence)> {
        let named = |cause: &Value| {
            (cause["id"].as_str().unwrap_or_default().to_owned(), self.confidence(&cause["confidence"]))
        };
        self.list("causes").iter().map(named).collect()
    }

    /// The codes of all findings, in order.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        let findings = self.list("checks").iter().flat_map(|check| check["findings"].as_array().into_iter().flatten());
        findings.map(|finding| finding["code"].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[track_caller]
    fn confidence(&self, value: &Value) -> Confidence {
        match value.as_str() {
            Some("possible") => Confidence::Possible,
            Some("likely") => Confidence::Likely,
            Some("certain") => Confidence::Certain,
            _ => panic!("confidence {value}\n{self}"),
        }
    }

    fn list(&self, key: &str) -> &[Value] {
        self.report[key].as_array().map_or(&[], Vec::as_slice)
    }
}

impl std::fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let report = serde_json::to_string_pretty(&self.report).unwrap_or_default();
        writeln!(
            f,
            "{}\n[exit {:?} after {:?}]\n{report}\n--- stderr\n{}",
            self.ran.shown, self.ran.code, self.ran.wall, self.ran.stderr
        )
    }
}

fn checks_again(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().filter(|word| *word != "sudo" && !word.contains('=')).collect();
    words.first() == Some(&"redisdoc")
}

/// Runs a command as the reader of the report would type it: with `sudo` and redisdoc at hand.
fn shell(host: &Host, command: &str) -> Ran {
    let sudo = "#!/bin/sh\nif [ \"$1\" = -u ]; then u=${2#?}; shift 2; \
                exec setpriv --reuid $u --regid $u --clear-groups \"$@\"; fi\n\
                while [ \"${1#-}\" != \"$1\" ]; do shift; done\nexec \"$@\"\n";
    host.program(&format!("{TOOLS}/sudo"), sudo);
    let program = REDISDOC.trim_end_matches("/redisdoc");
    let path = format!("{TOOLS}:{}:{program}", super::run::PATH);
    host.command(&["sh", "-c", command]).env("PATH", &path).run()
}

/// Replaces one line of a file on a host, as the step says; without `from` the new line is added.
fn edit(host: &Host, step: &Value) -> Result<(), String> {
    let text = |key: &str| step[key].as_str();
    let file = text("file").ok_or("an edit without a file")?;
    let to = text("to").ok_or("an edit without its result")?;
    let before = host.read(file);
    let mut lines: Vec<&str> = before.lines().collect();
    match text("from").filter(|from| !from.is_empty()) {
        Some(from) => {
            let number =
                step["line"].as_u64().and_then(|line| usize::try_from(line).ok()).ok_or("an edit without a line")?;
            let line = lines.get_mut(number.wrapping_sub(1)).ok_or(format!("{file} has no line {number}"))?;
            if line.trim() != from.trim() {
                return Err(format!("{file}:{number} says {line:?}"));
            }
            *line = to;
        }
        None => lines.push(to),
    }
    host.file(file, lines.join("\n") + "\n");
    Ok(())
}
