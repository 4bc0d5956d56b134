//! What one reply says: error replies typed by their prefix across the wordings of Redis 2.8 to 8 and Valkey, and the
//! parts of HELLO and INFO that a diagnosis needs.

use std::collections::BTreeMap;

use redis::Value;
use serde::{Deserialize, Serialize};

use crate::model::Secret;
use crate::model::text;

pub use super::command::Command;
use super::command::SETTINGS;
use super::nodes::Node;

/// What stands for a text whose gaps would give the password away.
const WITHHELD: &str = "[a text that holds the password]";
/// The longest text of a server that is kept.
const LONGEST_TEXT: usize = 240;

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// A status: `OK`, `PONG`.
    Status(String),
    /// An error.
    Error(ErrorReply),
    /// A number.
    Integer(i64),
    /// What HELLO tells.
    Hello(Hello),
    /// What INFO tells.
    Info(Info),
    /// What CONFIG GET tells: names and values.
    Settings(BTreeMap<String, String>),
    /// What CLUSTER NODES tells.
    Nodes(Vec<Node>),
    /// Something else, by its beginning.
    Other(String),
}

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What it means.
    pub kind: ErrorKind,
    /// Its text as the server sent it, escaped, without the password.
    pub text: String,
}

/// What an error reply means. The wordings are those of the sources at the tags 2.8.24 … 8.0 and Valkey 7.2 … 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Commands need an AUTH first.
    NoAuth,
    /// The credentials are wrong, or the user is unknown or disabled: one text for all, by design.
    WrongPass,
    /// A password was sent, but the default user has none.
    NoPasswordSet,
    /// AUTH takes no user here: Redis before 6.
    AuthArity,
    /// The user may not run the command.
    NoPermission,
    /// The user may not touch the key.
    NoPermissionKey,
    /// The command does not exist, was renamed, or a proxy does not know it.
    UnknownCommand,
    /// The command exists but was called with too few or too many arguments.
    Arity,
    /// Protected mode.
    Denied,
    /// The client limit is reached.
    MaxClients,
    /// The data set is being loaded.
    Loading,
    /// A script, function or module command is running.
    Busy,
    /// Persistence fails and writes are stopped.
    MisConf,
    /// A replica without its master that serves no stale data.
    MasterDown,
    /// There is no database of this index.
    DbOutOfRange,
    /// A cluster has only database 0.
    SelectInCluster,
    /// The protocol version is not spoken.
    NoProto,
    /// The key belongs to another node.
    Moved,
    /// The cluster does not serve.
    ClusterDown,
    /// Our bytes broke the protocol.
    Protocol,
    /// Another error.
    Other,
}

/// What HELLO tells (Redis 6 and later).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// `redis`, `valkey` …
    pub server: String,
    /// The version it calls itself.
    pub version: String,
    /// The protocol that is spoken from here on.
    pub proto: i64,
    /// `standalone`, `sentinel` or `cluster`.
    pub mode: String,
    /// `master` or `replica`.
    pub role: String,
}

/// The fields of INFO that a diagnosis needs; others are not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// By the names INFO gives them.
    pub fields: BTreeMap<String, String>,
}

/// Fields of INFO that are kept.
const FIELDS: &[&str] = &[
    "aof_last_bgrewrite_status",
    "aof_last_write_status",
    "async_loading",
    "blocked_clients",
    "cluster_enabled",
    "config_file",
    "connected_clients",
    "connected_slaves",
    "loading",
    "loading_eta_seconds",
    "loading_loaded_perc",
    "master_failover_state",
    "master_host",
    "master_link_down_since_seconds",
    "master_link_status",
    "master_port",
    "master_sync_in_progress",
    "maxclients",
    "maxmemory",
    "maxmemory_policy",
    "mem_not_counted_for_evict",
    "min_slaves_good_slaves",
    "paused_actions",
    "paused_reason",
    "paused_timeout_milliseconds",
    "process_id",
    "rdb_last_bgsave_status",
    "redis_mode",
    "redis_version",
    "rejected_connections",
    "role",
    "run_id",
    "server_mode",
    "server_name",
    "server_time_usec",
    "slave_read_only",
    "tcp_port",
    "uptime_in_seconds",
    "used_memory",
    "valkey_version",
];

