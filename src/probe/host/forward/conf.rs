//! Where a proxy leads, by its configuration: as much of `HAProxy`'s, stunnel's and twemproxy's as says that, and nothing else
//! of it, for they hold passwords.

use std::net::IpAddr;

use super::Lead;

/// The most lines that are read.
const MOST_LINES: usize = 20_000;
/// The words that begin a section of `HAProxy`'s which neither takes connections nor leads them on, whatever its lines are
/// called.
const ASIDE: [&str; 19] = [
    "defaults",
    "global",
    "peers",
    "resolvers",
    "ring",
    "mailers",
    "userlist",
    "cache",
    "program",
    "http-errors",
    "log-forward",
    "log-profile",
    "fcgi-app",
    "crt-store",
    "crt-list",
    "traces",
    "acme",
    "namespace_list",
    "healthcheck",
];

/// The words of `HAProxy`'s by which a connection goes elsewhere than to the address of its server, or to no server at all.
/// Whoever connects from another address than we do (`source`) may meet another filter.
const LEADING_AWAY: [&str; 7] =
    ["set-dst", "set-dst-port", "namespace", "socks4", "use-service", "transparent", "source"];

/// What a file says of where its proxy leads.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The places.
    pub leads: Vec<Lead>,
    /// True if nothing of it was beyond us: else there may be other places.
    pub whole: bool,
    /// True if the proxy looks names up whenever it connects, and not when it starts alone.
    pub resolves_anew: bool,
    /// The line that lets its places be changed while it runs.
    pub settable: Option<usize>,
}

/// Reads the file of this proxy.
pub fn parse(name: &str, text: &str) -> Way {
    let all = text.lines().take(MOST_LINES).enumerate().map(|(at, line)| (at + 1, line.trim_start_matches('\u{feff}')));
    let mut file = match name {
        "haproxy" => haproxy(all),
        "stunnel" | "stunnel4" => stunnel(all),
        "nutcracker" | "twemproxy" => nutcracker(all),
        _ => return Way::default(),
    };
    file.beyond |= text.lines().nth(MOST_LINES).is_some();
    let File { beyond, resolves_anew, settable, .. } = file;
    Way { leads: leads(&file.sections), whole: !beyond, resolves_anew, settable }
}

/// What was read of a file.
#[derive(Default)]
struct File<'a> {
    sections: Vec<Section<'a>>,
    /// True if something of it may lead elsewhere, and was not understood.
    beyond: bool,
    /// See [`Way::resolves_anew`].
    resolves_anew: bool,
    /// See [`Way::settable`].
    settable: Option<usize>,
}

/// A part of a file: its name, the addresses it listens on, the parts it refers to, and the places it leads to.
#[derive(Default)]
struct Section<'a> {
    name: &'a str,
    aside: bool,
    binds: Vec<Bind>,
    refers: Vec<&'a str>,
    places: Vec<(usize, String)>,
    /// True if all its listeners want the PROXY protocol's header.
    wants_header: bool,
    /// Its protocol, where one is set.
    mode: Option<Mode<'a>>,
}

/// What a section listens on.
struct Bind {
    at: Option<IpAddr>,
    port: u16,
    /// True if it wants the PROXY protocol's header.
    wants_header: bool,
}

/// A line `mode`.
#[derive(Clone, Copy)]
struct Mode<'a> {
    name: &'a str,
    /// Its line; `None` where it is that of the defaults.
    line: Option<usize>,
}

impl<'a> Section<'a> {
    fn called(name: &'a str) -> Self {
        Self { name, ..Self::default() }
    }
}

/// Those of all sections, each for the addresses that lead to it.
fn leads(sections: &[Section]) -> Vec<Lead> {
    let mut found = Vec::new();
    for section in sections {
        let referring = sections.iter().filter(|other| other.refers.contains(&section.name));
        let is_alone = referring.clone().next().is_none();
        let binds: Vec<_> = std::iter::once(section)
            .chain(referring)
            .flat_map(|from| from.binds.iter().map(move |bind| (from, bind)))
            .collect();
        for (line, place) in &section.places {
            let lead = |(from, bind): &(&Section, &Bind)| Lead {
                wants_header: from.wants_header || bind.wants_header,
                http: http(from, section, is_alone),
                ..Lead::new(Some(bind.port), bind.at, place.clone(), Some(*line))
            };
            found.extend(binds.iter().map(lead));
        }
    }
    found
}

