//! Certificates that libraries are of different opinions of, and renewals that would make things worse.

use std::time::Duration;

use crate::world::Confidence::{Certain, Likely};
use crate::world::pki::{Issued, in_days, self_signed};
use crate::world::{Authority, Lab};

const SERVER: &str = "10.77.1.2";
const TLS: [&str; 5] = ["-h", SERVER, "--tls", "--cacert", "/tmp/ca.crt"];
const ANYBODY: [&str; 2] = ["--tls-auth-clients", "no"];

#[test]
fn one_that_signed_itself_and_is_out_of_its_time() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    for (port, from, until, cause) in
        [("6379", -30, -2, "certificate-expired"), ("6380", 2, 30, "certificate-not-yet-valid")]
    {
        // As 'openssl req -x509' makes them: of an authority (CA:TRUE).
        let own = self_signed(&[SERVER], |params| {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            (params.not_before, params.not_after) = (in_days(from).into(), in_days(until).into());
        });
        server.certificate(&own, &own.leaf);
        client.file("/tmp/ca.crt", own.leaf);
        let _redis = server.tls_redis(&["--tls-port", port, "--tls-auth-clients", "no"]);
        let report = client.diagnose(&[&TLS[..], &["-p", port]].concat());
        report.first_cause(cause, Certain).not_cause("untrusted-ca").exit(1);
    }
}

#[test]
fn an_authority_that_is_out_of_its_time() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    for (port, from, until, cause) in
        [("6379", -90, -2, "certificate-expired"), ("6380", 2, 300, "certificate-not-yet-valid")]
    {
        let authority = Authority::dated("Lab CA", from, until);
        server.certificate(&authority.certify(&[SERVER]), &authority.pem());
        client.file("/tmp/ca.crt", authority.pem());
        let _redis = server.tls_redis(&["--tls-port", port, "--tls-auth-clients", "no"]);
        let report = client.diagnose(&[&TLS[..], &["-p", port]].concat());
        report.first_cause(cause, Certain).not_cause("untrusted-ca").exit(1);
        // OpenSSL is of the same opinion.
        let told = client.sh(&format!("redis-cli -h {SERVER} -p {port} --tls --cacert /tmp/ca.crt PING 2>&1; true"));
        assert!(!told.stdout.contains("PONG"), "{told}");
        // Beside another that is trusted, it is not needed.
        let (other, expired) = (Authority::root("Other CA"), authority.pem());
        server.certificate(&other.certify(&[SERVER]), &other.pem());
        client.file("/tmp/ca.crt", format!("{expired}{}", other.pem()));
        let _redis = server.tls_redis(&["--tls-port", "6390", "--tls-auth-clients", "no"]);
        client.diagnose(&[&TLS[..], &["-p", "6390"]].concat()).healthy();
    }
}

#[test]
fn an_intermediate_of_the_same_name_with_another_key() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let root = Authority::root("Lab CA");
    let (one, other) = (root.intermediate("Lab Intermediate"), root.intermediate("Lab Intermediate"));
    let issued = one.certify(&[SERVER]);
    let chain = format!("{}{}{}", issued.leaf, other.pem(), root.pem());
    server.certificate(&Issued { chain, ..issued }, &root.pem());
    client.file("/tmp/ca.crt", root.pem());
    let _redis = server.tls_redis(&ANYBODY);
    client.diagnose(&TLS).first_cause("incomplete-chain", Likely).not_cause("untrusted-ca").nothing_certain().exit(1);
}

#[test]
fn a_root_that_was_made_again_and_the_old_one_is_sent() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let (old, new, other) = (Authority::root("Corp CA"), Authority::root("Corp CA"), Authority::root("Other CA"));
    // It does not say by which key it was signed, so that OpenSSL sends the old one along.
    let issued = new.issue(&[SERVER], |params| params.use_authority_key_identifier_extension = false);
    server.certificate(&issued, &old.pem());
    let _redis = server.tls_redis(&ANYBODY);
    for trusted in [&old, &other] {
        client.file("/tmp/ca.crt", trusted.pem());
        let reports = [client.diagnose(&TLS), client.joined(&server, &TLS)];
        for report in reports {
            report
                .cause_beside("untrusted-ca", Likely, "exposed-without-password")
                .not_cause("incomplete-chain")
                .exit(1);
            assert!(report.to_string().contains("CN=Corp CA was made again"), "{report}");
        }
    }
    // As it says.
    client.file("/tmp/ca.crt", new.pem());
    client.diagnose(&TLS).healthy();
}

