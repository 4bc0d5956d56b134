//! Peers that are no Redis, or no honest one: never a wrong claim, a hang, or a control code.

use std::time::Duration;

use crate::world::diagnose::REDISDOC;
use crate::world::{Authority, Confidence, Host, Inside, Lab, Shown, Stub};

const SERVER: &str = "10.77.1.2";
/// With `-t 1`: the step, and what a busy machine takes to start and end a program.
const A_STEP: Duration = Duration::from_millis(1_600);

#[test]
fn other_services_are_not_redis() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let reply = |text: &str| Stub::ReplyThenClose(text.into());
    let banner = |text: &str| Stub::Banner(text.into());
    let services = [
        reply("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
        banner("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
        banner("220 mail.test ESMTP Postfix\r\n"),
        banner("+OK Dovecot ready.\r\n"),
        banner("* OK [CAPABILITY IMAP4rev1] ready.\r\n"),
        banner(":irc.test NOTICE * :*** Looking up your hostname\r\n"),
        banner("J\0\0\0\n8.0.36\0"),
        reply("ERROR\r\nERROR\r\n"),
    ];
    for (number, service) in services.into_iter().enumerate() {
        let port = 7_000 + u16::try_from(number).unwrap();
        let _stub = server.tcp_stub(port, service);
        let args = ["-h", SERVER, "-p", &port.to_string(), "-t", "1"];
        client.diagnose(&args).cause("not-redis", Confidence::Certain).exit(1).within(A_STEP + Duration::from_secs(1));
        let with_password = client.doctor(&args).env("REDISCLI_AUTH", "a-password").diagnose();
        with_password.exit(1).not_cause("credentials-rejected").not_cause("password-missing");
    }
}

#[test]
fn nothing_hangs_or_is_named_by_guess() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let reply = |text: &str| Stub::ReplyThenClose(text.into());
    let cases = [
        (Stub::Silent, "ping/silent"),
        (Stub::CloseAtOnce, "ping/closed"),
        (Stub::BytePerSecond(b"+PONG\r\n".repeat(9)), "ping/cut-short"),
        (Stub::Endless(b"*1000000000\r\n:1\r\n".to_vec()), "ping/not-redis"),
        (Stub::Endless(b"$1000000000\r\nxxxx".to_vec()), "ping/cut-short"),
        (Stub::Endless(b"+OK\r\n".to_vec()), "ping/not-redis"),
        (Stub::Endless(b"garbage".to_vec()), "ping/not-redis"),
        (reply("$999999999999\r\n"), "ping/cut-short"),
        (reply("*1000000000\r\n"), "ping/cut-short"),
        (reply("+PO"), "ping/cut-short"),
        (Stub::Reply(b"$10\r\nabc".to_vec()), "ping/cut-short"),
        (Stub::Reply(b"$2147483647\r\n".to_vec()), "ping/cut-short"),
        (Stub::Endless(b"*2147483647\r\n".to_vec()), "ping/not-redis"),
        (Stub::Endless(b"+PONG\r".to_vec()), "ping/not-redis"),
        (Stub::BytePerSecond(b"+PONG\r\n".to_vec()), "ping/cut-short"),
        (reply("\x15\x03\x01\0\x02\x02F"), "ping/tls-alert"),
        (Stub::Endless(b"\x1b[2J\x1b]0;owned\x07".to_vec()), "ping/not-redis"),
        (reply("-ERR \x1b[2J\x1b]0;owned\x07\r\n"), "ping/error"),
        (Stub::BannerThenClose(b"-ERR connection limit of your plan\r\n".to_vec()), "ping/error"),
        (Stub::BannerThenClose(b"-DENIED Redis is running in protected mode\r\n".to_vec()), "ping/protected-mode"),
    ];
    for (number, (stub, code)) in cases.into_iter().enumerate() {
        let port = 7_000 + u16::try_from(number).unwrap();
        let _stub = server.tcp_stub(port, stub);
        let diagnosis = client.diagnose(&["-h", SERVER, "-p", &port.to_string(), "-t", "1"]);
        // What ends amid a reply is asked again, with packets of several sizes.
        let asked_again = if code == "ping/cut-short" { Duration::from_millis(1_500) } else { Duration::ZERO };
        diagnosis.finding(code).exit(1).within(A_STEP + asked_again);
        if !["ping/not-redis", "ping/protected-mode"].contains(&code) {
            diagnosis.nothing_certain();
        }
        let human = client.redisdoc(&["check", "-h", SERVER, "-p", &port.to_string(), "-t", "1"]).run();
        assert!(!(human.stdout + &diagnosis.ran.stdout).contains('\x1b'), "{diagnosis}");
    }
}

#[test]
fn a_reset_at_once_may_come_before_or_after_we_notice_the_connection() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _stub = server.tcp_stub(6379, Stub::ResetAtOnce);
    for _ in 0..10 {
        let diagnosis = client.diagnose(&["-h", SERVER]);
        let found = diagnosis.exit(1).nothing_certain().findings();
        assert!(found == ["tcp/reset"] || found == ["ping/closed"], "{diagnosis}");
    }
}

