//! The proxies that have the asked port, and what the machine that they run on shows of the places behind them.

use std::net::SocketAddr;

use crate::check::process;
use crate::model::{Observed, Support};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::firewall::walk::Place;
use crate::probe::host::forward::{self, Backend, Forward};
use crate::probe::host::process::Process;
use crate::probe::host::socket::Listener;
use crate::probe::path::tcp::Outcome;

/// The proxies that have the asked port, and what is behind them.
pub struct Front<'a> {
    /// One, or several that share it.
    pub proxies: Vec<&'a Process>,
    /// What is known of their ways.
    pub forwards: Vec<&'a Forward>,
    /// The places that the asked port leads to.
    pub behind: Vec<&'a Backend>,
    /// True if they are all that have it.
    pub is_alone: bool,
    /// True if what does not begin with the PROXY protocol's header is ended at the asked port.
    pub wants_header: bool,
}

impl<'a> Front<'a> {
    /// Those of this machine that have the port; `None` where an owner of it is no proxy.
    pub fn of(facts: &Facts, host: &'a Host, port: u16) -> Option<Self> {
        let proxies = process::strangers(facts, host, port);
        (!proxies.is_empty() && proxies.iter().all(|proxy| forward::passes_on(proxy, port))).then_some(())?;
        let is_its = |forward: &&Forward| proxies.iter().any(|proxy| proxy.pid == forward.pid);
        let forwards: Vec<&Forward> = host.forwards.iter().filter(is_its).collect();
        let asked = facts.asked_addresses();
        let behind: Vec<&Backend> = forwards.iter().flat_map(|forward| forward.behind(port, &asked)).collect();
        let is_alone = process::owners(facts, host, port).len() == 1;
        let wants_header = behind.iter().any(|backend| backend.wants_header);
        Some(Self { proxies, forwards, behind, is_alone, wants_header })
    }

    /// Their names.
    pub fn who(&self) -> String {
        self.proxies.iter().map(|proxy| process::who(proxy)).collect::<Vec<_>>().join(" and ")
    }

    /// The proxy whose file was changed after its start, with that file, and when it was.
    pub fn edited(&self) -> Option<(&'a Process, &'a str, &'a str)> {
        self.forwards.iter().find_map(|forward| {
            let proxy = self.proxies.iter().find(|proxy| proxy.pid == forward.pid)?;
            Some((*proxy, forward.file.as_deref()?, forward.edited_at.as_deref()?))
        })
    }

    /// The places behind them that are names which they looked up when they started, each with its proxy.
    pub fn fixed(&self) -> Vec<(&'a Process, &'a str)> {
        let of = |forward: &&'a Forward| {
            let proxy = self.proxies.iter().find(|proxy| proxy.pid == forward.pid)?;
            let fixed = forward.fixed.iter().map(String::as_str);
            Some(fixed.filter(|place| self.behind.iter().any(|it| it.place == *place)).map(|place| (*proxy, place)))
        };
        self.forwards.iter().filter_map(of).flatten().collect()
    }

    /// Where a rule of their machine leads what comes to the asked port, past them and what is behind them, and the rule.
    pub fn passed_by(&self, facts: &Facts) -> Option<(SocketAddr, Place)> {
        let moved = |ip| facts.arrival(ip).ok()?.moved().map(|(to, place)| (to, place.clone()));
        let is_at = |backend: &Backend, to: &SocketAddr| {
            backend.port() == Some(to.port()) && backend.attempt().is_some_and(|attempt| attempt.ip == Some(to.ip()))
        };
        let is_behind = |to: &SocketAddr| self.behind.iter().any(|backend| is_at(backend, to));
        facts.asked_addresses().into_iter().find_map(moved).filter(|(to, _)| !is_behind(to))
    }

    /// What else is to be said of how these proxies were looked at.
    pub fn shown_in(&self, support: Support, host: &Host) -> Support {
        let cut = self.forwards.iter().filter(|forward| forward.left_out > 0);
        let support = cut.fold(support, |support, forward| {
            let file = forward.file.as_deref().unwrap_or("the proxy's file");
            support.because(host.source(file), format!("{} more places of it were left out", forward.left_out))
        });
        let support = self.fixed().into_iter().fold(support, |support, (proxy, place)| {
            let source = host.source(format!("the start of {}", process::who(proxy)));
            support.because(source, format!("it looked up {place} then, and may lead to what the name meant"))
        });
        let settable = self.forwards.iter().filter_map(|forward| forward.settable_by.as_deref());
        let says = "an admin's socket: other addresses may have been set over it since ('show servers state' tells)";
        let support = settable.fold(support, |support, place| support.because(host.source(place), says));
        let Some((proxy, file, at)) = self.edited() else { return support };
        let started = proxy.started_at.as_deref().unwrap_or_default();
        let says =
            format!("changed at {at}, after {} had started, at {started}: it may run by another", process::who(proxy));
        support.because(host.source(file), says)
    }
}

/// The address of a place that takes no connection.
pub fn address(backend: &Backend) -> Option<SocketAddr> {
    let attempt = backend.attempt().filter(|_| backend.is_down())?;
    Some(SocketAddr::new(attempt.ip?, backend.port()?))
}

/// True if a rule of the proxy's own machine may be what refuses, or may send what goes there elsewhere.
pub fn may_be_turned_away(facts: &Facts, host: &Host, backend: &Backend) -> bool {
    let Some(to) = address(backend) else { return false };
    match facts.onward(to) {
        Ok(fate) => {
            let is_moved = fate.translated_by.is_some() || fate.may_go_elsewhere;
            is_moved || !fate.stops.is_empty() || (!is_own(host, to) && !fate.passes())
        }
        // Where nobody listens, a machine refuses itself, whatever its rules say.
        Err(_) => !is_own(host, to),
    }
}

/// The rule of the proxy's own machine that stops what it sends to a place.
pub fn stop(facts: &Facts, backend: &Backend) -> Option<Place> {
    facts.onward(address(backend)?).ok()?.stops.into_iter().next().map(|stop| stop.at)
}

/// True for an address of the proxies' machine itself.
pub fn is_own(host: &Host, to: SocketAddr) -> bool {
    to.ip().is_loopback() || host.origin.addresses.contains(&to.ip())
}

/// Who has the port of a place on the proxy's own machine that took no connection: on another address, or behind a rule.
pub fn holder<'a>(host: &'a Host, backend: &Backend) -> Option<&'a Listener> {
    let to = address(backend)?;
    host.listeners(to.port()).into_iter().find(|_| is_own(host, to))
}

/// A place behind a proxy, and what was met there.
pub fn met(backend: &Backend) -> String {
    let Backend { place, met, .. } = backend;
    match met {
        Observed::Seen(met) => match (&met.ping, met.attempt.outcome) {
            (Some(ping), _) => format!("{place}: PING is answered {ping}"),
            (None, Outcome::Connected) => format!("{place}: it takes connections, and does not answer PING"),
            (None, _) => format!("{place}: {}", met.attempt.says()),
        },
        Observed::Skipped(skip) => format!("{place}: {}", skip.reason),
        Observed::Hidden(blocker) => format!("{place}: {}", blocker.says),
    }
}
