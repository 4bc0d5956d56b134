//! What the same place says to the other way of asking: plain RESP to a TLS port, TLS to a plain one, and what hides behind.

use std::time::Duration;

use crate::world::diagnose::Diagnosis;
use crate::world::{Authority, Confidence, Host, Lab, Running, Stub};

const SERVER: &str = "10.77.1.2";
const ASK: [&str; 4] = ["-h", SERVER, "-t", "1"];
const TLS: [&str; 6] = ["-h", SERVER, "-t", "1", "--tls", "--insecure"];

/// Puts a certificate for the server on it, and its authority on both, where the steps of a repair say.
fn certified(client: &Host, server: &Host) -> Authority {
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&["db", SERVER]), &authority.pem());
    client.file("/tmp/ca.pem", authority.pem());
    authority
}

/// The command that verifies the first cause's repair, as it is typed in /tmp.
#[track_caller]
fn verified(diagnosis: &Diagnosis, client: &Host) -> Diagnosis {
    let steps = diagnosis.report["causes"][0]["remedy"].as_array().cloned().unwrap_or_default();
    let command = steps.last().and_then(|step| step["command"].as_str()).unwrap_or_default().to_owned();
    let words: Vec<&str> = command.split_whitespace().skip(2).collect();
    client.doctor(&words).dir("/tmp").diagnose()
}

/// stunnel on port 6379 before port 6380 of this host.
pub fn stunnel(server: &Host, more: &str) -> Running {
    let conf = format!(
        "foreground = yes\npid =\n{more}\n[redis]\naccept = 6379\nconnect = 127.0.0.1:6380\ncert = /etc/tls/server.crt\n\
         key = /etc/tls/server.key\n"
    );
    server.file("/etc/stunnel.conf", conf);
    let running = server.command(&["stunnel4", "/etc/stunnel.conf"]).spawn();
    server.sh("for i in $(seq 100); do ss -ltn | grep -q :6379 && break; sleep 0.05; done");
    running
}

#[test]
fn a_tls_port_is_told_by_what_answers_inside() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    certified(&client, &server);
    let redis = server.tls_redis(&["--tls-auth-clients", "no"]);
    let diagnosis = client.diagnose(&ASK);
    diagnosis.finding("ping/closed").first_cause("plaintext-to-tls-port", Confidence::Certain).exit(1);
    diagnosis.within(Duration::from_millis(1_200));
    verified(&diagnosis, &client).healthy();
    drop(redis);
    let _redis = server.tls_redis(&["--tls-auth-clients", "no", "--requirepass", "pw"]);
    client.diagnose(&ASK).first_cause("plaintext-to-tls-port", Confidence::Certain);
    let unasked = client.diagnose(&[&ASK[..], &["--no-counter-probe"]].concat());
    unasked.cause("plaintext-to-tls-port", Confidence::Possible).nothing_certain();
}

#[test]
fn a_server_that_wants_a_certificate_is_only_likely_a_redis() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = certified(&client, &server);
    let own = authority.certify(&["app"]);
    client.file("/tmp/client.crt", own.chain).file("/tmp/client.key", own.key);
    for version in ["TLSv1.2", "TLSv1.3"] {
        let _redis = server.tls_redis(&["--tls-protocols", version]);
        let diagnosis = client.diagnose(&ASK);
        diagnosis.first_cause("plaintext-to-tls-port", Confidence::Likely).nothing_certain().exit(1);
        verified(&diagnosis, &client).healthy();
    }
    // Its own machine knows whose port it is, where it is known what the server has read.
    let conf = "port 0\ntls-port 6379\nprotected-mode no\ntls-cert-file /etc/tls/server.crt\n\
                tls-key-file /etc/tls/server.key\ntls-ca-cert-file /etc/tls/ca.crt\n";
    let _redis = server.redis_conf(conf);
    let here = server.diagnose(&["-t", "1", "--redis-conf", "/etc/redis/redis.conf"]);
    here.first_cause("plaintext-to-tls-port", Confidence::Certain);
    assert!(here.ran.stdout.contains("--cacert /etc/tls/ca.crt"), "{here}");
}

#[test]
fn a_proxy_with_tls_is_told_too() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    certified(&client, &server);
    let redis = server.redis(&["--port", "6380"]);
    let _stunnel = stunnel(&server, "");
    let diagnosis = client.diagnose(&ASK);
    diagnosis.first_cause("plaintext-to-tls-port", Confidence::Certain).exit(1);
    verified(&diagnosis, &client).healthy();
    drop(redis);
    client.diagnose(&ASK).cause("plaintext-to-tls-port", Confidence::Likely).nothing_certain().exit(1);
}

#[test]
fn the_setting_of_the_application_is_rewritten() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    certified(&client, &server);
    client.file("/tmp/.env", format!("A=1\nREDIS_URL=redis://:pw@{SERVER}:6379/0\n"));
    let ask = ["--env-file", "/tmp/.env", "-t", "1"];
    let with_authority = [&ask[..], &["--cacert", "/tmp/ca.pem"]].concat();
    let redis = server.tls_redis(&["--tls-auth-clients", "no", "--requirepass", "pw"]);
    client.diagnose(&ask).first_cause("plaintext-to-tls-port", Confidence::Certain).apply(|_| &client);
    client.diagnose(&with_authority).healthy();
    drop(redis);
    let _redis = server.redis(&["--requirepass", "pw"]);
    client.diagnose(&ask).first_cause("tls-to-plaintext-port", Confidence::Certain).apply(|_| &client);
    client.diagnose(&ask).healthy();
}

