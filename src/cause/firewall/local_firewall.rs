//! A packet filter on this very machine stops the connection.

use super::stopped_here;
use crate::cause::repair::firewall::Owner;
use crate::cause::{Case, Cause};
use crate::check::{firewall, tcp};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::firewall::walk::Stop;
use crate::probe::path::tcp::Attempt;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "local-firewall",
    title: "a firewall on this machine stops the connection",
    explain: "\
The ICMP error behind the failed connect came from one of our own addresses: the packet was rejected before it left this \
machine, by an egress rule (nftables or iptables, chain OUTPUT) or, on a Kubernetes node or in a pod, by kube-proxy for \
a Service without endpoints. Applications say 'Connection refused' or 'No route to host', as if the server had said so.

Sure when the target is another machine and this is no Kubernetes node; and, as root, whenever the rules of this machine \
(nftables, iptables) drop or reject the packets in the very way that the connection failed: a DROP in the chain OUTPUT is \
silent, and looks like a firewall anywhere else. A rule that asks for the port that our answers come to is judged by the one \
that the attempt had.

Repair: find the rule (nft -a list ruleset; iptables-save and iptables-legacy-save, which do not show each other's \
rules) and let the target's address and port through.",
    infer,
    remedy,
};

/// Sooner than this, nobody was asked for the address on the link; or another program of this machine had asked for it in
/// vain just these 3 s before.
const AT_ONCE_MS: f64 = 2.0;
/// Later than this, somebody was (see host-down).
const IN_VAIN_MS: f64 = 3_040.0;

fn infer(case: &Case) -> Option<Support> {
    by_rules(case).or_else(|| proven(case)).or_else(|| by_unreachable(case)).or_else(|| by_doubt(case))
}

/// The rules of this machine stop what it sends, or the answers, in the way that the attempt met.
fn by_rules(case: &Case) -> Option<Support> {
    let stopped = stopped_here(case.facts)?;
    let stop = stopped.stop()?;
    if !firewall::explains(stop.how, stopped.attempt) {
        return None;
    }
    let (what, verb) = (&stopped.attempt.address, firewall::verb(stop.how));
    let summary = if stopped.answer {
        format!("this machine itself {verb} the answers of {what}")
    } else {
        format!("this machine itself {verb} what it sends to {what}")
    };
    let support = stopped.support(case.facts, &firewall::STOPPED_HERE, summary)?;
    let support =
        if stopped.answer { support } else { support.not("not-running", "the packet never left this machine") };
    let of_cluster = Owner::of(stopped.passage.firewall, &stop.at) == Owner::Kubernetes;
    Some(if of_cluster { without_endpoints(support) } else { support })
}

/// A rule of this machine may stop it: what it asks for cannot be told from here.
fn by_doubt(case: &Case) -> Option<Support> {
    let (attempt, Stop { at, how }) = doubted(case.facts)?;
    let what = firewall::verb(how);
    let summary = format!("this machine itself perhaps {what} what it sends to {}, or the answers", attempt.address);
    let tells = "the rule's counter grows with each attempt, or nothing else fits what it asks for: this is it";
    Some(
        Support::new(Confidence::Possible, &[tcp::code_of(attempt)], summary)
            .because("connect(2)", attempt.says())
            .because(format!("{} here", at.source.list()), at.says())
            .settled_by(Step::look(Where::Here, at.source.shown(), tells)),
    )
}

/// The failed attempt that a rule of ours may have stopped so, and the rule.
fn doubted(facts: &Facts) -> Option<(&Attempt, Stop)> {
    let tcp = facts.tcp.seen().filter(|tcp| tcp.connected().is_none())?;
    let found = |attempt: &Attempt| {
        let passage = facts.departure(attempt.ip?).ok()?;
        let (there, back) = (passage.there, passage.usually_back);
        let back_stops = back.iter().flat_map(|back| back.stops.clone());
        let doubts = there.doubts.iter().chain(back.iter().flat_map(|back| &back.doubts));
        let doubts = doubts.filter_map(|doubt| Some(Stop { at: doubt.at.clone(), how: doubt.how? }));
        let fits = |stop: &Stop| firewall::explains(stop.how, attempt) && stop.at.packets != Some(0);
        back_stops.chain(doubts).find(fits)
    };
    // An ICMP error says who sent it.
    let silent = tcp.attempts.iter().filter(|attempt| attempt.icmp.is_none());
    silent.into_iter().find_map(|attempt| Some((attempt, found(attempt)?)))
}

