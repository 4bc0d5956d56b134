//! Redis URIs, read strictly: `redis://user:password@host:port/db`, `rediss://`, `unix:///path?db=1` and their kin.
//!
//! Clients forgive much, each something else: a `#` in a password ends the URI for one and the host for another. So
//! the raw string is judged before it is taken apart. A password that holds raw `@ / ? #` reaches to the last `@`;
//! whatever stands before that is never repeated.

use super::host::{self, Flaw};
use super::layer::{Layer, Place};
use super::{ComplaintKind, Family, Part};
use crate::model::Secret;

use ComplaintKind::{BadHost, BadValue, Ignored, InjectedPort, NotEncoded, NotRead};

/// Query parameters that clients know. An `@` in one of their values is no password's.
const KNOWN_PARAMETERS: &[&str] =
    &["db", "protocol", "family", "user", "username", "pass", "password", "client_name", "name", "timeout"];
const PASSWORD: &str = "<password, percent-encoded>";

enum Scheme {
    Tcp { tls: bool },
    Unix,
}

fn scheme_of(name: &str) -> Option<Scheme> {
    match name.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => Some(Scheme::Tcp { tls: false }),
        "rediss" | "valkeys" => Some(Scheme::Tcp { tls: true }),
        "unix" | "redis+unix" | "valkey+unix" | "redis+socket" | "redis-socket" => Some(Scheme::Unix),
        _ => None,
    }
}

/// True if `text` is meant as a URI and not as a host.
pub fn is_uri(text: &str) -> bool {
    text.contains("://") || text.starts_with("unix:")
}

/// Reads `raw` into `layer`: every part it names, and every complaint about it.
pub fn read(layer: &mut Layer, raw: &str) {
    let uri = raw.trim();
    if uri.len() != raw.len() {
        layer.complain(Part::Host, BadValue, "the URI begins or ends with a blank or a line end", None);
    }
    let Some((name, rest)) = uri.split_once(':') else { return no_scheme(layer, uri) };
    match (scheme_of(name), rest.strip_prefix("//")) {
        (Some(Scheme::Unix), Some(rest)) => unix(layer, rest),
        (Some(Scheme::Unix), None) => unix(layer, rest),
        (Some(Scheme::Tcp { tls }), Some(rest)) => tcp(layer, name, tls, rest),
        (Some(Scheme::Tcp { .. }), None) => {
            layer.complain(Part::Host, BadValue, format!("two slashes are missing after `{name}:`"), None);
        }
        (None, Some(rest)) => unknown_scheme(layer, name, rest),
        (None, None) => no_scheme(layer, uri),
    }
}

fn no_scheme(layer: &mut Layer, uri: &str) {
    let meant = meant_place(layer, uri);
    layer.complain(Part::Host, BadValue, "the URI has no scheme: redis:// or rediss:// is meant", meant);
}

fn unknown_scheme(layer: &mut Layer, name: &str, rest: &str) {
    // What stands before `://` may be a password's beginning, if it is no scheme by its letters.
    let is_word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let shown = if is_word { format!("`{name}`") } else { "what stands before `://`".to_owned() };
    let meant = meant_place(layer, rest.trim_end_matches('/'));
    layer.complain(
        Part::Host,
        BadValue,
        format!("{shown} is no scheme of Redis: redis:// or rediss:// is meant"),
        meant,
    );
}

/// The URI that was meant, if `text` is a sound place.
fn meant_place(layer: &mut Layer, text: &str) -> Option<String> {
    let (host, port) = host::read_with_port(text).ok()?;
    (layer.place, layer.port) = (Some(Place::Host(host)), port);
    Some(format!("redis://{text}"))
}

/// The parts of what follows `redis://`.
struct Split<'a> {
    userinfo: Option<&'a str>,
    place: &'a str,
    path: &'a str,
    query: &'a str,
    has_fragment: bool,
}

