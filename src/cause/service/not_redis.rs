//! Something else than Redis answers.

use crate::cause::proxy::is_of_http;
use crate::cause::startup::port_taken;
use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::{ping, process};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Evidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::process::Process;
use crate::probe::path::redis::Alien;
use crate::probe::path::stranger::Protocol;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "not-redis",
    title: "what answers is not Redis",
    explain: "\
The bytes that came back are not the Redis protocol (RESP), or no answer that Redis gives to PING. Clients \
report 'Protocol error, got \"H\" as reply type byte' and the like: H is a web server (HTTP/1.1), S an SSH server \
(SSH-2.0), 2 a mail or FTP server (220 …), J or another small byte a MySQL greeting, E a memcached (ERROR), A a RabbitMQ \
(AMQP). Others close without a word: PostgreSQL, MongoDB, Kafka. A PostgreSQL is asked a question that it alone answers \
(SSLRequest); the others are known only by their process, on the machine itself.

That it is not Redis is certain where its own bytes say so; the evidence shows the first of them, and who sends such bytes. By \
the name of a process alone it is likely.

Repair: use the port that Redis listens on. On the host that was reached, 'ss -ltnp' shows whose port this one \
is.",
    infer,
    remedy,
};

/// What a server of another kind may do with RESP instead of answering.
const MUTE: &[&Code] = &[&ping::CLOSED, &ping::SILENT, &ping::CUT_SHORT];

fn infer(case: &Case) -> Option<Support> {
    if port_taken::is_certain(case) || is_of_http(case.facts) {
        return None;
    }
    let owner = owner(case.facts);
    let by_process = || by_its_process(case, owner.filter(|_| case.raised(&process::STRANGER).is_some())?);
    let support = by_its_bytes(case).or_else(|| by_a_question(case)).or_else(by_process)?;
    Some(support.with(owner.map(|owner| at_the_other_end(case, owner)).unwrap_or_default()))
}

/// Who has the port, as the server's machine shows it.
fn at_the_other_end(case: &Case, owner: &Process) -> Vec<Evidence> {
    let Some(host) = case.host() else { return Vec::new() };
    let mut evidence = case.evidence(&[&process::STRANGER]);
    if evidence.is_empty() {
        let says = format!("{} listens on port {}", process::who(owner), port(case.facts));
        evidence.push(Evidence::new(host.source("sock_diag(7)"), says));
    }
    let unit = owner.unit.as_ref();
    evidence.extend(unit.map(|unit| Evidence::new(host.source(format!("/proc/{}/cgroup", owner.pid)), unit.clone())));
    evidence
}

/// What came is no reply of Redis.
fn by_its_bytes(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::NOT_REDIS)?;
    let summary = match dialogue(case.facts).and_then(|dialogue| dialogue.stranger()) {
        Some(stranger) => format!("the port is that of {}", stranger.who()),
        None => "the port is another service's; its first bytes are no Redis reply".to_owned(),
    };
    if dialogue(case.facts).and_then(|dialogue| dialogue.alien()).is_some_and(Alien::may_be_tls) {
        let summary = "the port is another service's, or one of TLS: a byte or two came that are no Redis reply";
        let support = Support::new(Confidence::Likely, &[&ping::NOT_REDIS, &process::STRANGER], summary).on(finding);
        let command = format!("sudo ss -ltnp 'sport = :{}'", port(case.facts));
        let tells = "whose the port is; redis-server, stunnel, haproxy: it wants TLS (--tls)";
        return Some(support.settled_by(Step::look(redis_host(case.facts), command, tells)));
    }
    let support = Support::new(Confidence::Certain, &[&ping::NOT_REDIS, &process::STRANGER], summary).on(finding);
    Some(support.not("not-running", "something answers on the port"))
}

/// What closed on RESP answered as a `PostgreSQL` does.
fn by_a_question(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::CLOSED)?;
    let answer = case.facts.counter.seen()?.postgres.as_ref().filter(|answer| answer.is_postgres)?;
    let summary = format!("the port is that of {}, or of a pooler for it", Protocol::Postgres.kind());
    let support = Support::new(Confidence::Certain, &[&ping::CLOSED, &process::STRANGER], summary).on(finding);
    let support = support.because("SSLRequest", format!("was answered with '{}', as PostgreSQL does", answer.said));
    Some(support.not("plaintext-to-tls-port", "a TLS port ends on those bytes without a word, too"))
}

/// What says nothing to RESP is a program that never does.
fn by_its_process(case: &Case, owner: &Process) -> Option<Support> {
    let met = MUTE.iter().find_map(|code| case.raised(code)).filter(|_| !port_taken::is_wanted(case))?;
    let protocol = Protocol::of_program(&owner.name)?;
    let summary = format!("{} has the port, {}", process::who(owner), protocol.kind());
    let support = Support::new(Confidence::Likely, &[met.code, &process::STRANGER], summary).on(met);
    let tells = "what it is for";
    Some(support.settled_by(Step::look(redis_host(case.facts), format!("ps -o args= -p {}", owner.pid), tells)))
}

/// The program that has the port, as the server's machine shows it.
fn owner(facts: &Facts) -> Option<&Process> {
    process::stranger(facts, facts.server_host().ok()?, facts.ask.target.port()?)
}

