//! Servers that are there and do not serve, and machines that cannot ask: reproduced with the real thing.

use std::thread::sleep;
use std::time::Duration;

use crate::world::{Confidence, Host, Lab};

const SERVER: &str = "10.77.1.2";

/// Runs redis-cli on the server's own host; its answer, trimmed.
fn cli(server: &Host, command: &str) -> String {
    server.sh(&format!("redis-cli {command}")).stdout.trim().to_owned()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn loading() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let mut filling = one.redis(&["--dir", "/tmp", "--dbfilename", "big.rdb", "--enable-debug-command", "yes"]);
    cli(&one, "debug populate 20000");
    cli(&one, "save");
    filling.kill();
    let slow = ["--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024"];
    let _redis = one.redis(&[&["--dir", "/tmp", "--dbfilename", "big.rdb"][..], &slow].concat());
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("loading", Confidence::Certain).exit(1).finding("state/loading");
    one.diagnose(&["--require", "authenticated"]).exit(0);
    cli(&one, "config set key-load-delay 0");
    for _ in 0..100 {
        if cli(&one, "ping") == "PONG" {
            break;
        }
        sleep(ms(100));
    }
    one.diagnose(&[]).healthy();
}

#[test]
fn a_script_that_never_ends_is_killed_by_the_repair() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no", "--busy-reply-threshold", "200"]);
    let script = server.command(&["redis-cli", "eval", "while true do end", "0"]).spawn();
    sleep(ms(600));
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.first_cause("busy-script", Confidence::Certain).exit(1);
    diagnosis.apply(|on| if on == "here" { &client } else { &server });
    client.diagnose(&["-h", SERVER]).healthy();
    drop(script);
}

#[test]
fn a_script_before_the_threshold_is_silence() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&["--busy-reply-threshold", "60000"]);
    let _script = one.command(&["redis-cli", "eval", "while true do end", "0"]).spawn();
    sleep(ms(300));
    one.diagnose(&["-t", "1"]).cause("event-loop-blocked", Confidence::Possible).nothing_certain().within(ms(2000));
}

#[test]
fn a_late_answer_is_a_busy_event_loop() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no", "--enable-debug-command", "yes"]);
    let _sleeper = server.command(&["redis-cli", "debug", "sleep", "2.5"]).spawn();
    sleep(ms(300));
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.first_cause("event-loop-blocked", Confidence::Likely).nothing_certain().exit(0).finding("ping/slow");
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_stopped_process_is_a_candidate_and_can_be_continued() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&[]);
    redis.freeze();
    let diagnosis = one.diagnose(&["-t", "1"]);
    diagnosis.cause("process-stopped", Confidence::Possible).nothing_certain().exit(1).within(ms(1900));
    for other in ["event-loop-blocked", "server-fds-exhausted"] {
        diagnosis.cause(other, Confidence::Possible);
    }
    let causes = diagnosis.report["causes"].as_array().unwrap();
    let stopped = causes.iter().find(|cause| cause["id"] == "process-stopped").unwrap();
    let repair = stopped["remedy"].as_array().unwrap().iter().find(|step| step["kind"] == "run").unwrap();
    one.sh(&repair["command"].as_str().unwrap().replace("sudo ", ""));
    one.diagnose(&[]).healthy();
}

#[test]
fn a_server_without_descriptors_is_a_candidate() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&[]);
    // Some high ones are the harness'; those that Redis opened are in a row.
    let highest = one.sh(&format!("ls /proc/{}/fd | sort -n | awk '$1 < 100' | tail -1", redis.pid()));
    let limit: u32 = highest.stdout.trim().parse::<u32>().unwrap() + 1;
    one.sh(&format!("prlimit --pid {} --nofile={limit}:{limit}", redis.pid()));
    // And those that it closed again below are taken by clients.
    let _clients: Vec<_> = (0..4).map(|_| one.command(&["redis-cli", "subscribe", "x"]).spawn()).collect();
    sleep(ms(400));
    one.diagnose(&["-t", "1"]).cause("server-fds-exhausted", Confidence::Possible).nothing_certain().exit(1);
}

