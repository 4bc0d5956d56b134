//! What a name means: names that are not there, nameservers that fail, are silent, closed or out of reach, families
//! that are missing; and names that are well, which cost one lookup by the system and not a query more.

use std::time::Duration;

use crate::world::dns::Dns;
use crate::world::redis::Redis;
use crate::world::{Confidence, DnsStub, Host, Kind, Lab};

const SERVER: &str = "10.77.1.2";
const SERVER6: &str = "fd77:1::2";

/// A client whose nameserver is the machine that Redis runs on.
struct Site {
    client: Host,
    server: Host,
    dns: Dns,
    _redis: Redis,
}

/// The nameserver answers as told, for UDP and TCP, on all addresses.
fn site(lab: &Lab, stub: impl FnOnce(DnsStub) -> DnsStub) -> Site {
    let (client, server) = lab.pair();
    let dns = server.dns(stub(DnsStub::new("[::]:53")));
    let redis = server.redis(&["--protected-mode", "no"]);
    client.file("/etc/nsswitch.conf", "hosts: files dns\n").resolv_conf("nameserver 10.77.1.2\n");
    Site { client, server, dns, _redis: redis }
}

impl Site {
    /// The queries since the last call that skipped as many, sorted: the two families are asked for in any order.
    fn queries_after(&self, skipped: usize) -> Vec<(String, Kind)> {
        let mut queries = self.dns.queries().split_off(skipped);
        queries.sort_by_key(|(name, kind)| (name.clone(), format!("{kind:?}")));
        queries
    }

    /// The name is healthy, and no more is asked than by one `getaddrinfo(3)` for these questions.
    #[track_caller]
    fn healthy_with(&self, args: &[&str], questions: &[(&str, Kind)]) {
        let before = self.dns.queries().len();
        self.client.diagnose(args).healthy();
        let questions: Vec<(String, Kind)> = questions.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        assert_eq!(self.queries_after(before), questions, "{args:?}");
    }
}

fn here_or_there<'a>(client: &'a Host, server: &'a Host) -> impl Fn(&str) -> &'a Host {
    move |on| if on == "redis-host" { server } else { client }
}

fn summary(diagnosis: &crate::world::diagnose::Diagnosis) -> String {
    diagnosis.report["causes"][0]["summary"].as_str().unwrap_or_default().to_owned()
}

/// What is dropped on its way to port 53.
fn drop_port_53(host: &Host, protocols: &[&str]) {
    host.nft("add table inet t; add chain inet t f { type filter hook input priority 0; }");
    for protocol in protocols {
        host.nft(&format!("add rule inet t f {protocol} dport 53 drop"));
    }
}

#[test]
fn a_healthy_name_is_looked_up_once_and_by_the_system_only() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| {
        let stub = stub.a("db.test", SERVER).aaaa("db.test", SERVER6).a("four.test", SERVER).aaaa("six.test", SERVER6);
        stub.cname("alias.test", "middle.test").cname("middle.test", "db.test").a("db.lab.test", SERVER)
    });
    for name in ["db.test", "four.test", "six.test", "alias.test"] {
        site.healthy_with(&["-h", name], &[(name, Kind::A), (name, Kind::Aaaa)]);
    }
    site.healthy_with(&["-h", "DB.test."], &[("db.test", Kind::A), ("db.test", Kind::Aaaa)]);
    site.healthy_with(&["-h", "db.test", "-4"], &[("db.test", Kind::A)]);
    site.healthy_with(&["-h", "db.test", "-6"], &[("db.test", Kind::Aaaa)]);
    site.client.resolv_conf("search lab.test\nnameserver 10.77.1.2\n");
    site.healthy_with(&["-h", "db"], &[("db.lab.test", Kind::A), ("db.lab.test", Kind::Aaaa)]);
    site.healthy_with(&["-h", "db.lab.test"], &[("db.lab.test", Kind::A), ("db.lab.test", Kind::Aaaa)]);
    site.healthy_with(&["-h", "db.lab.test."], &[("db.lab.test", Kind::A), ("db.lab.test", Kind::Aaaa)]);
}

