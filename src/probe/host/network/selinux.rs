//! What `SELinux` says: whether it enforces, and what it has denied to Redis and its clients of late.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::text::head;
use crate::sys::{clock, files};

/// Where `SELinux` says whether it enforces: `1` or `0`.
const ENFORCE: &str = "/sys/fs/selinux/enforce";
/// Where auditd writes what was denied (auditd.conf(5)); root alone may read it.
const AUDIT_LOG: &str = "/var/log/audit/audit.log";
/// How much of its end is read.
const TAIL: u64 = 256 << 10;
/// The most denials that are kept, the last ones, and the most that is kept of each.
const MOST_DENIALS: usize = 16;
const MOST_BYTES: usize = 400;

/// `SELinux` on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selinux {
    /// True if it enforces; false if it only logs.
    pub enforcing: bool,
    /// True if its log could be read.
    pub log_read: bool,
    /// What it denied, oldest first.
    pub denials: Vec<Denial>,
}

/// A line `avc: denied`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// How long ago, in seconds.
    pub age_s: u64,
    /// What was denied: `name_bind`, `name_connect`.
    pub permission: String,
    /// The program.
    pub program: String,
    /// The port.
    pub port: Option<u16>,
    /// The line.
    pub says: String,
}

/// Looks at it; `None` where there is no `SELinux`.
pub fn gather() -> Option<Selinux> {
    let enforcing = files::read_text(ENFORCE).ok()?.trim() == "1";
    let log = files::tail(AUDIT_LOG, TAIL).ok().map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned());
    let now = humantime::parse_rfc3339(&clock::date()).ok().and_then(|now| now.duration_since(UNIX_EPOCH).ok());
    let denials = log.as_deref().zip(now).map(|(log, now)| denials(log, now)).unwrap_or_default();
    Some(Selinux { enforcing, log_read: log.is_some(), denials })
}

/// What was denied of listening and connecting, to whatever has to do with Redis or its port.
fn denials(log: &str, now: Duration) -> Vec<Denial> {
    let mut found: Vec<Denial> = log.lines().rev().filter_map(|line| denial(line, now)).take(MOST_DENIALS).collect();
    found.reverse();
    found
}

/// `type=AVC msg=audit(1700000000.123:456): avc:  denied  { name_bind } for  pid=812 comm="redis-server" src=7777
/// scontext=system_u:system_r:redis_t:s0 tcontext=… tclass=tcp_socket permissive=0`.
fn denial(line: &str, now: Duration) -> Option<Denial> {
    let (head_of, rest) = line.split_once("avc:  denied  {")?;
    let (permissions, rest) = rest.split_once('}')?;
    let permission = permissions.split_whitespace().find(|word| matches!(*word, "name_bind" | "name_connect"))?;
    let value = |key: &str| rest.split_whitespace().find_map(|word| word.strip_prefix(key));
    // One that was only logged kept nobody from anything.
    (value("permissive=") != Some("1")).then_some(())?;
    let at: u64 = head_of.split_once("audit(")?.1.split_once('.')?.0.parse().ok()?;
    let program = value("comm=")?.trim_matches('"');
    Some(Denial {
        age_s: now.as_secs().saturating_sub(at),
        permission: permission.to_owned(),
        program: head(program.as_bytes(), 64),
        port: value("src=").or_else(|| value("dest=")).and_then(|port| port.parse().ok()),
        says: head(line.as_bytes(), MOST_BYTES),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "type=AVC msg=audit(1700000000.123:456): avc:  denied  { name_bind } for  pid=812 \
        comm=\"redis-server\" src=7777 scontext=system_u:system_r:redis_t:s0 \
        tcontext=system_u:object_r:unreserved_port_t:s0 tclass=tcp_socket permissive=0";

    #[test]
    fn reads_what_was_denied() {
        let now = Duration::from_secs(1_700_000_060);
        let [denial] = denials(&format!("type=USER x\n{LINE}\n"), now).try_into().unwrap();
        assert_eq!((denial.age_s, denial.permission.as_str(), denial.port), (60, "name_bind", Some(7777)));
        assert_eq!(denial.program, "redis-server");
        for other in [LINE.replace("permissive=0", "permissive=1"), LINE.replace("name_bind", "read"), "avc".to_owned()]
        {
            assert_eq!(denials(&other, now), []);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(text in "[ -~é]{0,200}") {
            let now = Duration::from_secs(9);
            let _ = (denials(&text, now), denials(&format!("audit({text} avc:  denied  {{ name_bind }} {text}"), now));
        }
    }
}
