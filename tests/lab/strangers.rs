//! Other services where Redis should be: real ones, and stand-ins that send the bytes of real ones.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::world::pki::{Issued, in_days};
use crate::world::{Authority, Confidence, Diagnosis, Host, Lab, Running, Server, Stub, enter};

const SERVER: &str = "10.77.1.2";
/// How long a service may take to listen.
const TO_LISTEN: Duration = Duration::from_secs(20);

/// Starts a service and waits until it listens; `None`, loudly, where its program is not there.
fn serve(host: &Host, argv: &[&str], port: u16) -> Option<Running> {
    if !argv[0].starts_with("/usr/local") && enter::find(argv[0]).is_none() {
        enter::missing(&format!("{} is not there (tests/setup)", argv[0]));
        return None;
    }
    let running = host.command(argv).spawn();
    wait_for(host, port, &running);
    Some(running)
}

fn wait_for(host: &Host, port: u16, running: &Running) {
    let begun = Instant::now();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while !host.inside(move || TcpStream::connect(address).is_ok()) {
        assert!(begun.elapsed() < TO_LISTEN, "nothing listens on {port}: {}", running.said());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn nginx(host: &Host) -> Option<Running> {
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path /run/n;"));
    let conf = format!(
        "daemon off; master_process off; pid /run/nginx.pid; error_log /dev/null; events {{}}\n\
         http {{ access_log off; {} server {{ listen 8080; }} \
         server {{ listen 8443 ssl; ssl_certificate /etc/tls/server.crt; ssl_certificate_key /etc/tls/server.key; }} }}\n",
        folders.concat()
    );
    host.file("/etc/nginx/lab.conf", conf);
    serve(host, &["nginx", "-c", "/etc/nginx/lab.conf"], 8080)
}

fn sshd(host: &Host) -> Option<Running> {
    host.sh("mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f /run/host_key");
    host.file("/etc/ssh/lab.conf", "Port 2222\nHostKey /run/host_key\nUsePAM no\nPidFile none\n");
    serve(host, &["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/lab.conf"], 2222)
}

fn ask(port: &str) -> [&str; 6] {
    ["-h", SERVER, "-p", port, "-t", "1"]
}

/// That the port is no Redis' is certain, and it is said whose it is.
#[track_caller]
fn is_of(diagnosis: &Diagnosis, who: &str) {
    diagnosis.first_cause("not-redis", Confidence::Certain).exit(1);
    let summary = diagnosis.report["causes"][0]["summary"].as_str().unwrap_or_default();
    assert!(summary.contains(who), "{summary}\n{diagnosis}");
}

/// The only cause, with the evidence of both ends.
#[track_caller]
fn is_one_of_both_ends(diagnosis: &Diagnosis, heard: &str, owner: &str) {
    assert_eq!(diagnosis.report["causes"].as_array().map(Vec::len), Some(1), "{diagnosis}");
    let evidence = diagnosis.report["causes"][0]["evidence"].to_string();
    assert!(evidence.contains(heard) && evidence.contains(owner), "{evidence}");
}

#[test]
fn real_services_are_named() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    if let Some(_nginx) = nginx(&server) {
        is_of(&client.diagnose(&ask("8080")), "a web server (nginx/");
        // It says in plain text that it wants TLS, and inside it no Redis answers either.
        is_of(&client.diagnose(&ask("8443")), "a web server (nginx/");
        is_of(&client.diagnose(&[&ask("8443")[..], &["--tls", "--insecure"]].concat()), "a web server (nginx/");
        // A proxy by its name, and none by its bytes.
        let there = server.diagnose(&ask("8080"));
        is_of(&there, "a web server (nginx/");
        is_one_of_both_ends(&there, "HTTP/1.1 400", "nginx (pid");
    }
    if let Some(_sshd) = sshd(&server) {
        is_of(&client.diagnose(&ask("2222")), "an SSH server (OpenSSH_");
        is_one_of_both_ends(&client.joined(&server, &ask("2222")), "SSH-2.0", "sshd (pid");
    }
    if let Some(_memcached) = serve(&server, &["memcached", "-u", "root", "-p", "11211"], 11211) {
        is_of(&client.diagnose(&ask("11211")), "a memcached");
        let joined = client.joined(&server, &ask("11211"));
        is_of(&joined, "a memcached");
        is_one_of_both_ends(&joined, "ERROR", "memcached (pid");
        let there = server.diagnose(&ask("11211"));
        is_of(&there, "a memcached");
        is_one_of_both_ends(&there, "ERROR", "memcached (pid");
    }
}

#[test]
fn a_real_postgres_closes_and_is_named_by_a_question() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let (client, server) = lab.pair();
    let found = server.sh("ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1").stdout;
    let bin = found.trim();
    if bin.is_empty() {
        return enter::skipped("PostgreSQL is not there");
    }
    server.sh("mkdir -p /var/lib/pg; chmod 777 /var/lib/pg");
    let made = server
        .command(&["sh", "-c", &format!("{bin}/initdb -D /var/lib/pg/d --no-sync -A trust -U lab")])
        .user(65534)
        .run();
    assert_eq!(made.code, Some(0), "{made}");
    let line = format!("exec {bin}/postgres -D /var/lib/pg/d -k /tmp -F -c 'listen_addresses=*' -c port=6379");
    let running = server.command(&["sh", "-c", &line]).user(65534).spawn();
    wait_for(&server, 6379, &running);
    is_of(&client.diagnose(&ask("6379")), "a PostgreSQL server");
    client.diagnose(&[&ask("6379")[..], &["--no-counter-probe"]].concat()).nothing_certain().exit(1);
    let there = server.diagnose(&ask("6379"));
    is_of(&there, "a PostgreSQL server");
    is_one_of_both_ends(&there, "SSLRequest", "postgres (pid");
}