/// The line by which a way through these two sections, which may be one, speaks HTTP; `None` where it does not. No line is given
/// where another would have to be changed with it: `HAProxy` refuses a file in which an HTTP frontend leads to a TCP backend.
fn http(from: &Section, to: &Section, is_alone: bool) -> Option<Vec<usize>> {
    let is_one = is_alone && std::ptr::eq(from, to);
    let (from, to) = (from.mode?, to.mode?);
    let is_http = [from, to].iter().all(|mode| mode.name == "http");
    is_http.then(|| to.line.filter(|_| is_one).into_iter().collect())
}

/// `listen`, `frontend` and `backend` with their `bind`, `default_backend`, `use_backend` and `server` lines.
fn haproxy<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> File<'a> {
    let mut file = File::default();
    // The modes of the defaults, by their names: a section names one with `from`, or takes the last before it.
    let mut usual: Vec<(&str, Option<Mode>)> = Vec::new();
    for (number, line) in lines {
        let words = line.split('#').next().unwrap_or_default().split_whitespace();
        let words: Vec<&str> = words.map(|word| word.trim_matches(['"', '\''])).collect();
        let (Some(word), name) = (words.first(), words.get(1).copied().unwrap_or_default()) else { continue };
        match *word {
            "listen" | "frontend" | "backend" => {
                file.sections.push(Section { mode: named_by(&words, &usual), ..Section::called(name) });
            }
            aside if ASIDE.contains(&aside) => {
                if aside == "defaults" {
                    let from = named_by(&words, &usual).filter(|_| words.contains(&"from"));
                    usual.push((name, from));
                }
                file.sections.push(Section { aside: true, ..Section::default() });
            }
            "mode" => {
                let own = |section: &&mut Section| !section.aside;
                match file.sections.last_mut().filter(own) {
                    Some(section) => section.mode = Some(Mode { name, line: Some(number) }),
                    None => usual
                        .iter_mut()
                        .last()
                        .into_iter()
                        .for_each(|(_, mode)| *mode = Some(Mode { name, line: None })),
                }
            }
            other => file.haproxy_line(other, &words[1..], number),
        }
    }
    // A backend that is chosen by an expression, or that another file has.
    let names: Vec<&str> = file.sections.iter().filter(|section| !section.aside).map(|section| section.name).collect();
    file.beyond |= file.sections.iter().flat_map(|section| &section.refers).any(|name| !names.contains(name));
    file
}

/// The mode of the defaults that the head of a section names, or else of the last before it.
fn named_by<'a>(head: &[&str], usual: &[(&'a str, Option<Mode<'a>>)]) -> Option<Mode<'a>> {
    let from = head.windows(2).find(|pair| pair[0] == "from").map(|pair| pair[1]);
    let is_meant = |(name, _): &&(&str, _)| from.is_none_or(|from| from == *name);
    usual.iter().rev().find(is_meant)?.1
}

impl<'a> File<'a> {
    fn haproxy_line(&mut self, word: &str, rest: &[&'a str], number: usize) {
        let Some(section) = self.sections.last_mut() else { return };
        let first = rest.first().copied().unwrap_or_default();
        let leads_away = |word: &&str| LEADING_AWAY.contains(word) || word.starts_with("lua.");
        // 'balance source' is of who asks.
        self.beyond |= word != "balance" && rest.iter().any(leads_away);
        // Lua may set the addresses of servers (Server.set_addr).
        self.beyond |= ["dispatch", "source"].contains(&word) || word.starts_with("lua-load");
        let expects = word == "tcp-request" && rest.contains(&"expect-proxy");
        let is_admin = || rest.windows(2).any(|two| two == ["level", "admin"]);
        match (word, section.aside) {
            // The addresses of servers as they were when it ended, for whatever section.
            ("load-server-state-from-file", _) => self.beyond |= first != "none",
            ("stats", true) if first == "socket" && is_admin() => self.settable = Some(number),
            // Conditions of the file itself, what all sections after it take over, and servers that a name is asked for.
            (".if" | ".elif" | ".else" | ".include", _) | ("default_backend", true) | ("server-template", false) => {
                self.beyond = true;
            }
            ("tcp-request", false) if expects && rest.ends_with(&["layer4"]) => section.wants_header = true,
            ("tcp-request", _) if expects => self.beyond = true,
            ("bind", false) => {
                for to in first.split(',') {
                    self.beyond |= section.listens(to, rest.contains(&"accept-proxy"));
                }
            }
            ("default_backend" | "use_backend", false) => section.refers.push(first),
            ("server", false) => {
                let (asked, told): (Vec<&str>, _) = rest.get(1).into_iter().copied().partition(|to| is_as_asked(to));
                self.beyond |= !asked.is_empty();
                section.places.extend(told.into_iter().map(|to: &str| (number, full(to))));
            }
            _ => {}
        }
    }
}

impl Section<'_> {
    /// Takes an address that it listens on; true if it was not understood.
    fn listens(&mut self, to: &str, wants_header: bool) -> bool {
        if to.starts_with(['/', '@']) || to.starts_with("unix@") || to.starts_with("abns@") {
            return false;
        }
        let to = to.strip_prefix("ipv4@").or_else(|| to.strip_prefix("ipv6@")).unwrap_or(to);
        let Some(port) = port(to) else { return true };
        let host = to.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
        let ip: Option<IpAddr> = host.parse().ok();
        self.binds.push(Bind { at: ip.filter(|ip| !ip.is_unspecified()), port, wants_header });
        ip.is_none() && !["", "*"].contains(&host)
    }
}

