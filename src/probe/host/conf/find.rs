//! Which redis.conf counts: every lead is followed, each file is read once.

use std::io;
use std::time::{Duration, Instant};

use super::parse::{Files, join, parse};
use super::{Conf, FoundBy, Leads, Parsed};
use crate::model::{BlockerKind, Observed, escape};
use crate::probe::host::process::{Process, State};
use crate::sys::{clock, files, machine};

/// Where distributions, images and `make install` put it, as patterns.
const USUAL: [&str; 16] = [
    // Debian, Ubuntu, and RHEL and Fedora of today.
    "/etc/redis/redis.conf",
    "/etc/redis/redis-*.conf",
    "/etc/valkey/valkey.conf",
    "/etc/valkey/*.conf",
    // RHEL 7 and 8, Fedora up to 34, Alpine, Arch.
    "/etc/redis.conf",
    "/etc/keydb/keydb.conf",
    // utils/install_server.sh: a file for each port.
    "/etc/redis/[0-9]*.conf",
    "/etc/redict/redict.conf",
    // The images of Docker and of Bitnami.
    "/usr/local/etc/redis/redis.conf",
    "/usr/local/etc/valkey/valkey.conf",
    "/opt/bitnami/redis/etc/redis.conf",
    "/opt/bitnami/valkey/etc/valkey.conf",
    // Homebrew, on Apple's processors, Intel's, and on Linux; FreeBSD shares the second.
    "/opt/homebrew/etc/redis.conf",
    "/usr/local/etc/redis.conf",
    "/home/linuxbrew/.linuxbrew/etc/redis.conf",
    "/snap/redis/current/etc/redis.conf",
];

/// How long reading may take where the run's time is up already: files are read in a millisecond, and tell a lot.
const LEAST: Duration = Duration::from_millis(250);

/// The most files that are found in the usual places.
const MOST_USUAL: usize = 32;

/// A file that a lead leads to.
struct Lead<'a> {
    path: String,
    found_by: FoundBy,
    process: Option<&'a Process>,
    /// INFO's pid, where no process of that number was seen.
    pid: Option<u32>,
    unit: Option<&'a str>,
    /// The root of the container that the path is of: `/proc/PID/root`, or nothing.
    root: String,
}

/// See [`super::gather`].
pub(super) fn gather(leads: Leads<'_>, until: Instant) -> Vec<Conf> {
    let mut found: Vec<(String, Conf)> = Vec::new();
    if let Some(lead) = given(leads) {
        follow(&mut found, &lead, until.max(clock::now() + LEAST));
    }
    // A pipe that nobody writes to takes all the time there is.
    let until = until.max(clock::now() + LEAST);
    let known = told(leads).chain(of_servers(leads)).chain(of_units(leads));
    for lead in known {
        follow(&mut found, &lead, until);
    }
    if leads.usual {
        for lead in in_usual_places() {
            follow(&mut found, &lead, until);
        }
    }
    let mut confs: Vec<Conf> = found.into_iter().map(|(_, conf)| conf).collect();
    for conf in confs.iter_mut().filter(|conf| conf.pid.is_none()) {
        let apart = leads.servers.iter().filter(|process| is_apart(process, &conf.path));
        conf.unseen_by = apart.map(|process| process.pid).collect();
    }
    confs
}