#[test]
fn stand_ins_are_named_by_the_bytes_of_the_real_ones() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    // MySQL 8.0.36, handshake of protocol 10.
    let mysql = b"J\0\0\0\n8.0.36\0\x0b\0\0\0\x1a\x45\x31\x0f\x5b\x1d\x2c\x6f\0\xff\xff\xff\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\0\
        \x06\x48\x40\x2a\x5b\x1c\x33\x28\x59\x5f\x7a\x21\0caching_sha2_password\0";
    let cases: Vec<(Stub, &str)> = vec![
        (Stub::Banner(mysql.to_vec()), "a MySQL server (8.0.36)"),
        (Stub::ReplyThenClose(b"AMQP\0\0\x09\x01".to_vec()), "an AMQP broker (0-9-1)"),
        (
            Stub::Banner(b"220 mail.test ESMTP Postfix (Debian/GNU)\r\n".to_vec()),
            "a mail server (mail.test ESMTP Postfix",
        ),
        (Stub::Banner(b"220 (vsFTPd 3.0.3)\r\n".to_vec()), "an FTP server ((vsFTPd 3.0.3))"),
        (Stub::Banner(b"+OK Dovecot (Debian) ready.\r\n".to_vec()), "a POP3 server"),
        (Stub::Banner(b"* OK [CAPABILITY IMAP4rev1] Dovecot ready.\r\n".to_vec()), "an IMAP server"),
        (Stub::Banner(b"INFO {\"server_id\":\"NA\",\"version\":\"2.10.4\"} \r\n".to_vec()), "a NATS server (2.10.4)"),
    ];
    for (number, (stub, who)) in cases.into_iter().enumerate() {
        let port = (7_000 + number).to_string();
        let _stub = server.tcp_stub(port.parse().unwrap(), stub);
        is_of(&client.diagnose(&ask(&port)), who);
    }
}

#[test]
fn nobody_is_sent_http_and_what_is_asked_beside_resp_is_little() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let stubs = [
        Stub::ReplyThenClose(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        Stub::CloseAtOnce,
        Stub::Silent,
        Stub::Picky(b"PING".to_vec(), Vec::new()),
    ];
    for (number, stub) in stubs.into_iter().enumerate() {
        let port = 17_000 + u16::try_from(number).unwrap();
        let listener = server.tcp_stub(port, stub);
        client.diagnose(&ask(&port.to_string())).exit(1);
        let heard = listener.heard();
        assert!(heard.len() <= 5, "{} connections", heard.len());
        for said in heard.iter().filter(|said| !said.is_empty()) {
            let is_known =
                said.starts_with(b"*") || said.starts_with(&[22, 3]) || said.starts_with(&[0, 0, 0, 8, 4, 0xd2]);
            assert!(is_known, "{said:?}");
        }
    }
}

