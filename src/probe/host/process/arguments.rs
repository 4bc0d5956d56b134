//! The arguments of a process as /proc/PID/cmdline has them, without what they say of passwords.

use crate::model::text::head;
use crate::probe::host::forward;

/// What stands in the place of a secret.
const HIDDEN: &str = "[secret]";
/// Settings of a server whose values are secrets. `--user` is a rule of the ACL with its passwords; the new name of a
/// command is meant to be known to nobody else, and what a module takes may be a password.
const SETTINGS: [&str; 11] = [
    "requirepass",
    "masterauth",
    "primaryauth",
    "tls-key-file-pass",
    "tls-client-key-file-pass",
    "sentinel-pass",
    "auth-pass",
    "user",
    "aclsetuser",
    "rename-command",
    "loadmodule",
];
/// Words in the name of a stranger's option or setting that mean its value is a secret.
const WORDS: [&str; 7] = ["pass", "secret", "token", "credential", "apikey", "api-key", "api_key"];
/// The most arguments that are kept, and bytes of each.
const MOST: usize = 64;
const LONGEST: usize = 512;

/// The arguments, or the title that the process gave itself in their place, as one argument.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Without secrets, fit for a report.
    pub args: Vec<String>,
}

impl Line {
    /// The name of the program: without folders, and of a title its first word (`redis-server *:6379`, `nginx: master`).
    pub fn program(&self) -> &str {
        let first = self.args.first().and_then(|first| first.split(' ').next()).unwrap_or_default();
        first.rsplit('/').next().unwrap_or_default().trim_start_matches('-')
    }

    /// What is kept of one that is no server: its program, and what the arguments of a proxy say of its way, which nobody else
    /// knows. Any other word may be a password (`mysql -px`, `curl -u user:x`). A script has its own `name`, and its
    /// interpreter's program.
    pub fn of_stranger(&self, name: &str) -> Vec<String> {
        let program = self.args.first().and_then(|first| first.split(' ').next()).map(str::to_owned);
        let way = forward::arguments::kept(name, self.args.get(1..).unwrap_or_default());
        program.into_iter().chain(way).collect()
    }

    /// What a server's title says that it listens on: `127.0.0.1:6379`, `*:6379`, `::1:6379`.
    pub fn title_port(&self) -> Option<u16> {
        self.titled()?.rsplit_once(':')?.1.parse().ok()
    }

    /// The path of the socket in a server's title: `unixsocket:/run/redis.sock`.
    pub fn title_path(&self) -> Option<&str> {
        self.titled()?.strip_prefix("unixsocket:")
    }

    /// True if it is a title as Redis gives itself one, whatever the program's name: an address with port after the name, and
    /// nothing but its mode after that (`redisSetProcTitle`, server.c).
    pub fn is_title(&self) -> bool {
        let mode = |word: &str| word.starts_with('[') && word.ends_with(']');
        let address = |place: &str| {
            let ip = place.rsplit_once(':').map(|(ip, _)| ip.trim_matches(['[', ']']));
            ip.is_some_and(|ip| ip == "*" || ip.parse::<std::net::IpAddr>().is_ok())
        };
        let titled = self.title_port().is_some() && self.titled().is_some_and(address);
        self.args.len() == 1 && titled && self.args[0].split(' ').skip(2).all(mode)
    }

    fn titled(&self) -> Option<&str> {
        self.args.first()?.split(' ').nth(1)
    }
}

