//! Hosts, ports, sockets and other single values, read strictly: what resolvers and clients would take without a word
//! and then fail on (`redis://db`, `db:6379`, `${HOST}`) is named here, with what was probably meant.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::ComplaintKind;
use super::layer::Place;
use crate::model::escape;

/// The longest path of a unix socket: `sun_path` has 108 bytes and ends with a NUL (unix(7)).
const LONGEST_SOCKET: usize = 107;
/// The longest label and the longest name of the DNS (RFC 1035 section 2.3.4), the latter as people write it.
const LONGEST_LABEL: usize = 63;
const LONGEST_NAME: usize = 253;
/// The most of a value that a complaint repeats.
const MOST_SHOWN: usize = 60;

/// What is wrong with a value, and what was probably meant. Free of secrets: nothing before an `@` is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The kind.
    pub kind: ComplaintKind,
    /// What is wrong.
    pub says: String,
    /// The bare host that was probably meant.
    pub host: Option<String>,
    /// The port that stands where it does not belong.
    pub port: Option<u16>,
}

impl Flaw {
    fn new(kind: ComplaintKind, says: impl Into<String>) -> Self {
        Self { kind, says: says.into(), host: None, port: None }
    }

    /// A host that is none.
    fn host(says: impl Into<String>) -> Self {
        Self::new(ComplaintKind::BadHost, says)
    }

    /// A value that cannot be what it should be.
    pub fn value(says: impl Into<String>) -> Self {
        Self::new(ComplaintKind::BadValue, says)
    }

    /// The place to show for the bad host `text`, to which nothing connects: what was meant or else what was given.
    pub fn place(&self, text: &str) -> Option<Place> {
        let is_path = text.starts_with('/') && socket(text).is_ok();
        // What stands after a ':' or before an '@' may be a password.
        let is_fit = !text.is_empty() && !text.contains(|c: char| "@:".contains(c) || c.is_control());
        match &self.host {
            Some(host) => Some(Place::Host(host.clone())),
            None if is_path => Some(Place::Socket(escape(text.as_bytes()))),
            None => is_fit.then(|| Place::Host(escape(text.as_bytes()))),
        }
    }

    /// The same, where `host` and `port` were probably meant: only if they are sound themselves.
    fn meaning(mut self, host: &str, port: Option<u16>) -> Self {
        self.host = is_sound(host).then(|| host.to_owned());
        self.port = port.filter(|_| self.host.is_some());
        self
    }
}

/// Reads a bare host: a name, an IPv4 or an IPv6 address, the latter with or without a zone.
///
/// # Errors
/// What is wrong with it.
pub fn read(host: &str) -> Result<String, Flaw> {
    if host.is_empty() {
        return Err(Flaw::host("the host is empty"));
    }
    if is_ipv6(host) {
        return Ok(host.to_owned());
    }
    match foreign_part(host) {
        Some(flaw) => Err(flaw),
        None => name(host).map(|()| host.to_owned()),
    }
}

/// Reads a host with an optional port, an IPv6 address with a port in brackets: `db:6379`, `[::1]:6379`, `::1`.
///
/// # Errors
/// What is wrong with it.
pub fn read_with_port(text: &str) -> Result<(String, Option<u16>), Flaw> {
    if let Some((address, after)) = bracketed(text) {
        return match after.strip_prefix(':') {
            None if after.is_empty() => Ok((address.to_owned(), None)),
            Some(digits) => Ok((address.to_owned(), Some(port(digits)?))),
            None => Err(Flaw::host("something other than a port follows the brackets").meaning(address, None)),
        };
    }
    match text.split_once(':') {
        Some((host, digits)) if !host.is_empty() && is_number(digits) => Ok((read(host)?, Some(port(digits)?))),
        _ => Ok((read(text)?, None)),
    }
}

/// `[address]` and what follows it.
pub fn bracketed(text: &str) -> Option<(&str, &str)> {
    let (address, after) = text.strip_prefix('[')?.split_once(']')?;
    is_ipv6(address).then_some((address, after))
}

