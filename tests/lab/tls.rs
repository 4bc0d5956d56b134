//! TLS: handshakes, certificates, and what comes through them.

use crate::world::{Authority, Lab};

const SERVER: &str = "10.77.1.2";

#[test]
fn tls_works_where_a_reply_comes_through() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&["db", SERVER]), &authority.pem());
    client.file("/tmp/ca.crt", authority.pem()).hosts_file(&format!("{SERVER} db"));
    let _redis = server.tls_redis(&["--tls-auth-clients", "no"]);
    let ask = |args: &[&str]| client.diagnose(&[&["--tls", "--cacert", "/tmp/ca.crt"], args].concat());
    ask(&["-h", "db"]).healthy();
    ask(&["-h", SERVER]).healthy();
    ask(&["-h", SERVER, "--sni", "db"]).healthy();
    ask(&["-h", "db", "--hold", "1"]).healthy();
    client.diagnose(&["rediss://db", "--insecure"]).finding("tls/overlooked").exit(0);
    ask(&["-h", SERVER, "--sni", "cache"]).finding("tls/wrong-name").exit(1);
    client.diagnose(&["rediss://db"]).finding("tls/untrusted").exit(1);
}

#[test]
fn a_refusal_may_come_after_the_handshake() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    let own = authority.certify(&["app"]);
    server.certificate(&authority.certify(&[SERVER]), &authority.pem());
    client.file("/tmp/ca.crt", authority.pem()).file("/tmp/app.crt", own.chain).file("/tmp/app.key", own.key);
    let _redis = server.tls_redis(&[]);
    let ask = ["-h", SERVER, "--tls", "--cacert", "/tmp/ca.crt"];
    client.diagnose(&ask).finding("tls/refused").exit(1);
    client.diagnose(&[&ask[..], &["--cert", "/tmp/app.crt", "--key", "/tmp/app.key"]].concat()).healthy();
}

#[test]
fn a_server_that_wants_a_certificate_is_not_open_to_everybody() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    let own = authority.certify(&["app"]);
    server.certificate(&authority.certify(&["localhost", SERVER]), &authority.pem());
    server.file("/tmp/app.crt", own.chain).file("/tmp/app.key", own.key);
    let shown = ["--tls", "--cacert", "/etc/tls/ca.crt", "--cert", "/tmp/app.crt", "--key", "/tmp/app.key"];
    let redis = server.tls_redis(&[]);
    server.diagnose(&[&["-h", SERVER], &shown[..]].concat()).healthy();
    drop(redis);
    let _redis = server.tls_redis(&["--tls-auth-clients", "optional"]);
    server.diagnose(&[&["-h", SERVER], &shown[..]].concat()).finding("config/exposed").exit(0);
}
