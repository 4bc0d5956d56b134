//! redis.conf is read as the servers read it: each server is the judge of what our parser says.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use redisdoc::model::escape;
use redisdoc::probe::host::conf::{self, Fault, Files, FoundBy, Leads, Parsed};
use redisdoc::probe::host::process::Process;
use redisdoc::probe::host::system;
use redisdoc::sys::files;

use crate::world::{Host, Lab, Running, Server};

/// How many servers run at once.
const AT_ONCE: usize = 6;
const FOLDER: &str = "/srv/conf";
const MARKER: &str = "hunter2";

/// A generator of numbers: the same for every run, so that a failure stays.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// The files of a host.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        files::read(path)
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        files::matching(pattern, 100)
    }

    fn is_missing(&self, path: &str) -> bool {
        files::is_missing(path)
    }
}

fn program(server: Server) -> Option<String> {
    if server == Server::Debian {
        return Some("redis-server".to_owned());
    }
    server.program().map(|program| program.to_str().expect("UTF-8").to_owned())
}

fn parsed(host: &Host, path: &str) -> Parsed {
    let path = path.to_owned();
    host.inside(move || conf::parse(&path, &files::read(&path).expect("the file"), Some(FOLDER), &Disk))
}

/// What CONFIG GET says, waiting for the server to come up.
fn ask(host: &Host, socket: &str, names: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let (socket, names): (String, Vec<String>) =
        (socket.to_owned(), names.iter().map(|&name| name.to_owned()).collect());
    host.inside(move || {
        let begun = Instant::now();
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(10), "{socket}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let mut stream = BufReader::new(stream);
        names.into_iter().filter_map(|name| Some((name.clone(), config_get(&mut stream, &name)?))).collect()
    })
}

fn config_get(stream: &mut BufReader<UnixStream>, name: &str) -> Option<Vec<u8>> {
    let request = format!("*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n${}\r\n{name}\r\n", name.len());
    stream.get_mut().write_all(request.as_bytes()).expect("writing");
    let mut line = String::new();
    stream.read_line(&mut line).expect("an array");
    if line.trim_end() == "*0" {
        return None;
    }
    assert_eq!(line, "*2\r\n", "{name}");
    let _name = bulk(stream);
    Some(bulk(stream))
}

fn bulk(stream: &mut BufReader<UnixStream>) -> Vec<u8> {
    let mut line = String::new();
    stream.read_line(&mut line).expect("a length");
    let length: usize = line.trim_end().trim_start_matches('$').parse().expect("a number");
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes).expect("a string");
    bytes.truncate(length);
    bytes
}

/// What a value of these directives may be; every version has them, and CONFIG GET says them as they are.
const NUMBERS: &[(&str, &[&str])] = &[
    ("timeout", &["0", "7", "300"]),
    ("tcp-keepalive", &["0", "60"]),
    ("slowlog-max-len", &["1", "999"]),
    ("databases", &["1", "32"]),
    ("replica-priority", &["1", "2", "3"]),
    ("slave-priority", &["4", "5", "6"]),
    ("lua-time-limit", &["1", "2"]),
    ("rdbcompression", &["yes", "no", "NO"]),
    ("appendfsync", &["always", "Everysec"]),
    ("maxmemory-policy", &["allkeys-lru", "volatile-ttl"]),
];
const TEXTS: &[&str] = &["syslog-ident", "replica-announce-ip", "cluster-config-file", "slave-announce-ip"];

/// A word that Redis reads as `value`, in one of the ways there are.
fn quoted(dice: &mut Dice, value: &[u8]) -> Vec<u8> {
    let plain =
        !value.is_empty() && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"\\#.-\xc3\xa9".contains(byte));
    let single = !value.iter().any(|byte| b"\n\\".contains(byte));
    match dice.below(4) {
        0 if plain => value.to_vec(),
        1 if single => [b"'", value.escape_single().as_slice(), b"'"].concat(),
        2 if plain => {
            let at = dice.below(value.len());
            [&value[..at], &double(dice, &value[at..])].concat()
        }
        _ => double(dice, value),
    }
}

