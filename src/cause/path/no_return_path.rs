//! The client's packets reach the server, and its answers do not come back.

use std::net::IpAddr;

use crate::cause::firewall::{Stopped, not_by_rules, opening, stopped_there};
use crate::cause::{Case, Cause, redis_host};
use crate::check::{firewall, tcp};
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::firewall::passage::Fate;
use crate::probe::host::network::{HalfOpen, Network};
use crate::probe::path::tcp::{Attempt, Outcome};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "no-return-path",
    title: "the server's answers do not come back",
    explain: "\
The SYN arrives at the server's machine, its kernel answers, and the answer is lost: the machine has no route back to the \
client, sends it by another interface where a router or firewall drops it, or its own rules for what leaves do. To the \
client it looks like a firewall that drops: nothing comes.

The server's machine tells: connections from the client stay in SYN-RECV there (ss -tn state syn-recv), and the answer is \
sent again and again; a SYN that was dropped before leaves nothing. redisdoc also looks at its routes, follows the answer \
through its packet filter, and compares the interface with rp_filter, by which the kernel drops what arrives by another \
interface than its answer would leave by.

Certain by a rule that drops the answer. Likely by SYN-RECV from the client's address with answers that were sent again, and \
by routes and rp_filter alone: a client that drops the answers itself leaves the same trace, and so does a way that loses \
packets by chance (measured: with 40 % loss every few checks). An attempt of the last minute leaves its trace: check, then collect, then check with \
--host-facts.

Repair: the route back to the client's network, the rule, or rp_filter=2 on that interface.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    // What our own filter stops, or the server's on its way in, has a name of its own.
    if case.raised(&firewall::STOPPED).is_some() || case.raised(&firewall::STOPPED_HERE).is_some() {
        return None;
    }
    answer_stopped(case).or_else(|| half_open(case)).or_else(|| unroutable(case)).or_else(|| by_another_interface(case))
}

/// Its own rules stop the answer.
fn answer_stopped(case: &Case) -> Option<Support> {
    let stopped = stopped_answer(case.facts)?;
    let client = stopped.passage.client?;
    let summary = format!("the packet filter of the server's machine stops its answers to {client}");
    let support = stopped.support(case.facts, &firewall::ANSWER_STOPPED, summary)?;
    Some(support.not("firewall-drop", "its rules let the client's packets in"))
}

fn stopped_answer(facts: &Facts) -> Option<Stopped<'_>> {
    let let_in = |stopped: &Stopped| stopped.passage.there.stops.is_empty();
    stopped_there(facts, true, |attempt| attempt.outcome == Outcome::TimedOut).filter(let_in)
}

/// An attempt that nothing answered to, from another machine, with what the server's shows of its network.
fn unanswered<'a>(case: &Case<'a>) -> Option<(&'a Attempt, IpAddr, &'a Host, &'a Network)> {
    let attempts = case.attempts(&tcp::TIMEOUT);
    let attempt = attempts.into_iter().find(|attempt| attempt.ip.is_some_and(|ip| !case.is_own(ip)))?;
    let (client, host) = (case.facts.source_to(attempt.ip?)?, case.host()?);
    Some((attempt, client, host, host.network.seen()?))
}

fn half_open(case: &Case) -> Option<Support> {
    let (attempt, client, host, network) = unanswered(case)?;
    let target = &case.facts.ask.target;
    let waits = waiting(network, target.port()?, client)?;
    // A listener whose queue is full leaves connections half open, too.
    let queue = case.facts.instance().and_then(|instance| instance.queue(target));
    if queue.is_some_and(|queue| queue.is_full()) {
        return None;
    }
    let says = format!("SYN-RECV from {}: the answer was sent again {} times", waits.remote, waits.retransmits);
    let summary = format!("the server answers {client}, and its answers are lost");
    let takes = takes_answers(case.facts, attempt.ip?);
    // A packet that is lost by chance leaves the same trace, and so does the reset to one that came when nobody waited.
    let support = Support::new(Confidence::Likely, &[&tcp::TIMEOUT], summary)
        .because("connect(2)", attempt.says())
        .because(host.source("sock_diag(7)"), says)
        .not("firewall-drop", "the client's packets arrive");
    let astray = attempt.ip.and_then(|asked| astray(network, asked, client));
    let support = match no_route(network, client).or_else(|| astray.map(|astray| astray.says(client))) {
        Some(why) => support.because(host.source("routes"), why),
        None => support,
    };
    let support = support.settled_by(if takes { again(case.facts) } else { own_rules() });
    Some(not_by_rules(case, attempt, support))
}

/// True if this machine's own packet filter is known to let the answers from `ip` in.
fn takes_answers(facts: &Facts, ip: IpAddr) -> bool {
    let passes = |fate: &Fate| fate.passes();
    facts.departure(ip).is_ok_and(|ours| ours.there.passes() && ours.back.as_ref().is_some_and(passes))
}

