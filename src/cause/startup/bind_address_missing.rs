//! `bind` names an address that the machine does not have, or did not have when the server started.

use super::not_running::ABSENT;
use crate::cause::{Case, Cause, local_cli, redis_host, repair};
use crate::check::{config, process, tcp};
use crate::model::{Code, Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::conf::FoundBy;
use crate::probe::host::instance::{Bind, Instance, Known};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "bind-address-missing",
    title: "Redis is told to bind an address that the machine lacks",
    explain: "\
A 'bind' line names an address that is on none of the machine's interfaces: it was copied from another machine, the \
machine's address has changed, or the interface came up later than Redis at boot. bind(2) fails with 'Cannot assign \
requested address', and Redis 6.2 and later does not start at all; so do 4.0 before 4.0.13 and 5.0 before 5.0.3. The \
versions between go on with the other addresses, as does any version with a '-' before the address: then loopback answers \
and the network is refused, and a restart mends it once the interface is up.

redisdoc compares the line with the machine's addresses. Where the version cannot be told it is only likely: an old one \
that does not run has another reason.

Repair: name an address the machine has; or put a '-' before one that may come later, and let the service wait for \
network-online.target.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    absent(case).or_else(|| came_later(case))
}

/// No server runs, and its `bind` names what the machine lacks.
fn absent(case: &Case) -> Option<Support> {
    let finding = case.raised(&config::BIND_MISSING)?;
    let instance = case.facts.instance()?;
    // What keeps it from even reading so far is the cause.
    if case.raised(&config::ERROR).is_some() || instance.is_alive() {
        return None;
    }
    let bind = instance.setting("bind")?;
    let missing: Vec<String> = missing(&instance, &bind).iter().map(|bind| bind.ip.to_string()).collect();
    // The '-' came with 6.2, which does not start without the addresses that have none.
    let is_new = bind.values.iter().any(|word| word.starts_with('-'));
    let is_its = instance.conf.is_some_and(|conf| conf.found_by < FoundBy::UsualPlace);
    let none_runs = case.raised(&process::NONE).is_some() || case.raised(&process::DEAD).is_some();
    let is_sure = is_new && is_its && none_runs;
    let confidence = if is_sure { Confidence::Certain } else { Confidence::Likely };
    let codes: Vec<&'static Code> = case.all_raised(ABSENT).into_iter().chain([&config::BIND_MISSING]).collect();
    let summary = format!("bind names {}, which is no address of this machine", missing.join(", "));
    let support = Support::new(confidence, &codes, summary)
        .on(finding)
        .with(case.evidence(&[&process::NONE, &process::DEAD]))
        .not("not-running", "it cannot start as long as 'bind' names that address");
    Some(if is_sure { support } else { support.settled_by(see_log(case.facts)) })
}

fn see_log(facts: &Facts) -> Step {
    let command = "sudo journalctl -u redis-server -n 20; sudo tail -n 20 /var/log/redis/redis-server.log";
    Step::look(
        redis_host(facts),
        command,
        "'Could not create server TCP listening socket …: Cannot assign requested address'",
    )
}

/// The server runs, its `bind` names the asked address, the machine has it, and the server does not listen on it.
fn came_later(case: &Case) -> Option<Support> {
    let finding = case.raised(&process::ELSEWHERE)?;
    let instance = case.facts.neighbour()?;
    let told = instance.from_server("bind").is_some();
    // A line that was written after the start has not been read: see loopback-only.
    let bind = instance.heeded_bind()?;
    let asked = instance.asked_addresses();
    let named = bind.values.iter().filter_map(|word| Bind::parse(word)).find(|bind| asked.contains(&bind.ip))?;
    let port = case.facts.ask.target.port()?;
    (!instance.host.listeners(port).is_empty()).then_some(())?;
    let codes = case.all_raised(&[&tcp::REFUSED, &process::ELSEWHERE]);
    let summary = format!("{} was not there yet when Redis started; it listens on the other addresses only", named.ip);
    let confidence = if told { Confidence::Certain } else { Confidence::Likely };
    let says = format!("bind {}", bind.values.join(" "));
    let support =
        Support::new(confidence, &codes, summary).on(finding).because(instance.host.source(bind.source), says);
    let support = support.not("loopback-only", "its bind names the address");
    Some(if told {
        support
    } else {
        let command = format!("{} CONFIG GET bind", local_cli(case.facts));
        let tells =
            format!("{}: this is it; else redis.conf was changed since the start: a restart mends both", named.ip);
        support.settled_by(Step::look(redis_host(case.facts), command, tells))
    })
}

