//! placeholder
use super::Check;
use crate::model::{Gap, Judgement, Level};
use crate::probe::Facts;
/// placeholder
pub static CHECK: Check = Check { id: "tcp", asks: "?", level: Level::Reachable, codes: &[], judge };
fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let _tcp = facts.tcp.known()?;
    Ok(Judgement::pass("?"))
}
