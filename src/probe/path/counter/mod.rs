//! Counter-probes: what the same place says to the other way of asking. At most three more connections, only where the first
//! way failed, and none with `--no-counter-probe`. The difference is the proof.

pub mod bus;
pub mod postgres;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::redis::{Conversation, Redis};
use super::tcp::{Attempt, Tcp};
use super::tls::{Hello, Tls};
use crate::model::{Ask, Observed};
use crate::probe::Side;
use crate::sys::{Clock, clock};
use bus::Bus;
use postgres::Postgres;

/// The longest that one may take which asks a peer that ended a connection at once.
const BRIEFLY: Duration = Duration::from_millis(800);

/// What was met.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    /// Where plain RESP met silence, an end or no RESP: a handshake of TLS at the same address.
    #[serde(default)]
    pub inside: Option<Through>,
    /// Where TLS met silence, an end or no TLS: PING without TLS at the same address.
    #[serde(default)]
    pub plain: Option<Conversation>,
    /// Where the certificate was not trusted: the same handshake going on, without credentials.
    #[serde(default)]
    pub unverified: Option<Through>,
    /// Where this machine is the target: another of its addresses.
    #[serde(default)]
    pub elsewhere: Option<Elsewhere>,
    /// Where RESP was reset without a word: the port for clients, if this one may be the bus port of its cluster.
    #[serde(default)]
    pub bus: Option<Bus>,
    /// Where RESP was closed without a word: a question that only a `PostgreSQL` answers.
    #[serde(default)]
    pub postgres: Option<Postgres>,
}

/// A handshake and what PING met inside, without credentials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Through {
    /// The handshake, whatever the certificate.
    pub hello: Hello,
    /// What was said inside.
    pub inside: Option<Conversation>,
}

/// Another address of this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The attempt to connect.
    pub attempt: Attempt,
    /// What PING met there.
    pub said: Option<Conversation>,
}

/// What is known before a counter-probe.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// The attempts to connect.
    pub tcp: &'a Observed<Tcp>,
    /// TLS, where it was asked for.
    pub tls: &'a Observed<Tls>,
    /// What was said.
    pub redis: &'a Observed<Redis>,
}

/// Asks in another way where the first way failed.
pub async fn gather(ask: &Ask, _side: Side<'_>, before: Before<'_>, _here: bool, clock: &Clock) -> Observed<Counter> {
    if ask.no_counter_probe {
        return Observed::skipped("--no-counter-probe");
    }
    if before.tcp.seen().is_none_or(|tcp| tcp.connected().is_none()) {
        return Observed::needs("tcp");
    }
    let briefly = clock.step_end().min(clock::now() + BRIEFLY);
    let (bus, postgres) = tokio::join!(bus::gather(ask, before, briefly), postgres::gather(ask, before, briefly));
    let counter = Counter { bus, postgres, ..Counter::default() };
    if counter != Counter::default() {
        return Observed::Seen(counter);
    }
    Observed::skipped("nothing failed that has another way of asking")
}
