//! The time of the server's certificate has not come; mostly because the clock of this machine is behind.

use super::{Clock, behind, certificate_not_reloaded, clock, hello, renew_the_authority, set_the_clock, whose_verdict};
use crate::cause::{Case, Cause, redis_host};
use crate::check::tls::{NOT_YET_VALID, date, span, taken_at};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "certificate-not-yet-valid",
    title: "the server's certificate is not yet valid",
    explain: "\
By the clock of this machine, the time of the server's certificate has not begun. Authorities date certificates to the moment \
they make them, or an hour earlier, so that a certificate from the future nearly always means a clock that is behind: a machine \
without a battery, a virtual machine that was asleep, a container host without time synchronisation. Or the certificate was made \
on a machine whose clock is ahead.

How to be sure: where the server tells its time (INFO, if it answers without a password), both clocks are compared. A clock that \
is earlier than this program is certainly wrong.

Repair: set the clock of the machine that is wrong, and keep it synchronised (systemd-timesyncd, chrony). Only where both clocks \
are right, make the certificate again, or wait.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&NOT_YET_VALID).filter(|_| certificate_not_reloaded::renewed(case.facts).is_none())?;
    let (hello, now) = (hello(case.facts)?, taken_at(case.facts)?);
    let one = hello.chain.iter().chain(&hello.lapsed).find(|one| one.not_before > now)?;
    let begin = format!("{} is valid from {}: in {}", one.subject, date(one.not_before), span(one.not_before - now));
    let support = |confidence, summary: String| {
        let support =
            Support::new(confidence, &[&NOT_YET_VALID], summary).on(finding).because("certificate", begin.clone());
        support.with(behind(case.facts).into_iter().chain(whose_verdict(hello)).collect())
    };
    let settle = Step::look(
        Where::Here,
        "date -u",
        "the true time: the certificate is too young; an earlier one: the clock is wrong, and the certificate is not",
    );
    Some(match clock(case.facts, hello) {
        Clock::Agreed(evidence) => {
            support(Confidence::Certain, "its time has not come, by the clocks of both sides".to_owned())
                .with(vec![evidence])
        }
        Clock::Impossible(evidence) => {
            let says = "the clock of this machine is far behind; the certificate need not be renewed".to_owned();
            support(Confidence::Certain, says).with(vec![evidence])
        }
        Clock::Differs { ahead, valid_there: true, evidence } if ahead < 0 => {
            let says = format!(
                "the clock of this machine is behind by {}; by the server's own, the certificate is valid",
                span(ahead)
            );
            support(Confidence::Likely, says).with(vec![evidence]).settled_by(settle)
        }
        Clock::Differs { evidence, .. } => support(Confidence::Likely, "its time has not come by our clock".to_owned())
            .with(vec![evidence])
            .settled_by(settle),
        Clock::Alone => {
            let says = "its time has not come: the clock of this machine may be behind".to_owned();
            support(Confidence::Likely, says).settled_by(settle)
        }
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let again = Step::tell(
        redis_host(facts),
        "where both clocks are right, have the certificate made again, with a notBefore that is past; let Redis read it: CONFIG SET tls-cert-file",
    );
    match hello(facts).map(|hello| clock(facts, hello)) {
        Some(Clock::Agreed(_)) if hello(facts).is_some_and(|hello| hello.lapsed.is_some()) => renew_the_authority(),
        Some(Clock::Agreed(_)) => vec![again],
        Some(Clock::Impossible(_) | Clock::Differs { ahead: ..0, valid_there: true, .. }) => set_the_clock(),
        _ => set_the_clock().into_iter().chain([again]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{flawed, now, with_clock};
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::probe::path::tls::Flaw;

    const DAY: i64 = 86_400;

    fn young(days: i64) -> Facts {
        flawed(&[Flaw::NotYetValid]).hello(|hello| hello.chain[0].not_before = now() + days * DAY)
    }

    #[test]
    fn two_clocks_make_it_certain() {
        check_cause(&CAUSE, &young(3), Some(Confidence::Likely));
        check_cause(&CAUSE, &with_clock(young(3), now()), Some(Confidence::Certain));
        check_cause(&CAUSE, &flawed(&[Flaw::Expired]), None);
    }

    #[test]
    fn a_clock_that_is_behind_is_set_and_nothing_is_renewed() {
        for facts in [
            with_clock(young(3), now() + 10 * DAY),
            young(3).with(|facts| facts.taken_at = "1970-01-01T00:00:09Z".to_owned()),
        ] {
            let causes = diagnose(&facts).causes;
            assert!(causes[0].support.summary.contains("behind"), "{}", causes[0].support.summary);
            assert!(causes[0].remedy.iter().all(|step| !format!("{step:?}").contains("made again")));
        }
        let impossible = young(3).with(|facts| facts.taken_at = "1970-01-01T00:00:09Z".to_owned());
        check_cause(&CAUSE, &impossible, Some(Confidence::Certain));
        check_cause(&CAUSE, &with_clock(young(3), now() + 10 * DAY), Some(Confidence::Likely));
    }
}