/// Reads /proc/PID/cmdline. A title is padded to the length of the arguments that it replaces, with NULs or blanks.
pub fn parse(cmdline: &[u8]) -> Line {
    let end = cmdline.iter().rposition(|byte| *byte != 0 && *byte != b' ').map_or(0, |last| last + 1);
    let mut args = Vec::new();
    // How many of the next arguments are secret: one at least, and up to the next option.
    let mut secret = Secret::No;
    for arg in cmdline[..end].split(|byte| *byte == 0).take(MOST) {
        let is_option = arg.starts_with(b"-");
        let hide = secret == Secret::Next || (secret == Secret::More && !is_option);
        if hide {
            args.push(HIDDEN.to_owned());
            // From the second on, an option ends the values; the first may begin with a dash itself.
            secret = if secret == Secret::Next { Secret::More } else { secret };
            continue;
        }
        secret = if announces(arg) { Secret::Next } else { Secret::No };
        // `--sentinel auth-pass mymaster PASSWORD`: the name comes between, and is hidden with it.
        args.push(head(&without_secret(arg), LONGEST));
    }
    Line { args: if end == 0 { Vec::new() } else { args } }
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Secret {
    No,
    Next,
    More,
}

/// True if the next argument is a secret.
fn announces(arg: &[u8]) -> bool {
    let arg = arg.to_ascii_lowercase();
    let name = arg.trim_ascii().trim_ascii_start();
    let bare = name.iter().position(|byte| *byte != b'-').map_or(&[][..], |at| &name[at..]);
    let is_option = name.len() > bare.len();
    let as_setting = SETTINGS.iter().any(|setting| bare == setting.as_bytes());
    let is_name = is_option && !bare.iter().any(|byte| b"= \t\n/.".contains(byte));
    name == b"-a" || (as_setting && (is_option || bare != b"user")) || (is_name && has_word(bare))
}

fn has_word(name: &[u8]) -> bool {
    // `--askpass` and `--no-auth-warning` announce nothing, but what follows them is no loss either.
    WORDS.iter().any(|word| name.windows(word.len()).any(|part| part == word.as_bytes()))
}

/// An argument that holds name and secret at once: `requirepass x`, `--password=x`, `redis://:x@host`.
fn without_secret(arg: &[u8]) -> Vec<u8> {
    let lower = arg.to_ascii_lowercase();
    let cuts = [after_setting(&lower), after_equals(&lower), after_scheme(&lower)];
    match cuts.into_iter().flatten().min() {
        Some(cut) => [&arg[..cut], HIDDEN.as_bytes()].concat(),
        None => arg.to_vec(),
    }
}

/// Where the value begins after the first secret setting that is followed by blanks, as a word of its own.
fn after_setting(arg: &[u8]) -> Option<usize> {
    let starts = |at: usize| at == 0 || !(arg[at - 1].is_ascii_alphanumeric());
    let ends = |end: usize| arg.get(end).is_some_and(u8::is_ascii_whitespace);
    let find = |setting: &&str| {
        let mut places = arg.windows(setting.len()).enumerate();
        let (at, _) = places.find(|(at, part)| {
            *part == setting.as_bytes()
                && starts(*at)
                && ends(at + setting.len())
                && !is_word_in_text(setting, arg, *at)
        })?;
        Some(at + setting.len() + 1)
    };
    SETTINGS.iter().filter_map(find).chain(after_option_words(arg)).min()
}

/// `user` in the middle of a text is an everyday word; as a setting it begins a line or an option.
fn is_word_in_text(setting: &str, arg: &[u8], at: usize) -> bool {
    setting == "user" && at > 0 && !b"-\n".contains(&arg[at - 1])
}

/// `sh -c "redis-cli -a x"`, `"mysql --password x"`: where the value begins in a whole line of shell.
fn after_option_words(arg: &[u8]) -> Option<usize> {
    let mut from = 0;
    for word in arg.split(u8::is_ascii_whitespace) {
        let end = from + word.len();
        if end < arg.len() && word.starts_with(b"-") && announces(word) {
            return Some(end + 1);
        }
        from = end + 1;
    }
    None
}

/// Where the value begins of the first `name=value` whose name means a secret.
fn after_equals(arg: &[u8]) -> Option<usize> {
    let mut equals = arg.iter().enumerate().filter(|(_, byte)| **byte == b'=').map(|(at, _)| at);
    equals
        .find(|&at| {
            let name = arg[..at].rsplit(|byte| b" \t\n\"'&?;,".contains(byte)).next().unwrap_or_default();
            let bare = name.iter().position(|byte| *byte != b'-').map_or(&[][..], |start| &name[start..]);
            has_word(bare) || SETTINGS.iter().any(|setting| *setting != "user" && bare == setting.as_bytes())
        })
        .map(|at| at + 1)
}

/// Where the user's part of an address begins, if there is one: `scheme://user:password@host`.
pub fn after_scheme(arg: &[u8]) -> Option<usize> {
    let at = arg.windows(3).position(|part| part == b"://")? + 3;
    arg[at..].contains(&b'@').then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn args(text: &str) -> Vec<String> {
        parse(text.replace('|', "\0").as_bytes()).args
    }

    #[test]
    fn splits_arguments_and_trims_titles() {
        assert_eq!(args("redis-server|/etc/redis.conf|"), ["redis-server", "/etc/redis.conf"]);
        assert_eq!(args("redis-server|--save||--port|1|"), ["redis-server", "--save", "", "--port", "1"]);
        assert_eq!(args("/usr/bin/redis-server 127.0.0.1:6379||||"), ["/usr/bin/redis-server 127.0.0.1:6379"]);
        assert_eq!(args("redis-server *:6379          "), ["redis-server *:6379"]);
        assert_eq!(args("x\x1b[2J"), ["x\\x1b[2J"]);
        assert!(args("").is_empty() && args("|||").is_empty());
        assert_eq!(args(&"x|".repeat(1000)).len(), MOST);
    }

    #[test]
    fn reads_titles() {
        let of = |text: &str| parse(text.as_bytes());
        assert_eq!(of("/usr/bin/redis-server 127.0.0.1:6379 [cluster]").program(), "redis-server");
        assert_eq!(of("/usr/bin/redis-server 127.0.0.1:6379").title_port(), Some(6379));
        assert_eq!(of("valkey-server ::1:7000 [cluster]").title_port(), Some(7000));
        assert_eq!(of("redis-server unixsocket:/run/r.sock").title_path(), Some("/run/r.sock"));
        assert_eq!(of("redis-server unixsocket:/run/r.sock").title_port(), None);
        assert_eq!(of("redis-server\0--port\x007000").title_port(), None);
        assert_eq!(of("nginx: master process").program(), "nginx:");
        assert_eq!(of("-bash").program(), "bash");
    }

    #[test]
    fn keeps_no_secret() {
        const S: &str = "hunter2";
        let rows = [
            "redis-server|--requirepass|hunter2|--port|1",
            "redis-server|--REQUIREPASS|hunter2",
            "redis-server|--requirepass|--hunter2|--port|1",
            "redis-server|--masterauth|hunter2",
            "redis-server|--primaryauth|hunter2",
            "redis-server|--tls-key-file-pass|hunter2",
            "redis-server|--tls-client-key-file-pass|hunter2",
            "redis-server|--user|default|on|>hunter2|~*|+@all|--port|1",
            "redis-server|--sentinel|auth-pass|mymaster|hunter2|--port|1",
            "redis-server|--sentinel auth-pass mymaster hunter2",
            "redis-server|--sentinel|sentinel-pass|hunter2",
            "redis-server|--requirepass hunter2",
            "redis-server|port 1\nrequirepass hunter2\nport 2",
            "redis-server|--requirepass=hunter2",
            "redis-server|port 1\nuser default on >hunter2",
            "sh|-c|exec redis-server --requirepass hunter2 --port 1",
            "sh|-c|redis-cli -a hunter2 ping",
            "redis-server|--rename-command|CONFIG|hunter2|--port|1",
            "redis-server|--rename-command CONFIG hunter2",
            "redis-server|--loadmodule|/x.so|hunter2",
            "redis-cli|-a|hunter2",
            "redis-cli|--pass|hunter2",
            "redis-cli|-u|redis://:hunter2@host:6379",
            "app|--db-password=hunter2",
            "app|--redis_password|hunter2",
            "env|REDIS_PASSWORD=hunter2|app",
            "app|https://x/?token=hunter2",
        ];
        for row in rows {
            let args = args(row);
            assert!(args.iter().all(|arg| !arg.contains(S)), "{row}: {args:?}");
            assert!(args.iter().any(|arg| arg.contains(HIDDEN)), "{row}: {args:?}");
        }
        assert_eq!(args(rows[0])[2..], [HIDDEN, "--port", "1"]);
        assert_eq!(args(rows[7])[2..], [HIDDEN, HIDDEN, HIDDEN, HIDDEN, HIDDEN, "--port", "1"]);
    }

    #[test]
    fn keeps_only_the_program_of_strangers() {
        let of = |text: &str| {
            let line = parse(text.replace('|', "\0").as_bytes());
            line.of_stranger(line.program()).join("|")
        };
        assert_eq!(of("/usr/bin/mysql|-phunter2|-u|admin:hunter2"), "/usr/bin/mysql");
        assert_eq!(of("python3|-c|pw = 'hunter2'"), "python3");
        assert_eq!(of("nginx: master process nginx"), "nginx:");
        assert_eq!(of(""), "");
        let proxy = "/usr/bin/docker-proxy|-proto|tcp|-host-ip|::|-host-port|6379|-container-ip|172.17.0.2|-container-port|6379";
        assert_eq!(of(proxy), proxy);
        assert_eq!(of("docker-proxy|-host-port|hunter2|-x|1|-host-ip"), "docker-proxy");
    }

    #[test]
    fn keeps_what_is_no_secret() {
        let rows = [
            "redis-server|--masteruser|replica|--port|1",
            "redis-server|/etc/redis/redis.conf|--supervised|systemd",
            "docker-proxy|-proto|tcp|-host-ip|0.0.0.0|-host-port|6379|-container-ip|172.17.0.2",
            "sshd: user on pts/0",
            "redis-server *:6379",
            "haproxy|-f|/etc/haproxy.cfg|-p|/run/haproxy.pid",
        ];
        for row in rows {
            assert_eq!(args(row).join("|"), row);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let line = parse(&bytes);
            let _ = (line.program(), line.title_port(), line.title_path());
        }

        #[test]
        fn no_secret_survives(before in "[a-z0-9 -]{0,12}", secret in "[A-Z]{8}", form in 0..4_usize) {
            let text = match form {
                0 => format!("{before}\0--requirepass\0{secret}"),
                1 => format!("{before}\0--requirepass {secret}"),
                2 => format!("{before}\0--masterauth={secret}"),
                _ => format!("{before}\0-a\0{secret}"),
            };
            prop_assert!(!parse(text.as_bytes()).args.iter().any(|arg| arg.contains(&secret)));
        }
    }
}
