//! The command line of a service: whether it starts a Redis server, with which arguments.

use super::PROGRAMS;
use crate::probe::host::process::is_named_like_a_server;

/// The most words of a command line.
const MOST: usize = 64;

/// Shells, whose script may start a server.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "zsh", "busybox"];
/// Programs of container engines, whose image may be a server's.
const ENGINES: [&str; 4] = ["docker", "podman", "nerdctl", "docker-compose"];
/// Programs that start another, which stands among their arguments.
const CARRIERS: [&str; 20] = [
    "env",
    "exec",
    "nice",
    "ionice",
    "chrt",
    "taskset",
    "numactl",
    "stdbuf",
    "nohup",
    "timeout",
    "flock",
    "sudo",
    "su",
    "runuser",
    "setpriv",
    "gosu",
    "chroot",
    "nsenter",
    "tini",
    "dumb-init",
];

/// A command line.
pub(super) struct Command {
    words: Vec<String>,
    /// True if its first word is followed by the name that the program is given.
    renamed: bool,
}

impl Command {
    /// Takes the value of `ExecStart` apart (systemd.service(5)).
    pub(super) fn parse(text: &str) -> Self {
        let bare = text.trim_start_matches(['@', '-', ':', '+', '!', '|']);
        let words = words(bare);
        if !words.first().is_some_and(|word| SHELLS.contains(&base(word))) {
            let renamed = text[..text.len() - bare.len()].contains('@');
            return Self { words, renamed };
        }
        // `sh -c 'exec redis-server …'`: the words of the script, without the shell and its options.
        let script = words[1..].iter().skip_while(|word| word.starts_with('-'));
        let words = script.flat_map(|word| word.split_whitespace()).map(str::to_owned).collect();
        Self { words, renamed: false }
    }

    /// True if it starts a server that is no sentinel.
    pub(super) fn starts_a_server(&self) -> bool {
        self.server().is_some_and(|at| !self.words[at..].iter().any(|word| word == "--sentinel"))
    }

    /// The arguments of the server that it starts.
    pub(super) fn arguments(&self) -> Option<Vec<String>> {
        let mut at = self.server()? + 1;
        at += usize::from(self.renamed && self.words.len() > at);
        Some(self.words[at..].iter().take(MOST).cloned().collect())
    }

    /// The path of the server that it starts, where it starts it on this very machine.
    pub(super) fn program(&self) -> Option<&str> {
        let first = self.words.first().filter(|word| word.starts_with('/'))?;
        (self.server() == Some(0)).then_some(first)
    }

    /// True if what it starts is named like a server, so that it may be one: `/opt/app/start-redis.sh`, an image `redis:7`.
    pub(super) fn is_named(&self) -> bool {
        self.parts().any(|(at, part)| {
            let carried = match base(&part[0]) {
                name if ENGINES.contains(&name) => &part[1..],
                name if CARRIERS.contains(&name) => &part[1..],
                _ => &part[..1],
            };
            at < self.words.len() && carried.iter().any(|word| !word.starts_with('-') && is_named(base(word)))
        })
    }

    /// Where the server's program stands.
    fn server(&self) -> Option<usize> {
        let is_server = |word: &String| PROGRAMS.contains(&base(word));
        self.parts().find_map(|(at, part)| {
            let carries = [&CARRIERS[..], &ENGINES[..]].iter().any(|names| names.contains(&base(&part[0])));
            let most = if carries { part.len() } else { 1 };
            part[..most].iter().position(is_server).map(|within| at + within)
        })
    }

    /// The commands of a script, each from its program on, with its place; of what is none, the whole.
    fn parts(&self) -> impl Iterator<Item = (usize, &[String])> {
        let ends = |word: &String| word.ends_with(';') || ["&&", "||", "|", "&"].contains(&word.as_str());
        let mut at = 0;
        self.words.split_inclusive(ends).filter_map(move |part| {
            let start = at;
            at += part.len();
            let is_before = |word: &String| word.contains('=') && !word.starts_with('/');
            let skipped = part.iter().take_while(|word| is_before(word)).count();
            (skipped < part.len()).then(|| (start + skipped, &part[skipped..]))
        })
    }
}

/// True for the name of a service, a script or an image that may be a server's.
pub(super) fn is_named(name: &str) -> bool {
    is_named_like_a_server(name)
}

fn base(path: &str) -> &str {
    path.trim_end_matches(';').rsplit('/').next().unwrap_or_default()
}

/// The words of a command line; quotes hold them together.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut quote = None;
    let mut open = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(mark)) if c == mark => quote = None,
            ('"' | '\'', None) => (quote, open) = (Some(c), push(&mut words, open, None)),
            (c, None) if c.is_whitespace() => open = false,
            ('\\', _) => open = push(&mut words, open, chars.next()),
            (c, _) => open = push(&mut words, open, Some(c)),
        }
    }
    words
}

/// Adds to the last word, or begins one.
fn push(words: &mut Vec<String>, open: bool, c: Option<char>) -> bool {
    if !open {
        words.push(String::new());
    }
    if let Some(word) = words.last_mut() {
        word.extend(c);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_what_is_started() {
        let port = |text: &str| Command::parse(text).arguments().map(|args| args.join(" "));
        for (text, args) in [
            ("/usr/bin/redis-server --port 1", Some("--port 1")),
            ("@/usr/bin/valkey-server v --port 1", Some("--port 1")),
            ("/usr/bin/env LANG=C  /usr/bin/redis-server --port 1", Some("--port 1")),
            ("/bin/bash -lc 'cd /srv && exec redis-server --port 1'", Some("--port 1")),
            ("/bin/sh -c \"ulimit -n 9; LANG=C redis-server --port 1\"", Some("--port 1")),
            ("/usr/bin/docker run --rm --name cache redis redis-server --port 1", Some("--port 1")),
            ("/usr/bin/node-exporter --collector.processes redis-server", None),
            ("/bin/sh -c 'pgrep redis-server || exit 1'", None),
            ("/opt/redis-server-hook", None),
            ("", None),
        ] {
            assert_eq!(port(text).as_deref(), args, "{text}");
        }
        assert!(!Command::parse("/usr/bin/redis-server /s.conf --sentinel").starts_a_server());
        assert_eq!(Command::parse("-/opt/redis-server x").program(), Some("/opt/redis-server"));
        assert_eq!(Command::parse("/usr/bin/env /opt/redis-server x").program(), None);
    }

    #[test]
    fn what_is_named_like_one_may_be_one() {
        for text in ["/opt/app/start-redis.sh", "/bin/sh /opt/redis_run", "/usr/bin/docker run -d redis:7"] {
            assert!(Command::parse(text).is_named(), "{text}");
        }
        for text in ["/usr/bin/redis_exporter", "/opt/app --store redis", "/bin/sh -c 'redis-cli ping'", "", "/opt/app"]
        {
            assert!(!Command::parse(text).is_named(), "{text}");
        }
    }
}
