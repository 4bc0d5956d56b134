//! What is said over the connections: who speaks first, what each command is answered, how it ends.
//!
//! Everything is written at once over the very connection that was timed, and everything that comes is read, to the
//! end: protected mode and the client limit speak first and close. Only when a connection ends, or says nothing more,
//! without an answer to PING is a second one opened that listens before it writes; a healthy target never pays that
//! wait. One conversation is in `talk.rs`; what the replies mean is in `check/ping.rs`, `check/auth.rs` and
//! `check/state.rs`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::command::SETTINGS;
use super::counter::Through;
use super::counter::inside::Inside;
use super::reply::{Command, ErrorKind, Info, Reply};
use super::stranger::Stranger;
use super::talk::Talk;
use super::tcp::{Connection, Dialled, Tcp};
use super::{again, keyed};
use crate::model::{Ask, Level, Observed, Secret};
use crate::sys::socket::Stream;
use crate::sys::{Clock, clock};

/// How long the second connection listens before it writes.
const LISTEN: Duration = Duration::from_millis(150);
/// How long before the first connection's deadline the second one is opened, when the first is silent.
const SECOND_BEFORE_END: Duration = Duration::from_millis(800);
/// A key that is not there, for a command whose answer does not matter.
pub(super) const NO_KEY: &str = "redisdoc:no-such-key";

/// What was said, on each connection that stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Redis {
    /// One per connection, the preferred address first.
    pub dialogues: Vec<Dialogue>,
}

/// What was said with one address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dialogue {
    /// The address.
    pub address: String,
    /// Over the connection that was timed.
    pub first: Conversation,
    /// Over the second one, which listened before it wrote, if there was need of one.
    pub second: Option<Conversation>,
    /// Where the first was cut without a word, and the second was answered or had a SELECT: over more of them, whether that was
    /// what was asked, or chance. Where PING alone was answered: over one more, what a command with a key meets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Conversation>,
}

/// What was said over one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// What the peer sent before it was asked, or instead of an answer: protected mode, the client limit.
    pub unasked: Option<Reply>,
    /// Each command with its answer, in order.
    pub exchanges: Vec<Exchange>,
    /// The beginning of a reply that never came to its end.
    #[serde(default)]
    pub unfinished: Option<String>,
    /// The beginning of what is not RESP.
    pub alien: Option<Alien>,
    /// Who sends what no Redis sends, where its bytes tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stranger: Option<Stranger>,
    /// How it ended.
    pub end: End,
    /// When the first byte came, in milliseconds after the first was written.
    pub first_byte_ms: Option<f64>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
    /// How many bytes came.
    pub bytes: usize,
    /// Where nothing came at all: how many of our bytes the peer's kernel has not acknowledged (Linux only). 0: they
    /// arrived, and the process does not read or answer them; more: they, or the acknowledgements, were lost.
    #[serde(default)]
    pub unacknowledged: Option<u64>,
    /// Where the first byte came late: how many of our segments had been sent again (Linux only). 0: none was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_again: Option<u32>,
}

/// A command and what came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// The command, without its arguments.
    pub command: Command,
    /// The answer, if one came.
    pub reply: Option<Reply>,
}

/// Bytes that are not RESP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alien {
    /// Their beginning, escaped.
    pub head: String,
    /// True if they came before anything was written.
    pub before_we_spoke: bool,
}

/// How a conversation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Everything was answered; we closed.
    Answered,
    /// The peer closed.
    Closed,
    /// The connection broke, with this errno.
    Broken(String),
    /// The peer ended TLS with this alert (RFC 8446 section 6.2).
    Alert(u8),
    /// Nothing more came in time.
    Silent,
    /// More came than is read from a stranger.
    TooMuch,
    /// What came is not RESP.
    Alien,
    /// It could not be made at all.
    NotMade,
}

impl Redis {
    /// What was said with the preferred address.
    pub fn preferred(&self) -> Option<&Dialogue> {
        self.dialogues.first()
    }
}

impl Dialogue {
    /// The conversation that tells most: the first, unless only a later one answered PING, or anything.
    pub fn telling(&self) -> &Conversation {
        let answers = |one: &Conversation| one.exchanges.iter().filter(|exchange| exchange.reply.is_some()).count();
        let worth =
            |one| if Conversation::answers_ping(one) { 2 + answers(one) } else { usize::from(one.said_something()) };
        let more = |most, one| if worth(one) > worth(most) { one } else { most };
        self.conversations().skip(1).filter(|_| !self.first.answers_ping()).fold(&self.first, more)
    }

    /// All that was said, in order.
    pub fn conversations(&self) -> impl Iterator<Item = &Conversation> {
        std::iter::once(&self.first).chain(&self.second).chain(&self.further)
    }

