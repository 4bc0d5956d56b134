//! What a healthy check of this machine's own server costs when the machine is crowded: beside 20,000 processes, beside
//! 100,000 sockets, beside 20,000 listeners. Every crowd is a world of its own (PID, network and mount namespace) with its
//! own server. A round measures each world once, so that noise meets all alike, and what is compared between worlds is the
//! ratio to `redis-cli ping` in the same world. The listeners come last, alone: the kernel has one table of listeners for
//! all network namespaces, so the quiet world would be as slow as theirs.
//!
//! `cargo bench --bench crowd` needs redis-server, redis-cli and unshare on the PATH, some 4 GB of memory, and a minute.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures the machine and says what it saw"
)]

use std::env;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use redisdoc::probe::host::{process, socket};

/// Rounds, each of one run of every program in every world.
const ROUNDS: usize = 100;
/// Rounds before them, which are not counted.
const WARM: usize = 10;
/// The goal: a crowd may make a check take this many times what it takes in the quiet world.
const MOST_TIME: f64 = 2.0;
const PROCESSES: usize = 20_000;
const SOCKETS: usize = 100_000;
/// Fewer: a dump of `sock_diag` looks at every listener of the kernel, for each family. 20,000 add 1.3 ms to a check;
/// 105,000 were measured to add 11 ms, and 6 ms to one in another network namespace.
const LISTENERS: usize = 20_000;
/// What one process holds of them; below the limit that most machines set.
const HOLDS: usize = 10_000;
/// The variables that make this program a world, or a process in one.
const WORLD: &str = "REDISDOC_BENCH_WORLD";
const HOLDER: &str = "REDISDOC_BENCH_HOLDER";
const PORT: &str = "6379";

/// What one round brought of one world, in nanoseconds.
type Times = [u64; 4];
const WHAT: [&str; 4] = ["redisdoc check", "redis-cli ping", "socket::gather", "process::gather"];

fn main() {
    if let Ok(kind) = env::var(HOLDER) {
        return hold(&kind);
    }
    if let Ok(name) = env::var(WORLD) {
        return world(&name);
    }
    let mut rows = measure(&["quiet", "processes", "sockets"]);
    rows.extend(measure(&["listeners"]));
    let compared: Vec<f64> = rows.iter().map(|(_, times)| ratio(times[0], times[1])).collect();
    for (at, what) in WHAT.iter().enumerate() {
        println!("{what}");
        for (holds, times) in &rows {
            println!("  {holds:<44} {:8.3} ms  × {:.2}", millis(times[at]), ratio(times[at], rows[0].1[at]));
        }
    }
    let worst = compared.iter().map(|of_ping| of_ping / compared[0]).fold(0.0, f64::max);
    println!("check / ping: {compared:.2?}, at worst {worst:.2} times the quiet one (goal: at most {MOST_TIME})");
    assert!(worst <= MOST_TIME, "a crowd makes a healthy check take too long");
}

/// Makes these worlds, measures them in turn, and ends them: what each holds, and its medians.
fn measure(names: &[&str]) -> Vec<(String, Times)> {
    let mut worlds: Vec<World> = names.iter().map(|name| World::start(name)).collect();
    for round in 0..ROUNDS + WARM {
        for world in &mut worlds {
            let times = world.round();
            if round >= WARM {
                world.times.push(times);
            }
        }
    }
    worlds.iter().map(|world| (world.holds.clone(), world.medians())).collect()
}

#[expect(clippy::cast_precision_loss, reason = "times of less than a day")]
fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn ratio(one: u64, other: u64) -> f64 {
    millis(one) / millis(other)
}

/// A world, as this program sees it from outside.
struct World {
    child: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
    holds: String,
    times: Vec<Times>,
}

impl World {
    fn start(name: &str) -> Self {
        let mut command = Command::new("unshare");
        // In a user namespace of its own root may not raise limits.
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
        let command = command.arg(env::current_exe().unwrap()).env(WORLD, name);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare is installed");
        let (ask, told) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut world = Self { child, ask, told, holds: String::new(), times: Vec::new() };
        world.holds = world.line();
        println!("ready: {}", world.holds);
        world
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.told.read_line(&mut line).expect("the world answers");
        assert!(!line.is_empty(), "the world has ended");
        line.trim().to_owned()
    }

    fn round(&mut self) -> Times {
        self.ask.write_all(b"\n").expect("the world listens");
        let line = self.line();
        let times: Vec<u64> = line.split(' ').map(|ns| ns.parse().expect("a number")).collect();
        times.try_into().expect("one for each")
    }

