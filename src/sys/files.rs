//! Files, read with a bound: no file, however large or endless, costs more than its limit.

use std::io::{self, Read};

/// The most that is read of any file. Settings and tables of the kernel are far smaller.
pub const LIMIT: u64 = 1 << 20;

/// The first [`LIMIT`] bytes of the file at `path`. Pipes and devices are read too, so far as they answer at once.
///
/// # Errors
/// What `open(2)` or `read(2)` says.
#[expect(clippy::disallowed_methods, reason = "the one place that opens files")]
pub fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text, with what is not UTF-8 replaced.
///
/// # Errors
/// As [`read`].
pub fn read_text(path: &str) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// Standard input, to the same limit.
///
/// # Errors
/// What `read(2)` says.
pub fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// True if there is something at `path`.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at files")]
pub fn exists(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok()
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
