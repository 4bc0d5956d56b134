//! /etc/hosts leads the name elsewhere than where its Redis is.

use std::net::IpAddr;

use super::{lookup, name, own};
use crate::cause::listen::wrong_port::only_other_family;
use crate::cause::{Case, Cause};
use crate::check::{ping, process, tcp};
use crate::model::{Code, Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::instance::reached;
use crate::probe::path::dns::answers::{Beside, Own, Query};
use crate::probe::path::dns::config::HostsEntry;
use crate::probe::path::reply::{Command, ErrorKind, Reply};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "hosts-file-override",
    title: "/etc/hosts leads the name to another address",
    explain: "A line of /etc/hosts names the target, and it is read before DNS is asked: an address from before a move, a \
              name of the development machine that is its own address, or Debian's '127.0.1.1 HOSTNAME', where a Redis \
              that listens on the machine's other addresses, or on 127.0.0.1 only, is not. People do that on purpose, \
              too, so it counts only where nothing answers there, or no Redis, and a Redis answers at the address that \
              DNS gives, or on another address of this very machine. Split DNS looks the same: the line may be meant, \
              and the server that it names may be down.",
    infer,
    remedy,
};

/// What a name that leads astray meets.
const CODES: [&Code; 7] =
    [&tcp::REFUSED, &tcp::TIMEOUT, &tcp::UNREACHABLE, &tcp::REJECTED, &ping::NOT_REDIS, &ping::SILENT, &ping::CLOSED];

fn infer(case: &Case) -> Option<Support> {
    beside_listener(case).or_else(|| beside_dns(case))
}

/// The line leads to loopback, and the server of this machine listens on another of its addresses.
fn beside_listener(case: &Case) -> Option<Support> {
    let finding = case.raised(&process::ELSEWHERE)?;
    case.raised(&tcp::REFUSED)?;
    let (entry, listens) = (to_loopback(case.facts)?, listener(case.facts)?);
    let (name, host) = (name(case.facts), case.host()?);
    if only_other_family(case, host, case.facts.ask.target.port()?) {
        // See localhost-is-ipv6.
        return None;
    }
    let rivals = host.rivals(case.facts);
    let confidence = if rivals.is_empty() { Confidence::Certain } else { Confidence::Likely };
    let codes = case.all_raised(&[&tcp::REFUSED, &process::ELSEWHERE]);
    let summary =
        format!("/etc/hosts makes {name} {}, and the Redis of this machine listens on {listens}", entry.address);
    let support = Support::new(confidence, &codes, summary).with(vec![entry.evidence(&name)]).on(finding);
    let support = support.not("wrong-port", "it listens on that port").not("not-running", "it runs and listens");
    Some(if confidence == Confidence::Certain { support } else { support.settled_by(settle(listens, case.facts)) })
}

/// The line of /etc/hosts that leads to a loopback address, where that was refused.
fn to_loopback(facts: &Facts) -> Option<&HostsEntry> {
    let asked = facts.asked_addresses();
    let used = |entry: &&HostsEntry| entry.address.is_loopback() && asked.contains(&entry.address);
    own(facts)?.hosts().iter().find(used).filter(|_| asked.iter().all(IpAddr::is_loopback))
}

/// Another address of this machine on which a server has the asked port.
fn listener(facts: &Facts) -> Option<IpAddr> {
    let (host, port) = (facts.server_host().ok()?, facts.ask.target.port()?);
    let family = facts.ask.target.family;
    let places = host.living().flat_map(|server| server.listens.iter()).filter(|at| at.port() == port);
    places.map(|at| reached(*at).ip()).filter(|ip| family.allows(ip)).min_by_key(IpAddr::is_ipv6)
}

/// True if the line of /etc/hosts is why this machine's own server is not reached: its port is the right one.
pub fn hides_listener(case: &Case) -> bool {
    beside_listener(case).is_some()
}

/// True if DNS gives an address at which a Redis answers: what is not here may not have been meant to be.
pub fn hides_another(facts: &Facts) -> bool {
    own(facts).is_some_and(|own| astray(own, facts).is_some() && alive(own).is_some())
}

