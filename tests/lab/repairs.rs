//! What a hostile reviewer found: secrets where nobody looks for them, repairs that do harm on an older or a differently
//! configured server, and files that hold up the run.

use std::time::Duration;

use crate::world::{Confidence, Host, Lab, Server};

/// No word of these may be found in what redisdoc prints or saves.
const SECRET: &str = "S3CRET";

/// Asserts that nothing that can be had from redisdoc here holds the secret.
#[track_caller]
fn keeps_quiet(host: &Host, what: &str) {
    for line in [
        &["collect"][..],
        &["check", "--deep"],
        &["check", "--deep", "-o", "facts"],
        &["check", "--deep", "--json"],
        &["check", "-t", "1"],
    ] {
        let ran = host.redisdoc(line).run();
        assert!(ran.code.is_some() && !ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{what}\n{ran}");
    }
}

#[test]
fn the_arguments_of_units_hold_no_secret() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    for start in [
        "/usr/bin/redis-server \"--requirepass S3CRET\" \"--masterauth S3CRET\" --port 6379",
        "/usr/bin/redis-server /etc/redis/x.conf --user \"bob on >S3CRET\" \"--rename-command CONFIG S3CRET\"",
        "/usr/bin/redis-server --port 6379 --appendonly \"no\\nrequirepass S3CRET\"",
        "/bin/sh -c \"redis-server --port 6379 & sleep 1; redis-cli -a S3CRET ping; wait\"",
        "/bin/sh -c \"redis-server --save '' --requirepass S3CRET && echo x\"",
        "/usr/bin/docker run redis redis-server --requirepass S3CRET",
        "/usr/bin/redis-server --replicaof redis://:S3CRET@h 6379 --loadmodule /x.so S3CRET",
    ] {
        one.file("/etc/systemd/system/redis.service", format!("[Service]\nExecStart={start}\n"));
        keeps_quiet(&one, start);
    }
}

#[test]
fn the_arguments_of_processes_hold_no_secret() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&["--set-proc-title", "no", "--rename-command", "CONFIG", SECRET]);
    keeps_quiet(&one, "rename-command");
    drop(redis);
    let code = "import socket\ns = socket.socket()\ns.bind(('', 6379)); s.listen(8); print('up', flush=True)\n\
                while True:\n c, _ = s.accept(); c.sendall(b'HTTP/1.0 400 no\\r\\n\\r\\n'); c.close()";
    let args = ["-phS3CRET", "-u", "admin:S3CRET", "--auth", SECRET, "--key", SECRET, "mysql://x:S3CRET@h/x"];
    let line: Vec<&str> = ["python3", "-c", code].into_iter().chain(args).collect();
    let mut stranger = one.command(&line).spawn();
    while !stranger.said().contains("up") {
        assert!(stranger.alive(), "{}", stranger.said());
        std::thread::sleep(Duration::from_millis(2));
    }
    keeps_quiet(&one, "a stranger");
    let facts = one.collect();
    assert!(facts.contains("python3") && !facts.contains("import socket"), "{facts}");
}

#[test]
fn what_does_not_belong_into_a_line_is_not_repeated() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    for line in [
        "slaveof redis://:S3CRET@h:6379",
        "replicaof h S3CRET",
        "dir /a S3CRET",
        "dir redis://:S3CRET@h",
        "include /nosuch/redis://:S3CRET@h",
        "logfile \"x S3CRET",
        "maxclients S3CRET",
        "timeout 0 S3CRET",
    ] {
        one.file("/etc/redis/redis.conf", format!("port 6379\n{line}\n"));
        keeps_quiet(&one, line);
    }
}

#[test]
fn a_password_lasts_where_an_acl_overrides_it() {
    let Some(lab) = Lab::enter() else { return };
    let acl = "user default on nopass ~* &* +@all\nuser admin on >pw ~* &* +@all\n";
    let by_rule = "bind 0.0.0.0\nprotected-mode no\nrequirepass foo\nuser default on nopass ~* &* +@all\n";
    for conf in [
        "bind 0.0.0.0\nprotected-mode no\naclfile /etc/redis/users.acl\n",
        by_rule,
        "bind 0.0.0.0\nprotected-mode no\nrequirepass \"\"\n",
    ] {
        let (_client, server) = lab.pair();
        server.file("/etc/redis/users.acl", acl);
        let redis = server.redis_conf(conf);
        let diagnosis = server.diagnose(&[]);
        diagnosis.first_cause("exposed-without-password", Confidence::Certain);
        diagnosis.apply(|_| &server);
        let password = server.sh("cat redis-password").stdout;
        assert_eq!(password.len(), 48, "{password:?}");
        server.doctor(&[]).env("REDISCLI_AUTH", &password).diagnose().healthy();
        drop(redis);
        let _redis = server.redis(&["/etc/redis/redis.conf"]);
        server.doctor(&[]).env("REDISCLI_AUTH", &password).diagnose().healthy();
        server.diagnose(&[]).first_cause("password-missing", Confidence::Certain);
        assert!(!diagnosis.to_string().contains(&password), "{diagnosis}");
    }
}

