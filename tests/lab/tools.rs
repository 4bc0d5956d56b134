//! The tools that list a packet filter's rules: when they are run, what they show, and that no tool, however broken, does
//! harm.

use std::time::Duration;

use serde_json::Value;

use crate::world::{Confidence, Host, Lab};

const SERVER: &str = "10.77.1.2";
/// All that may be run.
const TOOLS: [&str; 8] = [
    "nft",
    "iptables-nft-save",
    "ip6tables-nft-save",
    "iptables-save",
    "ip6tables-save",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "ipset",
];
/// What a fake that hangs hangs in: told from all else by its argument.
const SLEEP: &str = "471.1";
/// Where the facts of a run are saved.
const FACTS: &str = "/run/lab/facts.json";
/// With `-t 1`: the attempt, the tools, and what a busy machine takes.
const TWO_STEPS: Duration = Duration::from_millis(4_500);

/// Puts a shell script in the place of every tool.
fn fake(host: &Host, script: &str) {
    for tool in TOOLS {
        host.program(&format!("/usr/local/sbin/{tool}"), &format!("#!/bin/sh\n{script}\n"));
    }
}

/// What the client's facts say of its own packet filter, of one run against a server that does not answer.
fn firewall(client: &Host) -> Value {
    let ran = client.redisdoc(&["check", "-h", SERVER, "-t", "1", "-o", &format!("facts={FACTS}")]).run();
    assert_eq!(ran.code, Some(1), "{ran}");
    let facts: Value = serde_json::from_str(&client.read(FACTS)).expect("facts");
    facts["firewall"].clone()
}

/// A client whose attempts are swallowed by the server.
fn swallowed(lab: &Lab) -> (Host, Host) {
    let (client, server) = lab.pair();
    let _ =
        server.sh("nft add table inet t; nft add chain inet t f '{ type filter hook input priority 0; policy drop; }'");
    client.file("/run/lab/.here", "");
    (client, server)
}

/// The human and the JSON report of a run that may take no more than little time and memory; its facts are in [`FACTS`].
fn run(client: &Host) -> (String, String) {
    let redisdoc = crate::world::diagnose::REDISDOC;
    let line = format!(
        "ulimit -v 500000; exec {redisdoc} check -h {SERVER} -t 1 -o human -o json=/run/lab/report.json -o facts={FACTS}"
    );
    let ran = client.run(&["sh", "-c", &line]);
    assert!(ran.code == Some(1) && ran.wall < TWO_STEPS, "{ran}");
    (ran.stdout + &ran.stderr, client.read("/run/lab/report.json"))
}

/// The processes of fakes that are still there, after a moment for the killed to be gone.
fn left_behind(host: &Host) -> String {
    let here = format!("grep -alx -e {SLEEP} -e sleep.{SLEEP}. /proc/[0-9]*/cmdline 2>/dev/null");
    let line = format!("for n in 1 2 3 4 5 6 7 8 9; do {here} >/dev/null || exit 0; sleep 0.1; done; {here}; :");
    host.run(&["sh", "-c", &line]).stdout
}

#[test]
fn a_healthy_check_runs_no_program() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--requirepass", "pw"]);
    for host in [&client, &server] {
        host.file("/run/lab/.here", "");
        fake(host, "echo $0 >> /run/lab/ran; exit 1");
    }
    client.doctor(&["-h", SERVER]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
    server.doctor(&[]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
    let trace = |host: &Host| host.sh("cat /run/lab/ran 2>/dev/null; :").stdout;
    assert_eq!((trace(&client), trace(&server)), (String::new(), String::new()));
    // Nor does one that finds a fault which no packet filter of this machine makes.
    client.diagnose(&["-h", SERVER]).first_cause("password-missing", Confidence::Certain).exit(1);
    assert_eq!(trace(&client), "");
    // They would have told.
    let _ = server
        .run(&[
            "/usr/sbin/nft",
            "add table inet t; add chain inet t f { type filter hook input priority 0; policy drop; }",
        ])
        .ok();
    client.diagnose(&["-h", SERVER, "-t", "1"]).exit(1);
    assert!(trace(&client).contains("nft"), "{}", trace(&client));
}

#[test]
fn listing_changes_nothing_and_shows_all_three_kinds() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = swallowed(&lab);
    let state = "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names; nft -s list ruleset; cat /proc/modules 2>/dev/null; :";
    let before = client.sh(state).stdout;
    assert_eq!(firewall(&client), serde_json::json!({"seen": {"tables": [], "unread": []}}));
    assert_eq!(client.sh(state).stdout, before);
    let _ = client.sh(
        "nft add table inet mine; nft add chain inet mine one; iptables -A OUTPUT -p tcp -m comment --comment one -j ACCEPT; \
         ip6tables -A OUTPUT -p tcp -m owner --uid-owner 0 -j ACCEPT; iptables-legacy -A OUTPUT -p tcp --dport 1 -j DROP",
    );
    let before = client.sh(state).stdout;
    let seen = firewall(&client);
    let tables = seen["seen"]["tables"].as_array().expect("tables");
    let mut kinds: Vec<String> =
        tables.iter().map(|table| format!("{} {} {}", table["source"], table["family"], table["name"])).collect();
    kinds.sort();
    let expected = [
        r#""iptables" "ip" "filter""#,
        r#""iptables" "ip6" "filter""#,
        r#""iptables_legacy" "ip" "filter""#,
        r#""nft" "inet" "mine""#,
    ];
    assert_eq!(kinds, expected, "{seen}");
    assert_eq!(seen["seen"]["unread"], serde_json::json!([]));
    assert_eq!(client.sh(state).stdout, before);
}

