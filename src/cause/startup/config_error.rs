//! redis.conf holds a line with which Redis does not start.

use super::not_running::{ABSENT, sure_of_absence};
use crate::cause::{Case, Cause, caps, redis_host, repair};
use crate::check::{config, disk};
use crate::model::target::DEFAULT_PORT;
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Endpoint, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::conf::{Conf, Fault, FoundBy};
use crate::probe::host::system::Unit;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "config-error",
    title: "Redis does not start with its redis.conf",
    explain: "\
Redis reads redis.conf before anything else, and ends with 'FATAL CONFIG FILE ERROR' at the first line that it does not \
take: an unknown directive, a wrong number of arguments, a number that is none, unbalanced quotes, a missing include. It \
says so on standard error, so in the journal or the container's output, never in its own log file.

redisdoc reads the file by Redis' own rules. It is certain where no server runs and the service, or --redis-conf, names \
the file, which would put a server where it is asked for, and no other service and no container may be meant; a file \
that merely stands in the usual place may not be the one. A server that still runs with what it read \
before will not come back from its next restart: that is a warning.

Repair: mend the line, then start Redis.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let code = [&config::ERROR, &config::NEXT_START].into_iter().find(|code| case.raised(code).is_some())?;
    let finding = case.raised(code)?;
    let conf = case.facts.instance()?.conf?;
    let is_next = code.id == config::NEXT_START.id;
    let fault = faults(case.facts).into_iter().next();
    let sure_line = fault.is_none_or(|fault| fault.sure || is_next) && conf.found_by < FoundBy::UsualPlace;
    let confidence = match (sure_line, is_next) {
        (true, true) => Confidence::Certain,
        (true, false) => sure_of_conf(case, case.host()?, conf),
        // What is only another server's file keeps nobody from starting, whatever it says.
        (false, _) if is_next => Confidence::Likely,
        (false, _) => sure_of_conf(case, case.host()?, conf).min(Confidence::Likely),
    };
    let mut codes: Vec<&'static Code> = vec![code];
    if !is_next {
        codes.extend(case.all_raised(ABSENT));
        // Redis goes into 'dir' and opens 'logfile' while it reads the file.
        codes.extend(case.all_raised(&[&disk::FOLDER_MISSING, &disk::LOG]));
    }
    let summary = match fault {
        Some(fault) => format!("{}:{} holds a line that Redis refuses: {}", fault.file, fault.line, fault.says),
        None => format!("{} is not there", conf.path),
    };
    let support = Support::new(confidence, &codes, summary).on(finding);
    Some(match (confidence, is_next) {
        (Confidence::Certain, true) => support,
        (Confidence::Certain, false) => support.not("not-running", "it would not start"),
        (_, true) => support.settled_by(see_output(case.facts)),
        (_, false) => {
            let traces = case.host().map(|host| caps::traces(host, &case.facts.other_starters()));
            support.with(traces.unwrap_or_default()).settled_by(see_output(case.facts))
        }
    })
}

/// How sure one may be that a server of this redis.conf is the one that is asked for and does not run.
fn sure_of_conf(case: &Case, host: &Host, conf: &Conf) -> Confidence {
    let answered = case.facts.tcp.seen().is_some_and(|tcp| tcp.connected().is_some());
    let system = host.system.seen();
    // A server of this file would be elsewhere, whatever it says.
    if answered || !may_want(case, host, conf) || system.is_some_and(|system| !system.has_a_server()) {
        return Confidence::Possible;
    }
    // Beside a server that runs, this file may be nobody's.
    let runs = host.living().next().is_some();
    let is_given = conf.found_by == FoundBy::Given;
    let port = case.facts.ask.target.port();
    let another = system.is_none_or(|system| {
        let unit = conf.unit.as_deref();
        let own = system.units.iter().find(|known| Some(known.name.as_str()) == unit);
        let is_off = own.is_some_and(|own| own.masked || own.gone);
        is_off || !system.engines.is_empty() || host.another_may_serve(unit, port)
    });
    let doubt = runs || (another && !is_given);
    let most = if doubt { Confidence::Likely } else { Confidence::Certain };
    sure_of_absence(case).min(most)
}

