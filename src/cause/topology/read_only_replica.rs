//! Writes are asked of a read-only replica.

use crate::cause::{Case, Cause, check_again, dialogue};
use crate::check::state;
use crate::model::{Confidence, Endpoint, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "read-only-replica",
    title: "this is a read-only replica",
    explain: "\
The server is a replica (role:slave in INFO) and takes no writes: they are answered with READONLY. That is right \
for a replica; it is a fault only where writes are wanted (--require writable). It happens after a failover, \
when a client keeps its connection to the old primary, or uses a reader endpoint.

INFO says so, so this is certain. INFO also names the master.

Repair: use the primary's address, or a name or Sentinel that follows it, and let the client reconnect when it \
meets READONLY. Making the replica writable loses what is written with the next resynchronisation.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::READ_ONLY)?;
    let summary = match master(case.facts) {
        Some((host, port)) => format!("writes are answered with READONLY; its master is {host}:{port}"),
        None => "writes are answered with READONLY".to_owned(),
    };
    let support = Support::new(Confidence::Certain, &[&state::READ_ONLY], summary).on(finding);
    Some(support)
}

fn master(facts: &Facts) -> Option<(String, u16)> {
    let info = dialogue(facts)?.info()?;
    Some((info.get("master_host")?.to_owned(), info.get("master_port")?.parse().ok()?))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let mut target = facts.ask.target.clone();
    let mut steps = vec![Step::tell(
        Where::Here,
        "write to the primary: use its address, or a name or Sentinel that follows it, and reconnect on READONLY",
    )];
    if let Some((host, port)) = master(facts) {
        target.endpoint = Endpoint::Tcp { host, port };
        steps.push(check_again(&target));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Level;

    #[test]
    fn certain_where_writes_are_wanted() {
        let facts = Facts::healthy().info("role", "slave").info("master_host", "10.0.0.1").info("master_port", "6380");
        let facts = facts.with(|facts| facts.ask.require = Level::Writable);
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
        let diagnosis = crate::cause::tests::diagnose(&facts);
        let last = diagnosis.causes[0].remedy.last();
        assert!(
            matches!(last, Some(Step::Run { command, .. }) if command == "redisdoc check -h 10.0.0.1 -p 6380 --require writable")
        );
    }

    #[test]
    fn a_replica_that_is_read_from_is_healthy() {
        let facts = Facts::healthy().info("role", "slave").info("master_host", "10.0.0.1");
        assert!(crate::cause::tests::diagnose(&facts).causes.is_empty());
    }
}
