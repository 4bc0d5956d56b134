//! What is kept of a line: never a password.

use std::net::Ipv6Addr;
use std::str::FromStr;

use super::directive::{Kind, kind};
use super::value::{check, is_open_rule};
use crate::model::text::{escape, head};
use crate::probe::host::process::after_scheme;

/// The most of a line that is kept as text.
const LONGEST_TEXT: usize = 200;
/// The most of an argument that is kept: no path is longer.
const LONGEST_VALUE: usize = 4096;
/// The most arguments that are kept.
const MOST_VALUES: usize = 64;
/// The longest unit behind a number, with a letter too many: `100mbb`.
const LONGEST_UNIT: usize = 4;
/// What stands in the place of a secret.
const SECRET: &str = "[secret]";

/// Directives whose one argument is a secret. `primaryauth` is Valkey's name for `masterauth`.
const SECRETS: [&str; 5] =
    ["requirepass", "masterauth", "primaryauth", "tls-key-file-pass", "tls-client-key-file-pass"];

/// What is kept of a line.
pub(super) struct Kept {
    /// The arguments, empty where they are secret.
    pub values: Vec<String>,
    /// Whether something is left out.
    pub secret: bool,
    /// The line.
    pub text: String,
}

/// What is kept of a line that could be taken apart; of one that some version refuses (`faulty`), only what fits.
pub(super) fn keep(name: &str, args: &[Vec<u8>], line: &[u8], faulty: bool) -> Kept {
    let kind = kind(name).filter(|_| faulty);
    let belongs = |at: usize| kind.is_none_or(|kind| fits(kind, at, &args[at]));
    let shown: Vec<bool> = (0..args.len()).map(|at| belongs(at) && is_open(name, args, at)).collect();
    let secret = shown.contains(&false) || args.iter().any(|arg| open_part(arg).is_some());
    let value =
        |(arg, shown): (&Vec<u8>, &bool)| if *shown { head(&masked(arg), LONGEST_VALUE) } else { String::new() };
    let values = args.iter().zip(&shown).map(value).take(MOST_VALUES).collect();
    let text = if secret { without_secrets(name, args, &shown) } else { head(line, LONGEST_TEXT) };
    Kept { values, secret, text }
}

/// What is kept of a line that Redis refuses: only what is known to be no secret. Words that do not belong there, and what
/// stands for a number and is none, are counted and not repeated: a password may have got there.
pub(super) fn keep_faulty(name: &str, args: &[Vec<u8>], line: &[u8]) -> String {
    let Some(kind) = kind(name).filter(|_| !is_touchy(name) && !args.iter().any(|arg| is_touchy_word(arg))) else {
        return name_only(line, !args.is_empty());
    };
    let fitting = args.iter().enumerate().take_while(|(at, arg)| fits(kind, *at, arg)).count();
    let (fit, rest) = args.split_at(fitting);
    let text = keep(name, fit, line, false).text;
    match rest {
        [] => text,
        _ => without_secrets(name, fit, &vec![true; fitting]) + &left_out(rest),
    }
}

/// What is kept of a line whose quotes are not balanced.
pub(super) fn keep_unbalanced(line: &[u8]) -> String {
    let mut words = line.split(|byte| super::line::is_space(*byte)).filter(|word| !word.is_empty()).map(<[u8]>::to_vec);
    let name = String::from_utf8_lossy(&words.next().unwrap_or_default()).to_ascii_lowercase();
    let args: Vec<Vec<u8>> = words.collect();
    let touchy = kind(&name).is_none() || is_touchy(&name) || args.iter().any(|arg| is_touchy_word(arg));
    match args.as_slice() {
        _ if touchy => name_only(line, !args.is_empty()),
        [] | [_] => head(&masked(line), LONGEST_TEXT),
        [first, rest @ ..] => head(&[name.as_bytes(), b" ", &masked(first)].concat(), LONGEST_TEXT) + &left_out(rest),
    }
}

/// How many words of a line are not repeated. A comment is the most frequent of what does not belong behind a setting.
fn left_out(rest: &[Vec<u8>]) -> String {
    match rest {
        [first, ..] if first.starts_with(b"#") => " # […]".to_owned(),
        [_] => " [1 more word]".to_owned(),
        _ => format!(" [{} more words]", rest.len()),
    }
}

