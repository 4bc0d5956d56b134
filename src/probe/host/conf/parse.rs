//! redis.conf with everything it includes, read as `loadServerConfigFromString` (config.c) reads it.

use std::io;

use super::line::{Line, split, trim};
use super::value::Sure;
use super::{Fault, Parsed, Setting, directive, secret, value};
use crate::model::escape;

/// How deep includes may lie in each other; Redis has no bound and crashes.
const DEEPEST: usize = 16;
/// The most files that are read.
const MOST_FILES: usize = 256;
/// The most that is read of all files together.
const MOST_BYTES: usize = 8 << 20;
/// The most settings that are kept.
const MOST_SETTINGS: usize = 5000;
/// The most faults that are kept; Redis itself stops at the first.
const MOST_FAULTS: usize = 20;

const UNBALANCED: &str = "Unbalanced quotes in configuration line";

/// Folders that systemd makes for a service (`StateDirectory=` and its kin): they may be missing until it starts.
const MADE_AT_START: [&str; 5] = ["/run/", "/var/run/", "/var/lib/", "/var/log/", "/var/cache/"];

/// The files that a redis.conf names, on whatever machine.
pub trait Files {
    /// The first bytes of a file.
    ///
    /// # Errors
    /// What stands in the way.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// The paths that match a pattern of glob(3), sorted.
    fn glob(&self, pattern: &str) -> Vec<String>;
    /// True if there is certainly nothing at `path`.
    fn is_missing(&self, path: &str) -> bool;
    /// True if there is no time left to look for more.
    fn is_over(&self) -> bool {
        false
    }
}

/// Reads `text`, which stands in the file `path`. `cwd` is the working directory of the server at its start, if that is
/// known: relative paths are relative to it, until a `dir` line changes it. Where it is not known, the folder of `path` is
/// taken in its place, because that is where people look for includes; what cannot be found there then is no fault, but
/// unread.
pub fn parse(path: &str, text: &[u8], cwd: Option<&str>, files: &dyn Files) -> Parsed {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut reader = Reader {
        files,
        parsed: Parsed::default(),
        cwd: cwd.unwrap_or(folder).to_owned(),
        sure: cwd.is_some(),
        open: Vec::new(),
        bytes: text.len(),
        logfile: None,
    };
    reader.parsed.files.push(escape(path.as_bytes()));
    reader.read(&[Piece { path: path.to_owned(), bytes: text.to_vec() }]);
    reader.check_the_whole();
    reader.parsed
}

/// A file.
struct Piece {
    path: String,
    bytes: Vec<u8>,
}

/// A line and where it stands.
struct Place<'a> {
    file: &'a str,
    number: u32,
    line: Vec<u8>,
}

struct Reader<'a> {
    files: &'a dyn Files,
    parsed: Parsed,
    /// The working directory.
    cwd: String,
    /// Whether it is known.
    sure: bool,
    /// The files that are being read, each included by the one before.
    open: Vec<String>,
    bytes: usize,
    /// Where the log file is set, and to what.
    logfile: Option<(Fault, String)>,
}

