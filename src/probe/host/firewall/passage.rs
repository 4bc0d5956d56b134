//! What the packet filters at both ends do to one attempt to connect: to the SYN, and to the answer.
//!
//! The filter of the server's machine sees the client's address as it arrives, and where addresses are translated on the
//! way that is another. So the packet is followed twice, with the address and without: what both come to is sure.

use std::net::{IpAddr, SocketAddr};

use super::rules::{Base, Family, Firewall, Hook, Kind, Part, Rule, Source, State, Table, Unread, Verdict};
use super::walk::{self, Doubt, Packet, Place, Stop, Walk};
use crate::model::{Gap, Observed};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::network::Network;
use crate::probe::path::route::shares_prefix;
use crate::probe::path::tcp::Attempt;
use crate::probe::path::tcp::Outcome;

/// The loopback interface.
const LOOPBACK: &str = "lo";
/// A port that clients' connections come from, as Linux and most others choose them (32768–60999; 49152–65535).
const EPHEMERAL: u16 = 50_001;
/// SYN and ACK.
const SYN_ACK: u8 = 2 | 16;

/// An attempt's way through the packet filter of one machine.
#[derive(Debug, Clone)]
pub struct Passage<'a> {
    /// The packet filter.
    pub firewall: &'a Firewall,
    /// The server's machine; `None` where it is the filter of the machine we look from.
    pub host: Option<&'a Host>,
    /// Where the client comes from, as far as that is known.
    pub client: Option<IpAddr>,
    /// Where it wants to go.
    pub to: SocketAddr,
    /// What becomes of the SYN.
    pub there: Fate,
    /// What becomes of the answer, where the client's address is known.
    pub back: Option<Fate>,
    /// The same if the answer goes to a port as clients have them.
    pub usually_back: Option<Fate>,
    /// True if it is known that the packets have the client's very address there.
    pub as_it_is: bool,
    /// True if they do not leave the machine.
    pub over_loopback: bool,
}

/// What becomes of a packet.
#[derive(Debug, Clone)]
pub struct Fate {
    /// The chains that stop it, in order; none where it passes.
    pub stops: Vec<Stop>,
    /// What leaves open whether it is so; nothing where it is sure.
    pub open: Vec<String>,
    /// The rules that leave it open.
    pub doubts: Vec<Doubt>,
    /// Where it goes in the end.
    pub to: (IpAddr, Option<u16>),
    /// Whose rule sent it there.
    pub translated_by: Option<Place>,
    /// True if a rule may send it elsewhere, or not.
    pub may_go_elsewhere: bool,
    /// True if a rule gives it another source, or may.
    pub source_may_change: bool,
}

impl Fate {
    /// The same of rules that were listed after the attempt: one that counts, and has counted nothing, did not stop it.
    #[must_use]
    fn counted(mut self) -> Self {
        if let Some(Stop { at, .. }) = self.stops.first()
            && at.packets == Some(0)
        {
            self.open.push(format!("the counter of {} is 0, though the attempt was before", at.name()));
        }
        self
    }

    /// The chain that stops it, and whether that is sure.
    pub fn stopped(&self) -> Option<(&Stop, bool)> {
        Some((self.stops.first()?, self.open.is_empty()))
    }

    /// True if it passes for sure.
    pub fn passes(&self) -> bool {
        self.stops.is_empty() && self.open.is_empty()
    }
}

impl Passage<'_> {
    /// Where a rule sends the connection for sure, and the rule.
    pub fn moved(&self) -> Option<(SocketAddr, &Place)> {
        let Fate { open, to: (ip, port), translated_by, .. } = &self.there;
        let to = SocketAddr::new(*ip, (*port)?);
        translated_by.as_ref().filter(|_| open.is_empty() && to != self.to).map(|place| (to, place))
    }

    /// The same with what is decided beside IP, where we do not follow packets. It lets nothing through that a chain stops, and
    /// has stopped nothing that was `answered`.
    fn beside(mut self, answered: bool) -> Self {
        if answered || !self.there.stops.is_empty() {
            return self;
        }
        let firewall = self.firewall;
        let is_v4 = self.to.is_ipv4();
        let minds = |family: Family| match family {
            Family::Bridge => true,
            Family::Arp => is_v4,
            _ => false,
        };
        let unread = firewall.unread.iter().filter(|unread| unread.source.is_beside());
        self.there.open.extend(unread.filter(|unread| minds(unread.source.family())).map(unreadable));
        if let Some(table) = firewall.tables.iter().filter(|table| minds(table.family)).find(|table| may_stop(table)) {
            let (family, what) = match table.family {
                Family::Arp => ("arp", "keep the next machine from being found"),
                _ => ("bridge", "stop it where it passes a bridge"),
            };
            self.there.open.push(format!("the rules of the table {family} {} may {what}", table.name));
        }
        self
    }

    /// See [`Fate::counted`].
    fn counted(self) -> Self {
        Self { there: self.there.counted(), back: self.back.map(Fate::counted), ..self }
    }
}

