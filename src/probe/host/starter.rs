//! What would start a server on its machine: the services that are meant for the target, as far as files tell, and the traces
//! of what else may start one. Which of several is meant cannot be told.

use super::Host;
use super::system::{Init, Unit};
use crate::probe::Facts;

/// Something that may start the target's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starter<'a> {
    /// A service.
    Service(&'a Unit),
    /// A file or a service that names a server, or is named like one: supervisord, cron, a script.
    Trace(&'a str),
}

impl Host {
    /// What may start a server for the port, apart from the service of this name: because the port is its own, or because
    /// nothing says which it has.
    pub fn others_for(&self, port: Option<u16>, but: Option<&str>) -> Vec<Starter<'_>> {
        let Some(system) = self.system.seen() else { return Vec::new() };
        let of_conf = |unit: &Unit| {
            let conf = self.confs.iter().find(|conf| conf.unit.as_deref() == Some(unit.name.as_str()))?;
            conf.parsed.seen()?.port()
        };
        let may = |unit: &&Unit| {
            let own = unit.port().or_else(|| of_conf(unit));
            own.is_none() || port.is_none() || own == port
        };
        let others = system.units.iter().filter(|unit| !unit.masked && !unit.gone && Some(unit.name.as_str()) != but);
        let traces = system.hints.iter().map(|trace| Starter::Trace(trace));
        others.filter(may).map(Starter::Service).chain(traces).collect()
    }

    /// True if something other than the service of this name may start a server for the port.
    pub fn another_may_serve(&self, but: Option<&str>, port: Option<u16>) -> bool {
        self.system.seen().is_none() || !self.others_for(port, but).is_empty()
    }

    /// The service of this name.
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.system.seen()?.units.iter().find(|unit| unit.name == name)
    }
}

impl Facts {
    /// The name of the service that is the target's, or that of the only server of its machine.
    pub fn own_service(&self) -> Option<&str> {
        let host = self.server_host().ok()?;
        let of_port = || self.neighbour();
        let own = self.instance().filter(|it| it.process.is_some() || it.conf.is_some()).or_else(of_port);
        let mut living = host.living();
        let only = living.next().filter(|_| living.next().is_none());
        let of_only = || only.and_then(|server| server.unit.as_deref()).map(|unit| unit.trim_end_matches(".service"));
        own.and_then(|own| own.unit()).or_else(of_only)
    }

    /// What else may start a server that is meant for the target. Where nothing starts services, units are only files.
    pub fn other_starters(&self) -> Vec<Starter<'_>> {
        let Some((host, system)) = self.server_host().ok().and_then(|host| Some((host, host.system.seen()?))) else {
            return Vec::new();
        };
        let others = host.others_for(self.ask.target.port(), self.own_service());
        let counts = |one: &Starter| system.init != Init::None || matches!(one, Starter::Trace(_));
        others.into_iter().filter(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::healthy_host::seen;

    fn with_another(change: fn(&mut Unit)) -> Facts {
        Facts::at_home().host(|host| {
            let units = &mut seen(&mut host.system).units;
            let mut other = Unit { name: "cache".to_owned(), conf: None, args: Vec::new(), ..units[0].clone() };
            change(&mut other);
            units.push(other);
        })
    }

    #[test]
    fn another_service_may_be_the_ports() {
        let may = |change: fn(&mut Unit)| {
            let facts = with_another(change);
            facts.host.seen().unwrap().another_may_serve(Some("redis-server"), Some(6379))
        };
        assert!(may(|_| {}));
        assert!(!may(|unit| unit.args = vec!["--port".to_owned(), "7000".to_owned()]));
        assert!(may(|unit| unit.args = vec!["--port".to_owned(), "6379".to_owned()]));
        assert!(!may(|unit| unit.gone = true));
        assert!(!may(|unit| unit.masked = true));
    }

    #[test]
    fn units_count_where_something_starts_them() {
        let names = |facts: &Facts| facts.other_starters().len();
        assert_eq!(names(&with_another(|_| {})), 1);
        let bare = with_another(|_| {}).host(|host| seen(&mut host.system).init = Init::None);
        assert_eq!(names(&bare), 0);
        let traced = bare.host(|host| seen(&mut host.system).hints.push("/etc/supervisord.conf".to_owned()));
        assert_eq!(traced.other_starters(), [Starter::Trace("/etc/supervisord.conf")]);
        assert_eq!(traced.own_service(), Some("redis-server"));
    }
}