#[test]
fn a_key_that_our_library_does_not_have() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.sh(&format!(
        "mkdir -p /etc/tls && cd /etc/tls && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521 -nodes -keyout server.key \
         -out server.crt -subj /CN=db -addext subjectAltName=IP:{SERVER} -days 30 2>/dev/null && cp server.crt ca.crt"
    ));
    client.file("/tmp/ca.crt", server.read("/etc/tls/ca.crt"));
    for (port, protocols) in [("6379", "TLSv1.3"), ("6380", "TLSv1.2")] {
        let _redis = server.tls_redis(&["--tls-port", port, "--tls-protocols", protocols, "--tls-auth-clients", "no"]);
        let report = client.diagnose(&[&TLS[..], &["-p", port]].concat());
        report.check("tls", "unknown").nothing_certain().exit(3);
        let told = client.sh(&format!("redis-cli -h {SERVER} -p {port} --tls --cacert /tmp/ca.crt PING"));
        assert_eq!(told.stdout.trim(), "PONG", "{report}");
    }
}

#[test]
fn a_key_that_is_too_short_for_our_library() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.sh(&format!(
        "mkdir -p /etc/tls && cd /etc/tls && openssl req -x509 -newkey rsa:1024 -nodes -keyout server.key -out server.crt \
         -subj /CN=db -addext subjectAltName=IP:{SERVER} -addext basicConstraints=critical,CA:FALSE -days 30 2>/dev/null"
    ));
    client.file("/tmp/ca.crt", server.read("/etc/tls/server.crt"));
    let _front = server
        .command(&[
            "openssl",
            "s_server",
            "-accept",
            "6379",
            "-cert",
            "/etc/tls/server.crt",
            "-key",
            "/etc/tls/server.key",
            "-cipher",
            "DEFAULT:@SECLEVEL=0",
            "-rev",
        ])
        .spawn();
    while !server.sh("ss -ltnH").stdout.contains(":6379") {
        std::thread::sleep(Duration::from_millis(20));
    }
    let report = client.diagnose(&TLS);
    report.first_cause("certificate-unsupported", Likely).finding("tls/untrusted").nothing_certain().exit(1);
    // Where that is overlooked, the conversation goes on.
    client.diagnose(&["-h", SERVER, "--tls", "--insecure"]).finding("tls/overlooked").check("tls", "pass");
}

#[test]
fn a_renewal_that_clients_would_not_take() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem());
    let soon = authority.issue(&[SERVER], |params| params.not_after = in_days(5).into());
    let strangers = [
        Authority::root("Lab CA").certify(&[SERVER]),
        Authority::root("Other CA").certify(&[SERVER]),
        authority.certify(&["db"]),
    ];
    for (port, staged) in ["6379", "6380", "6381"].iter().zip(strangers) {
        server.certificate(&soon, &authority.pem());
        let _redis = server.tls_redis(&["--tls-port", port, "--tls-auth-clients", "no"]);
        std::thread::sleep(Duration::from_millis(1_100));
        server.certificate(&staged, &authority.pem());
        let report = client.joined(&server, &[&TLS[..], &["-p", port]].concat());
        report.not_cause("certificate-not-reloaded").exit(0);
        report.cause_beside("certificate-expired", Certain, "exposed-without-password");
    }
}

#[test]
fn a_renewal_without_its_key() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem());
    server.certificate(&authority.issue(&[SERVER], |params| params.not_after = in_days(-3).into()), &authority.pem());
    let _redis = server.tls_redis(&ANYBODY);
    std::thread::sleep(Duration::from_millis(1_100));
    server.file("/etc/tls/server.crt", authority.certify(&[SERVER]).chain);
    let report = client.joined(&server, &TLS);
    report.cause_beside("certificate-not-reloaded", Likely, "exposed-without-password").exit(1);
    let causes = report.report["causes"].as_array().cloned().unwrap_or_default();
    let cause = causes.iter().find(|cause| cause["id"] == "certificate-not-reloaded").expect("the cause");
    assert_eq!(cause["confidence"], "likely", "{report}");
    assert!(!cause["remedy"].to_string().contains("redis-cli"), "{report}");
}