impl Facts {
    /// The way of an attempt to `ip` through the packet filter of the server's machine.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn arrival(&self, ip: IpAddr) -> Result<Passage<'_>, Gap> {
        let host = self.server_host()?;
        let firewall = match (&host.firewall, self.is_on_this_machine(ip)) {
            (Observed::Skipped(_), true) => self.firewall.known()?,
            (firewall, _) => firewall.known()?,
        };
        let to = SocketAddr::new(ip, self.port()?);
        let own = host.origin.addresses.as_slice();
        if self.is_on_this_machine(ip) {
            let passage = over_loopback(firewall, host, to, own);
            return Ok(if host.origin.collected { passage } else { passage.counted() });
        }
        let client = self.source_to(ip);
        let network = host.network.seen();
        let renamed = self.departure(ip).is_ok_and(|ours| ours.there.source_may_change);
        let arrives = arrival_of(network, client, to, renamed);
        let believed = Packet::syn_in(client, to, arrives.interface.clone());
        let walk = walk::incoming(firewall, believed.clone(), own);
        let as_it_is = arrives.as_it_is;
        let blind = (!as_it_is).then(|| Packet { from: None, ..believed.clone() });
        let blind = blind.map(|packet| walk::incoming(firewall, packet, own));
        let answer = Packet { to: walk.to.0, to_port: walk.to.1, ..believed }.answered();
        let answer = answer.filter(|_| own.contains(&walk.to.0)).map(|answer| answer.to(&walk));
        let goes = |answer: Packet| walk::outgoing(firewall, answer, own);
        let usually_back = answer.clone().map(|packet| fate(firewall, &goes(usual(packet)), None));
        let back = answer.map(|packet| fate(firewall, &goes(packet), None));
        let there = fate(firewall, &walk, blind.as_ref());
        let host = Some(host);
        let passage = Passage { firewall, host, client, to, there, back, usually_back, as_it_is, over_loopback: false };
        Ok(passage.beside(self.was_answered(ip)))
    }

    /// True if the attempt to `ip` met an answer of its machine.
    fn was_answered(&self, ip: IpAddr) -> bool {
        let outcome = self.attempt_to(ip).map(|attempt| attempt.outcome);
        matches!(outcome, Some(Outcome::Connected | Outcome::Refused | Outcome::Reset))
    }

    /// The way of an attempt to `ip`, on another machine, through the packet filter of the machine we look from.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn departure(&self, ip: IpAddr) -> Result<Passage<'_>, Gap> {
        if self.is_on_this_machine(ip) {
            return Err(Gap::skipped("the target is this machine"));
        }
        let firewall = self.firewall.known()?;
        let own = self.vantage.seen().map_or(&[][..], |vantage| vantage.own_addresses.as_slice());
        let to = SocketAddr::new(ip, self.port()?);
        let way = self.ways.seen().and_then(|ways| ways.iter().find(|way| way.to == ip));
        let (client, interface) = (self.source_to(ip), way.and_then(|way| way.interface.clone()));
        let port = self.attempt_to(ip).and_then(|attempt| attempt.local).map(|local| local.port());
        let syn = Packet { from_port: port, ..Packet::syn_out(client, to, interface.clone()) };
        let there = fate(firewall, &walk::outgoing(firewall, syn.clone(), own), None).counted();
        let answer = client.map(|client| Packet {
            from: Some(ip),
            from_port: Some(to.port()),
            to: client,
            // The answer to a port that a rule of ours has changed comes to that one.
            to_port: port.filter(|_| !there.source_may_change),
            in_interface: interface,
            out_interface: Some(String::new()),
            state: Some(State::Established),
            flags: SYN_ACK,
            ..syn
        });
        let comes = |answer: Packet| walk::incoming(firewall, answer, own);
        let usually_back = answer.clone().map(|packet| fate(firewall, &comes(usual(packet)), None).counted());
        let back = answer.map(|packet| fate(firewall, &comes(packet), None).counted());
        let (as_it_is, over_loopback) = (true, false);
        let passage = Passage { firewall, host: None, client, to, there, back, usually_back, as_it_is, over_loopback };
        Ok(passage.beside(self.was_answered(ip)))
    }

    /// What becomes of a connection that the server's machine itself makes to `to`, in its own packet filter.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn onward(&self, to: SocketAddr) -> Result<Fate, Gap> {
        let host = self.server_host()?;
        let firewall = match (&host.firewall, host.origin.collected) {
            (Observed::Skipped(_), false) => self.firewall.known()?,
            (firewall, _) => firewall.known()?,
        };
        let own = host.origin.addresses.as_slice();
        if to.ip().is_loopback() || own.contains(&to.ip().to_canonical()) {
            return Ok(over_loopback(firewall, host, to, own).there);
        }
        let interfaces = host.network.seen().map_or(&[][..], |network| &network.interfaces);
        let link = interfaces.iter().find(|at| shares_prefix(at.ip, to.ip(), at.prefix));
        let syn = Packet::syn_out(link.map(|at| at.ip), to, link.map(|at| at.name.clone()));
        Ok(fate(firewall, &walk::outgoing(firewall, syn, own), None))
    }

    /// The address that our packets to `ip` come from: as the kernel routes them, or the only one of that family.
    pub fn source_to(&self, ip: IpAddr) -> Option<IpAddr> {
        let way = || self.ways.seen()?.iter().find(|way| way.to == ip)?.source;
        let local = || Some(self.attempt_to(ip)?.local?.ip());
        let only = || {
            let own = self.vantage.seen()?.own_addresses.iter().copied();
            let mut of_family = own.filter(|own| own.is_ipv4() == ip.is_ipv4() && is_routable(*own));
            of_family.next().filter(|_| of_family.next().is_none())
        };
        way().or_else(local).or_else(only)
    }

    fn attempt_to(&self, ip: IpAddr) -> Option<&Attempt> {
        self.tcp.seen()?.attempts.iter().find(|attempt| attempt.ip == Some(ip))
    }

    /// True if `ip` is an address of the machine we look from.
    fn is_on_this_machine(&self, ip: IpAddr) -> bool {
        let own = |ip: IpAddr| self.vantage.seen().is_some_and(|vantage| vantage.own_addresses.contains(&ip));
        crate::probe::path::vantage::is_this_machine(ip) || own(ip.to_canonical())
    }

    fn port(&self) -> Result<u16, Gap> {
        self.ask.target.port().ok_or_else(|| Gap::skipped("the target is a unix socket"))
    }
}

