//! What the kernel of the server's machine shows: answers that do not come back, connection tracking, `SELinux`.

use std::time::Duration;

use crate::firewall::{PASSWORD, joined};
use crate::world::{Confidence, Host, Lab};

const SERVER: &str = "10.77.1.2";
const FAR: &str = "10.77.2.2";
#[test]
fn rules_that_stop_the_answer_are_named_and_repaired() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    for rules in [
        "nft add table inet t; nft add chain inet t o '{ type filter hook output priority 0; }'; nft add rule inet t o tcp sport 6379 drop",
        "nft add table inet t; nft add chain inet t o '{ type filter hook output priority 0; policy drop; }'; nft add rule inet t o oif lo accept",
        "iptables -A OUTPUT -d 10.77.1.0/24 -p tcp -j DROP",
        "iptables-legacy -A OUTPUT -p tcp --sport 6379 ! -o lo -j DROP",
    ] {
        let _ = server.sh(rules);
        let diagnosis = joined(&client, &server, SERVER);
        diagnosis.first_cause("no-return-path", Confidence::Certain).exit(1).finding("firewall/answer-stopped");
        diagnosis.apply(|on| if on == "redis-host" { &server } else { &client });
        joined(&client, &server, SERVER).healthy();
        let _ = server.sh("nft flush ruleset; iptables -F; iptables-legacy -F");
    }
}

#[test]
fn a_route_back_that_is_missing() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis(&PASSWORD);
    server.ip("route del default");
    let diagnosis = joined(&client, &server, FAR);
    diagnosis.first_cause("no-return-path", Confidence::Likely).exit(1);
    server.ip("route add default via 10.77.2.254");
    joined(&client, &server, FAR).healthy();
    server.ip("route add blackhole 10.77.1.0/24");
    joined(&client, &server, FAR).first_cause("no-return-path", Confidence::Likely).exit(1);
}

#[test]
fn a_bridge_with_the_prefix_of_the_client_takes_the_answers() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis(&PASSWORD);
    server.ip("link add br0 type bridge");
    server.ip("address add 10.77.1.99/24 dev br0");
    server.ip("link set br0 up");
    // Once ARP has failed on the bridge, after three seconds, the kernel forgets the connection that waits.
    client.diagnose(&["-h", FAR, "-t", "1"]).nothing_certain().exit(1);
    let diagnosis = joined(&client, &server, FAR);
    diagnosis.first_cause("no-return-path", Confidence::Likely).nothing_certain().exit(1);
    assert!(diagnosis.to_string().contains("10.77.1.0/24 sends the answers out by br0"), "{diagnosis}");
    server.ip("address del 10.77.1.99/24 dev br0");
    std::thread::sleep(Duration::from_millis(100));
    joined(&client, &server, FAR).healthy();
}

#[test]
fn half_open_connections_prove_that_the_packets_arrive() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&PASSWORD);
    // On the way back, where nobody of the two sees it.
    router.nft("add table inet t; add chain inet t f { type filter hook forward priority 0; }; add rule inet t f tcp sport 6379 drop");
    // The first attempt leaves the trace that is collected.
    client.diagnose(&["-h", FAR, "-t", "2"]).cause("firewall-drop", Confidence::Possible).nothing_certain();
    let diagnosis = joined(&client, &server, FAR);
    diagnosis.first_cause("no-return-path", Confidence::Likely).nothing_certain().not_cause("firewall-drop").exit(1);
    router.nft("flush ruleset");
    std::thread::sleep(Duration::from_millis(100));
    joined(&client, &server, FAR).healthy();
}

#[test]
fn a_strict_interface_drops_what_would_be_answered_by_another() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    lab.link((&server, "eth1"), (&router, "eth2"));
    router.interface("eth2", &["10.77.3.254/24"]);
    server.interface("eth1", &["10.77.3.2/24"]);
    server.sysctl("net.ipv4.conf.all.rp_filter", "0").sysctl("net.ipv4.conf.eth1.rp_filter", "0");
    let _redis = server.redis(&PASSWORD);
    joined(&client, &server, "10.77.3.2").healthy();
    server.sysctl("net.ipv4.conf.eth1.rp_filter", "1");
    let diagnosis = joined(&client, &server, "10.77.3.2");
    diagnosis.first_cause("no-return-path", Confidence::Likely).nothing_certain().exit(1);
    diagnosis.apply(|_| &server);
    joined(&client, &server, "10.77.3.2").healthy();
}

#[test]
fn a_full_table_of_connections() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&PASSWORD);
    // The limit is the machine's, not the namespace's: the kernel's files are stood in for, and the router drops.
    server.file("/run/lab/conntrack", "512\n");
    let _ = server.sh(
        "nft add table inet t; nft add chain inet t i '{ type filter hook input priority 0; }'; nft add rule inet t i ct state new accept; \
         for name in count max; do mount --bind /run/lab/conntrack /proc/sys/net/netfilter/nf_conntrack_$name; done",
    );
    joined(&client, &server, FAR).healthy();
    router.nft("add table inet t; add chain inet t f { type filter hook forward priority 0; }; add rule inet t f tcp dport 6379 drop");
    let diagnosis = joined(&client, &server, FAR);
    diagnosis.first_cause("conntrack-full", Confidence::Likely).nothing_certain().exit(1);
}

/// A machine whose `SELinux` enforces, by its files: the lab's kernel has none.
fn selinux(host: &Host, denied: &str) {
    let _ = host.sh("mount -t tmpfs none /sys/fs && mkdir -p /sys/fs/selinux && echo 1 >/sys/fs/selinux/enforce");
    let line = format!(
        "printf 'type=AVC msg=audit(%s.123:456): avc:  denied  {{ {denied} scontext=system_u:system_r:x_t:s0 tclass=tcp_socket permissive=0\\n' $(date +%s)"
    );
    let _ = host.sh(&format!("mkdir -p /var/log/audit && {line} >/var/log/audit/audit.log"));
}

#[test]
fn selinux_that_keeps_the_server_from_listening() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    selinux(&server, "name_bind } for  pid=812 comm=\"redis-server\" src=6379");
    let diagnosis = joined(&client, &server, SERVER);
    diagnosis.first_cause("selinux-denied", Confidence::Certain).exit(1);
    let _redis = server.redis(&PASSWORD);
    joined(&client, &server, SERVER).healthy();
}

#[test]
fn selinux_that_keeps_the_client_from_connecting() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    selinux(&client, "name_connect } for  pid=9 comm=\"php-fpm\" dest=6380");
    // The only other reason for EACCES: a route. SELinux enforces, and is not it.
    client.ip("route add prohibit 10.77.1.2/32");
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.first_cause("local-route-policy", Confidence::Certain).exit(1);
    client.ip("route del prohibit 10.77.1.2/32");
    client.ip("rule add to 10.77.1.2 prohibit");
    client.diagnose(&["-h", SERVER]).cause("selinux-denied", Confidence::Possible).nothing_certain();
}
