//! Servers that others log in at, and programs that have the same port on other addresses.

use std::time::{Duration, Instant};

use crate::world::{Confidence, Host, Lab};

const SERVER: &str = "10.77.1.2";

/// Waits until the host's command prints this.
#[track_caller]
fn wait_for(host: &Host, line: &str, says: &str) {
    let begun = Instant::now();
    loop {
        let said = host.sh(line).stdout;
        if said.contains(says) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{line}: {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_watched_master_is_still_the_master_with_its_password() {
    let Some(lab) = Lab::enter() else { return };
    let (watcher, server) = lab.pair();
    let _master = server.redis_conf("bind 0.0.0.0\nprotected-mode no\n");
    server.diagnose(&[]).first_cause("exposed-without-password", Confidence::Certain);
    let _replica = watcher.redis(&["--protected-mode", "no", "--replicaof", SERVER, "6379"]);
    let monitor = "sentinel monitor main 10.77.1.2 6379 1\nsentinel down-after-milliseconds main 1000\n";
    watcher.file("/etc/redis/sentinel.conf", monitor);
    let _sentinel = watcher.redis(&["/etc/redis/sentinel.conf", "--sentinel", "--port", "26379"]);
    wait_for(&watcher, "redis-cli -p 26379 sentinel replicas main", "10.77.1.1:6379");
    wait_for(&watcher, "redis-cli info replication", "master_link_status:up");
    let diagnosis = server.diagnose(&[]);
    diagnosis.first_cause("exposed-without-password", Confidence::Certain);
    let told = diagnosis.report["causes"][0]["remedy"][1]["text"].as_str().unwrap_or_default();
    assert!(told.contains("SENTINEL SET NAME auth-pass") && told.contains("masterauth"), "{diagnosis}");
    // What is told first is done first.
    let make = diagnosis.report["causes"][0]["remedy"][0]["command"].as_str().unwrap_or_default();
    let _ = server.sh(make);
    let password = server.sh("cat redis-password").stdout;
    for host in [&server, &watcher] {
        host.sh(&format!("redis-cli config set masterauth {password}"));
    }
    watcher.sh(&format!("redis-cli -p 26379 sentinel set main auth-pass {password}"));
    diagnosis.apply(|_| &server);
    for kind in ["replica", "normal"] {
        let _ = server.command(&["redis-cli", "client", "kill", "type", kind]).env("REDISCLI_AUTH", &password).run();
    }
    std::thread::sleep(Duration::from_millis(3_500));
    wait_for(&watcher, "redis-cli info replication", "role:slave");
    wait_for(&watcher, "redis-cli info replication", "master_link_status:up");
    wait_for(&watcher, "redis-cli -p 26379 sentinel get-master-addr-by-name main", SERVER);
    server.doctor(&[]).env("REDISCLI_AUTH", &password).diagnose().healthy();
}

#[test]
fn a_proxy_on_another_address_is_no_listener_of_redis() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.interface("lo", &["10.77.9.1/24", "10.77.9.9/24"]);
    let _redis = one.redis(&["--bind", "127.0.0.1"]);
    let _proxy = one.command(&["socat", "TCP-LISTEN:6379,bind=10.77.9.1,fork,reuseaddr", "TCP:127.0.0.1:6379"]).spawn();
    wait_for(&one, "redis-cli -h 10.77.9.1 ping", "PONG");
    let diagnosis = one.diagnose(&["-h", "10.77.9.9"]);
    diagnosis.cause("loopback-only", Confidence::Likely).cause("proxy-on-loopback", Confidence::Likely);
    diagnosis.nothing_certain().not_cause("wrong-port").exit(1);
    let says = diagnosis.to_string();
    assert!(says.contains("ask at the address that the proxy has"), "{says}");
    assert!(!says.contains("listens on 10.77.9.1:6379, 127.0.0.1:6379"), "{says}");
    one.diagnose(&["-h", "10.77.9.1"]).healthy();
}

#[test]
fn a_redis_in_this_container_is_the_one_that_is_meant() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.file("/.dockerenv", "");
    one.interface("lo", &["10.77.9.1/24"]);
    one.diagnose(&[]).cause("localhost-in-container", Confidence::Likely);
    let _redis = one.redis(&["--bind", "10.77.9.1"]);
    one.diagnose(&[]).not_cause("localhost-in-container").exit(1);
}

#[test]
fn a_replica_that_is_turned_away_at_once_is_a_warning() {
    let Some(lab) = Lab::enter() else { return };
    let (replica, master) = lab.pair();
    let _master = master.redis(&["--protected-mode", "no"]);
    master.sh("redis-cli acl setuser repl on '>pw' +ping +replconf");
    replica.file("/var/log/redis.log", "");
    let follows = ["--replicaof", "10.77.1.2 6379", "--masteruser", "repl", "--masterauth", "pw"];
    let _replica = replica.redis(&[&follows[..], &["--logfile", "/var/log/redis.log", "--bind", "127.0.0.1"]].concat());
    wait_for(&replica, "wc -l </var/log/redis.log | grep -qE '^[0-9]{5}' && echo many; true", "many");
    let down = replica.diagnose(&[]);
    down.finding("state/link-down").first_cause("replica-unlinked", Confidence::Certain).exit(0);
    assert!(down.to_string().contains("NOPERM"), "{down}");
    master.sh("redis-cli acl setuser repl +psync");
    wait_for(&replica, "redis-cli info replication", "master_link_status:up");
    replica.diagnose(&[]).healthy();
}
