//! Where the server's certificate is not trusted: the same handshake once more, going on all the same, to see what is behind
//! it. Nothing of ours is shown inside: no password, no certificate, only PING and INFO.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Through;
use crate::model::{Observed, Target};
use crate::probe::Side;
use crate::probe::path::redis::introduce;
use crate::probe::path::tls::{Ended, Hello, Tls, hello};
use crate::sys::socket::{self, Dial};
use crate::sys::tls::Client;
use crate::sys::{Clock, clock};

/// How long all of it may take: the first handshake has just gone well up to the certificate.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is behind a certificate that is not trusted, at the preferred address.
pub(super) async fn gather(target: &Target, side: Side<'_>, tls: &Observed<Tls>, clock: &Clock) -> Option<Through> {
    let refused = tls.seen()?.preferred().filter(|hello| hello.end == Ended::Untrusted)?;
    let deadline = clock.step_end().min(clock::now() + PATIENCE);
    through(target, side, refused, deadline).await
}

async fn through(target: &Target, side: Side<'_>, refused: &Hello, deadline: Instant) -> Option<Through> {
    let address: SocketAddr = refused.address.parse().ok()?;
    let name = target.server_name().unwrap_or(&refused.address);
    let client = Client::new(name, Arc::clone(&side.material.roots().store), None).ok()?.lenient();
    let Dial::Connected(stream) = socket::dial(address, deadline).await else { return None };
    let handshake = client.shake_hands(stream, deadline).await;
    let (hello, stream) = hello(refused.address.clone(), &client, handshake);
    let inside = match &stream {
        Some(stream) => Some(introduce(stream, deadline).await),
        None => None,
    };
    Some(Through { hello, inside })
}
