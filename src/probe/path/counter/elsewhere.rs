//! Where this machine is the target, and refuses or hangs up: the same port at another of its addresses, for what listens may
//! do so on loopback alone, and a container's published port is led there in two ways.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::super::redis::{Redis, say_ping};
use super::super::tcp::{Attempt, Outcome, Tcp, try_address};
use super::{Before, Elsewhere, end};
use crate::model::Ask;
use crate::sys::{Clock, clock, machine};

/// How long a server of this very machine may take.
const BRIEFLY: Duration = Duration::from_millis(400);

/// Asks at loopback where another address failed, and the other way round.
pub(super) async fn gather(ask: &Ask, before: Before<'_>, here: bool, clock: &Clock) -> Option<Elsewhere> {
    let attempt = before.tcp.seen().filter(|_| here && !ask.target.tls).and_then(|tcp| failed(tcp, before))?;
    let to = SocketAddr::new(other(attempt.ip?)?, ask.target.port()?);
    let deadline = end(clock).min(clock::now() + BRIEFLY);
    let (attempt, connection) = try_address(to, deadline).await;
    let said = match connection {
        Some(connection) => Some(say_ping(&connection.stream, deadline).await),
        None => None,
    };
    Some(Elsewhere { attempt, said })
}

/// The attempt that was refused, or accepted and hung up on.
fn failed<'a>(tcp: &'a Tcp, before: Before<'_>) -> Option<&'a Attempt> {
    let Some(connected) = tcp.connected() else {
        return tcp.attempts.iter().find(|attempt| attempt.outcome == Outcome::Refused);
    };
    let dialogue = before.redis.seen().and_then(Redis::preferred)?;
    let hung_up = !dialogue.telling().said_something() && dialogue.first.has_ended() || dialogue.is_denied();
    (hung_up && dialogue.address == connected.address).then_some(connected)
}

/// Another address of this machine, of the same family.
fn other(ip: IpAddr) -> Option<IpAddr> {
    let ip = ip.to_canonical();
    if !ip.is_loopback() && !ip.is_unspecified() {
        return Some(if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let mut own = machine::addresses().into_iter().filter(|own| own.is_ipv4() == ip.is_ipv4() && is_reachable(*own));
    own.next()
}

/// True for addresses that others may use, and that need no interface beside them.
fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}
