//! What is mounted where (`/proc/PID/mountinfo`, `proc_pid_mountinfo(5)`).

use crate::sys::files;

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The folder of its file system that is mounted.
    pub root: String,
    /// Where.
    pub point: String,
    /// The type of its file system.
    pub filesystem: String,
    /// The options of its file system: the controllers of a control group among them.
    pub options: String,
}

/// File systems behind a network or another process, which may never answer.
const REMOTE: [&str; 16] = [
    "9p",
    "afs",
    "autofs",
    "beegfs",
    "ceph",
    "cifs",
    "davfs",
    "fuse",
    "fuseblk",
    "gfs2",
    "glusterfs",
    "lustre",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
];

/// The mounts as the process `pid` sees them; none where that cannot be read.
pub fn gather(pid: Option<u32>) -> Vec<Mount> {
    let pid = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    files::read_text(&format!("/proc/{pid}/mountinfo")).map(|text| parse(&text)).unwrap_or_default()
}

fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// `36 35 98:0 /root /point options optional … - type source options`.
fn line(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (unescape(before.next()?), unescape(before.next()?));
    let mut after = after.split(' ');
    let filesystem = crate::model::escape(after.next()?.as_bytes());
    Some(Mount { root, point, filesystem, options: after.nth(1).unwrap_or_default().to_owned() })
}

/// Blanks, tabs, newlines and backslashes are written in octal.
fn unescape(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(word.to_owned(), |word, (octal, character)| word.replace(octal, character))
}

/// True if looking at some path might wait for another machine or process.
pub fn may_hang(mounts: &[Mount]) -> bool {
    // Without the table nothing is known to be local.
    let remote = |mount: &Mount| {
        // systemd puts an autofs on /proc/sys/fs/binfmt_misc of every machine.
        let kind = mount.filesystem.as_str();
        (REMOTE.contains(&kind) || kind.starts_with("fuse.")) && !is_below(&mount.point, "/proc")
    };
    mounts.is_empty() || mounts.iter().any(remote)
}

/// The mount that holds `path`, as far as no symbolic link leads away from it: the last of the longest mount points.
pub fn holding<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    mounts.iter().filter(|mount| is_below(path, &mount.point)).max_by_key(|mount| mount.point.len())
}

fn is_below(path: &str, folder: &str) -> bool {
    folder == "/" || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
        31 22 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
        90 22 0:50 /data /mnt/my\\040nfs rw - nfs4 10.0.0.7:/data rw,vers=4.2\n";

    #[test]
    fn finds_the_mount_of_a_path() {
        let mounts = parse(INFO);
        let type_of = |path: &str| holding(&mounts, path).map(|mount| mount.filesystem.as_str());
        assert_eq!(type_of("/var/lib/redis"), Some("ext4"));
        assert_eq!(type_of("/mnt/my nfs/redis"), Some("nfs4"));
        assert_eq!(type_of("/mnt/my nfs"), Some("nfs4"));
        assert_eq!(type_of("/mnt/my nfs2"), Some("ext4"));
        assert_eq!((mounts[2].root.as_str(), mounts[1].options.as_str()), ("/data", "rw,nsdelegate"));
    }

    #[test]
    fn knows_what_may_hang() {
        assert!(may_hang(&parse(INFO)));
        assert!(!may_hang(&parse(INFO)[..2]));
        assert!(may_hang(&parse("1 1 0:1 / /x rw - fuse.sshfs a rw\n")));
        assert!(!may_hang(&parse("1 1 0:1 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n")));
        assert!(may_hang(&[]));
    }

    #[test]
    fn what_is_no_line_is_left_out() {
        assert_eq!(parse("\n22 1\nx - \n - ext4\n"), []);
    }
}