/// `[service]` with `accept = [host:]port` and `connect = [host:]port` (stunnel(8)).
fn stunnel<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> File<'a> {
    let mut file = File::default();
    for (number, line) in lines {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[') {
            file.sections.push(Section::called(name.trim_end_matches(']')));
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        file.beyond |= match key.as_str() {
            "include" | "exec" | "local" => true,
            "protocol" => value == "socks",
            // Of a server, the service that it takes a connection from: `redis:*.example.com`.
            "sni" => value.contains(':'),
            "transparent" => ["destination", "both"].contains(&value),
            _ => false,
        };
        // Before the first service it counts for all.
        file.resolves_anew |= key == "delay" && value == "yes" && file.sections.is_empty();
        let Some(section) = file.sections.last_mut() else { continue };
        match key.as_str() {
            "accept" => file.beyond |= section.listens(value, false),
            "connect" => section.places.push((number, full(value))),
            _ => {}
        }
    }
    file
}

/// Pools with `listen: host:port` and, under `servers:`, `- host:port:weight name`.
fn nutcracker<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> File<'a> {
    let mut file = File::default();
    for (number, line) in lines {
        let is_name = !line.starts_with([' ', '#', '-']) && line.trim_end().ends_with(':');
        let line = line.trim();
        if is_name {
            file.sections.push(Section::called(line.trim_end_matches(':')));
            continue;
        }
        let Some(section) = file.sections.last_mut() else { continue };
        if let Some(value) = line.strip_prefix("listen:") {
            file.beyond |= section.listens(value.split_whitespace().next().unwrap_or_default(), false);
        } else if let Some(server) = line.strip_prefix('-') {
            let word = server.split_whitespace().next().unwrap_or_default();
            let place = word.rsplit_once(':').map_or(word, |(place, _)| place);
            section.places.push((number, full(place)));
        } else {
            file.beyond |= line.starts_with("servers:") && line.contains('[');
        }
    }
    file
}

/// True if a part of this address of a `server` line is taken from the connection that came in: its host (`*`, `0.0.0.0`), or
/// its port (0).
fn is_as_asked(to: &str) -> bool {
    let to = to.strip_prefix("ipv4@").or_else(|| to.strip_prefix("ipv6@")).unwrap_or(to);
    let host = to.rsplit_once(':').map_or(to, |(host, _)| host).trim_matches(['[', ']']);
    let is_any = host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    is_any || ["", "*"].contains(&host) || port(to) == Some(0)
}

