//! Who we are and what we may do: passwords, users, permissions, databases, protocols; on every version that is there.

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Host, Lab, Server, Stub};

const SERVER: &str = "10.77.1.2";

/// The servers that know users.
const WITH_USERS: [Server; 7] = [
    Server::Redis60,
    Server::Redis62,
    Server::Debian,
    Server::Redis80,
    Server::Valkey80,
    Server::Valkey90,
    Server::Valkey91,
];

/// Starts servers of these kinds with this configuration, each on a host of its own, one after the other.
fn on_each(servers: &[Server], conf: &str, scenario: impl Fn(&Host)) {
    let Some(lab) = Lab::enter() else { return };
    for server in servers {
        let one = lab.host("solo");
        one.file("/etc/redis/redis.conf", conf);
        let Some(_redis) = one.redis_of(*server, &["/etc/redis/redis.conf"]) else { continue };
        eprintln!("{server:?}");
        scenario(&one);
    }
}

/// Asserts that the command a remedy ends with is true: it finds all well, given the password where it asks for one.
#[track_caller]
fn verifies(diagnosis: &Diagnosis, host: &Host, password: &str) {
    let remedy = diagnosis.report["causes"][0]["remedy"].as_array().expect("a remedy");
    let last = remedy.last().and_then(|step| step["command"].as_str()).expect("a command at its end");
    let words: Vec<&str> = last.split(' ').skip(1).filter(|word| *word != "--askpass").collect();
    let mut task = host.redisdoc(&words);
    if last.contains("--askpass") {
        task = task.env("REDISCLI_AUTH", password);
    }
    let ran = task.run();
    assert!(ran.code == Some(0), "{last}\n{ran}\n{diagnosis}");
}

/// Asserts that some step of the remedy says this.
#[track_caller]
fn tells(diagnosis: &Diagnosis, words: &str) {
    let remedy = diagnosis.report["causes"][0]["remedy"].to_string();
    assert!(remedy.contains(words), "no step says {words}\n{diagnosis}");
}

#[test]
fn a_password_is_missing() {
    on_each(&Server::ALL, "requirepass pw", |one| {
        let diagnosis = one.diagnose(&[]);
        diagnosis.first_cause("password-missing", Confidence::Certain).exit(1).check("auth", "fail");
        verifies(&diagnosis, one, "pw");
        one.diagnose(&["--require", "reachable"]).exit(0);
        one.diagnose(&["-a", "pw"]).healthy();
    });
}

#[test]
fn a_password_is_wrong() {
    on_each(&Server::ALL, "requirepass pw", |one| {
        let diagnosis = one.diagnose(&["-a", "wrong"]);
        diagnosis.first_cause("credentials-rejected", Confidence::Certain).exit(1);
        verifies(&diagnosis, one, "pw");
    });
}

#[test]
fn a_password_is_not_expected() {
    on_each(&Server::ALL, "", |one| {
        let diagnosis = one.diagnose(&["-a", "pw"]);
        diagnosis.first_cause("password-not-expected", Confidence::Certain).exit(1);
        tells(&diagnosis, "from the command line");
        verifies(&diagnosis, one, "");
        one.diagnose(&["--require", "reachable", "-a", "pw"]).exit(0);
    });
}

#[test]
fn a_server_before_users_is_sent_one() {
    on_each(&[Server::Redis50], "requirepass pw", |one| {
        for user in ["app", "default"] {
            let diagnosis = one.diagnose(&["--user", user, "-a", "pw"]);
            diagnosis.first_cause("acl-unsupported", Confidence::Certain).exit(1);
            verifies(&diagnosis, one, "pw");
        }
    });
    on_each(&[Server::Redis50], "", |one| {
        let diagnosis = one.diagnose(&["--user", "app", "-a", "pw"]);
        diagnosis.first_cause("acl-unsupported", Confidence::Certain).exit(1);
        verifies(&diagnosis, one, "");
    });
}

