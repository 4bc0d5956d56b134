//! What the user asks for: the target and the terms. Saved with the facts, so that a replay judges by the same terms.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::observed::{BlockerKind, Gap};

use super::target::{Level, Target};

/// The terms of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// What to connect to.
    pub target: Target,
    /// How far the connection must get (`--require`).
    pub require: Level,
    /// The severity that makes the exit code 1 (`--fail-on`).
    pub fail_on: FailOn,
    /// The longest a single step may take, in milliseconds (`--timeout`).
    pub timeout_ms: u64,
    /// The longest the whole run may take, in milliseconds (`--deadline`).
    pub deadline_ms: u64,
    /// How long a connection is held without a word, in milliseconds, on top of that (`--hold`).
    #[serde(default)]
    pub hold_ms: Option<u64>,
    /// Whether to look at everything even if all is well (`--deep`).
    pub deep: bool,
    /// Whether what failed may not be asked about in another way, over a connection more (`--no-counter-probe`).
    #[serde(default)]
    pub no_counter_probe: bool,
    /// The redis.conf to judge by (`--redis-conf`).
    #[serde(default)]
    pub redis_conf: Option<String>,
    /// The checks to run; empty for all (`--only`).
    pub only: Vec<String>,
    /// The checks to leave out (`--skip`).
    pub skip: Vec<String>,
}

/// The severity that makes the exit code 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum FailOn {
    /// A failure.
    #[default]
    Error,
    /// A warning, too.
    Warning,
    /// Nothing that is found: exit 0 whenever the run itself could be made.
    Never,
}

/// What may be missing of a step's time before it counts as cut short by the run's deadline, in milliseconds.
const SLACK_MS: u64 = 100;

impl Ask {
    /// The gap in place of an observation that the run's deadline ended before the step's own time was up: silence that
    /// was not waited out proves nothing.
    ///
    /// # Errors
    /// That gap.
    pub fn waited_out(&self, elapsed_ms: f64) -> Result<(), Gap> {
        let elapsed = Duration::from_secs_f64(elapsed_ms.max(0.0) / 1e3);
        if elapsed + Duration::from_millis(SLACK_MS) >= Duration::from_millis(self.timeout_ms) {
            return Ok(());
        }
        let says = format!(
            "the deadline of the whole run came {elapsed_ms:.0} ms into a step that may take {}",
            self.timeout_ms
        );
        Err(Gap::hidden(BlockerKind::Deadline, says + " ms"))
    }

    /// The longest the run may take: its deadline, and the time that a connection is held.
    pub fn whole(&self) -> Duration {
        Duration::from_millis(self.deadline_ms) + Duration::from_millis(self.hold_ms.unwrap_or_default())
    }

    /// True if the check is among those asked for.
    pub fn wants(&self, check: &str) -> bool {
        (self.only.is_empty() || self.only.iter().any(|id| id == check)) && !self.skip.iter().any(|id| id == check)
    }
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            target: Target::default(),
            require: Level::Ready,
            fail_on: FailOn::Error,
            timeout_ms: 5_000,
            deadline_ms: 20_000,
            hold_ms: None,
            deep: false,
            no_counter_probe: false,
            redis_conf: None,
            only: Vec::new(),
            skip: Vec::new(),
        }
    }
}
