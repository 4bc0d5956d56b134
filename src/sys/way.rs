//! The way to a file as a process goes it: from the root that the process has, through folders and over links. What is linked to an
//! absolute path below another root is not where that path leads here.

use std::path::Path;

use super::files;

/// The most links on one way, as the kernel has it (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// A way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// Where it ends, as seen from here.
    pub end: String,
    /// The folders that are searched on it, the root first, as seen from here.
    pub folders: Vec<String>,
    /// The links that it goes over.
    links: Vec<String>,
}

/// The way to `path` below a root that is seen from here at this place; none where it goes in a circle.
pub fn to(path: &str, root: &str) -> Option<Way> {
    let (mut way, mut at, mut ahead) = (Way::default(), String::new(), parts(path));
    while let Some(part) = ahead.pop() {
        if part == ".." {
            at.truncate(at.rfind('/').unwrap_or_default());
            continue;
        }
        let folder = seen(root, &at);
        if !way.folders.contains(&folder) {
            way.folders.push(folder);
        }
        let next = format!("{at}/{part}");
        match files::link(&seen(root, &next)) {
            Some(_) if way.links.len() == MOST_LINKS => return None,
            Some(target) => {
                way.links.push(seen(root, &next));
                if target.starts_with('/') {
                    at.clear();
                }
                ahead.extend(parts(&target));
            }
            None => at = next,
        }
    }
    way.end = seen(root, &at);
    Some(way)
}

fn seen(root: &str, path: &str) -> String {
    let seen = format!("{root}{path}");
    if seen.is_empty() { "/".to_owned() } else { seen }
}

/// The parts of a path, the last one first.
fn parts(path: &str) -> Vec<String> {
    path.split('/').rev().filter(|part| !["", "."].contains(part)).map(str::to_owned).collect()
}

impl Way {
    /// When the file was last changed, moved there, or given to another, or a link on the way to it (RFC 3339, UTC).
    #[expect(clippy::disallowed_methods, reason = "as in the place that looks at files")]
    pub fn changed_at(&self) -> Option<String> {
        let end = std::fs::metadata(&self.end).ok()?;
        let links = self.links.iter().filter_map(|link| std::fs::symlink_metadata(link).ok());
        files::last_change(links.chain([end]))
    }

    /// Until when a folder on the way to it may have been moved there: what is in it may be older. A move changes the folder's own
    /// status and the content of that in which it is, so that it was not after the earlier of the two.
    #[expect(clippy::disallowed_methods, reason = "as in the place that looks at files")]
    pub fn moved_at(&self) -> Option<String> {
        let look = |path: &Path| std::fs::metadata(path).ok();
        let at = |folder: &String| {
            let folder = Path::new(folder);
            let (own, above) = (look(folder)?, look(folder.parent()?)?);
            Some(above.modified().ok()?.min(files::changed(&own)?))
        };
        self.folders.iter().skip(1).filter_map(at).max().map(files::as_date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_the_root_has_it() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        std::fs::create_dir_all(folder.path().join("etc/tls")).unwrap();
        files::write(&folder.path().join("etc/tls/new"), "").unwrap();
        symlink("/etc/tls", folder.path().join("all")).unwrap();
        symlink("../tls/./new", folder.path().join("etc/tls/live")).unwrap();
        symlink("circle", folder.path().join("circle")).unwrap();
        for path in ["/etc/tls/new", "/etc/tls/live", "/all/live", "/../all//new"] {
            let way = to(path, root).unwrap();
            assert_eq!(way.end, format!("{root}/etc/tls/new"), "{path}");
            assert!(way.folders.contains(&format!("{root}/etc")) && way.folders[0] == root, "{way:?}");
            assert!(way.changed_at().is_some());
        }
        assert_eq!(to("/circle", root), None);
        assert_eq!(to("/", "").unwrap().end, "/");
        assert_eq!(to("/nonexistent/x", "").unwrap().changed_at(), None);
    }

    #[test]
    fn a_folder_that_was_moved_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
        std::fs::create_dir(&old).unwrap();
        files::write(&old.join("x"), "").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        std::fs::rename(&old, &new).unwrap();
        let way = to(new.join("x").to_str().unwrap(), "").unwrap();
        assert!(way.moved_at() > way.changed_at(), "{way:?}");
        // What is changed in it afterwards does not hide that.
        std::thread::sleep(std::time::Duration::from_millis(30));
        files::write(&new.join("y"), "").unwrap();
        let written = to(new.join("y").to_str().unwrap(), "").unwrap();
        assert_eq!(written.moved_at(), way.moved_at());
        assert!(written.changed_at() > written.moved_at(), "{way:?}");
    }
}
