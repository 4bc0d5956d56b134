//! Of several addresses that the name has, one accepts connections and does not serve as the others do.

use std::net::SocketAddr;

use crate::cause::{Case, Cause};
use crate::check::{ping, tls};
use crate::model::{Code, Confidence, Endpoint, Family, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::command::Command;
use crate::probe::path::redis::Dialogue;
use crate::probe::path::tls::Hello;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "addresses-differ",
    title: "one of the addresses of the name does not answer as the others do",
    explain: "\
The name has several addresses that all accept connections. TLS or PING succeeds at the one that was taken, and not at another: an \
expired certificate, another password, a server that hangs or asks for a client's certificate. Clients take one or the other, so that \
it works one time and not the next.

That they differ is sure. Why, is told by a check of the other address alone.

Repair: check that address alone, mend what is found there, or take it out of the name until then.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let differing = differing(case.facts);
    let first = *differing.first()?;
    let codes: [&'static Code; 2] = [&tls::DIFFERS, &ping::DIFFERS];
    let finding = codes.into_iter().find_map(|code| case.raised(code))?;
    let which: Vec<String> = differing.iter().map(ToString::to_string).collect();
    let summary = format!("{} accepts connections, and does not answer as the one that was taken", which.join(", "));
    let support = Support::new(Confidence::Possible, &case.all_raised(&codes), summary).on(finding);
    Some(support.settled_by(alone(case.facts, first)))
}

/// The addresses that do not do what the preferred one does, where that is well.
fn differing(facts: &Facts) -> Vec<SocketAddr> {
    let hellos = facts.tls.seen().map_or(&[][..], |tls| &tls.hellos);
    let of_tls = hellos.iter().filter(|hello| hellos.first().is_some_and(Hello::is_done) && !hello.is_done());
    let dialogues = facts.redis.seen().map_or(&[][..], |redis| &redis.dialogues);
    let pong = |dialogue: &Dialogue| dialogue.reply(Command::Ping).is_some_and(|reply| reply.error().is_none());
    let of_ping = dialogues.iter().filter(|dialogue| dialogues.first().is_some_and(pong) && !pong(dialogue));
    let all = of_tls.map(|hello| &hello.address).chain(of_ping.map(|dialogue| &dialogue.address));
    all.filter_map(|address| address.parse().ok()).collect()
}

/// The check of one address, by the name that the certificate is for.
fn alone(facts: &Facts, at: SocketAddr) -> Step {
    let mut target = facts.ask.target.clone();
    target.sni = target.server_name().filter(|_| target.tls).map(str::to_owned);
    target.endpoint = Endpoint::Tcp { host: at.ip().to_string(), port: at.port() };
    target.family = Family::Any;
    Step::look(Where::Here, target.check_command(), "says what is wrong with that address alone")
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let name = facts.ask.target.host().unwrap_or("the name");
    let differing = differing(facts);
    let which: Vec<String> = differing.iter().map(|at| at.ip().to_string()).collect();
    let text = format!(
        "mend what is found there, or take {} out of {name} until then: its DNS record, line in /etc/hosts, or endpoint",
        which.join(", ")
    );
    let looks = differing.iter().map(|at| alone(facts, *at));
    looks.chain([Step::tell(Where::Network, text)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::redis::End;
    use crate::probe::path::tls::Ended;

    fn two(first: Ended, second: Ended) -> Facts {
        Facts::encrypted().hello(|hello| hello.end = first).with(|facts| {
            let Observed::Seen(tls) = &mut facts.tls else { return };
            tls.hellos.push(Hello { end: second, ..Hello::healthy("10.0.0.10:6379") });
        })
    }

    #[test]
    fn one_that_fails_beside_one_that_serves() {
        let facts = two(Ended::Done, Ended::Untrusted);
        check_cause(&CAUSE, &facts, Some(Confidence::Possible));
        let command = "redisdoc check -h 10.0.0.10 -p 6379 --tls --sni db";
        assert!(matches!(&remedy(&facts)[0], Step::Look { command: look, .. } if look == command));
        check_cause(&CAUSE, &two(Ended::Done, Ended::Done), None);
        // What is wrong with the first is told by another.
        check_cause(&CAUSE, &two(Ended::NotTls, Ended::Done), None);
    }

    #[test]
    fn one_that_is_silent_beside_one_that_pongs() {
        let silent = Facts::healthy().speechless(End::Silent).redis.seen().unwrap().dialogues[0].clone();
        let beside = Facts::healthy().with(|facts| {
            let Observed::Seen(redis) = &mut facts.redis else { return };
            redis.dialogues.push(Dialogue { address: "10.0.0.10:6379".to_owned(), ..silent });
        });
        check_cause(&CAUSE, &beside, Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
