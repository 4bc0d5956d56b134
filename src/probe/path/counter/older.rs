//! Where the server refuses every version and cipher suite that we know: what would it choose for an older client?

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::model::Observed;
use crate::probe::path::tls::Tls;
use crate::probe::path::tls::oldhello::{self, Answer, MOST_BYTES};
use crate::sys::socket::{self, Dial, Read};
use crate::sys::{Clock, clock};

/// How long it may take: the server has just answered.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the first address that turned us away answers to an old client: it may be too old for us.
pub(super) async fn gather(tls: &Observed<Tls>, clock: &Clock) -> Option<Answer> {
    let refused = tls.seen()?.turned_away()?;
    let deadline = clock.step_end().min(clock::now() + PATIENCE);
    let address: SocketAddr = refused.address.parse().ok()?;
    ask(address, refused.server_name.as_deref().or(refused.unsent_name.as_deref()), deadline).await
}

async fn ask(address: SocketAddr, name: Option<&str>, deadline: Instant) -> Option<Answer> {
    let Dial::Connected(stream) = socket::dial(address, deadline).await else { return None };
    if stream.write(&oldhello::encode(name), deadline).await.is_err() {
        return Some(Answer::Closed);
    }
    let (mut heard, mut chunk) = (Vec::new(), vec![0; MOST_BYTES]);
    while heard.len() < MOST_BYTES {
        let room = MOST_BYTES - heard.len();
        match stream.read(&mut chunk[..room], deadline).await {
            Read::Bytes(count) => heard.extend_from_slice(&chunk[..count]),
            Read::Silence => return Some(Answer::Silent),
            Read::End | Read::Broken(_) | Read::Alert(_) => return Some(Answer::Closed),
        }
        if let Some(answer) = oldhello::parse(&heard) {
            return Some(answer);
        }
    }
    Some(Answer::Other)
}
