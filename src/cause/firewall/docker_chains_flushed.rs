//! The rules by which Docker sends a published port to its container are gone.

use super::flushed;
use crate::cause::{Case, Cause, redis_host};
use crate::check::tcp;
use crate::model::{Code, Confidence, Step, Support};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "docker-chains-flushed",
    title: "the rules that lead to the container's published port are gone",
    explain: "\
Docker publishes a port by rules in its chains of the nat table (DOCKER), which send it to the container; a process \
docker-proxy stands by for what they do not cover. When firewalld or ufw is reloaded, or somebody flushes iptables, the \
rules are gone while the container is healthy and docker ps still shows the port. Then connections from outside come to \
the machine itself, where its firewall drops or rejects them.

redisdoc sees the docker-proxy of the port and no rule that sends the port anywhere. A Docker that was told to leave \
iptables alone ('iptables': false in daemon.json) looks the same, so this is likely at most.

Repair: restart Docker, which writes its rules anew; and let it start after the firewall.",
    infer,
    remedy,
};

/// What the packets may meet that come to the machine itself.
const CODES: [&Code; 4] = [&tcp::TIMEOUT, &tcp::REFUSED, &tcp::REJECTED, &tcp::UNREACHABLE];

fn infer(case: &Case) -> Option<Support> {
    let (published, host) = (flushed(case.facts)?, case.host()?);
    let raised = case.all_raised(&CODES);
    raised.first()?;
    let summary = format!("port {} is published for {}, and no rule leads there", published.port, published.to);
    let proxy = format!("docker-proxy (pid {}) stands for port {}", published.pid, published.port);
    Some(
        Support::new(Confidence::Likely, &raised, summary)
            .because(host.source("/proc"), proxy)
            .because(host.source("the nat rules"), format!("none sends port {} to {}", published.port, published.to))
            .settled_by(look(case.facts)),
    )
}

fn look(facts: &Facts) -> Step {
    let tells = "no DNAT line for the port: this is it, unless /etc/docker/daemon.json says \"iptables\": false";
    Step::look(redis_host(facts), "sudo iptables -t nat -S DOCKER; docker ps", tells)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    vec![
        look(facts),
        Step::tell(
            redis_host(facts),
            "restart Docker, which writes its rules anew: sudo systemctl restart docker (containers without 'live-restore' \
             are restarted, too); and after each reload of the firewall",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::network::Published;

    fn published(ip: [u8; 4]) -> Facts {
        let port = Published { pid: 900, ip: ip.into(), port: 6379, to: "172.17.0.2:6379".parse().unwrap() };
        Facts::joined().host(|host| seen(&mut host.network).published = vec![port])
    }

    #[test]
    fn likely_where_nothing_leads_to_the_container() {
        check_cause(&CAUSE, &published([0, 0, 0, 0]).refused([10, 0, 0, 9]), Some(Confidence::Likely));
        check_cause(&CAUSE, &published([0, 0, 0, 0]), None);
        // Another address of the machine.
        check_cause(&CAUSE, &published([10, 9, 9, 9]).refused([10, 0, 0, 9]), None);
        check_cause(&CAUSE, &Facts::joined().refused([10, 0, 0, 9]), None);
    }

    #[test]
    fn rules_that_were_not_read_may_be_there() {
        let hidden = published([0, 0, 0, 0]).refused([10, 0, 0, 9]);
        let hidden = hidden.host(|host| host.firewall = crate::model::Observed::skipped("not looked at"));
        check_cause(&CAUSE, &hidden, None);
    }
}
