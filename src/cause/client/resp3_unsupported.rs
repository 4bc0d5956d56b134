//! `resp3-unsupported`: the application insists on RESP3, and what answers does not speak it.

use crate::cause::auth::from;
use crate::cause::{Case, Cause, check_again, dialogue, redis_host};
use crate::check::auth::RESP3_UNSUPPORTED;
use crate::check::ping::product;
use crate::model::target::Part;
use crate::model::{Confidence, Step, Support, Target, Where};
use crate::probe::Facts;

/// The first version that speaks RESP3.
const SINCE: u64 = 6;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "resp3-unsupported",
    title: "RESP3 is asked for, and not spoken here",
    explain: "\
The application insists on the protocol RESP3, which is switched on with HELLO 3, and the server does not take it: it is \
older than Redis 6, a proxy without HELLO stands before it, or HELLO was renamed. Some client libraries ask for RESP3 \
since a new major version without being told to.

How it looks: ERR unknown command 'HELLO', NOPROTO unsupported protocol version, ERR unsupported command, or the \
connection is closed at HELLO. PING answers.

How to be sure: it is sure that RESP3 is not to be had here. INFO server tells the version: below 6 it is the server; \
otherwise a proxy or rename-command.

How to repair: let the client speak RESP2 (redis-py: protocol=2, go-redis: Protocol: 2, Lettuce: ProtocolVersion.RESP2), \
or upgrade the server or the proxy.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&RESP3_UNSUPPORTED)?;
    let dialogue = dialogue(case.facts)?;
    let by = from(&case.facts.ask.target, Part::Protocol);
    let why = match major(case.facts) {
        Some(major) if major < SINCE => "this Redis is too old for it",
        Some(_) => "this Redis is new enough for it, so HELLO was renamed, or a proxy stands before it",
        None => "the server is older than Redis 6, or a proxy stands before it, or HELLO was renamed",
    };
    let summary = format!("RESP3 is asked for{by}, and HELLO 3 is not taken: {why}");
    // Of a connection that ends without a word, INFO may be the reason, too.
    let confidence = if dialogue.first.is_cut() { Confidence::Likely } else { Confidence::Certain };
    let mut support = Support::new(confidence, &[&RESP3_UNSUPPORTED], summary).on(finding);
    if let Some(product) = product(dialogue) {
        support = support.because("INFO", product);
    }
    Some(support.not("acl-denies-command", "the answer to HELLO is not NOPERM"))
}

/// The major version, by INFO alone: without HELLO there is nothing else.
fn major(facts: &Facts) -> Option<u64> {
    dialogue(facts)?.info()?.get("redis_version")?.split('.').next()?.parse().ok()
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    let second = match major(facts) {
        Some(major) if major < SINCE => "or upgrade to Redis 6 or later",
        Some(_) => "or undo rename-command HELLO in redis.conf, or connect past the proxy",
        None => "or upgrade the server or the proxy before it",
    };
    vec![
        Step::tell(
            Where::Here,
            "have the client speak RESP2 (redis-py: protocol=2, go-redis: Protocol: 2, Lettuce: ProtocolVersion.RESP2, \
             ?protocol=2 in a URI)",
        ),
        Step::tell(redis_host(facts), second),
        check_again(&Target { resp3: false, ..target.clone() }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::probe::path::reply::Command;

    fn asking(text: &str) -> Facts {
        Facts::healthy().with(|facts| facts.ask.target.resp3 = true).erring(Command::Hello, text)
    }

    #[test]
    fn is_certain_of_what_hello_was_answered() {
        for text in [
            "ERR unknown command `HELLO`,",
            "NOPROTO unsupported protocol version",
            "ERR unsupported command",
            "ERR wrong number of arguments for 'hello' command",
        ] {
            check_cause(&CAUSE, &asking(text), Some(Confidence::Certain));
        }
        check_cause(&CAUSE, &asking("LOADING Redis is loading the dataset in memory"), None);
        check_cause(&CAUSE, &asking("NOPERM this user has no permissions to run the 'hello' command"), None);
        check_cause(&CAUSE, &asking("ERR unknown command").with(|facts| facts.ask.target.resp3 = false), None);
    }

    #[test]
    fn tells_an_old_server_from_a_renamed_command() {
        let summary = |version| {
            let facts = asking("ERR unknown command `HELLO`,").info("redis_version", version);
            diagnose(&facts).causes[0].support.summary.clone()
        };
        assert!(summary("5.0.10").contains("too old"));
        assert!(summary("7.0.15").contains("renamed"));
    }
}
