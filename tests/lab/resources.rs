//! Limits, memory and disks of the server's own machine, seen from it: what is a candidate from afar is certain here.

use std::time::{Duration, Instant};

use crate::world::diagnose::Diagnosis;
use crate::world::redis::Redis;
use crate::world::{Confidence, Host, Lab, Server, enter};

/// What a machine with much to do takes beside the second that `-t 1` waits.
const HERE: [&str; 2] = ["-t", "1"];

fn cli(host: &Host, line: &str) -> String {
    host.sh(&format!("redis-cli {line}")).stdout
}

/// Lowers the limit of open files to what the server has open.
fn starve(host: &Host, redis: &Redis) {
    let lowest = "n=0; while [ -e /proc/PID/fd/$n ]; do n=$((n + 1)); done; prlimit --pid PID --nofile=$n:";
    host.sh(&lowest.replace("PID", &redis.pid().to_string()));
}

/// Diagnoses until `done`.
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

/// Connections to the server of this host, as many as its kernel takes at once.
fn connect(host: &Host, count: usize) -> Vec<std::net::TcpStream> {
    host.inside(move || {
        let address = "127.0.0.1:6379".parse().expect("an address");
        let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        (0..count).filter_map(connect).collect()
    })
}

#[test]
fn a_healthy_server_that_saves_raises_nothing_in_any_version() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    for version in Server::ALL {
        let args = ["--appendonly", "yes", "--save", "3600", "1", "--logfile", "redis.log"];
        let Some(_redis) = one.redis_of(version, &args) else { continue };
        let diagnosis = one.diagnose(&["--require", "writable"]);
        diagnosis.healthy();
        for check in ["limits", "memory", "disk"] {
            diagnosis.check(check, "pass");
        }
    }
}

#[test]
fn tuning_that_everybody_has_is_no_finding() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.sysctl("net.core.somaxconn", "128");
    let _redis = one.redis(&[]);
    let diagnosis = one.diagnose(&["--deep"]);
    diagnosis.healthy();
    assert!(diagnosis.to_string().contains("0 of 128 connections waiting"), "{diagnosis}");
}

#[test]
fn a_server_without_descriptors_goes_on_when_it_may_open_more() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&[]);
    starve(&one, &redis);
    let diagnosis = one.diagnose(&HERE);
    diagnosis.finding("ping/silent").finding("limits/fds-exhausted");
    diagnosis.first_cause("server-fds-exhausted", Confidence::Certain).exit(1);
    for cause in ["process-stopped", "event-loop-blocked", "accept-queue-full", "fd-limit-too-low"] {
        diagnosis.not_cause(cause);
    }
    diagnosis.apply(|_| &one);
    one.diagnose(&[]).healthy();
}

#[test]
fn a_server_that_is_almost_out_of_descriptors_still_answers() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&["--maxclients", "100"]);
    let held = connect(&one, 95);
    one.sh(&format!("n=$(ls /proc/{pid}/fd | wc -l); prlimit --pid {pid} --nofile=$((n + 3)):", pid = redis.pid()));
    let diagnosis = one.diagnose(&[]);
    diagnosis.finding("limits/fds-nearly-exhausted").first_cause("server-fds-exhausted", Confidence::Certain).exit(0);
    diagnosis.apply(|_| &one);
    one.diagnose(&[]).healthy();
    drop(held);
}

#[test]
fn a_stopped_server_is_seen_and_goes_on() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&[]);
    redis.freeze();
    let diagnosis = one.diagnose(&HERE);
    diagnosis.finding("ping/silent").first_cause("process-stopped", Confidence::Certain).exit(1);
    for cause in ["server-fds-exhausted", "event-loop-blocked", "accept-queue-full"] {
        diagnosis.not_cause(cause);
    }
    diagnosis.apply(|_| &one);
    one.diagnose(&[]).healthy();
}

