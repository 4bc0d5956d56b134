//! The server's own machine: what redisdoc sees there, what it makes certain there and, joined, from the client; and that
//! its repairs repair.

use crate::world::{Confidence, Host, Lab, Running};

const SERVER: &str = "10.77.1.2";
const CLOSED_FIREWALL: &str = "flush ruleset";

/// A program that is no Redis on a port of this host, and owns its socket as programs do.
fn stranger(host: &Host, port: u16) -> Running {
    let code = format!(
        "import socket, time\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.bind(('', {port})); s.listen(8); print('up', flush=True)\n\
         while True:\n c, _ = s.accept(); c.recv(9); c.sendall(b'HTTP/1.0 400 Bad Request\\r\\n'); c.close()"
    );
    let running = host.command(&["python3", "-c", &code]).spawn();
    while !running.said().contains("up") {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    running
}

/// The password that a repair has left on the server's host.
fn kept_password(server: &Host) -> String {
    let password = server.sh("cat redis-password").stdout;
    assert_eq!(password.len(), 48, "{password:?}");
    password
}

#[test]
fn a_healthy_server_is_seen_from_both_ends() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.systemd("bind 127.0.0.1 10.77.1.2\nrequirepass pw\n").sh("systemctl start redis-server");
    for args in [&["-a", "pw"][..], &["-h", SERVER, "-a", "pw"], &["-a", "pw", "--deep"]] {
        let diagnosis = server.diagnose(args);
        diagnosis.healthy().check("process", "pass").check("config", "pass");
    }
    client.diagnose(&["-h", SERVER, "-a", "pw"]).healthy().check("process", "skipped").check("config", "skipped");
    client.joined(&server, &["-h", SERVER, "-a", "pw"]).healthy().check("process", "pass").check("config", "pass");
}

#[test]
fn a_machine_without_redis_is_told_how_to_get_one() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.without_redis();
    let diagnosis = server.diagnose(&[]);
    diagnosis.finding("process/none").first_cause("not-installed", Confidence::Certain).exit(1);
    let command = diagnosis.report["causes"][0]["remedy"][0]["command"].as_str().unwrap_or_default().to_owned();
    assert!(command.contains("install"), "{diagnosis}");
    client.diagnose(&["-h", SERVER]).nothing_certain().exit(1);
    client.joined(&server, &["-h", SERVER]).first_cause("not-installed", Confidence::Certain).exit(1);
}

#[test]
fn a_server_that_was_not_started_is_started_by_its_unit() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.systemd("bind 127.0.0.1 10.77.1.2\nprotected-mode no\nrequirepass pw\n");
    let joined = client.joined(&server, &["-h", SERVER, "-a", "pw"]);
    joined.finding("tcp/refused").first_cause("not-running", Confidence::Certain).exit(1);
    let diagnosis = server.diagnose(&["-a", "pw"]);
    diagnosis.finding("process/none").first_cause("not-running", Confidence::Certain).exit(1);
    diagnosis.apply(|_| &server);
    server.diagnose(&["-a", "pw"]).healthy();
    client.joined(&server, &["-h", SERVER, "-a", "pw"]).healthy();
}

#[test]
fn a_server_without_a_service_is_started_by_hand() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.file("/etc/redis/redis.conf", "bind 127.0.0.1\ndir /var/lib\n");
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("not-running", Confidence::Certain).exit(1);
    diagnosis.apply(|_| &one);
    // It goes into the background before it listens.
    one.sh("for i in $(seq 200); do redis-cli ping && exit; sleep 0.01; done; exit 1");
    one.diagnose(&[]).healthy();
}

#[test]
fn a_zombie_does_not_run() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let parent = one.command(&["sh", "-c", "redis-server --port 6379 & echo pid $!; exec sleep 60"]).spawn();
    while !parent.said().contains("eady to accept") {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    one.diagnose(&[]).healthy();
    let said = parent.said();
    let pid = said.lines().find_map(|line| line.strip_prefix("pid ")).expect("its number").to_owned();
    one.sh(&format!("kill -9 {pid}; sleep 0.1; grep -q 'State:.Z' /proc/{pid}/status"));
    let diagnosis = one.diagnose(&[]);
    diagnosis.finding("process/dead").first_cause("not-running", Confidence::Certain).exit(1);
}

