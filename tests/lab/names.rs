//! Names that lead astray: search lists that multiply, /etc/hosts that says something else than DNS, and the names of
//! services that stand behind a cloud's perimeter.

use std::time::Duration;

use crate::world::dns::Dns;
use crate::world::redis::Redis;
use crate::world::{Confidence, DnsStub, Host, Lab};

const SERVER: &str = "10.77.1.2";

/// As in a pod: five dots, and the suffixes of the cluster and of its node.
const POD: &str = "search default.svc.cluster.local svc.cluster.local cluster.local corp.test\noptions ndots:5\n\
                   nameserver 10.77.1.2\n";

/// A client whose nameserver is the machine that Redis runs on.
struct Site {
    client: Host,
    server: Host,
    dns: Dns,
    _redis: Redis,
}

fn site(lab: &Lab, resolv_conf: &str, stub: impl FnOnce(DnsStub) -> DnsStub) -> Site {
    let (client, server) = lab.pair();
    let dns = server.dns(stub(DnsStub::new("[::]:53")));
    let redis = server.redis(&["--protected-mode", "no"]);
    client.file("/etc/nsswitch.conf", "hosts: files dns\n").resolv_conf(resolv_conf);
    Site { client, server, dns, _redis: redis }
}

impl Site {
    fn apply(&self, diagnosis: &crate::world::diagnose::Diagnosis) {
        diagnosis.apply(|on| if on == "redis-host" { &self.server } else { &self.client });
    }
}

/// The last step of the first cause's remedy.
fn verified_by(diagnosis: &crate::world::diagnose::Diagnosis) -> String {
    let remedy = diagnosis.report["causes"][0]["remedy"].as_array().expect("a remedy");
    remedy.last().and_then(|step| step["command"].as_str()).unwrap_or_default().to_owned()
}

#[test]
fn a_search_list_makes_eight_slow_queries_before_the_two_that_count() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, POD, |stub| stub.a("redis.corp.example", SERVER).delay(Duration::from_millis(300)));
    let slow = site.client.diagnose(&["-h", "redis.corp.example"]);
    slow.first_cause("search-list-multiplies", Confidence::Certain).finding("dns/slow").exit(0);
    slow.not_cause("aaaa-lookup-slow").not_cause("resolver-unreachable");
    assert!(slow.report["causes"][0]["summary"].to_string().contains("8 queries and 1.2 s"), "{slow}");
    assert_eq!(verified_by(&slow), "redisdoc check -h redis.corp.example. -p 6379");
    let before = site.dns.queries().len();
    site.client.diagnose(&["-h", "redis.corp.example."]).healthy().within(Duration::from_secs(1));
    assert_eq!(site.dns.queries().len() - before, 2);
    site.apply(&slow);
    assert!(site.client.read("/etc/resolv.conf").contains("options ndots:1"));
    site.client.diagnose(&["-h", "redis.corp.example"]).healthy().within(Duration::from_secs(1));
}

#[test]
fn a_search_list_whose_names_are_slow_and_the_name_is_prompt() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, POD, |stub| {
        stub.a("redis.default.svc.cluster.local", SERVER)
            .delay(Duration::from_millis(700))
            .prompt_for("redis.default.svc.cluster.local")
    });
    // The name is complete and has four dots only: two suffixes and more are tried before it.
    let slow = site.client.diagnose(&["-h", "redis.default.svc.cluster.local"]);
    slow.first_cause("search-list-multiplies", Confidence::Certain).finding("dns/slow").exit(0);
    site.client.diagnose(&["-h", "redis.default.svc.cluster.local."]).healthy().within(Duration::from_secs(1));
}

#[test]
fn a_search_list_makes_a_slow_nameserver_worse() {
    let Some(lab) = Lab::enter() else { return };
    let list = "search a.test b.test\noptions ndots:5\nnameserver 10.77.1.2\n";
    let site = site(&lab, list, |stub| stub.a("redis.example", SERVER).delay(Duration::from_millis(700)));
    let slow = site.client.diagnose(&["-h", "redis.example"]);
    slow.first_cause("search-list-multiplies", Confidence::Likely).finding("dns/slow").nothing_certain().exit(0);
}

#[test]
fn a_search_list_whose_first_name_gets_no_answer() {
    let Some(lab) = Lab::enter() else { return };
    let list = "search corp.test\noptions ndots:5 timeout:1 attempts:1\nnameserver 10.77.1.2\n";
    let site = site(&lab, list, |stub| {
        let stub = stub.silent("redis.example.corp.test").refused("cache.example.corp.test");
        let stub = stub.servfail("db.example.corp.test").a("redis.example", SERVER);
        stub.a("cache.example", SERVER).a("db.example", SERVER)
    });
    let slow = site.client.diagnose(&["-h", "redis.example"]);
    slow.first_cause("search-list-multiplies", Confidence::Certain).finding("dns/slow").exit(0);
    slow.not_cause("resolver-unreachable").not_cause("aaaa-lookup-slow");
    site.client.diagnose(&["-h", "redis.example."]).healthy();
    // glibc goes on after SERVFAIL and REFUSED, too, and loses no time.
    for name in ["cache.example", "db.example"] {
        site.client.diagnose(&["-h", name]).healthy();
    }
    site.apply(&slow);
    site.client.diagnose(&["-h", "redis.example"]).healthy();
}

