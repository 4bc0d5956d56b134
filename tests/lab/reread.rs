//! What a server would read again with its certificate: in mounts of its own, what locks its clients out, and by whom it may be told to.

use std::time::Duration;

use crate::world::Confidence::Certain;
use crate::world::pki::{Issued, in_days};
use crate::world::proxies::listens;
use crate::world::{Authority, Diagnosis, Host, Lab};

const SERVER: &str = "10.77.1.2";
const CAUSE: &str = "certificate-not-reloaded";
const OPEN: &str = "exposed-without-password";
const ASK: [&str; 5] = ["-h", SERVER, "--tls", "--cacert", "/tmp/ca.crt"];
const SHOWN: [&str; 4] = ["--cert", "/tmp/app.crt", "--key", "/tmp/app.key"];

/// What is written from here on is later than the start of any server, by a clock of seconds.
fn later() {
    std::thread::sleep(Duration::from_millis(1_100));
}

fn put(server: &Host, folder: &str, issued: &Issued) {
    server.file(&format!("{folder}/server.crt"), issued.chain.as_str());
    server.file(&format!("{folder}/server.key"), issued.key.as_str());
}

fn soon(root: &Authority) -> Issued {
    root.issue(&[SERVER], |params| params.not_after = in_days(5).into())
}

fn said(report: &Diagnosis) -> String {
    report.report["causes"].to_string()
}

/// True if a step of the cause can be carried out.
fn has_command(report: &Diagnosis) -> bool {
    let causes = report.report["causes"].as_array().cloned().unwrap_or_default();
    let steps = causes.iter().filter(|cause| cause["id"] == CAUSE).filter_map(|cause| cause["remedy"].as_array());
    steps.flatten().any(|step| step["command"].as_str().is_some_and(|it| it.contains("CONFIG SET tls-cert-file /")))
}

#[track_caller]
fn only_tells(report: &Diagnosis) {
    assert!(!report.causes().iter().any(|(id, sure)| id == CAUSE && *sure == Certain), "{report}");
    assert!(said(report).contains(CAUSE) && !has_command(report), "{report}");
}

#[test]
fn files_that_only_the_server_sees() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let (root, other) = (Authority::root("Lab CA"), Authority::root("Another CA"));
    client.file("/tmp/ca.crt", root.pem());
    let own = root.certify(&["app"]);
    server.file("/tmp/ca.crt", root.pem());
    server.file("/tmp/app.crt", own.chain.as_str()).file("/tmp/app.key", own.key.as_str());
    let start = |before: &str, auth: &str| {
        server.certificate(&soon(&root), &root.pem());
        put(&server, "/opt/tls", &soon(&root));
        server.sh("cp /etc/tls/server.* /opt/tls; mkdir -p /opt/root; cp /etc/tls/ca.crt /opt/tls");
        later();
        let files =
            "--tls-cert-file /etc/tls/server.crt --tls-key-file /etc/tls/server.key --tls-ca-cert-file /etc/tls/ca.crt";
        let line = format!(
            "{before} redis-server --port 0 --tls-port 6379 {files} --tls-auth-clients {auth} --protected-mode no --save '' --dir /tmp"
        );
        let redis = server.command(&["unshare", "-m", "sh", "-c", &line]).spawn();
        listens(&server, 6379);
        later();
        redis
    };
    let ask = || client.joined(&server, &ASK);
    let folder = "mount --bind /opt/tls /etc/tls && exec";
    let rooted = "mount --rbind / /opt/root && mount --bind /opt/tls /opt/root/etc/tls && exec chroot /opt/root";
    for before in [folder, rooted] {
        let mut redis = start(before, "no");
        // It was renewed for everybody else.
        put(&server, "/etc/tls", &root.certify(&[SERVER]));
        let report = ask();
        report.not_cause(CAUSE).cause_beside("certificate-expired", Certain, OPEN);
        assert!(said(&report).contains("/root/etc/tls/server.crt"), "{report}");
        // And for the server.
        put(&server, "/opt/tls", &root.certify(&[SERVER]));
        let report = ask();
        report.cause_beside(CAUSE, Certain, OPEN).apply_of(CAUSE, |_| &server);
        ask().not_cause(CAUSE).not_cause("certificate-expired");
        redis.kill();
    }
    // Its clients' authority was replaced where it alone sees that.
    let _redis = start(folder, "yes");
    put(&server, "/etc/tls", &root.certify(&[SERVER]));
    put(&server, "/opt/tls", &root.certify(&[SERVER]));
    server.file("/opt/tls/ca.crt", other.pem());
    only_tells(&server.diagnose(&[&ASK[..], &SHOWN].concat()));
}