/// The port of `6379`, `:6379`, `*:6379`, `db:6379`; none of `:+1`, which is an offset.
pub fn port(word: &str) -> Option<u16> {
    let port = word.rsplit(':').next()?;
    port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// With the host where it is left out: this machine. What has no port is left as it is: nobody can be met there.
fn full(word: &str) -> String {
    match word.rsplit_once(':') {
        _ if port(word).is_none() => word.to_owned(),
        None => format!("127.0.0.1:{word}"),
        Some(("" | "*", port)) => format!("127.0.0.1:{port}"),
        Some(_) => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, expected: &[&str]) {
        let shown = |lead: Lead| {
            let at = lead.at.map_or_else(String::new, |at| format!("{at} "));
            format!("{at}{}>{} {}", lead.port.unwrap(), lead.place, lead.line.unwrap())
        };
        assert_eq!(parse(name, text).leads.into_iter().map(shown).collect::<Vec<_>>(), expected, "{text}");
    }

    #[track_caller]
    fn is_whole(name: &str, text: &str, expected: bool) {
        assert_eq!(parse(name, text).whole, expected, "{text}");
    }

    #[test]
    fn haproxy_says_where_it_leads() {
        let listen =
            "global\n  stats socket /run/x\nlisten redis\n  bind *:6379\n  mode tcp\n  server r1 10.0.0.5:6380 check\n";
        check("haproxy", listen, &["6379>10.0.0.5:6380 6"]);
        let split = "frontend in\n bind :6379,:6390 # x\n default_backend out\nbackend out\n tcp-check send AUTH\\ hunter2\\r\\n\n \
                     server a db:6379\n server b /run/r.sock\nbackend other\n server c x:1\n";
        check("haproxy", split, &["6379>db:6379 6", "6390>db:6379 6", "6379>/run/r.sock 7", "6390>/run/r.sock 7"]);
    }

    #[test]
    fn haproxys_listeners_have_addresses() {
        let two = "listen a\n bind 10.66.0.1:7333,127.0.0.1:1\n server x unix@/s check\nlisten b\n bind ipv4@127.0.0.1:7333\n server y db\n";
        check("haproxy", two, &["10.66.0.1 7333>unix@/s 3", "127.0.0.1 1>unix@/s 3", "127.0.0.1 7333>db 6"]);
        check("haproxy", "listen a\n bind :::1\n server x [::1]:+1\n", &["1>[::1]:+1 3"]);
        check("stunnel", "[a]\naccept = ::1:6379\nconnect = /run/s\n", &["::1 6379>/run/s 3"]);
    }

    #[test]
    fn other_sections_of_haproxy_lead_nowhere() {
        for section in ["peers p", "resolvers r", "ring x", "mailers m", "userlist u", "cache c", "global", "defaults"]
        {
            let text = format!("listen a\n bind :1\n{section}\n bind :2\n server x h:3\n");
            check("haproxy", &text, &[]);
            is_whole("haproxy", &text, true);
        }
    }

    #[test]
    fn what_is_beyond_us_is_known_to_be() {
        let listen = |line: &str| format!("listen a\n bind :1\n server x h:3\n{line}\n");
        is_whole("haproxy", &listen(""), true);
        let beyond = [" server-template s 1-3 h:1", " bind db:2", " bind :\"${P}\"", " bind :1-9", " use_backend %[x]"];
        for line in beyond.into_iter().chain([".if x", "defaults\n default_backend b"]) {
            is_whole("haproxy", &listen(line), false);
        }
        let away = [
            " server d 0.0.0.0:0",
            " server d 0.0.0.0:6379",
            " server d *:6379",
            " server d [::]:6379",
            " server d h:0",
            " server d 10.0.0.1:1 check namespace n",
            " server d 10.0.0.1:1 socks4 10.0.0.2:1080",
            " tcp-request content set-dst ipv4(127.0.0.1)",
            " tcp-request content lua.x",
            " default-server socks4 h:1",
            " option transparent",
            " dispatch h:1",
            " server d 10.0.0.1:1 check source 10.0.0.9",
            " source 10.0.0.9",
            " default-server source 10.0.0.9",
            "defaults\n source 10.0.0.9",
            "global\n lua-load /x.lua",
            "global\n lua-load-per-thread /x.lua",
            " tcp-request connection expect-proxy layer4 if { src 10.0.0.1 }",
        ];
        for line in away {
            is_whole("haproxy", &listen(line), false);
        }
        is_whole("haproxy", &listen(" tcp-request content reject if x\n server b 10.0.0.1:1 check backup"), true);
        is_whole("haproxy", &listen(" balance source\n tcp-request connection expect-proxy layer4"), true);
        for (line, whole) in [
            ("sni = a.example", true),
            ("sni = a:b.example", false),
            ("exec = /x", false),
            ("local = 10.0.0.9", false),
            ("protocol = socks", false),
            ("protocol = proxy", true),
        ] {
            is_whole("stunnel", &format!("[a]\naccept = 1\n{line}\n"), whole);
        }
        is_whole("haproxy", &listen(" bind unix@/s"), true);
        is_whole("haproxy", &listen("defaults\n load-server-state-from-file global"), false);
        is_whole("haproxy", &listen("defaults\n load-server-state-from-file none"), true);
        is_whole("stunnel", "include = /x\n[a]\naccept = 1\n", false);
        is_whole("nutcracker", "a:\n  servers: [h:1:1]\n", false);
        is_whole("nginx", "", false);
        is_whole("haproxy", &"\n".repeat(MOST_LINES + 1), false);
    }

    #[test]
    fn what_changes_while_it_runs_is_known() {
        for level in ["level admin", "\"level\" 'admin'"] {
            let way = parse(
                "haproxy",
                &format!("global\n stats socket /a mode 660 {level}\nlisten a\n bind :1\n server x h:3\n"),
            );
            assert_eq!((way.settable, way.resolves_anew), (Some(2), false), "{level}");
        }
        assert_eq!(parse("haproxy", "global\n stats socket /a level operator\n").settable, None);
        for (text, expected) in
            [("delay = yes\n[a]\n", true), ("delay = no\n[a]\n", false), ("[a]\ndelay=yes\n", false)]
        {
            assert_eq!(parse("stunnel", text).resolves_anew, expected, "{text}");
        }
    }

    #[test]
    fn each_listener_wants_a_header_or_none() {
        let text = "listen a\n bind 10.0.0.1:1 accept-proxy\n bind :2\n server x h:3\nlisten b\n bind 127.0.0.1:1\n server x h:3\n\
                    frontend c\n bind :4\n tcp-request connection expect-proxy layer4\n default_backend d\nbackend d\n server x h:3\n";
        let wants = parse("haproxy", text).leads.into_iter().map(|lead| (lead.port.unwrap(), lead.wants_header));
        assert_eq!(wants.collect::<Vec<_>>(), [(1, true), (2, false), (1, false), (4, true)]);
    }

    #[track_caller]
    fn is_http(text: &str, expected: Option<&[usize]>) {
        assert_eq!(parse("haproxy", text).leads[0].http.as_deref(), expected, "{text}");
    }

    #[test]
    fn the_mode_is_the_sections_own_or_that_of_the_defaults() {
        let listen = |before: &str, line: &str| format!("{before}listen a\n bind :1\n{line} server x h:3\n");
        is_http(&listen("", ""), None);
        is_http(&listen("", " mode http\n"), Some(&[3]));
        is_http(&listen("defaults\n mode http\n", ""), Some(&[]));
        is_http(&listen("defaults\n mode http\n", " mode tcp\n"), None);
        is_http(&listen("defaults\n mode http\ndefaults\n", ""), None);
        let split = "frontend a\n bind :1\n mode http\n default_backend b\nbackend b\n mode http\n server x h:3\n";
        // One of them alone makes a file that HAProxy refuses.
        is_http(split, Some(&[]));
        let named = "defaults a\n mode http\ndefaults b\n mode tcp\nlisten l from a\n bind :1\n server x h:3\n";
        is_http(named, Some(&[]));
        is_http(&named.replace("from a", "from b"), None);
        is_http(&named.replace("defaults b\n mode tcp", "defaults b from a"), Some(&[]));
        let shared =
            "listen a\n bind :1\n mode http\n server x h:3\nfrontend b\n bind :2\n mode http\n default_backend a\n";
        is_http(shared, Some(&[]));
        is_http(&split.replacen("http", "tcp", 1), None);
    }

    #[test]
    fn stunnel_says_where_it_leads() {
        let text = "\u{feff}; x\npid = /x\n[redis]\nclient = yes\naccept = 127.0.0.1:6379\nconnect = cache.example:6380\n[b]\naccept=1\nconnect = 6379\n";
        check("stunnel4", text, &["127.0.0.1 6379>cache.example:6380 6", "1>127.0.0.1:6379 9"]);
    }

    #[test]
    fn twemproxy_says_where_it_leads() {
        let text = "alpha:\n  listen: 0.0.0.0:22121\n  redis: true\n  redis_auth: hunter2\n  servers:\n   - 127.0.0.1:6379:1 a\n   - db:6380:1\n";
        check("nutcracker", text, &["22121>127.0.0.1:6379 6", "22121>db:6380 7"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(name in "(haproxy|stunnel|nutcracker)", text in "([ \\[]?(bind|server|listen|accept|connect|-|a)[:= ]{0,2}[a-z0-9:. ]{0,12}\n){0,8}") {
            let _ = parse(&name, &text);
        }
    }
}
