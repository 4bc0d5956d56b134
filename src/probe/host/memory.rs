//! Memory of the machine and of the server's control group. All sizes in bytes.

use serde::{Deserialize, Serialize};

use super::mount::Mount;
use crate::model::{BlockerKind, Observed, escape};
use crate::sys::files;

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// `MemTotal`.
    pub total: u64,
    /// `MemAvailable`.
    pub available: Option<u64>,
    /// `SwapTotal`.
    pub swap_total: u64,
    /// `SwapFree`.
    pub swap_free: u64,
    /// The control groups of the server processes that have a limit; the tightest first.
    pub groups: Vec<Group>,
}

/// The memory of a control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its path below the mount point.
    pub path: String,
    /// The server processes in it, or in a group below it.
    #[serde(default)]
    pub pids: Vec<u32>,
    /// `memory.max` (v2) or `memory.limit_in_bytes` (v1).
    pub limit: u64,
    /// `memory.current` (v2) or `memory.usage_in_bytes` (v1).
    pub used: Option<u64>,
    /// How much of that is page cache, which the kernel takes back before it kills: `inactive_file` and `active_file` of
    /// `memory.stat` (v1: `total_…`).
    #[serde(default)]
    pub cache: Option<u64>,
    /// How often a process of it was killed for want of memory: `oom_kill` of `memory.events` or `memory.oom_control`.
    pub oom_kills: Option<u64>,
}

/// The kernel's word for no limit in a group of version 1 is the largest number of whole pages, which depends on their size.
const NO_LIMIT: u64 = 1 << 60;
/// Groups are rarely nested deeper than five: slice, pod, container, service.
const DEEPEST: usize = 16;

/// Looks at the memory of the machine, and of the control groups of these processes.
pub fn gather(pids: &[u32], mounts: &[Mount]) -> Observed<Memory> {
    let text = match files::read_text("/proc/meminfo") {
        Ok(text) => text,
        Err(error) => return Observed::hidden(BlockerKind::Missing, format!("/proc/meminfo: {error}")),
    };
    let mut groups = Vec::new();
    for pid in pids {
        let Ok(text) = files::read_text(&format!("/proc/{pid}/cgroup")) else { continue };
        for (hierarchy, path) in memory_groups(&text, mounts) {
            climb(hierarchy, &path, *pid, &mut groups);
        }
    }
    groups.sort_by_key(|group: &Group| group.limit);
    Observed::Seen(Memory {
        total: kib(&text, "MemTotal").unwrap_or_default(),
        available: kib(&text, "MemAvailable"),
        swap_total: kib(&text, "SwapTotal").unwrap_or_default(),
        swap_free: kib(&text, "SwapFree").unwrap_or_default(),
        groups,
    })
}

/// `MemTotal:       24684084 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.saturating_mul(1024))
}

/// Where the files of a hierarchy are, and what they are called there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hierarchy<'a> {
    mount: &'a Mount,
    limit: &'static str,
    used: &'static str,
    kills: &'static str,
    cache: [&'static str; 2],
}

/// The hierarchies that account the memory of a process, each with the path of its group in it, by `/proc/PID/cgroup`:
/// `0::/system.slice/redis.service` (v2), `4:memory:/docker/3f2a` (v1).
fn memory_groups<'a>(text: &str, mounts: &'a [Mount]) -> Vec<(Hierarchy<'a>, String)> {
    let groups = text.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        // A hierarchy may be mounted more than once, and in parts.
        let place = |hierarchy: Hierarchy<'a>| Some((hierarchy, below(path, &hierarchy.mount.root)?));
        match controllers {
            "" => mounts.iter().filter_map(version_2).find_map(place),
            _ if has_memory(controllers) => mounts.iter().filter_map(version_1).find_map(place),
            _ => None,
        }
    });
    groups.collect()
}

fn has_memory(controllers: &str) -> bool {
    controllers.split(',').any(|controller| controller == "memory")
}

fn version_2(mount: &Mount) -> Option<Hierarchy<'_>> {
    if mount.filesystem != "cgroup2" {
        return None;
    }
    let cache = ["active_file ", "inactive_file "];
    Some(Hierarchy { mount, limit: "memory.max", used: "memory.current", kills: "memory.events", cache })
}

fn version_1(mount: &Mount) -> Option<Hierarchy<'_>> {
    if mount.filesystem != "cgroup" || !has_memory(&mount.options) {
        return None;
    }
    let (limit, used) = ("memory.limit_in_bytes", "memory.usage_in_bytes");
    let cache = ["total_active_file ", "total_inactive_file "];
    Some(Hierarchy { mount, limit, used, kills: "memory.oom_control", cache })
}

/// The path of a group below the mounted part of its hierarchy. `None` where that part, or the group, lies outside of our
/// control group namespace (`cgroup_namespaces(7)`): its files may not be where their names suggest.
fn below(path: &str, root: &str) -> Option<String> {
    if path.split('/').chain(root.split('/')).any(|part| part == "..") {
        return None;
    }
    let path = path.strip_prefix(root.trim_end_matches('/')).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    Some(path.trim_end_matches('/').to_owned())
}

/// Notes every group with a limit from this one up to the root of its hierarchy.
fn climb(hierarchy: Hierarchy<'_>, path: &str, pid: u32, groups: &mut Vec<Group>) {
    let mut path = Some(path);
    for _ in 0..DEEPEST {
        let Some(here) = path else { return };
        match groups.iter_mut().find(|group| group.path == name(here)) {
            Some(known) => known.pids.push(pid),
            None => groups.extend(group(hierarchy, here, pid)),
        }
        path = here.rsplit_once('/').map(|(parent, _)| parent);
    }
}

