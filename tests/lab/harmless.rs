//! redisdoc changes nothing, needs nothing, and says nothing it should not: what it leaves on the server, and what it
//! does without root, without programs, and without an /etc.

use std::collections::BTreeSet;

use crate::world::{Authority, Confidence, Lab, Server};

/// The commands redisdoc may send; all of them only read; what ECHO is to repeat is our own.
const ALLOWED: &[&str] =
    &["auth", "cluster|nodes", "config|get", "echo", "exists", "hello", "info", "pfcount", "ping", "select"];

/// The commands the server has seen, by its own count, beside those that the harness sends to ask.
fn seen(stats: &str) -> BTreeSet<String> {
    let names = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next());
    names.map(str::to_owned).filter(|name| name != "config|resetstat").collect()
}

#[test]
fn only_reading_commands_are_sent() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let redis = one.redis(&["--requirepass", "pw"]);
    let cli = |command: &str| one.sh(&format!("REDISCLI_AUTH=pw redis-cli {command}"));
    cli("set kept value");
    cli("config resetstat");
    for args in [
        &[][..],
        &["-a", "pw"],
        &["-a", "wrong"],
        &["-a", "pw", "--user", "default"],
        &["-a", "pw", "--user", "nobody"],
        &["-a", "pw", "-n", "1", "-3", "--key", "kept", "--deep"],
        &["-a", "pw", "--require", "writable"],
        &["-a", "pw", "-n", "99"],
    ] {
        one.diagnose(args);
    }
    let stats = cli("info commandstats");
    let seen = seen(&stats.stdout);
    let allowed: BTreeSet<String> = ALLOWED.iter().map(|&name| name.to_owned()).collect();
    assert!(seen.is_subset(&allowed), "{:?} was sent", seen.difference(&allowed));
    assert_eq!(cli("dbsize").stdout.trim(), "1");
    assert_eq!(cli("get kept").stdout.trim(), "value");
    let log = redis.log();
    assert!(!log.contains("SECURITY"), "{log}");
}

#[test]
fn a_deep_look_from_afar_and_a_hold_only_read() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--requirepass", "pw", "--bind", "10.77.1.2", "127.0.0.1"]);
    server.sh("REDISCLI_AUTH=pw redis-cli config resetstat");
    client.diagnose(&["-h", "10.77.1.2", "-a", "pw", "--deep", "--hold", "0.2"]).healthy();
    client.diagnose(&["-h", "10.77.1.2", "--deep", "--hold", "0.2"]).finding("auth/required");
    let seen = seen(&server.sh("REDISCLI_AUTH=pw redis-cli info commandstats").stdout);
    assert!(seen.contains("echo") && seen.iter().all(|name| ALLOWED.contains(&name.as_str())), "{seen:?}");
    assert_eq!(server.sh("REDISCLI_AUTH=pw redis-cli dbsize").stdout.trim(), "0");
}

#[test]
fn counter_probes_only_say_ping_and_show_no_credentials() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let authority = Authority::root("Lab CA");
    server.certificate(&authority.certify(&["10.77.1.2"]), &authority.pem());
    let secrets = ["-h", "10.77.1.2", "-t", "1", "-a", "pw", "--user", "someone"];
    let redis = server.redis(&["--requirepass", "pw"]);
    server.sh("REDISCLI_AUTH=pw redis-cli config resetstat");
    client.diagnose(&[&secrets[..], &["--tls"]].concat()).first_cause("tls-to-plaintext-port", Confidence::Certain);
    let stats = server.sh("REDISCLI_AUTH=pw redis-cli info commandstats").stdout;
    assert!(seen(&stats).iter().all(|name| name == "ping" || name == "auth"), "{stats}");
    assert!(is_one_refused_ping(&stats), "{stats}");
    drop(redis);
    let redis = server.tls_redis(&["--requirepass", "pw", "--tls-auth-clients", "no", "--loglevel", "verbose"]);
    let cli = |command: &str| {
        server.sh(&format!("REDISCLI_AUTH=pw redis-cli --tls --cacert /etc/tls/ca.crt {command}")).stdout
    };
    cli("config resetstat");
    client.diagnose(&secrets).first_cause("plaintext-to-tls-port", Confidence::Certain);
    let stats = cli("info commandstats");
    assert!(is_one_refused_ping(&stats), "{stats}");
    // One line for each plain connection: the first, and the second that listens before it writes.
    let noise = redis.log().lines().filter(|line| line.contains("Error accepting a client connection")).count();
    assert_eq!(noise, 2, "{}", redis.log());
    cli("config resetstat");
    client.diagnose(&[&secrets[..], &["--no-counter-probe"]].concat()).nothing_certain();
    let stats = cli("info commandstats");
    assert!(!stats.contains("cmdstat_ping"), "{stats}");
}

