//! What stands in the middle speaks for itself: headers, words and ends of its own, that are taken for those of a server.

use std::time::Duration;

use crate::proxies::tunnel;
use crate::world::proxies::{self, DEFAULTS, HAPROXY, lacks, listens};
use crate::world::{Authority, Confidence, Host, Lab, Running, Stub};

const SERVER: &str = "10.77.1.2";
const FAR: &str = "10.77.2.2";
const HOME: &str = "127.0.0.1";

/// A real `HAProxy` with this section, which listens on port 7001.
#[track_caller]
fn haproxy(host: &Host, section: &str) -> Running {
    proxies::haproxy(host, (HAPROXY, &format!("{DEFAULTS}listen redis\n{section}")), (7001, &["-db"]))
}

#[test]
fn a_right_password_behind_a_header_makes_no_stranger() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") {
        return;
    }
    let _redis = one.redis(&["--port", "6392", "--requirepass", "hunter"]);
    let _proxy = haproxy(&one, " bind *:7001\n server a 127.0.0.1:6392 send-proxy");
    for password in ["hunter", "wrong"] {
        let check = one.doctor(&["-h", HOME, "-p", "7001"]).env("REDISCLI_AUTH", password).diagnose();
        check.first_cause("proxy-protocol", Confidence::Likely).not_cause("not-redis").nothing_certain().exit(1);
        check.finding("ping/proxy-header");
    }
    let without = one.diagnose(&["-h", HOME, "-p", "7001"]);
    without.cause_beside("proxy-protocol", Confidence::Likely, "password-missing").not_cause("not-redis").exit(1);
}

#[test]
fn a_proxy_on_loopback_is_told_in_its_own_words() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&server, "haproxy") {
        return;
    }
    let _redis = server.redis(&["--port", "6380", "--bind", HOME, "--requirepass", "pw"]);
    let proxy = haproxy(&server, " bind 127.0.0.1:7001\n server a 127.0.0.1:6380");
    let ask = ["-h", SERVER, "-p", "7001"];
    for check in [server.diagnose(&ask), client.joined(&server, &ask)] {
        check.first_cause("proxy-on-loopback", Confidence::Likely).not_cause("loopback-only").nothing_certain().exit(1);
        check.finding("process/proxy-elsewhere");
        let text = check.report["causes"][0]["remedy"].to_string();
        assert!(text.contains("'bind' line in the configuration of HAProxy") && !text.contains("redis.conf"), "{text}");
    }
    drop(proxy);
    let _proxy = haproxy(&server, " bind 127.0.0.1:7001,10.77.1.2:7001\n server a 127.0.0.1:6380");
    client.doctor(&ask).env("REDISCLI_AUTH", "pw").diagnose().healthy();
    // Another program than a proxy is no Redis either.
    let _stub = server.tcp_stub_at("127.0.0.1:7002", Stub::Silent);
    server.diagnose(&["-h", SERVER, "-p", "7002"]).nothing_certain().exit(1);
}

#[test]
fn a_tunnel_of_ssh_ends_on_loopback() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let Some(_tunnel) = tunnel(&lab, &client, &server, 6379) else { return };
    let _redis = server.redis(&["--bind", HOME]);
    client.diagnose(&["-p", "6380"]).healthy();
    let near = client.diagnose(&["-h", "10.77.1.1", "-p", "6380"]);
    near.first_cause("proxy-on-loopback", Confidence::Likely).not_cause("loopback-only").nothing_certain().exit(1);
    assert!(near.to_string().contains("ssh -L 10.77.1.1:6380:"), "{near}");
    // The other way round, sshd listens.
    let line = format!(
        "ssh -N -i /run/lab/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -R 7005:127.0.0.1:6380 root@{SERVER}"
    );
    let _back = client.command(&line.split(' ').collect::<Vec<_>>()).spawn();
    listens(&server, 7005);
    server.diagnose(&["-p", "7005"]).healthy();
    let far = server.diagnose(&["-h", SERVER, "-p", "7005"]);
    far.first_cause("proxy-on-loopback", Confidence::Likely).not_cause("loopback-only").nothing_certain().exit(1);
    assert!(far.to_string().contains("GatewayPorts clientspecified"), "{far}");
}

