//! What Redis says of a directive and its arguments when it reads them.

use super::directive::{Kind, Old, kind};

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// In the words of Redis 7.
    pub says: String,
    /// Which versions refuse it.
    pub sure: Sure,
}

/// Which versions refuse a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sure {
    /// Every one, from Redis 5 and Valkey 8 on.
    Always,
    /// Those since Redis 6.0, which no longer read numbers with atoi(3).
    Since6,
    /// Some.
    Sometimes,
}

impl Sure {
    fn of(always: bool) -> Self {
        if always { Self::Always } else { Self::Sometimes }
    }
}

const ARGUMENTS: &str = "wrong number of arguments";
const UNKNOWN: &str = "Bad directive or wrong number of arguments";

/// What Redis 7 would say of a line, if it would refuse it.
pub(super) fn check(name: &str, args: &[Vec<u8>]) -> Option<Wrong> {
    let Some(kind) = kind(name) else { return unknown(name, args) };
    let text: Vec<String> = args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
    let words: Vec<&str> = text.iter().map(String::as_str).collect();
    match words.as_slice() {
        [value] => check_one(name, kind, value),
        words => check_many(kind, words),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what every check returns")]
fn sure(says: impl Into<String>) -> Option<Wrong> {
    Some(Wrong { says: says.into(), sure: Sure::Always })
}

#[expect(clippy::unnecessary_wraps, reason = "what every check returns")]
fn unsure(says: impl Into<String>) -> Option<Wrong> {
    Some(Wrong { says: says.into(), sure: Sure::Sometimes })
}

/// Modules and newer versions have directives that we do not know, but none with such characters; what has a dot is a
/// module's.
fn unknown(name: &str, args: &[Vec<u8>]) -> Option<Wrong> {
    let possible = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match (name.contains('.'), args.is_empty()) {
        (true, false) => None,
        (true, true) => sure("Module config specified without value"),
        // A word alone is no directive of any version, but for `sentinel` and those that take lists.
        (false, alone) => Some(Wrong { says: UNKNOWN.to_owned(), sure: Sure::of(!possible || alone) }),
    }
}

/// A directive with one argument.
fn check_one(name: &str, kind: Kind, value: &str) -> Option<Wrong> {
    match kind {
        Kind::YesNo if !is_yes_no(value) => sure("argument must be 'yes' or 'no'"),
        Kind::OnceYesNo if !is_yes_no(value) => unsure("argument must be 'yes' or 'no'"),
        Kind::Integer(least, most, old) => integer(value, least, most, old),
        Kind::Memory(least, old) => memory(value, least, old),
        Kind::MemoryOrPercent => memory_or_percent(value),
        Kind::Permissions => permissions(value),
        Kind::Word(words) if !is_one_of(words, value) => sure(one_of(words)),
        Kind::GrowingWord(words) | Kind::GrowingWords(words) if !is_one_of(words, value) => unsure(one_of(words)),
        Kind::FileName => file_name(name, value),
        // Redis 7 takes all the arguments of these in one, too (`MULTI_ARG_CONFIG`, config.c).
        Kind::Percentiles | Kind::BufferLimit | Kind::Exactly(3) if value.trim().contains(' ') => {
            check_many(kind, &value.split_whitespace().collect::<Vec<_>>())
        }
        Kind::Percentiles | Kind::Save | Kind::BufferLimit | Kind::Sentinel | Kind::User => check_many(kind, &[value]),
        Kind::Events if !value.bytes().all(is_event) => unsure("Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        Kind::Exactly(count) if count != 1 => sure(ARGUMENTS),
        Kind::AtLeast(count) if count > 1 => sure(ARGUMENTS),
        Kind::Primary => sure(ARGUMENTS),
        _ => None,
    }
}

/// A directive with none, or several.
fn check_many(kind: Kind, words: &[&str]) -> Option<Wrong> {
    match kind {
        Kind::AtLeast(count) if words.len() >= count => None,
        Kind::Exactly(count) if words.len() == count => None,
        Kind::Addresses if words.len() > 16 => sure("Too many bind addresses specified."),
        Kind::GrowingWords(known) => {
            words.iter().any(|word| !is_one_of(known, word)).then(|| one_of(known)).and_then(unsure)
        }
        Kind::Save => save(words),
        Kind::BufferLimit => buffer_limit(words),
        Kind::Percentiles => percentiles(words),
        Kind::Primary if words.len() == 2 => primary(words),
        Kind::User if !words.is_empty() => user(&words[1..]),
        Kind::Sentinel if !words.is_empty() => sure("sentinel directive while not in sentinel mode"),
        Kind::Addresses | Kind::Sentinel => None,
        // Redis 8 ignores the whole line.
        Kind::OnceYesNo => unsure(ARGUMENTS),
        _ => sure(ARGUMENTS),
    }
}

fn is_yes_no(value: &str) -> bool {
    is_one_of(&["yes", "no"], value)
}

fn is_one_of(words: &[&str], value: &str) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(value))
}

fn one_of(words: &[&str]) -> String {
    format!("argument must be one of the following: {}", words.join(", "))
}

/// Those of Redis 7, and what newer versions have added.
fn is_event(byte: u8) -> bool {
    b"Ag$lshzxeKEtmdnocrbf".contains(&byte)
}

fn integer(value: &str, least: i64, most: i64, old: Old) -> Option<Wrong> {
    let number = strict(value);
    let says = match number {
        Some(number) if (least..=most).contains(&number) => return None,
        Some(_) => format!("argument must be between {least} and {most} inclusive"),
        None => "argument couldn't be parsed into an integer".to_owned(),
    };
    let sure = match old {
        Old::Unknown => true,
        Old::Anything => false,
        Old::Bounded => {
            let read = leading(value);
            // Where Redis 5 takes larger numbers than these, it takes their lower bits.
            read < i128::from(least) || (most <= 65535 && read > i128::from(most) && read < i128::from(i32::MAX))
        }
    };
    let sure = if number.is_none() && !sure { Sure::Since6 } else { Sure::of(sure) };
    Some(Wrong { says, sure })
}

/// string2ll (util.c): no sign but a minus, no leading zero.
fn strict(value: &str) -> Option<i64> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (!digits.starts_with('0') || value == "0");
    if plain { value.parse().ok() } else { None }
}

