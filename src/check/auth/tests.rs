//! The table of the judge: every code, every wording, and what must raise nothing.

use super::*;
use crate::model::Observed;
use crate::probe::path::redis::Exchange;
use crate::probe::path::reply::Hello;

const NOAUTH: &str = "NOAUTH Authentication required.";
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NOT_SET: &str = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
const ARITY: &str = "ERR wrong number of arguments for 'auth' command";

fn password() -> Facts {
    Facts::healthy().with(|facts| facts.ask.target.password = true).replying(Command::Auth, ok())
}

fn user(name: &str) -> Facts {
    password().with(|facts| facts.ask.target.user = Some(name.to_owned()))
}

fn resp3_wanted(facts: Facts) -> Facts {
    facts.with(|facts| facts.ask.target.resp3 = true)
}

fn ok() -> Reply {
    Reply::Status("OK".to_owned())
}

/// As a server answers that wants a password first.
fn closed(facts: Facts) -> Facts {
    [Command::Ping, Command::Hello, Command::Info]
        .into_iter()
        .fold(facts, |facts, command| facts.erring(command, NOAUTH))
}

fn dialogues(facts: &mut Facts) -> &mut Vec<Dialogue> {
    match &mut facts.redis {
        Observed::Seen(redis) => &mut redis.dialogues,
        _ => unreachable!("healthy facts hold a dialogue"),
    }
}

#[track_caller]
fn check(facts: &Facts, expected: &[&str]) -> String {
    let judgement = judge(facts).expect("a judgement");
    let codes: Vec<&str> = judgement.findings.iter().map(|finding| finding.code.id).collect();
    assert_eq!(codes, expected);
    let registered = |finding: &Finding| CHECK.codes.iter().any(|code| code.id == finding.code.id);
    assert!(judgement.findings.iter().all(registered));
    judgement.summary
}

#[test]
fn says_what_is_accepted() {
    assert_eq!(check(&Facts::healthy(), &[]), "no password is needed");
    assert_eq!(check(&password(), &[]), "the password is accepted");
    assert_eq!(check(&user("app"), &[]), "the credentials of user app are accepted");
    let ignored = Facts::healthy().with(|facts| facts.ask.target.user = Some("app".to_owned()));
    assert_eq!(check(&ignored, &[]), "no password is needed; user app was not sent for want of a password");
    let least = user("app").erring(Command::Info, "NOPERM User app has no permissions to run the 'info' command");
    let least = least
        .erring(Command::Hello, "NOPERM this user has no permissions to run the 'hello' command or its subcommand");
    assert_eq!(check(&least, &[]), "the credentials of user app are accepted (INFO is not permitted)");
}

#[test]
fn a_password_is_required() {
    assert_eq!(
        check(&closed(Facts::healthy()), &["auth/required"]),
        "Redis requires authentication, and no password was sent"
    );
    check(&Facts::healthy().erring(Command::Ping, "ERR operation not permitted"), &["auth/required"]);
    let ignored = closed(Facts::healthy()).with(|facts| facts.ask.target.user = Some("app".to_owned()));
    assert!(check(&ignored, &["auth/required"]).contains("user app was not sent"));
    // A renamed PING is unknown before anybody asks for a password; INFO still tells.
    let renamed = Facts::healthy().erring(Command::Ping, "ERR unknown command 'PING',").erring(Command::Info, NOAUTH);
    check(&renamed, &["auth/required"]);
    check(&closed(password()), &["auth/still-required"]);
}

#[test]
fn credentials_are_turned_down() {
    for text in [WRONGPASS, "WRONGPASS invalid username-password pair", "ERR invalid password"] {
        check(&closed(password()).erring(Command::Auth, text), &["auth/rejected"]);
    }
    for text in [NOT_SET, "ERR Client sent AUTH, but no password is set"] {
        check(&password().erring(Command::Auth, text), &["auth/not-expected"]);
    }
    check(&user("app").erring(Command::Auth, ARITY), &["auth/user-unsupported"]);
    // Without a user, that AUTH takes no user cannot be what is wrong.
    check(&password().erring(Command::Auth, ARITY), &["auth/error"]);
    check(&password().erring(Command::Auth, "ERR unknown command 'AUTH',"), &["auth/error"]);
    check(&closed(password()).erring(Command::Auth, NOAUTH), &["auth/error"]);
    check(&password().replying(Command::Auth, Reply::Integer(1)), &["auth/error"]);
}

#[test]
fn a_pong_after_a_rejection_is_evidence_and_no_success() {
    let judgement = judge(&user("app").erring(Command::Auth, WRONGPASS)).unwrap();
    assert!(judgement.findings[0].evidence[1].says.contains("PONG"), "{:?}", judgement.findings);
    let judgement = judge(&closed(user("app")).erring(Command::Auth, WRONGPASS)).unwrap();
    assert_eq!(judgement.findings[0].evidence.len(), 1);
}