#[test]
fn a_pong_of_twemproxys_own_is_no_health() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&server, "nutcracker") {
        return;
    }
    let pool =
        "pool:\n  listen: 0.0.0.0:6379\n  hash: fnv1a_64\n  redis: true\n  servers:\n   - 127.0.0.1:6380:1 one\n";
    server.file("/run/lab/nutcracker.yml", pool);
    let files = ["-o", "/run/lab/nutcracker.log", "-p", "/run/lab/nutcracker.pid"];
    let _proxy = server.command(&[&["nutcracker", "-c", "/run/lab/nutcracker.yml"], &files[..]].concat()).spawn();
    listens(&server, 6379);
    let dead = client.diagnose(&["-h", SERVER]);
    dead.finding("state/upstream").first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    assert!(!dead.findings().contains(&"auth/key-unseen".to_owned()), "{dead}");
    let _redis = server.redis(&["--port", "6380", "--bind", HOME]);
    let check = client.diagnose(&["-h", SERVER]);
    check.finding("ping/limited").exit(0);
    assert!(check.causes().is_empty() && check.report["status"] == "healthy", "{check}");
}

#[test]
fn what_envoy_answers_ping_is_told() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    for (port, says) in [("7001", "-ERR no upstream host\r\n"), ("7002", "-upstream failure\r\n")] {
        let _stub = server.tcp_stub(port.parse().unwrap(), Stub::Reply(says.repeat(3).into()));
        let check = client.diagnose(&["-h", SERVER, "-p", port]);
        check.finding("ping/error").first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    }
}

#[test]
fn a_handshake_that_drips_is_no_stranger() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    // The beginning of a ServerHello, and of an alert.
    for (port, bytes) in [("7001", &b"\x16\x03\x03\0\x5a\x02"[..]), ("7002", b"\x15\x03\x03\0\x02\x02")] {
        let _stub = server.tcp_stub(port.parse().unwrap(), Stub::BytePerSecond(bytes.into()));
        let ask = ["-h", SERVER, "-p", port, "-t", "3"];
        client.diagnose(&ask).nothing_certain().exit(1);
        client.diagnose(&[&ask[..], &["--tls"]].concat()).nothing_certain().not_cause("not-redis").exit(1);
    }
}

#[test]
fn a_sidecar_that_closes_is_seen_by_its_redirect() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis(&["--protected-mode", "no"]);
    let _sidecar = client.tcp_stub(15_001, Stub::ReplyThenClose(Vec::new()));
    client.nft(
        "add table ip nat; add chain ip nat output { type nat hook output priority -100; }; \
         add rule ip nat output tcp dport 6379 redirect to :15001",
    );
    let check = client.diagnose(&["-h", FAR]);
    check.finding("ping/closed").first_cause("mesh-reset", Confidence::Likely).nothing_certain().exit(1);
    // The same end from where there is no redirect.
    client.nft("flush ruleset");
    let _stub = server.tcp_stub(7001, Stub::ReplyThenClose(Vec::new()));
    client.diagnose(&["-h", FAR, "-p", "7001"]).not_cause("mesh-reset").nothing_certain().exit(1);
}

/// A client and a server with TLS alone, and how it is asked.
fn with_tls(client: &Host, server: &Host) {
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    client.file("/tmp/ca.pem", authority.pem());
}

#[test]
fn what_tls_met_is_verified_with_tls() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    with_tls(&client, &server);
    let redis = server.tls_redis(&["--tls-auth-clients", "no"]);
    let ask = ["-h", SERVER, "--tls", "--cacert", "/tmp/ca.pem", "-t", "2"];
    redis.freeze();
    let stopped = client.diagnose(&ask);
    stopped.cause("process-stopped", Confidence::Possible).nothing_certain().exit(1);
    for cause in stopped.report["causes"].as_array().into_iter().flatten() {
        let last = cause["remedy"].as_array().and_then(|steps| steps.last()).map(ToString::to_string);
        assert!(last.as_ref().is_some_and(|last| last.contains("--tls")), "{last:?}\n{stopped}");
    }
    redis.thaw();
    client.diagnose(&ask).healthy();
    // The server is heard, and what is large of it is lost: nobody is paused or stopped, and its port hangs up on plain RESP.
    server.nft(
        "add table ip t; add chain ip t o { type filter hook output priority 0; }; \
         add rule ip t o tcp sport 6379 ip length > 700 drop",
    );
    let lost = client.diagnose(&ask);
    lost.nothing_certain().exit(1);
    for id in ["data-reset", "proxy-backend-down", "clients-paused"] {
        lost.not_cause(id);
    }
}

#[test]
fn a_handshake_that_stops_halfway_is_no_pause() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    // The beginning of a ServerHello of 122 bytes, and no more of it.
    let half = [&b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03"[..], &[7; 40]].concat();
    let _stub = server.tcp_stub(7001, Stub::Reply(half));
    let check = client.diagnose(&["-h", SERVER, "-p", "7001", "--tls", "-t", "1"]);
    check.not_cause("clients-paused").not_cause("process-stopped").nothing_certain().exit(1);
    check.within(Duration::from_secs(3));
}
