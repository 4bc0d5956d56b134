//! Real Redis and Valkey servers of several versions on a host.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{Host, Running, enter};

/// How long a server may take to listen; only a machine in trouble takes more than a tenth of a second.
const TO_LISTEN: Duration = Duration::from_secs(15);

/// Which server: Debian's own, or one that `tests/setup` unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `redis-server` on the `PATH`: 7.0.15 with TLS on Debian 12.
    Debian,
    /// Redis 5.0.10, without TLS and ACL.
    Redis50,
    /// Redis 6.0.9, without TLS.
    Redis60,
    /// Redis 6.2.14, without TLS.
    Redis62,
    /// Redis 8.0.6 with TLS; only where its archive is (see `tests/setup`).
    Redis80,
    /// Valkey 8.0.1 with TLS; only where Debian's backports are.
    Valkey80,
    /// Valkey 9.0.0, without TLS.
    Valkey90,
    /// Valkey 9.1.2, without TLS.
    Valkey91,
    /// Valkey 9.1.2 with TLS; only where its archive is.
    Valkey91Tls,
}

impl Server {
    /// Every server, oldest first.
    pub const ALL: [Self; 9] = [
        Self::Redis50,
        Self::Redis60,
        Self::Redis62,
        Self::Debian,
        Self::Redis80,
        Self::Valkey80,
        Self::Valkey90,
        Self::Valkey91,
        Self::Valkey91Tls,
    ];

    /// Its program, when it is there.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        let file = match self {
            Self::Debian => return enter::find("redis-server"),
            Self::Redis50 => "redis-5.0/redis-server",
            Self::Redis60 => "redis-6.0/redis-server",
            Self::Redis62 => "redis-6.2/redis-server",
            Self::Redis80 => "redis-8.0/redis-server",
            Self::Valkey80 => "valkey-8.0/valkey-server",
            Self::Valkey90 => "valkey-9.0/valkey-server",
            Self::Valkey91 => "valkey-9.1/valkey-server",
            Self::Valkey91Tls => "valkey-9.1-tls/valkey-server",
        };
        Some(servers().join(file)).filter(|program| program.is_file())
    }

    /// Whether `tests/setup` can have it anywhere, so that `REDISDOC_LAB=require` insists.
    const fn promised(self) -> bool {
        !matches!(self, Self::Redis80 | Self::Valkey80 | Self::Valkey91Tls)
    }
}

/// Where `tests/setup` puts servers.
#[must_use]
pub fn servers() -> PathBuf {
    if let Some(dir) = std::env::var_os("REDISDOC_LAB_SERVERS") {
        return dir.into();
    }
    PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/redisdoc/servers")
}

/// A server that runs; killed when dropped.
pub struct Redis {
    /// The process.
    pub process: Running,
    /// Its working directory, empty at the start.
    pub dir: String,
}

impl Host {
    /// Starts Debian's server and waits until it listens.
    #[track_caller]
    pub fn redis(&self, args: &[&str]) -> Redis {
        self.redis_of(Server::Debian, args).expect("redis-server, without which there is no lab")
    }

    /// Starts a server of another version; `None`, loudly, when it is not there.
    ///
    /// # Panics
    /// When `REDISDOC_LAB=require` and it is one that `tests/setup` promises, or when it does not start.
    #[track_caller]
    pub fn redis_of(&self, server: Server, args: &[&str]) -> Option<Redis> {
        let Some(program) = server.program() else {
            let what = format!("{server:?} is not there (tests/setup)");
            if server.promised() {
                enter::missing(&what);
            } else {
                enter::skipped(&what);
            }
            return None;
        };
        let program = if server == Server::Debian { "redis-server" } else { program.to_str().expect("UTF-8") };
        let line: Vec<&str> = std::iter::once(program).chain(args.iter().copied()).collect();
        Some(self.start_redis(&line, None))
    }

    /// Starts Debian's server as another user; see `Lab::has_users`.
    #[track_caller]
    pub fn redis_as(&self, uid: u32, args: &[&str]) -> Redis {
        let line: Vec<&str> = std::iter::once("redis-server").chain(args.iter().copied()).collect();
        self.start_redis(&line, Some(uid))
    }

    /// Writes `/etc/redis/redis.conf` and starts Debian's server with it.
    #[track_caller]
    pub fn redis_conf(&self, conf: &str) -> Redis {
        self.file("/etc/redis/redis.conf", conf);
        self.redis(&["/etc/redis/redis.conf"])
    }

    /// Starts it in an empty directory of its own. One that is not to come up is started with `Host::command`.
    #[track_caller]
    fn start_redis(&self, argv: &[&str], user: Option<u32>) -> Redis {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = format!("/var/lib/redis/{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let made = dir.clone();
        self.inside(move || fs::create_dir_all(&made)).expect("its directory");
        self.mode(&dir, 0o777);
        let mut task = self.command(argv).dir(&dir);
        if let Some(uid) = user {
            task = task.user(uid);
        }
        let mut process = task.spawn();
        listens(&mut process);
        Redis { process, dir }
    }
}

impl Redis {
    /// Its number on its own host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it logged to stdout.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.said()
    }

    /// Stops it in its tracks: it neither accepts nor answers, but the kernel does both for it.
    pub fn freeze(&self) {
        self.process.signal(nix::sys::signal::Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.process.signal(nix::sys::signal::Signal::SIGCONT);
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Waits until it says so, or, when it logs elsewhere, until it listens and has stopped adding addresses.
#[track_caller]
fn listens(process: &mut Running) {
    let begun = Instant::now();
    let (mut before, mut same) = (0, 0);
    while same < 5 {
        assert!(process.alive() && begun.elapsed() < TO_LISTEN, "the server does not listen:\n{}", process.said());
        std::thread::sleep(Duration::from_millis(2));
        let now = listeners(process.lab_pid());
        if now > 0 && process.said().contains("eady to accept connections") {
            return;
        }
        same = if now > 0 && now == before { same + 1 } else { 0 };
        before = now;
    }
}

/// How many sockets of a process listen, of whatever family.
fn listeners(pid: u32) -> usize {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let held: HashSet<String> = descriptors
        .flatten()
        .filter_map(|entry| {
            fs::read_link(entry.path()).ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    [("tcp", 3, "0A", 9), ("tcp6", 3, "0A", 9), ("unix", 3, "00010000", 6)]
        .into_iter()
        .flat_map(|(table, state, listening, inode)| {
            let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
            let inodes: Vec<String> = text
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>())
                .filter(|row| row.get(state) == Some(&listening))
                .filter_map(|row| row.get(inode).map(|inode| (*inode).to_owned()))
                .collect();
            inodes
        })
        .filter(|inode| held.contains(inode))
        .count()
}
