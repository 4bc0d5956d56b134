//! Servers that turn clients away, and strangers where Redis should be.

use std::time::Duration;

use crate::world::{Confidence, Lab, Server, Stub};

const SERVER: &str = "10.77.1.2";

#[test]
fn protected_mode_is_cured_by_a_password() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&[]);
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.first_cause("protected-mode", Confidence::Certain).exit(1).within(Duration::from_millis(1500));
    // From the same host, by its own address, it is the same; over loopback it is healthy.
    server.diagnose(&["-h", SERVER]).first_cause("protected-mode", Confidence::Certain);
    server.diagnose(&[]).healthy();
    diagnosis.apply(|on| if on == "redis-host" { &server } else { &client });
    client.diagnose(&["-h", SERVER]).first_cause("password-missing", Confidence::Certain);
    let password = server.sh("cat redis-password").stdout;
    assert_eq!(password.len(), 48);
    client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", &password).diagnose().healthy();
}

#[test]
fn protected_mode_across_versions() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    for version in [Server::Redis50, Server::Redis60, Server::Redis62, Server::Redis80, Server::Valkey90] {
        let Some(_redis) = server.redis_of(version, &["--protected-mode", "yes"]) else { continue };
        client.diagnose(&["-h", SERVER]).first_cause("protected-mode", Confidence::Certain).exit(1);
        client.doctor(&["-h", SERVER, "-a", "pw"]).diagnose().first_cause("protected-mode", Confidence::Certain);
    }
}

#[test]
fn no_more_clients() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no", "--maxclients", "1"]);
    let only = server.command(&["redis-cli", "subscribe", "x"]).spawn();
    std::thread::sleep(Duration::from_millis(400));
    client.diagnose(&["-h", SERVER]).first_cause("max-clients", Confidence::Certain).exit(1);
    client.diagnose(&["-h", SERVER, "-a", "pw"]).first_cause("max-clients", Confidence::Certain).exit(1);
    drop(only);
    std::thread::sleep(Duration::from_millis(400));
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn renamed_commands() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let renamed = one.redis(&["--rename-command", "PING", ""]);
    one.diagnose(&[]).first_cause("command-renamed", Confidence::Certain).exit(1);
    drop(renamed);
    let renamed = one.redis(&["--rename-command", "AUTH", "", "--requirepass", "pw"]);
    one.diagnose(&["-a", "pw"]).cause("command-renamed", Confidence::Possible).exit(1);
    drop(renamed);
    // What a client does not need to connect may be hidden.
    let hidden = ["--rename-command", "INFO", "", "--rename-command", "CONFIG", "", "--rename-command", "HELLO", ""];
    let _redis = one.redis(&hidden);
    one.diagnose(&[]).healthy();
}

#[test]
fn a_sentinel_is_no_data_server() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.file("/tmp/sentinel.conf", "port 26379\nsentinel monitor mymaster 127.0.0.1 6379 1\n");
    let _sentinel = one.command(&["redis-server", "/tmp/sentinel.conf", "--sentinel"]).spawn();
    let _redis = one.redis(&[]);
    std::thread::sleep(Duration::from_millis(500));
    one.diagnose(&["-p", "26379"]).first_cause("sentinel-port", Confidence::Certain).exit(1);
    one.diagnose(&["-p", "26379", "--require", "reachable"]).exit(0);
    one.diagnose(&[]).healthy();
}

#[test]
fn strangers_are_no_redis() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let strangers: &[(&str, Stub)] = &[
        ("http", Stub::ReplyThenClose(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n<html>".to_vec())),
        ("ssh", Stub::Banner(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n".to_vec())),
        ("smtp", Stub::Banner(b"220 mail.test ESMTP Postfix\r\n".to_vec())),
        ("pop3", Stub::Banner(b"+OK POP3 ready\r\n".to_vec())),
        ("imap", Stub::Banner(b"* OK [CAPABILITY IMAP4rev1] ready\r\n".to_vec())),
        ("mysql", Stub::Banner(b"J\0\0\0\x0a8.0.36\0\x08\0\0\0".to_vec())),
        ("memcached", Stub::Reply(b"ERROR\r\nERROR\r\n".to_vec())),
        ("endless", Stub::Endless(b"garbage without end ".to_vec())),
    ];
    for (port, (name, stub)) in (7000..).zip(strangers) {
        let _stub = one.tcp_stub(port, stub.clone());
        let diagnosis = one.diagnose(&["-p", &port.to_string(), "-t", "1"]);
        diagnosis.first_cause("not-redis", Confidence::Certain).exit(1).within(Duration::from_millis(2500));
        assert!(!diagnosis.ran.stdout.contains('\x1b'), "{name}");
    }
}

#[test]
fn what_says_too_little_is_no_certainty() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let mute: &[Stub] = &[
        Stub::Silent,
        Stub::CloseAtOnce,
        Stub::ResetAtOnce,
        Stub::BytePerSecond(b"+PO".to_vec()),
        Stub::Reply(b"$999999999999\r\n".to_vec()),
        Stub::Reply(b"*1000000000\r\n".to_vec()),
        Stub::Reply(b"-ERR half an err".to_vec()),
    ];
    for (port, stub) in (7100..).zip(mute) {
        let _stub = one.tcp_stub(port, stub.clone());
        let diagnosis = one.diagnose(&["-p", &port.to_string(), "-t", "1"]);
        diagnosis.nothing_certain().exit(1).within(Duration::from_millis(2500));
    }
}

#[test]
fn endless_replies_are_read_with_a_bound() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    for (port, bytes) in [(7200, &b"+OK\r\n"[..]), (7201, b"$65536\r\nxxxxxxxx"), (7202, b"\x1b[2J\x1b]0;x\x07")] {
        let _stub = one.tcp_stub(port, Stub::Endless(bytes.to_vec()));
        let diagnosis = one.diagnose(&["-p", &port.to_string(), "-t", "1"]);
        diagnosis.exit(1).within(Duration::from_millis(2500));
        assert!(!diagnosis.ran.stdout.contains('\x1b'));
        let human = one.redisdoc(&["check", "-p", &port.to_string(), "-t", "1", "--color", "never"]).run();
        assert!(!human.stdout.contains('\x1b'), "{}", human.stdout);
    }
}

#[test]
fn a_proxy_that_closes_on_unknown_commands_is_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    // As twemproxy does: it answers PING, and closes without a word on HELLO and INFO.
    let python = "import socket,threading\n\
        l=socket.socket();l.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1);l.bind(('127.0.0.1',6379));l.listen(9)\n\
        def serve(c):\n\
        \x20   while True:\n\
        \x20       data=c.recv(4096)\n\
        \x20       if not data or b'HELLO' in data or b'INFO' in data: c.close(); return\n\
        \x20       if b'PING' in data: c.sendall(b'+PONG\\r\\n')\n\
        while True: threading.Thread(target=serve,args=(l.accept()[0],),daemon=True).start()\n";
    let _proxy = one.command(&["python3", "-c", python]).spawn();
    std::thread::sleep(Duration::from_millis(700));
    one.diagnose(&[]).healthy();
}