#[test]
fn a_stopped_server_with_a_full_queue_is_a_stopped_server() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&["--tcp-backlog", "3"]);
    redis.freeze();
    let held = connect(&one, 6);
    let diagnosis = one.diagnose(&HERE);
    diagnosis.finding("tcp/timeout").finding("limits/queue-full");
    diagnosis.first_cause("process-stopped", Confidence::Certain).not_cause("accept-queue-full").exit(1);
    diagnosis.apply(|_| &one);
    drop(held);
    until(&one, &[], |diagnosis| diagnosis.ran.code == Some(0)).healthy();
}

#[test]
fn a_busy_server_is_neither_stopped_nor_starved() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&["--enable-debug-command", "yes", "--busy-reply-threshold", "60000"]);
    let _sleep = one.command(&["redis-cli", "debug", "sleep", "3"]).spawn();
    std::thread::sleep(Duration::from_millis(200));
    let diagnosis = one.diagnose(&HERE);
    diagnosis.finding("ping/silent").cause("event-loop-blocked", Confidence::Likely).nothing_certain().exit(1);
    diagnosis.not_cause("process-stopped").not_cause("server-fds-exhausted");
    until(&one, &[], |diagnosis| diagnosis.ran.code == Some(0)).exit(0);
    let _script = one.command(&["redis-cli", "eval", "while true do end", "0"]).spawn();
    std::thread::sleep(Duration::from_millis(200));
    let diagnosis = one.diagnose(&HERE);
    diagnosis.first_cause("event-loop-blocked", Confidence::Likely).nothing_certain().exit(1);
}

#[test]
fn a_queue_that_overflows_is_seen() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let args = ["--enable-debug-command", "yes", "--tcp-backlog", "3"];
    let _redis = one.redis(&args);
    let _sleep = one.command(&["redis-cli", "debug", "sleep", "4"]).spawn();
    std::thread::sleep(Duration::from_millis(200));
    let held = connect(&one, 6);
    let diagnosis = one.diagnose(&HERE);
    diagnosis.finding("limits/queue-full").first_cause("accept-queue-full", Confidence::Certain).exit(1);
    diagnosis.not_cause("process-stopped").not_cause("server-fds-exhausted").not_cause("firewall-drop");
    drop(held);
    until(&one, &[], |diagnosis| diagnosis.ran.code == Some(0)).exit(0);
}

/// A server whose queue has overflowed once, and has room again.
fn overflowed(one: &Host) -> Redis {
    let redis = one.redis(&["--enable-debug-command", "yes", "--tcp-backlog", "3", "--protected-mode", "no"]);
    let _sleep = one.command(&["redis-cli", "debug", "sleep", "1"]).spawn();
    std::thread::sleep(Duration::from_millis(200));
    drop(connect(one, 8));
    until(one, &[], |diagnosis| diagnosis.ran.code == Some(0)).healthy();
    let counted = one.sh("grep TcpExt /proc/net/netstat").stdout;
    let column = |line: &str| counted.lines().nth(usize::from(line == "values")).map(str::to_owned).unwrap_or_default();
    let at = column("names").split(' ').position(|name| name == "ListenOverflows").expect("the kernel counts it");
    assert_ne!(column("values").split(' ').nth(at), Some("0"), "nothing has overflowed");
    redis
}

#[test]
fn a_queue_that_was_full_once_explains_nothing_now() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = overflowed(&one);
    let rules = |rule: &str| {
        one.nft(&format!(
            "add table inet t; add chain inet t f {{ type filter hook input priority 0; }}
             add rule inet t f iifname lo tcp dport 6379 {rule}"
        ));
    };
    for rule in ["drop", "tcp flags & (syn | ack) == syn limit rate 1/day burst 1 packets drop"] {
        let users: &[u32] = if lab.has_users() { &[0, 65534] } else { &[0] };
        for user in users {
            rules(rule);
            let diagnosis = one.doctor(&["-t", "2"]).user(*user).diagnose();
            // At most a candidate for what nothing explains.
            let named = diagnosis.causes().into_iter().find(|(id, _)| id == "accept-queue-full");
            assert!(named.is_none_or(|(_, confidence)| confidence == Confidence::Possible), "{diagnosis}");
            one.nft("delete table inet t");
        }
    }
    one.diagnose(&[]).healthy();
}