/// What tells answers that never come from those that are lost by chance.
fn again(facts: &Facts) -> Step {
    let command = format!("for i in 1 2 3 4 5; do {}; done", facts.ask.target.check_command());
    Step::look(
        Where::Here,
        command,
        "no answer each time: this is it; one time and not the next: packets are lost by chance",
    )
}

fn own_rules() -> Step {
    Step::look(
        Where::Here,
        "sudo nft -a list ruleset",
        "a rule or policy that drops what comes in for connections of ours: then this machine drops the answers itself; none: \
         they are lost before",
    )
}

/// A connection of the client that the server has answered again and again.
fn waiting(network: &Network, port: u16, client: IpAddr) -> Option<&HalfOpen> {
    network.waiting(port, Some(client)).max_by_key(|it| it.retransmits).filter(|it| it.retransmits > 0)
}

/// Why its routes do not lead to the client.
fn no_route(network: &Network, client: IpAddr) -> Option<String> {
    let routes = network.routes.seen().filter(|routes| routes.are_all_for(client))?;
    match routes.to(client) {
        None => Some(format!("none leads to {client}")),
        Some(route) => route.rejects.map(|_| format!("{} refuses to send to {client}", route.name())),
    }
}

fn unroutable(case: &Case) -> Option<Support> {
    let (attempt, client, host, network) = unanswered(case)?;
    let why = no_route(network, client)?;
    let summary = format!("the server's machine has no route back to {client}");
    Some(
        Support::new(Confidence::Likely, &[&tcp::TIMEOUT], summary)
            .because("connect(2)", attempt.says())
            .because(host.source("routes"), why)
            .settled_by(Step::look(
                redis_host(case.facts),
                format!("ip route get {client}"),
                "an error: this is it, unless a router on the way gives the client another address",
            )),
    )
}

/// The packets arrive by an interface that the answer would not leave by, and the kernel minds.
fn by_another_interface(case: &Case) -> Option<Support> {
    let (attempt, client, host, network) = unanswered(case)?;
    let (arrives, leaves) = strict(network, attempt.ip?, client)?;
    let summary = format!("packets from {client} arrive by {arrives}, and their answers would leave by {leaves}");
    let mut support = Support::new(Confidence::Likely, &[&tcp::TIMEOUT], summary)
        .because("connect(2)", attempt.says())
        .because(host.source(format!("net.ipv4.conf.{arrives}.rp_filter")), "1: strict");
    if let Some(dropped) = network.reverse_path_drops.filter(|dropped| *dropped > 0) {
        support = support.because(host.source("/proc/net/netstat"), format!("IPReversePathFilter {dropped}"));
    }
    Some(support.settled_by(Step::look(
        redis_host(case.facts),
        format!("nstat -az TcpExtIPReversePathFilter; ip route get {client}"),
        "a count that grows with each attempt: this is it",
    )))
}

/// An answer that leaves by another interface than the packets come in by.
struct Astray {
    arrives: String,
    leaves: String,
    route: String,
}

impl Astray {
    fn says(&self, client: IpAddr) -> String {
        let Self { arrives, leaves, route } = self;
        format!("{route} leads to {client} by {leaves}, and its packets arrive by {arrives}")
    }
}

/// The interface of the address that was asked for and that of the way back, where they differ.
fn astray(network: &Network, asked: IpAddr, client: IpAddr) -> Option<Astray> {
    let arrives = network.interfaces.iter().find(|at| at.ip == asked)?.name.clone();
    let routes = network.routes.seen().filter(|routes| routes.are_all_for(client))?;
    let route = routes.to(client)?;
    let leaves = route.interface.clone();
    (leaves != arrives).then(|| Astray { arrives, leaves, route: route.name() })
}