/// True for one PING that was refused for want of a password, and the AUTH of whoever asks for the counts.
fn is_one_refused_ping(stats: &str) -> bool {
    let line = |name: &str| stats.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    line("cmdstat_ping:calls=0,").contains("rejected_calls=1,") && !line("cmdstat_auth:calls=1,").is_empty()
}

#[test]
fn a_paused_or_silent_server_is_asked_no_more() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&[]);
    one.sh("redis-cli config resetstat");
    one.sh("redis-cli client pause 2000 all");
    one.diagnose(&["-t", "1"]).exit(1);
    std::thread::sleep(std::time::Duration::from_millis(1300));
    let stats = one.sh("redis-cli info commandstats");
    let mut seen = seen(&stats.stdout);
    seen.remove("client|pause");
    assert!(seen.iter().all(|name| ALLOWED.contains(&name.as_str())), "{seen:?}");
}

#[test]
fn an_ordinary_user_sees_who_rejects() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return;
    }
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    let ask = || client.doctor(&["-h", "10.77.1.2"]).user(65534).diagnose();
    ask().healthy();
    server.nft(
        "add table inet t; add chain inet t f { type filter hook input priority 0; }\n\
         add rule inet t f tcp dport 6379 reject",
    );
    ask().first_cause("firewall-reject", Confidence::Certain);
}

#[test]
fn an_empty_root_is_enough() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&[]);
    let binary = env!("CARGO_BIN_EXE_redisdoc");
    let root = one.sh("mktemp -d").stdout.trim().to_owned();
    one.sh(&format!("cp --parents $(ldd {binary} | grep -o '/[^ ]*') {root} && cp {binary} {root}/redisdoc"));
    let inside = |args: &[&str]| one.run(&[&["chroot", &root, "/redisdoc", "check", "--json"], args].concat());
    let healthy = inside(&["-h", "127.0.0.1"]);
    assert_eq!(healthy.code, Some(0), "{}{}", healthy.stdout, healthy.stderr);
    let refused = inside(&["-h", "127.0.0.1", "-p", "6380"]);
    assert_eq!(refused.code, Some(1), "{}{}", refused.stdout, refused.stderr);
    let unresolved = inside(&["-h", "db.test", "-t", "1"]);
    assert_eq!(unresolved.code, Some(1), "{}{}", unresolved.stdout, unresolved.stderr);
    assert!(unresolved.stdout.contains("\"dns\""));
}

#[test]
fn few_descriptors_are_said_not_met_with_a_panic() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&[]);
    let binary = env!("CARGO_BIN_EXE_redisdoc");
    let mut met = 0;
    // With three the loader itself cannot open a library.
    for limit in 4..16 {
        let ran = one.run(&["sh", "-c", &format!("ulimit -n {limit}; exec {binary} check --json -t 1")]);
        assert!(matches!(ran.code, Some(0 | 1)), "with {limit}: {:?} {}{}", ran.code, ran.stdout, ran.stderr);
        if ran.code == Some(1) {
            assert!(ran.stdout.contains("client-fds-exhausted"), "with {limit}: {}", ran.stdout);
            met += 1;
        }
    }
    assert!(met > 0, "no limit was low enough");
}

#[test]
fn no_thread_to_be_had_is_said_not_met_with_a_panic() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if !lab.has_users() {
        return;
    }
    let _redis = one.redis(&[]);
    let check = |arguments: &str| {
        let line = format!("ulimit -u 1; exec {} check --json {arguments}", env!("CARGO_BIN_EXE_redisdoc"));
        one.command(&["bash", "-c", &line]).user(54_321).run()
    };
    let literal = check("-h 127.0.0.1");
    assert_eq!(literal.code, Some(0), "{}{}", literal.stdout, literal.stderr);
    let closed = check("-h 127.0.0.1 -p 6380");
    assert_eq!(closed.code, Some(1), "{}{}", closed.stdout, closed.stderr);
    let name = check("-h localhost");
    assert_eq!(name.code, Some(3), "{}{}", name.stdout, name.stderr);
    assert!(name.stdout.contains("this process may start no thread"), "{}", name.stdout);
}

#[test]
fn old_and_new_servers_are_healthy() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let servers = [
        Server::Redis50,
        Server::Redis60,
        Server::Redis62,
        Server::Debian,
        Server::Redis80,
        Server::Valkey80,
        Server::Valkey90,
        Server::Valkey91,
    ];
    for server in servers {
        let Some(_running) = one.redis_of(server, &["--requirepass", "pw"]) else { continue };
        one.doctor(&["-n", "1"]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
        one.diagnose(&[]).exit(1).finding("auth/required");
    }
}
