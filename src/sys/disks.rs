//! File systems: what stands at a path and what room there is, asked with patience, for a server of files that is gone
//! never answers (nfs(5), `hard`).

use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, statvfs};

use super::files::{self, Meta};
use super::{clock, thread};

/// What is seen of one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What stat(2) shows.
    pub meta: Option<Meta>,
    /// Its errno, by name, where it failed.
    pub errno: Option<String>,
    /// What statvfs(3) shows.
    pub room: Option<Space>,
}

/// The room on a file system, as statvfs(3) shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Its size, in bytes.
    pub total: u64,
    /// Bytes that an ordinary user may still write.
    pub available: u64,
    /// Bytes that root may still write.
    pub free: u64,
    /// Inodes.
    pub inodes: u64,
    /// Inodes that an ordinary user may still take.
    pub inodes_available: u64,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// Looks at a path. On a file system whose server is gone this never returns.
pub fn look(path: &str) -> Seen {
    let (meta, errno) = match files::stat(path) {
        Ok(meta) => (Some(meta), None),
        Err(error) => (None, error.raw_os_error().map(|code| format!("{:?}", Errno::from_raw(code)))),
    };
    Seen { room: meta.as_ref().and_then(|_| space(path)), meta, errno }
}

/// Looks at all paths at the same time, each in a thread of its own; `None` for those that have not answered when
/// patience has run out. The threads end with the process.
pub fn look_patiently(paths: &[String], patience: Duration) -> Vec<Option<Seen>> {
    let (sender, receiver) = mpsc::channel();
    for (at, path) in paths.iter().enumerate() {
        let (sender, path) = (sender.clone(), path.clone());
        // Nobody listens any more when patience has run out; what no thread can be had for is not seen.
        let _ = thread::start(move || drop(sender.send((at, look(&path)))));
    }
    drop(sender);
    let mut seen = vec![None; paths.len()];
    let end = clock::now() + patience;
    while let Ok((at, one)) = receiver.recv_timeout(end.saturating_duration_since(clock::now())) {
        seen[at] = Some(one);
    }
    seen
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "these numbers have 32 bits on macOS")]
fn space(path: &str) -> Option<Space> {
    let shown = statvfs(path).ok()?;
    let unit = shown.fragment_size() as u64;
    Some(Space {
        total: u64::from(shown.blocks()).saturating_mul(unit),
        available: u64::from(shown.blocks_available()).saturating_mul(unit),
        free: u64::from(shown.blocks_free()).saturating_mul(unit),
        inodes: u64::from(shown.files()),
        inodes_available: u64::from(shown.files_available()),
        read_only: shown.flags().contains(FsFlags::ST_RDONLY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_folder_and_its_room() {
        let seen = look("/");
        assert_eq!(seen.meta.unwrap().kind, "folder");
        assert!(seen.room.unwrap().total > 0);
        let none = look("/no/such/folder");
        assert_eq!((none.meta, none.errno.as_deref(), none.room), (None, Some("ENOENT"), None));
    }

    #[test]
    fn looks_at_many_at_once() {
        let paths = ["/", "/no/such/folder"].map(str::to_owned);
        // What room there is changes all the time.
        let known = |seen: Option<Seen>| seen.map(|seen| (seen.meta, seen.errno, seen.room.map(|room| room.total)));
        let seen = look_patiently(&paths, Duration::from_secs(10)).into_iter().map(known).collect::<Vec<_>>();
        assert_eq!(seen, paths.iter().map(|path| known(Some(look(path)))).collect::<Vec<_>>());
    }
}
