//! How a server starts, or does not: files that keep it from starting, services that are meant to start it, and those that
//! only seem to.

use std::time::Duration;

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Host, Lab};

const CACHE: &str = "/etc/systemd/system/cache.service";

/// A service that starts a server by its arguments.
fn service(host: &Host, path: &str, command: &str) {
    host.file(path, format!("[Service]\nExecStart={command}\n"));
}

/// The kinds of the steps of the first cause's remedy, but for the one that checks again.
fn kinds(diagnosis: &Diagnosis) -> Vec<String> {
    let steps = diagnosis.report["causes"][0]["remedy"].as_array().cloned().unwrap_or_default();
    let own = steps.iter().take(steps.len().saturating_sub(1));
    own.map(|step| step["kind"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_typo_in_what_keeps_the_data_is_not_commented_out() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let conf = "port 6379\nbind 127.0.0.1\ndir /var/lib/redis\nsave \"\"\nappendonly ";
    one.without_engines()
        .systemd(&format!("{conf}yes\n"))
        .sh("mkdir -p /var/lib/redis && systemctl start redis-server");
    one.sh(
        "until redis-cli ping | grep -q PONG; do sleep 0.01; done; redis-cli set k v && redis-cli shutdown; sleep 0.2",
    );
    one.file("/etc/redis/redis.conf", format!("{conf}yess\n"));
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("config-error", Confidence::Certain).exit(1);
    assert_eq!(kinds(&diagnosis), ["tell", "run"], "{diagnosis}");
    one.file("/etc/redis/redis.conf", format!("{conf}yes\n")).sh("systemctl start redis-server");
    one.sh("until redis-cli ping | grep -q PONG; do sleep 0.01; done; redis-cli dbsize | grep -q 1");
}

#[test]
fn a_harmless_line_is_taken_out_and_the_server_starts() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\nbind 127.0.0.1\nrdbchecksum perhaps\n");
    one.diagnose(&[]).first_cause("config-error", Confidence::Certain).apply(|_| &one);
    one.sh("until redis-cli ping | grep -q PONG; do sleep 0.01; done");
    one.diagnose(&[]).healthy();
}

#[test]
fn a_broken_file_is_not_certain_where_another_server_may_be_meant() {
    let Some(lab) = Lab::enter() else { return };
    let broken = "port 6379\nbind 127.0.0.1\nrdbchecksum perhaps\n";
    let host = |name: &str| {
        let one = lab.host(name);
        one.without_engines().systemd(broken);
        one
    };
    let likely = |one: &Host, args: &[&str]| {
        one.diagnose(args).cause("config-error", Confidence::Possible).nothing_certain().exit(1);
    };
    let one = host("beside");
    service(&one, CACHE, "/usr/bin/redis-server --port 6379 --bind 127.0.0.1");
    likely(&one, &[]);
    one.sh("rm /etc/redis/redis.conf");
    likely(&one, &[]);
    service(&one, CACHE, "/usr/bin/redis-server --port 7000");
    one.diagnose(&[]).first_cause("config-error", Confidence::Certain);
    likely(&host("loopback"), &["-h", "127.0.0.2"]);
    likely(&host("port"), &["-p", "6380"]);
    let settings = host("settings").doctor(&[]).env("REDIS_HOST", "db.example").diagnose();
    settings.nothing_certain().exit(1);
    let kin = host("kin");
    kin.sh("cp $(readlink -f $(command -v redis-server)) /usr/local/bin/dragonfly");
    let _kin = kin.command(&["/usr/local/bin/dragonfly", "--port", "7000", "--set-proc-title", "no"]).spawn();
    std::thread::sleep(Duration::from_millis(300));
    likely(&kin, &[]);
    let engine = lab.host("engine");
    engine.systemd(broken).program("/usr/local/bin/podman", "#!/bin/sh\n");
    likely(&engine, &[]);
}

#[test]
fn a_unit_that_was_left_behind_is_no_server() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_redis().systemd("port 6379\n").sh("rm /etc/redis/redis.conf");
    one.file(
        "/etc/systemd/system/redis-server.service",
        "[Service]\nExecStart=/opt/gone/redis-server /etc/redis/redis.conf\n",
    );
    one.diagnose(&[]).first_cause("not-installed", Confidence::Likely).nothing_certain().exit(1);
}

#[test]
fn a_folder_that_is_gone_keeps_it_from_starting_and_explains_what_it_lacks() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\nbind 127.0.0.1\ndir /nope\nlogfile /nope/redis.log\n");
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("config-error", Confidence::Certain).exit(1);
}

