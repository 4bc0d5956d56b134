//! Our own queries: every nameserver with every name of the search list and both families, all at the same time.
//!
//! What they add up to is in `answers.rs`.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::task::JoinSet;

use super::answers::{Answer, Own, Query, Record, Transport};
use super::config::{self, Config, Server};
use super::message::{Question, Reading};
use crate::model::{BlockerKind, Observed};
use crate::sys::clock;
use crate::sys::datagram::{Datagrams, Received};
use crate::sys::socket::{self, Dial, Read, Stream};

/// A nameserver that has said nothing for this long, though asked once a second, is silent. Resolvers that must ask
/// others first mostly answer within two.
const PATIENCE: Duration = Duration::from_secs(3);
/// A datagram may be lost: ask again after this long.
const AGAIN: Duration = Duration::from_secs(1);
/// The most times that we ask for one answer: once a second, and once more without EDNS.
const MOST_QUESTIONS: usize = 5;
/// How many datagrams a nameserver that was silent gets each time that it is asked again. Of a way that loses three in five
/// packets, both ways, every third set of eight questions is lost: only many say that it is silence.
const MOST_AGAIN: usize = 16;
/// The most datagrams that are looked at for one answer: nobody can keep us busy with wrong ones.
const MOST_DATAGRAMS: usize = 64;

/// Looks the name up without the system's resolver, until `deadline` at most.
pub async fn gather(name: &str, deadline: Instant) -> Own {
    let config = config::gather();
    let hosts = match config::hosts(name) {
        Ok(entries) => Observed::Seen(entries),
        Err(error) => Observed::hidden(kind_of(&error), format!("/etc/hosts: {error}")),
    };
    let (names, untried) = config.candidates(name);
    let deadline = deadline.min(clock::now() + PATIENCE);
    let queries = ask_all(&config, &names, deadline).await;
    Own { config, hosts, queries, untried, beside_hosts: Vec::new() }
}

fn kind_of(error: &std::io::Error) -> BlockerKind {
    match error.kind() {
        std::io::ErrorKind::NotFound => BlockerKind::Missing,
        std::io::ErrorKind::PermissionDenied => BlockerKind::Permission,
        _ => BlockerKind::Failed,
    }
}

async fn ask_all(config: &Config, names: &[String], deadline: Instant) -> Vec<Query> {
    let mut tasks = JoinSet::new();
    for (order, server) in config.servers.iter().cloned().enumerate() {
        let names = names.to_vec();
        tasks.spawn(async move { (order, ask_server(&server, &names, deadline).await) });
    }
    let mut answered = tasks.join_all().await;
    answered.sort_by_key(|(order, _)| *order);
    answered.into_iter().flat_map(|(_, queries)| queries).collect()
}

async fn ask_server(server: &Server, names: &[String], deadline: Instant) -> Vec<Query> {
    let heard = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let questions = names.iter().flat_map(|name| [(name, Record::A), (name, Record::Aaaa)]);
    let copies = (MOST_AGAIN / (2 * names.len()).max(1)).max(1);
    for (order, (name, record)) in questions.enumerate() {
        let (server, name, heard) = (server.clone(), name.clone(), heard.clone());
        tasks.spawn(async move {
            let query = ask(&server, name, (record, copies), deadline).await;
            if query.as_ref().is_some_and(|query| query.answer != Answer::Silent) {
                heard.store(true, Ordering::Relaxed);
            }
            (order, query)
        });
    }
    let mut answers = pin!(tasks.join_all());
    let mut instead = JoinSet::new();
    let soon = clock::until(deadline.min(clock::now() + AGAIN), &mut answers).await;
    let mut answered = if let Some(answered) = soon {
        answered
    } else {
        // Near the deadline there is no time left for silence to mean anything.
        if clock::now() + AGAIN / 2 < deadline {
            let (server, names) = (server.clone(), names.to_vec());
            instead.spawn(async move { tcp_instead(&server, &names, deadline).await });
        }
        answers.await
    };
    // It stops here where datagrams were answered after all.
    let instead = if heard.load(Ordering::Relaxed) { None } else { instead.join_next().await };
    let instead = instead.and_then(|ended| ended.ok().flatten());
    answered.sort_by_key(|(order, _)| *order);
    answered.into_iter().filter_map(|(_, query)| query).chain(instead).collect()
}

/// Where datagrams bring nothing, one question over TCP shows whether the server lives.
async fn tcp_instead(server: &Server, names: &[String], deadline: Instant) -> Option<Query> {
    let name = names.last()?;
    let question = Question::new(name, Record::A)?;
    let began = clock::now();
    let answer = over_tcp(server.socket(), &question, deadline).await;
    Some(observed(server, name.clone(), Record::A, Transport::TcpInstead, answer, began))
}

