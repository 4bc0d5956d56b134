//! A client reads more slowly than Redis answers.

use crate::cause::{Case, Cause, local_cli, redis_host};
use crate::check::log;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "output-buffer-limit",
    title: "Redis cuts off a client that reads too slowly",
    explain: "\
Redis keeps what a client has not read yet in memory, up to 'client-output-buffer-limit' of its class: normal clients have \
no limit by default, subscribers 32 MB or 8 MB for 60 s, replicas 256 MB or 64 MB for 60 s. A client over it is closed in \
the middle of an answer, and meets the end of the stream.

The log of the server says so with the client's address, its class (flags=P: a subscriber, S: a replica, N: any other) \
and its command: that makes it certain. A network that breaks connections looks the same from the client.

Repair: let the client read faster or ask for less (SCAN and ranges instead of everything at once, more subscribers that \
share the work); or raise the limit of that class, if there is memory for it.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&log::OUTPUT_BUFFER)?;
    let summary = "its answers piled up beyond 'client-output-buffer-limit', and it was closed in the middle of them";
    Some(Support::new(Confidence::Certain, &[&log::OUTPUT_BUFFER], summary).on(finding))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let command = format!("{} CONFIG GET client-output-buffer-limit", local_cli(facts));
    vec![
        Step::look(on.clone(), command, "the limits: class, hard limit, soft limit, seconds"),
        Step::tell(Where::Here, "let that client read faster, or ask for less at once"),
        Step::tell(on, "or raise the limit of its class in redis.conf, if there is memory for it"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::host::log::{Event, Kind, Log};

    #[test]
    fn the_log_makes_it_certain() {
        let (at, says) = ("2026-11-20 09:59:00".to_owned(), "…".to_owned());
        let event = Event { kind: Kind::OutputBuffer, peer: None, at, age_s: 60, says };
        let log = Log { path: "/var/log/redis/redis-server.log".to_owned(), events: vec![event] };
        let facts = Facts::at_home().host(|host| host.log = Observed::Seen(log));
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::at_home(), None);
    }
}
