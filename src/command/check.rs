//! `redisdoc check`: look, judge, infer, report.

use std::time::Duration;

use crate::model::report::Report;
use crate::model::{Ask, Secret};
use crate::probe::{self, Facts};
use crate::sys::Clock;
use crate::{cause, check, render};

/// Gathers the facts about the target.
pub async fn gather(ask: Ask, password: Option<&Secret>) -> Facts {
    let clock = Clock::start(Duration::from_millis(ask.timeout_ms), Duration::from_millis(ask.deadline_ms));
    probe::gather(ask, password, clock).await
}

/// What the facts mean, why, and what to do: the same for fresh and for saved facts.
pub fn diagnose(facts: &Facts) -> Report {
    let judged = check::judge(facts);
    let diagnosis = cause::infer(facts, &judged);
    render::report::assemble(facts, &judged, &diagnosis)
}