impl Info {
    /// Parses the text of INFO.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        let kept = pairs.filter(|(key, _)| FIELDS.binary_search(key).is_ok());
        let printable = |value: &str| text::head(value.trim_end().as_bytes(), LONGEST_TEXT);
        Self { fields: kept.map(|(key, value)| (key.to_owned(), printable(value))).collect() }
    }

    /// The same of a server's bytes, which may hold the password on purpose.
    fn of(text: &[u8], secret: Option<&Secret>) -> Self {
        let clean = secret.map_or_else(|| text.to_vec(), |secret| secret.scrub(text));
        Self::parse(&String::from_utf8_lossy(&clean))
    }

    /// The field `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    /// The field `key` as a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    /// `Redis 7.0.15`, `Valkey 8.0.1`.
    pub fn product(&self) -> Option<String> {
        match (self.get("valkey_version"), self.get("redis_version")) {
            (Some(version), _) => Some(format!("Valkey {version}")),
            (None, Some(version)) => Some(format!("Redis {version}")),
            (None, None) => None,
        }
    }
}

impl Reply {
    /// Reads the value of a whole frame. `command` tells what it answers, `secret` what must not be kept of it.
    pub fn of(frame: &[u8], value: Option<Value>, command: Command, secret: Option<&Secret>) -> Self {
        if let [b'-' | b'!', ..] = frame {
            return Self::Error(ErrorReply::parse(frame, secret));
        }
        match (value, command) {
            (Some(Value::Okay), _) => Self::Status("OK".to_owned()),
            // Which answer it is, is told by its whole: a password that is part of it gives nothing away.
            (Some(Value::SimpleString(status)), _) if ["OK", "PONG"].contains(&status.as_str()) => Self::Status(status),
            (Some(Value::SimpleString(status)), _) => Self::Status(kept(status.as_bytes(), secret)),
            (Some(Value::Int(number)), _) => Self::Integer(number),
            (Some(Value::BulkString(text)), Command::Info) => Self::Info(Info::of(&text, secret)),
            (Some(Value::VerbatimString { text, .. }), Command::Info) => Self::Info(Info::of(text.as_bytes(), secret)),
            (Some(Value::BulkString(text)), Command::ClusterNodes) => {
                Self::Nodes(Node::parse(&String::from_utf8_lossy(&text)))
            }
            (Some(value), Command::ConfigGet) => match settings(&value, secret) {
                Some(settings) => Self::Settings(settings),
                None => Self::Other(kept(frame, secret)),
            },
            (Some(value), Command::Hello) => match Hello::parse(&value, secret) {
                Some(hello) => Self::Hello(hello),
                None => Self::Other(kept(frame, secret)),
            },
            _ => Self::Other(kept(frame, secret)),
        }
    }

    /// The error, if it is one.
    pub fn error(&self) -> Option<&ErrorReply> {
        match self {
            Self::Error(error) => Some(error),
            _ => None,
        }
    }
}

impl Hello {
    /// Parses the reply: a map in RESP3, a flat array in RESP2.
    fn parse(value: &Value, secret: Option<&Secret>) -> Option<Self> {
        let mut hello = Self::default();
        for (key, value) in pairs(value)? {
            let field = match word(key, None)?.as_str() {
                "server" => &mut hello.server,
                "version" => &mut hello.version,
                "mode" => &mut hello.mode,
                "role" => &mut hello.role,
                "proto" => {
                    hello.proto = if let Value::Int(number) = value { *number } else { 0 };
                    continue;
                }
                _ => continue,
            };
            *field = word(value, secret).unwrap_or_default();
        }
        (!hello.server.is_empty()).then_some(hello)
    }
}

fn pairs(value: &Value) -> Option<Vec<(&Value, &Value)>> {
    match value {
        Value::Map(pairs) => Some(pairs.iter().map(|(key, value)| (key, value)).collect()),
        Value::Array(items) => Some(items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect()),
        _ => None,
    }
}

/// The names and values of CONFIG GET, as far as they are among those that are asked for.
fn settings(value: &Value, secret: Option<&Secret>) -> Option<BTreeMap<String, String>> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => Some(kept(bytes, secret)),
        _ => None,
    };
    let pairs = pairs(value)?.into_iter().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
    Some(pairs.filter(|(name, _)| SETTINGS.contains(&name.as_str())).collect())
}