/// True for an IPv6 address, with or without a zone (`fe80::1%eth0`, RFC 4007 section 11).
pub fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').map_or((host, None), |(address, zone)| (address, Some(zone)));
    let sound = |zone: &str| !zone.is_empty() && zone.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(sound)
}

/// True where a template or a shell should have put a value and did not: `${HOST}`, `$(host)`, `{{ host }}`, `<host>`.
pub fn is_unexpanded(text: &str) -> bool {
    let variable = |(_, name): (&str, &str)| name.starts_with(|c: char| c.is_ascii_alphabetic() || "_{(".contains(c));
    text.contains("{{") || text.starts_with('<') && text.ends_with('>') || text.split_once('$').is_some_and(variable)
}

/// Reads a port.
///
/// # Errors
/// What is wrong with it.
pub fn port(text: &str) -> Result<u16, Flaw> {
    if text.starts_with("tcp://") || text.starts_with("udp://") {
        let flaw = Flaw::new(ComplaintKind::InjectedPort, format!("{} is an address, not a port", shown(text)));
        let port = text.rsplit_once(':').and_then(|(_, digits)| digits.parse().ok()).filter(|&port| port != 0);
        return Err(Flaw { port, ..flaw });
    }
    if is_unexpanded(text) {
        return Err(Flaw::value(format!("{} was never expanded", shown(text))));
    }
    if let Some(port) = strict_port(text) {
        return Ok(port);
    }
    let flaw = Flaw::value(format!("{} is no port: ports go from 1 to 65535", shown(text)));
    let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
    Err(Flaw { port: strict_port(&digits), ..flaw })
}

/// Reads a database index.
///
/// # Errors
/// What is wrong with it.
pub fn db(text: &str) -> Result<u32, Flaw> {
    let read = is_number(text).then(|| text.parse().ok()).flatten();
    read.ok_or_else(|| Flaw::value(format!("{} is no database index: a number from 0 on", shown(text))))
}

/// Reads the path of a unix socket.
///
/// # Errors
/// What is wrong with it.
pub fn socket(path: &str) -> Result<String, Flaw> {
    if path.is_empty() {
        return Err(Flaw::value("the path of the socket is empty"));
    }
    if path.contains('\0') {
        return Err(Flaw::value("the path of the socket holds a NUL"));
    }
    if path.contains("://") || path.starts_with("unix:") {
        return Err(Flaw::value("the path of the socket is written as a URI: a path is meant"));
    }
    if path.len() > LONGEST_SOCKET {
        let says = format!("the path of the socket has {} bytes; the kernel takes {LONGEST_SOCKET}", path.len());
        return Err(Flaw::value(says));
    }
    Ok(path.to_owned())
}

/// Reads a switch.
///
/// # Errors
/// What is wrong with it.
pub fn switch(text: &str) -> Result<bool, Flaw> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(Flaw::value(format!("{} is neither true nor false", shown(text)))),
    }
}

/// A value as a complaint repeats it: quoted, cut, escaped, and without what stands before an `@`. After one only a place
/// is shown: the `@` may be a password's own.
pub fn shown(text: &str) -> String {
    let tail = text.rsplit('@').next().unwrap_or_default();
    let hidden = if tail.len() < text.len() { "…@" } else { "" };
    let is_shown = |c: &char| hidden.is_empty() || c.is_ascii_alphanumeric() || "-_.:[]".contains(*c);
    let cut: String = tail.chars().take_while(is_shown).take(MOST_SHOWN).collect();
    let more = if cut.len() < tail.len() { "…" } else { "" };
    format!("`{hidden}{}{more}`", escape(cut.as_bytes()))
}

fn is_sound(host: &str) -> bool {
    is_ipv6(host) || host.is_ascii() && name(host).is_ok()
}