#[test]
fn a_port_that_somebody_chose_may_be_another_servers() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\nbind 127.0.0.1\n").sh("systemctl start redis-server");
    let asked = ["-p", "7000"];
    one.diagnose(&asked).cause("wrong-port", Confidence::Likely).nothing_certain().exit(1);
}

#[test]
fn whatever_may_start_another_server_makes_the_port_unsure() {
    let Some(lab) = Lab::enter() else { return };
    let (unit, server) = ("/etc/systemd/system/", "redis-server --port 6379");
    let units = [
        ("instance", format!("{unit}cache@.service"), "/usr/bin/redis-server --port %i".to_owned()),
        ("continued", format!("{unit}cache.service"), format!("/usr/bin/env LANG=C \\\n  /usr/bin/{server}")),
        ("script", format!("{unit}app-redis.service"), "/opt/app/start.sh".to_owned()),
        ("program", format!("{unit}app.service"), "/opt/app/start-redis.sh".to_owned()),
        ("user", "/root/.config/systemd/user/r.service".to_owned(), format!("/usr/bin/{server}")),
    ];
    let others = [
        ("supervisord", "/etc/supervisor/conf.d/r2.conf", format!("[program:r2]\ncommand=/usr/bin/{server}\n")),
        ("init", "/etc/init.d/redis-cache", format!("#!/bin/sh\n{server}\n")),
        ("cron", "/etc/cron.d/r", format!("@reboot root {server}\n")),
    ];
    let alone = |name: &str| {
        let one = lab.host(name);
        one.without_engines().systemd("port 7000\nbind 127.0.0.1\n").sh("systemctl start redis-server");
        one
    };
    let units = units.map(|(name, path, command)| (name, path, format!("[Service]\nExecStart={command}\n")));
    let others = others.map(|(name, path, text)| (name, path.to_owned(), text));
    for (name, path, text) in units.into_iter().chain(others) {
        let one = alone(name);
        one.sh(&format!("mkdir -p $(dirname {path})"));
        one.file(&path, text);
        if name == "instance" {
            one.file("/etc/systemd/system/multi-user.target.wants/cache@6379.service", "");
        }
        let diagnosis = one.diagnose(&[]);
        diagnosis.nothing_certain().cause("wrong-port", Confidence::Likely).exit(1);
    }
    alone("alone").diagnose(&[]).first_cause("wrong-port", Confidence::Certain);
}

#[test]
fn a_service_of_runit_makes_the_port_unsure() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6380\nbind 127.0.0.1\n").sh("systemctl start redis-server");
    one.diagnose(&[]).first_cause("wrong-port", Confidence::Certain).exit(1);
    one.sh("mkdir -p /etc/sv/redis2");
    one.file("/etc/sv/redis2/run", "#!/bin/sh\nexec redis-server --port 6379\n");
    one.diagnose(&[]).cause("wrong-port", Confidence::Likely).nothing_certain().exit(1);
}

#[test]
fn an_argument_of_the_service_overrides_the_port_of_its_file() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\nbind 127.0.0.1\n");
    let command = "/usr/bin/redis-server /etc/redis/redis.conf --port 6380";
    service(&one, "/etc/systemd/system/redis-server.service", command);
    one.diagnose(&[]).first_cause("not-running", Confidence::Likely).nothing_certain().exit(1);
    one.diagnose(&["-p", "6380"]).first_cause("not-running", Confidence::Certain).exit(1);
}

#[test]
fn a_unit_that_only_mentions_a_server_is_not_started() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_redis().file("/run/systemd/system/.lab", "");
    for text in [
        "ExecStartPre=/usr/bin/pgrep redis-server\nExecStart=/opt/app/run",
        "ExecStart=/usr/bin/node-exporter --collector.processes redis-server",
        "ExecStartPost=/opt/redis-server-hook\nExecStart=/opt/app",
        "ExecStart=/bin/sh -c 'pgrep redis-server || exit 1'",
    ] {
        one.file("/etc/systemd/system/app.service", format!("[Service]\n{text}\n"));
        one.diagnose(&[]).first_cause("not-installed", Confidence::Certain).exit(1);
    }
}

