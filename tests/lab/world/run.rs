//! Programs on a host: started there, with a deadline, and what they said.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::Host;

/// Where programs are on a host.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that is about to run on a host.
pub struct Task {
    host: Host,
    command: Command,
    shown: String,
    stdin: Vec<u8>,
    deadline: Duration,
}

/// A program that runs; killed when dropped.
pub struct Running {
    host: Host,
    child: Child,
    shown: String,
    out: File,
    err: File,
    begun: Instant,
}

/// What came of a program.
#[derive(Debug)]
pub struct Ran {
    /// The command, for messages.
    pub shown: String,
    /// Its exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// Whether it was killed because its time was up.
    pub timed_out: bool,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// From start to end.
    pub wall: Duration,
}

impl Host {
    /// A program to be run here; the environment is empty but for `PATH`, `HOME` and `LANG`.
    ///
    /// # Panics
    /// When `argv` is empty.
    #[must_use]
    pub fn command(&self, argv: &[&str]) -> Task {
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]).env_clear().env("PATH", PATH).env("HOME", "/root").env("LANG", "C.UTF-8");
        let shown = format!("{}$ {}", self.name(), argv.join(" "));
        Task { host: self.clone(), command, shown, stdin: Vec::new(), deadline: Duration::from_secs(20) }
    }

    /// Runs a program here to its end, at most 20 seconds.
    pub fn run(&self, argv: &[&str]) -> Ran {
        self.command(argv).run()
    }

    /// Runs a line of shell here to its end and asserts that it succeeded.
    #[track_caller]
    pub fn sh(&self, line: &str) -> Ran {
        self.run(&["sh", "-c", line]).ok()
    }
}

impl Task {
    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// Gives it something to read; otherwise its stdin is at its end.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs it as another user (and group) than root; see `Lab::has_users`.
    #[must_use]
    pub fn user(mut self, uid: u32) -> Self {
        self.command.uid(uid).gid(uid);
        self
    }

    /// Runs it in a directory.
    #[must_use]
    pub fn dir(mut self, dir: &str) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Kills it after this long instead of 20 seconds.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts it and returns at once.
    ///
    /// # Panics
    /// When there is no such program.
    #[must_use]
    #[track_caller]
    pub fn spawn(self) -> Running {
        // Files, not pipes: a program that leaves a child behind holds a pipe open, and nobody has to read along.
        let [mut input, out, err] = std::array::from_fn(|_| tempfile::tempfile().expect("a temporary file"));
        input.write_all(&self.stdin).and_then(|()| input.rewind()).expect("its stdin");
        let mut command = self.command;
        command.stdin(input).stdout(share(&out)).stderr(share(&err)).process_group(0);
        let begun = Instant::now();
        let child = self.host.inside(move || command.spawn()).unwrap_or_else(|error| panic!("{}: {error}", self.shown));
        Running { host: self.host, child, shown: self.shown, out, err, begun }
    }

    /// Starts it and waits for its end.
    #[must_use]
    #[track_caller]
    pub fn run(self) -> Ran {
        let deadline = self.deadline;
        self.spawn().wait(deadline)
    }
}

impl Running {
    /// The host it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its number on its own host.
    ///
    /// # Panics
    /// When it has been reaped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it exists");
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("NSpid");
        line.split_whitespace().last().and_then(|pid| pid.parse().ok()).expect("a pid")
    }

    /// Its number as the lab counts.
    #[must_use]
    pub fn lab_pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has been reaped.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.unix_pid(), signal).expect("kill");
    }

    /// What it has written so far, to stdout and then to stderr.
    #[must_use]
    pub fn said(&self) -> String {
        text(&self.out) + &text(&self.err)
    }

    /// Waits for its end, at most so long, and kills it then.
    #[must_use]
    pub fn wait(mut self, deadline: Duration) -> Ran {
        let mut pause = Duration::from_micros(200);
        let (status, timed_out) = loop {
            if let Some(status) = self.child.try_wait().expect("waiting") {
                break (status, false);
            }
            if self.begun.elapsed() > deadline {
                break (self.kill(), true);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(4));
        };
        let wall = self.begun.elapsed();
        Ran {
            shown: std::mem::take(&mut self.shown),
            code: status.code(),
            signal: status.signal(),
            timed_out,
            stdout: text(&self.out),
            stderr: text(&self.err),
            wall,
        }
    }

    /// Kills it and what it started, and waits until it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        if self.alive() {
            // Its whole group: a client that gave up may have left a tool hanging.
            let _ = nix::sys::signal::killpg(self.unix_pid(), nix::sys::signal::Signal::SIGKILL);
        }
        self.child.wait().expect("waiting")
    }

    fn unix_pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().try_into().expect("a pid"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Ran {
    /// Asserts that it succeeded.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.code == Some(0), "{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = match (self.timed_out, self.code, self.signal) {
            (true, ..) => "killed at its deadline".to_owned(),
            (_, Some(code), _) => format!("exit {code}"),
            (.., signal) => format!("signal {signal:?}"),
        };
        writeln!(
            f,
            "{}\n[{how} after {:?}]\n--- stdout\n{}--- stderr\n{}",
            self.shown, self.wall, self.stdout, self.stderr
        )
    }
}

fn share(file: &File) -> Stdio {
    file.try_clone().expect("a descriptor").into()
}

/// Reads from the start without moving the place where the program writes.
fn text(file: &File) -> String {
    use std::os::unix::fs::FileExt as _;
    let length = file.metadata().map_or(0, |meta| meta.len());
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0).unwrap_or(0);
    bytes.truncate(read);
    String::from_utf8_lossy(&bytes).into_owned()
}
