//! A proxy or tunnel listens on other addresses than the asked one: on loopback alone, most often.

use std::net::IpAddr;

use crate::cause::{Case, Cause, redis_host};
use crate::check::{process, tcp};
use crate::model::{Confidence, Step, Support};
use crate::probe::Facts;
use crate::probe::host::process::Process;
use crate::probe::host::socket::Listener;
use crate::probe::path::vantage::is_this_machine;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "proxy-on-loopback",
    title: "a proxy or tunnel listens on other addresses only, as on loopback",
    explain: "\
What listens on the port is a program that passes connections on, and it does so on 127.0.0.1 or ::1 only: that is what 'ssh -L' \
and 'kubectl port-forward' do unless told otherwise, what sshd does with 'ssh -R' unless 'GatewayPorts' allows more, and what a \
'bind' or 'listen' with 127.0.0.1 in the configuration of HAProxy, nginx or stunnel says, or '-p 127.0.0.1:…' of a container. At \
any other address of the machine the connection is refused. So it is where such a line names one of the machine's addresses, and \
another is asked.

The machine's listeners show it: the port is there, and not at that address. Whether the proxy is what is meant at that \
address is not to be seen, and so it is likely, not certain. Redis' own 'bind' has nothing to do with it.

Repair: ask at the address that the proxy has, if there is one that clients reach; or let it listen on the one that they use, after Redis behind it has a password: who reaches the proxy \
reaches Redis, and protected mode takes the proxy for a local client.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&process::PROXY_ELSEWHERE)?;
    let (proxy, listeners) = holder(case.facts)?;
    let asked = asked(case.facts, &listeners)?;
    let summary =
        format!("{} listens on {}, and {asked} is refused", process::who(proxy), process::addresses(&listeners));
    let support = Support::new(Confidence::Likely, &[&tcp::REFUSED, &process::PROXY_ELSEWHERE], summary).on(finding);
    let tells = "the proxy or tunnel by which the clients are to reach Redis: this is it; another: Redis is meant to be there itself";
    let look = Step::look(redis_host(case.facts), format!("ps -o args= -p {}", proxy.pid), tells);
    Some(support.not("loopback-only", "what listens there is no Redis").settled_by(look))
}

/// The address that nobody listens on. Where loopback is asked, only the other family of it may be meant.
fn asked(facts: &Facts, listeners: &[&Listener]) -> Option<IpAddr> {
    let is_apart = listeners.iter().any(|at| !at.ip.is_loopback());
    facts.asked_addresses().into_iter().find(|ip| is_apart || !is_this_machine(*ip))
}

/// The proxy that has the port, and where.
fn holder(facts: &Facts) -> Option<(&Process, Vec<&Listener>)> {
    let (host, port) = (facts.server_host().ok()?, facts.ask.target.port()?);
    let proxy = process::forwarder(host, port)?;
    Some((proxy, process::listeners_of(host, port, proxy)))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let (on, port) = (redis_host(facts), facts.ask.target.port().unwrap_or_default());
    let (name, listeners) =
        holder(facts).map_or_else(|| ("", Vec::new()), |(proxy, listeners)| (proxy.name.as_str(), listeners));
    let ip = asked(facts, &listeners);
    let apart: Vec<&Listener> = listeners.into_iter().filter(|at| !at.ip.is_loopback()).collect();
    let other = format!(
        "ask at the address that the proxy has, if it is that one that is meant: {}",
        process::addresses(&apart)
    );
    let other = (!apart.is_empty()).then(|| Step::tell(on.clone(), other));
    let wider = [
        Step::tell(
            on.clone(),
            "see that Redis behind it has a password: protected mode takes what comes through a proxy for local",
        ),
        Step::tell(on.clone(), wider(name, ip, port)),
        Step::tell(on, "let only the clients' addresses through the firewall to that port"),
    ];
    other.into_iter().chain(wider).collect()
}

