//! This machine has no route to the target's network.

use super::is_one_host;
use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::{Attempt, Outcome};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "no-route",
    title: "this machine has no route to the target",
    explain: "\
connect(2) failed with ENETUNREACH at once, and no ICMP error came back: the kernel looked the address up in its \
routing tables, found nothing, and sent nothing. Applications say 'Network is unreachable'.

Sure when the routing table really has no entry that covers the address (/proc/net/route, ip route) and there are no \
other tables that a rule (ip rule) could lead to. A router that \
reports an unreachable network sends ICMP 3/0 instead, and takes a round trip.

Repair: bring up the interface or VPN that leads there, or add the route. If the address itself is wrong (a container's \
or pod's internal address used from outside), use one that is reachable from here.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let attempt = unrouted(case.attempts(&tcp::UNREACHABLE))?;
    let ip = attempt.ip?;
    let support = |confidence, because: &str| {
        Support::new(confidence, &[&tcp::UNREACHABLE], format!("no route of this machine leads to {ip}"))
            .because("connect(2)", attempt.says())
            .because("routing table", because)
            .not("router-unreachable", "no ICMP error came back: nothing left this machine")
    };
    let look = Step::look(
        Where::Here,
        format!("ip rule; ip route get {ip}"),
        "more than three rules: one of them or its table may be meant for this address, or refuse it",
    );
    match case.facts.routes.seen() {
        Some(routes) => match routes.to(ip) {
            None if routes.are_all_for(ip) => Some(support(Confidence::Certain, "no entry covers the address")),
            None => Some(support(Confidence::Likely, "no entry of the main table covers it").settled_by(look)),
            Some(_) => None,
        },
        None => Some(support(Confidence::Likely, "it could not be read").settled_by(look)),
    }
}

/// The attempt that met ENETUNREACH from this machine itself.
fn unrouted(attempts: Vec<&Attempt>) -> Option<&Attempt> {
    attempts.into_iter().find(|a| {
        let one_host = a.ip.is_some_and(is_one_host);
        one_host && a.outcome == Outcome::NetUnreachable && a.synchronous && a.icmp.is_none()
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let ip = facts.tcp.seen().and_then(|tcp| tcp.attempts.first()?.ip);
    let target = ip.map_or_else(|| "the target".to_owned(), |ip| ip.to_string());
    let family = if ip.is_some_and(|ip| ip.is_ipv6()) { "ip -6" } else { "ip" };
    vec![
        Step::look(
            Where::Here,
            format!("{family} route"),
            "shows which networks this machine can reach, and through what",
        ),
        Step::tell(
            Where::Here,
            format!(
                "bring up the interface or VPN that leads to {target}, or add a route through the gateway that knows the \
                 way; if {target} is an internal address of a container or pod, use its published address instead"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::route::{Rejection, Route, Routes};

    fn unreachable(routes: Vec<Route>) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::NetUnreachable, "ENETUNREACH", 0.0);
        let facts = Facts::healthy().attempting(vec![Attempt { synchronous: true, ..attempt }]);
        facts.with(|facts| facts.routes = Observed::Seen(Routes { routes, other_tables: false }))
    }

    #[test]
    fn no_entry_is_certain() {
        check_cause(&CAUSE, &unreachable(Vec::new()), Some(Confidence::Certain));
    }

    #[test]
    fn other_tables_leave_it_open() {
        let facts = unreachable(Vec::new());
        let facts = facts.with(|f| f.routes = Observed::Seen(Routes { routes: Vec::new(), other_tables: true }));
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
    }

    #[test]
    fn an_unread_table_is_likely() {
        let facts = unreachable(Vec::new()).with(|facts| facts.routes = Observed::skipped("not linux"));
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
    }

    #[test]
    fn an_entry_that_covers_the_address_is_another_cause() {
        let route = Route {
            network: [10, 0, 0, 0].into(),
            prefix: 8,
            gateway: None,
            interface: "*".to_owned(),
            metric: 0,
            rejects: Some(Rejection::NoInterface),
        };
        check_cause(&CAUSE, &unreachable(vec![route]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
