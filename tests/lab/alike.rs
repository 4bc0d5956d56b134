//! Look-alikes: faults with the symptom of another, which must not be called that other for certain.

use std::time::Duration;

use crate::world::{Confidence, Host, Lab};

const SERVER: &str = "10.77.1.2";
const FAR: &str = "10.77.2.2";

fn chain(host: &Host, hook: &str, rules: &[&str]) {
    let chain = format!("add table inet t; add chain inet t f {{ type filter hook {hook} priority 0; }}");
    let rules = rules.iter().map(|rule| format!("add rule inet t f tcp dport 6379 {rule}"));
    host.nft(&std::iter::once(chain).chain(rules).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_kill_switch_of_a_high_metric_refuses_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis(&["--protected-mode", "no"]);
    client.ip("route add unreachable default metric 4278198272");
    client.diagnose(&["-h", FAR]).healthy();
    client.ip("xfrm policy add dst 10.77.2.2/32 dir out action block");
    let blocked = client.diagnose(&["-h", FAR, "-t", "1"]);
    blocked.nothing_certain().exit(1);
}

#[test]
fn addresses_of_many_are_no_routes_fault() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = lab.pair();
    for address in ["224.0.0.1", "255.255.255.255", "ff02::1", "fe80::1"] {
        client.diagnose(&["-h", address, "-t", "1"]).exit(1).nothing_certain().not_cause("local-route-policy");
    }
}

#[test]
fn a_rule_above_a_table_of_a_vpn() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, server) = lab.routed();
    let _redis = server.redis(&["--protected-mode", "no"]);
    client.ip("route del default");
    client.ip("route add default via 10.77.1.254 table 100");
    client.ip("rule add lookup 100 pref 200");
    client.diagnose(&["-h", FAR]).healthy();
    client.ip("rule add to 10.77.2.2 unreachable pref 100");
    client.diagnose(&["-h", FAR]).nothing_certain().exit(1);
}

#[test]
fn the_gateway_in_use_is_the_one_that_is_named() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = lab.pair();
    client.ip("route add 192.0.2.0/24 via 10.77.1.98 metric 10");
    client.ip("route add 192.0.2.0/24 via 10.77.1.97 metric 500");
    let diagnosis = client.diagnose(&["-h", "192.0.2.9"]);
    diagnosis.first_cause("host-down", Confidence::Likely);
    assert!(diagnosis.report["causes"][0]["summary"].as_str().unwrap().contains("10.77.1.98"));
}

#[test]
fn a_gateway_of_another_table_is_not_the_host() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = lab.pair();
    client.ip("route add default via 10.77.1.99 table 100");
    client.ip("rule add lookup 100 pref 200");
    let diagnosis = client.diagnose(&["-h", "192.0.2.9"]);
    diagnosis.cause("host-down", Confidence::Possible).exit(1);
    let summary = diagnosis.report["causes"][0]["summary"].as_str().unwrap();
    assert!(summary.contains("next hop"), "{summary}");
}

#[test]
fn a_firewall_whose_answer_comes_with_the_second_syn_is_no_dead_host() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    let late = "ct state new limit rate over 1/hour burst 1 packets reject with icmp type host-unreachable";
    chain(&server, "input", &[late, "drop"]);
    let diagnosis = client.diagnose(&["-h", SERVER, "-t", "3"]);
    diagnosis.nothing_certain().not_cause("host-down").exit(1);
}

#[test]
fn a_firewall_that_says_unreachable() {
    let Some(lab) = Lab::enter() else { return };
    for (code, address) in [("icmp type host-unreachable", SERVER), ("icmpv6 type no-route", "fd77:1::2")] {
        let (client, server) = lab.pair();
        let _redis = server.redis(&["--protected-mode", "no"]);
        chain(&server, "input", &[&format!("reject with {code}")]);
        client.diagnose(&["-h", address]).first_cause("firewall-reject", Confidence::Likely).nothing_certain().exit(1);
    }
}

#[test]
fn our_own_firewall_that_says_unreachable_is_no_dead_host() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    chain(&client, "output", &["reject with icmp type host-unreachable"]);
    if lab.has_users() {
        let other = client.doctor(&["-h", SERVER]).user(65534).diagnose();
        other.first_cause("local-firewall", Confidence::Likely).nothing_certain().exit(1);
    }
    // Root reads the rule.
    client.diagnose(&["-h", SERVER]).first_cause("local-firewall", Confidence::Certain).exit(1);
}

