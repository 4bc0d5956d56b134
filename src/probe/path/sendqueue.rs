//! How many bytes of a connection the peer's kernel has not acknowledged. It tells a process that does not answer (its
//! kernel took the bytes) from a path that loses them, without any privilege; looked at only when nothing came back.

use std::net::{IpAddr, SocketAddr};

use crate::sys::files;
use crate::sys::socket::Stream;

/// The unacknowledged bytes of this connection; `None` for unix sockets, and where the kernel does not tell.
pub fn gather(stream: &Stream) -> Option<u64> {
    let (local, peer) = (stream.local()?, stream.peer()?);
    let table = if local.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    parse(&files::read_text(table).ok()?, local, peer)
}

/// Finds `tx_queue` (`write_seq - snd_una`, `get_tcp4_sock` in the kernel) of the connection in the kernel's table.
fn parse(table: &str, local: SocketAddr, peer: SocketAddr) -> Option<u64> {
    let (local, peer) = (kernel_form(local), kernel_form(peer));
    let mut rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&local.as_str()) && row.get(2) == Some(&peer.as_str()))?;
    u64::from_str_radix(row.get(4)?.split(':').next()?, 16).ok()
}

/// An address as the kernel prints it: words of 32 bits as they lie in memory.
fn kernel_form(address: SocketAddr) -> String {
    let word = |bytes: &[u8]| format!("{:08X}", u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let ip: String = match address.ip() {
        IpAddr::V4(ip) => word(&ip.octets()),
        IpAddr::V6(ip) => ip.octets().chunks_exact(4).map(word).collect(),
    };
    format!("{ip}:{:04X}", address.port())
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4129 1
   1: 0100007F:9C40 0100007F:18EB 01 0000001F:00000000 01:00000014 00000000     0        0 4130 2
";

    #[test]
    fn reads_the_kernels_table() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(parse(TABLE, address("127.0.0.1:40000"), address("127.0.0.1:6379")), Some(31));
        assert_eq!(parse(TABLE, address("127.0.0.1:40001"), address("127.0.0.1:6379")), None);
        assert_eq!(parse("", address("127.0.0.1:1"), address("127.0.0.1:2")), None);
    }

    #[test]
    fn writes_addresses_as_the_kernel_does() {
        assert_eq!(kernel_form("[::1]:6379".parse().unwrap()), "00000000000000000000000001000000:18EB");
    }
}
