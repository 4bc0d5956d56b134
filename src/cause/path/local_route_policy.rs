//! A route or rule of this machine forbids or swallows the packets.

use super::is_one_host;
use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Code, Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::route::{Rejection, Route};
use crate::probe::path::tcp::{Attempt, Outcome};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "local-route-policy",
    title: "a route of this machine forbids the connection",
    explain: "\
connect(2) failed at once and nothing was sent, because a routing entry or rule of this very machine says so. The kernel \
tells which kind by the errno: prohibit EACCES ('Permission denied'), unreachable EHOSTUNREACH ('No route to host'), \
blackhole EINVAL ('Invalid argument'), throw ENETUNREACH. VPN kill-switches, container network plugins and hardening \
scripts install such routes.

Sure when the main routing table shows a rejecting entry for the address. Policy rules (ip rule) and their tables are \
not visible there, and a security module (SELinux) answers EACCES too: then it is only likely.

Repair: connect the VPN that the route guards, or remove the entry.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let (code, attempt) = refused_here(case)?;
    let ip = attempt.ip?;
    let summary = format!("this machine refuses to send to {ip}: {}", kind(attempt));
    let route = case.facts.routes.seen().and_then(|routes| routes.to(ip));
    let sees_all = case.facts.routes.seen().is_some_and(|routes| routes.are_all_for(ip));
    let support = |confidence| {
        Support::new(confidence, &[code], summary.clone())
            .because("connect(2)", attempt.says())
            .not("host-down", "the answer came at once, without an ICMP error: nothing was sent")
    };
    match route {
        // With other tables, another route may have decided: then it is only likely.
        Some(route) if is_of_its_kind(route, attempt) && sees_all => {
            Some(support(Confidence::Certain).because("routing table", format!("{} is rejected", route.name())))
        }
        _ if is_filtered(attempt) => Some(support(Confidence::Possible).settled_by(Step::look(
            Where::Here,
            "ip xfrm policy; ip rule",
            "an IPsec policy with action block; else a BPF filter, seccomp or a security module forbids it",
        ))),
        // Without any entry the kernel says ENETUNREACH by itself: that is no-route.
        None if attempt.outcome == Outcome::NetUnreachable => None,
        _ => Some(support(Confidence::Likely).settled_by(Step::look(
            Where::Here,
            format!("ip rule; ip route get {ip}; getenforce"),
            "shows the rule or table that refuses; 'Enforcing' means SELinux may forbid it instead",
        ))),
    }
}

/// The first attempt that this machine itself refused, with the code it raised.
fn refused_here<'a>(case: &Case<'a>) -> Option<(&'static Code, &'a Attempt)> {
    let codes: [&'static Code; 2] = [&tcp::DENIED, &tcp::UNREACHABLE];
    codes.into_iter().find_map(|code| {
        let attempts = case.attempts(code);
        let here = attempts.into_iter().find(|a| a.synchronous && a.icmp.is_none() && a.ip.is_some_and(is_one_host));
        here.map(|attempt| (code, attempt))
    })
}

/// EPERM comes from filters (xfrm, BPF, seccomp), never from a route.
fn is_filtered(attempt: &Attempt) -> bool {
    attempt.errno.as_deref() == Some("EPERM")
}

/// True if the table shows a route that fails with this very errno.
fn is_of_its_kind(route: &Route, attempt: &Attempt) -> bool {
    let errno = attempt.errno.as_deref().unwrap_or_default();
    match route.rejects {
        Some(Rejection::Flagged) => {
            matches!(errno, "EACCES" | "EHOSTUNREACH") || route.network.is_ipv6() && errno != "EPERM"
        }
        Some(Rejection::NoInterface) => matches!(errno, "EINVAL" | "ENETUNREACH"),
        None => false,
    }
}

fn kind(attempt: &Attempt) -> &'static str {
    match attempt.outcome {
        Outcome::Denied if is_filtered(attempt) => "the errno, EPERM, is that of a filter or an IPsec policy",
        Outcome::Denied => "the errno is that of a prohibit route",
        Outcome::Invalid => "the errno is that of a blackhole route",
        Outcome::NetUnreachable => "the errno is that of a throw route",
        _ => "the errno is that of an unreachable route",
    }
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let mut steps =
        vec![Step::tell(Where::Here, "if a VPN client installed the route as a kill-switch, connect the VPN")];
    let attempt = facts.tcp.seen().and_then(|tcp| tcp.attempts.iter().find(|attempt| attempt.synchronous));
    let route =
        attempt.and_then(|attempt| facts.routes.seen()?.to(attempt.ip?).filter(|route| is_of_its_kind(route, attempt)));
    if let (Some(attempt), Some(route)) = (attempt, route) {
        let command = format!("sudo {}", delete(attempt, route));
        steps.push(Step::run(Where::Here, Risk::Safe, "remove the route, if nothing else needs it", command));
    } else {
        steps.push(Step::tell(Where::Here, "remove the rule (ip rule) or the route of another table that refuses"));
    }
    steps
}

