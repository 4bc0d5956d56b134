//! Files, read with a bound: no file, however large or endless, costs more than its limit.

use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use super::thread;

/// The most that is read of any file. Settings and tables of the kernel are far smaller.
pub const LIMIT: u64 = 1 << 20;

/// What most files and tables of the kernel fit.
const USUAL: usize = 8 << 10;

/// The most that is read of facts that were saved: the rules of a packet filter may list every address of a country.
const SAVED_LIMIT: u64 = 32 << 20;

/// The most that is read of certificates: the authorities of a system have some 200 KiB, those of several with their words more.
const BUNDLE_LIMIT: u64 = 16 << 20;

/// The most records of the kernel's log that are read: more than its buffer holds on any machine we know.
const MOST_RECORDS: usize = 100_000;

/// How long a pipe that was named may take to be written to.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The first [`LIMIT`] bytes of the file at `path`. Pipes and devices are read too, so far as they answer at once:
/// without `O_NONBLOCK`, opening a FIFO waits until somebody writes to it (fifo(7)).
///
/// # Errors
/// What `open(2)` or `read(2)` says.
pub fn read(path: &str) -> io::Result<Vec<u8>> {
    read_up_to(LIMIT, path)
}

fn read_up_to(limit: u64, path: &str) -> io::Result<Vec<u8>> {
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    // Most are small: one read of them, where a buffer that grows takes up to ten.
    let mut bytes = Vec::with_capacity(USUAL);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All of a text file that the user named, which may be a pipe (`<(pass redis)`): its writer has `patience` to write.
///
/// # Errors
/// What `open(2)` or `read(2)` says; `TimedOut` where the writer does not come or does not end, `FileTooLarge` where
/// the file does not fit [`LIMIT`], `InvalidData` where it is no UTF-8.
pub fn read_given(path: &str, patience: Duration) -> io::Result<String> {
    whole_text(read_given_bytes(path, patience, LIMIT)?, LIMIT)
}

/// The same, whatever the bytes are.
fn read_given_bytes(path: &str, patience: Duration, limit: u64) -> io::Result<Vec<u8>> {
    let bytes = match meta(path) {
        Some(meta) if meta.kind == "other" => read_patiently(path, patience, limit)?,
        // Neither a pipe nor a device: nothing to wait for.
        _ => read_up_to(limit, path)?,
    };
    fitting(bytes, limit)
}

/// The certificates that the user named, whatever the bytes are.
///
/// # Errors
/// As [`read_given`], with another bound, and but for UTF-8.
pub fn read_given_bundle(path: &str, patience: Duration) -> io::Result<Vec<u8>> {
    read_given_bytes(path, patience, BUNDLE_LIMIT)
}

#[expect(clippy::disallowed_methods, reason = "the one place that opens files")]
fn read_patiently(path: &str, patience: Duration, limit: u64) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    patiently(patience, move |bytes| std::fs::File::open(path)?.take(limit).read_to_end(bytes))
}

/// Reads in a thread of its own, for a read that blocks cannot be called off. It ends with the process.
fn patiently(
    patience: Duration,
    read: impl FnOnce(&mut Vec<u8>) -> io::Result<usize> + Send + 'static,
) -> io::Result<Vec<u8>> {
    let whole = move || {
        let mut bytes = Vec::new();
        read(&mut bytes).map(|_| bytes)
    };
    let late = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(error.kind(), "nobody has written all of it in time"),
        _ => error,
    };
    thread::within(patience, whole).map_err(late)?
}

fn fitting(bytes: Vec<u8>, limit: u64) -> io::Result<Vec<u8>> {
    if bytes.len() as u64 >= limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} MiB", limit >> 20)));
    }
    Ok(bytes)
}