#[test]
fn authorities_that_came_after_the_start() {
    let Some(lab) = Lab::enter() else { return };
    let server = lab.host("solo");
    server.sh(&format!("ip address add {SERVER}/32 dev lo"));
    let (root, other) = (Authority::root("Lab CA"), Authority::root("Another CA"));
    let own = root.certify(&["app"]);
    server
        .file("/tmp/ca.crt", root.pem())
        .file("/tmp/app.crt", own.chain.as_str())
        .file("/tmp/app.key", own.key.as_str());
    let ask = || server.diagnose(&[&ASK[..], &SHOWN].concat());
    let start = |ca: &str| {
        put(&server, "/etc/tls", &soon(&root));
        server.file("/etc/ca/ca.crt", root.pem()).file("/etc/ca.new/ca.crt", other.pem());
        let both = format!("{}{}{}", server.read("/etc/tls/server.crt"), root.pem(), other.pem());
        server.file("/etc/tls/both.pem", both);
        std::thread::sleep(Duration::from_millis(100));
        let cert = if ca.ends_with("both.pem") { ca } else { "/etc/tls/server.crt" };
        server.tls_redis(&["--tls-cert-file", cert, "--tls-ca-cert-file", ca])
    };
    let renew = || {
        later();
        put(&server, "/etc/tls", &root.certify(&[SERVER]));
    };
    // Nothing else was changed: our own certificate is one that it takes.
    let mut redis = start("/etc/ca/ca.crt");
    renew();
    ask().cause_beside(CAUSE, Certain, OPEN).apply_of(CAUSE, |_| &server);
    ask().not_cause(CAUSE);
    redis.kill();
    // Within the second of the start.
    redis = start("/etc/ca/ca.crt");
    server.file("/etc/ca/ca.crt", other.pem());
    renew();
    only_tells(&ask());
    redis.kill();
    // An older one, in the place of its folder.
    redis = start("/etc/ca/ca.crt");
    server.sh("mv /etc/ca /etc/ca.old && mv /etc/ca.new /etc/ca");
    renew();
    only_tells(&ask());
    // What is written into it afterwards does not hide that.
    server.sh("cp /etc/ca/ca.crt /etc/ca/new && mv /etc/ca/new /etc/ca/more");
    only_tells(&ask());
    redis.kill();
    // Mounted over the folder.
    redis = start("/etc/ca/ca.crt");
    server.sh("mount --bind /etc/ca.new /etc/ca");
    renew();
    only_tells(&ask());
    server.sh("umount /etc/ca");
    redis.kill();
    // One file for all, which lost an authority.
    let _redis = start("/etc/tls/both.pem");
    later();
    let fresh = root.certify(&[SERVER]);
    server
        .file("/etc/tls/both.pem", format!("{}{}", fresh.chain, root.pem()))
        .file("/etc/tls/server.key", fresh.key.as_str());
    only_tells(&ask());
}

#[test]
fn a_certificate_that_the_admin_may_show() {
    let Some(lab) = Lab::enter() else { return };
    let (_, server) = lab.pair();
    let root = Authority::root("Lab CA");
    let own = root.certify(&["app"]);
    server
        .file("/tmp/ca.crt", root.pem())
        .file("/tmp/app.crt", own.chain.as_str())
        .file("/tmp/app.key", own.key.as_str());
    let for_servers = |days: i32| {
        root.issue(&[SERVER], |params| {
            params.not_after = in_days(days).into();
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        })
    };
    let start = |days: i32, more: &str| {
        server.certificate(&for_servers(days), &root.pem());
        std::thread::sleep(Duration::from_millis(100));
        let redis = server.redis_conf(&conf(more));
        later();
        put(&server, "/etc/tls", &for_servers(300));
        redis
    };
    let by_conf = [&ASK[..], &["--redis-conf", "/etc/redis/redis.conf"]].concat();
    let shown = [&ASK[..], &SHOWN].concat();
    // Its own is for servers alone, and there is no other.
    let mut redis = start(-3, "");
    let report = server.diagnose(&by_conf);
    report.cause(CAUSE, Certain);
    assert!(!has_command(&report), "{report}");
    redis.kill();
    // It has one as a client.
    redis = start(-3, "tls-client-cert-file /tmp/app.crt\ntls-client-key-file /tmp/app.key");
    let report = server.diagnose(&by_conf);
    report.cause(CAUSE, Certain).apply_of(CAUSE, |_| &server);
    assert!(has_command(&report), "{report}");
    server.diagnose(&shown).not_cause(CAUSE).not_cause("certificate-expired");
    redis.kill();
    // Ours was taken.
    let _redis = start(5, "");
    let report = server.diagnose(&shown);
    report.cause_beside(CAUSE, Certain, OPEN).apply_of(CAUSE, |_| &server);
    assert!(has_command(&report), "{report}");
    server.diagnose(&shown).not_cause(CAUSE);
}

fn conf(more: &str) -> String {
    format!(
        "port 0\ntls-port 6379\ntls-cert-file /etc/tls/server.crt\ntls-key-file /etc/tls/server.key\n\
         tls-ca-cert-file /etc/tls/ca.crt\nprotected-mode no\n{more}\n"
    )
}

#[test]
fn a_user_who_may_not_set_it() {
    let Some(lab) = Lab::enter() else { return };
    let (_, server) = lab.pair();
    let root = Authority::root("Lab CA");
    server.file("/tmp/ca.crt", root.pem());
    let user = ["--user", "app"];
    for (more, ask) in [
        ("user default off\nuser app on >pw ~* +@all -config", &user[..]),
        ("rename-command CONFIG \"\"\nrequirepass pw", &[]),
    ] {
        server.certificate(&soon(&root), &root.pem());
        let mut redis = server.redis_conf(&conf(&format!("tls-auth-clients no\n{more}")));
        later();
        put(&server, "/etc/tls", &root.certify(&[SERVER]));
        let report = server.doctor(&[&ASK[..], ask].concat()).env("REDISCLI_AUTH", "pw").diagnose();
        assert!(said(&report).contains(CAUSE) && !has_command(&report), "{report}");
        redis.kill();
    }
}
