//! Where a proxy really leads: names with several addresses, names that moved, places set while it runs, shards.

use crate::proxies::tunnel;
use crate::world::proxies::{self, DEFAULTS, HAPROXY, lacks, listens};
use crate::world::{Confidence, Diagnosis, Host, Lab, Running, Stub};

const SERVER: &str = "10.77.1.2";
const HOSTS: &str = "127.0.0.1 localhost\n127.0.0.2 db.lan\n127.0.0.3 db.lan\n";

#[track_caller]
fn haproxy(host: &Host, sections: &str, port: u16) -> Running {
    proxies::haproxy(host, (HAPROXY, sections), (port, &["-db"]))
}

#[track_caller]
fn doubted(check: &Diagnosis, says: &str) {
    check.cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
    assert!(check.report.to_string().contains(says), "{says}: {check}");
}

#[test]
fn a_name_of_several_addresses_and_one_that_moved() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") {
        return;
    }
    one.hosts_file(&format!("{HOSTS}127.0.0.3 moved.lan\n"));
    let _redis = one.redis(&["--port", "6391", "--bind", "127.0.0.3", "--protected-mode", "no"]);
    let sections = format!(
        "{DEFAULTS}listen a\n bind *:7111\n server a db.lan:6391\nlisten b\n bind *:7116 accept-proxy\n server a \
         moved.lan:6391\nlisten c\n bind *:7117\n server a moved.lan:6391\nlisten d\n bind *:7118\n server a moved.lan:6399\n\
         listen e\n bind *:7119\n server a localhost:6399\n"
    );
    let _proxy = haproxy(&one, &sections, 7119);
    // It takes one of the two, and the other is where Redis is.
    let several = one.diagnose(&["-p", "7111"]);
    if several.report["status"] != "healthy" {
        doubted(&several, "127.0.0.3");
    }
    // What the name means now is not where the proxy leads.
    one.hosts_file(&format!("{HOSTS}127.0.0.4 moved.lan\n"));
    one.diagnose(&["-p", "7117"]).healthy();
    doubted(&one.diagnose(&["-p", "7116"]), "it looked up moved.lan:6391 then");
    let gone = one.diagnose(&["-p", "7118"]);
    gone.first_cause("proxy-backend-down", Confidence::Likely);
    doubted(&gone, "reload it, if the name means another one since");
    // Of localhost that is not to be feared.
    one.diagnose(&["-p", "7119"]).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
}

#[test]
fn places_that_were_set_while_it_runs() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") || lacks(&one, "socat") {
        return;
    }
    let _redis = one.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let sections = format!(
        "global\n stats socket /tmp/adm.sock level admin\n{DEFAULTS}listen a\n bind *:7911 accept-proxy\n server a 127.0.0.1:6399\n\
         listen b\n bind *:7912\n server a 127.0.0.1:6399\n"
    );
    let _proxy = haproxy(&one, &sections, 7912);
    let says = "an admin's socket";
    let down = one.diagnose(&["-p", "7912"]);
    down.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    assert!(down.report.to_string().contains(says), "{down}");
    for name in ["a", "b"] {
        let _ = one
            .sh(&format!("echo 'set server {name}/a addr 127.0.0.1 port 6391' | socat - UNIX-CONNECT:/tmp/adm.sock"));
    }
    one.diagnose(&["-p", "7912"]).healthy();
    doubted(&one.diagnose(&["-p", "7911"]), says);
}

#[test]
fn shards_behind_twemproxy() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "nutcracker") {
        return;
    }
    let _redis = one.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let _locked = one.redis(&["--port", "6392", "--bind", "127.0.0.1", "--requirepass", "pw"]);
    let pool = |port: u16, servers: &[u16]| {
        let servers = servers.iter().map(|port| format!("   - 127.0.0.1:{port}:1\n")).collect::<Vec<_>>().concat();
        format!(
            "p{port}:\n  listen: 127.0.0.1:{port}\n  hash: md5\n  redis: true\n  timeout: 400\n  servers:\n{servers}"
        )
    };
    let pools = [pool(7271, &[6399]), pool(7272, &[6391, 6399]), pool(7273, &[6392])].concat();
    one.file("/run/lab/nutcracker.yml", pools);
    let line = "nutcracker -c /run/lab/nutcracker.yml -o /run/lab/nutcracker.log -p /run/lab/nutcracker.pid";
    let _proxy = one.command(&line.split(' ').collect::<Vec<_>>()).spawn();
    listens(&one, 7273);
    let dead = one.diagnose(&["-p", "7271"]);
    dead.finding("state/upstream").first_cause("proxy-backend-down", Confidence::Certain).exit(1);
    let half = (0..16).map(|n| one.diagnose(&["-p", "7272", "--exists", &format!("key{n}")]));
    let half = half.into_iter().find(|check| check.findings().contains(&"state/upstream".to_owned()));
    let half = half.expect("a key of the dead shard");
    half.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    assert!(half.report.to_string().contains("reaches not all: 127.0.0.1:6399"), "{half}");
    // Of a server that wants a password it is seen on its machine that it runs.
    let locked = one.diagnose(&["-p", "7273"]);
    locked.nothing_certain();
    assert!(locked.report.to_string().contains("nutcracker"), "{locked}");
}

