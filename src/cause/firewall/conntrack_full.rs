//! The table of connection tracking is full: the kernel drops new connections.

use super::not_by_rules;
use crate::cause::{Case, Cause, redis_host};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support};
use crate::probe::Facts;
use crate::probe::host::network::Conntrack;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "conntrack-full",
    title: "the server's table of connections is full",
    explain: "\
A stateful firewall, NAT, Docker or Kubernetes let the kernel keep a table of all connections (nf_conntrack). When it is \
full, the packets of new connections are dropped, at random as old entries expire: connections time out now and then, \
under load, while those that exist go on.

Certain when the kernel has logged 'nf_conntrack: table full, dropping packet' within the last ten minutes and the table \
is still full but for a few; likely by one of the two. The kernel's log may be read by root only.

Repair: raise net.netfilter.nf_conntrack_max, and see what fills the table (applications that connect for every command).",
    infer,
    remedy,
};

/// What the kernel logged before is over.
const OF_LATE_S: u64 = 10 * 60;

fn infer(case: &Case) -> Option<Support> {
    let attempt = *case.attempts(&tcp::TIMEOUT).first()?;
    let (host, table) = (case.host()?, table(case.facts)?);
    let logged = table.full_s_ago.filter(|ago| *ago <= OF_LATE_S);
    let nearly = table.max > 0 && table.count.saturating_mul(100) >= table.max.saturating_mul(95);
    let confidence = match (logged, table.is_full(), nearly) {
        (Some(_), _, true) => Confidence::Certain,
        (Some(_), _, false) | (None, true, _) => Confidence::Likely,
        (None, false, _) => return None,
    };
    let summary = format!("{} of {} connections are in the table, and new ones are dropped", table.count, table.max);
    let mut support =
        Support::new(confidence, &[&tcp::TIMEOUT], summary).because("connect(2)", attempt.says()).because(
            host.source("/proc/sys/net/netfilter"),
            format!("nf_conntrack_count {}, nf_conntrack_max {}", table.count, table.max),
        );
    if let Some(ago) = logged {
        let says = format!("nf_conntrack: table full, dropping packet, {ago} s before");
        support = support.because(host.source("the kernel's log"), says);
    }
    let support = not_by_rules(case, attempt, support);
    Some(if confidence == Confidence::Certain { support } else { support.settled_by(look(case.facts)) })
}

fn table(facts: &Facts) -> Option<&Conntrack> {
    facts.server_host().ok()?.network.seen()?.conntrack.as_ref()
}

fn look(facts: &Facts) -> Step {
    let command =
        "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; sudo dmesg | grep 'table full'";
    Step::look(redis_host(facts), command, "a count at the maximum and lines of the last minutes: this is it")
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let doubled = table(facts).map_or(262_144, |table| table.max.saturating_mul(2));
    vec![
        look(facts),
        Step::tell(
            on.clone(),
            format!(
                "raise it: sudo sysctl -w net.netfilter.nf_conntrack_max={doubled} (each entry takes about 300 bytes), and \
                 keep it in /etc/sysctl.d; on a container's machine, on the machine itself"
            ),
        ),
        Step::tell(on, "see who fills it: sudo conntrack -L, or ss -s; let applications keep and share connections"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;
    use crate::probe::path::tcp::{Attempt, Outcome};

    fn table(count: u64, full_s_ago: Option<u64>) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
        let conntrack = Some(Conntrack { count, max: 1000, full_s_ago });
        Facts::joined().attempting(vec![attempt]).host(|host| seen(&mut host.network).conntrack = conntrack)
    }

    #[test]
    fn the_log_and_the_count_make_it_certain() {
        check_cause(&CAUSE, &table(990, Some(30)), Some(Confidence::Certain));
        check_cause(&CAUSE, &table(1000, None), Some(Confidence::Likely));
        check_cause(&CAUSE, &table(400, Some(30)), Some(Confidence::Likely));
    }

    #[test]
    fn what_is_over_is_no_cause() {
        check_cause(&CAUSE, &table(990, None), None);
        check_cause(&CAUSE, &table(400, Some(7_200)), None);
        check_cause(&CAUSE, &table(1000, None).refused([10, 0, 0, 9]), None);
        check_cause(&CAUSE, &Facts::joined(), None);
    }
}
