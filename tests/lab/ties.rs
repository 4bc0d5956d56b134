//! What belongs to a server, and what only looks as if it did: files, services, listeners and addresses of others on its
//! machine. What is not tied to it is neither told of it for certain nor changed for it.

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Host, Lab, Running};

const SERVER: &str = "10.77.1.2";

/// The steps that change something: commands but for the one that verifies, and edits.
#[track_caller]
fn changes_nothing(diagnosis: &Diagnosis) {
    for cause in diagnosis.report["causes"].as_array().into_iter().flatten() {
        for step in cause["remedy"].as_array().into_iter().flatten() {
            let verifies = step["command"].as_str().is_some_and(|command| command.starts_with("redisdoc check"));
            assert!(step["kind"] == "tell" || step["kind"] == "look" || verifies, "{step}\n{diagnosis}");
        }
    }
}

#[track_caller]
fn says(diagnosis: &Diagnosis, text: &str) {
    assert!(diagnosis.to_string().contains(text), "{text:?} is not said\n{diagnosis}");
}

/// A server on loopback in a mount namespace of its own, whose /etc/redis is another.
fn apart(host: &Host, conf: &str) -> Running {
    host.file("/srv/own/redis.conf", conf);
    let line = "mount --bind /srv/own /etc/redis && exec redis-server /etc/redis/redis.conf";
    let running = host.command(&["unshare", "-m", "sh", "-c", line]).dir("/tmp").spawn();
    while !running.said().contains("eady to accept connections") {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    running
}

/// A program of this name that passes what comes to `at` on to `to`.
fn forwarder(host: &Host, name: &str, at: &str, to: &str) -> Running {
    let code = format!(
        "import asyncio\n\
         async def pump(a, b):\n while True:\n  d = await a.read(65536)\n  if not d: break\n  b.write(d)\n b.close()\n\
         async def serve(r, w):\n a, b = await asyncio.open_connection('{to}', 6379)\n \
         await asyncio.gather(pump(r, b), pump(a, w))\n\
         async def main():\n s = await asyncio.start_server(serve, '{at}', 6379)\n print('up', flush=True)\n \
         await s.serve_forever()\nasyncio.run(main())"
    );
    host.sh(&format!("mkdir -p /usr/local/bin && cp $(readlink -f $(command -v python3)) /usr/local/bin/{name}"));
    let running = host.command(&[&format!("/usr/local/bin/{name}"), "-c", &code]).spawn();
    while !running.said().contains("up") {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    running
}

#[test]
fn the_file_of_a_service_that_does_not_run_is_not_that_of_another_server() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.systemd("bind 127.0.0.1\nport 6379\nprotected-mode no\n");
    let _redis = server.redis(&["--port", "6400", "--bind", "127.0.0.1", "--requirepass", "zz"]);
    for diagnosis in [
        server.diagnose(&["-h", SERVER, "-p", "6400"]),
        client.joined(&server, &["-h", SERVER, "-p", "6400"]),
        server.diagnose(&["-h", SERVER, "-p", "6400", "-a", "zz"]),
    ] {
        diagnosis.first_cause("loopback-only", Confidence::Certain).exit(1);
        changes_nothing(&diagnosis);
        let causes = diagnosis.report["causes"].to_string();
        assert!(!causes.contains("/etc/redis/redis.conf"), "{diagnosis}");
    }
    // The same port, and the file is another's all the same.
    server.file("/etc/redis/redis.conf", "bind 127.0.0.1\nport 6400\nprotected-mode no\ndir /nope\nlogfile /nope/x\n");
    let diagnosis = server.diagnose(&["-h", SERVER, "-p", "6400"]);
    changes_nothing(diagnosis.first_cause("loopback-only", Confidence::Certain));
    server.diagnose(&["-p", "6400", "-a", "zz"]).healthy();
}

#[test]
fn the_file_of_another_mount_namespace_is_another_file() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.file("/etc/redis/redis.conf", "port 6379\nbind 127.0.0.1\ndir /nope\nlogfile /nope/x\n");
    let _redis = apart(&server, "port 6379\nbind 127.0.0.1\nrequirepass q\ndir /tmp\n");
    let diagnosis = server.diagnose(&[]);
    diagnosis.cause("password-missing", Confidence::Certain).not_cause("log-lost").not_cause("persistence-failing");
    server.diagnose(&["-a", "q"]).healthy();
    for diagnosis in [server.diagnose(&["-h", SERVER]), client.joined(&server, &["-h", SERVER])] {
        diagnosis.cause("loopback-only", Confidence::Certain).not_cause("log-lost");
        changes_nothing(&diagnosis);
    }
    // The host's own file would put a server there, which that one does not read.
    server.file("/etc/redis/redis.conf", "port 6379\nbind 0.0.0.0\n");
    let diagnosis = server.diagnose(&["-h", SERVER]);
    diagnosis.cause("loopback-only", Confidence::Possible).nothing_certain();
    assert!(!diagnosis.to_string().contains("if it was started with"), "{diagnosis}");
}