#[test]
fn a_translated_address_speaks_for_what_is_behind_it() {
    let Some(lab) = Lab::enter() else { return };
    for (backend, route) in [("10.77.7.7", "prohibit 10.77.7.7"), ("10.77.2.77", "")] {
        let (client, router, _server) = lab.routed();
        router.nft(&format!(
            "add table ip n; add chain ip n pre {{ type nat hook prerouting priority -100; }}\n\
             add rule ip n pre ip daddr 10.77.8.8 tcp dport 6379 dnat to {backend}:6379"
        ));
        if !route.is_empty() {
            router.ip(&format!("route add {route}"));
        }
        let diagnosis = client.diagnose(&["-h", "10.77.8.8"]);
        diagnosis.nothing_certain().not_cause("host-down").exit(1);
    }
}

#[test]
fn a_node_of_kubernetes_may_reject_for_a_service() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = lab.pair();
    client.file("/etc/kubernetes/kubelet.conf", "");
    client.iptables("-N KUBE-SERVICES").iptables("-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES");
    client.iptables("-A KUBE-SERVICES -d 10.77.1.2/32 -p tcp -m tcp --dport 6379 -j REJECT");
    client.diagnose(&["-h", SERVER]).first_cause("local-firewall", Confidence::Likely).nothing_certain();
    if lab.has_users() {
        let other = client.doctor(&["-h", SERVER]).user(65534).diagnose();
        other.first_cause("local-firewall", Confidence::Likely).nothing_certain();
    }
}

#[test]
fn every_name_of_this_machine_is_this_machine() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    for address in ["0.0.0.0", "::", "::ffff:127.0.0.1", "127.0.0.9"] {
        let diagnosis = one.diagnose(&["-h", address]);
        diagnosis.first_cause("not-running", Confidence::Likely).not_cause("loopback-only").exit(1);
    }
    let _redis = one.redis(&["--bind", "127.0.0.2"]);
    one.diagnose(&[]).first_cause("wrong-port", Confidence::Likely).exit(1);
}

#[test]
fn data_that_is_dropped_is_not_the_process() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    chain(&server, "input", &["ct state established tcp flags & psh == psh drop"]);
    let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
    diagnosis.cause("data-dropped", Confidence::Likely).not_cause("process-stopped").nothing_certain().exit(1);
}

#[test]
fn a_proxy_that_closes_on_the_database_is_not_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let python = "import socket,threading\n\
        l=socket.socket();l.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1);l.bind(('127.0.0.1',6379));l.listen(9)\n\
        def serve(c):\n\
        \x20   data=c.recv(4096)\n\
        \x20   if b'PING' in data: c.sendall(b'+PONG\\r\\n')\n\
        \x20   c.close()\n\
        while True: threading.Thread(target=serve,args=(l.accept()[0],),daemon=True).start()\n";
    let _proxy = one.command(&["python3", "-c", python]).spawn();
    std::thread::sleep(Duration::from_millis(700));
    one.diagnose(&[]).exit(0).finding("ping/limited");
    one.diagnose(&["-n", "2"]).exit(1).finding("auth/select-error");
    one.diagnose(&["--exists", "a"]).exit(0).finding("auth/key-unseen");
}

#[test]
fn where_writes_fail_is_not_writable() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let lonely = one.redis(&["--min-replicas-to-write", "1"]);
    let diagnosis = one.diagnose(&["--require", "writable"]);
    diagnosis.first_cause("not-enough-replicas", Confidence::Certain).exit(1);
    diagnosis.apply(|_| &one);
    one.diagnose(&["--require", "writable"]).healthy();
    one.sh("redis-cli acl setuser reader on '>pw' '~*' '+@read' +ping +info +hello +select");
    one.diagnose(&["--require", "writable", "--user", "reader", "-a", "pw"]).exit(3).nothing_certain();
    one.diagnose(&["--user", "reader", "-a", "pw"]).healthy();
    drop(lonely);
    let _unformed = one.redis(&["--cluster-enabled", "yes"]);
    one.diagnose(&["--require", "writable"]).exit(1).finding("state/cluster-down");
    one.diagnose(&["--exists", "a"]).exit(1).finding("state/cluster-down");
}

#[test]
fn what_was_not_looked_at_is_not_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&["--requirepass", "pw"]);
    one.diagnose(&["--only", "state"]).exit(3);
    one.diagnose(&["--only", "tcp"]).exit(0);
    one.diagnose(&["--only", "tcp", "--skip", "tcp"]).exit(2);
}
