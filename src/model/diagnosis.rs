//! A diagnosis: which causes explain the findings, how surely, and what nothing explains.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::{Code, Evidence, Finding};
use super::remedy::Step;

/// How sure a cause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// One of several that fit: a candidate, until somebody makes the observation that settles it.
    Possible,
    /// It fits better than the others, but a look-alike is not ruled out.
    Likely,
    /// Every known look-alike is ruled out by an observation.
    Certain,
}

/// A look-alike that an observation rules out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuledOut {
    /// The cause id.
    pub id: String,
    /// The observation that rules it out.
    pub because: String,
}

/// What a cause has to say for itself in a given case.
#[derive(Debug, Clone)]
pub struct Support {
    /// How sure.
    pub confidence: Confidence,
    /// The cause in a sentence about this case.
    pub summary: String,
    /// The findings it explains.
    pub explains: Vec<&'static Code>,
    /// On what evidence.
    pub evidence: Vec<Evidence>,
    /// Which look-alikes it is not.
    pub ruled_out: Vec<RuledOut>,
    /// Where it is not certain: the observation that would settle it, and where to make it.
    pub settled_by: Option<Step>,
}

impl Support {
    /// A cause that explains `explains`, as sure as `confidence`.
    pub fn new(confidence: Confidence, explains: &[&'static Code], summary: impl Into<String>) -> Self {
        Self {
            confidence,
            summary: summary.into(),
            explains: explains.to_vec(),
            evidence: Vec::new(),
            ruled_out: Vec::new(),
            settled_by: None,
        }
    }

    /// The same, with a piece of evidence.
    #[must_use]
    pub fn because(mut self, source: impl Into<String>, says: impl Into<String>) -> Self {
        self.evidence.push(Evidence::new(source, says));
        self
    }

    /// The same, with these pieces of evidence.
    #[must_use]
    pub fn with(mut self, evidence: Vec<Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    /// The same, with the evidence of the finding that it explains.
    #[must_use]
    pub fn on(mut self, finding: &Finding) -> Self {
        self.evidence.extend_from_slice(&finding.evidence);
        self
    }

    /// The same, with a look-alike ruled out.
    #[must_use]
    pub fn not(mut self, id: &str, because: impl Into<String>) -> Self {
        self.ruled_out.push(RuledOut { id: id.to_owned(), because: because.into() });
        self
    }

    /// The same, with the observation that would settle it.
    #[must_use]
    pub fn settled_by(mut self, step: Step) -> Self {
        self.settled_by = Some(step);
        self
    }
}

/// A cause that has something to say, with its remedy.
#[derive(Debug, Clone)]
pub struct Supported {
    /// The cause id.
    pub id: &'static str,
    /// What the cause is, in a few words.
    pub title: &'static str,
    /// What it says in this case.
    pub support: Support,
    /// How to repair it here; ends with the command that verifies the repair.
    pub remedy: Vec<Step>,
}

/// What explains the findings.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    /// Surest first; the first is the root cause.
    pub causes: Vec<Supported>,
    /// Findings that no cause explains. Nothing is dropped.
    pub unexplained: Vec<&'static Code>,
}