/// Whether an argument belongs at this place of a directive, and may be what was meant for it.
fn fits(kind: Kind, at: usize, arg: &[u8]) -> bool {
    let most = match kind {
        Kind::AtLeast(_)
        | Kind::Addresses
        | Kind::GrowingWords(_)
        | Kind::User
        | Kind::Sentinel
        | Kind::Save
        | Kind::BufferLimit
        | Kind::Percentiles => usize::MAX,
        Kind::Exactly(most) => most,
        Kind::Primary => 2,
        _ => 1,
    };
    let is_free = match kind {
        Kind::Text | Kind::FileName | Kind::Folder | Kind::AtLeast(_) | Kind::Exactly(_) | Kind::Addresses => true,
        Kind::Primary => at == 0,
        _ => false,
    };
    is_short_number(arg) || (at < most && (is_free || is_plain(arg)))
}

/// Whether a word is a number too short for a password: `maxclients 10 000`.
fn is_short_number(arg: &[u8]) -> bool {
    (1..=6).contains(&arg.len()) && arg.iter().all(u8::is_ascii_digit)
}

/// Whether a word is a number, perhaps with a unit (`10k`), is one of letters alone (`many`), or is an address
/// (`port tcp://10.0.0.1:6379`).
fn is_plain(arg: &[u8]) -> bool {
    let unit = arg.iter().position(|byte| !byte.is_ascii_digit() && !b"+-.,_".contains(byte)).unwrap_or(arg.len());
    let like_a_number = arg.is_empty()
        || (unit > 0 && arg.len() - unit <= LONGEST_UNIT && arg[unit..].iter().all(u8::is_ascii_alphabetic));
    let letters = arg.len() <= 20 && arg.iter().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(byte));
    like_a_number || letters || arg.windows(3).any(|part| part == b"://")
}

/// The arguments of a unit's command line (`--port 6380 --requirepass x`) without those that are secrets: only what is
/// known as a setting with fitting values is kept, and nothing of what a shell does besides.
pub(in crate::probe::host) fn open_arguments(args: &[String]) -> Vec<String> {
    // One argument may hold a whole setting: `"--requirepass x"`.
    let words = args.iter().flat_map(|arg| arg.split_whitespace());
    let words: Vec<&str> = words.take_while(|word| !word.contains([';', '&', '|'])).collect();
    let mut kept = Vec::new();
    for part in words.chunk_by(|_, next| !next.starts_with("--")) {
        let Some(flag) = part[0].strip_prefix("--") else {
            kept.extend(
                part.iter().filter(|word| word.starts_with('$')).map(|word| head(word.as_bytes(), LONGEST_VALUE)),
            );
            continue;
        };
        // A flag may be run together with its value: `--requirepass=x`.
        let name = flag.split('=').next().unwrap_or_default().to_ascii_lowercase();
        if kind(&name).is_none() {
            continue;
        }
        let values: Vec<Vec<u8>> = part[1..].iter().map(|value| value.as_bytes().to_vec()).collect();
        let valid = check(&name, &values).is_none();
        let open =
            (0..values.len()).filter(|&at| (valid || values[at].starts_with(b"$")) && is_open(&name, &values, at));
        kept.push(format!("--{name}"));
        kept.extend(open.map(|at| head(&masked(&values[at]), LONGEST_VALUE)));
    }
    kept.truncate(MOST_VALUES);
    kept
}

/// The part of an argument before what may be a password: in an address (`redis://:x@host`), or behind the name of a
/// setting that ran into it (`/run/r.pid;requirepass:x`).
fn open_part(arg: &[u8]) -> Option<usize> {
    let lower = arg.to_ascii_lowercase();
    let behind = |name: &&str| {
        let at = lower.windows(name.len()).position(|part| part == name.as_bytes())? + name.len();
        lower.get(at).is_some_and(|byte| b":=;,|\"' \t\\".contains(byte)).then_some(at)
    };
    SECRETS.iter().filter_map(behind).chain(after_scheme(arg)).min()
}

/// An argument without what may be a password in it.
pub(super) fn masked(arg: &[u8]) -> Vec<u8> {
    match open_part(arg) {
        Some(cut) => [&arg[..cut], SECRET.as_bytes()].concat(),
        None => arg.to_vec(),
    }
}

