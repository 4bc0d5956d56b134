//! Redis listens on loopback addresses only.

use crate::cause::{Case, Cause, redis_host};
use crate::check::tcp;
use crate::model::{Confidence, Step, Support};
use crate::probe::Facts;
use crate::probe::path::vantage::is_this_machine;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "loopback-only",
    title: "Redis may listen on loopback addresses only",
    explain: "\
Redis' default configuration says 'bind 127.0.0.1 -::1': it serves its own machine and refuses all others, with the same \
TCP reset as a port that nobody listens on.

From the client this is one candidate among others for 'Connection refused'. On the Redis host 'ss -ltn' settles it: \
127.0.0.1:6379 and no other address.

Repair, in this order: set a password (requirepass, or an ACL user), then add the address that the clients use to bind \
(not 0.0.0.0), restart, and let only the clients through the firewall. Without a password, protected mode turns the \
clients away all the same.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let attempts = case.attempts(&tcp::REFUSED);
    let attempt = attempts.into_iter().find(|attempt| attempt.ip.is_some_and(|ip| !is_this_machine(ip)))?;
    let port = case.facts.ask.target.port()?;
    let settle = Step::look(
        redis_host(case.facts),
        format!("ss -ltn 'sport = :{port}'"),
        format!("127.0.0.1:{port} or [::1]:{port} and no other address: this is it"),
    );
    let summary = "Redis' default is to listen on loopback only; others are refused as if it were not running";
    Some(
        Support::new(Confidence::Possible, &[&tcp::REFUSED], summary)
            .because("connect(2)", attempt.says())
            .settled_by(settle),
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let on = redis_host(facts);
    let ip = facts.tcp.seen().and_then(|tcp| tcp.attempts.iter().find_map(|a| a.ip.filter(|ip| !ip.is_loopback())));
    let address = ip.map_or_else(|| "the address that clients use".to_owned(), |ip| ip.to_string());
    vec![
        Step::tell(on.clone(), "first set a password: 'requirepass' in redis.conf, or an ACL user"),
        Step::tell(on.clone(), format!("then add {address} to the 'bind' line of redis.conf, and restart Redis")),
        Step::tell(on, "let only the clients' addresses through the firewall to that port"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::tcp::{Attempt, Outcome};

    #[test]
    fn a_candidate_from_afar_never_over_loopback() {
        let refused = |ip: [u8; 4]| Attempt::failed(ip.into(), Outcome::Refused, "ECONNREFUSED", 0.2);
        let facts = |ip| Facts::healthy().attempting(vec![refused(ip)]);
        check_cause(&CAUSE, &facts([10, 0, 0, 9]), Some(Confidence::Possible));
        check_cause(&CAUSE, &facts([127, 0, 0, 1]), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
