//! As many clients are connected as Redis allows.

use crate::cause::{Case, Cause, local_cli};
use crate::check::ping;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "max-clients",
    title: "Redis accepts no more clients",
    explain: "\
Redis answered '-ERR max number of clients reached' and closed. As many clients are connected as maxclients \
allows (10000 by default, less where ulimit -n is low: 'maxclients has been reduced' in the log), or as a \
provider's plan does. Libraries often report it as a failed AUTH. It comes and goes with the number of clients.

The text is Redis' own, so this is certain.

Repair: find who holds so many (CLIENT LIST, by addr; redis-cli may not get in either until one leaves), mend \
the leak or let clients pool connections, set 'timeout' for idle ones; then raise maxclients together with the \
limit of open files.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::MAX_CLIENTS)?;
    let support = Support::new(
        Confidence::Certain,
        &[&ping::MAX_CLIENTS],
        "as many clients are connected as maxclients allows; the next one gets in when one leaves",
    )
    .on(finding);
    Some(support.not("credentials-rejected", "the connection was refused before any command was looked at"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let cli = local_cli(facts);
    vec![
        Step::look(
            Where::RedisHost,
            format!("{cli} CLIENT LIST | grep -o ' addr=[0-9.]*' | sort | uniq -c | sort -rn | head"),
            "which machines hold how many connections (try again if it does not get in)",
        ),
        Step::tell(
            Where::RedisHost,
            "let those clients pool their connections or close them; 'CLIENT KILL ADDR …' frees one at once; then raise \
             maxclients in redis.conf together with the limit of open files (LimitNOFILE), and restart",
        ),
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
}
