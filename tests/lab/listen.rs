//! Servers that listen and turn clients away: protected mode, the client limit, commands that were renamed.

use crate::world::{Confidence, Host, Lab, Server};

const SERVER: &str = "10.77.1.2";

/// The password that the repair has left on the server's host.
fn kept_password(server: &Host) -> String {
    let password = server.sh("cat redis-password").stdout;
    assert_eq!(password.len(), 48, "{password:?}");
    password
}

#[test]
fn protected_mode_turns_away_all_but_loopback() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&[]);
    // The server's own address is no loopback address either.
    server.diagnose(&["-h", SERVER]).first_cause("protected-mode", Confidence::Certain).exit(1);
    server.diagnose(&[]).healthy();
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.finding("ping/protected-mode").first_cause("protected-mode", Confidence::Certain).exit(1);
    diagnosis.apply(|on| if on == "redis-host" { &server } else { &client });
    client.diagnose(&["-h", SERVER]).first_cause("password-missing", Confidence::Certain).exit(1);
    client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", &kept_password(&server)).diagnose().healthy();
}

#[test]
fn protected_mode_is_told_whatever_was_sent_and_by_every_version() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    for version in [Server::Redis50, Server::Redis60, Server::Redis62, Server::Debian, Server::Valkey91] {
        let Some(_redis) = server.redis_of(version, &[]) else { continue };
        let diagnosis = client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", "a-password").diagnose();
        diagnosis.first_cause("protected-mode", Confidence::Certain).exit(1);
        client.diagnose(&["-h", SERVER]).first_cause("protected-mode", Confidence::Certain).exit(1);
    }
}

#[test]
fn the_client_limit_is_told_by_its_text() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no", "--maxclients", "1"]);
    let mut held = client.command(&["redis-cli", "-h", SERVER, "subscribe", "x"]).spawn();
    while !held.said().contains("subscribe") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    client.diagnose(&["-h", SERVER]).first_cause("max-clients", Confidence::Certain).exit(1);
    let with_password = client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", "a-password").diagnose();
    with_password.first_cause("max-clients", Confidence::Certain).not_cause("credentials-rejected");
    held.kill();
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_renamed_ping_is_told_from_another_service() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let renamed = server.redis_conf("protected-mode no\nrename-command PING \"\"\n");
    let diagnosis = client.diagnose(&["-h", SERVER]);
    diagnosis.finding("ping/renamed").first_cause("command-renamed", Confidence::Certain).exit(1);
    drop(renamed);
    let renamed = server.redis_conf("protected-mode no\nrequirepass pw\nrename-command AUTH \"\"\n");
    let diagnosis = client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", "pw").diagnose();
    diagnosis.first_cause("command-renamed", Confidence::Possible).nothing_certain().exit(1);
    drop(renamed);
    let all_renamed = "port 7000\nprotected-mode no\nrename-command PING \"\"\nrename-command INFO \"\"\n";
    server.file("/etc/redis/redis.conf", all_renamed);
    // 5.0 has no HELLO: nothing is left that proves a Redis.
    if let Some(_old) = server.redis_of(Server::Redis50, &["/etc/redis/redis.conf"]) {
        let diagnosis = client.diagnose(&["-h", SERVER, "-p", "7000"]);
        diagnosis.cause("command-renamed", Confidence::Possible).nothing_certain().exit(1);
    }
    let _plain = server.redis_conf("protected-mode no\n");
    client.diagnose(&["-h", SERVER]).healthy();
}

#[test]
fn a_server_without_info_and_hello_is_healthy_but_not_known_to_be_writable() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis_conf("protected-mode no\nrename-command HELLO \"\"\nrename-command INFO \"\"\n");
    let check = client.diagnose(&["-h", SERVER]);
    check.finding("ping/limited").exit(0);
    assert!(check.causes().is_empty() && check.report["status"] == "healthy", "{check}");
    client.diagnose(&["-h", SERVER, "--require", "writable"]).exit(3).check("state", "unknown").nothing_certain();
}
