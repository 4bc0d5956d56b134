//! The limit of open files has no room for the clients that Redis was told to take, or not even for itself.

use crate::cause::state::{drop_in, raise, systemd_unit};
use crate::cause::{Case, Cause, redis_host, repair};
use crate::check::{limits, tcp};
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::system::Unit;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "fd-limit-too-low",
    title: "the limit of open files is too low for Redis",
    explain: "\
Redis needs maxclients + 32 files. When it starts it raises its limit to that; where it may not (LimitNOFILE= of its \
unit, ulimit -n, --ulimit of a container) it takes fewer clients and says so in its log: 'maxclients has been reduced \
to N to compensate for low ulimit'. With a limit of 32 or less it does not start at all: 'Your current 'ulimit -n' of \
20 is not enough for the server to start'.

It is certain where the server's machine shows that the limit is what was left of maxclients; likely where a \
unit's limit is too low for a server that does not run.

Repair: LimitNOFILE= in a drop-in of the unit, or ulimit -n where it is started; prlimit and CONFIG SET maxclients do it \
for a server that runs. Or ask for fewer clients: maxclients in redis.conf.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    reduced(case).or_else(|| not_started(case))
}

fn reduced(case: &Case) -> Option<Support> {
    // A limit that is used up is worse than one that is too low.
    let finding = case.raised(&limits::MAXCLIENTS_REDUCED).filter(|_| case.raised(&limits::FDS_EXHAUSTED).is_none())?;
    let instance = case.facts.instance()?;
    let limit = instance.process?.open_files_limit;
    let running = running(case.facts);
    // Redis takes exactly what is left of the limit.
    let is_rest = limit.zip(running).is_some_and(|(limit, running)| running + limits::RESERVED >= limit);
    let confidence = if is_rest { Confidence::Certain } else { Confidence::Likely };
    let summary = match (running, limits::wanted(&instance), limit) {
        (Some(running), Some((wanted, _)), Some(limit)) => {
            format!("{running} clients fit into a limit of {limit} files, and {wanted} are asked for")
        }
        _ => "fewer clients fit into the limit of open files than are asked for".to_owned(),
    };
    let codes: &[&Code] = &[&limits::MAXCLIENTS_REDUCED];
    let support = Support::new(confidence, codes, summary).on(finding);
    Some(if is_rest { support } else { support.settled_by(look(case.facts)) })
}

/// A server that may not open even its own files, by the unit that starts it.
fn not_started(case: &Case) -> Option<Support> {
    let finding = case.raised(&tcp::REFUSED)?;
    let (unit, limit) = starved_unit(case.facts)?;
    let summary =
        format!("{} lets Redis open {limit} files; with {} or fewer it does not start", unit.file, limits::RESERVED);
    Some(
        Support::new(Confidence::Likely, &[&tcp::REFUSED], summary)
            .on(finding)
            .because(unit.file.clone(), format!("LimitNOFILE={limit}"))
            .settled_by(look(case.facts)),
    )
}

fn starved_unit(facts: &Facts) -> Option<(&Unit, u64)> {
    let instance = facts.instance()?;
    if instance.process.is_some() {
        return None;
    }
    let units = &instance.host.system.seen()?.units;
    let of_conf = instance.conf.and_then(|conf| conf.unit.as_deref());
    let unit = match of_conf {
        Some(name) => units.iter().find(|unit| unit.name == name)?,
        None => units.first().filter(|_| units.len() == 1)?,
    };
    // `soft` or `soft:hard`; Redis may raise the one to the other.
    let limit = unit.open_files_limit.as_ref()?.rsplit(':').next()?.parse().ok()?;
    (limit <= limits::RESERVED).then_some((unit, limit))
}

fn running(facts: &Facts) -> Option<u64> {
    facts.running_settings()?.get("maxclients")?.parse().ok()
}

