//! Servers that are there and do not serve, and want of resources on either side.

use std::time::{Duration, Instant};

use crate::world::diagnose::{Diagnosis, REDISDOC};
use crate::world::redis::Redis;
use crate::world::{Confidence, Host, Lab, Server};

const SERVER: &str = "10.77.1.2";
const OPEN: [&str; 2] = ["--protected-mode", "no"];
/// With `-t 1`: the step, and what a busy machine takes to start and end a program.
const A_STEP: Duration = Duration::from_millis(1_600);

fn cli(host: &Host, line: &str) -> String {
    host.sh(&format!("redis-cli {line}")).stdout
}

/// Diagnoses until `done`, for states that begin or end by themselves.
#[track_caller]
fn until(host: &Host, args: &[&str], done: impl Fn(&Diagnosis) -> bool) -> Diagnosis {
    let begun = Instant::now();
    loop {
        let diagnosis = host.diagnose(args);
        if done(&diagnosis) || begun.elapsed() > Duration::from_secs(15) {
            return diagnosis;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_server_that_loads_says_for_how_long() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let mut redis = server.redis(&["--enable-debug-command", "yes", "--save", ""]);
    cli(&server, "debug populate 100000");
    cli(&server, "save");
    redis.kill();
    let slowly = ["redis-server", "--protected-mode", "no", "--key-load-delay", "200"];
    let often = ["--loading-process-events-interval-bytes", "1024"];
    let _redis = server.command(&[&slowly[..], &often[..]].concat()).dir(&redis.dir).spawn();
    let diagnosis = until(&client, &["-h", SERVER], |diagnosis| diagnosis.findings() != ["tcp/refused"]);
    diagnosis.finding("state/loading").first_cause("loading", Confidence::Certain).exit(1);
    assert!(diagnosis.to_string().contains("Redis itself expects"), "{diagnosis}");
    client.diagnose(&["-h", SERVER, "--require", "authenticated"]).exit(0);
    cli(&server, "config set key-load-delay 0");
    until(&client, &["-h", SERVER], |diagnosis| diagnosis.ran.code == Some(0)).healthy();
}

#[test]
fn a_script_is_named_once_redis_says_so_and_can_be_ended() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no", "--busy-reply-threshold", "2500"]);
    let _script = server.command(&["redis-cli", "eval", "while true do end", "0"]).spawn();
    std::thread::sleep(Duration::from_millis(200));
    let silent = client.diagnose(&["-h", SERVER, "-t", "1"]);
    silent.finding("ping/silent").cause("event-loop-blocked", Confidence::Possible).nothing_certain().within(A_STEP);
    let busy = until(&client, &["-h", SERVER], |diagnosis| diagnosis.findings() == ["state/busy"]);
    busy.first_cause("busy-script", Confidence::Certain).exit(1).apply(|_| &server);
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_late_answer_is_a_busy_event_loop() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no", "--enable-debug-command", "yes"]);
    let _sleep = server.command(&["redis-cli", "debug", "sleep", "2.5"]).spawn();
    std::thread::sleep(Duration::from_millis(200));
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.finding("ping/slow").first_cause("event-loop-blocked", Confidence::Likely).nothing_certain().exit(0);
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_stopped_process_is_a_candidate_and_its_repair_lets_it_go_on() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let redis = server.redis(&OPEN);
    redis.freeze();
    let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
    diagnosis.finding("ping/silent").nothing_certain().exit(1).within(A_STEP);
    for cause in ["process-stopped", "event-loop-blocked", "server-fds-exhausted", "clients-paused"] {
        diagnosis.cause(cause, Confidence::Possible);
    }
    diagnosis.not_cause("accept-queue-full");
    assert!(diagnosis.to_string().contains("acknowledged our bytes"), "{diagnosis}");
    let stat = diagnosis.settle("process-stopped", |_| &server);
    assert!(stat.contains(" T"), "{stat}");
    diagnosis.apply_of("process-stopped", |_| &server);
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn lost_bytes_are_not_the_process() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&OPEN);
    // A filter that lets the handshake pass, and nothing that carries data.
    server.nft(
        "add table inet t; add chain inet t f { type filter hook input priority 0; }
         add rule inet t f tcp dport 6379 tcp flags & psh == psh drop",
    );
    let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
    diagnosis.finding("ping/silent").nothing_certain().exit(1).within(A_STEP);
    for cause in ["process-stopped", "event-loop-blocked", "server-fds-exhausted", "clients-paused"] {
        diagnosis.not_cause(cause);
    }
    assert!(diagnosis.to_string().contains("never acknowledged"), "{diagnosis}");
}

