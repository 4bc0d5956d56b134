//! Is there a server behind what answers PING by itself? Where neither INFO nor HELLO shows a Redis, what pongs may be a proxy
//! that knows few commands, and no more (measured on twemproxy 0.5, whose PONG needs no server). A command with a key it has to
//! pass on: EXISTS of some that are not there, over a connection of its own, for the first one was cut. Each of several servers
//! behind it has its share of the keys.

use std::time::Instant;

use super::redis::{Conversation, Dialogue, Line, NO_KEY, line};
use super::reply::{Command, ErrorKind, ErrorReply, Reply};
use super::talk::Talk;
use super::tcp::Dialled;
use crate::model::Secret;

/// How an error begins that no Redis has, but a proxy that reaches none: twemproxy's, by strerror(3), Envoy's, and predixy's, as
/// that spells it.
const UPSTREAM_SAYS: [&str; 16] = [
    "Connection refused",
    "Connection timed out",
    "Connection reset by peer",
    "Network is unreachable",
    "Network is down",
    "No route to host",
    "Host is down",
    "Broken pipe",
    "Operation timed out",
    "Server Error",
    "no upstream host",
    "upstream failure",
    "upstream protocol error",
    "no server connection avaliable",
    "no server avaliable",
    "server connection closed",
];

/// How Envoy sums up what became of EXISTS, also of one key (`SplitKeysSumResultRequest`): nobody was reached, or no route is for
/// such a key.
const SUMMED_UP: &str = "finished with ";

/// How many keys are asked for: with one of three servers dead, all of them are of the others once in 700 times.
const KEYS: usize = 16;

/// True for an error in the words of a proxy that reaches nobody.
pub fn is_of_upstream(error: &ErrorReply) -> bool {
    let text = error.text.strip_prefix("ERR ").unwrap_or(&error.text);
    UPSTREAM_SAYS.iter().any(|says| text.starts_with(says))
}

impl Dialogue {
    /// What a proxy says of its way, in the place of an answer.
    pub fn upstream(&self) -> Option<&ErrorReply> {
        let commands = [Command::Select, Command::Exists, Command::PfCount, Command::Hello, Command::Info];
        // Of a key that the application uses; a route for others may be lacking on purpose.
        let own = || self.telling().reply(Command::Exists).and_then(Reply::error);
        let summed_up = || own().filter(|error| error.text.starts_with(SUMMED_UP));
        self.errors(commands).find(|error| is_of_upstream(error)).or_else(summed_up)
    }

    /// True if a command with a key meets what PING does not: a proxy that reaches no Redis, or has no password for it.
    pub fn is_stuck_behind(&self) -> bool {
        let wants_password = |error: &ErrorReply| error.kind == ErrorKind::NoAuth;
        self.upstream().is_some() || self.errors([Command::Exists]).any(wants_password)
    }

    /// How many keys were asked for, and for how many of them this was the answer.
    pub fn share(&self, error: &ErrorReply) -> (usize, usize) {
        let asked = self.replies(&[Command::Exists]).count();
        (asked, self.errors([Command::Exists]).filter(|one| *one == error).count())
    }

    /// What a key was answered with that no other code is for, in the words of what answers PING by itself.
    pub fn refused(&self) -> Option<&ErrorReply> {
        let is_odd = |error: &&ErrorReply| error.kind == ErrorKind::Other && !is_of_upstream(error);
        self.further.iter().flat_map(|one| one.replies(&[Command::Exists])).filter_map(Reply::error).find(is_odd)
    }

    fn errors<const N: usize>(&self, commands: [Command; N]) -> impl Iterator<Item = &ErrorReply> {
        let found: Vec<&Reply> = self.replies(&commands).collect();
        found.into_iter().filter_map(Reply::error)
    }

    fn replies(&self, commands: &[Command]) -> impl Iterator<Item = &Reply> {
        let telling = self.telling();
        let further = self.further.iter().filter(|one| !std::ptr::eq(*one, telling));
        std::iter::once(telling).chain(further).flat_map(move |one| one.replies(commands))
    }
}

impl Conversation {
    fn replies(&self, commands: &[Command]) -> impl Iterator<Item = &Reply> {
        let asked = self.exchanges.iter().filter(move |one| commands.contains(&one.command));
        asked.filter_map(|exchange| exchange.reply.as_ref())
    }
}

/// Asks for keys, where `pongs` answered PING, and the `first` conversation, which may be the same, shows no server.
pub(super) async fn gather(
    dial: &Dialled,
    (first, pongs): (&Conversation, &Conversation),
    least: &[Line],
    secret: Option<&Secret>,
    deadline: Instant,
) -> Option<Conversation> {
    if !hides(first, pongs) {
        return None;
    }
    // They differ where they begin: what differs at its end alone has nearly the same place in a ring.
    let keys = (0..KEYS).map(|number| line(Command::Exists, &[&format!("{number}:{NO_KEY}")]));
    let lines: Vec<Line> = least.iter().cloned().chain(keys).collect();
    let stream = dial.again(deadline).await?;
    let mut talk = Talk::new(&stream, secret);
    talk.say(&lines, deadline).await;
    talk.listen(deadline).await;
    Some(talk.conclude())
}

impl Dialogue {
    /// The answer to `command`, from the conversation that tells most, or else from that in which keys were asked for; where
    /// those were answered differently, an error.
    pub fn reply_beyond(&self, command: Command) -> Option<&Reply> {
        if command == Command::Exists {
            let replies: Vec<&Reply> = self.replies(&[command]).collect();
            let error = replies.iter().find(|reply| reply.error().is_some());
            return error.or(replies.first()).copied();
        }
        self.reply(command).or_else(|| self.further.iter().find_map(|one| one.reply(command)))
    }
}

/// True if PING was answered with a status, and everything that shows a server was cut, or is unknown.
fn hides(first: &Conversation, pongs: &Conversation) -> bool {
    let is_unknown = |kind| matches!(kind, ErrorKind::UnknownCommand | ErrorKind::Arity | ErrorKind::Other);
    let hidden = |command| match first.reply(command) {
        // A proxy may tell of itself.
        Some(Reply::Info(info)) => info.product().is_none(),
        Some(reply) => reply.error().is_some_and(|error| is_unknown(error.kind)),
        None => first.has_ended(),
    };
    let is_pong = matches!(pongs.reply(Command::Ping), Some(Reply::Status(_)));
    let fails = [first, pongs].iter().any(|one| one.reply(Command::Exists).is_some_and(|it| it.error().is_some()));
    is_pong && !fails && hidden(Command::Hello) && hidden(Command::Info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Facts;
    use crate::probe::path::redis::End;
    use crate::probe::path::reply::Info;

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
        // predixy tells of itself.
        let own = |first: &mut Conversation| {
            let info = Reply::Info(Info::parse("# Proxy\r\nVersion:1.0.5\r\nRedisMode:proxy\r\n"));
            first
                .exchanges
                .iter_mut()
                .filter(|one| one.command == Command::Info)
                .for_each(|one| one.reply = Some(info.clone()));
        };
        check(&Facts::healthy().erring(Command::Hello, "ERR unknown command"), own, true);
        check(&erring("ERR unknown command").erring(Command::Exists, "ERR x"), |_| {}, false);
    }
}
