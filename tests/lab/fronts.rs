//! Proxies that run by something else than what is written where one would look, and that share what they listen on.

use crate::world::proxies::{self, DEFAULTS, lacks, listens};
use crate::world::{Confidence, Diagnosis, Host, Lab, Running};

const CLIENT: &str = "10.77.1.1";
const SERVER: &str = "10.77.1.2";
const AFTER_A_TICK: std::time::Duration = std::time::Duration::from_millis(50);

fn conf(sections: &str) -> String {
    format!("{DEFAULTS}{sections}\n")
}

/// A real `HAProxy` of this name with these sections, which listens on this port.
#[track_caller]
fn haproxy(host: &Host, name: &str, sections: &str, port: u16) -> Running {
    let path = format!("/etc/haproxy/{name}.cfg");
    let running = proxies::haproxy(host, (&path, &conf(sections)), (port, &["-db"]));
    std::thread::sleep(AFTER_A_TICK);
    running
}

#[track_caller]
fn says(diagnosis: &Diagnosis, text: &str) {
    assert!(diagnosis.report.to_string().contains(text), "no {text:?}\n{diagnosis}");
}

#[test]
fn a_file_that_was_changed_and_not_read_again() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") {
        return;
    }
    let _redis = one.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    // What runs wants a header; the file now leads to nobody.
    let alive = "listen a\n bind *:7002 accept-proxy\n server a 127.0.0.1:6391";
    let wants = haproxy(&one, "edited", alive, 7002);
    one.file("/etc/haproxy/edited.cfg", conf(&alive.replace("6391", "6399")));
    let edited = one.diagnose(&["-p", "7002"]);
    edited.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    says(&edited, "edited.cfg was changed after haproxy");
    drop(wants);
    // The file was repaired, and not read again.
    let dead = "listen a\n bind *:7011\n server a 127.0.0.1:6399";
    let runs = haproxy(&one, "repaired", dead, 7011);
    one.diagnose(&["-p", "7011"]).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
    one.file("/etc/haproxy/repaired.cfg", conf(&dead.replace("6399", "6391")));
    let repaired = one.diagnose(&["-p", "7011"]);
    repaired.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    says(&repaired, "repaired.cfg was changed after haproxy");
    drop(runs);
    let _runs = haproxy(&one, "repaired", &dead.replace("6399", "6391"), 7011);
    one.diagnose(&["-p", "7011"]).healthy();
}

#[test]
fn a_file_with_a_name_that_stands_for_another() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") || lacks(&one, "stunnel4") {
        return;
    }
    let _redis = one.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let listen = |bind: &str, port: u16| conf(&format!("listen a\n bind {bind}\n server a 127.0.0.1:{port}"));
    one.file("/opt/here/h.cfg", listen("*:7010", 6399)).file("/opt/there/h.cfg", listen("*:7010 accept-proxy", 6391));
    let line = "mount --bind /opt/there /opt/here && exec haproxy -db -f /opt/here/h.cfg";
    let _proxy = one.command(&["unshare", "-m", "sh", "-c", line]).spawn();
    listens(&one, 7010);
    let elsewhere = one.diagnose(&["-p", "7010"]);
    elsewhere.cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
    says(&elsewhere, "/root/opt/here/h.cfg:9");
    says(&elsewhere, "PING is answered PONG");
    // Of a name without folder it is not the usual file that is read.
    let service = |port: u16| {
        format!(
            "foreground = yes\npid =\nsyslog = no\n[redis]\nclient = yes\naccept = 7013\nconnect = 127.0.0.1:{port}\n"
        )
    };
    one.file("/etc/stunnel/stunnel.conf", service(6399)).file("/etc/stunnel/r2.conf", service(6391));
    let _stunnel = one.command(&["stunnel4", "r2.conf"]).dir("/etc/stunnel").spawn();
    listens(&one, 7013);
    let relative = one.diagnose(&["-p", "7013"]);
    relative.cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
    says(&relative, "/etc/stunnel/r2.conf:7");
}

#[test]
fn listeners_that_overlap() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    if lacks(&server, "haproxy") {
        return;
    }
    let _redis = server.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let _wide = haproxy(&server, "wide", "listen a\n bind *:7007\n server a 127.0.0.1:6399", 7007);
    let narrow = format!("listen a\n bind {SERVER}:7007 accept-proxy\n server a 127.0.0.1:6391");
    let _narrow = haproxy(&server, "narrow", &narrow, 7007);
    proxies::share(&server, 7007, 2);
    let taken = server.diagnose(&["-h", SERVER, "-p", "7007"]);
    taken.cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
    says(&taken, "/etc/haproxy/narrow.cfg");
    server.diagnose(&["-p", "7007"]).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
    // Two that share one: the kernel deals the connections out.
    let _dead = haproxy(&server, "one", "listen a\n bind *:7012\n server a 127.0.0.1:6399", 7012);
    let _alive = haproxy(&server, "two", "listen a\n bind *:7012\n server a 127.0.0.1:6391", 7012);
    proxies::share(&server, 7012, 2);
    let cut = |check: &Diagnosis| !check.causes().is_empty();
    let shared =
        (0..40).map(|_| server.diagnose(&["-p", "7012"])).find(cut).expect("one of them is met by the dead one");
    shared.cause("proxy-backend-down", Confidence::Possible).nothing_certain();
    says(&shared, "listen on port 7012, and share it");
}