fn is_routable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// How a client's packets arrive.
struct Arrival {
    /// By which interface, where there is only one that it can be.
    interface: Option<String>,
    /// True if they come from the very address that the client has.
    as_it_is: bool,
}

/// Between machines on one link nobody translates. That the server has the client's network on a link of its own is not
/// enough: container networks have the same addresses on every machine. Nor is it where the client's own rules `renamed` it.
fn arrival_of(network: Option<&Network>, client: Option<IpAddr>, to: SocketAddr, renamed: bool) -> Arrival {
    let Some(network) = network else { return Arrival { interface: None, as_it_is: false } };
    let asked = network.interfaces.iter().find(|at| at.ip == to.ip());
    let link = asked.filter(|at| client.is_some_and(|client| shares_prefix(at.ip, client, at.prefix)));
    let seen = client.is_some_and(|client| network.waiting(to.port(), Some(client)).next().is_some());
    let mut names: Vec<&str> = network.interfaces.iter().map(|at| at.name.as_str()).collect();
    names.retain(|name| *name != LOOPBACK);
    names.sort_unstable();
    names.dedup();
    let only = (names.len() == 1).then(|| names[0].to_owned());
    Arrival { interface: link.map(|at| at.name.clone()).or(only), as_it_is: link.is_some() && !renamed || seen }
}