#[test]
fn a_server_without_descriptors_is_a_candidate() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let redis = server.redis(&OPEN);
    let lowest = "n=0; while [ -e /proc/PID/fd/$n ]; do n=$((n + 1)); done; prlimit --pid PID --nofile=$n:";
    server.sh(&lowest.replace("PID", &redis.pid().to_string()));
    let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
    diagnosis.finding("ping/silent").nothing_certain().exit(1).within(A_STEP);
    diagnosis.cause("server-fds-exhausted", Confidence::Possible);
    let shown = diagnosis.settle("server-fds-exhausted", |_| &server);
    let numbers: Vec<u32> = shown.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(matches!(numbers[..], [open, limit, _] if open >= limit), "{shown}");
    server.sh(&format!("prlimit --pid {} --nofile=1000:", redis.pid()));
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_full_accept_queue_is_a_candidate_for_a_timeout() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let redis = server.redis(&["--protected-mode", "no", "--tcp-backlog", "3"]);
    redis.freeze();
    let waiting = client.inside(|| {
        let connect = |_| {
            let address = "10.77.1.2:6379".parse().expect("an address");
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok()
        };
        (0..5).map(connect).collect::<Vec<_>>()
    });
    let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
    diagnosis.finding("tcp/timeout").nothing_certain().exit(1).within(A_STEP + Duration::from_millis(1_100));
    diagnosis.cause("accept-queue-full", Confidence::Possible).cause("process-stopped", Confidence::Possible);
    let shown = diagnosis.settle("accept-queue-full", |_| &server);
    assert!(shown.contains("LISTEN 4      3"), "{shown}");
    redis.thaw();
    drop(waiting);
    // Until it has accepted what waited, a new connection may still come late.
    until(&client, &["-h", SERVER], |diagnosis| diagnosis.findings().is_empty()).healthy();
}

#[test]
fn a_full_queue_of_a_unix_socket_is_certain() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&["--unixsocket", "/run/redis.sock", "--tcp-backlog", "3"]);
    redis.freeze();
    let waiting = one.inside(|| {
        let connect = |_| std::os::unix::net::UnixStream::connect("/run/redis.sock").expect("room in the queue");
        (0..4).map(connect).collect::<Vec<_>>()
    });
    let diagnosis = one.diagnose(&["-s", "/run/redis.sock", "-t", "1"]);
    // Its machine shows why nobody accepts; without that, the kernel's word is all there is.
    diagnosis.finding("tcp/queue-full").first_cause("process-stopped", Confidence::Certain).exit(1).within(A_STEP);
    let queue = one.diagnose(&["-s", "/run/redis.sock", "-t", "1", "--only", "target,dns,tcp,ping,auth,state"]);
    queue.finding("tcp/queue-full").first_cause("accept-queue-full", Confidence::Certain).exit(1).within(A_STEP);
    redis.thaw();
    drop(waiting);
    one.diagnose(&["-s", "/run/redis.sock"]).healthy();
}

