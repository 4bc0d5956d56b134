//! Certificates: who signed them, for whom and until when, on both sides.

use std::time::Duration;

use crate::world::Confidence::{Certain, Likely, Possible};
use crate::world::pki::{in_days, self_signed};
use crate::world::proxies::lacks;
use crate::world::{Authority, Host, Lab};

const SERVER: &str = "10.77.1.2";
const TLS: [&str; 5] = ["-h", SERVER, "--tls", "--cacert", "/tmp/ca.crt"];
const ANYBODY: [&str; 2] = ["--tls-auth-clients", "no"];

fn ask<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&TLS[..], more].concat()
}

#[test]
fn an_authority_that_is_not_trusted() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    client.file("/tmp/ca.crt", Authority::root("Other CA").pem());
    let _redis = server.tls_redis(&ANYBODY);
    // OpenSSL sends the root, too, where the server has it in its tls-ca-cert-file.
    client.diagnose(&TLS).first_cause("untrusted-ca", Certain).not_cause("incomplete-chain").exit(1);
    // The system's authorities do not know it either.
    client.diagnose(&["-h", SERVER, "--tls"]).first_cause("untrusted-ca", Certain).exit(1);
    let local = server.diagnose(&["-h", SERVER, "--tls"]);
    local.first_cause("untrusted-ca", Certain).exit(1);
    let verify =
        local.report["causes"][0]["remedy"].as_array().and_then(|steps| steps.last()).cloned().unwrap_or_default();
    assert!(verify["command"].as_str().is_some_and(|command| command.ends_with("--cacert /etc/tls/ca.crt")), "{local}");
    // All is well, but for the password that it lacks; and that repair reaches a server that speaks nothing but TLS.
    let open = server.diagnose(&["-h", SERVER, "--tls", "--cacert", "/etc/tls/ca.crt"]);
    open.first_cause("exposed-without-password", Certain).exit(0).apply(|_| &server);
    let told = server.sh(&format!("redis-cli -h {SERVER} --tls --insecure PING"));
    assert!(told.stdout.contains("NOAUTH"), "{told}");
}

#[test]
fn an_authority_that_is_sent_and_not_trusted() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    let mut issued = authority.certify(&[SERVER]);
    issued.chain.push_str(&authority.pem());
    server.certificate(&issued, &authority.pem());
    client.file("/tmp/ca.crt", Authority::root("Other CA").pem());
    let _redis = server.tls_redis(&ANYBODY);
    client.diagnose(&TLS).first_cause("untrusted-ca", Certain).not_cause("incomplete-chain").exit(1);
    // It was made again, under the same name.
    client.file("/tmp/ca.crt", Authority::root("Lab CA").pem());
    client.diagnose(&TLS).first_cause("untrusted-ca", Certain).exit(1);
    // A machine that trusts nobody.
    client.file("/tmp/none.crt", "");
    let bare =
        client.doctor(&["-h", SERVER, "--tls"]).env("SSL_CERT_FILE", "/tmp/none.crt").env("SSL_CERT_DIR", "/nowhere");
    bare.diagnose().first_cause("untrusted-ca", Certain).exit(1);
    client.diagnose(&ask(&["--insecure"])).finding("tls/overlooked").exit(0);
}

#[test]
fn a_root_that_is_not_sent() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.certificate(&Authority::root("Lab CA").certify(&[SERVER]), &Authority::root("Clients").pem());
    client.file("/tmp/ca.crt", Authority::root("Other CA").pem());
    let _redis = server.tls_redis(&ANYBODY);
    // From afar an intermediate may be missing, and from there as well: the root is nowhere.
    client.diagnose(&TLS).first_cause("untrusted-ca", Likely).nothing_certain().exit(1);
    let joined = client.joined(&server, &TLS);
    joined.first_cause("untrusted-ca", Likely).cause_beside("incomplete-chain", Possible, "exposed-without-password");
}

