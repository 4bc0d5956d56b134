//! What kind of machine this is: its distribution, what starts its services, which Redis is installed and by which units
//! it is started.

mod command;
mod hints;
mod units;

use serde::{Deserialize, Serialize};

use crate::model::text::head;
use crate::model::{BlockerKind, Observed, escape};
use crate::sys::{environment, files};
use units::Services;

/// What is installed, and what starts it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `ID` of /etc/os-release: `debian`, `ubuntu`, `fedora`, `alpine` …
    pub distribution: Option<String>,
    /// `PRETTY_NAME` of /etc/os-release.
    pub name: Option<String>,
    /// `ID_LIKE` of /etc/os-release.
    pub like: Vec<String>,
    /// What starts services.
    pub init: Init,
    /// The programs of Redis servers that are installed, by path.
    pub programs: Vec<String>,
    /// The services that start one.
    pub units: Vec<Unit>,
    /// The container engines that are installed: `docker`, `podman`.
    #[serde(default)]
    pub engines: Vec<String>,
    /// What may start one, by its name or what it says, and is not known to: a service with a script of its own, a program
    /// of supervisord, a line of cron.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl System {
    /// True if there is a server that could be started.
    pub fn has_a_server(&self) -> bool {
        !self.programs.is_empty() || self.units.iter().any(|unit| !unit.gone)
    }
}

/// What starts services on a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// systemd runs (`/run/systemd/system` is there, `sd_booted(3)`).
    Systemd,
    /// `OpenRC` runs (`/run/openrc` is there).
    OpenRc,
    /// Scripts in /etc/init.d, without the above.
    SysV,
    /// launchd, on macOS.
    Launchd,
    /// None that we know: a container, most often.
    #[default]
    None,
}

/// A service that starts a Redis server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name without the ending: `redis-server`, `redis@prod`.
    pub name: String,
    /// The file that defines it; where it is masked, the link to /dev/null.
    pub file: String,
    /// The redis.conf on its command line.
    pub conf: Option<String>,
    /// The other arguments on its command line, without secrets.
    pub args: Vec<String>,
    /// The user it runs as.
    pub user: Option<String>,
    /// `LimitNOFILE`.
    pub open_files_limit: Option<String>,
    /// True if it is started at boot (`systemctl enable`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enabled: bool,
    /// True if `systemctl mask` keeps it from being started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
    /// True if the program that it starts is not there: a unit that was left behind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

impl Unit {
    /// The port that its command line gives its server.
    pub fn port(&self) -> Option<u16> {
        let at = self.args.iter().rposition(|arg| arg == "--port")?;
        self.args.get(at + 1)?.parse().ok()
    }
}

/// Names of servers' programs; `KeyDB` and Redict are forks, Dragonfly takes other settings.
const PROGRAMS: [&str; 4] = ["redis-server", "valkey-server", "keydb-server", "redict-server"];

/// Programs of container engines.
const ENGINES: [&str; 3] = ["docker", "podman", "nerdctl"];

/// Where programs are, whatever PATH is.
const FOLDERS: [&str; 10] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/opt/homebrew/bin",
    "/home/linuxbrew/.linuxbrew/bin",
    "/opt/bitnami/redis/bin",
    "/opt/bitnami/valkey/bin",
];

/// The most folders of PATH that are looked through.
const MOST_FOLDERS: usize = 64;

/// Looks at what is installed.
pub fn gather() -> Observed<System> {
    let init = init();
    let text = ["/etc/os-release", "/usr/lib/os-release"].into_iter().find_map(|path| files::read_text(path).ok());
    let release = Release::parse(&text.unwrap_or_default());
    if release == Release::default() && init == Init::None && !files::exists("/etc") {
        return Observed::hidden(
            BlockerKind::Unsupported,
            "this machine shows neither /etc nor what starts its services",
        );
    }
    let path = environment::variable("PATH").unwrap_or_default();
    let engines = programs(&path, &ENGINES);
    let engine = |name: &&&str| engines.iter().any(|path| path.ends_with(&format!("/{name}")));
    let Services { units, hints } = units::gather(init);
    Observed::Seen(System {
        distribution: release.id,
        name: release.name,
        like: release.like,
        init,
        programs: programs(&path, &PROGRAMS),
        units,
        hints,
        engines: ENGINES.iter().filter(engine).map(|&name| name.to_owned()).collect(),
    })
}

