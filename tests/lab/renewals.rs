//! Certificates that were renewed, in files of the server that was met and of another one; and whether the repair takes something
//! from anybody.

use std::time::Duration;

use crate::world::Confidence::{Certain, Likely};
use crate::world::pki::{Issued, in_days};
use crate::world::{Authority, Diagnosis, Host, Lab, enter};

const SERVER: &str = "10.77.1.2";
const SECOND: &str = "10.77.1.3";
const TLS: [&str; 5] = ["-h", SERVER, "--tls", "--cacert", "/tmp/ca.crt"];
const CAUSE: &str = "certificate-not-reloaded";

/// What is written to files from here on is later than the start of any server, by a clock of seconds.
fn later() {
    std::thread::sleep(Duration::from_millis(1_100));
}

/// Puts a certificate and its key under this name beside others.
fn put(server: &Host, name: &str, issued: &Issued) {
    server.file(&format!("/etc/tls/{name}.crt"), issued.chain.as_str());
    server.file(&format!("/etc/tls/{name}.key"), issued.key.as_str());
}

/// The arguments of a server on one address with the certificate of this name.
fn at<'a>(address: &'a str, (cert, key): (&'a str, &'a str)) -> [&'a str; 8] {
    ["--bind", address, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no"]
}

/// What the causes say.
fn said(report: &Diagnosis) -> String {
    report.report["causes"].to_string()
}

const ONE: (&str, &str) = ("/etc/tls/one.crt", "/etc/tls/one.key");
const TWO: (&str, &str) = ("/etc/tls/two.crt", "/etc/tls/two.key");

#[test]
fn two_servers_behind_one_name_have_files_of_their_own() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.sh(&format!("ip address add {SECOND}/24 dev eth0"));
    server.certificate(&authority.certify(&["db"]), &authority.pem());
    client.file("/tmp/ca.crt", authority.pem()).hosts_file(&format!("{SERVER} db\n{SECOND} db"));
    server.file("/tmp/ca.crt", authority.pem()).hosts_file(&format!("{SERVER} db\n{SECOND} db"));
    let expired = || authority.issue(&["db"], |params| params.not_after = in_days(-3).into());
    let soon = || authority.issue(&["db"], |params| params.not_after = in_days(5).into());
    let ask = ["rediss://db", "--cacert", "/tmp/ca.crt"];
    let both = || [client.joined(&server, &ask), server.diagnose(&ask)];
    // Whichever was started first: the lower number must not decide.
    for first in [SERVER, SECOND] {
        let second = if first == SERVER { SECOND } else { SERVER };
        put(&server, "one", &expired());
        put(&server, "two", &soon());
        let of = |address| if address == SERVER { ONE } else { TWO };
        let _first = server.tls_redis(&at(first, of(first)));
        let _second = server.tls_redis(&at(second, of(second)));
        // The other one's was renewed, that which is served is over.
        later();
        put(&server, "two", &authority.certify(&["db"]));
        for report in both() {
            report.first_cause("certificate-expired", Likely).not_cause(CAUSE).exit(1);
            assert!(!said(&report).contains("two.crt"), "{report}");
        }
        // So was its own.
        put(&server, "one", &authority.certify(&["db"]));
        put(&server, "two", &soon());
        let alone = ["-h", SERVER, "--sni", "db", "--tls", "--cacert", "/tmp/ca.crt"];
        client.joined(&server, &alone).first_cause(CAUSE, Certain).apply(|_| &server);
        client.diagnose(&alone).healthy();
    }
}

#[test]
fn an_intermediate_is_put_into_no_file_of_another() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let root = Authority::root("Lab Root");
    let issued = root.intermediate("Lab Intermediate").certify(&["db"]);
    server.sh(&format!("ip address add {SECOND}/24 dev eth0"));
    server.file("/etc/tls/ca.crt", root.pem());
    client.file("/tmp/ca.crt", root.pem()).hosts_file(&format!("{SERVER} db\n{SECOND} db"));
    put(&server, "one", &Issued { chain: issued.leaf.clone(), leaf: issued.leaf.clone(), key: issued.key.clone() });
    put(&server, "two", &issued);
    let _two = server.tls_redis(&at(SECOND, TWO));
    let _one = server.tls_redis(&at(SERVER, ONE));
    let report = client.joined(&server, &["rediss://db", "--cacert", "/tmp/ca.crt"]);
    report.finding("tls/untrusted").exit(1);
    assert!(!said(&report).contains("two.crt") && !said(&report).contains(SECOND_SET), "{report}");
}

