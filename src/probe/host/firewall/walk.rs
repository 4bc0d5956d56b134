//! A packet's way through the rules: which chain stops it, by which rule, and where that cannot be told.
//!
//! The order is the kernel's: the hooks one after the other, in each the base chains by priority; a chain that accepts ends
//! only itself, one that drops ends everything (nft(8), CHAINS). What of a packet is not known (its source behind a
//! translated address, say) makes a test neither true nor false: then both ways are followed, and only what all of them
//! come to is certain.
//!
//! Where it cannot be told whether a packet is sent elsewhere or changed, nothing after that is certain, and the walk ends.

mod end;
mod lookup;
#[cfg(test)]
mod tests;
mod walker;

use std::net::{IpAddr, SocketAddr};

use super::rules::{Family, Firewall, Hook, Rejection, Rule, Source, State, Translation};
use walker::Walker;

/// The first packet of a connection, or an answer to it. `None` is what is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub from: Option<IpAddr>,
    /// The port it comes from.
    pub from_port: Option<u16>,
    /// Where it goes to.
    pub to: IpAddr,
    /// The port it goes to.
    pub to_port: Option<u16>,
    /// The interface it comes in by; empty where it is made here.
    pub in_interface: Option<String>,
    /// The interface it leaves by; empty where it stays here.
    pub out_interface: Option<String>,
    /// The state of its connection.
    pub state: Option<State>,
    /// Its TCP flags.
    pub flags: u8,
    /// Its mark.
    pub mark: Option<u32>,
    /// Which ends of its connection were translated.
    pub translated: Vec<Translation>,
}

impl Packet {
    /// A SYN to this machine; it comes from `from`, if that is known.
    pub fn syn_in(from: Option<IpAddr>, to: SocketAddr, interface: Option<String>) -> Self {
        let (in_interface, out_interface) = (interface, Some(String::new()));
        Self { from, in_interface, out_interface, ..Self::syn(to) }
    }

    /// A SYN from this machine.
    pub fn syn_out(from: Option<IpAddr>, to: SocketAddr, interface: Option<String>) -> Self {
        let (in_interface, out_interface) = (Some(String::new()), interface);
        Self { from, in_interface, out_interface, ..Self::syn(to) }
    }

    /// This machine's answer to a SYN that came in.
    #[must_use]
    pub fn answered(&self) -> Option<Self> {
        Some(Self {
            from: Some(self.to),
            from_port: self.to_port,
            to: self.from?,
            to_port: self.from_port,
            in_interface: Some(String::new()),
            out_interface: self.in_interface.clone(),
            state: Some(State::Established),
            flags: SYN | ACK,
            mark: Some(0),
            translated: self.translated.clone(),
        })
    }

    /// The same as an answer to a SYN of which this became: of a connection that is not tracked, nobody knows the state.
    #[must_use]
    pub fn to(self, syn: &Walk) -> Self {
        Self { state: self.state.filter(|_| syn.tracked), ..self }
    }

    fn syn(to: SocketAddr) -> Self {
        Self {
            from: None,
            from_port: None,
            to: to.ip(),
            to_port: Some(to.port()),
            in_interface: None,
            out_interface: None,
            state: Some(State::New),
            flags: SYN,
            mark: Some(0),
            translated: Vec::new(),
        }
    }
}

const SYN: u8 = 2;
const ACK: u8 = 16;

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Every base chain that stops it for sure, in order: the first does it; once that lets it pass, the next would.
    pub stops: Vec<Stop>,
    /// Where it could not be told.
    pub doubts: Vec<Doubt>,
    /// Where it goes in the end.
    pub to: (IpAddr, Option<u16>),
    /// Whose rule sent it elsewhere, if one did.
    pub translated_by: Option<Place>,
    /// True if a rule gives it another source, or may.
    pub source_may_change: bool,
    /// False if a rule keeps its connection from being tracked, or may, or puts it into another zone: then the state of the
    /// answer is not known.
    pub tracked: bool,
    /// Who marks it, or may, where it is routed again by its mark: routes may send it another way.
    pub rerouted_by: Option<Place>,
}

/// A chain that stops the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The rule, or the policy, that does.
    pub at: Place,
    /// How.
    pub how: How,
}

/// How a packet is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is swallowed.
    Dropped,
    /// It is answered.
    Rejected(Rejection),
}

/// A rule that may decide about the packet, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The rule.
    pub at: Place,
    /// What it would do.
    pub may: String,
    /// How it would stop the packet, if that is what it would do.
    pub how: Option<How>,
    /// True if a chain that comes before it stops the packet for sure, so that it does not matter yet.
    pub behind: bool,
}

/// A rule, or the policy of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who keeps the table.
    pub source: Source,
    /// Its family.
    pub family: Family,
    /// Its name.
    pub table: String,
    /// The base chain by which the packet came here.
    pub base: String,
    /// The hook of that chain.
    pub hook: Hook,
    /// The chain.
    pub chain: String,
    /// The rule; `None` for the policy of the chain.
    pub rule: Option<Rule>,
    /// How many packets met the rule or the policy, where that is counted.
    pub packets: Option<u64>,
}

/// Follows a packet that comes in to this machine, whose addresses are `own`.
pub fn incoming(firewall: &Firewall, packet: Packet, own: &[IpAddr]) -> Walk {
    let mut walker = Walker::new(firewall, packet, own);
    walker.hook(Hook::Ingress);
    walker.hook(Hook::Prerouting);
    if walker.is_for_us() {
        walker.hook(Hook::Input);
    } else {
        walker.leave_by_any();
        walker.hook(Hook::Forward);
        walker.hook(Hook::Postrouting);
    }
    walker.done()
}

/// Follows a packet that this machine, whose addresses are `own`, sends.
pub fn outgoing(firewall: &Firewall, packet: Packet, own: &[IpAddr]) -> Walk {
    let mut walker = Walker::new(firewall, packet, own);
    walker.hook(Hook::Output);
    walker.hook(Hook::Postrouting);
    walker.hook(Hook::Egress);
    walker.done()
}

/// What a walk comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing stops the packet.
    Passes,
    /// It is stopped, in this way.
    Stopped(How),
    /// It cannot be told.
    Open,
}

impl Walk {
    /// What becomes of the packet as things are now.
    pub fn outcome(&self) -> Outcome {
        match self.stops.first() {
            _ if self.doubts.iter().any(|doubt| !doubt.behind) => Outcome::Open,
            Some(stop) => Outcome::Stopped(stop.how),
            None => Outcome::Passes,
        }
    }
}
