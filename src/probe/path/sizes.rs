//! How large a packet gets through: the same small and the same large question on several connections at the same time,
//! each with a limit of its own on the size of segments, in both directions (`TCP_MAXSEG` before connecting: the peer is
//! told, and keeps to it). Where small segments pass and larger ones do not, packets of that size are lost on the way.
//!
//! Looked at only when small answers came and a large one did not, or with `--deep`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::redis::{Conversation, Dialogue, End, Line, Redis, auth_line, line};
use super::reply::Command;
use super::talk::Talk;
use super::tcp::Tcp;
use crate::model::{Ask, BlockerKind, Observed, Secret};
use crate::sys::clock::{self, Clock};
use crate::sys::socket::{self, Dial, Reach, Stream};

/// How long all of it may take. A lost segment is sent again after some 200 ms, and again 400 ms later.
const WAIT: Duration = Duration::from_millis(1_400);
/// Less time than this left for the run is too little to tell loss from distance.
const LEAST: Duration = Duration::from_millis(500);
/// The sizes of packets that are tried, beside what the interface allows (twice, for a packet may be lost by chance): of slow
/// serial lines (RFC 1144), what everybody must take (RFC 791; RFC 8200: 1,280), tunnels, `WireGuard` (1,420), `PPPoE` and friends, Ethernet.
const SIZES: [u16; 8] = [296, 576, 1_024, 1_280, 1_380, 1_420, 1_460, 1_500];
/// The large question: more than the largest packet of Ethernet (9,000), less than Redis takes of a stranger (16 KiB).
const LARGE: usize = 10_000;

/// What is seen but once may be chance.
const MANY: usize = 2;
/// The most connections on which not even the small question may have been answered.
const MOST_UNTOLD: usize = 2;
/// A lost packet costs more than this (`TCP_RTO_MIN` of Linux is 200 ms).
const SENT_AGAIN_MS: f64 = 150.0;

/// How large a packet gets through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sizes {
    /// The address with port.
    pub address: String,
    /// The largest packet on the way there as the kernel knows it (`IP_MTU`); IPv4 only.
    pub mtu: Option<u32>,
    /// The attempts, the smallest packets first.
    pub tries: Vec<Try>,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Try {
    /// The size that packets were limited to; `None`: what the interface allows.
    pub limit: Option<u16>,
    /// When the small question was answered, in milliseconds.
    pub small_ms: Option<f64>,
    /// When the large question was answered.
    pub large_ms: Option<f64>,
    /// How many bytes came back for it.
    pub replied: usize,
    /// Where it was not answered: how many bytes of it the peer's kernel has not acknowledged.
    pub unacknowledged: Option<u64>,
}

/// Where packets get lost for their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// The largest size that passes.
    pub passes: u16,
    /// The smallest that does not; `None`: what the interface allows.
    pub lost: Option<u16>,
    /// True if nothing looks as if packets were lost by chance, and the loss was seen three times at least.
    pub is_clear: bool,
    /// True if our own large packets are lost; else those of the answer are.
    pub outward: bool,
}

impl Sizes {
    /// The hole, where every size up to one passes and every larger one is lost, each seen twice at least. A way that loses
    /// packets by chance makes no such pattern (with a fourth and with two fifths of them lost, 24 runs made none).
    pub fn hole(&self) -> Option<Hole> {
        let told: Vec<&Try> = self.tries.iter().filter(|one| one.small_ms.is_some()).collect();
        let (passing, hanging) = told.split_at(told.iter().take_while(|one| one.large_ms.is_some()).count());
        let all_hang = hanging.iter().all(|one| one.large_ms.is_none());
        let untold = self.tries.len() - told.len();
        if passing.len() < MANY || hanging.len() < MANY || untold > MOST_UNTOLD || !all_hang {
            return None;
        }
        let first = hanging.first()?;
        let outward = first.unacknowledged.is_some_and(|bytes| bytes > 0);
        let is_clear = untold == 0 && hanging.len() > MANY && self.is_steady();
        Some(Hole { passes: passing.last()?.limit?, lost: first.limit, is_clear, outward })
    }