fn delete(attempt: &Attempt, route: &Route) -> String {
    let kind = match attempt.outcome {
        Outcome::Denied => "prohibit",
        Outcome::Invalid => "blackhole",
        Outcome::NetUnreachable => "throw",
        _ => "unreachable",
    };
    let family = if route.network.is_ipv6() { "ip -6" } else { "ip" };
    format!("{family} route del {kind} {}", route.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;
    use crate::probe::path::route::Routes;

    fn refused(outcome: Outcome, errno: &str, rejects: Option<Rejection>) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), outcome, errno, 0.0);
        let interface = if rejects.is_some() { "*" } else { "eth0" }.to_owned();
        let route = Route { network: [10, 0, 0, 0].into(), prefix: 8, gateway: None, interface, metric: 0, rejects };
        Facts::healthy()
            .attempting(vec![Attempt { synchronous: true, ..attempt }])
            .with(|facts| facts.routes = Observed::Seen(Routes { routes: vec![route], other_tables: false }))
    }

    #[test]
    fn a_rejecting_entry_is_certain_and_can_be_removed() {
        let facts = refused(Outcome::Denied, "EACCES", Some(Rejection::Flagged));
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        let remedy = &diagnose(&facts).causes[0].remedy;
        let command =
            |step: &Step| matches!(step, Step::Run { command, .. } if command.ends_with("del prohibit 10.0.0.0/8"));
        assert!(remedy.iter().any(command));
        check_cause(
            &CAUSE,
            &refused(Outcome::Invalid, "EINVAL", Some(Rejection::NoInterface)),
            Some(Confidence::Certain),
        );
        check_cause(
            &CAUSE,
            &refused(Outcome::NetUnreachable, "ENETUNREACH", Some(Rejection::NoInterface)),
            Some(Confidence::Certain),
        );
    }

    #[test]
    fn without_an_entry_a_rule_or_selinux_may_be_behind_it() {
        check_cause(&CAUSE, &refused(Outcome::Denied, "EACCES", None), Some(Confidence::Likely));
        check_cause(&CAUSE, &refused(Outcome::HostUnreachable, "EHOSTUNREACH", None), Some(Confidence::Likely));
    }

    #[test]
    fn a_filter_is_no_route() {
        check_cause(&CAUSE, &refused(Outcome::Denied, "EPERM", Some(Rejection::Flagged)), Some(Confidence::Possible));
        check_cause(&CAUSE, &refused(Outcome::Denied, "EPERM", None), Some(Confidence::Possible));
    }

    #[test]
    fn a_route_of_another_kind_did_not_do_it() {
        let facts = refused(Outcome::Invalid, "EINVAL", Some(Rejection::Flagged));
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
    }

    #[test]
    fn what_comes_later_or_by_icmp_is_not_local() {
        let late = Attempt::failed([10, 0, 0, 9].into(), Outcome::HostUnreachable, "EHOSTUNREACH", 3080.0);
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![late]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