fn beside_dns(case: &Case) -> Option<Support> {
    let (_, own) = lookup(case)?;
    let own = own?;
    let (alive, entry) = (alive(own)?, astray(own, case.facts)?);
    let codes = case.all_raised(&CODES);
    let first = case.raised(codes.first()?)?;
    let name = name(case.facts);
    // A Redis that is down, or a way that is, may be meant; but where something else has the port, none is there.
    let stranger = codes.iter().any(|code| code.id == ping::NOT_REDIS.id);
    let refused = codes.iter().all(|code| code.id == tcp::REFUSED.id) && !case.is_own(entry.address);
    let pongs = is_pong(alive) && (stranger || refused);
    let confidence = if pongs { Confidence::Certain } else { Confidence::Likely };
    let summary = format!(
        "/etc/hosts makes {name} {}, and no Redis answers there; DNS says {}, where one does",
        entry.address, alive.ip
    );
    let mut support = Support::new(confidence, &codes, summary).with(vec![entry.evidence(&name)]).on(first);
    let gives = own.settled().into_iter().find(|query| query.answer.gives(alive.ip));
    support.evidence.extend(gives.map(Query::evidence));
    let support = support.because(format!("answer of {} to PING", alive.ip), says(alive));
    Some(if pongs { support } else { support.settled_by(settle(entry.address, case.facts)) })
}

/// The line that was followed, to an address that DNS does not give.
fn astray<'a>(own: &'a Own, facts: &Facts) -> Option<&'a HostsEntry> {
    let (asked, given) = (facts.asked_addresses(), own.addresses());
    own.hosts().iter().find(|entry| asked.contains(&entry.address) && !given.contains(&entry.address))
}

/// An address that DNS gives and /etc/hosts hides, at which a Redis answers.
fn alive(own: &Own) -> Option<&Beside> {
    own.beside_hosts.iter().find(|beside| is_pong(beside) || wants_password(beside))
}

fn is_pong(beside: &Beside) -> bool {
    matches!(beside.said.reply(Command::Ping), Some(Reply::Status(text)) if text == "PONG")
}

fn wants_password(beside: &Beside) -> bool {
    matches!(beside.said.reply(Command::Ping), Some(Reply::Error(error)) if error.kind == ErrorKind::NoAuth)
}

fn says(beside: &Beside) -> &'static str {
    if is_pong(beside) { "PONG" } else { "NOAUTH: a Redis that wants a password" }
}

/// Who would know that the line is meant.
fn settle(ip: IpAddr, facts: &Facts) -> Step {
    let tells = format!("who wrote the line, and whether a Redis is meant to be at {ip}");
    let pattern = crate::model::text::shell_quote(facts.ask.target.host().unwrap_or_default());
    Step::look(Where::Here, format!("ls -l /etc/hosts; grep -nwi -- {pattern} /etc/hosts"), tells)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some(own) = own(facts) else { return Vec::new() };
    if let (Some(entry), Some(to)) = (to_loopback(facts), listener(facts)) {
        let text = format!("let the name lead to {to}, where Redis listens");
        let swapped = entry.text.replacen(&entry.address.to_string(), &to.to_string(), 1);
        let edit = (!names_localhost(entry)).then_some(swapped);
        return vec![
            step(entry, text, edit),
            Step::tell(Where::Here, format!("or name {to} in the application's settings")),
        ];
    }
    let asked = facts.asked_addresses();
    let astray = own.hosts().iter().filter(|entry| asked.contains(&entry.address));
    let text = "let DNS answer for the name, if the line is not meant";
    astray.map(|entry| step(entry, text.to_owned(), Some(without(entry, facts)))).collect()
}

/// The line as it should be; only told where it cannot be written.
fn step(entry: &HostsEntry, text: String, to: Option<String>) -> Step {
    match to.filter(|to| !entry.text.is_empty() && *to != entry.text) {
        Some(to) => Step::Edit {
            text,
            file: "/etc/hosts".to_owned(),
            line: Some(entry.line),
            from: entry.text.clone(),
            to,
            on: Where::Here,
            risk: Risk::Safe,
        },
        None => Step::tell(Where::Here, format!("{text}: change line {} of /etc/hosts", entry.line)),
    }
}

/// The line without the name; where it names nothing else, as a comment.
fn without(entry: &HostsEntry, facts: &Facts) -> String {
    let name = facts.ask.target.host().unwrap_or_default().trim_end_matches('.');
    let (names, comment) = entry.text.split_once('#').map_or((&*entry.text, None), |(names, rest)| (names, Some(rest)));
    let kept: Vec<&str> = names.split_whitespace().filter(|word| !word.eq_ignore_ascii_case(name)).collect();
    if kept.len() < 2 {
        return format!("# {}", entry.text);
    }
    let comment = comment.map(|rest| format!(" #{rest}")).unwrap_or_default();
    format!("{}{comment}", kept.join(" "))
}