#[test]
fn a_client_without_descriptors_says_so() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&OPEN);
    let with_limit = |limit: u32| {
        let line = format!("ulimit -n {limit}; exec {REDISDOC} check --json -h {SERVER}");
        client.command(&["sh", "-c", &line]).run()
    };
    let says_so = (4..24).filter(|limit| {
        let ran = with_limit(*limit);
        assert!(ran.code.is_some_and(|code| [0, 1, 3].contains(&code)) && !ran.stderr.contains("panic"), "{ran}");
        ran.stdout.contains("client-fds-exhausted")
    });
    assert!(says_so.count() > 0, "no limit makes it say so");
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_client_without_ports_says_so() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&OPEN);
    client.sysctl("net.ipv4.ip_local_port_range", "40000 40003");
    let held = client.inside(|| {
        let connect = |_| std::net::TcpStream::connect("10.77.1.2:6379").expect("a port");
        (0..4).map(connect).collect::<Vec<_>>()
    });
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.finding("tcp/no-local-address").first_cause("ephemeral-ports-exhausted", Confidence::Certain).exit(1);
    diagnosis.apply(|_| &client);
    client.diagnose(&["-h", SERVER]).healthy();
    drop(held);
}

#[test]
fn a_full_disk_stops_writes() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.sh("mkdir -p /var/lib/full && mount -t tmpfs -o size=64k none /var/lib/full");
    let _redis = server.redis(&["--protected-mode", "no", "--save", "3600 1", "--dir", "/var/lib/full"]);
    cli(&server, "set a b");
    let _ = server.run(&["dd", "if=/dev/zero", "of=/var/lib/full/full", "bs=4k", "count=100"]);
    cli(&server, "bgsave");
    let diagnosis = until(&client, &["-h", SERVER], |diagnosis| diagnosis.ran.code == Some(1));
    diagnosis.finding("state/persistence").first_cause("persistence-failing", Confidence::Certain).exit(1);
    server.sh("rm /var/lib/full/full");
    diagnosis.apply(|_| &server);
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn memory_that_is_full_matters_to_writers() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no", "--maxmemory", "600kb"]);
    let reader = client.diagnose(&["-h", SERVER]);
    reader.finding("state/memory-full").first_cause("memory-full", Confidence::Certain).exit(0);
    let writer = client.diagnose(&["-h", SERVER, "--require", "writable"]);
    writer.first_cause("memory-full", Confidence::Certain).exit(1);
    cli(&server, "config set maxmemory 100mb");
    client.diagnose(&["-h", SERVER, "--require", "writable"]).healthy();
}

#[test]
fn a_pause_of_everything_is_told_from_a_dead_server() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let versions = [Server::Redis62, Server::Debian, Server::Redis80, Server::Valkey80, Server::Valkey91];
    for version in versions {
        let Some(_redis) = server.redis_of(version, &OPEN) else { continue };
        cli(&server, "client pause 2500");
        let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
        diagnosis.finding("ping/held-back").first_cause("clients-paused", Confidence::Likely).exit(1).within(A_STEP);
        diagnosis.not_cause("process-stopped");
        until(&client, &["-h", SERVER, "-t", "1"], |diagnosis| diagnosis.ran.code == Some(0)).exit(0);
    }
    for version in [Server::Redis50, Server::Redis60] {
        let Some(_redis) = server.redis_of(version, &OPEN) else { continue };
        cli(&server, "client pause 2500");
        let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
        diagnosis.finding("ping/silent").cause("clients-paused", Confidence::Possible).nothing_certain().within(A_STEP);
    }
}

#[test]
fn a_pause_of_writes_matters_to_writers_and_can_be_ended() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    for (version, confidence) in [
        (Server::Redis62, Confidence::Likely),
        (Server::Debian, Confidence::Likely),
        (Server::Redis80, Confidence::Likely),
        (Server::Valkey80, Confidence::Likely),
        (Server::Valkey90, Confidence::Certain),
        (Server::Valkey91, Confidence::Certain),
    ] {
        let Some(_redis) = server.redis_of(version, &OPEN) else { continue };
        cli(&server, "client pause 60000 WRITE");
        let diagnosis = client.diagnose(&["-h", SERVER, "--require", "writable"]);
        diagnosis.finding("state/paused").first_cause("clients-paused", confidence).exit(1).within(A_STEP);
        client.diagnose(&["-h", SERVER]).exit(0);
        diagnosis.apply(|_| &server);
        client.diagnose(&["-h", SERVER, "--require", "writable"]).healthy();
    }
}