#[test]
fn the_bus_of_a_cluster_is_told_by_its_node() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let node = server.redis(&["--cluster-enabled", "yes", "--protected-mode", "no", "--cluster-announce-ip", SERVER]);
    let diagnosis = client.diagnose(&ask("16379"));
    diagnosis.first_cause("cluster-bus-port", Confidence::Certain).exit(1);
    client.diagnose(&["-h", SERVER]).healthy();
    let joined = client.joined(&server, &ask("16379"));
    joined.first_cause("cluster-bus-port", Confidence::Certain).exit(1);
    assert!(node.log().contains("Cluster bus"), "{}", node.log());
    client.diagnose(&[&ask("16379")[..], &["--no-counter-probe"]].concat()).nothing_certain().exit(1);
}

#[test]
fn a_node_that_nobody_has_met_does_not_know_its_address() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _node = server.redis(&["--cluster-enabled", "yes", "--protected-mode", "no"]);
    client.diagnose(&ask("16379")).first_cause("cluster-bus-port", Confidence::Likely).nothing_certain().exit(1);
    // Its own machine sees whose port it is.
    server.diagnose(&ask("16379")).first_cause("cluster-bus-port", Confidence::Certain).exit(1);
}

#[test]
fn the_bus_of_a_cluster_with_tls_wants_a_certificate() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER, "127.0.0.1"]), &authority.pem());
    client.file("/tmp/ca.pem", authority.pem());
    let _node = server.tls_redis(&["--tls-auth-clients", "no", "--tls-cluster", "yes", "--cluster-enabled", "yes"]);
    let tls = ["--tls", "--cacert", "/tmp/ca.pem"];
    let afar = client.diagnose(&[&ask("16379")[..], &tls].concat());
    afar.first_cause("cluster-bus-port", Confidence::Likely).nothing_certain().exit(1);
    let here = ["-h", "127.0.0.1", "-p", "16379", "--tls", "--cacert", "/etc/tls/ca.crt"];
    server.diagnose(&here).first_cause("cluster-bus-port", Confidence::Certain).exit(1);
}

#[test]
fn what_resets_above_a_redis_is_not_its_bus() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let mut alone = server.redis(&["--protected-mode", "no"]);
    let _resetting = server.tcp_stub(16379, Stub::ResetAtOnce);
    client.diagnose(&ask("16379")).not_cause("cluster-bus-port").nothing_certain().exit(1);
    server.diagnose(&ask("16379")).not_cause("cluster-bus-port").exit(1);
    alone.kill();
    let moved = ["--cluster-enabled", "yes", "--cluster-port", "17000", "--cluster-announce-ip", SERVER];
    let _moved = server.redis(&[&moved[..], &["--protected-mode", "no"]].concat());
    client.diagnose(&ask("16379")).not_cause("cluster-bus-port").exit(1);
    client.diagnose(&ask("17000")).not_cause("cluster-bus-port").nothing_certain().exit(1);
}

#[test]
fn a_program_that_never_speaks_resp_is_known_by_its_name_alone() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.sh("cp $(readlink -f $(command -v python3)) /usr/local/bin/mongod");
    let code = "import socket\ns = socket.create_server(('', 27017))\nwhile True:\n c, _ = s.accept(); c.recv(4096); c.close()";
    let Some(_mongod) = serve(&server, &["/usr/local/bin/mongod", "-c", code], 27017) else { return };
    let there = server.diagnose(&ask("27017"));
    there.first_cause("not-redis", Confidence::Likely).nothing_certain().exit(1);
    client.joined(&server, &ask("27017")).first_cause("not-redis", Confidence::Likely).nothing_certain();
    client.diagnose(&ask("27017")).not_cause("not-redis").nothing_certain().exit(1);
}

#[test]
fn the_bus_of_a_cluster_with_tls_is_not_its_port_for_clients() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    let _node = server.tls_redis(&["--cluster-enabled", "yes", "--tls-cluster", "yes", "--tls-auth-clients", "no"]);
    client.diagnose(&ask("16379")).nothing_certain().exit(1);
    client.joined(&server, &ask("16379")).first_cause("cluster-bus-port", Confidence::Certain).exit(1);
}

#[test]
fn a_cluster_with_a_password_tells_strangers_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _node = server.redis(&["--cluster-enabled", "yes", "--requirepass", "pw", "--cluster-announce-ip", SERVER]);
    let args = [&ask("16379")[..], &["-a", "pw"]].concat();
    client.diagnose(&args).nothing_certain().exit(1);
    client.joined(&server, &args).first_cause("cluster-bus-port", Confidence::Certain).exit(1);
}

