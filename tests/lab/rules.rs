//! Rules of which one is not all: repairs that open both ways, addresses that are translated, and what leaves it open.

use crate::firewall::{PASSWORD, joined};
use crate::world::{Confidence, Host, Lab};

const SERVER: &str = "10.77.1.2";
const FAR: &str = "10.77.2.2";

/// A base chain of nft's with this policy and these rules.
fn chain(host: &Host, hook: &str, policy: &str, rules: &[&str]) {
    let mut text =
        format!("add table inet f\nadd chain inet f {hook} {{ type filter hook {hook} priority 0; policy {policy}; }}");
    for rule in rules {
        text = format!("{text}\nadd rule inet f {hook} {rule}");
    }
    host.nft(&text);
}

#[test]
fn a_machine_that_may_not_reach_itself_is_opened_both_ways() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    for rules in [
        "nft add table inet f; nft add chain inet f i '{ type filter hook input priority 0; policy drop; }'; nft add rule inet f i tcp dport 22 accept",
        "nft add table inet f; nft add chain inet f o '{ type filter hook output priority 0; policy drop; }'; nft add rule inet f o tcp dport 22 accept",
        "iptables -A INPUT -p tcp --dport 22 -j ACCEPT; iptables -P INPUT DROP",
        "iptables-legacy -A INPUT -p tcp --dport 6379 -j DROP; iptables-legacy -P INPUT DROP",
    ] {
        let _ = server.sh(rules);
        for address in ["127.0.0.1", SERVER] {
            let ask = || server.doctor(&["-h", address, "-t", "1"]).env("REDISCLI_AUTH", "pw").diagnose();
            if address == "127.0.0.1" {
                let diagnosis = ask();
                diagnosis.first_cause("firewall-drop", Confidence::Certain);
                diagnosis.apply(|_| &server);
            }
            ask().healthy();
        }
        let _ = server.sh("nft flush ruleset; iptables -P INPUT ACCEPT; iptables -F; iptables-legacy -P INPUT ACCEPT; iptables-legacy -F");
    }
}

#[test]
fn the_way_of_the_answer_is_opened_too() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    let side = |on: &str| if on == "redis-host" { &server } else { &client };
    for (host, cause, sent) in
        [(&client, "local-firewall", "tcp dport 22 accept"), (&server, "firewall-drop", "tcp sport 22 accept")]
    {
        for rules in [&["tcp dport 22 accept"][..], &[]] {
            chain(host, "input", "drop", rules);
            chain(host, "output", "drop", &[sent, "oif lo accept"]);
            let diagnosis = joined(&client, &server, SERVER);
            diagnosis.first_cause(cause, Confidence::Certain).apply(side);
            joined(&client, &server, SERVER).healthy();
            host.nft("flush ruleset");
        }
    }
}

#[test]
fn no_address_is_opened_that_the_server_may_never_see() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&PASSWORD);
    router.nft("add table ip n; add chain ip n post { type nat hook postrouting priority 100; }; add rule ip n post oifname eth1 masquerade");
    chain(&server, "input", "drop", &["ct state established accept", "tcp dport 22 accept"]);
    let tells = |remedy: &str| remedy.contains("may be another than 10.77.1.1") && !remedy.contains("\"run\"");
    let remedy = |diagnosis: &crate::world::Diagnosis| {
        let steps = diagnosis.report["causes"][0]["remedy"].as_array().cloned().unwrap_or_default();
        let steps = steps.iter().filter(|step| !step.to_string().contains("redisdoc check"));
        steps.map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let diagnosis = joined(&client, &server, FAR);
    diagnosis.first_cause("firewall-drop", Confidence::Certain);
    assert!(tells(&remedy(&diagnosis)), "{diagnosis}");
}

#[test]
fn our_own_rules_may_give_us_another_address() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    client.ip("address add 10.77.1.99/24 dev eth0");
    client.nft("add table ip n; add chain ip n post { type nat hook postrouting priority 100; }; add rule ip n post tcp dport 6379 snat to 10.77.1.99");
    chain(&server, "input", "drop", &["ct state established accept", "ip saddr 10.77.1.50 accept"]);
    let diagnosis = joined(&client, &server, SERVER);
    diagnosis.first_cause("firewall-drop", Confidence::Likely).nothing_certain();
    let remedy = diagnosis.report["causes"][0]["remedy"].to_string();
    assert!(remedy.contains("may be another than 10.77.1.1"), "{diagnosis}");
    server.nft("add rule inet f input ip saddr 10.77.1.99 tcp dport 6379 accept");
    joined(&client, &server, SERVER).healthy();
}
