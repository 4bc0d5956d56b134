//! Ways of a proxy that its places do not tell: set over another socket, from another address, in another protocol, for some keys
//! alone.

use crate::world::proxies::{self, DEFAULTS, lacks, listens};
use crate::world::{Confidence, Diagnosis, Host, Lab, Running};

const SERVER: &str = "10.77.1.2";
const ALLOWED: &str = "10.77.1.9";

#[track_caller]
fn haproxy(host: &Host, text: &str, (port, more): (u16, &[&str])) -> Running {
    let path = format!("/etc/haproxy/{port}.cfg");
    proxies::haproxy(host, (&path, text), (port, more))
}

#[track_caller]
fn twemproxy(host: &Host, pools: &[(u16, &[&str])]) -> Running {
    let pool = |(port, servers): &(u16, &[&str])| {
        let servers: Vec<String> = servers.iter().map(|server| format!("   - {server}:1\n")).collect();
        let servers = servers.concat();
        format!(
            "p{port}:\n  listen: 0.0.0.0:{port}\n  hash: fnv1a_64\n  redis: true\n  timeout: 400\n  servers:\n{servers}"
        )
    };
    host.file("/run/lab/nutcracker.yml", pools.iter().map(pool).collect::<Vec<_>>().concat());
    let files = ["-o", "/run/lab/nutcracker.log", "-p", "/run/lab/nutcracker.pid"];
    let running = host.command(&[&["nutcracker", "-c", "/run/lab/nutcracker.yml"], &files[..]].concat()).spawn();
    for (port, _) in pools {
        listens(host, *port);
    }
    running
}

#[track_caller]
fn says(diagnosis: &Diagnosis, text: &str) {
    assert!(diagnosis.to_string().contains(text), "no {text:?}\n{diagnosis}");
}

#[track_caller]
fn likely(diagnosis: &Diagnosis) {
    diagnosis.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
}

#[test]
fn places_that_are_set_from_elsewhere() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") || lacks(&one, "socat") {
        return;
    }
    let _redis = one.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    // Over the master's socket, as Debian's service has one. What ends the connection is the header that is wanted.
    let line = |port| {
        format!("listen a\n bind *:{port}\n tcp-request connection expect-proxy layer4\n server a 127.0.0.1:6399\n")
    };
    let text = format!("{DEFAULTS}{}", line(7001));
    let _master = haproxy(&one, &text, (7001, &["-W", "-S", "/etc/haproxy/master.sock"]));
    let set = "for i in $(seq 50); do echo '@1 set server a/a addr 127.0.0.1 port 6391' | socat - UNIX:/etc/haproxy/master.sock | grep -q changed && exit; sleep .1; done; exit 1";
    let _ = one.sh(set);
    let master = one.diagnose(&["-p", "7001"]);
    likely(&master);
    says(&master, "an admin's socket");
    // By a program of its own.
    let lua = "core.register_task(function() core.msleep(100); core.backends['a'].servers['a']:set_addr('127.0.0.1', 6391) end)\n";
    one.file("/etc/haproxy/set.lua", lua);
    let text = format!("global\n lua-load /etc/haproxy/set.lua\n{DEFAULTS}{}", line(7002));
    let _lua = haproxy(&one, &text, (7002, &["-db"]));
    likely(&one.diagnose(&["-p", "7002"]));
    let _plain =
        haproxy(&one, &format!("{DEFAULTS}listen a\n bind *:7003\n server a 127.0.0.1:6399"), (7003, &["-db"]));
    one.diagnose(&["-p", "7003"]).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
}

