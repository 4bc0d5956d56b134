//! A packet filter on the way, or on the server, rejects the connection.

use std::net::IpAddr;

use super::{Stopped, doubted_there, not_by_rules, opening, stopped_there};
use crate::cause::{Case, Cause, redis_host};
use crate::check::{firewall, tcp};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::{Attempt, Icmp, IcmpMeaning, Outcome};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "firewall-reject",
    title: "a firewall rejects the connection",
    explain: "\
A packet filter answered for the server. With REJECT's default it sends ICMP port-unreachable and applications say \
'Connection refused', as if Redis were not running; with admin-prohibited (firewalld's way) they say 'No route to host'. \
A kernel never sends port-unreachable for TCP of its own accord, so the ICMP error in the socket's queue proves the \
filter, and its sender names the machine: the server itself, or a router on the way.

A filter that rejects with a TCP reset cannot be told from a closed port by the client: then this is one candidate among \
others, and only the server's side settles it: there redisdoc follows the packet through the rules of nftables and \
iptables, and names the one that rejects it. Code 13 may also come from a 'prohibit' route of a router, and where addresses are translated (NAT) the router speaks in \
the target's name.

Repair: allow the client's address to reach the Redis port, in the tool that owns the rule (ufw, firewalld, nft, \
iptables); not everybody's address.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    by_rules(case).or_else(|| proven(case)).or_else(|| by_unreachable(case)).or_else(|| by_reset(case))
}

/// The rules of the server's machine reject in the way that the attempt met.
fn by_rules(case: &Case) -> Option<Support> {
    let stopped = rejected(case.facts)?;
    let client = stopped.passage.client.map_or_else(|| "this client".to_owned(), |ip| ip.to_string());
    let port = stopped.passage.to.port();
    let summary = format!("the packet filter of the server's machine rejects what comes from {client} to port {port}");
    let support = stopped.support(case.facts, &firewall::STOPPED, summary)?;
    Some(support.not("not-running", "the packets do not come as far as a listener"))
}

fn rejected(facts: &Facts) -> Option<Stopped<'_>> {
    let wanted = |attempt: &Attempt| attempt.outcome != Outcome::TimedOut;
    stopped_there(facts, false, wanted)
        .filter(|it| it.stop().is_some_and(|stop| firewall::explains(stop.how, it.attempt)))
        .or_else(|| doubted_there(facts, wanted))
}

/// Later than this, somebody may have been asked for in vain (see host-down).
const IN_VAIN_MS: f64 = 3_040.0;

/// Filters may reject with the codes of routers, too.
fn by_unreachable(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::UNREACHABLE);
    let foreign = |attempt: &&Attempt| attempt.icmp.is_some_and(|icmp| is_foreign(case, attempt, icmp));
    let attempt = attempts.into_iter().find(foreign)?;
    let icmp = attempt.icmp?;
    // No router would say that of the very address that was asked for, unless addresses are translated.
    let itself = Some(icmp.from) == attempt.ip && attempt.elapsed_ms < IN_VAIN_MS;
    let confidence = if itself { Confidence::Likely } else { Confidence::Possible };
    let summary = format!("{} may be the answer of a firewall at {}", icmp.name(), icmp.from);
    let tells = "a rule that rejects with that code: this is it; a route that says so, or none: it is the way";
    Some(
        Support::new(confidence, &[&tcp::UNREACHABLE], summary)
            .because("ICMP", attempt.says())
            .not("not-running", "a closed port answers with a TCP reset, not with an ICMP error")
            .settled_by(Step::look(Where::Network, "sudo nft -a list ruleset; ip route", tells)),
    )
}

