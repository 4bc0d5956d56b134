//! Does anything accept connections at the target's addresses, and if not, who says no?
//!
//! Refused is told from rejected by the ICMP error queue, and both from silence by time. Whose fault it is, is the
//! causes' question.

use super::Check;
use crate::model::{Code, Evidence, Finding, Gap, Judgement, Level};
use crate::probe::Facts;
use crate::probe::path::counter::Elsewhere;
use crate::probe::path::others::Other;
use crate::probe::path::reply::{Command, Reply};
use crate::probe::path::tcp::{Attempt, IcmpMeaning, Outcome, Tcp};

/// The check.
pub static CHECK: Check = Check {
    id: "tcp",
    asks: "does anything accept connections at the target's addresses, and if not, who says no?",
    level: Some(Level::Reachable),
    codes: &[
        &REFUSED,
        &REJECTED,
        &TIMEOUT,
        &RESET,
        &UNREACHABLE,
        &DENIED,
        &NO_ADDRESS,
        &NO_DESCRIPTORS,
        &SOCKET_MISSING,
        &SOCKET_DENIED,
        &NOT_A_SOCKET,
        &QUEUE_FULL,
        &FAILED,
        &SOME_FAILED,
        &SLOW,
        &STALE,
    ],
    judge,
};

/// Connections slower than this lost a SYN: the first is sent again after 1 s (RFC 6298 section 2.1).
const SLOW_MS: f64 = 900.0;

/// A reset, or nobody behind a unix socket.
pub static REFUSED: Code = Code::fail(
    "tcp/refused",
    Level::Reachable,
    "connection refused",
    "The machine at that address answered with a TCP reset: it is up, and no process that it lets you reach listens on \
     that port. A firewall that rejects with a reset looks the same from the client. On a unix socket: the file is \
     there, but no process listens on it.",
);
/// An ICMP error of policy.
pub static REJECTED: Code = Code::fail(
    "tcp/rejected",
    Level::Reachable,
    "connection rejected with an ICMP error",
    "An ICMP error came back that a kernel does not send for a closed TCP port: port-unreachable, or one of the \
     administratively-prohibited codes. The application sees 'Connection refused' or 'No route to host', but a firewall \
     said it, or, for admin-prohibited, perhaps a router's 'prohibit' route. The error queue of the socket names the sender.",
);
/// No answer at all.
pub static TIMEOUT: Code = Code::fail(
    "tcp/timeout",
    Level::Reachable,
    "no answer to the connection attempt",
    "Nothing came back before the time was up: the packets, or the answers to them, are dropped on the way; or the \
     host is gone; or its accept queue is full.",
);
/// A reset during the handshake.
pub static RESET: Code = Code::fail(
    "tcp/reset",
    Level::Reachable,
    "connection reset during the handshake",
    "The connection was reset while it was being made, after the peer had answered.",
);
/// EHOSTUNREACH and ENETUNREACH.
pub static UNREACHABLE: Code = Code::fail(
    "tcp/unreachable",
    Level::Reachable,
    "no way to the host",
    "The kernel knows no way to the address, or a router or the neighbour discovery of the last link reported that the \
     host cannot be reached.",
);
/// EACCES, EPERM and EINVAL for an address.
pub static DENIED: Code = Code::fail(
    "tcp/denied",
    Level::Reachable,
    "this machine refuses to send",
    "connect(2) failed with EACCES, EPERM or EINVAL. For an IP address that is no file permission: a local route \
     (prohibit, blackhole) or a security module forbids the connection.",
);
/// EADDRNOTAVAIL and EAFNOSUPPORT.
pub static NO_ADDRESS: Code = Code::fail(
    "tcp/no-local-address",
    Level::Reachable,
    "no local address to connect from",
    "connect(2) failed with EADDRNOTAVAIL or EAFNOSUPPORT: this machine has no address of that family, or no free \
     ephemeral port.",
);
/// EMFILE and ENFILE.
pub static NO_DESCRIPTORS: Code = Code::fail(
    "tcp/no-descriptors",
    Level::Reachable,
    "no file descriptor left for a socket",
    "socket(2) failed with EMFILE or ENFILE: the limit of open files of this process or of this machine is reached.",
);
/// ENOENT for a unix socket.
pub static SOCKET_MISSING: Code = Code::fail(
    "tcp/socket-missing",
    Level::Reachable,
    "no such unix socket",
    "connect(2) failed with ENOENT: there is nothing at the path of the unix socket.",
);
/// EACCES for a unix socket.
pub static SOCKET_DENIED: Code = Code::fail(
    "tcp/socket-denied",
    Level::Reachable,
    "no right to use the unix socket",
    "connect(2) failed with EACCES: to use a unix socket one needs the right to write to it and to search every folder \
     on the way to it (unix(7)).",
);
/// ENOTSOCK for a unix socket.
pub static NOT_A_SOCKET: Code = Code::fail(
    "tcp/not-a-socket",
    Level::Reachable,
    "the path is not a unix stream socket",
    "What stands at the path is a file, a folder or another kind of socket.",
);
/// EAGAIN for a unix socket.
pub static QUEUE_FULL: Code = Code::fail(
    "tcp/queue-full",
    Level::Reachable,
    "the listener's queue is full",
    "connect(2) failed with EAGAIN: the process that listens on the unix socket has not accepted the connections that \
     wait already.",
);
/// Any other errno.
pub static FAILED: Code = Code::fail(
    "tcp/failed",
    Level::Reachable,
    "the connection failed",
    "connect(2) failed for a reason that has no code of its own; see the errno.",
);
/// Some addresses fail while another works.
pub static SOME_FAILED: Code = Code::warn(
    "tcp/some-addresses-failed",
    Level::Reachable,
    "some addresses of the name do not accept connections",
    "The name has several addresses and some of them do not accept connections. Clients that try only the first, or \
     try them one after the other with a long timeout, see failures or delays. A check of such an address alone \
     (redisdoc check -h ADDRESS) says what is wrong with it.",
);
/// A connection that took more than one SYN.
pub static SLOW: Code = Code::warn(
    "tcp/slow",
    Level::Reachable,
    "the connection took long to be accepted",
    "The handshake took so long that the first SYN must have been lost on the way, or dropped by a listener whose queue is \
     full: it is sent again after 1 s.",
);

