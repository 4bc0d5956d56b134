//! Packet filters of the server's machine, and of the client's, by every tool that writes them: the rule is named, and the
//! repair lets this client in and nobody else.

use std::time::Duration;

use crate::world::{Confidence, Diagnosis, Host, Lab, Server};

const SERVER: &str = "10.77.1.2";
const FAR: &str = "10.77.2.2";
/// What the server asks for; from both ends the same.
pub const PASSWORD: [&str; 4] = ["--requirepass", "pw", "--protected-mode", "no"];

/// A client's check with the server's side, and the password.
#[track_caller]
pub fn joined(client: &Host, server: &Host, to: &str) -> Diagnosis {
    let facts = server.collect();
    let args = ["-h", to, "-t", "1", "--host-facts", "-"];
    client.doctor(&args).env("REDISCLI_AUTH", "pw").stdin(facts).diagnose()
}

/// What stops the client is certain with the rule named, from both ends, and the repair repairs it.
#[track_caller]
fn stopped(client: &Host, server: &Host, to: &str, cause: &str, rule: &str) {
    let diagnosis = joined(client, server, to);
    diagnosis.first_cause(cause, Confidence::Certain).exit(1).finding("firewall/stopped");
    named(&diagnosis, rule);
    diagnosis.apply(|on| if on == "redis-host" { server } else { client });
    joined(client, server, to).healthy();
}

/// The rule is in the evidence of the first cause.
#[track_caller]
fn named(diagnosis: &Diagnosis, rule: &str) {
    let evidence = diagnosis.report["causes"][0]["evidence"].to_string();
    assert!(evidence.contains(rule), "{rule} is not named\n{diagnosis}");
}

/// A table of nft's with these chains and rules.
pub fn table(host: &Host, chains: &str) {
    host.nft(&format!("add table inet filter\n{chains}"));
}

#[test]
fn nft_drops_and_the_rule_is_named() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    let chain = "add chain inet filter input { type filter hook input priority 0; }";
    for (verdict, cause) in [
        ("drop", "firewall-drop"),
        ("counter drop", "firewall-drop"),
        ("reject", "firewall-reject"),
        ("reject with icmpx type admin-prohibited", "firewall-reject"),
    ] {
        for to in [SERVER, "fd77:1::2"] {
            table(
                &server,
                &format!(
                    "{chain}\nadd rule inet filter input tcp dport 22 accept\nadd rule inet filter input tcp dport 6379 {verdict}"
                ),
            );
            stopped(&client, &server, to, cause, "inet filter input, handle ");
            server.nft("delete table inet filter");
        }
    }
}

#[test]
fn a_reset_by_nft_may_hold_a_test_that_nft_does_not_list() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    table(
        &server,
        "add chain inet filter input { type filter hook input priority 0; }\nadd rule inet filter input tcp dport 6379 reject with tcp reset",
    );
    stopped(&client, &server, SERVER, "firewall-reject", "inet filter input, handle ");
    server.nft("flush ruleset");
    table(
        &server,
        "add chain inet filter input { type filter hook input priority 0; }\nadd rule inet filter input meta nfproto ipv6 tcp dport 6379 reject with tcp reset",
    );
    joined(&client, &server, SERVER).healthy();
    stopped(&client, &server, "fd77:1::2", "firewall-reject", "inet filter input, handle ");
}

#[test]
fn nft_that_is_closed_by_default_takes_one_more_rule() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    table(
        &server,
        "add chain inet filter input { type filter hook input priority 0; policy drop; }\n\
         add set inet filter friends { type ipv4_addr; flags interval; elements = { 10.9.0.0/16 } }\n\
         add rule inet filter input ct state established,related accept\nadd rule inet filter input iif lo accept\n\
         add rule inet filter input icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n\
         add rule inet filter input ip saddr @friends tcp dport 6379 accept\nadd rule inet filter input tcp dport 22 accept",
    );
    stopped(&client, &server, SERVER, "firewall-drop", "the policy of inet filter input");
    stopped(&client, &server, "fd77:1::2", "firewall-drop", "the policy of inet filter input");
    // A chain of chains, of which two drop: one step for each.
    server.nft("flush ruleset");
    table(
        &server,
        "add chain inet filter early { type filter hook prerouting priority -300; }\nadd chain inet filter ours\n\
         add chain inet filter input { type filter hook input priority 0; policy drop; }\n\
         add rule inet filter early tcp dport 6379 drop\nadd rule inet filter input ct state established accept\n\
         add rule inet filter input iif lo accept\nadd rule inet filter input tcp dport 1024-65535 goto ours\n\
         add rule inet filter ours ip saddr 10.9.9.9 accept",
    );
    stopped(&client, &server, SERVER, "firewall-drop", "inet filter early, handle ");
}