fn given(leads: Leads<'_>) -> Option<Lead<'_>> {
    leads.given.map(|path| Lead::new(path, FoundBy::Given))
}

/// What INFO says of a server in a container is meant there; so is its process id.
///
/// A service that lies might name any file. So where we may read what others may not, only the word of a process that was
/// seen to be a server counts.
fn told(leads: Leads<'_>) -> impl Iterator<Item = Lead<'_>> {
    leads.told.iter().filter_map(move |&(path, pid)| {
        let here = leads.servers.iter().find(|process| Some(process.pid) == pid && !is_apart(process, path));
        let named = |process: &&Process| pid.is_some() && process.pid_inside == pid;
        let apart = leads.servers.iter().find(|process| named(process) && is_apart(process, path));
        let lead = Lead { pid, process: here, ..Lead::new(path, FoundBy::Info) };
        match (here, apart) {
            (Some(_), _) => Some(lead),
            (None, Some(process)) => lead.in_container(process),
            (None, None) => (machine::effective_user() != 0).then_some(lead),
        }
    })
}

fn of_servers(leads: Leads<'_>) -> impl Iterator<Item = Lead<'_>> {
    // Whoever listens on nothing only says that it is a server.
    leads.servers.iter().filter(|process| !process.is_idle()).filter_map(|process| {
        let path = join(process.cwd.as_deref().unwrap_or_default(), argument(process)?);
        let lead = Lead { process: Some(process), ..Lead::new(&path, FoundBy::Arguments) };
        let lead = if is_apart(process, &path) { lead.in_container(process)? } else { lead };
        // The title that Redis gives itself looks like an argument: `127.0.0.1:6379`.
        let meta = files::meta(&lead.full_path()).filter(|meta| meta.kind == "file")?;
        // What only its owner may read is not read for another, whatever his arguments say.
        let may_read = process.uid == 0 || process.uid == meta.uid || meta.mode & 0o044 != 0;
        may_read.then_some(lead)
    })
}

fn of_units(leads: Leads<'_>) -> impl Iterator<Item = Lead<'_>> {
    leads.units.iter().filter_map(move |unit| {
        let path = unit.conf.as_deref()?;
        let starts = |process: &&Process| {
            let name = process.unit.as_deref().map(|name| name.trim_end_matches(".service"));
            name == Some(unit.name.as_str()) && process.state != State::Zombie && !is_apart(process, path)
        };
        let process = leads.servers.iter().find(starts);
        let lead = Lead::new(path, FoundBy::Unit);
        Some(Lead { process, unit: Some(&unit.name), ..lead })
    })
}

fn in_usual_places() -> impl Iterator<Item = Lead<'static>> {
    let paths = USUAL.iter().flat_map(|pattern| files::matching(pattern, MOST_USUAL));
    paths.map(|path| Lead::new(&path, FoundBy::UsualPlace)).take(MOST_USUAL)
}

/// Whether the process sees another file at this path than we do, as far as can be told: in a container, or where its mount
/// namespace or its root has another there. A sandbox of systemd shows the same.
fn is_apart(process: &Process, path: &str) -> bool {
    let contained = process.same_pids == Some(false) || process.container.is_some();
    let root = format!("/proc/{}/root", process.pid);
    let differs = || files::link(&root).is_some() && files::are_same(path, &format!("{root}{path}")) == Some(false);
    contained || differs()
}

/// The argument that may be a redis.conf: the first, where it is no flag.
fn argument(process: &Process) -> Option<&str> {
    let sentinel = |arg: &String| arg == "--sentinel" || arg.contains("[sentinel]") || arg.contains("redis-sentinel");
    if process.args.iter().any(sentinel) {
        return None;
    }
    process.args.get(1).map(String::as_str).filter(|arg| !arg.is_empty() && !arg.starts_with('-'))
}

impl<'a> Lead<'a> {
    fn new(path: &str, found_by: FoundBy) -> Self {
        Self { path: path.to_owned(), found_by, process: None, pid: None, unit: None, root: String::new() }
    }

    /// The same path in the container of a process, if we may look into it.
    fn in_container(self, process: &'a Process) -> Option<Self> {
        let root = format!("/proc/{}/root", process.pid);
        // The root itself can be read as a link by whom may look through it.
        files::link(&root)?;
        Some(Self { process: Some(process), pid: None, root, ..self })
    }

    fn full_path(&self) -> String {
        format!("{}{}", self.root, self.path)
    }
}

/// Reads the file of a lead, if it is not known yet; adds to what is known of it otherwise.
fn follow(found: &mut Vec<(String, Conf)>, lead: &Lead<'_>, until: Instant) {
    let path = lead.full_path();
    // A sentinel.conf is no redis.conf, whatever leads to it.
    if lead.found_by != FoundBy::Given && path.rsplit('/').next().is_some_and(|name| name.contains("sentinel")) {
        return;
    }
    let real = files::real(&path).unwrap_or_else(|| path.clone());
    let pid = lead.process.map(|process| process.pid).or(lead.pid);
    let unit = lead.unit.map(str::to_owned);
    if let Some((_, conf)) = found.iter_mut().find(|(known, _)| *known == real) {
        // One file may start several servers, of which the first lead is the surest.
        conf.pid = conf.pid.or(pid);
        conf.unit = conf.unit.take().or(unit);
        return;
    }
    let parsed = read(lead, until);
    let read = parsed.seen().map_or(&[][..], |parsed| &parsed.files);
    let changed_at = read.iter().filter_map(|path| files::changed_at(path)).max();
    let (path, found_by, unseen_by) = (escape(path.as_bytes()), lead.found_by, Vec::new());
    found.push((real, Conf { path, found_by, pid, unit, unseen_by, changed_at, parsed }));
}

fn read(lead: &Lead<'_>, until: Instant) -> Observed<Parsed> {
    let disk = Disk { root: &lead.root, until };
    if disk.is_over() {
        let path = escape(lead.full_path().as_bytes());
        return Observed::hidden(BlockerKind::Deadline, format!("{path}: there was no time left to read it"));
    }
    let text =
        if lead.found_by == FoundBy::Given { read_given(&lead.path, disk.left()) } else { disk.read(&lead.path) };
    let text = match text {
        Ok(text) => text,
        Err(error) => return hidden(&lead.full_path(), &error),
    };
    let mut parsed = parse(&lead.path, &text, None, &disk);
    // Redis changes into its `dir`; where there is none, its process is where it was started.
    let cwd = lead.process.and_then(|process| process.cwd.as_deref());
    if cwd.is_some() && parsed.last("dir").is_none() {
        parsed = parse(&lead.path, &text, cwd, &disk);
    }
    Observed::Seen(parsed.below(&lead.root))
}

/// A pipe that the user named (`<(ssh db cat /etc/redis/redis.conf)`) is waited for.
fn read_given(path: &str, patience: Duration) -> io::Result<Vec<u8>> {
    match files::meta(path) {
        Some(meta) if meta.kind == "other" => {
            files::read_given(path, patience.min(files::PATIENCE)).map(String::into_bytes)
        }
        _ => whole(path),
    }
}

fn hidden(path: &str, error: &io::Error) -> Observed<Parsed> {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => BlockerKind::Permission,
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BlockerKind::Missing,
        io::ErrorKind::TimedOut => BlockerKind::Deadline,
        _ => BlockerKind::Failed,
    };
    Observed::hidden(kind, format!("{}: {error}", escape(path.as_bytes())))
}

fn whole(path: &str) -> io::Result<Vec<u8>> {
    let bytes = files::read(path)?;
    if bytes.len() as u64 >= files::LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

impl Parsed {
    /// The same with all paths below a root.
    fn below(mut self, root: &str) -> Self {
        if !root.is_empty() {
            let settings = self.settings.iter_mut().map(|setting| &mut setting.file);
            let errors = self.errors.iter_mut().map(|fault| &mut fault.file);
            for path in settings.chain(errors).chain(&mut self.files).chain(&mut self.unread) {
                path.insert_str(0, root);
            }
        }
        self
    }
}

/// The files of this machine, or of a container on it.
struct Disk<'a> {
    root: &'a str,
    /// How long there is time to look for more.
    until: Instant,
}

impl Disk<'_> {
    /// The time that is left.
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(clock::now())
    }

    /// A link to an absolute path is meant in the container, but the kernel would follow it here.
    fn at(&self, path: &str) -> String {
        let mut path = path.to_owned();
        if self.root.is_empty() {
            return path;
        }
        for _ in 0..8 {
            match files::link(&format!("{}{path}", self.root)) {
                Some(target) if target.starts_with('/') => path = target,
                _ => break,
            }
        }
        format!("{}{path}", self.root)
    }
}

impl Files for Disk<'_> {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        whole(&self.at(path))
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        let found = files::matching_within(&format!("{}{pattern}", self.root), 256, self.left());
        found
            .unwrap_or_default()
            .into_iter()
            .filter_map(|path| path.strip_prefix(self.root).map(str::to_owned))
            .collect()
    }

    fn is_missing(&self, path: &str) -> bool {
        files::is_missing(&self.at(path))
    }

    fn is_over(&self) -> bool {
        self.left().is_zero()
    }
}
