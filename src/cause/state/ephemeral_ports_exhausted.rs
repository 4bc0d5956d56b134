//! This machine has no free local port to connect from.

use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::Outcome;
use crate::probe::path::vantage::Limits;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "ephemeral-ports-exhausted",
    title: "no local port is left to connect from",
    explain: "\
connect(2) to an IPv4 address failed with EADDRNOTAVAIL ('Cannot assign requested address', errno 99): every \
port of net.ipv4.ip_local_port_range is in use towards this address and port, mostly by closed connections that \
wait in TIME_WAIT for a minute. An application that opens a connection for every request ends here.

The same errno for ::1 only means that IPv6 is off (see localhost-in-container).

It is certain when /proc/net/sockstat counts nearly as many sockets as the range has ports. Repair: pool \
connections; a wider range and net.ipv4.tcp_tw_reuse=1 buy time.",
    infer,
    remedy,
};

/// The share of the range that must be in use before the count proves it: sockets to other servers are counted too, and
/// some of these ports are free for them.
const NEARLY_ALL: f64 = 0.8;

fn infer(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::NO_ADDRESS);
    let attempt = attempts
        .into_iter()
        .find(|attempt| attempt.outcome == Outcome::AddressUnavailable && attempt.ip.is_some_and(|ip| ip.is_ipv4()))?;
    let limits = case.vantage().and_then(|vantage| vantage.limits.seen());
    let confidence = if limits.is_some_and(is_used_up) { Confidence::Certain } else { Confidence::Likely };
    let summary = format!("every local port is in use towards {}", attempt.address);
    let mut support = Support::new(confidence, &[&tcp::NO_ADDRESS], summary).because("connect(2)", attempt.says());
    if let Some(Limits { ephemeral_ports: Some((first, last)), sockets: Some((in_use, waiting)), .. }) = limits {
        support = support
            .because("net.ipv4.ip_local_port_range", format!("{first} to {last}"))
            .because("/proc/net/sockstat", format!("{in_use} TCP sockets in use, {waiting} in TIME_WAIT"));
    }
    let support = support.not("localhost-in-container", "the address is IPv4: it is not a lack of IPv6");
    Some(if confidence == Confidence::Certain { support } else { support.settled_by(look()) })
}

fn is_used_up(limits: &Limits) -> bool {
    let (Some((first, last)), Some((in_use, waiting))) = (limits.ephemeral_ports, limits.sockets) else { return false };
    // The kernel takes an even number of them (__inet_hash_connect).
    let ports = f64::from((u32::from(last.saturating_sub(first)) + 1) & !1);
    #[expect(clippy::cast_precision_loss, reason = "a count of sockets is far below 2^52")]
    let used = (in_use + waiting) as f64;
    used >= ports * NEARLY_ALL
}

fn look() -> Step {
    Step::look(Where::Here, "ss -s", "nearly as many TCP connections and TIME_WAIT entries as the port range has ports")
}

fn remedy(_facts: &Facts) -> Vec<Step> {
    vec![
        look(),
        Step::tell(Where::Here, "let the application keep its connections in a pool instead of one for each request"),
        Step::run(
            Where::Here,
            Risk::Safe,
            "meanwhile, widen the range (until the next boot)",
            "sudo sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::tcp::Attempt;

    fn unavailable(ip: std::net::IpAddr, sockets: (u64, u64)) -> Facts {
        let attempt = Attempt::failed(ip, Outcome::AddressUnavailable, "EADDRNOTAVAIL", 0.0);
        Facts::healthy().attempting(vec![attempt]).with(|facts| {
            let Observed::Seen(vantage) = &mut facts.vantage else { return };
            vantage.limits = Observed::Seen(Limits {
                open_files: Some(1024),
                ephemeral_ports: Some((32768, 60999)),
                sockets: Some(sockets),
                ipv6_disabled: false,
            });
        })
    }

    #[test]
    fn counted_it_is_certain_uncounted_likely() {
        check_cause(&CAUSE, &unavailable([10, 0, 0, 9].into(), (200, 28_000)), Some(Confidence::Certain));
        check_cause(&CAUSE, &unavailable([10, 0, 0, 9].into(), (20, 3)), Some(Confidence::Likely));
    }

    #[test]
    fn ipv6_is_another_matter() {
        check_cause(&CAUSE, &unavailable(std::net::Ipv6Addr::LOCALHOST.into(), (20, 3)), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
