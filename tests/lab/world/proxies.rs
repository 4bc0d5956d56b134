//! Real proxies, where they are installed.

use super::{Host, Running, enter};

/// The configuration of `HAProxy` that most scenarios use.
pub const HAPROXY: &str = "/etc/haproxy/haproxy.cfg";
/// How a configuration of `HAProxy` begins whose sections lead TCP somewhere.
pub const DEFAULTS: &str =
    "defaults\n mode tcp\n retries 0\n timeout connect 1s\n timeout client 9s\n timeout server 9s\n";

/// Says loudly where a real proxy is not to be had.
pub fn lacks(host: &Host, program: &str) -> bool {
    let lacks = host.run(&["sh", "-c", &format!("command -v {program}")]).code != Some(0);
    if lacks {
        enter::skipped(&format!("{program}: not installed (tests/setup)"));
    }
    lacks
}

/// Waits until somebody listens on the port.
#[track_caller]
pub fn listens(host: &Host, port: u16) {
    share(host, port, 1);
}

/// Waits until so many sockets listen on the port.
#[track_caller]
pub fn share(host: &Host, port: u16, count: usize) {
    let all = format!("[ $(ss -Hltn 'sport = :{port}' | wc -l) -ge {count} ]");
    let _ = host.sh(&format!("for i in $(seq 100); do {all} && exit; sleep 0.05; done; exit 1"));
}

/// A real `HAProxy` with the configuration `text` at `path`, once it listens on the port.
#[track_caller]
pub fn haproxy(host: &Host, (path, text): (&str, &str), (port, arguments): (u16, &[&str])) -> Running {
    host.file(path, format!("{text}\n"));
    let running = host.command(&[&["haproxy", "-f", path], arguments].concat()).spawn();
    listens(host, port);
    running
}
