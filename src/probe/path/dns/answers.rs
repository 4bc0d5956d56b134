//! What nameservers answered to our own queries, and what the answers add up to for a resolver like glibc's.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::config::{Config, HostsEntry};
use crate::model::{BlockerKind, Evidence, Family, Observed, escape};
use crate::probe::path::redis::Conversation;

/// What we found out without the system's resolver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Own {
    /// How this machine looks names up.
    pub config: Config,
    /// What /etc/hosts says of the name.
    pub hosts: Observed<Vec<HostsEntry>>,
    /// Our own queries: every nameserver with every name of the search list.
    pub queries: Vec<Query>,
    /// How many names of the search list were left out.
    pub untried: usize,
    /// What the addresses say that nameservers give and /etc/hosts hides; asked where the latter leads nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside_hosts: Vec<Beside>,
}

/// What an address says that was not the one to be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// The address.
    pub ip: IpAddr,
    /// What was said there.
    pub said: Conversation,
}

/// One query with its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// The nameserver.
    pub server: IpAddr,
    /// The full name.
    pub name: String,
    /// What was asked for.
    pub record: Record,
    /// How it travelled.
    pub over: Transport,
    /// What came back.
    pub answer: Answer,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
}

/// The records we ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// IPv4 addresses.
    #[serde(rename = "A")]
    A,
    /// IPv6 addresses.
    #[serde(rename = "AAAA")]
    Aaaa,
}

/// How a query travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// Over a connection, because the answer did not fit into a datagram.
    Tcp,
    /// Over a connection, because datagrams brought no answer: a look at the path, which the system does not take.
    TcpInstead,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The name has these addresses.
    Addresses {
        /// The addresses, at the end of the chain of aliases.
        addresses: Vec<IpAddr>,
        /// The chain: what the name is an alias of, and so on (CNAME).
        aliases: Vec<String>,
    },
    /// Rcode 3: there is no such name. With aliases: the last of them is the one that does not exist.
    NxDomain {
        /// The chain of aliases.
        aliases: Vec<String>,
    },
    /// The name exists but has no such record. With aliases: the last of them has none.
    NoData {
        /// The chain of aliases.
        aliases: Vec<String>,
    },
    /// Rcode 2: the nameserver could not find out.
    ServFail,
    /// Rcode 5: the nameserver will not answer us.
    Refused,
    /// Another rcode.
    OtherCode(u16),
    /// Nothing.
    Silent,
    /// ECONNREFUSED: nobody has port 53 there.
    PortClosed,
    /// The query could not be sent, or the network says that it cannot be delivered; the errno.
    Unreachable(String),
    /// Something that is no DNS message.
    Garbage,
    /// Only answers to other questions than ours.
    Mismatched,
}

/// What the answers add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Addresses that may be used.
    Found,
    /// Addresses, but only of the family that is not asked for.
    OtherFamily,
    /// The name exists without addresses.
    NoData,
    /// No such name.
    NotFound,
    /// Nameservers answer, but with a failure.
    ServerFailure,
    /// No nameserver answers, and every one of them has port 53 closed.
    Closed,
    /// No nameserver gives an answer that can be used.
    Unanswered,
    /// Nothing was asked.
    NotAsked,
}

impl Family {
    fn asks(self, record: Record) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => record == Record::A,
            Self::V6 => record == Record::Aaaa,
        }
    }

    /// True if `ip` may be used.
    pub fn allows(self, ip: &IpAddr) -> bool {
        self.asks(if ip.is_ipv4() { Record::A } else { Record::Aaaa })
    }
}

impl Record {
    /// Its name in DNS.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
        }
    }
}

impl Answer {
    /// True if a resolver takes it for the truth and asks nobody else: addresses, NXDOMAIN or NODATA.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Addresses { .. } | Self::NxDomain { .. } | Self::NoData { .. })
    }

    /// True if a nameserver said it, whatever it says.
    pub fn is_answer(&self) -> bool {
        self.is_final() || matches!(self, Self::ServFail | Self::Refused | Self::OtherCode(_))
    }

    /// True if this is one of its addresses.
    pub fn gives(&self, ip: IpAddr) -> bool {
        matches!(self, Self::Addresses { addresses, .. } if addresses.contains(&ip))
    }

    /// The answer in words.
    pub fn says(&self) -> String {
        let alias =
            |aliases: &[String]| aliases.last().map(|last| format!(" for its alias {last}")).unwrap_or_default();
        match self {
            Self::Addresses { addresses, .. } => list(addresses),
            Self::NxDomain { aliases } => format!("NXDOMAIN{}", alias(aliases)),
            Self::NoData { aliases } => format!("no such record{}", alias(aliases)),
            Self::ServFail => "SERVFAIL".to_owned(),
            Self::Refused => "REFUSED".to_owned(),
            Self::OtherCode(code) => format!("rcode {code}"),
            Self::Silent => "no answer".to_owned(),
            Self::PortClosed => "ECONNREFUSED: port 53 is closed".to_owned(),
            Self::Unreachable(errno) => errno.clone(),
            Self::Garbage => "bytes that are no DNS message".to_owned(),
            Self::Mismatched => "only answers to other questions".to_owned(),
        }
    }
}

