//! Redis listens on loopback addresses only.

use std::net::IpAddr;

use crate::cause::state::systemd_unit;
use crate::cause::{Case, Cause, local_cli, redis_host, repair};
use crate::check::{process, tcp};
use crate::model::text::shell_quote;
use crate::model::{Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::conf::Conf;
use crate::probe::host::instance::{Bind, Known, serves};
use crate::probe::path::vantage::is_this_machine;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "loopback-only",
    title: "Redis listens on loopback addresses only",
    explain: "\
Redis' default configuration says 'bind 127.0.0.1 -::1': it serves its own machine and refuses all others, with the same \
TCP reset as a port that nobody listens on.

From the client this is one candidate among others for 'Connection refused'. On the Redis host redisdoc sees the \
listeners, and 'ss -ltn' shows them: 127.0.0.1:6379 and no other address.

Repair, in this order: set a password (requirepass, or an ACL user), then add the address that the clients use to bind \
(not 0.0.0.0), restart, and let only the clients through the firewall. Without a password, protected mode turns the \
clients away all the same.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    match case.host() {
        Some(host) => on_host(case, host),
        None => from_afar(case),
    }
}

/// What the server's own machine shows: listeners on the port, all of them on loopback.
fn on_host(case: &Case, host: &Host) -> Option<Support> {
    let port = case.facts.ask.target.port()?;
    // A proxy on another of its addresses is no listener of the server's, and may be what is meant.
    let proxy = process::forwarder(host, port);
    let listeners = process::listeners_but_of(host, port, proxy);
    let asked = case.facts.asked_addresses().into_iter().find(|ip| !is_this_machine(*ip))?;
    let all_loopback = !listeners.is_empty() && listeners.iter().all(|at| at.ip.is_loopback());
    let elsewhere = case.raised(&process::ELSEWHERE).filter(|_| all_loopback)?;
    if names(case, asked) {
        // See bind-address-missing: it would listen there, if it could.
        return None;
    }
    let codes = case.all_raised(&[&tcp::REFUSED, &process::ELSEWHERE]);
    // A server that does not run may be the one that is meant to be there.
    let rivals = host.rivals(case.facts);
    let untold = rivals.iter().all(|conf| host.may_be_read(conf));
    let mut support = Support::new(
        match (rivals.is_empty(), case.facts.neighbour()) {
            (true, Some(_)) if proxy.is_none() => Confidence::Certain,
            // Another program has the port.
            (true, None) if process::holder(host, port).is_some() => Confidence::Possible,
            // A proxy has it, too; or whose the listener is could not be seen.
            (true, _) => Confidence::Likely,
            // Its own file, it seems, which was changed since.
            (false, Some(_)) if untold => Confidence::Likely,
            (false, _) => Confidence::Possible,
        },
        &codes,
        format!("it listens on {} and refuses {asked}", process::addresses(&listeners)),
    )
    .on(elsewhere);
    if let Some(bind) = case.facts.neighbour().and_then(|server| server.setting("bind")) {
        let unread = if takes_in(&bind, asked) { ", which the server has not read, it seems" } else { "" };
        support = support.because(host.source(&bind.source), format!("bind {}{unread}", bind.values.join(" ")));
    }
    let support = support.not("wrong-port", format!("it listens on port {port}"));
    Some(match rivals.first() {
        None if support.confidence == Confidence::Certain => support.not("not-running", "it runs and listens"),
        None => support.settled_by(match proxy {
            Some(proxy) => Step::look(
                redis_host(case.facts),
                format!("ps -o args= -p {}", proxy.pid),
                "the proxy by which the clients are to reach Redis: ask at its address; another: this is it",
            ),
            None => Step::look(
                redis_host(case.facts),
                format!("sudo ss -ltnp 'sport = :{port}'"),
                "redis-server: this is it; another program: it has the port",
            ),
        }),
        Some(_) if untold => support.settled_by(Step::look(
            redis_host(case.facts),
            format!("{} INFO server | grep config_file", local_cli(case.facts)),
            "the redis.conf that names the address: this is it; another, or none: a server that does not run is meant to be \
             there",
        )),
        Some(conf) => support.settled_by(Step::look(
            redis_host(case.facts),
            format!("grep -nE '^(bind|port)' {}", shell_quote(&conf.path)),
            "another server, which does not run, is meant for that address: start that one",
        )),
    })
}

