//! The port is that on which the nodes of a cluster speak to each other.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::cause::{Case, Cause, check_again, dialogue, redis_host};
use crate::check::{ping, process, tls};
use crate::model::{Code, Confidence, Endpoint, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::process::Process;
use crate::probe::path::counter::bus::Bus;
use crate::probe::path::nodes::Node;
use crate::probe::path::redis::End;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "cluster-bus-port",
    title: "this is the bus port of a cluster, not its port for clients",
    explain: "\
The nodes of a Redis Cluster speak to each other on a port of their own: 10000 above the port for clients, unless \
cluster-port names another. What is no message of theirs is reset without a word after eight bytes, and the node logs 'Bad \
message length or signature received from Cluster bus'; who sends less, as a person with telnet does, waits forever.

It is certain where the node at the port for clients names this one as its bus port (CLUSTER NODES: address:port@bus) and \
announces the address that was asked, or where the server's own machine shows a server that runs as a cluster and listens on \
both. Without that, anything else may be on the port: a Redis with TLS resets RESP, too.

Repair: name the port for clients in the application's settings.",
    infer,
    remedy,
};

/// How it shows: RESP is reset, and so is a handshake; with 'tls-cluster', who shows no certificate is turned away, and who
/// shows one meets the end of the connection.
const SYMPTOMS: [&Code; 4] = [&ping::CLOSED, &tls::REFUSED, &tls::ALERT, &tls::CLOSED];

fn infer(case: &Case) -> Option<Support> {
    let finding = SYMPTOMS.into_iter().find_map(|code| case.raised(code))?;
    let asked = case.facts.ask.target.port()?;
    let raised = SYMPTOMS.into_iter().filter(|code| case.raised(code).is_some());
    let explains: Vec<&'static Code> = raised.chain([&process::STRANGER]).collect();
    if let Some((owner, port)) = owner(case.facts, asked) {
        let summary = format!("{} has port {asked} for the other nodes, and {port} for clients", process::who(owner));
        let support = Support::new(Confidence::Certain, &explains, summary).on(finding);
        let host = case.host()?;
        let listens = format!("{} listens on {asked} and on {port}", process::who(owner));
        return Some(support.because(host.source("sock_diag(7)"), listens).not("not-running", "the server listens"));
    }
    let bus = bus(case.facts).filter(|bus| bus.is_of_a_cluster())?;
    let support = |sure, summary: String| Support::new(sure, &explains, summary).on(finding);
    match bus.itself() {
        Some(node) if node.bus == Some(asked) => {
            let says = format!("the node at {} names itself {}:{}@{asked}", bus.address, node.host, node.port);
            let summary = format!("the node at {} names port {asked} as its bus port", bus.address);
            let sure = if is_at_asked(case.facts, node) { Confidence::Certain } else { Confidence::Likely };
            let support = support(sure, summary).because("CLUSTER NODES", says);
            Some(match sure {
                Confidence::Certain => {
                    support.not("plaintext-to-tls-port", "a server has one port for its bus, and nothing else on it")
                }
                _ => support.settled_by(whose(case.facts, asked)),
            })
        }
        // It has another.
        Some(Node { bus: Some(_), .. }) => None,
        _ => {
            let summary = format!("a node of a cluster answers at {}, 10000 below this port", bus.address);
            let support = support(Confidence::Likely, summary).because("INFO", format!("{}: a cluster", bus.address));
            Some(support.settled_by(whose(case.facts, asked)))
        }
    }
}

/// What was asked at the port for clients, where this one reset RESP.
fn bus(facts: &Facts) -> Option<&Bus> {
    facts.counter.seen()?.bus.as_ref()
}

/// True if the node announces the very address that was asked: behind a translated one, the port may be another's.
fn is_at_asked(facts: &Facts, node: &Node) -> bool {
    let asked = dialogue(facts).and_then(|dialogue| dialogue.address.parse::<SocketAddr>().ok());
    asked.is_some_and(|asked| node.is_at(asked.ip()))
}