fn whole_text(bytes: Vec<u8>, limit: u64) -> io::Result<String> {
    // Not the error of `from_utf8` itself, which carries the bytes.
    String::from_utf8(fitting(bytes, limit)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8 text"))
}

/// The same as text, with what is not UTF-8 replaced.
///
/// # Errors
/// As [`read`].
pub fn read_text(path: &str) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// The last `limit` bytes of a regular file, from the beginning of a line, and how long ago it was last changed.
///
/// # Errors
/// What `open(2)`, `stat(2)` or `read(2)` says; `InvalidInput` where it is no regular file.
#[expect(clippy::disallowed_methods, reason = "the one place that opens files and asks for the time of a change")]
pub fn tail(path: &str, limit: u64) -> io::Result<(Vec<u8>, Duration)> {
    let mut file = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let start = meta.len().saturating_sub(limit);
    file.seek(io::SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    if start > 0 {
        // Where there is no line end at all, what there is is a part of one line.
        let line = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..line);
    }
    let age = std::time::SystemTime::now().duration_since(meta.modified()?).unwrap_or_default();
    Ok((bytes, age))
}

/// The records of the kernel's log (`/dev/kmsg`), the last `most` of them; each read(2) gives one.
///
/// # Errors
/// What `open(2)` or `read(2)` says: EPERM or EACCES for those who are not root.
pub fn kernel_log(most: usize) -> io::Result<Vec<String>> {
    let mut log = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open("/dev/kmsg")?;
    let (mut records, mut buffer) = (std::collections::VecDeque::new(), [0; 8192]);
    for _ in 0..MOST_RECORDS {
        match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => records.push_back(String::from_utf8_lossy(&buffer[..count]).into_owned()),
            // The record was overwritten while we read: the next one is still there (dev-kmsg in the kernel's ABI).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
        if records.len() > most {
            records.pop_front();
        }
    }
    Ok(records.into())
}

/// Standard input, as text, to its end; its writer has `patience` to write.
///
/// # Errors
/// What `read(2)` says, or as [`read_given`].
pub fn read_stdin(patience: Duration) -> io::Result<String> {
    whole_text(patiently(patience, |bytes| io::stdin().lock().take(LIMIT).read_to_end(bytes))?, LIMIT)
}

/// A document that the user named, on standard input if it is `-`. Of a pipe no more is read once `is_whole` says of all
/// that came, piece by piece, that it is: its writer may never close it.
///
/// # Errors
/// As [`read_given`].
#[expect(clippy::disallowed_methods, reason = "the one place that opens files")]
pub fn read_document(
    path: &str,
    patience: Duration,
    is_whole: impl FnMut(&[u8]) -> bool + Send + 'static,
) -> io::Result<String> {
    let is_pipe = meta(path).is_some_and(|meta| meta.kind == "other");
    if path == "-" {
        let bytes = patiently(patience, |bytes| read_until(io::stdin().lock(), bytes, is_whole))?;
        return whole_text(bytes, SAVED_LIMIT);
    }
    if !is_pipe {
        return whole_text(read_up_to(SAVED_LIMIT, path)?, SAVED_LIMIT);
    }
    let path = path.to_owned();
    let bytes = patiently(patience, move |bytes| read_until(std::fs::File::open(path)?, bytes, is_whole))?;
    whole_text(bytes, SAVED_LIMIT)
}

fn read_until(from: impl Read, bytes: &mut Vec<u8>, mut is_whole: impl FnMut(&[u8]) -> bool) -> io::Result<usize> {
    let (mut from, mut buffer) = (from.take(SAVED_LIMIT), [0; 8192]);
    loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        bytes.extend_from_slice(&buffer[..count]);
        if count == 0 || is_whole(&buffer[..count]) {
            return Ok(bytes.len());
        }
    }
}

/// Sees whether a file that the user named can be read, without reading it: it may be a pipe.
///
/// # Errors
/// What access(2) says, or `IsADirectory`.
pub fn readable(path: &str) -> io::Result<()> {
    nix::unistd::eaccess(path, nix::unistd::AccessFlags::R_OK)?;
    match meta(path) {
        Some(meta) if meta.kind == "folder" => Err(io::ErrorKind::IsADirectory.into()),
        _ => Ok(()),
    }
}

/// True if there is something at `path`.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn exists(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Whether a regular file is at `path`, links followed; `None` where that cannot be seen.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn is_regular(path: &str) -> Option<bool> {
    std::fs::metadata(path).ok().map(|meta| meta.is_file())
}

/// True if there is certainly nothing at `path`, links followed; false also where that cannot be seen.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn is_missing(path: &str) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    std::fs::metadata(path).is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}

/// Whether two paths lead to one file; `None` where either cannot be looked at. One that is not there is not the same.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn are_same(one: &str, other: &str) -> Option<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path: &str| match std::fs::metadata(path) {
        Ok(meta) => Some(Some((meta.dev(), meta.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(None),
        Err(_) => None,
    };
    Some(identity(one)? == identity(other)?)
}

/// Where `path` leads when all links are followed; none where it cannot be seen.
pub fn real(path: &str) -> Option<String> {
    std::path::Path::new(path).canonicalize().ok()?.into_os_string().into_string().ok()
}

/// The names in the folder at `path`, sorted, at most `most`; none where it cannot be read.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn list(path: &str, most: usize) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).take(most).collect();
    names.sort_unstable();
    names
}

/// The paths that match a pattern as glob(3) sees it without flags, sorted by bytes, at most `most`.
pub fn matching(pattern: &str, most: usize) -> Vec<String> {
    let like_libc =
        glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let Ok(paths) = glob::glob_with(pattern, like_libc) else { return Vec::new() };
    let mut paths: Vec<String> =
        paths.flatten().filter_map(|path| path.into_os_string().into_string().ok()).take(most).collect();
    paths.sort_unstable();
    paths
}

