//! The kernel's tables of sockets as text (proc(5)): what is left where `sock_diag` is blocked, and the only way to see
//! another network namespace without entering it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Listener, UnixListener};
use crate::model::escape;

/// `TCP_LISTEN` in /proc/net/tcp.
const LISTEN: &str = "0A";
/// `TCP_SYN_RECV` in /proc/net/tcp.
const SYN_RECV: &str = "03";
/// `__SO_ACCEPTCON` in /proc/net/unix: it listens.
const ACCEPTS: u32 = 0x0001_0000;
/// `SOCK_STREAM` in /proc/net/unix.
const STREAM: &str = "0001";

/// The listeners in /proc/net/tcp or /proc/net/tcp6.
pub fn tcp(table: &str) -> Vec<Listener> {
    table.lines().skip(1).filter_map(tcp_row).collect()
}

fn tcp_row(row: &str) -> Option<Listener> {
    let words: Vec<&str> = row.split_whitespace().collect();
    if *words.get(3)? != LISTEN {
        return None;
    }
    let (ip, port) = words[1].split_once(':')?;
    Some(Listener {
        ip: address(ip)?,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: words.get(9)?.parse().ok()?,
        uid: words.get(7)?.parse().ok()?,
        // `sk_ack_backlog` for a listener (`get_tcp4_sock` in the kernel).
        queue: u32::from_str_radix(words.get(4)?.split_once(':')?.1, 16).ok()?,
        backlog: 0,
        v6only: None,
        owner: None,
    })
}

/// The half-open connections in /proc/net/tcp or /proc/net/tcp6: our end, theirs, and how many times the answer was sent
/// again.
pub fn half_open(table: &str) -> Vec<(SocketAddr, SocketAddr, u8)> {
    table.lines().skip(1).filter_map(half_open_row).collect()
}

fn half_open_row(row: &str) -> Option<(SocketAddr, SocketAddr, u8)> {
    let words: Vec<&str> = row.split_whitespace().collect();
    if *words.get(3)? != SYN_RECV {
        return None;
    }
    let end = |word: &str| {
        let (ip, port) = word.split_once(':')?;
        Some(SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?))
    };
    Some((end(words[1])?, end(words[2])?, u8::from_str_radix(words.get(6)?, 16).unwrap_or(u8::MAX)))
}

/// An address as the kernel prints it: words of 32 bits as they lie in memory.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// The stream listeners with a name in /proc/net/unix.
pub fn unix(table: &str) -> Vec<UnixListener> {
    table.lines().skip(1).filter_map(unix_row).collect()
}

/// `Num RefCount Protocol Flags Type St Inode Path`; the path may hold spaces.
fn unix_row(row: &str) -> Option<UnixListener> {
    let mut words = row.splitn(8, ' ').filter(|word| !word.is_empty());
    let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
    let listens = flags & ACCEPTS != 0 && words.next()? == STREAM;
    // Inodes are padded with spaces, so the rest is split anew.
    let rest = row.split_whitespace().nth(6).filter(|_| listens)?;
    let path = row.get(row.find(&format!(" {rest} "))? + rest.len() + 2..)?;
    Some(UnixListener { path: escape(path.as_bytes()), inode: rest.parse().ok()?, queue: 0, backlog: 0, owner: None })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn reads_tcp_listeners() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:18EB 00000000:0000 0A 00000000:00000003 00:00000000 00000000   106        0 4129 1 0000 100 0 0 10 0
   1: 0100007F:9C40 0100007F:18EB 01 0000001F:00000000 01:00000014 00000000     0        0 4130 2
   2: broken
   3: 0100007F 00000000:0000 0A
";
        let [found] = tcp(table).try_into().unwrap();
        let Listener { ip, port, inode, uid, queue, backlog, v6only, owner } = found;
        assert_eq!((ip.to_string().as_str(), port, inode, uid), ("127.0.0.1", 6379, 4129, 106));
        assert_eq!((queue, backlog, v6only, owner), (3, 0, None, None));
        let table = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt
   0: 00000000000000000000000001000000:18EB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1
   1: 0000000000000000FFFF00000100007F:18EC 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 78 1
";
        let addresses: Vec<String> = tcp(table).iter().map(|one| one.address().to_string()).collect();
        assert_eq!(addresses, ["[::1]:6379", "[::ffff:127.0.0.1]:6380"]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn reads_half_open_connections() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 02014D0A:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1
   1: 02014D0A:18EB 01014D0A:C350 03 00000000:00000000 01:00000064 00000002     0        0 0 1
   2: broken 03
";
        let expected = ("10.77.1.2:6379".parse().unwrap(), "10.77.1.1:50000".parse().unwrap(), 2);
        assert_eq!(half_open(table), [expected]);
    }

    #[test]
    fn reads_unix_listeners() {
        let table = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 21233 /run/redis/redis-server.sock
0000000000000000: 00000003 00000000 00000000 0001 03 21234 /run/redis/redis-server.sock
0000000000000000: 00000002 00000000 00010000 0005 01 21235 /run/udev/control
0000000000000000: 00000002 00000000 00010000 0001 01   999 /tmp/with a space.sock
0000000000000000: 00000002 00000000 00010000 0001 01 21236 @/tmp/abstract
0000000000000000: 00000002 00000000 00010000 0001 01 21237
";
        let found: Vec<(String, u64)> = unix(table).into_iter().map(|one| (one.path, one.inode)).collect();
        let expected =
            [("/run/redis/redis-server.sock", 21233), ("/tmp/with a space.sock", 999), ("@/tmp/abstract", 21236)];
        assert_eq!(found, expected.map(|(path, inode)| (path.to_owned(), inode)));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), row in "[0-9A-F: é/@]{0,120}") {
            let table = format!("header\n{text}\n{row}\n0: {row} 0:0 0A 0:0 0 0 0 0 7\n0: 2 0 00010000 0001 01 {row}");
            let _ = (tcp(&table), half_open(&table), unix(&table));
        }
    }
}
