//! How following a chain may end, and where.

use std::borrow::Cow;
use std::net::IpAddr;

use super::{How, Place};
use crate::probe::host::firewall::rules::{Chain, Hook, Rule, Table};

/// How many doubts are kept, and from how many ways on those that end like another are left out.
pub(super) const MOST_DOUBTS: usize = 50;
/// How following a chain ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End<'a> {
    Accept,
    Stop(How),
    /// Sent elsewhere; the chain accepts it.
    To(Option<IpAddr>, Option<u16>),
    /// Sent to this machine itself, and accepted.
    Here(Option<u16>),
    /// Its source is translated, and it is accepted.
    Source,
    /// To the chain that jumped here, or the policy.
    Return,
    /// It cannot be told.
    Open(Cow<'a, str>),
}

/// A way that following a chain may end, and the rule that ends it.
pub(super) type Ended<'a> = (End<'a>, Spot<'a>);

/// How following a chain ended for sure, and how it may have ended before.
pub(super) struct Trail<'a> {
    pub(super) end: Ended<'a>,
    pub(super) may: Vec<Ended<'a>>,
}

/// Where the walker stands.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) table: &'a Table,
    pub(super) base: &'a Chain,
    pub(super) hook: Hook,
    pub(super) chain: &'a Chain,
    pub(super) depth: usize,
}

/// A rule, or the policy of a chain.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) at: At<'a>,
    pub(super) rule: Option<&'a Rule>,
    pub(super) packets: Option<u64>,
}

/// One more way that it may end; of very many only those that end differently.
pub(super) fn add<'a>(may: &mut Vec<Ended<'a>>, end: Ended<'a>) {
    if may.len() < MOST_DOUBTS || !may.iter().any(|other| other.0 == end.0) {
        may.push(end);
    }
}

impl<'a> At<'a> {
    pub(super) fn spot(self, rule: &'a Rule) -> Spot<'a> {
        Spot { at: self, rule: Some(rule), packets: rule.packets }
    }
}

impl Spot<'_> {
    pub(super) fn place(&self) -> Place {
        let At { table, base, hook, chain, .. } = self.at;
        Place {
            source: table.source,
            family: table.family,
            table: table.name.clone(),
            base: base.name.clone(),
            hook,
            chain: chain.name.clone(),
            rule: self.rule.cloned(),
            packets: self.packets,
        }
    }
}

impl End<'_> {
    pub(super) fn says(&self) -> String {
        match self {
            Self::Accept | Self::Return | Self::Source => "let it pass".to_owned(),
            Self::Stop(How::Dropped) => "drop it".to_owned(),
            Self::Stop(How::Rejected(_)) => "reject it".to_owned(),
            Self::To(..) | Self::Here(_) => "send it elsewhere".to_owned(),
            Self::Open(what) => what.clone().into_owned(),
        }
    }
}