#[test]
fn a_queue_that_is_full_and_that_we_do_not_reach_is_not_certain() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&["--enable-debug-command", "yes", "--tcp-backlog", "3"]);
    let _sleep = one.command(&["redis-cli", "debug", "sleep", "5"]).spawn();
    std::thread::sleep(Duration::from_millis(200));
    let held = connect(&one, 4);
    // The retransmissions of those that wait are counted, too: all that comes is dropped before.
    one.nft(
        "add table inet t; add chain inet t f { type filter hook prerouting priority -300; }
         add rule inet t f tcp dport 6379 drop",
    );
    let diagnosis = if lab.has_users() { one.doctor(&HERE).user(65534).diagnose() } else { one.diagnose(&HERE) };
    diagnosis
        .finding("limits/queue-full")
        .finding("tcp/timeout")
        .cause("accept-queue-full", Confidence::Likely)
        .exit(1);
    assert!(!diagnosis.causes().contains(&("accept-queue-full".to_owned(), Confidence::Certain)), "{diagnosis}");
    drop(held);
}

#[test]
fn a_low_limit_takes_clients_away() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.file("/etc/redis/redis.conf", "maxclients 5000\n");
    // The hard limit, too: Redis raises the soft one by itself; and no right to raise that.
    let line = "ulimit -n 200; exec setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource redis-server \
                /etc/redis/redis.conf";
    let redis = one.command(&["sh", "-c", line]).spawn();
    until(&one, &[], |diagnosis| diagnosis.ran.code == Some(0));
    let diagnosis = one.diagnose(&[]);
    diagnosis.finding("limits/maxclients-reduced").first_cause("fd-limit-too-low", Confidence::Certain).exit(0);
    assert!(diagnosis.to_string().contains("168 clients fit into a limit of 200 files, and 5000"), "{diagnosis}");
    // Raising a hard limit takes CAP_SYS_RESOURCE, which root has not everywhere.
    if one.run(&["sh", "-c", "ulimit -n 200 && ulimit -n 300"]).code == Some(0) {
        diagnosis.apply(|_| &one);
        one.diagnose(&[]).healthy();
    }
    drop(redis);
    let _redis = one.redis(&["/etc/redis/redis.conf"]);
    one.diagnose(&[]).healthy();
}

#[test]
fn clients_that_fill_it_are_counted_against_the_file() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.systemd("maxclients 4\n").sh("systemctl start redis-server");
    let mut held = connect(&one, 4);
    let diagnosis = one.diagnose(&[]);
    diagnosis.finding("ping/max-clients").first_cause("max-clients", Confidence::Certain).exit(1);
    diagnosis.not_cause("server-fds-exhausted");
    held.pop();
    diagnosis.apply(|_| &one);
    one.diagnose(&[]).healthy();
    assert!(one.read("/etc/redis/redis.conf").contains("maxclients 8"));
}

#[test]
fn a_folder_that_is_deleted_takes_more_than_a_new_one() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.sh("mkdir -p /var/lib/data");
    let conf = "save 3600 1\ndir /var/lib/data\n";
    let redis = one.redis_conf(conf);
    cli(&one, "set a b");
    one.sh("rm -r /var/lib/data");
    let before = one.diagnose(&[]);
    before.finding("disk/folder-missing").first_cause("persistence-failing", Confidence::Certain).exit(0);
    cli(&one, "bgsave");
    let diagnosis = until(&one, &[], |diagnosis| diagnosis.ran.code == Some(1));
    diagnosis.finding("state/persistence").finding("disk/folder-missing");
    diagnosis.first_cause("persistence-failing", Confidence::Certain).exit(1);
    // A folder of the same name is another folder.
    one.sh("mkdir /var/lib/data");
    one.diagnose(&[]).finding("disk/folder-missing").exit(1);
    diagnosis.apply(|_| &one);
    cli(&one, "shutdown nosave || true");
    drop(redis);
    let _redis = one.redis_conf(conf);
    assert_eq!(cli(&one, "get a"), "b\n");
    one.diagnose(&["--require", "writable"]).healthy();
}

