//! The listener has more connections waiting than its queue holds.

use super::{doing, process, queue};
use crate::cause::{Case, Cause, is_lost_on_the_way, is_unheard, redis_host};
use crate::check::{limits, ping, tcp};
use crate::model::{Code, Confidence, Step, Support};
use crate::probe::Facts;
use crate::probe::host::process::State;
use crate::probe::host::queue::Queue;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "accept-queue-full",
    title: "the server's accept queue is full",
    explain: "\
Connections wait in a queue of the kernel until the process accepts them. When it is full, further SYNs are \
dropped: the connection times out, or is made only when a SYN is sent again, 1, 3 or 7 s later. A blocked or \
stopped server, a burst of clients, and a small tcp-backlog (or net.core.somaxconn, which caps it) lead there.

On a unix socket the kernel says so itself (EAGAIN), and it is certain. Over TCP it looks like a firewall that \
drops; on the Redis host 'ss -ltn' shows a Recv-Q above Send-Q, and nstat counts TcpExtListenOverflows. Seen there \
while that count grows, it is certain: a count that was made since the machine was started tells nothing of now, and a queue \
that is full while nothing more is counted keeps nobody out. Where the process is stopped or out of descriptors, that is the cause, and the full queue what comes of it.

Repair: see why Redis does not accept; then raise net.core.somaxconn and tcp-backlog, and let clients pool \
connections.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    if is_consequence(case.facts) {
        return None;
    }
    match queue(case.facts) {
        Some(queue) if queue.is_full() => overflowing(case, &queue),
        Some(_) if is_ruled_out(case) => None,
        _ => from_afar(case),
    }
}

/// True if the process cannot accept, for a reason that has a name of its own.
fn is_consequence(facts: &Facts) -> bool {
    let stopped = |state| matches!(state, State::Stopped | State::Traced);
    let out = || facts.instance().and_then(|instance| instance.is_out_of_descriptors()) == Some(true);
    process(facts).is_some_and(|process| stopped(process.state)) || out()
}

/// True if the queue, which is seen and has room, tells that it was not this. It may have been full a second ago, when a
/// connection came late, but then the kernel has counted that.
fn is_ruled_out(case: &Case) -> bool {
    let limits = || case.facts.server_host().ok().and_then(|host| host.limits.seen());
    let never = || limits().and_then(|limits| limits.listen_overflows).is_some_and(|(full, _)| full == 0);
    let counted = overflowed(case.facts);
    let not_then = counted.map_or_else(|| case.raised(&tcp::SLOW).is_none() || never(), |count| count == 0);
    case.raised(&tcp::QUEUE_FULL).is_none() && not_then
}

/// How many connections found a queue of this machine full since before the first attempt. What was counted on another
/// machine while it was looked at says nothing of the time of the attempts.
fn overflowed(facts: &Facts) -> Option<u64> {
    facts.server_host().ok().filter(|host| !host.origin.collected)?.limits.seen()?.overflowed
}

fn overflowing(case: &Case, queue: &Queue) -> Option<Support> {
    let limits = case.facts.server_host().ok().and_then(|host| host.limits.seen());
    let over_tcp = case.facts.ask.target.port().is_some();
    // A SYN that finds the queue full is counted: what was not counted was lost before it came there.
    let meanwhile = limits.and_then(|limits| limits.overflowed);
    let counted = !over_tcp || meanwhile.is_some_and(|count| count > 0);
    let unmet = over_tcp && overflowed(case.facts) == Some(0);
    let ours = [&tcp::TIMEOUT, &tcp::SLOW, &tcp::QUEUE_FULL, &ping::SILENT].into_iter().filter(|_| !unmet);
    let raised = case.all_raised(&std::iter::once(&limits::QUEUE_FULL).chain(ours).collect::<Vec<_>>());
    let summary = format!("{}: the kernel drops further attempts to connect", queue.says());
    let confidence = if counted { Confidence::Certain } else { Confidence::Likely };
    let mut support = Support::new(confidence, &raised, summary).on(case.raised(&limits::QUEUE_FULL)?);
    if let Some(host) = limits {
        let says = match (meanwhile, host.listen_overflows) {
            _ if !over_tcp => None,
            (Some(count), _) => Some(format!("ListenOverflows grew by {count} while we looked")),
            (None, Some((full, _))) => {
                Some(format!("ListenOverflows {full} since the machine was started; when is not known"))
            }
            (None, None) => None,
        };
        if let Some(says) = says {
            support = support.because("/proc/net/netstat", says);
        }
        if let Some(most) = host.somaxconn.filter(|most| *most <= queue.backlog) {
            support =
                support.because("/proc/sys/net/core/somaxconn", format!("{most}: tcp-backlog counts up to here only"));
        }
    }
    let support = if counted {
        support.not("firewall-drop", "the listener's own queue is over its limit")
    } else {
        support.settled_by(look(case.facts))
    };
    Some(match process(case.facts) {
        Some(process) => support.not("process-stopped", doing(process)),
        None => support,
    })
}

