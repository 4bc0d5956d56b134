//! Authorities in the client's file that OpenSSL stops at, and files that it does not load; redis-cli is asked each time.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::world::Confidence::Likely;
use crate::world::pki::{Issued, in_days};
use crate::world::{Authority, Host, Lab};

const SERVER: &str = "10.77.1.2";
const TLS: [&str; 5] = ["-h", SERVER, "--tls", "--cacert", "/tmp/ca.crt"];
const ANYBODY: [&str; 2] = ["--tls-auth-clients", "no"];

/// What redis-cli is answered, where it verifies.
fn redis_cli(client: &Host) -> String {
    client.sh(&format!("redis-cli -h {SERVER} --tls --cacert /tmp/ca.crt PING 2>&1; true")).stdout
}

/// A name and its key.
struct Name(&'static str, KeyPair);

impl Name {
    fn new(name: &'static str) -> Self {
        Self(name, KeyPair::generate().expect("a key"))
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.0);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (in_days(-90).into(), in_days(300).into());
        params.use_authority_key_identifier_extension = true;
        params
    }

    /// Its certificate, signed by this one, with one thing changed.
    fn by(&self, issuer: &Self, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = self.params();
        change(&mut params);
        let signer = issuer.params();
        params.signed_by(&self.1, &Issuer::from_params(&signer, &issuer.1)).expect("a certificate").pem()
    }

    /// The same, signed by itself and valid until so many days from now.
    fn own(&self, until: i32) -> String {
        self.by(self, |params| params.not_after = in_days(until).into())
    }

    /// A server's certificate, with this behind it.
    fn certify(&self, chain: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let server = Self::new("db");
        let leaf = server.by(self, |params| {
            params.is_ca = IsCa::NoCa;
            params.subject_alt_names = vec![rcgen::SanType::IpAddress(SERVER.parse().expect("an address"))];
            change(params);
        });
        Issued { chain: format!("{leaf}{chain}"), leaf, key: server.1.serialize_pem() }
    }
}

/// Has each file of the client's tried, and redis-cli with it: where that is refused, so many words are to be said.
#[track_caller]
fn tried(client: &Host, server: &Host, issued: &Issued, files: &[(&[&str], &str)]) {
    server.certificate(issued, &issued.leaf);
    let _redis = server.tls_redis(&ANYBODY);
    for (parts, words) in files {
        client.file("/tmp/ca.crt", parts.concat());
        let (report, told) = (client.diagnose(&TLS), redis_cli(client));
        if words.is_empty() {
            assert_eq!(told.trim(), "PONG", "{report}");
            report.healthy();
        } else {
            assert!(told.contains("certificate verify failed"), "{told} {report}");
            report.finding("tls/partly-trusted").first_cause("untrusted-ca", Likely).nothing_certain().exit(0);
            assert!(report.to_string().replace('\n', " ").contains(words), "{words}: {report}");
        }
    }
}

