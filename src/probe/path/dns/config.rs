//! How this machine looks names up: resolv.conf, the `hosts:` line of nsswitch.conf, and what /etc/hosts says of a name.
//!
//! Parsed here and not by hickory, which fails where glibc goes on (no nameserver), and drops the zone of a
//! link-local nameserver and the line numbers that a repair needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use serde::{Deserialize, Serialize};

use crate::model::escape;
use crate::sys::{environment, files, machine, resolver};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
const NSSWITCH: &str = "/etc/nsswitch.conf";

/// glibc and musl use the first three nameservers (MAXNS in resolv.h).
const MOST_SERVERS: usize = 3;
/// The longest search list we try; a query storm helps nobody.
const MOST_NAMES: usize = 7;

/// How this machine looks names up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What stands in the way of reading /etc/resolv.conf, if something does.
    pub unread: Option<String>,
    /// The nameservers in use, in order.
    pub servers: Vec<Server>,
    /// The search list.
    pub search: Vec<String>,
    /// Names with fewer dots are tried with the search list first.
    pub ndots: usize,
    /// How long the system waits for one answer, in seconds.
    pub timeout_s: u32,
    /// How often it asks every nameserver.
    pub attempts: u32,
    /// The options as written.
    pub options: Vec<String>,
    /// The `hosts:` line of nsswitch.conf, if there is one: the sources of names, in order.
    pub sources: Option<String>,
}

/// A nameserver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// The interface of a link-local address, by index; else 0.
    pub scope: u32,
    /// The line of /etc/resolv.conf; none where the system assumes 127.0.0.1 because no line names a nameserver.
    pub line: Option<u32>,
}

/// What /etc/hosts says of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsEntry {
    /// The line, from 1.
    pub line: u32,
    /// The address on it.
    pub address: IpAddr,
    /// The line as it is written; empty where it is too long to be shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Server {
    /// Where it takes queries.
    pub fn socket(&self) -> SocketAddr {
        match self.address {
            IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, 53, 0, self.scope)),
            v4 @ IpAddr::V4(_) => SocketAddr::new(v4, 53),
        }
    }

    /// The server with where it is named: `10.0.0.2 (/etc/resolv.conf:3)`.
    pub fn says(&self) -> String {
        match self.line {
            Some(line) => format!("{} ({RESOLV_CONF}:{line})", self.address),
            None => format!("{} (assumed: {RESOLV_CONF} names no nameserver)", self.address),
        }
    }
}

impl Config {
    /// The full names that the system tries for `name`, in its order (`res_search(3)`), and how many further ones it
    /// tries that we leave out.
    pub fn candidates(&self, name: &str) -> (Vec<String>, usize) {
        if let Some(full) = name.strip_suffix('.') {
            return (vec![full.to_owned()], 0);
        }
        let mut names: Vec<String> = self
            .search
            .iter()
            .map(|domain| domain.trim_end_matches('.'))
            .map(|domain| if domain.is_empty() { name.to_owned() } else { format!("{name}.{domain}") })
            .collect();
        let as_it_is = if name.matches('.').count() >= self.ndots { 0 } else { names.len() };
        names.insert(as_it_is, name.to_owned());
        let mut seen = Vec::new();
        names.retain(|name| !seen.contains(name) && (seen.push(name.clone()), true).1);
        let left_out = names.len().saturating_sub(MOST_NAMES);
        if left_out > 0 {
            // The name as it stands is never among those left out.
            names.retain(|candidate| candidate != name);
            names.truncate(MOST_NAMES - 1);
            names.insert(as_it_is.min(names.len()), name.to_owned());
        }
        (names, left_out)
    }
}

