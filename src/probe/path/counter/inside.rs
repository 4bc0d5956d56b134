//! Where plain RESP met nothing, or an alert of TLS: a handshake of TLS at the same address, whatever the certificate, and PING
//! inside it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::super::redis::{Dialogue, say_ping};
use super::super::tcp::Dialled;
use super::super::tls;
use super::{Before, Through, end};
use crate::model::Ask;
use crate::probe::Side;
use crate::sys::Clock;
use crate::sys::tls::{Client, Material};

/// What it takes to ask inside TLS.
#[derive(Debug, Clone)]
pub struct Inside {
    name: String,
    material: Material,
}

impl Inside {
    /// `None` where TLS was asked for anyway, and where nobody wants to know.
    pub fn of(ask: &Ask, side: Side<'_>) -> Option<Self> {
        let name = ask.target.host().filter(|_| !ask.target.tls && !ask.no_counter_probe)?;
        // What we have to show is ours to show where it was asked for.
        let material = Material { identity: None, ..side.material.clone() };
        Some(Self { name: name.to_owned(), material })
    }

    /// Shakes hands and says PING; `None` where no connection comes about.
    pub async fn probe(&self, dial: &Dialled, deadline: Instant) -> Option<Through> {
        let stream = dial.again(deadline).await?;
        // The authorities are read where they are needed: 10 ms for those of a system.
        let roots = self.material.roots();
        let address = stream.peer()?.to_string();
        let client = Client::new(&self.name, Arc::clone(&roots.store), None).ok()?.lenient().anonymous();
        let handshake = client.shake_hands(stream, deadline).await;
        let (hello, stream) = tls::hello(address, &client, handshake);
        let inside = match stream {
            Some(stream) => Some(say_ping(&stream, deadline).await),
            None => None,
        };
        Some(Through { hello, inside })
    }
}

/// Takes what was met beside the silence, or asks now.
pub(super) async fn gather(
    ask: &Ask,
    side: Side<'_>,
    before: Before<'_>,
    beside: Option<Through>,
    clock: &Clock,
) -> Option<Through> {
    let dialogue = before.redis.seen()?.preferred()?;
    if beside.is_some() || !is_alert(dialogue) {
        return beside.filter(|_| !dialogue.has_replied());
    }
    let address: SocketAddr = dialogue.address.parse().ok()?;
    Inside::of(ask, side)?.probe(&Dialled::Tcp(address), end(clock)).await
}

/// True if what came back is the beginning of an alert of TLS (RFC 8446 section 5.1), in its escaped form.
fn is_alert(dialogue: &Dialogue) -> bool {
    dialogue.alien().is_some_and(|alien| alien.head.starts_with("\\x15\\x03"))
}
