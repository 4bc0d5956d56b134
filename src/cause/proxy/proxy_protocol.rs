//! A proxy begins with a header that Redis takes for a command.

use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::{auth, ping};
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "proxy-protocol",
    title: "a proxy sends the PROXY protocol's header, and Redis takes it for a command",
    explain: "\
With 'send-proxy' (HAProxy), 'proxy_protocol on' (nginx), 'protocol = proxy' (stunnel) or proxy protocol v1 at a cloud's load \
balancer, a proxy writes 'PROXY TCP4 …' before anything else, to tell the client's address. Redis knows no such header: it \
answers it as a command that it does not know, and from then on every answer belongs to the question before.

How it looks: unknown command 'PROXY', in the place of the first answer. Nobody else begins a connection so, but whether a \
proxy or the port itself says it is not seen from here: it is likely, not certain.

Repair: take the option off the proxy's line for Redis.",
    infer,
    remedy,
};

/// How it shows: PING or AUTH, whichever is first, is answered for the header.
const SYMPTOMS: [&Code; 2] = [&ping::HEADER, &auth::AUTH_ERROR];

fn infer(case: &Case) -> Option<Support> {
    dialogue(case.facts)?.answer_to_header()?;
    let finding = SYMPTOMS.into_iter().find_map(|code| case.raised(code))?;
    let summary = "the first answer is for a command PROXY that nobody here has sent: a proxy before Redis has";
    let support = Support::new(Confidence::Likely, &SYMPTOMS, summary).on(finding);
    let text = "look in the proxy's configuration for this port: send-proxy, send-proxy-v2, proxy_protocol on, protocol = proxy: this is it";
    Some(support.settled_by(Step::tell(redis_host(case.facts), text)))
}

fn remedy(_: &Facts) -> Vec<Step> {
    let text = "take 'send-proxy' (nginx: proxy_protocol; stunnel: protocol = proxy) off the proxy's line for Redis, and restart it";
    vec![Step::tell(Where::Network, text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;
    use crate::probe::path::redis::Exchange;
    use crate::probe::path::reply::{Command, Reply};

    #[test]
    fn the_header_is_known_by_its_name() {
        for text in
            ["ERR unknown command 'PROXY', with args beginning with: 'TCP4'", "ERR unknown command `PROXY`, with"]
        {
            check_cause(&CAUSE, &Facts::healthy().erring(Command::Ping, text), Some(Confidence::Likely));
        }
        let renamed =
            Facts::healthy().erring(Command::Ping, "ERR unknown command 'PING', with args beginning with: 'PROXY'");
        check_cause(&CAUSE, &renamed, None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    /// A password that is right, behind the header: its +OK is in the place of PONG.
    #[test]
    fn a_password_that_is_right_makes_no_stranger() {
        let text = "ERR unknown command 'PROXY', with args beginning with: 'TCP4' '127.0.0.1'";
        let facts = Facts::healthy().with(|facts| {
            let Observed::Seen(redis) = &mut facts.redis else { return };
            let exchanges = &mut redis.dialogues[0].first.exchanges;
            exchanges.insert(0, Exchange { command: Command::Auth, reply: None });
            exchanges[1].reply = Some(Reply::Status("OK".to_owned()));
            exchanges[2].reply = Some(Reply::Status("PONG".to_owned()));
        });
        let facts = facts.erring(Command::Auth, text);
        check_cause(&CAUSE, &facts, Some(Confidence::Likely));
        let causes = diagnose(&facts).causes;
        assert_eq!(causes.iter().map(|cause| cause.id).collect::<Vec<_>>(), ["proxy-protocol"]);
    }
}
