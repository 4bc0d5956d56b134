//! Proxies of the server's machine that end TLS themselves: at which of their listeners, and with whose certificate. Where they lead
//! is in `forward`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::forward::{Forward, arguments, is_after};
use super::process::Processes;
use crate::model::{Observed, escape};
use crate::sys::files;

/// The most lines that are read of a file, and the most listeners that are told of a proxy.
const MOST_LINES: usize = 20_000;
const MOST: usize = 256;
/// What is followed by a name or a path in `HAProxy`'s `bind` lines, which may be called like anything.
const WORDED: [&str; 10] =
    ["name", "id", "user", "group", "interface", "namespace", "ca-file", "ca-sign-file", "crl-file", "label"];

/// A listener of a proxy, as its file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// The proxy's process.
    pub pid: u32,
    /// The line that says so: `/etc/haproxy/haproxy.cfg:12`.
    pub place: String,
    /// The address; `None` for every one.
    pub at: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Whether TLS ends there: else it is passed on as it is.
    pub ends_tls: bool,
    /// The file with the certificate, where one is named, and it alone.
    pub certificate: Option<String>,
    /// When that file was last changed (RFC 3339, UTC), where that was after the start of the process, which may not have read it
    /// since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_at: Option<String>,
}

/// What the file of a proxy says of a listener.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Said {
    line: usize,
    listens: Option<(Option<IpAddr>, u16)>,
    ends_tls: bool,
    certificate: Option<String>,
}

/// Reads the files of these proxies, those that say so of themselves in a way that we know.
pub fn gather(forwards: &[Forward], processes: &Observed<Processes>) -> Vec<Front> {
    let strangers = processes.seen().map_or(&[][..], |processes| &processes.strangers);
    let of = |forward: &Forward| {
        let process = strangers.iter().find(|process| process.pid == forward.pid)?;
        // Another file may have a listener that is nearer.
        if arguments::names_more(&process.args) {
            return None;
        }
        let name = &process.name;
        let file = forward.file.as_deref()?;
        let text = files::read_text(file).ok()?;
        let front = |said: Said| {
            let (at, port) = said.listens?;
            let changed = said.certificate.as_deref().and_then(files::changed_at);
            let renewed_at = changed.filter(|changed| is_after(changed, process.started_at.as_deref()));
            let certificate = said.certificate.map(|path| escape(path.as_bytes()));
            let place = format!("{file}:{}", said.line);
            Some(Front { pid: forward.pid, place, at, port, ends_tls: said.ends_tls, certificate, renewed_at })
        };
        Some(parse(name, &text).into_iter().filter_map(front).take(MOST).collect::<Vec<_>>())
    };
    // A folder holds any number of them.
    let is_folder = |path: &mut String| files::meta(path).is_some_and(|meta| meta.kind == "folder");
    let of = |forward: &Forward| {
        let mut found = of(forward)?;
        for front in &mut found {
            if front.certificate.take_if(is_folder).is_some() {
                front.renewed_at = None;
            }
        }
        Some(found)
    };
    forwards.iter().filter_map(of).flatten().collect()
}

fn parse(name: &str, text: &str) -> Vec<Said> {
    let lines = text.lines().take(MOST_LINES).enumerate().map(|(at, line)| (at + 1, line.trim()));
    let (mut found, is_whole) = match name {
        "haproxy" => haproxy(lines),
        "stunnel" | "stunnel4" => stunnel(lines),
        _ => return Vec::new(),
    };
    // What was not understood may be for the very address that one for all of them has the port on, too.
    let whole = is_whole && found.iter().all(|said| said.listens.is_some());
    found.retain(|said| whole || said.listens.is_some_and(|(at, _)| at.is_some()));
    found
}

/// `crt-base FOLDER`, for what comes after it, and the listeners; and whether that is all.
fn haproxy<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> (Vec<Said>, bool) {
    let (mut base, mut found) = (None, Vec::new());
    for (number, line) in lines {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        match words.as_slice() {
            ["crt-base", folder, ..] => base = Some(*folder),
            // Whether the lines after it count is not known.
            [".if" | ".elif" | ".else" | ".include", ..] => return (Vec::new(), false),
            // A unix socket has no port.
            ["bind", to, ..] if ["/", "unix@", "abns@"].iter().any(|path| to.starts_with(path)) => {}
            ["bind", to, rest @ ..] => found.extend(bind(number, to, rest, base)),
            _ => {}
        }
    }
    (found, true)
}

/// `bind ADDRESS[,ADDRESS] ssl crt FILE` (`HAProxy`, configuration.txt section 5.1).
fn bind(line: usize, to: &str, rest: &[&str], base: Option<&str>) -> Vec<Said> {
    let (mut ends_tls, mut after, mut words) = (false, Vec::new(), rest.iter());
    while let Some(word) = words.next() {
        match *word {
            "ssl" => ends_tls = true,
            "crt" | "crt-list" => after.extend(words.next().map(|path| (*word, *path))),
            // What comes next is a word of its own, whatever it says.
            word if WORDED.contains(&word) => drop(words.next()),
            _ => {}
        }
    }
    // A list is no certificate, and of several it is not known which one is shown.
    let certificate = match after.as_slice() {
        [("crt", path)] if path.starts_with('/') => Some((*path).to_owned()),
        [("crt", path)] => base.map(|base| format!("{}/{path}", base.trim_end_matches('/'))),
        _ => None,
    };
    // Quotes and variables are not resolved.
    let certificate = certificate.filter(|path| path.starts_with('/') && !path.contains(['"', '\\', '\'', '$']));
    let said = |to: &str| Said { line, listens: listens(to), ends_tls, certificate: certificate.clone() };
    to.split(',').map(said).collect()
}

