//! Packets that are lost at random: whatever comes of it, nothing is said for certain that is not so.

use crate::world::Lab;
use crate::world::diagnose::Diagnosis;
use crate::world::dns::DnsStub;

/// How often each is tried; what comes out is another thing each time.
const RUNS: usize = 2;
const FAR: &str = "10.77.2.2";
/// What nothing that is lost can look like: each takes an answer that says so.
const NEVER: [&str; 14] = [
    "not-running",
    "wrong-port",
    "loopback-only",
    "firewall-reject",
    "local-firewall",
    "no-route",
    "router-unreachable",
    "local-route-policy",
    "not-redis",
    "protected-mode",
    "password-missing",
    "credentials-rejected",
    "name-not-found",
    "name-server-failure",
];

/// Nothing is certain, and nobody is named who cannot have done it.
#[track_caller]
fn is_careful(diagnosis: &Diagnosis) {
    diagnosis.nothing_certain();
    for cause in NEVER {
        diagnosis.not_cause(cause);
    }
}

#[test]
fn packets_that_are_lost_at_random_make_nothing_certain() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&["--requirepass", "pw"]);
    for percent in [40, 60] {
        router.nft(&format!(
            "add table inet t; add chain inet t f {{ type filter hook forward priority 0; }}
             add rule inet t f numgen random mod 100 < {percent} drop"
        ));
        for _ in 0..RUNS {
            for joined in [false, true] {
                let args = ["-h", FAR, "-t", "3"];
                let diagnosis = {
                    let facts = if joined { server.collect() } else { String::new() };
                    let given = if joined { &["--host-facts", "-"][..] } else { &[] };
                    client.doctor(&[&args[..], given].concat()).env("REDISCLI_AUTH", "pw").stdin(facts).diagnose()
                };
                is_careful(&diagnosis);
            }
        }
        router.nft("delete table inet t");
    }
    client.doctor(&["-h", FAR]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
}

#[test]
fn lookups_whose_packets_are_lost_at_random_make_nothing_certain() {
    let Some(lab) = Lab::enter() else { return };
    let (client, router, server) = lab.routed();
    let _redis = server.redis(&["--requirepass", "pw"]);
    let _dns = server.dns(DnsStub::new("10.77.2.2:53").a("db.lab", FAR).aaaa("db.lab", "fd77:2::2"));
    client.resolv_conf("nameserver 10.77.2.2\n");
    router.nft(
        "add table inet t; add chain inet t f { type filter hook forward priority 0; }
         add rule inet t f numgen random mod 100 < 40 drop",
    );
    for _ in 0..2 * RUNS {
        is_careful(&client.doctor(&["-h", "db.lab"]).env("REDISCLI_AUTH", "pw").diagnose());
    }
}