fn word(value: &Value, secret: Option<&Secret>) -> Option<String> {
    let bytes = match value {
        Value::BulkString(bytes) => bytes.as_slice(),
        Value::SimpleString(text) => text.as_bytes(),
        _ => return None,
    };
    let clean = secret.map_or_else(|| bytes.to_vec(), |secret| secret.scrub(bytes));
    Some(text::head(&clean, 64))
}

impl ErrorReply {
    /// Reads an error frame: `-PREFIX text\r\n`, or the bulk error of RESP3.
    pub fn parse(frame: &[u8], secret: Option<&Secret>) -> Self {
        let line = match frame {
            [b'!', ..] => frame.iter().position(|&byte| byte == b'\n').map_or(frame, |end| &frame[end + 1..]),
            _ => &frame[1..],
        };
        let line = line.trim_ascii_end();
        let text = String::from_utf8_lossy(line);
        let kind = ErrorKind::of(&text);
        Self { kind, text: kept_error(kind, without_arguments(line), secret) }
    }
}

/// What may be kept of an error. Where a text is public, a gap in it would tell what stood there.
fn kept_error(kind: ErrorKind, line: &[u8], secret: Option<&Secret>) -> String {
    let is_public = kind != ErrorKind::Other;
    match secret {
        Some(secret) if is_public && secret.scrub(line) != line => WITHHELD.to_owned(),
        _ => kept(line, secret),
    }
}

/// Unknown commands are answered with their arguments, which may be a password cut short: what follows is dropped.
fn without_arguments(line: &[u8]) -> &[u8] {
    const ARGUMENTS: &[u8] = b"with args beginning with";
    line.windows(ARGUMENTS.len()).position(|window| window == ARGUMENTS).map_or(line, |at| {
        let text = line[..at].trim_ascii_end();
        text.strip_suffix(b",").unwrap_or(text)
    })
}

impl ErrorKind {
    /// The kind of an error text.
    pub fn of(text: &str) -> Self {
        let (prefix, rest) = text.split_once(' ').unwrap_or((text, ""));
        match prefix {
            "NOAUTH" => Self::NoAuth,
            "WRONGPASS" => Self::WrongPass,
            "NOPERM" => Self::of_permission(rest),
            "DENIED" => Self::Denied,
            "LOADING" => Self::Loading,
            "BUSY" => Self::Busy,
            "MISCONF" => Self::MisConf,
            "MASTERDOWN" => Self::MasterDown,
            "NOPROTO" => Self::NoProto,
            "MOVED" | "ASK" => Self::Moved,
            "CLUSTERDOWN" => Self::ClusterDown,
            "ERR" => Self::of_plain(rest),
            _ => Self::Other,
        }
    }

    fn of_permission(text: &str) -> Self {
        // 6.0 "… to access one of the keys used as arguments", 7.0 "No permissions to access a key".
        if text.contains("access") && text.contains("key") { Self::NoPermissionKey } else { Self::NoPermission }
    }

    /// Texts under the general prefix, by the words that every version shares.
    fn of_plain(text: &str) -> Self {
        let has = |words: &str| text.contains(words);
        match () {
            () if has("max number of clients") => Self::MaxClients,
            () if has("no password is set") || has("without any password configured") => Self::NoPasswordSet,
            () if has("invalid password") => Self::WrongPass,
            () if has("operation not permitted") => Self::NoAuth,
            () if has("wrong number of arguments for 'auth'") => Self::AuthArity,
            () if has("wrong number of arguments") => Self::Arity,
            () if has("unknown command") || has("unsupported command") || has("command is not supported") => {
                Self::UnknownCommand
            }
            () if has("No permission to execute") => Self::NoPermission,
            () if has("invalid DB index") || has("DB index is out of range") => Self::DbOutOfRange,
            () if has("SELECT is not allowed in cluster mode") => Self::SelectInCluster,
            () if has("Protocol error") => Self::Protocol,
            () => Self::Other,
        }
    }
}