impl Query {
    /// The query as evidence.
    pub fn evidence(&self) -> Evidence {
        Evidence::new(self.source(), self.says())
    }

    /// Who was asked: `nameserver 10.0.0.2`.
    pub fn source(&self) -> String {
        let over = if self.over == Transport::Udp { "" } else { " over TCP" };
        format!("nameserver {}{over}", self.server)
    }

    /// What came back: `db.test A: NXDOMAIN after 0.4 ms`.
    pub fn says(&self) -> String {
        let name = escape(self.name.as_bytes());
        format!("{name} {}: {} after {:.1} ms", self.record.name(), self.answer.says(), self.elapsed_ms)
    }
}

impl HostsEntry {
    /// The line as evidence.
    pub fn evidence(&self, name: &str) -> Evidence {
        Evidence::new(format!("/etc/hosts:{}", self.line), format!("{} is {}", escape(name.as_bytes()), self.address))
    }
}

impl Own {
    /// The nameservers as a list.
    pub fn servers(&self) -> String {
        list(&self.config.servers.iter().map(|server| server.address).collect::<Vec<_>>())
    }

    /// What /etc/hosts says of the name; empty where it says nothing or could not be read.
    pub fn hosts(&self) -> &[HostsEntry] {
        self.hosts.seen().map_or(&[], Vec::as_slice)
    }

    /// True if /etc/hosts does not name it, for sure: a file that is not there names nothing.
    pub fn hosts_lack_it(&self) -> bool {
        match &self.hosts {
            Observed::Seen(entries) => entries.is_empty(),
            Observed::Hidden(blocker) => blocker.kind == BlockerKind::Missing,
            Observed::Skipped(_) => false,
        }
    }

    /// The queries as the system would make them.
    pub fn asked(&self) -> impl Iterator<Item = &Query> {
        self.queries.iter().filter(|query| query.over != Transport::TcpInstead)
    }

    /// What the answers add up to for a resolver that asks for `family`: of each question the first final answer
    /// counts, in the order of the nameservers, as in glibc and musl.
    pub fn outcome(&self, family: Family) -> Outcome {
        let settled = self.settled();
        let any = |test: &dyn Fn(&Query) -> bool| settled.iter().any(|query| test(query));
        let has = |query: &Query| matches!(query.answer, Answer::Addresses { .. });
        if any(&|query| has(query) && family.asks(query.record)) {
            Outcome::Found
        } else if any(&|query| has(query)) {
            Outcome::OtherFamily
        } else if any(&|query| matches!(query.answer, Answer::NoData { .. })) {
            Outcome::NoData
        } else {
            self.failure(&settled)
        }
    }

    fn failure(&self, settled: &[&Query]) -> Outcome {
        let all = |test: fn(&Answer) -> bool| settled.iter().all(|query| test(&query.answer));
        if settled.is_empty() {
            Outcome::NotAsked
        } else if all(Answer::is_final) {
            Outcome::NotFound
        } else if settled.iter().any(|query| query.answer.is_answer() && !query.answer.is_final()) {
            Outcome::ServerFailure
        } else if self.asked().all(|query| query.answer == Answer::PortClosed) {
            Outcome::Closed
        } else {
            Outcome::Unanswered
        }
    }

    /// Of each question the query that decides: the first final answer, else the first answer, else the first.
    pub fn settled(&self) -> Vec<&Query> {
        let mut settled: Vec<&Query> = Vec::new();
        for query in self.asked() {
            match settled.iter_mut().find(|other| other.name == query.name && other.record == query.record) {
                None => settled.push(query),
                Some(other) if rank(&query.answer) > rank(&other.answer) => *other = query,
                Some(_) => {}
            }
        }
        settled
    }

    /// The addresses that the deciding answers give, of both families.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut found: Vec<IpAddr> = Vec::new();
        for query in self.settled() {
            if let Answer::Addresses { addresses, .. } = &query.answer {
                found.extend(addresses.iter().filter(|ip| !found.contains(ip)).collect::<Vec<_>>());
            }
        }
        found
    }

    /// The nameservers that gave at least one answer, whatever it says.
    pub fn answering(&self) -> Vec<IpAddr> {
        let answered = |server: &IpAddr| self.asked().any(|query| query.server == *server && query.answer.is_answer());
        self.config.servers.iter().map(|server| server.address).filter(answered).collect()
    }

    /// The names that were asked for, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for query in &self.queries {
            if !names.contains(&query.name.as_str()) {
                names.push(&query.name);
            }
        }
        names
    }
}

fn rank(answer: &Answer) -> u8 {
    u8::from(answer.is_answer()) + u8::from(answer.is_final())
}

/// Addresses as a list: `10.0.0.9, 10.0.0.10 and 3 more`.
pub fn list(addresses: &[IpAddr]) -> String {
    const SHOWN: usize = 3;
    let shown = addresses.iter().take(SHOWN).map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    match addresses.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