/// Reads how this machine looks names up.
pub fn gather() -> Config {
    let (text, unread) = match files::read_text(RESOLV_CONF) {
        Ok(text) => (text, None),
        Err(error) => (String::new(), Some(format!("{RESOLV_CONF}: {error}"))),
    };
    let mut config = parse(&text);
    config.unread = unread;
    // resolv.conf(5): these two override the file, for this process.
    if let Some(domains) = environment::variable("LOCALDOMAIN") {
        config.search = words(&domains);
    }
    if let Some(options) = environment::variable("RES_OPTIONS") {
        config.take_options(&words(&options));
    }
    if config.search.is_empty() && !names_search(&text) {
        config.search.extend(machine::hostname().as_deref().and_then(domain_of));
    }
    config.sources = files::read_text(NSSWITCH).ok().and_then(|text| parse_sources(&text));
    config
}

/// What /etc/hosts says of `name`.
///
/// # Errors
/// Why it could not be read.
pub fn hosts(name: &str) -> std::io::Result<Vec<HostsEntry>> {
    files::read_text(HOSTS).map(|text| parse_hosts(&text, name))
}

/// resolv.conf(5).
pub fn parse(text: &str) -> Config {
    let mut config = Config { ndots: 1, timeout_s: 5, attempts: 2, ..Config::default() };
    for (number, line) in (1..).zip(text.lines()) {
        // Comments begin in the first column; the keyword must, too.
        let words = words(line);
        match words.split_first() {
            _ if line.starts_with(['#', ';', ' ', '\t']) => {}
            Some((keyword, rest)) => config.take(number, keyword, rest),
            None => {}
        }
    }
    if config.servers.is_empty() {
        config.servers.push(Server { address: Ipv4Addr::LOCALHOST.into(), scope: 0, line: None });
    }
    config
}

impl Config {
    fn take(&mut self, line: u32, keyword: &str, rest: &[String]) {
        match keyword {
            "nameserver" if self.servers.len() < MOST_SERVERS => {
                let server = rest.first().and_then(|address| parse_address(address));
                self.servers.extend(server.map(|(address, scope)| Server { address, scope, line: Some(line) }));
            }
            // The last of these lines wins.
            "domain" => self.search = rest.iter().take(1).cloned().collect(),
            "search" => self.search = rest.to_vec(),
            "options" => self.take_options(rest),
            _ => {}
        }
    }

    fn take_options(&mut self, options: &[String]) {
        for option in options {
            // The caps are glibc's (RES_MAXNDOTS, RES_MAXRETRANS, RES_MAXRETRY).
            match option.split_once(':').and_then(|(key, value)| Some((key, value.parse::<u32>().ok()?))) {
                Some(("ndots", value)) => self.ndots = value.min(15) as usize,
                Some(("timeout", value)) => self.timeout_s = value.clamp(1, 30),
                Some(("attempts", value)) => self.attempts = value.clamp(1, 5),
                _ => {}
            }
        }
        self.options.extend_from_slice(options);
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(|word| escape(word.as_bytes())).collect()
}

fn names_search(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("search") || line.starts_with("domain"))
}

fn domain_of(hostname: &str) -> Option<String> {
    hostname.split_once('.').map(|(_, domain)| domain.to_owned()).filter(|domain| !domain.is_empty())
}

/// An address with an optional zone, which names an interface or is its number.
fn parse_address(text: &str) -> Option<(IpAddr, u32)> {
    match text.split_once('%') {
        None => Some((text.parse().ok()?, 0)),
        Some((address, zone)) => Some((address.parse::<Ipv6Addr>().ok()?.into(), scope_of(zone)?)),
    }
}

/// The index of the interface that a zone names.
pub fn scope_of(zone: &str) -> Option<u32> {
    zone.parse().ok().or_else(|| resolver::interface_index(zone))
}

/// hosts(5): the lines that name `name`.
pub fn parse_hosts(text: &str, name: &str) -> Vec<HostsEntry> {
    let name = name.trim_end_matches('.');
    let entry = |(line, written): (u32, &str)| {
        let mut words = written.split('#').next()?.split_whitespace();
        let address = words.next()?.split('%').next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then(|| HostsEntry { line, address, text: shown(written) })
    };
    (1..).zip(text.lines()).filter_map(entry).collect()
}

/// A line that can be shown and found again: tabs are common in it.
fn shown(line: &str) -> String {
    const LONGEST: usize = 500;
    let line = if line.len() > LONGEST { "" } else { line };
    line.split('\t').map(|part| escape(part.as_bytes())).collect::<Vec<_>>().join("\t")
}

