//! Packets that are lost at random: whatever comes of it, nothing is said for certain that is not so.

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Lab};

/// How often each is tried; what comes out is another thing each time.
const RUNS: usize = 2;
const FAR: &str = "10.77.2.2";
/// What may be said of a way that loses packets; the rest would name somebody who has not done it.
const FITTING: [&str; 12] = [
    "packet-loss",
    "firewall-drop",
    "data-dropped",
    "mtu-black-hole",
    "accept-queue-full",
    "process-stopped",
    "event-loop-blocked",
    "conntrack-full",
    "host-down",
    "no-return-path",
    "clients-paused",
    "cloud-perimeter",
];

/// Nothing is certain, and nobody is named who cannot have done it.
#[track_caller]
fn is_careful(diagnosis: &Diagnosis) {
    diagnosis.nothing_certain();
    for (cause, confidence) in diagnosis.causes() {
        assert!(FITTING.contains(&cause.as_str()) && confidence <= Confidence::Likely, "{cause}\n{diagnosis}");
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
