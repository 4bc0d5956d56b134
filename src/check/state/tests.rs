use super::*;
use crate::model::Observed;
use crate::probe::healthy_host::seen;
use crate::probe::path::redis::{Conversation, Exchange};

#[track_caller]
fn check(facts: &Facts, codes: &[&str]) -> Judgement {
    let judgement = judge(facts).unwrap();
    let found: Vec<&str> = judgement.findings.iter().map(|finding| finding.code.id).collect();
    assert_eq!(found, codes);
    judgement
}

/// With PFCOUNT sent and not answered.
fn held_pfcount(end: End) -> Facts {
    Facts::healthy().with(|facts| {
        let Observed::Seen(redis) = &mut facts.redis else { panic!("a dialogue") };
        let first = &mut redis.dialogues[0].first;
        first.exchanges.push(Exchange { command: Command::PfCount, reply: None });
        first.end = end;
    })
}

#[test]
fn a_serving_master_is_no_finding() {
    assert_eq!(check(&Facts::healthy(), &[]).summary, "master, 1 of 10000 clients");
}

#[test]
fn what_a_proxy_says_of_its_way_is_told() {
    let facts =
        |text| Facts::healthy().erring(Command::Info, text).erring(Command::Hello, "ERR unknown command 'HELLO'");
    for text in [
        "ERR Connection refused",
        "ERR Network is unreachable",
        "upstream failure",
        "upstream protocol error",
        "ERR no upstream host",
        "no upstream host",
        "ERR no server connection avaliable",
        "ERR Server Error",
    ] {
        check(&facts(text), &["state/upstream"]);
    }
    let judgement = check(&facts("ERR unknown command 'INFO'"), &[]);
    assert_eq!(judgement.summary, "PING is answered; whether it serves other commands cannot be seen");
    check(&facts("NOPERM no"), &[]);
}

/// As a proxy answers that knows PING alone, and keys with these.
fn keyed(answers: &[Reply]) -> Facts {
    let facts = ["INFO", "HELLO"]
        .iter()
        .zip([Command::Info, Command::Hello])
        .fold(Facts::healthy(), |facts, (name, of)| facts.erring(of, &format!("ERR unknown command '{name}'")));
    let reply = |reply: &Reply| Exchange { command: Command::Exists, reply: Some(reply.clone()) };
    facts.with(|facts| {
        let dialogue = &mut crate::probe::healthy_host::seen(&mut facts.redis).dialogues[0];
        let exchanges = answers.iter().map(reply).collect();
        dialogue.further = vec![Conversation { exchanges, ..Conversation::not_made() }];
    })
}

#[test]
fn what_keys_meet_behind_a_pong_is_told() {
    let error = |text: &str| Reply::Error(ErrorReply { kind: ErrorKind::of(text), text: text.to_owned() });
    let none = || Reply::Integer(0);
    check(&keyed(&[none(), none()]), &[]);
    let some = check(&keyed(&[none(), error("ERR Connection refused"), none()]), &["state/upstream"]);
    assert_eq!(some.findings[0].evidence[0].says, "ERR Connection refused to 1 of 3 keys");
    check(&keyed(&[none(), error("ERR this proxy is closed today")]), &["state/refused"]);
    check(&keyed(&[none(), error("LOADING Redis is loading")]), &["state/loading"]);
    check(&keyed(&[error("ERR unknown command 'EXISTS'")]), &[]);
}

#[test]
fn what_ping_says_of_the_state_has_its_code() {
    check(&Facts::healthy().erring(Command::Ping, "LOADING Redis is loading"), &["state/loading"]);
    check(&Facts::healthy().erring(Command::Ping, "BUSY Redis is busy running a script."), &["state/busy"]);
    check(&Facts::healthy().erring(Command::Ping, "MISCONF Errors writing to the AOF file"), &["state/persistence"]);
    check(&Facts::healthy().erring(Command::Ping, "MASTERDOWN Link with MASTER is down"), &["state/master-down"]);
}

