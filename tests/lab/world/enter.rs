//! The door of the lab: how a test gets into namespaces of its own, and what happens where it cannot.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Set in the process inside the namespaces: the name of the one test it is to run.
const INSIDE: &str = "REDISDOC_LAB_INSIDE";
/// Printed by the process inside, so that the one outside knows the test was really found and entered.
const ENTERED: &str = "lab: entered";
/// Lines that start so are passed on to the reader even when the test passes.
const SKIPPED: &str = "lab: SKIPPED";
/// What everything inside may take; a scenario that needs more is broken.
const LONGEST: Duration = Duration::from_secs(180);
/// Beside `--user`: the namespaces of the lab as a whole.
const NAMESPACES: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];
/// What the lab cannot do without.
const TOOLS: [&str; 8] = ["unshare", "mount", "ip", "nft", "sh", "sleep", "redis-server", "redis-cli"];

/// A lab of this test's own, already entered.
pub struct Lab {
    /// Keeps `Lab` from being made anywhere but here.
    _door: (),
}

/// What `REDISDOC_LAB` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Auto,
    Require,
    Skip,
}

impl Lab {
    /// Runs the calling test inside a lab.
    ///
    /// Outside, this re-executes the test in fresh namespaces, asserts that it passed there, and returns `None`.
    /// Inside, it returns the lab. Where no lab can be made it says so on stderr, or panics when it is required.
    #[must_use]
    #[track_caller]
    pub fn enter() -> Option<Self> {
        if std::env::var_os(INSIDE).is_some() {
            say(ENTERED);
            return Some(Self { _door: () });
        }
        let name = test_name();
        if mode() == Mode::Skip {
            say(&format!("{SKIPPED} {name}: REDISDOC_LAB=skip"));
            return None;
        }
        if let Err(why) = possible() {
            missing(&format!("{name}: {why}"));
            return None;
        }
        pass_inside(&name);
        None
    }

    /// Whether other users than root exist inside, so that `Task::user` works; only where the tests run as root.
    #[must_use]
    #[expect(clippy::unused_self, reason = "outside a lab the answer would be about the machine")]
    pub fn has_users(&self) -> bool {
        fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.trim_end().ends_with(" 1"))
    }
}

/// Says loudly that something is not there and its test therefore proves nothing; panics when it is required.
///
/// # Panics
/// With `REDISDOC_LAB=require`.
#[track_caller]
pub fn missing(what: &str) {
    assert!(mode() != Mode::Require, "REDISDOC_LAB=require, but {what}");
    skipped(what);
}

/// Says loudly that something optional is not there.
pub fn skipped(what: &str) {
    say(&format!("{SKIPPED} {what}"));
}

fn mode() -> Mode {
    match std::env::var("REDISDOC_LAB").as_deref() {
        Err(_) | Ok("" | "auto") => Mode::Auto,
        Ok("require") => Mode::Require,
        Ok("skip") => Mode::Skip,
        Ok(other) => panic!("REDISDOC_LAB is auto, require or skip, not {other:?}"),
    }
}

/// Past the test runner, which swallows what `eprintln!` says when a test passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tried once a process: can this machine make a lab?
fn possible() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(try_namespaces).clone()
}

fn try_namespaces() -> Result<(), String> {
    let absent: Vec<&str> = TOOLS.into_iter().filter(|tool| find(tool).is_none()).collect();
    if !absent.is_empty() {
        return Err(format!("{} not installed (tests/setup installs them)", absent.join(", ")));
    }
    let tried = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .args(NAMESPACES)
        .args(["sh", "-c", "mount -t tmpfs lab /run && mount -t sysfs lab /sys && ip link set lo up"])
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    if tried.status.success() {
        return Ok(());
    }
    Err(format!("no namespaces here: {}", String::from_utf8_lossy(&tried.stderr).trim()))
}

/// Where a program is, on the `PATH` or where administrators' programs are.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = format!("{}:{}", std::env::var("PATH").unwrap_or_default(), super::run::PATH);
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The name of the calling test: that of its thread, or, where the runner gives it none, from the call stack.
fn test_name() -> String {
    match std::thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => name_from_stack().expect("the name of the test: run with --test-threads=2 or more"),
    }
}

/// With `--test-threads=1` and on one core libtest runs tests on the main thread, which has no telling name.
fn name_from_stack() -> Option<String> {
    let stack = std::backtrace::Backtrace::force_capture().to_string();
    let frames: Vec<&str> =
        stack.lines().filter_map(|line| line.trim().split_once(": ")).map(|(_, name)| name).collect();
    let door = frames.iter().rposition(|name| name.ends_with("Lab::enter"))?;
    let test = frames.get(door + 1)?;
    let (_crate, path) = test.trim_end_matches("::{{closure}}").split_once("::")?;
    Some(path.to_owned())
}

#[track_caller]
fn pass_inside(name: &str) {
    let mut log = tempfile::tempfile().expect("a temporary file");
    let mut child = start_inside(name, &log);
    let status = wait(&mut child);
    let mut said = String::new();
    log.rewind().and_then(|()| log.read_to_string(&mut said)).expect("what the test inside said");
    said.lines().filter(|line| line.starts_with(SKIPPED)).for_each(say);
    let passed = status.is_some_and(|status| status.success()) && said.contains(ENTERED);
    let how = status.map_or_else(|| format!("was killed after {LONGEST:?}"), |status| status.to_string());
    assert!(passed, "{name} inside the lab: {how}\n{said}");
}

/// Root maps every user, so that servers can run as nobody; everybody else maps only themselves, to root.
fn start_inside(name: &str, log: &File) -> Child {
    let rootful = nix::unistd::geteuid().is_root();
    let mut command = Command::new("unshare");
    if rootful {
        command.args(["--user", "sh", "-c", "read go && exec unshare \"$@\"", "sh"]);
    } else {
        command.args(["--user", "--map-root-user"]);
    }
    let mut child = command
        .args(NAMESPACES)
        .arg("--")
        .arg(std::env::current_exe().expect("this test's own program"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, name)
        .env_remove("RUST_TEST_THREADS")
        .stdin(Stdio::piped())
        .stdout(log.as_fd().try_clone_to_owned().expect("a descriptor"))
        .stderr(log.as_fd().try_clone_to_owned().expect("a descriptor"))
        .spawn()
        .expect("unshare");
    if rootful {
        map_users(child.id());
        child.stdin.as_mut().expect("its stdin").write_all(b"go\n").expect("unshare waits");
    }
    drop(child.stdin.take());
    child
}

/// util-linux maps more than one user only with `newuidmap`, which is often not there; the kernel lets root write the map.
fn map_users(pid: u32) {
    let ours = fs::read_link("/proc/self/ns/user").expect("/proc/self/ns/user");
    let begun = Instant::now();
    while fs::read_link(format!("/proc/{pid}/ns/user")).is_ok_and(|theirs| theirs == ours) {
        assert!(begun.elapsed() < Duration::from_secs(10), "unshare did not start");
        std::thread::sleep(Duration::from_micros(200));
    }
    for map in ["uid_map", "gid_map"] {
        let file = format!("/proc/{pid}/{map}");
        fs::write(&file, "0 0 65536\n").or_else(|_| fs::write(&file, "0 0 1\n")).expect("mapping root");
    }
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < LONGEST {
        if let Some(status) = child.try_wait().expect("waiting") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