#[test]
fn a_certificate_that_signed_itself() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    for (port, is_authority) in [("6379", false), ("6380", true)] {
        let own = self_signed(&[SERVER], |params| {
            if is_authority {
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }
        });
        server.certificate(&own, &own.leaf);
        let _redis = server.tls_redis(&["--tls-port", port, "--tls-auth-clients", "no"]);
        client.file("/tmp/ca.crt", Authority::root("Other CA").pem());
        client.diagnose(&ask(&["-p", port])).first_cause("untrusted-ca", Certain).exit(1);
        client.file("/tmp/ca.crt", own.leaf);
        let taken = client.diagnose(&ask(&["-p", port]));
        if is_authority {
            taken.finding("tls/by-itself").exit(0);
        } else {
            taken.healthy();
        }
    }
}

#[test]
fn an_intermediate_that_is_left_out() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let root = Authority::root("Lab Root");
    let between = root.intermediate("Lab Intermediate");
    let issued = between.certify(&[SERVER]);
    server.file("/etc/tls/ca.crt", root.pem());
    server.file("/etc/tls/server.crt", issued.leaf.as_str()).file("/etc/tls/server.key", issued.key.as_str());
    client.file("/tmp/ca.crt", root.pem());
    let mut redis = server.tls_redis(&ANYBODY);
    let alone = client.diagnose(&TLS);
    alone.cause("incomplete-chain", Possible).nothing_certain().exit(1);
    // The server's own authority is trusted: that is not what is missing.
    let joined = client.joined(&server, &TLS);
    joined.first_cause("incomplete-chain", Likely).cause_beside("untrusted-ca", Possible, "exposed-without-password");
    // The file has been mended, and Redis has not read it.
    server.file("/etc/tls/server.crt", issued.chain.as_str());
    let local = server.diagnose(&["-h", SERVER, "--tls", "--cacert", "/etc/tls/ca.crt"]);
    local.first_cause("incomplete-chain", Certain).exit(1);
    client.joined(&server, &TLS).first_cause("incomplete-chain", Certain).apply(|_| &server);
    client.diagnose(&TLS).healthy();
    redis.kill();
}

#[test]
fn a_certificate_for_another_name() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&["db", "*.lab.example"]), &authority.pem());
    client.file("/tmp/ca.crt", authority.pem()).hosts_file(&format!("{SERVER} db cache a.lab.example a.b.lab.example"));
    let _redis = server.tls_redis(&ANYBODY);
    let to = |host: &str| client.diagnose(&["-h", host, "--tls", "--cacert", "/tmp/ca.crt"]);
    to("db").healthy();
    to("a.lab.example").healthy();
    for host in [SERVER, "cache", "a.b.lab.example"] {
        let named = to(host);
        named.first_cause("certificate-name-mismatch", Certain).exit(1);
        let verify =
            named.report["causes"][0]["remedy"].as_array().and_then(|steps| steps.last()).cloned().unwrap_or_default();
        assert!(
            verify["command"].as_str().is_some_and(|command| command.ends_with("--sni db --cacert /tmp/ca.crt")),
            "{named}"
        );
    }
    client.diagnose(&ask(&["--sni", "db"])).healthy();
    // redis-cli checks no names.
    let pong = client.sh(&format!("redis-cli -h {SERVER} --tls --cacert /tmp/ca.crt PING"));
    assert_eq!(pong.stdout.trim(), "PONG");
}

#[test]
fn a_common_name_alone() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    let issued = authority.issue(&["db"], |params| params.subject_alt_names.clear());
    server.certificate(&issued, &authority.pem());
    client.file("/tmp/ca.crt", authority.pem()).hosts_file(&format!("{SERVER} db cache"));
    let _redis = server.tls_redis(&ANYBODY);
    let to = |host: &str| client.diagnose(&["-h", host, "--tls", "--cacert", "/tmp/ca.crt"]);
    to("db").first_cause("certificate-name-mismatch", Likely).nothing_certain().exit(1);
    to("cache").first_cause("certificate-name-mismatch", Certain).exit(1);
}