#[test]
fn what_openssl_stops_at_between_an_intermediate_and_its_root() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let (root, again, between) = (Name::new("Root"), Name::new("Root"), Name::new("Between"));
    let (own, middle) = (root.own(300), between.by(&root, |_| {}));
    let unfit = root.by(&root, |params| params.is_ca = IsCa::ExplicitNoCa);
    let short = root.by(&root, |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let late = between.by(&root, |params| params.not_after = in_days(-2).into());
    // The same name in another kind of text, and in capitals.
    let capital = {
        let mut params = root.params();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = rcgen::DnValue::PrintableString("ROOT".try_into().expect("a name"));
        params.distinguished_name.push(DnType::CommonName, name);
        params.self_signed(&root.1).expect("a certificate").pem()
    };
    let aux = {
        server.file("/tmp/middle.crt", middle.as_str());
        server.sh("openssl x509 -in /tmp/middle.crt -addtrust serverAuth -trustout -out /tmp/aux.crt");
        server.read("/tmp/aux.crt")
    };
    let files: &[(&[&str], &str)] = &[
        (&[&middle, &own], ""),
        (&[&own], ""),
        (&[&middle, &capital], ""),
        (&[&aux], ""),
        (&[&middle], "which signed that one, is not"),
        // It names the key of its root, and that is another.
        (&[&middle, &again.own(300)], "which signed that one, is not"),
        (&[&middle, &root.own(-2)], "OpenSSL goes on to CN=Root"),
        (&[&middle, &root.own(-2), &own], ""),
        (&[&middle, &unfit], "CA:FALSE"),
        (&[&middle, &short], "pathlen"),
        // What is trusted goes before what is sent.
        (&[&late, &own], "OpenSSL goes on to CN=Between"),
        (&[&late, &middle, &own], ""),
    ];
    tried(&client, &server, &between.certify(&middle, |_| {}), files);
    // Without identifiers of keys, the first of the name is taken.
    let nameless = between.by(&root, |params| params.use_authority_key_identifier_extension = false);
    let issued = between.certify(&nameless, |_| {});
    let files: &[(&[&str], &str)] = &[
        (&[&nameless, &again.own(300)], "has another key"),
        (&[&nameless, &again.own(300), &own], "has another key"),
        (&[&nameless, &own, &again.own(300)], ""),
        (&[&nameless, &again.own(-2), &own], ""),
    ];
    tried(&client, &server, &issued, files);
}

#[test]
fn what_openssl_stops_at_among_authorities_of_one_name() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let (old, new) = (Name::new("Corp CA"), Name::new("Corp CA"));
    let issued = new.certify("", |params| params.use_authority_key_identifier_extension = false);
    let (old, new_own) = (old.own(300), new.own(300));
    let files: &[(&[&str], &str)] = &[(&[&old, &new_own], "has another key"), (&[&new_own, &old], "")];
    tried(&client, &server, &issued, files);
    let issued = new.certify("", |_| {});
    tried(&client, &server, &issued, &[(&[&old, &new_own], ""), (&[&new.own(-2), &new_own], "")]);
    // A certificate that names its issuer's number, and that was made again with the same key.
    server.file("/etc/tls/n.crt", new_own.as_str()).file("/etc/tls/n.key", new.1.serialize_pem());
    let ext = format!("authorityKeyIdentifier=keyid,issuer:always\\nsubjectAltName=IP:{SERVER}");
    server.sh(&format!(
        "cd /etc/tls && printf '{ext}\\n' > ext && openssl req -newkey rsa:2048 -nodes -keyout l.key -out l.csr -subj /CN=db 2>/dev/null && \
         openssl x509 -req -in l.csr -CA n.crt -CAkey n.key -CAcreateserial -days 30 -extfile ext -out l.crt 2>/dev/null"
    ));
    let (leaf, key) = (server.read("/etc/tls/l.crt"), server.read("/etc/tls/l.key"));
    let numbered = Issued { chain: leaf.clone(), leaf, key };
    let again = new.by(&new, |params| params.serial_number = Some(77.into()));
    let files: &[(&[&str], &str)] = &[(&[&new_own], ""), (&[&again], "names a key or a number of its authority")];
    tried(&client, &server, &numbered, files);
}