#[test]
fn rules_of_the_proxys_own_machine() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&server, "haproxy") {
        return;
    }
    let far = client.redis(&["--bind", "0.0.0.0", "--protected-mode", "no"]);
    let _redis = server.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let sections = format!(
        "listen a\n bind *:7004\n server a {CLIENT}:6379\nlisten b\n bind *:7005\n server a 127.0.0.1:6399\nlisten c\n bind *:7006 \
         accept-proxy\n server a 127.0.0.1:6391"
    );
    let _proxy = haproxy(&server, "rules", &sections, 7004);
    server.diagnose(&["-p", "7004"]).exit(0);
    server.diagnose(&["-p", "7005"]).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
    server.nft(&format!(
        "add table ip t; add chain ip t o {{ type filter hook output priority 0; }}; \
         add rule ip t o ip daddr {CLIENT} tcp dport 6379 reject with tcp reset; \
         add chain ip t n {{ type nat hook output priority -100; }}; add rule ip t n tcp dport 7005 redirect to :7006"
    ));
    let rejected = server.diagnose(&["-p", "7004"]);
    rejected.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    says(&rejected, "stops what goes to 10.77.1.1:6379");
    says(&rejected, "pass the packet filter of the proxy's own machine");
    let led = server.diagnose(&["-p", "7005"]);
    led.cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
    says(&led, "see what listens at 127.0.0.1:7006");
    server.nft("delete table ip t");
    // Elsewhere, it may be more than that it does not run.
    drop(far);
    let gone = server.diagnose(&["-p", "7004"]);
    gone.first_cause("proxy-backend-down", Confidence::Certain).exit(1);
    says(&gone, "see at 10.77.1.1:6379 whether Redis runs there");
}

#[test]
fn places_that_are_not_what_is_written() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") {
        return;
    }
    let _redis = one.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    // However many ports a proxy has.
    let many = (9001..=9300).map(|port| format!("listen l{port}\n bind *:{port}\n server c 127.0.0.1:6399\n"));
    let _many = haproxy(&one, "many", &many.collect::<String>(), 9300);
    for port in ["9001", "9150", "9300"] {
        one.diagnose(&["-p", port]).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
    }
    assert!(one.collect().contains("\"left_out\": 44"), "{}", one.collect());
    let sections = "listen a\n bind *:7003 accept-proxy\n tcp-request content set-dst ipv4(127.0.0.1)\n tcp-request content set-dst-port \
                    int(6391)\n server a 0.0.0.0:0\nlisten k\n bind *:7009\n option tcp-check\n tcp-check send info\\ replication\\r\\n\n \
                    tcp-check expect string role:slave\n server a 127.0.0.1:6391 check inter 200ms\n";
    let _proxy = haproxy(&one, "asked", sections, 7003);
    one.diagnose(&["-p", "7003"]).cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
    // Its own checks want something else.
    std::thread::sleep(std::time::Duration::from_millis(900));
    let refused = one.diagnose(&["-p", "7009"]);
    refused.cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
    says(&refused, "its health checks refuse the server");
}

#[test]
fn a_container_whose_own_rules_refuse() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "socat") {
        return;
    }
    let rules = "add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i tcp dport 6379 reject with tcp reset";
    let line = format!(
        "ip link set lo up; nft '{rules}'; redis-server --save '' --port 6380 --bind 127.0.0.1 & exec redis-server --save '' \
         --protected-mode no"
    );
    let container = one.command(&["unshare", "--net", "sh", "-c", &line]).spawn();
    let pid = container.pid();
    std::thread::sleep(std::time::Duration::from_millis(300));
    one.ip(&format!("link add docker0 type veth peer name eth9 netns {pid}"));
    one.interface("docker0", &["172.17.0.1/16"]).ip("link set docker0 up");
    let inside = "ip addr add 172.17.0.2/16 dev eth9; ip link set eth9 up";
    let _ = one.sh(&format!("nsenter --net=/proc/{pid}/ns/net sh -c '{inside}'"));
    let _proxy = one.command(&["socat", "TCP-LISTEN:6379,fork,reuseaddr", "TCP:172.17.0.2:6379"]).spawn();
    listens(&one, 6379);
    let refused = one.diagnose(&[]);
    refused.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    says(&refused, "see which rule of a packet filter");
    let said = refused.report.to_string();
    assert!(!said.contains("let it listen on the container's own address"), "{refused}");
}
