//! Other processes, as /proc shows them (proc(5)). Where there is no /proc, nothing is seen.

use std::collections::HashSet;
use std::io::{self, Read};
use std::time::{Duration, Instant, SystemTime};

use super::{clock, files, thread};

/// How long the name service may take to name a user: behind it may be a directory on the network that is gone.
const PATIENCE: Duration = Duration::from_millis(300);
/// Ticks a second in what /proc prints (`USER_HZ`): 100 on every machine that Rust knows.
const TICKS: u64 = 100;
/// The first PID namespace, that of the machine itself (`PROC_PID_INIT_INO`).
const FIRST_PIDS: &str = "pid:[4026531836]";

/// Inodes of sockets.
pub type Inodes = HashSet<u64>;

/// True if there is a /proc.
pub fn are_seen() -> bool {
    files::exists("/proc/self/stat")
}

/// The numbers of all processes that we see, at most `most`, in no order.
///
/// # Errors
/// What `opendir(3)` says.
#[expect(clippy::disallowed_methods, reason = "the one place that lists processes")]
pub fn pids(most: usize) -> io::Result<Vec<u32>> {
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).take(most).collect())
}

/// A file of a process, as `stat` or `net/tcp`.
///
/// # Errors
/// What `open(2)` or `read(2)` says.
pub fn read(pid: u32, name: &str) -> io::Result<Vec<u8>> {
    files::read(&format!("/proc/{pid}/{name}"))
}

/// The name of a process (`comm`): for walks over all of them, so with no more system calls than needed.
///
/// # Errors
/// What `open(2)` or `read(2)` says: `EACCES` or `ENOENT` where `hidepid` hides it.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at processes")]
pub fn comm(pid: u32) -> io::Result<Vec<u8>> {
    // A name has at most 15 bytes and a newline, that of a kernel thread 63.
    let mut buffer = [0; 80];
    let count = std::fs::File::open(format!("/proc/{pid}/comm"))?.read(&mut buffer)?;
    Ok(buffer[..count].trim_ascii_end().to_vec())
}

/// Where a link of a process leads, as `exe` or `ns/net`, if we may see it.
pub fn link(pid: u32, name: &str) -> Option<String> {
    files::link(&format!("/proc/{pid}/{name}"))
}

/// True if our PID namespace is that of the machine: then no process is out of sight.
pub fn in_first_pids() -> bool {
    files::link("/proc/self/ns/pid").is_some_and(|pids| pids == FIRST_PIDS)
}

/// Whether a process is in our network namespace. Who may not follow its link compares a file of it: each network
/// namespace has its own `net/dev`, with an inode of its own, and everybody may look at it.
pub fn same_network(pid: u32) -> Option<bool> {
    if let (Some(theirs), Some(ours)) = (link(pid, "ns/net"), files::link("/proc/self/ns/net")) {
        return Some(theirs == ours);
    }
    Some(inode(&format!("/proc/{pid}/net/dev"))? == inode("/proc/self/net/dev")?)
}

/// Whether a process has the mounts that we have, where we may see it: else its files may be others.
pub fn same_mounts(pid: u32) -> Option<bool> {
    Some(link(pid, "ns/mnt")? == files::link("/proc/self/ns/mnt")?)
}

#[expect(clippy::disallowed_methods, reason = "the one place that looks at processes")]
fn inode(path: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|meta| meta.ino())
}

/// How many files a process has open: the size of its folder of descriptors, which anybody may ask for since Linux 6.2.
/// On older kernels they are counted only where `count` allows it, for that takes a while.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at processes")]
pub fn open_files(pid: u32, count: bool) -> Option<u64> {
    let path = format!("/proc/{pid}/fd");
    let size = std::fs::metadata(&path).ok()?.len();
    match size {
        0 if count => std::fs::read_dir(&path).ok().map(|entries| entries.count() as u64),
        0 => None,
        size => Some(size),
    }
}

/// Which of the sockets with these inodes are among the first `most` descriptors of a process, without listing them.
///
/// # Errors
/// `PermissionDenied` where we may not look.
pub fn holds_low(pid: u32, wanted: &Inodes, most: u32) -> io::Result<Inodes> {
    let mut found = HashSet::new();
    for descriptor in 0..most {
        match socket_at(&format!("/proc/{pid}/fd/{descriptor}")) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Ok(Some(inode)) if wanted.contains(&inode) => found.insert(inode),
            _ => continue,
        };
        if found.len() == wanted.len() {
            break;
        }
    }
    Ok(found)
}

