//! Rules that ask for more than the packet, and what a repair has to be like there.

use crate::world::{Confidence, Host, Lab};

const SERVER: &str = "10.77.1.2";
const FAR: &str = "10.77.2.2";
const PASSWORD: [&str; 4] = ["--requirepass", "pw", "--bind", "* -::*"];

fn connect_often(client: &Host) {
    let _ = client
        .sh(&format!("for i in 1 2 3 4 5 6 7 8; do timeout 1 bash -c '</dev/tcp/{SERVER}/6379' 2>&1; done; true"));
}

#[test]
fn a_limit_on_new_connections_is_named_and_repaired() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if !lab.has("ufw") {
        return;
    }
    let _redis = server.redis(&PASSWORD);
    server.ufw(&["limit 6379/tcp"]);
    let ask = || client.doctor(&["-h", SERVER, "--host-facts", "-", "-t", "2"]).env("REDISCLI_AUTH", "pw");
    ask().stdin(server.collect()).diagnose().healthy();
    connect_often(&client);
    let diagnosis = ask().stdin(server.collect()).diagnose();
    diagnosis.first_cause("firewall-reject", Confidence::Likely).nothing_certain().exit(1);
    assert!(diagnosis.to_string().contains("ufw-user-limit"), "{diagnosis}");
    let _ = server.sh("ufw insert 1 allow from 10.77.1.1 to any port 6379 proto tcp");
    client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
}

#[test]
fn looking_deeper_at_a_healthy_server_does_not_lock_the_application_out() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    server.nft(
        "table inet t { chain f { type filter hook input priority 0; tcp dport 6379 ct state new limit rate over 4/minute \
         burst 4 packets reject with tcp reset; }; }",
    );
    client.doctor(&["-h", SERVER, "--deep"]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
    client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
}

#[test]
fn what_a_router_rejects_is_repaired_on_the_router() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&PASSWORD);
    router.nft("table inet t { chain f { type filter hook forward priority 0; tcp dport 6379 reject; }; }");
    let facts = server.collect();
    for to in [FAR, "fd77:2::2"] {
        let diagnosis = client.doctor(&["-h", to, "--host-facts", "-"]).stdin(facts.clone()).diagnose();
        diagnosis.first_cause("firewall-reject", Confidence::Certain).exit(1);
        let text = diagnosis.to_string();
        assert!(
            text.contains("on 10.77.1.254: allow 10.77.1.1 ") || text.contains("on fd77:1::fe: allow fd77:1::1 "),
            "{text}"
        );
        assert!(!text.contains("ufw "), "{text}");
    }
    router.nft("flush ruleset; table inet t { chain f { type filter hook forward priority 0; tcp dport 6379 reject with tcp reset; }; }");
    let diagnosis = client.doctor(&["-h", FAR, "--host-facts", "-"]).stdin(facts).diagnose();
    diagnosis.cause("firewall-reject", Confidence::Likely).nothing_certain().exit(1);
    assert!(diagnosis.to_string().contains("on the router or firewall between"), "{diagnosis}");
}

#[test]
fn panic_mode_is_ended_and_not_pierced() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let (client, server) = lab.pair();
    if !lab.has("firewalld") {
        return;
    }
    let _redis = server.redis(&PASSWORD);
    let _firewalld = server.firewalld();
    let _ = server.sh("firewall-cmd --add-port=6379/tcp && firewall-cmd --panic-on");
    let ask = || client.doctor(&["-h", SERVER, "--host-facts", "-", "-t", "2"]).env("REDISCLI_AUTH", "pw");
    let diagnosis = ask().stdin(server.collect()).diagnose();
    diagnosis.first_cause("firewall-drop", Confidence::Certain).exit(1);
    let text = diagnosis.to_string();
    assert!(text.contains("--panic-off") && !text.contains("nft add rule"), "{text}");
    let _ = server.sh("firewall-cmd --panic-off");
    ask().stdin(server.collect()).diagnose().healthy();
}