fn is_touchy_word(word: &[u8]) -> bool {
    is_touchy(&String::from_utf8_lossy(word).to_ascii_lowercase())
}

/// Whether a faulty line of this directive may hold a secret. The whole line is one unit then: where a quote is
/// missing or a value split in two, nobody knows which word is the password.
fn is_touchy(name: &str) -> bool {
    let words = ["pass", "auth", "user", "secret", "token", "sentinel", "rename-command", "loadmodule"];
    let harmless = name.starts_with("tls-auth-clients") || name == "hide-user-data-from-log";
    !harmless && words.iter().any(|word| name.contains(word))
}

/// The directive alone. Passwords run into it (`requirepass=x`, `requirepass"x"`, a line broken before the password), so
/// that only letters and dashes in front are shown, and a word alone only if it is a directive.
fn name_only(line: &[u8], more: bool) -> String {
    let line = line.strip_prefix(b"\xef\xbb\xbf").map_or((line, ""), |line| (line, "\\u{feff}"));
    let (line, mark) = line;
    let quoted = line.iter().take_while(|&&byte| byte == b'"' || byte == b'\'').count();
    let bare = &line[quoted..];
    let fits = |byte: &&u8| byte.is_ascii_alphabetic() || b"-_.".contains(byte);
    let name = String::from_utf8_lossy(&bare[..bare.iter().take_while(fits).take(64).count()]).into_owned();
    let next = bare.get(name.len());
    let known = super::directive::kind(&name.to_ascii_lowercase()).is_some();
    let whole = more && next.is_some_and(|&byte| super::line::is_space(byte));
    if !name.is_empty() && (known || (whole && !runs_together(&name))) {
        return format!("{mark}{name} […]");
    }
    format!("{mark}[…]")
}

/// Whether a password may have run into the name of a directive: `requirepasshunter`.
fn runs_together(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.len() > secret.len() + 1 && name.starts_with(secret))
}

fn without_secrets(name: &str, args: &[Vec<u8>], shown: &[bool]) -> String {
    let mut text = escape(name.as_bytes());
    for (arg, shown) in args.iter().zip(shown).take(MOST_VALUES) {
        text.push(' ');
        text.push_str(&if *shown { quoted(&masked(arg)) } else { SECRET.to_owned() });
    }
    head(text.as_bytes(), LONGEST_TEXT)
}

/// A word as it could stand in the file.
fn quoted(arg: &[u8]) -> String {
    let word = escape(arg);
    if word.is_empty() || word.contains([' ', '"', '\'']) { format!("\"{word}\"") } else { word }
}

/// Whether the argument at `at` may be kept. An empty one says that there is no password, which is worth knowing.
fn is_open(name: &str, args: &[Vec<u8>], at: usize) -> bool {
    let arg = String::from_utf8_lossy(&args[at]);
    let first = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
    // Lines that were folded into one (a YAML block, a lost line break) hide a password behind harmless directives.
    let before = |arg: &Vec<u8>| {
        let word = String::from_utf8_lossy(arg).to_ascii_lowercase();
        SECRETS.iter().any(|secret| word.ends_with(secret))
    };
    match name {
        _ if arg.is_empty() => true,
        _ if args[..at].iter().any(before) => false,
        name if SECRETS.contains(&name) => false,
        "user" if at == 0 => !arg.starts_with(['>', '<', '#', '!']),
        "user" => is_open_rule(arg.trim_start_matches('(').trim_end_matches(')')),
        // The new name of a command is meant to be known to nobody else, and what a module takes may be a password.
        "rename-command" | "loadmodule" => at == 0,
        // Behind the addresses, a comment, which Redis does not know there, or whatever got there.
        "bind" if args[..at].iter().any(|arg| arg.starts_with(b"#")) => false,
        "bind" => at == 0 || arg == "#" || is_address(&arg) || SECRETS.contains(&arg.to_ascii_lowercase().as_str()),
        // `x@host`, as in an address with a password.
        "replicaof" | "slaveof" => !arg.contains('@') || open_part(arg.as_bytes()).is_some(),
        "sentinel" => at == 0 || !(first.contains("pass") || first.contains("rename") || first.contains("auth")),
        name => !name.contains('.'),
    }
}

