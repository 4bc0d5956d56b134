//! Remedies: what to do, where, and what it risks. redisdoc prints steps; it never takes one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One step of a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look at something: changes nothing.
    Look {
        /// The command to type.
        command: String,
        /// What its answer tells.
        tells: String,
        /// Where to type it.
        on: Where,
    },
    /// Run a command that changes something.
    Run {
        /// What it does.
        text: String,
        /// The command to type.
        command: String,
        /// Where to type it.
        on: Where,
        /// What it risks.
        risk: Risk,
    },
    /// Change a line of a file.
    Edit {
        /// What the change does.
        text: String,
        /// The file.
        file: String,
        /// The line, from 1, where it is known.
        line: Option<u32>,
        /// What stands there now; empty to add a line.
        from: String,
        /// What should stand there.
        to: String,
        /// On which machine.
        on: Where,
        /// What it risks.
        risk: Risk,
    },
    /// Something to do that has no command we could vouch for.
    Tell {
        /// What to do.
        text: String,
        /// Where.
        on: Where,
    },
}

/// Where a step is to be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Where {
    /// On the machine redisdoc runs on.
    Here,
    /// On the machine Redis runs on.
    RedisHost,
    /// On a machine between the two, or one that serves names.
    Network,
    /// In a container.
    Container(String),
    /// With the cluster's own tools.
    Cluster,
}

/// What a step may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Nothing is lost and nobody notices.
    Safe,
    /// A service restarts or clients are cut off.
    Restarts,
    /// More peers than before can reach Redis.
    WidensAccess,
    /// Data may be lost.
    LosesData,
}

impl Step {
    /// Look with `command` on `on`; its answer tells `tells`.
    pub fn look(on: Where, command: impl Into<String>, tells: impl Into<String>) -> Self {
        Self::Look { command: command.into(), tells: tells.into(), on }
    }

    /// Run `command` on `on` to do `text`.
    pub fn run(on: Where, risk: Risk, text: impl Into<String>, command: impl Into<String>) -> Self {
        Self::Run { text: text.into(), command: command.into(), on, risk }
    }

    /// Do `text` on `on`.
    pub fn tell(on: Where, text: impl Into<String>) -> Self {
        Self::Tell { text: text.into(), on }
    }
}