/// The server that listens on the asked port and on another, that for clients, as its machine shows it; and that it is a
/// cluster's, as its title says (`redis-server *:6379 [cluster]`). `cluster-port` may name any port. A third port may be for
/// TLS: which of them is, its settings tell.
pub fn owner(facts: &Facts, asked: u16) -> Option<(&Process, u16)> {
    let host = facts.server_host().ok()?;
    // Inside TLS the node hangs up in order.
    let tls = facts.ask.target.tls;
    let is_reset = |end: &End| matches!(end, End::Broken(_) | End::Alert(_)) || tls && *end == End::Closed;
    let reset = dialogue(facts).is_none_or(|dialogue| is_reset(&dialogue.first.end));
    let listeners = host.listeners(asked).into_iter().filter(|_| reset);
    let served = facts.asked_addresses();
    let owners = listeners.filter(|at| served.iter().any(|ip| at.serves(*ip))).filter_map(|at| host.server(at.owner?));
    let tls_port = facts.instance().and_then(|instance| instance.setting("tls-port"));
    let is_for_tls = tls_port.as_ref().map(|port| port.values == [asked.to_string()]);
    let port = |server: &Process| {
        let ports: BTreeSet<u16> = server.listens.iter().map(SocketAddr::port).collect();
        let port = titled(server).filter(|port| *port != asked && ports.contains(port))?;
        (ports.len() == 2 || is_for_tls == Some(false)).then_some(port)
    };
    owners.into_iter().find_map(|server| port(server).map(|port| (server, port)))
}

/// The port in the title of a cluster's server.
fn titled(server: &Process) -> Option<u16> {
    let title = server.args.join(" ");
    let words: Vec<&str> = title.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "[cluster]")?;
    words[..at].iter().rev().find_map(|word| word.rsplit_once(':')?.1.parse().ok())
}

fn whose(facts: &Facts, port: u16) -> Step {
    let tells = "redis-server: this is it; another program: whose port it is";
    Step::look(redis_host(facts), format!("sudo ss -ltnp 'sport = :{port}'"), tells)
}

/// The port for clients, where something tells it.
fn port_for_clients(facts: &Facts) -> Option<u16> {
    let asked = facts.ask.target.port()?;
    let told = bus(facts).and_then(Bus::itself).map(|node| node.port).filter(|port| *port > 0);
    told.or_else(|| owner(facts, asked).map(|(_, port)| port)).or_else(|| asked.checked_sub(10_000))
}

