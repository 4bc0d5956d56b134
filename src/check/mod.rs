//! What the observations mean. A check asks one question of the facts and answers with a verdict; pure.

pub mod auth;
pub mod config;
pub mod disk;
pub mod dns;
pub mod firewall;
pub mod hold;
pub mod limits;
pub mod log;
pub mod memory;
pub mod ping;
pub mod process;
pub mod state;
pub mod target;
pub mod tcp;
pub mod tls;

use crate::model::{Code, Gap, Judgement, Level, Skip, Verdict};
use crate::probe::Facts;

/// A check, declared as data.
pub struct Check {
    /// Its id, as `--only` takes it.
    pub id: &'static str,
    /// The question it asks.
    pub asks: &'static str,
    /// The level of use that cannot be vouched for while this check is `unknown`; none where it only says more about what
    /// the others have found.
    pub level: Option<Level>,
    /// Every code it may raise.
    pub codes: &'static [&'static Code],
    /// Its answer.
    pub judge: fn(&Facts) -> Result<Judgement, Gap>,
}

/// Every check, in the order of the report.
pub static CHECKS: &[&Check] = &[
    &target::CHECK,
    &process::CHECK,
    &dns::CHECK,
    &tcp::CHECK,
    &tls::CHECK,
    &ping::CHECK,
    &auth::CHECK,
    &state::CHECK,
    &hold::CHECK,
    &config::CHECK,
    &firewall::CHECK,
    &log::CHECK,
    &limits::CHECK,
    &memory::CHECK,
    &disk::CHECK,
];

/// A check with its verdict.
pub struct Judged {
    /// The check.
    pub check: &'static Check,
    /// What it concludes.
    pub verdict: Verdict,
}

/// Judges the facts with every check.
pub fn judge(facts: &Facts) -> Vec<Judged> {
    CHECKS.iter().map(|check| Judged { check, verdict: verdict(check, facts) }).collect()
}

fn verdict(check: &Check, facts: &Facts) -> Verdict {
    if facts.ask.wants(check.id) || !facts.ask.target.is_usable() && check.id == target::CHECK.id {
        Verdict::of((check.judge)(facts))
    } else {
        Verdict::Skipped(Skip { reason: "not selected".to_owned(), blocked_by: None })
    }
}

/// The code with this id.
pub fn code(id: &str) -> Option<&'static Code> {
    CHECKS.iter().flat_map(|check| check.codes).find(|code| code.id == id).copied()
}