#[test]
fn a_time_that_is_over_or_has_not_come() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem());
    for (port, from, until, cause) in [
        ("6379", -30, -3, "certificate-expired"),
        ("6380", 3, 90, "certificate-not-yet-valid"),
        ("6381", -80, 9, "certificate-expired"),
    ] {
        let dated = authority.issue(&[SERVER], |params| {
            (params.not_before, params.not_after) = (in_days(from).into(), in_days(until).into());
        });
        server.certificate(&dated, &authority.pem());
        let _redis = server.tls_redis(&["--tls-port", port, "--tls-auth-clients", "no"]);
        // Two machines, two clocks.
        client.diagnose(&ask(&["-p", port])).first_cause(cause, Certain).exit(i32::from(until < 0 || from > 0));
        client.diagnose(&ask(&["-p", port, "--no-counter-probe"])).first_cause(cause, Likely);
        // One machine has one clock.
        if port != "6381" {
            server
                .diagnose(&["-h", SERVER, "-p", port, "--tls", "--cacert", "/etc/tls/ca.crt"])
                .first_cause(cause, Likely)
                .cause_beside(cause, Likely, "exposed-without-password");
        }
    }
}

#[test]
fn a_clock_that_is_wrong_is_set_and_nothing_is_renewed() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&client, "faketime") {
        return;
    }
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem());
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    let _redis = server.tls_redis(&ANYBODY);
    client.diagnose(&TLS).healthy();
    for (by, cause, sure, says) in [
        ("+600d", "certificate-expired", Likely, "is ahead"),
        ("-60d", "certificate-not-yet-valid", Likely, "is behind"),
        // Earlier than this program.
        ("-900d", "certificate-not-yet-valid", Certain, "far behind"),
    ] {
        let shifted = |arguments: &[&str]| {
            // What the program `faketime` sets; it has no way to leave the monotonic clock alone.
            let doctor = client.doctor(arguments).env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1");
            doctor.env("FAKETIME", by).env("FAKETIME_DONT_FAKE_MONOTONIC", "1").diagnose()
        };
        let check = shifted(&TLS);
        check.first_cause(cause, sure).exit(1);
        let said = check.report["causes"][0].to_string();
        assert!(said.contains(says) && said.contains("set the clock") && !said.contains("renew the"), "{check}");
        // Without another clock it may as well be the certificate.
        shifted(&ask(&["--no-counter-probe"])).first_cause(cause, Likely).exit(1);
    }
}

#[test]
fn a_password_hides_the_other_clock() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem());
    let dated = authority.issue(&[SERVER], |params| params.not_after = in_days(-3).into());
    server.certificate(&dated, &authority.pem());
    let redis = server.tls_redis(&["--tls-auth-clients", "no", "--requirepass", "hunter2"]);
    let shown = client.doctor(&TLS).env("REDISCLI_AUTH", "hunter2").diagnose();
    shown.first_cause("certificate-expired", Likely).nothing_certain().exit(1);
    // Nothing of ours goes to a server that is not trusted.
    let said = server.sh(&format!("redis-cli -h {SERVER} --tls --insecure -a hunter2 INFO commandstats 2>&1"));
    assert!(!said.stdout.contains("cmdstat_auth:calls=2"), "{}\n{}", said.stdout, redis.log());
}

#[test]
fn a_certificate_that_was_renewed_and_not_read() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem());
    let old = authority.issue(&[SERVER], |params| params.not_after = in_days(-3).into());
    server.certificate(&old, &authority.pem());
    let _redis = server.tls_redis(&ANYBODY);
    // Started before its file was changed.
    std::thread::sleep(Duration::from_millis(1_100));
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    let joined = client.joined(&server, &TLS);
    joined.first_cause("certificate-not-reloaded", Certain).exit(1);
    let local = server.diagnose(&["-h", SERVER, "--tls", "--cacert", "/etc/tls/ca.crt"]);
    local.first_cause("certificate-not-reloaded", Certain).exit(1).apply(|_| &server);
    client.diagnose(&TLS).healthy();
}