/// nsswitch.conf(5): the sources of host names.
pub fn parse_sources(text: &str) -> Option<String> {
    let line = text.lines().rev().find_map(|line| line.trim_start().strip_prefix("hosts:"))?;
    Some(words(line.split('#').next()?).join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn candidates(conf: &str, name: &str, want: &[&str]) {
        assert_eq!(parse(conf).candidates(name).0, want, "{name} with {conf:?}");
    }

    #[test]
    fn reads_resolv_conf_as_glibc_does() {
        let config = parse(
            "# made by hand\nnameserver 10.0.0.2\nnameserver nonsense\n nameserver 10.0.0.9\nnameserver fe80::1%1\n\
             domain old.test\nsearch a.test b.test\noptions ndots:5 timeout:2 attempts:99 edns0\n",
        );
        let server = |address: &str, scope, line| Server { address: address.parse().unwrap(), scope, line: Some(line) };
        assert_eq!(config.servers, [server("10.0.0.2", 0, 2), server("fe80::1", 1, 5)]);
        assert_eq!(config.search, ["a.test", "b.test"]);
        assert_eq!((config.ndots, config.timeout_s, config.attempts), (5, 2, 5));
        assert_eq!(config.options, ["ndots:5", "timeout:2", "attempts:99", "edns0"]);
        assert_eq!(parse("").servers, [Server { address: Ipv4Addr::LOCALHOST.into(), scope: 0, line: None }]);
        let four = "nameserver 1.1.1.1\n".repeat(4);
        assert_eq!(parse(&four).servers.len(), MOST_SERVERS);
    }

    #[test]
    fn tries_the_names_in_the_order_of_glibc() {
        candidates("search a.test b.test", "db", &["db.a.test", "db.b.test", "db"]);
        candidates("search a.test", "db.x", &["db.x", "db.x.a.test"]);
        candidates("search a.test\noptions ndots:5", "db.x", &["db.x.a.test", "db.x"]);
        candidates("search a.test\noptions ndots:5", "db.x.", &["db.x"]);
        candidates("", "db", &["db"]);
        candidates("search .", "db", &["db"]);
        let many = format!("search {}", (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join(" "));
        let (names, left_out) = parse(&many).candidates("db");
        assert_eq!((names.len(), left_out, names.last().map(String::as_str)), (MOST_NAMES, 14, Some("db")));
    }

    #[test]
    fn reads_hosts_and_nsswitch() {
        let hosts = "127.0.0.1 localhost\n#10.0.0.1 db\n10.0.0.9\tDB.test db # ours\nfe80::9%eth0 db\nx db\n";
        let entry = |line, address: &str, text: &str| {
            let (address, text) = (address.parse().unwrap(), text.to_owned());
            HostsEntry { line, address, text }
        };
        let third = entry(3, "10.0.0.9", "10.0.0.9\tDB.test db # ours");
        assert_eq!(parse_hosts(hosts, "db"), [third.clone(), entry(4, "fe80::9", "fe80::9%eth0 db")]);
        assert_eq!(parse_hosts(hosts, "db.test."), [third]);
        assert_eq!(parse_hosts(hosts, "ours"), []);
        let sources = parse_sources("passwd: files\nhosts:  files mdns4_minimal [NOTFOUND=return]  dns # x\n");
        assert_eq!(sources.as_deref(), Some("files mdns4_minimal [NOTFOUND=return] dns"));
        assert_eq!(parse_sources("passwd: files"), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parsers(text in "(nameserver|search|options|hosts:|domain|[ \\t\\n.%:#0-9a-f]|\\PC)*", name in "\\PC*") {
            let config = parse(&text);
            prop_assert!((1..=MOST_SERVERS).contains(&config.servers.len()));
            let (names, _) = config.candidates(&name);
            prop_assert!((1..=MOST_NAMES).contains(&names.len()));
            let _ = (parse_hosts(&text, &name), parse_sources(&text));
        }
    }
}
