//! A packet filter swallows the packets, or the answers to them.

use super::{Stopped, not_by_rules, opening, stopped_there};
use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::{firewall, ping, tcp};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::{Attempt, Outcome};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "firewall-drop",
    title: "a firewall drops the packets",
    explain: "\
No answer came to several SYNs, neither a reset nor an ICMP error: something on the way, on the server or on this machine \
drops them silently. That is what host firewalls with a DROP policy (ufw's 'deny'), cloud security groups and network \
policies do.

On the server's machine redisdoc follows the SYN through the rules of nftables and iptables as the kernel does, and \
where they drop it, that is certain: the rule, its handle and its counter are named, and the repair is that of the tool \
that owns the rule. Rules that may not be read (only root may) leave it open; so does a translated address on the way, \
where the rules ask for the client's.

From the client it cannot be told from a route back that is missing, from a host that is gone behind a router that says \
nothing, or from a server whose accept queue is full. The server's own side settles it: when connections in state \
SYN-RECV from this client show up there, the packets arrive and the answers are lost; when nothing shows up, they are \
dropped before.

Repair: allow the client's address to reach the Redis port, where the packets are dropped.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    by_rules(case).or_else(|| no_answer(case)).or_else(|| lost_data(case))
}

/// The rules of the server's machine stop what nothing answered to.
fn by_rules(case: &Case) -> Option<Support> {
    let stopped = dropped(case.facts)?;
    let summary = format!(
        "the packet filter of the server's machine {} what comes from {} to port {}",
        firewall::verb(stopped.stop()?.how),
        stopped.passage.client.map_or_else(|| "this client".to_owned(), |ip| ip.to_string()),
        stopped.passage.to.port()
    );
    let support = stopped.support(case.facts, &firewall::STOPPED, summary)?;
    Some(support.not("not-running", "the packets do not come as far as a listener"))
}

fn dropped(facts: &Facts) -> Option<Stopped<'_>> {
    stopped_there(facts, false).filter(|stopped| stopped.attempt.outcome == Outcome::TimedOut)
}

/// True if the packets of an attempt to this machine arrive: it answers them, and waits.
fn arrives(facts: &Facts, attempt: &Attempt) -> bool {
    let client = attempt.ip.and_then(|ip| facts.source_to(ip));
    let network = facts.server_host().ok().and_then(|host| host.network.seen());
    network.zip(facts.ask.target.port()).zip(client).is_some_and(|((network, port), client)| {
        network.waiting(port, Some(client)).any(|half_open| half_open.retransmits > 0)
    })
}

/// Accepted, and then our bytes were never acknowledged: a filter that looks into connections, or a path that loses them.
fn lost_data(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::SILENT)?;
    let lost = dialogue(case.facts)?.first.unacknowledged.filter(|bytes| *bytes > 0)?;
    let port = case.facts.ask.target.port()?;
    let summary = format!("the connection was accepted, and {lost} bytes of ours were never acknowledged");
    let tells = "bytes_received missing or 0 on our connection: our data is dropped on the way";
    Some(
        Support::new(Confidence::Possible, &[&ping::SILENT], summary)
            .on(finding)
            .not("process-stopped", "the kernel of a stopped process acknowledges what it receives")
            .settled_by(Step::look(redis_host(case.facts), format!("ss -tni 'sport = :{port}'"), tells)),
    )
}