#[test]
fn without_a_tool_or_the_right_nothing_is_called_empty() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = swallowed(&lab);
    if lab.has_users() {
        client.sh("chmod 1777 /run/lab");
        let args = ["check", "-h", SERVER, "-t", "1", "-o", "facts=/run/lab/nobody.json"];
        let ran = client.redisdoc(&args).user(65534).run();
        assert_eq!(ran.code, Some(1), "{ran}");
        let facts: Value = serde_json::from_str(&client.read("/run/lab/nobody.json")).expect("facts");
        assert_eq!(facts["firewall"]["hidden"]["kind"], "permission", "{}", facts["firewall"]);
    }
    let remove: Vec<String> = TOOLS.iter().map(|tool| format!("/usr/sbin/{tool}")).collect();
    let _ = client.sh(&format!("rm -f /usr/sbin/iptables-legacy* {}", remove[1..].join(" ")));
    assert_eq!(firewall(&client), serde_json::json!({"seen": {"tables": [], "unread": []}}));
    let _ = client.sh("rm -f /usr/sbin/nft");
    let seen = firewall(&client);
    assert_eq!(seen["hidden"]["kind"], "missing", "{seen}");
}

#[test]
fn no_tool_does_harm() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = swallowed(&lab);
    let _ = client.sh("iptables-legacy -A OUTPUT -p tcp --dport 1 -j DROP");
    let honest = run(&client).1;
    assert!(!honest.contains("\"certain\""), "{honest}");
    for (script, says) in [
        (format!("sleep {SLEEP}"), "its time was up"),
        (format!("trap '' TERM INT HUP; while :; do sleep {SLEEP}; done"), "its time was up"),
        (format!("exec >&- 2>&-; sleep {SLEEP}"), "its time was up"),
        (format!("sleep {SLEEP} & echo half"), "cannot be read"),
        (format!("(sleep {SLEEP}) & (sleep {SLEEP}) & wait"), "its time was up"),
        ("head -c 100000000 /dev/zero | tr '\\0' x".to_owned(), "more than can be read"),
        ("yes no >&2".to_owned(), "more than can be read"),
        ("head -c 5000 /dev/urandom".to_owned(), "cannot be read"),
        ("printf '\\033[2J\\033]0;owned\\007'".to_owned(), "\\\\x1b[2J"),
        ("printf '\\033[31mError' >&2; exit 3".to_owned(), "exit code 3: \\\\x1b[31mError"),
        ("echo 'Der Befehl wurde nicht gefunden'".to_owned(), "cannot be read"),
        ("echo 'Zugriff verweigert' >&2; exit 1".to_owned(), "exit code 1: Zugriff verweigert"),
        ("exit 1".to_owned(), "exit code 1"),
        ("kill -9 $$".to_owned(), "signal 9"),
        ("/usr/sbin/nft -j list ruleset | head -c 60".to_owned(), "cannot be read"),
        ("echo '{\"nftables\": 7}'".to_owned(), "cannot be read"),
        ("printf '*filter\\n:OUTPUT DROP [0:0]\\n'".to_owned(), "cannot be read"),
        ("printf '*filter\\n:OUTPUT DROP [9:9]\\nCOMMIT\\n'; [ ${0##*/} != nft ]".to_owned(), "exit code 1"),
    ] {
        fake(&client, &script);
        let (human, json) = run(&client);
        let seen = client.read(FACTS);
        let seen: Value = serde_json::from_str(&seen).expect("facts");
        let seen = seen["firewall"].to_string();
        assert!(seen.contains(says) && (seen.contains("unread") || seen.contains("hidden")), "{script}: {seen}");
        assert!(!json.contains("\"certain\""), "{script}: {json}");
        assert!(!human.contains('\x1b'), "{script}: {human}");
        assert_eq!(left_behind(&client), "", "{script}");
    }
}

#[test]
fn a_tool_that_cannot_be_executed_is_no_missing_firewall() {
    let Some(lab) = Lab::enter() else { return };
    let (client, _server) = swallowed(&lab);
    for tool in TOOLS {
        client.program(&format!("/usr/local/sbin/{tool}"), "\u{7f}ELF not really");
    }
    let seen = firewall(&client).to_string();
    assert!(seen.contains("cannot be run"), "{seen}");
}
