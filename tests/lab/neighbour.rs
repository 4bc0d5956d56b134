//! Neighbour discovery that fails although the machine is up, and what else was called by the wrong name.

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Host, Lab, enter};

const SERVER: &str = "10.77.1.2";
const SERVER6: &str = "fd77:1::2";
const OPEN: [&str; 2] = ["--protected-mode", "no"];
/// Where the facts of its machine would find an open server dangerous.
const CLOSED: [&str; 2] = ["--requirepass", "pw"];

/// What is printed of a remedy and its evidence.
#[track_caller]
fn tells(diagnosis: &Diagnosis, words: &str) {
    assert!(diagnosis.report.to_string().contains(words), "no '{words}': {diagnosis}");
}

fn forget(host: &Host) {
    host.ip("neigh flush all");
    host.ip("-6 neigh flush all");
}

#[test]
fn a_filter_of_the_server_that_drops_discovery() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&OPEN);
    let table = "add table inet t; add chain inet t f { type filter hook input priority 0; policy drop; }";
    server.nft(&format!("{table}\nadd rule inet t f tcp dport 6379 accept"));
    forget(&client);
    unseen(&client, SERVER6);
    let joined = client.joined(&server, &["-h", SERVER6]);
    joined.first_cause("host-down", Confidence::Possible).nothing_certain().exit(1);
    tells(&joined, "inet t f drops by policy");
    server.nft("add rule inet t f meta l4proto ipv6-icmp accept");
    forget(&client);
    client.diagnose(&["-h", SERVER6]).healthy();
    server.nft("add table arp a; add chain arp a i { type filter hook input priority 0; policy drop; }");
    forget(&client);
    unseen(&client, SERVER);
    let joined = client.joined(&server, &["-h", SERVER]);
    joined.first_cause("host-down", Confidence::Possible).nothing_certain().exit(1);
    tells(&joined, "arp a i drops by policy");
}

/// What the client alone says of a server whose filter keeps it from being found.
#[track_caller]
fn unseen(client: &Host, to: &str) {
    let diagnosis = client.diagnose(&["-h", to]);
    diagnosis.first_cause("host-down", Confidence::Likely).nothing_certain().exit(1);
    tells(&diagnosis, "in its own filter");
    tells(&diagnosis, "at its console");
    forget(client);
}

#[test]
fn rules_of_arptables_legacy_are_doubts() {
    let Some(lab) = Lab::enter() else { return };
    if enter::find("arptables-legacy").is_none() {
        enter::skipped("arptables-legacy");
        return;
    }
    let (client, server) = lab.pair();
    let _redis = server.redis(&CLOSED);
    let _ = server.sh("arptables-legacy -A INPUT -j DROP").ok();
    forget(&client);
    unseen(&client, SERVER);
    let joined = client.joined(&server, &["-h", SERVER]);
    joined.first_cause("host-down", Confidence::Possible).nothing_certain().exit(1);
    tells(&joined, "arptables-legacy");
    let _ = client.sh("arptables-legacy -A OUTPUT -j ACCEPT").ok();
    forget(&client);
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.first_cause("host-down", Confidence::Likely).nothing_certain().exit(1);
    tells(&diagnosis, "arptables-legacy");
    // A rule that is known to drop is as certain as before.
    let _ = server.sh("arptables-legacy -F; nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }'; nft add rule inet t c tcp dport 6379 drop").ok();
    client.joined(&server, &["-h", SERVER, "-t", "1"]).first_cause("firewall-drop", Confidence::Certain).exit(1);
}

#[test]
fn our_own_filter_that_drops_discovery() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&OPEN);
    client.nft(
        "add table inet t; add chain inet t f { type filter hook input priority 0; policy drop; }
         add rule inet t f ct state established,related accept",
    );
    forget(&client);
    let diagnosis = client.diagnose(&["-h", SERVER6]);
    diagnosis.first_cause("host-down", Confidence::Likely).nothing_certain().exit(1);
    tells(&diagnosis, "inet t f drops by policy");
    client.nft("add rule inet t f icmpv6 type nd-neighbor-advert accept");
    forget(&client);
    client.diagnose(&["-h", SERVER6]).healthy();
    client.diagnose(&["-h", "fd77:1::77"]).first_cause("host-down", Confidence::Likely);
    client.nft("delete table inet t");
    client.nft("add table arp a; add chain arp a o { type filter hook output priority 0; policy drop; }");
    forget(&client);
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.first_cause("host-down", Confidence::Likely).nothing_certain().exit(1);
    tells(&diagnosis, "arp a o drops by policy");
    client.nft("delete table arp a");
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_prefix_that_is_too_wide() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis(&CLOSED);
    client.ip("addr add 10.77.1.3/16 dev eth0");
    let diagnosis = client.diagnose(&["-h", "10.77.2.2"]);
    diagnosis.cause("host-down", Confidence::Likely).nothing_certain().exit(1);
    tells(&diagnosis, "ip -br addr");
    let joined = client.joined(&server, &["-h", "10.77.2.2"]);
    joined.first_cause("host-down", Confidence::Possible).nothing_certain().exit(1);
}

