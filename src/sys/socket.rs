//! Connections, with everything the kernel tells about their failure: the errno, whether it came from `connect(2)`
//! itself or later, and the ICMP error that caused it with its sender (`IP_RECVERR`, ip(7); `IPV6_RECVERR`, ipv6(7)).
//!
//! The error queue of a TCP socket is filled by kernels since about 5.8 and needs no privilege; older ones leave it
//! empty, so its absence proves nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, getsockopt, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::clock;
use super::tls::Session;

/// How an attempt to connect ended.
#[derive(Debug)]
pub enum Dial {
    /// The handshake was completed.
    Connected(Stream),
    /// The kernel gave up, and says why.
    Failed(Failure),
    /// Nothing came before the deadline to this address of ours.
    TimedOut(Option<SocketAddr>),
}

/// What the kernel says about a failed connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The errno.
    pub errno: Errno,
    /// True if `connect(2)` (or `socket(2)`) itself failed: nothing was sent, or the answer came from this host.
    pub synchronous: bool,
    /// The ICMP error behind it.
    pub icmp: Option<IcmpError>,
    /// Our own address, with the port that answers went to; none where nothing was sent.
    pub local: Option<SocketAddr>,
}

/// An ICMP or ICMPv6 error from the socket's error queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// ICMP type (RFC 792, RFC 4443).
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Who sent it.
    pub from: IpAddr,
}

/// A connection to the target, with or without TLS.
#[derive(Debug)]
pub struct Stream {
    wire: Wire,
    session: Option<Box<Session>>,
}

/// What carries the bytes.
#[derive(Debug)]
pub(super) enum Wire {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// This many bytes.
    Bytes(usize),
    /// The peer closed its side.
    End,
    /// The connection broke with this errno.
    Broken(Errno),
    /// The peer ended TLS with this alert (RFC 8446 section 6.2).
    Alert(u8),
    /// Nothing came before the deadline.
    Silence,
}

/// What is set on a socket before it connects, beside what every one has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// How many routers a packet may pass before it expires (`IP_TTL`, `IPV6_UNICAST_HOPS`).
    pub hops: Option<u8>,
    /// The most bytes that one segment may carry, in both directions: the peer is told (`TCP_MAXSEG`, tcp(7)).
    pub segment: Option<u16>,
}

/// Connects to `address`, giving up at `deadline`.
pub async fn dial(address: SocketAddr, deadline: Instant) -> Dial {
    dial_within(address, Reach::default(), deadline).await
}

/// The same, with packets that reach no further, or are no larger, than `reach` says.
pub async fn dial_within(address: SocketAddr, reach: Reach, deadline: Instant) -> Dial {
    let socket = match start(address, reach) {
        Ok(socket) => socket,
        Err(failure) => return Dial::Failed(failure),
    };
    let stream = match TcpStream::from_std(socket.into()) {
        Ok(stream) => stream,
        Err(error) => return Dial::Failed(Failure::synchronous(&error)),
    };
    // The kernel takes the port back from a socket whose connect has failed (inet_put_port).
    let local = stream.local_addr().ok().filter(|local| local.port() != 0);
    let outcome = clock::until(deadline, settled(&stream)).await;
    match outcome {
        None => Dial::TimedOut(local),
        Some(Ok(())) => {
            let _ = stream.set_nodelay(true);
            Dial::Connected(Wire::Tcp(stream).into())
        }
        Some(Err(error)) => Dial::Failed(Failure {
            errno: errno_of(&error),
            synchronous: false,
            icmp: icmp_error(&stream, address.is_ipv6()),
            local,
        }),
    }
}

/// Connects to the unix socket at `path`.
#[expect(clippy::disallowed_methods, reason = "the one place that opens sockets")]
pub async fn dial_unix(path: &str, deadline: Instant) -> Dial {
    match clock::until(deadline, UnixStream::connect(path)).await {
        None => Dial::TimedOut(None),
        Some(Ok(stream)) => Dial::Connected(Wire::Unix(stream).into()),
        Some(Err(error)) => Dial::Failed(Failure::synchronous(&error)),
    }
}

impl Failure {
    /// The failure of a call that nothing was sent for.
    pub fn synchronous(error: &io::Error) -> Self {
        Self { errno: errno_of(error), synchronous: true, icmp: None, local: None }
    }
}

impl From<Wire> for Stream {
    fn from(wire: Wire) -> Self {
        Self { wire, session: None }
    }
}

impl Stream {
    /// The same connection inside TLS.
    pub(super) fn within(self, session: Session) -> Self {
        Self { session: Some(Box::new(session)), ..self }
    }

    /// What carries the bytes.
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Our own address on a TCP connection.
    pub fn local(&self) -> Option<SocketAddr> {
        match &self.wire {
            Wire::Tcp(stream) => stream.local_addr().ok(),
            Wire::Unix(_) => None,
        }
    }

    /// The peer's address on a TCP connection.
    pub fn peer(&self) -> Option<SocketAddr> {
        match &self.wire {
            Wire::Tcp(stream) => stream.peer_addr().ok(),
            Wire::Unix(_) => None,
        }
    }

    /// The largest packet that the kernel knows to fit the way of a TCP connection (`IP_MTU`, ip(7)); IPv4 only.
    #[cfg(target_os = "linux")]
    pub fn path_mtu(&self) -> Option<u32> {
        match &self.wire {
            Wire::Tcp(stream) => getsockopt(stream, sockopt::IpMtu).ok().and_then(|mtu| mtu.try_into().ok()),
            Wire::Unix(_) => None,
        }
    }

