//! Redis serves other machines without a password.

use crate::cause::{Case, Cause, redis_host, repair};
use crate::check::config;
use crate::model::{Confidence, Step, Support};
use crate::probe::Facts;
use crate::probe::host::instance::Bind;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "exposed-without-password",
    title: "Redis serves other machines without a password",
    explain: "\
The server listens on an address that other machines can reach, protected mode does not turn them away, and the default \
user has no password. Whoever reaches the port may read and delete everything, and with CONFIG, modules or replication \
often run programs as Redis' user: open servers are found and taken over within hours.

redisdoc sees all three on the server's own machine. What it does not see is a firewall in front of it, which may be why \
nobody has come yet; a password is worth having behind it, too.

Repair, in this order: set a password (or ACL users) and give it to the applications; bind only the addresses that they \
use; let only them through the firewall.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&config::EXPOSED)?;
    let instance = case.facts.instance()?;
    let open = instance.reachable_from_afar();
    let list: Vec<String> = open.iter().map(ToString::to_string).collect();
    let summary = format!("whoever reaches {} may read, change and delete everything", list.join(" or "));
    let support = Support::new(Confidence::Certain, &[&config::EXPOSED], summary).on(finding);
    if instance.has_known_owner() {
        return Some(support);
    }
    let look = Step::look(
        redis_host(case.facts),
        "sudo ss -ltnp",
        "Redis itself, or what publishes its container, on that address: this is it",
    );
    Some(Support { confidence: Confidence::Likely, ..support }.settled_by(look))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let Some(instance) = facts.instance() else { return Vec::new() };
    let mut steps = repair::password_for_all(facts, facts.instance());
    let only_here = instance
        .setting("bind")
        .filter(|bind| bind.values.iter().filter_map(|word| Bind::parse(word)).all(|bind| bind.ip.is_unspecified()));
    if only_here.is_some() {
        steps.push(Step::tell(
            on.clone(),
            "if only this machine's applications use it: 'bind 127.0.0.1 -::1' in redis.conf; else only the addresses that \
             they use",
        ));
    }
    steps.push(Step::tell(on, "let only the clients' addresses through the firewall to that port"));
    steps.extend(repair::hand_out_password(facts));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Risk;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::socket::Listener;

    #[test]
    fn certain_and_a_password_comes_first() {
        let open = Facts::at_home().running_with("protected-mode", "no").listening(&["0.0.0.0:6379"]);
        check_cause(&CAUSE, &open, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::at_home(), None);
        let steps = remedy(&open);
        assert!(matches!(&steps[0], Step::Run { command, .. } if command.contains("requirepass")));
        assert!(!steps.iter().any(|step| matches!(step, Step::Run { risk: Risk::WidensAccess, .. })));
    }

    #[test]
    fn a_listener_of_nobody_knows_whom_is_likely() {
        let hidden = |owner| {
            let open = Facts::at_home().running_with("protected-mode", "no").listening(&["0.0.0.0:6379"]);
            open.host(|host| {
                seen(&mut host.processes).servers.clear();
                seen(&mut host.sockets).tcp = vec![Listener { owner, ..Listener::healthy([0; 4].into(), 6379, 1) }];
            })
        };
        check_cause(&CAUSE, &hidden(None), Some(Confidence::Likely));
        check_cause(&CAUSE, &hidden(Some(5)), Some(Confidence::Certain));
    }
}
