//! Counter-probes: what the same place says to the other way of asking. At most three more connections, only where the first
//! way failed, and none with `--no-counter-probe`. The difference is the proof.

mod older;
mod unverified;

use serde::{Deserialize, Serialize};

use super::redis::{Conversation, Redis};
use super::tcp::{Attempt, Tcp};
use super::tls::oldhello::Answer;
use super::tls::{Hello, Tls};
use crate::model::{Ask, Observed};
use crate::probe::Side;
use crate::sys::Clock;

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
    /// Where the server knows nothing that we know: what it would choose for an older client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<Answer>,
    /// Where this machine is the target: another of its addresses.
    #[serde(default)]
    pub elsewhere: Option<Elsewhere>,
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
pub async fn gather(ask: &Ask, side: Side<'_>, before: Before<'_>, _here: bool, clock: &Clock) -> Observed<Counter> {
    if ask.no_counter_probe {
        return Observed::skipped("--no-counter-probe");
    }
    if before.tcp.seen().is_none_or(|tcp| tcp.connected().is_none()) {
        return Observed::needs("tcp");
    }
    let mut counter = Counter::default();
    if let Some(tls) = before.tls.seen() {
        counter.unverified = unverified::gather(&ask.target, side, tls, clock).await;
        counter.older = older::gather(tls, clock).await;
    }
    if counter != Counter::default() {
        return Observed::Seen(counter);
    }
    Observed::skipped("nothing failed that has another way of asking")
}
