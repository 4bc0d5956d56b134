//! What our TLS library lacks or does not look at, and OpenSSL has or refuses: names, cipher suites, keys, authorities.

use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};

use crate::world::Confidence::{Certain, Likely, Possible};
use crate::world::pki::{Issued, in_days, self_signed};
use crate::world::proxies::{lacks, listens};
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
    // A Redis has one certificate; what a front would show to whoever says the name, nobody knows.
    server.certificate(&authority.issue(&names, |it| it.not_after = in_days(-2).into()), &authority.pem());
    let over = server.tls_redis(&[&["--tls-port", "6390"][..], &ANYBODY].concat());
    let ask = ["-h", "redis.1", "-p", "6390", "--tls", "--cacert", "/tmp/ca.crt"];
    client.diagnose(&ask).check("tls", "unknown").nothing_certain().exit(3);
    let joined = client.joined(&server, &ask);
    joined.cause_beside("certificate-expired", Likely, "exposed-without-password").exit(1);
    drop(over);
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
    let soon = authority.issue(&["dual"], |params| params.not_after = in_days(5).into());
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
    check().first_cause("untrusted-ca", Likely).nothing_certain().exit(1);
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

#[test]
fn authorities_that_openssl_takes_and_one_that_it_alone_does_not() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let gated = || ExtendedKeyUsagePurpose::Other(vec![2, 16, 840, 1, 113_730, 4, 1]);
    let of_netscape = |it: &mut rcgen::CertificateParams| {
        (it.is_ca, it.key_usages) = (IsCa::NoCa, Vec::new());
        let kind = vec![0x03, 0x02, 0x00, 0x04];
        it.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&[2, 16, 840, 1, 113_730, 1, 1], kind)];
    };
    let taken = [
        ("6379", Authority::odd("Gated", |it| it.extended_key_usages = vec![gated()]), ""),
        ("6380", Authority::odd("Netscape", of_netscape), ""),
        ("6381", Authority::odd("Clients", |it| it.extended_key_usages = vec![OF_CLIENTS]), "-addtrust serverAuth"),
    ];
    for (port, authority, trust) in taken {
        server.certificate(&authority.certify(&[SERVER]), &authority.pem());
        client.file("/tmp/plain.crt", authority.pem());
        client.sh(&format!("openssl x509 -in /tmp/plain.crt {trust} -trustout > /tmp/ca.crt"));
        let _redis = server.tls_redis(&[&["--tls-port", port][..], &ANYBODY].concat());
        let report = client.diagnose(&[&TLS[..], &["-p", port]].concat());
        report.check("tls", "pass").exit(0);
        assert_eq!(redis_cli(&client, port).trim(), "PONG", "{report}");
    }
    // A root that allows no authority below it, and one below.
    let root = Authority::odd("Short", |it| it.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0)));
    client.file("/tmp/ca.crt", root.pem());
    let between = root.intermediate("Between").certify(&[SERVER]);
    for (port, issued, is_well) in [("6390", root.certify(&[SERVER]), true), ("6391", between, false)] {
        server.certificate(&issued, &root.pem());
        let _redis = server.tls_redis(&[&["--tls-port", port][..], &ANYBODY].concat());
        let report = client.diagnose(&[&TLS[..], &["-p", port]].concat());
        assert_eq!(redis_cli(&client, port).trim() == "PONG", is_well, "{report}");
        if is_well {
            report.check("tls", "pass").exit(0);
        } else {
            report.first_cause("certificate-unsupported", Certain).exit(1);
        }
    }
    // A leaf with that purpose.
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.issue(&[SERVER], |it| it.extended_key_usages = vec![gated()]), &authority.pem());
    client.file("/tmp/ca.crt", authority.pem());
    let _redis = server.tls_redis(&[&["--tls-port", "6392"][..], &ANYBODY].concat());
    let report = client.diagnose(&[&TLS[..], &["-p", "6392"]].concat());
    report.first_cause("certificate-unsupported", Likely).nothing_certain().exit(1);
    assert_eq!(redis_cli(&client, "6392").trim(), "PONG", "{report}");
}

