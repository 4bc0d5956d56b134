//! What connect(2) meets: closed ports, filters, routes, dead hosts, unix sockets.

use std::time::Duration;

use crate::world::{Authority, Confidence, Host, Lab, Stub};

const SERVER: &str = "10.77.1.2";
const FAR: &str = "10.77.2.2";

/// An nft rule for TCP port 6379 in a chain at `hook` of a table of its own.
fn rule(host: &Host, hook: &str, verdict: &str) {
    host.nft(&format!(
        "add table inet t; add chain inet t f {{ type filter hook {hook} priority 0; }}\nadd rule inet t f tcp dport 6379 {verdict}"
    ));
}

fn no_rule(host: &Host) {
    host.nft("delete table inet t");
}

#[test]
fn a_closed_port_from_afar_is_several_candidates() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = lab.pair();
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.exit(1).finding("tcp/refused").nothing_certain().within(Duration::from_millis(1500));
    for cause in ["not-running", "loopback-only", "wrong-port", "firewall-reject"] {
        diagnosis.cause(cause, Confidence::Possible);
    }
}

#[test]
fn nothing_runs_on_this_machine() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.diagnose(&[]).first_cause("not-running", Confidence::Likely).exit(1);
    let _redis = one.redis(&[]);
    one.diagnose(&[]).healthy();
}

#[test]
fn a_server_on_loopback_only_is_a_candidate() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--bind", "127.0.0.1", "--requirepass", "pw"]);
    client.diagnose(&["-h", SERVER]).cause("loopback-only", Confidence::Possible).nothing_certain().exit(1);
    let _ = server.run(&["redis-cli", "-a", "pw", "config", "set", "bind", "127.0.0.1 10.77.1.2"]).ok();
    client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
}

#[test]
fn a_server_on_another_port_is_a_candidate() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--port", "7000", "--protected-mode", "no"]);
    client.diagnose(&["-h", SERVER]).cause("wrong-port", Confidence::Possible).nothing_certain().exit(1);
    client.diagnose(&["-h", SERVER, "-p", "7000"]).healthy();
}

#[test]
fn a_reject_on_the_server_is_told_from_a_closed_port() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    // A prohibit route behind a translated address would say admin-prohibited, too.
    for (reject, address, confidence) in [
        ("reject with icmp type port-unreachable", SERVER, Confidence::Certain),
        ("reject with icmp type admin-prohibited", SERVER, Confidence::Likely),
        ("reject with icmp type host-prohibited", SERVER, Confidence::Certain),
        ("reject with icmp type net-prohibited", SERVER, Confidence::Certain),
        ("reject with icmpv6 type port-unreachable", "fd77:1::2", Confidence::Certain),
        ("reject with icmpv6 type admin-prohibited", "fd77:1::2", Confidence::Likely),
    ] {
        rule(&server, "input", reject);
        client.diagnose(&["-h", address]).first_cause("firewall-reject", confidence).exit(1);
        no_rule(&server);
        client.diagnose(&["-h", address]).healthy();
    }
}

#[test]
fn a_reset_by_a_firewall_is_a_candidate() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    rule(&server, "input", "reject with tcp reset");
    client.diagnose(&["-h", SERVER]).cause("firewall-reject", Confidence::Possible).nothing_certain().exit(1);
}

#[test]
fn a_reject_by_a_router_names_the_router() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&["--protected-mode", "no"]);
    rule(&router, "forward", "reject with icmp type port-unreachable");
    let diagnosis = client.diagnose(&["-h", FAR]);
    diagnosis.first_cause("firewall-reject", Confidence::Certain);
    assert!(diagnosis.report["causes"][0]["summary"].as_str().unwrap().contains("10.77.1.254"));
    no_rule(&router);
    // A prohibit route answers with the same code: not certain.
    rule(&router, "forward", "reject with icmp type admin-prohibited");
    client.diagnose(&["-h", FAR]).first_cause("firewall-reject", Confidence::Likely).nothing_certain();
}

