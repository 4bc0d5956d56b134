//! What this machine is called and which addresses are its own.

use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;

use super::netlink;

/// The name of this machine.
pub fn hostname() -> Option<String> {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok())
}

/// The addresses of this machine's interfaces, in this network namespace.
pub fn addresses() -> Vec<IpAddr> {
    netlink::addresses().unwrap_or_else(|_| interfaces().into_iter().map(|(_, ip)| ip).collect())
}

/// The same, each with the name of its interface.
pub fn interfaces() -> Vec<(String, IpAddr)> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            let ip = v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))?;
            Some((interface.interface_name, ip))
        })
        .collect()
}

/// An interface of this network namespace, with one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The address.
    pub ip: IpAddr,
    /// The length of the prefix of the network that it says is on its link.
    pub prefix: u8,
}

/// The interfaces of this network namespace with the networks on their links, one entry for each address.
pub fn links() -> Vec<Interface> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let ip = |storage: &nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    interfaces
        .filter_map(|interface| {
            let (address, mask) = (ip(&interface.address?)?, ip(&interface.netmask?)?);
            let prefix = match mask {
                IpAddr::V4(mask) => mask.to_bits().leading_ones(),
                IpAddr::V6(mask) => mask.to_bits().leading_ones(),
            };
            Some(Interface { name: interface.interface_name, ip: address, prefix: u8::try_from(prefix).ok()? })
        })
        .collect()
}

/// The soft and hard limit of open files of this process.
pub fn open_files_limit() -> Option<(u64, u64)> {
    nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok()
}

/// Sees whether this process may open `count` more files, by doing so.
///
/// # Errors
/// What `socket(2)` says: `EMFILE` at the limit of this process, `ENFILE` at that of the machine.
pub fn can_open(count: usize) -> io::Result<()> {
    let opened: io::Result<Vec<UnixDatagram>> = (0..count).map(|_| UnixDatagram::unbound()).collect();
    opened.map(drop)
}

/// The user we run as.
pub fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}