#[test]
fn unknown_disabled_and_missing_users_look_alike() {
    let users = "user default off\nuser app on >pw ~* +@all\nuser gone off >pw ~* +@all";
    on_each(&WITH_USERS, users, |one| {
        one.diagnose(&[]).first_cause("password-missing", Confidence::Certain).exit(1);
        // The right password without its user belongs to the user 'default', which is off.
        let diagnosis = one.diagnose(&["-a", "pw"]);
        diagnosis.first_cause("credentials-rejected", Confidence::Certain).exit(1);
        tells(&diagnosis, "give the user too");
        for user in ["gone", "nobody"] {
            let diagnosis = one.diagnose(&["--user", user, "-a", "pw"]);
            diagnosis.first_cause("credentials-rejected", Confidence::Certain).exit(1);
            tells(&diagnosis, &format!("ACL GETUSER {user}"));
        }
        one.diagnose(&["--user", "app", "-a", "pw", "-n", "1", "-3", "--exists", "k"]).healthy();
    });
}

#[test]
fn an_unknown_user_at_an_open_server_is_rejected_and_would_be_served_without() {
    on_each(&WITH_USERS, "", |one| {
        let diagnosis = one.diagnose(&["--user", "app", "-a", "pw"]);
        diagnosis.first_cause("credentials-rejected", Confidence::Certain).exit(1);
        assert!(diagnosis.report["causes"][0]["evidence"].to_string().contains("PONG"), "{diagnosis}");
    });
}

#[test]
fn an_open_default_user_takes_any_password() {
    on_each(&WITH_USERS, "", |one| {
        let ask = || one.diagnose(&["--user", "default", "-a", "pw"]);
        ask().first_cause("open-default-user", Confidence::Certain).exit(0).check("auth", "warn");
        one.sh("redis-cli config set requirepass pw");
        ask().healthy();
        one.diagnose(&["--user", "default", "-a", "x"]).first_cause("credentials-rejected", Confidence::Certain);
    });
}

#[test]
fn a_user_may_not_run_a_command() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis_conf("protected-mode no\nuser app on >pw ~app:* +get +set\n");
    let app = ["-h", SERVER, "--user", "app", "-a", "pw"];
    let there = |on: &str| if on == "redis-host" { &server } else { &client };
    // A user with no more than its rights is let in; that it may not PING is worth a warning.
    let ask = || client.diagnose(&app);
    ask().first_cause("acl-denies-command", Confidence::Certain).exit(0).check("auth", "warn").apply(there);
    ask().healthy();
    let ask = || client.diagnose(&[&app[..], &["-n", "1", "--exists", "app:1"]].concat());
    ask().first_cause("acl-denies-command", Confidence::Certain).exit(1).finding("auth/key-unseen").apply(there);
    ask().healthy();
}

#[test]
fn hello_needs_permission_on_6_0_alone() {
    let users = "user app on >pw ~* +@all -hello -info";
    let app = ["--user", "app", "-a", "pw"];
    on_each(&WITH_USERS, users, |one| {
        one.diagnose(&app).healthy();
        let three = [&app[..], &["-3"]].concat();
        let diagnosis = one.diagnose(&three);
        if one.sh("redis-cli info server").stdout.contains("redis_version:6.0") {
            diagnosis.first_cause("acl-denies-command", Confidence::Certain).exit(1).apply(|_| one);
        }
        one.diagnose(&three).healthy();
    });
}

#[test]
fn a_default_user_that_may_nothing_is_not_sent_to_acl() {
    on_each(&WITH_USERS, "user default on nopass ~* +get", |one| {
        let diagnosis = one.diagnose(&[]);
        diagnosis.first_cause("acl-denies-command", Confidence::Certain).exit(0);
        tells(&diagnosis, "as a user that may run ACL");
        assert!(!diagnosis.report["causes"][0]["remedy"].to_string().contains("redis-cli"), "{diagnosis}");
    });
}