/// True if the settings of the server say that its port for clients is the one for TLS.
fn is_for_tls(facts: &Facts, port: u16) -> bool {
    let setting = |name: &str| facts.instance().and_then(|instance| instance.setting(name));
    let is = |name: &str, port: u16| setting(name).is_some_and(|known| known.values == [port.to_string()]);
    is("tls-port", port) && !is("port", port)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some(port) = port_for_clients(facts) else { return Vec::new() };
    let mut target = facts.ask.target.clone();
    if let Endpoint::Tcp { port: asked, .. } = &mut target.endpoint {
        *asked = port;
    }
    target.tls |= is_for_tls(facts, port);
    vec![
        Step::tell(
            Where::Here,
            format!("name port {port} in the application's settings: the cluster's port for clients"),
        ),
        check_again(&target),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::counter::Counter;
    use crate::probe::path::redis::{Conversation, Dialogue, Exchange};
    use crate::probe::path::reply::{Command, Reply};

    fn reset(facts: Facts) -> Facts {
        facts.speechless(End::Broken("ECONNRESET".to_owned())).with(|facts| {
            let Endpoint::Tcp { host, .. } = facts.ask.target.endpoint.clone() else { return };
            facts.ask.target.endpoint = Endpoint::Tcp { host, port: 16379 };
        })
    }

    fn below(said: impl FnOnce(&mut Conversation)) -> Facts {
        let mut first = Dialogue::healthy("10.0.0.9:6379").first;
        said(&mut first);
        let bus = Some(Bus { address: "10.0.0.9:6379".to_owned(), said: first });
        reset(Facts::healthy()).with(|facts| facts.counter = Observed::Seen(Counter { bus, ..Counter::default() }))
    }

    fn naming(line: &str) -> Facts {
        let nodes = Reply::Nodes(Node::parse(line));
        below(|said| said.exchanges.push(Exchange { command: Command::ClusterNodes, reply: Some(nodes) }))
    }

    #[test]
    fn certain_where_the_node_names_the_port_and_the_address() {
        check_cause(&CAUSE, &naming("id 10.0.0.9:6379@16379 myself,master"), Some(Confidence::Certain));
        // Behind a translated address, or not met by anybody yet.
        check_cause(&CAUSE, &naming("id 172.17.0.2:6379@16379 myself,master"), Some(Confidence::Likely));
        check_cause(&CAUSE, &naming("id :6379@16379 myself,master"), Some(Confidence::Likely));
        // Before Redis 4.0.
        check_cause(&CAUSE, &naming("id 10.0.0.9:6379 myself,master"), Some(Confidence::Likely));
        // Another's, and another port.
        check_cause(&CAUSE, &naming("id 10.0.0.9:6379@17000 myself,master"), None);
    }

    #[test]
    fn a_port_that_resets_is_not_enough() {
        let clustered = |value: &str| {
            let value = value.to_owned();
            below(move |said| {
                for exchange in &mut said.exchanges {
                    if let Some(Reply::Info(info)) = &mut exchange.reply {
                        info.fields.insert("cluster_enabled".to_owned(), value.clone());
                    }
                }
            })
        };
        check_cause(&CAUSE, &clustered("1"), Some(Confidence::Likely));
        check_cause(&CAUSE, &clustered("0"), None);
        check_cause(&CAUSE, &reset(Facts::healthy()), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn the_owner_of_both_ports_is_seen_on_its_machine() {
        let listening = || reset(Facts::joined().listening(&["0.0.0.0:6379", "0.0.0.0:16379"]));
        let titled = |title: &str| listening().process(|process| process.args = vec![title.to_owned()]);
        check_cause(&CAUSE, &titled("redis-server *:6379 [cluster]"), Some(Confidence::Certain));
        check_cause(&CAUSE, &titled("redis-server *:6379"), None);
        // 'cluster-port' may be any.
        let moved = reset(Facts::joined().listening(&["0.0.0.0:7000", "0.0.0.0:16379"]));
        let moved = moved.process(|process| process.args = vec!["redis-server *:7000 [cluster]".to_owned()]);
        check_cause(&CAUSE, &moved, Some(Confidence::Certain));
        // With TLS and a certificate of ours, it hangs up; a plain port that does is another's.
        let ended = |tls: bool| {
            titled("redis-server *:6379 [cluster]").speechless(End::Closed).with(|facts| facts.ask.target.tls = tls)
        };
        check_cause(&CAUSE, &ended(true), Some(Confidence::Certain));
        check_cause(&CAUSE, &ended(false), None);
        // With three ports, one may be for TLS.
        let three = |settings: &[(&str, &str)]| {
            let listening = ["0.0.0.0:6379", "0.0.0.0:16379", "0.0.0.0:17000"];
            let facts = reset(Facts::joined().listening(&listening));
            let titled = facts.process(|process| process.args = vec!["redis-server *:6379 [cluster]".to_owned()]);
            settings.iter().fold(titled, |facts, (name, value)| facts.conf(&format!("{name} {value}")))
        };
        check_cause(&CAUSE, &three(&[("tls-port", "16379")]), None);
        check_cause(&CAUSE, &three(&[("tls-port", "17000")]), Some(Confidence::Certain));
    }

    #[test]
    fn the_port_for_clients_is_tried() {
        let last = |facts: &Facts| match remedy(facts).pop() {
            Some(Step::Run { command, .. }) => command,
            other => panic!("{other:?}"),
        };
        assert_eq!(last(&naming("id 10.0.0.9:6379@16379 myself,master")), "redisdoc check -h db -p 6379");
        assert_eq!(last(&reset(Facts::healthy())), "redisdoc check -h db -p 6379");
    }
}
