//! The target: one place to connect to, where each part of it came from, and what is wrong with how it was given.
//!
//! Reading hosts, URIs and settings is in [`host`], [`uri`], [`dotenv`] and [`settings`], merging them in [`resolve`],
//! judging them in `check/target.rs`.

pub mod dotenv;
pub mod host;
pub mod layer;
pub mod resolve;
pub mod settings;
pub mod uri;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::shell_quote;

/// The port of Redis when nothing else is said.
pub const DEFAULT_PORT: u16 = 6379;
/// The host of Redis when nothing else is said, as redis-cli has it.
pub const DEFAULT_HOST: &str = "127.0.0.1";

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// A host name or address and a port.
    Tcp {
        /// A name, an IPv4 or an IPv6 address (without brackets; a zone may follow a `%`).
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix {
        /// The path.
        path: String,
    },
}

/// Which address families may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4 only (`-4`).
    V4,
    /// IPv6 only (`-6`).
    V6,
}

/// How far a connection must get to be good enough (`--require`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A Redis answers, whatever it says.
    Reachable,
    /// It accepts the credentials, or asks for none.
    Authenticated,
    /// It serves commands.
    #[default]
    Ready,
    /// It serves writes.
    Writable,
}

/// A part of the target, as `given_by` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The host.
    Host,
    /// The port.
    Port,
    /// The unix socket.
    Socket,
    /// Whether TLS is asked for.
    Tls,
    /// The database index.
    Db,
    /// The user.
    User,
    /// The password.
    Password,
    /// The protocol version.
    Protocol,
}

/// What is wrong with how the target was given, in kinds that call for different repairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComplaintKind {
    /// A reserved character stands raw in a URI's user or password, or a `%` that encodes nothing.
    NotEncoded,
    /// A host that holds a scheme, a port, brackets, a path, blanks, several hosts, or nothing.
    BadHost,
    /// A port variable that a container platform injected (`tcp://10.0.0.1:6379`).
    InjectedPort,
    /// A value that cannot be what it should be (port 99999, db -1, an unknown scheme).
    BadValue,
    /// A setting that stands there but has no effect, or does something else than it seems to (a warning).
    Ignored,
    /// A part that belongs to the client library alone (a remark).
    NotRead,
}

/// One thing wrong with how the target was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The kind.
    pub kind: ComplaintKind,
    /// Where it was given: `flag -h`, `env REDIS_PORT`, `.env:3 REDIS_URL`.
    pub origin: String,
    /// What is wrong, free of secrets.
    pub says: String,
    /// What was probably meant, to be typed instead, free of secrets.
    pub meant: Option<String>,
}

impl Complaint {
    /// True if there is no target to connect to while this stands: exit code 2.
    pub fn is_fatal(&self) -> bool {
        !matches!(self.kind, ComplaintKind::Ignored | ComplaintKind::NotRead)
    }
}

/// What to connect to. The password itself travels apart, as a [`super::Secret`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The place.
    pub endpoint: Endpoint,
    /// Whether TLS is asked for.
    pub tls: bool,
    /// The server name for TLS, where it differs from the host.
    pub sni: Option<String>,
    /// What is said of certificates.
    #[serde(default)]
    pub certificates: Certificates,
    /// The database index.
    pub db: u32,
    /// The ACL user.
    pub user: Option<String>,
    /// Whether there is a password.
    pub password: bool,
    /// Whether the application insists on RESP3 (`-3`, `?protocol=3`).
    pub resp3: bool,
    /// The address families that may be used.
    pub family: Family,
    /// A key the application uses, to be looked at with EXISTS (`--exists`).
    pub key: Option<String>,
    /// Where each part came from: `flag`, `uri`, `env REDIS_URL`, `default` …
    pub given_by: BTreeMap<Part, String>,
    /// Where settings were looked for in vain ("environment", ".env"), when they were asked for.
    pub searched: Vec<String>,
    /// What is wrong with how it was given.
    pub complaints: Vec<Complaint>,
}

