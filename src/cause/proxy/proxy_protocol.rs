//! A proxy begins with a header that Redis takes for a command.

use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::{auth, ping};
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::redis::Dialogue;
use crate::probe::path::reply::{Command, ErrorKind, ErrorReply, Reply};

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
const SYMPTOMS: [&Code; 2] = [&ping::RENAMED, &auth::AUTH_ERROR];

/// The error that answers the header, where one does.
pub fn header(dialogue: &Dialogue) -> Option<&ErrorReply> {
    let first = [Command::Auth, Command::Ping].into_iter().find_map(|command| dialogue.reply(command))?;
    let error = Reply::error(first).filter(|error| error.kind == ErrorKind::UnknownCommand)?;
    // Redis 5 and 6 put it into backticks.
    let names = ["unknown command 'PROXY'", "unknown command `PROXY`"];
    names.iter().any(|name| error.text.contains(name)).then_some(error)
}

fn infer(case: &Case) -> Option<Support> {
    header(dialogue(case.facts)?)?;
    let finding = SYMPTOMS.into_iter().find_map(|code| case.raised(code))?;
    let summary = "the first answer is for a command PROXY that nobody here has sent: a proxy before Redis has";
    let support = Support::new(Confidence::Likely, &SYMPTOMS, summary).on(finding);
    let tells = "send-proxy, send-proxy-v2, proxy_protocol on, protocol = proxy: this is it";
    Some(support.settled_by(Step::look(redis_host(case.facts), "the proxy's configuration for this port", tells)))
}

fn remedy(_: &Facts) -> Vec<Step> {
    let text = "take 'send-proxy' (nginx: proxy_protocol; stunnel: protocol = proxy) off the proxy's line for Redis, and restart it";
    vec![Step::tell(Where::Network, text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;

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
}