/// A command that would be meant for the other one.
const SECOND_SET: &str = "-h 10.77.1.3 -p 6379 --tls --insecure CONFIG SET";

/// What is said where the served certificate ends soon, and another was put in its place.
fn staged(lab: &Lab, served: &Issued, stored: &Issued, root: &Authority) -> Diagnosis {
    let (client, server) = lab.pair();
    client.file("/tmp/ca.crt", root.pem());
    server.certificate(served, &root.pem());
    let _redis = server.tls_redis(&["--tls-auth-clients", "no"]);
    later();
    server.certificate(stored, &root.pem());
    client.joined(&server, &TLS)
}

/// True if a step of this cause can be carried out.
fn has_command(report: &Diagnosis) -> bool {
    let causes = report.report["causes"].as_array().cloned().unwrap_or_default();
    causes
        .iter()
        .any(|cause| cause["id"] == CAUSE && cause["remedy"].to_string().contains("CONFIG SET tls-cert-file /"))
}

#[test]
fn a_renewal_that_is_for_clients_alone() {
    let Some(lab) = Lab::enter() else { return };
    let root = Authority::root("Lab CA");
    let soon = root.issue(&[SERVER], |params| params.not_after = in_days(5).into());
    let purposes = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let stored = root.issue(&[SERVER], |params| params.extended_key_usages = purposes);
    let report = staged(&lab, &soon, &stored, &root);
    report.not_cause(CAUSE).cause_beside("certificate-expired", Certain, "exposed-without-password");
}

#[test]
fn a_renewal_that_replicas_could_not_show() {
    let Some(lab) = Lab::enter() else { return };
    let root = Authority::root("Lab CA");
    let soon = root.issue(&[SERVER], |params| params.not_after = in_days(5).into());
    let purposes = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let stored = root.issue(&[SERVER], |params| params.extended_key_usages = purposes);
    let report = staged(&lab, &soon, &stored, &root);
    report.cause_beside(CAUSE, Likely, "exposed-without-password");
    assert!(!has_command(&report), "{report}");
}

#[test]
fn a_renewal_behind_one_that_is_over() {
    let Some(lab) = Lab::enter() else { return };
    let root = Authority::root("Lab CA");
    let (good, over) = (root.intermediate("Lab E1"), root.between("Lab E2", -90, -2));
    let soon = good.issue(&[SERVER], |params| params.not_after = in_days(5).into());
    let report = staged(&lab, &soon, &over.certify(&[SERVER]), &root);
    report.not_cause(CAUSE).cause_beside("certificate-expired", Certain, "exposed-without-password");
}

#[test]
fn a_renewal_without_the_name_of_others() {
    let Some(lab) = Lab::enter() else { return };
    let root = Authority::root("Lab CA");
    let soon = root.issue(&[SERVER, "redis.example"], |params| params.not_after = in_days(5).into());
    let report = staged(&lab, &soon, &root.certify(&[SERVER]), &root);
    report.cause_beside(CAUSE, Likely, "exposed-without-password");
    assert!(!has_command(&report), "{report}");
}

#[test]
fn a_renewal_with_the_address_as_a_name() {
    let Some(lab) = Lab::enter() else { return };
    let root = Authority::root("Lab CA");
    let soon = root.issue(&[SERVER], |params| params.not_after = in_days(5).into());
    let stored = root.issue(&[SERVER], |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName(SERVER.try_into().expect("a name"))];
    });
    let report = staged(&lab, &soon, &stored, &root);
    report.not_cause(CAUSE).cause_beside("certificate-expired", Certain, "exposed-without-password");
}

