//! What `CLUSTER NODES` tells: the nodes of a cluster, and the port on which each speaks to the others.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::escape;

/// The most nodes that are kept. Redis' own limit of slots is 16384, but few clusters have more than a hundred nodes.
const MOST_NODES: usize = 256;
/// The longest address that is kept.
const LONGEST: usize = 128;

/// A node, by its line (`id ip:port@cport[,hostname] flags …`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its address as it announces it, escaped; empty where it does not know its own yet.
    pub host: String,
    /// Its port for clients.
    pub port: u16,
    /// Its port for the other nodes (Redis 4.0 and later).
    pub bus: Option<u16>,
    /// True for the one that answered.
    pub myself: bool,
}

impl Node {
    /// The nodes of a reply; lines that are none are left out.
    pub fn parse(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::of_line).take(MOST_NODES).collect()
    }

    fn of_line(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (_id, address, flags) = (words.next()?, words.next()?, words.next()?);
        let place = address.split(',').next()?;
        let (place, bus) = place.split_once('@').map_or((place, None), |(place, bus)| (place, bus.parse().ok()));
        // An address of IPv6 has no brackets here.
        let (host, port) = place.rsplit_once(':')?;
        let host = escape(&host.as_bytes()[..host.len().min(LONGEST)]);
        Some(Self { host, port: port.parse().ok()?, bus, myself: flags.split(',').any(|flag| flag == "myself") })
    }

    /// True if it announces this address.
    pub fn is_at(&self, ip: IpAddr) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|own| own.to_canonical() == ip.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(&str, u16, Option<u16>, bool)>) {
        let node = Node::parse(line).pop();
        let node = node.as_ref().map(|node| (node.host.as_str(), node.port, node.bus, node.myself));
        assert_eq!(node, expected);
    }

    #[test]
    fn reads_the_lines_of_every_version() {
        let id = "c1e2014943c46aa683e2368fc38386ef262c3420";
        check(&format!("{id} :6390@16390 myself,master - 0 0 0 connected"), Some(("", 6390, Some(16390), true)));
        check(
            &format!("{id} 10.77.1.2:6379@16379,db-1 slave {id} 0 1 1 connected"),
            Some(("10.77.1.2", 6379, Some(16379), false)),
        );
        check(&format!("{id} fd77:1::2:6379@16379,,tls-port=0,shard-id=6 myself,master - 0 0 0 connected"), {
            Some(("fd77:1::2", 6379, Some(16379), true))
        });
        check(&format!("{id} 10.0.0.1:7000 myself,master - 0 0 0 connected"), Some(("10.0.0.1", 7000, None, true)));
        check("", None);
        check("no line", None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            Node::parse(&text);
        }
    }
}