#[test]
fn iptables_of_both_kinds() {
    let Some(lab) = Lab::enter() else { return };
    for program in ["iptables", "iptables-legacy"] {
        let (client, server) = lab.pair();
        if !lab.has(program) {
            continue;
        }
        let _redis = server.redis(&PASSWORD);
        for (verdict, cause) in [
            ("DROP", "firewall-drop"),
            ("REJECT", "firewall-reject"),
            ("REJECT --reject-with tcp-reset", "firewall-reject"),
            ("REJECT --reject-with icmp-admin-prohibited", "firewall-reject"),
        ] {
            server.rules_by(program, "-A INPUT -p tcp --dport 22 -j ACCEPT");
            server.rules_by(program, &format!("-A INPUT -p tcp --dport 6379 -j {verdict}"));
            stopped(&client, &server, SERVER, cause, "filter INPUT, rule 2");
            server.rules_by(program, "-F");
        }
        server.rules_by(program, "-A INPUT -i lo -j ACCEPT").rules_by(program, "-P INPUT DROP");
        server.rules_by(program, "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
        stopped(&client, &server, SERVER, "firewall-drop", "the policy of filter INPUT");
        let six = program.replace("ip", "ip6");
        server.rules_by(&six, "-A INPUT -p tcp -m multiport --dports 6379,6380 -j DROP");
        stopped(&client, &server, "fd77:1::2", "firewall-drop", "IPv6 filter INPUT, rule 1");
    }
}

#[test]
fn ufw_is_repaired_by_ufw() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if !lab.has("ufw") {
        return;
    }
    let _redis = server.redis(&PASSWORD);
    server.ufw(&["allow 22/tcp"]);
    for to in [SERVER, "fd77:1::2"] {
        stopped(&client, &server, to, "firewall-drop", "INPUT");
    }
    let rules = server.sh("ufw status").stdout;
    assert!(
        rules.contains("10.77.1.1") && !rules.contains("6379/tcp                   ALLOW       Anywhere"),
        "{rules}"
    );
    let _ = server.sh("ufw --force reset && ufw deny 6379/tcp && ufw --force enable");
    for to in [SERVER, "fd77:1::2"] {
        stopped(&client, &server, to, "firewall-drop", "-user-input, rule ");
    }
    let _ = server.sh("ufw --force reset && ufw reject 6379/tcp && ufw --force enable");
    stopped(&client, &server, SERVER, "firewall-reject", "ufw-user-input, rule ");
    let _ = server.sh("ufw --force reset && ufw default reject incoming && ufw --force enable");
    stopped(&client, &server, SERVER, "firewall-reject", "ufw-reject-input, rule ");
}

#[test]
fn firewalld_is_repaired_by_firewalld_in_its_zone() {
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
    for to in [SERVER, "fd77:1::2"] {
        stopped(&client, &server, to, "firewall-reject", "inet firewalld filter_IN_public, handle ");
    }
    let _ = server.sh("firewall-cmd --set-default-zone=drop");
    stopped(&client, &server, SERVER, "firewall-drop", "inet firewalld filter_IN_drop, handle ");
    let deny = "rule family=\"ipv4\" source address=\"10.77.1.0/24\" port port=\"6379\" protocol=\"tcp\" drop";
    let _ = server.sh(&format!(
        "firewall-cmd --zone=internal --change-interface=eth0 && firewall-cmd --zone=internal --add-rich-rule='{deny}'"
    ));
    stopped(&client, &server, SERVER, "firewall-drop", "inet firewalld filter_IN_internal_deny, handle ");
}

#[test]
fn a_password_comes_before_a_door_is_opened() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    table(
        &server,
        "add chain inet filter input { type filter hook input priority 0; }\nadd rule inet filter input tcp dport 6379 iifname eth0 drop",
    );
    let diagnosis = client.joined(&server, &["-h", SERVER, "-t", "1"]);
    diagnosis.first_cause("firewall-drop", Confidence::Certain);
    let first = diagnosis.report["causes"][0]["remedy"][0]["command"].to_string();
    assert!(first.contains("requirepass"), "{diagnosis}");
    diagnosis.apply(|on| if on == "redis-host" { &server } else { &client });
    client.diagnose(&["-h", SERVER]).first_cause("password-missing", Confidence::Certain);
}

