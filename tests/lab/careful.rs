//! What must not be said, and must not be done: causes that only seem certain on the server's own machine, and repairs that
//! would do harm there.

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Host, Lab, Running};

const SERVER: &str = "10.77.1.2";

/// The commands of the first cause's remedy.
fn commands(diagnosis: &Diagnosis) -> Vec<String> {
    let steps = diagnosis.report["causes"][0]["remedy"].as_array().into_iter().flatten();
    steps.filter_map(|step| step["command"].as_str().map(str::to_owned)).collect()
}

/// A program of this name that accepts connections on 6379 and closes them, as a forwarder does whose far end is down.
fn forwarder(host: &Host, name: &str) -> Running {
    let code = "import socket\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
                s.bind(('', 6379)); s.listen(8); print('up', flush=True)\nwhile True:\n c, _ = s.accept(); c.close()";
    host.sh(&format!("mkdir -p /usr/local/bin && cp $(readlink -f $(command -v python3)) /usr/local/bin/{name}"));
    let running = host.command(&[&format!("/usr/local/bin/{name}"), "-c", code]).spawn();
    while !running.said().contains("up") {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    running
}

#[test]
fn what_only_closes_may_pass_connections_on() {
    let Some(lab) = Lab::enter() else { return };
    for name in ["gost", "nobody-knows", "haproxy"] {
        let one = lab.host(name);
        one.systemd("port 6379\n");
        let _forwarder = forwarder(&one, name);
        one.diagnose(&["-t", "1"]).nothing_certain().exit(1);
    }
}

#[test]
fn an_address_by_a_route_alone_is_this_machines_too() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.ip("route add local 10.99.0.0/24 dev lo");
    client.ip("route add 10.99.0.0/24 via 10.77.1.2");
    let _redis = server.redis(&["--requirepass", "pw", "--bind", "0.0.0.0"]);
    client.diagnose(&["-h", "10.99.0.7", "-a", "pw"]).healthy();
    client.joined(&server, &["-h", "10.99.0.7", "-a", "pw"]).healthy();
    // The server listens on one of its own addresses, and not on those of the route.
    let other = server.redis(&["--requirepass", "pw", "--port", "7000", "--bind", SERVER]);
    let refused = client.joined(&server, &["-h", "10.99.0.7", "-p", "7000", "-a", "pw"]);
    refused.exit(1).not_cause("bind-address-missing");
    drop(other);
}

#[test]
fn a_folder_of_the_system_is_not_given_to_redis() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let one = lab.host("solo");
    one.sh("mkdir -p /etc/taken && chown 105 /etc/taken");
    let _redis = one.redis_as(105, &["--save", "3600 1", "--dir", "/etc/taken"]);
    one.sh("chown 0:0 /etc/taken; redis-cli set a b; redis-cli bgsave; sleep 0.3");
    let diagnosis = one.diagnose(&[]);
    diagnosis.finding("disk/not-writable").first_cause("persistence-failing", Confidence::Certain);
    let commands = commands(&diagnosis);
    assert!(commands.iter().all(|command| !command.contains("chown") && !command.contains("chmod")), "{commands:?}");
    assert!(diagnosis.to_string().contains("is no folder for data"), "{diagnosis}");
}

#[test]
fn names_with_blanks_and_quotes_are_quoted() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let dir = "/srv/a b'c$(touch /tmp/harm)";
    let quoted = "/srv/a b'\\''c$(touch /tmp/harm)";
    one.sh(&format!("mkdir -p '{quoted}/log'"));
    let _redis = one.redis(&["--dir", dir, "--logfile", &format!("{dir}/log/redis.log")]);
    one.sh(&format!("rm -r '{quoted}/log'"));
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("log-lost", Confidence::Certain).apply(|_| &one);
    one.diagnose(&[]).healthy();
    one.sh("[ ! -e /tmp/harm ]");
}

#[test]
fn a_line_that_an_argument_overrides_is_not_edited() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.file("/etc/redis/redis.conf", "bind 10.77.1.2\nprotected-mode no\n");
    let _redis = server.redis(&["/etc/redis/redis.conf", "--bind", "127.0.0.1"]);
    let joined = client.joined(&server, &["-h", SERVER]);
    joined.first_cause("loopback-only", Confidence::Certain);
    let steps = joined.report["causes"][0]["remedy"].as_array().cloned().unwrap_or_default();
    assert!(steps.iter().all(|step| step["kind"] != "edit"), "{joined}");
    joined.apply(|on| if on == "redis-host" { &server } else { &client });
    client.diagnose(&["-h", SERVER]).first_cause("password-missing", Confidence::Certain);
}