trait EscapeSingle {
    fn escape_single(&self) -> Vec<u8>;
}

impl EscapeSingle for [u8] {
    fn escape_single(&self) -> Vec<u8> {
        self.iter().flat_map(|&byte| if byte == b'\'' { b"\\'".to_vec() } else { vec![byte] }).collect()
    }
}

fn double(dice: &mut Dice, value: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for &byte in value {
        match (byte, dice.below(3)) {
            (b'\n', 0) => out.extend(b"\\n"),
            (b'\t', 0) => out.extend(b"\\t"),
            (0x07, 0) => out.extend(b"\\a"),
            (b'"' | b'\\', _) => out.extend([b'\\', byte]),
            (b'\n', _) | (_, 1) => out.extend(format!("\\x{byte:02X}").bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    out
}

fn text_value(dice: &mut Dice) -> Vec<u8> {
    // Not 0xff, which Valkey 9.0 loses between quotes.
    let bytes = b"ab7 '\"\\#\n\t\x07\xc3\xa9\xfe.-n";
    (0..=dice.below(8)).map(|_| bytes[dice.below(bytes.len())]).collect()
}

fn line(dice: &mut Dice) -> Vec<u8> {
    let (name, value) = match dice.below(10) {
        0..5 => {
            let (name, values) = NUMBERS[dice.below(NUMBERS.len())];
            (name, dice.pick(values).as_bytes().to_vec())
        }
        5..8 => (dice.pick(TEXTS), text_value(dice)),
        8 => ("masterauth", [MARKER.as_bytes(), &text_value(dice)].concat()),
        _ => return dice.pick(&["# it's \"x", "", "  ", "#", "bind 127.0.0.1\t ::1", "bind  '10.0.0.1'"]).into(),
    };
    let name = if dice.below(4) == 0 { name.to_ascii_uppercase() } else { name.to_owned() };
    let value = quoted(dice, &value);
    let gap = dice.pick(&[" ", "\t", "  \t ", " \u{b}"]);
    let start = dice.pick(&["", "", " ", "\t"]);
    let end = dice.pick(&["", "", " ", "\r", " \t\r"]);
    [start.as_bytes(), name.as_bytes(), gap.as_bytes(), &value, end.as_bytes()].concat()
}

fn lines(dice: &mut Dice, most: usize) -> Vec<u8> {
    let count = 1 + dice.below(most);
    let mut text = (0..count).map(|_| line(dice)).collect::<Vec<_>>().join(&b'\n');
    // A file without a line break at its end runs into the next one of a pattern.
    if dice.below(4) > 0 {
        text.push(b'\n');
    }
    text
}

/// Writes a redis.conf with includes of every kind; patterns are for Redis 7 and later.
fn write(host: &Host, dice: &mut Dice, folder: &str, patterns: bool) {
    let mut text = format!("port 0\nunixsocket {folder}/s\ndaemonize no\nsave \"\"\n").into_bytes();
    for part in 0..=dice.below(4) {
        text.extend(lines(dice, 8));
        text.push(b'\n');
        let include = match dice.below(4) {
            0 => format!("include {folder}/part{part}.conf\n"),
            1 => format!("dir {folder}\nINCLUDE 'part{part}.conf'\r\n"),
            2 if patterns => format!("include \"{folder}/d{part}/*.conf\"\n"),
            3 if patterns => format!("include {folder}/none/*.conf\ninclude {folder}\n"),
            _ => String::new(),
        };
        text.extend(include.bytes());
        host.file(&format!("{folder}/part{part}.conf"), lines(dice, 4));
        for name in ["a", "B", "c"] {
            host.file(&format!("{folder}/d{part}/{name}.conf"), lines(dice, 2));
        }
    }
    host.file(&format!("{folder}/redis.conf"), text);
}

#[test]
fn settings_count_as_the_servers_say() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("solo");
    let mut dice = Dice(0x5eed_0001);
    let (mut number, mut up) = (0, 0);
    for server in Server::ALL {
        let Some(program) = program(server) else { continue };
        let patterns = !matches!(server, Server::Redis50 | Server::Redis60 | Server::Redis62);
        for _ in 0..if server == Server::Debian { 6 } else { 2 } {
            let folders: Vec<String> = (0..AT_ONCE).map(|at| format!("{FOLDER}/{}", number + at)).collect();
            number += AT_ONCE;
            let start = |folder: &String| {
                write(&host, &mut dice, folder, patterns);
                host.command(&[&program, &format!("{folder}/redis.conf")]).dir(FOLDER).spawn()
            };
            let servers: Vec<Running> = folders.iter().map(start).collect();
            for (folder, mut running) in folders.iter().zip(servers) {
                if comes_up(&host, &mut running, folder) {
                    compare(&host, server, folder);
                    up += 1;
                } else {
                    // Two lines ran into each other, where a file has no line break at its end.
                    let parsed = parsed(&host, &format!("{folder}/redis.conf"));
                    assert!(!parsed.errors.is_empty(), "{server:?} takes none of it: {}", running.said());
                }
            }
        }
    }
    assert!(up * 10 > number * 8, "only {up} of {number} servers came up");
}

fn comes_up(host: &Host, running: &mut Running, folder: &str) -> bool {
    let socket = format!("{folder}/s");
    loop {
        let path = socket.clone();
        if host.inside(move || UnixStream::connect(path).is_ok()) {
            return true;
        }
        if !running.alive() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn compare(host: &Host, server: Server, folder: &str) {
    let path = format!("{folder}/redis.conf");
    let parsed = parsed(host, &path);
    let text = || host.read(&path);
    assert_eq!((&parsed.errors, &parsed.unread), (&vec![], &vec![]), "{server:?}\n{}", text());
    assert!(!serde_json::to_string(&parsed).expect("JSON").contains(MARKER), "a secret: {parsed:?}");
    let names: Vec<&str> = NUMBERS.iter().map(|(name, _)| *name).chain(TEXTS.iter().copied()).chain(["bind"]).collect();
    let told = ask(host, &format!("{folder}/s"), &names);
    for (name, value) in told {
        // Words that got behind the addresses, where a line has no end, are left out: one may be a password.
        let Some(setting) = parsed.last(&name).filter(|it| it.name != "bind" || !it.secret) else { continue };
        let ours = setting.values.join(" ");
        let same =
            ours == escape(&value) || (!TEXTS.contains(&name.as_str()) && ours.eq_ignore_ascii_case(&escape(&value)));
        assert!(same, "{server:?}: {name} is {:?}, not {setting:?}\n{}", escape(&value), text());
    }
}

/// What may stand behind a directive.
const VALUES: &[&str] = &[
    "\"\"",
    "yes",
    "no",
    "x y",
    "nosuch",
    "-5",
    "0",
    "12",
    "5x",
    "1kb",
    "70%",
    "0x10",
    "4000000000",
    "+5",
    "1.5",
    "0999",
    "",
    "6379 # the port",
    "\"x",
    "'x'y",
    "tcp://10.0.0.1:6379",
    "true",
    "100",
    "70000",
];

/// Lines that are broken in other ways.
const LINES: &[&str] = &[
    "requirepass \"hunter2",
    "requirepass hunter2 # x",
    "requirepas hunter2",
    "requirepass=hunter2",
    "\u{feff}port 1",
    "\u{feff}# x",
    "save x y",
    "save 900",
    "save 900 1",
    "save 900 1 300 10",
    "client-output-buffer-limit normal 0 0",
    "client-output-buffer-limit all 0 0 0",
    "client-output-buffer-limit pubsub 1mb 1 -1",
    "include /nosuch.conf",
    "include /nosuch/*.conf",
    "include",
    "rename-command",
    "rename-command CONFIG \"\"",
    "loadmodule",
    "sentinel",
    "sentinel monitor m 127.0.0.1 6379 2",
    "user alice on >hunter2 ~* +@all",
    "user",
    "user alice on hunter2",
    "some.module",
    "dbfilename a/b",
    "appendfilename a/b",
    "dir /nosuch",
    "dir /",
    "replicaof 10.0.0.1",
    "slaveof 10.0.0.1 6379",
    "replicaof 10.0.0.1 x",
    "bind 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17",
    "notify-keyspace-events KEA",
    "notify-keyspace-events é",
    "oom-score-adj-values 0 1",
    "latency-tracking-info-percentiles 50 101",
    "}",
    "port: 6379",
    "port=6379",
    "prot 6379",
    "list-max-ziplist-entries 5",
    "port 6379 requirepass hunter2",
    "maxmemory 1tb",
    "maxmemory 1GB",
];

/// Directives whose values we do not look into as far as Redis 7 does, or to which newer versions have added some.
const LENIENT: &[&str] = &[
    "proc-title-template",
    "cluster-announce-hostname",
    "activedefrag",
    "sanitize-dump-payload",
    "notify-keyspace-events",
    "io-threads",
];

/// Starts a server on one line between others and a last one that no version takes; says at which line it gave up.
fn refused_at(said: &str) -> Option<u32> {
    let (_, rest) = said.split_once("at line ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[test]
fn faults_are_what_the_servers_refuse() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("solo");
    let mut dice = Dice(0x5eed_0002);
    host.file(&format!("{FOLDER}/all.conf"), format!("port 0\nunixsocket {FOLDER}/s\nsave \"\"\n"));
    let all = host.command(&["redis-server", &format!("{FOLDER}/all.conf")]).dir(FOLDER).spawn();
    ask(&host, &format!("{FOLDER}/s"), &["port"]);
    let names = host.sh(&format!("redis-cli -s {FOLDER}/s config get '*' | sed -n 'p;n'")).stdout;
    drop(all);
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    assert!(names.len() > 180, "{names:?}");
    let mut wrong = Vec::new();
    for server in Server::ALL {
        let Some(program) = program(server) else { continue };
        let count = if server == Server::Debian { 420 } else { 90 };
        let random = (0..count).map(|_| format!("{} {}", dice.pick(&names), dice.pick(VALUES)));
        let lines: Vec<String> = LINES.iter().map(|&line| line.to_owned()).chain(random).collect();
        for (batch, lines) in lines.chunks(AT_ONCE).enumerate() {
            let start = |(at, line): (usize, &String)| {
                let path = format!("{FOLDER}/{server:?}-{batch}-{at}.conf");
                host.file(&path, format!("# x\ntimeout 5\n{line}\n\nhz 10\ndatabases zzz\n"));
                (path.clone(), line.clone(), host.command(&[&program, &path]).dir(FOLDER).spawn())
            };
            let servers: Vec<_> = lines.iter().enumerate().map(start).collect();
            for (path, line, running) in servers {
                let ran = running.wait(Duration::from_secs(10));
                assert!(!ran.timed_out, "{server:?} started with {line:?}");
                wrong.extend(judge(&host, server, &path, &line, &format!("{}{}", ran.stderr, ran.stdout)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What our parser and the server disagree on. The broken line is the third, the last the sixth.
fn judge(host: &Host, server: Server, path: &str, line: &str, said: &str) -> Option<String> {
    let parsed = parsed(host, path);
    let fault: &Fault = parsed.errors.first().expect("the last line at least");
    let accepted = refused_at(said) == Some(6);
    let lenient = LENIENT.iter().any(|name| line.starts_with(name));
    // Redis 8 keeps what it does not know for its modules, and gives up later.
    let later = server == Server::Redis80 && fault.says.contains("Bad directive");
    let same = if server == Server::Debian {
        lenient || (fault.line == 6) == accepted && (fault.line == 6 || said.contains(says(fault)))
    } else {
        let sure = fault.sure || (fault.sure_since_6 && server != Server::Redis50);
        !accepted || !sure || fault.line == 6 || later
    };
    let leaks = format!("{parsed:?}").contains(MARKER);
    (!same || leaks)
        .then(|| format!("{server:?}: {line:?}: {fault:?}, but the server says: {}", said.trim().replace('\n', " | ")))
}

/// The words of a fault as far as they are Redis' own.
fn says(fault: &Fault) -> &str {
    let own = fault.says.split(": rule").next().unwrap_or_default();
    own.split("one of the following").next().unwrap_or_default().trim_start_matches("argument ")
}

/// A server that runs on this machine, as far as it matters for its redis.conf.
fn server(pid: u32) -> Process {
    let process = serde_json::json!({
        "pid": pid, "name": "redis-server", "args": ["redis-server *:6380"], "exe": null, "state": "alive", "uid": 0,
        "user": null, "cwd": "/", "started_at": null, "same_network": true, "addresses": [], "same_pids": true,
        "unit": null, "container": null, "open_files_limit": null, "open_files": null, "listens": [], "listens_unix": [],
    });
    serde_json::from_value(process).expect("a process")
}

#[test]
fn every_lead_is_followed_once() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("solo");
    host.file("/etc/redis/redis.conf", "port 6380\nrequirepass hunter2\n");
    let pid = 812;
    let found = |given: Option<&'static str>, told: Option<(&'static str, u32)>| {
        host.inside(move || {
            let told: Vec<_> = told.map(|(path, pid)| (path, Some(pid))).into_iter().collect();
            let servers = if told.is_empty() { Vec::new() } else { vec![server(pid)] };
            let system = system::gather();
            let units = system.seen().map_or(&[][..], |system| &system.units);
            let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
            conf::gather(Leads { given, told: &told, servers: &servers, units, usual: true }, until)
        })
    };
    host.file("/etc/redis/other.conf", "port 6381\n");
    host.file(
        "/etc/systemd/system/redis-server.service",
        "[Service]\nExecStart=/usr/bin/redis-server /etc/redis/redis.conf\n",
    );
    let by_unit = found(None, None);
    assert_eq!(
        (by_unit.len(), by_unit[0].found_by, by_unit[0].unit.as_deref()),
        (1, FoundBy::Unit, Some("redis-server"))
    );
    assert_eq!(by_unit[0].parsed.seen().and_then(|parsed| parsed.last("port")).expect("port").values, ["6380"]);
    let both = found(Some("/etc/redis/other.conf"), Some(("/etc/redis/redis.conf", pid)));
    let ways: Vec<FoundBy> = both.iter().map(|conf| conf.found_by).collect();
    assert_eq!(
        (ways, both[1].pid, both[1].unit.as_deref()),
        (vec![FoundBy::Given, FoundBy::Info], Some(pid), Some("redis-server"))
    );
    host.file("/etc/systemd/system/redis-server.service", "[Service]\nExecStart=/usr/bin/redis-server\n");
    // The word of one that is no server is not followed: it might name any file that root may read.
    let lie = found(None, Some(("/etc/redis/other.conf", pid + 1)));
    assert!(lie.iter().all(|conf| conf.path != "/etc/redis/other.conf"), "{lie:?}");
    let usual = found(None, None);
    assert_eq!((usual.len(), usual[0].found_by), (1, FoundBy::UsualPlace));
    let gone = found(Some("/nosuch"), None);
    assert!(gone[0].found_by == FoundBy::Given && gone[0].parsed.seen().is_none());
}