/// Another program waits at another address.
pub static STALE: Code = Code::warn(
    "tcp/others-wait",
    Level::Reachable,
    "another program waits in vain at an address that the name does not have",
    "A program of this machine sends again and again to the same port of an address that the target's name does not have \
     now, and gets no answer. If it means the same target, it keeps an address that is out of date.",
);

fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let tcp = facts.tcp.known()?;
    let silent = |attempt: &Attempt| attempt.outcome == Outcome::TimedOut && attempt.errno.is_none();
    if let [first, rest @ ..] = tcp.attempts.as_slice()
        && silent(first)
        && rest.iter().all(silent)
    {
        facts.ask.waited_out(first.elapsed_ms)?;
    }
    let took = tcp.connected().or(tcp.attempts.first()).map_or(0.0, |attempt| attempt.elapsed_ms);
    let found = findings(tcp).into_iter().map(|finding| beside_refused(facts, finding));
    Ok(Judgement::pass(summary(tcp)).took(took).observing(tcp).finding(found).finding(stale(facts)))
}

/// What another address of this machine met, beside the one that refused.
fn beside_refused(facts: &Facts, mut finding: Finding) -> Finding {
    let elsewhere = facts.counter.seen().and_then(|counter| counter.elsewhere.as_ref());
    if let Some(Elsewhere { attempt, said }) = elsewhere.filter(|_| finding.code.id == REFUSED.id) {
        let says = match said.as_ref().and_then(|said| said.reply(Command::Ping).or(said.unasked.as_ref())) {
            Some(Reply::Status(status)) => format!("{}: PING is answered {status}", attempt.address),
            Some(Reply::Error(error)) => format!("{}: PING is answered {}", attempt.address, error.text),
            _ => attempt.says(),
        };
        finding.evidence.push(Evidence::new("another address of this machine", says));
    }
    finding
}