    /// The same: not to be had here.
    #[cfg(not(target_os = "linux"))]
    pub fn path_mtu(&self) -> Option<u32> {
        None
    }

    /// Reads what is there, or waits for it until `deadline`.
    pub async fn read(&self, buffer: &mut [u8], deadline: Instant) -> Read {
        match &self.session {
            Some(session) => session.read(&self.wire, buffer, deadline).await,
            None => self.wire.read(buffer, deadline).await,
        }
    }

    /// Writes all of `bytes`; an errno if the connection breaks, `ETIMEDOUT` if the peer takes none until `deadline`.
    ///
    /// # Errors
    /// The errno of the write that failed.
    pub async fn write(&self, bytes: &[u8], deadline: Instant) -> Result<(), Errno> {
        match &self.session {
            Some(session) => session.write(&self.wire, bytes, deadline).await,
            None => self.wire.write(bytes, deadline).await,
        }
    }
}

impl Wire {
    /// Reads what is there, or waits for it until `deadline`.
    pub(super) async fn read(&self, buffer: &mut [u8], deadline: Instant) -> Read {
        loop {
            if clock::until(deadline, self.ready(Interest::READABLE)).await.is_none() {
                return Read::Silence;
            }
            match self.try_read(buffer) {
                Ok(0) => return Read::End,
                Ok(count) => return Read::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Read::Broken(errno_of(&error)),
            }
        }
    }

    /// Writes all of `bytes`; an errno if the connection breaks, `ETIMEDOUT` if the peer takes none until `deadline`.
    ///
    /// # Errors
    /// The errno of the write that failed.
    pub(super) async fn write(&self, bytes: &[u8], deadline: Instant) -> Result<(), Errno> {
        let mut sent = 0;
        while sent < bytes.len() {
            if clock::until(deadline, self.ready(Interest::WRITABLE)).await.is_none() {
                return Err(Errno::ETIMEDOUT);
            }
            match self.try_write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(errno_of(&error)),
            }
        }
        Ok(())
    }

    async fn ready(&self, interest: Interest) {
        // An error to wait is an error to read or write, which the caller then meets.
        let _ = match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
        };
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }
}

/// A non-blocking socket whose connect is under way, with the error queue switched on.
fn start(address: SocketAddr, reach: Reach) -> Result<Socket, Failure> {
    let socket = prepared(address, reach).map_err(|error| Failure::synchronous(&error))?;
    listen_to_errors(&socket, address.is_ipv6());
    match socket.connect(&address.into()) {
        Ok(()) => Ok(socket),
        Err(error) if errno_of(&error) == Errno::EINPROGRESS => Ok(socket),
        Err(error) => {
            let icmp = icmp_error(&socket, address.is_ipv6());
            Err(Failure { errno: errno_of(&error), synchronous: true, icmp, local: None })
        }
    }
}

fn prepared(address: SocketAddr, reach: Reach) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match reach.hops {
        Some(hops) if address.is_ipv4() => socket.set_ttl_v4(hops.into())?,
        Some(hops) => socket.set_unicast_hops_v6(hops.into())?,
        None => {}
    }
    if let Some(segment) = reach.segment {
        socket.set_tcp_mss(segment.into())?;
    }
    Ok(socket)
}

/// Returns when the connect under way has succeeded or failed.
async fn settled(stream: &TcpStream) -> io::Result<()> {
    loop {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Err(error) if errno_of(&error) == Errno::ENOTCONN => {
                // Readiness without a result; the next event brings it.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            _ => return Ok(()),
        }
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

#[cfg(target_os = "linux")]
fn listen_to_errors(socket: &Socket, v6: bool) {
    // A kernel that cannot do this has an empty queue, which proves nothing anyway.
    let _ = if v6 {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)
    } else {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)
    };
}

#[cfg(not(target_os = "linux"))]
fn listen_to_errors(_socket: &Socket, _v6: bool) {}

#[cfg(target_os = "linux")]
fn icmp_error(socket: &impl AsRawFd, v6: bool) -> Option<IcmpError> {
    let mut control = nix::cmsg_space!([u8; 128]);
    let mut data = [0; 512];
    let mut iov = [io::IoSliceMut::new(&mut data)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut control), flags).ok()?;
    message.cmsgs().ok()?.find_map(|part| icmp_of(&part, v6))
}

#[cfg(target_os = "linux")]
fn icmp_of(part: &ControlMessageOwned, v6: bool) -> Option<IcmpError> {
    match part {
        // SO_EE_ORIGIN_ICMP is 2, SO_EE_ORIGIN_ICMP6 is 3 (linux/errqueue.h).
        ControlMessageOwned::Ipv4RecvErr(error, Some(from)) if !v6 && error.ee_origin == 2 => Some(IcmpError {
            kind: error.ee_type,
            code: error.ee_code,
            from: IpAddr::V4(u32::from_be(from.sin_addr.s_addr).into()),
        }),
        ControlMessageOwned::Ipv6RecvErr(error, Some(from)) if v6 && error.ee_origin == 3 => Some(IcmpError {
            kind: error.ee_type,
            code: error.ee_code,
            from: IpAddr::V6(from.sin6_addr.s6_addr.into()),
        }),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn icmp_error(_socket: &impl AsRawFd, _v6: bool) -> Option<IcmpError> {
    None
}
