//! A healthy run's facts, for the tables of judges and causes: each case breaks one thing.

use std::net::IpAddr;

use super::path::dns::{Dns, System};
use super::path::redis::Redis;
use super::path::tcp::{Attempt, Outcome, Tcp};
use super::path::vantage::Vantage;
use super::{FACTS_VERSION, Facts};
use crate::model::{Ask, Endpoint, Observed};

impl Facts {
    /// A healthy remote target: `db:6379` at 10.0.0.9, no password.
    pub fn healthy() -> Self {
        let mut ask = Ask::default();
        ask.target.endpoint = Endpoint::Tcp { host: "db".to_owned(), port: 6379 };
        let ip: IpAddr = [10, 0, 0, 9].into();
        Self {
            facts_version: FACTS_VERSION,
            redisdoc: "0.1.0".to_owned(),
            taken_at: "2026-11-20T10:00:00Z".to_owned(),
            took_ms: 2.5,
            ask,
            vantage: Observed::Seen(Vantage {
                hostname: Some("web-1".to_owned()),
                os: "linux".to_owned(),
                container: None,
                same_host: Some(false),
                uid: 1000,
                unused_settings: Vec::new(),
                limits: Observed::skipped("no attempt failed for want of local resources"),
                socket_path: Observed::skipped("the target is no unix socket"),
            }),
            dns: Observed::Seen(Dns {
                name: "db".to_owned(),
                literal: false,
                scope: 0,
                system: System::Addresses(vec![ip]),
                elapsed_ms: 1.1,
                own: Observed::skipped("the system's resolver answered"),
            }),
            tcp: Observed::Seen(Tcp { attempts: vec![Attempt::connected(ip)], untried: 0 }),
            routes: Observed::skipped("no attempt failed for want of a route"),
            redis: Observed::Seen(Redis::default()),
            host: Observed::skipped("only the client's side is looked at"),
        }
    }

    /// The same with one thing broken.
    #[must_use]
    pub fn with(mut self, break_it: impl FnOnce(&mut Self)) -> Self {
        break_it(&mut self);
        self
    }
}

impl Attempt {
    /// A connection to port 6379 of `ip` that was accepted.
    pub fn connected(ip: IpAddr) -> Self {
        Self {
            address: std::net::SocketAddr::new(ip, 6379).to_string(),
            ip: Some(ip),
            outcome: Outcome::Connected,
            errno: None,
            synchronous: false,
            elapsed_ms: 0.3,
            icmp: None,
            local: None,
        }
    }

    /// An attempt on port 6379 of `ip` that failed.
    pub fn failed(ip: IpAddr, outcome: Outcome, errno: &str, elapsed_ms: f64) -> Self {
        Self { outcome, errno: Some(errno.to_owned()), elapsed_ms, ..Self::connected(ip) }
    }
}
