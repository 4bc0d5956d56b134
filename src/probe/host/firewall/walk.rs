//! A packet's way through the rules: which chain stops it, by which rule, and where that cannot be told.
//!
//! The order is the kernel's: the hooks one after the other, in each the base chains by priority; a chain that accepts ends
//! only itself, one that drops ends everything (nft(8), CHAINS). What of a packet is not known (its source behind a
//! translated address, say) makes a test neither true nor false: then both ways are followed, and only what all of them
//! come to is certain.

use std::net::{IpAddr, SocketAddr};

use super::rules::{
    AddressKind, Base, Chain, Entry, Family, Field, Firewall, Hook, Kind, Match, Part, Rejection, Rule, Set, Source,
    State, Table, Test, Translation, Values, Verdict,
};

/// How many rules are looked at for one packet: far more than any machine has.
const MOST_STEPS: usize = 500_000;
/// How deep chains may jump (`NFT_JUMP_STACK_SIZE` in the kernel).
const DEEPEST: usize = 16;
/// TCP.
const TCP: u64 = 6;

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
    if walker.is_local(walker.packet.to) {
        walker.hook(Hook::Input);
    } else {
        walker.packet.out_interface = None;
        walker.hook(Hook::Forward);
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

/// Yes, no, or it cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Maybe,
}

impl Truth {
    fn of(value: Option<bool>) -> Self {
        value.map_or(Self::Maybe, |yes| if yes { Self::Yes } else { Self::No })
    }

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    fn any(mut of: impl Iterator<Item = Self>) -> Self {
        let mut found = Self::No;
        while found != Self::Yes {
            match of.next() {
                Some(Self::No) => {}
                Some(truth) => found = truth,
                None => break,
            }
        }
        found
    }
}

/// How following a chain ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Accept,
    Stop(How),
    /// Sent elsewhere; the chain accepts it.
    To(Option<IpAddr>, Option<u16>),
    /// To the chain that jumped here, or the policy.
    Return,
    /// It cannot be told.
    Open(String),
}

/// How following a chain ended for sure, and how it may have ended before.
struct Trail {
    end: (End, Option<Place>),
    may: Vec<(End, Place)>,
}

struct Walker<'a> {
    firewall: &'a Firewall,
    own: &'a [IpAddr],
    packet: Packet,
    walk: Walk,
    steps: usize,
}

/// Where the walker stands.
#[derive(Clone, Copy)]
struct At<'a> {
    table: &'a Table,
    base: &'a Chain,
    hook: Hook,
    chain: &'a Chain,
    depth: usize,
}

impl<'a> Walker<'a> {
    fn new(firewall: &'a Firewall, packet: Packet, own: &'a [IpAddr]) -> Self {
        let to = (packet.to, packet.to_port);
        let walk = Walk { stops: Vec::new(), doubts: Vec::new(), to, translated_by: None };
        Self { firewall, own, packet, walk, steps: 0 }
    }

    fn done(mut self) -> Walk {
        self.walk.to = (self.packet.to, self.packet.to_port);
        self.walk
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.own.contains(&ip)
    }