#[test]
fn a_reject_on_this_machine_is_our_own_firewall() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    for (reject, address) in [
        ("reject", SERVER),
        ("reject with icmp type admin-prohibited", SERVER),
        ("reject with icmpv6 type admin-prohibited", "fd77:1::2"),
    ] {
        rule(&client, "output", reject);
        client.diagnose(&["-h", address]).first_cause("local-firewall", Confidence::Certain).exit(1);
        no_rule(&client);
    }
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_drop_is_answered_when_the_step_is_over_whatever_the_number_of_addresses() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    rule(&server, "input", "drop");
    client.hosts_file("10.77.1.2 db\nfd77:1::2 db\n127.0.0.1 localhost\n");
    let diagnosis = client.diagnose(&["-h", "db", "-t", "2"]);
    diagnosis.cause("firewall-drop", Confidence::Likely).nothing_certain().finding("tcp/timeout").exit(1);
    assert!(diagnosis.ran.wall >= Duration::from_secs(2), "it waits as long as it says");
    // The step, and a second to see how far the packets get.
    diagnosis.within(Duration::from_millis(3700));
    no_rule(&server);
    client.diagnose(&["-h", "db"]).healthy();
}

#[test]
fn a_drop_on_this_machine_is_certain_only_for_root() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    rule(&client, "output", "drop");
    if lab.has_users() {
        let other = client.doctor(&["-h", SERVER, "-t", "1"]).user(65534).diagnose();
        other.cause("firewall-drop", Confidence::Likely).nothing_certain();
    }
    client.diagnose(&["-h", SERVER, "-t", "1"]).first_cause("local-firewall", Confidence::Certain);
}

#[test]
fn no_route() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = lab.pair();
    for address in ["192.0.2.9", "2001:db8::9"] {
        let diagnosis = client.diagnose(&["-h", address]);
        diagnosis.first_cause("no-route", Confidence::Certain).exit(1).within(Duration::from_millis(1500));
    }
}

#[test]
fn local_routes_that_refuse_can_be_removed() {
    let Some(lab) = Lab::enter() else { return };
    for kind in ["prohibit", "unreachable", "blackhole", "throw"] {
        let (client, server) = lab.pair();
        let _redis = server.redis(&["--protected-mode", "no"]);
        client.ip(&format!("route add {kind} 10.77.1.2/32"));
        let diagnosis = client.diagnose(&["-h", SERVER]);
        diagnosis.first_cause("local-route-policy", Confidence::Certain).exit(1);
        diagnosis.apply(|on| if on == "redis-host" { &server } else { &client });
        client.diagnose(&["-h", SERVER]).healthy();
    }
}

#[test]
fn a_policy_rule_is_not_in_the_table_and_only_likely() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    client.ip("rule add to 10.77.1.2 prohibit");
    client.diagnose(&["-h", SERVER]).first_cause("local-route-policy", Confidence::Likely).nothing_certain();
}

#[test]
fn nobody_at_that_address() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = lab.pair();
    for address in ["10.77.1.77", "fd77:1::77"] {
        let diagnosis = client.diagnose(&["-h", address]);
        diagnosis.first_cause("host-down", Confidence::Likely).nothing_certain().exit(1).within(Duration::from_secs(4));
    }
}

#[test]
fn nobody_at_that_address_behind_a_router() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _router, _server) = lab.routed();
    let diagnosis = client.diagnose(&["-h", "10.77.2.77"]);
    diagnosis.first_cause("host-down", Confidence::Likely).exit(1);
    assert!(diagnosis.report["causes"][0]["summary"].as_str().unwrap().contains("router 10.77.1.254"));
}

#[test]
fn a_dead_gateway_is_named() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = lab.pair();
    client.ip("route add 192.0.2.0/24 via 10.77.1.66");
    let diagnosis = client.diagnose(&["-h", "192.0.2.9"]);
    diagnosis.first_cause("host-down", Confidence::Likely);
    assert!(diagnosis.report["causes"][0]["summary"].as_str().unwrap().contains("gateway 10.77.1.66"));
}

