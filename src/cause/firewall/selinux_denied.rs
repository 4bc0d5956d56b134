//! `SELinux` keeps the client from connecting, or the server from listening.

use crate::cause::{Case, Cause, redis_host};
use crate::check::{process, tcp};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::network::{Denial, Selinux};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "selinux-denied",
    title: "SELinux denies it",
    explain: "\
connect(2) to a TCP port fails with EACCES, 'Permission denied', for two reasons only: a 'prohibit' route, or a security \
module. SELinux lets a confined program (a web server's PHP runs as httpd_t) connect only to ports of certain types, so \
that the same connection works in a shell and fails in the application. On the server it lets Redis (redis_t) listen on \
6379 and 26379 only: on another port it does not start, and logs 'bind: Permission denied'.

Certain when the audit log (/var/log/audit/audit.log, for root) holds the denial (AVC) of that port within the last ten \
minutes and SELinux enforces; likely where the log may not be read, or no route forbids the connection.

Repair: the client: setsebool -P httpd_can_network_redis on (or httpd_can_network_connect); the server: semanage port -a \
-t redis_port_t -p tcp PORT. Switching SELinux off is not needed.",
    infer,
    remedy,
};

/// Older denials may be of another try.
const OF_LATE_S: u64 = 10 * 60;

fn infer(case: &Case) -> Option<Support> {
    connecting(case).or_else(|| listening(case))
}

fn connecting(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::DENIED);
    let denied = |attempt: &&crate::probe::path::tcp::Attempt| {
        attempt.synchronous && attempt.icmp.is_none() && attempt.errno.as_deref() == Some("EACCES")
    };
    let attempt = attempts.into_iter().find(denied)?;
    let (ip, port) = (attempt.ip?, case.facts.ask.target.port()?);
    let selinux = case.vantage()?.selinux.as_ref().filter(|selinux| selinux.enforcing)?;
    let denial = denial(selinux, "name_connect", port);
    let routed = case.facts.routes.seen().filter(|routes| routes.are_all_for(ip));
    let allowed = routed.is_some_and(|routes| routes.to(ip).is_some_and(|route| route.rejects.is_none()));
    let confidence = match (denial, allowed) {
        (Some(_), _) => Confidence::Certain,
        (None, true) => Confidence::Likely,
        (None, false) => Confidence::Possible,
    };
    let summary = format!("this program may not connect to {}: EACCES, and SELinux enforces", attempt.address);
    let support = Support::new(confidence, &[&tcp::DENIED], summary)
        .because("connect(2)", attempt.says())
        .because("/sys/fs/selinux/enforce", "1");
    Some(match denial {
        Some(denial) => support.because("/var/log/audit/audit.log", &denial.says),
        None => support.settled_by(Step::look(
            Where::Here,
            "sudo ausearch -m avc -ts recent; ip rule; ip route get ".to_owned() + &ip.to_string(),
            "a denial of name_connect: this is it; a prohibit rule or route: that",
        )),
    })
}

/// What kept the server from listening on the port.
pub fn kept_from_listening(facts: &Facts) -> Option<&Denial> {
    let port = facts.ask.target.port()?;
    let selinux = facts.server_host().ok()?.network.seen()?.selinux.as_ref().filter(|selinux| selinux.enforcing)?;
    denial(selinux, "name_bind", port).filter(|denial| is_server(&denial.program))
}

fn is_server(program: &str) -> bool {
    ["redis", "valkey", "keydb"].iter().any(|name| program.starts_with(name))
}

fn listening(case: &Case) -> Option<Support> {
    let denial = kept_from_listening(case.facts)?;
    let host = case.host()?;
    let port = case.facts.ask.target.port()?;
    if !host.listeners(port).is_empty() {
        return None;
    }
    let codes = case.all_raised(&[&tcp::REFUSED, &process::NONE, &process::DEAD, &process::ELSEWHERE]);
    codes.first()?;
    let summary = format!("{} may not listen on port {port}: SELinux enforces", denial.program);
    Some(
        Support::new(Confidence::Certain, &codes, summary)
            .because(host.source("/var/log/audit/audit.log"), &denial.says)
            .because(host.source("sock_diag(7)"), format!("nothing listens on port {port}")),
    )
}

fn denial<'a>(selinux: &'a Selinux, permission: &str, port: u16) -> Option<&'a Denial> {
    let fits = |it: &&Denial| it.permission == permission && it.port == Some(port) && it.age_s <= OF_LATE_S;
    selinux.denials.iter().rev().find(fits)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let port = facts.ask.target.port().unwrap_or_default();
    if kept_from_listening(facts).is_some() {
        return vec![Step::tell(
            redis_host(facts),
            format!("let Redis have that port, and start it: sudo semanage port -a -t redis_port_t -p tcp {port}"),
        )];
    }
    vec![
        Step::look(Where::Here, "sudo ausearch -m avc -ts recent", "shows who was denied what: scontext and dest"),
        Step::tell(
            Where::Here,
            format!(
                "a web server's application: sudo setsebool -P httpd_can_network_redis on (older: \
                 httpd_can_network_connect); another port than 6379: sudo semanage port -a -t redis_port_t -p tcp {port}"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;
    use crate::probe::path::tcp::{Attempt, Outcome};

    fn selinux(permission: &str, age_s: u64, enforcing: bool) -> Selinux {
        let (program, says) = ("redis-server".to_owned(), "avc:  denied".to_owned());
        let denial = Denial { age_s, permission: permission.to_owned(), program, port: Some(6379), says };
        Selinux { enforcing, log_read: true, denials: vec![denial] }
    }

    fn denied(selinux: Selinux) -> Facts {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::Denied, "EACCES", 0.0);
        let facts = Facts::healthy().attempting(vec![Attempt { synchronous: true, ..attempt }]);
        facts.with(|facts| seen(&mut facts.vantage).selinux = Some(selinux))
    }

    #[test]
    fn a_denial_of_the_port_is_certain() {
        check_cause(&CAUSE, &denied(selinux("name_connect", 5, true)), Some(Confidence::Certain));
        check_cause(&CAUSE, &denied(selinux("name_bind", 5, true)), Some(Confidence::Possible));
        check_cause(&CAUSE, &denied(selinux("name_connect", 7_200, true)), Some(Confidence::Possible));
        check_cause(&CAUSE, &denied(selinux("name_connect", 5, false)), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn a_server_that_may_not_listen_does_not_start() {
        let kept =
            |selinux| Facts::at_home().not_running().host(|host| seen(&mut host.network).selinux = Some(selinux));
        check_cause(&CAUSE, &kept(selinux("name_bind", 5, true)), Some(Confidence::Certain));
        check_cause(&CAUSE, &kept(selinux("name_bind", 5, false)), None);
        check_cause(&CAUSE, &kept(selinux("name_connect", 5, true)), None);
    }
}
