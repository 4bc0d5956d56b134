//! Other programs: run without a shell, with a bound on what they print and a deadline, and gone when that is over.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{AccessFlags, Pid, eaccess};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::{clock, environment, files};

/// Where administrators' programs are: the `PATH` of an ordinary user often lacks them.
const ADMIN: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];
/// How much may be printed: a machine with ten thousand rules prints a quarter of it.
const MOST_OUTPUT: usize = 8 << 20;
/// How much may be complained.
const MOST_COMPLAINTS: usize = 64 << 10;
/// How long a pipe may stay open after its program has ended: a child of it keeps it, and will say nothing for it.
const LINGER: Duration = Duration::from_millis(50);
/// How long a killed process may take to be gone.
const BURIAL: Duration = Duration::from_millis(200);

/// How a program fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ended by itself.
    Ended(Ended),
    /// There is no such program.
    NotFound,
    /// It may not be executed, or is not fit to be.
    Denied(String),
    /// It had not ended in time, and was killed.
    TimedOut,
    /// It printed without end, and was killed.
    TooMuch,
}

/// What a program left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: Vec<u8>,
}

/// Where a program is: on the `PATH`, or where administrators' programs are.
pub fn find(program: &str) -> Option<String> {
    let path = environment::variable("PATH").unwrap_or_default();
    // A relative entry would run whatever lies in the folder that we happen to be in.
    let folders = path.split(':').filter(|folder| folder.starts_with('/')).chain(ADMIN);
    folders.map(|folder| format!("{folder}/{program}")).find(|file| is_program(file))
}

fn is_program(file: &str) -> bool {
    eaccess(file, AccessFlags::X_OK).is_ok() && files::meta(file).is_some_and(|meta| meta.kind == "file")
}