/// A master on the server's host and a replica of it on the client's.
fn replicated(client: &Host, server: &Host) -> (Redis, Redis) {
    let master = server.redis(&["--protected-mode", "no", "--repl-diskless-sync-delay", "0"]);
    let replica = client.redis(&["--protected-mode", "no", "--replicaof", SERVER, "6379"]);
    let begun = Instant::now();
    while !cli(server, "info replication").contains("state=online") {
        assert!(begun.elapsed() < Duration::from_secs(15), "{}", replica.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    (master, replica)
}

#[test]
fn a_failover_that_waits_holds_writes_and_can_be_given_up() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let (_master, replica) = replicated(&client, &server);
    replica.freeze();
    cli(&server, "set a b");
    cli(&server, "failover timeout 60000");
    let diagnosis = client.diagnose(&["-h", SERVER, "--require", "writable"]);
    diagnosis.finding("state/paused").first_cause("clients-paused", Confidence::Certain).exit(1);
    diagnosis.apply(|_| &server);
    client.diagnose(&["-h", SERVER, "--require", "writable"]).healthy();
}

#[test]
fn a_replica_is_right_for_readers_and_wrong_for_writers() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let (_master, _replica) = replicated(&client, &server);
    server.diagnose(&["-h", "10.77.1.1"]).healthy();
    let diagnosis = server.diagnose(&["-h", "10.77.1.1", "--require", "writable"]);
    diagnosis.finding("state/read-only").first_cause("read-only-replica", Confidence::Certain).exit(1);
    let verify = diagnosis.report["causes"][0]["remedy"].as_array().and_then(|steps| steps.last()).cloned();
    let command = verify.and_then(|step| step["command"].as_str().map(str::to_owned)).expect("a command");
    assert_eq!(command, "redisdoc check -h 10.77.1.2 -p 6379 --require writable");
    // Open to everybody, as the master has to be: a warning.
    let own = server.diagnose(&["-h", SERVER, "--require", "writable"]);
    own.first_cause("exposed-without-password", Confidence::Certain).exit(0);
}

#[test]
fn a_replica_without_its_master_may_serve_old_data() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let alone = ["--protected-mode", "no", "--replicaof", "10.77.1.1", "6379", "--replica-serve-stale-data", "no"];
    let _redis = server.redis(&alone);
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.finding("state/master-down").first_cause("replica-stale", Confidence::Certain).exit(1);
    assert!(diagnosis.to_string().contains("the master 10.77.1.1:6379 is down"), "{diagnosis}");
    diagnosis.apply(|_| &server);
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_sentinel_is_no_data_server() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&OPEN);
    server.file("/etc/redis/sentinel.conf", "protected-mode no\nsentinel monitor mymaster 10.77.1.2 6379 1\n");
    let _sentinel = server.redis(&["/etc/redis/sentinel.conf", "--sentinel"]);
    let diagnosis = client.diagnose(&["-h", SERVER, "-p", "26379"]);
    diagnosis.finding("state/sentinel").first_cause("sentinel-port", Confidence::Certain).exit(1);
    client.diagnose(&["-h", SERVER, "-p", "26379", "--require", "reachable"]).exit(0);
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn addresses_of_one_name_that_answer_differently_are_told() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.ip("addr add 10.77.1.3/24 dev eth0");
    client.hosts_file("10.77.1.2 db\n10.77.1.3 db\n");
    let _one = server.redis(&["--protected-mode", "no", "--bind", "10.77.1.2"]);
    let other = server.redis(&["--protected-mode", "no", "--bind", "10.77.1.3"]);
    client.diagnose(&["-h", "db"]).healthy();
    other.freeze();
    client.diagnose(&["-h", "db", "-t", "1"]).finding("ping/differs").nothing_certain().within(A_STEP);
}

#[test]
fn every_version_is_healthy_for_writers() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    for version in Server::ALL {
        let Some(_redis) = server.redis_of(version, &OPEN) else { continue };
        client.diagnose(&["-h", SERVER, "--require", "writable"]).healthy().within(A_STEP);
    }
}