    /// True if the same words were answered over one connection, and cut over another: what is asked is not the reason.
    pub fn is_cut_at_times(&self) -> bool {
        let answered = |cut: &Conversation| self.conversations().any(|one| one.answers_ping() && one.asks_what(cut));
        self.conversations().any(|one| one.is_cut() && answered(one))
    }

    /// The answer to `command`, from the conversation that tells most.
    pub fn reply(&self, command: Command) -> Option<&Reply> {
        self.telling().reply(command)
    }

    /// What INFO tells.
    pub fn info(&self) -> Option<&Info> {
        self.telling().info()
    }

    /// The settings that CONFIG GET told, if it was asked and may be.
    pub fn settings(&self) -> Option<BTreeMap<String, String>> {
        self.telling().settings()
    }

    /// True if nothing came back because our bytes did not even reach the peer's kernel, or its acknowledgements not us.
    pub fn is_unheard(&self) -> bool {
        self.first.unacknowledged.is_some_and(|bytes| bytes > 0)
    }

    /// Everything that came unasked.
    pub fn unasked(&self) -> Option<&Reply> {
        self.first.unasked.as_ref().or_else(|| self.second.as_ref()?.unasked.as_ref())
    }

    /// True if a reply came, asked for or not, whatever it says: whoever serves the target is there.
    pub fn has_replied(&self) -> bool {
        let refused = matches!(self.unasked(), Some(Reply::Error(_)));
        refused || self.telling().exchanges.iter().any(|exchange| exchange.reply.is_some())
    }

    /// True if protected mode turned us away.
    pub fn is_denied(&self) -> bool {
        let error = self.unasked().or_else(|| self.reply(Command::Ping)).and_then(Reply::error);
        error.is_some_and(|error| error.kind == ErrorKind::Denied)
    }

    /// Who it is that is no Redis, from either connection.
    pub fn stranger(&self) -> Option<&Stranger> {
        self.first.stranger.as_ref().or_else(|| self.second.as_ref()?.stranger.as_ref())
    }

    /// Bytes that are not RESP, from either connection.
    pub fn alien(&self) -> Option<&Alien> {
        self.first.alien.as_ref().or_else(|| self.second.as_ref()?.alien.as_ref())
    }
}

impl Conversation {
    /// The answer to `command`, if it was sent and answered.
    pub fn reply(&self, command: Command) -> Option<&Reply> {
        self.exchanges.iter().find(|exchange| exchange.command == command)?.reply.as_ref()
    }

    /// What INFO tells.
    pub fn info(&self) -> Option<&Info> {
        match self.reply(Command::Info) {
            Some(Reply::Info(info)) => Some(info),
            _ => None,
        }
    }

    /// The settings that CONFIG GET told; `None` if it told nothing.
    pub fn settings(&self) -> Option<BTreeMap<String, String>> {
        let told = self.exchanges.iter().filter_map(|exchange| match &exchange.reply {
            Some(Reply::Settings(settings)) => Some(settings.clone()),
            _ => None,
        });
        told.reduce(|all, one| all.into_iter().chain(one).collect())
    }

    /// True if the peer sent anything at all.
    pub fn said_something(&self) -> bool {
        self.bytes > 0
    }

    /// True if the peer closed, or broke the connection.
    pub fn has_ended(&self) -> bool {
        matches!(self.end, End::Closed | End::Broken(_))
    }

    /// True if the connection ended without a word.
    pub fn is_cut(&self) -> bool {
        self.has_ended() && !self.said_something()
    }

    /// True if the other one asks for the same.
    fn asks_what(&self, other: &Self) -> bool {
        let commands = |one: &Self| one.exchanges.iter().map(|exchange| exchange.command).collect::<Vec<_>>();
        commands(self) == commands(other)
    }

    /// True if PING was answered, with whatever.
    pub fn answers_ping(&self) -> bool {
        self.reply(Command::Ping).is_some()
    }

    /// One for which there was no connection.
    pub fn not_made() -> Self {
        Self {
            unasked: None,
            exchanges: Vec::new(),
            unfinished: None,
            alien: None,
            stranger: None,
            end: End::NotMade,
            first_byte_ms: None,
            elapsed_ms: 0.0,
            bytes: 0,
            unacknowledged: None,
            sent_again: None,
        }
    }
}

