//! What is met at a place behind a proxy. A name may have several addresses, and a proxy that leads there takes whichever it
//! likes: nobody is there only where nobody is at any of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use tokio::task::JoinSet;

use super::{Met, conf};
use crate::model::{Family, Observed};
use crate::probe::path::redis;
use crate::probe::path::reply::{Command, Reply};
use crate::probe::path::tcp::{self, Attempt, Dialled, Outcome};
use crate::sys::resolver::{self, Lookup};

/// The most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// What is met at a place, of several addresses at the one where most is; and whether that says all of it.
pub(super) async fn met(place: &str, deadline: Instant) -> (Observed<Met>, bool) {
    let addresses = resolve(place, deadline).await;
    let is_sure = addresses.len() < 2 || addresses.iter().all(|address| address.ip().is_loopback());
    let is_sure = is_sure && addresses.len() <= MOST_ADDRESSES;
    let mut tries = JoinSet::new();
    for (order, address) in addresses.into_iter().take(MOST_ADDRESSES).enumerate() {
        tries.spawn(async move { (order, met_at(address, deadline).await) });
    }
    let best = tries.join_all().await.into_iter().max_by_key(|(order, met)| (worth(met), usize::MAX - order));
    (best.map_or_else(|| Observed::skipped("its address is not known"), |(_, met)| Observed::Seen(met)), is_sure)
}

async fn met_at(address: SocketAddr, deadline: Instant) -> Met {
    let attempt = tcp::once(address, deadline).await;
    let ping = match attempt.outcome {
        Outcome::Connected => said(address, deadline).await,
        _ => None,
    };
    Met { attempt, ping }
}

/// How much of a backend it is: one that answers, one that takes connections, one of which nothing is sure, none.
fn worth(Met { attempt: Attempt { outcome, .. }, ping }: &Met) -> u8 {
    match (outcome, ping) {
        (Outcome::Connected, Some(_)) => 3,
        (Outcome::Connected, None) => 2,
        (Outcome::Refused, _) => 0,
        _ => 1,
    }
}

async fn said(address: SocketAddr, deadline: Instant) -> Option<String> {
    let said = redis::greet(&Dialled::Tcp(address), deadline).await;
    match said.reply(Command::Ping).or(said.unasked.as_ref())? {
        Reply::Status(status) => Some(status.clone()),
        Reply::Error(error) => Some(error.text.clone()),
        _ => None,
    }
}

/// The addresses of a place, by this machine's own resolver.
async fn resolve(place: &str, deadline: Instant) -> Vec<SocketAddr> {
    if let Some(address) = literal(place) {
        return vec![address];
    }
    let (Some((host, _)), Some(port)) = (place.rsplit_once(':'), conf::port(place)) else { return Vec::new() };
    match resolver::lookup(host, Family::Any, deadline).await {
        Lookup::Addresses { addresses, .. } => addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(),
        Lookup::Failed { .. } | Lookup::TimedOut | Lookup::Unasked(_) => Vec::new(),
    }
}

/// The address of a place that is written as one.
pub(super) fn literal(place: &str) -> Option<SocketAddr> {
    let (host, _) = place.rsplit_once(':')?;
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    // Who connects to the unspecified address connects to this machine (ip(7)).
    let ip = if ip.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { ip };
    Some(SocketAddr::new(ip, conf::port(place)?))
}

/// True for a place that is a name, whose address may be another one day.
pub(super) fn is_name(place: &str) -> bool {
    let host = place.rsplit_once(':').map_or("", |(host, _)| host);
    conf::port(place).is_some() && literal(place).is_none() && !host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_connections_counts_before_what_does_not() {
        let met = |outcome, ping: Option<&str>| {
            let attempt = Attempt::failed([127, 0, 0, 1].into(), outcome, "", 0.1);
            worth(&Met { attempt, ping: ping.map(str::to_owned) })
        };
        let all = [
            met(Outcome::Refused, None),
            met(Outcome::TimedOut, None),
            met(Outcome::Connected, None),
            met(Outcome::Connected, Some("PONG")),
        ];
        assert!(all.is_sorted_by(|one, other| one < other), "{all:?}");
    }

    #[test]
    fn a_name_is_neither_address_nor_socket() {
        for (place, expected) in [
            ("db.lan:6379", true),
            ("10.0.0.1:6379", false),
            ("[::1]:6379", false),
            ("localhost:6379", false),
            ("unix@/run/s", false),
            ("/run/s", false),
        ] {
            assert_eq!(is_name(place), expected, "{place}");
        }
    }
}
