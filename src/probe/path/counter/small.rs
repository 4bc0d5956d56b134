//! Where TLS is silent, and a plain connection is ended at once: the same handshake in small packets. What listens is alive
//! then, and its certificates are the first large thing that it sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::redis::Conversation;
use super::super::tls::{self, Ended, Hello, Tls};
use super::{Before, end};
use crate::model::Ask;
use crate::probe::Side;
use crate::sys::socket::{self, Dial, Reach};
use crate::sys::tls::Client;
use crate::sys::{Clock, clock};

/// How long it may take. A lost segment is sent again after some 200 ms.
const WAIT: Duration = Duration::from_millis(800);
/// The most that one segment carries: every host takes packets of 576 bytes (RFC 791), and links of IPv6 1,280 (RFC 8200).
const SEGMENT: u16 = 512;

/// Shakes hands in small packets, without a certificate of ours.
pub(super) async fn gather(
    ask: &Ask,
    side: Side<'_>,
    before: Before<'_>,
    plain: Option<&Conversation>,
    clock: &Clock,
) -> Option<Hello> {
    let hello = before.tls.seen().and_then(Tls::preferred).filter(|hello| hello.end == Ended::Silent)?;
    plain.filter(|plain| plain.has_ended() && !plain.said_something())?;
    let address: SocketAddr = hello.address.parse().ok()?;
    let deadline = end(clock).min(clock::now() + WAIT);
    let reach = Reach { segment: Some(SEGMENT), ..Reach::default() };
    let Dial::Connected(stream) = socket::dial_within(address, reach, deadline).await else { return None };
    let name = ask.target.sni.as_deref().or(ask.target.host())?;
    let client = Client::new(name, Arc::clone(&side.material.roots().store), None).ok()?.lenient().anonymous();
    let handshake = client.shake_hands(stream, deadline).await;
    Some(tls::hello(hello.address.clone(), &client, handshake).0)
}