/// atoi(3), without its overflow.
fn leading(value: &str) -> i128 {
    let value = value.trim_start();
    let (sign, digits) = match value.as_bytes().first() {
        Some(b'-') => (-1, &value[1..]),
        Some(b'+') => (1, &value[1..]),
        _ => (1, value),
    };
    let end = digits.bytes().take(30).take_while(u8::is_ascii_digit).count();
    sign * digits[..end].parse::<i128>().unwrap_or(0)
}

/// memtoull (util.c): digits and a unit; either may be missing.
fn size(value: &str) -> Option<u64> {
    let end = value.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = value.split_at(end);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    let number = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) };
    Some(number.saturating_mul(factor))
}

fn memory(value: &str, least: u64, old: Old) -> Option<Wrong> {
    let says = match size(value) {
        // Sizes that no machine has are clamped or refused, depending on the version.
        Some(size) if size >= least => return None,
        Some(_) => format!("argument must be between {least} and {} inclusive", i64::MAX),
        None => "argument must be a memory value".to_owned(),
    };
    let sure = if size(value).is_none() && old != Old::Unknown { Sure::Since6 } else { Sure::of(old == Old::Unknown) };
    Some(Wrong { says, sure })
}

fn memory_or_percent(value: &str) -> Option<Wrong> {
    let percent = value.strip_suffix('%').and_then(strict);
    match percent {
        Some(percent) if (0..=100).contains(&percent) => None,
        Some(percent) if percent > 100 => sure("percentage argument must be less or equal to 100"),
        _ if size(value).is_some() => None,
        _ => sure("argument must be a memory or percent value"),
    }
}

/// Redis 5 to 6.2 read the octal digits in front.
fn permissions(value: &str) -> Option<Wrong> {
    let octal = value.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) && value.len() <= 20;
    match u64::from_str_radix(value, 8) {
        Ok(mode) if octal && mode > 0o777 => sure("argument must be between 0 and 777 inclusive"),
        Err(_) if !octal && !value.is_empty() => unsure("argument couldn't be parsed as an octal number"),
        _ => None,
    }
}