#[test]
fn a_name_that_the_search_list_finds_late_is_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.b.test", SERVER).a("db.prod.svc.test", SERVER));
    site.client.resolv_conf("search a.test b.test\nnameserver 10.77.1.2\n");
    let asked = |name| [(name, Kind::A), (name, Kind::Aaaa)];
    site.healthy_with(&["-h", "db"], &[asked("db.a.test"), asked("db.b.test")].concat());
    // As in Kubernetes: five dots, so that the list comes first.
    site.client.resolv_conf("nameserver 10.77.1.2\nsearch svc.test test\noptions ndots:5\n");
    site.healthy_with(&["-h", "db.prod"], &asked("db.prod.svc.test"));
    site.healthy_with(&["-h", "db.prod.svc"], &[asked("db.prod.svc.svc.test"), asked("db.prod.svc.test")].concat());
}

#[test]
fn an_ipv6_only_machine_is_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.aaaa("db.test", SERVER6));
    site.client.ip("addr del 10.77.1.1/24 dev eth0");
    site.client.resolv_conf("nameserver fd77:1::2\n");
    site.healthy_with(&["-h", "db.test"], &[("db.test", Kind::A), ("db.test", Kind::Aaaa)]);
    // A nameserver with a link-local address: its zone counts.
    let address = site.server.sh("ip -6 -o addr show dev eth0 scope link | awk '{print $4}' | cut -d/ -f1").stdout;
    site.client.resolv_conf(&format!("nameserver {}%eth0\n", address.trim()));
    site.client.diagnose(&["-h", "db.test"]).healthy();
    site.client.diagnose(&["-h", "typo.test"]).first_cause("name-not-found", Confidence::Certain).exit(1);
}

#[test]
fn names_of_the_hosts_file_need_no_nameserver() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", "10.77.1.99"));
    site.client.hosts_file("10.77.1.2 db db.test\nfd77:1::2 six\n");
    for name in ["db", "db.test", "DB", "six"] {
        site.healthy_with(&["-h", name], &[]);
    }
    site.client.resolv_conf("nameserver 192.0.2.53\n");
    site.client.diagnose(&["-h", "db"]).healthy().within(Duration::from_secs(1));
}

#[test]
fn an_address_needs_no_resolver_at_all() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub);
    site.client.sh("rm /etc/resolv.conf");
    site.healthy_with(&["-h", SERVER], &[]);
    site.healthy_with(&["-h", SERVER6], &[]);
    site.client.sh("mount -t tmpfs empty /etc");
    site.healthy_with(&["-h", SERVER], &[]);
    site.healthy_with(&["-h", SERVER6], &[]);
    // A name has nobody to be asked of: 127.0.0.1 is assumed, and its port 53 is closed.
    let nobody = site.client.diagnose(&["-h", "db.test"]);
    nobody.first_cause("resolver-unreachable", Confidence::Certain).exit(1).within(Duration::from_secs(2));
    assert!(site.dns.queries().is_empty());
}

#[test]
fn a_name_that_does_not_exist() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER));
    let typo = site.client.diagnose(&["-h", "dbb.test"]);
    typo.first_cause("name-not-found", Confidence::Certain).finding("dns/name-not-found").exit(1);
    typo.check("tcp", "skipped").within(Duration::from_secs(1));
    // Both questions by the system, and both by us.
    assert_eq!(site.dns.queries().len(), 4, "{:?}", site.dns.queries());
    site.client.diagnose(&["-h", "db.test"]).healthy();
    // The other repair that it names: a line in /etc/hosts.
    site.client.hosts_file("10.77.1.2 dbb.test\n");
    site.client.diagnose(&["-h", "dbb.test"]).healthy();
}

#[test]
fn names_of_the_search_list_are_named() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.a.test", SERVER));
    site.client.resolv_conf("search a.test b.test\nnameserver 10.77.1.2\n");
    let typo = site.client.diagnose(&["-h", "dbb"]);
    typo.first_cause("name-not-found", Confidence::Certain).exit(1);
    for name in ["dbb.a.test", "dbb.b.test"] {
        assert!(summary(&typo).contains(name), "{typo}");
    }
    site.client.diagnose(&["-h", "db"]).healthy();
    // The final dot switches the list off.
    let dot = site.client.diagnose(&["-h", "db."]);
    dot.first_cause("name-not-found", Confidence::Certain);
    assert!(!summary(&dot).contains("a.test"), "{dot}");
}

#[test]
fn an_alias_of_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.cname("db.test", "gone.test").nxdomain("gone.test"));
    let gone = site.client.diagnose(&["-h", "db.test"]);
    gone.first_cause("name-not-found", Confidence::Certain).exit(1);
    assert!(summary(&gone).contains("gone.test"), "{gone}");
}

