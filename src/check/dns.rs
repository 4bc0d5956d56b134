//! Does the target's name have addresses, and how soon?

use super::Check;
use crate::model::{Gap, Judgement, Level};
use crate::probe::Facts;

/// The check.
pub static CHECK: Check = Check {
    id: "dns",
    asks: "does the target's name have addresses, and how soon?",
    level: Level::Reachable,
    codes: &[],
    judge,
};

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let dns = facts.dns.known()?;
    Ok(Judgement::pass(dns.name.clone()).took(dns.elapsed_ms).observing(dns))
}