#[test]
fn a_proxy_on_another_address() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&server, "haproxy") {
        return;
    }
    let _redis = server.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let _ = server.ip("addr add 10.77.1.9/32 dev lo");
    let _proxy =
        haproxy(&server, &format!("{DEFAULTS}listen a\n bind {SERVER}:7300\n server a 127.0.0.1:6391\n"), 7300);
    for address in ["10.77.1.9", "127.0.0.1"] {
        let check = server.diagnose(&["-h", address, "-p", "7300"]);
        check.finding("process/proxy-elsewhere").first_cause("proxy-on-loopback", Confidence::Likely);
        check.nothing_certain().not_cause("loopback-only").exit(1);
        assert!(check.report.to_string().contains("ask at the address that the proxy has"), "{check}");
    }
    client.diagnose(&["-h", SERVER, "-p", "7300"]).healthy();
}

#[test]
fn a_tunnel_from_the_other_side() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let Some(_tunnel) = tunnel(&lab, &client, &server, 6379) else { return };
    let line = format!(
        "ssh -N -i /run/lab/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -R 6390:127.0.0.1:6399 root@{SERVER}"
    );
    let _back = client.command(&line.split(' ').collect::<Vec<_>>()).spawn();
    listens(&server, 6390);
    let down = server.diagnose(&["-p", "6390"]);
    down.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    let said = down.report.to_string();
    assert!(said.contains("the machine that ran 'ssh -R'") && !said.contains("that ssh is connected to"), "{down}");
}

#[test]
fn a_sidecar_that_closes_and_a_redirect_that_is_none() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    let _sidecar = client.tcp_stub(15_001, Stub::ReplyThenClose(Vec::new()));
    let _other = client.tcp_stub(7700, Stub::ReplyThenClose(Vec::new()));
    let output = "add table ip nat; add chain ip nat output { type nat hook output priority -100; };";
    let istio = "add chain ip nat REDIRECT; add rule ip nat REDIRECT meta l4proto tcp redirect to :15001; add chain ip nat ISTIO; \
                 add rule ip nat ISTIO meta skuid 1337 return; add rule ip nat ISTIO ip daddr 127.0.0.1 return; \
                 add rule ip nat ISTIO jump REDIRECT; add rule ip nat output meta l4proto tcp jump ISTIO";
    let leaving = "add rule ip nat output oifname \"eth0\" tcp dport 6379 redirect to :15001";
    let ask = ["-h", SERVER];
    for rules in [istio, leaving] {
        client.nft(&format!("flush ruleset; {output} {rules}"));
        let check = client.diagnose(&ask);
        check.finding("ping/closed").first_cause("mesh-reset", Confidence::Likely).nothing_certain().exit(1);
        assert!(check.report.to_string().contains("excludeOutboundPorts"), "{check}");
    }
    client.nft(&format!("flush ruleset; {output} add rule ip nat output tcp dport 6379 redirect to :7700"));
    let other = client.diagnose(&ask);
    other.first_cause("mesh-reset", Confidence::Likely).nothing_certain().exit(1);
    let said = other.report["causes"][0].to_string();
    assert!(said.contains("sport = :7700") && !said.contains("Envoy") && !said.contains("annotate"), "{other}");
    // To where nobody listens: it is refused, and the server was never asked.
    let to_nobody = [("redirect to :7799", "port 7799 of this machine"), ("dnat to 10.77.1.2:7799", "10.77.1.2:7799")];
    for (verdict, place) in to_nobody {
        client.nft(&format!("flush ruleset; {output} add rule ip nat output tcp dport 6379 {verdict}"));
        let refused = client.diagnose(&ask);
        refused.finding("tcp/refused").first_cause("mesh-reset", Confidence::Likely).nothing_certain().exit(1);
        assert!(refused.report["causes"][0].to_string().contains(place), "{refused}");
    }
    client.nft("flush ruleset");
    client.diagnose(&ask).healthy();
}
