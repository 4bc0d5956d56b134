//! What a healthy check costs beside `redis-cli ping`: both against one server, in one run, in turn, so that the noise of
//! the machine meets both alike. Prints medians and ratios, and fails where a goal is missed.
//!
//! `cargo bench --bench healthy` needs redis-server and redis-cli on the PATH; everything stays on loopback.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures the machine and says what it saw"
)]

use std::env;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// Rounds, each of one run of every program.
const ROUNDS: usize = 300;
/// The goal: the wall time of a whole check on the server's own machine over that of redis-cli ping.
const MOST_TIME: f64 = 1.3;
/// The same of what can be seen over the network alone.
const MOST_NETWORK_TIME: f64 = 0.8;
/// What can be seen over the network.
const NETWORK: &str = "target,dns,tcp,ping,auth,state";
/// The variable that makes this program measure the memory of one command.
const MEASURE: &str = "REDISDOC_BENCH_MEASURE";

fn main() {
    if env::var_os(MEASURE).is_some() {
        return measure_memory();
    }
    let server = Server::start();
    let port = server.port.to_string();
    let ours = [env!("CARGO_BIN_EXE_redisdoc"), "check", "-h", "127.0.0.1", "-p", &port];
    let network = [&ours[..], &["--only", NETWORK]].concat();
    let theirs = ["redis-cli", "-h", "127.0.0.1", "-p", &port, "ping"];
    for _ in 0..20 {
        let _ = (time(&ours), time(&network), time(&theirs));
    }
    let (mut our_times, mut network_times, mut their_times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_times.push(time(&ours));
        network_times.push(time(&network));
        their_times.push(time(&theirs));
    }
    let (our_time, network_time, their_time) = (median(our_times), median(network_times), median(their_times));
    let (our_memory, their_memory) = (memory(&ours), memory(&theirs));
    // Before the goals are asserted: a panic aborts here, and would leave the server behind.
    drop(server);
    let ratio = |time: Duration| time.as_secs_f64() / their_time.as_secs_f64();
    println!("redisdoc check  {:7.3} ms  {our_memory} KiB", our_time.as_secs_f64() * 1e3);
    println!("its network part{:7.3} ms", network_time.as_secs_f64() * 1e3);
    println!("redis-cli ping  {:7.3} ms  {their_memory} KiB", their_time.as_secs_f64() * 1e3);
    println!("ratio, whole    {:7.3}     (goal: at most {MOST_TIME})", ratio(our_time));
    println!("ratio, network  {:7.3}     (goal: at most {MOST_NETWORK_TIME})", ratio(network_time));
    assert!(ratio(our_time) <= MOST_TIME, "a healthy check takes too long");
    assert!(ratio(network_time) <= MOST_NETWORK_TIME, "the network part of a healthy check takes too long");
    assert!(our_memory <= their_memory, "a healthy check takes too much memory");
}

fn time(command: &[&str]) -> Duration {
    let began = Instant::now();
    run(command);
    began.elapsed()
}

fn run(command: &[&str]) {
    let status = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.expect("it can be started").success(), "{command:?} failed");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The peak memory of a command in KiB, measured by a small process of its own: a child's peak begins at its parent's.
fn memory(command: &[&str]) -> i64 {
    let output = Command::new(env::current_exe().unwrap()).args(command).env(MEASURE, "1").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("a number of KiB")
}

fn measure_memory() {
    let command: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    run(&command.iter().map(String::as_str).collect::<Vec<_>>());
    println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss());
}

/// A server on a free port of loopback, ended with the benchmark.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let child =
            command.current_dir(env::temp_dir()).stdout(Stdio::null()).spawn().expect("redis-server is installed");
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
