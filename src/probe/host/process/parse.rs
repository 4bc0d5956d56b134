//! The files of /proc/PID (proc(5)), parsed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::State;
use crate::model::escape;

/// What /proc/PID/stat says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Its name.
    pub comm: String,
    /// Its state.
    pub state: State,
    /// Its parent.
    pub parent: u32,
    /// When it started, in ticks after the machine.
    pub started: u64,
}

/// What /proc/PID/status says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The effective user.
    pub uid: Option<u32>,
    /// The groups, the effective one first.
    pub gids: Vec<u32>,
    /// Its numbers, in our PID namespace first, in its own last; empty on kernels before 4.1.
    pub pids: Vec<u32>,
    /// Its effective capabilities (capabilities(7)), a bit each.
    pub capabilities: Option<u64>,
}

/// Reads /proc/PID/stat. The name may hold spaces and parentheses, so its end is the last one.
pub fn stat(bytes: &[u8]) -> Option<Stat> {
    let begin = bytes.iter().position(|byte| *byte == b'(')? + 1;
    let end = bytes.iter().rposition(|byte| *byte == b')').filter(|end| *end >= begin)?;
    let rest = String::from_utf8_lossy(&bytes[end + 1..]).into_owned();
    // From the third field on: state, ppid, …, starttime as the 22nd.
    let words: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        comm: escape(&bytes[begin..end]),
        state: state(words.first()?),
        parent: words.get(1)?.parse().ok()?,
        started: words.get(19)?.parse().ok()?,
    })
}

fn state(letter: &str) -> State {
    match letter {
        "R" | "S" => State::Alive,
        "D" => State::InKernel,
        "T" => State::Stopped,
        "t" => State::Traced,
        "Z" | "X" | "x" => State::Zombie,
        _ => State::Other,
    }
}

/// Reads /proc/PID/status.
pub fn status(text: &str) -> Status {
    let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let numbers = |key: &str| line(key).unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok());
    Status {
        uid: numbers("Uid:").nth(1),
        gids: numbers("Gid:").skip(1).take(1).chain(numbers("Groups:")).collect(),
        pids: numbers("NSpid:").collect(),
        capabilities: line("CapEff:").and_then(|rest| u64::from_str_radix(rest.trim(), 16).ok()),
    }
}

/// The soft limit of open files in /proc/PID/limits.
pub fn open_files_limit(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

/// The systemd unit in /proc/PID/cgroup: the innermost service, of the hierarchy of systemd (v1) or of the only one (v2).
pub fn unit(cgroup: &str) -> Option<String> {
    let of = |line: &str| {
        let (hierarchy, path) = line.split_once(':')?.1.split_once(':')?;
        (hierarchy.is_empty() || hierarchy == "name=systemd").then(|| service(path))?
    };
    cgroup.lines().find_map(of)
}

fn service(path: &str) -> Option<String> {
    let (at, name) = path.split('/').enumerate().filter(|(_, part)| part.ends_with(".service")).last()?;
    // The manager of a user's services is the unit of what is in none of them; a container that is started by an engine
    // is in the engine's unit, or below it.
    let inner = path.split('/').skip(at + 1);
    let is_manager = name.starts_with("user@");
    let engine = ["docker.service", "containerd.service", "crio.service", "kubelet.service"].contains(&name);
    let contained = inner.clone().any(|part| id(part).is_some()) && engine;
    (!is_manager && !contained).then(|| escape(name.as_bytes()))
}

/// The id of the container in /proc/PID/cgroup: 64 hexadecimal digits (docker, containerd, cri-o, podman, Kubernetes).
pub fn container(cgroup: &str) -> Option<String> {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.rsplit('/')).find_map(id).map(str::to_owned)
}

/// `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, `libpod-payload-ID`, or ID alone.
fn id(part: &str) -> Option<&str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let last = name.rsplit(['-', ':']).next()?;
    let is_id = last.len() == 64 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
    // `crio-conmon-ID` and `libpod-conmon-ID` hold the container's keeper.
    (is_id && !name.contains("conmon")).then_some(last)
}

/// The addresses of the machine itself in `/proc/PID/net/fib_trie`, without loopback.
pub fn local_addresses(fib_trie: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(ip) = last.filter(|ip| !ip.is_loopback() && !found.contains(&IpAddr::V4(*ip)))
        {
            found.push(ip.into());
        }
    }
    found
}

