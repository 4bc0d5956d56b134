//! Another program has the port.

use crate::cause::{Case, Cause, redis_host, repair};
use crate::check::{self, ping, process, tcp};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::conf::{Conf, FoundBy};
use crate::probe::host::process::Process;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "port-taken",
    title: "another program has the port",
    explain: "\
The process that listens on the asked port is no Redis server. A Redis that is told to use that port cannot start: it \
logs 'bind: Address already in use' and ends; or the other program was started first and answers in its place.

redisdoc sees the owner of the listener on the server's own machine. It is certain where a service of that machine is \
meant for the port and what has it answers something else than Redis; what says nothing may pass connections on to a Redis \
that is down, and where no Redis is, the machine or the port may be the wrong one. A known forwarder (docker-proxy, ssh, \
haproxy …) on the port is no such case.

Repair: stop the other program, or give one of the two another port, and start Redis.",
    infer,
    remedy,
};

/// What another program in Redis' place may be met with.
const MET: &[&Code] = &[
    &process::STRANGER,
    &tcp::REFUSED,
    &ping::NOT_REDIS,
    &ping::CLOSED,
    &ping::SILENT,
    &ping::CUT_SHORT,
    &ping::TLS_ALERT,
];

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&process::STRANGER)?;
    let host = case.host()?;
    let port = case.facts.ask.target.port()?;
    let stranger = process::stranger(case.facts, host, port)?;
    // What closes or says nothing may pass on to a Redis that is down.
    let meant = is_meant(case.facts, host, port) && case.raised(&ping::NOT_REDIS).is_some();
    let installed = host.system.seen().is_some_and(|system| !system.units.is_empty() || !system.programs.is_empty());
    let confidence = if meant { Confidence::Certain } else { Confidence::Likely };
    let summary = format!("{} has port {port}", process::who(stranger));
    let support = Support::new(confidence, &case.all_raised(MET), summary).on(finding);
    let support = support
        .with(case.evidence(&[&ping::NOT_REDIS]))
        .not("not-redis", "a program of this machine, seen by its process; Redis cannot have the port beside it");
    Some(match (meant, installed) {
        (true, _) => support.not("wrong-port", "the redis.conf of a service of this machine names that port"),
        (false, true) => support.settled_by(Step::look(
            redis_host(case.facts),
            format!("ps -o args= -p {}; grep -rn '^port' /etc/redis /etc/valkey /etc/redis.conf", stranger.pid),
            "what it is for: if it passes connections on, look behind it; and the port that Redis is meant for",
        )),
        (false, false) => support.settled_by(Step::look(
            redis_host(case.facts),
            "command -v redis-server valkey-server",
            "nothing: no Redis is installed there, and the target is wrong",
        )),
    })
}

/// True if a service of this machine is meant for the port, and what has it answers something else than Redis.
pub(in crate::cause) fn is_certain(case: &Case) -> bool {
    let (Some(host), Some(port)) = (case.host(), case.facts.ask.target.port()) else { return false };
    let answers = case.raised(&ping::NOT_REDIS).is_some() && case.raised(&process::STRANGER).is_some();
    answers && is_meant(case.facts, host, port) && !case.may_be_anothers()
}

/// Whether a service of this machine is meant for the port at the asked address, and no server has it at another.
fn is_meant(facts: &Facts, host: &Host, port: u16) -> bool {
    let asked = facts.asked_addresses();
    let wants = |conf: &&Conf| conf.parsed.seen().is_some_and(|parsed| parsed.wants(port, &asked));
    let beside = |server: &Process| server.listens.iter().any(|at| at.port() == port);
    !host.living().any(beside)
        && host.confs.iter().filter(|conf| conf.found_by < FoundBy::UsualPlace).any(|conf| wants(&conf))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let port = facts.ask.target.port().unwrap_or_default();
    let Some(stranger) = facts.server_host().ok().and_then(|host| process::stranger(facts, host, port)) else {
        return Vec::new();
    };
    let who = process::who(stranger);
    let command = match stranger.unit.as_deref().filter(|unit| unit.ends_with(".service")) {
        Some(unit) => format!("sudo systemctl stop {}", shell_quote(unit.trim_end_matches(".service"))),
        None => format!("sudo kill {}", stranger.pid),
    };
    let elsewhere = Step::tell(
        on.clone(),
        "or give Redis another port ('port' in redis.conf), and name it in the application's settings",
    );
    let meant = facts.server_host().is_ok_and(|host| is_meant(facts, host, port));
    if meant && answers_otherwise(facts) {
        let stop = Step::run(on, Risk::Restarts, format!("stop {who}, if it is not needed"), command);
        return vec![stop, repair::start(facts), elsewhere];
    }
    let tells = "what it is for: what passes connections on is not to be stopped, but looked behind";
    vec![
        Step::look(on.clone(), format!("ps -o args= -p {}", stranger.pid), tells),
        Step::tell(on, format!("only if it is not needed: stop {who} ({command}), and start Redis")),
        elsewhere,
    ]
}

/// Whether something else than Redis was heard to answer.
fn answers_otherwise(facts: &Facts) -> bool {
    check::judge(facts)
        .iter()
        .flat_map(|judged| judged.verdict.findings())
        .any(|finding| finding.code.id == ping::NOT_REDIS.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::healthy_host::seen;
    use crate::probe::path::redis::{Alien, End};

    fn taken() -> Facts {
        let http = Alien { head: "HTTP/1.0 400 Bad Request".to_owned(), before_we_spoke: false };
        let answering = Facts::at_home().speechless(End::Alien).with(|facts| {
            let Observed::Seen(redis) = &mut facts.redis else { return };
            redis.dialogues[0].first.alien = Some(http);
        });
        with_a_stranger(answering)
    }

    fn with_a_stranger(facts: Facts) -> Facts {
        facts.host(|host| {
            host.confs[0].found_by = FoundBy::Unit;
            let processes = seen(&mut host.processes);
            let mut stranger = processes.servers.remove(0);
            (stranger.name, stranger.unit) = ("python3".to_owned(), None);
            processes.strangers.push(stranger);
        })
    }

    #[test]
    fn certain_where_redis_is_meant_for_the_port() {
        check_cause(&CAUSE, &taken(), Some(Confidence::Certain));
        check_cause(&CAUSE, &taken().conf("port 6380"), Some(Confidence::Likely));
        check_cause(
            &CAUSE,
            &taken().host(|host| host.confs[0].found_by = FoundBy::UsualPlace),
            Some(Confidence::Likely),
        );
        check_cause(&CAUSE, &Facts::at_home().speechless(End::Closed), None);
        check_cause(&CAUSE, &Facts::at_home(), None);
    }

    #[test]
    fn the_program_is_stopped_by_its_number_or_unit() {
        let first = |facts: &Facts| match remedy(facts).remove(0) {
            Step::Run { command, .. } => command,
            other => panic!("{other:?}"),
        };
        assert_eq!(first(&taken()), "sudo kill 812");
        let unit = taken().host(|host| seen(&mut host.processes).strangers[0].unit = Some("nginx.service".to_owned()));
        assert_eq!(first(&unit), "sudo systemctl stop nginx");
    }

    #[test]
    fn what_may_pass_connections_on_is_not_stopped() {
        let runs = |facts: &Facts| remedy(facts).iter().any(|step| matches!(step, Step::Run { .. }));
        let closing = |end| with_a_stranger(Facts::at_home().speechless(end));
        assert!(runs(&taken()));
        assert!(!runs(&closing(End::Closed)) && !runs(&closing(End::Silent)));
        assert!(!runs(&taken().conf("port 6380")));
    }
}
