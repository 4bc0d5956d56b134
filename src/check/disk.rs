//! Can the server write where it is told to: its data, its AOF, its log?

use super::Check;
use crate::model::text::size;
use crate::model::{Code, Finding, Gap, Judgement, Level, Severity};
use crate::probe::Facts;
use crate::probe::host::disk::{Disk, Room};
use crate::probe::host::instance::Instance;

/// The check.
pub static CHECK: Check = Check {
    id: "disk",
    asks: "can the server write where it is told to: its data, its AOF, its log?",
    level: None,
    codes: &[&FULL, &INODES_FULL, &READ_ONLY, &FOLDER_MISSING, &NOT_WRITABLE, &LOG],
    judge,
};

/// Less than this is no room: an empty snapshot fits, a log line, but no data.
const NO_ROOM: u64 = 64 << 10;
/// On a larger file system this is no room, either.
const HARDLY_ROOM: u64 = 1 << 20;

/// Where the numbers of subordinate users begin (`SUB_UID_MIN`, login.defs(5)).
const SUBORDINATE: u32 = 100_000;

/// A fault that stops writes as soon as Redis tries to save.
const fn stops_writes(id: &'static str, title: &'static str, explain: &'static str) -> Code {
    Code { id, severity: Severity::Fail, breaks: Level::Writable, beyond: Severity::Warn, title, explain }
}

/// ENOSPC.
pub static FULL: Code = stops_writes(
    "disk/full",
    "no room is left where Redis saves its data",
    "statvfs(3) shows no room on the file system of Redis' data folder, and Redis is set up to save: the next snapshot or \
     append fails, and writes are answered with MISCONF.",
);
/// ENOSPC for want of inodes.
pub static INODES_FULL: Code = stops_writes(
    "disk/inodes-full",
    "no inode is left where Redis saves its data",
    "The file system of Redis' data folder has room, but can hold no more files: Redis cannot make its temporary file, and \
     the next snapshot fails with 'No space left on device'.",
);
/// EROFS.
pub static READ_ONLY: Code = stops_writes(
    "disk/read-only",
    "Redis' data folder is on a read-only file system",
    "The file system of Redis' data folder is mounted read-only, at least as the server sees it: after errors of the disk, \
     or because the unit's ProtectSystem= leaves only the folders of ReadWritePaths= to it.",
);
/// ENOENT.
pub static FOLDER_MISSING: Code = stops_writes(
    "disk/folder-missing",
    "the folder where Redis saves its data is gone",
    "The folder that 'dir' (or appenddirname) names is not there. A server that runs stands in the deleted folder and \
     cannot save; one that is started ends with \"Can't chdir\".",
);
/// EACCES.
pub static NOT_WRITABLE: Code = stops_writes(
    "disk/not-writable",
    "Redis' user may not write to its data folder",
    "By owner and permissions of the folder, the user that the server runs as may not make files in it: snapshots fail \
     with 'Permission denied'.",
);
/// What is wrong with the log's folder.
pub static LOG: Code = Code::warn(
    "disk/log-lost",
    Level::Reachable,
    "Redis cannot write its log",
    "The folder of 'logfile' is gone, read-only or has no room: Redis goes on without a word, and does not start again \
     where it cannot open its log.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    facts.server_host()?;
    let instance = facts.instance().ok_or_else(|| Gap::skipped("nothing is known of the server's machine"))?;
    let disks = instance.disks()?;
    let saves = saves(&instance);
    let mut findings: Vec<Finding> = disks.iter().filter_map(|disk| fault(disk, &instance, saves)).collect();
    // The AOF is within the data folder: one fault, one finding.
    let mut raised = Vec::new();
    findings.retain(|finding| {
        !raised.contains(&finding.code.id) && {
            raised.push(finding.code.id);
            true
        }
    });
    let summary = findings.first().map_or_else(|| well(&disks), |finding| finding.code.title.to_owned());
    Ok(Judgement::pass(summary).observing(&disks).finding(findings))
}