/// The addresses in `/proc/PID/net/if_inet6`, without loopback and those of one link.
pub fn inet6_addresses(if_inet6: &str) -> Vec<IpAddr> {
    let row = |line: &str| u128::from_str_radix(line.split_whitespace().next()?, 16).ok().map(Ipv6Addr::from_bits);
    let found = if_inet6.lines().filter_map(row);
    found.filter(|ip| !ip.is_loopback() && !ip.is_unicast_link_local()).map(IpAddr::V6).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn reads_stat() {
        let tail = "1 812 812 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 6 0 4711 70 1 18446744073709551615";
        let of = |comm: &str, state: &str| stat(format!("812 ({comm}) {state} {tail}\n").as_bytes());
        let seen = of("redis-server", "S").unwrap();
        assert_eq!(
            (seen.comm.as_str(), seen.state, seen.parent, seen.started),
            ("redis-server", State::Alive, 1, 4711)
        );
        assert_eq!(of("a) R 1 (b c", "Z").unwrap().comm, "a) R 1 (b c");
        assert_eq!(of("a) R 1 (b c", "Z").unwrap().state, State::Zombie);
        assert_eq!(of("\x1b[2J", "T").unwrap().comm, "\\x1b[2J");
        let states = ["D", "t", "I", "X"].map(|state| of("x", state).unwrap().state);
        assert_eq!(states, [State::InKernel, State::Traced, State::Other, State::Zombie]);
        assert!(stat(b"").is_none() && stat(b"1 )(").is_none() && stat(b"1 (x) S 1").is_none());
    }

    #[test]
    fn reads_status() {
        let text = "Name:\tredis\nUid:\t0\t106\t106\t106\nGid:\t0\t112\t112\t112\nGroups:\t112 115 \nNSpid:\t4711\t1\nCapEff:\t0000000000000002\n";
        assert_eq!(
            status(text),
            Status { uid: Some(106), gids: vec![112, 112, 115], pids: vec![4711, 1], capabilities: Some(2) }
        );
        assert_eq!(status(""), Status::default());
    }

    #[test]
    fn reads_limits() {
        let row = |value: &str| format!("Limit  Soft\nMax open files            {value}      524288    files     \n");
        assert_eq!(open_files_limit(&row("10032")), Some(10032));
        assert_eq!(open_files_limit(&row("unlimited")), None);
        assert_eq!(open_files_limit("Max open files"), None);
    }

    #[test]
    fn finds_unit_and_container() {
        let rows: [(String, Option<&str>, bool); 16] = [
            ("0::/system.slice/redis-server.service".into(), Some("redis-server.service"), false),
            ("0::/system.slice/system-redis.slice/redis@6380.service".into(), Some("redis@6380.service"), false),
            (
                "12:pids:/x.service\n1:name=systemd:/system.slice/redis.service\n0::/".into(),
                Some("redis.service"),
                false,
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/redis.service".into(),
                Some("redis.service"),
                false,
            ),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope".into(), None, false),
            ("0::/user.slice/user-0.slice/session-3.scope".into(), None, false),
            ("0::/".into(), None, false),
            (format!("0::/system.slice/docker-{ID}.scope"), None, true),
            (format!("5:cpu:/docker/{ID}\n1:name=systemd:/docker/{ID}"), None, true),
            (format!("0::/system.slice/docker.service/docker/{ID}"), None, true),
            (format!("0::/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{ID}.scope"), None, true),
            (format!("0::/kubepods/besteffort/pod1-2/{ID}"), None, true),
            (format!("0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}"), None, true),
            (format!("0::/machine.slice/libpod-{ID}.scope/container"), None, true),
            (format!("0::/system.slice/redis.service/libpod-payload-{ID}"), Some("redis.service"), true),
            (format!("0::/machine.slice/libpod-conmon-{ID}.scope"), None, false),
        ];
        for (cgroup, expected, contained) in rows {
            assert_eq!(unit(&cgroup).as_deref(), expected, "{cgroup}");
            assert_eq!(container(&cgroup).as_deref(), contained.then_some(ID), "{cgroup}");
        }
        assert_eq!((unit(""), container("x:y")), (None, None));
    }

    #[test]
    fn reads_addresses() {
        let trie = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 172.17.0.0/16 2 0 2
        |-- 172.17.0.0
           /16 link UNICAST
        |-- 172.17.0.2
           /32 host LOCAL
        |-- 172.17.255.255
           /32 link BROADCAST
Local:
  |-- 127.0.0.1
     /32 host LOCAL
  |-- 172.17.0.2
     /32 host LOCAL
";
        assert_eq!(local_addresses(trie), ["172.17.0.2".parse::<IpAddr>().unwrap()]);
        let inet6 = "\
00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000042acfffe110002 0b 40 20 80     eth0
fd770001000000000000000000000002 0b 40 00 80     eth0
broken
";
        assert_eq!(inet6_addresses(inet6), ["fd77:1::2".parse::<IpAddr>().unwrap()]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text: String) {
            let _ = stat(&bytes);
            let _ = stat(&[b"1 (".as_slice(), &bytes, b") S 1 2"].concat());
            let _ = (status(&text), open_files_limit(&text), unit(&text), container(&text));
            let _ = (local_addresses(&text), inet6_addresses(&text));
        }
    }
}