/// The same where the kernel minds.
fn strict(network: &Network, asked: IpAddr, client: IpAddr) -> Option<(String, String)> {
    let Astray { arrives, leaves, .. } = astray(network, asked, client)?;
    let mode = network.reverse_path.iter().find(|it| it.interface == arrives)?.mode;
    (client.is_ipv4() && mode == 1).then_some((arrives, leaves))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    if let Some(stopped) = stopped_answer(facts) {
        return opening(facts, stopped.steps(&on));
    }
    let asked = facts.asked_addresses().into_iter().next();
    let client = asked.and_then(|ip| facts.source_to(ip));
    let network = facts.server_host().ok().and_then(|host| host.network.seen());
    let ways = network.zip(asked).zip(client);
    if let Some((arrives, _)) = ways.and_then(|((network, asked), client)| strict(network, asked, client)) {
        let text = format!("take packets on {arrives} although their answers leave by another interface");
        let command = format!("sudo sysctl -w net.ipv4.conf.{arrives}.rp_filter=2");
        return vec![
            Step::run(on.clone(), Risk::WidensAccess, text, command),
            Step::tell(
                on,
                "keep it in /etc/sysctl.d; better: a rule (ip rule) that sends answers out where they came in",
            ),
        ];
    }
    let who = client.map_or_else(|| "CLIENT-ADDRESS".to_owned(), |ip| ip.to_string());
    let mut steps = Vec::new();
    if asked.is_some_and(|ip| !takes_answers(facts, ip)) {
        steps.push(own_rules());
    }
    let tells = "shows by which interface and router its answers leave";
    steps.push(Step::look(on.clone(), format!("ip route get {who}"), tells));
    let lacks = network.zip(client).and_then(|(network, client)| no_route(network, client)).is_some();
    let astray = ways.and_then(|((network, asked), client)| astray(network, asked, client));
    steps.push(if let Some(Astray { arrives, leaves, route }) = astray {
        let text = format!(
            "{route} sends the answers out by {leaves}, and the packets come in by {arrives}: if {leaves} does not lead to the \
             client, give its network another prefix (a bridge of Docker's: 'bip' and 'default-address-pools' of \
             daemon.json), or add a route to {who} by {arrives}"
        );
        Step::tell(on, text)
    } else if lacks {
        let text = format!(
            "add the route back to {who}, by the router that its packets come from, and keep it in the network's settings"
        );
        Step::tell(on, text)
    } else {
        let text = format!("let what the server sends to {who} through, wherever it is dropped: by a router or firewall");
        Step::tell(Where::Network, text)
    });
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::firewall::Firewall;
    use crate::probe::host::firewall::rules::{Hook, Verdict};

    fn silent(change: impl FnOnce(&mut Network)) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
        Facts::joined().attempting(vec![attempt]).host(|host| change(seen(&mut host.network)))
    }

    fn half_open(retransmits: u8) -> Facts {
        unread(retransmits).with(|facts| facts.firewall = Observed::Seen(Firewall::default()))
    }

    /// Where this machine's own rules could not be read.
    fn unread(retransmits: u8) -> Facts {
        let (local, remote) = ("10.0.0.9:6379".parse().unwrap(), "10.0.0.2:50000".parse().unwrap());
        silent(|network| seen(&mut network.half_open).push(HalfOpen { local, remote, retransmits }))
    }

    #[test]
    fn a_half_open_connection_is_likely() {
        check_cause(&CAUSE, &half_open(2), Some(Confidence::Likely));
        // It may be made this very moment.
        check_cause(&CAUSE, &half_open(0), None);
        check_cause(&CAUSE, &half_open(2).refused([10, 0, 0, 9]), None);
        check_cause(&CAUSE, &silent(|_| ()), None);
        check_cause(&CAUSE, &Facts::joined(), None);
    }

    #[test]
    fn a_client_may_drop_the_answers_itself() {
        let unread = unread(2);
        check_cause(&CAUSE, &unread, Some(Confidence::Likely));
        let told = |facts: &Facts, words: &str| {
            let tells = |step: &Step| matches!(step, Step::Tell { text, .. } if text.contains(words));
            remedy(facts).iter().any(tells)
        };
        assert!(matches!(&remedy(&unread)[0], Step::Look { on: Where::Here, .. }));
        assert!(!told(&unread, "add the route back") && !told(&half_open(2), "add the route back"));
        let lost = half_open(2).host(|host| seen(&mut seen(&mut host.network).routes).routes.clear());
        assert!(told(&lost, "add the route back"));
    }

    #[test]
    fn a_rule_that_stops_the_answer_is_certain() {
        let facts = Facts::filtered(Hook::Output, Verdict::Drop, true);
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        let command = "sudo nft insert rule inet filter f position 12 ip daddr 10.0.0.2 tcp sport 6379 accept";
        assert!(remedy(&facts).iter().any(|step| matches!(step, Step::Run { command: run, .. } if run == command)));
        check_cause(&CAUSE, &Facts::filtered(Hook::Input, Verdict::Drop, false), None);
    }

    #[test]
    fn a_full_queue_leaves_connections_half_open_too() {
        let full = half_open(2).host(|host| seen(&mut host.sockets).tcp[0].queue = 512);
        check_cause(&CAUSE, &full, None);
    }

    #[test]
    fn routes_alone_make_it_likely() {
        check_cause(&CAUSE, &silent(|network| seen(&mut network.routes).routes.clear()), Some(Confidence::Likely));
        let other = |network: &mut Network| {
            seen(&mut network.routes).routes.clear();
            seen(&mut network.routes).other_tables = true;
        };
        check_cause(&CAUSE, &silent(other), None);
    }

    #[test]
    fn a_strict_interface_makes_it_likely() {
        let asymmetric = |mode| {
            move |network: &mut Network| {
                seen(&mut network.routes).routes.iter_mut().for_each(|route| route.interface = "eth1".to_owned());
                network.reverse_path[0].mode = mode;
            }
        };
        let facts = silent(asymmetric(1));
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
        assert!(matches!(&remedy(&facts)[0], Step::Run { command, .. } if command.ends_with("eth0.rp_filter=2")));
        check_cause(&CAUSE, &silent(asymmetric(2)), None);
    }
}
