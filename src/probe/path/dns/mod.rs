//! What the target's name means: the system's resolver first, our own queries only when that fails or is slow.
//!
//! What the answers mean is in `check/dns.rs`.

pub mod answers;
pub mod config;
pub mod message;
pub mod query;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::redis::{self, Redis};
use super::tcp::{Dialled, Tcp};
use crate::model::{Ask, BlockerKind, Endpoint, Family, Observed, escape};
use crate::sys::resolver::{self, Lookup};
use crate::sys::{Clock, clock};
use answers::{Beside, Own};

/// A lookup that takes this long is slow: our own queries go out beside it, so that both end within one step.
pub const SLOW: Duration = Duration::from_secs(1);

/// What the target's name means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dns {
    /// The name, or the literal address.
    pub name: String,
    /// True if it is an address already: nothing was resolved.
    pub literal: bool,
    /// The interface of a link-local address (`fe80::1%eth0`), by index.
    pub scope: u32,
    /// What the system's resolver said.
    pub system: System,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
    /// What we found out without the system's resolver.
    pub own: Observed<Own>,
}

/// What the system's resolver said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// The addresses, in its order of preference.
    Addresses(Vec<IpAddr>),
    /// It failed.
    Failed {
        /// The name of the code: `EAI_NONAME`, `EAI_AGAIN` …
        code: String,
        /// Its text.
        says: String,
    },
    /// It had not answered within the step's time.
    TimedOut,
    /// It was not asked: the address as it is written cannot be used.
    Unusable(LiteralFault),
}

/// Why a literal address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiteralFault {
    /// `-4` or `-6` excludes it.
    WrongFamily,
    /// Its zone names no interface of this machine.
    UnknownInterface(String),
}

impl Dns {
    /// The addresses to connect to, in order of preference.
    pub fn addresses(&self) -> &[IpAddr] {
        match &self.system {
            System::Addresses(addresses) => addresses,
            System::Failed { .. } | System::TimedOut | System::Unusable(_) => &[],
        }
    }

    /// What the system's resolver said, in words: `db: EAI_AGAIN (Temporary failure …) after 1.1 ms`.
    pub fn says(&self) -> String {
        let (name, ms) = (escape(self.name.as_bytes()), self.elapsed_ms);
        match &self.system {
            System::Addresses(addresses) => format!("{name}: {} after {ms:.1} ms", answers::list(addresses)),
            System::Failed { code, says } => format!("{name}: {code} ({says}) after {ms:.1} ms"),
            System::TimedOut => format!("{name}: no answer after {ms:.1} ms"),
            System::Unusable(_) => format!("{name} cannot be used"),
        }
    }

    /// The interface index of link-local addresses; 0 for none.
    pub fn scope(&self) -> u32 {
        self.scope
    }
}

/// Resolves the target's name, once, as the applications on this machine do.
pub async fn gather(ask: &Ask, clock: &Clock) -> Observed<Dns> {
    if !ask.target.is_usable() {
        return Observed::needs("target");
    }
    let Endpoint::Tcp { host, .. } = &ask.target.endpoint else {
        return Observed::skipped("a unix socket needs no name");
    };
    match literal(host) {
        Some((ip, zone)) => Observed::Seen(of_literal(host, ip, zone, ask.target.family)),
        None => of_name(host, ask.target.family, clock).await,
    }
}

/// Asks the nameservers ourselves where the system's answer leads nowhere, or with `--deep`; and what they say instead of
/// /etc/hosts, where that leads nowhere.
pub async fn deepen(dns: &mut Observed<Dns>, ask: &Ask, tcp: &Observed<Tcp>, redis: &Observed<Redis>, clock: &Clock) {
    let Observed::Seen(dns) = dns else { return };
    if dns.literal || is_localhost(&dns.name) {
        return;
    }
    let unconnected = tcp.seen().is_some_and(|tcp| tcp.connected().is_none());
    let is_redis = redis.seen().and_then(Redis::preferred).is_none_or(|said| said.telling().answers_ping());
    let misled = !is_redis && config::hosts(&dns.name).is_ok_and(|entries| !entries.is_empty());
    if dns.own.seen().is_none() && (ask.deep || unconnected || misled) {
        // Nothing is wrong with the lookup itself: it gets less time than one that failed.
        let deadline = clock.step_end().min(clock::now() + SLOW);
        dns.own = Observed::Seen(query::gather(&dns.name, deadline).await);
    }
    if (unconnected || misled) && ask.wants("ping") && !ask.target.tls {
        ask_beside_hosts(dns, ask, clock).await;
    }
}