#[test]
fn a_user_may_not_touch_a_key() {
    on_each(&WITH_USERS, "user app on >pw ~app:* +@all", |one| {
        let ask = |key| one.diagnose(&["--user", "app", "-a", "pw", "--exists", key]);
        ask("app:1").healthy();
        for key in ["jobs:1", "jobs:[*]\\?", "a key's name"] {
            ask(key).first_cause("acl-denies-key", Confidence::Certain).exit(1).apply(|_| one);
            ask(key).healthy();
        }
        // The patterns are those keys and no others.
        for other in ["jobs:2", "jobs:[x]\\?"] {
            ask(other).first_cause("acl-denies-key", Confidence::Certain);
        }
    });
}

#[test]
fn a_sentinel_is_sent_the_password_of_redis() {
    let Some(lab) = Lab::enter() else { return };
    let monitor = "sentinel monitor main 127.0.0.1 6379 1\n";
    for server in Server::ALL {
        let one = lab.host("solo");
        one.file("/etc/redis/sentinel.conf", monitor);
        let args = ["/etc/redis/sentinel.conf", "--sentinel", "--port", "26379"];
        let Some(mut redis) = one.redis_of(server, &args) else { continue };
        eprintln!("{server:?}");
        for credentials in [&["-a", "pw"][..], &["--user", "app", "-a", "pw"]] {
            let diagnosis = one.diagnose(&[&["-p", "26379"], credentials].concat());
            diagnosis.cause_beside("sentinel-credentials", Confidence::Likely, "sentinel-port").exit(1);
            for other in ["password-not-expected", "credentials-rejected", "acl-unsupported"] {
                diagnosis.not_cause(other);
            }
        }
        redis.kill();
        // One that wants a password tells nothing of itself: only the port is a hint.
        one.file("/etc/redis/sentinel.conf", format!("{monitor}requirepass pw\n"));
        let _redis = one.redis_of(server, &args);
        let diagnosis = one.diagnose(&["-p", "26379"]);
        diagnosis.first_cause("password-missing", Confidence::Certain).not_cause("sentinel-credentials");
        tells(&diagnosis, "password of Sentinel");
        one.diagnose(&["-p", "26379", "-a", "x"]).first_cause("credentials-rejected", Confidence::Certain);
        one.diagnose(&["-p", "26379", "-a", "pw"]).check("auth", "pass").not_cause("sentinel-credentials");
    }
}

#[test]
fn a_database_is_out_of_range() {
    on_each(&Server::ALL, "", |one| {
        let diagnosis = one.diagnose(&["-n", "99"]);
        diagnosis.first_cause("db-out-of-range", Confidence::Certain).exit(1);
        verifies(&diagnosis, one, "");
        one.diagnose(&["-n", "15"]).healthy();
    });
    on_each(&Server::ALL, "cluster-enabled yes", |one| {
        let diagnosis = one.diagnose(&["-n", "1"]);
        diagnosis.first_cause("db-out-of-range", Confidence::Certain).exit(1);
        assert!(diagnosis.report["causes"][0]["summary"].to_string().contains("cluster"), "{diagnosis}");
    });
    on_each(&[Server::Debian], "rename-command SELECT \"\"", |one| {
        let diagnosis = one.diagnose(&["-n", "1"]);
        diagnosis.first_cause("db-out-of-range", Confidence::Likely).nothing_certain().exit(1);
        verifies(&diagnosis, one, "");
    });
}

#[test]
fn resp3_is_not_spoken() {
    let wanted = |one: &Host| {
        let diagnosis = one.diagnose(&["-3"]);
        diagnosis.first_cause("resp3-unsupported", Confidence::Certain).exit(1);
        verifies(&diagnosis, one, "");
        diagnosis
    };
    on_each(&[Server::Redis50], "", |one| tells(&wanted(one), "upgrade to Redis 6"));
    on_each(&[Server::Debian], "rename-command HELLO \"\"", |one| tells(&wanted(one), "rename-command"));
    on_each(&WITH_USERS, "", |one| {
        one.diagnose(&["-3"]).healthy();
    });
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.tcp_stub(6379, Stub::ReplyThenClose(b"+PONG\r\n".to_vec()));
    one.diagnose(&["-3"]).cause("resp3-unsupported", Confidence::Certain).exit(1);
}

