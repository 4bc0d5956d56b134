//! `open-default-user`: the default user takes any password.

use super::redis_cli;
use crate::cause::{Case, Cause, redis_host};
use crate::check::auth::PASSWORD_UNCHECKED;
use crate::model::{Confidence, Step, Support};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "open-default-user",
    title: "the default user takes any password",
    explain: "\
The default user is 'nopass': AUTH default with any password at all is answered OK, and so is a connection without AUTH. \
The client believes that its password protects the data, and nothing does.

How it looks: everything works. AUTH with the user 'default' succeeds, while AUTH with the same password alone is \
answered that no password is configured. Redis 6 and later.

How to be sure: it is sure for the user 'default'. A named user with 'nopass' cannot be told from outside without \
sending a wrong password, which redisdoc never does; ACL LIST on the server shows it.

How to repair: give the default user a password (requirepass), or switch it off once every client has a user of its own. \
Clients that send no password are locked out by that: look at CLIENT LIST first.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&PASSWORD_UNCHECKED)?;
    let summary = "the default user has no password, so any password is accepted, and none is needed";
    let support = Support::new(Confidence::Certain, &[&PASSWORD_UNCHECKED], summary).on(finding);
    Some(support.because("redis replied", "OK to AUTH with the user 'default' and the same password"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let cli = redis_cli(facts);
    vec![
        Step::look(
            redis_host(facts),
            format!("{cli} CLIENT LIST"),
            "who is connected as user=default, and would be locked out if it sends no password",
        ),
        Step::tell(
            redis_host(facts),
            format!(
                "set a password: run {cli} and type at its prompt, where no shell history sees it, CONFIG SET requirepass \
                 <password>, then CONFIG REWRITE; it holds at once for new connections"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_user;
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::reply::{Command, Reply};

    #[test]
    fn is_certain_when_the_password_alone_is_not_expected() {
        let text = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
        check_cause(&CAUSE, &with_user("default").erring(Command::AuthAlone, text), Some(Confidence::Certain));
        let protected = with_user("default").replying(Command::AuthAlone, Reply::Status("OK".to_owned()));
        check_cause(&CAUSE, &protected, None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
