//! Firewalls as their own tools set them up, with real effect on the packets of a host.

use std::time::{Duration, Instant};

use super::enter::missing;
use super::{Host, Lab, Running};

/// The system bus and the firewalld on it; both end when this is dropped.
pub struct Firewalld {
    _daemon: Running,
}

impl Host {
    /// One `iptables` command, as in `host.iptables("-A INPUT -p tcp --dport 6379 -j DROP")`.
    #[track_caller]
    pub fn iptables(&self, command: &str) -> &Self {
        self.rules_by("iptables", command)
    }

    /// The same by `ip6tables`, `iptables-legacy` …
    #[track_caller]
    pub fn rules_by(&self, program: &str, command: &str) -> &Self {
        let argv: Vec<&str> = std::iter::once(program).chain(command.split_whitespace()).collect();
        let _ = self.run(&argv).ok();
        self
    }

    /// Switches ufw on, which denies what comes in, with these commands of its own first: `allow 22/tcp`.
    #[track_caller]
    pub fn ufw(&self, commands: &[&str]) -> &Self {
        for command in commands.iter().copied().chain(["--force enable"]) {
            let _ = self.sh(&format!("ufw {command}"));
        }
        self
    }

    /// Starts firewalld, with its own default: the zone public, where ssh is allowed.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn firewalld(&self) -> Firewalld {
        let _ = self.sh("mkdir -p /run/dbus && dbus-daemon --system --fork --nopidfile");
        let daemon = self.command(&["firewalld", "--nofork", "--nopid"]).spawn();
        let begun = Instant::now();
        while self.run(&["firewall-cmd", "--state"]).code != Some(0) {
            assert!(begun.elapsed() < Duration::from_secs(30), "firewalld does not start\n{}", daemon.said());
            std::thread::sleep(Duration::from_millis(100));
        }
        Firewalld { _daemon: daemon }
    }
}

impl Lab {
    /// True if this program is here; says loudly where it is not.
    #[must_use]
    #[expect(clippy::unused_self, reason = "outside a lab the answer would be about the machine")]
    pub fn has(&self, program: &str) -> bool {
        let found = super::enter::find(program).is_some();
        if !found {
            missing(&format!("{program} is not installed (tests/setup installs it)"));
        }
        found
    }
}