#[test]
fn loopback_only_is_certain_with_the_listeners_seen() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let conf = "# ours\n\nbind 127.0.0.1 -::1\ndir /var/lib/redis\n";
    server.systemd(conf).sh("systemctl start redis-server");
    client.diagnose(&["-h", SERVER]).cause("loopback-only", Confidence::Possible).nothing_certain();
    let local = server.diagnose(&["-h", SERVER]);
    local.first_cause("loopback-only", Confidence::Certain).exit(1);
    assert!(local.report.to_string().contains("127.0.0.1:6379: PING is answered PONG"), "{local}");
    let joined = client.joined(&server, &["-h", SERVER]);
    joined.first_cause("loopback-only", Confidence::Certain).exit(1);
    let evidence = joined.report["causes"][0]["evidence"].to_string();
    assert!(evidence.contains("on server,"), "the evidence does not say whose it is\n{joined}");
    joined.apply(|on| if on == "redis-host" { &server } else { &client });
    client.diagnose(&["-h", SERVER]).first_cause("password-missing", Confidence::Certain);
    client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", &kept_password(&server)).diagnose().healthy();
    assert!(server.read("/etc/redis/redis.conf").contains("\nbind 127.0.0.1 -::1 10.77.1.2\n"));
}

#[test]
fn loopback_only_by_an_argument_is_mended_at_once() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--bind", "127.0.0.1", "--protected-mode", "no"]);
    let diagnosis = client.joined(&server, &["-h", SERVER]);
    diagnosis.first_cause("loopback-only", Confidence::Certain).exit(1);
    diagnosis.apply(|on| if on == "redis-host" { &server } else { &client });
    // Open, and not without a password.
    client.diagnose(&["-h", SERVER]).first_cause("password-missing", Confidence::Certain);
    client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", &kept_password(&server)).diagnose().healthy();
}

#[test]
fn another_port_is_named() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--port", "6380", "--requirepass", "pw"]);
    for diagnosis in [server.diagnose(&["-a", "pw"]), client.joined(&server, &["-h", SERVER, "-a", "pw"])] {
        // Started by hand, it may not be the one that ought to be there.
        diagnosis.finding("process/elsewhere").first_cause("wrong-port", Confidence::Likely).nothing_certain().exit(1);
        let steps = diagnosis.report["causes"][0]["remedy"].as_array().expect("a remedy").clone();
        let last = steps.last().expect("a last step")["command"].as_str().unwrap_or_default().to_owned();
        assert!(last.contains("-p 6380"), "{diagnosis}");
    }
    server.diagnose(&["-p", "6380", "-a", "pw"]).healthy();
    // Another server is meant for the port, and does not run.
    server.file("/etc/redis/redis.conf", "port 6379\n");
    server.diagnose(&["-a", "pw"]).nothing_certain().exit(1);
}

#[test]
fn another_port_of_the_machines_own_service_is_certain() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6380\nbind 127.0.0.1\n").sh("systemctl start redis-server");
    one.diagnose(&[]).first_cause("wrong-port", Confidence::Certain).exit(1);
    one.diagnose(&["-p", "6380"]).healthy();
    // A dead one beside it may be the one.
    let mut other = one.redis(&["--port", "7000"]);
    one.diagnose(&[]).cause("wrong-port", Confidence::Likely).nothing_certain();
    other.kill();
    one.diagnose(&[]).first_cause("wrong-port", Confidence::Likely);
}

#[test]
fn another_program_has_the_port() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.systemd("bind 127.0.0.1 10.77.1.2\nrequirepass pw\n");
    let _stranger = stranger(&server, 6379);
    let joined = client.joined(&server, &["-h", SERVER, "-a", "pw"]);
    joined.finding("process/stranger").first_cause("port-taken", Confidence::Certain).exit(1);
    let diagnosis = server.diagnose(&["-a", "pw"]);
    diagnosis.first_cause("port-taken", Confidence::Certain).exit(1);
    diagnosis.apply(|_| &server);
    server.diagnose(&["-a", "pw"]).healthy();
}

