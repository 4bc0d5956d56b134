//! The kernel's own list of listening sockets, by its `sock_diag` (`sock_diag(7)`): it needs no privilege, tells of this
//! network namespace alone, and passes over connections without printing them as /proc/net/tcp does. And its list of addresses.

#[cfg(not(target_os = "linux"))]
use std::io;
use std::net::{IpAddr, SocketAddr};

/// A TCP socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its inode.
    pub inode: u64,
    /// The user who made it.
    pub uid: u32,
    /// Connections that wait to be accepted.
    pub queue: u32,
    /// How many may wait.
    pub backlog: u32,
    /// Whether `IPV6_V6ONLY` is set on it; kernels before 4.2 do not tell.
    pub v6only: Option<bool>,
}

/// A unix stream socket that listens and has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unix {
    /// Its path, or `@` and its abstract name.
    pub name: Vec<u8>,
    /// Its inode.
    pub inode: u64,
    /// Connections that wait to be accepted.
    pub queue: u32,
    /// How many may wait.
    pub backlog: u32,
}

/// A TCP socket with a peer, or on its way to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The address of the peer.
    pub ip: IpAddr,
    /// Whether the connection stands; else it is being made.
    pub established: bool,
    /// How many times what is unanswered has been sent again.
    pub retries: u8,
    /// Its inode.
    pub inode: u64,
    /// The user who made it.
    pub uid: u32,
}

