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
use crate::sys::tls::Material;
use crate::sys::{Clock, clock, machine};
use host::firewall::{self, Firewall};
use host::{Given, Host};
use path::counter::inside::Inside;
use path::counter::{self, Before, Beside, Counter};
use path::dns::Dns;
use path::hold::{self, Hold};
use path::mesh::{self, Mesh};
use path::others::{self, Other};
use path::redis::Redis;
use path::route::Routes;
use path::sizes::{self, Sizes};
use path::tcp::{Attempt, Dials, Icmp, Outcome, Tcp};
use path::tls::{self, Tls};
use path::trace::{self, Trace};
use path::tunnel::{self, Nodes};
use path::vantage::Vantage;
use path::way::{self, Way};

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
    /// The way out of this machine to each address that could not be connected to.
    #[serde(default = "not_looked_at")]
    pub ways: Observed<Vec<Way>>,
    /// How far packets get to an address that did not answer.
    #[serde(default = "not_looked_at")]
    pub trace: Observed<Trace>,
    /// Other programs of this machine that wait in vain at addresses that the name does not have.
    #[serde(default = "not_looked_at")]
    pub others: Observed<Vec<Other>>,
    /// The packet filter of the machine we look from, looked at where it may have stopped us.
    #[serde(default = "not_looked_at")]
    pub firewall: Observed<Firewall>,
    /// TLS, over the connections.
    #[serde(default = "not_looked_at")]
    pub tls: Observed<Tls>,
    /// What was said over the connections.
    pub redis: Observed<Redis>,
    /// What the same place says to the other way of asking.
    #[serde(default = "not_looked_at")]
    pub counter: Observed<Counter>,
    /// What stands between on this machine, looked at where another seems to have reset a connection.
    #[serde(default = "not_looked_at", skip_serializing_if = "is_skipped")]
    pub mesh: Observed<Mesh>,
    /// The nodes of a cluster that was reached over loopback.
    #[serde(default = "not_looked_at", skip_serializing_if = "is_skipped")]
    pub nodes: Observed<Nodes>,
    /// How large a packet gets through, looked at when small answers came and a large one did not.
    #[serde(default = "not_looked_at")]
    pub sizes: Observed<Sizes>,
    /// What becomes of a connection that says nothing for a while (`--hold`).
    #[serde(default = "not_looked_at")]
    pub hold: Observed<Hold>,
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

/// What we have to show: it is used, and never saved.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The password.
    pub password: Option<&'a Secret>,
    /// Whom we trust, and our own certificate.
    pub material: &'a Material,
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
        ways: Observed::needs("tcp"),
        trace: Observed::needs("tcp"),
        others: Observed::needs("tcp"),
        firewall: Observed::needs("tcp"),
        tls: Observed::needs("tcp"),
        redis: Observed::needs("tcp"),
        counter: Observed::needs("tcp"),
        mesh: Observed::needs("tcp"),
        nodes: Observed::needs("tcp"),
        sizes: Observed::needs("tcp"),
        hold: Observed::needs("tcp"),
        host: Observed::skipped("only the client's side is looked at"),
    }
}