/// What may be kept of a server's bytes: without the password, printable, and not too much.
pub fn kept(bytes: &[u8], secret: Option<&Secret>) -> String {
    let Some(secret) = secret else { return text::head(bytes, LONGEST_TEXT) };
    let clean = secret.scrub(bytes);
    if clean != bytes && secret.is_short() { WITHHELD.to_owned() } else { text::head(&clean, LONGEST_TEXT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, kind: ErrorKind) {
        assert_eq!(ErrorKind::of(text), kind, "{text}");
    }

    #[test]
    fn the_fields_of_info_are_sorted_for_the_search() {
        assert!(FIELDS.is_sorted());
    }

    #[test]
    fn types_errors_across_versions() {
        check("NOAUTH Authentication required.", ErrorKind::NoAuth);
        check("NOAUTH HELLO must be called with the client already authenticated, otherwise …", ErrorKind::NoAuth);
        check("ERR operation not permitted", ErrorKind::NoAuth);
        check("ERR invalid password", ErrorKind::WrongPass);
        check("WRONGPASS invalid username-password pair or user is disabled.", ErrorKind::WrongPass);
        check("ERR Client sent AUTH, but no password is set", ErrorKind::NoPasswordSet);
        check(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            ErrorKind::NoPasswordSet,
        );
        check("ERR wrong number of arguments for 'auth' command", ErrorKind::AuthArity);
        check("ERR wrong number of arguments for 'echo' command", ErrorKind::Arity);
        check("ERR unknown command 'HELLO'", ErrorKind::UnknownCommand);
        check("ERR unknown command `HELLO`, with args beginning with: `3`, ", ErrorKind::UnknownCommand);
        check(
            "NOPERM this user has no permissions to run the 'ping' command or its subcommand",
            ErrorKind::NoPermission,
        );
        check("NOPERM User app has no permissions to run the 'ping' command", ErrorKind::NoPermission);
        check(
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            ErrorKind::NoPermissionKey,
        );
        check("NOPERM No permissions to access a key", ErrorKind::NoPermissionKey);
        check("DENIED Redis is running in protected mode because …", ErrorKind::Denied);
        check("ERR max number of clients reached", ErrorKind::MaxClients);
        check("ERR max number of clients + cluster connections reached", ErrorKind::MaxClients);
        check("LOADING Valkey is loading the dataset in memory", ErrorKind::Loading);
        check(
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            ErrorKind::Busy,
        );
        check("MISCONF Redis is configured to save RDB snapshots", ErrorKind::MisConf);
        check(
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            ErrorKind::MasterDown,
        );
        check("ERR invalid DB index", ErrorKind::DbOutOfRange);
        check("ERR DB index is out of range", ErrorKind::DbOutOfRange);
        check("ERR SELECT is not allowed in cluster mode", ErrorKind::SelectInCluster);
        check("NOPROTO unsupported protocol version", ErrorKind::NoProto);
        check("CLUSTERDOWN Hash slot not served", ErrorKind::ClusterDown);
        check("SOMETHING new", ErrorKind::Other);
        check("", ErrorKind::Other);
    }

    #[test]
    fn an_echoed_password_is_not_kept() {
        let secret = Secret::new("hunter2-very-long");
        let error = ErrorReply::parse(
            b"-ERR unknown command 'AUTH', with args beginning with: 'hunter2-ve' \r\n",
            Some(&secret),
        );
        assert_eq!(error.text, "ERR unknown command 'AUTH'");
        let error = ErrorReply::parse(b"-ERR bad word hunter2-very-long\r\n", Some(&secret));
        assert_eq!(error.text, "ERR bad word [password]");
    }

    #[test]
    fn a_gap_in_a_public_text_would_tell_what_stood_there() {
        let public = b"-ERR AUTH <password> called without any password configured for the default user.\r\n";
        for word in ["any", "password", "configured"] {
            let error = ErrorReply::parse(public, Some(&Secret::new(word)));
            assert_eq!((error.kind, error.text.as_str()), (ErrorKind::NoPasswordSet, WITHHELD));
        }
        assert_eq!(kept(b"500 what is x?", Some(&Secret::new("x"))), WITHHELD);
    }

    #[test]
    fn a_pong_stays_one_whatever_the_password() {
        let status = |text: &str, secret| {
            let frame = format!("+{text}\r\n");
            let value = Value::SimpleString(text.to_owned());
            Reply::of(frame.as_bytes(), Some(value), Command::Ping, Some(&Secret::new(secret)))
        };
        for secret in ["pong", "PONG", "P", "N"] {
            assert_eq!(status("PONG", secret), Reply::Status("PONG".to_owned()));
        }
        assert_eq!(status("PONG x", "x"), Reply::Status(WITHHELD.to_owned()));
    }

    #[test]
    fn reads_info_of_redis_and_valkey() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\nos:Linux\r\n",
        );
        assert_eq!(info.product().unwrap(), "Valkey 8.0.1");
        assert_eq!(info.get("os"), None);
    }
}
