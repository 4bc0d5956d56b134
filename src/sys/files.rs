//! Files, read with a bound: no file, however large or endless, costs more than its limit.

use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc;
use std::time::Duration;

/// The most that is read of any file. Settings and tables of the kernel are far smaller.
pub const LIMIT: u64 = 1 << 20;

/// How long a pipe that was named may take to be written to.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The first [`LIMIT`] bytes of the file at `path`. Pipes and devices are read too, so far as they answer at once:
/// without `O_NONBLOCK`, opening a FIFO waits until somebody writes to it (fifo(7)).
///
/// # Errors
/// What `open(2)` or `read(2)` says.
pub fn read(path: &str) -> io::Result<Vec<u8>> {
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All of a text file that the user named, which may be a pipe (`<(pass redis)`): its writer has `patience` to write.
///
/// # Errors
/// What `open(2)` or `read(2)` says; `TimedOut` where the writer does not come or does not end, `FileTooLarge` where
/// the file does not fit [`LIMIT`], `InvalidData` where it is no UTF-8.
pub fn read_given(path: &str, patience: Duration) -> io::Result<String> {
    let bytes = match meta(path) {
        // Neither a pipe nor a device: nothing to wait for.
        Some(meta) if meta.kind != "other" => read(path)?,
        Some(_) => read_patiently(path, patience)?,
        None => read(path)?,
    };
    whole_text(bytes)
}

/// Reads in a thread of its own, for a read that blocks cannot be called off. It ends with the process.
#[expect(clippy::disallowed_methods, reason = "the one place that opens files")]
fn read_patiently(path: &str, patience: Duration) -> io::Result<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let path = path.to_owned();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
        // Nobody listens any more when patience has run out.
        let _ = sender.send(read.map(|_| bytes));
    });
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "nobody has written all of it in time");
    receiver.recv_timeout(patience).map_err(late)?
}

fn whole_text(bytes: Vec<u8>) -> io::Result<String> {
    if bytes.len() as u64 >= LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    // Not the error of `from_utf8` itself, which carries the bytes.
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8 text"))
}

/// The same as text, with what is not UTF-8 replaced.
///
/// # Errors
/// As [`read`].
pub fn read_text(path: &str) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// Standard input, as text, to its end.
///
/// # Errors
/// What `read(2)` says, or as [`read_given`].
pub fn read_stdin() -> io::Result<String> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(LIMIT).read_to_end(&mut bytes)?;
    whole_text(bytes)
}

/// True if there is something at `path`.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn exists(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok()
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
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn meta(path: &str) -> Option<Meta> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = std::fs::metadata(path).ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "folder",
        kind if kind.is_socket() => "socket",
        kind if kind.is_file() => "file",
        _ => "other",
    };
    let right = if meta.is_dir() { nix::unistd::AccessFlags::X_OK } else { nix::unistd::AccessFlags::W_OK };
    let usable = nix::unistd::eaccess(path, right).is_ok();
    Some(Meta { kind: kind.to_owned(), mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), usable })
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
        let writer = {
            let other = other.clone();
            std::thread::spawn(move || std::fs::OpenOptions::new().write(true).open(other).unwrap().write_all(b"pw"))
        };
        assert_eq!(read_given(other.to_str().unwrap(), Duration::from_secs(10)).unwrap(), "pw");
        writer.join().unwrap().unwrap();
    }
}
