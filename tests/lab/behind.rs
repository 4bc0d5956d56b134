//! What a proxy's configuration says, and what is really behind it.

use crate::world::proxies::{self, DEFAULTS, HAPROXY, lacks};
use crate::world::{Confidence, Host, Lab, Running};

const SERVER: &str = "10.77.1.2";
const CHECKED: &str = " option tcp-check\n tcp-check send PING\\r\\n\n tcp-check expect string +PONG\n";

/// A real `HAProxy` with these sections, which listens on this port.
#[track_caller]
fn haproxy(host: &Host, sections: &str, port: u16) -> Running {
    let running = proxies::haproxy(host, (HAPROXY, &format!("{DEFAULTS}{sections}")), (port, &["-db"]));
    std::thread::sleep(std::time::Duration::from_millis(900));
    running
}

#[test]
fn places_that_are_not_met_keep_haproxy_from_being_certain() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") {
        return;
    }
    let _redis =
        one.redis(&["--port", "6392", "--bind", "127.0.0.1", "--requirepass", "pw", "--unixsocket", "/tmp/r.sock"]);
    let many = (1..9).map(|n| format!(" server w{n} 127.0.0.1:808{n}\n")).collect::<Vec<_>>().concat();
    let sections = format!(
        "listen web\n bind *:7320\n{many}listen redis\n bind *:7321\n{CHECKED} server old 127.0.0.1:6399 check inter 200ms\n \
         server new 127.0.0.1:6392 check inter 200ms\nlisten sock\n bind *:7322\n{CHECKED} server old 127.0.0.1:6399 check inter \
         200ms\n server new unix@/tmp/r.sock check inter 200ms\nlisten free\n bind *:7323\n server old 127.0.0.1:6399\npeers p\n \
         bind *:7324\n server q 127.0.0.1:6398\n"
    );
    let _proxy = haproxy(&one, &sections, 7321);
    for port in ["7321", "7322"] {
        one.diagnose(&["-p", port]).nothing_certain().exit(1);
    }
    // Of the many places of another port nothing is heard.
    one.diagnose(&["-p", "7323"]).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
}

#[test]
fn haproxy_has_the_port_twice() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    if lacks(&server, "haproxy") {
        return;
    }
    let _redis =
        server.redis(&["--port", "6392", "--bind", "127.0.0.1", "--unixsocket", "/tmp/r.sock", "--requirepass", "pw"]);
    let sections = format!(
        "listen a\n bind {SERVER}:7333\n{CHECKED} server a unix@/tmp/r.sock check inter 200ms\nlisten b\n bind 127.0.0.1:7333\n server b \
         127.0.0.1:6399\n"
    );
    let _proxy = haproxy(&server, &sections, 7333);
    server.diagnose(&["-h", SERVER, "-p", "7333"]).nothing_certain().exit(1);
    server.diagnose(&["-p", "7333"]).first_cause("proxy-backend-down", Confidence::Certain).exit(1);
}

#[test]
fn a_server_that_runs_behind_a_proxy_is_not_started() {
    let Some(lab) = Lab::enter() else { return };
    let (_client, server) = lab.pair();
    if lacks(&server, "haproxy") {
        return;
    }
    let _redis = server.redis(&["--port", "6392", "--bind", "127.0.0.1"]);
    let sections =
        format!("listen a\n bind *:7331\n server a {SERVER}:6392\nlisten b\n bind *:7332\n server a 127.0.0.1:6392\n");
    let _proxy = haproxy(&server, &sections, 7331);
    let elsewhere = server.diagnose(&["-p", "7331"]);
    elsewhere.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    let said = elsewhere.report.to_string();
    assert!(said.contains("behind it, at 10.77.1.2:6392") && !said.contains("start Redis at"), "{elsewhere}");
    server.diagnose(&["-p", "7332"]).healthy();
    server.nft("add table ip t; add chain ip t o { type filter hook output priority 0; }; add rule ip t o tcp dport 6392 reject with tcp reset");
    let rejected = server.diagnose(&["-p", "7332"]);
    rejected.first_cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
    let said = rejected.report.to_string();
    assert!(!said.contains("start Redis at"), "{rejected}");
}

#[test]
fn who_wants_a_header_and_who_sends_one() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") {
        return;
    }
    let _redis = one.redis(&["--port", "6391", "--bind", "127.0.0.1"]);
    let sections = "listen wants\n bind *:7207 accept-proxy\n server a 127.0.0.1:6391\nlisten sends\n bind *:7208\n server a \
                    127.0.0.1:6391 send-proxy\n";
    let _proxy = haproxy(&one, sections, 7207);
    let wants = one.diagnose(&["-p", "7207"]);
    wants.cause("proxy-backend-down", Confidence::Possible).nothing_certain().exit(1);
    let said = wants.report.to_string();
    assert!(said.contains("PROXY protocol") && !said.contains("start Redis"), "{wants}");
    let sends = one.diagnose(&["-p", "7208"]);
    sends.first_cause("proxy-protocol", Confidence::Likely).nothing_certain().exit(1);
}

#[test]
fn a_backend_whose_packets_are_lost() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    if lacks(&one, "haproxy") {
        return;
    }
    one.nft(
        "add table ip t; add chain ip t o { type filter hook output priority 0; }; add rule ip t o tcp dport 6391 drop",
    );
    let _proxy = haproxy(&one, "timeout connect 9s\nlisten hole\n bind *:7301\n server a 127.0.0.1:6391\n", 7301);
    one.diagnose(&["-p", "7301", "-t", "2"]).cause("proxy-backend-down", Confidence::Likely).nothing_certain().exit(1);
}

#[test]
fn a_balancer_takes_turns_with_a_place_where_nobody_is() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    if lacks(&server, "haproxy") {
        return;
    }
    let _redis = [6391, 6392, 6393].map(|port| server.redis(&["--port", &port.to_string(), "--requirepass", "pw"]));
    let live =
        |count: u16| (1..=count).map(|n| format!(" server w{n} 127.0.0.1:639{n}\n")).collect::<Vec<_>>().concat();
    let listen = |port: u16, count: u16| {
        format!("listen t{port}\n bind *:{port}\n balance roundrobin\n server dead 127.0.0.1:6399\n{}", live(count))
    };
    // The first connection to each goes to the first place.
    let sections: String =
        (1..=3).flat_map(|count| [listen(7400 + count, count), listen(7500 + count, count)]).collect();
    let _proxy = haproxy(&server, &format!("listen first\n bind *:7400\n server a 127.0.0.1:6391\n{sections}"), 7400);
    for count in 1..=3 {
        for (from, first, sure) in [(&client, 7400, Confidence::Possible), (&server, 7500, Confidence::Likely)] {
            let check = from.diagnose(&["-h", SERVER, "-p", &(first + count).to_string(), "-a", "pw"]);
            check.finding("ping/cut-at-times").cause("proxy-backend-down", sure).nothing_certain().exit(0);
        }
    }
}
