//! How far packets get: filtered ports and dead hosts, routers that drop, and what lies between client and server.

use std::time::Duration;

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Host, Lab};

const SERVER: &str = "10.77.1.2";
const FAR: &str = "10.77.3.2";
const FAR6: &str = "fd77:3::2";
const OPEN: [&str; 2] = ["--protected-mode", "no"];
/// With `-t 1`: the step, the trace after it, and what a busy machine takes to start and end a program.
const A_STEP_AND_A_TRACE: Duration = Duration::from_millis(2_700);

/// client 10.77.1.1 – 10.77.1.254 one 10.77.2.1 – 10.77.2.2 two 10.77.3.254 – server 10.77.3.2, and the same in `fd77:N::`.
fn two_routers(lab: &Lab) -> [Host; 4] {
    let hosts = lab.hosts(["client", "one", "two", "server"]);
    let [client, one, two, server] = &hosts;
    lab.link((client, "eth0"), (one, "eth0"));
    lab.link((two, "eth0"), (one, "eth1"));
    lab.link((server, "eth0"), (two, "eth1"));
    for router in [one, two] {
        router.sysctl("net.ipv4.ip_forward", "1").sysctl("net.ipv6.conf.all.forwarding", "1");
    }
    one.interface("eth0", &["10.77.1.254/24", "fd77:1::fe/64"]);
    one.interface("eth1", &["10.77.2.1/24", "fd77:2::1/64"]).gateways("10.77.2.2", "fd77:2::2");
    two.interface("eth0", &["10.77.2.2/24", "fd77:2::2/64"]).gateways("10.77.2.1", "fd77:2::1");
    two.interface("eth1", &["10.77.3.254/24", "fd77:3::fe/64"]);
    client.interface("eth0", &["10.77.1.1/24", "fd77:1::1/64"]).gateways("10.77.1.254", "fd77:1::fe");
    server.interface("eth0", &["10.77.3.2/24", "fd77:3::2/64"]).gateways("10.77.3.254", "fd77:3::fe");
    hosts
}

fn rule(host: &Host, hook: &str, rule: &str) {
    host.nft(&format!(
        "add table inet t; add chain inet t f {{ type filter hook {hook} priority 0; }}\nadd rule inet t f {rule}"
    ));
}

fn no_rule(host: &Host) {
    host.nft("delete table inet t");
}

/// What the cause says, evidence and all.
fn said(diagnosis: &Diagnosis, cause: &str) -> String {
    let causes = diagnosis.report["causes"].as_array().expect("causes");
    causes.iter().find(|found| found["id"] == cause).map(ToString::to_string).unwrap_or_default()
}

#[test]
fn a_filtered_port_is_told_from_a_dead_host() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&OPEN);
    for address in [SERVER, "fd77:1::2"] {
        rule(&server, "input", "tcp dport 6379 drop");
        let diagnosis = client.diagnose(&["-h", address, "-t", "1"]);
        diagnosis.first_cause("firewall-drop", Confidence::Likely).nothing_certain().not_cause("host-down").exit(1);
        diagnosis.cause("accept-queue-full", Confidence::Possible).within(A_STEP_AND_A_TRACE);
        let says = said(&diagnosis, "firewall-drop");
        assert!(
            says.contains("answers with a reset") && says.contains("leave from") && says.contains("(eth0)"),
            "{diagnosis}"
        );
        no_rule(&server);
        rule(&server, "input", "ct state new drop");
        let diagnosis = client.diagnose(&["-h", address, "-t", "1"]);
        diagnosis.cause("firewall-drop", Confidence::Possible).cause("host-down", Confidence::Possible);
        diagnosis.nothing_certain().within(A_STEP_AND_A_TRACE);
        no_rule(&server);
        client.diagnose(&["-h", address]).healthy();
    }
}

#[test]
fn an_open_port_beside_the_filtered_one_is_named() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&OPEN);
    let _ssh = server.tcp_stub(22, crate::world::Stub::Silent);
    rule(&server, "input", "tcp dport != 22 drop");
    let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
    diagnosis.first_cause("firewall-drop", Confidence::Likely).nothing_certain();
    assert!(said(&diagnosis, "firewall-drop").contains("10.77.1.2:22 accepts connections"), "{diagnosis}");
}