/// Who waits at an address that the name does not have.
fn stale(facts: &Facts) -> Option<Finding> {
    let others = facts.others.seen().filter(|others| !others.is_empty())?;
    let does = |other: &Other| if other.established { "has a connection" } else { "tries to connect" };
    let says = |other: &Other| {
        let says =
            format!("{} {} to {}, and has sent again {} times", other.owner(), does(other), other.to, other.retries);
        Evidence::new("sock_diag(7)", says)
    };
    Some(Finding { code: &STALE, evidence: others.iter().map(says).collect() })
}

fn summary(tcp: &Tcp) -> String {
    match (tcp.connected(), tcp.attempts.as_slice()) {
        (Some(attempt), [_]) => format!("{} accepts connections", attempt.address),
        (Some(attempt), all) => {
            let accepting = all.iter().filter(|attempt| attempt.outcome == Outcome::Connected).count();
            format!("{} accepts connections ({accepting} of {} addresses do)", attempt.address, all.len())
        }
        (None, [attempt]) => format!("{} {}", attempt.address, said(attempt)),
        (None, [first, ..]) => {
            format!("none of {} addresses accepts; {} {}", tcp.attempts.len(), first.address, said(first))
        }
        (None, []) => "no address was tried".to_owned(),
    }
}

/// What an attempt met, to stand behind its address.
fn said(attempt: &Attempt) -> &'static str {
    match code_of(attempt).id {
        "tcp/refused" => "refused the connection",
        "tcp/rejected" => "was rejected with an ICMP error",
        "tcp/timeout" => "did not answer",
        "tcp/reset" => "reset the connection",
        "tcp/unreachable" => "cannot be reached",
        "tcp/denied" => "may not be connected to from here",
        "tcp/no-local-address" => "cannot be connected to: no local address or port",
        "tcp/no-descriptors" => "needs a file descriptor, and none is left",
        "tcp/socket-missing" => "does not exist",
        "tcp/socket-denied" => "may not be used by this user",
        "tcp/not-a-socket" => "is not a unix stream socket",
        "tcp/queue-full" => "has a full queue",
        _ => "could not be connected to",
    }
}

fn findings(tcp: &Tcp) -> Vec<Finding> {
    match tcp.connected() {
        None => failures(&tcp.attempts),
        Some(attempt) => {
            let failed: Vec<Evidence> =
                tcp.attempts.iter().filter(|attempt| is_telling_failure(attempt)).map(evidence).collect();
            let some = (!failed.is_empty()).then_some(Finding { code: &SOME_FAILED, evidence: failed });
            let slow =
                (attempt.elapsed_ms >= SLOW_MS).then(|| Finding { code: &SLOW, evidence: vec![evidence(attempt)] });
            some.into_iter().chain(slow).collect()
        }
    }
}

/// One finding per kind of failure, with all attempts that met it.
fn failures(attempts: &[Attempt]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let telling = attempts.iter().any(|attempt| !never_left(attempt));
    for attempt in attempts.iter().filter(|attempt| !(telling && never_left(attempt))) {
        let code = code_of(attempt);
        match findings.iter_mut().find(|finding| finding.code.id == code.id) {
            Some(finding) => finding.evidence.push(evidence(attempt)),
            None => findings.push(Finding { code, evidence: vec![evidence(attempt)] }),
        }
    }
    findings
}

fn is_telling_failure(attempt: &Attempt) -> bool {
    attempt.outcome != Outcome::Connected && !never_left(attempt)
}

/// True if this machine has no address or route of that family: every client skips such an address at once, and it says
/// nothing about the server. Names with an AAAA record are common where IPv6 is not.
fn never_left(attempt: &Attempt) -> bool {
    let is_v6 = attempt.ip.is_some_and(|ip| ip.is_ipv6());
    let lacking = [Outcome::AddressUnavailable, Outcome::FamilyUnsupported, Outcome::NetUnreachable];
    is_v6 && attempt.synchronous && attempt.icmp.is_none() && lacking.contains(&attempt.outcome)
}

fn evidence(attempt: &Attempt) -> Evidence {
    Evidence::new("connect(2)", attempt.says())
}