#[test]
fn facts_that_are_not_needed_are_said_to_be_unused() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _far = server.redis(&["--requirepass", "pw"]);
    let _own = client.redis(&["--requirepass", "pw"]);
    let joined = client.joined(&server, &["-h", "127.0.0.1", "-a", "pw"]);
    joined.healthy();
    assert!(joined.to_string().contains("server"), "the given facts are not spoken of\n{joined}");
    let process = joined.report["checks"].as_array().into_iter().flatten().find(|check| check["id"] == "process");
    assert!(
        process.is_some_and(|check| check["summary"].as_str().unwrap_or_default().contains("not used")),
        "{joined}"
    );
}

#[test]
fn a_fault_of_a_file_in_its_usual_place_is_not_the_servers() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.file("/etc/redis/redis.conf", "bind 10.77.1.2 192.0.2.7\nprotected-mode perhaps\n");
    server.file("/srv/own.conf", "requirepass pw\n");
    let _redis = server.redis(&["/srv/own.conf"]);
    server.diagnose(&["-a", "pw", "--deep"]).healthy();
    client.joined(&server, &["-h", SERVER, "-a", "pw"]).healthy();
}

#[test]
fn the_stranger_at_the_asked_address_is_named_and_no_other() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    server.systemd("port 6379\n");
    let code = |ip: &str| {
        format!(
            "import socket\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
             s.bind(('{ip}', 6379)); s.listen(8); print('up', flush=True)\n\
             while True:\n c, _ = s.accept(); c.recv(9); c.sendall(b'HTTP/1.0 400 Bad Request\\r\\n'); c.close()"
        )
    };
    let listening = |ip: &str| {
        let running = server.command(&["python3", "-c", &code(ip)]).spawn();
        while !running.said().contains("up") {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        running
    };
    let (_far, near) = (listening(SERVER), listening("127.0.0.1"));
    let diagnosis = server.diagnose(&["-t", "1"]);
    diagnosis.first_cause("port-taken", Confidence::Certain);
    let pid = near.pid().to_string();
    assert!(commands(&diagnosis).iter().any(|command| command == &format!("sudo kill {pid}")), "{pid}\n{diagnosis}");
}

#[test]
fn a_server_in_a_container_beside_it_makes_the_port_unsure() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6380\nbind 127.0.0.1\n").sh("systemctl start redis-server");
    let _contained = one.command(&["unshare", "-n", "redis-server", "--port", "6379"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(300));
    one.diagnose(&[]).cause("wrong-port", Confidence::Possible).nothing_certain().exit(1);
}

#[test]
fn facts_of_one_of_two_machines_settle_nothing_of_the_other() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    client.hosts_file("10.77.1.254 db\n10.77.2.2 db\n");
    let _redis = server.redis(&["--bind", "127.0.0.1"]);
    let joined = client.joined(&server, &["-h", "db"]);
    joined.nothing_certain().exit(1);
    assert!(!joined.to_string().contains("refuses 10.77.1.254"), "{joined}");
    client.diagnose(&["-h", "10.77.1.254"]).nothing_certain();
    drop(router);
}

#[test]
fn an_edited_file_does_not_start_a_second_server_in_the_same_folder() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.file("/etc/redis/redis.conf", "bind 127.0.0.1\nrequirepass pw\ndir /var/lib/redis\n")
        .sh("mkdir -p /var/lib/redis");
    let _redis = one.redis(&["/etc/redis/redis.conf"]);
    one.file("/etc/redis/redis.conf", "port 6380\nbind 127.0.0.1\nrequirepass pw\ndir /var/lib/redis\n");
    let diagnosis = one.diagnose(&["-p", "6380", "-a", "pw"]);
    diagnosis.exit(1);
    let report = diagnosis.report["causes"].to_string();
    assert!(!report.contains("--daemonize"), "{diagnosis}");
}

#[test]
fn what_stands_in_for_redis_keeps_its_absence_open() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.sh("cp $(readlink -f $(command -v redis-server)) /usr/local/bin/mydb");
    let running = one.command(&["/usr/local/bin/mydb", "--port", "6380"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(300));
    one.diagnose(&[]).finding("process/elsewhere").not_cause("not-running").exit(1);
    drop(running);
}

#[test]
fn what_redis_7_takes_in_one_argument_is_no_fault() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let lines = "latency-tracking-info-percentiles \"50 99\"\noom-score-adj-values \"0 200 800\"\n\
                 client-output-buffer-limit \"normal 0 0 0 pubsub 32mb 8mb 60\"\nsave \"3600 1 300 100\"\n";
    let _redis = one.redis_conf(lines);
    one.diagnose(&["--deep", "--fail-on", "warning"]).healthy();
}

