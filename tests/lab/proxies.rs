//! Proxies, tunnels and meshes: who accepts is not who answers.

use std::time::Duration;

use crate::firewall::joined;
use crate::world::{Confidence, Host, Lab, Running, enter};

const SERVER: &str = "10.77.1.2";
const AT_HOME: [&str; 2] = ["-h", "127.0.0.1"];
const BEHIND: &str = "bind 127.0.0.1\nport 6380\nrequirepass pw\ndaemonize yes\ndir /tmp\n";

/// Says loudly where a real proxy is not to be had.
fn lacks(host: &Host, program: &str) -> bool {
    let lacks = host.run(&["sh", "-c", &format!("command -v {program}")]).code != Some(0);
    if lacks {
        enter::skipped(&format!("{program}: not installed (tests/setup)"));
    }
    lacks
}

/// Waits until somebody listens on the port.
#[track_caller]
fn listens(host: &Host, port: u16) {
    let line =
        format!("for i in $(seq 100); do ss -Hltn 'sport = :{port}' | grep -q . && exit; sleep 0.05; done; exit 1");
    let _ = host.sh(&line);
}

/// A real `HAProxy` on port 6379, before a server that is or is not at 127.0.0.1:6380.
#[track_caller]
fn haproxy(host: &Host, options: &str) -> Running {
    let conf = format!(
        "global\n  log 127.0.0.1 local0\ndefaults\n  timeout connect 1s\n  timeout client 9s\n  timeout server 9s\n\
         listen redis\n  bind :6379\n  mode tcp\n{options}\n  server one 127.0.0.1:6380 check inter 200ms\n"
    );
    host.file("/etc/haproxy/haproxy.cfg", conf);
    let running = host.command(&["haproxy", "-db", "-f", "/etc/haproxy/haproxy.cfg"]).spawn();
    listens(host, 6379);
    running
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
