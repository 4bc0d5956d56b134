//! Proxies, tunnels and meshes: who accepts is not who answers.

use std::time::Duration;

use crate::firewall::joined;
use crate::world::proxies::{self, HAPROXY, lacks, listens};
use crate::world::{Authority, Confidence, Host, Lab, Running, Stub, enter};

const SERVER: &str = "10.77.1.2";
const FAR: &str = "10.77.2.2";
const AT_HOME: [&str; 2] = ["-h", "127.0.0.1"];
const BEHIND: &str = "bind 127.0.0.1\nport 6380\nrequirepass pw\ndaemonize yes\ndir /tmp\n";

/// A real `HAProxy` on port 6379, before a server that is or is not at 127.0.0.1:6380.
#[track_caller]
fn haproxy(host: &Host, options: &str) -> Running {
    let conf = format!(
        "global\n  log 127.0.0.1 local0\ndefaults\n  timeout connect 1s\n  timeout client 9s\n  timeout server 9s\n\
         listen redis\n  bind :6379\n  mode tcp\n{options}\n  server one 127.0.0.1:6380 check inter 200ms\n"
    );
    proxies::haproxy(host, (HAPROXY, &conf), (6379, &["-db"]))
}

#[test]
fn haproxy_before_a_server_that_is_down() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&server, "haproxy") {
        return;
    }
    server.without_engines().systemd(BEHIND);
    for options in ["", "  option tcp-check\n  tcp-check send PING\\r\\n\n  tcp-check expect string +PONG"] {
        let proxy = haproxy(&server, options);
        // The first time before the health check has met anybody, then after it has failed.
        for _ in 0..2 {
            let afar = client.diagnose(&["-h", SERVER]);
            afar.finding("ping/closed").cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
            std::thread::sleep(Duration::from_millis(700));
        }
        joined(&client, &server, SERVER).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
        let home = server.diagnose(&AT_HOME);
        home.first_cause("proxy-backend-down", Confidence::Certain).exit(1);
        drop(proxy);
    }
    let _proxy = haproxy(&server, "");
    server.diagnose(&AT_HOME).apply(|_| &server);
    std::thread::sleep(Duration::from_millis(900));
    server.doctor(&AT_HOME).env("REDISCLI_AUTH", "pw").diagnose().healthy();
    client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
}

#[test]
fn stunnel_in_both_directions() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&server, "stunnel4") {
        return;
    }
    // As a client's side-car: the application speaks plain text to loopback.
    let conf = |own: &str, to: &str| {
        format!("foreground = yes\npid =\nsyslog = no\n[redis]\n{own}\naccept = 0.0.0.0:6379\nconnect = {to}\n")
    };
    client.file("/etc/stunnel/redis.conf", conf("client = yes", "10.77.1.2:6379"));
    let _near = client.command(&["stunnel4", "/etc/stunnel/redis.conf"]).spawn();
    listens(&client, 6379);
    let down = client.diagnose(&AT_HOME);
    down.first_cause("proxy-backend-down", Confidence::Certain).exit(1);
    assert!(down.report.to_string().contains("/etc/stunnel/redis.conf:7"), "{down}");
    // As a server's front, before a Redis that is down.
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    let own = "cert = /etc/tls/server.crt\nkey = /etc/tls/server.key";
    server.file("/etc/stunnel/redis.conf", conf(own, "127.0.0.1:6380"));
    let _far = server.command(&["stunnel4", "/etc/stunnel/redis.conf"]).spawn();
    listens(&server, 6379);
    client.file("/tmp/ca.crt", authority.pem());
    let tls = ["-h", SERVER, "--tls", "--cacert", "/tmp/ca.crt"];
    let afar = client.diagnose(&tls);
    afar.finding("ping/closed").first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    client.joined(&server, &tls).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
    // Who is not asked for TLS learns of TLS, or of nothing for certain.
    client.diagnose(&["-h", SERVER]).not_cause("not-redis").exit(1);
    let _redis = server.redis(&["--port", "6380", "--bind", "127.0.0.1"]);
    client.diagnose(&tls).healthy();
    client.diagnose(&AT_HOME).healthy();
}