/// Which of the sockets with these inodes a process has open, as far as can be seen until `until`.
///
/// # Errors
/// `PermissionDenied` where we may not look.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at processes")]
pub fn holds(pid: u32, wanted: &Inodes, until: Instant) -> io::Result<Inodes> {
    let mut found = HashSet::new();
    for (at, entry) in std::fs::read_dir(format!("/proc/{pid}/fd"))?.enumerate() {
        if found.len() == wanted.len() || (at % 256 == 255 && clock::now() > until) {
            break;
        }
        let Some(name) = entry?.file_name().into_string().ok() else { continue };
        if let Ok(Some(inode)) = socket_at(&format!("/proc/{pid}/fd/{name}"))
            && wanted.contains(&inode)
        {
            found.insert(inode);
        }
    }
    Ok(found)
}

/// The inode of the socket that a descriptor leads to: `socket:[4129]`.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at processes")]
fn socket_at(path: &str) -> io::Result<Option<u64>> {
    let target = std::fs::read_link(path)?;
    let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
    Ok(inode)
}

/// The name of a user, from /etc/passwd; from the name service, where the user is not there and `ask` allows to wait.
pub fn user_name(uid: u32, ask: bool) -> Option<String> {
    let passwd = files::read_text("/etc/passwd").unwrap_or_default();
    passwd_name(&passwd, uid).or_else(|| if ask { name_service(uid) } else { None })
}

fn passwd_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

fn name_service(uid: u32) -> Option<String> {
    let user = move || nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
    thread::within(PATIENCE, move || user().ok().flatten().map(|user| user.name)).ok().flatten()
}

/// When a process started that began `ticks` after the machine did (RFC 3339, UTC).
#[expect(clippy::disallowed_methods, reason = "the difference of two clocks")]
pub fn started_at(ticks: u64) -> Option<String> {
    let age = since_boot()?.checked_sub(Duration::from_millis(ticks.checked_mul(1000 / TICKS)?))?;
    let started = SystemTime::now().checked_sub(age)?;
    Some(humantime::format_rfc3339_millis(started).to_string())
}

/// How long ago the machine was started, by the clock that /proc counts by: with the time that the machine slept, and shifted where a time namespace shifts it.
/// `btime` of /proc/stat would do, but that file takes a while on a machine with many processors.
#[cfg(target_os = "linux")]
pub fn since_boot() -> Option<Duration> {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

/// How long ago the machine was started.
#[cfg(not(target_os = "linux"))]
pub fn since_boot() -> Option<Duration> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn sees_itself() {
        let own = std::process::id();
        assert!(are_seen() && pids(1 << 16).unwrap().contains(&own));
        assert_eq!(pids(3).unwrap().len(), 3);
        assert_eq!(same_network(own), Some(true));
        assert_eq!(same_mounts(own), Some(true));
        assert!(inode(&format!("/proc/{own}/net/dev")) == inode("/proc/self/net/dev"));
        assert!(open_files(own, true).unwrap() > 2);
        assert!(started_at(0).is_some_and(|date| date < clock::date()));
        assert_eq!(started_at(u64::MAX), None);
    }

    #[test]
    fn finds_a_socket_by_its_inode() {
        use std::os::fd::AsRawFd as _;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = socket_at(&format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap().unwrap();
        let (own, soon) = (std::process::id(), clock::now() + Duration::from_secs(10));
        let wanted = HashSet::from([inode, u64::MAX]);
        assert_eq!(holds(own, &wanted, soon).unwrap(), HashSet::from([inode]));
        assert_eq!(holds_low(own, &wanted, 10_000).unwrap(), HashSet::from([inode]));
        assert_eq!(holds_low(own, &wanted, 0).unwrap(), HashSet::new());
    }

    #[test]
    fn names_users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:5:5::/:\nredis:x:106:113::/var/lib/redis:/bin/false\n";
        assert_eq!(passwd_name(passwd, 106).as_deref(), Some("redis"));
        assert_eq!(passwd_name(passwd, 5), None);
        assert_eq!(passwd_name("", 0), None);
        assert_eq!(user_name(0, false).as_deref(), Some("root"));
        assert_eq!(user_name(4_000_000_123, true), None);
    }
}