/// What is said of certificates on the command line, as redis-cli has it too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// The file with the authorities that may vouch for the server (`--cacert`).
    pub cacert: Option<String>,
    /// The folder with such files (`--cacertdir`).
    pub cacertdir: Option<String>,
    /// The file with our own certificate (`--cert`).
    pub cert: Option<String>,
    /// The file with its key (`--key`).
    pub key: Option<String>,
    /// Whether a certificate that is not trusted is overlooked (`--insecure`).
    pub insecure: bool,
}

impl Certificates {
    /// The files that are named, with their flags.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let files = [
            ("--cacert", &self.cacert),
            ("--cacertdir", &self.cacertdir),
            ("--cert", &self.cert),
            ("--key", &self.key),
        ];
        files.into_iter().filter_map(|(flag, file)| Some((flag, file.as_ref()?)))
    }
}

impl Default for Target {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::Tcp { host: DEFAULT_HOST.to_owned(), port: DEFAULT_PORT },
            tls: false,
            sni: None,
            certificates: Certificates::default(),
            db: 0,
            user: None,
            password: false,
            resp3: false,
            family: Family::Any,
            key: None,
            given_by: BTreeMap::new(),
            searched: Vec::new(),
            complaints: Vec::new(),
        }
    }
}

impl Target {
    /// The host, unless the target is a unix socket.
    pub fn host(&self) -> Option<&str> {
        match &self.endpoint {
            Endpoint::Tcp { host, .. } => Some(host),
            Endpoint::Unix { .. } => None,
        }
    }

    /// The name that a certificate must be valid for: `--sni`, else the host.
    pub fn server_name(&self) -> Option<&str> {
        self.sni.as_deref().or(self.host())
    }

    /// The port, unless the target is a unix socket.
    pub fn port(&self) -> Option<u16> {
        match self.endpoint {
            Endpoint::Tcp { port, .. } => Some(port),
            Endpoint::Unix { .. } => None,
        }
    }

    /// True if nothing prevents connecting.
    pub fn is_usable(&self) -> bool {
        !self.complaints.iter().any(Complaint::is_fatal)
    }

    /// True if the host is the default because nothing named one.
    pub fn host_is_default(&self) -> bool {
        self.given_by.get(&Part::Host).is_some_and(|by| by == "default")
    }

    /// The place as people write it: `db:6379`, `[::1]:6379`, `/run/redis.sock`.
    pub fn place(&self) -> String {
        match &self.endpoint {
            Endpoint::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Tcp { host, port } => format!("{host}:{port}"),
            Endpoint::Unix { path } => path.clone(),
        }
    }

    /// The arguments of redis-cli and of redisdoc (they share them) that name this target, never with a password.
    pub fn flags(&self) -> String {
        let mut flags = match &self.endpoint {
            Endpoint::Tcp { host, port } => format!("-h {} -p {port}", shell_quote(host)),
            Endpoint::Unix { path } => format!("-s {}", shell_quote(path)),
        };
        if self.tls {
            flags.push_str(" --tls");
            let named = self.sni.iter().map(|name| ("--sni", name)).chain(self.certificates.files());
            for (flag, value) in named {
                flags.extend([" ", flag, " ", &shell_quote(value)]);
            }
            if self.certificates.insecure {
                flags.push_str(" --insecure");
            }
        }
        if let Some(user) = &self.user {
            flags.push_str(" --user ");
            flags.push_str(&shell_quote(user));
        }
        if self.db != 0 {
            flags.push_str(" -n ");
            flags.push_str(&self.db.to_string());
        }
        flags
    }

    /// The command that runs this very check again, never with a password: where one came from a flag or a file, it
    /// is asked for.
    pub fn check_command(&self) -> String {
        let mut command = format!("redisdoc check {}", self.flags());
        match self.family {
            Family::Any => {}
            Family::V4 => command.push_str(" -4"),
            Family::V6 => command.push_str(" -6"),
        }
        if self.resp3 {
            command.push_str(" -3");
        }
        if let Some(key) = &self.key {
            command.push_str(" --exists ");
            command.push_str(&shell_quote(key));
        }
        if self.password && self.given_by.get(&Part::Password).is_none_or(|by| by != "env REDISCLI_AUTH") {
            command.push_str(" --askpass");
        }
        command
    }
}
