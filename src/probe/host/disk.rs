//! The folders Redis writes to: where they are, whether it may write there, and what room is left.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::mount::{self, Mount};
use crate::model::{BlockerKind, Observed, escape};
use crate::sys::files::Meta;
use crate::sys::{disks, files};

/// A folder that Redis writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// What Redis keeps there: `data`, `aof`, `log`.
    pub purpose: String,
    /// The server that writes there, if it runs.
    #[serde(default)]
    pub pid: Option<u32>,
    /// The folder.
    pub path: String,
    /// The process in whose mount namespace it was looked at, where that is not ours: a container, or a service whose unit
    /// says `ProtectSystem=` or `PrivateTmp=`.
    #[serde(default)]
    pub within: Option<u32>,
    /// True if the server stands in a folder of this name that was deleted: what stands there now is another.
    #[serde(default)]
    pub deleted: bool,
    /// The type of its file system: `ext4`, `nfs4`, `overlay`.
    #[serde(default)]
    pub filesystem: Option<String>,
    /// The folder as stat(2) shows it; `None` where there is none or it cannot be seen.
    pub meta: Option<Meta>,
    /// The errno of looking at it, by name, where that failed: `ENOENT`, `EACCES`.
    pub errno: Option<String>,
    /// The room on its file system; `None` where statvfs(3) fails.
    pub room: Option<Room>,
}

/// What statvfs(3) says of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Its size, in bytes.
    pub total: u64,
    /// Bytes that an ordinary user may still write.
    pub available: u64,
    /// Bytes that root may still write.
    #[serde(default)]
    pub free: u64,
    /// Inodes; 0 where the file system has no fixed number.
    pub inodes: u64,
    /// Inodes that an ordinary user may still take.
    pub inodes_available: u64,
    /// True if it is mounted read-only.
    pub read_only: bool,
}

/// How long a file system may take to answer. A local one takes microseconds, one whose server is gone for ever.
const PATIENCE: Duration = Duration::from_millis(300);

/// Looks at the folders of servers, where each of them sees its own. `mounts` are ours.
pub fn gather(folders: &[Folder], mounts: &[Mount]) -> Observed<Vec<Disk>> {
    let of_servers = folders.chunk_by(|one, other| one.pid == other.pid);
    let looked = of_servers.map(|folders| of_server(folders, mounts));
    let all = looked.reduce(|all, one| match (all, one) {
        (Observed::Seen(all), Observed::Seen(one)) => Observed::Seen([all, one].concat()),
        // Of one server nothing can be seen: its judge finds none of its folders.
        (Observed::Seen(seen), _) | (_, Observed::Seen(seen)) => Observed::Seen(seen),
        (hidden, _) => hidden,
    });
    all.unwrap_or_else(|| Observed::skipped("no folder is known that Redis writes to"))
}

fn of_server(folders: &[Folder], mounts: &[Mount]) -> Observed<Vec<Disk>> {
    let server = folders.first().and_then(|first| Some((first.pid?, first.contained)));
    let view = match server.map_or(View::Ours, |(pid, contained)| view(pid, contained)) {
        View::Unknown => {
            let says = "the server is in a container, whose file systems this user may not look at";
            return Observed::hidden(BlockerKind::Permission, says);
        }
        view => view,
    };
    let others = view.within().map(|pid| mount::gather(Some(pid)));
    let mounts = others.as_deref().unwrap_or(mounts);
    let paths: Vec<String> = folders.iter().map(|folder| view.path(&folder.path)).collect();
    let seen = if mount::may_hang(mounts) {
        disks::look_patiently(&paths, PATIENCE)
    } else {
        paths.iter().map(|path| Some(disks::look(path))).collect()
    };
    let disks = folders.iter().zip(seen).map(|(folder, seen)| {
        let filesystem = mount::holding(mounts, &folder.path).map(|mount| mount.filesystem.clone());
        let seen = seen.ok_or_else(|| late(&folder.path, filesystem.as_deref()))?;
        Ok(disk(folder, filesystem, view.within(), seen))
    });
    disks
        .collect::<Result<_, String>>()
        .map_or_else(|says| Observed::hidden(BlockerKind::Deadline, says), Observed::Seen)
}