impl Reader<'_> {
    /// Reads files one behind the other, as Redis does with those that match a pattern.
    fn read(&mut self, pieces: &[Piece]) {
        let depth = self.open.len();
        self.open.extend(pieces.iter().map(|piece| piece.path.clone()));
        for place in lines(pieces) {
            self.take(&place);
        }
        self.open.truncate(depth);
    }

    fn take(&mut self, place: &Place<'_>) {
        let line = trim(&place.line);
        match split(line) {
            Line::Nothing => {}
            Line::Unbalanced => self.fault(place, secret::keep_unbalanced(line), UNBALANCED, Sure::Always),
            Line::Glued(words) => {
                self.fault(place, secret::keep_unbalanced(line), UNBALANCED, Sure::Sometimes);
                self.take_words(place, line, &words);
            }
            Line::Words(words) => self.take_words(place, line, &words),
        }
    }

    fn take_words(&mut self, place: &Place<'_>, line: &[u8], words: &[Vec<u8>]) {
        let name = String::from_utf8_lossy(&words[0]).to_ascii_lowercase();
        self.take_directive(place, line, &name, &words[1..]);
    }

    fn take_directive(&mut self, place: &Place<'_>, line: &[u8], name: &str, args: &[Vec<u8>]) {
        let wrong = value::check(name, args);
        if let Some(wrong) = &wrong {
            self.fault(place, secret::keep_faulty(name, args, line), &wrong.says, wrong.sure);
        }
        // What some version may take is a setting there.
        if directive::kind(name).is_none() && !name.contains('.')
            || wrong.as_ref().is_some_and(|wrong| wrong.sure == Sure::Always)
        {
            return;
        }
        let kept = secret::keep(name, args, line, wrong.is_some());
        if self.parsed.settings.len() < MOST_SETTINGS {
            self.parsed.settings.push(Setting {
                name: escape(name.as_bytes()),
                values: kept.values,
                secret: kept.secret,
                file: escape(place.file.as_bytes()),
                line: place.number,
                text: kept.text.clone(),
            });
        } else {
            self.unread(place.file);
        }
        let Some(first) = args.first().map(|arg| String::from_utf8_lossy(arg).into_owned()) else { return };
        match name {
            "include" => self.include(place, &kept.text, &first),
            "dir" => self.change_folder(place, &kept.text, &first),
            "loadmodule" if self.is_missing(&first) => {
                let says =
                    format!("Can't load module from {}: server aborting", escape(&secret::masked(first.as_bytes())));
                self.fault(place, kept.text, &says, Sure::Always);
            }
            "logfile" => self.logfile = Some((fault(place, kept.text), first)),
            _ => {}
        }
    }

    fn include(&mut self, place: &Place<'_>, text: &str, target: &str) {
        let path = self.resolve(target);
        let known = self.knows(target);
        if path.contains(['*', '?', '[']) {
            let mut pieces = Vec::new();
            let found = if self.files.is_over() { Vec::new() } else { self.files.glob(&path) };
            if self.files.is_over() {
                self.unread(&path);
            }
            for path in found {
                pieces.extend(self.open(place, text, path, known));
            }
            self.read(&pieces);
        } else if let Some(piece) = self.open(place, text, path, known) {
            self.read(&[piece]);
        }
    }

    /// Opens an included file, within bounds.
    fn open(&mut self, place: &Place<'_>, text: &str, path: String, known: bool) -> Option<Piece> {
        if self.open.contains(&path) {
            self.fault(place, text.to_owned(), "the file includes itself, without end", Sure::Always);
            return None;
        }
        let full = self.open.len() >= DEEPEST || self.parsed.files.len() >= MOST_FILES || self.bytes >= MOST_BYTES;
        if full || self.files.is_over() {
            self.unread(&path);
            return None;
        }
        match self.files.read(&path) {
            Ok(bytes) => {
                self.bytes += bytes.len();
                self.parsed.files.push(escape(path.as_bytes()));
                Some(Piece { path, bytes })
            }
            // fopen(3) opens a folder, and nothing can be read from it: Redis goes on.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => None,
            Err(error) if known && is_not_there(&error) => {
                let path = escape(&secret::masked(path.as_bytes()));
                let says = format!("Fatal error, can't open config file '{path}': No such file or directory");
                self.fault(place, text.to_owned(), &says, Sure::Always);
                None
            }
            Err(_) => {
                self.unread(&path);
                None
            }
        }
    }

    fn change_folder(&mut self, place: &Place<'_>, text: &str, target: &str) {
        let folder = self.resolve(target);
        // chdir(2) knows no empty path; what is no folder holds not even itself.
        if target.is_empty() || self.is_missing(&format!("{target}/.")) {
            let sure = !MADE_AT_START.iter().any(|made| folder.starts_with(made));
            let missing = target.is_empty() || self.is_missing(target);
            let says = if missing { "No such file or directory" } else { "Not a directory" };
            self.fault(place, text.to_owned(), says, if sure { Sure::Always } else { Sure::Sometimes });
        }
        self.sure |= target.starts_with('/');
        self.cwd = folder;
    }

    /// What Redis looks at when all is read.
    fn check_the_whole(&mut self) {
        let faults = [
            self.cluster_with_primary(),
            self.comment_as_address(),
            self.bind_in_vain(),
            self.socket_without_folder(),
            self.log_without_folder(),
        ];
        self.parsed.errors.extend(faults.into_iter().flatten());
    }

    fn cluster_with_primary(&self) -> Option<Fault> {
        let wrong = self.is("cluster-enabled", "yes") && !self.is("replicaof", "no");
        let says = "replicaof directive not allowed in cluster mode";
        self.parsed.last("replicaof").filter(|_| wrong).map(|setting| fault_of(setting, says))
    }

    /// A comment behind the addresses is taken for a host name, which fails when the port is opened.
    fn comment_as_address(&self) -> Option<Fault> {
        let bind = self.parsed.last("bind").filter(|_| !self.is("port", "0"))?;
        let says = "Could not create server TCP listening socket #: Name or service not known";
        bind.values.iter().any(|value| value.starts_with('#')).then(|| fault_of(bind, says))
    }

    /// Addresses that cannot all be bound: no such address, one twice, one beside its wildcard.
    fn bind_in_vain(&self) -> Option<Fault> {
        let bind = self.parsed.last("bind").filter(|_| !self.is("port", "0"))?;
        // Since Redis 7, its socket is enough.
        let is_empty = bind.values.iter().all(String::is_empty) && self.parsed.last("unixsocket").is_none();
        if is_empty && !bind.values.is_empty() {
            return Some(fault_of(bind, "Configured to not listen anywhere, exiting."));
        }
        let (says, sure) = super::bind::in_vain(&bind.values)?;
        Some(Fault { sure, ..fault_of(bind, &says) })
    }

    /// Folders of a service are made when it starts.
    fn socket_without_folder(&self) -> Option<Fault> {
        let socket = self.parsed.last("unixsocket")?;
        let target = socket.values.first().filter(|target| !target.is_empty())?;
        let path = self.resolve(target);
        let (folder, _) = path.rsplit_once('/').filter(|(folder, _)| !folder.is_empty())?;
        let is_made = MADE_AT_START.iter().any(|made| path.starts_with(made));
        let missing = !is_made && self.knows(target) && self.files.is_missing(folder);
        missing.then(|| fault_of(socket, "Failed opening Unix socket: bind: No such file or directory"))
    }

    fn log_without_folder(&mut self) -> Option<Fault> {
        let (fault, target) = self.logfile.take().filter(|(_, target)| !target.is_empty())?;
        let path = self.resolve(&target);
        let (folder, _) = path.rsplit_once('/').filter(|(folder, _)| !folder.is_empty())?;
        let sure = !MADE_AT_START.iter().any(|made| path.starts_with(made));
        let says = "Can't open the log file: No such file or directory".to_owned();
        let missing = self.knows(&target) && self.files.is_missing(folder);
        missing.then_some(Fault { says, sure, sure_since_6: sure, ..fault })
    }

    /// Whether the first argument of a setting is this word.
    fn is(&self, name: &str, value: &str) -> bool {
        let first = self.parsed.last(name).and_then(|setting| setting.values.first());
        first.is_some_and(|said| said.eq_ignore_ascii_case(value))
    }

    fn resolve(&self, path: &str) -> String {
        join(&self.cwd, path)
    }

    /// Whether it is known where a path of redis.conf leads.
    fn knows(&self, target: &str) -> bool {
        self.sure || target.starts_with('/')
    }

    /// Whether there is certainly nothing at a path of redis.conf.
    fn is_missing(&self, target: &str) -> bool {
        self.knows(target) && self.files.is_missing(&self.resolve(target))
    }

    fn fault(&mut self, place: &Place<'_>, text: String, says: &str, sure: Sure) {
        if self.parsed.errors.len() < MOST_FAULTS {
            let (sure, sure_since_6) = (sure == Sure::Always, sure != Sure::Sometimes);
            self.parsed.errors.push(Fault { says: says.to_owned(), sure, sure_since_6, ..fault(place, text) });
        }
    }

    fn unread(&mut self, path: &str) {
        let path = escape(path.as_bytes());
        if self.parsed.unread.len() < MOST_FILES && !self.parsed.unread.contains(&path) {
            self.parsed.unread.push(path);
        }
    }
}