/// Runs a program until `deadline`: without a shell, in English, with nothing to read and nothing of our environment.
pub async fn run(program: &str, args: &[&str], deadline: Instant) -> Outcome {
    let Some(file) = find(program) else { return Outcome::NotFound };
    let mut child = match start(&file, args) {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Outcome::NotFound,
        Err(error) => return Outcome::Denied(error.to_string()),
    };
    let group = Group::of(&child);
    let mut output = Output::default();
    let end = clock::until(deadline, output.of(&mut child)).await;
    drop(group);
    // Its exit must be asked for, or it stays as a zombie until we end.
    let _ = clock::until(clock::now() + BURIAL, child.wait()).await;
    match end {
        Some(End::Gone(status)) => output.ended(status),
        Some(End::TooMuch) => Outcome::TooMuch,
        None => Outcome::TimedOut,
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts programs")]
fn start(file: &str, args: &[&str]) -> io::Result<Child> {
    let mut command = std::process::Command::new(file);
    command.args(args).env_clear().env("LC_ALL", "C").env("PATH", ADMIN.join(":") + ":/usr/bin:/bin").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = Command::from(command);
    command.process_group(0).kill_on_drop(true).spawn()
}

/// The process group of a program: whoever is in it is killed when the run is over, or called off.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody is left in it where all went well.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// How it came to its end.
enum End {
    /// The program is gone.
    Gone(ExitStatus),
    /// It printed more than anybody wants to read.
    TooMuch,
}

/// What was read so far.
#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    /// Reads both ends at once: a program that waits for one of them to be read never closes the other.
    async fn of(&mut self, child: &mut Child) -> End {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reading = async {
            let one = read(stdout, &mut self.stdout, MOST_OUTPUT);
            let other = read(stderr, &mut self.stderr, MOST_COMPLAINTS);
            // The first that has too much ends both.
            tokio::try_join!(one, other).is_ok()
        };
        tokio::pin!(reading);
        let status = tokio::select! {
            // What was printed comes first: at the end of both, the program is asked how it ended.
            biased;
            all = &mut reading => if all { child.wait().await } else { return End::TooMuch },
            status = child.wait() => match clock::until(clock::now() + LINGER, &mut reading).await {
                Some(false) => return End::TooMuch,
                Some(true) | None => status,
            },
        };
        // wait(2) fails only where somebody else has asked already, and nobody does.
        End::Gone(status.unwrap_or_default())
    }

    fn ended(self, status: ExitStatus) -> Outcome {
        let Self { stdout, stderr } = self;
        Outcome::Ended(Ended { code: status.code(), signal: status.signal(), stdout, stderr })
    }
}

/// Reads to the end; an error if there is more than `most`.
async fn read(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>, most: usize) -> Result<(), ()> {
    if let Some(from) = from {
        // An error of read(2) on a pipe is its end as well.
        let _ = from.take(most as u64 + 1).read_to_end(to).await;
    }
    if to.len() <= most { Ok(()) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> (Outcome, Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let began = clock::now();
        let outcome = runtime.block_on(run("sh", &["-c", script], began + Duration::from_millis(700)));
        (outcome, began.elapsed())
    }

    fn printed(script: &str) -> Ended {
        match sh(script).0 {
            Outcome::Ended(ended) => ended,
            other => panic!("{script}: {other:?}"),
        }
    }

    /// Whether a process stays that has `mark` among its arguments: those that were killed take a moment to be gone.
    fn stays(mark: &str) -> bool {
        let argv = |pid: &u32| super::super::process::read(*pid, "cmdline").unwrap_or_default();
        let runs = || {
            let pids = super::super::process::pids(1 << 16).unwrap();
            pids.iter().any(|pid| argv(pid).split(|byte| *byte == 0).any(|word| word == mark.as_bytes()))
        };
        (0..100).all(|_| {
            std::thread::sleep(Duration::from_millis(20));
            runs()
        })
    }

    #[test]
    fn tells_how_a_program_ended() {
        let ended = printed("echo one; echo two >&2; exit 3");
        assert_eq!((ended.code, ended.signal), (Some(3), None));
        assert_eq!((ended.stdout, ended.stderr), (b"one\n".to_vec(), b"two\n".to_vec()));
        let ended = printed("kill -9 $$");
        assert_eq!((ended.code, ended.signal), (None, Some(9)));
        // One that closes what it prints to before it ends is waited for.
        assert_eq!(printed("exec >&- 2>&-; sleep 0.1; exit 4").code, Some(4));
        // Both ends are read at once.
        let ended = printed("yes x | head -c 60000 >&2; yes y | head -c 3000000");
        assert_eq!((ended.stdout.len(), ended.stderr.len()), (3_000_000, 60_000));
    }

    #[test]
    fn gives_nothing_of_ours_to_it() {
        let ended = printed("cat; pwd; set | grep -c -e ^HOME= -e ^CARGO -e ^LD_ ; echo $LC_ALL");
        assert_eq!(String::from_utf8(ended.stdout).unwrap(), "/\n0\nC\n");
    }

    #[test]
    fn ends_what_does_not_end() {
        for (mark, script) in [
            ("31.1", "sleep 31.1"),
            ("31.2", "trap '' TERM INT HUP; sleep 31.2; sleep 31.2"),
            ("31.3", "exec >&- 2>&-; sleep 31.3"),
        ] {
            let (outcome, took) = sh(script);
            assert_eq!(outcome, Outcome::TimedOut, "{script}");
            assert!(took < Duration::from_secs(2), "{script} took {took:?}");
            assert!(!stays(mark), "{script}");
        }
        for script in ["yes", "yes >&2"] {
            assert_eq!(sh(script).0, Outcome::TooMuch, "{script}");
        }
    }

    #[test]
    fn a_child_that_keeps_the_pipe_holds_nobody_up() {
        let ended = printed("sleep 32.1 & echo done");
        assert_eq!((ended.code, ended.stdout), (Some(0), b"done\n".to_vec()));
        assert!(!stays("32.1"));
    }

    #[test]
    fn finds_programs() {
        assert!(find("sh").is_some_and(|file| file.starts_with('/')));
        assert_eq!(find("no-such-program"), None);
    }
}
