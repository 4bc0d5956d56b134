//! Which server is meant: where several may be, none is started by a guess, none is opened in another's place, and what could
//! not be read, or belongs to others, too, is only told of.

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Host, Lab, Running, Server};

const SERVER: &str = "10.77.1.2";
const CACHE: &str = "/etc/systemd/system/cache.service";

/// Debian's service, and another that starts a server by its arguments.
fn with_cache(host: &Host, conf: &str, args: &str) {
    host.without_engines().systemd(conf);
    host.file(CACHE, format!("[Service]\nExecStart=/usr/bin/redis-server {args}\n"));
}

/// The steps that change something, but for the command that verifies.
fn changes(diagnosis: &Diagnosis) -> Vec<String> {
    let causes = diagnosis.report["causes"].as_array().into_iter().flatten();
    let steps = causes.flat_map(|cause| cause["remedy"].as_array().into_iter().flatten());
    let changes = steps.filter(|step| step["kind"] == "run" || step["kind"] == "edit");
    let changes = changes.filter(|step| !step["command"].as_str().is_some_and(|it| it.starts_with("redisdoc check")));
    changes.map(ToString::to_string).collect()
}

#[track_caller]
fn changes_nothing(diagnosis: &Diagnosis) {
    let changes = changes(diagnosis);
    assert!(changes.is_empty(), "{changes:?}\n{diagnosis}");
}

#[track_caller]
fn says(diagnosis: &Diagnosis, text: &str) {
    assert!(diagnosis.to_string().contains(text), "{text:?} is not said\n{diagnosis}");
}

fn up(mut running: Running) -> Running {
    while !running.said().contains("up") {
        assert!(running.alive(), "{}", running.said());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    running
}

#[test]
fn of_several_services_none_is_started_by_a_guess() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    with_cache(&one, "port 6379\nbind 127.0.0.1\n", "--port 6379 --bind 127.0.0.1");
    let wants = "/etc/systemd/system/multi-user.target.wants";
    one.file(&format!("{wants}/cache.service"), "").sh(&format!("rm -f {wants}/redis-server.service"));
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("not-running", Confidence::Likely).nothing_certain().exit(1);
    changes_nothing(&diagnosis);
    says(
        &diagnosis,
        "cannot be told from here: cache, which is started at boot ('sudo systemctl start cache'); redis-server",
    );
    // A service that is for another port is none of them.
    one.file(CACHE, "[Service]\nExecStart=/usr/bin/redis-server --port 7000\n");
    one.diagnose(&[]).first_cause("not-running", Confidence::Certain).apply(|_| &one);
    one.diagnose(&[]).healthy();
}

#[test]
fn of_several_scripts_those_of_the_runlevel_come_first() {
    let Some(lab) = Lab::enter() else { return };
    for (name, init, link, command) in [
        ("openrc", "/run/openrc/x", "/etc/runlevels/default/redis-b", "rc-service redis-b start"),
        ("sysv", "/etc/inittab", "/etc/rc3.d/S01redis-b", "service redis-b start"),
    ] {
        let one = lab.host(name);
        one.without_engines().file(init, "").file(link, "").file("/etc/redis/redis.conf", "port 6379\n");
        one.program("/etc/init.d/redis-a", "#!/bin/sh\n").program("/etc/init.d/redis-b", "#!/bin/sh\n");
        let diagnosis = one.diagnose(&[]);
        diagnosis.first_cause("not-running", Confidence::Likely).nothing_certain().exit(1);
        changes_nothing(&diagnosis);
        says(&diagnosis, &format!("redis-b, which is started at boot ('sudo {command}')"));
        says(&diagnosis, "redis-a ('sudo ");
    }
}

#[test]
fn a_supervisor_of_a_container_starts_its_server() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let program = "[program:redis]\ncommand=/usr/bin/redis-server --port 6379\n";
    one.without_engines().file("/etc/supervisor/conf.d/redis.conf", program);
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("not-running", Confidence::Likely).nothing_certain().exit(1);
    changes_nothing(&diagnosis);
    says(&diagnosis, "what /etc/supervisor/conf.d/redis.conf starts");
    says(&diagnosis, "it may start a Redis server");
}

#[test]
fn monit_may_start_another_server_or_only_watch_the_one() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6380\nbind 127.0.0.1\n").sh("systemctl start redis-server");
    let watched = "check process redis-server with pidfile /run/redis.pid\n  start program = \"/usr/bin/systemctl start \
                   redis-server\"\n";
    one.file("/etc/monit/conf-enabled/redis", watched);
    one.diagnose(&[]).first_cause("wrong-port", Confidence::Certain).exit(1);
    let started = "check process r2 matching r2\n  start program = \"/usr/bin/redis-server --port 6379\"\n";
    one.file("/etc/monit/conf-enabled/r2", started);
    let diagnosis = one.diagnose(&[]);
    diagnosis.cause("wrong-port", Confidence::Likely).nothing_certain().exit(1);
    says(&diagnosis, "/etc/monit/conf-enabled/r2");
}

