//! The folders that the target's server writes to: its data, its AOF, its log.

use std::collections::BTreeMap;

use super::conf::Conf;
use super::process::Process;

/// A folder that Redis writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// What Redis keeps there: `data`, `aof`, `log`.
    pub purpose: &'static str,
    /// Its absolute path, as the server sees it.
    pub path: String,
    /// The server's process, if it runs.
    pub pid: Option<u32>,
    /// True if that is in a container, which has file systems of its own.
    pub contained: bool,
    /// True if the server stands in a folder of this name that was deleted.
    pub deleted: bool,
}

/// What is known of the target's server.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// What CONFIG GET told.
    pub settings: Option<&'a BTreeMap<String, String>>,
    /// Its process.
    pub process: Option<&'a Process>,
    /// Its redis.conf.
    pub conf: Option<&'a Conf>,
}

/// What the kernel adds to the name of a deleted folder (`proc_pid_cwd(5)`).
const DELETED: &str = " (deleted)";

/// The folders of a server.
pub fn folders(server: Server<'_>) -> Vec<Folder> {
    if server.settings.is_some() && server.process.is_none() {
        // It answers, and is not seen to run here: in a container, perhaps, whose folders are not ours.
        return Vec::new();
    }
    let dir = server.dir();
    let deleted = server.cwd().is_some_and(|cwd| cwd.ends_with(DELETED));
    let folder = |purpose, path: String, deleted| Folder {
        purpose,
        path,
        pid: server.process.map(|process| process.pid),
        contained: server
            .process
            .is_some_and(|process| process.container.is_some() || process.same_pids == Some(false)),
        deleted,
    };
    let data = dir.clone().map(|dir| folder("data", dir, deleted));
    let aof = server.aof().and_then(|name| Some(folder("aof", join(dir.as_deref(), &name)?, deleted)));
    let log =
        server.log().and_then(|file| parent(&join(dir.as_deref(), &file)?)).map(|path| folder("log", path, false));
    [data, aof, log].into_iter().flatten().collect()
}

/// The log of a server that runs here, or would; `None` where it logs to its standard output, or in a container.
pub fn log_file(server: Server<'_>) -> Option<String> {
    let apart = |process: &Process| process.container.is_some() || process.same_pids == Some(false);
    if server.process.is_some_and(apart) || (server.settings.is_some() && server.process.is_none()) {
        return None;
    }
    join(server.dir().as_deref(), &server.log()?)
}

impl Server<'_> {
    /// A setting: as CONFIG GET tells it, as the arguments do, or redis.conf; empty values are none.
    fn setting(&self, name: &str) -> Option<String> {
        let told = self.settings.map(|settings| settings.get(name).cloned());
        let value = told.unwrap_or_else(|| self.argument(name).or_else(|| self.line(name)));
        value.filter(|value| !value.is_empty())
    }

    fn argument(&self, name: &str) -> Option<String> {
        let args = &self.process?.args;
        let at = args.iter().rposition(|arg| arg.strip_prefix("--") == Some(name))?;
        args.get(at + 1).cloned()
    }

    fn line(&self, name: &str) -> Option<String> {
        self.conf?.parsed.seen()?.last(name)?.values.first().cloned()
    }

    fn cwd(&self) -> Option<&str> {
        self.process?.cwd.as_deref()
    }

    /// Its data folder. CONFIG GET tells none where it was deleted (getcwd(3) fails); the process stands in it all the same.
    fn dir(&self) -> Option<String> {
        let stands_in = || Some(self.cwd()?.trim_end_matches(DELETED).to_owned());
        self.setting("dir")
            .filter(|_| self.settings.is_some())
            .or_else(stands_in)
            .or_else(|| self.setting("dir"))
            .filter(
                // Relative to where it was started, which nobody knows any more.
                |dir| dir.starts_with('/'),
            )
    }

    /// The name of the folder with its AOF: Redis 7 and later have one, and make it when they start.
    fn aof(&self) -> Option<String> {
        self.process?;
        self.setting("appendonly").filter(|on| on == "yes")?;
        self.setting("appenddirname")
    }

    fn log(&self) -> Option<String> {
        let device = |file: &String| ["/dev/", "/proc/"].iter().any(|folder| file.starts_with(folder));
        self.setting("logfile").filter(|file| !device(file))
    }
}

fn join(dir: Option<&str>, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return Some(path.to_owned());
    }
    Some(format!("{}/{path}", dir?.trim_end_matches('/')))
}

fn parent(path: &str) -> Option<String> {
    match path.rsplit_once('/')? {
        ("", _) => Some("/".to_owned()),
        (folder, _) => Some(folder.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn paths(server: Server<'_>) -> Vec<String> {
        folders(server).into_iter().map(|folder| format!("{} {}", folder.purpose, folder.path)).collect()
    }

    #[test]
    fn what_the_server_tells_comes_first() {
        let process = Process::healthy();
        let conf = Conf::healthy();
        let settings = told(&[("dir", "/srv"), ("appendonly", "yes"), ("appenddirname", "aof"), ("logfile", "r.log")]);
        let server = Server { settings: Some(&settings), process: Some(&process), conf: Some(&conf) };
        assert_eq!(paths(server), ["data /srv", "aof /srv/aof", "log /srv"]);
        let silent = told(&[("dir", "/srv"), ("appendonly", "no"), ("logfile", "")]);
        assert_eq!(paths(Server { settings: Some(&silent), ..server }), ["data /srv"]);
        assert_eq!(paths(Server { process: None, ..server }), [""; 0]);
    }

    #[test]
    fn redis_conf_tells_where_nobody_answers() {
        let conf = Conf::healthy();
        let server = Server { settings: None, process: None, conf: Some(&conf) };
        assert_eq!(paths(server), ["data /var/lib/redis", "log /var/log/redis"]);
        let process = Process { cwd: Some("/srv".to_owned()), ..Process::healthy() };
        assert_eq!(paths(Server { process: Some(&process), ..server }), ["data /srv", "log /var/log/redis"]);
        assert_eq!(paths(Server { conf: None, ..server }), [""; 0]);
    }

    #[test]
    fn a_deleted_folder_is_known_by_the_process() {
        let process = Process { cwd: Some("/srv (deleted)".to_owned()), ..Process::healthy() };
        let settings = told(&[("dir", "")]);
        let found = folders(Server { settings: Some(&settings), process: Some(&process), conf: None });
        let found: Vec<_> = found.into_iter().map(|folder| (folder.path, folder.deleted)).collect();
        assert_eq!(found, [("/srv".to_owned(), true)]);
    }

    #[test]
    fn a_relative_folder_or_a_device_is_none() {
        let process = Process { cwd: None, ..Process::healthy() };
        let settings = told(&[("dir", "./"), ("logfile", "/dev/null")]);
        assert_eq!(paths(Server { settings: Some(&settings), process: Some(&process), conf: None }), [""; 0]);
        assert_eq!(parent("/redis.log").as_deref(), Some("/"));
    }
}