#[test]
fn the_state_of_the_server_is_no_matter_of_credentials() {
    let states = [
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN Hash slot not served",
    ];
    for text in states {
        let facts = resp3_wanted(user("app")).with(|facts| facts.ask.target.db = 3);
        let commands = [Command::Ping, Command::Select, Command::Exists, Command::Hello, Command::Info];
        let facts = commands.into_iter().fold(facts, |facts, command| facts.erring(command, text));
        assert_eq!(check(&facts, &[]), "the credentials of user app are accepted");
        assert!(matches!(judge(&facts.erring(Command::Auth, text)), Err(Gap::Hidden(_))));
    }
}

#[test]
fn what_does_not_answer_is_not_judged() {
    assert!(matches!(judge(&password().speechless(End::Silent)), Err(Gap::Skipped(_))));
    assert!(matches!(
        judge(&Facts::healthy().refused_with("DENIED Redis is running in protected mode")),
        Err(Gap::Skipped(_))
    ));
    let cut = |facts: Facts| {
        facts.with(|facts| {
            for exchange in &mut dialogues(facts)[0].first.exchanges {
                exchange.reply.take_if(|_| exchange.command != Command::Auth);
            }
            dialogues(facts)[0].first.end = End::Closed;
        })
    };
    // A proxy that turns AUTH down and hangs up has said what there is to say.
    check(&cut(password().erring(Command::Auth, WRONGPASS)), &["auth/rejected"]);
    assert!(matches!(judge(&cut(password())), Err(Gap::Skipped(_))));
}

#[test]
fn an_unchecked_password() {
    check(&user("default").erring(Command::AuthAlone, NOT_SET), &["auth/password-unchecked"]);
    check(&user("default").replying(Command::AuthAlone, ok()), &[]);
    // Redis 5 takes the password alone after it has turned the pair down.
    let old = user("default").erring(Command::Auth, ARITY).replying(Command::AuthAlone, ok());
    check(&old, &["auth/user-unsupported"]);
    assert_eq!(judge(&old).unwrap().findings[0].evidence.len(), 1, "PONG after that is no evidence of an open server");
}

#[test]
fn what_an_accepted_user_may_not_do() {
    let keyed = || user("app").with(|facts| facts.ask.target.key = Some("jobs".to_owned()));
    let no = |facts: Facts, command: Command| {
        let name = command.name().to_lowercase();
        facts.erring(
            command,
            &format!("NOPERM this user has no permissions to run the '{name}' command or its subcommand"),
        )
    };
    check(&no(user("app"), Command::Ping), &["auth/ping-denied"]);
    check(&no(user("app"), Command::Select), &["auth/command-denied"]);
    check(&no(keyed(), Command::Exists), &["auth/key-unseen"]);
    check(&no(user("app"), Command::Exists), &[]);
    check(&keyed().erring(Command::Exists, "ERR Connection refused"), &[]);
    check(&no(user("app"), Command::Hello), &[]);
    check(&no(resp3_wanted(user("app")), Command::Hello), &["auth/command-denied"]);
    check(&no(no(resp3_wanted(user("app")), Command::Hello), Command::Select), &["auth/command-denied"]);
    check(&user("app").replying(Command::Exists, Reply::Integer(0)), &[]);
    for text in [
        "NOPERM this user has no permissions to access one of the keys used as arguments",
        "NOPERM No permissions to access a key",
    ] {
        check(&keyed().erring(Command::Exists, text), &["auth/key-denied"]);
    }
}

#[test]
fn resp3_that_ends_all_is_not_spoken() {
    let cut = |end: End, asks: bool| {
        let facts = if asks { resp3_wanted(Facts::healthy()) } else { Facts::healthy() };
        facts.with(|facts| {
            let dialogue = &mut dialogues(facts)[0];
            let mut second = dialogue.first.clone();
            second.exchanges.retain(|exchange| exchange.command == Command::Ping);
            second.end = End::Answered;
            dialogue.second = Some(second);
            dialogue.first.exchanges.iter_mut().for_each(|exchange| exchange.reply = None);
            (dialogue.first.end, dialogue.first.bytes) = (end, 0);
        })
    };
    check(&cut(End::Closed, true), &["auth/resp3-unsupported"]);
    check(&cut(End::Broken("ECONNRESET".to_owned()), true), &["auth/resp3-unsupported"]);
    check(&cut(End::Silent, true), &[]);
    check(&cut(End::Closed, false), &[]);
}