#[test]
fn a_full_accept_queue_is_a_candidate_over_tcp_and_certain_on_a_socket() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&["--tcp-backlog", "1", "--unixsocket", "/run/redis.sock"]);
    redis.freeze();
    let python = "import socket,time\n\
        t=[socket.socket() for _ in range(8)]\n\
        [s.setblocking(False) or s.connect_ex(('127.0.0.1',6379)) for s in t]\n\
        u=[socket.socket(socket.AF_UNIX) for _ in range(8)]\n\
        [s.setblocking(False) or s.connect_ex('/run/redis.sock') for s in u]\n\
        print('full',flush=True)\n\
        time.sleep(30)";
    let _crowd = one.command(&["python3", "-c", python]).spawn();
    sleep(ms(700));
    one.diagnose(&["-t", "1.5"]).cause("accept-queue-full", Confidence::Possible).nothing_certain().exit(1);
    one.diagnose(&["-s", "/run/redis.sock"]).first_cause("accept-queue-full", Confidence::Certain).exit(1);
}

#[test]
fn no_local_port_is_left() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    client.sysctl("net.ipv4.ip_local_port_range", "40000 40002");
    let users: Vec<_> =
        (0..3).map(|_| client.command(&["redis-cli", "-h", SERVER, "subscribe", "x"]).spawn()).collect();
    sleep(ms(400));
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.first_cause("ephemeral-ports-exhausted", Confidence::Certain).exit(1);
    diagnosis.apply(|on| if on == "here" { &client } else { &server });
    client.diagnose(&["-h", SERVER]).healthy();
    drop(users);
}

#[test]
fn a_snapshot_that_fails() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.sh("mkdir /tmp/data");
    let _redis = server.redis(&[
        "--protected-mode",
        "no",
        "--save",
        "3600 1",
        "--dir",
        "/tmp/data",
        "--enable-protected-configs",
        "yes",
    ]);
    server.sh("rmdir /tmp/data");
    cli(&server, "bgsave");
    sleep(ms(400));
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.first_cause("persistence-failing", Confidence::Certain).exit(1);
    server.sh("mkdir /tmp/data");
    // The working folder of the process is the removed one: it has to enter the new one first.
    cli(&server, "config set dir /tmp/data");
    diagnosis.apply(|on| if on == "here" { &client } else { &server });
    sleep(ms(400));
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn memory_is_full() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&[]);
    cli(&one, "set kept value");
    cli(&one, "config set maxmemory 500000");
    let warned = one.diagnose(&[]);
    warned.first_cause("memory-full", Confidence::Certain).exit(0);
    one.diagnose(&["--require", "writable"]).first_cause("memory-full", Confidence::Certain).exit(1);
    cli(&one, "config set maxmemory 500000000");
    one.diagnose(&["--require", "writable"]).healthy();
}

#[test]
fn clients_are_paused() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&[]);
    cli(&one, "client pause 2500 all");
    one.diagnose(&["-t", "1.5"]).first_cause("clients-paused", Confidence::Likely).nothing_certain().exit(1);
    sleep(ms(1500));
    one.diagnose(&[]).healthy();
}

#[test]
fn writes_are_paused_and_the_repair_ends_it() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&[]);
    cli(&one, "client pause 60000 write");
    one.diagnose(&[]).exit(0);
    let diagnosis = one.diagnose(&["--require", "writable", "-t", "2"]);
    diagnosis.first_cause("clients-paused", Confidence::Likely).exit(1);
    diagnosis.apply(|_| &one);
    one.diagnose(&["--require", "writable"]).healthy();
}

#[test]
fn a_replica_without_its_master() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let stale = ["--replicaof", "10.77.1.1", "6379", "--replica-serve-stale-data", "no"];
    let _redis = server.redis(&[&["--protected-mode", "no"][..], &stale].concat());
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.first_cause("replica-stale", Confidence::Certain).exit(1);
    assert!(diagnosis.report["causes"][0]["summary"].as_str().unwrap().contains("10.77.1.1:6379"));
    diagnosis.apply(|on| if on == "here" { &client } else { &server });
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_replica_is_healthy_until_writes_are_wanted() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _master = client.redis(&["--protected-mode", "no"]);
    let _replica = server.redis(&["--protected-mode", "no", "--replicaof", "10.77.1.1", "6379"]);
    sleep(ms(1500));
    client.diagnose(&["-h", SERVER]).healthy();
    let diagnosis = client.diagnose(&["-h", SERVER, "--require", "writable"]);
    diagnosis.first_cause("read-only-replica", Confidence::Certain).exit(1);
    let remedy = diagnosis.report["causes"][0]["remedy"].as_array().unwrap();
    assert_eq!(remedy.last().unwrap()["command"], "redisdoc check -h 10.77.1.1 -p 6379 --require writable");
    client.diagnose(&["-h", "10.77.1.1", "--require", "writable"]).healthy();
}
