//! The Redis in a container, or in another network namespace, that a proxy of this machine leads to.

use std::net::SocketAddr;

use crate::check::process;
use crate::model::Support;
use crate::probe::host::Host;
use crate::probe::host::forward::Backend;
use crate::probe::host::instance;
use crate::probe::host::process::Process;
use crate::probe::path::tcp::Outcome;

/// A server of another network that has the address of a place behind the proxy.
#[derive(Debug, Clone, Copy)]
pub struct Contained<'a> {
    server: &'a Process,
    to: SocketAddr,
    outcome: Outcome,
}

/// The server that this place is meant to be: of several with its address the one that has its port.
pub fn of<'a>(host: &'a Host, backend: &Backend) -> Option<Contained<'a>> {
    let attempt = backend.attempt().filter(|_| backend.is_down())?;
    let to = SocketAddr::new(attempt.ip?, backend.port()?);
    let is_there = |server: &&Process| server.same_network == Some(false) && server.addresses.contains(&to.ip());
    let found = host.servers().iter().filter(is_there).map(|server| Contained { server, to, outcome: attempt.outcome });
    found.max_by_key(|it| (it.listens_there(), it.on_port().next().is_some()))
}

impl<'a> Contained<'a> {
    /// True if it listens at the very place that takes no connection.
    pub fn listens_there(&self) -> bool {
        self.on_port().any(|at| instance::serves(at.ip(), self.to.ip()))
    }

    fn on_port(&self) -> impl Iterator<Item = &'a SocketAddr> {
        let port = self.to.port();
        self.server.listens.iter().filter(move |at| at.port() == port)
    }

    fn places(&self) -> String {
        self.server.listens.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Where it listens, as evidence.
    pub fn shown_in(&self, support: Support, host: &Host) -> Support {
        let says = format!("{} listens on {}", process::who(self.server), self.places());
        support.because(host.source(format!("/proc/{}/net/tcp", self.server.pid)), says)
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        let Self { server, to, outcome } = self;
        let filter =
            format!("see which rule of a packet filter, of this machine or in the container, stops what goes to {to}");
        if self.listens_there() {
            return format!("the Redis in that container listens on {}: {filter}", self.places());
        }
        let is_near = server.listens.iter().all(|at| at.ip().is_loopback());
        let bind = "let it listen on the container's own address ('bind * -::*', with a password)";
        let publish = format!("publish the port that it has, in place of {}", to.port());
        let has_port = self.on_port().next().is_some();
        let mut steps: Vec<&str> = Vec::new();
        steps.extend((is_near || has_port).then_some(bind));
        steps.extend((!has_port).then_some(publish.as_str()));
        // Where nobody listens, the kernel refuses.
        steps.extend((*outcome == Outcome::TimedOut).then_some(filter.as_str()));
        format!("the Redis in that container listens on {}: {}", self.places(), steps.join(", and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Observed;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::forward::Met;
    use crate::probe::path::tcp::Attempt;

    /// Two servers in the container 172.17.0.2, one of which is a bystander at 9999, and the port 6379 of it is led to.
    #[track_caller]
    fn check(listens: &[&str], outcome: Outcome, there: bool, advice: &str) {
        let mut host = Host::healthy();
        let mut server = seen(&mut host.processes).servers.remove(0);
        server.same_network = Some(false);
        server.addresses = vec![[172, 17, 0, 2].into()];
        server.listens = vec!["0.0.0.0:9999".parse().unwrap()];
        let listens = listens.iter().map(|at| at.parse().unwrap()).collect();
        let other = Process { pid: 7, listens, ..server.clone() };
        seen(&mut host.processes).servers = if advice.contains("9999") { vec![server] } else { vec![other, server] };
        let attempt = Attempt::failed([172, 17, 0, 2].into(), outcome, "ECONNREFUSED", 0.1);
        let backend = Backend {
            wants_header: false,
            http: None,
            port: Some(6379),
            at: None,
            place: "172.17.0.2:6379".to_owned(),
            said_by: "the arguments of pid 5".to_owned(),
            met: Observed::Seen(Met { attempt, ping: None }),
        };
        let found = of(&host, &backend).unwrap();
        assert_eq!(found.listens_there(), there);
        assert!(found.advice().contains(advice), "{}", found.advice());
        assert!(!there || !found.advice().contains("bind"), "{}", found.advice());
    }

    #[test]
    fn what_helps_depends_on_where_it_listens() {
        check(
            &["127.0.0.1:6379"],
            Outcome::Refused,
            false,
            "127.0.0.1:6379: let it listen on the container's own address",
        );
        check(&["0.0.0.0:6379"], Outcome::Refused, true, "0.0.0.0:6379: see which rule");
        check(&["0.0.0.0:6379"], Outcome::TimedOut, true, "0.0.0.0:6379: see which rule");
        check(&["127.0.0.1:6379"], Outcome::TimedOut, false, "with a password), and see which rule");
        check(&[], Outcome::Refused, false, "0.0.0.0:9999: publish the port that it has");
    }
}
