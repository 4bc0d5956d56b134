//! Ports of this machine that are published for containers: Docker starts a `docker-proxy` for each, whose arguments say
//! which container it is for. No other program has to be asked.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::sys::process;

/// The most processes that are looked at, and the most ports that are kept.
const MOST_PROCESSES: usize = 65_536;
const MOST_PORTS: usize = 256;

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The process that stands for it.
    pub pid: u32,
    /// The address of this machine; unspecified: all of them.
    pub ip: IpAddr,
    /// The port of this machine.
    pub port: u16,
    /// Where it leads in the container.
    pub to: SocketAddr,
}

/// Looks for the processes that stand for published ports.
pub fn gather() -> Vec<Published> {
    let pids = process::pids(MOST_PROCESSES).unwrap_or_default();
    let proxies = pids.into_iter().filter(|pid| process::comm(*pid).is_ok_and(|comm| comm == b"docker-proxy"));
    let told = |pid| of_arguments(pid, &process::read(pid, "cmdline").ok()?);
    proxies.filter_map(told).take(MOST_PORTS).collect()
}

/// `docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 6379 -container-ip 172.17.0.2 -container-port 6379`.
fn of_arguments(pid: u32, cmdline: &[u8]) -> Option<Published> {
    let words: Vec<&str> = cmdline.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok()).collect();
    let value = |flag: &str| words.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1]);
    (value("-proto")? == "tcp").then_some(())?;
    let to = SocketAddr::new(value("-container-ip")?.parse().ok()?, value("-container-port")?.parse().ok()?);
    Some(Published { pid, ip: value("-host-ip")?.parse().ok()?, port: value("-host-port")?.parse().ok()?, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_arguments_of_docker_proxy() {
        let line = "/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 6379 -container-ip 172.17.0.2 \
                    -container-port 6380 -use-listen-fd";
        let told = of_arguments(7, line.replace(' ', "\0").as_bytes()).unwrap();
        assert_eq!((told.port, told.to.to_string().as_str()), (6379, "172.17.0.2:6380"));
        assert_eq!(of_arguments(7, line.replace("tcp", "udp").replace(' ', "\0").as_bytes()), None);
        assert_eq!(of_arguments(7, b"docker-proxy\0-proto"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_arguments_panic(bytes: Vec<u8>) {
            let _ = of_arguments(7, &bytes);
        }
    }
}