fn proven(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::REJECTED);
    let by_filter = |attempt: &&Attempt| attempt.icmp.is_some_and(|icmp| is_foreign(case, attempt, icmp));
    let attempt = attempts.into_iter().find(by_filter)?;
    let icmp = attempt.icmp?;
    let whose = if Some(icmp.from) == attempt.ip {
        // Where addresses are translated, what stands behind this one speaks in its name.
        format!("{}, or what stands behind that address,", icmp.from)
    } else {
        format!("{}, a machine on the way,", icmp.from)
    };
    let confidence = confidence_of(icmp);
    let summary = format!("{whose} rejects connections to {} with {}", attempt.address, icmp.name());
    let support = Support::new(confidence, &[&tcp::REJECTED], summary)
        .because("ICMP", attempt.says())
        .not("not-running", "a closed port answers with a TCP reset, not with an ICMP error")
        .not("local-firewall", format!("the sender of the error, {}, is not this machine", icmp.from));
    Some(if confidence == Confidence::Certain {
        support
    } else {
        let tells = "on that machine: a rule that rejects, or a 'prohibit' route";
        support.settled_by(Step::look(Where::Network, "sudo nft -a list ruleset; ip route", tells))
    })
}

/// True if the error is another machine's; on one's own machine only if that is the server too.
fn is_foreign(case: &Case, attempt: &Attempt, icmp: Icmp) -> bool {
    !case.is_own(icmp.from) || attempt.ip.is_some_and(|ip| case.is_own(ip))
}

fn confidence_of(icmp: Icmp) -> Confidence {
    // net- and host-prohibited (3/9, 3/10) come from filters only; admin-prohibited also from 'ip route add prohibit'.
    let by_route = icmp.meaning() == IcmpMeaning::Prohibited && !matches!(icmp.code, 9 | 10);
    if by_route { Confidence::Likely } else { Confidence::Certain }
}

/// A reset looks like a closed port; between machines a filter may have sent it.
fn by_reset(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::REFUSED);
    // On one machine only a rule can have sent it, if not the kernel for want of a listener.
    let open = |ip| case.facts.arrival(ip).is_ok_and(|passage| !passage.there.open.is_empty());
    let attempt = attempts.into_iter().find(|attempt| attempt.ip.is_some_and(|ip| !case.is_own(ip) || open(ip)))?;
    let port = case.facts.ask.target.port()?;
    let mut listening = None;
    if let Some(moved) = attempt.ip.and_then(|ip| moved(case.facts, ip)) {
        let summary = format!("a rule of the server's machine {moved}; a rule or a closed port there says no");
        let support = Support::new(Confidence::Possible, &[&tcp::REFUSED], summary);
        return Some(not_by_rules(case, attempt, support.because("connect(2)", attempt.says()).settled_by(look(port))));
    }
    if let Some(host) = case.host() {
        // Without a listener for the address, the server's own kernel sends the reset.
        listening = Some(host.listeners(port).into_iter().find(|at| attempt.ip.is_some_and(|ip| at.serves(ip)))?);
    }
    let summary = "a firewall may answer with a TCP reset, which looks like a closed port";
    let support = Support::new(Confidence::Possible, &[&tcp::REFUSED], summary).because("connect(2)", attempt.says());
    let support = match listening.zip(case.host()) {
        None => support,
        Some((listener, host)) => Support { confidence: Confidence::Likely, ..support }
            .because(host.source("sock_diag(7)"), format!("{} is listened on", listener.address()))
            .not("not-running", "it listens there")
            .not("loopback-only", "it listens on that address"),
    };
    let passes = attempt.ip.is_some_and(|ip| passes_there(case.facts, ip));
    let look = if passes { look_between(port) } else { look(port) };
    Some(not_by_rules(case, attempt, support.settled_by(look)))
}

/// True if the rules of the server's machine let packets to this address pass.
fn passes_there(facts: &Facts, ip: IpAddr) -> bool {
    facts.arrival(ip).is_ok_and(|passage| passage.there.passes() && passage.there.open.is_empty())
}

fn look_between(port: u16) -> Step {
    let tells = format!("on the routers and firewalls between: a rule for port {port} that rejects with a reset");
    Step::look(Where::Network, "sudo nft -a list ruleset; sudo iptables-legacy-save", tells)
}

