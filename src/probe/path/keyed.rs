//! Is there a server behind what answers PING by itself? Where neither INFO nor HELLO shows a Redis, what pongs may be a proxy
//! that knows few commands, and no more (measured on twemproxy 0.5, whose PONG needs no server). A command with a key it has to
//! pass on: EXISTS of one that is not there, over a connection of its own, for the first one was cut.

use std::time::Instant;

use super::redis::{Conversation, Dialogue, Line, NO_KEY, line};
use super::reply::{Command, ErrorKind, ErrorReply, Reply};
use super::talk::Talk;
use super::tcp::Dialled;
use crate::model::Secret;

/// How an error begins that no Redis has, but a proxy that reaches none: twemproxy's, by strerror(3), and Envoy's.
const UPSTREAM_SAYS: [&str; 9] = [
    "ERR Connection refused",
    "ERR Connection timed out",
    "ERR Connection reset by peer",
    "ERR No route to host",
    "ERR Host is down",
    "ERR Server Error",
    "ERR no upstream host",
    "upstream failure",
    "ERR upstream failure",
];

/// True for an error in the words of a proxy that reaches nobody.
pub fn is_of_upstream(error: &ErrorReply) -> bool {
    UPSTREAM_SAYS.iter().any(|says| error.text.starts_with(says))
}

impl Dialogue {
    /// What a proxy says of its way, in the place of an answer.
    pub fn upstream(&self) -> Option<&ErrorReply> {
        let commands = [Command::Select, Command::Exists, Command::PfCount, Command::Hello, Command::Info];
        self.errors(commands).find(|error| is_of_upstream(error))
    }

    /// True if a command with a key meets what PING does not: a proxy that reaches no Redis, or has no password for it.
    pub fn is_stuck_behind(&self) -> bool {
        let wants_password = |error: &ErrorReply| error.kind == ErrorKind::NoAuth;
        self.upstream().is_some() || self.errors([Command::Exists]).any(wants_password)
    }

    fn errors<const N: usize>(&self, commands: [Command; N]) -> impl Iterator<Item = &ErrorReply> {
        let answers = move |one| commands.into_iter().filter_map(move |command| Conversation::reply(one, command));
        std::iter::once(self.telling()).chain(&self.further).flat_map(answers).filter_map(Reply::error)
    }
}

/// Asks for a key, where `pongs` answered PING, and the `first` conversation, which may be the same, shows no server.
pub(super) async fn gather(
    dial: &Dialled,
    (first, pongs): (&Conversation, &Conversation),
    least: &[Line],
    secret: Option<&Secret>,
    deadline: Instant,
) -> Option<Conversation> {
    let mut lines = least.to_vec();
    if lines.iter().all(|(command, _)| *command != Command::Exists) {
        lines.push(line(Command::Exists, &[NO_KEY]));
    }
    // The very same was asked.
    let is_asked = lines.iter().map(|(command, _)| *command).eq(pongs.exchanges.iter().map(|one| one.command));
    if is_asked || !hides(first, pongs) {
        return None;
    }
    let stream = dial.again(deadline).await?;
    let mut talk = Talk::new(&stream, secret);
    talk.say(&lines, deadline).await;
    talk.listen(deadline).await;
    Some(talk.conclude())
}

impl Dialogue {
    /// The answer to `command`, from the conversation that tells most, or else from that in which a key was asked for.
    pub fn reply_beyond(&self, command: Command) -> Option<&Reply> {
        self.reply(command).or_else(|| self.further.iter().find_map(|one| one.reply(command)))
    }
}

/// True if PING was answered with a status, and everything that shows a server was cut, or is unknown.
fn hides(first: &Conversation, pongs: &Conversation) -> bool {
    let is_unknown = |kind| matches!(kind, ErrorKind::UnknownCommand | ErrorKind::Arity | ErrorKind::Other);
    let hidden = |command| match first.reply(command) {
        Some(reply) => reply.error().is_some_and(|error| is_unknown(error.kind)),
        None => first.has_ended(),
    };
    let is_pong = matches!(pongs.reply(Command::Ping), Some(Reply::Status(_)));
    is_pong && first.reply(Command::Exists).is_none() && hidden(Command::Hello) && hidden(Command::Info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Facts;
    use crate::probe::path::redis::End;

    #[track_caller]
    fn check(facts: &Facts, change: impl FnOnce(&mut Conversation), expected: bool) {
        let mut first = facts.redis.seen().unwrap().dialogues[0].first.clone();
        change(&mut first);
        assert_eq!(hides(&first, &first), expected);
    }

    #[test]
    fn only_what_shows_no_server_is_asked_for_a_key() {
        let cut = |first: &mut Conversation| {
            first.end = End::Closed;
            for exchange in first.exchanges.iter_mut().filter(|one| one.command != Command::Ping) {
                exchange.reply = None;
            }
        };
        let erring = |text: &str| Facts::healthy().erring(Command::Hello, text).erring(Command::Info, text);
        check(&Facts::healthy(), |_| {}, false);
        check(&Facts::healthy(), cut, true);
        check(&erring("ERR unknown command"), |_| {}, true);
        check(&erring("NOPERM this user has no permissions"), |_| {}, false);
        check(&erring("NOAUTH Authentication required."), |_| {}, false);
        check(&Facts::healthy().erring(Command::Hello, "ERR unknown command"), |_| {}, false);
        check(&Facts::healthy().erring(Command::Ping, "LOADING x"), cut, false);
    }
}