    fn hook(&mut self, hook: Hook) {
        let firewall = self.firewall;
        let in_hook = |table: &'a Table| {
            let chains = table.chains.iter().filter_map(|chain| Some((chain, chain.base.as_ref()?)));
            chains.filter(|(_, base)| base.hook == hook).map(move |(chain, base)| (table, chain, base))
        };
        let mut bases: Vec<_> = firewall.tables.iter().filter(|table| self.sees(table)).flat_map(in_hook).collect();
        bases.sort_by_key(|(_, _, base)| base.priority);
        for (table, chain, base) in bases {
            if base.kind != Kind::Nat || self.packet.state == Some(State::New) {
                self.base(At { table, base: chain, hook, chain, depth: 0 }, base);
            }
        }
    }

    fn sees(&self, table: &Table) -> bool {
        match table.family {
            Family::Ip => self.packet.to.is_ipv4(),
            Family::Ip6 => self.packet.to.is_ipv6(),
            Family::Inet | Family::Netdev => true,
            Family::Bridge | Family::Arp => false,
        }
    }

    fn base(&mut self, at: At<'a>, base: &'a Base) {
        let here = self.is_on(base);
        if here == Truth::No {
            return;
        }
        let Trail { end, may } = self.follow(at);
        let policy = || at.place(None, base.packets);
        let settle = |(end, place): (End, Option<Place>)| match end {
            End::Return if base.drops => (End::Stop(How::Dropped), policy()),
            End::Return => (End::Accept, policy()),
            end => (end, place.unwrap_or_else(policy)),
        };
        let end = settle(end);
        let may: Vec<_> = may.into_iter().map(|(end, place)| settle((end, Some(place)))).collect();
        self.conclude(end, may, here);
    }

    fn is_on(&self, base: &Base) -> Truth {
        let device = match base.hook {
            Hook::Ingress => &self.packet.in_interface,
            Hook::Egress => &self.packet.out_interface,
            _ => return Truth::Yes,
        };
        Truth::of(device.as_ref().map(|device| base.devices.contains(device)))
    }

    /// Only what all the ways come to is certain.
    fn conclude(&mut self, end: (End, Place), may: Vec<(End, Place)>, here: Truth) {
        let stops = |end: &End| matches!(end, End::Stop(_));
        let same = match &end.0 {
            End::Stop(_) => may.iter().all(|(end, _)| stops(end)) && here == Truth::Yes,
            End::Accept | End::Return => may.iter().all(|(end, _)| matches!(end, End::Accept | End::Return)),
            End::To(..) => may.iter().all(|(other, _)| *other == end.0),
            End::Open(_) => false,
        };
        if !same {
            // A way to the same end as the certain one raises no doubt of its own.
            let doubtful =
                may.into_iter().filter(|(other, _)| stops(other) != stops(&end.0) || matches!(other, End::To(..)));
            let all: Vec<_> =
                doubtful.chain((stops(&end.0) || matches!(end.0, End::Open(_))).then(|| end.clone())).collect();
            self.walk.doubts.extend(all.into_iter().map(|(end, at)| Doubt { at, may: end.says() }));
        }
        match (end, same) {
            ((End::Stop(how), at), true) => self.walk.stops.push(Stop { at, how }),
            ((End::To(ip, port), at), _) => {
                self.packet.to = ip.unwrap_or(self.packet.to);
                self.packet.to_port = port.or(self.packet.to_port);
                self.packet.translated.push(Translation::Destination);
                self.walk.translated_by = Some(at);
            }
            _ => {}
        }
    }

    /// Follows the rules of a chain.
    fn follow(&mut self, at: At<'a>) -> Trail {
        let mut may = Vec::new();
        for rule in &at.chain.rules {
            self.steps += 1;
            if self.steps > MOST_STEPS || at.depth > DEEPEST {
                let why = End::Open("there are too many rules to follow".to_owned());
                return Trail { end: (why, Some(at.place(Some(rule), rule.packets))), may };
            }
            if let Some(end) = self.rule(at, rule, &mut may) {
                return Trail { end, may };
            }
        }
        Trail { end: (End::Return, None), may }
    }

    /// What a rule does for sure, if it ends the chain.
    fn rule(&mut self, at: At<'a>, rule: &'a Rule, may: &mut Vec<(End, Place)>) -> Option<(End, Option<Place>)> {
        let mut truth = Truth::Yes;
        for part in &rule.parts {
            let mut decided = None;
            match part {
                Part::Match(test) => truth = truth.and(self.holds(at.table, test)),
                Part::Mark(mark) => self.packet.mark = if truth == Truth::Yes { *mark } else { None },
                Part::NoTrack => self.packet.state = (truth == Truth::Yes).then_some(State::Untracked),
                Part::Verdict(verdict) => decided = self.verdict(at, rule, verdict, truth, may),
                Part::Map(entries) => decided = self.map(at, rule, entries, truth, may),
                Part::NamedMap { of, name } => {
                    let set = at.table.sets.iter().find(|set| set.name == *name);
                    match set {
                        Some(set) => decided = self.named_map(at, rule, (of, set), truth, may),
                        None => may.push((End::Open(format!("by the map {name}")), at.place(Some(rule), rule.packets))),
                    }
                }
            }
            if decided.is_some() {
                return decided;
            }
            if truth == Truth::No {
                return None;
            }
        }
        None
    }

    fn map(
        &mut self,
        at: At<'a>,
        rule: &'a Rule,
        entries: &'a [Entry],
        truth: Truth,
        may: &mut Vec<(End, Place)>,
    ) -> Option<(End, Option<Place>)> {
        for entry in entries {
            let hit = self.all(at.table, &entry.key);
            if hit == Truth::No {
                continue;
            }
            let decided = self.verdict(at, rule, &entry.verdict, truth.and(hit), may);
            if decided.is_some() || hit == Truth::Yes {
                return decided;
            }
        }
        None
    }

    fn named_map(
        &mut self,
        at: At<'a>,
        rule: &'a Rule,
        (of, set): (&[Field], &'a Set),
        truth: Truth,
        may: &mut Vec<(End, Place)>,
    ) -> Option<(End, Option<Place>)> {
        for (element, verdict) in set.elements.iter().zip(&set.verdicts) {
            let hit = self.element(of, element);
            if hit == Truth::No {
                continue;
            }
            let decided = self.verdict(at, rule, verdict, truth.and(hit), may);
            if decided.is_some() || hit == Truth::Yes {
                return decided;
            }
        }
        None
    }

    /// What a verdict comes to, if it ends the chain for sure; what it may come to goes to `may`.
    fn verdict(
        &mut self,
        at: At<'a>,
        rule: &'a Rule,
        verdict: &'a Verdict,
        truth: Truth,
        may: &mut Vec<(End, Place)>,
    ) -> Option<(End, Option<Place>)> {
        let place = || at.place(Some(rule), rule.packets);
        let end = match verdict {
            Verdict::Continue | Verdict::Source => return None,
            Verdict::Accept => End::Accept,
            Verdict::Drop => End::Stop(How::Dropped),
            Verdict::Reject(how) => End::Stop(How::Rejected(*how)),
            Verdict::Return => End::Return,
            Verdict::Destination(ip, port) => End::To(*ip, *port),
            Verdict::Redirect(port) => End::To(self.own_address(), *port),
            Verdict::Unknown(what) => End::Open(what.clone()),
            Verdict::Jump(name) | Verdict::Goto(name) => {
                let Some(chain) = at.table.chains.iter().find(|chain| chain.name == *name) else {
                    may.push((End::Open(format!("by the chain {name}")), place()));
                    return None;
                };
                let back = matches!(verdict, Verdict::Jump(_));
                return self.through(At { chain, depth: at.depth + 1, ..at }, place(), (truth, back), may);
            }
        };
        if truth == Truth::Yes {
            return Some((end, Some(place())));
        }
        may.push((end, place()));
        None
    }

    /// Through another chain, and back (a jump) or not (a goto).
    fn through(
        &mut self,
        at: At<'a>,
        from: Place,
        (truth, back): (Truth, bool),
        may: &mut Vec<(End, Place)>,
    ) -> Option<(End, Option<Place>)> {
        let Trail { end, may: inner } = self.follow(at);
        let returns = |end: &End| *end == End::Return;
        let may_return = inner.iter().any(|(end, _)| returns(end));
        // To return from a chain that was jumped to is to go on here.
        may.extend(inner.into_iter().filter(|(end, _)| !(back && returns(end))));
        let (end, place) = end;
        if returns(&end) && back {
            return None;
        }
        if truth == Truth::Yes && !(back && may_return) {
            return Some((end, place));
        }
        may.push((end, place.unwrap_or(from)));
        None
    }

    /// Where a redirected packet goes.
    fn own_address(&self) -> Option<IpAddr> {
        let same = |ip: &&IpAddr| ip.is_ipv4() == self.packet.to.is_ipv4();
        if self.is_local(self.packet.to) { None } else { self.own.iter().find(same).copied() }
    }

    fn holds(&self, table: &Table, test: &Match) -> Truth {
        let truth = self.test(table, &test.test);
        if test.negated { truth.not() } else { truth }
    }

    fn all(&self, table: &Table, tests: &[Test]) -> Truth {
        tests.iter().fold(Truth::Yes, |truth, test| truth.and(self.test(table, test)))
    }

    fn test(&self, table: &Table, test: &Test) -> Truth {
        match test {
            Test::Is(field, values) => self.is(*field, values),
            Test::Any(tuples) => Truth::any(tuples.iter().map(|tuple| self.all(table, tuple))),
            Test::InSet { of, name } => match table.sets.iter().find(|set| set.name == *name) {
                Some(set) => Truth::any(set.elements.iter().map(|element| self.element(of, element))),
                None => Truth::Maybe,
            },
            Test::Flags { mask, value } => Truth::of(Some(self.packet.flags & mask == *value)),
            Test::Unknown(_) => Truth::Maybe,
        }
    }

    fn element(&self, of: &[Field], element: &[Values]) -> Truth {
        if of.len() != element.len() {
            return Truth::Maybe;
        }
        of.iter().zip(element).fold(Truth::Yes, |truth, (field, values)| truth.and(self.is(*field, values)))
    }

    fn is(&self, field: Field, values: &Values) -> Truth {
        let packet = &self.packet;
        Truth::of(match (field, values) {
            (Field::From, Values::Addresses(ranges)) => packet.from.map(|ip| within(ranges, ip)),
            (Field::To, Values::Addresses(ranges)) => Some(within(ranges, packet.to)),
            (Field::FromPort, Values::Numbers(ranges)) => packet.from_port.map(|port| holds(ranges, port.into())),
            (Field::ToPort, Values::Numbers(ranges)) => packet.to_port.map(|port| holds(ranges, port.into())),
            (Field::Protocol, Values::Numbers(ranges)) => Some(holds(ranges, TCP)),
            (Field::IpVersion, Values::Numbers(ranges)) => Some(holds(ranges, if packet.to.is_ipv4() { 4 } else { 6 })),
            (Field::Mark, Values::Numbers(ranges)) => packet.mark.map(|mark| holds(ranges, mark.into())),
            (Field::InInterface, Values::Names(names)) => packet.in_interface.as_ref().map(|name| named(names, name)),
            (Field::OutInterface, Values::Names(names)) => packet.out_interface.as_ref().map(|name| named(names, name)),
            (Field::State, Values::States(states)) => packet.state.map(|state| states.contains(&state)),
            (Field::ToKind, Values::Kinds(kinds)) => Some(kinds.contains(&self.kind(packet.to))),
            (Field::FromKind, Values::Kinds(kinds)) => packet.from.map(|ip| kinds.contains(&self.kind(ip))),
            (Field::Translated, Values::Translations(which)) => {
                Some(which.iter().any(|which| packet.translated.contains(which)))
            }
            _ => None,
        })
    }

    fn kind(&self, ip: IpAddr) -> AddressKind {
        if self.is_local(ip) { AddressKind::Local } else { AddressKind::Unicast }
    }
}

impl At<'_> {
    fn place(&self, rule: Option<&Rule>, packets: Option<u64>) -> Place {
        Place {
            source: self.table.source,
            family: self.table.family,
            table: self.table.name.clone(),
            base: self.base.name.clone(),
            hook: self.hook,
            chain: self.chain.name.clone(),
            rule: rule.cloned(),
            packets,
        }
    }
}

impl End {
    fn says(&self) -> String {
        match self {
            Self::Accept | Self::Return => "let it pass".to_owned(),
            Self::Stop(How::Dropped) => "drop it".to_owned(),
            Self::Stop(How::Rejected(_)) => "reject it".to_owned(),
            Self::To(..) => "send it elsewhere".to_owned(),
            Self::Open(what) => what.clone(),
        }
    }
}

fn within(ranges: &[(IpAddr, IpAddr)], ip: IpAddr) -> bool {
    ranges.iter().any(|(first, last)| ip.is_ipv4() == first.is_ipv4() && *first <= ip && ip <= *last)
}

fn holds(ranges: &[(u64, u64)], value: u64) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&value))
}

fn named(names: &[String], name: &str) -> bool {
    names.iter().any(|known| match known.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => known == name,
    })
}