/// `accept`, `cert` and `client` of each service; before the first they count for all that do not say otherwise (stunnel(8)).
fn stunnel<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> (Vec<Said>, bool) {
    let mut all = Said { ends_tls: true, ..Said::default() };
    let mut found: Vec<(&str, Said)> = Vec::new();
    let (mut primary, mut whole) = (Vec::new(), true);
    for (number, line) in lines {
        if let Some(name) = line.strip_prefix('[') {
            found.push((name.trim_end_matches(']'), all.clone()));
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else { continue };
        let service = found.last_mut().map_or(&mut all, |(_, service)| service);
        match key.to_ascii_lowercase().as_str() {
            "accept" => (service.line, service.listens) = (number, listens(value)),
            "cert" => service.certificate = Some(value.to_owned()).filter(|path| path.starts_with('/')),
            // As a client it takes what is plain, and begins TLS itself.
            "client" => service.ends_tls = !value.eq_ignore_ascii_case("yes"),
            "include" => whole = false,
            // A name that another service's listener shows the certificate of this one for (`service:name`).
            "sni" => primary.extend(value.split_once(':').map(|(of, _)| of.trim())),
            _ => {}
        }
    }
    for (_, service) in found.iter_mut().filter(|(name, _)| primary.contains(name)) {
        service.certificate = None;
    }
    // What takes no connections of its own has no listener to understand.
    (found.into_iter().map(|(_, service)| service).filter(|service| service.line > 0).collect(), whole)
}

/// Address and port of `6380`, `:6380`, `*:6380`, `127.0.0.1:6380`; none where it is something else.
fn listens(to: &str) -> Option<(Option<IpAddr>, u16)> {
    let to = to.strip_prefix("ipv4@").or_else(|| to.strip_prefix("ipv6@")).unwrap_or(to);
    let (host, port) = to.rsplit_once(':').unwrap_or(("", to));
    let (host, port) = (host.trim_matches(['[', ']']), port.parse().ok()?);
    match host {
        "" | "*" => Some((None, port)),
        host => host.parse().ok().map(|ip: IpAddr| (Some(ip).filter(|ip| !ip.is_unspecified()), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, expected: &[&str]) {
        let shown = |said: Said| {
            let (at, port) = said.listens.unwrap();
            let at = at.map_or_else(String::new, |at| format!("{at} "));
            format!("{at}{port} {} {}", said.ends_tls, said.certificate.unwrap_or_default()).trim_end().to_owned()
        };
        assert_eq!(parse(name, text).into_iter().map(shown).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn haproxy_ends_tls_where_its_line_says_so() {
        let text =
            "global\n crt-base /x\nlisten a\n bind :6380,127.0.0.1:6381 ssl crt /etc/a.pem # x\n bind [::1]:6382\n";
        check("haproxy", text, &["6380 true /etc/a.pem", "127.0.0.1 6381 true /etc/a.pem", "::1 6382 false"]);
        // What holds the names of certificates is none.
        check("haproxy", "bind :1 ssl crt-list /etc/list", &["1 true"]);
        check("haproxy", "bind :1 ssl crt /a.pem crt /b.pem", &["1 true"]);
        check("haproxy", "bind :1 ssl crt a.pem", &["1 true"]);
        check("haproxy", "bind :1 ssl crt \"/a b.pem\"", &["1 true"]);
        check("haproxy", "crt-base /x/\nbind :1 ssl crt a.pem", &["1 true /x/a.pem"]);
        // A word is not always the word.
        check("haproxy", "bind :1 name ssl", &["1 false"]);
        check("haproxy", "bind :1 name name ssl crt /a.pem name crt", &["1 true /a.pem"]);
        check("haproxy", "bind :1 ssl crt /a.pem\n.if defined(X)\nbind :2\n.endif", &[]);
        // One that is not understood may be nearer than that for all addresses.
        check("haproxy", "bind /run/h.sock\nbind :1 ssl crt /a.pem", &["1 true /a.pem"]);
        check("haproxy", "bind :1 ssl crt /a.pem\nbind 127.0.0.1:2\nbind \"127.0.0.1:1\"", &["127.0.0.1 2 false"]);
    }

    #[test]
    fn stunnel_ends_tls_unless_it_is_a_client() {
        let text = "cert = /etc/all.pem\n[a]\naccept = 6380\n[b]\naccept=127.0.0.1:6381\ncert=/etc/b.pem\n[c]\nclient = yes\naccept = 1\n";
        let expected = ["6380 true /etc/all.pem", "127.0.0.1 6381 true /etc/b.pem", "1 false /etc/all.pem"];
        check("stunnel4", text, &expected);
        check("nginx", text, &[]);
        // Which certificate is shown depends on the name that is asked for.
        check(
            "stunnel",
            "[a]\naccept=1\ncert=/a\n[b]\nsni = a:db\ncert=/b\n[c]\naccept=2\ncert=/c",
            &["1 true", "2 true /c"],
        );
        check("stunnel", "[a]\naccept=1\ncert=/a\n[c]\naccept=127.0.0.1:2\n[d]\naccept=db:1", &["127.0.0.1 2 true"]);
        check("stunnel", "include = /etc/stunnel.d\n[a]\naccept=1\ncert=/a", &[]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(name in "(haproxy|stunnel)", text in "([ \\[]?(bind|accept|cert|client|a)[:= ]{0,2}[a-z0-9:. \\[\\]]{0,12}\n){0,8}") {
            let _ = parse(&name, &text);
        }
    }
}