#[test]
fn loopback_beside_a_service_that_is_meant_by_its_arguments() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    with_cache(&server, "bind 127.0.0.1\nrequirepass inside\n", &format!("--port 6379 --bind {SERVER}"));
    server.sh("systemctl start redis-server");
    for diagnosis in [server.diagnose(&["-h", SERVER]), client.joined(&server, &["-h", SERVER])] {
        diagnosis.cause("loopback-only", Confidence::Likely).nothing_certain().exit(1);
        says(&diagnosis, "cache starts a Redis server");
        says(&diagnosis, "start it: cache ('sudo systemctl start cache')");
        changes_nothing(&diagnosis);
    }
}

#[test]
fn a_port_that_is_taken_beside_a_redis_on_another_address() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    server.without_engines().systemd(&format!("bind {SERVER}\nrequirepass inside\n"));
    server.sh("systemctl start redis-server");
    let code = "import socket\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
                s.bind(('127.0.0.1', 6379)); s.listen(8); print('up', flush=True)\n\
                while True:\n c, _ = s.accept(); c.recv(9); c.sendall(b'HTTP/1.0 400 Bad Request\\r\\n'); c.close()";
    let _stranger = up(server.command(&["python3", "-c", code]).spawn());
    let diagnosis = server.diagnose(&["-t", "1"]);
    // Nothing is meant for loopback: the port there is the other program's own.
    diagnosis.first_cause("not-redis", Confidence::Certain).exit(1);
    changes_nothing(&diagnosis);
    server.diagnose(&["-h", SERVER, "-a", "inside"]).healthy();
}

#[test]
fn a_file_that_others_include_is_not_edited() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let edits = |diagnosis: &Diagnosis| changes(diagnosis).iter().any(|step| step.contains("common.conf"));
    let conf = "include /etc/redis/common.conf\nrequirepass inside\nunixsocket /run/r.sock\n";
    server.file("/etc/redis/common.conf", "bind 127.0.0.1\n").without_engines().systemd(conf);
    server.sh("systemctl start redis-server");
    let joined = client.joined(&server, &["-h", SERVER]);
    joined.first_cause("loopback-only", Confidence::Certain).exit(1);
    assert!(!edits(&joined), "{joined}");
    says(&joined, "which other servers may include; write 'bind 127.0.0.1 10.77.1.2' as the last line of its own");
    server.file("/etc/redis/common.conf", "port 0\n").sh("systemctl restart redis-server");
    let disabled = server.diagnose(&[]);
    disabled.first_cause("tcp-disabled", Confidence::Likely).exit(1);
    assert!(!edits(&disabled), "{disabled}");
    changes_nothing(&disabled);
}

#[test]
fn a_bind_that_the_server_has_not_read_is_not_edited() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.without_engines().systemd("bind 127.0.0.1\nrequirepass inside\n").sh("systemctl start redis-server");
    // It may lack this address, and not start again.
    server.file("/etc/redis/redis.conf", "bind 127.0.0.1 192.0.2.7\nrequirepass inside\n");
    for diagnosis in [server.diagnose(&["-h", SERVER]), client.joined(&server, &["-h", SERVER])] {
        diagnosis.first_cause("loopback-only", Confidence::Certain).exit(1);
        changes_nothing(&diagnosis);
        says(&diagnosis, "was changed since it started");
    }
}

#[test]
fn a_socket_that_another_service_may_have() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    with_cache(&one, "port 6379\nbind 127.0.0.1\n", "--port 0 --unixsocket /run/cache.sock");
    one.sh("systemctl start redis-server");
    let diagnosis = one.diagnose(&["-s", "/run/cache.sock"]);
    diagnosis.cause("socket-missing", Confidence::Likely).nothing_certain().exit(1);
    says(&diagnosis, "cache starts a Redis server");
    one.sh(&format!("rm {CACHE}"));
    one.diagnose(&["-s", "/run/cache.sock"]).first_cause("socket-missing", Confidence::Certain).exit(1);
}

