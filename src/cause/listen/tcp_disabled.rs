//! The server listens on no TCP port.

use crate::cause::{Case, Cause, caps, redis_host, repair};
use crate::check::{config, process, tcp};
use crate::model::text::shell_quote;
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::instance::Instance;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "tcp-disabled",
    title: "Redis listens on its unix socket only",
    explain: "\
'port 0' in redis.conf switches TCP off: the server runs and answers on its unix socket, and every TCP connection is \
refused as if it were not running. With neither a port nor a socket Redis does not even start ('Configured to not listen \
anywhere, exiting.').

Redisdoc sees it on the server's own machine: the process runs, has no TCP listener, and the running configuration or \
redis.conf says port 0.

Repair: let the application use the socket, if it is on the same machine; else give Redis a port again, with a password \
before it is opened to other machines.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&config::NO_TCP)?;
    let instance = case.facts.instance()?;
    let process = instance.process.filter(|_| instance.is_alive());
    let only = process.is_some_and(|process| instance.host.has_only(process));
    let confidence = if only { Confidence::Certain } else { Confidence::Likely };
    let codes = case.all_raised(&[&config::NO_TCP, &process::ELSEWHERE, &process::NONE, &process::DEAD, &tcp::REFUSED]);
    let summary = match socket(&instance) {
        Some(path) => format!("'port 0': it can be reached over {path} only"),
        None => "'port 0', and no unix socket: it listens nowhere".to_owned(),
    };
    let support = Support::new(confidence, &codes, summary).on(finding).with(case.evidence(&[&process::ELSEWHERE]));
    Some(match process {
        Some(process) if only => support.not("not-running", format!("{} runs", process::who(process))),
        Some(process) => {
            support.with(caps::traces(instance.host, &case.facts.other_starters())).settled_by(Step::look(
                redis_host(case.facts),
                "docker ps -a; systemctl list-units --all '*redis*' '*valkey*'",
                format!("no other Redis than pid {}, which may be another application's own: this is it", process.pid),
            ))
        }
        None => support.settled_by(Step::look(
            redis_host(case.facts),
            "sudo journalctl -n 50 | grep -i 'not listen anywhere'",
            "'Configured to not listen anywhere, exiting.': this is it",
        )),
    })
}

/// The path of its socket.
fn socket(instance: &Instance) -> Option<String> {
    let listens = instance.process.and_then(|process| process.listens_unix.first().cloned());
    listens.or_else(|| instance.setting("unixsocket")?.values.into_iter().next()).filter(|path| !path.is_empty())
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let Some(instance) = facts.instance() else { return Vec::new() };
    let mut steps = Vec::new();
    if let Some(path) = socket(&instance).filter(|_| on == Where::Here) {
        let command = format!("redisdoc check -s {}", shell_quote(&path));
        steps.push(Step::look(
            Where::Here,
            command,
            "healthy: let the application use that socket instead of host and port",
        ));
    }
    let port = facts.ask.target.port().unwrap_or_default();
    if !facts.other_starters().is_empty() {
        // With that port, it would stand in the way of the one that is meant to have it.
        steps.extend([
            repair::start(facts),
            Step::tell(on, format!("or, if none of them is, give this one port {port}")),
        ]);
        return steps;
    }
    // What stands in an included file may be other servers', too.
    let own = |(file, ..): &(String, u32, String)| instance.conf.is_some_and(|conf| conf.path == *file);
    match instance.setting("port").and_then(|port| port.line).filter(own) {
        Some((file, line, from)) => {
            let text = format!("or give it port {port} again; 'bind' and protected mode then say who may use it");
            let to = format!("port {port}");
            steps.push(Step::Edit { text, file, line: Some(line), from, to, on, risk: Risk::WidensAccess });
            steps.push(if instance.is_alive() { repair::restart(facts, Some(instance)) } else { repair::start(facts) });
        }
        None => steps.push(Step::tell(on, format!("or start it with port {port} instead of 0"))),
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;

    fn on_socket_only() -> Facts {
        let facts = Facts::at_home().refused([127, 0, 0, 1]).conf("port 0");
        facts.host(|host| seen(&mut host.sockets).tcp.clear()).process(|process| {
            process.listens.clear();
            process.listens_unix = vec!["/run/redis/redis-server.sock".to_owned()];
        })
    }

    #[test]
    fn certain_of_a_server_that_runs() {
        check_cause(&CAUSE, &on_socket_only(), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::at_home().not_running().conf("port 0"), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::at_home().not_running(), None);
        check_cause(&CAUSE, &Facts::at_home(), None);
    }

    #[test]
    fn the_socket_comes_before_the_port() {
        let steps = remedy(&on_socket_only());
        assert!(
            matches!(&steps[0], Step::Look { command, .. } if command.ends_with("-s /run/redis/redis-server.sock"))
        );
        assert!(matches!(&steps[1], Step::Edit { to, risk: Risk::WidensAccess, .. } if to == "port 6379"));
        // Another may be meant to have that port.
        let hinted = on_socket_only().host(|host| seen(&mut host.system).hints.push("/etc/cron.d/r".to_owned()));
        assert!(remedy(&hinted)[1..].iter().all(|step| matches!(step, Step::Tell { .. })));
    }
}