#[test]
fn a_nameserver_that_fails_or_refuses() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.servfail("broken.test").refused("closed.test").a("db.test", SERVER));
    for (name, says) in [("broken.test", "SERVFAIL"), ("closed.test", "REFUSED")] {
        let fails = site.client.diagnose(&["-h", name]);
        fails.first_cause("name-server-failure", Confidence::Certain).finding("dns/server-failure").exit(1);
        fails.not_cause("resolver-unreachable").within(Duration::from_secs(2));
        assert!(summary(&fails).contains(says), "{fails}");
    }
    site.client.diagnose(&["-h", "db.test"]).healthy();
}

#[test]
fn half_a_failure_is_none_for_an_application() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER).servfail_for("db.test", Kind::Aaaa));
    // glibc takes the address it has.
    site.client.diagnose(&["-h", "db.test"]).exit(0).nothing_certain();
}

#[test]
fn a_second_nameserver_answers_where_the_first_fails() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.interface("eth0", &["10.77.1.3/24"]);
    let _first = server.dns(DnsStub::new("10.77.1.2:53").servfail("*"));
    let _second = server.dns(DnsStub::new("10.77.1.3:53").a("db.test", SERVER));
    let _redis = server.redis(&["--protected-mode", "no"]);
    client.resolv_conf("nameserver 10.77.1.2\nnameserver 10.77.1.3\n");
    client.diagnose(&["-h", "db.test"]).healthy();
}

#[test]
fn a_name_without_an_address() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.nodata("stopped.test").cname("alias.test", "stopped.test"));
    for name in ["stopped.test", "alias.test"] {
        let empty = site.client.diagnose(&["-h", name]);
        empty.first_cause("no-address-of-family", Confidence::Certain).finding("dns/no-address").exit(1);
        empty.not_cause("name-not-found").within(Duration::from_secs(1));
    }
    // The container behind the name is started.
    let (client, server) = (&site.client, &site.server);
    server.interface("eth0", &["10.77.1.3/24"]);
    let _dns = server.dns(DnsStub::new("10.77.1.3:54").a("stopped.test", SERVER));
    client.hosts_file("10.77.1.2 stopped.test\n");
    client.diagnose(&["-h", "stopped.test"]).healthy();
}

#[test]
fn queries_that_are_dropped() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER));
    drop_port_53(&site.server, &["udp", "tcp"]);
    // Less than glibc's own 5 s is too short to be sure: a slow resolver is silent for a while, too.
    let dropped = site.client.diagnose(&["-h", "db.test", "-t", "2"]);
    dropped.first_cause("resolver-unreachable", Confidence::Likely).finding("dns/servers-silent").exit(1);
    dropped.nothing_certain().within(Duration::from_millis(2600));
    assert!(dropped.ran.wall >= Duration::from_millis(1900), "it waits as long as it says\n{dropped}");
    site.server.nft("delete table inet t");
    site.client.diagnose(&["-h", "db.test"]).healthy();
}

#[test]
fn queries_that_are_dropped_cost_the_default_step_where_glibc_takes_ten_seconds() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER));
    drop_port_53(&site.server, &["udp", "tcp"]);
    let default = site.client.diagnose(&["-h", "db.test"]);
    default.first_cause("resolver-unreachable", Confidence::Certain).within(Duration::from_millis(5800));
}

#[test]
fn a_lookup_is_bounded_by_the_deadline_too() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER));
    drop_port_53(&site.server, &["udp", "tcp"]);
    let hurried = site.client.diagnose(&["-h", "db.test", "--deadline", "1"]);
    hurried.within(Duration::from_millis(1600)).nothing_certain();
    assert_eq!(hurried.ran.code, Some(3), "{hurried}");
}

#[test]
fn datagrams_that_are_dropped_while_connections_pass() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER));
    drop_port_53(&site.server, &["udp"]);
    let dropped = site.client.diagnose(&["-h", "db.test", "-t", "3"]);
    dropped.first_cause("resolver-unreachable", Confidence::Certain).exit(1);
    assert!(summary(&dropped).contains("over TCP"), "{dropped}");
}

