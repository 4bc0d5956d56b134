//! A stand-in for systemd with one unit, so that repairs like `sudo systemctl restart redis-server` can be carried out.
//!
//! What a real systemd says is a matter of the container lane; this one only starts, stops and tells the plain truth.

use super::Host;

/// Knows the verbs of repairs, and `show` as `systemctl show -p A,B UNIT` prints it.
const SYSTEMCTL: &str = include_str!("systemctl.sh");

impl Host {
    /// Makes this a machine that systemd seems to have booted, with Debian's unit `redis-server` for `/etc/redis/redis.conf`;
    /// `start`s nothing: `host.sh("systemctl start redis-server")` does.
    pub fn systemd(&self, conf: &str) -> &Self {
        self.file("/etc/redis/redis.conf", conf).file("/run/systemd/system/.lab", "");
        self.program("/usr/local/bin/systemctl", SYSTEMCTL)
    }
}