#[test]
fn a_key_that_is_roots_alone() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return enter::skipped("other users than root: only where the tests run as root");
    }
    let (client, server) = lab.pair();
    let root = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", root.pem());
    server.certificate(&root.issue(&[SERVER], |params| params.not_after = in_days(-3).into()), &root.pem());
    server.mode("/etc/tls/server.key", 0o644);
    server.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nredis:x:106:106::/:/bin/false\n");
    let tls =
        ["--port", "0", "--tls-port", "6379", "--tls-ca-cert-file", "/etc/tls/ca.crt", "--tls-auth-clients", "no"];
    let files = ["--tls-cert-file", "/etc/tls/server.crt", "--tls-key-file", "/etc/tls/server.key"];
    let _redis = server.redis_as(106, &[&tls[..], &files, &["--protected-mode", "no"]].concat());
    later();
    // As certbot does: a new file, which nobody but root may read.
    server.sh("rm /etc/tls/server.key");
    server.certificate(&root.certify(&[SERVER]), &root.pem()).mode("/etc/tls/server.key", 0o600);
    let set = format!("redis-cli -h {SERVER} --tls --insecure CONFIG SET tls-cert-file /etc/tls/server.crt 2>&1");
    assert!(server.sh(&set).stdout.contains("Unable to update TLS"), "it may read the key");
    // Its group is another's, too.
    server.file("/etc/group", "root:x:0:\nredis:x:106:web\n");
    let shared = client.joined(&server, &TLS);
    shared.first_cause(CAUSE, Likely).exit(1);
    assert!(!has_command(&shared) && !said(&shared).contains("chgrp"), "{shared}");
    server.file("/etc/group", "root:x:0:\nredis:x:106:\n");
    // A service of another user was given it, which neither of the two files tells.
    let other = ["setpriv", "--reuid", "33", "--regid", "33", "--groups", "106", "sleep", "60"];
    let mut other = server.command(&other).spawn();
    server.sh("for i in $(seq 100); do grep -qs '^Groups:.*106' /proc/[0-9]*/status && break; sleep 0.05; done");
    let shared = client.joined(&server, &TLS);
    shared.first_cause(CAUSE, Likely).exit(1);
    assert!(!has_command(&shared) && !said(&shared).contains("chgrp"), "{shared}");
    other.kill();
    let report = client.joined(&server, &TLS);
    report.first_cause(CAUSE, Certain).exit(1).apply(|_| &server);
    client.diagnose(&TLS).healthy();
}

#[test]
fn what_else_redis_would_read_again_locks_nobody_out() {
    let Some(lab) = Lab::enter() else { return };
    let server = lab.host("solo");
    let (root, other) = (Authority::root("Lab CA"), Authority::root("Another CA"));
    let own = root.certify(&["app"]);
    server
        .file("/tmp/ca.crt", root.pem())
        .file("/tmp/app.crt", own.chain.as_str())
        .file("/tmp/app.key", own.key.as_str());
    server.certificate(&root.issue(&[SERVER], |params| params.not_after = in_days(5).into()), &root.pem());
    let _redis = server.tls_redis(&[]);
    later();
    // The authorities of the clients were replaced, too: CONFIG SET tls-cert-file reads them as well.
    put(&server, "server", &root.certify(&[SERVER]));
    server.file("/etc/tls/ca.crt", other.pem());
    let ask = ["--tls", "--sni", SERVER, "--cacert", "/tmp/ca.crt", "--cert", "/tmp/app.crt", "--key", "/tmp/app.key"];
    let report = server.diagnose(&ask);
    report.nothing_certain();
    assert!(said(&report).contains(CAUSE) && !has_command(&report), "{report}");
}

#[test]
fn what_openssl_would_not_complete_is_no_renewal() {
    let Some(lab) = Lab::enter() else { return };
    let root = Authority::root("Lab CA");
    let (good, another) = (root.intermediate("Lab E1"), root.intermediate("Lab E2"));
    let soon = good.issue(&[SERVER], |params| params.not_after = in_days(5).into());
    let fresh = good.certify(&[SERVER]);
    // Its intermediate is among the authorities, and a wrong one in its own file.
    let chain = format!("{}{}", fresh.leaf, another.pem());
    let stored = Issued { chain, leaf: fresh.leaf.clone(), key: fresh.key.clone() };
    let (client, server) = lab.pair();
    client.file("/tmp/ca.crt", root.pem());
    let authorities = format!("{}{}", root.pem(), good.pem());
    server.certificate(&soon, &authorities);
    let _redis = server.tls_redis(&["--tls-auth-clients", "no"]);
    later();
    server.certificate(&stored, &authorities);
    let report = client.joined(&server, &TLS);
    report.cause_beside("certificate-expired", Certain, "exposed-without-password");
    assert!(!has_command(&report) && !said(&report).contains("not renewed yet"), "{report}");
}

