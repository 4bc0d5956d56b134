//! Packet filters with a router between: what stops the client may stand there, and the server may see another address.

use crate::firewall::{PASSWORD, joined, table};
use crate::world::{Confidence, Lab};

const FAR: &str = "10.77.2.2";

#[test]
fn what_drops_between_is_not_on_the_server() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&PASSWORD);
    server.ufw(&["allow from 10.77.1.0/24 to any port 6379 proto tcp"]);
    joined(&client, &server, FAR).healthy();
    router.nft("add table inet t; add chain inet t f { type filter hook forward priority 0; }; add rule inet t f tcp dport 6379 drop");
    let diagnosis = joined(&client, &server, FAR);
    diagnosis.nothing_certain().cause("firewall-drop", Confidence::Possible).exit(1);
    router.nft("flush ruleset; add table inet t; add chain inet t f { type filter hook forward priority 0; }; add rule inet t f tcp dport 6379 reject with tcp reset");
    joined(&client, &server, FAR).nothing_certain().cause("firewall-reject", Confidence::Likely).exit(1);
}

#[test]
fn behind_a_translated_address_the_clients_own_is_not_what_the_rules_see() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&PASSWORD);
    router.nft("add table ip n; add chain ip n post { type nat hook postrouting priority 100; }; add rule ip n post oifname eth1 masquerade");
    // The rules are made for the client's own address; it comes with the router's.
    table(
        &server,
        "add chain inet filter input { type filter hook input priority 0; policy drop; }\nadd rule inet filter input iif lo accept\n\
         add rule inet filter input ct state established accept\nadd rule inet filter input ip saddr 10.77.1.1 tcp dport 6379 accept",
    );
    joined(&client, &server, FAR).nothing_certain().exit(1).check("firewall", "unknown");
    // The router's address is let in: nothing is wrong.
    server.nft("add rule inet filter input ip saddr 10.77.2.254 tcp dport 6379 accept");
    joined(&client, &server, FAR).healthy();
    // Closed for everybody: whoever asks, that is certain.
    server.nft("flush chain inet filter input; add rule inet filter input iif lo accept");
    joined(&client, &server, FAR).first_cause("firewall-drop", Confidence::Certain);
}

#[test]
fn behind_a_router_rules_that_ask_for_the_client_leave_it_open() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis(&PASSWORD);
    // Nobody but one other: whether the router translates cannot be seen.
    server.ufw(&["allow from 10.9.9.9 to any port 6379 proto tcp"]);
    let diagnosis = joined(&client, &server, FAR);
    diagnosis.first_cause("firewall-drop", Confidence::Likely).nothing_certain().exit(1);
    let remedy = diagnosis.report["causes"][0]["remedy"].to_string();
    assert!(remedy.contains("may be another than 10.77.1.1"), "{diagnosis}");
    let _ = server.sh("ufw allow from 10.77.1.1 to any port 6379 proto tcp");
    joined(&client, &server, FAR).healthy();
}

#[test]
fn a_rule_that_does_not_fit_what_was_met_is_not_the_cause() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&PASSWORD);
    table(
        &server,
        "add chain inet filter input { type filter hook input priority 0; }\nadd rule inet filter input tcp dport 6379 drop",
    );
    // The router answers before the server could drop.
    router.nft("add table inet t; add chain inet t f { type filter hook forward priority 0; }; add rule inet t f tcp dport 6379 reject with tcp reset");
    joined(&client, &server, FAR).nothing_certain().not_cause("firewall-drop").exit(1);
    // The server would reject, and the router drops.
    server.nft("flush chain inet filter input; add rule inet filter input tcp dport 6379 reject");
    router.nft("flush chain inet t f; add rule inet t f tcp dport 6379 drop");
    joined(&client, &server, FAR).nothing_certain().exit(1);
}
