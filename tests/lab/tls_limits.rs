//! What our TLS library lacks or does not look at, and OpenSSL has or refuses: names, cipher suites, keys, authorities.

use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};

use crate::world::Confidence::{Certain, Likely, Possible};
use crate::world::pki::self_signed;
use crate::world::{Authority, Host, Lab};

const SERVER: &str = "10.77.1.2";
const TLS: [&str; 5] = ["-h", SERVER, "--tls", "--cacert", "/tmp/ca.crt"];
const OF_CLIENTS: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;
const ANYBODY: [&str; 2] = ["--tls-auth-clients", "no"];

/// What redis-cli is answered, where it verifies.
fn redis_cli(client: &Host, port: &str) -> String {
    client.sh(&format!("redis-cli -h {SERVER} -p {port} --tls --cacert /tmp/ca.crt PING 2>&1; true")).stdout
}

/// Makes a certificate by OpenSSL, signed by one that it makes before: by their kinds of keys, as `-newkey` takes them.
fn make(server: &Host, authority: &str, leaf: &str) {
    server.sh(&format!(
        "mkdir -p /etc/tls && cd /etc/tls && openssl req -x509 -newkey {authority} -nodes -keyout ca.key -out ca.crt -subj '/CN=Odd CA' \
         -days 90 2>/dev/null && openssl req -newkey {leaf} -nodes -keyout server.key -out server.csr -subj /CN=db 2>/dev/null && \
         echo subjectAltName=IP:{SERVER} > ext && openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 60 \
         -extfile ext -out server.crt 2>/dev/null"
    ));
}

#[test]
fn names_that_are_none_of_dns() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    let names = ["redis.1", "db.42", "redis-", "127.1"];
    server.certificate(&authority.certify(&names), &authority.pem());
    let _redis = server.tls_redis(&ANYBODY);
    client.file("/tmp/ca.crt", authority.pem()).hosts_file(&format!("{SERVER} redis.1 db.42 redis- other-"));
    for name in &names[..3] {
        client.diagnose(&["-h", name, "--tls", "--cacert", "/tmp/ca.crt"]).healthy();
    }
    server.diagnose(&["-h", "127.1", "--tls", "--cacert", "/etc/tls/ca.crt"]).check("tls", "pass").exit(0);
    let other = client.diagnose(&["-h", "other-", "--tls", "--cacert", "/tmp/ca.crt"]);
    other.first_cause("certificate-name-mismatch", Likely).nothing_certain().exit(1);
    client.diagnose(&["-h", "other-", "--tls", "--insecure"]).finding("tls/overlooked").check("tls", "pass").exit(0);
}

#[test]
fn suites_and_keys_that_only_openssl_has() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    make(&server, "rsa:2048", "rsa:2048");
    client.file("/tmp/ca.crt", server.read("/etc/tls/ca.crt"));
    for (port, suite) in
        [("6379", "DHE-RSA-AES256-GCM-SHA384"), ("6380", "ECDHE-RSA-AES256-SHA384"), ("6381", "AES256-SHA")]
    {
        let limits = ["--tls-port", port, "--tls-protocols", "TLSv1.2", "--tls-ciphers", suite];
        let _redis = server.tls_redis(&[&limits[..], &ANYBODY[..]].concat());
        let report = client.diagnose(&[&TLS[..], &["-p", port]].concat());
        report.check("tls", "unknown").not_cause("tls-version-mismatch").nothing_certain().exit(3);
        assert_eq!(redis_cli(&client, port).trim(), "PONG", "{report}");
    }
    // An authority with a key that the library lacks.
    make(&server, "ec -pkeyopt ec_paramgen_curve:P-521", "rsa:2048");
    client.file("/tmp/ca.crt", server.read("/etc/tls/ca.crt"));
    let _redis = server.tls_redis(&[&["--tls-port", "6390"][..], &ANYBODY].concat());
    let report = client.diagnose(&[&TLS[..], &["-p", "6390"]].concat());
    report.check("tls", "unknown").nothing_certain().exit(3);
    assert_eq!(redis_cli(&client, "6390").trim(), "PONG", "{report}");
}

#[test]
fn a_second_address_with_a_key_that_only_openssl_has() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    server.hosts_file("127.0.0.1 dual\n127.0.0.2 dual");
    let authority = Authority::root("Lab CA");
    let dual = ["-h", "dual", "--tls", "--cacert", "/tmp/ca.crt"];
    let start = |address: &str, more: &[&str]| server.tls_redis(&[&["--bind", address][..], &ANYBODY, more].concat());
    server.certificate(&authority.certify(&["dual"]), &authority.pem());
    let _first = start("127.0.0.1", &[]);
    server.sh(
        "cd /etc/tls && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521 -nodes -keyout server.key -out server.crt -subj /CN=db \
         -addext subjectAltName=DNS:dual -days 60 2>/dev/null",
    );
    server.file("/tmp/ca.crt", format!("{}{}", authority.pem(), server.read("/etc/tls/server.crt")));
    let second = start("127.0.0.2", &[]);
    let report = server.diagnose(&dual);
    report.check("tls", "pass").exit(0);
    assert!(!report.findings().contains(&"tls/differs".to_owned()), "{report}");
    assert!(report.to_string().contains("127.0.0.2:6379 wants what redisdoc's library"), "{report}");
    drop(second);
    let _second = start("127.0.0.2", &["--tls-protocols", "TLSv1.1", "--tls-ciphers", "DEFAULT:@SECLEVEL=0"]);
    server.diagnose(&dual).finding("tls/differs");
}

