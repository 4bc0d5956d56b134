//! `acl-denies-command`: the user is let in, and may not run what a connection needs.

use super::{AS_ADMIN, keep_acl, redis_cli, user};
use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::auth::{COMMAND_DENIED, KEY_UNSEEN, PING_DENIED};
use crate::model::text::shell_quote;
use crate::model::{Code, Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::reply::{Command, ErrorKind, Reply};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "acl-denies-command",
    title: "the user may not run a command that connecting takes",
    explain: "\
The credentials are good and the connection stands, but the ACL of the user lacks a command that clients send to connect \
or to check that they are: PING, SELECT, HELLO, INFO, CLIENT. Libraries then report a failed connection, or try again \
without end (ioredis: ready check failed).

How it looks: NOPERM this user has no permissions to run the 'ping' command; since 7.2 with the user's name. A user with \
no more rights than it needs is healthy: redisdoc warns when PING is denied, fails only when a command is denied that the \
target as given needs (SELECT for a database other than 0, HELLO for RESP3 on Redis 6.0), and never minds INFO.

How to be sure: it is sure, the reply names the command.

How to repair: allow the commands, ACL SETUSER app +ping, or have the client not send them (ioredis: enableReadyCheck \
false; database 0; protocol 2). ACL DRYRUN (7.0 and later) tries a command for a user without running it.",
    infer,
    remedy,
};

/// The codes it explains, worst first.
static CODES: [&Code; 3] = [&COMMAND_DENIED, &PING_DENIED, &KEY_UNSEEN];

fn infer(case: &Case) -> Option<Support> {
    let found: Vec<_> = CODES.iter().filter_map(|code| case.raised(code)).collect();
    let codes: Vec<&'static Code> = found.iter().map(|finding| finding.code).collect();
    let names: Vec<&str> = denied(case.facts).into_iter().map(Command::name).collect();
    let user = user(&case.facts.ask.target);
    // EXISTS may fail for want of much else: a proxy that does not know it, or nobody behind one.
    if codes.is_empty() || names.is_empty() {
        return None;
    }
    let summary = format!("user {user} may not run {}", names.join(" and "));
    let mut support = Support::new(Confidence::Certain, &codes, summary);
    support.evidence.extend(found.into_iter().flat_map(|finding| finding.evidence.iter().cloned()));
    Some(support.not("credentials-rejected", "Redis knows the user, and asks what it may do"))
}

/// The commands that were denied and are needed. INFO is never needed, HELLO only for RESP3.
fn denied(facts: &Facts) -> Vec<Command> {
    let hello = facts.ask.target.resp3.then_some(Command::Hello);
    let commands = [Some(Command::Ping), Some(Command::Select), Some(Command::Exists), hello];
    let is_denied = |command: &Command| {
        let reply = dialogue(facts).and_then(|dialogue| dialogue.reply(*command));
        reply.and_then(Reply::error).is_some_and(|error| error.kind == ErrorKind::NoPermission)
    };
    commands.into_iter().flatten().filter(is_denied).collect()
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let (user, denied) = (user(&facts.ask.target), denied(facts));
    let select = denied.contains(&Command::Select);
    let rules: Vec<String> = denied.iter().map(|command| format!("+{}", command.name().to_lowercase())).collect();
    let rules = rules.join(" ");
    let mut steps = Vec::new();
    if select {
        steps.push(Step::tell(Where::Here, "use database 0, which needs no SELECT, if the data is there"));
    }
    if user == "default" {
        // Who may not PING as the default user may not run ACL either: no command could be vouched for.
        steps.push(Step::tell(
            redis_host(facts),
            format!("as a user that may run ACL: ACL SETUSER default {rules}; if there is none, in redis.conf or its aclfile"),
        ));
    } else {
        let risk = if select { Risk::WidensAccess } else { Risk::Safe };
        let text = format!("allow it, {AS_ADMIN}");
        let command = format!("{} ACL SETUSER {} {rules}", redis_cli(facts), shell_quote(user));
        steps.push(Step::run(redis_host(facts), risk, text, command));
    }
    steps.push(keep_acl(facts));
    steps
}

#[cfg(test)]
mod tests {
    use super::super::tests::{remedy_of, with_user};
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};

    fn no(facts: Facts, command: Command) -> Facts {
        let text =
            format!("NOPERM this user has no permissions to run the '{}' command", command.name().to_lowercase());
        facts.erring(command, &text)
    }

    #[test]
    fn is_certain_of_what_is_needed_only() {
        let keyed = || with_user("app").with(|facts| facts.ask.target.key = Some("jobs".to_owned()));
        for command in [Command::Ping, Command::Select, Command::Exists] {
            check_cause(&CAUSE, &no(keyed(), command), Some(Confidence::Certain));
        }
        // A key of ours, that nobody asked for.
        check_cause(&CAUSE, &no(with_user("app"), Command::Exists), None);
        for other in ["ERR Connection refused", "ERR unknown command 'EXISTS'", "ERR wrong number of arguments"] {
            check_cause(&CAUSE, &keyed().erring(Command::Exists, other), None);
        }
        for command in [Command::Info, Command::Hello] {
            check_cause(&CAUSE, &no(with_user("app"), command), None);
        }
        let resp3 = with_user("app").with(|facts| facts.ask.target.resp3 = true);
        check_cause(&CAUSE, &no(resp3, Command::Hello), Some(Confidence::Certain));
    }

    #[test]
    fn allows_all_that_is_denied_at_once() {
        let facts = no(no(with_user("my app"), Command::Ping), Command::Select);
        let remedy = remedy_of(&facts, CAUSE.id, Confidence::Certain);
        let command = "redis-cli -h 10.0.0.9 -p 6379 ACL SETUSER 'my app' +ping +select".to_owned();
        assert_eq!(remedy[1], command);
        assert_eq!(diagnose(&facts).causes[0].support.explains.len(), 2);
    }

    #[test]
    fn runs_nothing_as_a_default_user_that_may_not() {
        let remedy = remedy_of(&no(Facts::healthy(), Command::Ping), CAUSE.id, Confidence::Certain);
        assert!(remedy[0].contains("ACL SETUSER default +ping") && !remedy[0].contains("redis-cli"), "{remedy:?}");
    }
}
