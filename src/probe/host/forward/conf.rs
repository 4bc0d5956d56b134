//! Where a proxy leads, by its configuration: as much of `HAProxy`'s, stunnel's and twemproxy's as says that, and nothing else
//! of it, for they hold passwords.

use super::Lead;

/// The most lines that are read.
const MOST_LINES: usize = 20_000;

/// Reads the file of this proxy.
pub fn parse(name: &str, text: &str) -> Vec<Lead> {
    let lines =
        text.lines().take(MOST_LINES).enumerate().map(|(at, line)| (at + 1, line.trim_start_matches('\u{feff}')));
    match name {
        "haproxy" => haproxy(lines),
        "stunnel" | "stunnel4" => stunnel(lines),
        "nutcracker" | "twemproxy" => nutcracker(lines),
        _ => Vec::new(),
    }
}

/// A part of a file: its name, the ports it listens on, the parts it refers to, and the places it leads to.
#[derive(Default)]
struct Section<'a> {
    name: &'a str,
    ports: Vec<u16>,
    refers: Vec<&'a str>,
    places: Vec<(usize, String)>,
}

/// Those of all sections, each for the ports that lead to it.
fn leads(sections: &[Section]) -> Vec<Lead> {
    let mut found = Vec::new();
    for section in sections {
        let referring = sections.iter().filter(|other| other.refers.contains(&section.name));
        let ports: Vec<u16> = section.ports.iter().chain(referring.flat_map(|other| &other.ports)).copied().collect();
        for (line, place) in &section.places {
            let lead = |port| Lead { port: Some(port), place: place.clone(), line: Some(*line) };
            found.extend(ports.iter().map(|port| lead(*port)));
        }
    }
    found
}

/// `listen`, `frontend` and `backend` with their `bind`, `default_backend`, `use_backend` and `server` lines.
fn haproxy<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Lead> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in lines {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let (Some(word), name) = (words.first(), words.get(1).copied().unwrap_or_default()) else { continue };
        match *word {
            "listen" | "frontend" | "backend" | "defaults" | "global" => {
                sections.push(Section { name, ..Section::default() });
            }
            other => {
                let Some(section) = sections.last_mut() else { continue };
                match (other, words.get(2)) {
                    ("bind", _) => section.ports.extend(name.split(',').filter_map(port)),
                    ("default_backend" | "use_backend", _) => section.refers.push(name),
                    ("server", Some(to)) if port(to).is_some() => section.places.push((number, full(to))),
                    _ => {}
                }
            }
        }
    }
    leads(&sections)
}

/// `[service]` with `accept = [host:]port` and `connect = [host:]port` (stunnel(8)).
fn stunnel<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Lead> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in lines {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[') {
            sections.push(Section { name: name.trim_end_matches(']'), ..Section::default() });
            continue;
        }
        let (Some(section), Some((key, value))) = (sections.last_mut(), line.split_once('=')) else { continue };
        match key.trim().to_ascii_lowercase().as_str() {
            "accept" => section.ports.extend(port(value.trim())),
            "connect" if port(value.trim()).is_some() => section.places.push((number, full(value.trim()))),
            _ => {}
        }
    }
    leads(&sections)
}

/// Pools with `listen: host:port` and, under `servers:`, `- host:port:weight name`.
fn nutcracker<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Lead> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in lines {
        let is_name = !line.starts_with([' ', '#', '-']) && line.trim_end().ends_with(':');
        let line = line.trim();
        if is_name {
            sections.push(Section { name: line.trim_end_matches(':'), ..Section::default() });
            continue;
        }
        let Some(section) = sections.last_mut() else { continue };
        if let Some(value) = line.strip_prefix("listen:") {
            section.ports.extend(port(value.split_whitespace().next().unwrap_or_default()));
        } else if let Some(server) = line.strip_prefix('-') {
            let place = server.split_whitespace().next().and_then(|word| word.rsplit_once(':')).map(|(place, _)| place);
            section.places.extend(place.filter(|place| port(place).is_some()).map(|place| (number, full(place))));
        }
    }
    leads(&sections)
}

/// The port of `6379`, `:6379`, `*:6379`, `db:6379`.
fn port(word: &str) -> Option<u16> {
    word.rsplit(':').next()?.parse().ok()
}

/// With the host where it is left out: this machine.
fn full(word: &str) -> String {
    match word.rsplit_once(':') {
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
        let shown = |lead: Lead| format!("{}>{} {}", lead.port.unwrap(), lead.place, lead.line.unwrap());
        assert_eq!(parse(name, text).into_iter().map(shown).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn haproxy_says_where_it_leads() {
        let listen =
            "global\n  stats socket /run/x\nlisten redis\n  bind *:6379\n  mode tcp\n  server r1 10.0.0.5:6380 check\n";
        check("haproxy", listen, &["6379>10.0.0.5:6380 6"]);
        let split = "frontend in\n bind :6379,:6390 # x\n default_backend out\nbackend out\n tcp-check send AUTH\\ hunter2\\r\\n\n \
                     server a db:6379\n server b /run/r.sock\nbackend other\n server c x:1\n";
        check("haproxy", split, &["6379>db:6379 6", "6390>db:6379 6"]);
    }

    #[test]
    fn stunnel_says_where_it_leads() {
        let text = "\u{feff}; x\npid = /x\n[redis]\nclient = yes\naccept = 127.0.0.1:6379\nconnect = cache.example:6380\n[b]\naccept=1\nconnect = 6379\n";
        check("stunnel4", text, &["6379>cache.example:6380 6", "1>127.0.0.1:6379 9"]);
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