/// How a program of this name is told to listen on this address, too.
fn wider(name: &str, ip: Option<IpAddr>, port: u16) -> String {
    let bare = ip.map_or_else(|| "ADDRESS".to_owned(), |ip| ip.to_string());
    let is_v6 = ip.is_some_and(|ip| ip.is_ipv6());
    let at = if is_v6 { format!("[{bare}]") } else { bare.clone() };
    match name {
        "ssh" | "autossh" => format!("name the address in the tunnel's arguments: ssh -L {at}:{port}:…"),
        "sshd" | "sshd-session" => format!(
            "let the tunnel ask for the address, ssh -R {at}:{port}:…, and allow it with 'GatewayPorts clientspecified' in \
             /etc/ssh/sshd_config (sudo systemctl reload ssh)"
        ),
        "kubectl" => format!("name the address: kubectl port-forward --address {bare} …"),
        "docker-proxy" | "rootlessport" => {
            format!("publish the port at the address: docker run -p {at}:{port}:…, 'ports' in compose.yaml")
        }
        "haproxy" => format!("add {at}:{port} to the 'bind' line in the configuration of HAProxy, and reload it"),
        "nginx" => format!("add 'listen {at}:{port};' beside the other in the configuration of nginx, and reload it"),
        "stunnel" | "stunnel4" => {
            format!(
                "add a service to stunnel's configuration, as the other but for its name and 'accept = {bare}:{port}' (a service \
                 has one; no brackets), and restart it"
            )
        }
        // TCP-LISTEN is of IPv4 unless told otherwise.
        "socat" if is_v6 => {
            format!(
                "start another beside it with TCP6-LISTEN:{port},bind={at},fork,reuseaddr in the place of its first address"
            )
        }
        "socat" => {
            format!(
                "start another beside it with TCP4-LISTEN:{port},bind={at},fork,reuseaddr in the place of its first address"
            )
        }
        _ => format!("let it listen on {at}:{port}, in its configuration or arguments"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::probe::healthy_host::seen;

    /// The port is a program's that is no Redis server.
    fn of(name: &str, facts: Facts) -> Facts {
        facts.host(|host| {
            let processes = seen(&mut host.processes);
            let stranger = Process { name: name.to_owned(), ..processes.servers.remove(0) };
            seen(&mut host.sockets).tcp.iter_mut().for_each(|at| at.owner = Some(stranger.pid));
            processes.strangers.push(stranger);
        })
    }

    #[test]
    fn a_proxy_on_loopback_is_likely_it_and_never_a_redis() {
        for name in ["ssh", "haproxy", "docker-proxy"] {
            let facts = of(name, Facts::on_loopback());
            check_cause(&CAUSE, &facts, Some(Confidence::Likely));
            let found = diagnose(&facts).causes;
            assert_eq!(found[0].id, "proxy-on-loopback");
            assert!(found.iter().all(|cause| cause.id != "loopback-only"));
        }
        check_cause(&CAUSE, &Facts::on_loopback(), None);
        check_cause(&CAUSE, &of("python3", Facts::on_loopback()), None);
        let apart = of("ssh", Facts::joined().listening(&["10.0.0.7:6379"]).refused([10, 0, 0, 9]));
        check_cause(&CAUSE, &apart, Some(Confidence::Likely));
        let steps = format!("{:?}", remedy(&apart));
        assert!(steps.contains("ask at the address that the proxy has") && steps.contains("10.0.0.7:6379"), "{steps}");
        check_cause(&CAUSE, &of("ssh", Facts::on_loopback().refused([127, 0, 0, 1])), None);
        check_cause(&CAUSE, &of("ssh", Facts::joined()), None);
    }

    #[test]
    fn each_program_is_told_in_its_own_words() {
        let ip = Some(IpAddr::from([10, 0, 0, 9]));
        assert!(wider("ssh", ip, 6379).ends_with("ssh -L 10.0.0.9:6379:…"));
        assert!(wider("sshd", ip, 6379).contains("GatewayPorts"));
        assert!(wider("haproxy", None, 6379).contains("ADDRESS:6379 to the 'bind'"));
        let ip = Some(IpAddr::from([0xfd00, 0x12, 0, 0, 0, 0, 0, 1]));
        assert!(wider("haproxy", ip, 6379).contains("[fd00:12::1]:6379 to the 'bind'"));
        assert!(wider("stunnel4", ip, 6379).contains("'accept = fd00:12::1:6379'"));
        assert!(wider("socat", ip, 6379).contains("TCP6-LISTEN:6379,bind=[fd00:12::1]"));
        assert!(wider("kubectl", ip, 6379).contains("--address fd00:12::1 "));
    }
}