#[test]
fn a_search_list_whose_lost_name_outlasts_the_step() {
    let Some(lab) = Lab::enter() else { return };
    let list = "search corp.test\noptions ndots:5\nnameserver 10.77.1.2\n";
    let site = site(&lab, list, |stub| stub.silent("redis.example.corp.test").a("redis.example", SERVER));
    let late = site.client.diagnose(&["-h", "redis.example"]);
    late.first_cause("search-list-multiplies", Confidence::Certain).finding("dns/timeout").exit(1);
    site.client.diagnose(&["-h", "redis.example."]).healthy();
}

#[test]
fn a_search_list_with_a_dead_first_nameserver_is_the_nameservers_fault() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, POD, |stub| stub.a("redis.corp.example", SERVER));
    site.client.ip("route add blackhole 192.0.2.53/32");
    site.server.interface("eth0", &["10.77.1.3/24"]);
    site.server.nft("add table inet t; add chain inet t f { type filter hook input priority 0; }; add rule inet t f ip daddr 10.77.1.3 udp dport 53 drop; add rule inet t f ip daddr 10.77.1.3 tcp dport 53 drop");
    let list = POD.replace("nameserver", "options timeout:1\nnameserver 10.77.1.3\nnameserver");
    site.client.resolv_conf(&list);
    let slow = site.client.diagnose(&["-h", "redis.corp.example"]);
    slow.cause("resolver-unreachable", Confidence::Certain).not_cause("search-list-multiplies");
}

#[test]
fn a_search_list_that_costs_little_is_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, POD, |stub| stub.a("redis.corp.example", SERVER).delay(Duration::from_millis(20)));
    site.client.diagnose(&["-h", "redis.corp.example"]).healthy();
}

#[test]
fn a_clouds_perimeter_drops_who_asks_from_outside() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let name = "shop.x1y2z3.ng.0001.use1.cache.amazonaws.com";
    let _dns = router.dns(DnsStub::new("[::]:53").a(name, "172.31.5.5").a("db.example.com", "172.31.5.5"));
    let redis = server.redis(&["--protected-mode", "no"]);
    server.interface("eth0", &["172.31.5.5/32"]);
    router.ip("route add 172.31.5.5/32 via 10.77.2.2");
    router.nft("add table inet t; add chain inet t f { type filter hook forward priority 0; }");
    router.nft("add rule inet t f ip daddr 172.31.5.5 drop");
    client.file("/etc/nsswitch.conf", "hosts: files dns\n").resolv_conf("nameserver 10.77.1.254\n");
    let outside = client.diagnose(&["-h", name, "-t", "2"]);
    outside.first_cause("cloud-perimeter", Confidence::Likely).finding("tcp/timeout").nothing_certain().exit(1);
    let remedy = outside.report["causes"][0]["remedy"].to_string();
    assert!(remedy.contains("VPC security group") && remedy.contains("10.77.1.1"), "{outside}");
    assert!(!outside.report.to_string().contains("redis-host"), "{outside}");
    // Another name at that address is nobody's.
    client.diagnose(&["-h", "db.example.com", "-t", "2"]).not_cause("cloud-perimeter").nothing_certain().exit(1);
    // The security group lets it in.
    router.nft("flush chain inet t f");
    client.diagnose(&["-h", name]).healthy();
    // What is refused is not for us to start.
    drop(redis);
    let refused = client.diagnose(&["-h", name]);
    refused.cause("cloud-perimeter", Confidence::Possible).not_cause("not-running").not_cause("loopback-only").exit(1);
    // The route to the private network is not there.
    client.ip("route del default");
    client.diagnose(&["-h", "127.0.0.1"]).not_cause("cloud-perimeter");
    let lost = client.diagnose(&["-h", name, "-t", "2"]);
    lost.cause("no-route", Confidence::Certain).exit(1);
    assert!(!lost.report.to_string().contains("redis-host"), "{lost}");
}

#[test]
fn a_tunnel_to_a_clouds_service_is_this_machine() {
    let Some(lab) = Lab::enter() else { return };
    let client = lab.host("client");
    let name = "shop.x1y2z3.ng.0001.use1.cache.amazonaws.com";
    client.hosts_file(&format!("127.0.0.1 {name}\n"));
    let closed = client.diagnose(&["-h", name]);
    closed.not_cause("cloud-perimeter").exit(1);
    let _redis = client.redis(&[]);
    client.diagnose(&["-h", name]).healthy();
}