#[test]
fn a_nameserver_with_a_closed_port() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    client.resolv_conf("nameserver 10.77.1.2\n");
    let closed = client.diagnose(&["-h", "db.test"]);
    closed.first_cause("resolver-unreachable", Confidence::Certain).finding("dns/servers-closed").exit(1);
    closed.not_cause("name-server-failure").within(Duration::from_secs(2));
    // The resolver is started, as the report says.
    let _dns = server.dns(DnsStub::new("0.0.0.0:53").a("db.test", SERVER));
    let _redis = server.redis(&["--protected-mode", "no"]);
    client.diagnose(&["-h", "db.test"]).healthy();
}

#[test]
fn a_nameserver_without_a_route() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER));
    for address in ["192.0.2.53", "2001:db8::53"] {
        site.client.resolv_conf(&format!("nameserver {address}\n"));
        let lost = site.client.diagnose(&["-h", "db.test"]);
        lost.first_cause("resolver-unreachable", Confidence::Certain).exit(1).within(Duration::from_secs(2));
        assert!(summary(&lost).contains("ENETUNREACH"), "{lost}");
    }
    site.client.resolv_conf("nameserver 10.77.1.2\n");
    site.client.diagnose(&["-h", "db.test"]).healthy();
}

#[test]
fn a_dead_first_nameserver_makes_every_lookup_slow() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER));
    site.server.interface("eth0", &["10.77.1.3/24"]);
    drop_port_53(&site.server, &["ip daddr 10.77.1.3 udp", "ip daddr 10.77.1.3 tcp"]);
    site.client.resolv_conf("options timeout:2\nnameserver 10.77.1.3\nnameserver 10.77.1.2\n");
    let slow = site.client.diagnose(&["-h", "db.test"]);
    slow.first_cause("resolver-unreachable", Confidence::Certain).finding("dns/slow").exit(0);
    slow.apply(here_or_there(&site.client, &site.server));
    assert!(site.client.read("/etc/resolv.conf").contains("#nameserver 10.77.1.3"));
    site.client.diagnose(&["-h", "db.test"]).healthy().within(Duration::from_secs(1));
}

#[test]
fn an_ipv6_question_that_is_dropped_makes_every_lookup_slow() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER).silent_for("db.test", Kind::Aaaa));
    site.client.resolv_conf("options timeout:1 attempts:1\nnameserver 10.77.1.2\n");
    let slow = site.client.diagnose(&["-h", "db.test"]);
    slow.first_cause("aaaa-lookup-slow", Confidence::Certain).finding("dns/slow").exit(0);
    slow.not_cause("resolver-unreachable");
    // The first repair is for the application: IPv4 only.
    site.client.diagnose(&["-h", "db.test", "-4"]).healthy().within(Duration::from_secs(1));
    slow.apply(here_or_there(&site.client, &site.server));
    site.client.diagnose(&["-h", "db.test"]).healthy().within(Duration::from_secs(1));
}

#[test]
fn an_ipv6_question_that_is_dropped_can_outlast_the_step() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER).silent_for("db.test", Kind::Aaaa));
    let late = site.client.diagnose(&["-h", "db.test", "-t", "2"]);
    late.first_cause("aaaa-lookup-slow", Confidence::Likely).finding("dns/timeout").exit(1);
    late.within(Duration::from_millis(2600)).nothing_certain();
}

#[test]
fn a_slow_nameserver_is_no_dead_one() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER).delay(Duration::from_millis(1200)));
    site.client.diagnose(&["-h", "db.test"]).finding("dns/slow").exit(0).nothing_certain();
}

#[test]
fn a_family_that_the_name_lacks() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.aaaa("six.test", SERVER6).a("four.test", SERVER));
    site.client.hosts_file("10.77.1.2 four\nfd77:1::2 six\n");
    for (flag, name) in
        [("-4", "six.test"), ("-6", "four.test"), ("-4", "six"), ("-6", "four"), ("-4", SERVER6), ("-6", SERVER)]
    {
        let pinned = site.client.diagnose(&["-h", name, flag]);
        pinned.first_cause("address-family-pinned", Confidence::Certain).exit(1).within(Duration::from_secs(1));
        pinned.not_cause("no-address-of-family").not_cause("name-not-found");
        // The report ends with the same command, without the flag.
        let remedy = pinned.report["causes"][0]["remedy"].as_array().expect("a remedy");
        let command = remedy.last().and_then(|step| step["command"].as_str());
        assert_eq!(command, Some(&*format!("redisdoc check -h {name} -p 6379")), "{pinned}");
        site.client.diagnose(&["-h", name]).healthy();
    }
    // A name of neither family is another matter.
    let none = site.client.diagnose(&["-h", "none.test", "-4"]);
    none.first_cause("name-not-found", Confidence::Certain).not_cause("address-family-pinned");
}