fn look(port: u16) -> Step {
    let tells = format!("a rule for port {port} with 'reject with tcp reset', or a chain whose end rejects so");
    Step::look(Where::RedisHost, "sudo nft -a list ruleset; sudo iptables-legacy-save", tells)
}

/// Where the rules of the server's machine send what goes to `ip`.
fn moved(facts: &Facts, ip: IpAddr) -> Option<String> {
    let passage = facts.arrival(ip).ok()?;
    let (to, place) = passage.moved()?;
    Some(format!("sends what goes to {} on to {to} ({})", passage.to, place.name()))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    if let Some(stopped) = rejected(facts) {
        return opening(facts, stopped.steps(&redis_host(facts)));
    }
    if let Some(moved) = facts.asked_addresses().into_iter().find_map(|ip| moved(facts, ip)) {
        let text = format!("a rule {moved}: change it, or see that a server listens there and lets this client in");
        return vec![Step::tell(redis_host(facts), text)];
    }
    let failed = facts.tcp.seen().map(|tcp| tcp.attempts.as_slice()).unwrap_or_default();
    // Who says so is named by an ICMP error alone.
    let attempt = failed.iter().find(|attempt| attempt.icmp.is_some()).or(failed.first());
    attempt.and_then(|attempt| Some(allowing(facts, attempt, attempt.ip?))).unwrap_or_default()
}

