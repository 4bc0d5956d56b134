//! Servers in groups: the bus of a cluster, its slots, and replicas without a master.

use std::time::Duration;

use crate::world::{Authority, Confidence, Host, Lab};

const SERVER: &str = "10.77.1.2";
const BUS: [&str; 7] = ["-h", SERVER, "-p", "16379", "--tls", "--cacert", "/etc/tls/ca.crt"];
const OWN: [&str; 4] = ["--cert", "/etc/tls/server.crt", "--key", "/etc/tls/server.key"];

/// The same certificate for both, which is also the client's, and its authority.
fn certified(client: &Host, server: &Host) {
    let authority = Authority::root("Lab CA");
    let issued = authority.certify(&[SERVER, "127.0.0.1"]);
    for host in [client, server] {
        host.certificate(&issued, &authority.pem());
    }
}

#[test]
fn the_bus_of_a_cluster_with_tls_is_no_port_for_certificates() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    certified(&client, &server);
    let node = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-announce-ip", SERVER];
    let _node = server.tls_redis(&node);
    let shown = [&BUS[..], &OWN].concat();
    for ask in [&BUS[..], &shown] {
        for check in [server.diagnose(ask), client.joined(&server, ask)] {
            check.first_cause("cluster-bus-port", Confidence::Certain).not_cause("client-certificate-required").exit(1);
            check.not_cause("proxy-backend-down");
        }
    }
    // From afar the node is asked with what was shown.
    client.diagnose(&shown).first_cause("cluster-bus-port", Confidence::Likely).exit(1);
    let afar = client.diagnose(&BUS);
    afar.first_cause("client-certificate-required", Confidence::Likely).nothing_certain().exit(1);
    let clients = ["-h", SERVER, "--tls", "--cacert", "/etc/tls/ca.crt"];
    client.diagnose(&clients).first_cause("client-certificate-required", Confidence::Certain).exit(1);
    client.diagnose(&[&clients[..], &OWN].concat()).healthy();
}

#[test]
fn a_cluster_without_slots_serves_no_key() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _node = one.redis(&["--cluster-enabled", "yes"]);
    let check = one.diagnose(&["--exists", "foo"]);
    check.finding("state/cluster-down").first_cause("cluster-down", Confidence::Certain).exit(1);
    let _ = one.sh("redis-cli cluster addslotsrange 0 16383 && for i in $(seq 100); do redis-cli cluster info | grep -q state:ok && exit; sleep 0.1; done");
    one.diagnose(&["--exists", "foo"]).not_cause("cluster-down");
    one.diagnose(&[]).healthy();
}

#[test]
fn a_replica_whose_link_never_came_up_is_a_warning() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    certified(&client, &server);
    let _master = server.tls_redis(&["--tls-auth-clients", "no"]);
    client.file("/var/log/redis.log", "");
    let follows = ["--replicaof", "10.77.1.2 6379", "--logfile", "/var/log/redis.log", "--bind", "127.0.0.1"];
    // Its own link speaks plain text to a port of TLS.
    let plain = client.tls_redis(&[&follows[..], &["--tls-auth-clients", "no"]].concat());
    let ask = ["-h", "127.0.0.1", "--tls", "--cacert", "/etc/tls/ca.crt"];
    client.diagnose(&ask).healthy();
    std::thread::sleep(Duration::from_secs(64));
    let down = client.diagnose(&ask);
    down.finding("state/link-down").first_cause("replica-unlinked", Confidence::Certain).exit(0);
    assert!(down.report.to_string().contains("SYNC"), "{down}");
    let _ = client.sh("redis-cli --tls --cacert /etc/tls/ca.crt config set tls-replication yes && for i in $(seq 200); do redis-cli --tls --cacert /etc/tls/ca.crt info replication | grep -q link_status:up && exit; sleep 0.1; done");
    client.diagnose(&ask).healthy();
    // Given a master a moment ago, which waits before it sends its data.
    let tls = "redis-cli --tls --cacert /etc/tls/ca.crt";
    let _ = server.sh(&format!("{tls} config set repl-diskless-sync-delay 60"));
    let _ = client.sh(&format!(
        "{tls} replicaof no one && {tls} debug change-repl-id; {tls} replicaof {SERVER} 6379 && sleep 1.5"
    ));
    client.diagnose(&ask).not_cause("replica-unlinked").exit(0);
    drop(plain);
}

#[test]
fn a_password_that_is_part_of_a_pong_makes_no_stranger() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&["--requirepass", "pong"]);
    for ask in [&["-a", "pong"][..], &["-a", "pong", "--deep"]] {
        one.diagnose(ask).healthy();
    }
}