/// What of a URI, a list or a template stands in a host.
fn foreign_part(host: &str) -> Option<Flaw> {
    if host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some(Flaw::host("the host holds a blank or a control character").meaning(host.trim(), None));
    }
    if is_unexpanded(host) {
        // Where a colon is left, this may be a password whose host was lost.
        let which = if host.contains(':') { "a variable".to_owned() } else { shown(host) };
        return Some(Flaw::host(format!("the host is {which}, which was never expanded")));
    }
    if let Some((_, rest)) = host.split_once("://") {
        return Some(bare(Flaw::host("the host holds a scheme: a bare host is meant"), rest));
    }
    if let Some((first, _)) = host.split_once(',') {
        let flaw = Flaw::host("the host is a list: one host is meant");
        return Some(if host.contains('@') { flaw } else { bare(flaw, first) });
    }
    if let Some((_, tail)) = host.rsplit_once('@') {
        return Some(bare(Flaw::host("the host holds a user or password before an '@'"), tail));
    }
    if host.starts_with('/') {
        return Some(Flaw::host("the host is a path: a socket goes with -s"));
    }
    if host.contains('/') {
        return Some(bare(Flaw::host("the host holds a path"), host));
    }
    if host.contains(['[', ']']) {
        return Some(bare(
            Flaw::host("the host holds brackets, which belong into URIs: a bare address is meant"),
            host,
        ));
    }
    host.contains(':').then(|| bare(Flaw::host("the host holds a port, or is no IPv6 address"), host))
}

/// `flaw`, with the host and port that the beginning of `text` names, past a user and password.
fn bare(flaw: Flaw, text: &str) -> Flaw {
    let text = text.rsplit('@').next().unwrap_or_default();
    let text = &text[..text.find(['/', '?', '#']).unwrap_or(text.len())];
    if let Some((address, after)) = bracketed(text) {
        return flaw.meaning(address, after.strip_prefix(':').and_then(strict_port));
    }
    match text.split_once(':') {
        Some((_, digits)) if digits.contains(':') => flaw,
        Some((host, digits)) => flaw.meaning(host, strict_port(digits)),
        None => flaw.meaning(text, None),
    }
}

/// Judges a name by the rules of the DNS, save that underscores are fine: compose services have them.
fn name(host: &str) -> Result<(), Flaw> {
    if !host.is_ascii() {
        let flaw =
            Flaw::host(format!("the host {} is not ASCII: resolvers do not agree on what it means", shown(host)));
        let ascii = url::Host::parse(host).map(|host| host.to_string()).unwrap_or_default();
        return Err(flaw.meaning(&ascii, None));
    }
    if let Some(odd) = host.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c)) {
        return Err(Flaw::host(format!("the host holds '{odd}', which no name does")));
    }
    let relative = host.strip_suffix('.').unwrap_or(host);
    if relative.len() > LONGEST_NAME {
        return Err(Flaw::host(format!("the host has {} characters; names have at most 253", relative.len())));
    }
    for label in relative.split('.') {
        if label.is_empty() {
            return Err(Flaw::host(format!("the host {} has an empty label", shown(host))));
        }
        if label.len() > LONGEST_LABEL {
            return Err(Flaw::host(format!("a label of the host has {} characters; at most 63 fit", label.len())));
        }
    }
    // The resolver also takes the old forms of inet_aton(3), as `127.1`, but nothing with an octet beyond 255.
    let numeric = relative.split('.').count() == 4 && relative.split('.').all(is_number);
    if numeric && relative.parse::<Ipv4Addr>().is_err() {
        return Err(Flaw::host(format!("{} is no IPv4 address: its parts go from 0 to 255", shown(host))));
    }
    Ok(())
}

