//! Whether a test holds for a packet: yes, no, or it cannot be told.

use std::cell::Cell;
use std::net::IpAddr;

use super::Packet;
use crate::probe::host::firewall::rules::{AddressKind, Field, Match, State, Table, Test, Values};

/// TCP.
const TCP: u64 = 6;
/// How many elements of a set cost as much as a rule.
const ELEMENTS_PER_STEP: usize = 32;

/// Yes, no, or it cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Maybe,
}

impl Truth {
    pub(super) fn of(value: Option<bool>) -> Self {
        value.map_or(Self::Maybe, |yes| if yes { Self::Yes } else { Self::No })
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    fn any(of: impl Iterator<Item = Self>) -> Self {
        let mut found = Self::No;
        for truth in of {
            match truth {
                Self::Yes => return truth,
                Self::Maybe => found = truth,
                Self::No => {}
            }
        }
        found
    }
}

/// What of the packet and the machine tests are asked about.
pub(super) struct Seen<'a> {
    pub(super) packet: &'a Packet,
    /// The state of its connection, as this hook sees it.
    pub(super) state: Option<State>,
    /// True if it goes to this machine, but which of its addresses is not known.
    pub(super) vague: bool,
    /// The addresses of this machine.
    pub(super) own: &'a [IpAddr],
    /// What looking has cost so far.
    pub(super) steps: &'a Cell<usize>,
}

impl Seen<'_> {
    pub(super) fn holds(&self, table: &Table, test: &Match) -> Truth {
        let truth = self.test(table, &test.test);
        if test.negated { truth.not() } else { truth }
    }

    pub(super) fn all(&self, table: &Table, tests: &[Test]) -> Truth {
        self.cost(tests.len());
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
            Test::Marked { mask, value } => Truth::of(self.packet.mark.map(|mark| mark & mask == *value)),
            Test::Unknown(_) => Truth::Maybe,
        }
    }

    /// One without values stands for all that are not in the others.
    pub(super) fn element(&self, of: &[Field], element: &[Values]) -> Truth {
        self.cost(1);
        if element.is_empty() {
            return Truth::Yes;
        }
        if of.len() != element.len() {
            return Truth::Maybe;
        }
        of.iter().zip(element).fold(Truth::Yes, |truth, (field, values)| truth.and(self.is(*field, values)))
    }

    fn is(&self, field: Field, values: &Values) -> Truth {
        let packet = self.packet;
        self.cost(count(values));
        Truth::of(match (field, values) {
            (Field::From, Values::Addresses(ranges)) => packet.from.map(|ip| within(ranges, ip)),
            (Field::To, Values::Addresses(ranges)) => (!self.vague).then(|| within(ranges, packet.to)),
            (Field::FromPort, Values::Numbers(ranges)) => packet.from_port.map(|port| holds(ranges, port.into())),
            (Field::ToPort, Values::Numbers(ranges)) => packet.to_port.map(|port| holds(ranges, port.into())),
            (Field::Protocol, Values::Numbers(ranges)) => Some(holds(ranges, TCP)),
            (Field::IpVersion, Values::Numbers(ranges)) => Some(holds(ranges, if packet.to.is_ipv4() { 4 } else { 6 })),
            (Field::Mark, Values::Numbers(ranges)) => packet.mark.map(|mark| holds(ranges, mark.into())),
            (Field::InInterface, Values::Names(names)) => packet.in_interface.as_ref().map(|name| named(names, name)),
            (Field::OutInterface, Values::Names(names)) => packet.out_interface.as_ref().map(|name| named(names, name)),
            (Field::State, Values::States(states)) => self.state.map(|state| states.contains(&state)),
            (Field::ToKind, Values::Kinds(kinds)) => Some(kinds.contains(&self.kind(packet.to))),
            (Field::FromKind, Values::Kinds(kinds)) => packet.from.map(|ip| kinds.contains(&self.kind(ip))),
            // Without a connection the test ends the rule, turned round or not.
            (Field::Translated, Values::Translations(which)) => (!self.vague
                && matches!(self.state, Some(State::New | State::Established)))
            .then(|| which.iter().any(|which| packet.translated.contains(which))),
            _ => None,
        })
    }

    fn kind(&self, ip: IpAddr) -> AddressKind {
        if is_local(self.own, ip) { AddressKind::Local } else { AddressKind::Unicast }
    }

    fn cost(&self, elements: usize) {
        self.steps.set(self.steps.get() + elements / ELEMENTS_PER_STEP);
    }
}

/// Whether packets to an address stay on the machine whose addresses are `own`.
pub(super) fn is_local(own: &[IpAddr], ip: IpAddr) -> bool {
    ip.is_loopback() || own.contains(&ip)
}

fn count(values: &Values) -> usize {
    match values {
        Values::Addresses(ranges) => ranges.len(),
        Values::Numbers(ranges) => ranges.len(),
        Values::Names(names) => names.len(),
        Values::States(_) | Values::Kinds(_) | Values::Translations(_) => 1,
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