/// True if the server was told to listen on `ip` when it was started, or since.
fn names(case: &Case, ip: IpAddr) -> bool {
    let bind = case.facts.neighbour().and_then(|server| server.heeded_bind());
    bind.is_some_and(|bind| takes_in(&bind, ip))
}

fn takes_in(bind: &Known, ip: IpAddr) -> bool {
    bind.values.iter().filter_map(|word| Bind::parse(word)).any(|bind| serves(bind.ip, ip))
}

/// The line of the server's own redis.conf that names the asked address by now.
fn written(facts: &Facts) -> Option<Known> {
    let ip = facts.asked_addresses().into_iter().find(|ip| !ip.is_loopback())?;
    facts.neighbour()?.from_conf("bind").filter(|bind| takes_in(bind, ip))
}

/// A redis.conf that may be the server's own, and that names the asked address by now.
fn perhaps_written(facts: &Facts) -> Option<&Conf> {
    let host = facts.server_host().ok()?;
    host.rivals(facts).into_iter().find(|conf| conf.parsed.seen().is_some() && host.may_be_read(conf))
}

fn from_afar(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::REFUSED);
    let attempt = attempts.into_iter().find(|attempt| attempt.ip.is_some_and(|ip| !is_this_machine(ip)))?;
    let port = case.facts.ask.target.port()?;
    let settle = Step::look(
        redis_host(case.facts),
        format!("ss -ltn 'sport = :{port}'"),
        format!("127.0.0.1:{port} or [::1]:{port} and no other address: this is it"),
    );
    let summary = "Redis' default is to listen on loopback only; others are refused as if it were not running";
    Some(
        Support::new(Confidence::Possible, &[&tcp::REFUSED], summary)
            .because("connect(2)", attempt.says())
            .settled_by(settle),
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let ip = facts.asked_addresses().into_iter().find(|ip| !ip.is_loopback());
    let server = facts.neighbour();
    // A line that the server has not read yet is not what it would have after a restart with one more address.
    let heeded =
        |bind: &Known| server.is_some_and(|server| server.heeded_bind().is_some_and(|it| it.values == bind.values));
    let bind = server.and_then(|server| server.setting("bind"));
    let firewall = Step::tell(on.clone(), "let only the clients' addresses through the firewall to that port");
    // What opens at once needs its password at once.
    let now = server.is_some_and(|server| repair::rebinds_at_once(&server));
    let unread = server.is_some_and(|server| server.unread_password().is_some());
    let at_once = now && !unread && bind.as_ref().is_some_and(|bind| bind.line.is_none());
    let open = server.and_then(|server| server.has_password()) != Some(true);
    if let Some(conf) = perhaps_written(facts) {
        let text = format!(
            "restart it, if it was started with {}: that file names the address already; else add the address to 'bind' \
             where it is started",
            conf.path
        );
        return vec![Step::tell(on, text), firewall];
    }
    let hidden = |host: &Host| host.rivals(facts).iter().any(|conf| conf.parsed.seen().is_none());
    if facts.server_host().is_ok_and(hidden) {
        // Whoever is meant for that address may be told by a file that this user may not read.
        let text = "run redisdoc there as root: a redis.conf that could not be read may be that of another server, which is meant \
                    for that address";
        return vec![Step::tell(on, text), firewall];
    }
    if !facts.other_starters().is_empty() {
        // Opened, it would have the address that the other is meant for.
        return vec![
            repair::start(facts),
            Step::tell(
                on,
                "or, if none of them is: add the address to the 'bind' of the one that runs, behind a password",
            ),
            firewall,
        ];
    }
    let mut steps =
        if at_once && open { repair::password_for_all(facts, server) } else { repair::password_first(facts, server) };
    match (server.zip(bind), ip) {
        (Some((server, bind)), Some(ip)) => {
            // The file was changed since the start; where no service starts it, an argument may override the file.
            if written(facts).is_some() && systemd_unit(&server).is_some() {
                return vec![repair::restart(facts, Some(server)), firewall];
            }
            let to = format!("{} {ip}", bind.values.join(" "));
            let text = format!("let it listen on {ip}, the address that the client uses, too");
            if heeded(&bind) {
                steps.extend(repair::rebind(facts, server, &bind, to.trim(), &text, Risk::WidensAccess));
            } else {
                let text = format!(
                    "{text}: 'bind' of its redis.conf was changed since it started; see that this machine has all of its addresses, and restart Redis"
                );
                steps.push(Step::tell(on.clone(), text));
            }
        }
        (_, ip) => {
            let address = ip.map_or_else(|| "the address that clients use".to_owned(), |ip| ip.to_string());
            let then = if steps.is_empty() { "" } else { "then " };
            let text = format!("{then}add {address} to the 'bind' line of its redis.conf, and restart Redis");
            steps.push(Step::tell(on.clone(), text));
        }
    }
    steps.push(firewall);
    if steps.iter().any(repair::makes_password) {
        steps.extend(repair::hand_out_password(facts));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;
    use crate::probe::path::tcp::{Attempt, Outcome};

    #[test]
    fn the_listeners_make_it_certain() {
        let joined = Facts::on_loopback();
        check_cause(&CAUSE, &joined, Some(Confidence::Certain));
        let own = Facts::at_home().refused([10, 0, 0, 9]);
        check_cause(&CAUSE, &own, Some(Confidence::Certain));
        let everywhere = joined.host(|host| seen(&mut host.sockets).tcp[0].ip = [0, 0, 0, 0].into());
        check_cause(&CAUSE, &everywhere, None);
        check_cause(&CAUSE, &Facts::on_loopback().host(|host| seen(&mut host.sockets).tcp.clear()), None);
    }

    /// The server of [`Facts::on_loopback`], whose file names the asked address by now.
    fn edited(bind: &str) -> Facts {
        Facts::on_loopback().conf(bind).host(|host| host.confs[0].changed_at = Some("2026-11-20T09:00:00Z".to_owned()))
    }

    #[test]
    fn a_line_that_the_server_has_not_read_yet_wants_a_restart() {
        for bind in ["bind 10.0.0.9", "bind 0.0.0.0", "bind 127.0.0.1 10.0.0.9"] {
            let facts = edited(bind);
            check_cause(&CAUSE, &facts, Some(Confidence::Certain));
            assert!(
                matches!(&remedy(&facts)[0], Step::Run { command, .. } if command == "sudo systemctl restart redis-server")
            );
        }
        // It has read it, and has no such address, or had none: see bind-address-missing.
        check_cause(&CAUSE, &Facts::on_loopback().conf("bind 10.0.0.9"), None);
    }

    #[test]
    fn a_file_that_is_not_known_to_be_its_own_is_not_edited() {
        let untied = |facts: Facts| {
            facts.host(|host| (host.confs[0].pid, host.confs[0].unit) = (None, None)).process(|one| one.unit = None)
        };
        let stranger = untied(Facts::on_loopback());
        check_cause(&CAUSE, &stranger, Some(Confidence::Certain));
        assert!(
            remedy(&stranger)
                .iter()
                .all(|step| !matches!(step, Step::Edit { .. } | Step::Run { risk: Risk::Restarts, .. }))
        );
        let perhaps = untied(edited("bind 0.0.0.0"));
        check_cause(&CAUSE, &perhaps, Some(Confidence::Likely));
        assert!(
            matches!(&remedy(&perhaps)[0], Step::Tell { text, .. } if text.contains("if it was started with /etc/redis"))
        );
        let apart = perhaps.host(|host| host.confs[0].unseen_by = vec![crate::probe::healthy_host::PID]);
        check_cause(&CAUSE, &apart, Some(Confidence::Possible));
    }

    #[test]
    fn a_password_comes_before_the_address() {
        let steps = remedy(&Facts::on_loopback());
        assert!(matches!(&steps[0], Step::Run { command, .. } if command.contains("requirepass")));
        assert!(matches!(&steps[1], Step::Edit { line: Some(87), to, risk: Risk::WidensAccess, .. }
            if to == "bind 127.0.0.1 -::1 10.0.0.9"));
        assert!(matches!(&steps[2], Step::Run { command, .. } if command == "sudo systemctl restart redis-server"));
    }

    #[test]
    fn beside_another_service_that_may_be_meant_nothing_is_opened() {
        let hinted = Facts::on_loopback().host(|host| seen(&mut host.system).hints.push("/etc/cron.d/r".to_owned()));
        assert!(remedy(&hinted).iter().all(|step| matches!(step, Step::Tell { .. })));
    }

    #[test]
    fn a_candidate_from_afar_never_over_loopback() {
        let refused = |ip: [u8; 4]| Attempt::failed(ip.into(), Outcome::Refused, "ECONNREFUSED", 0.2);
        let facts = |ip| Facts::healthy().attempting(vec![refused(ip)]);
        check_cause(&CAUSE, &facts([10, 0, 0, 9]), Some(Confidence::Possible));
        check_cause(&CAUSE, &facts([127, 0, 0, 1]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
