//! Does something on this machine stand between us and the target: the sidecar of a service mesh?
//!
//! It takes what leaves this machine by a redirect in its packet filter, so that connections to anywhere are accepted by the
//! machine itself. Looked at only where another machine seems to have accepted and then reset or closed without a word.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::redis::{Dialogue, End, Redis};
use super::route;
use super::tcp::{Attempt, Outcome, Tcp};
use crate::model::Observed;
use crate::probe::host::socket;
use crate::sys::socket::{self as sockets, Dial, Reach};
use crate::sys::{Clock, clock};

/// The ports that sidecars have outgoing connections redirected to: Envoy of Istio, Consul and Kuma; Linkerd.
const OUTGOING: [u16; 2] = [15_001, 4_140];
/// How long a packet that may pass no router may take to be answered: it goes no further than the first.
const NEAR: Duration = Duration::from_millis(300);

/// What stands between.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mesh {
    /// The ports of sidecars that are listened on, on this machine.
    pub listeners: Vec<u16>,
    /// Where the way leads through a gateway: whether a connection is accepted whose packets may pass no router.
    pub near: Option<bool>,
    /// That gateway.
    pub gateway: Option<IpAddr>,
}

impl Mesh {
    /// True if anything looks like a sidecar.
    pub fn is_likely(&self) -> bool {
        !self.listeners.is_empty() || self.near == Some(true)
    }
}

impl Attempt {
    /// True if somebody took the connection, even if it was reset before we noticed.
    pub fn is_taken(&self) -> bool {
        matches!(self.outcome, Outcome::Connected | Outcome::Reset)
    }
}

impl Dialogue {
    /// True if it was accepted, and reset as soon as something was said.
    pub fn is_reset(&self) -> bool {
        let resets = matches!(&self.first.end, End::Broken(errno) if errno == "ECONNRESET" || errno == "EPIPE");
        resets && !self.first.said_something()
    }
}

/// Looks for a sidecar where the connection to another machine was reset, or ended without a word.
pub async fn gather(tcp: &Observed<Tcp>, redis: &Observed<Redis>, own: &[IpAddr], clock: &Clock) -> Observed<Mesh> {
    let taken = tcp.seen().and_then(|tcp| tcp.attempts.iter().find(|attempt| attempt.is_taken()));
    let at_once = || taken.is_some_and(|attempt| attempt.outcome == Outcome::Reset);
    let reset =
        redis.seen().and_then(Redis::preferred).is_some_and(|it| it.is_reset() || it.first.is_cut()) || at_once();
    let to = taken.and_then(|attempt| attempt.address.parse::<SocketAddr>().ok());
    let Some(to) = to.filter(|to| reset && !to.ip().is_loopback() && !own.contains(&to.ip().to_canonical())) else {
        return Observed::skipped("no connection to another machine was reset or ended without a word");
    };
    let gateway = match route::read() {
        Observed::Seen(routes) if routes.are_all_for(to.ip()) => routes.to(to.ip()).and_then(|route| route.gateway),
        _ => None,
    };
    let near = match gateway {
        Some(_) => {
            let reach = Reach { hops: Some(1), ..Reach::default() };
            let until = clock.end().min(clock::now() + NEAR);
            Some(is_near(&sockets::dial_within(to, reach, until).await))
        }
        None => None,
    };
    Observed::Seen(Mesh { listeners: listeners(), near, gateway })
}

/// True if somebody answered: with a connection, or with one that was reset at once.
fn is_near(dial: &Dial) -> bool {
    match dial {
        Dial::Connected(_) => true,
        Dial::Failed(failure) => failure.errno == Errno::ECONNRESET && failure.icmp.is_none(),
        Dial::TimedOut(_) => false,
    }
}

fn listeners() -> Vec<u16> {
    let sockets = socket::gather(None, false);
    let all = sockets.seen().map_or(&[][..], |sockets| &sockets.tcp);
    OUTGOING.into_iter().filter(|port| all.iter().any(|listener| listener.port == *port)).collect()
}