/// Whether a word may be what a server listens on: an address or a name, which hardly anybody writes in capitals.
fn is_address(word: &str) -> bool {
    let bare = word.trim_start_matches('-');
    let is_name = bare.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c));
    is_name || ["*", "::*"].contains(&bare) || Ipv6Addr::from_str(bare.split('%').next().unwrap_or_default()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::line::{Line, split};
    use super::*;

    fn kept(line: &str) -> (Kept, String) {
        let Line::Words(words) = split(line.as_bytes()) else { panic!("{line}") };
        let name = String::from_utf8_lossy(&words[0]).to_ascii_lowercase();
        (keep(&name, &words[1..], line.as_bytes(), false), keep_faulty(&name, &words[1..], line.as_bytes()))
    }

    #[track_caller]
    fn keeps(line: &str, values: &[&str], secret: bool, text: &str) {
        let (kept, _) = kept(line);
        assert_eq!(
            (kept.values, kept.secret, kept.text.as_str()),
            (values.iter().map(|v| (*v).to_owned()).collect(), secret, text),
            "{line}"
        );
    }

    #[test]
    fn keeps_no_secret() {
        keeps("requirepass hunter2", &[""], true, "requirepass [secret]");
        keeps("RequirePass 'hun ter2'", &[""], true, "requirepass [secret]");
        keeps("requirepass \"\"", &[""], false, "requirepass \"\"");
        keeps("primaryauth hunter2", &[""], true, "primaryauth [secret]");
        keeps("masteruser replica", &["replica"], false, "masteruser replica");
        keeps("tls-key-file-pass hunter2", &[""], true, "tls-key-file-pass [secret]");
        keeps("tls-key-file /etc/key", &["/etc/key"], false, "tls-key-file /etc/key");
        keeps("user al on >hunter2 ~* +@all", &["al", "on", "", "~*", "+@all"], true, "user al on [secret] ~* +@all");
        keeps("user al on nopass", &["al", "on", "nopass"], false, "user al on nopass");
        keeps("user al on hunter2", &["al", "on", ""], true, "user al on [secret]");
        keeps("rename-command CONFIG \"\"", &["CONFIG", ""], false, "rename-command CONFIG \"\"");
        keeps("rename-command CONFIG hunter2", &["CONFIG", ""], true, "rename-command CONFIG [secret]");
        keeps("loadmodule /x.so hunter2", &["/x.so", ""], true, "loadmodule /x.so [secret]");
        keeps("my.password hunter2", &[""], true, "my.password [secret]");
        keeps("sentinel auth-pass m hunter2", &["auth-pass", "", ""], true, "sentinel auth-pass [secret] [secret]");
        keeps("bind ::1 requirepass hunter2", &["::1", "requirepass", ""], true, "bind ::1 requirepass [secret]");
        keeps(r"bind ::1\nrequirepass pw", &[r"::1\nrequirepass", ""], true, r"bind ::1\nrequirepass [secret]");
        keeps("bind 127.0.0.1  ::1", &["127.0.0.1", "::1"], false, "bind 127.0.0.1  ::1");
        keeps(
            "bind ::1 127.0.0.1 -::1 * Hunter2",
            &["::1", "127.0.0.1", "-::1", "*", ""],
            true,
            "bind ::1 127.0.0.1 -::1 * [secret]",
        );
        keeps(
            "bind 10.0.0.1 myhost fe80::1%e0",
            &["10.0.0.1", "myhost", "fe80::1%e0"],
            false,
            "bind 10.0.0.1 myhost fe80::1%e0",
        );
        keeps("replicaof pw@host 6379", &["", "6379"], true, "replicaof [secret] 6379");
        keeps(
            "pidfile /run/r.pid;requirepass:pw",
            &["/run/r.pid;requirepass[secret]"],
            true,
            "pidfile /run/r.pid;requirepass[secret]",
        );
        keeps("include /etc/requirepass.conf", &["/etc/requirepass.conf"], false, "include /etc/requirepass.conf");
        keeps("logfile redis://:pw@h/x", &["redis://[secret]"], true, "logfile redis://[secret]");
        keeps("logfile \"a\\x1b\"", &["a\\x1b"], false, "logfile \"a\\x1b\"");
    }

    #[test]
    fn keeps_no_secret_of_faulty_lines() {
        for (line, want) in [
            ("requirepas hunter", "requirepas […]"),
            ("requirepass hun ter", "requirepass […]"),
            ("requirepass=hunter", "requirepass […]"),
            ("requirepass:hunter", "requirepass […]"),
            ("requirepass\"hunter\"", "requirepass […]"),
            ("\"requirepass hunter\"", "requirepass […]"),
            ("requirepasshunter x", "[…]"),
            ("requirepass", "requirepass […]"),
            ("hunter", "[…]"),
            ("hunter2 x", "[…]"),
            ("\u{feff}requirepass hunter", "\\u{feff}requirepass […]"),
            ("port 6379 # x", "port 6379 # […]"),
            ("port 6379 S3CRET", "port 6379 [1 more word]"),
            ("port six", "port six"),
            ("port tcp://10.0.0.1:6379", "port tcp://10.0.0.1:6379"),
            ("maxclients S3CRET", "maxclients [1 more word]"),
            ("maxclients 10k", "maxclients 10k"),
            ("maxmemory 100mbb", "maxmemory 100mbb"),
            ("databases 16S3CRET", "databases [1 more word]"),
            ("maxclients 10 000", "maxclients 10 000"),
            ("dir /a S3CRET of mine", "dir /a [3 more words]"),
            ("slaveof redis://:S3CRET@h:6379", "slaveof redis://[secret]"),
            ("replicaof h S3CRET", "replicaof h [1 more word]"),
            ("appendonly on", "appendonly on"),
            ("save 900 S3CRET", "save 900 [1 more word]"),
            ("prot 6379", "prot […]"),
            ("port 6379 requirepass hunter", "port […]"),
            ("user al on hunter", "user […]"),
        ] {
            assert_eq!(kept(line).1, want, "{line}");
        }
        for (line, want) in [
            ("requirepass \"hunter", "requirepass […]"),
            ("requirepass\"hunter", "requirepass […]"),
            ("logfile \"x", "logfile \"x"),
            ("logfile \"x hunter", "logfile \"x [1 more word]"),
            ("dir \"redis://:hunter@h", "dir \"redis://[secret]"),
            ("dir \"/x requirepass hunter", "dir […]"),
            ("\"requirepass hunter", "requirepass […]"),
            ("x\"hunter", "[…]"),
        ] {
            assert_eq!(keep_unbalanced(line.as_bytes()), want, "{line}");
        }
    }

    #[test]
    fn keeps_no_secret_of_units() {
        for (line, want) in [
            ("--supervised|systemd|--daemonize|no", "--supervised systemd --daemonize no"),
            ("--port|6380|--requirepass|hunter2|--save|900|1", "--port 6380 --requirepass --save 900 1"),
            ("--requirepass hunter2|--masterauth hunter2|--port|1", "--requirepass --masterauth --port 1"),
            ("--user|bob on >hunter2 ~*", "--user bob on ~*"),
            ("--rename-command CONFIG hunter2", "--rename-command CONFIG"),
            ("--appendonly|no\nrequirepass hunter2", "--appendonly"),
            ("--appendonly|nonrequirepass hunter2", "--appendonly"),
            ("--port|1|&|sleep|1;|redis-cli|-a|hunter2|ping", "--port 1"),
            ("--port|1;|redis-cli|-a|hunter2", "--port"),
            ("--include|/etc/x|requirepass|hunter2", "--include"),
            ("--loadmodule|/x.so|hunter2", "--loadmodule /x.so"),
            ("--sentinel|auth-pass|m|hunter2", "--sentinel"),
            ("--replicaof|redis://:hunter2@h|1", "--replicaof redis://[secret] 1"),
            ("--requirepas|hunter2|--masterauth=hunter2|-a|hunter2", "--masterauth"),
            ("$OPTS|hunter2|--port|$PORT", "$OPTS --port $PORT"),
        ] {
            let args: Vec<String> = line.split('|').map(str::to_owned).collect();
            assert_eq!(open_arguments(&args).join(" "), want, "{line}");
        }
    }
}