fn split(rest: &str) -> Split<'_> {
    let (userinfo, after) = match last_at(rest) {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let (after, fragment) = after.split_once('#').map_or((after, None), |(after, fragment)| (after, Some(fragment)));
    let (after, query) = after.split_once('?').unwrap_or((after, ""));
    let (place, path) = after.split_once('/').unwrap_or((after, ""));
    Split { userinfo, place, path, query, has_fragment: fragment.is_some() }
}

/// Where the user and password end: at the last `@`, unless that stands in a sound query.
fn last_at(rest: &str) -> Option<usize> {
    let last = rest.rfind('@')?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let in_query = last > end && is_sound_tail(&rest[end..]);
    if in_query { rest[..end].rfind('@') } else { Some(last) }
}

/// True if `tail` is `/db?known=…&known=…`.
fn is_sound_tail(tail: &str) -> bool {
    let Some((path, query)) = tail.split_once('?') else { return false };
    path.trim_start_matches('/').bytes().all(|byte| byte.is_ascii_digit())
        && query.split('&').all(|pair| KNOWN_PARAMETERS.contains(&pair.split('=').next().unwrap_or_default()))
}

fn tcp(layer: &mut Layer, scheme: &str, tls: bool, rest: &str) {
    let parts = split(rest);
    (layer.tls, layer.settles_port) = (Some(tls), true);
    // `redis://db/?password=a@b/c`: the '@' is the password's, and so is what looks like a place after it.
    if parts.userinfo.is_some_and(|userinfo| userinfo.contains('?') && userinfo.contains("pass")) {
        layer.password = Some(Secret::new(rest));
        let says = "characters that a URI reserves stand raw in the password, so that it has no certain end";
        return layer.complain(Part::Password, NotEncoded, says, None);
    }
    if let Some(userinfo) = parts.userinfo {
        let after = &rest[userinfo.len() + 1..];
        let safe_tail = &after[..after.find(['?', '#']).unwrap_or(after.len())];
        credentials(layer, userinfo, &|user| format!("{scheme}://{user}:{PASSWORD}@{safe_tail}"));
    }
    if parts.place.ends_with(":tcp:") || parts.place.ends_with(":udp:") {
        injected(layer, scheme, &parts);
    } else {
        place(layer, scheme, parts.place);
        database(layer, parts.path);
    }
    query(layer, parts.query);
    if parts.has_fragment {
        layer.complain(Part::Host, Ignored, "the URI has a #fragment, which is not part of any target", None);
    }
}

/// `redis://redis:tcp://10.0.0.1:6379`: a URI built from a port variable that a platform injected.
fn injected(layer: &mut Layer, scheme: &str, parts: &Split) {
    let name = parts.place.split(':').next().unwrap_or_default();
    let port = parts.path.rsplit_once(':').and_then(|(_, digits)| host::port(digits).ok());
    let meant = port.filter(|_| host::read(name).is_ok()).map(|port| format!("{scheme}://{name}:{port}"));
    (layer.place, layer.port) = (host::read(name).ok().map(Place::Host), port);
    layer.complain(Part::Port, InjectedPort, "the URI has an address (tcp://…) where its port should be", meant);
}

/// Reads `user:password`.
fn credentials(layer: &mut Layer, userinfo: &str, meant: &dyn Fn(&str) -> String) {
    let (user, password) = userinfo.split_once(':').map_or((userinfo, None), |(user, pw)| (user, Some(pw)));
    if userinfo.contains("${") || userinfo.contains("$(") || userinfo.contains("{{") {
        layer.complain(Part::Password, BadValue, "the user or password is a variable that was never expanded", None);
        return;
    }
    let (odd_user, odd_password) = (raw(user), raw(password.unwrap_or_default()));
    if odd_user.is_empty() && odd_password.is_empty() {
        decoded(layer, user, password);
    } else {
        // Kept, though it may be misread, so that the report knows there is one. Nothing is sent while this stands.
        layer.password = Some(Secret::new(password.unwrap_or_default()));
        let in_user = !odd_user.is_empty();
        let (odd, whose) = match (in_user, password) {
            (true, Some(_)) => (odd_user, "user"),
            (true, None) => (odd_user, "user or password"),
            (false, _) => (odd_password, "password"),
        };
        let shown_user = if in_user { "<user, percent-encoded>" } else { user };
        let says = format!("{} raw in the {whose} of the URI", stand(&odd));
        layer.complain(Part::Password, NotEncoded, says, Some(meant(shown_user)));
    }
    if password.is_some_and(|password| password.contains(':')) && raw(userinfo).is_empty() {
        let says = "a ':' stands raw in the password of the URI: some clients end the user there, others the password";
        layer.complain(Part::Password, Ignored, says, Some(meant(user)));
    }
}

