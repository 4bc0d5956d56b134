//! The group that a process shares with nobody: what is opened to it is opened to that process alone.

use std::time::Duration;

use super::process::{Process, ids};
use crate::sys::{clock, files, process as sys};

/// The most processes that are looked at, and how long that may take.
const MOST: usize = 65_536;
const PATIENCE: Duration = Duration::from_millis(500);

/// The group of this process that is nobody else's, by /etc/passwd and /etc/group: it has the name of the process' user, no other
/// member, and no other user is of it. One that stands in neither, as a directory on the network has them, may have anybody. A process of
/// another user may have it all the same, given by its service (`SupplementaryGroups=`).
pub fn own(process: &Process) -> Option<u32> {
    let text = |path| files::read_text(path).ok();
    let group = of(process, &text("/etc/passwd")?, &text("/etc/group")?)?;
    is_of_no_other(group, process.uid).then_some(group)
}

/// True if no process but those of this user, and of root, who may read everything as it is, has this group.
fn is_of_no_other(group: u32, uid: u32) -> bool {
    let until = clock::now() + PATIENCE;
    let Ok(pids) = sys::pids(MOST) else { return false };
    // Where even the first is out of sight, others are (`hidepid`).
    let all = pids.len() < MOST && ids(1).is_some();
    let is_other = |pid: &u32| ids(*pid).is_some_and(|(of, groups)| ![0, uid].contains(&of) && groups.contains(&group));
    let in_time = |at: usize| at % 64 != 63 || clock::now() < until;
    all && pids.iter().enumerate().all(|(at, pid)| in_time(at) && !is_other(pid))
}

fn of(process: &Process, passwd: &str, group: &str) -> Option<u32> {
    // name:password:uid:gid (passwd(5)), name:password:gid:members (group(5)).
    let user = |row: Vec<&str>| Some((number(&row, 2)?, number(&row, 3)?));
    let name = rows(passwd).find(|row| number(row, 2) == Some(process.uid))?.first().copied()?;
    let named = rows(group).find(|row| row.first() == Some(&name))?;
    let gid = number(&named, 2).filter(|gid| process.gids.contains(gid))?;
    let same = rows(group).filter(|row| number(row, 2) == Some(gid));
    let mut members = same.filter_map(|row| row.get(3).copied()).flat_map(|members| members.split(','));
    let no_member = members.all(|member| [name, ""].contains(&member.trim()));
    let no_user = rows(passwd).filter_map(user).all(|(uid, of)| of != gid || uid == process.uid);
    (no_member && no_user).then_some(gid)
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

fn number(row: &[&str], at: usize) -> Option<u32> {
    row.get(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_with_others_is_not_its_own() {
        let process = Process { uid: 106, gids: vec![112, 100], ..Process::healthy() };
        let root = "root:x:0:0::/root:/bin/sh\n";
        for (passwd, group, expected) in [
            ("redis:x:106:112::/:/x\n", "users:x:100:\nredis:x:112:\n", Some(112)),
            ("redis:x:106:112::/:/x\n", "redis:x:112:redis\n", Some(112)),
            // Somebody was added, or has it from the start, or another name for the same number.
            ("redis:x:106:112::/:/x\n", "redis:x:112:web\n", None),
            ("redis:x:106:112::/:/x\nweb:x:33:112::/:/x\n", "redis:x:112:\n", None),
            ("redis:x:106:112::/:/x\n", "redis:x:112:\ncache:x:112:web\n", None),
            // The shared one of many, or one that the process is not in.
            ("redis:x:106:100::/:/x\n", "users:x:100:\n", None),
            ("redis:x:106:100::/:/x\n", "redis:x:7:\n", None),
            ("", "redis:x:112:\n", None),
            ("redis:x\n::\n", ":::\n", None),
        ] {
            assert_eq!(of(&process, &format!("{root}{passwd}"), group), expected, "{passwd} {group}");
        }
    }
}
