//! The sidecar of a service mesh takes the connection and resets it.

use std::net::{IpAddr, SocketAddr};

use crate::cause::{Case, Cause, dialogue};
use crate::check::{ping, tcp};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::firewall::rules::{Part, Verdict};
use crate::probe::host::firewall::walk::Doubt;
use crate::probe::path::mesh::Mesh;
use crate::probe::path::redis::End;
use crate::probe::path::tcp::{Attempt, Outcome};

/// The ports of sidecars that a rule leads connections to.
const SIDECARS: [u16; 3] = [15_001, 15_006, 4_140];

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "mesh-reset",
    title: "a redirect on this side, as that of a mesh's sidecar, takes the connection",
    explain: "\
In a service mesh (Istio, Linkerd, Consul) a redirect of the packet filter leads what leaves the pod to a sidecar, which \
accepts connections to anywhere itself. Where it speaks mutual TLS to a Redis outside of the mesh, or plain text into a \
mesh that wants TLS (STRICT), or has no route, it resets or closes the connection as soon as something is said. Clients report \
'Connection reset by peer' right after a connection that was made suspiciously fast.

Signs that redisdoc looks for on this side: the ports of sidecars (15001, 4140) are listened on; a connection is accepted \
whose packets may pass no router, though the way leads through one; as root, the rule that redirects. With the rule or \
the packets it is likely, with the port alone possible: the server may still reset for reasons of its own. An end in order is so common that it takes the rule, or port and packets.

A rule that leads to another port is not a sidecar's: another proxy of this machine takes the connection then. Where nobody \
listens at the place that it leads to, the connection is refused, whatever the server does.

Repair: leave Redis' port out of the mesh, or tell the mesh how Redis is spoken to (DestinationRule, PeerAuthentication). Of \
another proxy: mend what is behind it, or take the rule away.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    if let Some(support) = by_nobody(case) {
        return Some(support);
    }
    let finding = [&ping::CLOSED, &tcp::RESET].into_iter().find_map(|code| case.raised(code))?;
    let mesh = case.facts.mesh.seen()?;
    let redirect = redirect(case.facts);
    let near = mesh.near == Some(true);
    (redirect.is_some() || mesh.is_likely()).then_some(())?;
    let sure = match &redirect {
        Some(redirect) => redirect.is_sure || redirect.is_of_mesh(),
        None => near && !mesh.listeners.is_empty(),
    };
    // Whoever closes in order has more reasons to than whoever resets.
    let closes = dialogue(case.facts).is_some_and(|dialogue| dialogue.first.end == End::Closed);
    (sure || redirect.is_some() || !closes).then_some(())?;
    let confidence = if sure { Confidence::Likely } else { Confidence::Possible };
    let ends = if closes { "closes" } else { "resets" };
    let summary = format!("something on this side of the network accepts what is meant for Redis, and {ends} it");
    let mut support = Support::new(confidence, &[finding.code], summary).on(finding);
    let is_other = redirect.as_ref().is_some_and(|redirect| !redirect.is_of_mesh());
    for port in mesh.listeners.iter().filter(|_| !is_other) {
        support =
            support.because("sock_diag(7)", format!("port {port} of this machine is listened on: {}", whose(*port)));
    }
    if let (true, Some(gateway)) = (near, mesh.gateway) {
        let says = format!("accepted with a TTL of 1, though the way leads through the gateway {gateway}");
        support = support.because("connect(2)", says);
    }
    if let Some(redirect) = redirect {
        support = support.because("the packet filter", redirect.says);
    }
    let tells = "the same check from where there is no sidecar: it works there, and this is it";
    let look = Step::look(Where::Network, case.facts.ask.target.check_command(), tells);
    Some(support.settled_by(look))
}

/// A rule of this machine leads what is refused to where nobody listens: the server was never asked.
fn by_nobody(case: &Case) -> Option<Support> {
    let misled = misled(case.facts)?;
    let summary = format!(
        "a rule of this machine sends what is meant for {} to {}, where it is refused",
        misled.asked,
        misled.place()
    );
    let support = Support::new(Confidence::Likely, &[&tcp::REFUSED], summary).on(case.raised(&tcp::REFUSED)?);
    Some(support.because("the packet filter", misled.says.clone()).settled_by(misled.look()))
}

/// An attempt that was refused elsewhere than where it was meant for.
struct Misled {
    /// The address that was meant.
    asked: IpAddr,
    /// Where it went, and whether that is this machine.
    to: (IpAddr, u16),
    is_here: bool,
    /// The rule.
    says: String,
}

impl Misled {
    fn place(&self) -> String {
        let (ip, port) = self.to;
        if self.is_here { format!("port {port} of this machine") } else { SocketAddr::new(ip, port).to_string() }
    }

    fn look(&self) -> Step {
        let (ip, port) = self.to;
        if self.is_here {
            let tells = "nothing: this is it; a program: see where it leads, and why it refuses";
            return Step::look(Where::Here, format!("sudo ss -ltnp 'sport = :{port}'"), tells);
        }
        let tells = "refused: this is it, and what is said there is about the place that the rule leads to";
        Step::look(Where::Here, format!("redisdoc check -h {ip} -p {port}"), tells)
    }
}

fn misled(facts: &Facts) -> Option<Misled> {
    let is_refused = |attempt: &&Attempt| attempt.outcome == Outcome::Refused && attempt.icmp.is_none();
    let asked = facts.tcp.seen()?.attempts.iter().find(is_refused)?.ip?;
    let there = facts.departure(asked).ok()?.there;
    let (place, (ip, port)) = (there.translated_by.as_ref()?, there.to);
    let port = port.or_else(|| facts.ask.target.port())?;
    Some(Misled { asked, to: (ip, port), is_here: is_here(facts, ip), says: place.says() })
}

