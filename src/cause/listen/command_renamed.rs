//! PING or AUTH was renamed or disabled.

use crate::cause::{Case, Cause, dialogue};
use crate::check::{auth, ping};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::redis::Dialogue;
use crate::probe::path::reply::{Command, ErrorKind};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "command-renamed",
    title: "a command that clients connect with is unknown to the server",
    explain: "\
The server answered PING or AUTH with 'unknown command'. In redis.conf 'rename-command PING \"\"' disables a \
command and 'rename-command CONFIG x' renames it; managed services hide commands the same way, and proxies know \
only some. Health checks and client libraries that send it at start-up fail.

When HELLO or INFO prove a Redis behind it, this is certain; when nothing does, it may be another service or a \
proxy.

Repair: let the health check send something that is known, or take the rename-command line out of redis.conf (an \
ACL does the same per user, and better) and restart.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let dialogue = dialogue(case.facts)?;
    let (code, command) = unknown(case, dialogue)?;
    let finding = case.raised(code)?;
    let proven = ping::is_proven(dialogue);
    let confidence = if proven { Confidence::Certain } else { Confidence::Possible };
    let support = Support::new(confidence, &[code], format!("the server does not know {command}")).on(finding);
    Some(if proven {
        support.not("not-redis", "HELLO or INFO was answered as only Redis does")
    } else {
        let tells = "a line 'rename-command': this is it; no such file or line: another service, or a proxy";
        support.settled_by(Step::look(Where::RedisHost, "sudo grep -rn rename-command /etc/redis", tells))
    })
}

fn unknown(case: &Case, dialogue: &Dialogue) -> Option<(&'static Code, &'static str)> {
    if dialogue.answer_to_header().is_some() {
        return None;
    }
    let is_unknown = |command| {
        let error = dialogue.reply(command).and_then(|reply| reply.error());
        error.is_some_and(|error| error.kind == ErrorKind::UnknownCommand)
    };
    if case.raised(&ping::RENAMED).is_some() {
        return Some((&ping::RENAMED, "PING"));
    }
    (case.raised(&auth::AUTH_ERROR).is_some() && is_unknown(Command::Auth)).then_some((&auth::AUTH_ERROR, "AUTH"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let file = dialogue(facts).and_then(|dialogue| dialogue.info()?.get("config_file"));
    let file = file.filter(|file| file.starts_with('/')).map_or_else(|| "-r /etc/redis".to_owned(), shell_quote);
    vec![
        Step::tell(Where::Here, "let the health check and the client send only commands that this server knows"),
        Step::look(Where::RedisHost, format!("sudo grep -n rename-command {file}"), "the line that does it"),
        Step::tell(
            Where::RedisHost,
            "or take the 'rename-command' line out of redis.conf and restart Redis; ACL rules hide commands per user",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    #[test]
    fn proven_by_hello_it_is_certain() {
        let facts = Facts::healthy().erring(Command::Ping, "ERR unknown command 'PING'");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
        let header =
            Facts::healthy().erring(Command::Ping, "ERR unknown command 'PROXY', with args beginning with: 'TCP4'");
        check_cause(&CAUSE, &header, None);
    }

    #[test]
    fn unproven_it_may_be_anything() {
        let facts = Facts::healthy()
            .erring(Command::Ping, "ERR unknown command 'PING'")
            .erring(Command::Hello, "ERR unknown command 'HELLO'")
            .erring(Command::Info, "ERR unknown command 'INFO'");
        check_cause(&CAUSE, &facts, Some(Confidence::Possible));
    }
}