/// The steps that let the client in, where the rule is not known.
fn allowing(facts: &Facts, attempt: &Attempt, ip: IpAddr) -> Vec<Step> {
    let port = facts.ask.target.port().unwrap_or_default();
    // Behind a translated address it is another's.
    let client = facts.source_to(ip).map_or_else(|| "CLIENT-ADDRESS".to_owned(), |ip| ip.to_string());
    let allow = format!("allow {client} (not everybody) to reach TCP port {port} of {ip}");
    let between = match attempt.icmp {
        Some(icmp) if Some(icmp.from) != attempt.ip => Some(format!("on {}", icmp.from)),
        _ if passes_there(facts, ip) => Some("on the router or firewall between that rejects it".to_owned()),
        _ => None,
    };
    if let Some(there) = between {
        return vec![Step::tell(Where::Network, format!("{there}: {allow}, in the tool that owns its rules"))];
    }
    let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    vec![
        Step::look(
            Where::RedisHost,
            "sudo ufw status; sudo firewall-cmd --state; sudo nft -a list ruleset",
            "shows which tool owns the firewall, and the rule",
        ),
        Step::tell(
            Where::RedisHost,
            format!(
                "{allow}, before the rule that rejects it, for example: ufw prepend allow from {client} to any port {port} \
                 proto tcp; or firewall-cmd --add-rich-rule='rule family={family} source address={client} port \
                 port={port} protocol=tcp accept', and the same with --permanent"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::firewall::rules::{Hook, Match, Part, Rejection, Test, Verdict};

    fn attempt() -> Attempt {
        Attempt::failed([10, 0, 0, 9].into(), Outcome::Refused, "ECONNREFUSED", 0.3)
    }

    fn rejected(code: u8, from: [u8; 4]) -> Facts {
        let icmp = Some(Icmp { kind: 3, code, from: from.into() });
        let outcome = if code == 3 { Outcome::Refused } else { Outcome::HostUnreachable };
        Facts::healthy().attempting(vec![Attempt { outcome, icmp, ..attempt() }])
    }

    #[test]
    fn the_icmp_error_proves_a_filter() {
        check_cause(&CAUSE, &rejected(3, [10, 0, 0, 9]), Some(Confidence::Certain));
        check_cause(&CAUSE, &rejected(3, [10, 0, 0, 1]), Some(Confidence::Certain));
        check_cause(&CAUSE, &rejected(10, [10, 0, 0, 9]), Some(Confidence::Certain));
        check_cause(&CAUSE, &rejected(10, [10, 0, 0, 1]), Some(Confidence::Certain));
    }

    #[test]
    fn a_prohibit_route_looks_the_same_behind_a_translated_address_too() {
        check_cause(&CAUSE, &rejected(13, [10, 0, 0, 1]), Some(Confidence::Likely));
        check_cause(&CAUSE, &rejected(13, [10, 0, 0, 9]), Some(Confidence::Likely));
        check_cause(&CAUSE, &rejected(1, [10, 0, 0, 9]), Some(Confidence::Likely));
        check_cause(&CAUSE, &rejected(1, [10, 0, 0, 1]), Some(Confidence::Possible));
    }

    #[test]
    fn the_repair_is_where_the_rejection_came_from() {
        let text = |facts: &Facts| match remedy(facts).pop() {
            Some(Step::Tell { on, text }) => (on, text),
            step => panic!("{step:?}"),
        };
        let (on, says) = text(&rejected(3, [10, 0, 0, 1]));
        assert!(on == Where::Network && says.starts_with("on 10.0.0.1: allow 10.0.0.2 "), "{says}");
        let (on, says) = text(&rejected(3, [10, 0, 0, 9]));
        assert!(on == Where::RedisHost && says.contains("from 10.0.0.2 to any"), "{says}");
        let six: IpAddr = [0xfd00, 0, 0, 0, 0, 0, 0, 9].into();
        let icmp = Some(Icmp { kind: 1, code: 4, from: six });
        let facts = rejected(3, [10, 0, 0, 9]).attempting(vec![Attempt { ip: Some(six), icmp, ..attempt() }]);
        let (_, says) = text(&facts);
        assert!(says.contains("CLIENT-ADDRESS") && says.contains("family=ipv6"), "{says}");
        // A reset, where the server's rules let it pass and something listens.
        let facts = Facts::filtered(Hook::Input, Verdict::Accept, false).refused([10, 0, 0, 9]);
        assert_eq!(text(&facts).0, Where::Network);
    }

    #[test]
    fn a_limit_that_has_stopped_some_is_named() {
        let limited = |packets| {
            let facts = Facts::filtered(Hook::Input, Verdict::Reject(Rejection::Reset), false).refused([10, 0, 0, 9]);
            facts.host(|host| {
                let rule = &mut seen(&mut host.firewall).tables[0].chains[0].rules[0];
                let test = Test::Unknown("limit rate over 6/minute".to_owned());
                rule.packets = packets;
                rule.parts.insert(0, Part::Match(Match { negated: false, test }));
            })
        };
        let judged = crate::check::judge(&limited(Some(4)));
        let support = infer(&Case { facts: &limited(Some(4)), judged: &judged }).unwrap();
        assert!(support.summary.starts_with("the packet filter of the server's machine"), "{}", support.summary);
        assert_eq!(support.confidence, Confidence::Likely);
        let support = infer(&Case { facts: &limited(Some(0)), judged: &judged }).unwrap();
        assert!(support.summary.starts_with("a firewall may answer"), "{}", support.summary);
    }

    #[test]
    fn our_own_address_is_another_cause() {
        check_cause(&CAUSE, &rejected(3, [10, 0, 0, 2]), None);
    }

    #[test]
    fn a_rule_on_the_server_tells_its_reset_from_a_closed_port() {
        let reset = |hook| Facts::filtered(hook, Verdict::Reject(Rejection::Reset), false).refused([10, 0, 0, 9]);
        check_cause(&CAUSE, &reset(Hook::Input), Some(Confidence::Certain));
        // A rule of another hook does not come to it; a listener is there.
        check_cause(&CAUSE, &reset(Hook::Forward), Some(Confidence::Likely));
        let closed = reset(Hook::Forward).host(|host| seen(&mut host.sockets).tcp.clear());
        check_cause(&CAUSE, &closed, None);
        let admin = |code| {
            let facts = Facts::filtered(Hook::Input, Verdict::Reject(Rejection::Icmp(13)), false);
            facts.with(|facts| facts.tcp = rejected(code, [10, 0, 0, 9]).tcp)
        };
        check_cause(&CAUSE, &admin(13), Some(Confidence::Certain));
    }

    #[test]
    fn a_reset_is_only_a_candidate() {
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![attempt()]), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
