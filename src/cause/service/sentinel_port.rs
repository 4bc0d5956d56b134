//! The port is that of a Sentinel.

use crate::cause::{Case, Cause};
use crate::check::state;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "sentinel-port",
    title: "this is a Sentinel, not a data server",
    explain: "\
HELLO or INFO say mode sentinel: a Redis Sentinel answers on this port (26379 by default). It answers PING with \
PONG, so that simple health checks are content, and every data command with 'unknown command'.

Its own word, so this is certain.

Repair: give the address to a client that speaks to Sentinels, with the master's name; or connect to the address \
that SENTINEL GET-MASTER-ADDR-BY-NAME returns.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::SENTINEL)?;
    let summary = "it answers PING, and no data command";
    let support = Support::new(Confidence::Certain, &[&state::SENTINEL], summary).on(finding);
    Some(support)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    vec![
        Step::look(
            Where::Here,
            format!("redis-cli {} SENTINEL MASTERS", facts.ask.target.flags()),
            "the names of the masters it watches, with their addresses (ip, port)",
        ),
        Step::tell(
            Where::Here,
            "give this address to the application as a Sentinel, with the master's name; or use the master's address",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    #[test]
    fn its_own_word_is_certain() {
        check_cause(&CAUSE, &Facts::healthy().info("redis_mode", "sentinel"), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
