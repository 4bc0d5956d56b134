//! The certificates in the files that the server was told to use: what it serves, or would after its next start. The files with
//! keys are not opened.

use std::collections::BTreeMap;
use std::io;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::conf::Conf;
use super::groups;
use super::mount;
use super::process::Process;
use crate::model::{BlockerKind, Observed, escape};
use crate::probe::path::tls::certificate::Certificate;
use crate::sys::files::{self, Meta};
use crate::sys::process as sys;
use crate::sys::way::{self, Way};

/// The settings that name such files: CONFIG SET of any of them reads them all again.
const SETTINGS: [&str; 7] =
    ["tls-cert-file", "tls-ca-cert-file", "tls-client-cert-file", "tls-key-file", "tls-client-key-file", DIR, DH];
/// Those that name something else than certificates, of which only the time and the permissions are looked at.
const UNREAD: [&str; 4] = ["tls-key-file", "tls-client-key-file", DIR, DH];
const DIR: &str = "tls-ca-cert-dir";
const DH: &str = "tls-dh-params-file";
/// The most certificates that are kept of one file.
const MOST: usize = 10;

/// A file that a setting names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// The setting: `tls-cert-file`, `tls-ca-cert-file`, `tls-key-file`.
    pub setting: String,
    /// Its path.
    pub path: String,
    /// The process that was told so, if it runs.
    pub pid: Option<u32>,
    /// Where it is seen from here, where its process has another file under that path than this machine: by mounts or a root of its
    /// own, as a service of systemd may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<String>,
    /// When it was last changed (RFC 3339, UTC).
    pub changed_at: Option<String>,
    /// When a folder on the way to it was last moved, and nothing in that was changed since: the file may have come there so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<String>,
    /// Its owner, its group and its permissions.
    #[serde(default)]
    pub meta: Option<Meta>,
    /// Whether that process may read it, by those.
    #[serde(default)]
    pub access: Access,
    /// The group of that process that is nobody else's, if it has one: what is opened to it is opened to no other.
    #[serde(default)]
    pub own_group: Option<u32>,
    /// What it holds, in its order.
    pub certificates: Observed<Vec<Certificate>>,
}

/// Whether a process may read a file, by the permissions of the file and of the folders on the way to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It may.
    Open,
    /// The file's own permissions are against it.
    ClosedFile,
    /// Those of a folder are.
    ClosedFolder,
    /// They could not be seen.
    #[default]
    Unknown,
}

/// The bit of others in a mode: that of the group is three places to the left, that of the owner six.
const READ: u32 = 0o4;
const SEARCH: u32 = 0o1;

/// Reads the files that a server was told of: by what it says itself, its arguments, or its redis.conf.
pub fn gather(told: Option<&BTreeMap<String, String>>, process: Option<&Process>, conf: Option<&Conf>) -> Vec<File> {
    let contained = process.is_some_and(|process| process.container.is_some() || process.same_pids == Some(false));
    if contained {
        // Its files are not those of this machine.
        return Vec::new();
    }
    let file = |setting: &str| {
        let path = path(setting, told, process, conf).filter(|path| path.starts_with('/'))?;
        let place = place(&path, process);
        let (at, way) = (place.at(&path), place.way.as_ref());
        let certificates =
            if UNREAD.contains(&setting) { Observed::skipped("it holds no certificate") } else { read(at) };
        let access = process.filter(|_| place.is_sure).zip(way).map_or(Access::Unknown, |(of, way)| access(way, of));
        Some(File {
            setting: setting.to_owned(),
            pid: process.map(|process| process.pid),
            seen_at: place.is_apart.then(|| escape(at.as_bytes())),
            changed_at: way.and_then(Way::changed_at),
            moved_at: way.and_then(Way::moved_at),
            meta: files::meta(at),
            access,
            own_group: None,
            certificates,
            path: escape(path.as_bytes()),
        })
    };
    let mut found: Vec<File> = SETTINGS.iter().filter_map(|setting| file(setting)).collect();
    // Whose group it is takes a look at all processes.
    if found.iter().any(|file| file.access == Access::ClosedFile) {
        let own_group = process.and_then(groups::own);
        for file in &mut found {
            file.own_group = own_group;
        }
    }
    found
}

