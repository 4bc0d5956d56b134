//! One host: a thread that lives in namespaces of its own and does there what it is asked to.
//!
//! Whatever the thread opens, binds, writes or spawns is of that host; a socket bound there stays there, so other
//! threads can serve it. `unshare` in a thread costs 2 ms, where `nsenter` for every command costs a process.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::root;

type Job = Box<dyn FnOnce() + Send>;

/// A machine of the lab; copies are the same machine.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    jobs: Mutex<Sender<Job>>,
    init: Child,
}

impl Host {
    /// A host with nothing but loopback; `Lab::host` is how scenarios ask for one.
    pub(super) fn start(name: &str) -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (told, ready) = mpsc::channel();
        let hostname = name.to_owned();
        thread::Builder::new()
            .name(format!("host {name}"))
            .spawn(move || {
                let _ = told.send(boot(&hostname));
                for job in todo {
                    job();
                }
            })
            .expect("a thread");
        let init = ready.recv().expect("the host to boot (its panic is above)");
        Self { inner: Arc::new(Inner { name: name.to_owned(), jobs: Mutex::new(jobs), init }) }
    }

    /// Its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The process that keeps its namespaces, as the lab numbers it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.init.id()
    }

    /// Does something on this host: files, sockets and processes are its own. Threads cannot be started there.
    ///
    /// # Panics
    /// When `job` does.
    pub fn inside<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (told, answer) = mpsc::channel();
        let job: Job = Box::new(move || {
            let _ = told.send(catch_unwind(AssertUnwindSafe(job)));
        });
        self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner).send(job).expect("the host is up");
        answer.recv().expect("the host answers").unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Writes a file, making its directories.
    pub fn file(&self, path: &str, text: impl Into<Vec<u8>>) -> &Self {
        let (path, text) = (path.to_owned(), text.into());
        self.inside(move || {
            let parent = std::path::Path::new(&path).parent().expect("an absolute path");
            std::fs::create_dir_all(parent).expect("its directory");
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("writing {path}: {error}"));
        });
        self
    }

    /// Writes a file that can be executed: a stand-in for a tool, best in `/usr/local/bin`, which may always be written.
    pub fn program(&self, path: &str, text: &str) -> &Self {
        self.file(path, text).mode(path, 0o755)
    }

    /// Changes a file's permissions.
    pub fn mode(&self, path: &str, mode: u32) -> &Self {
        let path = path.to_owned();
        self.inside(move || root::set_mode(&path, mode));
        self
    }

    /// Reads a file.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        let path = path.to_owned();
        let bytes = self.inside(move || std::fs::read(&path).unwrap_or_else(|error| panic!("reading {path}: {error}")));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Adds lines to `/etc/hosts`, which names localhost.
    pub fn hosts_file(&self, lines: &str) -> &Self {
        let text = self.read("/etc/hosts") + lines;
        self.file("/etc/hosts", text)
    }

    /// Writes `/etc/resolv.conf`, which is empty.
    pub fn resolv_conf(&self, text: &str) -> &Self {
        self.file("/etc/resolv.conf", text)
    }

    /// Sets a kernel parameter of this host, like `net.ipv4.ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> &Self {
        let (path, value) = (format!("/proc/sys/{}", key.replace('.', "/")), value.to_owned());
        self.inside(move || {
            std::fs::write(&path, &value).unwrap_or_else(|error| panic!("{path} = {value}: {error}"));
        });
        self
    }
}

/// On the host's own thread: namespaces, a root, and an init that reaps what is orphaned.
fn boot(name: &str) -> Child {
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .expect("unshare");
    root::build();
    // Last: the first process started after this is the host's init, and the host ends with it.
    unshare(CloneFlags::CLONE_NEWPID).expect("unshare");
    nix::unistd::sethostname(name).expect("naming the host");
    let init = init();
    for scope in ["all", "default"] {
        // An address is of no use for a second otherwise: duplicate address detection. Absent where IPv6 is.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/accept_dad"), "0");
    }
    init
}

fn init() -> Child {
    use std::io::Read as _;
    let mut init = Command::new("sh")
        .args([
            "-c",
            "trap '' CHLD; mount -t proc proc /proc && ip link set lo up && echo up && exec sleep infinity >&-",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh");
    let mut said = String::new();
    init.stdout.take().expect("its stdout").read_to_string(&mut said).expect("reading");
    assert_eq!(said, "up\n", "the host did not come up");
    init
}
