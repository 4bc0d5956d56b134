//! Why. A cause looks at the findings and the facts behind them, and says how surely it explains them; pure.

pub mod auth;
pub mod caps;
pub mod client;
pub mod dns;
pub mod firewall;
pub mod hidden;
pub mod listen;
pub mod path;
pub mod proxy;
pub mod repair;
pub mod service;
pub mod startup;
pub mod state;
pub mod tls;
pub mod topology;

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};

use clap::ValueEnum;

use crate::check::{self, Judged};
use crate::model::text::shell_quote;
use crate::model::{
    Code, Confidence, Diagnosis, Endpoint, Evidence, Finding, Level, Observed, Risk, Severity, Step, Support,
    Supported, Target, Where,
};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::instance::reached;
use crate::probe::host::socket::Listener;
use crate::probe::path::redis::Dialogue;
use crate::probe::path::tcp::{Attempt, Outcome};
use crate::probe::path::trace::{Lost, Trace};
use crate::probe::path::vantage::{Vantage, is_this_machine};

/// A cause, declared as data.
pub struct Cause {
    /// Its id in the fault catalogue; stable.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// The text of `redisdoc explain`.
    pub explain: &'static str,
    /// How surely it explains what was found in this case; `None` if it does not.
    pub infer: fn(&Case) -> Option<Support>,
    /// The steps that repair it here, least risky first. The command that verifies is added to every remedy that does not
    /// end with one of its own (see [`check_again`]).
    pub remedy: fn(&Facts) -> Vec<Step>,
}

/// The families of causes, specific before general; within a family too. Candidates that are equally possible are told
/// in this order, the more frequent first.
pub static FAMILIES: &[&[&Cause]] = &[
    client::CAUSES,
    dns::CAUSES,
    path::CAUSES,
    auth::CAUSES,
    listen::CAUSES,
    tls::CAUSES,
    startup::CAUSES,
    firewall::CAUSES,
    proxy::CAUSES,
    service::CAUSES,
    state::CAUSES,
    topology::CAUSES,
];

/// Every cause, in order.
pub fn causes() -> impl Iterator<Item = &'static Cause> {
    FAMILIES.iter().flat_map(|family| family.iter()).copied()
}

/// The facts of one run with what the checks made of them.
pub struct Case<'a> {
    /// The facts.
    pub facts: &'a Facts,
    /// The verdicts.
    pub judged: &'a [Judged],
}

impl<'a> Case<'a> {
    /// The finding with this code, if it was raised.
    pub fn raised(&self, code: &Code) -> Option<&Finding> {
        self.findings().find(|finding| finding.code.id == code.id)
    }