#[test]
fn a_pong_hides_what_other_commands_say() {
    let facts = |text| Facts::healthy().replying(Command::Exists, Reply::Integer(0)).erring(Command::Exists, text);
    check(&facts("CLUSTERDOWN Hash slot not served"), &["state/cluster-down"]);
    check(&facts("MOVED 15495 10.0.0.7:7002"), &[]);
    check(&Facts::healthy().erring(Command::Select, "MASTERDOWN Link with MASTER is down"), &["state/master-down"]);
}

#[test]
fn what_info_shows_has_its_code() {
    check(&Facts::healthy().info("redis_mode", "sentinel"), &["state/sentinel"]);
    let down = || Facts::healthy().info("role", "slave").info("master_link_status", "down");
    let since = |seconds: &str| down().info("master_link_down_since_seconds", seconds);
    check(&since("59"), &[]);
    check(&since("60"), &["state/link-down"]);
    check(&since("-1").info("uptime_in_seconds", "900"), &[]);
    check(&since("900").info("master_sync_in_progress", "1"), &[]);
    check(&since("900").info("master_link_status", "up"), &[]);
    check(&Facts::healthy().info("server_mode", "sentinel"), &["state/sentinel"]);
    check(&Facts::healthy().info("paused_actions", "write"), &["state/paused"]);
    check(&Facts::healthy().info("paused_actions", "none"), &[]);
    check(&Facts::healthy().info("master_failover_state", "waiting-for-sync"), &["state/paused"]);
    check(&Facts::healthy().info("master_failover_state", "no-failover"), &[]);
    check(&Facts::healthy().info("async_loading", "1").info("loading", "1"), &[]);
}

#[test]
fn a_replica_is_a_fault_only_where_writes_are_wanted() {
    let replica = Facts::healthy().info("role", "slave");
    check(&replica, &[]);
    let written = |facts: Facts| facts.with(|facts| facts.ask.require = Level::Writable);
    check(&written(replica.clone()), &["state/read-only"]);
    check(&written(replica.info("slave_read_only", "0")), &[]);
}

#[test]
fn a_user_that_may_not_ping_still_learns_that_it_loads() {
    let facts = Facts::healthy().erring(Command::Ping, "NOPERM this user has no permissions");
    check(&facts, &[]);
    check(&facts.info("loading", "1"), &["state/loading"]);
}

#[test]
fn writes_may_want_replicas() {
    check(&Facts::healthy().info("min_slaves_good_slaves", "0"), &["state/not-enough-replicas"]);
    check(&Facts::healthy().info("min_slaves_good_slaves", "1"), &[]);
}

#[test]
fn who_may_write_cannot_be_seen_of_a_named_user() {
    let written = Facts::healthy().with(|facts| facts.ask.require = Level::Writable);
    assert!(judge(&written).is_ok());
    let named = written.clone().with(|facts| {
        facts.ask.target.password = true;
        facts.ask.target.user = Some("app".to_owned());
    });
    assert!(matches!(judge(&named), Err(Gap::Hidden(_))));
    assert!(matches!(judge(&written.erring(Command::PfCount, "NOPERM no permissions")), Err(Gap::Hidden(_))));
}

#[test]
fn memory_is_full_above_the_limit_without_eviction() {
    let full = Facts::healthy().info("maxmemory", "900000");
    check(&full, &["state/memory-full"]);
    check(&full.clone().info("maxmemory_policy", "allkeys-lru"), &[]);
    check(&full.clone().info("mem_not_counted_for_evict", "200000"), &[]);
    check(&full.info("maxmemory", "0"), &[]);
}

#[test]
fn a_pause_of_writes_shows_in_what_it_holds_back() {
    check(&held_pfcount(End::Silent), &["state/paused"]);
    // A proxy that closes on what it does not know has not paused anybody.
    check(&held_pfcount(End::Closed), &[]);
}

