//! The lab itself: what the scenarios take for granted.

use std::time::{Duration, Instant};

use crate::world::enter::skipped;
use crate::world::{Confidence, DnsStub, Kind, Lab, Server, Stub};

#[test]
fn two_hosts_talk_and_are_up_soon() {
    let Some(lab) = Lab::enter() else { return };
    let begun = Instant::now();
    let (client, server) = lab.pair();
    let up = begun.elapsed();
    let redis = server.redis(&["--bind", "10.77.1.2", "fd77:1::2", "--requirepass", "s3cret"]);
    for address in ["10.77.1.2", "fd77:1::2"] {
        let said = client.command(&["redis-cli", "-h", address, "ping"]).env("REDISCLI_AUTH", "s3cret").run().ok();
        assert_eq!(said.stdout, "PONG\n");
    }
    assert!(redis.pid() < 100, "pid {} is of the host's own", redis.pid());
    assert!(up < Duration::from_secs(2), "two hosts took {up:?}");
    eprintln!("two hosts: {up:?}; with a server and two clients: {:?}", begun.elapsed());
}

#[test]
fn a_router_forwards_both_families() {
    let Some(lab) = Lab::enter() else { return };
    let begun = Instant::now();
    let (client, _router, server) = lab.routed();
    eprintln!("three hosts: {:?}", begun.elapsed());
    let _redis = server.redis(&["--protected-mode", "no"]);
    for address in ["10.77.2.2", "fd77:2::2"] {
        assert_eq!(client.run(&["redis-cli", "-h", address, "ping"]).ok().stdout, "PONG\n");
    }
}

#[test]
fn a_dropping_router_is_waited_for_and_a_rejecting_one_is_not() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&["--protected-mode", "no"]);
    router.nft(
        "add table inet t; add chain inet t f { type filter hook forward priority 0; }
         add rule inet t f tcp dport 6379 drop",
    );
    let dropped = client.command(&["redis-cli", "-h", "10.77.2.2", "ping"]).deadline(Duration::from_secs(1)).run();
    assert!(dropped.timed_out, "{dropped}");
    router.nft("flush chain inet t f; add rule inet t f tcp dport 6379 reject with tcp reset");
    let rejected = client.run(&["redis-cli", "-h", "10.77.2.2", "ping"]);
    assert!(rejected.stderr.contains("refused") && rejected.wall < Duration::from_secs(1), "{rejected}");
}

#[test]
fn a_name_server_answers_as_told() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let stub = DnsStub::new("[::]:53")
        .a("db.test", "10.77.1.2")
        .aaaa("db.test", "fd77:1::2")
        .cname("alias.test", "db.test")
        .a("slow6.test", "10.77.1.2")
        .silent_for("slow6.test", Kind::Aaaa)
        .servfail("broken.test")
        .nodata("empty.test");
    let dns = server.dns(stub);
    client.resolv_conf("nameserver 10.77.1.2\noptions timeout:1 attempts:1\n");
    for name in ["db.test", "alias.test"] {
        let said = client.run(&["getent", "ahosts", name]).ok().stdout;
        assert!(said.contains("10.77.1.2 ") && said.contains("fd77:1::2 "), "{said}");
    }
    for (name, code) in [("nowhere.test", 2), ("broken.test", 2), ("empty.test", 2)] {
        assert_eq!(client.run(&["getent", "ahosts", name]).code, Some(code), "{name}");
    }
    assert!(client.run(&["getent", "ahosts", "slow6.test"]).wall > Duration::from_millis(900));
    assert!(dns.queries().contains(&("db.test".to_owned(), Kind::A)));
}

#[test]
fn a_name_server_asks_to_be_asked_over_tcp() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _dns = one.dns(DnsStub::new("127.0.0.1:53").a("db.test", "10.9.9.9").truncate_udp());
    one.resolv_conf("nameserver 127.0.0.1\n");
    assert!(one.run(&["getent", "ahosts", "db.test"]).ok().stdout.contains("10.9.9.9"));
}

#[test]
fn servers_of_every_version_start() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    for server in Server::ALL {
        let Some(_redis) = one.redis_of(server, &[]) else { continue };
        let info = one.run(&["redis-cli", "info", "server"]).ok().stdout;
        let versions: Vec<&str> = info.lines().filter(|line| line.contains("_version:")).collect();
        assert!(!versions.is_empty(), "{info}");
        eprintln!("{server:?}: {}", versions.join(" "));
    }
}

#[test]
fn a_server_can_run_as_nobody() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return skipped("other users: the tests do not run as root");
    }
    let one = lab.host("solo");
    let redis = one.redis_as(65534, &[]);
    let status = one.read(&format!("/proc/{}/status", redis.pid()));
    assert!(status.contains("Uid:\t65534\t"), "{status}");
    assert_eq!(one.command(&["id", "-u"]).user(65534).run().ok().stdout, "65534\n");
}