/// True if the server writes snapshots or an AOF. Redis writes snapshots where nobody says that it should not.
pub fn saves(instance: &Instance<'_>) -> bool {
    if instance.is_sentinel() {
        return false;
    }
    let value = |name: &str| instance.setting(name).map(|known| known.values.concat());
    let points = value("save").is_none_or(|points| !points.is_empty() && points != "\"\"");
    points || value("appendonly").as_deref() == Some("yes")
}

/// What is wrong with a folder, as far as it keeps the server from saving.
pub fn fault(disk: &Disk, instance: &Instance<'_>, saves: bool) -> Option<Finding> {
    if disk.purpose == "log" {
        let (_, source, says) = broken(disk, instance).filter(|(code, ..)| code.id != NOT_WRITABLE.id)?;
        return Some(Finding::new(&LOG, source, format!("the folder of its log, {says}")));
    }
    if !saves {
        return None;
    }
    let (code, source, says) = broken(disk, instance).or_else(|| not_writable(disk, instance))?;
    Some(Finding::new(code, source, says))
}

/// What is wrong with a folder, whoever writes to it: with who says so.
fn broken(disk: &Disk, instance: &Instance<'_>) -> Option<(&'static Code, &'static str, String)> {
    let path = &disk.path;
    if disk.deleted {
        let pid = instance.process.map_or(0, |process| process.pid);
        return Some((
            &FOLDER_MISSING,
            "readlink(2)",
            format!("{path}: pid {pid} stands in the deleted folder of that name"),
        ));
    }
    if disk.errno.as_deref() == Some("ENOENT") {
        return Some((&FOLDER_MISSING, "stat(2)", format!("{path}: ENOENT")));
    }
    let room = disk.room?;
    let filesystem = disk.filesystem.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let within = disk.within.map(|pid| format!(", as pid {pid} sees it")).unwrap_or_default();
    let of = |says: String| format!("{path}{filesystem}: {says}{within}");
    let (code, says) = match () {
        () if room.read_only => (&READ_ONLY, of("mounted read-only".to_owned())),
        () if is_full(&room, instance) => {
            (&FULL, of(format!("{} of {} free", size(left(&room, instance)), size(room.total))))
        }
        () if room.inodes > 0 && room.inodes_available == 0 => {
            (&INODES_FULL, of(format!("0 of {} inodes free", room.inodes)))
        }
        () => return None,
    };
    Some((code, "statvfs(3)", says))
}

fn is_full(room: &Room, instance: &Instance<'_>) -> bool {
    let left = left(room, instance);
    room.total > 0 && (left < NO_ROOM.min(room.total) || left < HARDLY_ROOM && left < room.total / 100)
}

/// What the server's user may still write: some room is kept for root.
fn left(room: &Room, instance: &Instance<'_>) -> u64 {
    let root = instance.process.is_none_or(|process| process.uid == 0);
    if root { room.free.max(room.available) } else { room.available }
}

/// By owner and mode, where that is sure: the groups of the server's user are not known.
fn not_writable(disk: &Disk, instance: &Instance<'_>) -> Option<(&'static Code, &'static str, String)> {
    let (meta, process) = (disk.meta.as_ref()?, instance.process?);
    // Root of a container with users of its own (user_namespaces(7)) is among the high numbers, and may write anyway.
    if process.uid == 0 || process.overrides_modes || process.uid >= SUBORDINATE || meta.kind != "folder" {
        return None;
    }
    let may = |shift: u32| meta.mode >> shift & 0o3 == 0o3;
    let denied = if meta.uid == process.uid { !may(6) } else { !may(3) && !may(0) };
    let user = process.user.clone().unwrap_or_else(|| process.uid.to_string());
    let says = format!(
        "{}: mode {:04o}, owner {}, group {}; the server runs as {user} ({})",
        disk.path, meta.mode, meta.uid, meta.gid, process.uid
    );
    denied.then_some((&NOT_WRITABLE, "stat(2)", says))
}

