//! The listener has more connections waiting than its queue holds.

use crate::cause::{Case, Cause, is_unheard, redis_host};
use crate::check::{ping, tcp};
use crate::model::{Code, Confidence, Step, Support};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "accept-queue-full",
    title: "the server's accept queue may be full",
    explain: "\
Connections wait in a queue of the kernel until the process accepts them. When it is full, further SYNs are \
dropped: the connection times out, or is made only when a SYN is sent again, 1, 3 or 7 s later. A blocked or \
stopped server, a burst of clients, and a small tcp-backlog (or net.core.somaxconn, which caps it) lead there.

On a unix socket the kernel says so itself (EAGAIN), and it is certain. Over TCP it looks like a firewall that \
drops; on the Redis host 'ss -ltn' shows a Recv-Q above Send-Q, and nstat counts TcpExtListenOverflows.

Repair: see why Redis does not accept; then raise net.core.somaxconn and tcp-backlog, and let clients pool \
connections.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let codes: [(&'static Code, Confidence); 4] = [
        (&tcp::QUEUE_FULL, Confidence::Certain),
        (&tcp::SLOW, Confidence::Possible),
        (&tcp::TIMEOUT, Confidence::Possible),
        (&ping::SILENT, Confidence::Possible),
    ];
    let (code, confidence) = codes.into_iter().find(|(code, _)| case.raised(code).is_some())?;
    // A full queue drops the last packet of the handshake: we are connected, the server is not, and takes no data.
    let finding = case.raised(code).filter(|_| code.id != ping::SILENT.id || is_unheard(case.facts))?;
    let summary = match confidence {
        Confidence::Certain => "the kernel says that the queue of the socket's listener is full",
        _ => "a listener whose queue is full drops further connection attempts",
    };
    let support = Support::new(confidence, &[code], summary).on(finding);
    Some(if confidence == Confidence::Certain {
        support.not("not-running", "somebody listens on the socket")
    } else {
        support.settled_by(look(case.facts))
    })
}

fn look(facts: &Facts) -> Step {
    match facts.ask.target.port() {
        Some(port) => Step::look(
            redis_host(facts),
            format!("ss -ltn 'sport = :{port}'; nstat -az TcpExtListenOverflows"),
            "Recv-Q above Send-Q, and a count that grows: the queue is full",
        ),
        None => Step::look(redis_host(facts), "ss -lx", "Recv-Q above Send-Q at the socket: the queue is full"),
    }
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    vec![
        look(facts),
        Step::tell(
            on,
            "see why Redis does not accept (stopped, blocked, out of descriptors); then raise tcp-backlog in redis.conf and \
             net.core.somaxconn to the same value, and restart Redis",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::redis::End;
    use crate::probe::path::tcp::{Attempt, Outcome};

    #[test]
    fn on_a_unix_socket_the_kernel_says_so() {
        let attempt = Attempt::failed([10, 0, 0, 9].into(), Outcome::QueueFull, "EAGAIN", 0.1);
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![attempt]), Some(Confidence::Certain));
    }

    #[test]
    fn over_tcp_it_is_only_a_candidate() {
        let timeout = Attempt::failed([10, 0, 0, 9].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![timeout]), Some(Confidence::Possible));
        let late = Attempt { elapsed_ms: 1_020.0, ..Attempt::connected([10, 0, 0, 9].into()) };
        check_cause(&CAUSE, &Facts::healthy().attempting(vec![late]), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy(), None);
        let silent = Facts::healthy().speechless(End::Silent);
        check_cause(&CAUSE, &silent, None);
        check_cause(&CAUSE, &silent.unheard(31), Some(Confidence::Possible));
    }
}
