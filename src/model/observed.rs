//! An observation, or the reason why there is none. "We could not look" is never "there is none".

use serde::{Deserialize, Serialize};

/// What a probe saw, or why it saw nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed<T> {
    /// It was looked at, and this is what was seen.
    Seen(T),
    /// It was looked at, but something stood in the way.
    Hidden(Blocker),
    /// It was not looked at, on purpose.
    Skipped(Skip),
}

/// What stood in the way of an observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// The kind of obstacle.
    pub kind: BlockerKind,
    /// The obstacle in words, with who says it.
    pub says: String,
}

/// The kinds of obstacle, as far as they change what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockerKind {
    /// We lack the right to look.
    Permission,
    /// Time ran out before there was an answer.
    Deadline,
    /// The thing to look at (file, tool, kernel feature) is not there.
    Missing,
    /// This build or system has no way to look.
    Unsupported,
    /// Looking failed for another reason.
    Failed,
}

/// Why something was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The reason in words.
    pub reason: String,
    /// The id of the check that stands in the way, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
}

/// The absence of an observation, as a judge meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// See [`Observed::Hidden`].
    Hidden(Blocker),
    /// See [`Observed::Skipped`].
    Skipped(Skip),
}

impl<T> Observed<T> {
    /// The observation, or the gap in its place. The only way in for a judge.
    ///
    /// # Errors
    /// The gap, when nothing was seen.
    pub fn known(&self) -> Result<&T, Gap> {
        match self {
            Self::Seen(value) => Ok(value),
            Self::Hidden(blocker) => Err(Gap::Hidden(blocker.clone())),
            Self::Skipped(skip) => Err(Gap::Skipped(skip.clone())),
        }
    }

    /// The observation, where its absence needs no explanation (evidence that may or may not be there).
    pub fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Hidden(_) | Self::Skipped(_) => None,
        }
    }

    /// Not looked at because another check has to succeed first.
    pub fn needs(check: &str) -> Self {
        Self::Skipped(Skip { reason: format!("needs {check}"), blocked_by: Some(check.to_owned()) })
    }

    /// Not looked at, for this reason.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped(Skip { reason: reason.into(), blocked_by: None })
    }

    /// Looked at in vain.
    pub fn hidden(kind: BlockerKind, says: impl Into<String>) -> Self {
        Self::Hidden(Blocker { kind, says: says.into() })
    }
}

impl Gap {
    /// A gap that a judge finds for itself in observations that are there but not enough.
    pub fn hidden(kind: BlockerKind, says: impl Into<String>) -> Self {
        Self::Hidden(Blocker { kind, says: says.into() })
    }

    /// A judge has nothing to say, for this reason.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped(Skip { reason: reason.into(), blocked_by: None })
    }

    /// A judge needs another check to succeed first.
    pub fn needs(check: &str) -> Self {
        Self::Skipped(Skip { reason: format!("needs {check}"), blocked_by: Some(check.to_owned()) })
    }
}
