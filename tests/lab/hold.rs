//! Connections that say nothing for a while: who ends them, and how.

use std::time::Duration;

use crate::world::{Confidence, Host, Lab};

const FAR: &str = "10.77.2.2";
const OPEN: [&str; 2] = ["--protected-mode", "no"];
const HELD: [&str; 6] = ["-h", FAR, "-t", "1", "--hold", "3"];

/// A stateful firewall that forgets what has been silent for two seconds, and then does this to what comes.
fn forgetful(router: &Host, then: &str) {
    router.sysctl("net.netfilter.nf_conntrack_tcp_timeout_established", "2");
    router.sysctl("net.netfilter.nf_conntrack_tcp_loose", "0");
    router.nft(&format!(
        "add table inet t; add chain inet t f {{ type filter hook forward priority 0; }}
         add rule inet t f ct state established,related accept
         add rule inet t f tcp dport 6379 tcp flags & (syn | ack) == syn ct state new accept
         add rule inet t f meta l4proto tcp {then}"
    ));
}

#[test]
fn a_connection_that_stands_is_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis(&["--requirepass", "pw"]);
    let held = client.doctor(&["-h", FAR, "-t", "1", "--hold", "1"]).env("REDISCLI_AUTH", "pw").diagnose();
    held.healthy().check("hold", "pass").within(Duration::from_millis(1_900));
    let longer = client.doctor(&["-h", FAR, "-t", "1", "--deadline", "1", "--hold", "2"]).env("REDISCLI_AUTH", "pw");
    longer.diagnose().healthy().check("hold", "pass");
    server.doctor(&["--hold", "1"]).env("REDISCLI_AUTH", "pw").diagnose().healthy().check("hold", "pass");
}

#[test]
fn what_a_firewall_forgets_is_cut_and_can_be_kept_alive() {
    let Some(lab) = Lab::enter() else { return };
    for (then, finding) in [("drop", "hold/silent"), ("reject with tcp reset", "hold/reset")] {
        let (client, router, server) = lab.routed();
        let _redis = server.redis(&OPEN);
        forgetful(&router, then);
        client.diagnose(&["-h", FAR]).healthy();
        let diagnosis = client.diagnose(&HELD);
        diagnosis.finding(finding).first_cause("idle-cut", Confidence::Likely).nothing_certain().exit(1);
        diagnosis.not_cause("idle-timeout");
        diagnosis.apply(|_| &server);
        client.diagnose(&HELD).healthy();
    }
}

#[test]
fn the_servers_own_timeout_is_told_by_its_end() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis_conf("protected-mode no\nbind 0.0.0.0\ntimeout 1\n");
    let diagnosis = client.diagnose(&HELD);
    diagnosis.finding("hold/closed").cause("idle-timeout", Confidence::Possible).nothing_certain().exit(1);
    diagnosis.cause("idle-cut", Confidence::Possible);
    let joined = client.joined(&server, &HELD);
    joined.first_cause("idle-timeout", Confidence::Certain).not_cause("idle-cut").exit(1);
    joined.apply(|_| &server);
    client.diagnose(&HELD).healthy();
}

#[test]
fn a_server_that_was_restarted_forgot_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let mut redis = server.redis(&OPEN);
    let check = client.doctor(&HELD).spawn();
    std::thread::sleep(Duration::from_secs(1));
    redis.kill();
    let _again = server.redis(&OPEN);
    let ran = check.wait(Duration::from_secs(20));
    assert!(ran.stdout.contains("hold/server-gone") && !ran.stdout.contains("idle-cut"), "{ran}");
    assert!(!ran.stdout.contains("idle-timeout") && ran.stdout.contains("not-running"), "{ran}");
}

#[test]
fn a_server_that_is_gone_has_a_cause() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    for (stop, cause) in [("refuse", "not-running"), ("drop", "firewall-drop")] {
        let mut redis = server.redis(&OPEN);
        let check = client.doctor(&HELD).spawn();
        std::thread::sleep(Duration::from_secs(1));
        if stop == "drop" {
            server.nft("add table inet t; add chain inet t f { type filter hook input priority 0; policy drop; }");
        } else {
            redis.kill();
        }
        let ran = check.wait(Duration::from_secs(20));
        assert!(ran.stdout.contains("hold/server-gone") && ran.stdout.contains(cause), "{ran}");
    }
}
