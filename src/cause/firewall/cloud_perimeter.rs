//! A managed Redis that lets in only its own network, or the sources on its list.

use std::net::IpAddr;

use crate::cause::repair::cloud;
use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::cloud::{Provider, is_private};
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tcp::Attempt;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "cloud-perimeter",
    title: "the provider's perimeter keeps this machine out",
    explain: "\
The target's name is that of a managed service (ElastiCache, MemoryDB, Azure, DigitalOcean, Redis Cloud and others). Such \
a service answers only inside the customer's private network, or only to the sources on a list; everybody else's packets \
are dropped in silence, and the application reports a timeout. A name that resolves to a private address (10/8, 172.16/12, \
192.168/16, 100.64/10, fc00::/7) leads nowhere from a laptop, another cloud account or a function that is not attached \
to that network.

From the client it cannot be told from another filter on the way, such as an office network that lets out web traffic \
only, nor from a service that was paused or deleted while its name lived on.

Repair: in the provider's console let this machine's address in (security group, firewall rule, trusted sources, allow \
list), or connect from inside: the same VPC, peering, a VPN or a bastion host.",
    infer,
    remedy,
};

/// What a perimeter looks like, the most telling first.
const CODES: [&Code; 4] = [&tcp::TIMEOUT, &tcp::UNREACHABLE, &tcp::REJECTED, &tcp::REFUSED];

fn infer(case: &Case) -> Option<Support> {
    let provider = cloud::provider(case.facts)?;
    // A rule that is known to stop it needs no guess.
    let known =
        super::stopped_there(case.facts, false, |_| true).is_some() || super::stopped_here(case.facts).is_some();
    if known {
        return None;
    }
    let (code, attempt) = CODES.into_iter().find_map(|code| Some((code, *case.attempts(code).first()?)))?;
    let ip = attempt.ip?;
    let silent = code.id == tcp::TIMEOUT.id || code.id == tcp::UNREACHABLE.id;
    let confidence =
        if silent && (is_private(ip) || provider.inside_only) { Confidence::Likely } else { Confidence::Possible };
    let name = crate::model::escape(case.facts.ask.target.host()?.as_bytes());
    let support = Support::new(confidence, &[code], summary(case, provider, attempt, ip, silent))
        .because("name", format!("{name} is a name of {}", provider.name))
        .because("connect(2)", attempt.says());
    let support =
        if silent { support.not("not-running", "a closed port would have answered with a reset") } else { support };
    Some(Support { settled_by: cloud::settle(case.facts), ..support })
}

fn summary(case: &Case, provider: &Provider, attempt: &Attempt, ip: IpAddr, silent: bool) -> String {
    let (at, name) = (&attempt.address, provider.name);
    if !silent {
        return format!("{at} of {name} turns the connection away: another port or name may be the right one");
    }
    match (is_private(ip), is_near(case.facts, ip)) {
        (true, false) => format!(
            "{at} is an address inside the private network of {name}, and no address of this machine is near it: asked from outside"
        ),
        (true, true) => format!(
            "{at} of {name} is silent, and this machine has an address near it: its rules keep this machine out"
        ),
        (false, _) => format!("{at} of {name} is silent: this machine may not be among the sources that it lets in"),
    }
}