#[test]
fn a_proxy_that_asks_from_another_address() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if ["haproxy", "socat", "stunnel4"].iter().any(|program| lacks(&client, program)) {
        return;
    }
    client.interface("eth0", &["10.77.1.9/24"]);
    // The backend's firewall lets in the proxy's own address alone; the proxy's way ends for another reason.
    let _redis = server.redis(&["--bind", SERVER, "--port", "6391", "--protected-mode", "no"]);
    server.nft(&format!(
        "add table ip t; add chain ip t i {{ type filter hook input priority 0; }}; \
         add rule ip t i tcp dport 6391 ip saddr != {ALLOWED} reject with tcp reset"
    ));
    let place = format!("server a {SERVER}:6391 source {ALLOWED}");
    let wants = " tcp-request connection expect-proxy layer4\n";
    let text = format!(
        "{DEFAULTS}listen a\n bind *:7001\n{wants} {place}\nlisten b\n bind *:7002\n {place}\nlisten c\n bind *:7003\n source \
         {ALLOWED}\n{wants} server a {SERVER}:6391\n"
    );
    let _proxy = haproxy(&client, &text, (7001, &["-db"]));
    for port in ["7001", "7003"] {
        let check = client.diagnose(&["-p", port]);
        check.cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
    }
    client.diagnose(&["-p", "7002"]).exit(0);
    // stunnel and socat, before what takes no TLS and ends it.
    client.file(
        "/etc/stunnel/local.conf",
        format!("foreground = yes\npid =\nsyslog = no\n[a]\nclient = yes\naccept = 7004\nlocal = {ALLOWED}\nconnect = {SERVER}:6391\n"),
    );
    let _stunnel = client.command(&["stunnel4", "/etc/stunnel/local.conf"]).spawn();
    let to = format!("TCP:{SERVER}:6391,bind={ALLOWED}");
    let _socat = client.command(&["socat", "TCP-LISTEN:7005,fork,reuseaddr", &to]).spawn();
    listens(&client, 7004);
    listens(&client, 7005);
    client.diagnose(&["-p", "7004", "-t", "2"]).nothing_certain().exit(1);
    client.diagnose(&["-p", "7005"]).exit(0);
    let check = client.diagnose(&["-p", "7005", "--tls", "--insecure"]);
    assert!(!check.causes().contains(&("proxy-backend-down".to_owned(), Confidence::Certain)), "{check}");
}

#[test]
fn each_listener_has_a_header_or_none() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") {
        return;
    }
    let _redis = one.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let text = format!(
        "{DEFAULTS}listen a\n bind 127.0.0.2:7001 accept-proxy\n server a 127.0.0.1:6391\nlisten b\n bind 127.0.0.1:7001\n \
         tcp-request content reject\n server a 127.0.0.1:6391\nlisten c\n bind *:7002\n bind *:7003 accept-proxy\n tcp-request \
         content reject\n server a 127.0.0.1:6391\nlisten d\n bind *:7004\n tcp-request connection expect-proxy layer4\n server a \
         127.0.0.1:6391\n"
    );
    let _proxy = haproxy(&one, &text, (7001, &["-db"]));
    let wants = "it wants the PROXY protocol's header here";
    for (host, port, expected) in [
        ("127.0.0.2", "7001", true),
        ("127.0.0.1", "7001", false),
        ("127.0.0.1", "7002", false),
        ("127.0.0.1", "7003", true),
        ("127.0.0.1", "7004", true),
    ] {
        let check = one.diagnose(&["-h", host, "-p", port]);
        check.cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
        assert_eq!(check.report.to_string().contains(wants), expected, "{host}:{port} {check}");
    }
}

#[test]
fn a_proxy_that_takes_redis_for_the_web() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") {
        return;
    }
    let redis = one.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let own = "listen a\n bind *:7001\n mode http\n server a 127.0.0.1:6391\nfrontend b\n bind *:7002\n mode http\n default_backend \
               c\nbackend c\n mode http\n server a 127.0.0.1:6391\n";
    let running = haproxy(&one, &format!("{DEFAULTS}{own}"), (7001, &["-db"]));
    let of = |port: &str| {
        let check = one.diagnose(&["-p", port]);
        check.first_cause("proxy-speaks-http", Confidence::Certain).not_cause("not-redis").exit(1);
        check
    };
    // A frontend and its backend have to be changed together: that is told.
    says(&of("7002"), "'haproxy -c -f'");
    of("7001").apply(|_| &one);
    drop(running);
    let _running = one.command(&["haproxy", "-db", "-f", "/etc/haproxy/7001.cfg"]).spawn();
    listens(&one, 7001);
    one.diagnose(&["-p", "7001"]).healthy();
    of("7002");
    // As the packaged configuration has it.
    let usual = DEFAULTS.replace("tcp", "http");
    let _usual = haproxy(&one, &format!("{usual}listen a\n bind *:7003\n server a 127.0.0.1:6391"), (7003, &["-db"]));
    let check = one.diagnose(&["-p", "7003"]);
    check.first_cause("proxy-speaks-http", Confidence::Certain).exit(1);
    says(&check, "'mode tcp' into each section");
    // Without a Redis behind it, it may be a web server's.
    drop(redis);
    one.diagnose(&["-p", "7003"]).first_cause("not-redis", Confidence::Certain).not_cause("proxy-speaks-http");
}

