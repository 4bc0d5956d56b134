//! A packet filter swallows the packets, or the answers to them.

use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::{ping, tcp};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "firewall-drop",
    title: "a firewall drops the packets",
    explain: "\
No answer came to several SYNs, neither a reset nor an ICMP error: something on the way, on the server or on this machine \
drops them silently. That is what host firewalls with a DROP policy (ufw's 'deny'), cloud security groups and network \
policies do.

From the client it cannot be told from a route back that is missing, from a host that is gone behind a router that says \
nothing, or from a server whose accept queue is full. The server's own side settles it: when connections in state \
SYN-RECV from this client show up there, the packets arrive and the answers are lost; when nothing shows up, they are \
dropped before.

Repair: allow the client's address to reach the Redis port, where the packets are dropped.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    no_answer(case).or_else(|| lost_data(case))
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
    let port = case.facts.ask.target.port()?;
    let on = if case.is_own(ip) { Where::Here } else { Where::RedisHost };
    let tells =
        "a line with the client's address: the packets arrive and the answers are lost; none: they are dropped before";
    let summary = format!("nothing answers for {}: the packets, or the answers to them, are dropped", attempt.address);
    Some(
        Support::new(Confidence::Possible, &[&tcp::TIMEOUT], summary)
            .because("connect(2)", attempt.says())
            .not("not-running", "a closed port would have answered with a reset")
            .settled_by(Step::look(on, format!("ss -tn state syn-recv 'sport = :{port}'"), tells)),
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
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
    use crate::probe::path::redis::End;
    use crate::probe::path::tcp::{Attempt, Outcome};

    #[test]
    fn bytes_that_were_never_acknowledged_may_be_dropped() {
        let silent = Facts::healthy().speechless(End::Silent);
        check_cause(&CAUSE, &silent.clone().unheard(50), Some(Confidence::Possible));
        check_cause(&CAUSE, &silent.clone().unheard(0), None);
        check_cause(&CAUSE, &silent, None);
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