#[test]
fn a_router_without_a_way_is_likely() {
    let Some(lab) = Lab::enter() else { return };
    // A router of its own for each: kernels limit the rate of ICMP errors (measured: two, then silence).
    for kind in [None, Some("unreachable")] {
        let (client, router, _server) = lab.routed();
        if let Some(kind) = kind {
            router.ip(&format!("route add {kind} 192.0.2.0/24"));
        }
        client.diagnose(&["-h", "192.0.2.9"]).first_cause("router-unreachable", Confidence::Likely).nothing_certain();
    }
    // Prohibit and a filter's admin-prohibited are the same packet.
    let (client, router, _server) = lab.routed();
    router.ip("route add prohibit 192.0.2.0/24");
    client.diagnose(&["-h", "192.0.2.9"]).cause("router-unreachable", Confidence::Possible).nothing_certain();
}

#[test]
fn localhost_in_a_container() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    client.file("/.dockerenv", "").hosts_file("127.0.0.1 localhost\n::1 localhost\n10.77.1.2 redis\n");
    client.diagnose(&["-h", "localhost"]).first_cause("localhost-in-container", Confidence::Likely).exit(1);
    client.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    client.diagnose(&["-h", "localhost"]).first_cause("localhost-in-container", Confidence::Likely).exit(1);
    client.diagnose(&["-h", "::1"]).first_cause("localhost-in-container", Confidence::Likely).exit(1);
    client.diagnose(&["-h", "redis"]).healthy();
    // A Redis in this very container is no fault.
    let _own = client.redis(&[]);
    client.diagnose(&["-h", "localhost"]).healthy();
}

#[test]
fn localhost_is_ipv6_first() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.hosts_file("127.0.0.1 localhost\n::1 localhost\n");
    let redis = one.redis(&["--bind", "127.0.0.1"]);
    one.diagnose(&["-h", "localhost"]).first_cause("localhost-is-ipv6", Confidence::Certain).exit(0);
    for args in [&["-h", "localhost", "-6"][..], &["-h", "::1"]] {
        one.diagnose(args).first_cause("localhost-is-ipv6", Confidence::Certain).exit(1);
    }
    drop(redis);
    let _both = one.redis(&["--bind", "127.0.0.1 -::1"]);
    one.diagnose(&["-h", "localhost"]).healthy();
}

#[test]
fn localhost_is_ipv6_first_and_the_certificate_knows_names_alone() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.hosts_file("127.0.0.1 localhost dual\n::1 localhost dual\n");
    let authority = Authority::root("Lab CA");
    let tls = |host: &'static str| ["-h", host, "--tls", "--cacert", "/etc/tls/ca.crt"];
    one.certificate(&authority.certify(&["localhost", "dual"]), &authority.pem());
    let redis = one.tls_redis(&["--bind", "127.0.0.1", "--tls-auth-clients", "no"]);
    for name in ["localhost", "dual"] {
        let report = one.diagnose(&tls(name));
        report.first_cause("localhost-is-ipv6", Confidence::Certain).exit(0);
        let repair = report.report["causes"][0]["remedy"].to_string();
        assert!(
            repair.contains(&format!("instead of {name} in")) && repair.contains(&format!("--sni {name}")),
            "{report}"
        );
        one.diagnose(&[&tls("127.0.0.1")[..], &["--sni", name]].concat()).healthy();
    }
    one.diagnose(&tls("127.0.0.1")).first_cause("certificate-name-mismatch", Confidence::Certain).exit(1);
    drop(redis);
    let _both = one.tls_redis(&["--bind", "127.0.0.1 -::1", "--tls-auth-clients", "no"]);
    one.diagnose(&tls("dual")).healthy();
}