#[test]
fn a_port_without_redis_may_be_another_services_own() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_redis();
    let _stranger = stranger(&one, 6379);
    // That it is no Redis is certain; whether one ought to be there is not.
    one.diagnose(&[]).first_cause("not-redis", Confidence::Certain).not_cause("port-taken").exit(1);
}

#[test]
fn port_zero_leaves_the_unix_socket() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let conf = "bind 127.0.0.1 10.77.1.2\nrequirepass pw\nport 0\nunixsocket /run/redis.sock\n";
    server.systemd(conf).sh("systemctl start redis-server");
    let diagnosis = server.diagnose(&["-a", "pw"]);
    diagnosis.finding("config/no-tcp").first_cause("tcp-disabled", Confidence::Likely).exit(1);
    server.diagnose(&["-s", "/run/redis.sock", "-a", "pw"]).healthy();
    server.diagnose(&["-s", "/run/other.sock"]).first_cause("socket-missing", Confidence::Certain).exit(1);
    let joined = client.joined(&server, &["-h", SERVER, "-a", "pw"]);
    joined.first_cause("tcp-disabled", Confidence::Likely).exit(1);
    joined.apply(|on| if on == "redis-host" { &server } else { &client });
    client.diagnose(&["-h", SERVER, "-a", "pw"]).healthy();
}

#[test]
fn port_zero_of_another_applications_redis_is_not_certain() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 0\nunixsocket /run/redis.sock\n").sh("systemctl start redis-server");
    one.diagnose(&[]).first_cause("tcp-disabled", Confidence::Certain).exit(1);
    let other = lab.host("other");
    other.file("/var/opt/gitlab/redis.conf", "port 0\nunixsocket /run/gitlab.sock\n");
    let _redis = other.redis(&["/var/opt/gitlab/redis.conf"]);
    other.diagnose(&[]).nothing_certain().exit(1);
}

#[test]
fn an_address_that_the_machine_lacks_keeps_redis_from_starting() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.systemd("requirepass pw\nbind 127.0.0.1 -::1 10.77.1.77\n");
    assert_ne!(server.run(&["systemctl", "start", "redis-server"]).code, Some(0), "it starts all the same");
    let joined = client.joined(&server, &["-h", SERVER, "-a", "pw"]);
    joined.first_cause("bind-address-missing", Confidence::Certain).exit(1);
    let diagnosis = server.diagnose(&["-a", "pw"]);
    diagnosis.finding("config/bind-missing").first_cause("bind-address-missing", Confidence::Certain).exit(1);
    diagnosis.apply(|_| &server);
    server.diagnose(&["-a", "pw"]).healthy();
}

#[test]
fn an_address_that_came_after_the_start_is_not_listened_on() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.systemd("requirepass pw\nbind 127.0.0.1 -10.77.1.77\n").sh("systemctl start redis-server");
    server.interface("eth0", &["10.77.1.77/24"]);
    let joined = client.joined(&server, &["-h", "10.77.1.77", "-a", "pw"]);
    // Without the password, collect cannot ask the server itself: its redis.conf says the same.
    joined.first_cause("bind-address-missing", Confidence::Likely).nothing_certain().exit(1);
    let diagnosis = server.diagnose(&["-h", "10.77.1.77", "-a", "pw"]);
    diagnosis.first_cause("bind-address-missing", Confidence::Likely).exit(1);
    diagnosis.apply(|_| &server);
    server.diagnose(&["-h", "10.77.1.77", "-a", "pw"]).healthy();
}

