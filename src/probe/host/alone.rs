//! Whether a server is the only one that its machine has: then it is the one that is asked for, wherever it listens. One that
//! merely happens to be the only one alive says nothing of the one that ought to be there.

use super::Host;
use super::conf::Conf;
use super::process::Process;

/// Where the redis.conf of a machine's own Redis is, on every distribution.
const OF_THE_MACHINE: &str = "/etc/";

impl Host {
    /// True if `server` is the machine's own Redis, and nothing of another can be seen: no process in whatever state or
    /// namespace, no service, no container engine that may have stopped one, nothing that stands in for Redis.
    pub fn has_only(&self, server: &Process) -> bool {
        let (Some(processes), Some(system)) = (self.processes.seen(), self.system.seen()) else { return false };
        let another = |process: &&Process| process.pid != server.pid && !process.sentinel && !process.is_idle();
        let others =
            processes.servers.iter().find(another).is_some() || processes.strangers.iter().any(Process::is_kin);
        let services: Vec<&str> =
            system.units.iter().filter(|unit| !unit.masked).map(|unit| unit.name.as_str()).collect();
        let is_own = if services.is_empty() {
            self.confs_of(server).any(|conf| conf.path.starts_with(OF_THE_MACHINE))
        } else {
            services.iter().all(|service| self.is_service_of(service, server))
        };
        let none_else = system.engines.is_empty() && system.hints.is_empty();
        processes.all && !processes.some_hidden && !others && none_else && is_own
    }

    /// True if the process is that of a service: by its control group, or by the redis.conf that both have.
    fn is_service_of(&self, service: &str, server: &Process) -> bool {
        let unit = server.unit.as_deref().map(|unit| unit.trim_end_matches(".service"));
        unit == Some(service) || self.confs_of(server).any(|conf| conf.unit.as_deref() == Some(service))
    }

    fn confs_of(&self, server: &Process) -> impl Iterator<Item = &Conf> {
        let pid = server.pid;
        self.confs.iter().filter(move |conf| conf.pid == Some(pid))
    }

    /// True if it is not known which redis.conf this server reads.
    fn is_untold(&self, server: &Process) -> bool {
        self.confs_of(server).next().is_none()
    }

    /// True if a living server does not tell which redis.conf it reads: it may be any, as it was before it was changed.
    pub fn has_untold(&self) -> bool {
        self.running().any(|server| self.is_untold(server))
    }

    /// True if this redis.conf may be that of a living server that does not tell which it reads: it listens on the very
    /// port, or stands in the very folder, and was started before the file was changed, perhaps.
    pub fn may_be_read(&self, conf: &Conf) -> bool {
        let parsed = conf.parsed.seen();
        let port = parsed.and_then(super::conf::Parsed::port);
        let dir = parsed.and_then(|parsed| parsed.last("dir")).map(|dir| dir.values.concat());
        let dir = dir.as_deref().map(|dir| dir.trim_end_matches('/'));
        let untold = |server: &&Process| self.is_untold(server) && !conf.unseen_by.contains(&server.pid);
        let fits = |server: &Process| {
            let on_port = port.is_none_or(|port| server.listens.iter().any(|at| at.port() == port));
            on_port || (dir.is_some() && server.cwd.as_deref() == dir)
        };
        self.running().filter(untold).any(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Facts;
    use crate::probe::healthy_host::{CONF, seen};
    use crate::probe::host::process::State;

    fn alone(change: impl FnOnce(&mut Host)) -> bool {
        let facts = Facts::at_home().host(change);
        let host = facts.host.seen().unwrap();
        host.has_only(&host.servers()[0])
    }

    #[test]
    fn the_service_of_the_machine_is_its_own() {
        assert!(alone(|_| {}));
        assert!(alone(|host| seen(&mut host.processes).servers[0].unit = None));
        assert!(!alone(|host| seen(&mut host.system).units[0].name = "cache".to_owned()));
        assert!(alone(|host| seen(&mut host.system).units.clear()));
        let gitlab = |host: &mut Host| {
            seen(&mut host.system).units.clear();
            host.confs[0].path = "/var/opt/gitlab/redis/redis.conf".to_owned();
        };
        assert!(!alone(gitlab));
    }

    #[test]
    fn whatever_may_be_another_takes_that_away() {
        let another = |change: fn(&mut Process)| {
            alone(|host| {
                let servers = &mut seen(&mut host.processes).servers;
                let mut other = Process { pid: 7, ..servers[0].clone() };
                change(&mut other);
                servers.push(other);
            })
        };
        assert!(!another(|other| other.same_network = Some(false)));
        assert!(!another(|other| other.state = State::Zombie));
        assert!(another(|other| other.sentinel = true));
        assert!(!alone(|host| seen(&mut host.system).engines.push("docker".to_owned())));
        assert!(!alone(|host| seen(&mut host.system).hints.push("app-redis.service".to_owned())));
        assert!(!alone(|host| seen(&mut host.processes).some_hidden = true));
    }

    #[test]
    fn a_server_that_does_not_tell_may_read_the_file_of_its_port() {
        let may = |change: fn(&mut Conf)| {
            let facts = Facts::at_home().host(|host| {
                host.confs[0].pid = None;
                change(&mut host.confs[0]);
            });
            let host = facts.host.seen().unwrap();
            assert_eq!(host.confs[0].path, CONF);
            host.may_be_read(&host.confs[0])
        };
        assert!(may(|_| {}));
        assert!(!may(|conf| conf.pid = Some(crate::probe::healthy_host::PID)));
    }
}