fn late(path: &str, filesystem: Option<&str>) -> String {
    let filesystem = filesystem.map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{}{filesystem} did not answer within {} ms", escape(path.as_bytes()), PATIENCE.as_millis())
}

/// Whose view of the file systems counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// The server has the same as we.
    Ours,
    /// That of this process is another, and we may look into it.
    Within(u32),
    /// It may be another, and we may not look into it.
    Unknown,
}

/// The view of a process: that of its mount namespace, by `/proc/PID/root`. Where we may not see which that is (ptrace(2)),
/// it is taken to have our folders unless it is in a container; a sandbox of systemd only takes rights away.
fn view(pid: u32, contained: bool) -> View {
    let (own, its) = (files::link("/proc/self/ns/mnt"), files::link(&format!("/proc/{pid}/ns/mnt")));
    match (own, its) {
        (Some(own), Some(its)) if own == its => View::Ours,
        (_, Some(_)) => View::Within(pid),
        (_, None) if contained => View::Unknown,
        (_, None) => View::Ours,
    }
}

impl View {
    fn within(self) -> Option<u32> {
        match self {
            Self::Within(pid) => Some(pid),
            Self::Ours | Self::Unknown => None,
        }
    }

    fn path(self, path: &str) -> String {
        match self {
            Self::Within(pid) => format!("/proc/{pid}/root{path}"),
            Self::Ours | Self::Unknown => path.to_owned(),
        }
    }
}

fn disk(folder: &Folder, filesystem: Option<String>, within: Option<u32>, seen: disks::Seen) -> Disk {
    let room = seen.room.map(|space| Room {
        total: space.total,
        available: space.available,
        free: space.free,
        inodes: space.inodes,
        inodes_available: space.inodes_available,
        read_only: space.read_only,
    });
    let path = escape(folder.path.as_bytes());
    let purpose = folder.purpose.to_owned();
    Disk {
        purpose,
        pid: folder.pid,
        path,
        within,
        deleted: folder.deleted,
        filesystem,
        meta: seen.meta,
        errno: seen.errno,
        room,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str) -> Folder {
        Folder { purpose: "data", path: path.to_owned(), pid: None, contained: false, deleted: false }
    }

    #[test]
    fn shows_what_is_there_and_what_is_not() {
        let mounts = mount::gather(None);
        let folder_there = tempfile::tempdir().unwrap();
        let path = folder_there.path().to_str().unwrap();
        let disks = gather(&[folder(path), folder("/no/such/folder")], &mounts);
        let [there, missing] = &disks.seen().unwrap()[..] else { panic!("{disks:?}") };
        assert_eq!(there.meta.as_ref().unwrap().kind, "folder");
        assert!(there.room.is_some_and(|room| room.total > 0) && there.filesystem.is_some());
        assert_eq!((missing.errno.as_deref(), &missing.meta), (Some("ENOENT"), &None));
        // Nothing is known to be local.
        assert_eq!(gather(&[folder("/no/such/folder")], &[]).seen().unwrap()[0].errno, missing.errno);
    }

    #[test]
    fn without_folders_there_is_nothing_to_say() {
        assert!(matches!(gather(&[], &[]), Observed::Skipped(_)));
    }

    #[test]
    fn our_own_view_is_ours() {
        assert_eq!(view(std::process::id(), true), View::Ours);
        assert_eq!(view(u32::MAX, true), View::Unknown);
        assert_eq!(view(u32::MAX, false), View::Ours);
        assert_eq!(View::Within(7).path("/data"), "/proc/7/root/data");
    }
}