#[test]
fn a_published_port_of_a_container_that_listens_on_its_own_loopback() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    // What Docker's proxy does: it connects to the container when somebody has connected to it.
    let proxy = "#!/usr/bin/python3\nimport socket, sys\na = sys.argv\nat = lambda f: a[a.index(f) + 1]\n\
                 l = socket.create_server(('', int(at('-host-port'))))\nwhile True:\n  c, _ = l.accept()\n  try:\n    \
                 socket.create_connection((at('-container-ip'), int(at('-container-port')))).close()\n  except OSError: pass\n  c.close()\n";
    server.program("/usr/local/bin/docker-proxy", proxy);
    let line = "ip link set lo up; exec redis-server --save '' --bind 127.0.0.1";
    let container = server.command(&["unshare", "--net", "sh", "-c", line]).spawn();
    let pid = container.pid();
    std::thread::sleep(Duration::from_millis(300));
    server.ip(&format!("link add docker0 type veth peer name eth9 netns {pid}"));
    server.interface("docker0", &["172.17.0.1/16"]).ip("link set docker0 up");
    let inside = "ip addr add 172.17.0.2/16 dev eth9; ip link set eth9 up";
    let _ = server.sh(&format!("nsenter --net=/proc/{pid}/ns/net sh -c '{inside}'"));
    let line = "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 6379 -container-ip 172.17.0.2 -container-port 6379";
    let _proxy = server.command(&line.split(' ').collect::<Vec<_>>()).spawn();
    listens(&server, 6379);
    let home = server.diagnose(&AT_HOME);
    home.first_cause("proxy-backend-down", Confidence::Certain).exit(1);
    assert!(home.report.to_string().contains("listens on 127.0.0.1:6379"), "{home}");
    client.diagnose(&["-h", SERVER]).cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
}

#[test]
fn socat_before_nobody_and_before_a_server() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "socat") {
        return;
    }
    let line = ["socat", "TCP-LISTEN:6379,fork,reuseaddr", "TCP:127.0.0.1:6380,connect-timeout=2"];
    let _socat = one.command(&line).spawn();
    listens(&one, 6379);
    one.diagnose(&AT_HOME).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
    // What takes connections behind it and closes them is no backend that is down.
    let _stub = one.tcp_stub(6380, Stub::CloseAtOnce);
    one.diagnose(&AT_HOME).nothing_certain().exit(1);
}

/// A real tunnel from port 6380 of the client to this port of the server; `None`, loudly, where there can be none.
pub fn tunnel(lab: &Lab, client: &Host, server: &Host, port: u16) -> Option<[Running; 2]> {
    if !lab.has_users() {
        enter::skipped("ssh -L: only where the tests run as root");
        return None;
    }
    if lacks(server, "sshd") || lacks(client, "ssh") {
        return None;
    }
    let _ = client.sh("mkdir -p /run/lab; rm -f /run/lab/key; ssh-keygen -q -t ed25519 -N '' -f /run/lab/key");
    server.file("/run/lab/keys", client.read("/run/lab/key.pub"));
    let conf = "HostKey /run/lab/host\nAuthorizedKeysFile /run/lab/keys\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n";
    server.file("/run/lab/sshd.conf", conf);
    let _ = server.sh("mkdir -p /run/sshd; rm -f /run/lab/host; ssh-keygen -q -t ed25519 -N '' -f /run/lab/host");
    let daemon = server.command(&["/usr/sbin/sshd", "-D", "-e", "-f", "/run/lab/sshd.conf"]).spawn();
    listens(server, 22);
    let line = format!(
        "ssh -N -i /run/lab/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -L 6380:127.0.0.1:{port} root@{SERVER}"
    );
    let tunnel = client.command(&line.split(' ').collect::<Vec<_>>()).spawn();
    listens(client, 6380);
    Some([daemon, tunnel])
}

#[test]
fn a_tunnel_of_ssh_to_a_server_that_is_down() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let Some(_tunnel) = tunnel(&lab, &client, &server, 6379) else { return };
    let down = client.diagnose(&["-p", "6380"]);
    down.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    let said = down.report.to_string();
    assert!(said.contains("127.0.0.1:6379: it is meant as seen from the other end"), "{down}");
    assert!(!said.contains("127.0.0.1:6379 does not") && said.contains("as seen from its far end"), "{down}");
    // Its SOCKS leads nowhere by itself.
    let line = format!(
        "ssh -i /run/lab/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -ND1080 root@{SERVER}"
    );
    let _socks = client.command(&line.split(' ').collect::<Vec<_>>()).spawn();
    listens(&client, 1080);
    client.diagnose(&["-p", "1080"]).not_cause("proxy-backend-down").nothing_certain().exit(1);
    let _redis = server.redis(&["--bind", "127.0.0.1"]);
    client.diagnose(&["-p", "6380"]).healthy();
}

#[test]
fn a_tunnel_to_a_node_of_a_cluster() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let Some(_tunnel) = tunnel(&lab, &client, &server, 7001) else { return };
    let cluster = ["--port", "7001", "--cluster-enabled", "yes", "--cluster-announce-ip"];
    for (announced, reachable) in [("10.99.0.1", false), (SERVER, true)] {
        let _redis = server.redis(&[&cluster[..], &[announced]].concat());
        let _ = server.sh("redis-cli -p 7001 cluster addslotsrange 0 16383");
        std::thread::sleep(Duration::from_millis(300));
        let check = client.diagnose(&["-p", "6380"]);
        if reachable {
            check.healthy();
        } else {
            check.first_cause("tunnel-redirect", Confidence::Likely).finding("state/nodes-unreachable").exit(0);
            // On its own machine it is no tunnel.
            server.diagnose(&["-p", "7001"]).not_cause("tunnel-redirect");
        }
    }
}

