//! This process may open no more files.

use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "client-fds-exhausted",
    title: "no file descriptor is left on this side",
    explain: "\
socket(2) failed with EMFILE (the limit of this process) or ENFILE (that of the whole machine): the client \
cannot even begin to connect. Applications that leak connections or files end here, and often report it as a DNS \
or TLS error.

Redisdoc meets the limit it was started with (ulimit -n); the application may have used up its own. 'ls \
/proc/PID/fd | wc -l' against 'Max open files' in /proc/PID/limits tells for any process.

Repair: close what leaks (one connection pool for a process), then raise the limit: ulimit -n, LimitNOFILE= in a \
unit, --ulimit nofile= for a container.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let attempt = *case.attempts(&tcp::NO_DESCRIPTORS).first()?;
    let limit = case.vantage().and_then(|vantage| vantage.limits.seen()?.open_files);
    let machine_wide = attempt.errno.as_deref() == Some("ENFILE");
    let summary = match limit {
        _ if machine_wide => "the limit of open files of the whole machine is reached (fs.file-max)".to_owned(),
        Some(limit) => format!("this process may open {limit} files, and has"),
        None => "this process may open no more files".to_owned(),
    };
    Some(
        Support::new(Confidence::Certain, &[&tcp::NO_DESCRIPTORS], summary)
            .because("socket(2)", attempt.says())
            .not("not-running", "nothing was sent to the server"),
    )
}

fn remedy(_facts: &Facts) -> Vec<Step> {
    vec![
        Step::look(
            Where::Here,
            "ulimit -n; sysctl fs.file-nr",
            "the limit of this shell; and the files open on this machine with its limit",
        ),
        Step::tell(
            Where::Here,
            "close what leaks, then raise the limit where the application is started: ulimit -n, LimitNOFILE= in its unit, \
             --ulimit nofile= for its container",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::tcp::{Attempt, Outcome};

    #[test]
    fn the_errno_is_certain() {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::NoDescriptors, "EMFILE", 0.0);
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![attempt]), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
