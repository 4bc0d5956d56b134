//! Where TLS met nothing, or no TLS: PING without it at the same address. Peers that speak first are listened to.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;

use super::super::redis::{Conversation, greet_late};
use super::super::tcp::{Connection, Dialled};
use super::super::tls::{Ended, Tls};
use super::{Before, early, end};
use crate::model::Ask;
use crate::sys::Clock;
use crate::sys::clock;

/// The one place that TLS is asked of: beside several, a healthy one would be met.
pub fn alone(ask: &Ask, connections: &[Connection]) -> Option<Dialled> {
    match connections {
        [one] if ask.target.tls && !ask.no_counter_probe => Some(one.dial.clone()),
        _ => None,
    }
}

/// Waits for the handshakes, and asks without TLS shortly before their time is up.
pub async fn beside<T>(
    handshakes: impl Future<Output = T>,
    alone: Option<Dialled>,
    clock: &Clock,
) -> (T, Option<Conversation>) {
    let deadline = clock.step_end();
    let mut handshakes = pin!(handshakes);
    let Some(dial) = alone else { return (handshakes.await, None) };
    if let Some(done) = clock::until(early(deadline, clock), handshakes.as_mut()).await {
        return (done, None);
    }
    let (done, plain) = tokio::join!(handshakes, greet_late(&dial, deadline));
    (done, Some(plain))
}

/// Takes what was met beside the silence, or asks now.
pub(super) async fn gather(before: Before<'_>, beside: Option<Conversation>, clock: &Clock) -> Option<Conversation> {
    let hello = before.tls.seen().and_then(Tls::preferred).filter(|hello| is_no_tls(&hello.end))?;
    if beside.is_some() {
        return beside;
    }
    let address: SocketAddr = hello.address.parse().ok()?;
    Some(greet_late(&Dialled::Tcp(address), end(clock)).await)
}

/// True if nothing that came is of TLS.
fn is_no_tls(end: &Ended) -> bool {
    matches!(end, Ended::NotTls | Ended::Silent | Ended::Closed | Ended::Broken(_))
}