#[test]
fn what_openssl_stops_at_of_one_that_was_signed_crosswise() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let (old, new, below) = (Name::new("Old Root"), Name::new("New Root"), Name::new("E1"));
    let (own, cross) = (new.own(200), new.by(&old, |_| {}));
    let middle = below.by(&new, |_| {});
    let files: &[(&[&str], &str)] = &[
        (&[&own], ""),
        // It lasts longer, and is not the first.
        (&[&own, &cross], ""),
        (&[&cross, &own], "which signed that one, is not"),
        (&[&cross], "which signed that one, is not"),
        (&[&cross, &old.own(300)], ""),
        (&[&own, &cross, &old.own(-2)], ""),
        (&[&cross, &own, &old.own(-2)], "OpenSSL goes on to CN=Old Root"),
        (&[&cross, &old.own(-2)], "OpenSSL goes on to CN=Old Root"),
    ];
    tried(&client, &server, &below.certify(&middle, |_| {}), files);
    tried(&client, &server, &below.certify(&format!("{middle}{cross}"), |_| {}), files);
    // A folder has no order of its own, and neither has the system.
    client.sh("mkdir -p /tmp/ca.d");
    client.file("/tmp/ca.d/a.pem", cross.as_str()).file("/tmp/ca.d/b.pem", own.as_str());
    client.sh("openssl rehash /tmp/ca.d");
    server.certificate(&below.certify(&middle, |_| {}), &own);
    let _redis = server.tls_redis(&ANYBODY);
    client.diagnose(&["-h", SERVER, "--tls", "--cacertdir", "/tmp/ca.d"]).healthy();
}

#[test]
fn files_that_openssl_does_not_load() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    let _redis = server.tls_redis(&ANYBODY);
    let (pem, other) = (authority.pem().replace("\r\n", "\n"), Authority::root("Other CA").pem().replace("\r\n", "\n"));
    let cut = other.lines().take(4).fold(String::new(), |text, line| text + line + "\n");
    let begin = "BEGIN CERTIFICATE-----\n";
    let one_line = {
        let content: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        format!("-----{begin}{content}\n-----END CERTIFICATE-----\n")
    };
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    client.file("/tmp/pem.crt", pem.as_str());
    client.sh("openssl x509 -in /tmp/pem.crt -outform DER -out /tmp/der.crt; openssl genrsa -traditional -aes128 -passout pass:x -out /tmp/key.pem 2>&1");
    let key = client.read("/tmp/key.pem");
    let files = [
        pem.clone(),
        format!("subject=Lab CA\n{pem}\nmore\n{other}"),
        pem.replace('\n', " \r\n"),
        format!("\u{feff}{pem}"),
        one_line.clone(),
        pem.replace(begin, &format!("{begin}\n")),
        one_line.replace(begin, &format!("{begin}\n")),
        format!("{key}{pem}"),
        // Not so these.
        pem.replace(begin, &format!("{begin}\n\n")),
        pem.replace("-----END", "\n-----END"),
        format!("{pem}{cut}"),
        format!("{cut}{pem}"),
        format!("{pem}{}", other.replacen("MII", "M!I", 1)),
        format!("{empty}{pem}"),
        format!("{}{other}", pem.trim_end()),
        pem.replace('\n', "\r"),
    ];
    for (number, file) in files.iter().enumerate() {
        client.file("/tmp/ca.crt", file.as_str());
        let (report, told) = (client.diagnose(&TLS), redis_cli(&client));
        if told.trim() == "PONG" {
            report.healthy();
            assert!(number < 8, "{number}: {report}");
        } else {
            assert!(told.contains("Invalid CA Certificate File"), "{number}: {told} {report}");
            report.finding("tls/cacert-malformed").first_cause("cacert-malformed", Likely).exit(0);
            let settled = client.run(&[
                "sh",
                "-c",
                "openssl crl2pkcs7 -nocrl -certfile /tmp/ca.crt | openssl pkcs7 -print_certs -noout",
            ]);
            assert!(!settled.stdout.contains("Lab CA"), "{number}: {} {report}", settled.stdout);
        }
    }
    let report = client.diagnose(&["-h", SERVER, "--tls", "--cacert", "/tmp/der.crt"]);
    report.first_cause("cacert-malformed", Likely).exit(0);
    assert!(report.to_string().contains("-inform DER"), "{report}");
    // What is missing is what would have been needed.
    let needed = pem.lines().take(4).fold(String::new(), |text, line| text + line + "\n");
    client.file("/tmp/ca.crt", format!("{other}{needed}"));
    client.diagnose(&TLS).first_cause("cacert-malformed", Likely).nothing_certain().exit(1);
}
