//! The file system of one host: the machine's own, copied on write, with nothing on it that tells of Redis or containers.
//!
//! A new root on a tmpfs, put together from the directories of `/`. The whole of `/` cannot be the lower layer of one
//! overlay: in a user namespace the mounts below it are locked, and the kernel refuses to clone such a tree.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Where the new root is built: hidden in every host by a fresh `/run`, and certainly not where the test's program is.
const SITE: &str = "/run";
/// Directories that hosts may change, each for itself.
const OWN: [&str; 6] = ["etc", "usr", "var", "root", "home", "tmp"];
/// Traces of the machine's own Redis, of which a host must know nothing.
const FORGOTTEN: [&str; 4] = ["/etc/redis", "/etc/valkey", "/var/lib/redis", "/var/log/redis"];

/// Gives the calling thread, which has a mount namespace of its own, a root of its own.
pub fn build() {
    private();
    tmpfs(SITE);
    let new = format!("{SITE}/new");
    fs::create_dir(&new).expect("a directory for the new root");
    tmpfs(&new);
    for entry in fs::read_dir("/").expect("listing /").flatten() {
        let name = entry.file_name().into_string().expect("a name in / that is UTF-8");
        let kind = entry.file_type().expect("a file type");
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).expect("a link"), format!("{new}/{name}")).expect("linking");
        } else if kind.is_dir() {
            furnish(&new, &name);
        }
    }
    enter(&new);
    settle();
}

fn furnish(new: &str, name: &str) {
    let here = format!("{new}/{name}");
    fs::create_dir(&here).expect("a directory of the new root");
    let source = format!("/{name}");
    match name {
        "run" => tmpfs(&here),
        "tmp" if !in_use("/tmp") => tmpfs(&here),
        "root" if !owned(&source) => tmpfs(&here),
        "sys" => system(&here),
        _ if OWN.contains(&name) && owned(&source) && overlay(name, &here) => (),
        // In a container `/etc` has mounts of its own below it (hosts, resolv.conf), so that no overlay can be made of it.
        "etc" => copy("/etc", &here),
        "var" if !in_use("/var") => tmpfs(&here),
        "usr" => programs(&here),
        _ => bind(&source, &here),
    }
}

/// Whether root in here owns a directory of the machine. Where an ordinary user runs the tests it does not, and may then
/// not even change a copy made on write: such directories are bound as they are, copied, or left empty.
fn owned(dir: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(dir).is_ok_and(|meta| meta.uid() == 0)
}

/// All programs of the machine, and an empty place for more, which comes first in every `PATH`.
fn programs(here: &str) {
    bind("/usr", here);
    let local = format!("{here}/local");
    if Path::new(&local).is_dir() {
        tmpfs(&local);
    }
}

/// The program under test may have been built below `/tmp`.
fn in_use(dir: &str) -> bool {
    let servers = super::redis::servers();
    let exe = std::env::current_exe().unwrap_or_default();
    [exe.as_path(), servers.as_path(), Path::new(super::diagnose::REDISDOC)].iter().any(|path| path.starts_with(dir))
}

/// `/sys/class/net` shows the interfaces of the namespace it was mounted in; cgroups are not in a fresh one.
fn system(here: &str) {
    if mount(Some("sysfs"), here, Some("sysfs"), MsFlags::empty(), None::<&str>).is_err() {
        return bind("/sys", here);
    }
    let cgroups = format!("{here}/fs/cgroup");
    if Path::new(&cgroups).is_dir() {
        bind("/sys/fs/cgroup", &cgroups);
    }
}

fn overlay(name: &str, here: &str) -> bool {
    let layers = format!("{SITE}/layers/{name}");
    for part in ["upper", "work"] {
        fs::create_dir_all(format!("{layers}/{part}")).expect("a layer");
    }
    let options = format!("lowerdir=/{name},upperdir={layers}/upper,workdir={layers}/work");
    let with = |options: &str| mount(Some("overlay"), here, Some("overlay"), MsFlags::empty(), Some(options)).is_ok();
    with(&format!("{options},userxattr")) || with(&options)
}

/// Whatever can be read of a directory; an ordinary user does not get to see everything.
fn copy(from: &str, to: &str) {
    let keep = "--preserve=mode,timestamps,links";
    let done =
        std::process::Command::new("cp").args(["-r", keep, &format!("{from}/."), to]).stderr(Stdio::null()).status();
    done.expect("cp");
    // Directories that must be there for reading were copied with their permissions: some are not for writing.
    set_mode(to, 0o755);
}

fn enter(new: &str) {
    nix::unistd::chdir(new).expect("entering the new root");
    nix::unistd::pivot_root(".", ".").expect("pivot_root");
    umount2(".", MntFlags::MNT_DETACH).expect("leaving the old root");
    nix::unistd::chdir("/").expect("chdir /");
}

/// What a plain machine has: a name service that asks files and then DNS, and nothing about Redis.
fn settle() {
    FORGOTTEN.into_iter().for_each(forget);
    for dir in ["/run/lock", "/var/lib/redis", "/var/log/redis"] {
        fs::create_dir_all(dir).expect("a directory every machine has");
    }
    let _ = fs::remove_file("/etc/resolv.conf"); // often a link into /run
    for (file, text) in [
        ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"),
        ("/etc/resolv.conf", ""),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n"),
    ] {
        fs::write(file, text).expect("a file every machine has");
    }
    set_mode("/tmp", 0o1777);
}

/// Takes a directory away, or where that may not be done, what is in it.
fn forget(dir: &str) {
    if fs::remove_dir_all(dir).is_err() && Path::new(dir).is_dir() {
        tmpfs(dir);
    }
}

/// Changes the permissions of a file, as seen by the calling thread.
pub fn set_mode(path: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
}

fn private() {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)
        .expect("private mounts");
}

fn tmpfs(at: &str) {
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).expect("a tmpfs");
}

fn bind(from: &str, to: &str) {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .unwrap_or_else(|error| panic!("binding {from} to {to}: {error}"));
}