fn fault(place: &Place<'_>, text: String) -> Fault {
    Fault {
        file: escape(place.file.as_bytes()),
        line: place.number,
        text,
        says: String::new(),
        sure: false,
        sure_since_6: false,
    }
}

fn fault_of(setting: &Setting, says: &str) -> Fault {
    let (file, text) = (setting.file.clone(), setting.text.clone());
    Fault { file, line: setting.line, text, says: says.to_owned(), sure: true, sure_since_6: true }
}

/// A path as seen from a folder.
pub(in crate::probe::host) fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') || folder.is_empty() {
        path.to_owned()
    } else {
        format!("{}/{path}", folder.trim_end_matches('/'))
    }
}

fn is_not_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The lines of files that are read as one text. A file without a line break at its end runs into the next one; a NUL
/// byte ends a line early and takes its line break with it (`fgets` and `sdscat`).
fn lines(pieces: &[Piece]) -> Vec<Place<'_>> {
    let mut lines: Vec<Place<'_>> = Vec::new();
    let mut running = false;
    for piece in pieces {
        for (number, line) in (1..).zip(piece.bytes.split_inclusive(|&byte| byte == b'\n')) {
            let end = line.iter().position(|&byte| byte == 0).unwrap_or(line.len());
            let line = &line[..end];
            match lines.last_mut().filter(|_| running) {
                Some(last) => last.line.extend_from_slice(line),
                None => lines.push(Place { file: &piece.path, number, line: line.to_vec() }),
            }
            running = !line.ends_with(b"\n");
        }
    }
    lines
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
