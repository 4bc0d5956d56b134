use std::time::Instant;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::probe::host::firewall::Firewall;
use crate::probe::host::firewall::rules::{Field, Rejection, Values};
use crate::probe::host::firewall::walk::{Outcome, Packet, incoming, outgoing};

/// A listing of one table with the chain `f` in `input` and what else is given.
fn listing(family: &str, policy: &str, others: &[Value]) -> String {
    let mut objects = vec![
        json!({"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}),
        json!({"table": {"family": family, "name": "t", "handle": 1}}),
        json!({"chain": {"family": family, "table": "t", "name": "a", "handle": 1}}),
        json!({"chain": {"family": family, "table": "t", "name": "f", "handle": 2, "type": "filter", "hook": "input",
            "prio": -5, "policy": policy}}),
    ];
    objects.extend_from_slice(others);
    json!({ "nftables": objects }).to_string()
}

fn rule(family: &str, expr: &Value) -> Value {
    json!({"rule": {"family": family, "table": "t", "chain": "f", "handle": 9, "expr": expr}})
}

fn read(family: &str, expr: &Value) -> Rule {
    let tables = parse(&listing(family, "accept", &[rule(family, expr)])).unwrap();
    tables[0].chains[1].rules[0].clone()
}

/// What becomes of a SYN from 10.0.0.9 to port 6379 of 10.0.0.1, or from `fd00::9` to `fd00::1`.
fn outcome(json: &str, v6: bool) -> Outcome {
    let firewall = Firewall { tables: parse(json).unwrap(), unread: Vec::new() };
    let (from, to) = if v6 { ("fd00::9", "[fd00::1]:6379") } else { ("10.0.0.9", "10.0.0.1:6379") };
    let syn = Packet::syn_in(Some(from.parse().unwrap()), to.parse().unwrap(), Some("eth0".to_owned()));
    let own = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    incoming(&firewall, syn, &own).outcome()
}

fn meta(key: &str) -> Value {
    json!({"meta": {"key": key}})
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

fn compare(left: &Value, op: &str, right: &Value) -> Value {
    json!({"match": {"op": op, "left": left, "right": right}})
}

#[test]
fn reads_tests_as_the_kernel_makes_them() {
    let ports = |ranges: &[(u64, u64)]| Test::Is(Field::ToPort, Values::Numbers(ranges.to_vec()));
    let flags = |mask, value| Test::Flags { mask, value };
    let state = || json!({"ct": {"key": "state"}});
    let (dport, tcp_flags) = (payload("tcp", "dport"), payload("tcp", "flags"));
    let masked = json!({"&": [tcp_flags, ["fin", "syn", "rst", "ack"]]});
    let newer = json!({"&": [tcp_flags, {"|": [{"|": [{"|": ["fin", "syn"]}, "rst"]}, "ack"]}]});
    for (left, op, right, negated, want) in [
        (dport.clone(), "==", json!(6379), false, ports(&[(6379, 6379)])),
        (dport.clone(), "!=", json!({"set": [22, {"range": [80, 90]}]}), true, ports(&[(22, 22), (80, 90)])),
        (dport.clone(), "<", json!(1024), false, ports(&[(0, 1023)])),
        (dport.clone(), ">=", json!(1024), false, ports(&[(1024, u64::MAX)])),
        (dport.clone(), "<", json!(0), false, ports(&[])),
        (tcp_flags.clone(), "in", json!("syn"), false, flags(2, 2)),
        (tcp_flags.clone(), "!", json!("syn"), true, flags(2, 2)),
        (tcp_flags.clone(), "==", json!("syn"), false, flags(0xff, 2)),
        (tcp_flags.clone(), "!=", json!(18), true, flags(0xff, 18)),
        (tcp_flags, "in", json!(["syn", "ack"]), false, Test::Any(vec![vec![flags(2, 2)], vec![flags(16, 16)]])),
        (masked, "==", json!("syn"), false, flags(0x17, 2)),
        (newer, "!=", json!("syn"), true, flags(0x17, 2)),
        (json!({"&": [meta("mark"), 255]}), "==", json!(5), false, Test::Marked { mask: 255, value: 5 }),
        (
            state(),
            "in",
            json!(["established", "related"]),
            false,
            Test::Is(
                Field::State,
                Values::States(vec![super::super::rules::State::Established, super::super::rules::State::Related]),
            ),
        ),
        (
            meta("iifname"),
            "==",
            json!("eth*"),
            false,
            Test::Is(Field::InInterface, Values::Names(vec!["eth*".to_owned()])),
        ),
        (dport, "==", json!("@p"), false, Test::InSet { of: vec![Field::ToPort], name: "p".to_owned() }),
    ] {
        let found = expression::test(&left, op, &right);
        assert_eq!(found, (want, negated), "{left} {op} {right}");
    }
}

#[test]
fn what_is_not_understood_is_unknown() {
    for expr in [
        compare(&meta("skuid"), "==", &json!(0)),
        compare(&meta("iif"), "==", &json!("99")),
        compare(&meta("iifname"), "==", &json!("a\\*")),
        compare(&payload("ip", "ttl"), "==", &json!(5)),
        compare(&json!({"ct": {"key": "state"}}), "!=", &json!({"|": ["established", "related"]})),
        compare(&json!({"ct": {"key": "ip daddr", "dir": "original"}}), "==", &json!("1.2.3.4")),
        compare(&json!({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}), "==", &json!(false)),
        compare(&json!({"fib": {"result": "type", "flags": ["daddr", "iif"]}}), "==", &json!("local")),
        compare(&json!({"&": [payload("ip", "saddr"), "0.0.0.255"]}), "==", &json!("0.0.0.9")),
        compare(&payload("tcp", "dport"), "==", &json!({"set": [22, {"new": 1}]})),
        compare(&payload("tcp", "dport"), "~", &json!(6379)),
        json!({"limit": {"rate": 5, "burst": 5, "per": "second"}}),
        json!({"quota": "q"}),
        json!({"xt": {"type": "match", "name": "recent"}}),
        json!({"xt": null}),
        json!({"set": {"op": "add", "elem": payload("ip", "saddr"), "set": "@d"}}),
        json!({"hyper": {"drive": 1}}),
        json!("accept?"),
    ] {
        let json = listing("ip", "accept", &[rule("ip", &json!([expr, {"drop": null}]))]);
        assert_eq!(outcome(&json, false), Outcome::Open, "{expr}");
    }
}

#[test]
fn a_listing_leaves_out_what_it_implies() {
    let drop = json!({"drop": null});
    let saddr = compare(&payload("ip", "saddr"), "!=", &json!("10.0.0.8"));
    let json = listing("inet", "accept", &[rule("inet", &json!([saddr, drop]))]);
    assert_ne!(outcome(&json, false), Outcome::Passes);
    assert_eq!(outcome(&json, true), Outcome::Passes, "the packet is no IPv4");
    let udp = compare(&payload("udp", "dport"), "!=", &json!(53));
    assert_eq!(outcome(&listing("inet", "accept", &[rule("inet", &json!([udp, drop]))]), false), Outcome::Passes);
    let reject = json!([{"reject": {"type": "icmp", "expr": "host-prohibited"}}]);
    let json = listing("inet", "accept", &[rule("inet", &reject)]);
    assert_ne!(outcome(&json, false), Outcome::Passes);
    assert_eq!(outcome(&json, true), Outcome::Passes);
}

#[test]
fn reads_rejections() {
    let icmp = |code| Part::Verdict(Verdict::Reject(Rejection::Icmp(code)));
    for (family, body, want) in [
        ("ip", json!({"type": "icmp", "expr": "port-unreachable"}), icmp(3)),
        ("ip", json!({"type": "icmp", "expr": "admin-prohibited"}), icmp(13)),
        ("ip6", json!({"type": "icmpv6", "expr": "no-route"}), icmp(0)),
        ("ip6", json!({"type": "icmpv6", "expr": "policy-fail"}), icmp(5)),
        ("ip", json!({"type": "tcp reset"}), Part::Verdict(Verdict::Reject(Rejection::Reset))),
    ] {
        assert_eq!(read(family, &json!([{"reject": body}])).parts.last(), Some(&want), "{body}");
    }
    for (code, v6) in [(3, false), (4, true)] {
        for body in [Value::Null, json!({"type": "icmpx", "expr": "port-unreachable"})] {
            let json = listing("inet", "accept", &[rule("inet", &json!([{"reject": body}]))]);
            let how = super::super::walk::How::Rejected(Rejection::Icmp(code));
            assert_eq!(outcome(&json, v6), Outcome::Stopped(how), "{body}");
        }
    }
}

#[test]
fn a_reset_in_a_table_of_both_versions_may_be_of_one_only() {
    let reset = json!({"reject": {"type": "tcp reset"}});
    let dport = compare(&payload("tcp", "dport"), "==", &json!(6379));
    let saddr = compare(&payload("ip", "saddr"), "==", &json!("10.0.0.9"));
    let counter = json!({"counter": {"packets": 7, "bytes": 420}});
    let reset_for_sure = Outcome::Stopped(super::super::walk::How::Rejected(Rejection::Reset));
    for (family, expr, want) in [
        ("inet", json!([dport, reset]), Outcome::Open),
        ("inet", json!([counter, dport, reset]), Outcome::Open),
        ("inet", json!([dport, counter, reset]), reset_for_sure),
        ("inet", json!([saddr, dport, reset]), reset_for_sure),
        ("ip", json!([dport, reset]), reset_for_sure),
    ] {
        assert_eq!(outcome(&listing(family, "accept", &[rule(family, &expr)]), false), want, "{family} {expr}");
    }
}

#[test]
fn sets_and_maps() {
    let of = |body: Value| listing("inet", "accept", &[body, lookup()]);
    let set =
        |elem: Value| json!({"set": {"family": "inet", "table": "t", "name": "s", "type": "ipv4_addr", "elem": elem}});
    for (elem, stopped) in [
        (json!(["10.0.0.9"]), Some(true)),
        (json!([{"elem": {"val": "10.0.0.9", "timeout": 60, "expires": 5, "comment": "x"}}]), Some(true)),
        (json!([{"elem": {"val": "10.0.0.9", "counter": {"packets": 1, "bytes": 60}}}]), Some(true)),
        (json!([{"elem": {"val": "10.0.0.9", "limit": {"rate": 1, "burst": 5, "per": "second"}}}]), None),
        (json!([{"prefix": {"addr": "10.0.0.0", "len": 8}}, "192.0.2.1"]), Some(true)),
        (json!([{"range": ["10.0.0.1", "10.0.0.8"]}]), Some(false)),
        (json!(["192.0.2.1", "*"]), Some(true)),
        (json!([]), Some(false)),
        (json!([{"strange": 1}]), None),
    ] {
        let want = match stopped {
            Some(true) => Outcome::Stopped(super::super::walk::How::Dropped),
            Some(false) => Outcome::Passes,
            None => Outcome::Open,
        };
        assert_eq!(outcome(&of(set(elem.clone())), false), want, "{elem}");
    }
    let concat = json!({"set": {"family": "inet", "table": "t", "name": "s", "type": ["ipv4_addr", "inet_service"],
        "elem": [{"concat": ["10.0.0.9", {"range": [6000, 7000]}]}]}});
    assert_eq!(outcome(&of(concat), false), Outcome::Open, "one field is looked up, and there are two");
    // Packets change it: what was listed is not what the next one finds.
    let add = rule("inet", &json!([{"set": {"op": "add", "elem": payload("ip", "saddr"), "set": "@s"}}]));
    let json = listing("inet", "accept", &[set(json!([])), lookup(), add]);
    assert_eq!(outcome(&json, false), Outcome::Open);
}

/// Drops what comes from the set `s`.
fn lookup() -> Value {
    rule("inet", &json!([compare(&payload("ip", "saddr"), "==", &json!("@s")), {"drop": null}]))
}

#[test]
fn maps_of_verdicts() {
    let vmap = |data: Value| rule("ip", &json!([{"vmap": {"key": payload("ip", "saddr"), "data": data}}]));
    let anonymous = |pairs: Value| listing("ip", "accept", &[vmap(json!({"set": pairs}))]);
    let named = |pairs: Value| {
        let map = json!({"map": {"family": "ip", "table": "t", "name": "m", "type": "ipv4_addr", "map": "verdict", "elem": pairs}});
        listing("ip", "accept", &[map, vmap(json!("@m"))])
    };
    let dropped = Outcome::Stopped(super::super::walk::How::Dropped);
    for (pairs, want) in [
        (json!([["10.0.0.9", {"drop": null}]]), dropped),
        (json!([["*", {"drop": null}], ["10.0.0.9", {"accept": null}]]), Outcome::Passes),
        (json!([["*", {"drop": null}], ["10.0.0.8", {"accept": null}]]), dropped),
        (json!([["10.0.0.9", {"jump": {"target": "a"}}]]), Outcome::Passes),
        (json!([["10.0.0.9", {"jump": {"target": "gone"}}]]), Outcome::Open),
        (json!([["10.0.0.9", {"strange": null}]]), Outcome::Open),
    ] {
        assert_eq!(outcome(&anonymous(pairs.clone()), false), want, "{pairs}");
        assert_eq!(outcome(&named(pairs.clone()), false), want, "@m: {pairs}");
    }
}

#[test]
fn writes_rules_as_nft_does() {
    let counter = json!({"counter": {"packets": 7, "bytes": 420}});
    for (expr, want) in [
        (
            json!([compare(&payload("tcp", "dport"), "==", &json!({"set": [22, {"range": [80, 90]}]})), counter, {"drop": null}]),
            "tcp dport { 22, 80-90 } counter packets 7 bytes 420 drop",
        ),
        (
            json!([compare(&meta("iifname"), "!=", &json!("eth*")), {"jump": {"target": "a"}}]),
            "iifname != \"eth*\" jump a",
        ),
        (
            json!([compare(&json!({"ct": {"key": "state"}}), "in", &json!(["established", "related"])), {"accept": null}]),
            "ct state established,related accept",
        ),
        (json!([compare(&meta("mark"), "==", &json!(5)), {"return": null}]), "meta mark 0x00000005 return"),
        (
            json!([compare(&json!({"&": [payload("tcp", "flags"), ["fin", "syn"]]}), "==", &json!("syn")), {"drop": null}]),
            "tcp flags syn / fin,syn drop",
        ),
        (json!([{"dnat": {"family": "ip6", "addr": "fd00::1", "port": 6379}}]), "dnat ip6 to [fd00::1]:6379"),
        (json!([{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]), "reject with icmpx admin-prohibited"),
        (
            json!([{"vmap": {"key": {"concat": [payload("ip", "saddr"), payload("tcp", "dport")]},
                "data": {"set": [[{"concat": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, 22]}, {"goto": {"target": "a"}}]]}}}]),
            "ip saddr . tcp dport vmap { 10.0.0.0/8 . 22 : goto a }",
        ),
    ] {
        assert_eq!(read("inet", &expr).text, want);
    }
    let mut spoken = rule("ip", &json!([{"drop": null}]));
    spoken["rule"]["comment"] = json!("\u{1b}[2J");
    let tables = parse(&listing("ip", "accept", &[spoken])).unwrap();
    assert_eq!(tables[0].chains[1].rules[0].text, "drop comment \"\\x1b[2J\"");
}

#[test]
fn counts_only_what_met_the_rule() {
    let counter = json!({"counter": {"packets": 7, "bytes": 420}});
    let dport = compare(&payload("tcp", "dport"), "==", &json!(6379));
    assert_eq!(read("ip", &json!([dport, counter, {"drop": null}])).packets, Some(7));
    assert_eq!(read("ip", &json!([counter, dport, {"drop": null}])).packets, None);
    assert_eq!(read("ip", &json!([{"counter": "named"}, {"drop": null}])).packets, None);
}

#[test]
fn a_table_that_sleeps_filters_nothing() {
    let flagged = |version: &str, flags: Value| {
        json!({"nftables": [
            {"metainfo": {"version": version, "json_schema_version": 1}},
            {"table": {"family": "ip", "name": "t", "handle": 1, "flags": flags}},
            {"chain": {"family": "ip", "table": "t", "name": "f", "handle": 1, "type": "filter", "hook": "input",
                "prio": 0, "policy": "drop"}},
        ]})
        .to_string()
    };
    let dropped = Outcome::Stopped(super::super::walk::How::Dropped);
    for (version, flags, want) in [
        ("1.1.3", json!("dormant"), Outcome::Passes),
        ("1.1.3", json!(["dormant", "owner"]), Outcome::Passes),
        ("1.1.3", json!(["owner", "persist"]), dropped),
        ("1.1.3", json!("strange"), Outcome::Open),
        ("1.0.6", json!("t"), Outcome::Open),
        ("1.0.6", json!("owner"), Outcome::Open),
    ] {
        assert_eq!(outcome(&flagged(version, flags.clone()), false), want, "{version} {flags}");
    }
}

#[test]
fn what_does_not_hang_together_is_no_listing() {
    let strange = |object: Value| listing("ip", "accept", &[object]);
    for json in [
        String::new(),
        "[]".to_owned(),
        r#"{"nftables": 5}"#.to_owned(),
        // What nft 1.0.6 prints where a table has flags.
        r#"{"nftables": [{"table": {"family": "ip", "name": "t", "handle": 1, "flags": "#.to_owned(),
        json!({"nftables": [{"metainfo": {"json_schema_version": 2}}]}).to_string(),
        strange(json!({"rule": {"family": "ip", "table": "t", "chain": "gone", "expr": []}})),
        strange(json!({"rule": {"family": "ip", "table": "gone", "chain": "f", "expr": []}})),
        strange(json!({"rule": {"family": "ip", "table": "t", "chain": "f"}})),
        strange(
            json!({"chain": {"family": "ip", "table": "t", "name": "x", "hook": "mirror", "type": "filter", "prio": 0}}),
        ),
        strange(json!({"chain": {"family": "ip", "table": "t", "name": "x", "hook": "input", "type": "filter"}})),
    ] {
        assert!(parse(&json).is_err(), "{json}");
    }
}

#[test]
fn a_huge_set_is_read_and_looked_up_at_once() {
    let hosts = |count: u32| (0..count).map(|n| std::net::Ipv4Addr::from_bits(0x0b00_0000 + 2 * n).to_string());
    let elem: Vec<String> = hosts(100_000).collect();
    let set = json!({"set": {"family": "inet", "table": "t", "name": "s", "type": "ipv4_addr", "elem": elem}});
    let many: Vec<Value> = std::iter::once(set).chain((0..10).map(|_| lookup())).collect();
    let json = listing("inet", "accept", &many);
    #[expect(clippy::disallowed_methods, reason = "a test that measures")]
    let begun = Instant::now();
    assert_eq!(outcome(&json, false), Outcome::Passes);
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
}

#[test]
fn jumps_without_end_are_followed_only_so_far() {
    let any = json!({"limit": {"rate": 5, "burst": 5, "per": "second"}});
    let jump = |to: &str| json!([any, {"jump": {"target": to}}]);
    let mut objects: Vec<Value> = (0..20).map(|_| rule("ip", &jump("f"))).collect();
    objects.extend((0..20).map(|_| {
        let mut rule = rule("ip", &jump("f"));
        rule["rule"]["chain"] = json!("a");
        rule
    }));
    objects.extend((0..20).map(|_| rule("ip", &jump("a"))));
    #[expect(clippy::disallowed_methods, reason = "a test that measures")]
    let begun = Instant::now();
    assert_eq!(outcome(&listing("ip", "accept", &objects), false), Outcome::Open);
    assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
}

/// JSON such as a listing holds, put together without sense.
fn garbage() -> impl Strategy<Value = Value> {
    let words = [
        "match",
        "left",
        "right",
        "op",
        "==",
        "in",
        "!=",
        "<",
        "payload",
        "protocol",
        "field",
        "tcp",
        "ip",
        "dport",
        "saddr",
        "flags",
        "meta",
        "key",
        "mark",
        "ct",
        "state",
        "set",
        "elem",
        "val",
        "concat",
        "range",
        "prefix",
        "addr",
        "len",
        "&",
        "|",
        "vmap",
        "data",
        "jump",
        "goto",
        "target",
        "a",
        "f",
        "@s",
        "*",
        "10.0.0.1",
        "::1",
        "reject",
        "type",
        "icmpx",
        "drop",
        "accept",
        "mangle",
        "value",
        "dnat",
        "port",
        "fib",
        "result",
        "\u{1b}[2J",
        "xt",
        "counter",
        "queue",
    ];
    let word = proptest::sample::select(words.to_vec());
    let leaf = prop_oneof![
        word.clone().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let object = proptest::collection::vec((word.clone(), inner.clone()), 0..5);
        prop_oneof![
            proptest::collection::vec(inner, 0..5).prop_map(Value::from),
            object.prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_statements_break_it(
        expr in proptest::collection::vec(garbage(), 0..5),
        elem in garbage(),
        map in any::<bool>(),
    ) {
        let kind = if map { "map" } else { "set" };
        let body = json!({"family": "inet", "table": "t", "name": "s", "type": "ipv4_addr", "map": "verdict", "elem": elem});
        let json = listing("inet", "drop", &[json!({kind: body}), lookup(), rule("inet", &Value::from(expr))]);
        let tables = parse(&json).unwrap();
        for rule in tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules) {
            prop_assert!(!rule.text.contains(char::is_control));
        }
        let firewall = Firewall { tables, unread: Vec::new() };
        let syn = Packet::syn_out(None, "[fd00::1]:6379".parse().unwrap(), None);
        outgoing(&firewall, syn.clone(), &[]);
        incoming(&firewall, syn, &[]);
    }

    #[test]
    fn no_bytes_break_it(at in any::<proptest::sample::Index>(), byte in any::<char>(), cut in any::<bool>()) {
        let expr = json!([compare(&payload("tcp", "dport"), "==", &json!({"set": [22, {"range": [80, 90]}]})), {"drop": null}]);
        let json = listing("ip", "accept", &[rule("ip", &expr)]);
        let place = at.index(json.len());
        let rest = if cut { "" } else { &json[place + 1..] };
        let _ = parse(&format!("{}{byte}{rest}", &json[..place]));
    }

    #[test]
    fn no_depth_breaks_it(depth in 1_usize..200_000, key in "[&|]|concat|set|elem") {
        let json = format!(r#"{{"nftables": [{}1{}]}}"#, format!(r#"{{"{key}": ["#).repeat(depth), "]}".repeat(depth));
        let _ = parse(&json);
    }
}