#[test]
fn a_line_that_redis_refuses_is_found_in_its_file() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.without_engines().systemd("bind 127.0.0.1 10.77.1.2\nrequirepass pw\nmaxclients 1 2\n");
    assert_ne!(server.run(&["systemctl", "start", "redis-server"]).code, Some(0), "it starts all the same");
    client.joined(&server, &["-h", SERVER, "-a", "pw"]).first_cause("config-error", Confidence::Certain).exit(1);
    let diagnosis = server.diagnose(&["-a", "pw"]);
    diagnosis.finding("config/error").first_cause("config-error", Confidence::Certain).exit(1);
    let summary = diagnosis.report["causes"][0]["summary"].as_str().unwrap_or_default().to_owned();
    assert!(summary.contains("/etc/redis/redis.conf:3"), "{summary}");
    diagnosis.apply(|_| &server);
    server.diagnose(&["-a", "pw"]).healthy();
    // A server that runs will not come back from its next start.
    let conf = server.read("/etc/redis/redis.conf") + "maxclients none\n";
    server.file("/etc/redis/redis.conf", conf);
    let diagnosis = server.diagnose(&["-a", "pw"]);
    diagnosis.finding("config/next-start").first_cause("config-error", Confidence::Certain).exit(0);
}

#[test]
fn a_server_that_anybody_may_use_is_a_warning() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.systemd("protected-mode no\n").sh("systemctl start redis-server");
    client.diagnose(&["-h", SERVER]).healthy();
    let joined = client.joined(&server, &["-h", SERVER]);
    joined.first_cause("exposed-without-password", Confidence::Certain).exit(0);
    let diagnosis = server.diagnose(&[]);
    diagnosis.finding("config/exposed").first_cause("exposed-without-password", Confidence::Certain).exit(0);
    server.diagnose(&["--fail-on", "warning"]).exit(1);
    diagnosis.apply(|_| &server);
    server.doctor(&[]).env("REDISCLI_AUTH", &kept_password(&server)).diagnose().healthy();
    client.diagnose(&["-h", SERVER]).first_cause("password-missing", Confidence::Certain);
}

#[test]
fn what_nobody_else_can_reach_is_not_exposed() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    for args in [&["--protected-mode", "no", "--bind", "127.0.0.1"][..], &["--protected-mode", "yes"]] {
        let _redis = server.redis(args);
        server.diagnose(&[]).healthy();
    }
    let alone = lab.host("alone");
    let _redis = alone.redis(&["--protected-mode", "no"]);
    alone.diagnose(&[]).healthy();
}

#[test]
fn idle_clients_are_cut_off_soon() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.systemd("timeout 12\n").sh("systemctl start redis-server");
    let diagnosis = one.diagnose(&[]);
    diagnosis.finding("config/idle-timeout").first_cause("idle-timeout", Confidence::Likely).exit(0);
    diagnosis.apply(|_| &one);
    one.diagnose(&[]).healthy();
    one.sh("systemctl restart redis-server");
    one.diagnose(&[]).healthy();
}

#[test]
fn a_reset_by_a_firewall_is_told_with_both_ends_seen() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--requirepass", "pw"]);
    let rule = "add rule inet f i tcp dport 6379 reject with tcp reset";
    server.nft(&format!("add table inet f; add chain inet f i {{ type filter hook input priority 0; }}; {rule}"));
    client.diagnose(&["-h", SERVER, "-a", "pw"]).cause("not-running", Confidence::Possible).nothing_certain();
    let joined = client.joined(&server, &["-h", SERVER, "-a", "pw"]);
    joined.first_cause("firewall-reject", Confidence::Likely).check("process", "pass").exit(1);
    joined.not_cause("not-running").not_cause("loopback-only").not_cause("wrong-port");
    server.nft(CLOSED_FIREWALL);
    client.joined(&server, &["-h", SERVER, "-a", "pw"]).healthy();
}