#[test]
fn the_router_that_drops_is_named() {
    let Some(lab) = Lab::enter() else { return };
    let [client, one, two, server] = two_routers(&lab);
    let _redis = server.redis(&OPEN);
    client.diagnose(&["-h", FAR]).healthy();
    for (address, first, second) in [(FAR, "10.77.1.254", "10.77.2.2"), (FAR6, "fd77:1::fe", "fd77:2::2")] {
        let check = || {
            let diagnosis = client.diagnose(&["-h", address, "-t", "1"]);
            diagnosis.first_cause("firewall-drop", Confidence::Likely).nothing_certain().within(A_STEP_AND_A_TRACE);
            (said(&diagnosis, "firewall-drop"), diagnosis)
        };
        rule(&one, "forward", "tcp dport 6379 drop");
        let (says, diagnosis) = check();
        assert!(says.contains(&format!("get to the router {first} and not to the next, {second}")), "{diagnosis}");
        diagnosis.not_cause("accept-queue-full").not_cause("process-stopped");
        no_rule(&one);
        rule(&two, "forward", "tcp dport 6379 drop");
        let (says, diagnosis) = check();
        assert!(says.contains(&format!("get to the router {second}, the last one before")), "{diagnosis}");
        diagnosis.cause("accept-queue-full", Confidence::Possible);
        no_rule(&two);
        rule(&server, "input", "tcp dport 6379 drop");
        let (says, diagnosis) = check();
        assert!(says.contains(&format!("get to the router {second}, the last one before")), "{diagnosis}");
        no_rule(&server);
        rule(&client, "output", "tcp dport 6379 drop");
        if lab.has_users() {
            // Who may not list this machine's rules sees only that nothing gets to the first router.
            let diagnosis = client.doctor(&["-h", address, "-t", "1"]).user(65534).diagnose();
            diagnosis.first_cause("firewall-drop", Confidence::Likely).nothing_certain().within(A_STEP_AND_A_TRACE);
            let says = said(&diagnosis, "firewall-drop");
            assert!(says.contains(&format!("do not even get to the first router, {first}")), "{diagnosis}");
        }
        no_rule(&client);
        client.diagnose(&["-h", address]).healthy();
    }
}

#[test]
fn a_host_that_is_gone_behind_routers_that_say_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let [client, _one, two, _server] = two_routers(&lab);
    // It still says where packets expire, and no more that nobody answers on its link.
    rule(&two, "output", "icmp type destination-unreachable drop");
    let diagnosis = client.diagnose(&["-h", "10.77.3.77", "-t", "1"]);
    diagnosis.cause("host-down", Confidence::Possible).cause("firewall-drop", Confidence::Possible).nothing_certain();
    diagnosis.within(A_STEP_AND_A_TRACE).exit(1);
    let says = said(&diagnosis, "host-down");
    assert!(says.contains("1 10.77.1.254, 2 10.77.2.2, then silence"), "{diagnosis}");
}

#[test]
fn an_echo_is_asked_for_where_the_kernel_allows_it() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    rule(&server, "input", "meta l4proto tcp drop");
    client.sysctl("net.ipv4.ping_group_range", "0 1000");
    for address in [SERVER, "fd77:1::2"] {
        let diagnosis = client.diagnose(&["-h", address, "-t", "1"]);
        diagnosis.cause("firewall-drop", Confidence::Possible).not_cause("host-down").nothing_certain();
        assert!(said(&diagnosis, "firewall-drop").contains("an echo was answered"), "{diagnosis}");
    }
}

#[test]
fn a_way_through_a_tunnel_is_told() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = lab.pair();
    client.ip("tuntap add dev vpn0 mode tun");
    client.ip("addr add 10.99.0.2/24 dev vpn0");
    client.ip("link set vpn0 up");
    let diagnosis = client.diagnose(&["-h", "10.99.0.9", "-t", "1"]);
    assert!(diagnosis.to_string().contains("leave from 10.99.0.2 (vpn0, a tunnel: tun)"), "{diagnosis}");
}

#[test]
fn data_that_is_reset_is_only_a_candidate() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&OPEN);
    rule(&server, "input", "tcp dport 6379 tcp flags & psh == psh reject with tcp reset");
    let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
    diagnosis.cause("data-reset", Confidence::Possible).nothing_certain().finding("ping/closed").exit(1);
    no_rule(&server);
    client.diagnose(&["-h", SERVER]).healthy();
}

/// Makes the link between the two routers narrow, and both of them say nothing of it.
fn narrow(one: &Host, two: &Host, mtu: u16) {
    for (router, interface) in [(one, "eth1"), (two, "eth0")] {
        router.ip(&format!("link set {interface} mtu {mtu}"));
        rule(router, "output", "icmp type destination-unreachable drop");
        router.nft("add rule inet t f icmpv6 type packet-too-big drop");
    }
}

#[test]
fn what_is_too_large_for_a_link_is_lost_and_can_be_made_smaller() {
    let Some(lab) = Lab::enter() else { return };
    let [client, one, two, server] = two_routers(&lab);
    let _redis = server.redis(&OPEN);
    narrow(&one, &two, 1_400);
    for address in [FAR, FAR6] {
        let diagnosis = client.diagnose(&["-h", address, "-t", "2"]);
        diagnosis.first_cause("mtu-black-hole", Confidence::Certain).finding("ping/large-lost").exit(1);
        assert!(said(&diagnosis, "mtu-black-hole").contains("up to 1380 bytes"), "{diagnosis}");
        diagnosis.within(Duration::from_millis(4_500));
        diagnosis.apply(|_| &one);
        client.diagnose(&["-h", address]).healthy();
        client.diagnose(&["-h", address, "--deep"]).healthy();
        one.nft("delete table inet mss_clamp");
    }
}

#[test]
fn a_narrow_link_that_says_so_is_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let [client, one, two, server] = two_routers(&lab);
    let _redis = server.redis(&OPEN);
    one.ip("link set eth1 mtu 1400");
    two.ip("link set eth0 mtu 1400");
    for address in [FAR, FAR6] {
        client.diagnose(&["-h", address]).healthy();
        client.diagnose(&["-h", address, "--deep"]).healthy();
    }
}