/// INFO not answered, and PING by the first connection or only by the second.
fn lost_info(by_the_second: bool, end: End) -> Facts {
    Facts::healthy().with(|facts| {
        let Observed::Seen(redis) = &mut facts.redis else { panic!("a dialogue") };
        let dialogue = &mut redis.dialogues[0];
        (dialogue.first.end, dialogue.first.elapsed_ms) = (end, 5_000.0);
        let least = dialogue.first.exchanges.iter().filter(|exchange| exchange.command == Command::Ping);
        let second = Conversation { exchanges: least.cloned().collect(), ..dialogue.first.clone() };
        for exchange in &mut dialogue.first.exchanges {
            let lost = exchange.command == Command::Info || by_the_second;
            exchange.reply.take_if(|_| lost);
        }
        dialogue.second = by_the_second.then_some(second);
    })
}

#[test]
fn info_that_never_comes_is_a_failure() {
    check(&lost_info(false, End::Silent), &["state/info-silent"]);
    check(&lost_info(true, End::Silent), &["state/info-silent"]);
    check(&lost_info(false, End::Closed), &[]);
    check(&Facts::healthy().erring(Command::Info, "ERR unknown command 'INFO'"), &[]);
    let short = lost_info(true, End::Silent).with(|facts| {
        let Observed::Seen(redis) = &mut facts.redis else { panic!("a dialogue") };
        redis.dialogues[0].first.elapsed_ms = 700.0;
    });
    assert!(matches!(judge(&short), Err(Gap::Hidden(_))));
    // An answer in the place of another's is somebody's who swallows commands.
    check(&lost_info(false, End::Silent).replying(Command::Hello, Reply::Other("$9".to_owned())), &[]);
}

#[test]
fn one_state_explains_the_others() {
    let facts = Facts::healthy().erring(Command::Ping, "LOADING x").info("loading", "1");
    check(&facts, &["state/loading"]);
    let facts = Facts::healthy().erring(Command::Ping, "MASTERDOWN x").info("role", "slave");
    check(&facts, &["state/master-down"]);
}

#[test]
fn other_checks_come_first() {
    let facts = Facts::healthy().erring(Command::Ping, "NOAUTH Authentication required.");
    assert_eq!(judge(&facts).unwrap_err(), Gap::needs("auth"));
    assert_eq!(judge(&Facts::healthy().speechless(End::Silent)).unwrap_err(), Gap::needs("ping"));
}

#[test]
fn writes_cannot_be_vouched_for_without_info() {
    let facts = Facts::healthy().erring(Command::Info, "NOPERM this user has no permissions");
    check(&facts, &[]);
    let facts = facts.with(|facts| facts.ask.require = Level::Writable);
    assert!(matches!(judge(&facts), Err(Gap::Hidden(_))));
}

#[test]
fn nodes_out_of_reach_are_a_warning_where_no_server_is_here() {
    use crate::probe::healthy_host::seen;
    use crate::probe::path::tcp::Attempt;
    use crate::probe::path::tunnel::Nodes;
    let lost = Attempt::failed([10, 9, 0, 1].into(), Outcome::TimedOut, "ETIMEDOUT", 1_000.0);
    let here = Facts::at_home().with(|facts| facts.nodes = Observed::Seen(Nodes { attempts: vec![lost] }));
    check(&here, &[]);
    check(&here.host(|host| seen(&mut host.processes).servers.clear()), &["state/nodes-unreachable"]);
}

#[test]
fn a_link_that_never_was_is_down_for_as_long_as_it_fails() {
    use crate::probe::host::log::{Event, Log};
    let logged = |began: u64, last: u64| {
        let event =
            |kind, age_s| Event { kind, peer: None, at: String::new(), age_s, says: "MASTER timeout".to_owned() };
        let events = vec![event(Kind::LinkBegan, began), event(Kind::Link, last)];
        let facts = Facts::at_home().info("role", "slave").info("master_link_status", "down");
        let facts = facts.info("master_link_down_since_seconds", "-1");
        facts.host(|host| host.log = Observed::Seen(Log { path: "/l".to_owned(), events }))
    };
    check(&logged(60, 1), &["state/link-down"]);
    check(&logged(59, 1), &[]);
    check(&logged(900, 700), &[]);
    let storm = |last: u64| {
        logged(last, last).host(|host| seen(&mut host.log).events[0].kind = crate::probe::host::log::Kind::LinkStorm)
    };
    check(&storm(0), &["state/link-down"]);
    check(&storm(61), &[]);
}
