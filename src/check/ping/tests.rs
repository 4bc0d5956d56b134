//! The tables of [`super`].

use super::*;
use crate::model::Observed;
use crate::probe::path::redis::Exchange;
use crate::probe::path::reply::Hello;

fn dialogues(facts: &mut Facts) -> &mut Vec<Dialogue> {
    let Observed::Seen(redis) = &mut facts.redis else { panic!("a dialogue") };
    &mut redis.dialogues
}

#[track_caller]
fn check(facts: &Facts, codes: &[&str]) -> Judgement {
    let judgement = judge(facts).unwrap();
    let found: Vec<&str> = judgement.findings.iter().map(|finding| finding.code.id).collect();
    assert_eq!(found, codes);
    judgement
}

fn alien(head: &str) -> Facts {
    Facts::healthy().speechless(End::Alien).with(|facts| {
        let first = &mut dialogues(facts)[0].first;
        first.alien = Some(Alien { head: head.to_owned(), before_we_spoke: false });
        first.bytes = head.len();
    })
}

fn second(exchanges: Vec<(Command, Option<Reply>)>, end: End) -> Facts {
    Facts::healthy().speechless(End::Silent).with(|facts| {
        let second = dialogues(facts)[0].second.as_mut().unwrap();
        let exchanges = exchanges.into_iter().map(|(command, reply)| Exchange { command, reply });
        (second.exchanges, second.end, second.bytes) = (exchanges.collect(), end, 30);
    })
}

#[test]
fn a_pong_is_no_finding() {
    assert!(check(&Facts::healthy(), &[]).summary.starts_with("Redis 7.0.15 answered PONG"));
}

#[test]
fn errors_that_prove_a_redis_are_left_to_auth_and_state() {
    for text in ["NOAUTH Authentication required.", "LOADING x", "BUSY x", "MISCONF x", "MASTERDOWN x", "NOPERM x"] {
        check(&Facts::healthy().erring(Command::Ping, text), &[]);
    }
}

/// The whole script was cut and PING alone answered; then the two were tried again, with this luck.
fn tried_again(luck: [bool; 3]) -> Facts {
    let whole = Facts::healthy().redis.seen().unwrap().dialogues[0].first.clone();
    let least = Conversation { exchanges: whole.exchanges[..1].to_vec(), ..whole.clone() };
    let cut = |one: &Conversation| {
        let exchanges = one.exchanges.iter().map(|it| Exchange { reply: None, ..it.clone() });
        Conversation { exchanges: exchanges.collect(), end: End::Closed, bytes: 0, ..one.clone() }
    };
    Facts::healthy().with(|facts| {
        let dialogue = &mut dialogues(facts)[0];
        (dialogue.first, dialogue.second) = (cut(&whole), Some(least.clone()));
        let further = [&least, &whole, &whole].into_iter().zip(luck);
        dialogue.further = further.map(|(one, lucky)| if lucky { one.clone() } else { cut(one) }).collect();
    })
}

#[test]
fn what_is_cut_by_chance_is_no_limit() {
    for luck in
        [[true, true, true], [false, true, false], [true, false, true], [false, false, true], [false, false, false]]
    {
        check(&tried_again(luck), &["ping/cut-at-times"]);
    }
    // Every whole script is cut, and PING never: it is what is asked.
    check(&tried_again([true, false, false]), &["ping/limited"]);
    let whole = tried_again([true, false, true]);
    assert!(judge(&whole).unwrap().summary.starts_with("Redis 7.0.15 answered PONG"));
}

#[test]
fn each_refusal_has_its_code() {
    check(&Facts::healthy().refused_with("DENIED Redis is running in protected mode"), &["ping/protected-mode"]);
    check(&Facts::healthy().refused_with("ERR max number of clients reached"), &["ping/max-clients"]);
    check(&Facts::healthy().refused_with("ERR connection limit of your plan"), &["ping/error"]);
    check(&Facts::healthy().erring(Command::Ping, "ERR unknown command 'PING'"), &["ping/renamed"]);
    check(&Facts::healthy().erring(Command::Ping, "ERR unknown command 'PROXY', with args"), &["ping/proxy-header"]);
    check(&Facts::healthy().erring(Command::Ping, "ERR something else"), &["ping/error"]);
    check(&Facts::healthy().erring(Command::Ping, "ERR Protocol error: too big bulk count"), &["ping/error"]);
}

