//! Counter-probes: what the same place says to the other way of asking. The difference is the proof.
//!
//! Only where the first way failed, without credentials, none with `--no-counter-probe`, and at most three more connections:
//! one of `inside`, `plain`, `unverified` and `older`, one of `bus` and `postgres`, for they answer failures that exclude each
//! other, and one of `elsewhere` and `small`, of which one is for plain RESP and one for TLS. Where silence is waited for, they go
//! out shortly before the wait is over, beside what still listens, so that a
//! server that hangs costs no second step.

pub mod bus;
pub mod elsewhere;
pub mod inside;
mod older;
pub mod plain;
pub mod postgres;
pub mod small;
mod unverified;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::redis::{Conversation, Redis};
use super::tcp::{Attempt, Tcp};
use super::tls::oldhello::Answer;
use super::tls::{Ended, Hello, Tls};
use crate::model::{Ask, Observed};
use crate::probe::Side;
use crate::sys::{Clock, clock};
use bus::Bus;
use postgres::Postgres;

/// The longest that one may take.
const MOST: Duration = Duration::from_millis(1_500);
/// How long before the end of a step that meets silence it goes out.
const BEFORE_END: Duration = Duration::from_millis(800);
/// The longest that one may take which asks a peer that ended a connection at once.
const BRIEFLY: Duration = Duration::from_millis(800);

/// What was met.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    /// Where plain RESP met silence, an end or an alert of TLS: a handshake of TLS at the same address.
    #[serde(default)]
    pub inside: Option<Through>,
    /// Where TLS met silence, an end or no TLS: PING without TLS at the same address.
    #[serde(default)]
    pub plain: Option<Conversation>,
    /// Where the certificate was not trusted: the same handshake going on, without credentials.
    #[serde(default)]
    pub unverified: Option<Box<Through>>,
    /// Where the server knows nothing that we know: what it would choose for an older client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<Answer>,
    /// Where this machine is the target: another of its addresses.
    #[serde(default)]
    pub elsewhere: Option<Elsewhere>,
    /// Where TLS was silent and a plain connection was ended: the same handshake in small packets.
    #[serde(default)]
    pub small: Option<Hello>,
    /// Where RESP was reset without a word, or TLS turned us away: the port for clients, if this one may be the bus port of its cluster.
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

impl Through {
    /// True if something speaks TLS there, whether or not with us.
    pub fn speaks_tls(&self) -> bool {
        matches!(self.hello.end, Ended::Done | Ended::Untrusted | Ended::Alert(_) | Ended::Incompatible(_))
    }
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

/// What the counter-probes met that went out beside a wait for silence.
#[derive(Debug, Default)]
pub struct Beside {
    /// TLS, beside plain RESP.
    pub inside: Option<Through>,
    /// Plain RESP, beside TLS.
    pub plain: Option<Conversation>,
}

/// Asks in another way where the first way failed, and nobody has yet.
pub async fn gather(
    ask: &Ask,
    side: Side<'_>,
    before: Before<'_>,
    beside: Beside,
    here: bool,
    clock: &Clock,
) -> Observed<Counter> {
    if ask.no_counter_probe {
        return Observed::skipped("--no-counter-probe");
    }
    let briefly = clock.step_end().min(clock::now() + BRIEFLY);
    // What speaks TLS is neither.
    let may_be_stranger = !beside.inside.as_ref().is_some_and(Through::speaks_tls);
    let (inside, plain, unverified, older, elsewhere, bus, postgres) = tokio::join!(
        inside::gather(ask, side, before, beside.inside, clock),
        plain::gather(before, beside.plain, clock),
        Box::pin(unverified::gather(&ask.target, side, before.tls, clock)),
        Box::pin(older::gather(before.tls, clock)),
        elsewhere::gather(ask, before, here, clock),
        async { if may_be_stranger { Box::pin(bus::gather(ask, side, before, briefly)).await } else { None } },
        async { if may_be_stranger { postgres::gather(ask, before, briefly).await } else { None } },
    );
    let small = small::gather(ask, side, before, plain.as_ref(), clock).await;
    let counter =
        Counter { inside, plain, unverified: unverified.map(Box::new), older, elsewhere, small, bus, postgres };
    match (counter == Counter::default(), before.tcp.seen().and_then(Tcp::connected)) {
        (false, _) => Observed::Seen(counter),
        (true, None) => Observed::needs("tcp"),
        (true, Some(_)) => Observed::skipped("nothing failed that has another way of asking"),
    }
}

/// When one that goes out now has to end.
fn end(clock: &Clock) -> Instant {
    clock.step_end().min(clock::now() + MOST)
}

/// When one goes out that waits beside a step that ends at `deadline`.
pub(super) fn early(deadline: Instant, clock: &Clock) -> Instant {
    deadline.checked_sub(BEFORE_END.min(clock.step() / 2)).unwrap_or(deadline)
}