#[test]
fn on_the_servers_own_machine_it_is_seen_without_the_client() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    table(
        &server,
        "add chain inet filter input { type filter hook input priority 0; }\nadd rule inet filter input ip daddr 10.77.1.2 tcp dport 6379 drop",
    );
    let ask = |args: &[&str]| server.doctor(args).env("REDISCLI_AUTH", "pw").diagnose();
    ask(&[]).healthy();
    let diagnosis = ask(&["-h", SERVER, "-t", "1"]);
    diagnosis.first_cause("firewall-drop", Confidence::Certain);
    table(&server, "flush chain inet filter input\nadd rule inet filter input iifname lo tcp dport 6379 reject");
    for address in ["127.0.0.1", SERVER] {
        ask(&["-h", address, "-t", "1"]).first_cause("firewall-reject", Confidence::Certain);
    }
    server.nft("flush ruleset");
    server.iptables("-A OUTPUT -o lo -p tcp --dport 6379 -j DROP");
    ask(&["-t", "1"]).first_cause("firewall-drop", Confidence::Certain);
    // A port that is redirected, and the place that it leads to closed.
    server.iptables("-F").iptables("-t nat -A OUTPUT -p tcp --dport 6380 -j REDIRECT --to-ports 6379");
    ask(&["-p", "6380", "-t", "1"]).healthy();
    server.iptables("-A INPUT -i lo -p tcp --dport 6379 -j DROP");
    ask(&["-p", "6380", "-t", "1"]).first_cause("firewall-drop", Confidence::Certain);
}

#[test]
fn an_unprivileged_collect_is_never_no_firewall() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    table(&server, "add chain inet filter input { type filter hook input priority 0; policy drop; }");
    let facts = server.redisdoc(&["collect"]).user(65534).run().ok().stdout;
    let args = ["-h", SERVER, "-t", "1", "--host-facts", "-"];
    let diagnosis = client.doctor(&args).env("REDISCLI_AUTH", "pw").stdin(facts).diagnose();
    diagnosis.nothing_certain().cause("firewall-drop", Confidence::Possible).check("firewall", "unknown").exit(1);
}

#[test]
fn firewalls_that_let_redis_through_are_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    let ask = || joined(&client, &server, SERVER).healthy().exit(0).ran.code;
    server.ufw(&["allow from 10.77.1.1 to any port 6379 proto tcp", "deny 6380/tcp"]);
    ask();
    let _ = server.sh("ufw --force disable");
    for program in ["iptables", "iptables-legacy"] {
        server.rules_by(program, "-F").rules_by(program, "-P INPUT DROP");
        server.rules_by(program, "-A INPUT -i lo -j ACCEPT").rules_by(program, "-A INPUT -p tcp --dport 6380 -j DROP");
        server.rules_by(program, "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
        server.rules_by(program, "-A INPUT -s 10.9.9.9 -j DROP");
        server.rules_by(program, "-A INPUT -s 10.77.1.0/24 -p tcp -m tcp --dport 6379 -j ACCEPT");
        ask();
        server.rules_by(program, "-P INPUT ACCEPT").rules_by(program, "-F");
    }
    if lab.has_users() && lab.has("firewalld") {
        let _firewalld = server.firewalld();
        let _ = server.sh("firewall-cmd --add-service=redis");
        ask();
    }
}

#[test]
fn a_server_that_does_not_run_behind_an_open_firewall_is_that() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let mut redis = server.redis(&PASSWORD);
    table(
        &server,
        "add chain inet filter input { type filter hook input priority 0; policy drop; }\n\
         add rule inet filter input ct state established accept\nadd rule inet filter input iif lo accept\n\
         add rule inet filter input tcp dport 6379 accept",
    );
    redis.kill();
    let diagnosis = joined(&client, &server, SERVER);
    diagnosis.not_cause("firewall-reject").not_cause("firewall-drop").check("firewall", "pass").exit(1);
}

#[test]
fn docker_chains_that_were_flushed() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    // As the engine leaves it: the chain is there, the rule is not; the port is closed to what comes to the machine itself.
    server.iptables("-t nat -N DOCKER").iptables("-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER");
    server.iptables("-A INPUT -i lo -j ACCEPT").iptables("-A INPUT -p tcp --dport 6379 -j REJECT");
    // The engine's own process, as far as it can be seen: it listens on the port.
    let python = "#!/usr/bin/python3\nimport socket\nl=socket.create_server(('0.0.0.0', 6379))\n\
                  while True: l.accept()[0].close()\n";
    server.program("/usr/local/bin/docker-proxy", python);
    let _container = server.command(&["unshare", "--net", "redis-server", "--save", ""]).spawn();
    let proxy =
        "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 6379 -container-ip 172.17.0.2 -container-port 6379";
    let _proxy = server.command(&proxy.split(' ').collect::<Vec<_>>()).spawn();
    std::thread::sleep(Duration::from_millis(700));
    let diagnosis = joined(&client, &server, SERVER);
    diagnosis.first_cause("docker-chains-flushed", Confidence::Likely).exit(1);
    server.iptables("-t nat -A DOCKER -p tcp --dport 6379 -j DNAT --to-destination 172.17.0.2:6379");
    joined(&client, &server, SERVER).not_cause("docker-chains-flushed").exit(1);
}