#[test]
fn silence_and_an_early_end_are_told_apart() {
    check(&Facts::healthy().speechless(End::Silent), &["ping/silent"]);
    check(&Facts::healthy().speechless(End::Closed), &["ping/closed"]);
    check(&Facts::healthy().speechless(End::Broken("ECONNRESET".to_owned())), &["ping/closed"]);
    let half = |facts: &mut Facts| dialogues(facts)[0].first.bytes = 3;
    check(&Facts::healthy().speechless(End::Silent).with(half), &["ping/cut-short"]);
    check(&Facts::healthy().speechless(End::Closed).with(half), &["ping/cut-short"]);
}

#[test]
fn what_was_answered_is_told_whatever_comes_after_it() {
    let busy = Facts::healthy().erring(Command::Ping, "ERR come back later").with(|facts| {
        let first = &mut dialogues(facts)[0].first;
        (first.end, first.elapsed_ms) = (End::Silent, 1_001.0);
        first.exchanges.retain(|exchange| exchange.command == Command::Ping);
    });
    check(&busy, &["ping/error"]);
}

#[test]
fn silence_says_what_became_of_our_bytes() {
    let silence = |unacknowledged, end| {
        let facts = Facts::healthy().speechless(End::Silent).with(|facts| {
            dialogues(facts)[0].first.unacknowledged = unacknowledged;
            dialogues(facts)[0].second.as_mut().unwrap().end = end;
        });
        check(&facts, &["ping/silent"]).findings[0].evidence.iter().map(|e| e.says.clone()).collect::<Vec<_>>()
    };
    assert_eq!(silence(None, End::Silent).len(), 1);
    assert_eq!(silence(Some(0), End::Silent)[1], "the peer's kernel has acknowledged our bytes");
    assert_eq!(silence(Some(31), End::Silent)[1], "31 of our bytes were never acknowledged");
    assert_eq!(silence(Some(0), End::NotMade)[2], "a second connection was not accepted");
}

#[test]
fn commands_that_wait_are_told_from_a_server_that_does_not_read() {
    let error = |text: &str| Reply::Error(ErrorReply { kind: ErrorKind::of(text), text: text.to_owned() });
    let arity = error("ERR wrong number of arguments for 'echo' command");
    let pong = Reply::Status("PONG".to_owned());
    let said = |ping, end| second(vec![(Command::EchoNothing, Some(arity.clone())), (Command::Ping, ping)], end);
    check(&said(None, End::Silent), &["ping/held-back"]);
    check(&said(None, End::Closed), &["ping/cut-short"]);
    check(&said(Some(pong), End::Answered), &[]);
}

#[test]
fn a_proxy_that_closes_on_what_it_does_not_know_is_healthy_when_it_pongs() {
    let pong = Some(Reply::Status("PONG".to_owned()));
    let mut facts = second(vec![(Command::Ping, pong)], End::Answered);
    let first = &mut dialogues(&mut facts)[0].first;
    first.end = End::Closed;
    first.exchanges.push(Exchange { command: Command::Info, reply: None });
    check(&facts, &[]);
    dialogues(&mut facts)[0].first.bytes = 5;
    check(&facts, &[]);
}