#[test]
fn twemproxy_before_some_that_are_dead() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&server, "nutcracker") {
        return;
    }
    let _redis = server.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let alive = "127.0.0.1:6391";
    let pools: [(u16, &[&str]); 5] = [
        (7001, &["127.0.0.1:6399"]),
        (7002, &[alive, "127.0.0.1:6399", "127.0.0.1:6398"]),
        (7003, &["127.0.0.1:6399", alive]),
        (7004, &["203.0.113.5:6379"]),
        (7005, &[alive]),
    ];
    let _proxy = twemproxy(&server, &pools);
    let afar = |port: &str, more: &[&str]| client.doctor(&[&["-h", SERVER, "-p", port], more].concat());
    for port in ["7001", "7002", "7003", "7004"] {
        let check = afar(port, &[]).diagnose();
        check.finding("state/upstream");
        likely(&check);
    }
    says(&afar("7002", &[]).diagnose(), " of 16 keys");
    let here = server.diagnose(&["-p", "7002"]);
    likely(&here);
    says(&here, "has its share of the keys");
    // It turns AUTH down itself, whatever is behind it.
    let sent = afar("7001", &[]).env("REDISCLI_AUTH", "pw").diagnose();
    sent.first_cause("proxy-backend-down", Confidence::Likely).cause("password-not-expected", Confidence::Possible);
    sent.nothing_certain().exit(1);
    let sent = afar("7005", &[]).env("REDISCLI_AUTH", "pw").diagnose();
    sent.first_cause("password-not-expected", Confidence::Likely).nothing_certain().exit(1);
    says(&sent, "what answers has none");
    // It ends what it does not know.
    let resp3 = afar("7005", &["-3"]).diagnose();
    resp3.finding("auth/resp3-unsupported").first_cause("resp3-unsupported", Confidence::Likely).exit(1);
    let database = afar("7005", &["-n", "1"]).diagnose();
    database.finding("auth/select-error").first_cause("db-out-of-range", Confidence::Likely).nothing_certain().exit(1);
    let well = afar("7005", &[]).diagnose();
    assert!(well.causes().is_empty() && well.report["status"] == "healthy", "{well}");
}

/// What answers as this proxy does: PING itself, keys with the words.
const PROXY: &str = r"
import socketserver, sys
own, words = sys.argv[2], sys.argv[3].encode()
info = b'# Proxy\r\nVersion:1.0.5\r\nRedisMode:proxy\r\n'
def answer(name):
    if name == b'PING': return b'+PONG\r\n'
    if name == b'AUTH': return b'-ERR Client sent AUTH, but no password is set\r\n'
    if name == b'EXISTS': return words + b'\r\n'
    if name == b'PFCOUNT' and own == 'envoy': return b'-no upstream host\r\n'
    if name == b'INFO' and own == 'predixy': return b'$%d\r\n%s\r\n' % (len(info), info)
    return b'-ERR unknown command\r\n'
class One(socketserver.StreamRequestHandler):
    def handle(self):
        while head := self.rfile.readline():
            words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))]
            self.wfile.write(answer(words[0].upper()))
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(('', int(sys.argv[1])), One).serve_forever()
";

#[test]
fn proxies_with_words_of_their_own() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.file("/run/lab/proxy.py", PROXY);
    let check = |port: u16, own: &str, words: &str, password: bool| {
        let port = port.to_string();
        let _proxy = server.command(&["python3", "/run/lab/proxy.py", &port, own, words]).spawn();
        listens(&server, port.parse().unwrap());
        let doctor = client.doctor(&["-h", SERVER, "-p", &port]);
        if password { doctor.env("REDISCLI_AUTH", "pw").diagnose() } else { doctor.diagnose() }
    };
    for (port, own, words) in
        [(7003, "predixy", "-ERR no server connection avaliable"), (7004, "predixy", "-ERR no server avaliable")]
    {
        let dead = check(port, own, words, false);
        dead.finding("state/upstream");
        likely(&dead);
        let sent = check(port + 10, own, words, true);
        sent.first_cause("proxy-backend-down", Confidence::Likely).cause("password-not-expected", Confidence::Possible);
        sent.nothing_certain().exit(1);
    }
    // Envoy has a word of its own for EXISTS, by its source.
    let _envoy =
        server.command(&["python3", "/run/lab/proxy.py", "7005", "envoy", "-finished with 1 error(s)"]).spawn();
    listens(&server, 7005);
    let envoy = ["-h", SERVER, "-p", "7005"];
    client.diagnose(&envoy).finding("state/refused").nothing_certain().exit(0);
    for more in [["--exists", "foo"], ["--require", "writable"]] {
        let dead = client.diagnose(&[&envoy[..], &more].concat());
        dead.finding("state/upstream");
        likely(&dead);
    }
    let noauth = check(7021, "predixy", "-NOAUTH Authentication required.", true);
    noauth.first_cause("proxy-unauthenticated", Confidence::Likely).nothing_certain().exit(1);
    check(7022, "predixy", "-LOADING Redis is loading the dataset in memory", false).finding("state/loading").exit(1);
    check(7023, "predixy", "-CLUSTERDOWN The cluster is down", false).finding("state/cluster-down").exit(1);
    let odd = check(7024, "envoy", "-ERR closed for today", false);
    odd.finding("state/refused").nothing_certain().exit(0);
    for own in ["envoy", "predixy"] {
        let well = check(if own == "envoy" { 7025 } else { 7026 }, own, ":0", false);
        assert!(well.causes().is_empty() && well.report["status"] == "healthy", "{well}");
    }
}