/// Where a file is that a process has.
struct Place {
    /// The way to it; none where it goes in a circle.
    way: Option<Way>,
    /// True if this machine has another file under that path, or none.
    is_apart: bool,
    /// True if it is surely that of the process.
    is_sure: bool,
}

impl Place {
    fn at<'a>(&'a self, path: &'a str) -> &'a str {
        self.way.as_ref().map_or(path, |way| way.end.as_str())
    }
}

/// Where a process has the file at this path.
fn place(path: &str, process: Option<&Process>) -> Place {
    let ours = |is_sure| Place { way: way::to(path, ""), is_apart: false, is_sure };
    let Some(pid) = process.map(|process| process.pid) else { return ours(false) };
    let root = format!("/proc/{pid}/root");
    match (files::link(&root).as_deref(), sys::same_mounts(pid)) {
        (Some("/"), Some(true)) => ours(!may_be_covered(path)),
        (Some(_), _) => {
            let own = Place { way: way::to(path, &root), is_apart: true, is_sure: true };
            // A service with some mounts of its own has most files in common with everybody.
            let ours = ours(true);
            if files::are_same(own.at(path), ours.at(path)) == Some(true) { ours } else { own }
        }
        // It may not be looked into; what is mounted where is no secret.
        (None, _) => ours(shares_mount(pid, path)),
    }
}

/// True if a part of a file system is mounted over the file or a folder of it: since when, no time tells.
fn may_be_covered(path: &str) -> bool {
    let real = files::real(path).unwrap_or_else(|| path.to_owned());
    let mounts = mount::gather(None);
    mount::holding(&mounts, &real).is_none_or(|mount| mount.root != "/" && mount.point != "/")
}

/// True if the file lies in the same folder of the same file system for the process and for us, as far as the table of mounts tells.
fn shares_mount(pid: u32, path: &str) -> bool {
    let real = files::real(path).unwrap_or_else(|| path.to_owned());
    let (ours, its) = (mount::gather(None), mount::gather(Some(pid)));
    mount::holding(&ours, &real).is_some_and(|mount| mount::holding(&its, &real) == Some(mount))
}

fn path(
    setting: &str,
    told: Option<&BTreeMap<String, String>>,
    process: Option<&Process>,
    conf: Option<&Conf>,
) -> Option<String> {
    let argument = || {
        let args = &process?.args;
        let at = args.iter().rposition(|arg| arg.strip_prefix("--") == Some(setting))?;
        args.get(at + 1).cloned()
    };
    let line = || conf?.parsed.seen()?.last(setting)?.values.first().cloned();
    let said = told.and_then(|told| told.get(setting)).filter(|path| !path.is_empty()).cloned();
    said.or_else(argument).or_else(line)
}

fn read(path: &str) -> Observed<Vec<Certificate>> {
    match files::read(path) {
        Ok(bytes) => Observed::Seen(certificates(&bytes)),
        Err(error) => {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => BlockerKind::Missing,
                io::ErrorKind::PermissionDenied => BlockerKind::Permission,
                _ => BlockerKind::Failed,
            };
            Observed::hidden(kind, error.to_string())
        }
    }
}

fn access(way: &Way, process: &Process) -> Access {
    if process.overrides_modes || process.reads_all {
        return Access::Open;
    }
    let may = |path: &str, bit: u32| files::meta(path).map(|meta| may(&meta, bit, process));
    let searched: Option<Vec<bool>> = way.folders.iter().map(|folder| may(folder, SEARCH)).collect();
    match (searched, may(&way.end, READ)) {
        (Some(searched), Some(_)) if searched.contains(&false) => Access::ClosedFolder,
        (Some(_), Some(true)) => Access::Open,
        (Some(_), Some(false)) => Access::ClosedFile,
        _ => Access::Unknown,
    }
}

/// Whether a mode has this bit for the process (`path_resolution(7)`): the owner has no other right than the owner's.
fn may(meta: &Meta, bit: u32, process: &Process) -> bool {
    let shift = match process {
        _ if meta.uid == process.uid => 6,
        _ if process.gids.contains(&meta.gid) => 3,
        _ => 0,
    };
    meta.mode >> shift & bit != 0
}

