//! A replica without its master that serves no stale data.

use crate::cause::{Case, Cause, dialogue, local_cli, repair};
use crate::check::state;
use crate::model::text::shell_quote;
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::reply::Info;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "replica-stale",
    title: "the replica has lost its master and serves no stale data",
    explain: "\
Redis answered MASTERDOWN, to PING too: this server is a replica, its link to the master is down, and replica- \
serve-stale-data is 'no', so that it serves nothing rather than old data. INFO replication names the master and \
since when it has been gone.

The text is Redis' own, so this is certain. Why the link is down stands in the replica's log: the master is gone \
or unreachable from there, or rejects the replica's password (masterauth).

Repair: restore the link; or let clients use another server; or serve the old data meanwhile, if the application \
can bear it.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::MASTER_DOWN)?;
    let summary = match master(case.facts) {
        Some(master) => format!("its link to the master {master} is down"),
        None => "its link to the master is down".to_owned(),
    };
    let support = Support::new(Confidence::Certain, &[&state::MASTER_DOWN], summary).on(finding);
    Some(support)
}

fn info(facts: &Facts) -> Option<&Info> {
    dialogue(facts)?.info()
}

fn master(facts: &Facts) -> Option<String> {
    let info = info(facts)?;
    Some(format!("{}:{}", info.get("master_host")?, info.get("master_port")?))
}

/// The setting's name: 'slave' before Redis 5.
fn setting(facts: &Facts) -> &'static str {
    let version = info(facts).and_then(|info| info.get("redis_version")?.split('.').next()?.parse::<u32>().ok());
    if version.is_some_and(|major| major < 5) { "slave-serve-stale-data" } else { "replica-serve-stale-data" }
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let (cli, setting) = (local_cli(facts), setting(facts));
    let check = match info(facts).and_then(|info| Some((info.get("master_host")?, info.get("master_port")?))) {
        Some((host, port)) => format!("redisdoc check -h {} -p {port}", shell_quote(host)),
        None => format!("{cli} INFO replication"),
    };
    vec![
        Step::look(Where::RedisHost, check, "what the replica meets on its way to the master"),
        Step::tell(Where::RedisHost, "start or reach the master again; if it rejects the replica, mend masterauth"),
        Step::run(
            Where::RedisHost,
            Risk::Safe,
            "or serve the old data meanwhile, if the application can bear it",
            repair::config_set(facts, &format!("{setting} yes")),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::reply::Command;

    #[test]
    fn the_text_is_certain_and_the_master_is_named() {
        let facts = Facts::healthy().erring(Command::Ping, "MASTERDOWN Link with MASTER is down and …");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        let facts = facts.info("master_host", "10.0.0.1").info("master_port", "6379");
        assert_eq!(master(&facts).unwrap(), "10.0.0.1:6379");
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn old_servers_have_the_old_name() {
        assert_eq!(setting(&Facts::healthy()), "replica-serve-stale-data");
        assert_eq!(setting(&Facts::healthy().info("redis_version", "4.0.14")), "slave-serve-stale-data");
    }
}