fn no_answer(case: &Case) -> Option<Support> {
    let attempt = case.attempts(&tcp::TIMEOUT).into_iter().find(|attempt| attempt.ip.is_some())?;
    let ip = attempt.ip?;
    // See no-return-path, local-firewall.
    if arrives(case.facts, attempt) || case.raised(&firewall::STOPPED_HERE).is_some() {
        return None;
    }
    let port = case.facts.ask.target.port()?;
    let on = if case.is_own(ip) { Where::Here } else { Where::RedisHost };
    let tells =
        "a line with the client's address: the packets arrive and the answers are lost; none: they are dropped before";
    let summary = format!("nothing answers for {}: the packets, or the answers to them, are dropped", attempt.address);
    let support = Support::new(Confidence::Possible, &[&tcp::TIMEOUT], summary)
        .because("connect(2)", attempt.says())
        .not("not-running", "a closed port would have answered with a reset")
        .settled_by(Step::look(on, format!("ss -tn state syn-recv 'sport = :{port}'"), tells));
    Some(not_by_rules(case, attempt, support))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    if let Some(stopped) = dropped(facts) {
        return opening(facts, stopped.steps(&redis_host(facts)));
    }
    let port = facts.ask.target.port().unwrap_or_default();
    vec![
        Step::look(
            Where::RedisHost,
            "sudo ufw status; sudo firewall-cmd --list-all; sudo nft -a list ruleset; sudo iptables-legacy-save",
            format!("shows whether port {port} is allowed; also look at the cloud's security group"),
        ),
        Step::look(Where::Here, "sudo nft -a list ruleset", "shows whether this machine itself drops what it sends"),
        Step::tell(Where::RedisHost, format!("allow this client's address (not everybody's) to reach TCP port {port}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::firewall::rules::{
        Field, Hook, Match, Part, Rejection, Source, Test, Unread, Values, Verdict,
    };
    use crate::probe::host::network::HalfOpen;
    use crate::probe::path::redis::End;
    use std::net::IpAddr;

    #[test]
    fn bytes_that_were_never_acknowledged_may_be_dropped() {
        let silent = Facts::healthy().speechless(End::Silent);
        check_cause(&CAUSE, &silent.clone().unheard(50), Some(Confidence::Possible));
        check_cause(&CAUSE, &silent.clone().unheard(0), None);
        check_cause(&CAUSE, &silent, None);
    }

    #[test]
    fn a_rule_on_the_server_makes_it_certain() {
        let dropped = Facts::filtered(Hook::Input, Verdict::Drop, false);
        check_cause(&CAUSE, &dropped, Some(Confidence::Certain));
        let steps = remedy(&dropped.clone().host(|host| host.running.clear()));
        let run = |step: &Step| matches!(step, Step::Run { command, .. } if command.contains("position 12 ip saddr 10.0.0.2"));
        assert!(steps.iter().any(run), "{steps:?}");
        check_cause(&CAUSE, &Facts::filtered(Hook::Input, Verdict::Accept, false), Some(Confidence::Possible));
        // It would be answered with a reset, and nothing came: that may have been lost, too.
        let reset = Verdict::Reject(Rejection::Reset);
        check_cause(&CAUSE, &Facts::filtered(Hook::Input, reset, false), Some(Confidence::Likely));
        check_cause(&CAUSE, &dropped.refused([10, 0, 0, 9]), None);
    }

    #[test]
    fn what_was_not_read_and_what_is_translated_leave_it_open() {
        let unread = Unread { source: Source::IptablesLegacy, says: "permission denied".to_owned() };
        let facts = Facts::filtered(Hook::Input, Verdict::Drop, false);
        let hidden = facts.host(|host| seen(&mut host.firewall).unread.push(unread));
        check_cause(&CAUSE, &hidden, Some(Confidence::Likely));
        // The port alone decides, whoever comes: not even a translated address changes that.
        let behind = Facts::filtered(Hook::Input, Verdict::Drop, false).behind_a_router();
        check_cause(&CAUSE, &behind, Some(Confidence::Certain));
        let by_source = behind.host(|host| {
            let parts = &mut seen(&mut host.firewall).tables[0].chains[0].rules[0].parts;
            let client = IpAddr::from([10, 7, 7, 7]);
            let test = Test::Is(Field::From, Values::Addresses(vec![(client, client)]));
            parts.insert(0, Part::Match(Match { negated: false, test }));
        });
        check_cause(&CAUSE, &by_source, Some(Confidence::Likely));
    }

    #[test]
    fn packets_that_arrive_are_not_dropped() {
        let (local, remote) = ("10.0.0.9:6379".parse().unwrap(), "10.0.0.2:50000".parse().unwrap());
        let half_open = HalfOpen { local, remote, retransmits: 1 };
        let facts = Facts::filtered(Hook::Input, Verdict::Accept, false);
        let facts = facts.host(|host| seen(&mut seen(&mut host.network).half_open).push(half_open));
        check_cause(&CAUSE, &facts, None);
    }

    #[test]
    fn silence_is_only_a_candidate() {
        let attempt = |outcome| Attempt::failed([10, 0, 0, 9].into(), outcome, "ETIMEDOUT", 5000.0);
        let facts = Facts::healthy().attempting(vec![attempt(Outcome::TimedOut)]);
        check_cause(&CAUSE, &facts, Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![attempt(Outcome::Refused)]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
