//! What is said over the connections: who speaks first, what each command is answered, how it ends.
//!
//! Everything is written at once over the very connection that was timed, and everything that comes is read, to the
//! end: protected mode and the client limit speak first and close. Only when a connection ends or stays silent without
//! a reply is a second one opened that listens before it writes; a healthy target never pays that wait. What the
//! replies mean is in `check/ping.rs`, `check/auth.rs` and `check/state.rs`.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::reply::{Command, ErrorKind, Reply, kept};
use super::resp::{self, Frame};
use super::tcp::{Connection, Dialled, Tcp};
use crate::model::{Ask, BlockerKind, Observed, Secret};
use crate::sys::socket::{Read, Stream};
use crate::sys::{Clock, clock};

/// The most that is read of one connection.
const MOST_BYTES: usize = 64 << 10;
/// How long the second connection listens before it writes.
const LISTEN: Duration = Duration::from_millis(150);
/// How long before the first connection's deadline the second one is opened, when the first is silent.
const SECOND_BEFORE_END: Duration = Duration::from_millis(800);
/// How long a peer that does not speak RESP may go on, so that its first words are whole.
const ALIEN_GRACE: Duration = Duration::from_millis(100);

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
}

/// What was said over one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// What the peer sent before it was asked, or instead of an answer: protected mode, the client limit.
    pub unasked: Option<Reply>,
    /// Each command with its answer, in order.
    pub exchanges: Vec<Exchange>,
    /// The beginning of what is not RESP.
    pub alien: Option<Alien>,
    /// How it ended.
    pub end: End,
    /// When the first byte came, in milliseconds after the first was written.
    pub first_byte_ms: Option<f64>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
    /// How many bytes came.
    pub bytes: usize,
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
    /// The conversation that tells most: the first, unless only the second was answered.
    pub fn telling(&self) -> &Conversation {
        match &self.second {
            Some(second) if !self.first.said_something() && second.said_something() => second,
            _ => &self.first,
        }
    }

    /// The answer to `command`, from the conversation that tells most.
    pub fn reply(&self, command: Command) -> Option<&Reply> {
        self.telling().reply(command)
    }

    /// Everything that came unasked.
    pub fn unasked(&self) -> Option<&Reply> {
        self.first.unasked.as_ref().or_else(|| self.second.as_ref()?.unasked.as_ref())
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

    /// True if the peer sent anything at all.
    pub fn said_something(&self) -> bool {
        self.bytes > 0
    }

    fn not_made() -> Self {
        Self {
            unasked: None,
            exchanges: Vec::new(),
            alien: None,
            end: End::NotMade,
            first_byte_ms: None,
            elapsed_ms: 0.0,
            bytes: 0,
        }
    }
}

/// Talks over every connection at the same time.
pub async fn gather(
    ask: &Ask,
    password: Option<&Secret>,
    tcp: &Observed<Tcp>,
    connections: Vec<Connection>,
    clock: &Clock,
) -> Observed<Redis> {
    if !["ping", "auth", "state"].iter().any(|check| ask.wants(check)) {
        return Observed::skipped("not selected");
    }
    if ask.target.tls && tcp.seen().is_some_and(|tcp| tcp.connected().is_some()) {
        return Observed::hidden(BlockerKind::Unsupported, "this version of redisdoc does not speak TLS");
    }
    if connections.is_empty() {
        return Observed::needs("tcp");
    }
    let mut talks = tokio::task::JoinSet::new();
    for (order, connection) in connections.into_iter().enumerate() {
        let (script, secret, clock) = (Script::of(ask, password), password.cloned(), *clock);
        talks.spawn(async move { (order, talk(connection, &script, secret.as_ref(), clock).await) });
    }
    let mut dialogues = talks.join_all().await;
    dialogues.sort_by_key(|(order, _)| *order);
    Observed::Seen(Redis { dialogues: dialogues.into_iter().map(|(_, dialogue)| dialogue).collect() })
}

