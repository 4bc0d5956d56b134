//! The rules of a packet filter, in one form for every tool that writes them: what `nft` and `iptables` list is parsed into
//! this, and `walk.rs` follows a packet through it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A packet that may pass so many routers gets anywhere.
pub const FAR_ENOUGH: u64 = 32;

/// The packet filter of one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// Every table that could be read, each once, whoever lists it.
    pub tables: Vec<Table>,
    /// What is there, or may be, and could not be read: without it nobody may say "no firewall".
    pub unread: Vec<Unread>,
}

/// Rules that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Whose.
    pub source: Source,
    /// Why not, with who says so.
    pub says: String,
}

/// Who keeps a table, and so who lists and changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// nftables' own tables (`nft`).
    Nft,
    /// `iptables` and `ip6tables` over nftables.
    Iptables,
    /// `iptables-legacy`: `nft` and `iptables` do not show its rules.
    IptablesLegacy,
    /// `arptables-legacy`: rules for ARP alone, which are not read.
    ArptablesLegacy,
    /// `ebtables-legacy`: rules for what passes a bridge, which are not read.
    EbtablesLegacy,
}

impl Source {
    /// True if its rules see no IP packets but what carries them: they let nothing through, and may stop what others let.
    pub fn is_beside(self) -> bool {
        matches!(self, Self::ArptablesLegacy | Self::EbtablesLegacy)
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Who keeps it.
    pub source: Source,
    /// The packets it sees.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its chains.
    pub chains: Vec<Chain>,
    /// Its named sets and maps of verdicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<Set>,
}

/// The address family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// What enters or leaves a device.
    Netdev,
    /// What passes a bridge: seen only where frames are bridged.
    Bridge,
    /// ARP.
    Arp,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets enter it, if it is a base chain.
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// What makes a chain a base chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The hook.
    pub hook: Hook,
    /// Its place among the chains of the hook: the lowest comes first.
    pub priority: i32,
    /// Its kind.
    pub kind: Kind,
    /// True if what no rule decides is dropped.
    pub drops: bool,
    /// The devices of a `netdev` chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// How many packets met the policy, where that is counted (iptables).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
}

/// Where in the kernel a chain is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the kernel's own names (nft(8), ADDRESS FAMILIES)")]
pub enum Hook {
    Ingress,
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    Egress,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Filter.
    Filter,
    /// Translate addresses: asked about the first packet of a connection only.
    Nat,
    /// Filter, and route again what was marked.
    Route,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// nftables' handle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
    /// Its place in the chain, from 1.
    pub number: u32,
    /// How many packets met it, where that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// The rule as its tool writes it.
    pub text: String,
    /// What it tests and does, in order.
    pub parts: Vec<Part>,
}

/// One part of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The rest counts for packets that pass this test only.
    Match(Match),
    /// What becomes of them.
    Verdict(Verdict),
    /// What becomes of them depends on a map; those that are not in it go on.
    Map(Vec<Entry>),
    /// The same by a named map of the table.
    NamedMap {
        /// What of the packet is looked up.
        of: Vec<Field>,
        /// The map.
        name: String,
    },
    /// Packets are marked; `None`: with something that is not known.
    Mark(Option<u32>),
    /// Connections are not tracked from here on.
    NoTrack,
    /// The connection is looked up among those of another zone: whether its answers are found there is not known.
    Zone,
}

/// An entry of a map of verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// All of these hold.
    pub key: Vec<Test>,
    /// Then this is the verdict.
    pub verdict: Verdict,
}

/// A named set, or a named map of verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Its elements: a value for each field that is looked up; one without any stands for all that are not in the others.
    pub elements: Vec<Vec<Values>>,
    /// The verdict of each element, in a map.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
}

/// A test, possibly turned round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// True if it holds where the test does not.
    #[serde(default)]
    pub negated: bool,
    /// The test.
    pub test: Test,
}

/// A test of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// A field has one of these values.
    Is(Field, Values),
    /// All of the tests of one of these hold: a concatenation looked up in an anonymous set.
    Any(Vec<Vec<Test>>),
    /// The fields together are in a named set of the table.
    InSet {
        /// The fields.
        of: Vec<Field>,
        /// The set.
        name: String,
    },
    /// The TCP flags under the mask are these.
    Flags {
        /// The flags that are looked at (RFC 9293: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32).
        mask: u8,
        /// What they must be.
        value: u8,
    },
    /// The mark under the mask is this.
    Marked {
        /// The bits that are looked at.
        mask: u32,
        /// What they must be.
        value: u32,
    },
    /// Something that we cannot judge: it may hold or not.
    Unknown(String),
}

/// What of a packet is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The address it comes from.
    From,
    /// The address it goes to.
    To,
    /// The port it comes from.
    FromPort,
    /// The port it goes to.
    ToPort,
    /// The interface it came in by.
    InInterface,
    /// The interface it leaves by.
    OutInterface,
    /// The protocol above IP: 6 is TCP.
    Protocol,
    /// The protocol IP: 4 or 6.
    IpVersion,
    /// The state of its connection.
    State,
    /// The mark of the packet.
    Mark,
    /// What kind of address it goes to, as this machine's routes see it.
    ToKind,
    /// What kind of address it comes from.
    FromKind,
    /// Whether its connection was translated.
    Translated,
}

/// Values that a field may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// Ranges of addresses, both ends included.
    Addresses(Vec<(IpAddr, IpAddr)>),
    /// Ranges of ports, protocols or marks, both ends included.
    Numbers(Vec<(u64, u64)>),
    /// Names of interfaces; one that ends in `*` stands for all that begin so.
    Names(Vec<String>),
    /// States of a connection.
    States(Vec<State>),
    /// Kinds of address.
    Kinds(Vec<AddressKind>),
    /// Which ends of the connection were translated.
    Translations(Vec<Translation>),
}

/// The state of a connection, as connection tracking has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the kernel's own names (nft(8), CONNTRACK EXPRESSIONS)")]
pub enum State {
    New,
    Established,
    Related,
    Invalid,
    Untracked,
}

/// What kind of address this machine's routes take one for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressKind {
    /// One of its own.
    Local,
    /// Another machine's.
    Unicast,
    /// Broadcast, multicast, anycast and others that no connection has.
    Other,
}

/// Which end of a connection was translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Translation {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// This chain lets it pass; those of the same hook that come later are still asked.
    Accept,
    /// It is swallowed.
    Drop,
    /// It is answered with an error.
    Reject(Rejection),
    /// The next rule.
    Continue,
    /// Back to the chain that jumped here; the policy, in a base chain.
    Return,
    /// Through another chain and back.
    Jump(String),
    /// Into another chain; its end is that of the chain that jumped here.
    Goto(String),
    /// It is sent to another address or port (either `None`: unchanged).
    Destination(Option<IpAddr>, Option<u16>),
    /// It is sent to this machine itself, to another port.
    Redirect(Option<u16>),
    /// Its source is translated.
    Source,
    /// A program decides, or something that we cannot judge.
    Unknown(String),
}

/// How a packet is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// With a TCP reset.
    Reset,
    /// With an ICMP error of this code, type 3 (ICMPv6: type 1).
    Icmp(u8),
}