/// What it speaks, by whatever told it.
fn protocol(facts: &Facts) -> Option<Protocol> {
    let by_bytes = dialogue(facts).and_then(|dialogue| dialogue.stranger()).map(|stranger| stranger.protocol);
    let answer = facts.counter.seen().and_then(|counter| counter.postgres.as_ref());
    let by_question = answer.filter(|answer| answer.is_postgres).map(|_| Protocol::Postgres);
    by_bytes.or(by_question).or_else(|| Protocol::of_program(&owner(facts)?.name))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let whose = if let Some(owner) = owner(facts) {
        let tells = "what the program is for; if a Redis ought to have this port, the two are to change places";
        Step::look(redis_host(facts), format!("ps -o args= -p {}", owner.pid), tells)
    } else {
        let command = format!("sudo ss -ltnp 'sport = :{}'", port(facts));
        Step::look(redis_host(facts), command, "the process that listens on this port")
    };
    vec![
        whose,
        Step::look(redis_host(facts), "sudo ss -ltnp | grep -E 'redis|valkey|keydb'", "the port that Redis listens on"),
        Step::tell(Where::Here, advice(facts)),
    ]
}

/// What is mostly meant where such a service is met.
fn advice(facts: &Facts) -> String {
    let own = "name Redis' own host and port in the application's settings";
    let Some(protocol) = protocol(facts) else { return own.to_owned() };
    let why = match protocol {
        Protocol::Http | Protocol::Http2 => {
            "not those of a web interface, a REST API or an ingress: HTTP does not carry RESP"
        }
        Protocol::Ssh => {
            let host = shell_quote(facts.ask.target.host().unwrap_or_default());
            let ssh = format!("ssh -N -L 6379:127.0.0.1:6379 -p {} {host}", port(facts));
            return format!(
                "{own}; or, if Redis is behind this SSH server, name 127.0.0.1:6379 and keep a tunnel open: {ssh}"
            );
        }
        Protocol::Mysql | Protocol::MysqlX | Protocol::Postgres | Protocol::Mongo | Protocol::Cassandra => {
            "and look whether the settings of the database and of Redis were swapped"
        }
        Protocol::Memcached => "or let it use its client for memcached (11211 by default): the two are no substitutes",
        Protocol::Amqp | Protocol::Nats | Protocol::Beanstalk => {
            "or, if the broker is meant, its own scheme: amqp:// for RabbitMQ, nats:// for NATS, not redis://"
        }
        Protocol::Echo => "not those of an echo service or a stand-in of a health check",
        Protocol::Tls => "with --tls, if it is a Redis with TLS",
        _ => return own.to_owned(),
    };
    format!("{own}, {why}")
}

fn port(facts: &Facts) -> u16 {
    facts.ask.target.port().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;
    use crate::probe::healthy_host::seen;
    use crate::probe::path::counter::Counter;
    use crate::probe::path::counter::postgres::Postgres;
    use crate::probe::path::redis::{Alien, End};
    use crate::probe::path::reply::{Command, Reply};
    use crate::probe::path::stranger::Stranger;

    fn alien(facts: Facts, bytes: &str) -> Facts {
        let bytes = bytes.to_owned();
        facts.speechless(End::Alien).with(move |facts| {
            let first = &mut seen(&mut facts.redis).dialogues[0].first;
            first.stranger = Stranger::of(bytes.as_bytes(), b"", None);
            first.alien = Some(Alien { head: bytes, before_we_spoke: false });
        })
    }

    fn with_owner(facts: Facts, name: &str) -> Facts {
        facts.host(|host| {
            let processes = seen(&mut host.processes);
            let mut owner = processes.servers.remove(0);
            (owner.name, owner.unit) = (name.to_owned(), Some(format!("{name}.service")));
            processes.strangers.push(owner);
            host.confs.clear();
        })
    }

    #[test]
    fn what_redis_never_says_is_certain() {
        let facts = Facts::healthy().replying(Command::Ping, Reply::Status("OK POP3 ready".to_owned()));
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &alien(Facts::healthy(), "garbage"), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn it_says_who_it_is_and_what_to_do() {
        let ssh = alien(Facts::healthy(), "SSH-2.0-OpenSSH_9.2p1\r\n");
        let cause = diagnose(&ssh).causes.remove(0);
        assert_eq!(cause.support.summary, "the port is that of an SSH server (OpenSSH_9.2p1)");
        assert!(
            matches!(&cause.remedy[2], Step::Tell { text, .. } if text.contains("ssh -N -L")),
            "{:?}",
            cause.remedy
        );
    }

    #[test]
    fn a_postgres_is_known_by_its_answer() {
        let asked = |said: &str, is_postgres| {
            Facts::healthy().speechless(End::Closed).with(|facts| {
                let postgres = Some(Postgres { said: said.to_owned(), is_postgres });
                facts.counter = Observed::Seen(Counter { postgres, ..Counter::default() });
            })
        };
        check_cause(&CAUSE, &asked("N", true), Some(Confidence::Certain));
        check_cause(&CAUSE, &asked("?", false), None);
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Closed), None);
    }

    #[test]
    fn both_ends_are_one_cause() {
        let facts =
            with_owner(alien(Facts::at_home(), "HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\n"), "lighttpd");
        let causes = diagnose(&facts).causes;
        assert_eq!(causes.iter().map(|cause| cause.id).collect::<Vec<_>>(), ["not-redis"]);
        let says: Vec<&str> = causes[0].support.evidence.iter().map(|evidence| evidence.says.as_str()).collect();
        assert!(says[0].contains("HTTP/1.1 400") && says[1].contains("lighttpd (pid"), "{says:?}");
        assert!(says[2].contains("lighttpd.service"), "{says:?}");
    }

    #[test]
    fn a_program_that_never_speaks_resp_is_likely() {
        let mute = |name: &str, end| with_owner(Facts::at_home().speechless(end), name);
        check_cause(&CAUSE, &mute("mongod", End::Closed), Some(Confidence::Likely));
        check_cause(&CAUSE, &mute("mongod", End::Silent), Some(Confidence::Likely));
        check_cause(&CAUSE, &mute("python3", End::Closed), None);
    }
}