#[test]
fn fronts_and_balancers_that_our_library_cannot_follow() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&server, "haproxy") {
        return;
    }
    let authority = Authority::root("Lab CA");
    client.file("/tmp/ca.crt", authority.pem()).hosts_file(&format!("{SERVER} redis.1"));
    let pem = |path: &str, issued: &Issued| {
        server.file(path, format!("{}{}", issued.chain, issued.key));
    };
    let good = authority.certify(&["redis.1"]);
    server.certificate(&good, &authority.pem());
    pem("/etc/tls/good.pem", &good);
    pem("/etc/tls/default.pem", &self_signed(&["snakeoil"], |_| {}));
    pem("/etc/tls/late.pem", &authority.issue(&["late"], |it| it.not_after = in_days(-2).into()));
    pem("/etc/tls/over.pem", &authority.issue(&["redis.1"], |it| it.not_after = in_days(-2).into()));
    pem("/etc/tls/foreign.pem", &Authority::root("Lab CA").certify(&["redis.1"]));
    for default in ["default", "late", "over", "foreign"] {
        server.file(
            &format!("/etc/tls/{default}.list"),
            format!("/etc/tls/{default}.pem [] x.test\n/etc/tls/good.pem redis.1\n"),
        );
    }
    let _plain = server.redis(&["--port", "6391", "--bind", "127.0.0.1", "--requirepass", "pw"]);
    let _modern = server.tls_redis(&[&["--tls-port", "6395"][..], &ANYBODY].concat());
    let old = ["--tls-port", "6396", "--tls-protocols", "TLSv1.1", "--tls-ciphers", "DEFAULT:@SECLEVEL=0"];
    let _old = server.tls_redis(&[&old[..], &ANYBODY].concat());
    server.file(
        "/etc/haproxy/fronts.cfg",
        "defaults\n mode tcp\n balance roundrobin\n timeout connect 1s\n timeout client 9s\n timeout server 9s\nlisten a\n bind *:7401 ssl \
         crt-list /etc/tls/default.list\n server s 127.0.0.1:6391\nlisten b\n bind *:7402 ssl crt-list /etc/tls/late.list\n server s \
         127.0.0.1:6391\nlisten c\n bind *:7403\n tcp-request inspect-delay 2s\n tcp-request content reject unless { req.ssl_sni -m found \
         }\n server s 127.0.0.1:6395\nlisten d\n bind *:7404\n server a 127.0.0.1:6396\n server b 127.0.0.1:6395\nlisten e\n bind *:7405 ssl crt-list /etc/tls/over.list\n server s 127.0.0.1:6391\nlisten f\n \
         bind *:7406 ssl crt-list /etc/tls/foreign.list\n server s 127.0.0.1:6391\n",
    );
    let _front = server.command(&["haproxy", "-db", "-f", "/etc/haproxy/fronts.cfg"]).spawn();
    listens(&server, 7406);
    let named = |port| client.diagnose(&["-h", "redis.1", "-p", port, "--tls", "--cacert", "/tmp/ca.crt"]);
    for port in ["7401", "7402"] {
        let report = named(port);
        report.first_cause("certificate-name-mismatch", Likely).nothing_certain().exit(1);
        report.not_cause("untrusted-ca").not_cause("certificate-expired");
    }
    for port in ["7403", "7405", "7406"] {
        named(port).check("tls", "unknown").nothing_certain().exit(3);
    }
    let report = named("7404");
    report.check("tls", "fail").exit(1);
    assert!(!report.to_string().contains("which redisdoc's library"), "{report}");
}

#[test]
fn what_is_wrong_at_the_other_address_is_not_lost() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    server.hosts_file("127.0.0.1 dual\n127.0.0.2 dual");
    let authority = Authority::root("Lab CA");
    let start = |address: &str| server.tls_redis(&[&["--bind", address][..], &ANYBODY].concat());
    server.certificate(&authority.issue(&["dual"], |it| it.not_after = in_days(-2).into()), &authority.pem());
    let _second = start("127.0.0.2");
    make(&server, "rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-521");
    server.file("/tmp/ca.crt", authority.pem());
    let _first = start("127.0.0.1");
    let report = server.diagnose(&["-h", "dual", "--tls", "--cacert", "/tmp/ca.crt"]);
    report.check("tls", "unknown").exit(3);
    assert!(report.to_string().contains("127.0.0.2:6379: the server's certificate has expired"), "{report}");
}