#[test]
fn a_masked_service_is_not_started() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\n");
    one.sh("rm /etc/systemd/system/redis-server.service; ln -s /dev/null /etc/systemd/system/redis-server.service");
    let diagnosis = one.diagnose(&[]);
    diagnosis.cause("not-running", Confidence::Likely).nothing_certain().exit(1);
    assert!(!kinds(&diagnosis).contains(&"run".to_owned()), "{diagnosis}");
}

#[test]
fn facts_that_never_end_are_read_and_those_that_never_come_are_done_without() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--bind", "127.0.0.1"]);
    client.file("/run/facts", server.collect()).sh("mkfifo /run/open /run/silent");
    let args = |pipe| ["-h", "10.77.1.2", "--deadline", "2", "--host-facts", pipe];
    let open = client.command(&["sh", "-c", "exec 8<>/run/open; cat /run/facts >&8; sleep 20"]).spawn();
    let joined = client.diagnose(&args("/run/open"));
    joined.first_cause("loopback-only", Confidence::Certain).exit(1).within(Duration::from_secs(2));
    let silent = client.command(&["sh", "-c", "exec 8<>/run/silent; sleep 20"]).spawn();
    let alone = client.diagnose(&args("/run/silent"));
    alone.finding("tcp/refused").nothing_certain().exit(1).within(Duration::from_secs(4));
    alone.check("process", "unknown");
    assert!(alone.to_string().contains("the host facts did not come in time"), "{alone}");
    // What is no facts at all is bad usage.
    client.file("/run/garbage", "{\"a\": 1}");
    let garbage = client.redisdoc(&["check", "-h", "10.77.1.2", "--host-facts", "/run/garbage"]).run();
    assert_eq!(garbage.code, Some(2), "{garbage}");
    drop((open, silent));
}

#[test]
fn a_password_is_put_into_the_file_where_config_is_renamed() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, one) = lab.pair();
    let conf = "port 6379\nprotected-mode no\nbind 0.0.0.0\nrename-command CONFIG \"\"\n";
    one.without_engines().systemd(conf).sh("systemctl start redis-server");
    let diagnosis = one.diagnose(&["--deep"]);
    diagnosis.first_cause("exposed-without-password", Confidence::Certain);
    diagnosis.apply(|_| &one);
    one.sh("until redis-cli ping 2>&1 | grep -q NOAUTH; do sleep 0.01; done");
    let password = one.sh("cat redis-password").stdout;
    one.doctor(&[]).env("REDISCLI_AUTH", &password).diagnose().healthy();
}

#[test]
fn a_server_that_does_not_take_the_password_does_not_show_it() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    for (port, conf) in
        [("7001", "rename-command CONFIG \"\"\n"), ("7002", "user default on nopass ~* +@all -config\n")]
    {
        server.file(&format!("/srv/{port}.conf"), format!("port {port}\n{conf}"));
        let _redis = server.redis(&[&format!("/srv/{port}.conf")]);
        // From the client nobody knows what redis.conf says.
        let diagnosis = client.diagnose(&["-h", "10.77.1.2", "-p", port]);
        diagnosis.first_cause("protected-mode", Confidence::Certain);
        let steps = diagnosis.report["causes"][0]["remedy"].as_array().cloned().unwrap_or_default();
        let set = steps.iter().filter_map(|step| step["command"].as_str()).find(|it| it.contains("-x CONFIG SET"));
        let ran = server.command(&["sh", "-c", set.unwrap_or_default()]).run();
        let password = server.sh("cat redis-password").stdout;
        assert_eq!(password.len(), 48, "{diagnosis}");
        assert!(ran.code != Some(0) && !ran.to_string().contains(&password), "{ran}");
    }
}

#[test]
fn a_renamed_server_that_gives_itself_no_title_keeps_another_ports_absence_open() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().sh("cp $(readlink -f $(command -v redis-server)) /usr/local/bin/mydb");
    let line = ["/usr/local/bin/mydb", "--set-proc-title", "no", "--port", "6379"];
    let _running = one.command(&line).spawn();
    one.sh("until redis-cli ping | grep -q PONG; do sleep 0.01; done");
    one.diagnose(&["-p", "7777"]).nothing_certain().exit(1);
}

#[test]
fn a_name_behind_an_address_of_bind_is_the_same_in_file_and_server() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    server.hosts_file("10.77.1.2 myhost\n").file("/etc/redis/r.conf", "bind 127.0.0.1 myhost\nrequirepass pw\n");
    let _redis = server.redis(&["/etc/redis/r.conf"]);
    server.diagnose(&["-a", "pw", "--deep"]).healthy();
}