#[test]
fn an_old_server_is_not_cut_off_from_its_clients_to_be_opened() {
    let Some(lab) = Lab::enter() else { return };
    for server in [Server::Redis50, Server::Redis60] {
        let (client, host) = lab.pair();
        let Some(_redis) = host.redis_of(server, &["--bind", "127.0.0.1"]) else { continue };
        let joined = client.joined(&host, &["-h", "10.77.1.2"]);
        joined.first_cause("loopback-only", Confidence::Certain);
        let steps = joined.report["causes"][0]["remedy"].as_array().cloned().unwrap_or_default();
        let harms = |step: &serde_json::Value| step["command"].as_str().is_some_and(|it| it.contains("CONFIG SET"));
        assert!(!steps.iter().any(harms), "{joined}");
        assert!(joined.to_string().contains("--bind 127.0.0.1 10.77.1.2"), "{joined}");
    }
}

#[test]
fn what_may_be_a_forwarder_is_looked_at_and_not_killed() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.systemd("port 6379\n");
    let code = "import socket\ns = socket.socket()\ns.bind(('', 6379)); s.listen(8); print('up', flush=True)\n\
                while True:\n c, _ = s.accept(); c.close()";
    let stranger = one.command(&["python3", "-c", code]).spawn();
    while !stranger.said().contains("up") {
        std::thread::sleep(Duration::from_millis(2));
    }
    let diagnosis = one.diagnose(&["-t", "1"]);
    diagnosis.first_cause("port-taken", Confidence::Likely).nothing_certain();
    let steps = diagnosis.report["causes"][0]["remedy"].as_array().cloned().unwrap_or_default();
    assert!(steps.iter().filter(|step| step["kind"] == "run").count() == 1, "only the check may be run\n{diagnosis}");
}

#[test]
fn a_server_without_conf_is_started_for_this_machine_alone() {
    let Some(lab) = Lab::enter() else { return };
    let (client, one) = lab.pair();
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("not-running", Confidence::Certain).apply(|_| &one);
    one.sh("until redis-cli ping | grep -q PONG; do sleep 0.01; done");
    one.diagnose(&[]).healthy();
    client.diagnose(&["-h", "10.77.1.2", "-t", "1"]).exit(1);
    one.sh("redis-cli set a b; redis-cli shutdown save; [ -e ~/redis/dump.rdb ]");
}

#[test]
fn a_stale_socket_is_listened_on_again() {
    let Some(lab) = Lab::enter() else { return };
    for (name, conf) in [("bare", None), ("with-conf", Some("bind 127.0.0.1\ndir /var/lib\n"))] {
        let one = lab.host(name);
        let mut redis = one.redis(&["--port", "0", "--unixsocket", "/run/r s.sock"]);
        redis.kill();
        drop(redis);
        if let Some(conf) = conf {
            one.file("/etc/redis/redis.conf", conf);
        }
        let diagnosis = one.diagnose(&["-s", "/run/r s.sock"]);
        diagnosis.exit(1).apply(|_| &one);
        one.sh("until redis-cli -s '/run/r s.sock' ping | grep -q PONG; do sleep 0.01; done");
        one.diagnose(&["-s", "/run/r s.sock"]).healthy();
    }
}

#[test]
fn a_conf_holds_nobody_up() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.sh("mkfifo /run/pipe");
    let given = one.diagnose(&["--redis-conf", "/run/pipe", "--deadline", "2", "-t", "1"]);
    given.first_cause("not-running", Confidence::Certain).exit(1).within(Duration::from_secs(3));
    assert!(given.to_string().contains("nobody has written all of it in time"), "{given}");
    // What there is besides is read all the same.
    one.file("/etc/redis/redis.conf", "port 6380\n");
    let line = ["check", "-o", "facts", "--redis-conf", "/run/pipe", "--deadline", "1", "-t", "1"];
    let other = one.redisdoc(&line).run();
    assert!(other.stdout.contains("port 6380"), "{other}");
    let includes = "include /usr/*/*/*/*/nosuch\ninclude /etc/*/*/*/*\n".repeat(1500);
    one.file("/etc/redis/redis.conf", includes + "port 6379\n");
    one.diagnose(&["--deadline", "1", "-t", "1"]).exit(1).within(Duration::from_secs(2));
}