fn decoded(layer: &mut Layer, user: &str, password: Option<&str>) {
    match (decode(user), password.map(decode)) {
        (Some(user), None) => layer.user = Some(user).filter(|user| !user.is_empty()),
        (Some(user), Some(Some(password))) => {
            layer.user = Some(user).filter(|user| !user.is_empty());
            layer.password = Some(Secret::new(password)).filter(|password| !password.expose().is_empty());
        }
        _ => layer.complain(Part::Password, BadValue, "the user or password decodes to bytes that are no UTF-8", None),
    }
}

/// The kinds of character that may not stand raw in a user or password (RFC 3986 section 3.2.1), each once. A ':' may.
fn raw(text: &str) -> Vec<String> {
    let mut odd = Vec::new();
    for (at, c) in text.char_indices() {
        let hex = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
        let name = match c {
            c if c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:".contains(c) => continue,
            '%' if hex(at + 1) && hex(at + 2) => continue,
            '%' => "'%' without two hex digits".to_owned(),
            c if c.is_whitespace() => "a blank".to_owned(),
            c if c.is_ascii_graphic() => format!("'{c}'"),
            c if c.is_ascii() => "a control character".to_owned(),
            _ => "a character outside ASCII".to_owned(),
        };
        if !odd.contains(&name) {
            odd.push(name);
        }
    }
    odd
}

/// `'@' stands`, `'@' and '/' stand`.
fn stand(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("{one} stands"),
        [first @ .., last] => format!("{} and {last} stand", first.join(", ")),
    }
}

/// Percent-decodes; `None` where the bytes are no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let value = hex.filter(|hex| byte == b'%' && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let value = value.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(value.unwrap_or(byte));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

/// Reads `host:port`. The port is never repeated: without an `@` it may be a password.
fn place(layer: &mut Layer, scheme: &str, text: &str) {
    let (name, digits) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, after)) if after.is_empty() || after.starts_with(':') => {
            let address = address.replacen("%25", "%", 1);
            if !host::is_ipv6(&address) {
                return layer.complain(Part::Host, BadHost, "the brackets hold no IPv6 address", None);
            }
            (address, after.strip_prefix(':'))
        }
        Some(_) => {
            return layer.complain(Part::Host, BadHost, "something other than a port follows the brackets", None);
        }
        // What begins with a colon and has a zone may as well be `:password` without its host.
        None if host::is_ipv6(text) && !(text.starts_with(':') && text.contains('%')) => {
            let says = "an IPv6 address stands in the URI without brackets";
            layer.place = Some(Place::Host(text.to_owned()));
            return layer.complain(Part::Host, BadHost, says, Some(format!("{scheme}://[{text}]")));
        }
        None if text.contains(',') => (text.to_owned(), None),
        None => match text.split_once(':') {
            Some((name, digits)) => (name.to_owned(), Some(digits)),
            None => (text.to_owned(), None),
        },
    };
    match host::read(&name) {
        Ok(name) => layer.place = Some(Place::Host(name)),
        Err(flaw) => bad_place(layer, scheme, &name, flaw),
    }
    match digits.map(host::port) {
        None => {}
        Some(Ok(port)) => layer.port = Some(port),
        Some(Err(_)) if digits == Some("") => {}
        Some(Err(_)) => {
            let unexpanded = digits.is_some_and(host::is_unexpanded);
            let says = if unexpanded { "a variable that was never expanded" } else { "no number from 1 to 65535" };
            layer.complain(Part::Port, BadValue, format!("the port of the URI is {says}"), None);
        }
    }
}