/// What starts services. The marks are those that the programs themselves leave.
fn init() -> Init {
    if cfg!(target_os = "macos") {
        Init::Launchd
    } else if files::exists("/run/systemd/system") {
        Init::Systemd
    } else if files::exists("/run/openrc") {
        Init::OpenRc
    } else if files::exists("/etc/inittab") || files::exists("/run/initctl") || files::exists("/dev/initctl") {
        // Scripts in /etc/init.d stand in containers, too, where nothing runs them.
        Init::SysV
    } else {
        Init::None
    }
}

/// The executable files of that name in PATH and where programs usually are, each once.
fn programs(path: &str, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut real = Vec::new();
    for folder in path.split(':').filter(|folder| folder.starts_with('/')).take(MOST_FOLDERS).chain(FOLDERS) {
        for name in names {
            let program = format!("{}/{name}", folder.trim_end_matches('/'));
            let is_program = files::meta(&program).is_some_and(|meta| meta.kind == "file" && meta.mode & 0o111 != 0);
            // /bin is /usr/bin on most machines of today; redis-server may be a link to valkey-server, and is a name of its
            // own then.
            let place = files::real(folder).map(|folder| format!("{folder}/{name}"));
            if is_program && !real.contains(&place) {
                found.push(escape(program.as_bytes()));
                real.push(place);
            }
        }
    }
    found
}

/// os-release(5).
#[derive(Debug, Default, PartialEq, Eq)]
struct Release {
    id: Option<String>,
    name: Option<String>,
    like: Vec<String>,
}

impl Release {
    fn parse(text: &str) -> Self {
        let mut release = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else { continue };
            let value = head(unquoted(value).as_bytes(), 100);
            match key {
                "ID" if !value.is_empty() => release.id = Some(value.to_ascii_lowercase()),
                "PRETTY_NAME" if !value.is_empty() => release.name = Some(value),
                "ID_LIKE" => release.like = value.split_whitespace().map(str::to_ascii_lowercase).collect(),
                _ => {}
            }
        }
        release
    }
}

/// A value as a shell would assign it, but for its expansions, which os-release(5) rules out.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    if let Some(single) = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')) {
        return single.to_owned();
    }
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let mut out = String::new();
    let mut chars = bare.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_os_release() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n# ID=x\nVERSION_ID=\"12\"\n";
        let release = Release::parse(text);
        assert_eq!(release.id.as_deref(), Some("debian"));
        assert_eq!(release.name.as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        let rocky = Release::parse("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nPRETTY_NAME='a \"b\"'\n");
        assert_eq!((rocky.like.join("+"), rocky.name.as_deref()), ("rhel+centos+fedora".to_owned(), Some("a \"b\"")));
        assert_eq!(Release::parse("ID=\nNAME").id, None);
        assert_eq!(Release::parse("PRETTY_NAME=\"a\\\"b\x1b\"").name.as_deref(), Some("a\"b\\x1b"));
    }

    #[test]
    fn finds_programs() {
        use std::os::unix::fs::OpenOptionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let make = |name: &str, mode| {
            std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(mode)
                .open(folder.path().join(name))
        };
        make("redis-server", 0o755).unwrap();
        make("valkey-server", 0o644).unwrap();
        std::fs::create_dir(folder.path().join("keydb-server")).unwrap();
        let found = programs(&format!("relative:{path}:{path}/"), &PROGRAMS);
        let ours: Vec<&String> = found.iter().filter(|program| program.starts_with(path)).collect();
        assert_eq!(ours, [&format!("{path}/redis-server")]);
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "(ID=|PRETTY_NAME=|[\"'\\\\\\n]|\\PC)*") {
            let _ = Release::parse(&text);
        }
    }
}
