//! Does what was given name one place to connect to?

use super::Check;
use crate::model::{Gap, Judgement, Level};
use crate::probe::Facts;

/// The check.
pub static CHECK: Check = Check {
    id: "target",
    asks: "does what was given name one place to connect to?",
    level: Level::Reachable,
    codes: &[],
    judge,
};

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    Ok(Judgement::pass(facts.ask.target.place()))
}