fn bad_place(layer: &mut Layer, scheme: &str, name: &str, flaw: Flaw) {
    let port = flaw.port.map(|port| format!(":{port}")).unwrap_or_default();
    let meant = flaw.host.as_ref().map(|host| format!("{scheme}://{host}{port}"));
    layer.place = flaw.place(name);
    layer.complain_of(Part::Host, flaw, meant);
}

fn database(layer: &mut Layer, path: &str) {
    let path = path.strip_suffix('/').unwrap_or(path);
    match path {
        "" => {}
        path => match host::db(path) {
            Ok(db) => layer.db = Some(db),
            // Not repeated: where the '@' is missing, this may be a password's end.
            Err(_) => layer.complain(Part::Db, BadValue, "the path of the URI is no database index", None),
        },
    }
}

/// Reads `db=3&protocol=3`, as far as several clients honour it.
fn query(layer: &mut Layer, query: &str) {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (key, value) {
            ("db", value) => query_db(layer, value),
            ("protocol", "3" | "resp3") => layer.resp3 = Some(true),
            ("protocol", "2" | "resp2") => layer.resp3 = Some(false),
            ("family", "4") => layer.family = Some(Family::V4),
            ("family", "6") => layer.family = Some(Family::V6),
            ("family", "0") => layer.family = Some(Family::Any),
            ("protocol" | "family", _) => {
                layer.complain(Part::Protocol, BadValue, format!("`{key}` in the URI's query has no such value"), None);
            }
            ("user" | "username", value) if layer.user.is_none() => layer.user = decode(value),
            ("pass" | "password", value) if layer.password.is_none() => {
                layer.password = decode(value).map(Secret::new).filter(|password| !password.expose().is_empty());
            }
            (key, _) => {
                // Where the place is not sound, this may be the rest of a password.
                let sound = layer.complaints.iter().all(|(_, complaint)| !complaint.is_fatal());
                let word = sound && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
                let shown = if word { format!("`{key}`") } else { "a parameter".to_owned() };
                let says = format!("{shown} in the URI's query is not read here, and clients differ on it");
                layer.complain(Part::Host, NotRead, says, None);
            }
        }
    }
}

fn query_db(layer: &mut Layer, value: &str) {
    match (host::db(value), layer.db) {
        (Err(_), _) => layer.complain(Part::Db, BadValue, "`db` in the URI's query is no database index", None),
        (Ok(db), None) => layer.db = Some(db),
        (Ok(db), Some(path)) if db != path => {
            let says = format!("the URI's path says database {path}, its query {db}: clients differ on which counts");
            layer.complain(Part::Db, Ignored, says, Some(format!("/{path} alone")));
        }
        (Ok(_), Some(_)) => {}
    }
}

/// Reads `/path?db=1` or `user:password@/path`.
fn unix(layer: &mut Layer, rest: &str) {
    // A path that begins at once may hold an '@': systemd's instances (redis@6380.sock) do.
    let userinfo = (!rest.starts_with('/')).then(|| rest.rfind("@/")).flatten().map(|at| &rest[..at]);
    let rest = userinfo.map_or(rest, |userinfo| &rest[userinfo.len() + 1..]);
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if let Some(userinfo) = userinfo {
        credentials(layer, userinfo, &|user| format!("unix://{user}:{PASSWORD}@{path}"));
    }
    layer.tls = Some(false);
    let path = match decode(path) {
        Some(path) if path.starts_with('/') => path,
        Some(path) => {
            let meant = (!path.contains([':', '@']) && !path.is_empty()).then(|| format!("unix:///{path}"));
            return layer.complain(Part::Socket, BadValue, "the socket's path in the URI is not absolute", meant);
        }
        None => return layer.complain(Part::Socket, BadValue, "the socket's path decodes to no UTF-8", None),
    };
    match host::socket(&path) {
        Ok(path) => layer.place = Some(Place::Socket(path)),
        Err(flaw) => layer.complain_of(Part::Socket, flaw, None),
    }
    query(layer, parameters);
}

#[cfg(test)]
#[path = "uri_tests.rs"]
mod tests;
