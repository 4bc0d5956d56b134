//! Writes want replicas that are not there.

use crate::cause::{Case, Cause, local_cli, repair};
use crate::check::state;
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "not-enough-replicas",
    title: "too few replicas are connected for writes",
    explain: "\
The server is told to take writes only while enough replicas are connected and keep up (min-replicas-to-write, \
min-replicas-max-lag), and none is: writes are answered with NOREPLICAS, while PING and reads work. It is a warning \
unless --require writable asks for writes.

INFO shows min_slaves_good_slaves, and only where that is set, so 0 is certain; with one or more, whether they are enough \
cannot be seen from INFO.

Repair: bring the replicas back. Lowering min-replicas-to-write takes writes again, which are lost if this server dies.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::NOT_ENOUGH_REPLICAS)?;
    let summary = "writes are answered with NOREPLICAS: no replica is connected and keeps up";
    let support = Support::new(Confidence::Certain, &[&state::NOT_ENOUGH_REPLICAS], summary).on(finding);
    Some(support.not("read-only-replica", "this server is a master"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let cli = local_cli(facts);
    vec![
        Step::look(Where::RedisHost, format!("{cli} INFO replication"), "which replicas are connected, and their lag"),
        Step::tell(Where::RedisHost, "bring the replicas back, or let them reach this server again"),
        Step::run(
            Where::RedisHost,
            Risk::LosesData,
            "or take writes without replicas meanwhile",
            repair::config_set(facts, "min-replicas-to-write 0"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;

    #[test]
    fn none_where_some_are_wanted_is_certain() {
        let facts = Facts::healthy().info("min_slaves_good_slaves", "0");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