#[test]
fn authorities_that_are_none_of_servers() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let odd = [
        ("6379", Certain, Authority::odd("No CA", |it| it.is_ca = IsCa::ExplicitNoCa)),
        ("6380", Likely, Authority::odd("No constraints", |it| (it.is_ca, it.key_usages) = (IsCa::NoCa, Vec::new()))),
        ("6381", Certain, Authority::odd("No signatures", |it| it.key_usages = vec![KeyUsagePurpose::CrlSign])),
        ("6382", Certain, Authority::odd("Clients", |it| it.extended_key_usages = vec![OF_CLIENTS])),
    ];
    for (port, confidence, authority) in odd {
        server.certificate(&authority.certify(&[SERVER]), &authority.pem());
        client.file("/tmp/ca.crt", authority.pem());
        let _redis = server.tls_redis(&[&["--tls-port", port][..], &ANYBODY].concat());
        let report = client.diagnose(&[&TLS[..], &["-p", port]].concat());
        report.first_cause("certificate-unsupported", confidence).not_cause("untrusted-ca").exit(1);
        let told = redis_cli(&client, port);
        assert!(told.contains("certificate verify failed"), "{told} {report}");
    }
    // One that signed itself is trusted, for its purpose alone.
    for (port, is_ca) in [("6390", IsCa::ExplicitNoCa), ("6391", IsCa::Ca(rcgen::BasicConstraints::Unconstrained))] {
        let own = self_signed(&[SERVER], |it| {
            (it.is_ca, it.extended_key_usages) = (is_ca, vec![ExtendedKeyUsagePurpose::ClientAuth]);
        });
        server.certificate(&own, &own.leaf);
        client.file("/tmp/ca.crt", own.leaf);
        let _redis = server.tls_redis(&[&["--tls-port", port][..], &ANYBODY].concat());
        let report = client.diagnose(&[&TLS[..], &["-p", port]].concat());
        report.first_cause("certificate-unsupported", Certain).not_cause("untrusted-ca").exit(1);
        let told = redis_cli(&client, port);
        assert!(told.contains("certificate verify failed"), "{told} {report}");
    }
}

#[test]
fn an_authority_with_a_key_that_is_too_short() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    make(&server, "rsa:1024", "rsa:2048");
    client.file("/tmp/ca.crt", server.read("/etc/tls/ca.crt"));
    let _redis = server.tls_redis(&[&["--tls-ciphers", "DEFAULT:@SECLEVEL=0"][..], &ANYBODY].concat());
    let report = client.diagnose(&TLS);
    report.first_cause("certificate-unsupported", Likely).not_cause("untrusted-ca").nothing_certain().exit(1);
    assert!(report.to_string().contains("the key of CN=Odd CA, which signed it, is RSA of 1024 bits"), "{report}");
}

#[test]
fn what_the_library_calls_by_names_of_its_own_is_said_in_words() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let told = |port: &str, words: &str, cli: &str| {
        let _redis = server.tls_redis(&[&["--tls-port", port][..], &ANYBODY].concat());
        let report = client.diagnose(&[&TLS[..], &["-p", port]].concat());
        report.cause("certificate-unsupported", Likely).exit(1);
        assert!(report.to_string().contains(words) && !report.to_string().contains("OtherError"), "{report}");
        let said = redis_cli(&client, port);
        assert!(said.contains(cli), "{said} {report}");
    };
    let narrow = rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("corp.example".to_owned())],
        excluded_subtrees: Vec::new(),
    };
    let authority = Authority::odd("Narrow CA", |it| it.name_constraints = Some(narrow));
    server.certificate(&authority.certify(&["db", SERVER]), &authority.pem());
    client.file("/tmp/ca.crt", authority.pem());
    told("6379", "limited to other names", "certificate verify failed");
    make(&server, "rsa:2048", "rsa:2048");
    server.sh(
        "cd /etc/tls && openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 60 -out server.crt 2>/dev/null",
    );
    client.file("/tmp/ca.crt", server.read("/etc/tls/ca.crt"));
    told("6380", "of version 1", "PONG");
}

