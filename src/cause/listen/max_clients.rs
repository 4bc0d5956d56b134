//! As many clients are connected as Redis allows.

use crate::cause::{Case, Cause, local_cli, redis_host};
use crate::check::{limits, ping, tls};
use crate::model::{Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::instance::Known;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "max-clients",
    title: "Redis accepts no more clients",
    explain: "\
Redis answered '-ERR max number of clients reached' and closed. As many clients are connected as maxclients \
allows (10000 by default, less where ulimit -n is low: 'maxclients has been reduced' in the log), or as a \
provider's plan does. Libraries often report it as a failed AUTH. It comes and goes with the number of clients.

The text is Redis' own, so this is certain. On a TLS port Redis cannot say it, for no handshake was made: it drops the \
connection, which then looks like any other that is closed during the handshake, and this is one of the candidates.

Repair: find who holds so many (CLIENT LIST, by addr; redis-cli may not get in either until one leaves), mend \
the leak or let clients pool connections, set 'timeout' for idle ones; then raise maxclients together with the \
limit of open files.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let Some(finding) = case.raised(&ping::MAX_CLIENTS) else { return unsaid(case) };
    let summary = "as many clients are connected as maxclients allows; the next one gets in when one leaves";
    let mut support = Support::new(Confidence::Certain, &[&ping::MAX_CLIENTS], summary).on(finding);
    if let Some((most, known)) = wanted(case.facts) {
        support = support.because(known.source, format!("maxclients {most}"));
    }
    if let Some((pid, open, limit)) = descriptors(case.facts) {
        let says = format!("pid {pid} has {open} files open and may open {limit}");
        support = support.because(format!("/proc/{pid}/fd"), says.clone()).not("server-fds-exhausted", says);
    }
    Some(support.not("credentials-rejected", "the connection was refused before any command was looked at"))
}

/// A port with TLS hangs up without a word, whoever it is asked by.
fn unsaid(case: &Case) -> Option<Support> {
    let finding = case.raised(&tls::CLOSED)?;
    let plain = case.facts.counter.seen()?.plain.as_ref()?;
    (!plain.said_something() && plain.has_ended()).then_some(())?;
    let summary = "the server may have as many clients as it allows: over TLS it cannot say so, and hangs up";
    let cli = local_cli(case.facts);
    let tells = "connected_clients near maxclients: this is it (try again if it does not get in)";
    let look = Step::look(redis_host(case.facts), format!("{cli} INFO clients"), tells);
    Some(Support::new(Confidence::Possible, &[&tls::CLOSED], summary).on(finding).settled_by(look))
}

/// `maxclients`, as the server was told at its start.
fn wanted(facts: &Facts) -> Option<(u64, Known)> {
    limits::wanted(&facts.instance()?)
}

fn descriptors(facts: &Facts) -> Option<(u32, u64, u64)> {
    let instance = facts.instance()?;
    let (open, limit) = instance.descriptors()?;
    Some((instance.process?.pid, open, limit))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let (cli, on) = (local_cli(facts), redis_host(facts));
    let look = Step::look(
        on.clone(),
        format!("{cli} CLIENT LIST | grep -o ' addr=[0-9.]*' | sort | uniq -c | sort -rn | head"),
        "which machines hold how many connections (try again if it does not get in)",
    );
    let Some((most, known)) = wanted(facts) else {
        let text = "let those clients pool their connections or close them; 'CLIENT KILL ADDR …' frees one at once; then \
                    raise maxclients in redis.conf together with the limit of open files (LimitNOFILE), and restart";
        return vec![look, Step::tell(on, text)];
    };
    let more = most.saturating_mul(2);
    let tries =
        format!("for try in $(seq 60); do {cli} CONFIG SET maxclients {more} | grep OK && break; sleep 1; done");
    let keep = match known.line {
        Some((file, number, from)) => {
            let to = format!("maxclients {more}");
            let text = "keep that for its next start".to_owned();
            Step::Edit { text, file, line: Some(number), from, to, on: on.clone(), risk: Risk::Safe }
        }
        None => Step::tell(on.clone(), format!("keep that with 'maxclients {more}' in redis.conf")),
    };
    let text = "let the clients that hold so many pool their connections or close them, and set 'timeout' for idle ones; \
                see that LimitNOFILE is maxclients + 32 at least";
    vec![
        look,
        Step::run(on.clone(), Risk::Safe, format!("as soon as one leaves, let {more} clients in"), tries),
        keep,
        Step::tell(on, text),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    #[test]
    fn the_text_is_certain() {
        let facts = Facts::healthy().refused_with("ERR max number of clients reached");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn over_tls_it_is_only_a_candidate() {
        use crate::model::Observed;
        use crate::probe::path::counter::Counter;
        use crate::probe::path::redis::{Dialogue, End};
        use crate::probe::path::tls::Ended;
        let closed = |bytes| {
            Facts::encrypted().hello(|hello| hello.end = Ended::Closed).with(|facts| {
                let mut plain = Dialogue::healthy("10.0.0.9:6379").first;
                (plain.bytes, plain.end) = (bytes, End::Closed);
                facts.counter = Observed::Seen(Counter { plain: Some(plain), ..Counter::default() });
            })
        };
        check_cause(&CAUSE, &closed(0), Some(Confidence::Possible));
        check_cause(&CAUSE, &closed(7), None);
    }

    #[test]
    fn on_its_own_machine_the_repair_names_number_and_line() {
        let facts = Facts::at_home().refused_with("ERR max number of clients reached").conf("maxclients 50");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        let steps = remedy(&facts);
        assert!(matches!(&steps[1], Step::Run { command, .. } if command.contains("CONFIG SET maxclients 100")));
        assert!(matches!(&steps[2], Step::Edit { line: Some(2300), from, to, .. }
            if from == "maxclients 50" && to == "maxclients 100"));
    }
}