#[test]
fn twemproxy_knows_few_commands() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&server, "nutcracker") {
        return;
    }
    let pool =
        "pool:\n  listen: 0.0.0.0:6379\n  hash: fnv1a_64\n  redis: true\n  servers:\n   - 127.0.0.1:6380:1 one\n";
    server.file("/run/lab/nutcracker.yml", pool);
    let line = [
        "nutcracker",
        "-c",
        "/run/lab/nutcracker.yml",
        "-o",
        "/run/lab/nutcracker.log",
        "-p",
        "/run/lab/nutcracker.pid",
    ];
    let _proxy = server.command(&line).spawn();
    listens(&server, 6379);
    let dead = client.diagnose(&["-h", SERVER, "--exists", "foo"]);
    dead.not_cause("acl-denies-command").cause("proxy-backend-down", Confidence::Likely).nothing_certain();
    let _redis = server.redis(&["--port", "6380", "--bind", "127.0.0.1"]);
    let check = client.diagnose(&["-h", SERVER]);
    check.finding("ping/limited").exit(0);
    assert!(check.causes().is_empty() && check.report["status"] == "healthy", "{check}");
    let written = client.diagnose(&["-h", SERVER, "--require", "writable"]);
    written.first_cause("proxy-limited", Confidence::Likely).nothing_certain();
}

/// A sidecar's redirect, as Istio's init container makes it.
const REDIRECT: &str = "add table ip nat; add chain ip nat output { type nat hook output priority -100; }; \
                        add rule ip nat output tcp dport 6379 redirect to :15001";

#[test]
fn a_sidecar_that_resets() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis(&["--protected-mode", "no"]);
    let _sidecar = client.tcp_stub(15_001, Stub::ResetOnData);
    client.diagnose(&["-h", FAR]).healthy();
    client.nft(REDIRECT);
    let check = client.diagnose(&["-h", FAR]);
    check.finding("ping/closed").cause("mesh-reset", Confidence::Likely).nothing_certain().exit(1);
    assert!(check.report.to_string().contains("port 15001 of this machine: "), "{check}");
    if lab.has_users() {
        let other = client.doctor(&["-h", FAR]).user(65534).diagnose();
        other.cause("mesh-reset", Confidence::Likely).nothing_certain().exit(1);
        assert!(other.report.to_string().contains("a TTL of 1"), "{other}");
    }
}

#[test]
fn a_server_that_resets_is_no_mesh() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _stub = server.tcp_stub(6379, Stub::ResetOnData);
    let check = client.diagnose(&["-h", FAR]);
    check.not_cause("mesh-reset").cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
    // A sidecar that is there and does not take the connection.
    let _sidecar = client.tcp_stub(15_001, Stub::ResetOnData);
    let check = client.diagnose(&["-h", FAR]);
    check.cause("mesh-reset", Confidence::Possible).nothing_certain().exit(1);
    assert!(check.causes().iter().all(|(_, sure)| *sure == Confidence::Possible), "{check}");
}

#[test]
fn plain_text_at_a_tls_port_again_and_again() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&["127.0.0.1"]), &authority.pem());
    let log = "/var/log/redis/tls.log";
    server.file(log, "");
    let _redis = server.tls_redis(&["--tls-auth-clients", "no", "--requirepass", "pw", "--logfile", log]);
    let tls = ["-h", "127.0.0.1", "--tls", "--cacert", "/etc/tls/ca.crt", "-a", "pw"];
    server.diagnose(&tls).healthy();
    // Checks without TLS leave lines of one moment.
    for _ in 0..2 {
        client.diagnose(&["-h", SERVER]).exit(1);
    }
    let said = server.read(log);
    assert!(said.contains("wrong version number"), "{said}");
    server.diagnose(&tls).healthy();
    // The same line of Redis' own, as a probe leaves it in time.
    let probed = format!(
        "line=$(grep 'wrong version number' {log} | tail -n 1 | sed 's/^[^#]*#//'); cp {log} {log}.old; : >{log}.new; \
         for ago in 105 95 85 75 65 55 45 35 25 15; do echo \"9:M $(date -d \"-$ago seconds\" '+%d %b %Y %H:%M:%S.000') #$line\" >>{log}.new; done; \
         cat {log}.old >>{log}.new; cat {log}.new >{log}"
    );
    let _ = server.sh(&probed);
    let check = server.diagnose(&tls);
    check.finding("log/plain-text").first_cause("plaintext-probe-noise", Confidence::Likely).exit(0);
}
