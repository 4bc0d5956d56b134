//! The handshake passes, and a reset answers the first data.

use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::ping;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::redis::{Conversation, End};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "data-reset",
    title: "something on the way resets the connection when data flows",
    explain: "\
The connection was accepted, and as soon as something was said it was reset. An intrusion prevention system, an \
application-aware firewall, a service mesh, or a stateful firewall that lost track of the connection does that.

From the client it is only a candidate. Redis' own TLS port answers plain bytes with a reset, too (its log then says 'wrong \
version number'), so does a port forwarder without anything behind it (docker-proxy), and a server that dies. Where \
the server's log has no line of it, and 'ss -tn' on its machine still shows our connection, which nobody there has reset, \
it is something on the way.

Repair: allow the application, not only the port, in the device that inspects the traffic.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = [&ping::CLOSED, &ping::CUT_SHORT].into_iter().find_map(|code| case.raised(code))?;
    let dialogue = dialogue(case.facts)?;
    // Both of them: a program that dies does so once.
    let second = dialogue.second.as_ref().is_none_or(|second| is_reset(second) || second.end == End::NotMade);
    let ip = case.facts.tcp.seen()?.connected()?.ip?;
    (is_reset(&dialogue.first) && second && !case.is_own(ip)).then_some(())?;
    let port = case.facts.ask.target.port()?;
    let tells = "our connection is still there: the reset was made on the way; it is not: the server, or what stands \
                 before it, made it (its log then has a line of it: 'wrong version number' is a TLS port)";
    Some(
        Support::new(Confidence::Possible, &[finding.code], "it was accepted, and reset as soon as something was said")
            .on(finding)
            .settled_by(Step::look(redis_host(case.facts), format!("ss -tn 'sport = :{port}'"), tells)),
    )
}

fn is_reset(conversation: &Conversation) -> bool {
    matches!(&conversation.end, End::Broken(errno) if errno == "ECONNRESET" || errno == "EPIPE")
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let port = facts.ask.target.port().unwrap_or_default();
    vec![
        Step::look(
            redis_host(facts),
            "sudo nft -a list ruleset; sudo iptables-legacy-save",
            format!("rules for port {port} that reject with a TCP reset what belongs to a connection"),
        ),
        Step::tell(
            Where::Network,
            format!(
                "in the firewall, intrusion prevention or mesh on the way: allow Redis' protocol on TCP port {port}"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;

    #[test]
    fn a_reset_after_data_is_a_candidate() {
        let reset = || End::Broken("ECONNRESET".to_owned());
        check_cause(&CAUSE, &Facts::healthy().speechless(reset()), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Closed), None);
        check_cause(&CAUSE, &Facts::healthy().speechless(End::Silent), None);
        check_cause(&CAUSE, &Facts::at_home().speechless(reset()), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
