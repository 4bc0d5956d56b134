//! Of which machine the facts are: whether they fit the target, and which of its addresses are that machine's.

use std::net::IpAddr;
use std::time::Duration;

use super::Origin;
use crate::model::{BlockerKind, Gap};
use crate::probe::Facts;
use crate::probe::path::redis::Redis;
use crate::probe::path::tcp::{Attempt, Outcome};

/// How far collected facts may be from the check, in time: what runs and listens changes with every restart.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// Beyond this, something may have been repaired since: collecting once for several checks is what people do.
const OF_THE_MOMENT: Duration = Duration::from_secs(60);

impl Facts {
    /// The addresses that were tried; of several machines' only those of the machine whose facts are known.
    pub fn asked_addresses(&self) -> Vec<IpAddr> {
        let tried = self.tcp.seen().map_or(&[][..], |tcp| &tcp.attempts);
        let all: Vec<IpAddr> = tried.iter().filter_map(|attempt| attempt.ip).collect();
        let is_its = |ip: &&IpAddr| self.host.seen().is_some_and(|host| host.origin.is_at(ip.to_canonical()));
        let its: Vec<IpAddr> = all.iter().filter(is_its).copied().collect();
        if its.is_empty() { all } else { its }
    }

    /// True if the facts of the server's machine were collected a while before or after this check: what they show may have
    /// been mended since.
    pub fn has_old_host(&self) -> bool {
        let collected = self.host.seen().map(|host| &host.origin).filter(|origin| origin.collected);
        collected.is_some_and(|origin| age(&origin.taken_at, &self.taken_at).is_none_or(|age| age > OF_THE_MOMENT))
    }

    /// True if addresses were tried in vain that are not of the machine whose facts are known. Where the machine that we
    /// look from took the connection itself, it is the one that is spoken to.
    pub fn has_more_machines(&self) -> bool {
        let collected = self.host.seen().is_some_and(|host| host.origin.collected);
        if !collected && self.tcp.seen().is_some_and(|tcp| tcp.connected().is_some()) {
            return false;
        }
        let failed = |attempt: &&Attempt| attempt.outcome != Outcome::Connected;
        let tried = self.tcp.seen().map_or(&[][..], |tcp| &tcp.attempts).iter().filter(failed);
        let its = self.asked_addresses();
        tried.filter_map(|attempt| attempt.ip).any(|ip| !its.contains(&ip))
    }
}

impl Origin {
    /// True if who asks for `ip` asks for this machine. Loopback is that of the machine that we look from.
    fn is_at(&self, ip: IpAddr) -> bool {
        if self.collected {
            !ip.is_loopback() && self.addresses.contains(&ip)
        } else {
            ip.is_loopback() || self.has(ip)
        }
    }

    /// True if facts that were collected elsewhere are those of the target's machine, and fresh.
    ///
    /// # Errors
    /// Why they are not.
    pub(super) fn fits(&self, facts: &Facts) -> Result<(), Gap> {
        let who = self.hostname.as_deref().unwrap_or("a machine without a name");
        let not = |why: String| Err(Gap::hidden(BlockerKind::Failed, format!("the host facts are not used: {why}")));
        match age(&self.taken_at, &facts.taken_at) {
            None => return not(format!("those of {who} do not say when they were taken")),
            Some(age) if age > FRESH => {
                let minutes = age.as_secs() / 60;
                return not(format!("those of {who} were taken {minutes} minutes before or after this check"));
            }
            Some(_) => {}
        }
        let dialogue = facts.redis.seen().and_then(Redis::preferred);
        if facts.host.seen().is_some_and(|host| host.is_home_of(dialogue)) {
            return Ok(());
        }
        let Some(dns) = facts.dns.seen() else { return not("the target has no address to compare".to_owned()) };
        let addresses = dns.addresses();
        let is_own = |ip: &IpAddr| !ip.is_loopback() && self.addresses.contains(&ip.to_canonical());
        if addresses.iter().any(is_own) {
            return Ok(());
        }
        let list = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let own: Vec<IpAddr> = self.addresses.iter().copied().filter(|ip| !ip.is_loopback()).collect();
        not(format!("they are of {who} ({}), and the target is {}", list(&own), list(addresses)))
    }
}

/// How far apart two dates are.
fn age(taken: &str, now: &str) -> Option<Duration> {
    let (taken, now) = (humantime::parse_rfc3339(taken).ok()?, humantime::parse_rfc3339(now).ok()?);
    Some(now.duration_since(taken).unwrap_or_else(|ahead| ahead.duration()))
}
