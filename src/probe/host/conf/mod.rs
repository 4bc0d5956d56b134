//! redis.conf as it stands on the disk: found, read with its includes, each setting with file and line.

mod bind;
mod directive;
mod find;
mod line;
mod parse;
mod secret;
mod value;

use serde::{Deserialize, Serialize};

use std::net::IpAddr;
use std::time::Instant;

use super::instance::{Bind, serves};
use super::process::Process;
use super::system::Unit;
use crate::model::Observed;
use crate::model::target::DEFAULT_PORT;
pub(super) use parse::join;
pub use parse::{Files, parse};
pub(super) use secret::open_arguments;

/// A redis.conf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conf {
    /// Its path.
    pub path: String,
    /// Who says that it counts.
    pub found_by: FoundBy,
    /// The server process that reads it, where that is known.
    pub pid: Option<u32>,
    /// The unit that starts a server with it, where that is known.
    pub unit: Option<String>,
    /// The servers that see another file at this path: in a container, or in a mount namespace of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen_by: Vec<u32>,
    /// When it, or a file that it includes, was last changed (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<String>,
    /// What it says.
    pub parsed: Observed<Parsed>,
}

/// Who says that a redis.conf counts; the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// `--redis-conf`.
    Given,
    /// `config_file` of INFO.
    Info,
    /// The arguments of the running process.
    Arguments,
    /// The command line of the service.
    Unit,
    /// It stands where distributions put it.
    UsualPlace,
}

/// What a redis.conf and the files it includes say, in the order Redis reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parsed {
    /// The settings; a later one of the same name counts (but see `save`, `user`, `rename-command` …).
    pub settings: Vec<Setting>,
    /// What Redis would not start with.
    pub errors: Vec<Fault>,
    /// Every file that was read.
    pub files: Vec<String>,
    /// What Redis reads, too, and we could not, or not to its end: that something is not set proves nothing then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The directive in lower case.
    pub name: String,
    /// Its arguments; empty strings where they are secrets.
    pub values: Vec<String>,
    /// True if `values` and `text` leave out a secret.
    pub secret: bool,
    /// The file it stands in; the empty string for an argument of the command line.
    pub file: String,
    /// The line, from 1; for an argument of the command line, 0.
    pub line: u32,
    /// The line as it stands, escaped, without secrets.
    pub text: String,
}

/// A line that Redis refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The line as it stands, escaped, without secrets.
    pub text: String,
    /// What is wrong with it, in Redis' words where they are known.
    pub says: String,
    /// True if every version of Redis refuses it; false where a newer or older one, or a module, may take it.
    pub sure: bool,
    /// True if every version since Redis 6.0 does: 5 reads `port six` as port 0.
    #[serde(default)]
    pub sure_since_6: bool,
}

impl Setting {
    /// Where it stands, as evidence: `/etc/redis/redis.conf:87`.
    pub fn place(&self) -> String {
        if self.file.is_empty() { "the command line".to_owned() } else { format!("{}:{}", self.file, self.line) }
    }
}

impl Fault {
    /// The directive, in lower case, where it is shown.
    pub fn name(&self) -> String {
        self.text.split_whitespace().next().unwrap_or_default().to_lowercase()
    }

    /// True if `text` is the whole line: only then can it be found in the file by it.
    pub fn is_whole(&self) -> bool {
        ["[…]", "[secret]", " more word]", " more words]"].iter().all(|mark| !self.text.contains(mark))
    }
}

impl Parsed {
    /// True if a server of it would listen on this port, on one of these addresses (of any, where none is known).
    pub fn wants(&self, port: u16, asked: &[IpAddr]) -> bool {
        let bound =
            self.last("bind").map(|bind| bind.values.iter().filter_map(|word| Bind::parse(word)).collect::<Vec<_>>());
        let serves_it = |bind: &Bind| asked.is_empty() || asked.iter().any(|ip| serves(bind.ip, *ip));
        self.port() == Some(port) && bound.is_none_or(|bound| bound.iter().any(serves_it))
    }

    /// True if a server of it would have its unix socket at this path.
    pub fn names_socket(&self, path: &str) -> bool {
        self.last("unixsocket").is_some_and(|setting| setting.values.first().is_some_and(|own| own == path))
    }

    /// The port it asks for: Redis' default where it says nothing; `None` where it says what is no port.
    pub fn port(&self) -> Option<u16> {
        self.last("port").map_or(Some(DEFAULT_PORT), |setting| setting.values.first()?.parse().ok())
    }

    /// The setting `name` that counts: the last, under whichever of its names (`slaveof` is `replicaof`).
    pub fn last(&self, name: &str) -> Option<&Setting> {
        let name = directive::canonical(name);
        self.settings.iter().rev().find(|setting| directive::canonical(&setting.name) == name)
    }
}

/// Where a redis.conf may be known from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leads<'a> {
    /// `--redis-conf`.
    pub given: Option<&'a str>,
    /// `config_file` of INFO with the process that said it, the target's first.
    pub told: &'a [(&'a str, Option<u32>)],
    /// The servers that run.
    pub servers: &'a [Process],
    /// The services that start one.
    pub units: &'a [Unit],
    /// Whether to look in the usual places, too, when nothing else leads to one.
    pub usual: bool,
}

/// Finds and reads every redis.conf that the leads lead to, each once, the surest first, as far as there is time `until`.
pub fn gather(leads: Leads<'_>, until: Instant) -> Vec<Conf> {
    find::gather(leads, until)
}