#[test]
fn what_expires_soon_at_either_end_of_the_chain_and_at_either_address() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::dated("Old CA", -90, 4);
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    client.file("/tmp/ca.crt", authority.pem());
    let redis = server.tls_redis(&ANYBODY);
    let report = client.diagnose(&TLS);
    report.finding("tls/expires-soon").cause("certificate-expired", Certain).exit(0);
    // Another that signed it lasts.
    let system = format!("{}{}", Authority::root("Other CA").pem(), authority.pem());
    client.file("/tmp/ca.crt", system);
    client.diagnose(&TLS).finding("tls/expires-soon");
    drop(redis);
    server.hosts_file("127.0.0.1 dual\n127.0.0.2 dual");
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&["dual"]), &authority.pem());
    let _first = server.tls_redis(&[&["--bind", "127.0.0.1"][..], &ANYBODY].concat());
    let soon = authority.issue(&["dual"], |params| params.not_after = crate::world::pki::in_days(5).into());
    server.certificate(&soon, &authority.pem());
    let _second = server.tls_redis(&[&["--bind", "127.0.0.2"][..], &ANYBODY].concat());
    let report = server.diagnose(&["-h", "dual", "--tls", "--cacert", "/etc/tls/ca.crt"]);
    report.finding("tls/expires-soon").exit(0);
    assert!(report.to_string().contains("at 127.0.0.2:6379, the server's"), "{report}");
}

#[test]
fn an_address_that_stands_there_as_a_name() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem());
    let name = || SERVER.try_into().expect("a name");
    for (port, names, says) in [
        ("6379", Vec::new(), format!("none (common name {SERVER})")),
        ("6380", vec![SanType::DnsName(name())], format!("DNS:{SERVER}")),
    ] {
        server.certificate(&authority.issue(&[SERVER], |params| params.subject_alt_names = names), &authority.pem());
        let _redis = server.tls_redis(&[&["--tls-port", port][..], &ANYBODY].concat());
        let report = client.diagnose(&[&TLS[..], &["-p", port]].concat());
        report.first_cause("certificate-name-mismatch", Certain).exit(1);
        assert!(report.to_string().contains(&says), "{report}");
    }
}

#[test]
fn a_key_that_does_not_belong_to_the_certificate() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    make(&server, "rsa:2048", "rsa:2048");
    server.file("/etc/tls/server.key", Authority::root("Other").certify(&["other"]).key);
    client.file("/tmp/ca.crt", server.read("/etc/tls/ca.crt"));
    let _redis = server.tls_redis(&ANYBODY);
    let report = client.diagnose(&TLS);
    report.first_cause("tls-version-mismatch", Possible).nothing_certain().exit(1);
    assert!(report.to_string().contains("certificate and key do not belong together"), "{report}");
}

#[test]
fn what_the_library_trusts_and_openssl_does_not() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let root = Authority::root("Lab Root");
    let between = root.intermediate("Lab Intermediate");
    let mut issued = between.certify(&[SERVER]);
    issued.chain.push_str(&between.pem());
    server.certificate(&issued, &root.pem());
    let redis = server.tls_redis(&[&ANYBODY[..], &["--requirepass", "pw"]].concat());
    let check = || client.doctor(&TLS).env("REDISCLI_AUTH", "pw").diagnose();
    client.file("/tmp/ca.crt", between.pem());
    check().finding("tls/partly-trusted").first_cause("untrusted-ca", Likely).nothing_certain().exit(0);
    assert!(!redis_cli(&client, "6379").contains("NOAUTH"));
    for whole in [root.pem(), root.pem() + &between.pem()] {
        client.file("/tmp/ca.crt", whole);
        check().healthy();
        assert!(redis_cli(&client, "6379").contains("NOAUTH"));
    }
    drop(redis);
    // One that signed itself, and was made again with the same key and name.
    server.sh(&format!(
        "cd /etc/tls && openssl genrsa -out server.key 2048 2>/dev/null && for to in old.crt server.crt; do openssl req -x509 -new -key \
         server.key -out $to -subj /CN=db -addext subjectAltName=IP:{SERVER} -days 60 2>/dev/null; done"
    ));
    let _redis = server.tls_redis(&[&ANYBODY[..], &["--requirepass", "pw"]].concat());
    client.file("/tmp/ca.crt", server.read("/etc/tls/old.crt"));
    check().first_cause("untrusted-ca", Certain).exit(1);
    assert!(!redis_cli(&client, "6379").contains("NOAUTH"));
    client.file("/tmp/ca.crt", server.read("/etc/tls/server.crt"));
    check().exit(0);
    assert!(redis_cli(&client, "6379").contains("NOAUTH"));
}

#[test]
fn files_of_authorities_as_openssl_takes_them() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    client.file("/tmp/own.crt", authority.pem());
    let _redis = server.tls_redis(&ANYBODY);
    for make in [
        "openssl x509 -in /tmp/own.crt -trustout",
        "openssl x509 -in /tmp/own.crt -addtrust serverAuth -trustout",
        "sed 's/ CERTIFICATE/ X509 CERTIFICATE/' /tmp/own.crt",
        "printf '\\357\\273\\277'; cat /tmp/own.crt",
    ] {
        client.sh(&format!("{{ {make}; }} > /tmp/ca.crt"));
        client.diagnose(&TLS).healthy();
        assert_eq!(redis_cli(&client, "6379").trim(), "PONG", "{make}");
    }
}
