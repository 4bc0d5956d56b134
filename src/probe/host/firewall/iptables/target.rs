//! What a rule of iptables does with a packet (iptables-extensions(8), TARGET EXTENSIONS).

use std::net::{IpAddr, SocketAddr};

use super::super::rules::{Chain, FAR_ENOUGH, Family, Part, Rejection, Verdict};
use super::{Word, joined};
use crate::model::escape;

/// Targets after which the next rule is asked, and that change nothing which rules test.
const HARMLESS: [&str; 21] = [
    "LOG",
    "NFLOG",
    "ULOG",
    "TRACE",
    "AUDIT",
    "TCPMSS",
    "TCPOPTSTRIP",
    "CHECKSUM",
    "CLASSIFY",
    "TOS",
    "DSCP",
    "ECN",
    "TEE",
    "LED",
    "RATEEST",
    "IDLETIMER",
    "SET",
    "SECMARK",
    "CONNSECMARK",
    "ACCOUNT",
    "CT",
];

/// The errors of REJECT, by both their names, and their ICMP codes.
const CODES: [(&str, &str, u8); 7] = [
    ("icmp-net-unreachable", "net-unreach", 0),
    ("icmp-host-unreachable", "host-unreach", 1),
    ("icmp-proto-unreachable", "proto-unreach", 2),
    ("icmp-port-unreachable", "port-unreach", 3),
    ("icmp-net-prohibited", "net-prohib", 9),
    ("icmp-host-prohibited", "host-prohib", 10),
    ("icmp-admin-prohibited", "admin-prohib", 13),
];
const CODES_V6: [(&str, &str, u8); 6] = [
    ("icmp6-no-route", "no-route", 0),
    ("icmp6-adm-prohibited", "adm-prohibited", 1),
    ("icmp6-addr-unreachable", "addr-unreach", 3),
    ("icmp6-port-unreachable", "port-unreach", 4),
    ("icmp6-policy-fail", "policy-fail", 5),
    ("icmp6-reject-route", "reject-route", 6),
];

/// `-j NAME OPTIONS`, or `-g NAME`.
pub struct Target<'a> {
    /// Its name: a target's, or a chain's.
    pub name: &'a str,
    /// What follows.
    pub options: &'a [Word],
    /// True if packets do not come back (`-g`).
    pub goes: bool,
}

impl Target<'_> {
    /// What it does, among these chains of the table.
    pub fn parts(&self, family: Family, chains: &[Chain]) -> Vec<Part> {
        let verdict = match self.name {
            _ if self.goes => Verdict::Goto(escape(self.name.as_bytes())),
            "ACCEPT" => Verdict::Accept,
            "DROP" => Verdict::Drop,
            "RETURN" => Verdict::Return,
            name if chains.iter().any(|chain| chain.base.is_none() && chain.name == escape(name.as_bytes())) => {
                Verdict::Jump(escape(name.as_bytes()))
            }
            "REJECT" => self.rejection(family).map_or_else(|| self.unknown(), Verdict::Reject),
            "DNAT" => self.destination().unwrap_or_else(|| self.unknown()),
            "REDIRECT" => self.redirect().unwrap_or_else(|| self.unknown()),
            "SNAT" | "MASQUERADE" => Verdict::Source,
            "NOTRACK" => return vec![Part::NoTrack],
            "CT" if self.has("--notrack") => return vec![Part::NoTrack],
            "CT" if ["--zone", "--zone-orig", "--zone-reply"].iter().any(|zone| self.has(zone)) => {
                return vec![Part::Zone];
            }
            "TTL" | "HL" if self.lives_long() => return Vec::new(),
            "MARK" => return vec![Part::Mark(self.mark())],
            // What the connection is marked with is not known here.
            "CONNMARK" if self.has("--restore-mark") => return vec![Part::Mark(None)],
            "CONNMARK" => return Vec::new(),
            "HMARK" => return vec![Part::Mark(None)],
            name if HARMLESS.contains(&name) => return Vec::new(),
            _ => self.unknown(),
        };
        vec![Part::Verdict(verdict)]
    }

    fn unknown(&self) -> Verdict {
        let says = format!("-j {} {}", escape(self.name.as_bytes()), joined(self.options));
        Verdict::Unknown(says.trim_end().to_owned())
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|word| word.is_option(option))
    }

    /// The value of an option.
    fn value(&self, option: &str) -> Option<&str> {
        let at = self.options.iter().position(|word| word.is_option(option))?;
        self.options.get(at + 1).map(|word| word.text.as_str())
    }

    fn rejection(&self, family: Family) -> Option<Rejection> {
        let with = match (self.options, family) {
            ([], Family::Ip) => "icmp-port-unreachable",
            ([], _) => "icmp6-port-unreachable",
            _ => self.value("--reject-with")?,
        };
        if with == "tcp-reset" {
            return Some(Rejection::Reset);
        }
        let codes = if family == Family::Ip { &CODES[..] } else { &CODES_V6 };
        let code = codes.iter().find(|(long, short, _)| [*long, *short].contains(&with)).map(|(.., code)| *code)?;
        Some(Rejection::Icmp(code))
    }

    /// True if the packet may still pass as many routers as there may be.
    fn lives_long(&self) -> bool {
        let set = self.value("--ttl-set").or_else(|| self.value("--hl-set")).and_then(|left| left.parse::<u64>().ok());
        set.is_some_and(|left| left >= FAR_ENOUGH) || self.has("--ttl-inc") || self.has("--hl-inc")
    }

    /// One address, one port, or both; of several the kernel chooses.
    fn destination(&self) -> Option<Verdict> {
        let once = self.options.iter().filter(|word| word.is_option("--to-destination")).count() == 1;
        let to = self.value("--to-destination").filter(|_| once)?;
        if let Ok(ip) = to.parse::<IpAddr>() {
            return Some(Verdict::Destination(Some(ip), None));
        }
        if let Ok(address) = to.parse::<SocketAddr>() {
            return Some(Verdict::Destination(Some(address.ip()), Some(address.port())));
        }
        if let Some(ip) = to.strip_prefix('[').and_then(|to| to.strip_suffix(']')) {
            return Some(Verdict::Destination(Some(ip.parse().ok()?), None));
        }
        Some(Verdict::Destination(None, Some(to.strip_prefix(':')?.parse().ok()?)))
    }

    fn redirect(&self) -> Option<Verdict> {
        match self.value("--to-ports") {
            Some(port) => Some(Verdict::Redirect(Some(port.parse().ok()?))),
            None if self.has("--to-ports") => None,
            None => Some(Verdict::Redirect(None)),
        }
    }

    /// What packets are marked with, where it does not depend on what they were marked with before.
    fn mark(&self) -> Option<u32> {
        let text = self.value("--set-xmark").or_else(|| self.value("--set-mark"))?;
        match text.split_once('/') {
            Some((value, mask)) => hex(value).filter(|_| hex(mask) == Some(u32::MAX)),
            None => hex(text),
        }
    }
}

/// A number as `0x1f` or `31`.
pub fn hex(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
