//! What the server is known to refuse is no command to type: it is told what is needed besides.

use super::lacks;
use crate::cause::dialogue;
use crate::cause::tls::LACKING;
use crate::model::Step;
use crate::probe::Facts;
use crate::probe::path::command::Command;
use crate::probe::path::reply::{ErrorKind, Reply};

/// The step, or what to do in its place where its command would be refused.
pub fn or_told(facts: &Facts, step: Step) -> Step {
    let (Step::Run { text, command, on, .. } | Step::Look { tells: text, command, on }) = &step else { return step };
    let Some(needs) = needs(facts, command) else { return step };
    // What follows a pipe only shows what was answered.
    let command = command.split(" | ").next().unwrap_or_default();
    Step::tell(on.clone(), format!("{command}, {needs}: {text}"))
}

/// What a command lacks that this server asks for.
fn needs(facts: &Facts, command: &str) -> Option<&'static str> {
    if command.contains(LACKING) {
        return Some("with a certificate and its key, as the server wants them of its clients, for CERT and KEY");
    }
    let is_alone = ["redis-cli ", "sudo redis-cli "].iter().any(|cli| command.starts_with(cli));
    if !is_alone || !command.contains(" CONFIG SET ") {
        return None;
    }
    if lacks(facts, facts.instance(), "CONFIG") {
        return Some(
            "by the name that CONFIG has there ('rename-command'), or else where the server is started, with a restart",
        );
    }
    is_denied(facts).then_some("as a user who may run CONFIG")
}

/// True if CONFIG is refused to the user that was given, or it is one of several and not known to have that right.
fn is_denied(facts: &Facts) -> bool {
    let reply = dialogue(facts).and_then(|said| said.reply(Command::ConfigGet));
    let user = facts.ask.target.user.as_deref().filter(|user| *user != "default");
    match reply {
        Some(Reply::Error(error)) => ErrorKind::of(&error.text) == ErrorKind::NoPermission,
        Some(_) => false,
        None => user.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Risk, Where};
    use crate::probe::healthy_host::seen;

    #[track_caller]
    fn check(facts: &Facts, command: &str, expected: Option<&str>) {
        let step = or_told(facts, Step::run(Where::Here, Risk::Safe, "let it be read", command));
        match (&step, expected) {
            (Step::Run { .. }, None) => {}
            (Step::Tell { text, .. }, Some(part)) => assert!(text.contains(part), "{text}"),
            _ => panic!("{step:?}"),
        }
    }

    #[test]
    fn what_is_refused_is_told() {
        let set = "redis-cli -p 6379 CONFIG SET timeout 0 | { read -r said; }";
        let app = || Facts::at_home().with(|facts| facts.ask.target.user = Some("app".to_owned()));
        check(&Facts::at_home(), set, None);
        check(&app(), set, None);
        let renamed = Facts::at_home().conf("rename-command CONFIG \"\"");
        check(&renamed, set, Some("redis-cli -p 6379 CONFIG SET timeout 0, by the name"));
        check(&renamed, "redis-cli -p 6379 INFO", None);
        let silent = app().with(|facts| seen(&mut facts.redis).dialogues.clear());
        check(&silent, set, Some("as a user who may run CONFIG"));
        check(&Facts::at_home(), &format!("redis-cli{LACKING} PING"), Some("for CERT and KEY: let it be read"));
    }
}
