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

#[test]
fn a_port_that_is_sent_elsewhere_is_not_let_through() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    server.nft("add table ip n; add chain ip n pre { type nat hook prerouting priority -100; }; add rule ip n pre tcp dport 6379 redirect to :6378");
    let diagnosis = joined(&client, &server, SERVER);
    diagnosis.first_cause("firewall-reject", Confidence::Possible).nothing_certain().exit(1);
    let says = diagnosis.report.to_string();
    assert!(says.contains("on to 10.77.1.2:6378") && !says.contains("not what stops it"), "{diagnosis}");
    assert!(!says.contains("it listens there"), "{diagnosis}");
    server.nft("flush chain ip n pre; add rule ip n pre tcp dport 6380 dnat to 10.77.2.77:6379");
    let facts = server.collect();
    let args = ["-h", SERVER, "-p", "6380", "-t", "1", "--host-facts", "-"];
    let diagnosis = client.doctor(&args).stdin(facts).diagnose();
    diagnosis.nothing_certain().exit(1);
    assert!(!diagnosis.causes().contains(&("wrong-port".to_owned(), Confidence::Likely)), "{diagnosis}");
    let says = diagnosis.report.to_string();
    assert!(says.contains("on to 10.77.2.77:6379") && !says.contains("not what stops it"), "{diagnosis}");
}

/// Whether the rules let it through is open, and nothing claims otherwise.
#[track_caller]
fn open(client: &Host, server: &Host, says: &str) {
    let diagnosis = joined(client, server, SERVER);
    diagnosis.nothing_certain().exit(1).check("firewall", "unknown");
    let report = diagnosis.report.to_string();
    assert!(report.contains(says) && !report.contains("not what stops it"), "{diagnosis}");
}

#[test]
fn what_is_decided_beside_the_rules_leaves_it_open() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    // A connection of another zone, whose answers are not known to be of it.
    server.nft("add table ip z; add chain ip z pre { type filter hook prerouting priority -300; }; add rule ip z pre ct zone set 7");
    chain(&server, "output", "drop", &["oif lo accept", "ct state established accept"]);
    open(&client, &server, "the policy of inet f output may drop it");
    server.nft("flush ruleset");
    // A mark by which the answer is routed into nothing.
    server.nft("add table ip r; add chain ip r o { type route hook output priority -150; }; add rule ip r o tcp sport 6379 meta mark set 7");
    for command in ["rule add fwmark 7 table 77 priority 50", "route add blackhole default table 77"] {
        server.ip(command);
    }
    open(&client, &server, "marks it");
    server.nft("flush ruleset");
    joined(&client, &server, SERVER).healthy();
    // Packets that die on the way.
    server.iptables("-t mangle -A OUTPUT -p tcp --sport 6379 -j TTL --ttl-set 64");
    joined(&client, &server, SERVER).healthy();
}

#[test]
fn the_rules_of_a_bridge_leave_it_open() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    for command in ["link add br0 type bridge", "address flush dev eth0", "link set eth0 master br0", "link set br0 up"]
    {
        server.ip(command);
    }
    server.interface("br0", &["10.77.1.2/24"]);
    joined(&client, &server, SERVER).healthy();
    server.nft("add table bridge b; add chain bridge b i { type filter hook input priority 0; }; add rule bridge b i tcp dport 6379 drop");
    open(&client, &server, "the rules of the table bridge b may stop it");
}

#[test]
fn a_rule_of_ours_that_is_for_some_users_is_a_candidate() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    for verdict in ["reject with tcp reset", "drop"] {
        chain(&client, "output", "accept", &[&format!("meta skuid 0 tcp dport 6379 {verdict}")]);
        let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
        diagnosis.cause("local-firewall", Confidence::Possible).nothing_certain().exit(1);
        let says = diagnosis.report["causes"].to_string();
        assert!(says.contains("inet f output, handle "), "{diagnosis}");
        client.nft("flush ruleset");
    }
    client.diagnose(&["-h", SERVER, "-a", "pw"]).healthy();
}