#[test]
fn addresses_want_different_passwords() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _one = server.redis(&["--bind", SERVER, "--requirepass", "pw"]);
    let _other = server.redis(&["--bind", "fd77:1::2", "--requirepass", "other"]);
    client.hosts_file("10.77.1.2 db\nfd77:1::2 db\n");
    for password in ["pw", "other"] {
        client.diagnose(&["-h", "db", "-a", password]).finding("auth/differs");
    }
    client.diagnose(&["-h", "db", "-a", "neither"]).first_cause("credentials-rejected", Confidence::Certain).exit(1);
}

#[test]
fn proxies_and_old_servers_in_their_own_words() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let ask = |port: u16, said: &str, close: bool, args: &[&str]| {
        let said = said.as_bytes().to_vec();
        one.tcp_stub(port, if close { Stub::ReplyThenClose(said) } else { Stub::Reply(said) });
        one.diagnose(&[&["-t", "1", "-p", &port.to_string()], args].concat())
    };
    let old = "-ERR operation not permitted\r\n-ERR unknown command 'HELLO'\r\n-ERR operation not permitted\r\n";
    ask(7001, old, false, &[]).first_cause("password-missing", Confidence::Certain).exit(1);
    // A proxy that hangs up once it has said no has said enough.
    let rejects = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let diagnosis = ask(7002, rejects, true, &["-a", "x"]);
    diagnosis.first_cause("credentials-rejected", Confidence::Certain).exit(1);
    assert_eq!(diagnosis.report["unexplained"], serde_json::json!([]), "{diagnosis}");
    // One that took the password and is not logged in to the Redis behind it.
    let still =
        "+OK\r\n-NOAUTH Authentication required.\r\n-ERR unknown command\r\n-NOAUTH Authentication required.\r\n";
    ask(7003, still, false, &["-a", "x"])
        .finding("auth/still-required")
        .cause("proxy-unauthenticated", Confidence::Likely)
        .not_cause("password-missing")
        .exit(1);
    let loading = "-LOADING Redis is loading the dataset in memory\r\n".repeat(4);
    ask(7004, &loading, false, &["-a", "x"]).cause("loading", Confidence::Certain).check("auth", "unknown").exit(1);
}

#[test]
fn the_state_of_the_server_is_no_matter_of_credentials() {
    on_each(&Server::ALL, "requirepass pw\nlua-time-limit 50", |one| {
        let busy = one.command(&["redis-cli", "-a", "pw", "eval", "while true do end", "0"]).spawn();
        std::thread::sleep(std::time::Duration::from_millis(300));
        one.diagnose(&["-a", "pw"]).cause("busy-script", Confidence::Likely).check("auth", "pass").exit(1);
        one.diagnose(&["-a", "x"]).first_cause("credentials-rejected", Confidence::Certain).exit(1);
        one.diagnose(&[]).first_cause("password-missing", Confidence::Certain).exit(1);
        drop(busy);
    });
    let stale = "requirepass pw\nreplicaof 127.0.0.1 1\nreplica-serve-stale-data no";
    on_each(&Server::ALL, stale, |one| {
        one.diagnose(&["-a", "pw", "-n", "1"]).check("auth", "pass");
        one.diagnose(&["-a", "x"]).first_cause("credentials-rejected", Confidence::Certain).exit(1);
    });
}

#[test]
fn a_user_with_no_more_than_its_rights_is_healthy() {
    let users = "requirepass pw\nuser app on >pw ~app:* +get +set +ping";
    on_each(&WITH_USERS, users, |one| {
        one.diagnose(&["--user", "app", "-a", "pw"]).healthy();
        one.doctor(&["--user", "app"]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
        one.diagnose(&["-u", "redis://app:pw@localhost"]).healthy();
        one.diagnose(&["--user", "default", "-a", "pw"]).healthy();
    });
}