#[test]
fn a_redis_of_any_version_is_no_stranger() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    for version in [Server::Redis50, Server::Debian, Server::Valkey90] {
        let Some(_redis) = one.redis_of(version, &[]) else { continue };
        let diagnosis = one.diagnose(&[]);
        diagnosis.healthy();
    }
}

/// A program of one's own that ends TLS before the Redis on port 6380: certificate, key, and `CERT_REQUIRED` where it asks for one.
const ENDS_TLS: &str = "#!/usr/bin/python3
import socket, ssl, sys, threading
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(sys.argv[2], sys.argv[3])
if len(sys.argv) > 4: c.verify_mode = ssl.CERT_REQUIRED; c.load_verify_locations(sys.argv[4])
def pump(a, b):
    try:
        while d := a.recv(4096): b.sendall(d)
    except OSError: pass
    for s in (a, b): s.close()
def one(s):
    try: s = c.wrap_socket(s, server_side=True)
    except OSError: return
    u = socket.create_connection(('127.0.0.1', 6380))
    threading.Thread(target=pump, args=(s, u), daemon=True).start(); pump(u, s)
l = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True: threading.Thread(target=one, args=(l.accept()[0],), daemon=True).start()
";

#[test]
fn what_ends_tls_before_a_redis_is_not_to_be_stopped() {
    let Some(lab) = Lab::enter() else { return };
    let server = lab.host("solo");
    let (authority, other) = (Authority::root("Lab CA"), Authority::root("Other CA"));
    let _redis = server.redis(&["--port", "6380", "--bind", "127.0.0.1"]);
    server.program("/usr/local/bin/ends-tls", ENDS_TLS).file("/etc/ca.crt", authority.pem());
    server.sh(
        "cd /etc && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521 -nodes -keyout p521.key -out p521.crt -subj /CN=db \
         -addext subjectAltName=IP:127.0.0.1 -days 30 2>/dev/null",
    );
    let put = |name: &str, issued: Issued| {
        server.file(&format!("/etc/{name}.crt"), issued.chain).file(&format!("/etc/{name}.key"), issued.key);
    };
    put("good", authority.certify(&["127.0.0.1"]));
    put("named", authority.certify(&["db"]));
    put("other", other.certify(&["127.0.0.1"]));
    put("over", authority.issue(&["127.0.0.1"], |params| params.not_after = in_days(-2).into()));
    let ask = |port: &str, cacert: &str, more: &[&str]| {
        let tls = ["-h", "127.0.0.1", "-p", port, "--tls", "--cacert", cacert];
        server.diagnose(&[&tls[..], more].concat())
    };
    let start = |port: &str, name: &str, more: &[&str]| {
        let (cert, key) = (format!("/etc/{name}.crt"), format!("/etc/{name}.key"));
        let running = server.command(&[&["/usr/local/bin/ends-tls", port, &cert, &key][..], more].concat()).spawn();
        wait_for(&server, port.parse().expect("a port"), &running);
        running
    };
    let _p521 = start("6400", "p521", &[]);
    ask("6400", "/etc/p521.crt", &[]).check("tls", "unknown").not_cause("port-taken").exit(3);
    let told = server.sh("redis-cli -p 6400 --tls --cacert /etc/p521.crt PING").stdout;
    assert_eq!(told.trim(), "PONG");
    let causes = [
        ("6401", "named", "certificate-name-mismatch"),
        ("6402", "other", "untrusted-ca"),
        ("6403", "over", "certificate-expired"),
    ];
    for (port, name, cause) in causes {
        let _front = start(port, name, &[]);
        for more in [&[][..], &["--no-counter-probe"]] {
            ask(port, "/etc/ca.crt", more).first_cause(cause, Confidence::Likely).not_cause("port-taken").exit(1);
        }
    }
    let _strict = start("6404", "good", &["/etc/ca.crt"]);
    ask("6404", "/etc/ca.crt", &["--cert", "/etc/good.crt", "--key", "/etc/good.key"]).healthy();
    let none = ask("6404", "/etc/ca.crt", &[]);
    none.first_cause("client-certificate-required", Confidence::Certain).not_cause("port-taken").exit(1);
    let wrong = ask("6404", "/etc/ca.crt", &["--cert", "/etc/other.crt", "--key", "/etc/other.key"]);
    wrong.first_cause("client-certificate-rejected", Confidence::Likely).not_cause("port-taken").exit(1);
    server.diagnose(&["-h", "127.0.0.1", "-p", "6404"]).not_cause("port-taken").exit(1);
}