    /// The failed attempts to connect that raised `code`, if it was raised.
    pub fn attempts(&self, code: &Code) -> Vec<&'a Attempt> {
        let Some(tcp) = self.facts.tcp.seen().filter(|_| self.raised(code).is_some()) else { return Vec::new() };
        let failed = tcp.attempts.iter().filter(|attempt| attempt.outcome != Outcome::Connected);
        failed.filter(|attempt| check::tcp::code_of(attempt).id == code.id).collect()
    }

    /// The server's machine, where it was looked at.
    pub fn host(&self) -> Option<&'a Host> {
        self.facts.server_host().ok()
    }

    /// True if the server's machine shows another program on the port: what keeps a Redis from answering is not it.
    pub fn is_a_strangers(&self) -> bool {
        self.raised(&check::process::STRANGER).is_some()
    }

    /// The codes of these that were raised.
    pub fn all_raised(&self, codes: &[&'static Code]) -> Vec<&'static Code> {
        codes.iter().copied().filter(|code| self.raised(code).is_some()).collect()
    }

    /// The evidence of these codes, as far as they were raised.
    pub fn evidence(&self, codes: &[&'static Code]) -> Vec<Evidence> {
        codes.iter().filter_map(|code| self.raised(code)).flat_map(|finding| finding.evidence.clone()).collect()
    }

    /// Where we look from, if that could be seen.
    pub fn vantage(&self) -> Option<&Vantage> {
        self.facts.vantage.seen()
    }

    /// True if `ip` is an address of the machine we look from.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        is_this_machine(ip) || self.vantage().is_some_and(|vantage| vantage.own_addresses.contains(&ip))
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.judged.iter().flat_map(|judged| judged.verdict.findings())
    }
}

/// Where the target's machine is: here, if its addresses are ours.
pub fn redis_host(facts: &Facts) -> Where {
    let same = facts.vantage.seen().and_then(|vantage| vantage.same_host).unwrap_or(false);
    if same { Where::Here } else { Where::RedisHost }
}

/// redis-cli as it is typed on the Redis host itself, over loopback or the unix socket: there it meets no protected mode
/// and no firewall between machines. A password that was needed here is needed there, too, and is asked for.
pub fn local_cli(facts: &Facts) -> String {
    let target = &facts.ask.target;
    let mut cli = match &target.endpoint {
        Endpoint::Tcp { port, .. } if target.tls => {
            tls::own_cli(facts).unwrap_or_else(|| format!("redis-cli -p {port} --tls --insecure"))
        }
        Endpoint::Tcp { port, .. } => own_address(facts).unwrap_or_else(|| format!("redis-cli -p {port}")),
        Endpoint::Unix { path } => format!("redis-cli -s {}", shell_quote(path)),
    };
    if let (Some(user), true) = (&target.user, target.password) {
        cli.extend([" --user ", &shell_quote(user)]);
    }
    if target.password {
        cli.push_str(" --askpass");
    }
    cli
}

/// The same to the address of the server itself, where its machine shows that it does not listen on 127.0.0.1. A server that
/// answers and is not seen is where it answered: whoever else is on the port is another.
fn own_address(facts: &Facts) -> Option<String> {
    let own = facts.instance().and_then(|instance| instance.process);
    if let (None, Ok(_), Some(at)) = (own, facts.server_host(), facts.answered_at()) {
        let denied = dialogue(facts).is_some_and(Dialogue::is_denied);
        let is_there = !denied && at.ip() != Ipv4Addr::LOCALHOST;
        return is_there.then(|| format!("redis-cli -h {} -p {}", at.ip(), at.port()));
    }
    let process = own.or_else(|| facts.neighbour()?.process)?;
    let reached = process.listens.iter().map(|at| reached(*at));
    match reached.min_by_key(|at| (!at.ip().is_loopback(), at.is_ipv6())) {
        Some(at) if at.ip() == Ipv4Addr::LOCALHOST => Some(format!("redis-cli -p {}", at.port())),
        Some(at) => Some(format!("redis-cli -h {} -p {}", at.ip(), at.port())),
        None => process.listens_unix.first().map(|path| format!("redis-cli -s {}", shell_quote(path))),
    }
}

/// True if silence means that our bytes were lost on the way, or that the peer's kernel has no room for them: what a
/// process does or does not do explains only the silence after they were acknowledged.
pub fn is_unheard(facts: &Facts) -> bool {
    dialogue(facts).is_some_and(Dialogue::is_unheard)
}

/// True if the packets are lost before they get to the last router: what the server's machine does or does not do explains
/// nothing then.
pub fn is_lost_on_the_way(facts: &Facts) -> bool {
    facts.trace.seen().and_then(Trace::lost).is_some_and(|lost| matches!(lost, Lost::Before { .. }))
}

/// What was said with the preferred address, if anything could be.
pub fn dialogue(facts: &Facts) -> Option<&Dialogue> {
    facts.redis.seen()?.preferred()
}

/// Finds what explains the findings.
pub fn infer(facts: &Facts, judged: &[Judged]) -> Diagnosis {
    let case = Case { facts, judged };
    if unexplained(&case, &[]).is_empty() {
        return Diagnosis::default();
    }
    let mut causes = hidden::hidden(&case);
    let plain: Vec<Supported> = self::causes().filter_map(|cause| supported(cause, &case)).collect();
    causes.extend(unless_among(plain, &causes));
    causes.extend(from_afar(&case, &causes));
    causes.sort_by_key(|cause| Reverse((gravity(cause, facts), cause.support.confidence)));
    let causes = without_settled(causes);
    let unexplained = unexplained(&case, &causes);
    Diagnosis { causes, unexplained }
}

/// Those that are not among these already.
fn unless_among(new: Vec<Supported>, known: &[Supported]) -> Vec<Supported> {
    new.into_iter().filter(|cause| known.iter().all(|known| known.id != cause.id)).collect()
}

/// Candidates for what nothing explains that the server's machine shows: what they would be without its facts, and no more
/// than possible, for those facts fit none of them.
fn from_afar(case: &Case, causes: &[Supported]) -> Vec<Supported> {
    let left: Vec<&'static Code> = unexplained(case, causes);
    if left.is_empty() || case.host().is_none() {
        return Vec::new();
    }
    let facts = Facts { host: Observed::skipped("it explains nothing"), ..case.facts.clone() };
    let afar = Case { facts: &facts, judged: case.judged };
    // Where a Redis of this machine hangs up, no proxy does.
    let fits = |cause: &&Cause| !(is_a_servers(case) && caps::is_among(cause, proxy::CAUSES));
    let new = self::causes().filter(|cause| causes.iter().all(|known| known.id != cause.id)).filter(fits);
    let supported = new.filter_map(|cause| supported(cause, &afar)).map(|mut cause| {
        cause.support.confidence = Confidence::Possible;
        cause
    });
    supported.filter(|cause| left.iter().any(|code| explains(cause, code))).collect()
}

/// True if the server's machine shows a Redis server on the asked port, at an asked address.
fn is_a_servers(case: &Case) -> bool {
    let (Some(host), Some(port)) = (case.host(), case.facts.ask.target.port()) else { return false };
    let asked = case.facts.asked_addresses();
    let of_a_server = |at: &&Listener| at.owner.is_some_and(|pid| host.server(pid).is_some());
    host.listeners(port).into_iter().filter(of_a_server).any(|at| asked.iter().any(|ip| at.serves(*ip)))
}

/// The findings that count and that no cause explains.
fn unexplained(case: &Case, causes: &[Supported]) -> Vec<&'static Code> {
    let explained = |code: &Code| causes.iter().any(|cause| explains(cause, code));
    let serious = |finding: &&Finding| finding.code.severity_for(case.facts.ask.require) > Severity::Info;
    case.findings().filter(serious).map(|finding| finding.code).filter(|code| !explained(code)).collect()
}

