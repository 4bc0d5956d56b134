//! A proxy stands before Redis that knows few commands.

use crate::cause::{Case, Cause, dialogue};
use crate::check::ping;
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::reply::{Command, Reply};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "proxy-limited",
    title: "a proxy that knows few commands stands before Redis",
    explain: "\
twemproxy, Codis, predixy, Envoy's redis_proxy and the like pass on the commands that they know. INFO, HELLO, SELECT or \
COMMAND, with which client libraries make themselves ready, are not among them: the proxy closes the connection \
(twemproxy), answers with an error (Envoy: unsupported command), or leaves them without an answer. 'redis-cli get' works, \
and the application reports that it cannot connect: ioredis and older node-redis wait for INFO (enableReadyCheck), \
StackExchange.Redis wants its 'proxy' option, clients with RESP3 begin with HELLO.

redisdoc sees that PING is answered and neither INFO nor HELLO shows a Redis. That is no fault as long as the application \
asks for nothing else, and so it is a remark, not a warning, unless --require writable wants to know what INFO says.

Repair: switch the client's ready check off and RESP2 on, or connect past the proxy.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let limited = case.raised(&ping::LIMITED);
    let cut = || case.raised(&ping::CUT_SHORT).or_else(|| case.raised(&ping::RENAMED));
    let finding = limited.or_else(cut)?;
    if dialogue(case.facts).is_some_and(ping::is_proven) {
        return None;
    }
    // A Redis whose commands are renamed answers with an error, as some proxies do, and goes on.
    let answers = |reply: Option<&Reply>| reply.and_then(Reply::error).is_some();
    let says_so = dialogue(case.facts).is_some_and(|it| answers(it.first.reply(Command::Info)));
    let (confidence, summary) = if limited.is_some() && !says_so {
        (
            Confidence::Likely,
            "PING is answered, and INFO ends the connection or stays without an answer: no Redis does that",
        )
    } else {
        (Confidence::Possible, "a proxy that does not know a command closes the connection, or answers with an error")
    };
    let codes: [&'static Code; 1] = [finding.code];
    let support = Support::new(confidence, &codes, summary).on(finding);
    let tells = "nutcracker, envoy, predixy, codis-proxy: it is one; redis-server: it is something else";
    let port = case.facts.ask.target.port().unwrap_or_default();
    let look = Step::look(crate::cause::redis_host(case.facts), format!("sudo ss -ltnp 'sport = :{port}'"), tells);
    Some(support.settled_by(look))
}

fn remedy(_: &Facts) -> Vec<Step> {
    vec![
        Step::tell(
            Where::Here,
            "in the application: switch the ready check off (ioredis: enableReadyCheck false; StackExchange.Redis: proxy=Twemproxy \
             or proxy=Envoyproxy), ask for RESP2, and select no database but 0",
        ),
        Step::tell(Where::Here, "or name Redis' own address in the application's settings, past the proxy"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::redis::End;

    fn limited() -> Facts {
        let unknown = |command: &str| format!("ERR unknown command '{command}'");
        Facts::healthy().erring(Command::Info, &unknown("info")).erring(Command::Hello, &unknown("hello"))
    }

    #[test]
    fn a_pong_without_info_and_hello_is_likely_a_proxys() {
        check_cause(&CAUSE, &limited(), Some(Confidence::Possible));
        let closed = limited().with(|facts| {
            let Observed::Seen(redis) = &mut facts.redis else { return };
            let first = &mut redis.dialogues[0].first;
            first.exchanges.iter_mut().skip(1).for_each(|exchange| exchange.reply = None);
            first.end = End::Closed;
        });
        check_cause(&CAUSE, &closed, Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::healthy(), None);
        let renamed = Facts::healthy().erring(Command::Info, "ERR unknown command 'info'");
        check_cause(&CAUSE, &renamed, None);
    }

    #[test]
    fn what_does_not_know_ping_may_be_one() {
        let facts = limited().erring(Command::Ping, "ERR unknown command 'ping'");
        check_cause(&CAUSE, &facts, Some(Confidence::Possible));
    }
}