fn from_afar(case: &Case) -> Option<Support> {
    let counted = overflowed(case.facts).filter(|count| *count > 0);
    // Of which listener, the kernel does not say.
    let perhaps = if counted.is_some() { Confidence::Likely } else { Confidence::Possible };
    let codes: [(&'static Code, Confidence); 4] = [
        (&tcp::QUEUE_FULL, Confidence::Certain),
        (&tcp::SLOW, perhaps),
        (&tcp::TIMEOUT, perhaps),
        (&ping::SILENT, Confidence::Possible),
    ];
    let (code, confidence) = codes.into_iter().find(|(code, _)| case.raised(code).is_some())?;
    // A full queue drops the last packet of the handshake: we are connected, the server is not, and takes no data.
    let finding = case.raised(code).filter(|_| code.id != ping::SILENT.id || is_unheard(case.facts))?;
    if code.id == tcp::TIMEOUT.id && is_lost_on_the_way(case.facts) {
        return None;
    }
    let summary = match confidence {
        Confidence::Certain => "the kernel says that the queue of the socket's listener is full",
        _ => "a listener whose queue is full drops further connection attempts",
    };
    let support = Support::new(confidence, &[code], summary).on(finding);
    let support = match counted {
        Some(count) => support.because("/proc/net/netstat", format!("ListenOverflows grew by {count} while we looked")),
        None => support,
    };
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
    use crate::probe::healthy_host::seen;
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

    fn full(facts: Facts) -> Facts {
        facts.host(|host| seen(&mut host.sockets).tcp[0].queue = 512)
    }

    #[test]
    fn on_its_own_machine_the_queue_tells() {
        let timeout = Attempt::failed([127, 0, 0, 1].into(), Outcome::TimedOut, "ETIMEDOUT", 5_000.0);
        let timeout = Facts::at_home().attempting(vec![timeout]);
        check_cause(&CAUSE, &timeout, None);
        let counted = |facts: Facts, count| facts.host(|host| seen(&mut host.limits).overflowed = count);
        check_cause(&CAUSE, &counted(full(timeout.clone()), Some(2)), Some(Confidence::Certain));
        check_cause(&CAUSE, &counted(timeout.clone(), Some(2)), Some(Confidence::Likely));
        // What was dropped elsewhere, or nobody knows when.
        for count in [Some(0), None] {
            let old = full(timeout.clone()).host(|host| seen(&mut host.limits).listen_overflows = Some((9, 9)));
            check_cause(&CAUSE, &counted(old, count), Some(Confidence::Likely));
        }
        let missed = crate::cause::tests::diagnose(&full(timeout.clone()));
        let queue = missed.causes.iter().find(|cause| cause.id == CAUSE.id).unwrap();
        assert!(!queue.support.explains.iter().any(|code| code.id == "tcp/timeout"));
        let out = full(timeout.clone()).process(|process| process.open_files_limit = Some(13));
        check_cause(&CAUSE, &out, None);
        check_cause(&CAUSE, &full(timeout).process(|process| process.state = State::Stopped), None);
    }

    #[test]
    fn a_queue_that_was_full_was_counted() {
        let late = Attempt { elapsed_ms: 1_020.0, ..Attempt::connected([127, 0, 0, 1].into()) };
        let late = Facts::at_home().attempting(vec![late]);
        check_cause(&CAUSE, &late, None);
        let counted = late.host(|host| seen(&mut host.limits).listen_overflows = Some((3, 3)));
        check_cause(&CAUSE, &counted, None);
        let at = |count| counted.clone().host(|host| seen(&mut host.limits).overflowed = count);
        check_cause(&CAUSE, &at(None), Some(Confidence::Possible));
        check_cause(&CAUSE, &at(Some(1)), Some(Confidence::Likely));
    }
}