#[test]
fn nameservers_that_disagree_make_nothing_certain() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.interface("eth0", &["10.77.1.3/24"]);
    let first = DnsStub::new("10.77.1.2:53").nodata("empty.test").aaaa("six.test", SERVER6);
    let second = DnsStub::new("10.77.1.3:53").a("db.test", SERVER).a("empty.test", SERVER).a("six.test", SERVER);
    let _dns = (server.dns(first), server.dns(second));
    let _redis = server.redis(&["--protected-mode", "no"]);
    let order = |first: &str, second: &str| {
        client.resolv_conf(&format!("nameserver {first}\nnameserver {second}\n"));
    };
    order(SERVER, "10.77.1.3");
    let missing = client.diagnose(&["-h", "db.test"]);
    missing.first_cause("name-not-found", Confidence::Likely).nothing_certain().exit(1);
    assert!(summary(&missing).contains("10.77.1.3 knows it"), "{missing}");
    client.diagnose(&["-h", "empty.test"]).first_cause("no-address-of-family", Confidence::Likely).nothing_certain();
    let pinned = client.diagnose(&["-h", "six.test", "-4"]);
    pinned.first_cause("address-family-pinned", Confidence::Likely).nothing_certain();
    // The repair: the one that knows it first.
    order("10.77.1.3", SERVER);
    for name in ["db.test", "empty.test", "six.test"] {
        client.diagnose(&["-h", name]).healthy();
    }
}

#[test]
fn a_nameserver_that_fails_beside_one_that_denies_makes_nothing_certain() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.interface("eth0", &["10.77.1.3/24"]);
    let _dns = (server.dns(DnsStub::new("10.77.1.2:53").servfail("*")), server.dns(DnsStub::new("10.77.1.3:53")));
    client.resolv_conf("nameserver 10.77.1.2\nnameserver 10.77.1.3\n");
    client.diagnose(&["-h", "db.test"]).first_cause("name-not-found", Confidence::Likely).nothing_certain().exit(1);
}

#[test]
fn answers_that_cannot_be_used_do_no_harm() {
    let Some(lab) = Lab::enter() else { return };
    let garbage = site(&lab, |stub| stub.garbage("db.test"));
    garbage.client.resolv_conf("options timeout:1 attempts:1\nnameserver 10.77.1.2\n");
    let unread = garbage.client.diagnose(&["-h", "db.test", "-t", "2"]);
    unread.exit(1).nothing_certain().cause("resolver-unreachable", Confidence::Possible);
    unread.within(Duration::from_millis(2600));
    let forged = site(&lab, |stub| stub.a("db.test", "10.77.1.66").wrong_id());
    forged.client.resolv_conf("options timeout:1 attempts:1\nnameserver 10.77.1.2\n");
    let ignored = forged.client.diagnose(&["-h", "db.test", "-t", "2"]);
    ignored.exit(1).nothing_certain().cause("resolver-unreachable", Confidence::Possible);
    ignored.within(Duration::from_millis(2600)).check("tcp", "skipped");
}

#[test]
fn answers_too_long_for_a_datagram_are_asked_for_again() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER).truncate_udp());
    site.client.diagnose(&["-h", "db.test"]).healthy();
    let missing = site.client.diagnose(&["-h", "typo.test"]);
    missing.first_cause("name-not-found", Confidence::Certain).exit(1);
}

#[test]
fn sources_of_names_without_dns_are_told() {
    let Some(lab) = Lab::enter() else { return };
    let site = site(&lab, |stub| stub.a("db.test", SERVER));
    site.client.file("/etc/nsswitch.conf", "hosts: files\n");
    let excluded = site.client.diagnose(&["-h", "db.test"]);
    excluded.finding("dns/failed").nothing_certain().exit(1);
    assert!(excluded.report.to_string().contains("hosts: files"), "{excluded}");
    site.client.file("/etc/nsswitch.conf", "hosts: files dns\n");
    site.client.diagnose(&["-h", "db.test"]).healthy();
}