#[test]
fn two_tools_in_the_way_take_a_step_each() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    server.ufw(&["allow 22/tcp"]);
    table(
        &server,
        "add chain inet filter input { type filter hook input priority 10; }\nadd rule inet filter input tcp dport { 6379, 6380 } counter reject",
    );
    server.rules_by("iptables-legacy", "-t raw -A PREROUTING -i eth0 -p tcp --dport 6379 -j DROP");
    server.iptables("-t mangle -A PREROUTING -s 10.77.1.0/24 -p tcp --dport 6379 -j DROP");
    stopped(&client, &server, SERVER, "firewall-drop", "raw PREROUTING, rule 1");
}

#[test]
fn rules_at_the_very_edge() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    server.nft(
        "add table netdev edge; add chain netdev edge in { type filter hook ingress device eth0 priority 0; }\n\
         add rule netdev edge in tcp dport 6379 drop",
    );
    // nft 1.0.6 does not list the device of such a chain: which of the machine's it is cannot be told.
    let diagnosis = joined(&client, &server, SERVER);
    diagnosis.first_cause("firewall-drop", Confidence::Likely).nothing_certain().check("firewall", "unknown");
    named(&diagnosis, "netdev edge in, handle 2 may drop it");
}

#[test]
fn a_banned_client_is_told_so() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    // As fail2ban makes it with iptables and with nftables.
    server
        .iptables("-N f2b-redis")
        .iptables("-A f2b-redis -s 10.77.1.1/32 -j REJECT --reject-with icmp-port-unreachable");
    server.iptables("-A f2b-redis -j RETURN").iptables("-I INPUT -p tcp -m multiport --dports 6379 -j f2b-redis");
    let unban = |diagnosis: &Diagnosis| diagnosis.report["causes"][0]["remedy"].to_string().contains("unban 10.77.1.1");
    let diagnosis = joined(&client, &server, SERVER);
    assert!(unban(diagnosis.first_cause("firewall-reject", Confidence::Certain)), "{diagnosis}");
    let _ = server.sh("iptables -F; nft flush ruleset");
    server.nft(
        "add table inet f2b-table; add chain inet f2b-table f2b-chain { type filter hook input priority -1; }\n\
         add set inet f2b-table addr-set-redis { type ipv4_addr; elements = { 10.77.1.1 } }\n\
         add rule inet f2b-table f2b-chain tcp dport { 6379 } ip saddr @addr-set-redis reject",
    );
    let diagnosis = joined(&client, &server, SERVER);
    assert!(unban(diagnosis.first_cause("firewall-reject", Confidence::Certain)), "{diagnosis}");
}

#[test]
fn a_version_without_a_password_yet_is_seen_too() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let Some(_redis) = server.redis_of(Server::ALL[0], &["--requirepass", "pw"]) else { return };
    server.iptables("-A INPUT -s 10.77.1.1 -j DROP");
    stopped(&client, &server, SERVER, "firewall-drop", "filter INPUT, rule 1");
}

#[test]
fn a_set_with_the_addresses_of_a_country_is_read_from_afar_too() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&PASSWORD);
    let chain = "add chain inet filter input { type filter hook input priority 0; }";
    let set = "add set inet filter country { type ipv4_addr; flags interval; elements = { 10.77.1.1 } }";
    table(&server, &format!("{chain}\n{set}\nadd rule inet filter input ip saddr @country drop"));
    let networks: Vec<String> = (0..12_000).map(|i| format!("11.{}.{}.0/25", i / 250, i % 250)).collect();
    for some in networks.chunks(1_000) {
        server.nft(&format!("add element inet filter country {{ {} }}", some.join(", ")));
    }
    assert!(server.collect().len() > 1 << 20, "more than is read of other files");
    let diagnosis = joined(&client, &server, SERVER);
    diagnosis.first_cause("firewall-drop", Confidence::Certain).exit(1);
    named(&diagnosis, "@country");
}
