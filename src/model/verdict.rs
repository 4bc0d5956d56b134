//! Verdicts: what a check concludes from the facts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Severity};
use super::observed::{Blocker, Gap, Skip};
use super::target::Level;

/// The outcome of one check in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Looked at, and well.
    Pass,
    /// Looked at, and something to mend.
    Warn,
    /// Looked at, and broken.
    Fail,
    /// Could not be looked at.
    Unknown,
    /// Not looked at, on purpose.
    Skipped,
}

/// What a judge says of facts it could see.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// One line for the report.
    pub summary: String,
    /// What is wrong; empty when all is well.
    pub findings: Vec<Finding>,
    /// How long the observed thing took, in milliseconds, where that means something.
    pub took_ms: Option<f64>,
    /// The observations the judgement rests on, for machines.
    pub observed: serde_json::Value,
}

impl Judgement {
    /// A judgement without findings.
    pub fn pass(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), findings: Vec::new(), took_ms: None, observed: serde_json::Value::Null }
    }

    /// The same, with how long it took.
    #[must_use]
    pub fn took(mut self, ms: f64) -> Self {
        self.took_ms = Some(ms);
        self
    }

    /// The same, with what it rests on.
    #[must_use]
    pub fn observing(mut self, observed: &impl Serialize) -> Self {
        self.observed = serde_json::to_value(observed).unwrap_or_default();
        self
    }

    /// The same, with findings added.
    #[must_use]
    pub fn finding(mut self, findings: impl IntoIterator<Item = Finding>) -> Self {
        self.findings.extend(findings);
        self
    }
}

/// What a check concludes.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The facts were there.
    Judged(Judgement),
    /// They could not be had.
    Unknown(Blocker),
    /// They were not looked for.
    Skipped(Skip),
}

impl Verdict {
    /// The verdict of a judge's answer.
    pub fn of(answer: Result<Judgement, Gap>) -> Self {
        match answer {
            Ok(judgement) => Self::Judged(judgement),
            Err(Gap::Hidden(blocker)) => Self::Unknown(blocker),
            Err(Gap::Skipped(skip)) => Self::Skipped(skip),
        }
    }

    /// What was found wrong.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Judged(judgement) => &judgement.findings,
            Self::Unknown(_) | Self::Skipped(_) => &[],
        }
    }

    /// The status, for somebody who requires `level`.
    pub fn status(&self, level: Level) -> Status {
        match self {
            Self::Unknown(_) => Status::Unknown,
            Self::Skipped(_) => Status::Skipped,
            Self::Judged(judgement) => match judgement.findings.iter().map(|f| f.code.severity_for(level)).max() {
                Some(Severity::Fail) => Status::Fail,
                Some(Severity::Warn) => Status::Warn,
                Some(Severity::Info) | None => Status::Pass,
            },
        }
    }
}
