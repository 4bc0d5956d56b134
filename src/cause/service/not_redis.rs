//! Something else than Redis answers.

use crate::cause::{Case, Cause, redis_host};
use crate::check::ping;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "not-redis",
    title: "what answers is not Redis",
    explain: "\
The bytes that came back are not the Redis protocol (RESP), or no answer that Redis gives to PING. Clients \
report 'Protocol error, got \"H\" as reply type byte' and the like: H is a web server (HTTP/1.1), S an SSH server \
(SSH-2.0), 2 a mail or FTP server (220 …), J or another small byte a MySQL greeting, E a memcached (ERROR).

That it is not Redis is certain; the evidence shows the first bytes.

Repair: use the port that Redis listens on. On the host that was reached, 'ss -ltnp' shows whose port this one \
is.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::NOT_REDIS)?;
    let summary = "the port is another service's; its first bytes are no Redis reply";
    let support = Support::new(Confidence::Certain, &[&ping::NOT_REDIS], summary).on(finding);
    Some(support.not("not-running", "something answers on the port"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let port = facts.ask.target.port().unwrap_or_default();
    vec![
        Step::look(
            redis_host(facts),
            format!("sudo ss -ltnp 'sport = :{port}'"),
            "the process that listens on this port",
        ),
        Step::look(redis_host(facts), "sudo ss -ltnp | grep -E 'redis|valkey|keydb'", "the port that Redis listens on"),
        Step::tell(Where::Here, "name Redis' own host and port in the application's settings"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::reply::{Command, Reply};

    #[test]
    fn what_redis_never_says_is_certain() {
        let facts = Facts::healthy().replying(Command::Ping, Reply::Status("OK POP3 ready".to_owned()));
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
