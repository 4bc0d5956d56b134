//! A redis.conf that was changed after its server had been started: what the server does not know yet, and would with its
//! next start.

use std::time::Duration;

use super::conf::Setting;
use super::instance::{Instance, Known};
use crate::model::Endpoint;
use crate::probe::Facts;

/// The settings that are compared as they stand.
const COMPARED: [&str; 5] = ["bind", "port", "protected-mode", "tls-port", "unixsocket"];

impl Facts {
    /// The server that lives elsewhere, and would be where the target is after a restart: its own redis.conf was changed since
    /// its start.
    pub fn edited(&self) -> Option<Instance<'_>> {
        let host = self.server_host().ok()?;
        let asked = self.asked_addresses();
        let endpoint = &self.ask.target.endpoint;
        let names = match endpoint {
            Endpoint::Tcp { .. } => &["port", "bind"][..],
            Endpoint::Unix { .. } => &["unixsocket"],
        };
        let would_be_there = |instance: &Instance| {
            let parsed = instance.conf.and_then(|conf| conf.parsed.seen()).filter(|parsed| parsed.errors.is_empty());
            let named = parsed.is_some_and(|parsed| match endpoint {
                Endpoint::Tcp { port, .. } => parsed.wants(*port, &asked),
                Endpoint::Unix { path } => parsed.names_socket(path),
            });
            named && instance.has_stale_conf() && !names.iter().any(|name| instance.is_overridden(name))
        };
        let mut found = host.living().map(|server| self.instance_of(host, Some(server))).filter(would_be_there);
        found.next().filter(|_| found.next().is_none())
    }
}

impl<'a> Instance<'a> {
    /// True if its own redis.conf was changed after its process was started. A clock tick is 10 ms.
    pub fn has_stale_conf(&self) -> bool {
        let at = |date: Option<&String>| humantime::parse_rfc3339(date?).ok();
        let Some((process, conf)) = self.process.zip(self.conf) else { return false };
        let times = at(conf.changed_at.as_ref()).zip(at(process.started_at.as_ref()));
        conf.pid == Some(process.pid)
            && times.is_some_and(|(changed, started)| changed > started + Duration::from_millis(10))
    }

    /// True if an argument of its process, or of its service, counts in place of its redis.conf: the title that a server gives
    /// itself hides the first.
    pub fn is_overridden(&self, name: &str) -> bool {
        let flag = format!("--{name}");
        let unit = self.unit().and_then(|unit| self.host.unit(unit));
        self.from_arguments(name).is_some() || unit.is_some_and(|unit| unit.args.contains(&flag))
    }

    /// The line of its own redis.conf that gives the default user a password, where the server that runs has none: only its
    /// next start will.
    pub fn unread_password(&self) -> Option<&'a Setting> {
        let (process, conf) = self.process.zip(self.conf)?;
        let parsed = conf.parsed.seen().filter(|_| conf.pid == Some(process.pid) && self.is_alive())?;
        let by_file = self.setting("aclfile").is_some_and(|known| known.values.iter().any(|path| !path.is_empty()));
        if by_file || self.is_overridden("requirepass") || self.has_password() != Some(false) {
            return None;
        }
        let is_default =
            |setting: &&Setting| setting.name == "user" && setting.values.first().is_some_and(|name| name == "default");
        let is_open = |setting: &Setting| setting.values.iter().any(|rule| rule.eq_ignore_ascii_case("nopass"));
        // A rule for the default user overrides `requirepass`.
        let line = parsed.settings.iter().rev().find(is_default).or_else(|| parsed.last("requirepass"));
        line.filter(|line| line.secret && !is_open(line))
    }

    /// What the running server and its own redis.conf say differently: where, and what.
    pub fn differences(&self) -> Vec<(String, String)> {
        let differs = |name: &&str| {
            let (file, runs) = (self.from_conf(name)?, self.from_server(name)?);
            let says = format!("{name} {}; the server runs with {name} {}", words(&file), words(&runs));
            let same = words(&file).eq_ignore_ascii_case(&words(&runs));
            (!same && !self.is_overridden(name)).then_some((file.source, says))
        };
        let password = self.unread_password().map(|line| {
            let says = format!("{} is written there; the server runs without a password", line.name);
            (line.place(), says)
        });
        COMPARED.iter().filter_map(differs).chain(password).collect()
    }
}

/// The words of a setting, however they are quoted.
fn words(known: &Known) -> String {
    known.values.iter().flat_map(|value| value.split_whitespace()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::healthy_host::seen;

    fn changed(facts: Facts) -> Facts {
        facts.host(|host| host.confs[0].changed_at = Some("2026-11-20T09:00:00Z".to_owned()))
    }

    fn with_password(line: &str) -> Facts {
        Facts::at_home().conf(line).host(|host| {
            for setting in &mut seen(&mut host.confs[0].parsed).settings {
                setting.secret = ["requirepass", "user"].contains(&setting.name.as_str());
            }
        })
    }

    #[test]
    fn what_was_written_after_the_start_counts_with_the_next() {
        let asking = |facts: Facts| {
            facts.with(|facts| {
                facts.ask.target.endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 6380 };
            })
        };
        let edited = |facts: &Facts| facts.edited().is_some();
        assert!(edited(&asking(changed(Facts::at_home().conf("port 6380")))));
        assert!(!edited(&asking(Facts::at_home().conf("port 6380"))));
        assert!(!edited(&asking(changed(Facts::at_home()))));
        let by_unit = asking(changed(Facts::at_home().conf("port 6380")));
        let by_unit = by_unit.host(|host| seen(&mut host.system).units[0].args.push("--port".to_owned()));
        assert!(!edited(&by_unit));
    }

    #[test]
    fn a_password_that_was_not_read_is_told_from_none() {
        let unread = |facts: &Facts| facts.instance().is_some_and(|instance| instance.unread_password().is_some());
        assert!(unread(&with_password("requirepass s")));
        assert!(unread(&with_password("user default on s")));
        assert!(!unread(&with_password("user default on nopass")));
        assert!(!unread(&with_password("requirepass s").running_with("aclfile", "/etc/redis/users.acl")));
        assert!(!unread(&with_password("requirepass s").process(|process| process.pid = 7)));
        assert!(!unread(&Facts::at_home()));
    }

    #[test]
    fn what_is_only_written_otherwise_is_the_same() {
        let differ = |facts: &Facts| facts.instance().map_or(0, |instance| instance.differences().len());
        assert_eq!(differ(&Facts::at_home().conf("protected-mode YES").conf("unixsocket \"\"")), 0);
        assert_eq!(differ(&Facts::at_home().conf("port 6380")), 1);
        assert_eq!(differ(&with_password("requirepass s")), 1);
        let by_unit = Facts::at_home().conf("port 6380");
        assert_eq!(differ(&by_unit.host(|host| seen(&mut host.system).units[0].args.push("--port".to_owned()))), 0);
    }
}