/// True if a server of this redis.conf would be where the target is, or would be but for the lines that it refuses.
fn may_want(case: &Case, host: &Host, conf: &Conf) -> bool {
    let Some(parsed) = conf.parsed.seen() else {
        // Of a file that is not there, its service may still say the port.
        let unit = conf.unit.as_deref().and_then(|name| host.unit(name));
        let said = unit.and_then(Unit::port).unwrap_or(DEFAULT_PORT);
        return case.facts.ask.target.port() == Some(said);
    };
    let is_refused = |names: &[&str]| parsed.errors.iter().any(|fault| names.contains(&fault.name().as_str()));
    match &case.facts.ask.target.endpoint {
        Endpoint::Tcp { port, .. } => {
            is_refused(&["port", "bind", "include"]) || parsed.wants(*port, &case.facts.asked_addresses())
        }
        Endpoint::Unix { path } => is_refused(&["unixsocket", "include"]) || parsed.names_socket(path),
    }
}

/// The lines that Redis refuses, those that every version refuses first.
fn faults(facts: &Facts) -> Vec<&Fault> {
    let parsed = facts.instance().and_then(|instance| instance.conf?.parsed.seen());
    let mut faults: Vec<&Fault> = parsed.into_iter().flat_map(|parsed| &parsed.errors).collect();
    faults.sort_by_key(|fault| !fault.sure);
    faults
}

/// Redis' own word, from its last start.
fn see_output(facts: &Facts) -> Step {
    let unit = facts.instance().and_then(|instance| instance.unit()).unwrap_or("redis-server");
    let command = format!("sudo journalctl -n 50 -u {}", shell_quote(unit));
    Step::look(
        redis_host(facts),
        command,
        "'FATAL CONFIG FILE ERROR' and the line: this is it; a container: docker logs",
    )
}