#[test]
fn a_tunnel_to_another_machine_exposes_nothing_here() {
    let Some(lab) = Lab::enter() else { return };
    let (far, one) = lab.pair();
    let _far = far.redis(&["--protected-mode", "no"]);
    let tunnel = forwarder(&one, "ssh", "127.0.0.1", "10.77.1.1");
    one.diagnose(&["--fail-on", "warning"]).healthy();
    let own = one.redis(&["--bind", SERVER, "--requirepass", "x"]);
    one.diagnose(&["--fail-on", "warning"]).healthy();
    drop(own);
    let other = forwarder(&one, "nginx", SERVER, "10.77.1.1");
    one.diagnose(&["--fail-on", "warning"]).healthy();
    drop(other);
    drop(tunnel);
    // A tunnel that all may use opens what is behind it.
    let _open = forwarder(&one, "ssh", "0.0.0.0", "10.77.1.1");
    one.diagnose(&["--deep"]).first_cause("exposed-without-password", Confidence::Certain);
    // Whose the listener is, is not looked for where all is well.
    one.diagnose(&[]).first_cause("exposed-without-password", Confidence::Likely).nothing_certain();
}

#[test]
fn a_name_of_two_machines_seen_from_one_of_them() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    for hosts in ["10.77.1.2 both\n10.77.1.1 both\n", "10.77.1.1 both\n10.77.1.2 both\n"] {
        let own = server.read("/etc/hosts");
        server.hosts_file(hosts);
        server.without_engines();
        server.diagnose(&["-h", "both"]).nothing_certain().exit(1);
        let _redis = server.redis(&["--bind", "127.0.0.1"]);
        let diagnosis = server.diagnose(&["-h", "both"]);
        diagnosis.cause("loopback-only", Confidence::Likely).nothing_certain().exit(1);
        assert!(!diagnosis.to_string().contains("not on 10.77.1.1"), "{diagnosis}");
        // Who took the connection is known.
        let _open = server.redis(&["--bind", SERVER, "--requirepass", "x"]);
        server.diagnose(&["-h", "both"]).cause("password-missing", Confidence::Certain).exit(1);
        server.file("/etc/hosts", own);
    }
}

#[test]
fn a_bind_that_was_edited_wants_a_restart() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    for bind in ["0.0.0.0", SERVER] {
        let conf = format!("bind {bind}\nport 6379\nrequirepass inside\n");
        // Started by hand, it does not tell what it was started with.
        let redis = server.redis_conf("bind 127.0.0.1\nport 6379\nrequirepass inside\n");
        server.file("/etc/redis/redis.conf", conf.as_str());
        for diagnosis in [server.diagnose(&["-h", SERVER]), client.joined(&server, &["-h", SERVER, "-a", "inside"])] {
            diagnosis.first_cause("loopback-only", Confidence::Likely).nothing_certain().exit(1);
            diagnosis.not_cause("bind-address-missing");
            says(&diagnosis, "if it was started with /etc/redis/redis.conf");
            changes_nothing(diagnosis.first_cause("loopback-only", Confidence::Likely));
        }
        drop(redis);
        // A service's is known by its control group.
        server.systemd("bind 127.0.0.1\nport 6379\nrequirepass inside\n").sh("systemctl start redis-server; sleep 0.1");
        server.file("/etc/redis/redis.conf", conf.as_str());
        let diagnosis = client.joined(&server, &["-h", SERVER, "-a", "inside"]);
        diagnosis.first_cause("loopback-only", Confidence::Certain).not_cause("bind-address-missing");
        diagnosis.apply(|on| if on == "redis-host" { &server } else { &client });
        client.diagnose(&["-h", SERVER, "-a", "inside"]).healthy();
        server.sh("systemctl stop redis-server; rm -r /run/systemd /etc/systemd/system/redis-server.service");
    }
}

#[test]
fn a_port_that_was_edited_to_0_is_still_listened_on() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.systemd("port 6379\n");
    let _redis = one.redis_conf("port 6379\nunixsocket /run/r.sock\nbind 127.0.0.1\nrequirepass inside\n");
    one.file("/etc/redis/redis.conf", "port 0\nunixsocket /run/r.sock\nbind 127.0.0.1\nrequirepass inside\n");
    for port in ["6380", "7000"] {
        one.diagnose(&["-p", port]).not_cause("tcp-disabled").nothing_certain().exit(1);
    }
    one.diagnose(&["-a", "inside"]).exit(0);
}