/// What a cause says, as far as it explains a finding that counts on the terms of this run.
fn supported(cause: &'static Cause, case: &Case) -> Option<Supported> {
    let mut support = caps::hold(cause, case, (cause.infer)(case)?);
    support.explains.retain(|code| case.raised(code).is_some());
    let counts = |code: &&'static Code| code.severity_for(case.facts.ask.require) > Severity::Info;
    support.explains.iter().any(counts).then_some(())?;
    let mut remedy = repair::cloud::instead(case, &mut support, (cause.remedy)(case.facts))?;
    remedy = repair::front::instead(cause.id, case.facts, &mut support, remedy);
    remedy = remedy.into_iter().map(|step| repair::refused::or_told(case.facts, step)).collect();
    support.settled_by = support.settled_by.map(|step| repair::refused::or_told(case.facts, step));
    if !remedy.last().is_some_and(checks_again) {
        remedy.push(check_again(&case.facts.ask.target));
    }
    on_the_same_terms(&mut remedy, case.facts.ask.require);
    Some(Supported { id: cause.id, title: cause.title, support, remedy })
}

/// The command that verifies asks for what this run asked for.
fn on_the_same_terms(remedy: &mut [Step], require: Level) {
    let (Some(Step::Run { command, .. }), false) = (remedy.last_mut(), require == Level::default()) else { return };
    let name = require.to_possible_value().map(|value| value.get_name().to_owned());
    command.extend([" --require ".to_owned(), name.unwrap_or_default()]);
}

/// The step that verifies with what this run asked for.
fn verified(facts: &Facts) -> Step {
    let mut step = check_again(&facts.ask.target);
    on_the_same_terms(std::slice::from_mut(&mut step), facts.ask.require);
    step
}

