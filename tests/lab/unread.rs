//! Edited, and not restarted: what redis.conf says by now, and the server that runs has not read. And the ports of servers
//! that listen elsewhere, named for whom they serve.

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Host, Lab};

const SERVER: &str = "10.77.1.2";
const CONF: &str = "/etc/redis/redis.conf";
const START: &str = "systemctl start redis-server";

/// Starts Debian's service with one redis.conf, and writes another.
fn edited(host: &Host, before: &str, after: &str) {
    host.without_engines().systemd(before).sh(START);
    // A tick of the kernel's clock is 10 ms.
    host.sh("sleep 0.1");
    host.file(CONF, after);
}

#[track_caller]
fn says(diagnosis: &Diagnosis, text: &str) {
    assert!(diagnosis.to_string().contains(text), "{text:?} is not said\n{diagnosis}");
}

#[track_caller]
fn never_says(diagnosis: &Diagnosis, text: &str) {
    assert!(!diagnosis.to_string().contains(text), "{text:?} is said\n{diagnosis}");
}

#[track_caller]
fn has_one_password(host: &Host) {
    let lines = host.sh(&format!("grep -c ^requirepass {CONF}")).stdout;
    assert_eq!(lines.trim(), "1");
    host.sh("[ ! -e redis-password ]");
}

#[test]
fn the_own_new_password_is_kept_when_protected_mode_turns_away() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let open = "port 6379\nbind 0.0.0.0\n";
    edited(&server, open, &format!("{open}requirepass own\n"));
    let diagnosis = client.joined(&server, &["-h", SERVER, "-a", "own"]);
    diagnosis.first_cause("protected-mode", Confidence::Certain).apply(|_| &server);
    client.diagnose(&["-h", SERVER, "-a", "own"]).healthy();
    has_one_password(&server);
}

#[test]
fn the_own_new_password_is_kept_when_anybody_is_let_in() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let open = "port 6379\nbind 0.0.0.0\nprotected-mode no\n";
    edited(&server, open, &format!("{open}requirepass own\n"));
    let diagnosis = server.diagnose(&["--deep"]);
    diagnosis.first_cause("exposed-without-password", Confidence::Certain).finding("config/differs");
    diagnosis.apply(|_| &server);
    client.diagnose(&["-h", SERVER, "-a", "own"]).healthy();
    has_one_password(&server);
}

#[test]
fn the_own_new_password_is_kept_when_an_address_is_added() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let closed = "port 6379\nbind 127.0.0.1\n";
    edited(&server, closed, &format!("{closed}requirepass own\n"));
    let diagnosis = client.joined(&server, &["-h", SERVER, "-a", "own"]);
    diagnosis.first_cause("loopback-only", Confidence::Certain).apply(|_| &server);
    client.diagnose(&["-h", SERVER, "-a", "own"]).healthy();
    has_one_password(&server);
}

#[test]
fn a_password_that_the_server_has_not_read_is_not_taken_from_the_client() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    let closed = "port 6379\nbind 127.0.0.1\n";
    edited(&server, closed, &format!("{closed}requirepass own\n"));
    let diagnosis = server.diagnose(&["-a", "own"]);
    diagnosis.first_cause("password-not-expected", Confidence::Certain).apply(|_| &server);
    server.diagnose(&["-a", "own"]).healthy();
}

#[test]
fn a_port_that_the_server_has_not_read_wants_a_restart() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    edited(&one, "port 6379\nbind 127.0.0.1\n", "port 6380\nbind 127.0.0.1\n");
    let diagnosis = one.diagnose(&["-p", "6380"]);
    diagnosis.first_cause("wrong-port", Confidence::Certain).exit(1);
    never_says(&diagnosis, "name 127.0.0.1");
    diagnosis.apply(|_| &one);
    one.diagnose(&["-p", "6380"]).healthy();
    // Where an argument overrides the file, a restart changes nothing.
    let other = lab.host("other");
    other.file("/srv/r.conf", "port 6379\nbind 127.0.0.1\n");
    let _redis = other.redis(&["/srv/r.conf", "--port", "6379", "--set-proc-title", "no"]);
    other.sh("sleep 0.1");
    other.file("/srv/r.conf", "port 6380\nbind 127.0.0.1\n");
    let diagnosis = other.diagnose(&["-p", "6380"]);
    diagnosis.cause("wrong-port", Confidence::Likely).nothing_certain();
    never_says(&diagnosis, "restart it, so that");
}

#[test]
fn a_socket_that_the_server_has_not_read_wants_a_restart() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let plain = "port 6379\nbind 127.0.0.1\n";
    edited(&one, plain, &format!("{plain}unixsocket /run/r.sock\nunixsocketperm 770\n"));
    let diagnosis = one.diagnose(&["-s", "/run/r.sock"]);
    diagnosis.first_cause("socket-missing", Confidence::Certain).apply(|_| &one);
    one.diagnose(&["-s", "/run/r.sock"]).healthy();
}

#[test]
fn a_port_that_is_back_in_the_file_wants_a_restart() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let socket = "bind 127.0.0.1\nunixsocket /run/r.sock\n";
    edited(&one, &format!("port 0\n{socket}"), &format!("port 6379\n{socket}"));
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("tcp-disabled", Confidence::Certain).apply(|_| &one);
    one.diagnose(&[]).healthy();
}

#[test]
fn a_client_is_not_sent_to_its_own_loopback() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.without_engines().systemd("port 6390\nbind 127.0.0.1\n").sh(START);
    let diagnosis = client.joined(&server, &["-h", SERVER]);
    diagnosis.first_cause("wrong-port", Confidence::Certain).exit(1);
    never_says(&diagnosis, "name 127.0.0.1");
    diagnosis.apply(|_| &server);
    let password = server.sh("cat redis-password").stdout;
    client.doctor(&["-h", SERVER, "-p", "6390"]).env("REDISCLI_AUTH", &password).diagnose().healthy();
    // On the machine itself, loopback is the server's.
    let own = lab.host("own");
    own.without_engines().systemd("port 6390\nbind 127.0.0.1\n").sh(START);
    says(&own.diagnose(&[]), "name 127.0.0.1 and port 6390");
}

#[test]
fn of_several_servers_none_is_named_by_a_guess() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.without_engines().systemd("port 6379\nbind 127.0.0.1\n").sh(START);
    let _other = server.redis(&["--port", "6391", "--bind", SERVER, "--protected-mode", "no"]);
    let diagnosis = client.joined(&server, &["-h", SERVER, "-p", "6392"]);
    diagnosis.cause("wrong-port", Confidence::Likely).nothing_certain().exit(1);
    never_says(&diagnosis, "name 127.0.0.1");
    says(&diagnosis, "of the server that is meant");
}

#[test]
fn beside_a_broken_file_the_other_servers_port_is_no_repair() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\nbind 127.0.0.1\n").sh(START);
    one.file("/etc/redis/redis-one.conf", "port 6380 x\nbind 127.0.0.1\n");
    let diagnosis = one.diagnose(&["-p", "6380"]);
    diagnosis.nothing_certain().exit(1);
    says(&diagnosis, "if that server is the one that is meant");
}
