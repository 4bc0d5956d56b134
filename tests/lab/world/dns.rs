//! A name server that answers, or fails to, exactly as told; over UDP and TCP, on a host's own port 53.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::Host;

/// The types of record that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
    /// Another name.
    Cname,
    /// Anything else, by number.
    Other(u16),
}

/// What is known of a name.
#[derive(Clone, Debug)]
enum Answer {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    Fails(u8),
    NoData,
    Silent,
    Garbage,
}

/// What a name server is to answer; unknown names do not exist, and known ones have only the records they were given.
#[derive(Clone, Debug)]
pub struct DnsStub {
    listen: String,
    rules: Vec<(String, Option<Kind>, Answer)>,
    wrong_id: bool,
    truncate_udp: bool,
    delay: Duration,
    prompt: Vec<String>,
}

/// A name server that runs until the test ends.
pub struct Dns {
    queries: Log,
}

type Log = Arc<Mutex<Vec<(String, Kind)>>>;

const NXDOMAIN: u8 = 3;

impl DnsStub {
    /// Listens at this address: `0.0.0.0:53`, `[::]:53` for both families.
    #[must_use]
    pub fn new(listen: &str) -> Self {
        let listen = listen.to_owned();
        Self {
            listen,
            rules: Vec::new(),
            wrong_id: false,
            truncate_udp: false,
            delay: Duration::ZERO,
            prompt: Vec::new(),
        }
    }

    /// Gives a name an IPv4 address; several are all answered.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn a(self, name: &str, address: &str) -> Self {
        self.rule(name, None, Answer::A(address.parse().expect("an IPv4 address")))
    }

    /// Gives a name an IPv6 address.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn aaaa(self, name: &str, address: &str) -> Self {
        self.rule(name, None, Answer::Aaaa(address.parse().expect("an IPv6 address")))
    }

    /// Makes a name another name for `target`, whose records are answered too.
    #[must_use]
    pub fn cname(self, name: &str, target: &str) -> Self {
        let target = target.to_owned();
        self.rule(name, None, Answer::Cname(target))
    }

    /// Says that a name does not exist, as of every unknown one.
    #[must_use]
    pub fn nxdomain(self, name: &str) -> Self {
        self.rule(name, None, Answer::Fails(NXDOMAIN))
    }

    /// Says SERVFAIL; `*` stands for every name not named otherwise.
    #[must_use]
    pub fn servfail(self, name: &str) -> Self {
        self.rule(name, None, Answer::Fails(2))
    }

    /// Says REFUSED.
    #[must_use]
    pub fn refused(self, name: &str) -> Self {
        self.rule(name, None, Answer::Fails(5))
    }

    /// Says that a name exists and has no records.
    #[must_use]
    pub fn nodata(self, name: &str) -> Self {
        self.rule(name, None, Answer::NoData)
    }

    /// Never answers.
    #[must_use]
    pub fn silent(self, name: &str) -> Self {
        self.rule(name, None, Answer::Silent)
    }

    /// Never answers questions of one kind about a name; put it before or after the name's records.
    #[must_use]
    pub fn silent_for(self, name: &str, kind: Kind) -> Self {
        self.rule(name, Some(kind), Answer::Silent)
    }

    /// Answers SERVFAIL to questions of one kind about a name.
    #[must_use]
    pub fn servfail_for(self, name: &str, kind: Kind) -> Self {
        self.rule(name, Some(kind), Answer::Fails(2))
    }

    /// Answers with bytes that are no DNS message beyond their header.
    #[must_use]
    pub fn garbage(self, name: &str) -> Self {
        self.rule(name, None, Answer::Garbage)
    }

    /// Answers everything under another number than it was asked: a resolver must not take it.
    #[must_use]
    pub fn wrong_id(mut self) -> Self {
        self.wrong_id = true;
        self
    }

    /// Answers over UDP only that it should be asked over TCP.
    #[must_use]
    pub fn truncate_udp(mut self) -> Self {
        self.truncate_udp = true;
        self
    }

    /// Answers this much later.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Answers at once about this name, whatever the delay of the others.
    #[must_use]
    pub fn prompt_for(mut self, name: &str) -> Self {
        self.prompt.push(name.to_lowercase());
        self
    }

    fn rule(mut self, name: &str, kind: Option<Kind>, answer: Answer) -> Self {
        self.rules.push((name.trim_end_matches('.').to_lowercase(), kind, answer));
        self
    }

    /// The answer to a query, or none.
    fn answer(&self, query: &Query, udp: bool) -> Option<Vec<u8>> {
        let mut records = Vec::new();
        let mut name = query.name.clone();
        let code = loop {
            let rules = self.rules_of(&name, query.kind);
            match rules.first() {
                None => break if records.is_empty() { NXDOMAIN } else { 0 },
                Some(Answer::Silent) => return None,
                Some(Answer::Garbage) => {
                    return Some([&query.id[..], b"\x81\x80garbage, and not even of the length it says"].concat());
                }
                Some(Answer::Fails(code)) => break *code,
                Some(Answer::Cname(target)) if query.kind != Kind::Cname && records.len() < 16 => {
                    records.push(record(&name, 5, &encode(target)));
                    name = target.to_lowercase();
                }
                Some(_) => {
                    records.extend(rules.iter().filter_map(|answer| address(&name, query.kind, answer)));
                    break 0;
                }
            }
        };
        let truncated = udp && self.truncate_udp;
        if truncated {
            records.clear();
        }
        Some(self.message(query, code, truncated, &records))
    }

    /// What is known of a name: what is said of this kind of question alone, or else all of it, or what `*` says.
    fn rules_of(&self, name: &str, kind: Kind) -> Vec<&Answer> {
        let of = |wanted: &str, only: Option<Kind>| -> Vec<&Answer> {
            self.rules.iter().filter(|(of, kind, _)| of == wanted && *kind == only).map(|(.., answer)| answer).collect()
        };
        [of(name, Some(kind)), of(name, None), of("*", Some(kind)), of("*", None)]
            .into_iter()
            .find(|rules| !rules.is_empty())
            .unwrap_or_default()
    }

    fn message(&self, query: &Query, code: u8, truncated: bool, records: &[Vec<u8>]) -> Vec<u8> {
        let mut id = query.id;
        if self.wrong_id {
            id[1] ^= 0x55;
        }
        let flags = [0x84 | u8::from(truncated) << 1 | query.recursion, 0x80 | code];
        let count = u16::try_from(records.len()).expect("few records").to_be_bytes();
        [&id[..], &flags, &[0, 1], &count, &[0; 4], &query.question, &records.concat()].concat()
    }
}

