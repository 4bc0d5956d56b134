//! Findings: what a check found wrong, each with a registered code and its evidence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::target::Level;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; changes no status. A fault of a level that `--require` does not ask for.
    Info,
    /// It works, but not as it should: the report is `degraded`.
    Warn,
    /// It does not work: the report is `unhealthy`.
    Fail,
}

/// A kind of finding, declared as data beside the check that raises it.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `check/what`, kebab-case, stable.
    pub id: &'static str,
    /// Severity when the level it breaks is asked for with `--require`.
    pub severity: Severity,
    /// The level of use that it breaks.
    pub breaks: Level,
    /// Severity when only lower levels are asked for.
    pub beyond: Severity,
    /// What it is, in a few words.
    pub title: &'static str,
    /// The text of `redisdoc explain`.
    pub explain: &'static str,
}

impl Code {
    /// A failure for those who require `breaks`, and a remark for those who require less.
    pub const fn fail(id: &'static str, breaks: Level, title: &'static str, explain: &'static str) -> Self {
        Self { id, severity: Severity::Fail, breaks, beyond: Severity::Info, title, explain }
    }

    /// A warning for those who require `breaks`, and a remark for those who require less.
    pub const fn warn(id: &'static str, breaks: Level, title: &'static str, explain: &'static str) -> Self {
        Self { id, severity: Severity::Warn, breaks, beyond: Severity::Info, title, explain }
    }

    /// A remark, whatever is required.
    pub const fn remark(id: &'static str, breaks: Level, title: &'static str, explain: &'static str) -> Self {
        Self { id, severity: Severity::Info, breaks, beyond: Severity::Info, title, explain }
    }

    /// The severity for somebody who requires `level`.
    pub fn severity_for(&self, level: Level) -> Severity {
        if self.breaks <= level { self.severity } else { self.beyond }
    }
}

/// One piece of evidence: who says it, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Where it was observed: a system call, a file with line, "redis replied".
    pub source: String,
    /// What was observed, free of secrets and control codes.
    pub says: String,
}

impl Evidence {
    /// `source` says `says`.
    pub fn new(source: impl Into<String>, says: impl Into<String>) -> Self {
        Self { source: source.into(), says: says.into() }
    }
}

/// A code raised on evidence.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was found.
    pub code: &'static Code,
    /// Why we say so.
    pub evidence: Vec<Evidence>,
}

impl Finding {
    /// `code`, on one piece of evidence.
    pub fn new(code: &'static Code, source: impl Into<String>, says: impl Into<String>) -> Self {
        Self { code, evidence: vec![Evidence::new(source, says)] }
    }
}