#[test]
fn an_older_server_is_told_to_go_to_the_new_folder() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.sh("mkdir -p /var/lib/data");
    for version in [Server::Redis50, Server::Redis60, Server::Redis62] {
        let Some(_redis) = one.redis_of(version, &["--save", "3600", "1", "--dir", "/var/lib/data"]) else { continue };
        cli(&one, "set a b");
        one.sh("rm -r /var/lib/data");
        cli(&one, "bgsave");
        let diagnosis = until(&one, &[], |diagnosis| diagnosis.ran.code == Some(1));
        diagnosis.finding("disk/folder-missing").first_cause("persistence-failing", Confidence::Certain).exit(1);
        diagnosis.apply(|_| &one);
        one.diagnose(&["--require", "writable"]).healthy();
    }
}

#[test]
fn a_read_only_disk_is_named_and_can_be_mounted_again() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.sh("mkdir -p /var/lib/data && mount -t tmpfs -o size=4m,mode=777 none /var/lib/data");
    let _redis = one.redis(&["--save", "3600 1", "--dir", "/var/lib/data"]);
    cli(&one, "set a b");
    one.sh("mount -o remount,ro /var/lib/data");
    cli(&one, "bgsave");
    let diagnosis = until(&one, &[], |diagnosis| diagnosis.ran.code == Some(1));
    diagnosis.finding("disk/read-only").first_cause("persistence-failing", Confidence::Certain).exit(1);
    diagnosis.apply(|_| &one);
    one.diagnose(&["--require", "writable"]).healthy();
}

#[test]
fn a_full_disk_is_named_before_it_stops_writes() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.sh("mkdir -p /var/lib/data && mount -t tmpfs -o size=1m,mode=777 none /var/lib/data");
    let _redis = one.redis(&["--save", "3600 1", "--dir", "/var/lib/data"]);
    cli(&one, "set a b");
    one.diagnose(&["--require", "writable"]).healthy();
    let _ = one.run(&["dd", "if=/dev/zero", "of=/var/lib/data/full", "bs=4k"]);
    one.diagnose(&["--require", "writable"]).finding("disk/full").exit(1);
    cli(&one, "bgsave");
    let diagnosis = until(&one, &[], |diagnosis| diagnosis.ran.code == Some(1));
    diagnosis.finding("disk/full").first_cause("persistence-failing", Confidence::Certain).exit(1);
    one.sh("rm /var/lib/data/full");
    diagnosis.apply(|_| &one);
    one.diagnose(&["--require", "writable"]).healthy();
}

#[test]
fn a_disk_without_inodes_is_named() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.sh("mkdir -p /var/lib/data && mount -t tmpfs -o nr_inodes=8,mode=777 none /var/lib/data");
    let _redis = one.redis(&["--save", "3600 1", "--dir", "/var/lib/data"]);
    cli(&one, "set a b");
    let _ = one.run(&["sh", "-c", "for n in 1 2 3 4 5 6 7 8; do : >/var/lib/data/$n; done"]);
    let diagnosis = one.diagnose(&["--require", "writable"]);
    diagnosis.finding("disk/inodes-full").first_cause("persistence-failing", Confidence::Certain).exit(1);
    one.sh("rm /var/lib/data/?");
    diagnosis.apply(|_| &one);
    one.diagnose(&["--require", "writable"]).healthy();
}

#[test]
fn a_folder_of_another_user_is_given_to_the_server() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let one = lab.host("solo");
    one.sh("mkdir -p /var/lib/data && chown 105 /var/lib/data");
    let _redis = one.redis_as(105, &["--save", "3600 1", "--dir", "/var/lib/data"]);
    one.diagnose(&["--require", "writable"]).healthy();
    one.sh("chown 0:0 /var/lib/data");
    cli(&one, "set a b");
    cli(&one, "bgsave");
    let diagnosis = until(&one, &[], |diagnosis| diagnosis.ran.code == Some(1));
    diagnosis.finding("disk/not-writable").first_cause("persistence-failing", Confidence::Certain).exit(1);
    diagnosis.apply(|_| &one);
    one.diagnose(&["--require", "writable"]).healthy();
}

