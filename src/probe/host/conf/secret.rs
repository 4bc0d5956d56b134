//! What is kept of a line: never a password.

use super::value::is_open_rule;
use crate::model::text::{escape, head};

/// The most of a line that is kept as text.
const LONGEST_TEXT: usize = 200;
/// The most of an argument that is kept: no path is longer.
const LONGEST_VALUE: usize = 4096;
/// The most arguments that are kept.
const MOST_VALUES: usize = 64;
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

/// What is kept of a line that could be taken apart.
pub(super) fn keep(name: &str, args: &[Vec<u8>], line: &[u8]) -> Kept {
    let shown: Vec<bool> = (0..args.len()).map(|at| is_open(name, args, at)).collect();
    let secret = shown.contains(&false);
    let value = |(arg, shown): (&Vec<u8>, &bool)| if *shown { head(arg, LONGEST_VALUE) } else { String::new() };
    let values = args.iter().zip(&shown).map(value).take(MOST_VALUES).collect();
    let text = if secret { without_secrets(name, args, &shown) } else { head(line, LONGEST_TEXT) };
    Kept { values, secret, text }
}

/// What is kept of a line that Redis refuses: only what is known to be no secret.
pub(super) fn keep_faulty(name: &str, args: &[Vec<u8>], line: &[u8]) -> String {
    let known = super::directive::kind(name).is_some();
    if !known || is_touchy(name) || args.iter().any(|arg| is_touchy(&String::from_utf8_lossy(arg).to_ascii_lowercase()))
    {
        return name_only(line, !args.is_empty());
    }
    keep(name, args, line).text
}

/// What is kept of a line whose quotes are not balanced.
pub(super) fn keep_unbalanced(line: &[u8]) -> String {
    let end = line.iter().position(|&byte| super::line::is_space(byte)).unwrap_or(line.len());
    let name = String::from_utf8_lossy(&line[..end]).to_ascii_lowercase();
    if super::directive::kind(&name).is_some() && !is_touchy(&name) {
        return head(line, LONGEST_TEXT);
    }
    name_only(line, end < line.len())
}

/// The arguments of a server's command line (`--port 6380 --requirepass x`) without those that are secrets.
pub(in crate::probe::host) fn open_arguments(args: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    for part in args.chunk_by(|_, next| !next.starts_with("--")) {
        let flag = part.first().and_then(|flag| flag.strip_prefix("--"));
        // A flag may be run together with its value: `--requirepass=x`.
        let name = flag.unwrap_or_default().split('=').next().unwrap_or_default().to_ascii_lowercase();
        let joined = flag.is_some_and(|flag| flag.contains('=')) && is_touchy(&name);
        kept.push(if joined { format!("--{name}") } else { head(part[0].as_bytes(), LONGEST_VALUE) });
        let values: Vec<Vec<u8>> = part[1..].iter().map(|value| value.clone().into_bytes()).collect();
        let known = super::directive::kind(&name).is_some() || !is_touchy(&name);
        let open = (0..values.len()).filter(|&at| known && is_open(&name, &values, at));
        kept.extend(open.map(|at| head(&values[at], LONGEST_VALUE)));
    }
    kept
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
        text.push_str(&if *shown { quoted(arg) } else { SECRET.to_owned() });
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
    let before = |arg: &Vec<u8>| SECRETS.contains(&String::from_utf8_lossy(arg).to_ascii_lowercase().as_str());
    match name {
        _ if arg.is_empty() => true,
        _ if args[..at].iter().any(before) => false,
        name if SECRETS.contains(&name) => false,
        "user" if at == 0 => !arg.starts_with(['>', '<', '#', '!']),
        "user" => is_open_rule(arg.trim_start_matches('(').trim_end_matches(')')),
        // The new name of a command is meant to be known to nobody else, and what a module takes may be a password.
        "rename-command" | "loadmodule" => at == 0,
        // Behind the addresses, a comment, which Redis does not know there.
        "bind" => !args[..at].iter().any(|arg| arg.starts_with(b"#")),
        "sentinel" => at == 0 || !(first.contains("pass") || first.contains("rename") || first.contains("auth")),
        name => !name.contains('.'),
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::{Line, split};
    use super::*;

    fn kept(line: &str) -> (Kept, String) {
        let Line::Words(words) = split(line.as_bytes()) else { panic!("{line}") };
        let name = String::from_utf8_lossy(&words[0]).to_ascii_lowercase();
        (keep(&name, &words[1..], line.as_bytes()), keep_faulty(&name, &words[1..], line.as_bytes()))
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
        keeps("bind 127.0.0.1  ::1", &["127.0.0.1", "::1"], false, "bind 127.0.0.1  ::1");
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
            ("port 6379 # x", "port 6379 # x"),
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
            ("\"requirepass hunter", "requirepass […]"),
            ("x\"hunter", "[…]"),
        ] {
            assert_eq!(keep_unbalanced(line.as_bytes()), want, "{line}");
        }
    }
}
