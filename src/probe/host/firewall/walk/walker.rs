//! Following a packet: hooks, base chains, rules, jumps.

use std::cell::Cell;
use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::end::{At, End, Ended, MOST_DOUBTS, Spot, Trail, add};
use super::lookup::{Seen, Truth, is_local};
use super::{Doubt, How, Packet, Stop, Walk};
use crate::probe::host::firewall::rules::{
    Base, Chain, Family, Firewall, Hook, Kind, Part, Rule, State, Table, Translation, Verdict,
};

/// How many rules are looked at for one packet: far more than any machine has, and a second at most.
const MOST_STEPS: usize = 1_000_000;
/// How deep chains may jump: nftables allows 16 (`NFT_JUMP_STACK_SIZE` in the kernel), iptables-legacy more.
const DEEPEST: usize = 64;
/// How many chains cost as much to search as a rule costs to look at.
const CHAINS_PER_STEP: usize = 64;
/// The priority at which connections begin to be tracked (`NF_IP_PRI_CONNTRACK`).
const CONNTRACK: i32 = -200;
/// The priorities at which destinations, and sources, are translated, whatever the chains of nat say of themselves: they
/// are asked one after the other by one function there (`nf_nat_inet_fn`).
const NAT_DESTINATION: i32 = -100;
const NAT_SOURCE: i32 = 100;
/// The loopback interface.
const LOOPBACK: &str = "lo";

pub(super) struct Walker<'a> {
    firewall: &'a Firewall,
    own: &'a [IpAddr],
    packet: Packet,
    walk: Walk,
    steps: Cell<usize>,
    /// The state of the connection, as this base chain sees it.
    state: Option<State>,
    /// Who marks it in this base chain, or may.
    marked_by: Option<Spot<'a>>,
    /// True once the packet may not have come so far in its base chain.
    unsure: bool,
    /// True if it goes to this machine, but which of its addresses is not known.
    vague: bool,
    /// True once it cannot be told where the packet goes, or what it looks like.
    lost: bool,
}

impl<'a> Walker<'a> {
    pub(super) fn new(firewall: &'a Firewall, packet: Packet, own: &'a [IpAddr]) -> Self {
        let to = (packet.to, packet.to_port);
        let (steps, state) = (Cell::new(0), packet.state);
        let walk = Walk {
            stops: Vec::new(),
            doubts: Vec::new(),
            to,
            translated_by: None,
            source_may_change: false,
            tracked: true,
            rerouted_by: None,
        };
        Self { firewall, own, packet, walk, steps, state, marked_by: None, unsure: false, vague: false, lost: false }
    }

    pub(super) fn done(mut self) -> Walk {
        self.walk.to = (self.packet.to, self.packet.to_port);
        self.walk.tracked &= !matches!(self.packet.state, None | Some(State::Untracked));
        self.walk
    }

    pub(super) fn is_for_us(&self) -> bool {
        is_local(self.own, self.packet.to)
    }

    /// It is routed, we do not know where to.
    pub(super) fn leave_by_any(&mut self) {
        self.packet.out_interface = None;
    }

    /// Asks the base chains of a hook, one after the other.
    pub(super) fn hook(&mut self, hook: Hook) {
        let mut translated = Truth::No;
        for (table, chain, base) in self.bases(hook) {
            if self.lost {
                return;
            }
            let mut here = self.is_on(base);
            if base.kind == Kind::Nat {
                // Only the first packet of a tracked connection is asked about, and only until a chain has translated it.
                let is_new = Truth::of(self.packet.state.map(|state| state == State::New));
                here = here.and(is_new).and(translated.not());
            }
            if here != Truth::No {
                self.state = self.state_at(hook, base);
                self.translate_back(hook, base);
                let moved = self.base(At { table, base: chain, hook, chain, depth: 0 }, base, here);
                translated = translated.not().and(moved.not()).not();
            }
        }
    }

