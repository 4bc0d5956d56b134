//! The system's resolver: `getaddrinfo(3)`, as the applications on this machine use it.

use std::net::IpAddr;
use std::time::Instant;

use dns_lookup::{AddrFamily, AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};

use super::clock;
use crate::model::Family;

/// What `getaddrinfo(3)` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The addresses, in the order of the system's preference (RFC 6724).
    Addresses(Vec<IpAddr>),
    /// It failed with this `EAI_…` code.
    Failed {
        /// The name of the code: `EAI_NONAME`, `EAI_AGAIN` …
        code: String,
        /// Its text.
        says: String,
    },
    /// It had not answered by the deadline. The call itself goes on in a thread of its own: it cannot be stopped.
    TimedOut,
}

/// Resolves `name` for addresses of `family`.
pub async fn lookup(name: &str, family: Family, deadline: Instant) -> Lookup {
    let name = name.to_owned();
    let call = tokio::task::spawn_blocking(move || blocking_lookup(&name, family));
    match clock::until(deadline, call).await {
        Some(Ok(lookup)) => lookup,
        Some(Err(_)) => {
            Lookup::Failed { code: "EAI_SYSTEM".to_owned(), says: "the resolver's thread ended".to_owned() }
        }
        None => Lookup::TimedOut,
    }
}

fn blocking_lookup(name: &str, family: Family) -> Lookup {
    let address = match family {
        Family::Any => 0,
        Family::V4 => AddrFamily::Inet.into(),
        Family::V6 => AddrFamily::Inet6.into(),
    };
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), address, ..AddrInfoHints::default() };
    match getaddrinfo(Some(name), None, Some(hints)) {
        Ok(found) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.flatten().map(|info| info.sockaddr.ip()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Lookup::Addresses(addresses)
        }
        Err(error) => {
            Lookup::Failed { code: eai_name(error.kind()).to_owned(), says: std::io::Error::from(error).to_string() }
        }
    }
}

fn eai_name(kind: LookupErrorKind) -> &'static str {
    match kind {
        LookupErrorKind::Again => "EAI_AGAIN",
        LookupErrorKind::Badflags => "EAI_BADFLAGS",
        LookupErrorKind::NoName => "EAI_NONAME",
        LookupErrorKind::NoData => "EAI_NODATA",
        LookupErrorKind::Fail => "EAI_FAIL",
        LookupErrorKind::Family => "EAI_FAMILY",
        LookupErrorKind::Socktype => "EAI_SOCKTYPE",
        LookupErrorKind::Service => "EAI_SERVICE",
        LookupErrorKind::Memory => "EAI_MEMORY",
        LookupErrorKind::System => "EAI_SYSTEM",
        _ => "EAI_OTHER",
    }
}