    /// True if the small question was answered throughout, and the large one by no size.
    pub fn is_stuck(&self) -> bool {
        self.tries.iter().all(|one| one.small_ms.is_some() && one.large_ms.is_none())
    }

    /// True if the small question was answered alike everywhere: no packet had to be sent again.
    fn is_steady(&self) -> bool {
        let times = || self.tries.iter().filter_map(|one| one.small_ms);
        times().fold(f64::NEG_INFINITY, f64::max) - times().fold(f64::INFINITY, f64::min) < SENT_AGAIN_MS
    }
}

/// Looks how large a packet gets through to the preferred address, if something looks as if large ones did not.
pub async fn gather(
    ask: &Ask,
    password: Option<&Secret>,
    tcp: &Observed<Tcp>,
    redis: &Observed<Redis>,
    here: bool,
    clock: &Clock,
) -> Observed<Sizes> {
    let Some(dialogue) = redis.seen().and_then(Redis::preferred) else { return Observed::needs("ping") };
    if ask.target.tls {
        return Observed::skipped("the conversation is inside TLS");
    }
    let Some(to) = address(tcp, dialogue).filter(|_| !here) else {
        return Observed::skipped("the target is this machine");
    };
    let is_cut = looks_cut(dialogue);
    if !ask.deep && !is_cut {
        return Observed::skipped("small and large answers came");
    }
    let end = (clock::now() + WAIT).min(clock.end());
    if end.saturating_duration_since(clock::now()) < LEAST {
        return Observed::hidden(
            BlockerKind::Deadline,
            "the deadline of the whole run left no time to try other sizes",
        );
    }
    let small: Vec<Line> = [auth_line(ask, password), Some(line(Command::Ping, &[]))].into_iter().flatten().collect();
    // Where nothing failed, one more connection has to do: ten at once are more than many a firewall allows (`ufw limit`: six
    // in 30 s), and the application would be locked out.
    if !is_cut && one(to, None, &small, password, end).await.1.large_ms.is_some() {
        return Observed::skipped("small and large answers came, and a large question was answered");
    }
    let end = (clock::now() + WAIT).min(clock.end());
    let mut tries = JoinSet::new();
    for (order, limit) in SIZES.into_iter().map(Some).chain([None, None]).enumerate() {
        let (small, secret) = (small.clone(), password.cloned());
        tries.spawn(async move { (order, one(to, limit, &small, secret.as_ref(), end).await) });
    }
    let mut tries = tries.join_all().await;
    tries.sort_by_key(|(order, _)| *order);
    let mtu = tries.iter().find_map(|(_, (mtu, _))| *mtu);
    let tries = tries.into_iter().map(|(_, (_, one))| one).collect();
    Observed::Seen(Sizes { address: dialogue.address.clone(), mtu, tries })
}

fn address(tcp: &Observed<Tcp>, dialogue: &Dialogue) -> Option<SocketAddr> {
    let attempts = &tcp.seen()?.attempts;
    attempts.iter().find(|attempt| attempt.address == dialogue.address && attempt.ip.is_some())?.address.parse().ok()
}

/// True if a peer that answers has not answered all: the answers to the first conversation are one large write of the
/// server, those to the second small ones.
fn looks_cut(dialogue: &Dialogue) -> bool {
    let is_cut = |conversation: &Conversation| {
        conversation.end == End::Silent && conversation.exchanges.iter().any(|exchange| exchange.reply.is_none())
    };
    let second = dialogue.second.as_ref().is_some_and(Conversation::answers_ping);
    is_cut(&dialogue.first) && (dialogue.first.said_something() || second)
}

