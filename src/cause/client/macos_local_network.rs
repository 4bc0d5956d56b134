//! macOS keeps an application from its own local network.

use std::net::IpAddr;

use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::Outcome;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "macos-local-network",
    title: "macOS' Local Network privacy may block this application",
    explain: "\
Since macOS 15 an application may talk to machines on the local network only if the user allowed it (System Settings → \
Privacy & Security → Local Network). Without that, connections to the LAN fail at once with 'No route to host', while \
the Internet, the gateway and loopback work, and while Apple's own tools (ping, nc) work from the same terminal.

Known from reports only, not measured: it is never more than possible.

Repair: allow the terminal, or the application, under Local Network, and start it again.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::UNREACHABLE);
    let on_macos = case.vantage().is_some_and(|vantage| vantage.os == "macos");
    let attempt = attempts.into_iter().find(|attempt| {
        on_macos
            && attempt.outcome == Outcome::HostUnreachable
            && attempt.elapsed_ms < 100.0
            && attempt.ip.is_some_and(is_lan)
    })?;
    let step = Step::look(
        Where::Here,
        format!("/usr/bin/nc -vz {} {}", attempt.ip?, case.facts.ask.target.port()?),
        "if Apple's own tool connects, the privacy setting is it",
    );
    Some(
        Support::new(Confidence::Possible, &[&tcp::UNREACHABLE], "the connection to a local address failed at once")
            .because("connect(2)", attempt.says())
            .settled_by(step),
    )
}

fn is_lan(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn remedy(_facts: &Facts) -> Vec<Step> {
    let text =
        "System Settings → Privacy & Security → Local Network: allow the terminal or application, and restart it";
    vec![Step::tell(Where::Here, text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::tcp::Attempt;

    fn unreachable(ip: [u8; 4], os: &str) -> Facts {
        let attempt = Attempt::failed(ip.into(), Outcome::HostUnreachable, "EHOSTUNREACH", 0.2);
        Facts::healthy().attempting(vec![attempt]).with(|facts| {
            if let Observed::Seen(vantage) = &mut facts.vantage {
                os.clone_into(&mut vantage.os);
            }
        })
    }

    #[test]
    fn only_on_macos_and_on_the_lan() {
        check_cause(&CAUSE, &unreachable([192, 168, 1, 9], "macos"), Some(Confidence::Possible));
        check_cause(&CAUSE, &unreachable([203, 0, 113, 9], "macos"), None);
        check_cause(&CAUSE, &unreachable([192, 168, 1, 9], "linux"), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