    fn medians(&self) -> Times {
        std::array::from_fn(|at| {
            let mut all: Vec<u64> = self.times.iter().map(|times| times[at]).collect();
            all.sort_unstable();
            all[all.len() / 2]
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Its first process ends with `unshare`, and everything in it with that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Inside: starts a server and the crowd, then measures whenever it is asked to.
fn world(name: &str) {
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.is_ok_and(|status| status.success()), "loopback");
    let server = server();
    let (_crowd, holds) = match name {
        "processes" => processes(),
        "sockets" | "listeners" => sockets(name),
        _ => (Vec::new(), "quiet".to_owned()),
    };
    println!("{holds}");
    let ours = [env!("CARGO_BIN_EXE_redisdoc"), "check", "-h", "127.0.0.1", "-p", PORT];
    let theirs = ["redis-cli", "-h", "127.0.0.1", "-p", PORT, "ping"];
    for line in std::io::stdin().lines() {
        if line.is_err() {
            break;
        }
        let mut answer = format!("{} {}", time(|| run(&ours)), time(|| run(&theirs)));
        let port = PORT.parse().ok();
        let mut seen = None;
        let _ = write!(answer, " {}", time(|| seen = Some(socket::gather(port, false))));
        let mut sockets = seen.expect("it was gathered");
        let mut processes = None;
        let _ = write!(answer, " {}", time(|| processes = Some(process::gather(&mut sockets, Some(server), false))));
        let processes = processes.expect("they were gathered");
        let is_there = processes.seen().is_some_and(|seen| seen.servers.first().is_some_and(|one| one.pid == server));
        assert!(is_there, "the server was not seen: {processes:?}");
        println!("{answer}");
    }
}

fn time(work: impl FnOnce()) -> u128 {
    let began = Instant::now();
    work();
    began.elapsed().as_nanos()
}

fn run(command: &[&str]) {
    let status = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.expect("it can be started").success(), "{command:?} failed");
}

/// The number of a server that listens. It ends with its world.
#[expect(clippy::zombie_processes, reason = "the world's first process is its parent, and ends with it")]
fn server() -> u32 {
    let mut command = Command::new("redis-server");
    command.args(["--port", PORT, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let child = command.current_dir(env::temp_dir()).stdout(Stdio::null()).spawn().expect("redis-server is installed");
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", 6379)).is_err() {
        assert!(Instant::now() < deadline, "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.id()
}

/// As many sleeping processes as may be, of shells that fork: that needs less memory than as many programs.
fn processes() -> (Vec<Child>, String) {
    let line = "exec 3<&0; i=0; while [ $i -lt 500 ]; do (read x <&3) & i=$((i+1)); done 2>/dev/null; echo; wait";
    let mut shells = Vec::new();
    for _ in 0..PROCESSES / 500 {
        let shell = Command::new("sh").args(["-c", line]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut shell) = shell else { break };
        let mut told = String::new();
        let _ = BufReader::new(shell.stdout.take().unwrap()).read_line(&mut told);
        shells.push(shell);
    }
    let there = std::fs::read_dir("/proc").unwrap().flatten();
    let count =
        there.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok())).count();
    (shells, format!("beside {count} processes (wanted: {PROCESSES})"))
}

/// As many sockets as may be, held by several processes.
fn sockets(kind: &str) -> (Vec<Child>, String) {
    let (mut holders, mut count) = (Vec::new(), 0);
    let wanted = if kind == "listeners" { LISTENERS } else { SOCKETS };
    for number in 0..wanted.div_ceil(HOLDS) {
        let mut command = Command::new(env::current_exe().unwrap());
        command.env_remove(WORLD).env(HOLDER, format!("{kind} {number}"));
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a holder");
        let mut told = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut told).expect("it tells");
        count += told.trim().parse::<usize>().unwrap_or(0);
        holders.push(holder);
    }
    (holders, format!("beside {count} {kind} (wanted: {wanted})"))
}

/// Opens sockets until there are enough or no more may be, says how many there are, and keeps them.
fn hold(kind: &str) {
    let (kind, number) = kind.split_once(' ').expect("a kind and a number");
    let number: u8 = number.parse().expect("a number");
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let held = if kind == "listeners" { listeners(number) } else { mixed(number) };
    println!("{}", held.len());
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn listeners(number: u8) -> Vec<Box<dyn std::any::Any>> {
    let ports = 10_000..10_000 + u16::try_from(HOLDS).unwrap();
    let listen = |port| TcpListener::bind(SocketAddr::from(([127, 7, number, 1], port)));
    ports.map_while(|port| Some(Box::new(listen(port).ok()?) as _)).collect()
}

/// A third each of connections over loopback, UDP sockets and unix sockets.
fn mixed(number: u8) -> Vec<Box<dyn std::any::Any>> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 8, number, 1], 10_000))).expect("a port");
    let address = listener.local_addr().unwrap();
    let mut held: Vec<Box<dyn std::any::Any>> = Vec::new();
    for _ in 0..HOLDS / 6 {
        let Ok(there) = TcpStream::connect(address) else { break };
        let Ok(here) = listener.accept() else { break };
        held.extend([Box::new(there) as Box<dyn std::any::Any>, Box::new(here)]);
        let bind = || UdpSocket::bind(SocketAddr::from(([127, 8, number, 1], 0)));
        let (Ok(one), Ok(other)) = (bind(), bind()) else { break };
        held.extend([Box::new(one) as Box<dyn std::any::Any>, Box::new(other)]);
        let Ok((one, other)) = UnixStream::pair() else { break };
        held.extend([Box::new(one) as Box<dyn std::any::Any>, Box::new(other)]);
    }
    held.push(Box::new(listener));
    held
}
