//! What limits connections and files on the server's machine, and what the kernel counted when they were reached.

use serde::{Deserialize, Serialize};

use crate::model::{BlockerKind, Observed};
use crate::sys::files;

/// The limits of the kernel; those of the process stand with the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u32>,
    /// `vm.overcommit_memory`.
    pub overcommit_memory: Option<u8>,
    /// The chosen word of /`sys/kernel/mm/transparent_hugepage/enabled`: `always`, `madvise`, `never`.
    pub transparent_hugepages: Option<String>,
    /// `fs.file-nr`: files open on the machine, and the most there may be.
    pub files: Option<(u64, u64)>,
    /// `TcpExtListenOverflows` and `TcpExtListenDrops` of /proc/net/netstat: connections that found an accept queue full
    /// since the network namespace was made.
    pub listen_overflows: Option<(u64, u64)>,
    /// How many of them there were while we looked: on this machine since before the first attempt to connect, elsewhere
    /// from the beginning of `collect` to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflowed: Option<u64>,
}

/// `TcpExtListenOverflows` and `TcpExtListenDrops` as they stand now.
pub fn overflows() -> Option<(u64, u64)> {
    files::read_text("/proc/net/netstat").ok().and_then(|text| parse_overflows(&text))
}

/// Looks at the kernel's limits. `before` is what [`overflows`] said in the beginning.
pub fn gather(before: Option<(u64, u64)>) -> Observed<Limits> {
    let read = |path: &str| files::read_text(path).ok();
    let now = overflows();
    let limits = Limits {
        somaxconn: read("/proc/sys/net/core/somaxconn").and_then(|text| text.trim().parse().ok()),
        overcommit_memory: read("/proc/sys/vm/overcommit_memory").and_then(|text| text.trim().parse().ok()),
        transparent_hugepages: read("/sys/kernel/mm/transparent_hugepage/enabled").and_then(|text| chosen(&text)),
        files: read("/proc/sys/fs/file-nr").and_then(|text| open_files(&text)),
        listen_overflows: now,
        overflowed: before.zip(now).map(|((before, _), (now, _))| now.saturating_sub(before)),
    };
    if limits == Limits::default() {
        return Observed::hidden(BlockerKind::Missing, "/proc/sys shows none of the kernel's limits");
    }
    Observed::Seen(limits)
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    Some(crate::model::escape(word.as_bytes()))
}

/// Open and most of `open unused most`.
fn open_files(text: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [open, _, most] = numbers[..] else { return None };
    Some((open, most))
}

/// `ListenOverflows` and `ListenDrops` of the pair of lines `TcpExt:` that names its columns in the first.
fn parse_overflows(text: &str) -> Option<(u64, u64)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let columns = || names.split_whitespace().zip(values.split_whitespace());
    let value = |name: &str| columns().find(|(column, _)| *column == name)?.1.parse().ok();
    Some((value("ListenOverflows")?, value("ListenDrops")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
        assert_eq!(chosen("never\n"), None);
        assert_eq!(open_files("2080\t0\t9223372\n"), Some((2_080, 9_223_372)));
        assert_eq!(open_files("2080\n"), None);
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 3 4\nIpExt: A B\nIpExt: 1 2\n";
        assert_eq!(parse_overflows(netstat), Some((3, 4)));
        assert_eq!(parse_overflows("IpExt: A\nIpExt: 1\n"), None);
        assert_eq!(parse_overflows("TcpExt: ListenOverflows\n"), None);
    }

    #[test]
    fn sees_this_machine() {
        let limits = gather(overflows());
        assert!(limits.seen().is_some_and(|limits| limits.overflowed.is_some() == limits.listen_overflows.is_some()));
        assert!(
            limits.seen().is_some_and(|limits| limits.files.is_some_and(|(open, most)| open <= most)),
            "{limits:?}"
        );
    }
}