/// True for an address of this machine.
fn is_here(facts: &Facts, ip: IpAddr) -> bool {
    let own = facts.vantage.seen().map_or(&[][..], |vantage| vantage.own_addresses.as_slice());
    ip.is_loopback() || ip.is_unspecified() || own.contains(&ip)
}

/// Whose a port is.
fn whose(port: u16) -> &'static str {
    match port {
        4_140 => "Linkerd's sidecar has it",
        _ => "Envoy has it in the sidecars of Istio, Consul and Kuma",
    }
}

/// A rule of this machine that leads the connection to this machine itself.
struct Redirect {
    /// To which port.
    port: Option<u16>,
    /// The rule.
    says: String,
    /// False if it cannot be told whether it meets this connection: by the user that asks, or the interface.
    is_sure: bool,
}

impl Redirect {
    /// True if it leads to a port of the sidecars that are known.
    fn is_of_mesh(&self) -> bool {
        self.port.is_some_and(|port| SIDECARS.contains(&port))
    }
}

fn redirect(facts: &Facts) -> Option<Redirect> {
    let ip = facts.tcp.seen()?.attempts.iter().find(|attempt| attempt.is_taken())?.ip?;
    let is_here = |to: IpAddr| is_here(facts, to);
    let there = facts.departure(ip).ok()?.there;
    let to = |port: Option<u16>| port.map_or_else(String::new, |port| format!("port {port} of "));
    if let Some(place) = &there.translated_by {
        let (at, port) = there.to;
        let says = format!("what is meant for {ip} is sent to {}this machine: {}", to(port), place.says());
        return is_here(at).then_some(Redirect { port, says, is_sure: true });
    }
    let asked = facts.ask.target.port()?;
    let maybe = there.doubts.iter().find_map(|doubt| Some((doubt, Some(leads_here(doubt, asked, is_here)?))));
    maybe.map(|(doubt, port)| {
        let says = format!("what is meant for {ip} may be sent to {}this machine: {}", to(port), doubt.at.says());
        Redirect { port, says, is_sure: false }
    })
}

/// The port of this machine that a rule would lead to, if it leads here.
fn leads_here(doubt: &Doubt, asked: u16, is_here: impl Fn(IpAddr) -> bool) -> Option<u16> {
    doubt.at.rule.as_ref()?.parts.iter().find_map(|part| match part {
        Part::Verdict(Verdict::Redirect(port)) => Some(port.unwrap_or(asked)),
        Part::Verdict(Verdict::Destination(Some(to), port)) if is_here(*to) => Some(port.unwrap_or(asked)),
        _ => None,
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    if let Some(misled) = misled(facts) {
        let text = format!("start what is to listen at {}, or take the rule away: {}", misled.place(), misled.says);
        return vec![misled.look(), Step::tell(Where::Here, text)];
    }
    let port = facts.ask.target.port().unwrap_or_default();
    let linkerd = facts.mesh.seen().is_some_and(|mesh: &Mesh| mesh.listeners == [4_140]);
    let text = if linkerd {
        format!("leave the port out: annotate the pod with config.linkerd.io/skip-outbound-ports: \"{port}\"")
    } else {
        format!("leave the port out: annotate the pod with traffic.sidecar.istio.io/excludeOutboundPorts: \"{port}\"")
    };
    let sidecar = [
        Step::tell(Where::Cluster, text),
        Step::tell(
            Where::Cluster,
            "or tell the mesh: a DestinationRule with tls mode DISABLE for a Redis outside of the mesh, a PeerAuthentication that \
             is not STRICT for a client outside, and a port of the Service whose name begins with tcp",
        ),
    ];
    let Some(other) = redirect(facts).filter(|redirect| !redirect.is_of_mesh()) else { return sidecar.to_vec() };
    let to = other.port.unwrap_or(port);
    let tells = "the program that takes the connection: see where it leads, and whether a Redis answers there";
    vec![
        Step::look(Where::Here, format!("sudo ss -ltnp 'sport = :{to}'"), tells),
        Step::tell(Where::Here, format!("mend what listens there, or take the rule away: {}", other.says)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;

    fn reset(listeners: &[u16], near: Option<bool>) -> Facts {
        ended(End::Broken("ECONNRESET".to_owned()), listeners, near)
    }

    fn ended(end: End, listeners: &[u16], near: Option<bool>) -> Facts {
        Facts::healthy().speechless(end).with(|facts| {
            let gateway = near.map(|_| [10, 0, 0, 1].into());
            facts.mesh = Observed::Seen(Mesh { listeners: listeners.to_vec(), near, gateway });
        })
    }

    #[test]
    fn a_sidecar_is_a_candidate_and_never_certain() {
        check_cause(&CAUSE, &reset(&[15_001], None), Some(Confidence::Possible));
        check_cause(&CAUSE, &reset(&[], Some(true)), Some(Confidence::Possible));
        check_cause(&CAUSE, &reset(&[15_001], Some(true)), Some(Confidence::Likely));
        check_cause(&CAUSE, &reset(&[], Some(false)), None);
        check_cause(&CAUSE, &ended(End::Closed, &[15_001], Some(true)), Some(Confidence::Likely));
        check_cause(&CAUSE, &ended(End::Closed, &[15_001], None), None);
        check_cause(&CAUSE, &ended(End::Closed, &[], Some(true)), None);
        check_cause(&CAUSE, &reset(&[], None), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
