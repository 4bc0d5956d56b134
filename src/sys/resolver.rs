//! The system's resolver: `getaddrinfo(3)`, as the applications on this machine use it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};

use super::{clock, thread};
use crate::model::Family;

/// What `getaddrinfo(3)` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The addresses, in the order of the system's preference (RFC 6724).
    Addresses {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// The interface that its link-local addresses belong to, by index (mDNS and /etc/hosts know some); else 0.
        scope: u32,
    },
    /// It failed with this `EAI_…` code.
    Failed {
        /// The name of the code: `EAI_NONAME`, `EAI_AGAIN` …
        code: String,
        /// Its text.
        says: String,
    },
    /// It had not answered by the deadline. The call itself goes on in a thread of its own: it cannot be stopped.
    TimedOut,
    /// It could not be called: this process may start no thread.
    Unasked(String),
}

/// Resolves `name` for addresses of `family`.
pub async fn lookup(name: &str, family: Family, deadline: Instant) -> Lookup {
    let name = name.to_owned();
    match clock::until(deadline, thread::beside(move || blocking_lookup(&name, family))).await {
        Some(Ok(lookup)) => lookup,
        Some(Err(error)) => Lookup::Unasked(error.to_string()),
        None => Lookup::TimedOut,
    }
}

/// The index of the network interface called `name`, if there is one.
pub fn interface_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

fn blocking_lookup(name: &str, family: Family) -> Lookup {
    let address = match family {
        Family::Any => 0,
        Family::V4 => AddrFamily::Inet.into(),
        Family::V6 => AddrFamily::Inet6.into(),
    };
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), address, ..AddrInfoHints::default() };
    match getaddrinfo(Some(name), None, Some(hints)) {
        Ok(found) => addresses(found.flatten().map(|info| info.sockaddr)),
        Err(error) => failed(error),
    }
}

fn addresses(found: impl Iterator<Item = SocketAddr>) -> Lookup {
    let (mut addresses, mut scope): (Vec<IpAddr>, u32) = (Vec::new(), 0);
    for address in found {
        if let SocketAddr::V6(v6) = address
            && scope == 0
        {
            scope = v6.scope_id();
        }
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    Lookup::Addresses { addresses, scope }
}

fn failed(error: LookupError) -> Lookup {
    let code = eai_name(&error).to_owned();
    let says = std::io::Error::from(error).to_string();
    let says = says.strip_prefix("failed to lookup address information: ").unwrap_or(&says).to_owned();
    Lookup::Failed { code, says }
}

fn eai_name(error: &LookupError) -> &'static str {
    match error.kind() {
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
        // glibc's own code (netdb.h), which the libc crate does not know: the name is in /etc/hosts, but only with
        // an address of the other family.
        _ if cfg!(target_env = "gnu") && error.error_num() == -9 => "EAI_ADDRFAMILY",
        _ => "EAI_OTHER",
    }
}