fn certificates(pem: &[u8]) -> Vec<Certificate> {
    let found = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    found.take(MOST).filter_map(|der| Certificate::parse(&der)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(files: Vec<File>) -> Vec<String> {
        files.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn what_the_server_says_counts_before_its_arguments_and_its_file() {
        let mut process = Process::healthy();
        let conf = Conf::healthy();
        let told: BTreeMap<String, String> = [("tls-cert-file".to_owned(), "/said.crt".to_owned())].into();
        process.args = ["redis-server", "--tls-cert-file", "/argued.crt", "--tls-ca-cert-file", "ca.crt"]
            .map(str::to_owned)
            .into();
        assert_eq!(paths(gather(Some(&told), Some(&process), Some(&conf))), ["/said.crt"]);
        assert_eq!(paths(gather(None, Some(&process), Some(&conf))), ["/argued.crt"]);
        assert_eq!(paths(gather(None, None, Some(&conf))), [""; 0]);
        process.container = Some("c".to_owned());
        assert_eq!(paths(gather(Some(&told), Some(&process), None)), [""; 0]);
    }

    #[test]
    fn the_owner_has_the_owners_rights_and_no_other() {
        let meta = |mode: u32, uid: u32, gid: u32| Meta { kind: "file".to_owned(), mode, uid, gid, usable: true };
        let process = Process { uid: 106, gids: vec![112, 115], ..Process::healthy() };
        for (mode, uid, gid, expected) in [
            (0o600, 0, 0, false),
            (0o600, 106, 0, true),
            (0o640, 0, 115, true),
            (0o640, 0, 7, false),
            (0o644, 0, 7, true),
            (0o044, 106, 115, false),
            (0o604, 0, 115, false),
        ] {
            assert_eq!(may(&meta(mode, uid, gid), READ, &process), expected, "{mode:o} {uid} {gid}");
        }
    }

    #[test]
    fn a_folder_on_the_way_keeps_out_as_well() {
        use std::os::unix::fs::PermissionsExt as _;
        use std::path::Path;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        files::write(&path, "").unwrap();
        let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        let process = Process { uid: 4_000_000, gids: vec![4_000_000], ..Process::healthy() };
        let of = |process: &Process| access(&way::to(path.to_str().unwrap(), "").unwrap(), process);
        mode(folder.path(), 0o755);
        mode(&path, 0o600);
        assert_eq!(of(&process), Access::ClosedFile);
        mode(&path, 0o644);
        assert_eq!(of(&process), Access::Open);
        mode(folder.path(), 0o700);
        assert_eq!(of(&process), Access::ClosedFolder);
        assert_eq!(of(&Process { overrides_modes: true, ..process.clone() }), Access::Open);
        assert_eq!(of(&Process { reads_all: true, ..process.clone() }), Access::Open);
        assert_eq!(access(&way::to("/nonexistent/key", "").unwrap(), &process), Access::Unknown);
    }

    #[test]
    fn what_has_our_mounts_has_our_files() {
        let own = Process { pid: std::process::id(), ..Process::healthy() };
        let place = place("/etc/passwd", Some(&own));
        assert!(place.is_sure && !place.is_apart);
        assert!(shares_mount(own.pid, "/etc/passwd"));
        assert!(!super::place("/etc/passwd", None).is_sure);
    }

    #[test]
    fn a_file_that_is_not_there_is_hidden() {
        let told: BTreeMap<String, String> = [("tls-cert-file".to_owned(), "/nonexistent.crt".to_owned())].into();
        let files = gather(Some(&told), None, None);
        assert!(matches!(&files[0].certificates, Observed::Hidden(why) if why.kind == BlockerKind::Missing));
    }

    proptest::proptest! {
        #[test]
        fn garbage_holds_no_certificate(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = certificates(&bytes);
            let der = CertificateDer::from(bytes);
            let _ = Certificate::parse(&der);
            let _ = crate::probe::path::tls::certificate::distinguished_name(&der);
        }
    }
}