#[test]
fn a_machine_without_ipv6_is_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.hosts_file("127.0.0.1 localhost\n::1 localhost\n").sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    let _redis = one.redis(&["--bind", "127.0.0.1"]);
    one.diagnose(&["-h", "localhost"]).healthy();
}

#[test]
fn unix_sockets() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    for path in ["/run/redis.sock", "/run/none/redis.sock"] {
        one.diagnose(&["-s", path]).first_cause("not-running", Confidence::Certain).exit(1);
    }
    one.file("/run/file", "x");
    for path in ["/run/file", "/run"] {
        one.diagnose(&["-s", path]).first_cause("socket-missing", Confidence::Certain).exit(1);
    }
    let mut redis = one.redis(&["--unixsocket", "/run/redis.sock", "--unixsocketperm", "700"]);
    one.diagnose(&["-s", "/run/redis.sock"]).healthy();
    redis.kill();
    one.diagnose(&["-s", "/run/redis.sock"]).first_cause("not-running", Confidence::Certain).exit(1);
}

#[test]
fn unix_socket_permissions() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let one = lab.host("solo");
    let _redis = one.redis(&["--unixsocket", "/run/redis.sock", "--unixsocketperm", "755"]);
    let socket = ["-s", "/run/redis.sock"];
    one.doctor(&socket).user(65534).diagnose().first_cause("socket-permission", Confidence::Certain).exit(1);
    one.diagnose(&socket).healthy();
    one.sh("chmod 777 /run/redis.sock");
    one.doctor(&socket).user(65534).diagnose().healthy();
    one.sh("mkdir /run/closed && chmod 700 /run/closed && ln /run/redis.sock /run/closed/redis.sock");
    let closed = one.doctor(&["-s", "/run/closed/redis.sock"]).user(65534).diagnose();
    closed.first_cause("socket-permission", Confidence::Certain).exit(1);
    assert!(closed.report["causes"][0]["summary"].as_str().unwrap().contains("search /run/closed"));
}

#[test]
fn a_group_of_its_own_opens_the_socket_to_the_application() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let one = lab.host("solo");
    let _redis = one.redis(&["--unixsocket", "/run/redis.sock", "--unixsocketperm", "755"]);
    one.sh("groupadd -g 3000 sockets && useradd -u 2000 -U app && chgrp sockets /run/redis.sock");
    let denied = one.doctor(&["-s", "/run/redis.sock"]).user(2000).diagnose();
    denied.first_cause("socket-permission", Confidence::Certain).exit(1);
    denied.apply(|_| &one);
    // With the groups that a process gets when it starts.
    let binary = env!("CARGO_BIN_EXE_redisdoc");
    one.sh(&format!("setpriv --reuid app --regid app --init-groups {binary} check -s /run/redis.sock"));
}

#[test]
fn an_accepting_stub_is_connected_and_not_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _stub = one.tcp_stub(6379, Stub::Silent);
    one.diagnose(&["-t", "1"]).exit(1).check("tcp", "pass").finding("ping/silent").within(Duration::from_millis(1900));
}

#[test]
fn healthy_in_every_shape() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&["--requirepass", "pw"]);
    let ask = |host: &Host, to: &str| host.doctor(&["-h", to, "-t", "1"]).env("REDISCLI_AUTH", "pw").diagnose();
    ask(&client, FAR).healthy();
    ask(&client, "fd77:2::2").healthy();
    for own in ["127.0.0.1", "::1", FAR, "fd77:2::2"] {
        ask(&server, own).healthy().check("process", "pass");
    }
    // A correct firewall, closed by default, is no finding.
    server.nft(
        "add table inet t; add chain inet t f { type filter hook input priority 0; policy drop; }\n\
         add rule inet t f ct state established,related accept\nadd rule inet t f iif lo accept\n\
         add rule inet t f ip saddr 10.77.1.1 tcp dport 6379 accept",
    );
    ask(&client, FAR).healthy();
    ask(&router, FAR).cause("firewall-drop", Confidence::Possible).exit(1);
}