/// Rules that the cluster keeps on its nodes reject what nothing serves: they are right, and something else is wrong.
fn without_endpoints(support: Support) -> Support {
    let tells = "no endpoints: kube-proxy rejects connections to the Service";
    let settle = Step::look(Where::Cluster, "kubectl get endpoints", tells);
    Support { confidence: Confidence::Likely, ..support }.settled_by(settle)
}

/// An egress rule may reject with host-unreachable too, as the kernel does when nobody answers on the link: at once, where
/// another program has asked for the address just before, and was in vain.
fn by_unreachable(case: &Case) -> Option<Support> {
    let by_us = |attempt: &&Attempt| attempt.icmp.is_some_and(|icmp| case.is_own(icmp.from));
    let attempt = case.attempts(&tcp::UNREACHABLE).into_iter().find(by_us)?;
    if attempt.elapsed_ms > IN_VAIN_MS || attempt.ip.is_some_and(|ip| case.is_own(ip)) {
        return None;
    }
    let confidence = if attempt.elapsed_ms < AT_ONCE_MS { Confidence::Likely } else { Confidence::Possible };
    // Rules that are known to let it out did not do it.
    if attempt.ip.and_then(|ip| case.facts.departure(ip).ok()).is_some_and(|ours| ours.there.passes()) {
        return None;
    }
    let tells = "a rule of an output chain that rejects the target's address or port";
    Some(
        Support::new(confidence, &[&tcp::UNREACHABLE], "the error came from this machine itself")
            .because("ICMP", attempt.says())
            .settled_by(Step::look(Where::Here, "sudo nft -a list ruleset; sudo iptables-legacy-save", tells)),
    )
}

fn proven(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::REJECTED);
    let attempt = attempts.into_iter().find(|attempt| attempt.icmp.is_some_and(|icmp| case.is_own(icmp.from)))?;
    let (ip, from) = (attempt.ip?, attempt.icmp?.from);
    if case.is_own(ip) {
        return None;
    }
    let in_cluster = case.vantage().is_some_and(|v| v.kubernetes_node || v.container.as_deref() == Some("kubernetes"));
    let confidence = if in_cluster { Confidence::Likely } else { Confidence::Certain };
    let summary = format!("the connection to {} was rejected by this machine itself ({from})", attempt.address);
    let support = Support::new(confidence, &[&tcp::REJECTED], summary)
        .because("ICMP", attempt.says())
        .not("not-running", "the packet never left this machine")
        .not("firewall-reject", format!("the sender of the error, {from}, is our own address"));
    Some(if in_cluster { without_endpoints(support) } else { support })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let by_rules =
        stopped_here(facts).filter(|it| it.stop().is_some_and(|stop| firewall::explains(stop.how, it.attempt)));
    if let Some(stopped) = by_rules {
        return stopped.steps(&Where::Here);
    }
    if let (None, Some((attempt, Stop { at, .. }))) = (rejected(facts), doubted(facts)) {
        let says = format!("shows the rule ({}), and whom it is for", at.name());
        let text =
            format!("if it is meant for others: let {} through before it, in the tool that owns it", attempt.address);
        return vec![Step::look(Where::Here, at.source.shown(), says), Step::tell(Where::Here, text)];
    }
    let Some(attempt) = rejected(facts) else { return Vec::new() };
    let says = format!("shows the rule that rejects {} (chain with hook output)", attempt.address);
    vec![
        Step::look(Where::Here, "sudo nft -a list ruleset; sudo iptables-legacy-save", says),
        Step::tell(Where::Here, format!("let {} through in the tool that owns the rule", attempt.address)),
    ]
}

