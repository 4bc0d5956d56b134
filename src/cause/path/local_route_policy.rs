//! A route or rule of this machine forbids or swallows the packets.

use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Code, Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::route::Route;
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
    let support = |confidence| {
        Support::new(confidence, &[code], summary.clone())
            .because("connect(2)", attempt.says())
            .not("host-down", "the answer came at once, without an ICMP error: nothing was sent")
    };
    match route {
        Some(route) if route.rejects => {
            Some(support(Confidence::Certain).because("routing table", format!("{} is rejected", route.name())))
        }
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
        let here = attempts.into_iter().find(|attempt| attempt.synchronous && attempt.icmp.is_none());
        here.map(|attempt| (code, attempt))
    })
}

fn kind(attempt: &Attempt) -> &'static str {
    match attempt.outcome {
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
    let route = attempt.and_then(|attempt| facts.routes.seen()?.to(attempt.ip?)).filter(|route| route.rejects);
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

    fn refused(outcome: Outcome, errno: &str, rejects: bool) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), outcome, errno, 0.0);
        let interface = if rejects { "*" } else { "eth0" }.to_owned();
        let route = Route { network: [10, 0, 0, 0].into(), prefix: 8, gateway: None, interface, rejects };
        Facts::healthy()
            .attempting(vec![Attempt { synchronous: true, ..attempt }])
            .with(|facts| facts.routes = Observed::Seen(Routes { routes: vec![route] }))
    }

    #[test]
    fn a_rejecting_entry_is_certain_and_can_be_removed() {
        let facts = refused(Outcome::Denied, "EACCES", true);
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        let remedy = &diagnose(&facts).causes[0].remedy;
        let command =
            |step: &Step| matches!(step, Step::Run { command, .. } if command.ends_with("del prohibit 10.0.0.0/8"));
        assert!(remedy.iter().any(command));
        check_cause(&CAUSE, &refused(Outcome::Invalid, "EINVAL", true), Some(Confidence::Certain));
        check_cause(&CAUSE, &refused(Outcome::NetUnreachable, "ENETUNREACH", true), Some(Confidence::Certain));
    }

    #[test]
    fn without_an_entry_a_rule_or_selinux_may_be_behind_it() {
        check_cause(&CAUSE, &refused(Outcome::Denied, "EACCES", false), Some(Confidence::Likely));
        check_cause(&CAUSE, &refused(Outcome::HostUnreachable, "EHOSTUNREACH", false), Some(Confidence::Likely));
    }

    #[test]
    fn what_comes_later_or_by_icmp_is_not_local() {
        let late = Attempt::failed([10, 0, 0, 9].into(), Outcome::HostUnreachable, "EHOSTUNREACH", 3080.0);
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![late]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