fn look(facts: &Facts) -> Step {
    let instance = facts.instance();
    let logfile = instance.and_then(|instance| instance.setting("logfile")?.values.first().cloned());
    let log = logfile.filter(|file| file.starts_with('/')).unwrap_or_else(|| "/var/log/redis/*.log".to_owned());
    let tells = "'maxclients has been reduced' or 'is not enough for the server to start': this is it";
    Step::look(redis_host(facts), format!("sudo grep -h ulimit {log} | tail -n 3"), tells)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let instance = facts.instance();
    let wanted = instance.and_then(|instance| limits::wanted(&instance));
    let clients = wanted.as_ref().map_or(10_000, |(clients, _)| *clients);
    let limit = clients.saturating_add(limits::RESERVED);
    let mut steps = Vec::new();
    let pid = instance.and_then(|instance| Some(instance.process?.pid));
    if let Some(pid) = pid {
        let command = repair::config_set(facts, &format!("maxclients {clients}"));
        let text = format!("then let it take {clients} clients, as it was asked to");
        steps.extend([raise(facts, pid, limit), Step::run(on.clone(), Risk::Safe, text, command)]);
    }
    match instance.and_then(|instance| systemd_unit(&instance)) {
        Some(unit) => {
            steps.push(drop_in(
                facts,
                unit,
                &format!("LimitNOFILE={limit}"),
                "raise the limit for the service's next start",
            ));
            if pid.is_none() {
                let command = format!("sudo systemctl restart {unit}");
                steps.push(Step::run(on, Risk::Restarts, "start the service with it", command));
            }
        }
        None => steps.push(elsewhere(facts, limit)),
    }
    steps
}

/// Where nobody knows what starts it.
fn elsewhere(facts: &Facts, limit: u64) -> Step {
    let line = facts.instance().and_then(|instance| instance.from_conf("maxclients")?.line);
    let fewer = match (running(facts), line) {
        (Some(running), Some((file, number, _))) => {
            format!("; or ask for fewer: 'maxclients {running}' at {file}:{number}")
        }
        (Some(running), None) => format!("; or ask for fewer: 'maxclients {running}' in redis.conf"),
        _ => String::new(),
    };
    let text = format!(
        "raise it where Redis is started, too: 'ulimit -n {limit}', or --ulimit nofile={limit} for a container"
    );
    Step::tell(redis_host(facts), text + &fewer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;

    fn reduced_to(clients: &str) -> Facts {
        Facts::at_home().running_with("maxclients", clients).process(|process| process.open_files_limit = Some(1_024))
    }

    #[test]
    fn what_is_left_of_the_limit_is_certain() {
        check_cause(&CAUSE, &reduced_to("992"), Some(Confidence::Certain));
        check_cause(&CAUSE, &reduced_to("500"), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::at_home(), None);
        check_cause(&CAUSE, &reduced_to("992").process(|process| process.open_files = Some(1_024)), None);
    }

    #[test]
    fn a_unit_that_starves_the_server_is_likely() {
        let unit = |limit: &str| {
            let limit = Some(limit.to_owned());
            Facts::at_home().not_running().host(|host| seen(&mut host.system).units[0].open_files_limit = limit)
        };
        check_cause(&CAUSE, &unit("20"), Some(Confidence::Likely));
        check_cause(&CAUSE, &unit("20:65535"), None);
        check_cause(&CAUSE, &unit("infinity"), None);
        let steps = remedy(&unit("20"));
        assert!(matches!(&steps[1], Step::Run { command, .. } if command == "sudo systemctl restart redis-server"));
    }

    #[test]
    fn a_running_server_is_repaired_without_a_restart() {
        let steps = remedy(&reduced_to("992"));
        let commands: Vec<&str> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Run { command, .. } => Some(command.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(
            commands[0],
            "sudo prlimit --pid 812 --nofile=10032: || sudo prlimit --pid 812 --nofile=10032:10032"
        );
        assert!(commands[1].starts_with("redis-cli -p 6379 CONFIG SET maxclients 10000 |"));
        assert!(commands[2].contains("LimitNOFILE=10032"));
        let by_hand = reduced_to("992").conf("maxclients 5000").process(|process| process.unit = None);
        let by_hand = by_hand.host(|host| host.confs[0].unit = None);
        let told =
            matches!(&remedy(&by_hand)[2], Step::Tell { text, .. } if text.contains("/etc/redis/redis.conf:2300"));
        assert!(told);
    }
}
