//! What a healthy check over TLS costs beside the least that any program can do, a handshake of rustls and PING, and beside
//! `redis-cli --tls ping`: against one server, each pair by itself and in turn, for who runs after redis-cli finds the caches of the
//! processor full of it. Prints medians and ratios, and fails where a goal is missed.
//!
//! `cargo bench --bench encrypted` needs redis-server and redis-cli with TLS on the PATH; everything stays on loopback.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures the machine and says what it saw"
)]

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Rounds, each of one run of both programs of a pair.
const ROUNDS: usize = 300;
/// The goal: the wall time of a check over TLS over that of a bare handshake and PING.
const MOST_OVER_BARE: f64 = 1.5;
/// The same over redis-cli's.
const MOST_OVER_CLI: f64 = 0.6;
/// What can be seen over the network.
const NETWORK: &str = "target,dns,tcp,tls,ping,auth,state";
/// The variable that makes this program the bare one.
const BARE: &str = "REDISDOC_BENCH_BARE";

fn main() {
    if let Ok(port) = env::var(BARE) {
        return shake_and_ping(port.parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (port, ca) = (server.port.to_string(), folder.path().join("ca.pem").display().to_string());
    let ours = [env!("CARGO_BIN_EXE_redisdoc"), "check", "-h", "127.0.0.1", "-p", &port, "--tls", "--cacert", &ca];
    let ours = [&ours[..], &["--only", NETWORK]].concat();
    let theirs = ["redis-cli", "-h", "127.0.0.1", "-p", &port, "--tls", "--cacert", &ca, "ping"];
    let bare = env::current_exe().unwrap().display().to_string();
    let env = [(BARE, port.as_str()), ("CA", ca.as_str())];
    let beside_bare = pair(|| time(&ours, &[]), || time(&[&bare], &env));
    let beside_cli = pair(|| time(&ours, &[]), || time(&theirs, &[]));
    // Before the goals are asserted: a panic aborts here, and would leave the server behind.
    drop(server);
    let ratios =
        [("rustls and PING", beside_bare, MOST_OVER_BARE), ("redis-cli --tls ping", beside_cli, MOST_OVER_CLI)];
    let met = ratios.map(|(other, [our_time, their_time], most)| {
        let ratio = our_time.as_secs_f64() / their_time.as_secs_f64();
        let [our_ms, their_ms] = [our_time, their_time].map(|time| time.as_secs_f64() * 1e3);
        println!("redisdoc check --tls {our_ms:.3} ms, {other} {their_ms:.3} ms: {ratio:.3} (goal: at most {most})");
        ratio <= most
    });
    assert!(met[0], "a check over TLS takes too long beside a bare handshake");
    assert!(met[1], "a check over TLS takes too long beside redis-cli");
}

/// The median times of two programs that run in turn.
fn pair(ours: impl Fn() -> Duration, theirs: impl Fn() -> Duration) -> [Duration; 2] {
    const WARM: usize = 20;
    let turns: Vec<[Duration; 2]> = (0..WARM + ROUNDS).map(|_| [ours(), theirs()]).skip(WARM).collect();
    [0, 1].map(|which| median(turns.iter().map(|turn| turn[which]).collect()))
}

fn time(command: &[&str], variables: &[(&str, &str)]) -> Duration {
    let began = Instant::now();
    let mut run = Command::new(command[0]);
    run.args(&command[1..]).envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
    assert!(run.status().expect("it can be started").success(), "{command:?} failed");
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The least that it takes.
fn shake_and_ping(port: u16) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(env::var("CA").unwrap()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut wire = TcpStream::connect(("127.0.0.1", port)).unwrap();
    wire.set_nodelay(true).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut wire);
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    let mut pong = [0; 7];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"+PONG\r\n");
}

/// An authority as `ca.pem`, and a certificate of it for 127.0.0.1 with its key.
fn certify(folder: &Path) {
    let key = || KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // With the name that both have otherwise, the leaf would seem to have signed itself.
    authority.distinguished_name = DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, "Bench CA");
    let authority = CertifiedIssuer::self_signed(authority, key()).unwrap();
    let own = key();
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&own, &authority).unwrap();
    for (file, text) in [("ca.pem", authority.pem()), ("tls.crt", leaf.pem()), ("tls.key", own.serialize_pem())] {
        fs::write(folder.join(file), text).unwrap();
    }
}

/// A server with TLS on a free port of loopback, ended with the benchmark.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path) -> Self {
        certify(folder);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "no", "--save", ""]);
        command.args(["--bind", "127.0.0.1", "--tls-cert-file", "tls.crt", "--tls-key-file", "tls.key"]);
        command.args(["--tls-ca-cert-file", "ca.pem"]).current_dir(folder).stdout(Stdio::null());
        let child = command.spawn().expect("redis-server is installed");
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