fn name(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { escape(path.as_bytes()) }
}

fn group(hierarchy: Hierarchy<'_>, path: &str, pid: u32) -> Option<Group> {
    let read = |file: &str| files::read_text(&format!("{}{path}/{file}", hierarchy.mount.point)).ok();
    // `max` is no number.
    let limit = read(hierarchy.limit)?.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)?;
    Some(Group {
        path: name(path),
        pids: vec![pid],
        limit,
        used: read(hierarchy.used).and_then(|text| text.trim().parse().ok()),
        cache: read("memory.stat").and_then(|text| {
            let parts = hierarchy.cache.map(|field| number(&text, field));
            Some(parts[0]? + parts[1]?)
        }),
        oom_kills: read(hierarchy.kills).and_then(|text| number(&text, "oom_kill ")),
    })
}

fn number(text: &str, field: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(root: &str, filesystem: &str, options: &str) -> Mount {
        let [root, point, filesystem, options] = [root, "/sys/fs/cgroup", filesystem, options].map(str::to_owned);
        Mount { root, point, filesystem, options }
    }

    fn paths(text: &str, mounts: &[Mount]) -> Vec<(&'static str, String)> {
        memory_groups(text, mounts).into_iter().map(|(hierarchy, path)| (hierarchy.limit, path)).collect()
    }

    #[test]
    fn finds_the_groups_of_both_versions() {
        let (v1, v2) = (mount("/", "cgroup", "rw,memory"), mount("/", "cgroup2", "rw"));
        let service = "0::/system.slice/redis.service\n";
        assert_eq!(
            paths(service, std::slice::from_ref(&v2)),
            [("memory.max", "/system.slice/redis.service".to_owned())]
        );
        let docker = "5:cpu,cpuacct:/docker/3f\n4:memory:/docker/3f\n0::/\n";
        let expected = [("memory.limit_in_bytes", "/docker/3f".to_owned()), ("memory.max", String::new())];
        assert_eq!(paths(docker, &[mount("/", "cgroup", "rw,cpu"), v1, v2]), expected);
        assert_eq!(paths(docker, &[]), []);
        assert_eq!(paths("no line\n", &[mount("/", "cgroup2", "rw")]), []);
    }

    #[test]
    fn a_part_of_the_hierarchy_may_be_mounted() {
        let inside = [mount("/docker/3f", "cgroup", "rw,memory")];
        assert_eq!(paths("4:memory:/docker/3f/redis\n", &inside), [("memory.limit_in_bytes", "/redis".to_owned())]);
        assert_eq!(paths("4:memory:/docker/3f\n", &inside), [("memory.limit_in_bytes", String::new())]);
        assert_eq!(paths("4:memory:/docker/3fab\n", &inside), []);
        assert_eq!(paths("4:memory:/../other\n", &[mount("/", "cgroup", "memory")]), []);
        assert_eq!(paths("0::/\n", &[mount("/../..", "cgroup2", "rw")]), []);
        let twice = [mount("/..", "cgroup2", "rw"), mount("/", "cgroup2", "rw")];
        assert_eq!(paths("0::/redis\n", &twice), [("memory.max", "/redis".to_owned())]);
    }

    /// A hierarchy in a folder of its own, with these files.
    fn hierarchy(files: &[(&str, &str)]) -> (tempfile::TempDir, Mount) {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            files::write(&path, text).unwrap();
        }
        let point = folder.path().to_str().unwrap().to_owned();
        (folder, Mount { point, ..mount("/", "cgroup2", "rw") })
    }

    #[test]
    fn every_limit_on_the_way_up_counts() {
        let (_folder, mount) = hierarchy(&[
            ("a/memory.max", "2000\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/c/memory.max", "1000\n"),
            ("a/b/c/memory.current", "900\n"),
            ("a/b/c/memory.stat", "anon 1\nactive_file 100\ninactive_file 200\nfile 300\n"),
            ("a/b/c/memory.events", "low 0\noom 1\noom_kill 3\noom_group_kill 0\n"),
        ]);
        let mut groups = Vec::new();
        for pid in [7, 8] {
            climb(version_2(&mount).unwrap(), "/a/b/c", pid, &mut groups);
        }
        let seen: Vec<_> = groups.iter().map(|group| (group.path.as_str(), group.limit, group.pids.clone())).collect();
        assert_eq!(seen, [("/a/b/c", 1_000, vec![7, 8]), ("/a", 2_000, vec![7, 8])]);
        assert_eq!((groups[0].used, groups[0].cache, groups[0].oom_kills), (Some(900), Some(300), Some(3)));
        assert_eq!((groups[1].used, groups[1].cache, groups[1].oom_kills), (None, None, None));
    }

    #[test]
    fn the_largest_number_is_no_limit() {
        let (_folder, mount) = hierarchy(&[("a/memory.limit_in_bytes", "9223372036854771712\n")]);
        let mount = Mount { options: "memory".to_owned(), filesystem: "cgroup".to_owned(), ..mount };
        assert_eq!(group(version_1(&mount).unwrap(), "/a", 7), None);
    }

    #[test]
    fn sees_this_machine() {
        let memory = gather(&[std::process::id()], &super::super::mount::gather(None));
        assert!(memory.seen().is_some_and(|memory| memory.available <= Some(memory.total) && memory.total > 0));
    }
}
