//! What a hostile reviewer found: secrets where nobody looks for them, repairs that do harm on an older or a differently
//! configured server, and files that hold up the run.

use crate::world::{Host, Lab};

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
        std::thread::sleep(std::time::Duration::from_millis(2));
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