/// Lines whose absence opens nothing, loses nothing and keeps nobody from starting: without them, the defaults count. What
/// says where the data is, how much of it is kept, and how the server is started, is only told: without `appendonly yes` it
/// would start empty.
const HARMLESS: [&str; 16] = [
    "maxclients",
    "timeout",
    "tcp-backlog",
    "tcp-keepalive",
    "loglevel",
    "rdbcompression",
    "rdbchecksum",
    "appendfsync",
    "hz",
    "lua-time-limit",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "maxmemory-samples",
    "always-show-logo",
    "set-proc-title",
    "latency-monitor-threshold",
];

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let mut steps: Vec<Step> = faults(facts)
        .into_iter()
        .map(|fault| {
            let name = fault.name();
            let place = format!("{}:{}", fault.file, fault.line);
            if HARMLESS.contains(&name.as_str()) && fault.is_whole() {
                Step::Edit {
                    text: format!(
                        "write what was meant; or take the line out, so that Redis' default for {name} counts"
                    ),
                    file: fault.file.clone(),
                    line: Some(fault.line),
                    from: fault.text.clone(),
                    to: format!("# {}", fault.text),
                    on: on.clone(),
                    risk: Risk::Safe,
                }
            } else {
                Step::tell(on.clone(), format!("write at {place} what was meant by: {}", fault.text))
            }
        })
        .collect();
    if let (true, Some(conf)) = (steps.is_empty(), facts.instance().and_then(|instance| instance.conf)) {
        let text = format!("put {} back, or let the service name the file that is there", conf.path);
        steps.push(Step::tell(on, text));
    }
    let is_alive = facts.instance().is_some_and(|instance| instance.is_alive());
    steps.extend((!is_alive).then(|| repair::start(facts)));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::{BlockerKind, Observed};
    use crate::probe::healthy_host::{CONF, seen};
    use crate::probe::host::system::System;

    fn refused(facts: Facts, text: &str) -> Facts {
        let (text, says) = (text.to_owned(), "Bad directive or wrong number of arguments".to_owned());
        let fault = Fault { file: CONF.to_owned(), line: 900, text, says, sure: true, sure_since_6: true };
        facts.host(|host| seen(&mut host.confs[0].parsed).errors.push(fault))
    }

    #[test]
    fn certain_where_the_service_names_the_file() {
        let facts = refused(Facts::at_home().not_running(), "maxclients many");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        let guessed = facts.host(|host| host.confs[0].found_by = FoundBy::UsualPlace);
        check_cause(&CAUSE, &guessed, Some(Confidence::Likely));
        check_cause(&CAUSE, &refused(Facts::at_home(), "maxclients many"), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::at_home().not_running(), None);
    }

    #[test]
    fn a_file_that_is_not_there_keeps_it_from_starting_too() {
        let facts = Facts::at_home().not_running().host(|host| {
            host.confs[0].parsed = Observed::hidden(BlockerKind::Missing, "/etc/redis/redis.conf: not found");
        });
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        let guessed = facts.host(|host| host.confs[0].found_by = FoundBy::UsualPlace);
        check_cause(&CAUSE, &guessed, None);
    }

    #[test]
    fn a_line_that_guards_or_keeps_data_is_not_taken_out() {
        let first = |text| remedy(&refused(Facts::at_home().not_running(), text)).remove(0);
        assert!(matches!(first("maxclients many"), Step::Edit { line: Some(900), .. }));
        for text in [
            "requirepass [secret]",
            "appendonly yess",
            "save 900",
            "databases 64x",
            "maxmemory 100mbb",
            "maxmemory-policy allkeys-lruu",
            "daemonize yess",
            "supervised sysd",
            "dir /nope",
        ] {
            assert!(matches!(first(text), Step::Tell { .. }), "{text}");
        }
    }

    #[test]
    fn likely_where_another_server_may_be_meant() {
        let broken = || refused(Facts::at_home().not_running(), "maxclients many");
        let other = |change: fn(&mut Unit)| {
            broken().host(|host| {
                let units = &mut seen(&mut host.system).units;
                let mut cache = Unit { name: "cache".to_owned(), conf: None, args: Vec::new(), ..units[0].clone() };
                change(&mut cache);
                units.push(cache);
            })
        };
        check_cause(&CAUSE, &other(|_| {}), Some(Confidence::Likely));
        check_cause(
            &CAUSE,
            &other(|unit| unit.args = vec!["--port".to_owned(), "6379".to_owned()]),
            Some(Confidence::Likely),
        );
        check_cause(
            &CAUSE,
            &other(|unit| unit.args = vec!["--port".to_owned(), "6380".to_owned()]),
            Some(Confidence::Certain),
        );
        check_cause(&CAUSE, &other(|unit| unit.masked = true), Some(Confidence::Certain));
        let system = |change: fn(&mut System)| broken().host(|host| change(seen(&mut host.system)));
        check_cause(&CAUSE, &system(|system| system.engines.push("docker".to_owned())), Some(Confidence::Likely));
        check_cause(
            &CAUSE,
            &system(|system| system.hints.push("app-redis.service".to_owned())),
            Some(Confidence::Likely),
        );
        check_cause(&CAUSE, &system(|system| system.units[0].gone = true), Some(Confidence::Likely));
        check_cause(&CAUSE, &broken().conf("port 7000"), Some(Confidence::Possible));
        check_cause(&CAUSE, &broken().conf("bind 10.0.0.9"), Some(Confidence::Possible));
        // Where its own port is what Redis refuses, nobody knows which it was.
        check_cause(
            &CAUSE,
            &refused(Facts::at_home().not_running().conf("port six"), "port six"),
            Some(Confidence::Certain),
        );
        let unset = broken().with(|facts| seen(&mut facts.vantage).container = Some("docker".to_owned()));
        check_cause(&CAUSE, &unset, Some(Confidence::Possible));
    }

    #[test]
    fn a_unit_that_was_left_behind_starts_nothing() {
        let facts = refused(Facts::at_home().not_running(), "maxclients many").host(|host| {
            let system = seen(&mut host.system);
            (system.programs, system.units[0].gone) = (Vec::new(), true);
        });
        check_cause(&CAUSE, &facts, Some(Confidence::Possible));
    }
}
