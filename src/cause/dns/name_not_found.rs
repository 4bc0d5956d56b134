//! The name does not exist.

use super::{look_up, lookup, name, platform_hints, with_evidence};
use crate::cause::{Case, Cause};
use crate::check::dns::NAME_NOT_FOUND;
use crate::model::{Confidence, Step, Support, Where, escape};
use crate::probe::Facts;
use crate::probe::path::dns::System;
use crate::probe::path::dns::answers::{Answer, Outcome, Own, Query};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "name-not-found",
    title: "the name does not exist",
    explain: "No nameserver of this machine knows the name: a typing error, a service of another docker network or \
              kubernetes namespace, a record that was never made, or an alias (CNAME) whose target is gone. To be \
              sure, ask with the full name (getent ahosts NAME): nothing and exit code 2 mean that it does not exist.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    case.raised(&NAME_NOT_FOUND)?;
    let (dns, own) = lookup(case)?;
    let Some(own) = own.filter(|own| own.outcome(case.facts.ask.target.family) != Outcome::NotAsked) else {
        let summary = format!("the system's resolver says that there is no name {}", name(case.facts));
        let settle = look_up(case.facts, "nothing and exit code 2: the name does not exist");
        return Some(with_evidence(support(Confidence::Likely, summary), dns, []).settled_by(settle));
    };
    let unanimous =
        own.asked().all(|query| matches!(query.answer, Answer::NxDomain { .. }) || !query.answer.is_answer());
    let denied = own.outcome(case.facts.ask.target.family) == Outcome::NotFound;
    let system_agrees = matches!(&dns.system, System::Failed { code, .. } if code == "EAI_NONAME");
    let sure = unanimous && denied && system_agrees && own.hosts_lack_it();
    let confidence = if sure { Confidence::Certain } else { Confidence::Likely };
    let support = with_evidence(support(confidence, summary(case.facts, own)), dns, own.asked());
    if sure {
        let server = own.answering().first().map(ToString::to_string).unwrap_or_default();
        return Some(
            support
                .not("resolver-unreachable", format!("nameserver {server} answers"))
                .not("name-server-failure", "the answer is NXDOMAIN, not a failure"),
        );
    }
    let tells = "an address now: nameservers disagree, or the name has just been made";
    Some(support.settled_by(look_up(case.facts, tells)))
}

fn support(confidence: Confidence, summary: String) -> Support {
    Support::new(confidence, &[&NAME_NOT_FOUND], summary)
}

fn summary(facts: &Facts, own: &Own) -> String {
    let name = name(facts);
    if let Some(alias) = dangling(own) {
        return format!("{name} is an alias of {alias}, which does not exist");
    }
    if let Some(knows) = knows(own) {
        let denies = own.asked().find(|query| matches!(query.answer, Answer::NxDomain { .. }));
        let denies = denies.map(|query| query.server.to_string()).unwrap_or_default();
        return format!("nameserver {denies} says that there is no name {name}, but {} knows it", knows.server);
    }
    let tried = own.names();
    match tried.len() {
        0 | 1 => format!("there is no name {name}"),
        _ => format!("there is no name {name} (tried: {})", escape(tried.join(", ").as_bytes())),
    }
}

/// A query that brought what the system does not believe, because another nameserver stands before that one.
fn knows(own: &Own) -> Option<&Query> {
    own.asked().find(|query| matches!(query.answer, Answer::Addresses { .. } | Answer::NoData { .. }))
}

/// The end of a chain of aliases that leads nowhere.
fn dangling(own: &Own) -> Option<&str> {
    own.asked().find_map(|query| match &query.answer {
        Answer::NxDomain { aliases } => aliases.last().map(String::as_str),
        _ => None,
    })
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let (name, own) = (name(facts), super::own(facts));
    let mut steps = vec![look_up(facts, "what this machine makes of the name: nothing, and exit code 2, means none")];
    steps.extend(platform_hints(facts));
    if let Some(alias) = own.and_then(dangling) {
        steps
            .push(Step::tell(Where::Network, format!("make records for {alias}, or point the alias {name} elsewhere")));
        return steps;
    }
    if let Some(knows) = own.and_then(knows) {
        steps.push(Step::tell(
            Where::Here,
            format!(
                "name nameserver {} first in /etc/resolv.conf: the first answer counts, even if another nameserver \
                 knows better",
                knows.server
            ),
        ));
    }
    let given = facts.ask.target.given_by.get(&crate::model::target::Part::Host);
    let given = given.map(|by| format!(" ({by})")).unwrap_or_default();
    steps.push(Step::tell(
        Where::Here,
        format!("correct the name {name} where it is given{given}, or use the full name"),
    ));
    steps.push(Step::tell(
        Where::Network,
        format!("or make an address record for {name}; for this machine alone, a line in /etc/hosts does"),
    ));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::dns::tests::{check, check_none};

    fn own() -> Own {
        Own::of(Answer::nx(), Answer::nx())
    }

    #[test]
    fn certain_where_every_nameserver_says_so() {
        check(&CAUSE, &Facts::lookup_failed("EAI_NONAME", own()), Some(Confidence::Certain));
        let one_silent = own().and_server([10, 0, 0, 3], Answer::Silent, Answer::Silent);
        check(&CAUSE, &Facts::lookup_failed("EAI_NONAME", one_silent), Some(Confidence::Certain));
    }

    #[test]
    fn less_sure_where_something_disagrees() {
        let failing = own().and_server([10, 0, 0, 3], Answer::ServFail, Answer::ServFail);
        check(&CAUSE, &Facts::lookup_failed("EAI_NONAME", failing), Some(Confidence::Likely));
        let split = own().and_server([10, 0, 0, 3], Answer::a(), Answer::none());
        let support = check(&CAUSE, &Facts::lookup_failed("EAI_NONAME", split), Some(Confidence::Likely)).unwrap();
        assert_eq!(support.summary, "nameserver 10.0.0.2 says that there is no name db, but 10.0.0.3 knows it");
        check(&CAUSE, &Facts::lookup_failed("EAI_AGAIN", own()), Some(Confidence::Likely));
        let unasked = Own::of(Answer::Silent, Answer::Silent);
        check(&CAUSE, &Facts::lookup_failed("EAI_NONAME", unasked), Some(Confidence::Likely));
    }

    #[test]
    fn not_the_look_alikes() {
        check_none(&CAUSE, &Facts::healthy());
        for answer in [Answer::ServFail, Answer::Silent, Answer::PortClosed, Answer::none()] {
            check_none(&CAUSE, &Facts::lookup_failed("EAI_AGAIN", Own::of(answer.clone(), answer)));
        }
    }

    #[test]
    fn names_the_end_of_an_alias() {
        let dangling = Answer::NxDomain { aliases: vec!["x.test".to_owned()] };
        let facts = Facts::lookup_failed("EAI_NONAME", Own::of(dangling.clone(), dangling));
        let support = check(&CAUSE, &facts, Some(Confidence::Certain)).unwrap();
        assert_eq!(support.summary, "db is an alias of x.test, which does not exist");
    }
}