/// The code of a failed attempt.
pub fn code_of(attempt: &Attempt) -> &'static Code {
    if let Some(icmp) = &attempt.icmp
        && matches!(
            icmp.meaning(),
            IcmpMeaning::PortUnreachable | IcmpMeaning::Prohibited | IcmpMeaning::ProtocolUnreachable
        )
    {
        return &REJECTED;
    }
    match attempt.outcome {
        Outcome::Refused => &REFUSED,
        Outcome::Reset => &RESET,
        Outcome::TimedOut => &TIMEOUT,
        Outcome::HostUnreachable | Outcome::NetUnreachable => &UNREACHABLE,
        Outcome::Denied if attempt.ip.is_none() => &SOCKET_DENIED,
        Outcome::Denied | Outcome::Invalid => &DENIED,
        Outcome::AddressUnavailable | Outcome::FamilyUnsupported => &NO_ADDRESS,
        Outcome::NoDescriptors => &NO_DESCRIPTORS,
        Outcome::QueueFull => &QUEUE_FULL,
        Outcome::Missing => &SOCKET_MISSING,
        Outcome::NotASocket => &NOT_A_SOCKET,
        Outcome::ProtocolUnavailable | Outcome::Other | Outcome::Connected => &FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Observed;
    use crate::probe::path::counter::Counter;
    use crate::probe::path::tcp::Icmp;

    #[track_caller]
    fn check(attempts: Vec<Attempt>, codes: &[&str]) {
        let facts = Facts::healthy().with(|facts| facts.tcp = Observed::Seen(Tcp { attempts, untried: 0 }));
        let found: Vec<&str> = judge(&facts).unwrap().findings.iter().map(|finding| finding.code.id).collect();
        assert_eq!(found, codes);
    }

    fn ip(last: u8) -> std::net::IpAddr {
        [10, 0, 0, last].into()
    }

    fn failed(outcome: Outcome, errno: &str) -> Attempt {
        Attempt::failed(ip(9), outcome, errno, 0.3)
    }

    fn with_icmp(outcome: Outcome, errno: &str, code: u8) -> Attempt {
        Attempt { icmp: Some(Icmp { kind: 3, code, from: ip(1) }), ..failed(outcome, errno) }
    }

    #[test]
    fn a_connection_is_no_finding() {
        check(vec![Attempt::connected(ip(9))], &[]);
    }

    #[test]
    fn another_address_of_the_same_machine_stands_beside_the_one_that_refused() {
        let said = Facts::healthy().redis.seen().map(|redis| redis.dialogues[0].first.clone());
        let facts = Facts::healthy().refused([10, 0, 0, 9]).with(|facts| {
            let elsewhere = Elsewhere { attempt: Attempt::connected([127, 0, 0, 1].into()), said };
            facts.counter = Observed::Seen(Counter { elsewhere: Some(elsewhere), ..Counter::default() });
        });
        let found = judge(&facts).unwrap().findings;
        assert_eq!(found[0].evidence[1].says, "127.0.0.1:6379: PING is answered PONG");
        let closed = facts.with(|facts| {
            let Observed::Seen(Counter { elsewhere: Some(elsewhere), .. }) = &mut facts.counter else { return };
            (elsewhere.attempt, elsewhere.said) = (failed(Outcome::Refused, "ECONNREFUSED"), None);
        });
        assert!(judge(&closed).unwrap().findings[0].evidence[1].says.contains("ECONNREFUSED"));
    }

    #[test]
    fn each_outcome_has_its_code() {
        check(vec![failed(Outcome::Refused, "ECONNREFUSED")], &["tcp/refused"]);
        check(vec![failed(Outcome::TimedOut, "ETIMEDOUT")], &["tcp/timeout"]);
        check(vec![failed(Outcome::Reset, "ECONNRESET")], &["tcp/reset"]);
        check(vec![failed(Outcome::HostUnreachable, "EHOSTUNREACH")], &["tcp/unreachable"]);
        check(vec![failed(Outcome::NetUnreachable, "ENETUNREACH")], &["tcp/unreachable"]);
        check(vec![failed(Outcome::Denied, "EACCES")], &["tcp/denied"]);
        check(vec![failed(Outcome::Invalid, "EINVAL")], &["tcp/denied"]);
        check(vec![failed(Outcome::AddressUnavailable, "EADDRNOTAVAIL")], &["tcp/no-local-address"]);
        check(vec![failed(Outcome::NoDescriptors, "EMFILE")], &["tcp/no-descriptors"]);
        check(vec![failed(Outcome::Other, "EIO")], &["tcp/failed"]);
    }

    #[test]
    fn a_unix_socket_has_codes_of_its_own() {
        let unix =
            |outcome, errno| Attempt { ip: None, address: "/run/redis.sock".to_owned(), ..failed(outcome, errno) };
        check(vec![unix(Outcome::Missing, "ENOENT")], &["tcp/socket-missing"]);
        check(vec![unix(Outcome::Denied, "EACCES")], &["tcp/socket-denied"]);
        check(vec![unix(Outcome::NotASocket, "ENOTSOCK")], &["tcp/not-a-socket"]);
        check(vec![unix(Outcome::QueueFull, "EAGAIN")], &["tcp/queue-full"]);
        check(vec![unix(Outcome::Refused, "ECONNREFUSED")], &["tcp/refused"]);
    }

    #[test]
    fn the_icmp_error_tells_a_firewall_from_a_closed_port() {
        check(vec![with_icmp(Outcome::Refused, "ECONNREFUSED", 3)], &["tcp/rejected"]);
        check(vec![with_icmp(Outcome::HostUnreachable, "EHOSTUNREACH", 13)], &["tcp/rejected"]);
        check(vec![with_icmp(Outcome::HostUnreachable, "EHOSTUNREACH", 1)], &["tcp/unreachable"]);
    }

    #[test]
    fn one_bad_address_among_several_is_a_warning() {
        check(
            vec![failed(Outcome::Refused, "ECONNREFUSED"), Attempt::connected(ip(8))],
            &["tcp/some-addresses-failed"],
        );
        check(
            vec![failed(Outcome::Refused, "ECONNREFUSED"), Attempt::failed(ip(8), Outcome::TimedOut, "ETIMEDOUT", 5e3)],
            &["tcp/refused", "tcp/timeout"],
        );
    }

    #[test]
    fn a_family_that_this_machine_lacks_is_no_fault_of_the_server() {
        let v6: std::net::IpAddr = "2001:db8::9".parse().unwrap();
        let none = Attempt { synchronous: true, ..Attempt::failed(v6, Outcome::NetUnreachable, "ENETUNREACH", 0.0) };
        check(vec![none.clone(), Attempt::connected(ip(8))], &[]);
        check(vec![none.clone(), failed(Outcome::Refused, "ECONNREFUSED")], &["tcp/refused"]);
        check(vec![none], &["tcp/unreachable"]);
    }

    #[test]
    fn silence_that_was_not_waited_out_proves_nothing() {
        let silent = |elapsed_ms| Attempt { errno: None, ..Attempt::failed(ip(9), Outcome::TimedOut, "", elapsed_ms) };
        let facts = |elapsed_ms| Facts::healthy().attempting(vec![silent(elapsed_ms)]);
        assert!(matches!(judge(&facts(400.0)), Err(Gap::Hidden(_))));
        assert!(judge(&facts(5_000.0)).is_ok());
    }

    #[test]
    fn another_program_that_waits_elsewhere_is_a_warning() {
        let other = Other {
            to: ip(7),
            established: false,
            retries: 2,
            uid: 33,
            pid: Some(99),
            program: Some("php".to_owned()),
        };
        let facts = Facts::healthy().with(|facts| facts.others = Observed::Seen(vec![other]));
        let found = judge(&facts).unwrap().findings;
        assert_eq!(found.iter().map(|finding| finding.code.id).collect::<Vec<_>>(), ["tcp/others-wait"]);
        let says = "php (pid 99) tries to connect to 10.0.0.7, and has sent again 2 times";
        assert_eq!(found[0].evidence[0].says, says);
    }

    #[test]
    fn a_lost_syn_is_a_warning() {
        check(vec![Attempt { elapsed_ms: 1003.0, ..Attempt::connected(ip(9)) }], &["tcp/slow"]);
    }
}
