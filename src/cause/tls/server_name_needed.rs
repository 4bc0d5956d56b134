//! What ends TLS there serves several names, and none for what we said.

use super::hello;
use crate::cause::{Case, Cause};
use crate::check::tls::ALERT;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::tls::Ended;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "server-name-needed",
    title: "what ends TLS there knows no server of that name",
    explain: "\
A TLS front (HAProxy with strict-sni, nginx with ssl_reject_handshake, Envoy, the front of a managed service) chooses the server \
by the name that the client sends in its ClientHello (SNI), and refuses the handshake where it knows none of that name: alert \
unrecognized_name (112). Whoever connects by an address sends no name at all; neither does redis-cli without --sni.

How to be sure: the alert says it. A front that shows a default certificate instead is certificate-name-mismatch.

Repair: connect by the name that the front knows, or send it beside the address (--sni, server_hostname, tls.servername).",
    infer,
    remedy,
};

/// `unrecognized_name` (RFC 6066 section 3).
const UNRECOGNIZED_NAME: u8 = 112;

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&ALERT)?;
    let hello = hello(case.facts).filter(|hello| hello.end == Ended::Alert(UNRECOGNIZED_NAME))?;
    let summary = match &hello.server_name {
        Some(name) => format!("it knows no server called {name}"),
        None => "no server name was sent (SNI), because the target is an address, and it wants one".to_owned(),
    };
    let support = Support::new(Confidence::Certain, &[&ALERT], summary).on(finding);
    let sent = hello.server_name.as_deref().unwrap_or("none");
    Some(
        support
            .because("the server name that was sent (SNI)", sent)
            .not("tls-version-mismatch", "the alert is about the name"),
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let place = facts.ask.target.place();
    vec![Step::tell(
        Where::Here,
        format!(
            "connect by the name that the front at {place} knows (ask whoever runs it, or see the service's own page), or send it beside the \
             address: --sni NAME"
        ),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;

    #[test]
    fn the_alert_says_it() {
        let alert = |alert| Facts::encrypted().hello(|hello| hello.end = Ended::Alert(alert));
        check_cause(&CAUSE, &alert(112), Some(Confidence::Certain));
        check_cause(&CAUSE, &alert(112).hello(|hello| hello.server_name = None), Some(Confidence::Certain));
        check_cause(&CAUSE, &alert(40), None);
    }
}