fn well(disks: &[&Disk]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for disk in disks.iter().filter(|disk| disk.purpose != "aof") {
        let part = match disk.room {
            Some(room) => format!("{}: {} of {} free", disk.path, size(room.available), size(room.total)),
            None => format!("{}: {}", disk.path, disk.errno.as_deref().unwrap_or("its room cannot be seen")),
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::healthy_host::{UID, seen};
    use crate::sys::files::Meta;

    #[track_caller]
    fn check(facts: &Facts, codes: &[&str]) -> Judgement {
        let judgement = judge(facts).unwrap();
        let found: Vec<&str> = judgement.findings.iter().map(|finding| finding.code.id).collect();
        assert_eq!(found, codes);
        judgement
    }

    fn with(at: usize, change: impl FnOnce(&mut Disk)) -> Facts {
        Facts::at_home().host(|host| change(&mut seen(&mut host.disks)[at]))
    }

    fn room(change: impl FnOnce(&mut Room)) -> Facts {
        with(0, |disk| change(disk.room.as_mut().unwrap()))
    }

    fn missing(at: usize) -> Facts {
        with(at, |disk| (disk.meta, disk.room, disk.errno) = (None, None, Some("ENOENT".to_owned())))
    }

    #[test]
    fn a_well_disk_says_how_well() {
        let says = "/var/lib/redis: 12 GiB of 40 GiB free; /var/log/redis: 12 GiB of 40 GiB free";
        assert_eq!(check(&Facts::at_home(), &[]).summary, says);
    }

    #[test]
    fn no_room_is_left() {
        check(&room(|room| room.available = 0), &["disk/full"]);
        check(&room(|room| room.available = 900 << 10), &["disk/full"]);
        check(&room(|room| room.available = 2 << 20), &[]);
        let small = |available| room(|room| (room.total, room.available) = (1 << 20, available));
        check(&small(128 << 10), &[]);
        check(&small(32 << 10), &["disk/full"]);
        let root = room(|room| room.available = 0).process(|process| process.uid = 0);
        check(&root, &[]);
    }

    #[test]
    fn no_inode_is_left() {
        check(&room(|room| room.inodes_available = 0), &["disk/inodes-full"]);
        check(&room(|room| (room.inodes, room.inodes_available) = (0, 0)), &[]);
    }

    #[test]
    fn nothing_can_be_written() {
        let judgement = check(&room(|room| room.read_only = true), &["disk/read-only"]);
        assert_eq!(judgement.findings[0].evidence[0].says, "/var/lib/redis (ext4): mounted read-only");
        check(&missing(0), &["disk/folder-missing"]);
        check(&with(0, |disk| disk.deleted = true), &["disk/folder-missing"]);
    }

    #[test]
    fn rights_count_only_where_they_are_sure() {
        let meta = |uid, mode| {
            let kind = "folder".to_owned();
            with(0, |disk| disk.meta = Some(Meta { kind, mode, uid, gid: 0, usable: true }))
        };
        check(&meta(0, 0o755), &["disk/not-writable"]);
        check(&meta(UID, 0o550), &["disk/not-writable"]);
        check(&meta(0, 0o775), &[]);
        check(&meta(0, 0o757), &[]);
        check(&meta(0, 0o755).process(|process| process.uid = 0), &[]);
        check(&meta(100_999, 0o755).process(|process| process.uid = 100_000), &[]);
    }

    #[test]
    fn who_does_not_save_needs_no_room() {
        check(&room(|room| room.available = 0).running_with("save", ""), &[]);
        let aof = room(|room| room.available = 0).running_with("save", "").running_with("appendonly", "yes");
        check(&aof, &["disk/full"]);
    }

    #[test]
    fn a_lost_log_is_a_warning() {
        check(&missing(1), &["disk/log-lost"]);
        check(&with(1, |disk| disk.room.as_mut().unwrap().read_only = true), &["disk/log-lost"]);
        // The file may be there, and be the server's, in a folder that is not.
        check(&with(1, |disk| disk.meta.as_mut().unwrap().uid = 0), &[]);
    }

    #[test]
    fn one_fault_is_told_once() {
        let twice = with(0, |disk| disk.room.as_mut().unwrap().available = 0).host(|host| {
            let aof = Disk { purpose: "aof".to_owned(), ..seen(&mut host.disks)[0].clone() };
            seen(&mut host.disks).insert(1, aof);
        });
        check(&twice, &["disk/full"]);
    }

    #[test]
    fn without_facts_there_is_nothing_to_say() {
        assert!(matches!(judge(&Facts::healthy()), Err(Gap::Skipped(_))));
    }
}