#[test]
fn a_line_of_the_hosts_file_from_before_the_move() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, "nameserver 10.77.1.2\n", |stub| stub.a("db.test", "10.77.1.3"));
    site.server.interface("eth0", &["10.77.1.3/24", "10.77.1.4/24"]);
    // Nothing is wrong with a line that leads to a Redis, whatever DNS says; nor is DNS asked.
    site.client.hosts_file("10.77.1.4\tcache db.test # old\n");
    site.client.diagnose(&["-h", "db.test"]).healthy();
    assert!(site.dns.queries().is_empty());
    site.server.nft("add table inet t; add chain inet t f { type filter hook input priority 0; }");
    let rule = |rule: &str| {
        site.server.nft(&format!("flush chain inet t f; add rule inet t f {rule}"));
    };
    rule("ip daddr 10.77.1.4 tcp dport 6379 reject with tcp reset");
    let moved = site.client.diagnose(&["-h", "db.test"]);
    moved.first_cause("hosts-file-override", Confidence::Certain).finding("tcp/refused").exit(1);
    moved.not_cause("not-running").within(Duration::from_secs(2));
    // What is silent may be down and be meant.
    rule("ip daddr 10.77.1.4 drop");
    let silent = site.client.diagnose(&["-h", "db.test", "-t", "2"]);
    silent.first_cause("hosts-file-override", Confidence::Likely).finding("tcp/timeout").nothing_certain().exit(1);
    // Both are dead: the line is not to blame.
    rule("tcp dport 6379 reject with tcp reset");
    site.client.diagnose(&["-h", "db.test"]).not_cause("hosts-file-override").nothing_certain().exit(1);
    rule("ip daddr 10.77.1.4 tcp dport 6379 reject with tcp reset");
    site.apply(&moved);
    assert!(site.client.read("/etc/hosts").contains("10.77.1.4 cache # old"));
    site.client.diagnose(&["-h", "db.test"]).healthy();
}

#[test]
fn a_line_of_the_hosts_file_that_leads_to_another_program() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, "nameserver 10.77.1.2\n", |stub| stub.a("db.test", SERVER));
    site.client.hosts_file("10.77.1.1 db.test\n");
    // It is our own address, and nothing listens here: a Redis may be meant to.
    let nothing = site.client.diagnose(&["-h", "db.test"]);
    nothing.first_cause("hosts-file-override", Confidence::Likely).nothing_certain().exit(1);
    let _web =
        site.client.tcp_stub(6379, crate::world::Stub::ReplyThenClose(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    let web = site.client.diagnose(&["-h", "db.test"]);
    web.first_cause("hosts-file-override", Confidence::Certain).finding("ping/not-redis").exit(1);
    site.apply(&web);
    site.client.diagnose(&["-h", "db.test"]).healthy();
}

#[test]
fn the_machines_own_name_is_a_loopback_address() {
    let Some(lab) = Lab::enter() else { return };
    // As Debian's installer writes it.
    for (bind, to) in [("10.77.1.2", "10.77.1.2"), ("127.0.0.1", "127.0.0.1")] {
        let (_, server) = lab.pair();
        server.hosts_file("127.0.1.1\tserver.test\tserver\n");
        let redis = server.redis(&["--protected-mode", "no", "--bind", bind]);
        let astray = server.diagnose(&["-h", "server"]);
        astray.first_cause("hosts-file-override", Confidence::Certain).not_cause("wrong-port").exit(1);
        astray.apply(|_| &server);
        assert!(server.read("/etc/hosts").contains(&format!("{to}\tserver.test\tserver")), "{astray}");
        server.diagnose(&["-h", "server"]).exit(0).check("tcp", "pass").not_cause("hosts-file-override");
        drop(redis);
        // Nobody listens at all: the line has nothing to do with it.
        server.diagnose(&["-h", "server"]).first_cause("not-running", Confidence::Certain);
    }
    let (_, server) = lab.pair();
    server.hosts_file("127.0.1.1 server\n");
    let _redis = server.redis(&["--protected-mode", "no"]);
    server.diagnose(&["-h", "server"]).exit(0).not_cause("hosts-file-override");
    // Another port is another matter.
    server.diagnose(&["-h", "server", "-p", "6380"]).first_cause("wrong-port", Confidence::Likely);
    let (_, server) = lab.pair();
    server.hosts_file("::1 server\n");
    let _redis = server.redis(&["--bind", "127.0.0.1"]);
    server.diagnose(&["-h", "server"]).cause("localhost-is-ipv6", Confidence::Certain).exit(1);
}
