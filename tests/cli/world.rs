//! What the tests of the command line share: the program, a real server, and listeners that are none.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program under test.
pub const REDISDOC: &str = env!("CARGO_BIN_EXE_redisdoc");
/// Ten seconds more than redisdoc's own deadline: reaching it is a hang.
const HANGS: Duration = Duration::from_secs(30);
/// How long a server may take to answer; only a machine in trouble takes more than a tenth of a second.
const TO_ANSWER: Duration = Duration::from_secs(15);

/// A run of redisdoc that is about to begin.
pub struct Cli {
    command: Command,
    stdin: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` when a signal killed it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// From start to end.
    pub wall: Duration,
    /// The command, for messages.
    shown: String,
}

/// Redisdoc with these arguments, in an environment with nothing of ours.
pub fn redisdoc(args: &[&str]) -> Cli {
    by(REDISDOC, args)
}

/// Another program with these arguments, the same way.
pub fn by(program: &str, args: &[&str]) -> Cli {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(args).env_clear().env("PATH", path).env("HOME", "/nonexistent").env("LANG", "C.UTF-8");
    Cli { command, stdin: Vec::new() }
}

/// `redisdoc check` with these arguments.
pub fn check(args: &[&str]) -> Cli {
    let line: Vec<&str> = std::iter::once("check").chain(args.iter().copied()).collect();
    redisdoc(&line)
}

impl Cli {
    /// Sets a variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// Gives it something to read; otherwise its stdin is at its end.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs it in a directory.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// The bare command, for pipes and signals of the test's own.
    pub fn command(self) -> Command {
        self.command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Ran {
        let [mut input, out, err] = std::array::from_fn(|_| tempfile::tempfile().expect("a temporary file"));
        input.write_all(&self.stdin).and_then(|()| input.rewind()).expect("its stdin");
        let (mut command, shown) = (self.command, String::new());
        let shown = format!("{shown}{command:?}");
        let begun = Instant::now();
        let share = |file: &File| -> Stdio { file.try_clone().expect("a descriptor").into() };
        let mut child = command.stdin(input).stdout(share(&out)).stderr(share(&err)).spawn().expect("it starts");
        let status = wait(&mut child, HANGS);
        let wall = begun.elapsed();
        let ran = Ran { code: status.code(), stdout: text(out), stderr: text(err), wall, shown };
        assert!(status.signal() != Some(9), "it hangs\n{ran}");
        ran
    }
}

impl Ran {
    /// Asserts the exit code.
    #[track_caller]
    pub fn exit(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Asserts that stderr is empty.
    #[track_caller]
    pub fn quiet(self) -> Self {
        assert_eq!(self.stderr, "", "{self}");
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON: {error}\n{self}"))
    }

    /// Asserts that stdout and stderr together say something.
    #[track_caller]
    pub fn says(self, what: &str) -> Self {
        assert!(self.stdout.contains(what) || self.stderr.contains(what), "it does not say {what:?}\n{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, wall, shown } = self;
        writeln!(f, "{shown}\n[exit {code:?} after {wall:?}]\n--- stdout\n{stdout}--- stderr\n{stderr}")
    }
}

/// Waits for the end of a program, and kills it when it takes too long.
pub fn wait(child: &mut Child, patience: Duration) -> ExitStatus {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(status) = child.try_wait().expect("waiting") {
            return status;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().expect("waiting")
}

fn text(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("what it said");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A real server on a loopback port of its own; killed when dropped.
pub struct Redis {
    /// The port.
    pub port: String,
    /// Its unix socket.
    pub socket: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts redis-server; `None`, loudly, where there is none.
///
/// # Panics
/// Where there is none and `REDISDOC_LAB=require`, or where it does not start.
#[track_caller]
pub fn redis(args: &[&str]) -> Option<Redis> {
    let mode = std::env::var("REDISDOC_LAB").unwrap_or_default();
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|dir| dir.join("redis-server").is_file());
    if mode == "skip" || !found {
        assert!(mode != "require", "REDISDOC_LAB=require, but there is no redis-server");
        skipped("there is no redis-server, or REDISDOC_LAB=skip");
        return None;
    }
    // A free port may be taken by somebody else before the server has it.
    (0..5).find_map(|_| try_redis(args)).or_else(|| panic!("redis-server does not start"))
}

/// Says loudly that a test proves nothing here; past the test runner, which swallows what `eprintln!` says.
pub fn skipped(why: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "cli: SKIPPED {name}: {why}");
}

fn try_redis(args: &[&str]) -> Option<Redis> {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("redis.sock").to_str().expect("UTF-8").to_owned();
    let port = closed_port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--unixsocket", &socket]);
    command.args(["--dir", dir.path().to_str().expect("UTF-8")]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut redis = Redis { child: command.spawn().expect("redis-server"), port, socket, _dir: dir };
    let begun = Instant::now();
    // It makes its unix socket after it has its port, and only then answers.
    while !Path::new(&redis.socket).exists() || !answers(&redis.port) {
        if begun.elapsed() > TO_ANSWER || redis.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
    Some(redis)
}

fn answers(port: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(format!("127.0.0.1:{port}")) else { return false };
    let _ = stream.set_read_timeout(Some(TO_ANSWER));
    let mut byte = [0];
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").is_ok() && stream.read_exact(&mut byte).is_ok()
}

/// A port on which nobody listened a moment ago.
pub fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its port").port().to_string()
}

/// A listener on a port of its own that does this with every connection, until the test ends.
pub fn listener(converse: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its port").port().to_string();
    let converse = Arc::new(converse);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let converse = Arc::clone(&converse);
            thread::spawn(move || converse(stream));
        }
    });
    port
}

/// A listener that accepts, reads, and says nothing.
pub fn silent() -> String {
    listener(|mut stream| while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {})
}

/// A listener that answers every command with what `answer` makes of its words.
pub fn answering(answer: impl Fn(&[Vec<u8>]) -> Vec<u8> + Send + Sync + 'static) -> String {
    listener(move |mut stream| {
        let (mut unread, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            while let Some((words, length)) = command(&unread) {
                unread.drain(..length);
                if stream.write_all(&answer(&words)).is_err() {
                    return;
                }
            }
            match stream.read(&mut buffer) {
                Ok(length) if length > 0 => unread.extend(&buffer[..length]),
                _ => return,
            }
        }
    })
}

/// The first whole command of `bytes`, and its length.
fn command(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let number = |mark: u8, at: &mut usize| -> Option<usize> {
        let line = bytes.get(*at..)?;
        let end = line.windows(2).position(|pair| pair == b"\r\n")?;
        *at += end + 2;
        (line[0] == mark).then(|| std::str::from_utf8(&line[1..end]).ok()?.parse().ok())?
    };
    let count = number(b'*', &mut at)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let length = number(b'$', &mut at)?;
        words.push(bytes.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    (at <= bytes.len()).then_some((words, at))
}

/// A file with this text, in a directory that is removed with the returned guard.
pub fn file(name: &str, text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("writing");
    (dir, path)
}

/// Percent-encodes everything but letters and digits.
pub fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
