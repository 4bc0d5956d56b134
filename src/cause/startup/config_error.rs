//! redis.conf holds a line with which Redis does not start.

use super::not_running::ABSENT;
use crate::cause::{Case, Cause, redis_host, repair};
use crate::check::config;
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::conf::{Conf, Fault, FoundBy};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "config-error",
    title: "Redis does not start with its redis.conf",
    explain: "\
Redis reads redis.conf before anything else, and ends with 'FATAL CONFIG FILE ERROR' at the first line that it does not \
take: an unknown directive, a wrong number of arguments, a number that is none, unbalanced quotes, a missing include. It \
says so on standard error, so in the journal or the container's output, never in its own log file.

redisdoc reads the file by Redis' own rules. It is certain where no server runs and the service, or --redis-conf, names \
the file; a file that merely stands in the usual place may not be the one. A server that still runs with what it read \
before will not come back from its next restart: that is a warning.

Repair: mend the line, then start Redis.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let code = [&config::ERROR, &config::NEXT_START].into_iter().find(|code| case.raised(code).is_some())?;
    let finding = case.raised(code)?;
    let conf = case.facts.instance()?.conf?;
    let Some(fault) = faults(case.facts).into_iter().next() else { return Some(without_file(case, conf)) };
    let refused = fault.sure || code.id == config::NEXT_START.id;
    // Beside a server that runs, this file may be nobody's.
    let runs = code.id == config::ERROR.id && case.host()?.living().next().is_some();
    let sure = conf.found_by < FoundBy::UsualPlace && refused && !runs;
    let confidence = if sure { Confidence::Certain } else { Confidence::Likely };
    let mut codes: Vec<&'static Code> = vec![code];
    if code.id == config::ERROR.id {
        codes.extend(case.all_raised(ABSENT));
    }
    let summary = format!("{}:{} holds a line that Redis refuses: {}", fault.file, fault.line, fault.says);
    let support = Support::new(confidence, &codes, summary).on(finding);
    let support = if code.id == config::ERROR.id { support.not("not-running", "it would not start") } else { support };
    Some(if sure { support } else { support.settled_by(see_output(case.facts)) })
}

/// A service starts Redis with a file that is not there.
fn without_file(case: &Case, conf: &Conf) -> Support {
    let codes: Vec<&'static Code> = [&config::ERROR].into_iter().chain(case.all_raised(ABSENT)).collect();
    let support = Support::new(Confidence::Certain, &codes, format!("{} is not there", conf.path));
    support.with(case.evidence(&[&config::ERROR])).not("not-running", "it would not start")
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

/// Lines whose absence opens nothing: without them, the defaults count. Others are only told.
const HARMLESS: [&str; 22] = [
    "maxclients",
    "timeout",
    "tcp-backlog",
    "tcp-keepalive",
    "databases",
    "loglevel",
    "save",
    "rdbcompression",
    "rdbchecksum",
    "appendfsync",
    "hz",
    "lua-time-limit",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "maxmemory",
    "maxmemory-policy",
    "maxmemory-samples",
    "always-show-logo",
    "set-proc-title",
    "daemonize",
    "supervised",
    "appendonly",
];

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let mut steps: Vec<Step> = faults(facts)
        .into_iter()
        .map(|fault| {
            let name = fault.text.split_whitespace().next().unwrap_or_default().to_lowercase();
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
    fn a_line_that_guards_is_not_taken_out() {
        let first = |text| remedy(&refused(Facts::at_home().not_running(), text)).remove(0);
        assert!(matches!(first("maxclients many"), Step::Edit { line: Some(900), .. }));
        assert!(matches!(first("requirepass [secret]"), Step::Tell { .. }));
    }
}