fn own(client: &Host, issued: &crate::world::pki::Issued) {
    client.file("/tmp/app.crt", issued.chain.as_str()).file("/tmp/app.key", issued.key.as_str());
}

const OWN: [&str; 4] = ["--cert", "/tmp/app.crt", "--key", "/tmp/app.key"];

#[test]
fn a_certificate_of_the_client_that_is_wanted() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    client.file("/tmp/ca.crt", authority.pem());
    own(&client, &authority.certify(&["app"]));
    for (port, protocols) in [("6379", "TLSv1.3"), ("6380", "TLSv1.2")] {
        let _redis =
            server.tls_redis(&["--tls-port", port, "--tls-protocols", protocols, "--unixsocket", "/run/r.sock"]);
        client.diagnose(&ask(&["-p", port])).first_cause("client-certificate-required", Certain).exit(1);
        client.diagnose(&[&ask(&["-p", port])[..], &OWN].concat()).healthy();
        let joined = client.joined(&server, &ask(&["-p", port]));
        joined.first_cause("client-certificate-required", Certain).apply(|_| &server);
        client.diagnose(&ask(&["-p", port])).healthy();
    }
}

#[test]
fn a_certificate_of_the_client_that_is_rejected() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    client.file("/tmp/ca.crt", authority.pem());
    let between = authority.intermediate("Lab Intermediate").certify(&["app"]);
    let purposes = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let rejected = [
        Authority::root("Other CA").certify(&["app"]),
        self_signed(&["app"], |_| {}),
        authority.issue(&["app"], |params| params.not_after = in_days(-3).into()),
        authority.issue(&["app"], |params| params.not_before = in_days(3).into()),
        authority.issue(&["app"], |params| params.extended_key_usages = purposes),
        crate::world::pki::Issued { chain: between.leaf.clone(), ..between },
    ];
    for (port, protocols) in [("6379", "TLSv1.3"), ("6380", "TLSv1.2")] {
        let _redis = server.tls_redis(&["--tls-port", port, "--tls-protocols", protocols]);
        for issued in &rejected {
            own(&client, issued);
            let report = client.diagnose(&[&ask(&["-p", port])[..], &OWN].concat());
            report.first_cause("client-certificate-rejected", Certain).exit(1);
        }
        client
            .joined(&server, &[&ask(&["-p", port])[..], &OWN].concat())
            .first_cause("client-certificate-rejected", Certain);
    }
}

#[test]
fn a_server_that_is_too_old() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    client.file("/tmp/ca.crt", authority.pem());
    let weak = "DEFAULT:@SECLEVEL=0";
    for (port, args, words) in [
        ("6379", &["--tls-protocols", "TLSv1.1", "--tls-ciphers", weak, "--unixsocket", "/run/r.sock"][..], "TLS 1.1"),
        ("6380", &["--tls-protocols", "TLSv1", "--tls-ciphers", weak][..], "TLS 1.0"),
        (
            "6381",
            &["--tls-protocols", "TLSv1.3", "--tls-ciphersuites", "TLS_AES_128_CCM_SHA256"][..],
            "TLS_AES_128_CCM_SHA256",
        ),
    ] {
        let _redis = server.tls_redis(&[&["--tls-port", port, "--tls-auth-clients", "no"], args].concat());
        let report = client.diagnose(&ask(&["-p", port]));
        report.first_cause("tls-version-mismatch", Certain).exit(1);
        let summary = report.report["causes"][0]["summary"].as_str().unwrap_or_default();
        assert!(summary.contains(words), "{report}");
        client.diagnose(&ask(&["-p", port, "--no-counter-probe"])).nothing_certain().exit(1);
        if port == "6379" {
            client.joined(&server, &ask(&["-p", port])).apply(|_| &server);
            client.diagnose(&ask(&["-p", port])).healthy();
        }
    }
}