#[test]
fn proxies_are_told_to_listen_on_addresses_of_ipv6() {
    let Some(lab) = Lab::enter() else { return };
    let (one, _server) = lab.pair();
    if lacks(&one, "stunnel4") || lacks(&one, "socat") {
        return;
    }
    let _redis = one.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let service =
        |name: &str, accept: &str| format!("[{name}]\nclient = yes\naccept = {accept}\nconnect = 127.0.0.1:6391\n");
    let head = "foreground = yes\npid =\nsyslog = no\n";
    let conf = format!("{head}{}", service("a", "127.0.0.1:7001"));
    one.file("/etc/stunnel/v6.conf", conf.as_str());
    let stunnel = one.command(&["stunnel4", "/etc/stunnel/v6.conf"]).spawn();
    let _socat = one.command(&["socat", "TCP-LISTEN:7002,fork,reuseaddr,bind=127.0.0.1", "TCP:127.0.0.1:6391"]).spawn();
    listens(&one, 7001);
    listens(&one, 7002);
    let asked = |port: &str| one.diagnose(&["-h", "fd77:1::1", "-p", port]);
    let check = asked("7001");
    check.cause("proxy-on-loopback", Confidence::Likely).exit(1);
    says(&check, "accept = fd77:1::1:7001");
    // As it is told, both are listened on.
    drop(stunnel);
    one.file("/etc/stunnel/v6.conf", format!("{conf}{}", service("b", "fd77:1::1:7001")));
    let _stunnel = one.command(&["stunnel4", "/etc/stunnel/v6.conf"]).spawn();
    let both = |port: u16| {
        format!("for i in $(seq 60); do [ $(ss -Hltn 'sport = :{port}' | wc -l) = 2 ] && exit; sleep .05; done; exit 1")
    };
    let _ = one.sh(&both(7001));
    let check = asked("7002");
    check.cause("proxy-on-loopback", Confidence::Likely).exit(1);
    says(&check, "TCP6-LISTEN:7002,bind=[fd77:1::1],fork,reuseaddr");
    let _other =
        one.command(&["socat", "TCP6-LISTEN:7002,bind=[fd77:1::1],fork,reuseaddr", "TCP:127.0.0.1:6391"]).spawn();
    let _ = one.sh(&both(7002));
    asked("7002").healthy();
}

#[test]
fn a_file_that_is_open_in_the_proxy_alone() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") {
        return;
    }
    one.file("/run/lab/s.cfg", format!("{DEFAULTS}listen a\n bind *:7001\n server a 127.0.0.1:6399\n"));
    let _proxy = one.command(&["sh", "-c", "exec haproxy -db -f /dev/stdin </run/lab/s.cfg"]).spawn();
    listens(&one, 7001);
    let pipe = "mkfifo /run/lab/ff; sed s/7001/7002/ /run/lab/s.cfg >/run/lab/ff & exec haproxy -db -f /run/lab/ff";
    let _piped = one.command(&["sh", "-c", pipe]).spawn();
    listens(&one, 7002);
    for port in ["7001", "7002"] {
        let check = one.doctor(&["-p", port]).stdin("listen a\n bind *:7001\n server a 127.0.0.1:6398\n").diagnose();
        likely(&check);
        let told = check.report.to_string();
        assert!(!told.contains("sudo grep") && !told.contains("6398"), "{check}");
    }
}