#[test]
fn a_given_redis_conf_that_info_contradicts_is_not_the_servers() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    server.file("/etc/other.conf", "bind 127.0.0.1\ndir /nope\nmaxclients many\n");
    let given = ["-h", SERVER, "--redis-conf", "/etc/other.conf"];
    let own = server.redis_conf("bind 127.0.0.1\n");
    let diagnosis = server.diagnose(&given);
    diagnosis.first_cause("loopback-only", Confidence::Certain).exit(1);
    let touched = changes(&diagnosis);
    assert!(touched.iter().any(|step| step.contains("/etc/redis/redis.conf")), "{diagnosis}");
    assert!(touched.iter().all(|step| !step.contains("/etc/other.conf")), "{diagnosis}");
    let healthy = server.diagnose(&given[2..]);
    says(healthy.healthy(), "/etc/other.conf was given, which this server does not read");
    drop(own);
    // It has none, and says so.
    server.sh("rm /etc/redis/redis.conf");
    let _bare = server.redis(&["--bind", "127.0.0.1"]);
    let diagnosis = server.diagnose(&given);
    diagnosis.first_cause("loopback-only", Confidence::Certain).not_cause("config-error").exit(1);
    assert!(changes(&diagnosis).iter().all(|step| !step.contains("/etc/other.conf")), "{diagnosis}");
    let healthy = server.diagnose(&given[2..]);
    says(healthy.healthy(), "/etc/other.conf was given, which this server does not read");
}

#[test]
fn beside_a_redis_conf_that_may_not_be_read_nothing_is_changed() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let (_client, server) = lab.pair();
    let _redis = server.redis_conf("bind 127.0.0.1\nrequirepass inside\n");
    server.mode("/etc/redis/redis.conf", 0o600);
    let diagnosis = server.doctor(&["-h", SERVER]).user(65534).diagnose();
    diagnosis.nothing_certain().exit(1);
    changes_nothing(&diagnosis);
    says(&diagnosis, "run redisdoc there as root");
}

#[test]
fn a_bind_line_that_may_not_be_read_is_only_told_of() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let (_client, server) = lab.pair();
    server.file("/etc/redis/bind.conf", "bind 127.0.0.1\nrequirepass inside\n").mode("/etc/redis/bind.conf", 0o600);
    let _redis = server.redis_conf("include /etc/redis/bind.conf\nport 6379\n");
    server.mode("/etc/redis/redis.conf", 0o644);
    let diagnosis = server.doctor(&["-h", SERVER]).user(65534).diagnose();
    diagnosis.first_cause("loopback-only", Confidence::Possible).exit(1);
    changes_nothing(&diagnosis);
}

#[test]
fn a_server_that_does_not_take_its_bind_fails_the_repair() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--bind", "127.0.0.1"]);
    let joined = client.joined(&server, &["-h", SERVER]);
    joined.first_cause("loopback-only", Confidence::Certain);
    let steps = joined.report["causes"][0]["remedy"].as_array().cloned().unwrap_or_default();
    let rebind = steps.iter().filter_map(|step| step["command"].as_str()).find(|it| it.contains("CONFIG SET bind"));
    let rebind = rebind.unwrap_or_else(|| panic!("no such step\n{joined}")).replace("REDISCLI_AUTH", "UNUSED");
    server.ip("addr del 10.77.1.2/24 dev eth0");
    let failed = server.run(&["sh", "-c", &rebind]);
    assert!(failed.code != Some(0) && failed.stdout.contains("ERR"), "{failed}");
    server.ip("addr add 10.77.1.2/24 dev eth0");
    joined.apply(|on| if on == "redis-host" { &server } else { &client });
    let password = server.sh("cat redis-password").stdout;
    client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", &password).diagnose().healthy();
}

#[test]
fn a_service_in_a_network_of_its_own_reads_its_file() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\nbind 127.0.0.1\n");
    let line = ["unshare", "-n", "sh", "-c", "ip link set lo up; exec redis-server /etc/redis/redis.conf"];
    let mut contained = one.command(&line).spawn();
    while !contained.said().contains("eady to accept connections") {
        assert!(contained.alive(), "{}", contained.said());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let looked = || {
        let diagnosis = one.diagnose(&[]);
        diagnosis.finding("process/elsewhere").nothing_certain().exit(1);
        assert!(!diagnosis.to_string().contains("no server runs with it"), "{diagnosis}");
        changes_nothing(&diagnosis);
        diagnosis
    };
    looked();
    // As systemd starts it, with PrivateNetwork=.
    let pid = contained.pid();
    one.file("/run/cgroup", "0::/system.slice/redis-server.service\n");
    one.sh(&format!("mount --bind /run/cgroup /proc/{pid}/cgroup"));
    let diagnosis = looked();
    diagnosis.first_cause("wrong-port", Confidence::Likely);
    says(&diagnosis, "'sudo systemctl edit redis-server'");
    let asked = diagnosis.settle("wrong-port", |_| &one);
    assert!(asked.contains("PONG"), "{asked}");
}