#[test]
fn stubs_do_as_told() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let ping = |port: &str| {
        client.command(&["redis-cli", "-h", "10.77.1.2", "-p", port, "ping"]).deadline(Duration::from_millis(700)).run()
    };
    let silent = server.tcp_stub(7001, Stub::Silent);
    assert!(ping("7001").timed_out);
    assert!(String::from_utf8_lossy(&silent.heard().concat()).to_uppercase().contains("PING"));
    server.tcp_stub(7002, Stub::BannerThenClose(b"-DENIED Redis is running in protected mode\r\n".to_vec()));
    let denied = ping("7002");
    assert!((denied.stdout + &denied.stderr).contains("DENIED"));
    server.tcp_stub(7003, Stub::ResetAtOnce);
    assert!(ping("7003").stderr.contains("reset"));
    server.tcp_stub(7004, Stub::CloseAtOnce);
    assert!(ping("7004").code != Some(0));
    server.tcp_stub(7005, Stub::Script(vec![(b"ping".to_vec(), b"+PONG\r\n".to_vec())]));
    assert_eq!(ping("7005").ok().stdout, "PONG\n");
    server.tcp_stub(7006, Stub::Endless(vec![b'x'; 4096]));
    assert!(ping("7006").code != Some(0));
}

#[test]
fn hosts_share_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let redis = server.redis_conf("bind 127.0.0.1\n");
    server
        .file("/.dockerenv", "")
        .hosts_file("10.77.1.2 db\n")
        .program("/usr/local/bin/podman", "#!/bin/sh\necho mine\n");
    assert_eq!(server.run(&["podman"]).ok().stdout, "mine\n");
    for path in ["/.dockerenv", "/etc/redis/redis.conf", "/usr/local/bin/podman"] {
        assert!(client.run(&["test", "-e", path]).code == Some(1), "the client sees {path}");
        assert!(server.run(&["test", "-e", path]).code == Some(0), "the server does not see {path}");
    }
    assert!(client.run(&["pgrep", "redis-server"]).code == Some(1));
    assert_eq!(server.run(&["pgrep", "redis-server"]).ok().stdout, format!("{}\n", redis.pid()));
    assert!(!client.read("/etc/hosts").contains("db"));
    assert_eq!(client.run(&["hostname"]).ok().stdout, "client\n");
    assert_eq!(client.run(&["ls", "/sys/class/net"]).ok().stdout, "eth0\nlo\n");
}

#[test]
fn a_service_is_restarted_by_its_repair() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.systemd("bind 127.0.0.1\nprotected-mode no\n").sh("systemctl start redis-server");
    let pid = server.sh("systemctl show -p MainPID --value redis-server").stdout;
    assert_eq!(server.sh("pgrep redis-server").stdout, pid);
    assert!(client.run(&["redis-cli", "-h", "10.77.1.2", "ping"]).stderr.contains("refused"));
    server.file("/etc/redis/redis.conf", "bind 127.0.0.1 10.77.1.2\nprotected-mode no\n");
    server.sh("systemctl restart redis-server");
    assert_eq!(client.run(&["redis-cli", "-h", "10.77.1.2", "ping"]).ok().stdout, "PONG\n");
    server.file("/etc/redis/redis.conf", "bogus yes\n");
    assert!(server.run(&["systemctl", "restart", "redis-server"]).code == Some(1));
    assert_eq!(server.run(&["systemctl", "is-active", "redis-server"]).stdout, "failed\n");
}

#[test]
fn redisdoc_is_asked_and_judged() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.diagnose(&["-p", "6379"]).cause("not-running", Confidence::Possible).exit(1);
    let _redis = one.redis(&[]);
    one.diagnose(&["-p", "6379"]).healthy();
}

#[test]
fn a_repair_is_carried_out_where_it_belongs() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.systemd("# ours\n\nbind 127.0.0.1\nprotected-mode no\n").sh("systemctl start redis-server");
    let mut diagnosis = client.diagnose(&["-h", "10.77.1.2"]);
    diagnosis.report = serde_json::json!({ "causes": [{ "id": "loopback-only", "confidence": "certain", "remedy": [
        { "kind": "tell", "text": "widen bind" },
        { "kind": "edit", "on": "redis-host", "file": "/etc/redis/redis.conf", "line": 3,
          "from": "bind 127.0.0.1", "to": "bind 127.0.0.1 10.77.1.2" },
        { "kind": "run", "on": "redis-host", "command": "sudo systemctl restart redis-server" },
        { "kind": "run", "on": "here", "command": "redisdoc check -h 10.77.1.2" },
    ] }] });
    diagnosis.first_cause("loopback-only", Confidence::Certain);
    diagnosis.apply(|on| if on == "redis-host" { &server } else { &client });
    assert_eq!(server.read("/etc/redis/redis.conf"), "# ours\n\nbind 127.0.0.1 10.77.1.2\nprotected-mode no\n");
    assert_eq!(client.run(&["redis-cli", "-h", "10.77.1.2", "ping"]).ok().stdout, "PONG\n");
}