fn file_name(name: &str, value: &str) -> Option<Wrong> {
    let what = if name == "appenddirname" { "dirname" } else { "filename" };
    if value.contains('/') {
        return sure(format!("{name} can't be a path, just a {what}"));
    }
    // Redis 5 to 6.2 take an empty `appendfilename`, and all of Redis an empty `dbfilename`.
    match (name, value) {
        ("appenddirname", "") => sure("appenddirname can't be empty"),
        ("appendfilename", "") => unsure("appendfilename can't be empty"),
        _ => None,
    }
}

/// Up to Redis 6.2, one argument of any kind clears the list.
fn save(words: &[&str]) -> Option<Wrong> {
    if words.is_empty() || *words == [""] {
        return None;
    }
    let fits = |(at, word): (usize, &&str)| number(word).is_some_and(|number| number >= i64::from(at % 2 == 0));
    let fine = words.len().is_multiple_of(2) && words.iter().enumerate().all(fits);
    // Redis 5 reads the digits in front.
    let sure = words.len() == 2 && leading(words[0]) < 1;
    (!fine).then(|| Wrong { says: "Invalid save parameters".to_owned(), sure: Sure::of(sure) })
}

/// strtoll(3), to the end.
fn number(word: &str) -> Option<i64> {
    word.trim_start().parse().ok()
}

fn buffer_limit(words: &[&str]) -> Option<Wrong> {
    if !words.len().is_multiple_of(4) {
        return sure("Wrong number of arguments in buffer limit configuration.");
    }
    for limit in words.chunks(4) {
        if !is_one_of(&["normal", "slave", "replica", "pubsub"], limit[0]) {
            return sure("Invalid client class specified in buffer limit configuration.");
        }
        let seconds = number(limit[3]);
        if size(limit[1]).is_none() || size(limit[2]).is_none() || seconds.is_none_or(|seconds| seconds < 0) {
            return unsure("Error in hard, soft or soft_seconds setting in buffer limit configuration.");
        }
    }
    None
}

fn percentiles(words: &[&str]) -> Option<Wrong> {
    if *words == [""] {
        return None;
    }
    // Some versions read hexadecimal.
    let decimal = words.iter().filter(|word| !word.to_ascii_lowercase().starts_with("0x"));
    decimal.map(|word| word.parse::<f64>()).find_map(|at| match at {
        Ok(at) if (0.0..=100.0).contains(&at) => None,
        Ok(at) if !at.is_nan() => sure("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"),
        _ => sure("Invalid latency-tracking-info-percentiles parameters"),
    })
}

fn primary(words: &[&str]) -> Option<Wrong> {
    if words[0].eq_ignore_ascii_case("no") && words[1].eq_ignore_ascii_case("one") {
        return None;
    }
    let fine = number(words[1]).is_some_and(|port| (0..=65535).contains(&port));
    // Redis 5 looks at nothing.
    (!fine).then(|| Wrong { says: "Invalid master port".to_owned(), sure: Sure::Sometimes })
}

/// The rules of a user; those that name commands are not looked into.
fn user(rules: &[&str]) -> Option<Wrong> {
    // A selector may hold spaces.
    if rules.iter().any(|rule| rule.contains('(')) {
        return None;
    }
    let wrong = rules.iter().position(|rule| !is_rule(rule))?;
    // Not which: it may be a password without its `>`.
    unsure(format!("Error in user declaration: rule {}: Syntax error", wrong + 1))
}

/// Whether this is a rule of an ACL that is known and holds no password.
pub(super) fn is_open_rule(rule: &str) -> bool {
    let words = [
        "on",
        "off",
        "nopass",
        "resetpass",
        "reset",
        "allkeys",
        "resetkeys",
        "allcommands",
        "nocommands",
        "allchannels",
        "resetchannels",
        "sanitize-payload",
        "skip-sanitize-payload",
        "clearselectors",
        "resetdbs",
        "alldbs",
    ];
    is_one_of(&words, rule) || rule.starts_with(['~', '%', '&', '+', '-', '@']) || rule.starts_with("db=")
}