/// The sockets of one family whose peer has this port, at most `most`.
///
/// # Errors
/// There is no `sock_diag` here.
#[cfg(not(target_os = "linux"))]
pub fn peers(_v6: bool, _port: u16, _most: usize) -> io::Result<Vec<Peer>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A connection of which the kernel has answered the SYN and waits for the ACK (`SYN-RECV`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HalfOpen {
    /// Our end.
    pub local: SocketAddr,
    /// Who sent the SYN.
    pub remote: SocketAddr,
    /// How many times the answer was sent again.
    pub retransmits: u8,
}

#[cfg(target_os = "linux")]
pub use linux::{addresses, half_open, peers, sent_again, tcp, unix};

/// How many segments of this connection of ours were sent again since it began; `None` where the kernel does not tell.
///
/// # Errors
/// There is no `sock_diag` here.
#[cfg(not(target_os = "linux"))]
pub fn sent_again(_local: SocketAddr, _peer: SocketAddr) -> io::Result<Option<u32>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The TCP listeners of one family, at most `most`; the kernel itself leaves out other ports than `port`.
///
/// # Errors
/// There is no `sock_diag` here.
#[cfg(not(target_os = "linux"))]
pub fn tcp(_v6: bool, _port: Option<u16>, _most: usize) -> io::Result<Vec<Tcp>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The unix stream listeners that have a name, at most `most`.
///
/// # Errors
/// There is no `sock_diag` here.
#[cfg(not(target_os = "linux"))]
pub fn unix(_most: usize) -> io::Result<Vec<Unix>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The half-open TCP connections of one family, at most `most`.
///
/// # Errors
/// There is no `sock_diag` here.
#[cfg(not(target_os = "linux"))]
pub fn half_open(_v6: bool, _port: Option<u16>, _most: usize) -> io::Result<Vec<HalfOpen>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The addresses of the interfaces.
///
/// # Errors
/// There is no `rtnetlink` here.
#[cfg(not(target_os = "linux"))]
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::net::{IpAddr, SocketAddr};
    use std::os::fd::{AsRawFd, OwnedFd};

    use netlink_packet_core::{
        Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlaBuffer,
        NlasIterator,
    };
    use netlink_packet_sock_diag::inet::nlas::Nla;
    use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer};
    use netlink_packet_sock_diag::unix::nlas::UnixDiagName;
    use netlink_packet_sock_diag::unix::{self as local, ShowFlags, UnixRequest, UnixResponse};
    use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage, TCP_ESTABLISHED};
    use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
    use nix::sys::socket::{recv, sendto, socket};

    use super::{HalfOpen, Peer, Tcp, Unix};

    /// As much as the kernel ever puts into one answer to a dump (`netlink_recvmsg` in the kernel).
    const ROOM: usize = 32 * 1024;
    /// Enough for an answer with addresses, of which each takes some 80 bytes: the kernel fits its answers to the reader's room,
    /// from a page on.
    const ADDRESS_ROOM: usize = 8 * 1024;
    /// The most answers that are read: 4,096 listeners fit into a few dozen.
    const MOST_READS: usize = 1024;
    /// `SOCK_STREAM`, as a header of an answer has it.
    const STREAM: u8 = 1;
    /// The most connections with the same ports at both ends that are looked through, to other addresses.
    const MOST_ALIKE: usize = 64;
    /// Where `tcpi_total_retrans` lies in `struct tcp_info`.
    const TOTAL_RETRANS: std::ops::Range<usize> = 100..104;
    /// The length of a header of netlink(7), and of `struct ifaddrmsg` behind it.
    const HEADER: usize = 16;
    const ADDRESS_HEADER: usize = 8;
    /// `RTM_NEWADDR` and `RTM_GETADDR` of rtnetlink(7), with the attributes `IFA_ADDRESS` and `IFA_LOCAL`.
    const NEW_ADDRESS: u16 = 20;
    const GET_ADDRESSES: u16 = 22;
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;

    /// The TCP listeners of one family, at most `most`; the kernel itself leaves out other ports than `port`.
    ///
    /// # Errors
    /// What `socket(2)`, `send(2)` or the kernel's answer says: `EPERM` under seccomp, `ENOENT` where `tcp_diag` is missing.
    pub fn tcp(v6: bool, port: Option<u16>, most: usize) -> io::Result<Vec<Tcp>> {
        in_state(StateFlags::LISTEN, of_port(v6, port), most, tcp_of)
    }

    /// The half-open TCP connections of one family, at most `most`; the kernel itself leaves out other ports of ours than
    /// `port`.
    ///
    /// # Errors
    /// As [`tcp`].
    pub fn half_open(v6: bool, port: Option<u16>, most: usize) -> io::Result<Vec<HalfOpen>> {
        in_state(StateFlags::SYN_RECV, of_port(v6, port), most, half_open_of)
    }

    /// How many segments of this connection of ours were sent again since it began; `None` where the kernel does not tell.
    ///
    /// # Errors
    /// As [`tcp`].
    pub fn sent_again(local: SocketAddr, peer: SocketAddr) -> io::Result<Option<u32>> {
        let id = SocketId { source_port: local.port(), destination_port: peer.port(), ..any(local.is_ipv6()) };
        let is_it = |response: &InetResponse| {
            let id = &response.header.socket_id;
            id.source_address == local.ip() && id.destination_address == peer.ip()
        };
        let count = |nla: &Nla| match nla {
            Nla::TcpInfo(info) => info.get(TOTAL_RETRANS)?.try_into().ok().map(u32::from_ne_bytes),
            _ => None,
        };
        let told = |response: &InetResponse| {
            if is_it(response) { response.nlas.iter().find_map(count) } else { None }
        };
        let found = answered(StateFlags::ESTABLISHED, ExtensionFlags::INFO, id, MOST_ALIKE, told)?;
        Ok(found.into_iter().flatten().next())
    }

    fn any(v6: bool) -> SocketId {
        if v6 { SocketId::new_v6() } else { SocketId::new_v4() }
    }

    /// A dump leaves out sockets of other source ports (`inet_diag_dump_icsk` in the kernel); 0 is any.
    fn of_port(v6: bool, port: Option<u16>) -> SocketId {
        SocketId { source_port: port.unwrap_or(0), ..any(v6) }
    }

    fn in_state<T>(
        states: StateFlags,
        socket_id: SocketId,
        most: usize,
        of: impl Fn(&InetResponse) -> T,
    ) -> io::Result<Vec<T>> {
        answered(states, ExtensionFlags::empty(), socket_id, most, of)
    }

    fn answered<T>(
        states: StateFlags,
        extensions: ExtensionFlags,
        socket_id: SocketId,
        most: usize,
        of: impl Fn(&InetResponse) -> T,
    ) -> io::Result<Vec<T>> {
        let family = if socket_id.source_address.is_ipv6() { AF_INET6 } else { AF_INET };
        let request = InetRequest { family, protocol: IPPROTO_TCP, extensions, states, socket_id };
        let mut found = Vec::new();
        dump(SockDiagMessage::InetRequest(request), |message| {
            if let SockDiagMessage::InetResponse(response) = message {
                found.push(of(&response));
            }
            found.len() < most
        })?;
        Ok(found)
    }

    /// The sockets of one family whose peer has this port, connected or on their way, at most `most`.
    ///
    /// # Errors
    /// As [`tcp`].
    pub fn peers(v6: bool, port: u16, most: usize) -> io::Result<Vec<Peer>> {
        let states = StateFlags::ESTABLISHED | StateFlags::SYN_SENT;
        in_state(states, SocketId { destination_port: port, ..any(v6) }, most, peer_of)
    }

    fn peer_of(response: &InetResponse) -> Peer {
        let header = &response.header;
        Peer {
            ip: header.socket_id.destination_address,
            established: header.state == TCP_ESTABLISHED,
            retries: if let Some(Timer::Retransmit(_, count)) = header.timer { count } else { 0 },
            inode: u64::from(header.inode),
            uid: header.uid,
        }
    }

    fn half_open_of(response: &InetResponse) -> HalfOpen {
        let id = &response.header.socket_id;
        HalfOpen {
            local: SocketAddr::new(id.source_address, id.source_port),
            remote: SocketAddr::new(id.destination_address, id.destination_port),
            // `inet_req_diag_fill` in the kernel always says that the retransmission timer runs.
            retransmits: match response.header.timer {
                Some(Timer::Retransmit(_, times)) => times,
                _ => 0,
            },
        }
    }

    /// The unix stream listeners that have a name, at most `most`.
    ///
    /// # Errors
    /// As [`tcp`].
    pub fn unix(most: usize) -> io::Result<Vec<Unix>> {
        let request = UnixRequest {
            state_flags: local::StateFlags::LISTEN,
            inode: 0,
            show_flags: ShowFlags::NAME | ShowFlags::RQLEN,
            cookie: [0; 8],
        };
        let mut found = Vec::new();
        dump(SockDiagMessage::UnixRequest(request), |message| {
            if let SockDiagMessage::UnixResponse(response) = message {
                found.extend(unix_of(&response));
            }
            found.len() < most
        })?;
        Ok(found)
    }

    fn tcp_of(response: &InetResponse) -> Tcp {
        let header = &response.header;
        let v6only =
            response.nlas.iter().find_map(|nla| if let Nla::SkV6Only(only) = nla { Some(*only) } else { None });
        Tcp {
            ip: header.socket_id.source_address,
            port: header.socket_id.source_port,
            inode: u64::from(header.inode),
            uid: header.uid,
            queue: header.recv_queue,
            backlog: header.send_queue,
            v6only,
        }
    }

    fn unix_of(response: &UnixResponse) -> Option<Unix> {
        use std::os::unix::ffi::OsStrExt as _;
        let name = match response.name()? {
            UnixDiagName::Pathname(path) => path.as_bytes().to_vec(),
            UnixDiagName::Abstract(name) => [b"@", name.as_slice()].concat(),
        };
        (response.header.kind == STREAM && !name.is_empty()).then(|| Unix {
            name,
            inode: u64::from(response.header.inode),
            queue: response.number_of_pending_connection().unwrap_or(0),
            backlog: response.max_number_of_pending_connection().unwrap_or(0),
        })
    }

    /// The addresses of the interfaces of this network namespace (`RTM_GETADDR` of rtnetlink(7)). `getifaddrs(3)` lets the kernel
    /// count up what every interface has seen, too, which takes many times as long.
    ///
    /// # Errors
    /// As [`tcp`].
    pub fn addresses() -> io::Result<Vec<IpAddr>> {
        let mut request = NetlinkHeader::default();
        request.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.message_type = GET_ADDRESSES;
        request.length = u32::try_from(HEADER + ADDRESS_HEADER).unwrap_or_default();
        let mut bytes = [0; HEADER + ADDRESS_HEADER];
        request.emit(&mut bytes);
        let socket = send(&bytes, SockProtocol::NetlinkRoute)?;
        let mut found = Vec::new();
        let mut buffer = vec![0; ADDRESS_ROOM];
        for _ in 0..MOST_READS {
            let count = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
            let mut bytes = &buffer[..count];
            while let Ok(message) = NetlinkBuffer::new_checked(bytes) {
                match message.message_type() {
                    NEW_ADDRESS => found.extend(address_of(message.payload())),
                    // The end, or an error.
                    _ => return Ok(found),
                }
                let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
                bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
        Ok(found)
    }

    /// The address of an interface: its own end (`IFA_LOCAL`), where there are two.
    fn address_of(message: &[u8]) -> Option<IpAddr> {
        let attributes = NlasIterator::new(message.get(ADDRESS_HEADER..)?).flatten();
        let of = |kind: u16| {
            let attribute = attributes.clone().find(|attribute: &NlaBuffer<&[u8]>| attribute.kind() == kind)?;
            ip(attribute.value())
        };
        of(LOCAL).or_else(|| of(ADDRESS))
    }

    fn ip(bytes: &[u8]) -> Option<IpAddr> {
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
    }

    /// Asks, and hands every message of the answer to `each` until it says that it has enough. The kernel makes the answer
    /// while we ask and read, so there is never anything to wait for: nothing here blocks.
    fn dump(request: SockDiagMessage, mut each: impl FnMut(SockDiagMessage) -> bool) -> io::Result<()> {
        let socket = ask(request)?;
        let mut buffer = vec![0; ROOM];
        for _ in 0..MOST_READS {
            let count = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
            if !take(&buffer[..count], &mut each)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn ask(request: SockDiagMessage) -> io::Result<OwnedFd> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(&bytes, SockProtocol::NetlinkSockDiag)
    }

    fn send(request: &[u8], protocol: SockProtocol) -> io::Result<OwnedFd> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        sendto(socket.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::MSG_DONTWAIT)?;
        Ok(socket)
    }

    /// One datagram of the answer, which holds several messages; false when it was the last or `each` has enough.
    ///
    /// # Errors
    /// What the kernel answers in place of sockets.
    fn take(mut bytes: &[u8], each: &mut impl FnMut(SockDiagMessage) -> bool) -> io::Result<bool> {
        let mut more = true;
        while let Ok(header) = NetlinkBuffer::new_checked(bytes) {
            let length = usize::try_from(header.length()).unwrap_or(usize::MAX);
            let (message, rest) = bytes.split_at_checked(length.next_multiple_of(4)).unwrap_or((bytes, &[]));
            bytes = rest;
            // A message that cannot be understood is one socket less, not the end of all.
            let Ok(message) = NetlinkMessage::<SockDiagMessage>::deserialize(message) else { continue };
            match message.payload {
                NetlinkPayload::InnerMessage(socket) => more = each(socket),
                NetlinkPayload::Done(_) => more = false,
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            if !more {
                break;
            }
        }
        Ok(more)
    }

    #[cfg(test)]
    mod tests {
        use proptest::prelude::*;

        use super::*;

        #[test]
        fn sees_a_listener_of_its_own() {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let found = tcp(false, Some(port), 8).unwrap();
            let [found] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!((found.ip, found.port), ("127.0.0.1".parse().unwrap(), port));
            assert_eq!((found.queue, found.backlog > 0, found.v6only), (0, true, None));
            assert_eq!(found.uid, nix::unistd::geteuid().as_raw());
            drop(listener);
            assert_eq!(tcp(false, Some(port), 8).unwrap(), []);
        }

        #[test]
        fn sees_the_addresses_that_the_library_sees() {
            let ips = crate::sys::machine::interfaces().into_iter().map(|(_, ip)| ip);
            let (mut known, mut found) = (ips.collect::<Vec<_>>(), addresses().unwrap());
            known.sort();
            found.sort();
            assert_eq!(found, known);
        }

        #[test]
        fn sees_a_connection_by_the_port_of_its_peer() {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let _stream = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                .and_then(|socket| socket.connect(&address.into()).map(|()| socket))
                .unwrap();
            let found = peers(false, address.port(), 8).unwrap();
            let [found] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!((found.ip, found.established, found.retries), (address.ip(), true, 0));
        }

        #[test]
        fn sees_whether_a_listener_is_for_ipv6_alone() {
            let Ok(listener) = std::net::TcpListener::bind("[::]:0") else { return };
            let found = tcp(true, Some(listener.local_addr().unwrap().port()), 8).unwrap();
            assert_eq!(found.iter().map(|one| one.v6only).collect::<Vec<_>>(), [Some(false)]);
        }

        #[test]
        fn sees_unix_listeners_with_their_names() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("redis.sock");
            let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let found = unix(100_000).unwrap();
            let own = found.iter().find(|one| one.name == path.as_os_str().as_encoded_bytes()).unwrap();
            assert!(own.backlog > 0 && own.inode > 0, "{own:?}");
        }

        #[test]
        fn stops_when_there_is_enough() {
            let _listeners = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
            assert_eq!(tcp(false, None, 2).unwrap().len(), 2);
        }

        proptest! {
            #[test]
            fn no_bytes_panic(bytes: Vec<u8>) {
                let _ = take(&bytes, &mut |_| true);
                let mut framed = u32::try_from(bytes.len() + 16).unwrap().to_ne_bytes().to_vec();
                framed.extend([20, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                framed.extend(bytes);
                let _ = take(&framed, &mut |_| true);
                let _ = address_of(&framed);
            }
        }
    }
}