#[test]
fn a_front_that_ends_tls_has_a_certificate_of_its_own() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let root = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", root.pem());
    // What Redis itself has in its files is no matter.
    server.certificate(&root.certify(&[SERVER]), &root.pem());
    let _redis = server.tls_redis(&["--port", "6390", "--tls-port", "6391", "--tls-auth-clients", "no"]);
    let put = |issued: &Issued| {
        server.file("/etc/front.pem", format!("{}{}", issued.chain, issued.key));
    };
    let haproxy = "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\nlisten redis\n \
                   bind :6379 ssl crt /etc/front.pem\n server r 127.0.0.1:6390\nlisten through\n bind :6380\n server r 127.0.0.1:6391\n";
    let stunnel = "foreground = yes\npid =\n[redis]\naccept = 6379\nconnect = 127.0.0.1:6390\ncert = /etc/front.pem\n";
    server.file("/etc/haproxy.cfg", haproxy).file("/etc/stunnel.conf", stunnel);
    let start = |line: &[&str]| {
        let running = server.command(line).spawn();
        server.sh("for i in $(seq 100); do ss -ltn | grep -q :6379 && break; sleep 0.05; done");
        running
    };
    for line in [&["haproxy", "-db", "-f", "/etc/haproxy.cfg"][..], &["stunnel4", "/etc/stunnel.conf"]] {
        put(&root.issue(&[SERVER], |params| params.not_after = in_days(-3).into()));
        let mut front = start(line);
        let report = client.joined(&server, &TLS);
        report.first_cause("certificate-expired", Likely).exit(1);
        assert!(said(&report).contains("/etc/front.pem") && !said(&report).contains("tls-cert-file"), "{report}");
        // As it says, and it is to be read.
        std::thread::sleep(Duration::from_millis(50));
        put(&root.certify(&[SERVER]));
        let report = client.joined(&server, &TLS);
        report.first_cause("certificate-expired", Likely);
        assert!(said(&report).contains("read /etc/front.pem again (reload), and look again"), "{report}");
        front.kill();
        front = start(line);
        client.diagnose(&TLS).healthy();
        front.kill();
    }
    // It wants a certificate: that is no setting of Redis either.
    server.file("/etc/stunnel.conf", format!("{stunnel}verifyChain = yes\nCAfile = /etc/tls/ca.crt\n"));
    let mut strict = start(&["stunnel4", "/etc/stunnel.conf"]);
    let report = client.joined(&server, &TLS);
    report.first_cause("client-certificate-required", Certain).exit(1);
    assert!(said(&report).contains("verifyChain") && !said(&report).contains("tls-auth-clients"), "{report}");
    strict.kill();
    // What is passed on as it is, is what Redis shows.
    server.certificate(&root.issue(&[SERVER], |params| params.not_after = in_days(-3).into()), &root.pem());
    let _old = server.tls_redis(&["--port", "6392", "--tls-port", "6393", "--tls-auth-clients", "no"]);
    server.file("/etc/haproxy.cfg", haproxy.replace("127.0.0.1:6391", "127.0.0.1:6393"));
    let _front = start(&["haproxy", "-db", "-f", "/etc/haproxy.cfg"]);
    let report = client.joined(&server, &[&TLS[..], &["-p", "6380"]].concat());
    report.first_cause("certificate-expired", Likely).exit(1);
    assert!(said(&report).contains("tls-cert-file") && !said(&report).contains("front.pem"), "{report}");
    // So it is by a line that is not understood.
    let range = haproxy.replace("6391", "6393").replace("bind :6379", "bind :6378").replace(":6380", ":6381-6382");
    server.file("/etc/range.cfg", range);
    let _range = server.command(&["haproxy", "-db", "-f", "/etc/range.cfg"]).spawn();
    server.sh("for i in $(seq 100); do ss -ltn | grep -q :6381 && break; sleep 0.05; done");
    let report = client.joined(&server, &[&TLS[..], &["-p", "6381"]].concat());
    report.first_cause("certificate-expired", Likely).exit(1);
    let words = ["tls-cert-file", "if haproxy ends TLS there", "if it only passes TLS on"];
    assert!(words.iter().all(|word| said(&report).contains(word)), "{report}");
    assert!(!said(&report).contains("and ends TLS there") && !said(&report).contains("front.pem"), "{report}");
    // Another file has a listener that is nearer.
    let two = haproxy.replace(":6379", ":6384").replace(":6380", ":6385");
    server
        .file("/etc/two.cfg", two)
        .file("/etc/near.cfg", "listen near\n bind 10.77.1.2:6384\n server r 127.0.0.1:6393\n");
    let _two = server.command(&["haproxy", "-db", "-f", "/etc/two.cfg", "-f", "/etc/near.cfg"]).spawn();
    server.sh("for i in $(seq 100); do ss -ltn | grep -q 10.77.1.2:6384 && break; sleep 0.05; done");
    let report = client.joined(&server, &[&TLS[..], &["-p", "6384"]].concat());
    report.first_cause("certificate-expired", Likely).exit(1);
    assert!(said(&report).contains("if haproxy ends TLS there") && !said(&report).contains("front.pem"), "{report}");
}