#[test]
fn facts_of_another_machine_or_another_time_are_not_used() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let other = lab.host("other");
    let _redis = server.redis(&["--bind", "127.0.0.1"]);
    let foreign = client.joined(&other, &["-h", SERVER]);
    foreign.check("process", "unknown").nothing_certain().exit(1);
    let mut facts: serde_json::Value = serde_json::from_str(&server.collect()).expect("JSON");
    facts["host"]["origin"]["taken_at"] = "2020-01-01T00:00:00Z".into();
    let stale = client.doctor(&["-h", SERVER, "--host-facts", "-"]).stdin(facts.to_string()).diagnose();
    stale.check("process", "unknown").nothing_certain().exit(1);
    // What was true some minutes ago may have been mended since.
    let ago = server.sh("date -u -d '3 minutes ago' +%Y-%m-%dT%H:%M:%SZ").stdout;
    facts["host"]["origin"]["taken_at"] = ago.trim().into();
    let old = client.doctor(&["-h", SERVER, "--host-facts", "-"]).stdin(facts.to_string()).diagnose();
    old.first_cause("loopback-only", Confidence::Likely).nothing_certain().exit(1);
    for garbage in ["", "nonsense", "{}", "{\"facts_version\": 1}"] {
        let ran = client.redisdoc(&["check", "-h", SERVER, "--host-facts", "-"]).stdin(garbage).run();
        assert_eq!(ran.code, Some(2), "{ran}");
    }
}

#[test]
fn what_is_collected_holds_no_secret() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let conf = "requirepass marker-one\nmasterauth marker-two\nuser app on >marker-three ~* +@all\n\
                rename-command DEBUG marker-four\ntls-key-file-pass marker-five\n";
    one.systemd(conf).sh("systemctl start redis-server");
    let _other = one.redis(&["--port", "6380", "--requirepass", "marker-six", "--set-proc-title", "no"]);
    let facts = one.collect();
    assert!(!facts.contains("marker"), "{facts}");
    let ran = one.redisdoc(&["check", "-a", "marker-one", "--deep", "-o", "facts"]).run();
    assert!(!ran.stdout.contains("marker"), "{ran}");
}

#[test]
fn without_rights_it_says_less_and_nothing_wrong() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let one = lab.host("solo");
    let redis = one.redis_as(1, &["--bind", "127.0.0.1"]);
    one.doctor(&[]).user(65_534).diagnose().healthy();
    one.doctor(&["-p", "6380"]).user(65_534).diagnose().not_cause("not-installed").not_cause("not-running").exit(1);
    drop(redis);
    one.doctor(&[]).user(65_534).diagnose().first_cause("not-running", Confidence::Likely).exit(1);
}

#[test]
fn clients_that_were_cut_off_are_told_of() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.systemd("logfile /var/log/redis/redis.log\n").sh("systemctl start redis-server");
    one.diagnose(&[]).healthy().check("log", "pass");
    one.sh("timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/6379; printf \"POST / HTTP/1.1\\r\\n\\r\\n\" >&3; cat <&3' || true");
    one.diagnose(&[]).finding("log/http").first_cause("http-client", Confidence::Certain).exit(0);
    one.sh("echo >/var/log/redis/redis.log");
    one.diagnose(&[]).healthy();
    one.sh("redis-cli config set client-output-buffer-limit 'normal 1000 0 0'; \
            redis-cli set k \"$(head -c 100000 /dev/zero | tr '\\0' x)\"; \
            redis-cli eval \"local t={} for i=1,2000 do t[i]=redis.call('get','k') end return t\" 0 >/dev/null 2>&1 || true");
    let diagnosis = one.diagnose(&[]);
    diagnosis.finding("log/output-buffer").first_cause("output-buffer-limit", Confidence::Certain).exit(0);
}