/// Looks at everything that `ask` wants, each thing once, and never fails. `given` is what `redisdoc collect` sees on the
/// server's own machine (`--host-facts`): it may look there while we knock, and so see our packets arrive.
pub async fn gather(ask: Ask, side: Side<'_>, given: impl Future<Output = Given>, clock: Clock) -> Facts {
    let (taken_at, password) = (clock::date(), side.password);
    let target = &ask.target;
    let mut dns = path::dns::gather(&ask, &clock).await;
    let own = machine::addresses();
    let here = path::vantage::is_here(target, &dns, &own);
    let looks_inside = here && host::is_wanted(&ask);
    let overflows = looks_inside.then(host::limits::overflows).flatten();
    let (tcp, connections) = path::tcp::gather(&ask, &dns, &clock).await;
    let alone = counter::plain::alone(&ask, &connections);
    let handshakes = tls::gather(&ask, side.material, connections, &clock);
    // This takes its time of that in which the server is at its part of the handshake.
    let looking = async { path::vantage::gather(target, &dns, &tcp, own.clone()) };
    let (((tls, connections), plain), vantage) =
        tokio::join!(counter::plain::beside(handshakes, alone, &clock), looking);
    let dials: Dials = connections.iter().map(|one| (one.address.clone(), one.dial.clone())).collect();
    let how = (looks_inside, Inside::of(&ask, side));
    let (redis, inside) = path::redis::gather(&ask, password, &tcp, connections, how, &clock).await;
    let before = Before { tcp: &tcp, tls: &tls, redis: &redis };
    let counter = Box::pin(counter::gather(&ask, side, before, Beside { inside, plain }, here, &clock)).await;
    let mesh = mesh::gather(&tcp, &redis, &own, &clock).await;
    let nodes = tunnel::gather(&ask, password, &dials, &redis, &clock).await;
    let sizes = sizes::gather(&ask, password, &tcp, &redis, here, &clock).await;
    let hold = hold::gather(&ask, password, &dials, &redis, &clock).await;
    path::dns::deepen(&mut dns, &ask, &tcp, &redis, &clock).await;
    let routes = path::route::gather(&tcp);
    let ways = way::gather(&tcp);
    let others = others::gather(&ask, &dns, &tcp);
    let trace = trace::gather(&tcp, &own, &clock).await;
    let seen = host::Path { vantage: &vantage, tcp: &tcp, tls: &tls, redis: &redis, overflows };
    let host = host::gather(&ask, seen, given.await, &clock).await;
    let firewall = own_firewall(&ask, (&vantage, &tcp, &host, &mesh), &clock).await;
    let (redisdoc, took_ms) = (env!("CARGO_PKG_VERSION").to_owned(), clock.elapsed_ms());
    Facts {
        facts_version: FACTS_VERSION,
        redisdoc,
        taken_at,
        took_ms,
        ask,
        vantage,
        dns,
        tcp,
        routes,
        ways,
        trace,
        others,
        firewall,
        tls,
        redis,
        counter,
        mesh,
        nodes,
        sizes,
        hold,
        host,
    }
}

/// The packet filter of this machine, where it may be what stopped an attempt. It is listed once, also where this machine is
/// the server's.
async fn own_firewall(
    ask: &Ask,
    (vantage, tcp, host, mesh): (&Observed<Vantage>, &Observed<Tcp>, &Observed<Host>, &Observed<Mesh>),
    clock: &Clock,
) -> Observed<Firewall> {
    let vantage = vantage.seen();
    let is_here = vantage.and_then(|vantage| vantage.same_host) == Some(true);
    if let Some(host) = host.seen().filter(|host| is_here && !host.origin.collected) {
        return host.firewall.clone();
    }
    let own = vantage.map_or(&[][..], |vantage| &vantage.own_addresses);
    let stopped_here = |attempt: &Attempt| {
        let from_us = |icmp: &Icmp| icmp.from.is_loopback() || own.contains(&icmp.from);
        // A rule may reject with a reset, too, which has no sender.
        let silent = [Outcome::TimedOut, Outcome::Denied, Outcome::Refused].contains(&attempt.outcome);
        silent && attempt.icmp.is_none() || attempt.icmp.as_ref().is_some_and(from_us)
    };
    let failed = tcp.seen().filter(|tcp| ask.wants("firewall") && tcp.connected().is_none());
    let taken = ask.wants("firewall") && mesh.seen().is_some();
    let may_be = taken || failed.is_some_and(|tcp| tcp.attempts.iter().any(stopped_here));
    if may_be || ask.deep { firewall::gather(clock).await } else { Observed::skipped("nothing was stopped here") }
}

/// True for what few runs look at: it is not saved where it was not.
fn is_skipped<T>(observed: &Observed<T>) -> bool {
    matches!(observed, Observed::Skipped(_))
}

/// Of facts that were saved before this was looked at.
pub fn not_looked_at<T>() -> Observed<T> {
    Observed::skipped("not looked at")
}