/// From a machine to itself every packet leaves and comes in again by the loopback interface, whatever its addresses.
fn over_loopback<'a>(firewall: &'a Firewall, host: &'a Host, to: SocketAddr, own: &[IpAddr]) -> Passage<'a> {
    let lo = || Some(LOOPBACK.to_owned());
    // The kernel connects from the address that it connects to.
    let syn = Packet::syn_out(Some(to.ip()), to, lo());
    let out = walk::outgoing(firewall, syn.clone(), own);
    let again = without_second_translation(firewall);
    let (ip, port) = out.to;
    let arrived = Packet {
        to: ip,
        to_port: port,
        in_interface: lo(),
        out_interface: Some(String::new()),
        translated: Vec::new(),
        ..syn
    };
    let answer = arrived.answered().map(|answer| answer.to(&out));
    let goes = |answer: Packet| {
        let out = walk::outgoing(firewall, answer.clone(), own);
        let answer = Packet { in_interface: lo(), out_interface: Some(String::new()), ..answer };
        one_after_the_other(out, walk::incoming(&again, answer, own))
    };
    let usually_back = answer.clone().map(|answer| fate(firewall, &goes(usual(answer)), None));
    let back = answer.map(|answer| fate(firewall, &goes(answer), None));
    let walk = one_after_the_other(out, walk::incoming(&again, arrived, own));
    Passage {
        firewall,
        host: Some(host),
        client: Some(to.ip()),
        to,
        there: fate(firewall, &walk, None),
        back,
        usually_back,
        as_it_is: true,
        over_loopback: true,
    }
}

/// True if a rule or a policy of the table may stop something.
fn may_stop(table: &Table) -> bool {
    let stops = |rule: &Rule| {
        rule.parts.iter().any(|part| {
            let stops = matches!(part, Part::Verdict(Verdict::Drop | Verdict::Reject(_) | Verdict::Unknown(_)));
            stops || matches!(part, Part::Map(_) | Part::NamedMap { .. })
        })
    };
    let drops = |base: Option<&Base>| base.is_some_and(|base| base.drops);
    table.chains.iter().any(|chain| drops(chain.base.as_ref()) || chain.rules.iter().any(stops))
}

/// An answer to a port as clients have them, where that of the attempt is not known.
fn usual(answer: Packet) -> Packet {
    Packet { to_port: answer.to_port.or(Some(EPHEMERAL)), ..answer }
}

/// A connection's destination is translated once: one that left through `output` is not asked about again in `prerouting`
/// (`nf_nat_initialized` in the kernel).
fn without_second_translation(firewall: &Firewall) -> Firewall {
    let mut firewall = firewall.clone();
    for table in &mut firewall.tables {
        table.chains.retain(|chain| {
            chain.base.as_ref().is_none_or(|base| base.kind != Kind::Nat || base.hook != Hook::Prerouting)
        });
    }
    firewall
}

fn one_after_the_other(first: Walk, second: Walk) -> Walk {
    Walk {
        stops: first.stops.into_iter().chain(second.stops).collect(),
        doubts: first.doubts.into_iter().chain(second.doubts).collect(),
        to: second.to,
        translated_by: first.translated_by.or(second.translated_by),
        source_may_change: first.source_may_change || second.source_may_change,
        tracked: first.tracked && second.tracked,
        rerouted_by: first.rerouted_by.or(second.rerouted_by),
    }
}