#[test]
fn the_file_of_another_mount_namespace_is_another() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.file("/etc/redis/redis.conf", "dir /nope\nmaxclients many\n").file("/srv/etc/redis.conf", "port 6379\n");
    let inside = "mount --bind /srv/etc /etc/redis && exec redis-server /etc/redis/redis.conf";
    let _redis = one.command(&["unshare", "-m", "sh", "-c", inside]).spawn();
    one.sh("for i in $(seq 200); do redis-cli ping && exit; sleep 0.01; done; exit 1");
    one.diagnose(&["--deep"]).healthy();
    one.diagnose(&[]).healthy();
}

#[test]
fn a_network_that_a_route_makes_local_can_be_bound_to() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.ip("route add local 10.99.0.0/24 dev lo");
    one.systemd("bind 127.0.0.1 10.99.0.5\n");
    one.diagnose(&[]).not_cause("bind-address-missing").first_cause("not-running", Confidence::Certain).apply(|_| &one);
    one.diagnose(&[]).healthy();
}

#[test]
fn a_server_that_goes_on_without_saving_is_not_said_to_refuse_writes() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.sh("mkdir -p /srv/data && mount -t tmpfs none /srv/data");
    let _redis = one.redis(&["--save", "3600 1", "--dir", "/srv/data", "--stop-writes-on-bgsave-error", "no"]);
    one.sh("mount -o remount,ro /srv/data");
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("persistence-failing", Confidence::Certain);
    assert!(!diagnosis.report["causes"][0]["summary"].to_string().contains("refuses writes"), "{diagnosis}");
}

#[test]
fn a_sentinel_is_not_judged_as_a_server() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.file("/etc/redis/s.conf", "port 26379\nsentinel monitor m 127.0.0.1 6379 1\n");
    let _master = one.redis(&["--bind", "127.0.0.1"]);
    let _sentinel = one.redis(&["/etc/redis/s.conf", "--sentinel"]);
    let diagnosis = one.diagnose(&["-p", "26379", "--deep"]);
    diagnosis.not_cause("config-error").not_cause("exposed-without-password");
}

#[test]
fn an_idle_process_of_that_name_leads_to_no_file() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.file("/root/secret", "marker MARKER\nport x\n").mode("/root/secret", 0o600);
    one.sh("cp $(command -v sleep) /tmp/redis-server");
    let _idle = one.command(&["bash", "-c", "exec -a /tmp/redis-server /tmp/redis-server 60 /root/secret"]).spawn();
    let _named = one.command(&["bash", "-c", "cd /root; exec -a redis-server perl -e 'sleep 60' secret"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let diagnosis = one.diagnose(&[]);
    diagnosis.not_cause("config-error").exit(1);
    assert!(!diagnosis.to_string().contains("MARKER"), "{diagnosis}");
}

#[test]
fn a_service_whose_file_is_gone_says_so() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\n").sh("rm /etc/redis/redis.conf");
    one.diagnose(&[]).first_cause("config-error", Confidence::Certain).exit(1);
}

#[test]
fn a_port_that_is_translated_is_another_machines() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _far = server.redis(&["--bind", "127.0.0.1"]);
    router.nft(
        "add table ip n; add chain ip n p { type nat hook prerouting priority -100; }\n\
         add rule ip n p ip daddr 10.77.1.254 tcp dport 6379 dnat to 10.77.2.2",
    );
    let asked = ["-h", "10.77.1.254"];
    client.joined(&router, &asked).nothing_certain().exit(1);
    // A server of the router itself, wherever it listens, is not the one behind the rule.
    let own = router.redis(&["--bind", "127.0.0.1"]);
    client.joined(&router, &asked).nothing_certain().exit(1);
    drop(own);
    router.without_engines().systemd("port 6380\nbind 127.0.0.1 10.77.1.254\nprotected-mode no\n");
    router.sh("systemctl start redis-server");
    client.joined(&router, &asked).nothing_certain().exit(1);
    router.nft("delete table ip n");
    client.joined(&router, &asked).first_cause("wrong-port", Confidence::Certain).exit(1);
}

#[test]
fn rules_that_may_not_be_read_may_translate() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let one = lab.host("solo");
    one.ip("addr add 10.5.5.1/32 dev lo");
    one.file("/etc/redis/redis.conf", "port 6379\n").mode("/etc/redis/redis.conf", 0o644);
    one.doctor(&["-h", "10.5.5.1"]).user(65534).diagnose().nothing_certain().exit(1);
}