#[test]
fn a_log_without_its_folder_is_lost() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.sh("mkdir -p /var/log/other");
    let _redis = one.redis(&["--logfile", "/var/log/other/redis.log"]);
    one.diagnose(&[]).healthy();
    one.sh("rm -r /var/log/other");
    let diagnosis = one.diagnose(&[]);
    diagnosis.finding("disk/log-lost").first_cause("log-lost", Confidence::Certain).exit(0);
    diagnosis.apply(|_| &one);
    one.diagnose(&[]).healthy();
}

#[test]
fn a_maxmemory_beyond_the_machine_is_taken_back() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis_conf("maxmemory 100000gb\n");
    let diagnosis = one.diagnose(&[]);
    diagnosis.finding("memory/maxmemory-over-limit").first_cause("memory-exhausted", Confidence::Certain).exit(0);
    diagnosis.apply(|_| &one);
    one.diagnose(&[]).healthy();
    assert!(!one.read("/etc/redis/redis.conf").contains("100000gb"));
}

#[test]
fn a_control_group_without_memory_is_seen() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    // Where the machine accounts memory by version 1 and lets us make a group; version 2 has its tables.
    let made = "mkdir /run/groups && mount -t cgroup -o memory none /run/groups && mkdir /run/groups/redis-$$";
    if one.run(&["sh", "-c", &format!("{made} && echo /run/groups/redis-$$ >/run/group")]).code != Some(0) {
        enter::skipped("a control group of version 1 for memory cannot be made here");
        return;
    }
    let group = one.read("/run/group").trim().to_owned();
    one.sh(&format!("echo 200M >{group}/memory.limit_in_bytes"));
    let line = format!("echo $$ >{group}/cgroup.procs && exec redis-server --save '' --enable-debug-command yes");
    let redis = one.command(&["sh", "-c", &line]).spawn();
    let well = until(&one, &[], |diagnosis| diagnosis.ran.code == Some(0));
    well.healthy();
    assert!(well.to_string().contains("its control group uses"), "{well}");
    cli(&one, "debug populate 200000 key 100");
    let tighten = "echo $(( $(cat GROUP/memory.usage_in_bytes) + 409600 )) >GROUP/memory.limit_in_bytes";
    one.sh(&tighten.replace("GROUP", &group));
    let diagnosis = one.diagnose(&[]);
    diagnosis.finding("memory/group-exhausted").first_cause("memory-exhausted", Confidence::Certain).exit(0);
    cli(&one, "config set maxmemory 1gb");
    one.diagnose(&[]).finding("memory/maxmemory-over-limit");
    drop(redis);
    one.sh(&format!("rmdir {group}"));
}

#[test]
fn folders_of_a_mount_namespace_are_looked_at_within() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    // As ProtectSystem= of a unit does it: writable for us, read-only for the server.
    one.sh("mkdir -p /var/lib/data && mount -t tmpfs -o size=4m,mode=777 none /var/lib/data");
    let line = "mount -o remount,bind,ro /var/lib/data && exec redis-server --save '3600 1' --dir /var/lib/data";
    let redis = one.command(&["unshare", "-m", "sh", "-c", line]).spawn();
    until(&one, &["--skip", "disk"], |diagnosis| diagnosis.ran.code == Some(0));
    let diagnosis = one.diagnose(&["--require", "writable"]);
    diagnosis.finding("disk/read-only").first_cause("persistence-failing", Confidence::Certain).exit(1);
    assert!(diagnosis.to_string().contains(&format!("as pid {} sees it", redis.pid())), "{diagnosis}");
}

#[test]
fn the_disk_of_another_server_is_not_the_targets() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.sh("mkdir -p /srv/a /srv/b");
    let _target = server.redis(&["--protected-mode", "no", "--dir", "/srv/a"]);
    let _other = server.redis(&["--protected-mode", "no", "--port", "7000", "--dir", "/srv/b"]);
    server.sh("rmdir /srv/b");
    client.joined(&server, &["-h", "10.77.1.2"]).exit(0).check("disk", "pass");
    let of_other = client.joined(&server, &["-h", "10.77.1.2", "-p", "7000"]);
    of_other.finding("disk/folder-missing");
}