impl Host {
    /// Starts a name server here.
    ///
    /// # Panics
    /// When its port is taken.
    pub fn dns(&self, stub: DnsStub) -> Dns {
        let listen = stub.listen.clone();
        let (udp, tcp) =
            self.inside(move || (UdpSocket::bind(&listen).expect("udp"), TcpListener::bind(&listen).expect("tcp")));
        let queries = Log::default();
        let (log, stub) = (Arc::clone(&queries), Arc::new(stub));
        {
            let (log, stub) = (Arc::clone(&log), Arc::clone(&stub));
            thread::spawn(move || serve_udp(&udp, &stub, &log));
        }
        thread::spawn(move || tcp.incoming().flatten().for_each(|stream| serve_tcp(stream, &stub, &log)));
        Dns { queries }
    }
}

impl Dns {
    /// What it was asked so far, in order.
    #[must_use]
    pub fn queries(&self) -> Vec<(String, Kind)> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve_udp(socket: &UdpSocket, stub: &DnsStub, log: &Log) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if let Some((answer, delay)) = heard(&buffer[..length], stub, log, true) {
            send_later(socket, answer, from, delay);
        }
    }
}

/// A slow answer must not hold up the next question.
fn send_later(socket: &UdpSocket, answer: Vec<u8>, to: SocketAddr, delay: Duration) {
    let socket = socket.try_clone().expect("a descriptor");
    let send = move || {
        thread::sleep(delay);
        let _ = socket.send_to(&answer, to);
    };
    if delay.is_zero() { send() } else { drop(thread::spawn(send)) }
}

fn serve_tcp(mut stream: TcpStream, stub: &DnsStub, log: &Log) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        if stream.read_exact(&mut query).is_err() {
            return;
        }
        let Some((answer, delay)) = heard(&query, stub, log, false) else { continue };
        thread::sleep(delay);
        let length = u16::try_from(answer.len()).expect("a short answer").to_be_bytes();
        let _ = stream.write_all(&[&length[..], &answer].concat());
    }
}

/// The answer, and how much later it is sent.
fn heard(bytes: &[u8], stub: &DnsStub, log: &Log, udp: bool) -> Option<(Vec<u8>, Duration)> {
    let query = Query::parse(bytes)?;
    log.lock().unwrap_or_else(PoisonError::into_inner).push((query.name.clone(), query.kind));
    let delay = if stub.prompt.contains(&query.name) { Duration::ZERO } else { stub.delay };
    Some((stub.answer(&query, udp)?, delay))
}

/// One question, and what an answer repeats of it.
struct Query {
    id: [u8; 2],
    recursion: u8,
    question: Vec<u8>,
    name: String,
    kind: Kind,
}

impl Query {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut at = 12;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*bytes.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(bytes.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = match u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?) {
            1 => Kind::A,
            28 => Kind::Aaaa,
            5 => Kind::Cname,
            other => Kind::Other(other),
        };
        let question = bytes.get(12..at + 4)?.to_vec();
        Some(Self { id: bytes[..2].try_into().ok()?, recursion: bytes[2] & 1, question, name: labels.join("."), kind })
    }
}

fn address(name: &str, asked: Kind, answer: &Answer) -> Option<Vec<u8>> {
    match (asked, answer) {
        (Kind::A, Answer::A(address)) => Some(record(name, 1, &address.octets())),
        (Kind::Aaaa, Answer::Aaaa(address)) => Some(record(name, 28, &address.octets())),
        (Kind::Cname, Answer::Cname(target)) => Some(record(name, 5, &encode(target))),
        _ => None,
    }
}

fn record(name: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("a short record");
    [&encode(name)[..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 30], &length.to_be_bytes(), data].concat()
}

fn encode(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}