fn strict_port(digits: &str) -> Option<u16> {
    is_number(digits).then(|| digits.parse().ok()).flatten().filter(|&port| port != 0)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn bad(host: &str, says: &str, meant: Option<&str>, port: Option<u16>) {
        let flaw = read(host).expect_err(host);
        assert!(flaw.says.contains(says), "{host}: {}", flaw.says);
        assert_eq!((flaw.kind, flaw.host.as_deref(), flaw.port), (ComplaintKind::BadHost, meant, port), "{host}");
    }

    #[test]
    fn takes_names_and_addresses() {
        let label = "a".repeat(63);
        for host in [
            "db",
            "localhost.",
            "my_redis_1",
            "redis.default.svc.cluster.local.",
            "10.0.0.9",
            "127.1",
            "::1",
            "fe80::1%eth0",
            "::ffff:10.0.0.9",
            "xn--gre-6ka8i.example",
            &label,
        ] {
            assert_eq!(read(host).as_deref(), Ok(host));
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_was_meant() {
        bad("", "empty", None, None);
        bad("redis://db", "scheme", Some("db"), None);
        bad("http://db:8080/x", "scheme", Some("db"), Some(8080));
        bad("redis://u:p/w@db:7000", "scheme", Some("db"), Some(7000));
        bad("db:6379", "port", Some("db"), Some(6379));
        bad("db:x", "port", Some("db"), None);
        bad("[::1]", "brackets", Some("::1"), None);
        bad("[::1]:7000", "brackets", Some("::1"), Some(7000));
        bad(" db", "blank", Some("db"), None);
        bad("db\n", "blank", Some("db"), None);
        bad("d\0b", "control", None, None);
        bad("${HOST}", "never expanded", None, None);
        bad("$HOST", "never expanded", None, None);
        bad("{{host}}", "never expanded", None, None);
        bad("<host>", "never expanded", None, None);
        bad("a:1,b:2", "list", Some("a"), Some(1));
        bad("user:pw@db", "'@'", Some("db"), None);
        bad("db/0", "path", Some("db"), None);
        bad("/run/redis.sock", "-s", None, None);
        bad("größe.example", "ASCII", Some("xn--gre-6ka8i.example"), None);
        bad("db?x", "'?'", None, None);
        bad("a..b", "empty label", None, None);
        bad(".", "empty label", None, None);
        bad("10.0.0.256", "IPv4", None, None);
        bad(&"a".repeat(64), "64", None, None);
        bad(&"abcdefg.".repeat(32), "255", None, None);
        bad("fe80::1%", "IPv6", None, None);
    }

    #[test]
    fn takes_a_port_with_the_host() {
        let pair = |host: &str, port| Ok((host.to_owned(), port));
        assert_eq!(read_with_port("db"), pair("db", None));
        assert_eq!(read_with_port("db:7000"), pair("db", Some(7000)));
        assert_eq!(read_with_port("[::1]:7000"), pair("::1", Some(7000)));
        assert_eq!(read_with_port("[::1]"), pair("::1", None));
        assert_eq!(read_with_port("::1"), pair("::1", None));
        assert_eq!(read_with_port("db:0").unwrap_err().kind, ComplaintKind::BadValue);
        assert_eq!(read_with_port("[::1]x").unwrap_err().host.as_deref(), Some("::1"));
        assert_eq!(read_with_port(":6379").unwrap_err().kind, ComplaintKind::BadHost);
    }

    #[test]
    fn reads_ports() {
        assert_eq!(port("6379"), Ok(6379));
        for text in ["0", "65536", "99999", "", "-1", "+1", " 6379", "6379/tcp", "x"] {
            assert_eq!(port(text).unwrap_err().kind, ComplaintKind::BadValue, "{text}");
        }
        assert_eq!(port("6379/tcp").unwrap_err().port, Some(6379));
        let injected = port("tcp://10.0.0.1:6379").unwrap_err();
        assert_eq!((injected.kind, injected.port), (ComplaintKind::InjectedPort, Some(6379)));
    }

    #[test]
    fn reads_other_values() {
        assert_eq!(db("4294967295"), Ok(u32::MAX));
        for text in ["-1", "4294967296", "", "x", "+1"] {
            assert!(db(text).is_err(), "{text}");
        }
        assert_eq!(switch("Yes"), Ok(true));
        assert!(switch("maybe").is_err());
        assert!(socket(&"x".repeat(107)).is_ok());
        for path in ["", "a\0b", "unix:///run/x", &"x".repeat(108)] {
            assert!(socket(path).is_err(), "{path}");
        }
    }

    #[test]
    fn shows_nothing_before_an_at_sign() {
        assert_eq!(shown("marker@db"), "`…@db`");
        assert_eq!(shown("mar@k/er"), "`…@k…`");
        assert_eq!(shown("\x1b[2J"), "`\\x1b[2J`");
    }
}
