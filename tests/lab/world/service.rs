//! A stand-in for systemd with one unit, so that repairs like `sudo systemctl restart redis-server` can be carried out.
//!
//! What a real systemd says is a matter of the container lane; this one only starts, stops and tells the plain truth.

use super::Host;

/// Knows the verbs of repairs, and `show` as `systemctl show -p A,B UNIT` prints it.
const SYSTEMCTL: &str = include_str!("systemctl.sh");

/// As Debian's package has it, as far as it matters.
const UNIT: &str = "[Service]\nType=notify\nExecStart=/usr/bin/redis-server /etc/redis/redis.conf --supervised systemd \
                    --daemonize no\nUser=redis\nLimitNOFILE=65535\n";
/// Folders that hold units, and programs of servers and of container engines.
const TRACES: &str = "for folder in /lib/systemd/system /usr/lib/systemd/system /etc/systemd/system; do \
                      if [ -d $folder ]; then mount -t tmpfs none $folder; fi; done; rm -f /etc/init.d/redis*; \
                      for name in redis-server valkey-server keydb-server docker podman; do \
                      for folder in /usr/bin /usr/local/bin /usr/sbin /snap/bin; do \
                      if [ -e $folder/$name ]; then mount --bind /run/lab/nothing $folder/$name; fi; done; done";

/// The programs of container engines that the test's own machine may have.
const ENGINES: &str = "for name in docker podman nerdctl; do for folder in /usr/bin /usr/local/bin /usr/sbin /snap/bin; do \
                       if [ -e $folder/$name ]; then mount --bind /run/lab/nothing $folder/$name; fi; done; done";

impl Host {
    /// Makes this a machine without container engines, in which another Redis might be.
    pub fn without_engines(&self) -> &Self {
        self.file("/run/lab/nothing", "").sh(ENGINES);
        self
    }

    /// Makes this a machine on which neither Redis nor a container engine was ever installed.
    pub fn without_redis(&self) -> &Self {
        self.file("/run/lab/nothing", "").sh(TRACES);
        self
    }

    /// Makes this a machine that systemd seems to have booted, with Debian's unit `redis-server` for `/etc/redis/redis.conf`;
    /// `start`s nothing: `host.sh("systemctl start redis-server")` does.
    pub fn systemd(&self, conf: &str) -> &Self {
        self.file("/etc/redis/redis.conf", conf).file("/run/systemd/system/.lab", "");
        self.file("/etc/systemd/system/redis-server.service", UNIT);
        self.program("/usr/local/bin/systemctl", SYSTEMCTL)
    }
}