#[test]
fn a_machine_that_is_up_and_silent_is_not_gone() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&CLOSED);
    router.nft("add table inet t; add chain inet t f { type filter hook forward priority 0; policy drop; }");
    let joined = client.joined(&server, &["-h", "10.77.2.2", "-t", "1"]);
    joined.not_cause("host-down").nothing_certain().exit(1);
}

#[test]
fn answers_that_we_may_drop_ourselves() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&CLOSED);
    client.nft(
        "add table inet t; add chain inet t f { type filter hook input priority 0; policy drop; }
         add rule inet t f tcp dport 22 accept",
    );
    if lab.has_users() {
        // The server's machine shows connections that wait when it is looked at right after an attempt.
        client.doctor(&["-h", SERVER, "-t", "2"]).user(65534).diagnose().exit(1);
        let facts = server.collect();
        let check = client.doctor(&["-h", SERVER, "-t", "2", "--host-facts", "-"]).user(65534).stdin(facts).diagnose();
        check.first_cause("no-return-path", Confidence::Likely).nothing_certain().exit(1);
        assert!(!check.report.to_string().contains("add the route back"), "{check}");
        tells(&check, "sudo nft -a list ruleset");
    }
    // Root sees that it is so, by the port that the answers come to.
    let diagnosis = client.diagnose(&["-h", SERVER, "-t", "2"]);
    diagnosis.first_cause("local-firewall", Confidence::Certain).exit(1);
    diagnosis.apply(|_| &client);
    client.doctor(&["-h", SERVER, "-t", "2"]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
}

#[test]
fn large_answers_that_never_come_are_not_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&OPEN);
    for (host, hook, lengths) in [(&server, "output", "900-65535"), (&router, "forward", "300-65535")] {
        host.nft(&format!(
            "add table inet t; add chain inet t f {{ type filter hook {hook} priority 0; }}
             add rule inet t f tcp sport 6379 meta length {lengths} drop"
        ));
        let diagnosis = client.diagnose(&["-h", "10.77.2.2", "-t", "2"]);
        diagnosis.finding("state/info-silent").nothing_certain().exit(1);
        diagnosis.cause("mtu-black-hole", Confidence::Possible).cause("data-dropped", Confidence::Possible);
        host.nft("delete table inet t");
        client.diagnose(&["-h", "10.77.2.2"]).healthy();
    }
}

#[test]
fn a_server_that_denies_info_is_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no", "--rename-command", "INFO", ""]);
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn packets_that_are_lost_by_chance_are_not_a_busy_server() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis(&OPEN);
    // The first SYN is lost: the connection is made with the second.
    server.nft(
        "add table inet t; add chain inet t f { type filter hook input priority 0; }
         add rule inet t f iifname eth0 tcp dport 6379 tcp flags & (syn | ack) == syn limit rate 1/day burst 1 packets drop",
    );
    let joined = client.joined(&server, &["-h", "10.77.2.2"]);
    joined.finding("tcp/slow").not_cause("accept-queue-full");
    assert!(joined.causes().contains(&("packet-loss".to_owned(), Confidence::Possible)), "{joined}");
    server.nft("flush chain inet t f");
    // The first requests are lost.
    server.nft(
        "add rule inet t f iifname eth0 tcp dport 6379 tcp flags & psh == psh limit rate 1/day burst 5 packets drop",
    );
    let diagnosis = client.diagnose(&["-h", "10.77.2.2"]);
    diagnosis.finding("ping/slow").cause("packet-loss", Confidence::Possible).nothing_certain();
    diagnosis.cause("event-loop-blocked", Confidence::Possible);
    assert!(diagnosis.causes().contains(&("event-loop-blocked".to_owned(), Confidence::Possible)), "{diagnosis}");
}