/// A server of its own folder beside another: its process, and the arguments that name it.
#[test]
fn a_neighbour_is_not_taken_for_the_target() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    server.file("/etc/redis/redis.conf", "port 6379\nbind 127.0.0.1 10.77.1.2\n");
    // Stopped, on another port.
    let neighbour = server.redis(&["--port", "6380"]);
    neighbour.freeze();
    server.diagnose(&[]).nothing_certain().not_cause("process-stopped").exit(1);
    neighbour.thaw();
    server.diagnose(&[]).cause("not-running", Confidence::Likely).nothing_certain().exit(1);
    drop(neighbour);
    // Without a TCP port.
    let cache = server.redis(&["--port", "0", "--unixsocket", "/run/cache.sock"]);
    server.diagnose(&[]).nothing_certain().not_cause("tcp-disabled").exit(1);
    drop(cache);
    // On the same port of another address.
    let cache = server.redis(&["--bind", "127.0.0.1", "--protected-mode", "no"]);
    server.diagnose(&["-h", SERVER]).nothing_certain().exit(1);
    drop(cache);
    // A sentinel is no server of data.
    server.file("/run/sentinel.conf", "port 26379\n");
    let _sentinel = server.redis(&["/run/sentinel.conf", "--sentinel"]);
    server.diagnose(&[]).not_cause("wrong-port").first_cause("not-running", Confidence::Certain).exit(1);
}

#[test]
fn a_server_that_loopback_alone_reaches_is_not_exposed_by_its_neighbour() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    let _open = server.redis(&["--bind", "127.0.0.1", "--protected-mode", "no"]);
    let _guarded = server.redis(&["--bind", "10.77.1.2", "--requirepass", "pw"]);
    server.diagnose(&[]).healthy();
}

#[test]
fn a_default_user_that_may_do_little_is_not_exposed() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    let _redis = server
        .redis_conf("protected-mode no\nuser default on nopass ~* -@all +ping +select\nuser app on >pw ~* +@all\n");
    server.diagnose(&[]).not_cause("exposed-without-password");
}

#[test]
fn a_file_that_the_server_does_not_read_is_not_its_own() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    server.file("/etc/redis/redis.conf", "maxclients 1 2\nmaxclients 600000\n");
    let _redis = server.redis(&["--requirepass", "pw"]);
    server.diagnose(&["-a", "pw", "--deep"]).healthy();
    client.joined(&server, &["-h", SERVER, "-a", "pw"]).healthy();
    let ran = server.redisdoc(&["check", "--json", "--redis-conf", "/nosuch"]).run();
    assert_eq!(ran.code, Some(2), "{ran}");
}

#[test]
fn a_password_is_set_where_the_server_listens_and_survives_a_second_time() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    let _other = server.redis(&["--bind", "127.0.0.1", "--requirepass", "other"]);
    server.file("/etc/redis/own.conf", "bind 10.77.1.2\nprotected-mode no\n");
    let _redis = server.redis(&["/etc/redis/own.conf"]);
    let diagnosis = server.diagnose(&["-h", SERVER]);
    diagnosis.first_cause("exposed-without-password", Confidence::Certain).apply(|_| &server);
    let password = kept_password(&server);
    server.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", &password).diagnose().healthy();
    diagnosis.apply(|_| &server);
    assert_eq!(kept_password(&server), password);
    assert_eq!(server.read("/etc/redis/own.conf").matches("requirepass").count(), 1);
    server.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", &password).diagnose().healthy();
}

#[test]
fn a_liar_does_not_lead_to_files() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&["--port", "6380", "--requirepass", "pw"]);
    one.file("/root/secret", "dir /MARKER\nlogfile MARKER\nmaxclients 1 2\n");
    let info = format!("redis_version:7.0.15\r\nprocess_id:{}\r\nconfig_file:/root/secret\r\n", redis.pid());
    let bulk = format!("${}\r\n{info}\r\n", info.len());
    let code = format!(
        "import socket\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.bind(('127.0.0.1', 6379)); s.listen(8); print('up', flush=True)\n\
         while True:\n c, _ = s.accept(); c.recv(9999); c.sendall(b'+PONG\\r\\n*0\\r\\n' + {bulk:?}.encode()); c.recv(1); c.close()"
    );
    let liar = one.command(&["python3", "-c", &code]).spawn();
    while !liar.said().contains("up") {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    for args in [&["-t", "1"][..], &["-t", "1", "--deep"]] {
        let facts = one.redisdoc(&[&["check", "-o", "facts"][..], args].concat()).run();
        assert!(facts.stdout.contains("config_file") && !facts.stdout.contains("MARKER"), "{facts}");
    }
}