/// Asks for a record, again with so many `copies`; `None` if DNS cannot carry the name: there is nothing to ask.
async fn ask(server: &Server, name: String, (record, copies): (Record, usize), deadline: Instant) -> Option<Query> {
    let question = Question::new(&name, record)?;
    let began = clock::now();
    let (over, answer) = match over_udp(server.socket(), &question, copies, deadline).await {
        Some(answer) => (Transport::Udp, answer),
        None => (Transport::Tcp, over_tcp(server.socket(), &question, deadline).await),
    };
    Some(observed(server, name, record, over, answer, began))
}

fn observed(server: &Server, name: String, record: Record, over: Transport, answer: Answer, began: Instant) -> Query {
    Query { server: server.address, name, record, over, answer, elapsed_ms: clock::ms_since(began) }
}

/// The answer; `None` if it did not fit.
async fn over_udp(server: SocketAddr, question: &Question, copies: usize, deadline: Instant) -> Option<Answer> {
    let peer = match Datagrams::connect(server) {
        Ok(peer) => peer,
        Err(errno) => return Some(undelivered(errno)),
    };
    let mut worst = Answer::Silent;
    // Some middleboxes drop what carries EDNS, and some servers do not know it: only the first question does.
    let mut edns = true;
    for time in 0..MOST_QUESTIONS {
        let until = deadline.min(clock::now() + AGAIN);
        for _ in 0..if time > 0 && worst == Answer::Silent { copies } else { 1 } {
            if let Err(errno) = peer.send(&question.encode(edns)?, until).await {
                return Some(undelivered(errno));
            }
        }
        match listen(&peer, question, until, &mut worst).await {
            Some(Reading::Truncated) => return None,
            Some(Reading::Answer(code @ Answer::OtherCode(_))) if edns => worst = code,
            Some(Reading::Answer(answer)) => return Some(answer),
            Some(Reading::Another | Reading::Garbage) | None => {}
        }
        edns = false;
        if clock::now() >= deadline || worst.is_undelivered() {
            break;
        }
    }
    Some(worst)
}

/// Listens for the answer; what comes instead of it is kept in `worst`.
async fn listen(peer: &Datagrams, question: &Question, until: Instant, worst: &mut Answer) -> Option<Reading> {
    for _ in 0..MOST_DATAGRAMS {
        let bytes = match peer.receive(until).await {
            Received::Bytes(bytes) => bytes,
            Received::Silence => return None,
            Received::Failed(errno) => {
                *worst = undelivered(errno);
                return None;
            }
        };
        match question.read(&bytes) {
            Reading::Another => *worst = Answer::Mismatched,
            Reading::Garbage => *worst = Answer::Garbage,
            reading => return Some(reading),
        }
    }
    None
}

async fn over_tcp(server: SocketAddr, question: &Question, deadline: Instant) -> Answer {
    let stream = match socket::dial(server, deadline).await {
        Dial::Connected(stream) => stream,
        Dial::TimedOut(_) => return Answer::Silent,
        Dial::Failed(failure) => return undelivered(failure.errno),
    };
    let Some(query) = question.encode(true) else { return Answer::Garbage };
    // RFC 1035 section 4.2.2: two bytes of length before each message. A question is far shorter than 64 KiB.
    let length = u16::try_from(query.len()).unwrap_or_default().to_be_bytes();
    if let Err(errno) = stream.write(&[&length[..], &query].concat(), deadline).await {
        return undelivered(errno);
    }
    let reply = match read_message(&stream, deadline).await {
        Ok(reply) => reply,
        Err(answer) => return answer,
    };
    match question.read(&reply) {
        Reading::Answer(answer) => answer,
        Reading::Another => Answer::Mismatched,
        Reading::Garbage | Reading::Truncated => Answer::Garbage,
    }
}

/// One message, which its length limits to 64 KiB.
async fn read_message(stream: &Stream, deadline: Instant) -> Result<Vec<u8>, Answer> {
    let mut length = [0; 2];
    read_exact(stream, &mut length, deadline).await?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    read_exact(stream, &mut message, deadline).await?;
    Ok(message)
}

async fn read_exact(stream: &Stream, buffer: &mut [u8], deadline: Instant) -> Result<(), Answer> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..], deadline).await {
            Read::Bytes(count) => filled += count,
            Read::End | Read::Silence | Read::Alert(_) => return Err(Answer::Silent),
            Read::Broken(errno) => return Err(undelivered(errno)),
        }
    }
    Ok(())
}

fn undelivered(errno: Errno) -> Answer {
    match errno {
        Errno::ECONNREFUSED => Answer::PortClosed,
        Errno::ETIMEDOUT => Answer::Silent,
        errno => Answer::Unreachable(format!("{errno:?}")),
    }
}

impl Answer {
    fn is_undelivered(&self) -> bool {
        matches!(self, Self::PortClosed | Self::Unreachable(_))
    }
}