/// The last step of a remedy: the command that verifies it. A remedy that changes what is asked for (another database, no
/// user) ends with its own, for the same command would fail again.
pub fn check_again(target: &Target) -> Step {
    Step::run(Where::Here, Risk::Safe, "check again", target.check_command())
}

/// True for the command that verifies.
pub fn checks_again(step: &Step) -> bool {
    matches!(step, Step::Run { command, .. } if command.starts_with("redisdoc check "))
}

/// The severity of the worst finding that a cause explains: the root of a failure stands before that of a warning.
fn gravity(cause: &Supported, facts: &Facts) -> Option<Severity> {
    cause.support.explains.iter().map(|code| code.severity_for(facts.ask.require)).max()
}

fn explains(cause: &Supported, code: &Code) -> bool {
    cause.support.explains.iter().any(|explained| explained.id == code.id)
}

/// Drops candidates for findings that a certain cause explains already.
fn without_settled(mut causes: Vec<Supported>) -> Vec<Supported> {
    let settled: Vec<&'static Code> = causes
        .iter()
        .filter(|cause| cause.support.confidence == Confidence::Certain)
        .flat_map(|cause| cause.support.explains.iter().copied())
        .collect();
    causes.retain(|cause| {
        cause.support.confidence == Confidence::Certain
            || cause.support.explains.iter().any(|code| !settled.iter().any(|settled| settled.id == code.id))
    });
    causes
}

#[cfg(test)]
pub(crate) mod tests {
    //! The assertion that the tables of every cause share.

    use super::*;
    use crate::probe::healthy_host::seen;
    /// Diagnoses the facts.
    pub fn diagnose(facts: &Facts) -> Diagnosis {
        infer(facts, &check::judge(facts))
    }

    /// Asserts how sure `cause` is of the facts; `None`: it says nothing.
    #[track_caller]
    pub fn check_cause(cause: &'static Cause, facts: &Facts, expected: Option<Confidence>) {
        let judged = check::judge(facts);
        let support = (cause.infer)(&Case { facts, judged: &judged });
        assert_eq!(support.map(|support| support.confidence), expected, "{}", cause.id);
    }

    #[test]
    fn the_server_itself_is_spoken_to_and_no_other_on_its_port() {
        let cli = |facts: Facts| local_cli(&facts);
        assert_eq!(cli(Facts::at_home()), "redis-cli -p 6379");
        // A tunnel answers, and the server with that port is another.
        let tunnel = || {
            Facts::at_home().listening(&["10.0.0.9:6379"]).host(|host| {
                let mut at = crate::probe::host::socket::Listener::healthy([127, 0, 0, 1].into(), 6379, 1);
                at.owner = Some(5);
                seen(&mut host.sockets).tcp.push(at);
            })
        };
        assert!(tunnel().instance().unwrap().process.is_none());
        assert_eq!(cli(tunnel()), "redis-cli -p 6379");
        assert_eq!(cli(tunnel().refused([127, 0, 0, 1])), "redis-cli -h 10.0.0.9 -p 6379");
        let far = tunnel().with(|facts| seen(&mut facts.redis).dialogues[0].address = "10.0.0.7:6379".to_owned());
        assert_eq!(cli(far), "redis-cli -h 10.0.0.7 -p 6379");
    }

    #[test]
    fn every_cause_explains_something_and_says_how_to_verify() {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::Refused, "ECONNREFUSED", 0.2);
        let facts = Facts::healthy().attempting(vec![attempt]);
        assert!(!diagnose(&facts).causes.is_empty());
        for cause in diagnose(&facts).causes {
            assert!(
                matches!(cause.remedy.last(), Some(Step::Run { command, .. }) if command.starts_with("redisdoc check "))
            );
            assert!(!cause.support.explains.is_empty());
        }
    }

    #[test]
    fn healthy_facts_raise_nothing() {
        for facts in [Facts::healthy(), Facts::at_home()] {
            for judged in check::judge(&facts) {
                assert!(judged.verdict.findings().is_empty(), "{} finds something", judged.check.id);
            }
            let diagnosis = diagnose(&facts);
            assert!(diagnosis.causes.is_empty() && diagnosis.unexplained.is_empty());
        }
    }
}