#[test]
fn an_echoed_password_is_not_repeated() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let password = "correct-horse-battery";
    let hello = format!("*2\r\n$6\r\nserver\r\n${}\r\n{password}\r\n", password.len());
    let info = format!("redis_version:{password}\r\nrole:{password}\r\n");
    let told =
        format!("-ERR {password}\r\n+{password}\r\n{hello}${}\r\n{info}\r\nand {password} without end", info.len());
    for (port, stub) in [(7_000, Stub::Reply(told.clone().into())), (7_001, Stub::Banner(told.into()))] {
        let _stub = server.tcp_stub(port, stub);
        let args = ["-h", SERVER, "-p", &port.to_string(), "-t", "1"];
        let diagnosis = client.doctor(&args).env("REDISCLI_AUTH", password).diagnose();
        diagnosis.exit(1);
        assert!(!diagnosis.ran.stdout.contains("correct"), "{diagnosis}");
    }
}

#[test]
fn proxies_that_know_few_commands_are_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let proxies = [
        // twemproxy closes on what it does not know, without an answer to what stood before it.
        Stub::Picky(b"HELLO".to_vec(), b"+PONG\r\n".to_vec()),
        // Others answer in order, and close then.
        Stub::ReplyThenClose(b"+PONG\r\n".to_vec()),
        // Others answer what they know, and leave the rest.
        Stub::Reply(b"+PONG\r\n".to_vec()),
        Stub::Reply(b"+PONG\r\n-ERR unknown command 'HELLO'\r\n-ERR unknown command 'INFO'\r\n".to_vec()),
    ];
    for (number, proxy) in proxies.into_iter().enumerate() {
        let port = 7_000 + u16::try_from(number).unwrap();
        let _stub = server.tcp_stub(port, proxy);
        client.diagnose(&["-h", SERVER, "-p", &port.to_string()]).exit(0).finding("ping/limited").within(A_STEP);
    }
}

/// The most memory that a check may take, in KiB: a build with debug information, and the program that measures it.
const MOST_MEMORY: u64 = 32 << 10;

/// Checks, and measures the memory that it took at its most.
#[track_caller]
fn is_bounded(client: &Host, args: &[&str], within: Duration) {
    let code = "import resource, subprocess, sys\ndone = subprocess.run(sys.argv[1:])\n\
                print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\nsys.exit(done.returncode)";
    let line = [&["python3", "-c", code, REDISDOC, "check", "--json"], args].concat();
    let ran = client.command(&line).run();
    assert!(ran.wall <= within, "{args:?} took {:?}\n{ran}", ran.wall);
    assert!(matches!(ran.code, Some(0 | 1 | 3)) && !ran.stdout.contains('\x1b'), "{args:?}\n{ran}");
    let memory: u64 = ran.stderr.trim().parse().unwrap_or_else(|_| panic!("{ran}"));
    assert!(memory <= MOST_MEMORY, "{args:?} took {memory} KiB");
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let record = |length: [u8; 2], fill: u8| [&[22, 3, 3, length[0], length[1]][..], &[fill; 512]].concat();
    let peers = [
        Stub::Endless(b"*1000000000\r\n:1\r\n".to_vec()),
        Stub::Endless(vec![b'x'; 8_192]),
        // A message of 16 MiB in records, each as large as allowed, or too large.
        Stub::Endless([&[22, 3, 3, 0x3f, 0xff, 2, 0xff, 0xff, 0xff][..], &vec![0; 0x3ffb]].concat()),
        Stub::Endless(record([0xff, 0xff], 0)),
        Stub::Endless(record([2, 0], 2)),
        // Empty records, empty messages, warnings.
        Stub::Endless(vec![22, 3, 3, 0, 0]),
        Stub::Endless(vec![22, 3, 3, 0, 4, 0, 0, 0, 0]),
        Stub::Endless(vec![21, 3, 3, 0, 2, 1, 90]),
        Stub::Endless(vec![20, 3, 3, 0, 1, 1]),
        Stub::BytePerSecond([&[22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3][..], &[7; 90]].concat()),
        Stub::Reply([&[22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3][..], &[7; 40]].concat()),
    ];
    for (number, peer) in peers.into_iter().enumerate() {
        let port = 7_000 + u16::try_from(number).unwrap();
        let _stub = server.tcp_stub(port, peer);
        let port = port.to_string();
        for tls in [&[][..], &["--tls"]] {
            let args = [&["-h", SERVER, "-p", &port, "-t", "1"], tls].concat();
            is_bounded(&client, &args, A_STEP + Duration::from_secs(2));
        }
    }
}

#[test]
fn a_server_of_tls_that_is_no_good_is_bounded() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem());
    let issued = authority.certify(&[SERVER]);
    let peers = [
        (Shown::Chain(&issued), Inside::Silent),
        (Shown::Chain(&issued), Inside::Endless(b"+OK\r\n")),
        (Shown::Chain(&issued), Inside::Endless(b"$2147483647\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")),
        (Shown::Chain(&issued), Inside::KeyUpdates),
        (Shown::Copies(&issued, 120), Inside::Silent),
        (Shown::Copies(&issued, 1_000), Inside::Silent),
        (Shown::Garbage(&issued), Inside::Silent),
    ];
    for (number, (shown, inside)) in peers.iter().enumerate() {
        let port = 7_000 + u16::try_from(number).unwrap();
        server.tls_stub(port, shown, *inside);
        let port = port.to_string();
        let args = ["-h", SERVER, "-p", &port, "-t", "1", "--tls", "--cacert", "/tmp/ca.crt"];
        is_bounded(&client, &args, A_STEP + Duration::from_secs(2));
        // OpenSSL takes longer chains than our library, and how long this one is cannot be seen.
        client.diagnose(&args).exit(if matches!(shown, Shown::Copies(_, 1_000)) { 3 } else { 1 });
    }
}