#[test]
fn a_front_that_wants_a_name() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    let issued = authority.certify(&["db"]);
    client.file("/tmp/ca.crt", authority.pem()).hosts_file(&format!("{SERVER} db cache"));
    server.file("/etc/tls/front.pem", format!("{}{}", issued.chain, issued.key));
    let conf = "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\nlisten redis\n \
                bind :6380 ssl crt /etc/tls/front.pem strict-sni\n server r 127.0.0.1:6379\n";
    server.file("/etc/haproxy.cfg", conf);
    let _redis = server.redis(&["--protected-mode", "no"]);
    let _front = server.command(&["haproxy", "-db", "-f", "/etc/haproxy.cfg"]).spawn();
    while !server.sh("ss -ltnH").stdout.contains(":6380") {
        std::thread::sleep(Duration::from_millis(20));
    }
    let to = |host: &str, more: &[&str]| {
        client.diagnose(&[&["-h", host, "-p", "6380", "--tls", "--cacert", "/tmp/ca.crt"], more].concat())
    };
    to("db", &[]).healthy();
    to(SERVER, &["--sni", "db"]).healthy();
    to(SERVER, &[]).first_cause("server-name-needed", Certain).exit(1);
    to("cache", &[]).first_cause("server-name-needed", Certain).exit(1);
}

#[test]
fn a_certificate_for_other_purposes() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem());
    let purposes = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let issued = authority.issue(&[SERVER], |params| params.extended_key_usages = purposes);
    server.certificate(&issued, &authority.pem());
    let _redis = server.tls_redis(&ANYBODY);
    client.diagnose(&TLS).first_cause("certificate-unsupported", Certain).exit(1);
}

#[test]
fn one_bad_address_of_two() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem()).hosts_file(&format!("{SERVER} db\n10.77.1.3 db"));
    server.sh("ip address add 10.77.1.3/24 dev eth0");
    server.certificate(&authority.certify(&["db"]), &authority.pem());
    let good = server.tls_redis(&["--bind", SERVER, "--tls-auth-clients", "no"]);
    let old = authority.issue(&["db"], |params| params.not_after = in_days(-3).into());
    server.certificate(&old, &authority.pem());
    let bad = server.tls_redis(&["--bind", "10.77.1.3", "--tls-auth-clients", "no"]);
    let report = client.diagnose(&["rediss://db", "--cacert", "/tmp/ca.crt"]);
    report.finding("tls/differs");
    if report.report["status"] == "degraded" {
        report.first_cause("addresses-differ", Possible);
        let told = report.settle("addresses-differ", |_| &client);
        assert!(told.contains("certificate-expired"), "{told} {report}");
    }
    drop((good, bad));
}

#[test]
fn a_certificate_of_version_1() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    client.hosts_file(&format!("{SERVER} db"));
    // As the tutorials make them: no extensions, so that it is of version 1 and has a common name alone.
    server.sh(
        "mkdir -p /etc/tls && cd /etc/tls && openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj '/CN=Lab CA' \
         -days 30 2>/dev/null && openssl req -newkey rsa:2048 -nodes -keyout server.key -out s.csr -subj /CN=db 2>/dev/null && \
         openssl x509 -req -in s.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 20 -out server.crt 2>/dev/null",
    );
    client.file("/tmp/ca.crt", server.read("/etc/tls/ca.crt"));
    let _redis = server.tls_redis(&ANYBODY);
    let report = client.diagnose(&["rediss://db", "--cacert", "/tmp/ca.crt"]);
    report.first_cause("certificate-unsupported", Likely).nothing_certain().exit(1);
    // What the library cannot read, it cannot check either: as redis-cli, that goes on.
    client.diagnose(&["rediss://db", "--insecure"]).finding("tls/overlooked").exit(0);
}