/// True if this machine has an address in the same /16, the largest network that AWS and most others give a customer; in
/// IPv6, the same /56.
fn is_near(facts: &Facts, ip: IpAddr) -> bool {
    let own = facts.vantage.seen().map(|vantage| vantage.own_addresses.as_slice()).unwrap_or_default();
    own.iter().any(|own| match (own, ip) {
        (IpAddr::V4(own), IpAddr::V4(ip)) => own.octets()[..2] == ip.octets()[..2],
        (IpAddr::V6(own), IpAddr::V6(ip)) => own.octets()[..7] == ip.octets()[..7],
        _ => false,
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some(provider) = cloud::provider(facts) else { return Vec::new() };
    let asked = facts.asked_addresses();
    let private = asked.iter().any(|ip| is_private(*ip));
    let outside = private && !asked.iter().any(|ip| is_near(facts, *ip));
    let inside = (private || provider.inside_only).then(|| {
        Step::tell(
            Where::Here,
            "connect from inside its private network: run the client there, or join it by peering, VPN or a bastion host \
             (ssh -L)",
        )
    });
    let port = provider.port.map(|port| Step::tell(Where::Here, format!("use the port of {}: {port}", provider.name)));
    let mut steps: Vec<Step> = cloud::lets_in(facts).into_iter().chain(inside).collect();
    if outside {
        // Nobody is let in who has no way there.
        steps.reverse();
    }
    steps.extend(port);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Endpoint;
    use crate::probe::path::tcp::Outcome;

    fn asking(host: &str, ip: [u8; 4], outcome: Outcome) -> Facts {
        let attempt = Attempt::failed(ip.into(), outcome, "ETIMEDOUT", 5000.0);
        Facts::healthy().attempting(vec![attempt]).with(|facts| {
            facts.ask.target.endpoint = Endpoint::Tcp { host: host.to_owned(), port: 6379 };
        })
    }

    const ELASTICACHE: &str = "shop.x1y2z3.0001.use1.cache.amazonaws.com";
    const AZURE: &str = "shop.redis.cache.windows.net";

    #[test]
    fn silence_inside_a_private_network_is_likely_the_perimeter() {
        check_cause(&CAUSE, &asking(ELASTICACHE, [172, 31, 5, 5], Outcome::TimedOut), Some(Confidence::Likely));
        check_cause(&CAUSE, &asking(AZURE, [10, 9, 0, 5], Outcome::TimedOut), Some(Confidence::Likely));
        check_cause(&CAUSE, &asking(AZURE, [20, 50, 1, 1], Outcome::TimedOut), Some(Confidence::Possible));
        check_cause(&CAUSE, &asking(AZURE, [20, 50, 1, 1], Outcome::Refused), Some(Confidence::Possible));
        check_cause(&CAUSE, &asking("db.example.com", [10, 9, 0, 5], Outcome::TimedOut), None);
        // A tunnel: the name leads to this machine.
        check_cause(&CAUSE, &asking(ELASTICACHE, [127, 0, 0, 1], Outcome::Refused), None);
    }

    #[test]
    fn the_steps_are_the_providers_and_nobody_logs_in_there() {
        for (host, says) in
            [(ELASTICACHE, "VPC security group"), (AZURE, "Settings > Firewall"), (AZURE, "6380 with TLS")]
        {
            for outcome in [Outcome::TimedOut, Outcome::Refused] {
                let diagnosis = diagnose(&asking(host, [10, 0, 7, 5], outcome));
                let steps = format!("{:?}", diagnosis.causes);
                assert!(steps.contains(says) && !steps.contains("RedisHost"), "{steps}");
                assert!(diagnosis.causes.iter().all(|cause| cause.id != "not-running" && cause.id != "loopback-only"));
                assert!(diagnosis.causes.iter().all(|cause| cause.support.settled_by.is_some()), "{steps}");
                assert!(diagnosis.unexplained.is_empty());
            }
        }
    }

    #[test]
    fn our_address_is_the_one_that_the_provider_sees() {
        let near = format!("{:?}", remedy(&asking(ELASTICACHE, [10, 0, 7, 5], Outcome::TimedOut)));
        assert!(near.contains("source 10.0.0.2"), "{near}");
        let outside = remedy(&asking(ELASTICACHE, [172, 31, 5, 5], Outcome::TimedOut));
        assert!(matches!(&outside[0], Step::Tell { on: Where::Here, text } if text.contains("VPN")), "{outside:?}");
        let far = format!("{:?}", remedy(&asking(AZURE, [20, 50, 1, 1], Outcome::TimedOut)));
        assert!(far.contains("what 10.0.0.2 is translated to"), "{far}");
    }
}