    /// The base chains in the kernel's order. Of those with the same priority the one that was made last comes first
    /// (`nf_hook_entries_grow`), and listings are in the order in which chains were made.
    fn bases(&self, hook: Hook) -> Vec<(&'a Table, &'a Chain, &'a Base)> {
        let in_hook = |table: &'a Table| {
            let chains = table.chains.iter().filter_map(|chain| Some((chain, chain.base.as_ref()?)));
            chains.filter(|(_, base)| base.hook == hook).map(move |(chain, base)| (table, chain, base))
        };
        let tables = self.firewall.tables.iter().filter(|table| self.sees(table));
        let mut bases: Vec<_> = tables.flat_map(in_hook).enumerate().collect();
        bases.sort_by_key(|(place, (_, _, base))| (asked_at(base), base.priority, Reverse(*place)));
        bases.into_iter().map(|(_, base)| base).collect()
    }

    fn sees(&self, table: &Table) -> bool {
        match table.family {
            Family::Ip => self.packet.to.is_ipv4(),
            Family::Ip6 => self.packet.to.is_ipv6(),
            Family::Inet | Family::Netdev => true,
            Family::Bridge | Family::Arp => false,
        }
    }

    fn is_on(&self, base: &Base) -> Truth {
        let device = match base.hook {
            Hook::Ingress => &self.packet.in_interface,
            Hook::Egress => &self.packet.out_interface,
            _ => return Truth::Yes,
        };
        let listed = |device: &String| (!base.devices.is_empty()).then(|| base.devices.contains(device));
        Truth::of(device.as_ref().and_then(listed))
    }

    /// Before connections are tracked, every packet seems invalid. Over loopback it comes in with the connection that it
    /// left with.
    fn state_at(&self, hook: Hook, base: &Base) -> Option<State> {
        let early = match hook {
            Hook::Ingress => true,
            Hook::Prerouting | Hook::Output => base.priority <= CONNTRACK,
            _ => false,
        };
        let over_loopback = hook != Hook::Output && self.packet.in_interface.as_deref() == Some(LOOPBACK);
        let unknown = hook != Hook::Output && self.packet.in_interface.is_none() || base.priority == CONNTRACK;
        match self.packet.state {
            Some(State::Untracked) => Some(State::Untracked),
            state if !early || over_loopback => state,
            Some(_) if !unknown => Some(State::Invalid),
            _ => None,
        }
    }

    /// An answer gets the address back that was asked where sources are translated (`nf_nat_packet`); we do not know it.
    fn translate_back(&mut self, hook: Hook, base: &Base) {
        let answers = self.packet.state == Some(State::Established);
        let after = matches!(hook, Hook::Input | Hook::Postrouting) && asked_at(base) >= NAT_SOURCE;
        if answers && after && self.packet.translated.contains(&Translation::Destination) {
            (self.packet.from, self.packet.from_port) = (None, None);
        }
    }

    /// Asks a base chain; says whether it has translated the packet.
    fn base(&mut self, at: At<'a>, base: &'a Base, here: Truth) -> Truth {
        let mark = self.packet.mark;
        self.marked_by = None;
        self.unsure = here == Truth::Maybe;
        let Trail { end, may } = self.follow(at);
        let policy = Spot { at, rule: None, packets: base.packets };
        let settle = |(end, spot): Ended<'a>| match end {
            End::Return if base.drops => (End::Stop(How::Dropped), policy),
            End::Return => (End::Accept, policy),
            end => (end, spot),
        };
        let (end, may) = (settle(end), may.into_iter().map(settle).collect());
        if base.kind == Kind::Route && at.hook == Hook::Output && self.packet.mark != mark {
            // It is routed again.
            self.leave_by_any();
            self.walk.rerouted_by = self.marked_by.map(|spot| spot.place());
        }
        self.conclude(end, may, here)
    }

    /// Only what all the ways come to is certain.
    fn conclude(&mut self, end: Ended<'a>, may: Vec<Ended<'a>>, here: Truth) -> Truth {
        let stops = |(end, _): &Ended<'a>| matches!(end, End::Stop(_));
        let translates = |(end, _): &Ended<'a>| matches!(end, End::To(..) | End::Here(_));
        let ends: Vec<Ended<'a>> = std::iter::once(end).chain(may).collect();
        if here == Truth::Yes && ends.iter().all(stops) {
            ends[1..].iter().filter(|other| other.0 != ends[0].0).for_each(|other| self.doubt(other));
            if let (End::Stop(how), spot) = &ends[0] {
                self.walk.stops.push(Stop { at: spot.place(), how: *how });
            }
            return Truth::No;
        }
        ends.iter().filter(|end| stops(end) || matches!(end.0, End::Open(_))).for_each(|end| self.doubt(end));
        let mut on = ends.iter().filter(|end| !stops(end));
        let Some(first) = on.next() else { return Truth::No };
        let same = |other: &Ended<'a>| other.0 == first.0 || !translates(first) && !translates(other);
        self.lost = ends.iter().any(|(end, _)| matches!(end, End::Open(_)));
        if !self.lost && translates(first) && here == Truth::Yes && on.clone().all(same) {
            self.translate(first);
            return Truth::Yes;
        }
        if ends.iter().any(translates) {
            ends.iter().filter(|end| translates(end)).for_each(|end| self.doubt(end));
            self.lost = true;
        }
        self.translate_source(&ends, here)
    }

    /// Where the source is translated, or may be, we do not know to what.
    fn translate_source(&mut self, ends: &[Ended<'a>], here: Truth) -> Truth {
        let mut sources = ends.iter().map(|(end, _)| *end == End::Source);
        if !sources.clone().any(|source| source) {
            return Truth::No;
        }
        (self.packet.from, self.packet.from_port) = (None, None);
        self.walk.source_may_change = true;
        let all = here == Truth::Yes && sources.all(|source| source);
        if all {
            self.packet.translated.push(Translation::Source);
            return Truth::Yes;
        }
        Truth::Maybe
    }

    fn translate(&mut self, (end, spot): &Ended<'a>) {
        let before = (self.packet.to, self.packet.to_port);
        match end {
            End::To(ip, port) => {
                self.packet.to = ip.unwrap_or(self.packet.to);
                self.packet.to_port = port.or(self.packet.to_port);
                self.vague &= ip.is_none();
            }
            End::Here(port) => {
                self.packet.to_port = port.or(self.packet.to_port);
                (self.packet.to, self.vague) = self.own_address(spot.at.hook);
            }
            _ => return,
        }
        if spot.at.hook == Hook::Output && before.0 != self.packet.to {
            self.packet.out_interface = self.is_for_us().then(|| LOOPBACK.to_owned());
        }
        if before != (self.packet.to, self.packet.to_port) {
            // What is sent to where it went anyway is not marked as translated (`nf_nat_setup_info`).
            self.packet.translated.push(Translation::Destination);
        }
        self.walk.translated_by = Some(spot.place());
    }

    /// Where a redirected packet goes: to loopback if it is made here or came by loopback, otherwise to the first address
    /// of the interface it came by (`nf_nat_redirect`). True if there are several that it can be.
    fn own_address(&self, hook: Hook) -> (IpAddr, bool) {
        let to = self.packet.to;
        if hook == Hook::Output || self.packet.in_interface.as_deref() == Some(LOOPBACK) {
            let v4 = to.is_ipv4();
            return (if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }, false);
        }
        let mut own = self.own.iter().filter(|ip| ip.is_ipv4() == to.is_ipv4() && !ip.is_loopback());
        match (own.next(), own.next()) {
            (Some(only), None) => (*only, self.packet.in_interface.is_none()),
            (Some(first), _) => (if self.is_for_us() { to } else { *first }, true),
            (None, _) => (to, true),
        }
    }

    fn doubt(&mut self, (end, spot): &Ended<'a>) {
        if self.walk.doubts.len() < MOST_DOUBTS {
            let behind = !self.walk.stops.is_empty();
            let how = if let End::Stop(how) = end { Some(*how) } else { None };
            self.walk.doubts.push(Doubt { at: spot.place(), may: end.says(), how, behind });
        }
    }

    /// Follows the rules of a chain.
    fn follow(&mut self, at: At<'a>) -> Trail<'a> {
        let mut may = Vec::new();
        for rule in &at.chain.rules {
            self.steps.set(self.steps.get() + 1);
            if self.steps.get() > MOST_STEPS || at.depth > DEEPEST {
                // Whatever else there is: it cannot be told.
                self.steps.set(MOST_STEPS);
                let why = End::Open("there are too many rules to follow".into());
                return Trail { end: (why, at.spot(rule)), may };
            }
            if let Some(end) = self.rule(at, rule, &mut may) {
                return Trail { end, may };
            }
        }
        Trail { end: (End::Return, Spot { at, rule: None, packets: None }), may }
    }

    /// What a rule does for sure, if it ends the chain.
    fn rule(&mut self, at: At<'a>, rule: &'a Rule, may: &mut Vec<Ended<'a>>) -> Option<Ended<'a>> {
        let mut truth = Truth::Yes;
        let spot = at.spot(rule);
        for part in &rule.parts {
            let mut decided = None;
            match part {
                Part::Match(test) => truth = truth.and(self.seen().holds(at.table, test)),
                Part::Mark(mark) => {
                    self.packet.mark = mark.filter(|_| truth == Truth::Yes && !self.unsure);
                    self.marked_by = Some(spot);
                }
                Part::Zone => self.enter_zone(),
                Part::NoTrack => self.untrack(at, truth),
                Part::Verdict(verdict) => decided = self.verdict(spot, verdict, truth, may),
                Part::Map(entries) => {
                    let seen = self.seen();
                    let hit = |key| seen.all(at.table, key);
                    let hits = entries.iter().map(|entry| (hit(&entry.key), entry.key.is_empty(), &entry.verdict));
                    let hits = those_that_may(hits);
                    decided = self.choose(spot, &hits, truth, may);
                }
                Part::NamedMap { of, name } => match at.table.sets.iter().find(|set| set.name == *name) {
                    Some(set) => {
                        let seen = self.seen();
                        let pairs = set.elements.iter().zip(&set.verdicts);
                        let hits = pairs.map(|(key, verdict)| (seen.element(of, key), key.is_empty(), verdict));
                        let hits = those_that_may(hits);
                        decided = self.choose(spot, &hits, truth, may);
                    }
                    None => self.open(may, spot, format!("do what the map {name} says")),
                },
            }
            if decided.is_some() || truth == Truth::No {
                return decided;
            }
        }
        None
    }

    fn seen(&self) -> Seen<'_> {
        Seen { packet: &self.packet, state: self.state, vague: self.vague, own: self.own, steps: &self.steps }
    }

    /// A SYN is new in every zone; an answer may not be found.
    fn enter_zone(&mut self) {
        self.walk.tracked = false;
        if self.packet.state == Some(State::Established) {
            (self.packet.state, self.state) = (None, None);
        }
    }

    /// It comes too late once the connection is tracked.
    fn untrack(&mut self, at: At<'a>, truth: Truth) {
        let early = |base: &Base| matches!(at.hook, Hook::Prerouting | Hook::Output) && base.priority < CONNTRACK;
        if at.base.base.as_ref().is_some_and(early) && self.packet.in_interface.as_deref() != Some(LOOPBACK) {
            let sure = truth == Truth::Yes && !self.unsure;
            self.packet.state = sure.then_some(State::Untracked);
            self.state = self.packet.state;
        }
    }

    fn open(&mut self, may: &mut Vec<Ended<'a>>, spot: Spot<'a>, what: String) {
        self.unsure = true;
        add(may, (End::Open(what.into()), spot));
    }

    /// What a map of verdicts comes to. Where two elements hit for sure they overlap, and the kernel's own order decides.
    fn choose(
        &mut self,
        spot: Spot<'a>,
        hits: &[(Truth, bool, &'a Verdict)],
        truth: Truth,
        may: &mut Vec<Ended<'a>>,
    ) -> Option<Ended<'a>> {
        let sure: Vec<_> = hits.iter().filter(|(hit, others, _)| *hit == Truth::Yes && !others).collect();
        if let [(_, _, verdict)] = sure.as_slice() {
            return self.verdict(spot, verdict, truth, may);
        }
        for (_, others, verdict) in hits {
            if *others && sure.is_empty() {
                return self.verdict(spot, verdict, truth, may);
            }
            if !others {
                self.verdict(spot, verdict, truth.and(Truth::Maybe), may);
            }
        }
        None
    }

    /// What a verdict comes to, if it ends the chain for sure; what it may come to goes to `may`.
    fn verdict(
        &mut self,
        spot: Spot<'a>,
        verdict: &'a Verdict,
        truth: Truth,
        may: &mut Vec<Ended<'a>>,
    ) -> Option<Ended<'a>> {
        let end = match verdict {
            _ if truth == Truth::No => return None,
            Verdict::Continue => return None,
            Verdict::Accept => End::Accept,
            Verdict::Drop => End::Stop(How::Dropped),
            Verdict::Reject(how) => End::Stop(How::Rejected(*how)),
            Verdict::Return => End::Return,
            Verdict::Destination(ip, port) => End::To(*ip, *port),
            Verdict::Redirect(port) => End::Here(*port),
            Verdict::Source => End::Source,
            Verdict::Unknown(what) => End::Open(what.into()),
            Verdict::Jump(name) => return self.through(spot, name, (truth, true), may),
            Verdict::Goto(name) => return self.through(spot, name, (truth, false), may),
        };
        if truth == Truth::Yes {
            return Some((end, spot));
        }
        self.unsure = true;
        add(may, (end, spot));
        None
    }

    /// Through another chain, and back (a jump) or not (a goto).
    fn through(
        &mut self,
        spot: Spot<'a>,
        name: &str,
        (truth, back): (Truth, bool),
        may: &mut Vec<Ended<'a>>,
    ) -> Option<Ended<'a>> {
        let chains = &spot.at.table.chains;
        self.steps.set(self.steps.get() + chains.len() / CHAINS_PER_STEP);
        let Some(chain) = chains.iter().find(|chain| chain.name == *name) else {
            self.open(may, spot, format!("do what the chain {name} says"));
            return None;
        };
        self.unsure |= truth != Truth::Yes;
        let Trail { end, may: inner } = self.follow(At { chain, depth: spot.at.depth + 1, ..spot.at });
        let returns = |end: &Ended<'a>| end.0 == End::Return;
        let may_return = inner.iter().any(returns);
        // To return from a chain that was jumped to is to go on here.
        inner.into_iter().filter(|end| !(back && returns(end))).for_each(|end| add(may, end));
        if returns(&end) && back {
            return None;
        }
        if truth == Truth::Yes && !(back && may_return) {
            return Some(end);
        }
        add(may, end);
        None
    }
}

/// The elements of a map that a packet is in, or may be.
fn those_that_may<'a>(all: impl Iterator<Item = (Truth, bool, &'a Verdict)>) -> Vec<(Truth, bool, &'a Verdict)> {
    all.filter(|(hit, _, _)| *hit != Truth::No).collect()
}

/// The priority at which the kernel asks a base chain.
fn asked_at(base: &Base) -> i32 {
    match (base.kind, base.hook) {
        (Kind::Nat, Hook::Prerouting | Hook::Output) => NAT_DESTINATION,
        (Kind::Nat, _) => NAT_SOURCE,
        _ => base.priority,
    }
}