/// One connection with segments that make packets of at most `limit` bytes; and the path's MTU, as the kernel knows it.
async fn one(
    to: SocketAddr,
    limit: Option<u16>,
    small: &[Line],
    secret: Option<&Secret>,
    end: Instant,
) -> (Option<u32>, Try) {
    let mut seen = Try { limit, small_ms: None, large_ms: None, replied: 0, unacknowledged: None };
    // The headers of IP and TCP (RFC 9293 section 3.7.1).
    let headers = if to.is_ipv4() { 40 } else { 60 };
    let reach = Reach { segment: limit.map(|limit| limit - headers), ..Reach::default() };
    let Dial::Connected(stream) = socket::dial_within(to, reach, end).await else { return (None, seen) };
    let first = asked(&stream, small, secret, end).await;
    if first.answers_ping() {
        seen.small_ms = Some(first.elapsed_ms);
        let large = asked(&stream, &[line(Command::Echo, &[&"x".repeat(LARGE)])], secret, end).await;
        seen.large_ms = large.reply(Command::Echo).is_some().then_some(large.elapsed_ms);
        (seen.replied, seen.unacknowledged) = (large.bytes, large.unacknowledged);
    }
    (stream.path_mtu().filter(|_| limit.is_none()), seen)
}

async fn asked(stream: &Stream, lines: &[Line], secret: Option<&Secret>, end: Instant) -> Conversation {
    let mut talk = Talk::new(stream, secret);
    talk.say(lines, end).await;
    talk.listen(end).await;
    talk.conclude()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The sizes to 10.0.0.9, where packets up to this size get through.
    pub fn up_to(most: u16) -> Sizes {
        let passes = |limit: Option<u16>| limit.is_some_and(|limit| limit <= most);
        let one = |limit: Option<u16>| Try {
            limit,
            small_ms: Some(0.3),
            large_ms: passes(limit).then_some(1.0),
            replied: if passes(limit) { LARGE + 10 } else { 0 },
            unacknowledged: (!passes(limit)).then_some(0),
        };
        let tries = SIZES.into_iter().map(Some).chain([None, None]).map(one).collect();
        Sizes { address: "10.0.0.9:6379".to_owned(), mtu: Some(1_500), tries }
    }

    #[test]
    fn a_hole_has_a_size() {
        let hole = up_to(1_400).hole().unwrap();
        assert_eq!((hole.passes, hole.lost, hole.is_clear, hole.outward), (1_380, Some(1_420), true, false));
        assert!(up_to(1_100).hole().unwrap().is_clear);
        let jumbo = up_to(1_500).hole().unwrap();
        assert_eq!((jumbo.passes, jumbo.lost, jumbo.is_clear), (1_500, None, false));
        // Not even the smallest passes, or it alone: that is not for its size.
        assert_eq!((up_to(100).hole(), up_to(296).hole()), (None, None));
        assert_eq!((up_to(100).is_stuck(), up_to(576).is_stuck()), (true, false));
    }

    #[test]
    fn chance_makes_no_hole() {
        let change = |which: usize, change: fn(&mut Try)| {
            let mut sizes = up_to(1_400);
            change(&mut sizes.tries[which]);
            sizes.hole()
        };
        assert_eq!(change(8, |one| one.large_ms = Some(1.0)), None, "one of the largest passed");
        assert_eq!(change(1, |one| one.large_ms = None), None, "a small one hangs");
        assert!(!change(0, |one| (one.small_ms, one.large_ms) = (None, None)).unwrap().is_clear);
        assert!(!change(0, |one| one.small_ms = Some(204.0)).unwrap().is_clear);
    }

    #[test]
    fn bytes_that_were_not_acknowledged_are_ours() {
        let mut outward = up_to(1_400);
        outward.tries.iter_mut().for_each(|one| one.unacknowledged = one.large_ms.is_none().then_some(8_000));
        assert!(outward.hole().unwrap().outward);
    }

    #[test]
    fn only_what_looks_cut_is_tried() {
        let healthy = Dialogue::healthy("10.0.0.9:6379");
        assert!(!looks_cut(&healthy));
        let mut cut = healthy.clone();
        cut.first.exchanges[2].reply = None;
        cut.first.end = End::Silent;
        assert!(looks_cut(&cut));
        let mut late = cut.clone();
        (late.first.bytes, late.second) = (0, Some(healthy.first));
        assert!(looks_cut(&late));
        late.second = None;
        assert!(!looks_cut(&late), "nothing at all came");
    }
}