/// Talks over every connection at the same time. A server that is looked at from inside is asked for its settings, too. Where the
/// preferred address says nothing, TLS is tried beside the second conversation, if `inside` says how.
pub async fn gather(
    ask: &Ask,
    password: Option<&Secret>,
    tcp: &Observed<Tcp>,
    connections: Vec<Connection>,
    (looks_inside, mut inside): (bool, Option<Inside>),
    clock: &Clock,
) -> (Observed<Redis>, Option<Through>) {
    if !["ping", "auth", "state", "hold"].iter().any(|check| ask.wants(check)) {
        return (Observed::skipped("not selected"), None);
    }
    if connections.is_empty() {
        let stood = tcp.seen().is_some_and(|tcp| tcp.connected().is_some());
        return (Observed::needs(if stood && ask.target.tls { "tls" } else { "tcp" }), None);
    }
    let mut talks = tokio::task::JoinSet::new();
    for (order, connection) in connections.into_iter().enumerate() {
        let (script, secret, clock) = (Script::of(ask, password, looks_inside), password.cloned(), *clock);
        let inside = inside.take();
        talks.spawn(async move {
            let talk = Box::pin(talk(connection, &script, secret.as_ref(), inside, clock));
            (order, talk.await)
        });
    }
    let mut talks = talks.join_all().await;
    talks.sort_by_key(|(order, _)| *order);
    let (dialogues, through): (Vec<_>, Vec<_>) = talks.into_iter().map(|(_, talk)| talk).unzip();
    (Observed::Seen(Redis { dialogues }), through.into_iter().flatten().next())
}

/// Asks a server of this machine who it is and how it is set, without credentials and without waiting long.
pub async fn ask_briefly(dial: &Dialled, deadline: Instant) -> Conversation {
    let Some(stream) = dial.again(deadline).await else { return Conversation::not_made() };
    let mut talk = Talk::new(&stream, None);
    let lines: Vec<Line> =
        [line(Command::Ping, &[]), line(Command::Info, &[])].into_iter().chain(settings_script()).collect();
    talk.say(&lines, deadline).await;
    talk.listen(deadline).await;
    talk.conclude()
}

/// Asks who is there over a connection that stands, without credentials.
pub async fn introduce(stream: &Stream, deadline: Instant) -> Conversation {
    let mut talk = Talk::new(stream, None);
    talk.say(&[line(Command::Ping, &[]), line(Command::Info, &[])], deadline).await;
    talk.listen(deadline).await;
    talk.conclude()
}

/// Asks whether this is a node of a cluster, and on which port it speaks to the others, without credentials.
pub async fn ask_cluster(dial: &Dialled, deadline: Instant) -> Conversation {
    let Some(stream) = dial.again(deadline).await else { return Conversation::not_made() };
    let mut talk = Talk::new(&stream, None);
    let nodes = line(Command::ClusterNodes, &["NODES"]);
    talk.say(&[line(Command::Ping, &[]), line(Command::Info, &[]), nodes], deadline).await;
    talk.listen(deadline).await;
    talk.conclude()
}

/// Says no more than PING, without credentials and without waiting long.
pub async fn greet(dial: &Dialled, deadline: Instant) -> Conversation {
    let Some(stream) = dial.again(deadline).await else { return Conversation::not_made() };
    say_ping(&stream, deadline).await
}

/// The same over a connection that stands.
pub(super) async fn say_ping(stream: &Stream, deadline: Instant) -> Conversation {
    let mut talk = Talk::new(stream, None);
    talk.say(&[line(Command::Ping, &[])], deadline).await;
    talk.listen(deadline).await;
    talk.conclude()
}

/// The same, listening first: protected mode, the client limit and most strangers speak before they are asked.
pub async fn greet_late(dial: &Dialled, deadline: Instant) -> Conversation {
    second_talk(dial, &[line(Command::Ping, &[])], None, deadline).await
}

/// What is sent, as (command, encoded bytes).
struct Script {
    whole: Vec<Line>,
    /// No more than proves a living, authenticated server: proxies close on commands they do not know.
    least: Vec<Line>,
    /// The same behind a command that even a paused server answers.
    alive: Vec<Line>,
    /// No more than PING, where the least is more: without SELECT, and without the key.
    bare: Option<Vec<Line>>,
}

/// A command and its bytes.
pub(super) type Line = (Command, Vec<u8>);

impl Script {
    fn of(ask: &Ask, password: Option<&Secret>, looks_inside: bool) -> Self {
        let least = least_script(ask, password);
        let alive = [line(Command::EchoNothing, &[])].into_iter().chain(least.clone()).collect();
        let mut whole = whole_script(ask, password);
        if looks_inside {
            whole.extend(settings_script());
        }
        let selects = least.iter().any(|(command, _)| *command == Command::Select);
        let is_bare = |line: &&Line| ![Command::Select, Command::Exists].contains(&line.0);
        let bare = selects.then(|| least.iter().filter(is_bare).cloned().collect());
        Self { whole, least, alive, bare }
    }
}