#[test]
fn a_select_that_ends_all_is_named() {
    let cut = |ends: &[bool]| {
        Facts::healthy().with(|facts| {
            facts.ask.target.db = 1;
            let dialogue = &mut dialogues(facts)[0];
            let ping = Exchange { command: Command::Ping, reply: Some(Reply::Status("PONG".to_owned())) };
            let select = Exchange { command: Command::Select, reply: None };
            let said = |selects: bool, ends: bool| {
                let reply = ping.reply.clone().filter(|_| !ends);
                let ping = Exchange { reply, ..ping.clone() };
                let exchanges = std::iter::once(ping).chain(selects.then(|| select.clone())).collect();
                let end = if ends { End::Closed } else { End::Answered };
                Conversation { exchanges, end, bytes: if ends { 0 } else { 7 }, ..Conversation::not_made() }
            };
            dialogue.first = said(true, true);
            dialogue.second = Some(said(true, true));
            dialogue.further =
                [false, true, false].into_iter().zip(ends).map(|(selects, end)| said(selects, *end)).collect();
        })
    };
    check(&cut(&[false, true, false]), &["auth/select-error"]);
    let with_resp3 = cut(&[false, true, false]).with(|facts| facts.ask.target.resp3 = true);
    check(&with_resp3, &["auth/select-error"]);
    // One of its places may be dead.
    check(&cut(&[false, true, true]), &[]);
    check(&cut(&[false, false, false]), &[]);
}

#[test]
fn databases() {
    for text in ["ERR invalid DB index", "ERR DB index is out of range", "ERR SELECT is not allowed in cluster mode"] {
        check(&password().erring(Command::Select, text), &["auth/db-out-of-range"]);
    }
    let unknown = password().erring(Command::Select, "ERR unknown command 'SELECT',");
    check(&unknown, &["auth/select-error"]);
    check(&unknown.info("redis_mode", "sentinel").erring(Command::Hello, "ERR unknown command"), &[]);
}

#[test]
fn resp3() {
    for text in ["ERR unknown command `HELLO`,", "NOPROTO unsupported protocol version", "ERR unsupported command"] {
        check(&resp3_wanted(password()).erring(Command::Hello, text), &["auth/resp3-unsupported"]);
        check(&password().erring(Command::Hello, text), &[]);
    }
    let hello = |proto| Reply::Hello(Hello { server: "redis".to_owned(), proto, ..Hello::default() });
    check(&resp3_wanted(password()).replying(Command::Hello, hello(2)), &["auth/resp3-unsupported"]);
    check(&resp3_wanted(password()).replying(Command::Hello, hello(3)), &[]);
    let hung_up = resp3_wanted(password()).with(|facts| {
        let first = &mut dialogues(facts)[0].first;
        first.end = End::Closed;
        first
            .exchanges
            .iter_mut()
            .filter(|e| e.command != Command::Ping && e.command != Command::Auth)
            .for_each(|e| e.reply = None);
    });
    check(&hung_up, &["auth/resp3-unsupported"]);
}

#[test]
fn addresses_that_judge_differently() {
    let two = |facts: Facts, other: Facts| {
        facts.with(|facts| {
            let mut other = other;
            let mut odd = dialogues(&mut other).remove(0);
            odd.address = "10.0.0.10:6379".to_owned();
            dialogues(facts).push(odd);
        })
    };
    let rejected = || closed(password()).erring(Command::Auth, WRONGPASS);
    check(&two(password(), rejected()), &["auth/differs"]);
    check(&two(rejected(), password()), &["auth/rejected", "auth/differs"]);
    check(&two(password(), password()), &[]);
    // What does not answer at all is another check's question.
    check(&two(password(), password().speechless(End::Closed)), &[]);
}

/// What pongs knows neither INFO nor HELLO; a key was asked for over one more connection.
fn pongs_by_itself(facts: Facts, exists: &str) -> Facts {
    let facts = [Command::Info, Command::Hello]
        .into_iter()
        .fold(facts, |facts, command| facts.erring(command, "ERR unknown command"));
    facts.with(|facts| {
        let dialogue = &mut dialogues(facts)[0];
        let mut keyed = dialogue.first.clone();
        keyed.exchanges.retain(|exchange| [Command::Auth, Command::Ping].contains(&exchange.command));
        let error = ErrorReply::parse(format!("-{exists}\r\n").as_bytes(), None);
        keyed.exchanges.push(Exchange { command: Command::Exists, reply: Some(Reply::Error(error)) });
        dialogue.further.push(keyed);
    })
}

#[test]
fn a_proxy_answers_for_a_redis_that_wants_a_password() {
    check(&pongs_by_itself(Facts::healthy(), NOAUTH), &["auth/required"]);
    let sent = password().erring(Command::Auth, "ERR Client sent AUTH, but no password is set");
    check(&pongs_by_itself(sent.clone(), NOAUTH), &["auth/still-required"]);
    check(&pongs_by_itself(sent, "ERR other"), &["auth/not-expected"]);
    check(&pongs_by_itself(password(), NOAUTH), &["auth/still-required"]);
}