/// What becomes of a packet: by the walk with all that is believed of it, and by the one with only what is sure.
fn fate(firewall: &Firewall, believed: &Walk, sure: Option<&Walk>) -> Fate {
    let stops = believed.stops.clone();
    // Another chain may let through what this one stops: it is stopped all the same, unless it is sent elsewhere before.
    let matters = |doubt: &&Doubt| stops.is_empty() || translates(firewall, &doubt.at);
    let doubts: Vec<Doubt> = believed.doubts.iter().filter(matters).cloned().collect();
    let mut open: Vec<String> = doubts.iter().map(doubt).collect();
    if let Some(place) = believed.rerouted_by.as_ref().filter(|_| stops.is_empty()) {
        open.push(format!("{} marks it, and routes may send it another way by that", place.name()));
    }
    let same = sure.is_none_or(|sure| {
        if stops.is_empty() { sure.stops.is_empty() && sure.doubts.is_empty() } else { !sure.stops.is_empty() }
    });
    if !same {
        open.push("the rules ask for the client's address, which may be translated on the way".to_owned());
    }
    open.extend(firewall.unread.iter().filter(|unread| !unread.source.is_beside()).map(unreadable));
    let may_go_elsewhere = believed.doubts.iter().any(|doubt| translates(firewall, &doubt.at));
    Fate {
        stops,
        open,
        doubts,
        to: believed.to,
        translated_by: believed.translated_by.clone(),
        may_go_elsewhere,
        source_may_change: believed.source_may_change,
    }
}

fn unreadable(unread: &Unread) -> String {
    format!("what {} shows could not be read: {}", unread.source.list(), unread.says)
}

/// True if the rule is asked where connections are sent elsewhere.
fn translates(firewall: &Firewall, at: &Place) -> bool {
    let its = |table: &&Table| table.source == at.source && table.family == at.family && table.name == at.table;
    let base = firewall.tables.iter().filter(its).flat_map(|table| &table.chains).find(|chain| chain.name == at.base);
    base.and_then(|chain| chain.base.as_ref()).is_none_or(|base| base.kind == Kind::Nat)
}

fn doubt(doubt: &Doubt) -> String {
    format!("{} may {}", doubt.at.name(), doubt.may)
}

impl Source {
    /// The command that lists its rules.
    pub fn list(self) -> &'static str {
        match self {
            Self::Nft => "nft -a list ruleset",
            Self::Iptables => "iptables-save",
            Self::IptablesLegacy => "iptables-legacy-save",
            Self::ArptablesLegacy => "arptables-legacy -L -n",
            Self::EbtablesLegacy => "ebtables-legacy -L",
        }
    }

    /// The same with counters, to be typed.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Nft => "sudo nft -a list ruleset",
            Self::Iptables => "sudo iptables-save -c",
            Self::IptablesLegacy => "sudo iptables-legacy-save -c",
            Self::ArptablesLegacy => "sudo arptables-legacy -L -n -v",
            Self::EbtablesLegacy => "sudo ebtables-legacy -L --Lc",
        }
    }
}

impl Place {
    /// Where it is, in the words of its tool: `inet filter input, handle 12`; `filter INPUT, rule 3`; `the policy of …`.
    pub fn name(&self) -> String {
        use super::rules::Family as F;
        let family = match (self.source, self.family) {
            (Source::Iptables | Source::IptablesLegacy, F::Ip6) => "IPv6 ",
            (Source::Iptables | Source::IptablesLegacy | Source::ArptablesLegacy | Source::EbtablesLegacy, _) => "",
            (Source::Nft, F::Ip) => "ip ",
            (Source::Nft, F::Ip6) => "ip6 ",
            (Source::Nft, F::Inet) => "inet ",
            (Source::Nft, F::Netdev) => "netdev ",
            (Source::Nft, F::Bridge) => "bridge ",
            (Source::Nft, F::Arp) => "arp ",
        };
        let chain = format!("{family}{} {}", self.table, self.chain);
        match (&self.rule, self.source) {
            (None, _) => format!("the policy of {family}{} {}", self.table, self.base),
            (Some(rule), Source::Nft) => match rule.handle {
                Some(handle) => format!("{chain}, handle {handle}"),
                None => format!("{chain}, rule {}", rule.number),
            },
            (Some(rule), _) => format!("{chain}, rule {}", rule.number),
        }
    }

    /// The rule itself, and how many packets have met it, where that is counted.
    pub fn says(&self) -> String {
        let rule = self.rule.as_ref().map_or_else(String::new, |rule| format!(": {}", rule.text));
        // nft writes the counter into the rule.
        let untold = self.packets.filter(|_| !rule.contains("counter packets"));
        let met = untold.map_or_else(String::new, |packets| format!(" (counter: {packets})"));
        format!("{}{rule}{met}", self.name())
    }
}
