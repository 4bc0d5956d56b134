//! The file that says where a proxy leads, as the proxy itself sees it: it may have other mounts than we have, and may have
//! been changed since the proxy read it.

use std::time::Duration;

use super::arguments;
use crate::probe::host::process::Process;
use crate::sys::{files, process as sys};

/// A proxy's file, as it is now.
#[derive(Debug)]
pub struct Found {
    /// Where it is, as seen from here.
    pub path: String,
    /// What it says.
    pub text: String,
    /// True if it is surely the one that the proxy was told of, and the only one.
    pub is_its: bool,
    /// When it was last changed (RFC 3339, UTC), where that was after the start of the proxy.
    pub edited_at: Option<String>,
}

/// Looks for the file of a proxy.
pub fn find(process: &Process) -> Option<Found> {
    let named = absolute(&arguments::file(&process.name, &process.args)?, process.cwd.as_deref())?;
    // What is open in the process (`/dev/stdin`, `/dev/fd/63`) is something else here.
    if ["/dev/", "/proc/"].iter().any(|aside| named.starts_with(aside)) {
        return None;
    }
    let is_only = !arguments::names_more(&process.args);
    let same = sys::same_mounts(process.pid);
    if same == Some(true) {
        return read(process, named, is_only);
    }
    let own = inside(process.pid, &named);
    if files::exists(&own) {
        // A service with some mounts of its own has most files in common with everybody.
        let path = if files::are_same(&named, &own) == Some(true) { named } else { own };
        return read(process, path, is_only);
    }
    // Who has changed its root since it read its file has it where we have it, if it is no container's; that is not sure.
    process.container.is_none().then_some(())?;
    read(process, named, false)
}

/// True if a host's name means to a process what it means to us.
pub fn shares_names(pid: u32) -> bool {
    let is_same = |path: &str| files::are_same(path, &inside(pid, path)) == Some(true);
    sys::same_mounts(pid) == Some(true) || ["/etc/hosts", "/etc/resolv.conf"].into_iter().all(is_same)
}

/// Where a process has this file, as seen from here.
fn inside(pid: u32, path: &str) -> String {
    format!("/proc/{pid}/root{path}")
}

/// Reads what is no pipe: that would take from the proxy what is meant for it, and who looks there waits for ever.
fn read(process: &Process, path: String, is_only: bool) -> Option<Found> {
    if files::is_regular(&path) == Some(false) {
        return None;
    }
    let text = files::read_text(&path);
    let (is_its, text) = (is_only && text.is_ok(), text.unwrap_or_default());
    let changed = files::changed_at(&path);
    let edited_at = changed.filter(|changed| is_after(changed, process.started_at.as_deref()));
    Some(Found { path, text, is_its, edited_at })
}

/// True if the first is after the second, as far as a clock tick of 10 ms tells.
pub fn is_after(changed: &str, started: Option<&str>) -> bool {
    let at = |date: &str| humantime::parse_rfc3339(date).ok();
    let times = at(changed).zip(started.and_then(at));
    times.is_some_and(|(changed, started)| changed > started + Duration::from_millis(10))
}

fn absolute(file: &str, cwd: Option<&str>) -> Option<String> {
    if file.starts_with('/') {
        return Some(file.to_owned());
    }
    cwd.map(|cwd| format!("{}/{file}", cwd.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_after_the_start_is_known() {
        let started = Some("2026-11-20T09:00:00.000Z");
        for (changed, started, expected) in [
            ("2026-11-20T09:00:00.009Z", started, false),
            ("2026-11-20T09:00:00.020Z", started, true),
            ("2026-11-20T08:59:00Z", started, false),
            ("2026-11-20T09:00:01Z", None, false),
            ("x", started, false),
        ] {
            assert_eq!(is_after(changed, started), expected, "{changed}");
        }
    }

    #[test]
    fn a_name_without_folder_is_in_that_of_the_process() {
        assert_eq!(absolute("r.conf", Some("/etc/stunnel")).as_deref(), Some("/etc/stunnel/r.conf"));
        assert_eq!(absolute("r.conf", Some("/")).as_deref(), Some("/r.conf"));
        assert_eq!(absolute("/r.conf", None).as_deref(), Some("/r.conf"));
        assert_eq!(absolute("r.conf", None), None);
    }
}
