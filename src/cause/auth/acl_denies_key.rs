//! `acl-denies-key`: the user is let in, and may not touch the key.

use super::{AS_ADMIN, keep_acl, redis_cli, user};
use crate::cause::{Case, Cause, redis_host};
use crate::check::auth::KEY_DENIED;
use crate::model::text::{escape, shell_quote};
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "acl-denies-key",
    title: "the user may not touch the key",
    explain: "\
The credentials are good and the connection stands, but the key is outside the key patterns of the user's ACL. It is no \
fault of connectivity, and looks like one only where a library hides the reply.

How it looks: NOPERM this user has no permissions to access one of the keys used as arguments; since 7.0: NOPERM No \
permissions to access a key. Channels of publish and subscribe have patterns of their own (&).

How to be sure: it is sure for the key given with --exists. ACL GETUSER shows the patterns; Redis does not say which of them \
the key misses. A prefix that differs between environments is the usual reason.

How to repair: use the prefix the user is meant for, or add a pattern, ACL SETUSER app ~prefix:*.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&KEY_DENIED)?;
    let target = &case.facts.ask.target;
    let key = escape(target.key.as_deref()?.as_bytes());
    let summary = format!("user {} may not touch the key {key}: none of its key patterns covers it", user(target));
    let support = Support::new(Confidence::Certain, &[&KEY_DENIED], summary).on(finding);
    Some(
        support
            .not("acl-denies-command", "Redis looks at the command first, and did not mind it")
            .not("credentials-rejected", "Redis knows the user, and asks what it may do"),
    )
}

/// The pattern that matches this key: what is special in a pattern is escaped, and blanks, which an ACL rule cannot
/// hold, become "any byte".
fn pattern(key: &str) -> String {
    let mut pattern = String::from("~");
    for c in key.chars() {
        match c {
            c if c.is_whitespace() || c.is_control() => pattern.push('?'),
            '*' | '?' | '[' | ']' | '\\' => pattern.extend(['\\', c]),
            c => pattern.push(c),
        }
    }
    pattern
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    let (user, key) = (user(target), target.key.as_deref().unwrap_or_default());
    let mut steps =
        vec![Step::tell(Where::Here, "use the key prefix that the user is meant for, if the key is another's")];
    if user == "default" {
        let pattern = pattern(key);
        steps.push(Step::tell(
            redis_host(facts),
            format!("as a user that may run ACL: ACL SETUSER default '{pattern}'"),
        ));
    } else {
        let (cli, name) = (redis_cli(facts), shell_quote(user));
        steps.push(Step::look(
            redis_host(facts),
            format!("{cli} ACL GETUSER {name}"),
            format!("the patterns it has, under 'keys' ({AS_ADMIN})"),
        ));
        steps.push(Step::run(
            redis_host(facts),
            Risk::WidensAccess,
            format!("add the key, or better the pattern of all keys the application uses, {AS_ADMIN}"),
            format!("{cli} ACL SETUSER {name} {}", shell_quote(&pattern(key))),
        ));
    }
    steps.push(keep_acl(facts));
    steps
}

#[cfg(test)]
mod tests {
    use super::super::tests::{remedy_of, with_user};
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::reply::Command;

    fn denied(text: &str) -> Facts {
        with_user("app")
            .with(|facts| facts.ask.target.key = Some("jobs:*:my key".to_owned()))
            .erring(Command::Exists, text)
    }

    #[test]
    fn is_certain_in_both_wordings() {
        for text in [
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            "NOPERM No permissions to access a key",
        ] {
            check_cause(&CAUSE, &denied(text), Some(Confidence::Certain));
        }
        check_cause(&CAUSE, &denied("NOPERM User app has no permissions to run the 'exists' command"), None);
    }

    #[test]
    fn the_pattern_means_this_key_alone() {
        let remedy = remedy_of(&denied("NOPERM No permissions to access a key"), CAUSE.id, Confidence::Certain);
        assert_eq!(remedy[2], "redis-cli -h 10.0.0.9 -p 6379 ACL SETUSER app '~jobs:\\*:my?key'");
        assert_eq!(pattern("a[b]?\\"), "~a\\[b\\]\\?\\\\");
    }
}
