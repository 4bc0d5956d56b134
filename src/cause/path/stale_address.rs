//! A program keeps an address that its target's name does not have any more.

use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::others::Other;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "stale-address",
    title: "a program keeps an address that the name does not have any more",
    explain: "\
The name was given another address (a pod was replaced, a failover, a new instance), and a program that resolved it before \
keeps the old one: a client library that resolves once, a pool, a Sentinel or a proxy that was told an address. Its attempts \
time out or are refused, while every new program, redisdoc too, connects; restarting it helps.

redisdoc looks for sockets of this machine that wait for an answer at the same port of addresses that the name does not have. \
It is only a candidate: that program may mean another Redis on that port, which is down.

Repair: let the program resolve the name again (restart it once); have it resolve with every new connection, and have \
connections time out: JVMs keep addresses for ever with networkaddress.cache.ttl=-1, Sentinels want resolve-hostnames.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&tcp::STALE)?;
    let other = first(case.facts)?;
    let host = case.facts.ask.target.host()?;
    let summary = format!("{} waits at {}, which is no address of {host} now", other.owner(), other.to);
    let port = case.facts.ask.target.port()?;
    let tells = format!("the programs that wait at {}: if one of them means {host}, this is it", other.to);
    let command = format!("sudo ss -tnpo state syn-sent state established 'dport = :{port}'");
    let support = Support::new(Confidence::Possible, &[&tcp::STALE], summary).on(finding);
    Some(support.settled_by(Step::look(Where::Here, command, tells)))
}

fn first(facts: &Facts) -> Option<&Other> {
    facts.others.seen()?.first()
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let who = first(facts).map_or_else(|| "the program".to_owned(), Other::owner);
    let host = facts.ask.target.host().unwrap_or("the name");
    vec![
        Step::tell(Where::Here, format!("if {who} means {host}: restart it, so that it resolves the name again")),
        Step::tell(
            Where::Here,
            "then have it resolve the name with every new connection, and let attempts time out soon",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;

    #[test]
    fn who_waits_elsewhere_is_a_candidate() {
        let other =
            Other { to: [10, 0, 0, 7].into(), established: false, retries: 1, uid: 33, pid: None, program: None };
        let facts = Facts::healthy().with(|facts| facts.others = Observed::Seen(vec![other]));
        check_cause(&CAUSE, &facts, Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().with(|facts| facts.others = Observed::Seen(Vec::new())), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