#[test]
fn a_plain_port_is_told_by_what_answers_without_tls() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let redis = server.redis(&["--protected-mode", "no"]);
    let diagnosis = client.diagnose(&TLS);
    diagnosis.finding("tls/silent").first_cause("tls-to-plaintext-port", Confidence::Certain).exit(1);
    diagnosis.within(Duration::from_millis(1_700));
    verified(&diagnosis, &client).healthy();
    let unasked = client.diagnose(&[&TLS[..], &["--no-counter-probe"]].concat());
    unasked.cause("tls-to-plaintext-port", Confidence::Possible).nothing_certain();
    redis.process.signal(nix::sys::signal::Signal::SIGSTOP);
    client.diagnose(&TLS).not_cause("tls-to-plaintext-port").cause("process-stopped", Confidence::Possible);
    redis.process.signal(nix::sys::signal::Signal::SIGCONT);
}

#[test]
fn the_error_behind_wrong_version_number_is_the_cause() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let redis = server.redis(&[]);
    let diagnosis = client.diagnose(&TLS);
    diagnosis.finding("tls/not-tls").first_cause("protected-mode", Confidence::Certain);
    diagnosis.cause_beside("tls-to-plaintext-port", Confidence::Certain, "protected-mode").exit(1);
    assert!(diagnosis.ran.stdout.contains("'wrong version number'"), "{diagnosis}");
    diagnosis.apply(|_| &server);
    drop(redis);
    let _redis = server.redis(&["--maxclients", "1", "--protected-mode", "no"]);
    let _held = server.command(&["sh", "-c", "(echo PING; sleep 60) | redis-cli >/dev/null"]).spawn();
    server.sh("for i in $(seq 100); do redis-cli ping | grep -q max && break; sleep 0.05; done");
    client.diagnose(&TLS).first_cause("max-clients", Confidence::Certain);
    for (port, banner) in [(7_000, "SSH-2.0-OpenSSH_9.2p1\r\n"), (7_001, "220 mail.test ESMTP\r\n")] {
        let _stub = server.tcp_stub(port, Stub::Banner(banner.into()));
        let ask = ["-h", SERVER, "-p", &port.to_string(), "-t", "1", "--tls"];
        client.diagnose(&ask).cause("not-redis", Confidence::Certain).exit(1);
    }
}

#[test]
fn neither_way_is_called_certain_without_an_answer() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let stubs = [Stub::Silent, Stub::CloseAtOnce, Stub::ReplyThenClose(b"\x15\x03\x01\0\x02\x02F".to_vec())];
    for (number, stub) in stubs.into_iter().enumerate() {
        let port = (7_000 + number).to_string();
        let stub = server.tcp_stub(port.parse().unwrap(), stub);
        for tls in [&[][..], &["--tls"]] {
            let before = stub.connections();
            let ask = [&["-h", SERVER, "-p", &port, "-t", "1"], tls].concat();
            client.diagnose(&ask).nothing_certain().exit(1).within(Duration::from_millis(1_900));
            let with = stub.connections() - before;
            client.diagnose(&[&ask[..], &["--no-counter-probe"]].concat()).nothing_certain().exit(1);
            let without = stub.connections() - before - with;
            assert!(with - without <= 3, "{with} connections, and {without} without counter-probes");
        }
    }
}

#[test]
fn certificates_that_a_narrow_link_swallows_make_no_plain_port() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    certified(&client, &server);
    let _redis = server.tls_redis(&["--tls-auth-clients", "no"]);
    // What a link does that takes no large packets and says nothing of it: the server's certificates never come.
    let lose = "add table inet t; add chain inet t f { type filter hook input priority 0; }\n\
                add rule inet t f tcp sport 6379 meta length > 576 drop";
    client.nft(lose);
    let diagnosis = client.diagnose(&TLS);
    diagnosis.finding("tls/silent").nothing_certain().not_cause("tls-to-plaintext-port").exit(1);
    diagnosis.first_cause("mtu-black-hole", Confidence::Likely).within(Duration::from_millis(2_500));
    client.diagnose(&ASK).nothing_certain().exit(1);
}

#[test]
fn another_address_of_this_machine_is_asked() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    let _redis = server.redis(&[]);
    let facts = server.doctor(&["-h", SERVER, "-o", "facts=/tmp/facts"]).diagnose();
    facts.first_cause("protected-mode", Confidence::Certain);
    let saved: serde_json::Value = serde_json::from_str(&server.read("/tmp/facts")).expect("facts");
    let elsewhere = &saved["counter"]["seen"]["elsewhere"];
    assert_eq!(elsewhere["attempt"]["address"], "127.0.0.1:6379", "{elsewhere}");
    assert!(elsewhere["said"].to_string().contains("PONG"), "{elsewhere}");
}

#[test]
fn a_client_limit_on_a_tls_port_says_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    certified(&client, &server);
    let _redis = server.tls_redis(&["--tls-auth-clients", "no", "--maxclients", "1"]);
    // redis-cli --latency would end after a second.
    let hold = "(echo PING; sleep 60) | redis-cli --tls --cacert /etc/tls/ca.crt >/dev/null";
    let _held = server.command(&["sh", "-c", hold]).spawn();
    server.sh("sleep 0.5");
    let diagnosis = client.diagnose(&TLS);
    diagnosis.finding("tls/closed").nothing_certain().cause("max-clients", Confidence::Possible).exit(1);
    client.diagnose(&ASK).nothing_certain().exit(1);
}