/// What the application itself cannot do without.
fn least_script(ask: &Ask, password: Option<&Secret>) -> Vec<Line> {
    let select = (ask.target.db != 0).then(|| line(Command::Select, &[&ask.target.db.to_string()]));
    let exists = ask.target.key.as_ref().map(|key| line(Command::Exists, &[key]));
    let ping = Some(line(Command::Ping, &[]));
    [auth_line(ask, password), ping, select, exists].into_iter().flatten().collect()
}

fn whole_script(ask: &Ask, password: Option<&Secret>) -> Vec<Line> {
    let target = &ask.target;
    let mut lines = least_script(ask, password);
    if let (Some("default"), Some(password)) = (target.user.as_deref(), password) {
        lines.insert(1, line(Command::AuthAlone, &[password.expose()]));
    }
    lines.push(line(Command::Hello, &[if target.resp3 { "3" } else { "2" }]));
    lines.push(line(Command::Info, &[]));
    if ask.require == Level::Writable {
        lines.push(line(Command::PfCount, &[NO_KEY]));
    }
    lines
}

/// Asks for the settings.
fn settings_script() -> impl Iterator<Item = Line> {
    SETTINGS.iter().map(|name| line(Command::ConfigGet, &["GET", name]))
}

/// AUTH as the application sends it, where there is a password.
pub(super) fn auth_line(ask: &Ask, password: Option<&Secret>) -> Option<Line> {
    let password = password?.expose();
    Some(match &ask.target.user {
        Some(user) => line(Command::Auth, &[user, password]),
        None => line(Command::Auth, &[password]),
    })
}

/// A command with its arguments, encoded.
pub(super) fn line(command: Command, arguments: &[&str]) -> Line {
    let mut encoded = redis::cmd(command.name());
    for argument in arguments {
        encoded.arg(argument);
    }
    (command, encoded.get_packed_command())
}

async fn talk(
    connection: Connection,
    script: &Script,
    secret: Option<&Secret>,
    inside: Option<Inside>,
    clock: Clock,
) -> (Dialogue, Option<Through>) {
    let Connection { address, dial, stream } = connection;
    let deadline = clock.step_end();
    let mut first = Talk::new(&stream, secret);
    let early = deadline.checked_sub(SECOND_BEFORE_END.min(clock.step() / 2)).unwrap_or(deadline);
    first.say(&script.whole, deadline).await;
    let ended = first.listen(early).await;
    if first.tells_enough() {
        first.listen(deadline).await;
        let first = first.conclude();
        let further =
            keyed::gather(&dial, (&first, &first), &script.least, secret, deadline).await.into_iter().collect();
        return (Dialogue { address, first, second: None, further }, None);
    }
    let lines = if ended { &script.least } else { &script.alive };
    let inside = inside.filter(|_| first.is_mute());
    let aside = async { inside.as_ref()?.probe(&dial, deadline).await };
    let again = async { tokio::join!(first.listen(deadline), second_talk(&dial, lines, secret, deadline)).1 };
    // Who takes turns would give the one connection that is answered to the wrong one of two.
    let ahead = if ended { LISTEN * 2 } else { Duration::ZERO };
    let (second, through) = Box::pin(again::beside(again, aside, ahead)).await;
    let first = first.conclude();
    let is_odd = first.is_cut() && second.answers_ping();
    let is_tls = through.as_ref().is_some_and(|through| through.hello.is_done());
    let scripts = match &script.bare {
        _ if is_odd => Some([&script.least, &script.whole, &script.whole]),
        // SELECT may be what ends both.
        Some(bare) if first.is_cut() && second.is_cut() && !is_tls => Some([bare, &script.least, bare]),
        _ => None,
    };
    let further = match scripts {
        Some(scripts) => again::further(&dial, scripts, secret, deadline).await,
        None => Vec::new(),
    };
    let mut dialogue = Dialogue { address, first, second: Some(second), further };
    if let (Some(second), false) = (&dialogue.second, dialogue.is_cut_at_times()) {
        let keyed = keyed::gather(&dial, (&dialogue.first, second), &script.least, secret, deadline).await;
        dialogue.further.extend(keyed);
    }
    (dialogue, through)
}

/// Listens before it writes. Both conversations share one deadline: a peer that is slow to end the first one must not
/// cost a second step.
async fn second_talk(dial: &Dialled, lines: &[Line], secret: Option<&Secret>, deadline: Instant) -> Conversation {
    let Some(stream) = dial.again(deadline).await else { return Conversation::not_made() };
    let mut talk = Talk::new(&stream, secret);
    if !talk.listen(deadline.min(clock::now() + LISTEN)).await {
        talk.say(lines, deadline).await;
        talk.listen(deadline).await;
    }
    talk.conclude()
}
