//! The packet filter of the machine that we look from.

use crate::world::{Confidence, Lab};

const SERVER: &str = "10.77.1.2";

#[test]
fn our_own_firewall_is_certain_for_root_and_open_for_others() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    let healthy = || client.diagnose(&["-h", SERVER, "-t", "1"]).healthy().exit(0).ran.code;
    for rules in [
        "nft add table inet t; nft add chain inet t o '{ type filter hook output priority 0; }'; nft add rule inet t o tcp dport 6379 drop",
        "iptables -A OUTPUT -p tcp --dport 6379 -j REJECT --reject-with tcp-reset",
        "nft add table inet t; nft add chain inet t o '{ type filter hook output priority 0; policy drop; }'; nft add rule inet t o tcp dport 443 accept",
        "iptables -A OUTPUT -d 10.77.1.2 -p tcp -j DROP",
        "iptables-legacy -A OUTPUT -p tcp -m tcp --dport 6379 -j REJECT --reject-with icmp-port-unreachable",
        "iptables -A INPUT -p tcp --sport 6379 -j DROP",
    ] {
        let _ = client.sh(rules);
        if lab.has_users() {
            let other = client.doctor(&["-h", SERVER, "-t", "1"]).user(65534).diagnose();
            let silent = other.findings().iter().any(|code| code == "tcp/timeout");
            other.exit(1).check("firewall", "unknown");
            if silent {
                other.nothing_certain().cause("firewall-drop", Confidence::Possible);
            }
        }
        let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
        diagnosis.first_cause("local-firewall", Confidence::Certain).exit(1).finding("firewall/stopped-here");
        diagnosis.apply(|_| &client);
        healthy();
        let _ = client.sh("nft flush ruleset; iptables -F; iptables-legacy -F");
    }
}

#[test]
fn answers_that_are_dropped_by_the_port_they_come_to_are_named() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    let nft = |hook: &str, rule: &str| {
        format!(
            "nft add table inet t; nft add chain inet t c '{{ type filter hook {hook} priority 0; }}'; nft add rule inet t c {rule}"
        )
    };
    for rules in [
        &nft("input", "tcp dport 32768-60999 drop"),
        &nft("input", "tcp dport 1024-65535 tcp sport != 22 drop"),
        &nft("output", "tcp sport 32768-60999 drop"),
        "iptables -A INPUT -p tcp --dport 1024:65535 -j DROP",
        "iptables-legacy -A INPUT -p tcp -m multiport --dports 32768:60999 -j DROP",
    ] {
        let _ = client.sh(rules);
        let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
        diagnosis.first_cause("local-firewall", Confidence::Certain).exit(1).finding("firewall/stopped-here");
        diagnosis.apply(|_| &client);
        client.diagnose(&["-h", SERVER, "-t", "1"]).healthy();
        let _ = client.sh("nft flush ruleset; iptables -F; iptables-legacy -F");
    }
    // Ports that ours is not among: something else drops.
    let _ = client.sh(&nft("input", "tcp dport 1024-1999 drop"));
    let _ = server.sh(&nft("input", "tcp dport 6379 drop"));
    client.diagnose(&["-h", SERVER, "-t", "1"]).nothing_certain().not_cause("local-firewall").exit(1);
}
