//! `password-not-expected`: a password was sent, and the server has none.

use super::{from, redis_cli, sentinel_answers};
use crate::cause::{Case, Cause, check_again, dialogue, redis_host, repair};
use crate::check::auth::NOT_EXPECTED;
use crate::check::ping;
use crate::model::target::Part;
use crate::model::{Confidence, Step, Support, Target, Where};
use crate::probe::Facts;
use crate::probe::path::redis::Dialogue;

/// Longer than any configuration takes to be noticed missing; a server this young may have lost it in a restart.
const YOUNG_S: u64 = 3_600;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "password-not-expected",
    title: "a password was sent, but this Redis has none",
    explain: "\
The client sends a password and the server has none configured for the default user. Most client libraries treat this as \
a failed connection, although the server would serve without.

How it looks: ERR AUTH <password> called without any password configured for the default user. Redis before 6: ERR Client \
sent AUTH, but no password is set.

How to be sure: where INFO or HELLO shows a Redis, it is sure that no password is set; else it may be a proxy that says so by \
itself, whatever the Redis behind it wants. Why is not to be seen from outside: the client is configured with one \
too many; or the server was started without its configuration file and lost requirepass; or this is another Redis than \
the one you mean (a second instance, a test server, a Sentinel). INFO server tells the uptime, the configuration file and \
the run_id of the one that answers.

How to repair: be sure it is the right server first. If it ought to have a password, it stands open: set requirepass or \
an ACL. Only if it is meant to have none, take the password away from the client.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&NOT_EXPECTED).filter(|_| !sentinel_answers(case.facts))?;
    let by = from(&case.facts.ask.target, Part::Password);
    let (confidence, summary) = if is_a_redis(case.facts) {
        let says = "the Redis that answers has none: one too many here, or its own was lost, or it is another Redis than you mean";
        (Confidence::Certain, says)
    } else {
        let says =
            "what answers has none: one too many here, or it is another than you mean; a proxy may say so by itself";
        (surest(case.facts), says)
    };
    let mut support =
        Support::new(confidence, &[&NOT_EXPECTED], format!("a password was sent{by}, and {summary}")).on(finding);
    if confidence < Confidence::Certain {
        let tells =
            "redis-server: it is a Redis without a password; a proxy (nutcracker, envoy, predixy …): it is the proxy's";
        let port = case.facts.ask.target.port().unwrap_or_default();
        let look = Step::look(redis_host(case.facts), format!("sudo ss -ltnp 'sport = :{port}'"), tells);
        support = support.settled_by(look);
    }
    for says in hints(case.facts) {
        support = support.because("INFO", says);
    }
    Some(support.not("credentials-rejected", "Redis has no password to compare with"))
}

/// True if something else than PING shows that a Redis answers, and no proxy that reaches none.
fn is_a_redis(facts: &Facts) -> bool {
    dialogue(facts).is_some_and(|dialogue| ping::is_proven(dialogue) && dialogue.upstream().is_none())
}

/// How sure it is of what may be a proxy: that it reaches nobody comes first.
fn surest(facts: &Facts) -> Confidence {
    let is_cut_off = dialogue(facts).is_some_and(|dialogue| dialogue.upstream().is_some());
    if is_cut_off { Confidence::Possible } else { Confidence::Likely }
}

/// What INFO shows of a lost configuration.
fn hints(facts: &Facts) -> Vec<String> {
    let Some(info) = dialogue(facts).and_then(Dialogue::info) else { return Vec::new() };
    let no_file = info.get("config_file") == Some("");
    let young = info.number("uptime_in_seconds").filter(|&uptime| uptime < YOUNG_S);
    let no_file = no_file.then(|| "config_file is empty: Redis was started without a configuration file".to_owned());
    let young = young.map(|uptime| format!("uptime_in_seconds:{uptime}: Redis was started a short while ago"));
    no_file.into_iter().chain(young).collect()
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    if let Some((instance, line)) = facts.instance().and_then(|it| Some((it, it.unread_password()?))) {
        let text = format!(
            "or, if it is meant to have none: take the line {} out, and the password{} from the client",
            line.place(),
            from(target, Part::Password)
        );
        return vec![repair::reread(facts, instance), Step::tell(redis_host(facts), text)];
    }
    let without = Target { password: false, user: None, ..target.clone() };
    vec![
        Step::look(
            Where::Here,
            format!("{} INFO server", redis_cli(facts)),
            "which Redis this is: uptime, config_file, executable, run_id",
        ),
        Step::tell(
            redis_host(facts),
            "if it ought to have a password, it stands open to everybody who reaches it: start it with its configuration \
             file, or set requirepass in it",
        ),
        Step::tell(
            Where::Here,
            format!("if it is meant to have none: take the password{} from the client", from(target, Part::Password)),
        ),
        check_again(&without),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{remedy_of, with_password};
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::probe::path::reply::Command;

    const TEXTS: [&str; 2] = [
        "ERR Client sent AUTH, but no password is set",
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
    ];

    #[test]
    fn is_certain_in_both_wordings() {
        for text in TEXTS {
            check_cause(&CAUSE, &with_password().erring(Command::Auth, text), Some(Confidence::Certain));
        }
        check_cause(&CAUSE, &with_password(), None);
    }

    #[test]
    fn what_may_be_a_proxys_word_is_not_certain() {
        let unknown = |command: &str| format!("ERR unknown command '{command}'");
        let proxy = with_password()
            .erring(Command::Auth, TEXTS[0])
            .erring(Command::Info, &unknown("info"))
            .erring(Command::Hello, &unknown("hello"));
        check_cause(&CAUSE, &proxy, Some(Confidence::Likely));
        let dead = proxy.erring(Command::Exists, "ERR Connection refused");
        check_cause(&CAUSE, &dead, Some(Confidence::Possible));
        assert_eq!(diagnose(&dead).causes[0].id, "proxy-backend-down");
        let shard = with_password().erring(Command::Auth, TEXTS[0]).erring(Command::Exists, "ERR Connection refused");
        check_cause(&CAUSE, &shard, Some(Confidence::Possible));
    }

    #[test]
    fn shows_a_lost_configuration() {
        let facts =
            with_password().erring(Command::Auth, TEXTS[1]).info("config_file", "").info("uptime_in_seconds", "7");
        let says = format!("{:?}", diagnose(&facts).causes[0].support.evidence);
        assert!(says.contains("without a configuration file") && says.contains("uptime_in_seconds:7"), "{says}");
    }

    #[test]
    fn a_password_that_was_not_read_yet_wants_a_restart() {
        let facts = crate::probe::Facts::at_home().conf("requirepass s").erring(Command::Auth, TEXTS[1]);
        let facts = facts.with(|facts| facts.ask.target.password = true).host(|host| {
            for setting in &mut crate::probe::healthy_host::seen(&mut host.confs[0].parsed).settings {
                setting.secret = setting.name == "requirepass";
            }
        });
        let steps = (CAUSE.remedy)(&facts);
        assert!(matches!(&steps[0], Step::Run { command, .. } if command.contains("restart")), "{steps:?}");
    }

    #[test]
    fn verifies_without_the_password() {
        let remedy = remedy_of(&with_password().erring(Command::Auth, TEXTS[0]), CAUSE.id, Confidence::Certain);
        assert_eq!(remedy.last().unwrap(), "redisdoc check -h db -p 6379");
    }
}