/// Greets what nameservers give, where /etc/hosts says something else.
async fn ask_beside_hosts(dns: &mut Dns, ask: &Ask, clock: &Clock) {
    const MOST: usize = 2;
    let (Some(port), Observed::Seen(own)) = (ask.target.port(), &mut dns.own) else { return };
    let System::Addresses(used) = &dns.system else { return };
    let hidden = |ip: &IpAddr| !used.contains(ip) && ask.target.family.allows(ip);
    if !own.hosts().iter().any(|entry| used.contains(&entry.address)) {
        return;
    }
    let deadline = clock.step_end().min(clock::now() + SLOW);
    let mut asked = tokio::task::JoinSet::new();
    for (order, ip) in own.addresses().into_iter().filter(hidden).take(MOST).enumerate() {
        let dial = Dialled::Tcp(SocketAddr::new(ip, port));
        asked.spawn(async move { (order, Beside { ip, said: redis::greet(&dial, deadline).await }) });
    }
    let mut said = asked.join_all().await;
    said.sort_by_key(|(order, _)| *order);
    own.beside_hosts = said.into_iter().map(|(_, beside)| beside).collect();
}

/// RFC 6761: nobody should ask a nameserver for it.
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// An address, and the zone after its `%`.
fn literal(host: &str) -> Option<(IpAddr, Option<&str>)> {
    match host.split_once('%') {
        None => Some((host.parse().ok()?, None)),
        Some((address, zone)) => Some((address.parse::<Ipv6Addr>().ok()?.into(), Some(zone))),
    }
}

fn of_literal(host: &str, ip: IpAddr, zone: Option<&str>, family: Family) -> Dns {
    let scope = zone.map_or(Some(0), config::scope_of);
    let system = match (scope, zone) {
        _ if !family.allows(&ip) => System::Unusable(LiteralFault::WrongFamily),
        (None, Some(zone)) => System::Unusable(LiteralFault::UnknownInterface(zone.to_owned())),
        _ => System::Addresses(vec![ip]),
    };
    let own = Observed::skipped("an address needs no lookup");
    Dns { name: host.to_owned(), literal: true, scope: scope.unwrap_or_default(), system, elapsed_ms: 0.0, own }
}

async fn of_name(host: &str, family: Family, clock: &Clock) -> Observed<Dns> {
    let end = clock.step_end();
    let slow = end.min(clock::now() + SLOW.min(clock.step() / 2));
    let mut asked = pin!(ask_system(host, family, end));
    let (answer, own) = match clock::until(slow, &mut asked).await {
        // It may come in the very moment in which it begins to be slow.
        Some(Ok(answer @ (_, System::Addresses(_), ms))) if ms < SLOW.as_secs_f64() * 1000.0 => {
            (Ok(answer), Observed::skipped("the system's resolver answered"))
        }
        Some(Ok(answer)) => (Ok(answer), Observed::Seen(query::gather(host, end).await)),
        Some(Err(error)) => (Err(error), Observed::skipped("the system's resolver was not asked")),
        None => {
            let (answer, own) = tokio::join!(asked, query::gather(host, end));
            (answer, Observed::Seen(own))
        }
    };
    match answer {
        Ok((scope, system, elapsed_ms)) => {
            Observed::Seen(Dns { name: host.to_owned(), literal: false, scope, system, elapsed_ms, own })
        }
        Err(error) => {
            let says = format!("the system's resolver was not asked: this process may start no thread ({error})");
            Observed::hidden(BlockerKind::Failed, says)
        }
    }
}

/// What the system's resolver answers, for which interface, and after how many milliseconds; or why it could not be asked.
async fn ask_system(host: &str, family: Family, deadline: Instant) -> Result<(u32, System, f64), String> {
    let began = clock::now();
    let (scope, system) = match resolver::lookup(host, family, deadline).await {
        Lookup::Addresses { addresses, scope } => (scope, System::Addresses(addresses)),
        Lookup::Failed { code, says } => (0, System::Failed { code, says }),
        Lookup::TimedOut => (0, System::TimedOut),
        Lookup::Unasked(error) => return Err(error),
    };
    Ok((scope, system, clock::ms_since(began)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, family: Family, want: &System) {
        let (ip, zone) = literal(host).expect("a literal address");
        assert_eq!(&of_literal(host, ip, zone, family).system, want, "{host}");
    }

    #[test]
    fn literal_addresses_need_no_resolver() {
        let seen = |ip: &str| System::Addresses(vec![ip.parse().unwrap()]);
        check("10.0.0.9", Family::Any, &seen("10.0.0.9"));
        check("fe80::1%1", Family::V6, &seen("fe80::1"));
        check("::1", Family::V4, &System::Unusable(LiteralFault::WrongFamily));
        check("10.0.0.9", Family::V6, &System::Unusable(LiteralFault::WrongFamily));
        let unknown = System::Unusable(LiteralFault::UnknownInterface("no-such0".to_owned()));
        check("fe80::1%no-such0", Family::Any, &unknown);
        assert_eq!(literal("db"), None);
        assert_eq!(literal("db%eth0"), None);
        assert!(is_localhost("LocalHost.") && is_localhost("db.localhost") && !is_localhost("localhost.test"));
    }
}
