//! How to look. [`gather`] is the whole order of events; the probes know Linux, DNS and RESP, and decide nothing.

#[cfg(test)]
mod healthy;
#[cfg(test)]
pub mod healthy_host;
pub mod host;
pub mod path;

use serde::{Deserialize, Serialize};

use std::future::Future;
use std::io;

use crate::model::{Ask, Observed, Secret};
use crate::sys::{Clock, clock, machine};
use host::Host;
use path::dns::Dns;
use path::redis::Redis;
use path::route::Routes;
use path::tcp::Tcp;
use path::vantage::Vantage;

/// The version of the saved form of [`Facts`].
pub const FACTS_VERSION: u32 = 1;

/// Everything that was observed, typed and free of secrets. Saved and replayed as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Facts {
    /// The version of this form.
    pub facts_version: u32,
    /// The version of redisdoc that took them.
    pub redisdoc: String,
    /// When (RFC 3339, UTC).
    pub taken_at: String,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// What was asked for.
    pub ask: Ask,
    /// Where we looked from.
    pub vantage: Observed<Vantage>,
    /// What the target's name means.
    pub dns: Observed<Dns>,
    /// The attempts to connect.
    pub tcp: Observed<Tcp>,
    /// The routes of this machine, looked at when it refused to send.
    pub routes: Observed<Routes>,
    /// What was said over the connections.
    pub redis: Observed<Redis>,
    /// The server's own machine, seen from inside.
    pub host: Observed<Host>,
}

/// What `redisdoc collect` saves on the server's machine, for `--host-facts`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Collected {
    /// The version of this form.
    pub facts_version: u32,
    /// The version of redisdoc that took them.
    pub redisdoc: String,
    /// The machine.
    pub host: Host,
}

/// Looks at this machine, for a check that is made elsewhere.
pub async fn collect(conf: Option<&str>, clock: Clock) -> Collected {
    let host = host::collect(conf, &clock).await;
    Collected { facts_version: FACTS_VERSION, redisdoc: env!("CARGO_PKG_VERSION").to_owned(), host }
}

/// What can be said when not even the machinery for looking can be set up: this process may open no more files.
pub fn starved(ask: Ask, error: &io::Error, clock: &Clock) -> Facts {
    let tcp = path::tcp::starved(&ask.target, error);
    let dns = Observed::skipped("no file descriptor was left to look it up");
    let vantage = path::vantage::gather(&ask.target, &dns, &tcp, machine::addresses());
    Facts {
        facts_version: FACTS_VERSION,
        redisdoc: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: clock::date(),
        took_ms: clock.elapsed_ms(),
        ask,
        vantage,
        dns,
        tcp,
        routes: Observed::needs("tcp"),
        redis: Observed::needs("tcp"),
        host: Observed::skipped("only the client's side is looked at"),
    }
}

/// Looks at everything that `ask` wants, each thing once, and never fails. `given` is what `redisdoc collect` sees on the
/// server's own machine (`--host-facts`): it may look there while we knock, and so see our packets arrive.
pub async fn gather(
    ask: Ask,
    password: Option<&Secret>,
    given: impl Future<Output = Option<Host>>,
    clock: Clock,
) -> Facts {
    let taken_at = clock::date();
    let target = &ask.target;
    let mut dns = path::dns::gather(&ask, &clock).await;
    let own = machine::addresses();
    let here = path::vantage::is_here(target, &dns, &own);
    let (tcp, connections) = path::tcp::gather(&ask, &dns, &clock).await;
    let redis = path::redis::gather(&ask, password, &tcp, connections, here, &clock).await;
    path::dns::deepen(&mut dns, &ask, &tcp, &clock).await;
    let routes = path::route::gather(&tcp);
    let vantage = path::vantage::gather(target, &dns, &tcp, own);
    let host =
        host::gather(&ask, host::Path { vantage: &vantage, tcp: &tcp, redis: &redis }, given.await, &clock).await;
    let (redisdoc, took_ms) = (env!("CARGO_PKG_VERSION").to_owned(), clock.elapsed_ms());
    Facts { facts_version: FACTS_VERSION, redisdoc, taken_at, took_ms, ask, vantage, dns, tcp, routes, redis, host }
}
