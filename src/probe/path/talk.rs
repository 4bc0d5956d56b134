//! One conversation: what was written, what came back and how it ended, bounded in time and in bytes.

use std::time::{Duration, Instant};

use super::redis::{Alien, Conversation, End, Exchange, Line};
use super::reply::{Command, ErrorKind, Reply, kept};
use super::resp::{self, Frame};
use super::sendqueue;
use super::stranger::Stranger;
use crate::model::Secret;
use crate::sys::socket::{Read, Stream};
use crate::sys::{clock, netlink};

/// The most that is read of one connection.
const MOST_BYTES: usize = 64 << 10;
/// How long a peer that does not speak RESP, or turned us away, may go on, so that its first words are whole.
const ALIEN_GRACE: Duration = Duration::from_millis(100);
/// How long the answers to the other commands may take after that to PING. Redis answers a pipeline in one turn of its
/// event loop (0.6 ms in all, measured on 7.0.15), and a lost segment is sent again after some 200 ms; what is longer is a
/// proxy that swallows a command, or a pause that holds one back.
const AFTER_PING: Duration = Duration::from_secs(1);

/// An answer that came later than this may have been lost on the way.
const LATE_MS: f64 = 900.0;

/// A conversation under way.
pub(super) struct Talk<'a> {
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
    ended_ms: Option<f64>,
    /// What was written, to know it again where it comes back.
    sent: Vec<u8>,
    wrote: bool,
}

impl<'a> Talk<'a> {
    pub(super) fn new(stream: &'a Stream, secret: Option<&'a Secret>) -> Self {
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
            ended_ms: None,
            sent: Vec::new(),
            wrote: false,
        }
    }

    /// Writes the lines in one piece. A failed write is met again by the read that follows, after what the peer may
    /// have said before it closed.
    pub(super) async fn say(&mut self, lines: &[Line], deadline: Instant) {
        let bytes: Vec<u8> = lines.iter().flat_map(|(_, bytes)| bytes).copied().collect();
        self.exchanges = lines.iter().map(|(command, _)| Exchange { command: *command, reply: None }).collect();
        self.began = clock::now();
        self.wrote = true;
        let _ = self.stream.write(&bytes, deadline).await;
        self.sent = bytes;
    }

    /// Reads until everything is answered, the connection ends, or `deadline`; true if there is nothing more to wait for.
    pub(super) async fn listen(&mut self, deadline: Instant) -> bool {
        let mut chunk = vec![0; 8 << 10];
        while self.end.is_none() {
            let patience = self.patience().map_or(deadline, |patience| deadline.min(clock::now() + patience));
            let room = chunk.len().min(MOST_BYTES - self.buffer.len());
            match self.stream.read(&mut chunk[..room], patience).await {
                Read::Bytes(count) => self.take(&chunk[..count]),
                Read::End => self.end = Some(End::Closed),
                Read::Alert(alert) => self.end = Some(End::Alert(alert)),
                Read::Broken(errno) => self.end = Some(End::Broken(format!("{errno:?}"))),
                Read::Silence if self.alien.is_some() => self.end = Some(End::Alien),
                Read::Silence if patience < deadline => self.end = Some(End::Silent),
                Read::Silence => return false,
            }
        }
        self.ended_ms.get_or_insert_with(|| clock::ms_since(self.began));
        true
    }

    /// How long it is worth waiting for more, where that is shorter than the step.
    fn patience(&self) -> Option<Duration> {
        if self.alien.is_some() || self.unasked.is_some() {
            return Some(ALIEN_GRACE);
        }
        self.answers_ping().then_some(AFTER_PING)
    }

    /// True if another conversation could tell nothing more.
    pub(super) fn tells_enough(&self) -> bool {
        self.answers_ping() || self.alien.is_some() || self.unasked.is_some()
    }

    /// True if nothing came yet.
    pub(super) fn is_mute(&self) -> bool {
        self.buffer.is_empty()
    }

    fn answers_ping(&self) -> bool {
        self.exchanges.iter().any(|exchange| exchange.command == Command::Ping && exchange.reply.is_some())
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

    pub(super) fn conclude(self) -> Conversation {
        let rest = &self.buffer[self.read_to..];
        let is_unfinished = self.alien.is_none() && !rest.is_empty() && !self.is_answered();
        let head = kept(rest, self.secret);
        let end = self.end.unwrap_or(End::Silent);
        let is_late = self.first_byte_ms.is_some_and(|ms| ms >= LATE_MS);
        let is_mute = self.wrote && self.buffer.is_empty() && end == End::Silent;
        Conversation {
            unasked: self.unasked,
            exchanges: self.exchanges,
            unfinished: is_unfinished.then(|| head.clone()),
            stranger: Stranger::of(&self.buffer, &self.sent, self.secret),
            alien: self.alien.map(|alien| Alien { head, ..alien }),
            end,
            first_byte_ms: self.first_byte_ms,
            elapsed_ms: self.ended_ms.unwrap_or_else(|| clock::ms_since(self.began)),
            bytes: self.buffer.len(),
            sent_again: if is_late { sent_again(self.stream) } else { None },
            unacknowledged: if is_mute { sendqueue::gather(self.stream) } else { None },
        }
    }
}

/// How many of our segments were sent again.
fn sent_again(stream: &Stream) -> Option<u32> {
    netlink::sent_again(stream.local()?, stream.peer()?).ok().flatten()
}