#[test]
fn what_is_not_redis_is_told_by_its_first_bytes() {
    let judgement = check(&alien("HTTP/1.1 400 Bad Request\\r\\n"), &["ping/not-redis"]);
    assert_eq!(judgement.findings[0].evidence[0].says, "after our commands: HTTP/1.1 400 Bad Request\\r\\n");
    check(&alien("SSH-2.0-OpenSSH_9.2"), &["ping/not-redis"]);
    check(&alien("\\x15\\x03\\x01\\x00\\x02\\x02\\x46"), &["ping/tls-alert"]);
    check(&Facts::healthy().replying(Command::Ping, Reply::Status("OK POP3 ready".to_owned())), &["ping/not-redis"]);
    check(&Facts::healthy().replying(Command::Ping, Reply::Hello(Hello::default())), &["ping/not-redis"]);
    check(&Facts::healthy().replying(Command::Ping, Reply::Integer(1)), &["ping/not-redis"]);
    check(&Facts::healthy().replying(Command::Auth, Reply::Status("OK POP3".to_owned())), &["ping/not-redis"]);
    check(&Facts::healthy().replying(Command::Auth, Reply::Status("OK".to_owned())), &[]);
    check(&Facts::healthy().replying(Command::Ping, Reply::Other("*1\\r\\n".to_owned())), &["ping/not-redis"]);
}

#[test]
fn addresses_that_answer_differently_are_a_warning() {
    let with_other = |other: Facts| {
        Facts::healthy().with(|facts| {
            let Observed::Seen(redis) = other.redis else { panic!("a dialogue") };
            dialogues(facts).push(Dialogue { address: "10.0.0.8:6379".to_owned(), ..redis.dialogues[0].clone() });
        })
    };
    check(&with_other(Facts::healthy()), &[]);
    check(&with_other(Facts::healthy().speechless(End::Silent)), &["ping/differs"]);
    let loading = check(&with_other(Facts::healthy().erring(Command::Ping, "LOADING x")), &["ping/differs"]);
    assert_eq!(loading.findings[0].evidence[1].says, "10.0.0.8:6379: -LOADING x");
    let mut both = with_other(Facts::healthy().speechless(End::Silent));
    dialogues(&mut both).swap(0, 1);
    check(&both, &["ping/silent", "ping/differs"]);
}

#[test]
fn late_is_later_than_the_handshake() {
    let late = |ms| Facts::healthy().with(|facts| dialogues(facts)[0].first.first_byte_ms = Some(ms));
    check(&late(999.0), &[]);
    check(&late(1_200.0), &["ping/slow"]);
    let far = late(1_200.0).with(|facts| {
        let Observed::Seen(tcp) = &mut facts.tcp else { panic!("an attempt") };
        tcp.attempts[0].elapsed_ms = 600.0;
    });
    check(&far, &[]);
}

#[test]
fn without_a_connection_there_is_nothing_to_say() {
    let facts = Facts::healthy().with(|facts| facts.redis = Observed::needs("tcp"));
    assert_eq!(judge(&facts).unwrap_err(), Gap::needs("tcp"));
}

#[test]
fn what_passes_only_when_small_is_a_failure() {
    use crate::probe::path::sizes::tests::up_to;
    let holed = |most| Facts::healthy().with(|facts| facts.sizes = Observed::Seen(up_to(most)));
    let found = judge(&holed(1_400)).unwrap();
    assert_eq!(found.findings.iter().map(|finding| finding.code.id).collect::<Vec<_>>(), ["ping/large-lost"]);
    assert!(found.summary.contains("what is large is lost"), "{}", found.summary);
    assert!(judge(&holed(100)).unwrap().findings.is_empty());
}

#[test]
fn a_pong_and_nothing_else_is_a_remark() {
    let unknown = |facts: Facts, command| facts.erring(command, "ERR unknown command 'x'");
    let limited = unknown(unknown(Facts::healthy(), Command::Info), Command::Hello);
    check(&limited, &["ping/limited"]);
    assert_eq!(LIMITED.severity_for(Level::Ready), crate::model::Severity::Info);
    // One of them proves a Redis, whose administrator renamed the other.
    check(&unknown(Facts::healthy(), Command::Info), &[]);
    let denied = Facts::healthy().erring(Command::Info, "NOPERM no permissions");
    check(&unknown(denied, Command::Hello), &[]);
}