/// What is sent, as (command, encoded bytes).
struct Script {
    whole: Vec<Line>,
    /// No more than proves a living, authenticated server: proxies close on commands they do not know.
    least: Vec<Line>,
    /// The same behind a command that even a paused server answers.
    alive: Vec<Line>,
}

type Line = (Command, Vec<u8>);

impl Script {
    fn of(ask: &Ask, password: Option<&Secret>) -> Self {
        let least: Vec<Line> = auth_line(ask, password).into_iter().chain([line(Command::Ping, &[])]).collect();
        let alive = [line(Command::EchoNothing, &[])].into_iter().chain(least.clone()).collect();
        Self { whole: whole_script(ask, password), least, alive }
    }
}

fn whole_script(ask: &Ask, password: Option<&Secret>) -> Vec<Line> {
    let target = &ask.target;
    let mut lines: Vec<Line> = auth_line(ask, password).into_iter().collect();
    if let (Some("default"), Some(password)) = (target.user.as_deref(), password) {
        lines.push(line(Command::AuthAlone, &[password.expose()]));
    }
    lines.push(line(Command::Ping, &[]));
    if target.db != 0 {
        lines.push(line(Command::Select, &[&target.db.to_string()]));
    }
    if let Some(key) = &target.key {
        lines.push(line(Command::Exists, &[key]));
    }
    lines.push(line(Command::Hello, &[if target.resp3 { "3" } else { "2" }]));
    lines.push(line(Command::Info, &[]));
    lines
}

fn auth_line(ask: &Ask, password: Option<&Secret>) -> Option<Line> {
    let password = password?.expose();
    Some(match &ask.target.user {
        Some(user) => line(Command::Auth, &[user, password]),
        None => line(Command::Auth, &[password]),
    })
}

fn line(command: Command, arguments: &[&str]) -> Line {
    let mut encoded = redis::cmd(command.name());
    for argument in arguments {
        encoded.arg(argument);
    }
    (command, encoded.get_packed_command())
}

async fn talk(connection: Connection, script: &Script, secret: Option<&Secret>, clock: Clock) -> Dialogue {
    let Connection { address, dial, stream } = connection;
    let deadline = clock.step_end();
    let mut first = Talk::new(&stream, secret);
    let early = deadline.checked_sub(SECOND_BEFORE_END.min(clock.step() / 2)).unwrap_or(deadline);
    first.say(&script.whole, deadline).await;
    let ended = first.listen(early).await;
    if first.is_answered() || first.has_spoken() {
        if !ended {
            first.listen(deadline).await;
        }
        return Dialogue { address, first: first.conclude(), second: None };
    }
    let lines = if ended { &script.least } else { &script.alive };
    let (_, second) = tokio::join!(first.listen(deadline), second_talk(&dial, lines, secret, deadline, ended, clock));
    Dialogue { address, first: first.conclude(), second: Some(second) }
}

/// Listens before it writes. When the first connection ended, this one has a step of its own; when that is silent, both
/// end together.
async fn second_talk(
    dial: &Dialled,
    lines: &[Line],
    secret: Option<&Secret>,
    deadline: Instant,
    ended: bool,
    clock: Clock,
) -> Conversation {
    let deadline = if ended { clock.step_end() } else { deadline };
    let Some(stream) = dial.again(deadline).await else { return Conversation::not_made() };
    let mut talk = Talk::new(&stream, secret);
    if !talk.listen(deadline.min(clock::now() + LISTEN)).await {
        talk.say(lines, deadline).await;
        talk.listen(deadline).await;
    }
    talk.conclude()
}

/// A conversation under way.
struct Talk<'a> {
    stream: &'a Stream,
    secret: Option<&'a Secret>,
    began: Instant,
    buffer: Vec<u8>,
    /// Where the replies that are read end.
    read_to: usize,
    unasked: Option<Reply>,
    exchanges: Vec<Exchange>,
    first_byte_ms: Option<f64>,
    alien: Option<Alien>,
    end: Option<End>,
    wrote: bool,
}

