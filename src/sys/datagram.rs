//! Datagrams to and from one peer, over a connected UDP socket: so the kernel drops what others send, and an ICMP
//! port-unreachable comes back as `ECONNREFUSED` (udp(7)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::clock;

/// The largest datagram that is taken. Longer ones are cut, as recv(2) does it.
const LARGEST: usize = 4096;

/// A connected UDP socket.
#[derive(Debug)]
pub struct Datagrams(UdpSocket);

/// What waiting for a datagram brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A datagram.
    Bytes(Vec<u8>),
    /// The kernel reports an error, mostly an ICMP message about what we sent.
    Failed(Errno),
    /// Nothing came before the deadline.
    Silence,
}

impl Datagrams {
    /// A socket that sends to `peer` and hears nobody else.
    ///
    /// # Errors
    /// The errno of socket(2), bind(2) or connect(2): `ENETUNREACH` when there is no route.
    pub fn connect(peer: SocketAddr) -> Result<Self, Errno> {
        open(peer).map(Self).map_err(|error| errno_of(&error))
    }

    /// A socket for ICMP echo with `peer`, which the kernel gives without privilege where `net.ipv4.ping_group_range` has
    /// one of our groups (icmp(7)); it sets the identifier and the checksum, and hands over the replies without IP header.
    ///
    /// # Errors
    /// The errno of socket(2) or connect(2): `EACCES` where that range has none of our groups.
    pub fn echo(peer: IpAddr) -> Result<Self, Errno> {
        open_echo(peer).map(Self).map_err(|error| errno_of(&error))
    }

    /// Sends `bytes` as one datagram, waiting for room until `deadline`.
    ///
    /// # Errors
    /// The errno of send(2), which may be that of an ICMP error about an earlier datagram.
    pub async fn send(&self, bytes: &[u8], deadline: Instant) -> Result<(), Errno> {
        match clock::until(deadline, self.0.send(bytes)).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(errno_of(&error)),
            None => Err(Errno::ETIMEDOUT),
        }
    }

    /// Waits for a datagram until `deadline`.
    pub async fn receive(&self, deadline: Instant) -> Received {
        let mut buffer = vec![0; LARGEST];
        match clock::until(deadline, self.0.recv(&mut buffer)).await {
            Some(Ok(count)) => {
                buffer.truncate(count);
                Received::Bytes(buffer)
            }
            Some(Err(error)) => Received::Failed(errno_of(&error)),
            None => Received::Silence,
        }
    }
}

fn open(peer: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bound(peer)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

#[expect(clippy::disallowed_methods, reason = "the one place that opens UDP sockets")]
fn bound(peer: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket)
}

fn open_echo(peer: IpAddr) -> io::Result<UdpSocket> {
    let protocol = if peer.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let peer = SocketAddr::new(peer, 0);
    let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(protocol))?;
    socket.connect(&peer.into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// The address that the kernel would send from to `peer`, by all of its routes and rules. No packet is sent.
///
/// # Errors
/// The errno of connect(2): `ENETUNREACH` where there is no route, and those of routes that refuse.
pub fn source_for(peer: SocketAddr) -> Result<IpAddr, Errno> {
    let socket = bound(peer).and_then(|socket| socket.local_addr());
    socket.map(|address| address.ip()).map_err(|error| errno_of(&error))
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}
