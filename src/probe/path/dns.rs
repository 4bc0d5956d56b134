//! What the target's name means: the system's resolver first, our own queries only when that fails or is slow.
//!
//! What the answers mean is in `check/dns.rs`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::tcp::Tcp;
use crate::model::{Ask, Endpoint, Family, Observed};
use crate::sys::resolver::{self, Lookup};
use crate::sys::{Clock, clock};

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
}

impl Dns {
    /// The addresses to connect to, in order of preference.
    pub fn addresses(&self) -> &[IpAddr] {
        match &self.system {
            System::Addresses(addresses) => addresses,
            System::Failed { .. } | System::TimedOut => &[],
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
    let began = clock::now();
    let (literal, system) = match host.parse::<IpAddr>() {
        Ok(ip) => (true, System::Addresses(vec![ip])),
        Err(_) => (false, lookup(host, ask.target.family, clock).await),
    };
    Observed::Seen(Dns { name: host.clone(), literal, scope: 0, system, elapsed_ms: clock::ms_since(began) })
}

/// Asks the nameservers ourselves, when the system's resolver failed or was slow, or with `--deep`.
pub async fn deepen(_dns: &mut Observed<Dns>, _ask: &Ask, _tcp: &Observed<Tcp>, _clock: &Clock) {}

async fn lookup(host: &str, family: Family, clock: &Clock) -> System {
    match resolver::lookup(host, family, clock.step_end()).await {
        Lookup::Addresses(addresses) => System::Addresses(addresses),
        Lookup::Failed { code, says } => System::Failed { code, says },
        Lookup::TimedOut => System::TimedOut,
    }
}