impl<'a> Talk<'a> {
    fn new(stream: &'a Stream, secret: Option<&'a Secret>) -> Self {
        Self {
            stream,
            secret,
            began: clock::now(),
            buffer: Vec::new(),
            read_to: 0,
            unasked: None,
            exchanges: Vec::new(),
            first_byte_ms: None,
            alien: None,
            end: None,
            wrote: false,
        }
    }

    /// Writes the lines in one piece. A failed write is met again by the read that follows, after what the peer may
    /// have said before it closed.
    async fn say(&mut self, lines: &[Line], deadline: Instant) {
        let bytes: Vec<u8> = lines.iter().flat_map(|(_, bytes)| bytes).copied().collect();
        self.exchanges = lines.iter().map(|(command, _)| Exchange { command: *command, reply: None }).collect();
        self.began = clock::now();
        self.wrote = true;
        let _ = self.stream.write(&bytes, deadline).await;
    }

    /// Reads until everything is answered, the connection ends, or `deadline`; true if there is nothing more to wait for.
    async fn listen(&mut self, deadline: Instant) -> bool {
        let mut chunk = vec![0; 8 << 10];
        while self.end.is_none() {
            let patience = if self.alien.is_some() { deadline.min(clock::now() + ALIEN_GRACE) } else { deadline };
            match self.stream.read(&mut chunk, patience).await {
                Read::Bytes(count) => self.take(&chunk[..count]),
                Read::End => self.end = Some(End::Closed),
                Read::Broken(errno) => self.end = Some(End::Broken(format!("{errno:?}"))),
                Read::Silence if self.alien.is_some() => self.end = Some(End::Alien),
                Read::Silence => return false,
            }
        }
        true
    }

    fn take(&mut self, bytes: &[u8]) {
        self.first_byte_ms.get_or_insert_with(|| clock::ms_since(self.began));
        self.buffer.extend_from_slice(bytes);
        self.read_replies();
        if self.is_answered() {
            self.end = Some(End::Answered);
        } else if self.buffer.len() >= MOST_BYTES {
            self.end = Some(End::TooMuch);
        }
    }

    fn read_replies(&mut self) {
        while self.alien.is_none() && self.read_to < self.buffer.len() && !self.is_answered() {
            let rest = &self.buffer[self.read_to..];
            match resp::frame(rest) {
                Frame::Partial => return,
                Frame::Alien => {
                    // Its words are taken at the end, when they are whole.
                    self.alien = Some(Alien { head: String::new(), before_we_spoke: !self.wrote });
                }
                Frame::Whole(length) => {
                    let frame = rest[..length].to_vec();
                    self.read_to += length;
                    self.take_reply(&frame);
                }
            }
        }
    }

    fn take_reply(&mut self, frame: &[u8]) {
        let next = self.exchanges.iter().position(|exchange| exchange.reply.is_none());
        let command = next.map_or(Command::Ping, |next| self.exchanges[next].command);
        let reply = Reply::of(frame, resp::value(frame), command, self.secret);
        let refuses = |kind| matches!(kind, ErrorKind::Denied | ErrorKind::MaxClients);
        let is_refusal = reply.error().is_some_and(|error| refuses(error.kind));
        match next {
            Some(next) if !is_refusal => self.exchanges[next].reply = Some(reply),
            _ => {
                self.unasked.get_or_insert(reply);
            }
        }
    }

    fn is_answered(&self) -> bool {
        self.wrote && self.exchanges.iter().all(|exchange| exchange.reply.is_some())
    }

    fn has_spoken(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn conclude(self) -> Conversation {
        let head = kept(&self.buffer[self.read_to..], self.secret);
        Conversation {
            unasked: self.unasked,
            exchanges: self.exchanges,
            alien: self.alien.map(|alien| Alien { head, ..alien }),
            end: self.end.unwrap_or(End::Silent),
            first_byte_ms: self.first_byte_ms,
            elapsed_ms: clock::ms_since(self.began),
            bytes: self.buffer.len(),
        }
    }
}