fn missing(instance: &Instance, bind: &Known) -> Vec<Bind> {
    instance.needed_binds(bind)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let Some(instance) = facts.instance() else { return Vec::new() };
    let wait = Step::tell(
        on.clone(),
        "if the address comes up after Redis at boot: a '-' before it (Redis 6.2 and later), and 'After=network-online.target' \
         with 'Wants=network-online.target' in the unit",
    );
    if let Some(server) = facts.neighbour() {
        return vec![repair::restart(facts, Some(server)), wait];
    }
    let Some(bind) = instance.setting("bind") else { return vec![wait] };
    let gone = missing(&instance, &bind);
    let kept: Vec<&str> = bind
        .values
        .iter()
        .filter(|word| !Bind::parse(word).is_some_and(|bind| gone.iter().any(|gone| gone.ip == bind.ip)))
        .map(String::as_str)
        .collect();
    let Some((file, line, from)) = bind.line.clone().filter(|_| !kept.is_empty()) else {
        return vec![Step::tell(on, "name an address that the machine has in 'bind', and start Redis"), wait];
    };
    let text = "take the address out of bind; or name there the address that the machine has now";
    let to = format!("bind {}", kept.join(" "));
    let edit = Step::Edit { text: text.to_owned(), file, line: Some(line), from, to, on, risk: Risk::Safe };
    vec![edit, repair::start(facts), wait]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::tcp::{Attempt, Outcome};

    #[test]
    fn certain_of_versions_that_do_not_start() {
        let down = |bind: &str| Facts::at_home().not_running().conf(bind);
        check_cause(&CAUSE, &down("bind 127.0.0.1 -::1 10.9.9.9"), Some(Confidence::Certain));
        check_cause(&CAUSE, &down("bind 127.0.0.1 10.9.9.9"), Some(Confidence::Likely));
        check_cause(&CAUSE, &down("bind 127.0.0.1 -10.9.9.9"), None);
        check_cause(&CAUSE, &down("bind -10.9.9.9"), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::at_home(), None);
    }

    #[test]
    fn the_address_is_taken_out_of_its_line() {
        let steps = remedy(&Facts::at_home().not_running().conf("bind 127.0.0.1 10.9.9.9"));
        assert!(matches!(&steps[0], Step::Edit { to, line: Some(87), .. } if to == "bind 127.0.0.1"));
    }

    #[test]
    fn an_address_that_came_later() {
        let late = Facts::at_home().running_with("bind", "127.0.0.1 10.0.0.9").host(|host| {
            host.running = vec![crate::probe::host::running::Running {
                address: "127.0.0.1:6379".to_owned(),
                pid: Some(crate::probe::healthy_host::PID),
                ping: Some("PONG".to_owned()),
                info: crate::probe::path::reply::Info::default(),
                settings: crate::model::Observed::Seen([("bind".to_owned(), "127.0.0.1 10.0.0.9".to_owned())].into()),
            }];
        });
        let refused = Attempt::failed([10, 0, 0, 9].into(), Outcome::Refused, "ECONNREFUSED", 0.2);
        check_cause(&CAUSE, &late.attempting(vec![refused]), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::on_loopback(), None);
    }

    #[test]
    fn a_line_that_was_written_after_the_start_says_nothing() {
        let named = Facts::on_loopback().conf("bind 127.0.0.1 10.0.0.9");
        check_cause(&CAUSE, &named, Some(Confidence::Likely));
        let later = named.host(|host| host.confs[0].changed_at = Some("2026-11-20T09:00:00Z".to_owned()));
        check_cause(&CAUSE, &later, None);
    }
}