fn rejected(facts: &Facts) -> Option<&Attempt> {
    facts.tcp.seen()?.attempts.iter().find(|attempt| attempt.icmp.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;
    use crate::probe::host::firewall::Firewall;
    use crate::probe::host::firewall::rules::{Field, Hook, Match, Part, Rejection, Test, Values, Verdict};
    use crate::probe::path::tcp::{Icmp, Outcome};

    fn rejected_by(from: [u8; 4]) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::Refused, "ECONNREFUSED", 0.1);
        let icmp = Some(Icmp { kind: 3, code: 3, from: from.into() });
        Facts::healthy().attempting(vec![Attempt { icmp, ..attempt }])
    }

    #[test]
    fn our_own_address_is_our_own_firewall() {
        check_cause(&CAUSE, &rejected_by([10, 0, 0, 2]), Some(Confidence::Certain));
        check_cause(&CAUSE, &rejected_by([10, 0, 0, 9]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn our_own_rules_make_it_certain() {
        let ours = |hook, verdict, answers| {
            let firewall = Observed::Seen(Firewall::with_rule(hook, verdict, answers));
            let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
            Facts::healthy().attempting(vec![attempt]).with(|facts| facts.firewall = firewall)
        };
        let dropped = ours(Hook::Output, Verdict::Drop, false);
        check_cause(&CAUSE, &dropped, Some(Confidence::Certain));
        let out = "position 12 ip daddr 10.0.0.9 tcp dport 6379 accept";
        assert!(matches!(&remedy(&dropped)[0], Step::Run { command, on: Where::Here, .. } if command.ends_with(out)));
        check_cause(&CAUSE, &ours(Hook::Input, Verdict::Drop, true), Some(Confidence::Certain));
        check_cause(&CAUSE, &ours(Hook::Input, Verdict::Drop, false), None);
        check_cause(&CAUSE, &ours(Hook::Output, Verdict::Accept, false), None);
        check_cause(&CAUSE, &dropped.refused([10, 0, 0, 9]), None);
    }

    #[test]
    fn the_port_that_the_answers_come_to_decides_where_it_is_known() {
        let ours = |local: Option<&str>| {
            let mut firewall = Firewall::with_rule(Hook::Input, Verdict::Drop, true);
            let ports = Test::Is(Field::ToPort, Values::Numbers(vec![(32_768, 40_000)]));
            let rule = &mut firewall.tables[0].chains[0].rules[0];
            rule.parts.insert(0, Part::Match(Match { negated: false, test: ports }));
            let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
            let attempt = Attempt { local: local.map(|local| local.parse().unwrap()), ..attempt };
            Facts::healthy().attempting(vec![attempt]).with(|facts| facts.firewall = Observed::Seen(firewall))
        };
        check_cause(&CAUSE, &ours(Some("10.0.0.2:40000")), Some(Confidence::Certain));
        check_cause(&CAUSE, &ours(Some("10.0.0.2:40001")), None);
        assert!(diagnose(&ours(None)).causes.iter().all(|cause| cause.support.confidence < Confidence::Certain));
    }

    #[test]
    fn a_rule_of_which_nothing_is_sure_is_a_candidate() {
        let ours = |verdict, packets| {
            let mut firewall = Firewall::with_rule(Hook::Output, verdict, false);
            let rule = &mut firewall.tables[0].chains[0].rules[0];
            rule.packets = packets;
            rule.parts.insert(0, Part::Match(Match { negated: false, test: Test::Unknown("meta skuid 0".to_owned()) }));
            let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
            Facts::healthy().attempting(vec![attempt]).with(|facts| facts.firewall = Observed::Seen(firewall))
        };
        check_cause(&CAUSE, &ours(Verdict::Drop, None), Some(Confidence::Possible));
        assert!(matches!(&remedy(&ours(Verdict::Drop, None))[1], Step::Tell { text, .. } if text.contains("10.0.0.9")));
        check_cause(&CAUSE, &ours(Verdict::Drop, Some(0)), None);
        check_cause(&CAUSE, &ours(Verdict::Accept, None), None);
        let reset = ours(Verdict::Reject(Rejection::Reset), None);
        check_cause(&CAUSE, &reset, None);
        check_cause(&CAUSE, &reset.refused([10, 0, 0, 9]), Some(Confidence::Possible));
    }

    #[test]
    fn an_egress_rule_may_say_unreachable() {
        let by_us = |elapsed_ms| {
            let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::HostUnreachable, "EHOSTUNREACH", elapsed_ms);
            let icmp = Some(Icmp { kind: 3, code: 1, from: [10, 0, 0, 2].into() });
            Facts::healthy().attempting(vec![Attempt { icmp, ..attempt }])
        };
        check_cause(&CAUSE, &by_us(0.2), Some(Confidence::Likely));
        check_cause(&CAUSE, &by_us(23.8), Some(Confidence::Possible));
        let known = by_us(0.2).with(|facts| facts.firewall = Observed::Seen(Firewall::default()));
        check_cause(&CAUSE, &known, None);
        check_cause(&CAUSE, &by_us(1_500.0), Some(Confidence::Possible));
        check_cause(&CAUSE, &by_us(3_080.0), None);
    }

    #[test]
    fn on_a_kubernetes_node_it_may_be_kube_proxy() {
        let facts = rejected_by([10, 0, 0, 2]).with(|facts| {
            if let Observed::Seen(vantage) = &mut facts.vantage {
                vantage.container = Some("kubernetes".to_owned());
            }
        });
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
    }
}