#[test]
fn a_sentinel_that_is_down_is_not_replaced_by_a_server() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\nbind 127.0.0.1\n");
    let asked = ["-p", "26379"];
    let diagnosis = one.diagnose(&asked);
    diagnosis.first_cause("not-running", Confidence::Likely).nothing_certain().exit(1);
    changes_nothing(&diagnosis);
    says(&diagnosis, "start no redis-server in its place");
    one.sh("systemctl start redis-server");
    let beside = one.diagnose(&asked);
    beside.first_cause("not-running", Confidence::Likely).nothing_certain().exit(1);
    changes_nothing(&beside);
    let none = lab.host("none");
    none.without_redis().file("/run/systemd/system/.lab", "");
    let absent = none.diagnose(&asked);
    absent.first_cause("not-installed", Confidence::Likely).nothing_certain().exit(1);
    changes_nothing(&absent);
}

#[test]
fn a_link_that_was_switched_is_a_file_that_was_changed() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.file("/etc/redis/b.conf", format!("bind 127.0.0.1 {SERVER}\nrequirepass inside\n"));
    server.file("/etc/redis/a.conf", "bind 127.0.0.1\nrequirepass inside\n");
    server.without_engines().systemd("").sh("ln -sfn a.conf /etc/redis/redis.conf; sleep 0.05");
    server.sh("systemctl start redis-server; sleep 0.05; ln -sfn b.conf /etc/redis/redis.conf");
    // It has not read what the link leads to by now.
    for diagnosis in [server.diagnose(&["-h", SERVER]), client.joined(&server, &["-h", SERVER])] {
        diagnosis.first_cause("loopback-only", Confidence::Certain).not_cause("bind-address-missing").exit(1);
    }
    let joined = client.joined(&server, &["-h", SERVER, "-a", "inside"]);
    joined.apply(|on| if on == "redis-host" { &server } else { &client });
    client.diagnose(&["-h", SERVER, "-a", "inside"]).healthy();
}

#[test]
fn a_redis_conf_is_not_given_to_another_program() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().file("/etc/valkey/valkey.conf", "port 6379\nbind 127.0.0.1\nrdma-port 0\n");
    let diagnosis = one.diagnose(&[]);
    diagnosis.exit(1);
    assert!(changes(&diagnosis).iter().all(|step| !step.contains("redis-server")), "{diagnosis}");
    let Some(valkey) = Server::Valkey90.program() else { return };
    one.sh(&format!("cp {} /usr/local/bin/valkey-server", valkey.display()));
    one.file("/etc/valkey/valkey.conf", "port 6379\nbind 127.0.0.1\ndir /var/lib/redis\n");
    one.diagnose(&[]).first_cause("not-running", Confidence::Certain).apply(|_| &one);
    one.sh("until redis-cli ping | grep -q PONG; do sleep 0.01; done; redis-cli info server | grep -q valkey");
    one.diagnose(&[]).healthy();
}

#[test]
fn of_several_files_none_is_started_by_a_guess() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().file("/etc/redis/redis.conf", "port 6379\nbind 127.0.0.1\n");
    one.file("/etc/redis.conf", "port 6379\nbind 127.0.0.1\nappendonly yes\n");
    let diagnosis = one.diagnose(&[]);
    diagnosis.exit(1);
    changes_nothing(&diagnosis);
    says(&diagnosis, "cannot be told from here: a server with /etc/redis/redis.conf; a server with /etc/redis.conf");
    one.file("/etc/redis.conf", "port 7000\n");
    one.diagnose(&[]).first_cause("not-running", Confidence::Certain).apply(|_| &one);
    one.sh("until redis-cli ping | grep -q PONG; do sleep 0.01; done");
    one.diagnose(&[]).healthy();
}

#[test]
fn a_server_on_its_socket_is_given_no_port_that_another_is_meant_for() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    with_cache(&one, "port 0\nunixsocket /run/r.sock\n", "--port 6379 --bind 127.0.0.1");
    one.sh("systemctl start redis-server");
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("tcp-disabled", Confidence::Likely).nothing_certain().exit(1);
    changes_nothing(&diagnosis);
    says(&diagnosis, "start it: cache ('sudo systemctl start cache')");
}

#[test]
fn a_broken_file_of_another_port_is_at_most_possible() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\nbind 127.0.0.1\nrdbchecksum perhaps\n");
    let diagnosis = one.diagnose(&["-p", "6380"]);
    diagnosis.nothing_certain().exit(1);
    let sure = diagnosis.causes().into_iter().find(|(id, _)| id == "config-error").map(|(_, sure)| sure);
    assert!(sure.is_none_or(|sure| sure == Confidence::Possible), "{diagnosis}");
}