/// True if localhost would move with the line.
fn names_localhost(entry: &HostsEntry) -> bool {
    entry.text.split_whitespace().any(|word| word.to_ascii_lowercase().starts_with("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::dns::tests::{check, check_none};
    use crate::model::Observed;
    use crate::probe::path::dns::answers::Answer;
    use crate::probe::path::redis::Dialogue;
    use crate::probe::path::reply::ErrorReply;
    use crate::probe::path::tcp::{Attempt, Outcome};

    /// /etc/hosts makes db 10.0.0.7, which ends so; DNS says 10.0.0.9, which answers PING so.
    fn overridden(outcome: Outcome, reply: Option<&Reply>) -> Facts {
        let mut said = Dialogue::healthy("10.0.0.9:6379").first;
        said.exchanges.iter_mut().for_each(|exchange| exchange.reply = reply.cloned());
        let mut own = Own::of(Answer::a(), Answer::none()).and_hosts([10, 0, 0, 7]);
        own.beside_hosts = vec![Beside { ip: [10, 0, 0, 9].into(), said }];
        let attempt = Attempt::failed([10, 0, 0, 7].into(), outcome, "ECONNREFUSED", 0.2);
        Facts::healthy().attempting(vec![attempt]).with(|facts| {
            let Observed::Seen(dns) = &mut facts.dns else { return };
            dns.own = Observed::Seen(own);
        })
    }

    fn pong() -> Reply {
        Reply::Status("PONG".to_owned())
    }

    #[test]
    fn certain_where_nothing_is_there_and_a_redis_answers_at_what_dns_says() {
        check(&CAUSE, &overridden(Outcome::Refused, Some(&pong())), Some(Confidence::Certain));
        // What is silent may be down, and be meant.
        check(&CAUSE, &overridden(Outcome::TimedOut, Some(&pong())), Some(Confidence::Likely));
        check(&CAUSE, &overridden(Outcome::HostUnreachable, Some(&pong())), Some(Confidence::Likely));
        let locked = Reply::Error(ErrorReply { kind: ErrorKind::NoAuth, text: "NOAUTH".to_owned() });
        check(&CAUSE, &overridden(Outcome::Refused, Some(&locked)), Some(Confidence::Likely));
        // The line leads to this machine itself: a Redis may be meant to run here.
        let own = overridden(Outcome::Refused, Some(&pong())).with(|facts| {
            let Observed::Seen(vantage) = &mut facts.vantage else { return };
            vantage.own_addresses.push([10, 0, 0, 7].into());
        });
        check(&CAUSE, &own, Some(Confidence::Likely));
    }

    #[test]
    fn not_where_dns_says_nothing_better() {
        check_none(&CAUSE, &Facts::healthy());
        check_none(&CAUSE, &overridden(Outcome::Refused, None));
        check_none(&CAUSE, &overridden(Outcome::Refused, Some(&Reply::Status("OK POP3".to_owned()))));
        // DNS gives the same address, and another.
        let agrees = overridden(Outcome::Refused, Some(&pong())).with(|facts| {
            let Observed::Seen(dns) = &mut facts.dns else { return };
            let Observed::Seen(own) = &mut dns.own else { return };
            let addresses = vec![[10, 0, 0, 7].into(), [10, 0, 0, 9].into()];
            own.queries[0].answer = Answer::Addresses { addresses, aliases: Vec::new() };
        });
        check_none(&CAUSE, &agrees);
        // A line that leads to a Redis is meant.
        let healthy =
            overridden(Outcome::Refused, Some(&pong())).attempting(vec![Attempt::connected([10, 0, 0, 7].into())]);
        check_none(&CAUSE, &healthy);
    }

    #[test]
    fn the_line_is_given_as_it_stands_and_as_it_should_be() {
        let facts = overridden(Outcome::Refused, Some(&pong()));
        let edit = |text: &str| {
            let facts = facts.clone().with(|facts| {
                let Observed::Seen(dns) = &mut facts.dns else { return };
                let Observed::Seen(own) = &mut dns.own else { return };
                let Observed::Seen(hosts) = &mut own.hosts else { return };
                text.clone_into(&mut hosts[0].text);
            });
            match remedy(&facts).first() {
                Some(Step::Edit { line: Some(3), to, .. }) => to.clone(),
                step => format!("{step:?}"),
            }
        };
        assert_eq!(edit("10.0.0.7 db"), "# 10.0.0.7 db");
        assert_eq!(edit("10.0.0.7\tweb DB other # mine"), "10.0.0.7 web other # mine");
        assert!(edit("").contains("change line 3"));
    }
}
