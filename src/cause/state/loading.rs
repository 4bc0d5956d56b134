//! The server is still loading its data.

use crate::cause::{Case, Cause, dialogue, local_cli};
use crate::check::state;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "loading",
    title: "Redis is loading its data",
    explain: "\
Redis answered LOADING, to PING too. After a start it reads its snapshot or AOF from disk, and a replica loads \
what its master sent; until that is done it serves no commands but INFO, HELLO and AUTH.

It ends by itself: INFO persistence shows loading_eta_seconds. When it comes again and again, something kills \
the server while it loads (a liveness probe, systemd's TimeoutStartSec, the OOM killer): see how long it has \
been up.

Repair: wait. Let readiness probes ask for PONG rather than for an open port, and start-up timeouts be longer \
than the load.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::LOADING)?;
    let summary = match eta(case.facts) {
        Some((seconds, percent)) => format!("{percent} % of the data is loaded; Redis itself expects {seconds} s more"),
        None => "Redis reads its data and serves no commands until that is done".to_owned(),
    };
    let support = Support::new(Confidence::Certain, &[&state::LOADING], summary).on(finding);
    Some(support.not("not-running", "it answers"))
}

/// The seconds that are left and the per cent that is done, by INFO.
fn eta(facts: &Facts) -> Option<(u64, String)> {
    let info = dialogue(facts)?.info()?;
    Some((info.number("loading_eta_seconds")?, info.get("loading_loaded_perc")?.to_owned()))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let command = format!("{} INFO persistence", local_cli(facts));
    vec![
        Step::look(Where::RedisHost, command, "loading_eta_seconds says how long it will take"),
        Step::tell(Where::Here, "wait until it is done; let readiness probes ask for PONG, not for an open port"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::reply::Command;

    #[test]
    fn the_text_is_certain() {
        let facts = Facts::healthy().erring(Command::Ping, "LOADING Redis is loading the dataset in memory");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn info_tells_how_long() {
        let facts = Facts::healthy().info("loading_eta_seconds", "12").info("loading_loaded_perc", "40.00");
        assert_eq!(eta(&facts), Some((12, "40.00".to_owned())));
        assert_eq!(eta(&Facts::healthy()), None);
    }
}