/// The same within a time, for a pattern that others wrote: `/*/*/*/*/x` walks through the whole disk. None where it did
/// not suffice.
pub fn matching_within(pattern: &str, most: usize, patience: Duration) -> Option<Vec<String>> {
    let pattern = pattern.to_owned();
    thread::within(patience, move || matching(&pattern, most)).ok()
}

/// Where the symbolic link at `path` leads, if it is one and may be read.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn link(path: &str) -> Option<String> {
    std::fs::read_link(path).ok()?.into_os_string().into_string().ok()
}

/// What stands at a path, as stat(2) shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Meta {
    /// `folder`, `socket`, `file` or `other`.
    pub kind: String,
    /// The permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Whether we may search the folder, or write to what is no folder (access(2), with our effective rights).
    pub usable: bool,
}

/// What stands at `path`; `None` where nothing does or it cannot be seen.
pub fn meta(path: &str) -> Option<Meta> {
    stat(path).ok()
}

/// The same.
///
/// # Errors
/// What `stat(2)` says.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn stat(path: &str) -> io::Result<Meta> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = std::fs::metadata(path)?;
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "folder",
        kind if kind.is_socket() => "socket",
        kind if kind.is_file() => "file",
        _ => "other",
    };
    let right = if meta.is_dir() { nix::unistd::AccessFlags::X_OK } else { nix::unistd::AccessFlags::W_OK };
    let usable = nix::unistd::eaccess(path, right).is_ok();
    Ok(Meta { kind: kind.to_owned(), mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), usable })
}

/// When the file at `path` was last changed, moved there, or given to another, or a link on the way to it (RFC 3339, UTC).
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn changed_at(path: &str) -> Option<String> {
    let mut found = vec![std::fs::metadata(path).ok()?];
    // The links of /proc are made when they are looked at.
    if !path.starts_with("/proc/") {
        links(std::path::Path::new(path), 8, &mut found);
    }
    last_change(found.into_iter())
}

/// When the last of these was changed, moved or given to another (RFC 3339, UTC).
pub(super) fn last_change(of: impl Iterator<Item = std::fs::Metadata>) -> Option<String> {
    of.filter_map(|meta| changed(&meta)).max().map(as_date)
}

/// RFC 3339, in UTC and to the millisecond.
pub(super) fn as_date(at: std::time::SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// The links on the way to `path`, and on the way to where they lead.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
fn links(path: &std::path::Path, most: u32, found: &mut Vec<std::fs::Metadata>) {
    for part in path.ancestors() {
        let link = std::fs::symlink_metadata(part).ok().filter(std::fs::Metadata::is_symlink);
        let (Some(link), Ok(target), Some(folder)) = (link, std::fs::read_link(part), part.parent()) else { continue };
        found.push(link);
        if most > 0 {
            links(&folder.join(target), most - 1, found);
        }
    }
}

pub(super) fn changed(meta: &std::fs::Metadata) -> Option<std::time::SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let (seconds, nanos) = (u64::try_from(meta.ctime()).ok()?, u32::try_from(meta.ctime_nsec()).ok()?);
    std::time::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// Writes `text` to the file at `path`, which is made or emptied first.
///
/// # Errors
/// What `open(2)` or `write(2)` says.
#[expect(clippy::disallowed_methods, reason = "the one place that writes files")]
pub fn write(path: &std::path::Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    #[test]
    fn reads_what_the_user_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let put = |name: &str, bytes: &[u8]| {
            use std::io::Write as _;
            std::fs::File::create(path(name)).unwrap().write_all(bytes).unwrap();
            path(name)
        };
        assert_eq!(read_given(&put("text", b"x\n"), PATIENCE).unwrap(), "x\n");
        let kind = |path: &str| read_given(path, PATIENCE).unwrap_err().kind();
        assert_eq!(kind(&put("bytes", b"\xff")), io::ErrorKind::InvalidData);
        assert_eq!(kind(&put("huge", &vec![b'x'; 1 << 20])), io::ErrorKind::FileTooLarge);
        assert_eq!(kind("/dev/zero"), io::ErrorKind::FileTooLarge);
        assert_eq!(kind(folder.path().to_str().unwrap()), io::ErrorKind::IsADirectory);
        assert_eq!(kind(&path("missing")), io::ErrorKind::NotFound);
    }

    #[test]
    fn waits_for_a_pipe_but_not_for_ever() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let path = pipe.to_str().unwrap();
        assert_eq!(read(path).unwrap(), b"");
        assert_eq!(read_given(path, PATIENCE).unwrap_err().kind(), io::ErrorKind::TimedOut);
        // The reader that lost patience is still there and takes the first writer's words, so another pipe is needed.
        let other = folder.path().join("other");
        nix::unistd::mkfifo(&other, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| std::fs::OpenOptions::new().write(true).open(&other).unwrap().write_all(b"pw").unwrap());
            assert_eq!(read_given(other.to_str().unwrap(), Duration::from_secs(10)).unwrap(), "pw");
        });
    }
}