fn is_rule(rule: &str) -> bool {
    is_open_rule(rule) || rule.starts_with(['>', '<', '#', '!'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(line: &str, want: Option<(&str, bool)>) {
        let mut words = line.split(' ').map(|word| if word == "''" { Vec::new() } else { word.as_bytes().to_vec() });
        let name = String::from_utf8(words.next().unwrap()).unwrap();
        let wrong = check(&name, &words.collect::<Vec<_>>());
        let got = wrong.as_ref().map(|wrong| (wrong.says.as_str(), wrong.sure == Sure::Always));
        assert!(
            match (got, want) {
                (Some((got, sure)), Some((want, as_sure))) => got.contains(want) && sure == as_sure,
                (got, want) => got == want,
            },
            "{line}: {got:?}, not {want:?}"
        );
    }

    #[test]
    fn takes_what_redis_takes() {
        for line in [
            "port 0",
            "port 65535",
            "maxmemory 100mb",
            "maxmemory 1G",
            "maxmemory ''",
            "maxmemory-clients 70%",
            "save ''",
            "save 900 1",
            "save 900 1 300 10",
            "bind",
            "bind ''",
            "bind * -::*",
            "appendonly YES",
            "unixsocketperm 0770",
            "notify-keyspace-events KEA",
            "list-max-listpack-size -2",
            "user alice on >pw ~* +@all",
            "user alice",
            "user a on (+get ~x)",
            "replicaof 10.0.0.1 6379",
            "slaveof NO ONE",
            "client-output-buffer-limit normal 0 0 0",
            "oom-score-adj-values 0 200 800",
            "latency-tracking-info-percentiles 50 99 99.9",
            "some.module a b",
            "search-timeout 5",
            "requirepass ''",
            "loadmodule /x.so a b",
            "server-threads 4",
            "sentinel",
            "hz 0",
            "shutdown-on-sigterm nosave force",
            "tls-auth-clients optional",
            "logfile ''",
        ] {
            says(line, None);
        }
    }

    #[test]
    fn refuses_what_redis_refuses() {
        let integer = "couldn't be parsed into an integer";
        says("port tcp://10.0.0.1:6379", Some((integer, false)));
        says("port 99999", Some(("between 0 and 65535", true)));
        says("tls-port x", Some((integer, true)));
        says("databases 0", Some(("between 1 and", true)));
        says("databases x", Some((integer, true)));
        says("timeout +5", Some((integer, false)));
        says("hz -1", Some(("between 0", false)));
        says("port 6379 # x", Some((ARGUMENTS, true)));
        says("port", Some((ARGUMENTS, true)));
        says("protected-mode true", Some(("'yes' or 'no'", true)));
        says("maxmemory 1tb", Some(("memory value", false)));
        says("repl-backlog-size 0", Some(("between 1 and", false)));
        says("maxmemory-clients 101%", Some(("less or equal to 100", true)));
        says("unixsocketperm 1777", Some(("between 0 and 777", true)));
        says("unixsocketperm rw", Some(("octal", false)));
        says("loglevel loud", Some(("one of the following: debug", false)));
        says("appendfsync sometimes", Some(("one of the following: everysec", true)));
        says("save 900", Some(("Invalid save", false)));
        says("save x y", Some(("Invalid save", true)));
        says("dbfilename /x/dump.rdb", Some(("can't be a path", true)));
        says("user alice on pw", Some(("Error in user declaration: rule 2", false)));
        says("user", Some((ARGUMENTS, true)));
        says("replicaof 10.0.0.1", Some((ARGUMENTS, true)));
        says("replicaof 10.0.0.1 x", Some(("Invalid master port", false)));
        says("client-output-buffer-limit normal 0 0", Some(("Wrong number", true)));
        says("client-output-buffer-limit all 0 0 0", Some(("Invalid client class", true)));
        says("requirepas x", Some((UNKNOWN, false)));
        says("requirepas=x", Some((UNKNOWN, true)));
        says("\u{feff}port 1", Some((UNKNOWN, true)));
        says("sentinel monitor m 1 2 3", Some(("not in sentinel mode", true)));
        says("bind a b c d e f g h i j k l m n o p q", Some(("Too many", true)));
    }
}