#[test]
fn what_is_lost_in_one_direction_only_is_told() {
    let Some(lab) = Lab::enter() else { return };
    let [client, one, two, server] = two_routers(&lab);
    let _redis = server.redis(&["--requirepass", "pw"]);
    let ask =
        |deep: &[&str]| client.doctor(&[&["-h", FAR, "-t", "1"], deep].concat()).env("REDISCLI_AUTH", "pw").diagnose();
    rule(&two, "forward", "ip saddr 10.77.3.2 meta length > 1400 drop");
    let diagnosis = ask(&[]);
    diagnosis.first_cause("mtu-black-hole", Confidence::Certain).exit(1);
    assert!(said(&diagnosis, "mtu-black-hole").contains("packets from 10.77.3.2:6379"), "{diagnosis}");
    no_rule(&two);
    // Ours are small, unless the application's are not: only --deep tries.
    rule(&one, "forward", "ip daddr 10.77.3.2 meta length > 1400 drop");
    ask(&[]).healthy();
    let diagnosis = ask(&["--deep"]);
    diagnosis.first_cause("mtu-black-hole", Confidence::Certain).exit(1);
    assert!(said(&diagnosis, "mtu-black-hole").contains("our packets to 10.77.3.2:6379"), "{diagnosis}");
}

#[test]
fn a_broken_way_for_ipv6_beside_a_good_one_is_a_warning() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&OPEN);
    client.hosts_file("fd77:2::2 db\n10.77.2.2 db\n");
    client.diagnose(&["-h", "db"]).healthy();
    rule(&router, "forward", "meta nfproto ipv6 drop");
    let broken = client.diagnose(&["-h", "db", "-t", "1"]);
    broken.finding("tcp/some-addresses-failed").first_cause("ipv6-path-broken", Confidence::Likely).nothing_certain();
    broken.exit(0).within(A_STEP_AND_A_TRACE).not_cause("firewall-drop");
    client.diagnose(&["-h", "db", "-4"]).healthy();
    no_rule(&router);
    rule(&server, "input", "meta nfproto ipv6 tcp dport 6379 drop");
    let filtered = client.diagnose(&["-h", "db", "-t", "1"]);
    filtered.first_cause("firewall-drop", Confidence::Likely).nothing_certain().not_cause("ipv6-path-broken").exit(0);
    no_rule(&server);
    client.ip("-6 route del default");
    client.diagnose(&["-h", "db"]).healthy();
}

#[test]
fn a_program_that_keeps_an_old_address_is_a_candidate() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&OPEN);
    rule(&server, "input", "ip daddr 10.77.1.3 drop");
    server.ip("addr add 10.77.1.3/24 dev eth0");
    client.hosts_file("10.77.1.2 db\n");
    client.diagnose(&["-h", "db", "--deep"]).healthy();
    let _old = client.command(&["redis-cli", "-h", "10.77.1.3", "ping"]).spawn();
    std::thread::sleep(Duration::from_millis(1_500));
    let diagnosis = client.diagnose(&["-h", "db", "--deep"]);
    diagnosis.finding("tcp/others-wait").first_cause("stale-address", Confidence::Possible).nothing_certain().exit(0);
    assert!(said(&diagnosis, "stale-address").contains("redis-cli (pid"), "{diagnosis}");
    client.diagnose(&["-h", "db"]).healthy();
    client.diagnose(&["-h", SERVER, "--deep"]).healthy();
}

#[test]
fn few_descriptors_make_no_router_silent() {
    let Some(lab) = Lab::enter() else { return };
    let [client, _one, _two, server] = two_routers(&lab);
    let _redis = server.redis(&OPEN);
    rule(&server, "input", "tcp dport 6379 drop");
    for limit in [16, 24, 32, 40, 48, 64] {
        let line = format!("ulimit -n {limit}; exec {} check --json -h {FAR} -t 1", env!("CARGO_BIN_EXE_redisdoc"));
        let ran = client.command(&["sh", "-c", &line]).run();
        assert!(ran.code == Some(1) && ran.stdout.contains("firewall-drop"), "with {limit}: {ran}");
        assert!(!ran.stdout.contains("and not to the next"), "with {limit}: {ran}");
    }
}

#[test]
fn a_tls_port_is_not_called_a_filter() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.sh("cd /tmp && openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=db 2>&1");
    let files = ["--tls-cert-file", "/tmp/cert", "--tls-key-file", "/tmp/key", "--tls-ca-cert-file", "/tmp/cert"];
    let _redis = server.redis(&[&["--port", "0", "--tls-port", "6379", "--protected-mode", "no"], &files[..]].concat());
    let diagnosis = client.diagnose(&["-h", SERVER, "-t", "1"]);
    diagnosis.finding("ping/closed").nothing_certain().exit(1).not_cause("data-dropped");
    // It wants a certificate of ours before it answers: that it is a Redis was not seen.
    diagnosis.first_cause("plaintext-to-tls-port", Confidence::Likely);
}
