//! `db-out-of-range`: the database that is asked for does not exist.

use crate::cause::auth::from;
use crate::cause::{Case, Cause, check_again, dialogue, redis_host};
use crate::check::auth::{DB_OUT_OF_RANGE, SELECT_ERROR};
use crate::model::target::Part;
use crate::model::{Confidence, Step, Support, Target, Where};
use crate::probe::Facts;
use crate::probe::path::redis::Dialogue;
use crate::probe::path::reply::{Command, ErrorKind, Reply};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "db-out-of-range",
    title: "the database does not exist on this server",
    explain: "\
The client selects a database that the server does not have: an index at or above 'databases' (16 unless configured), or \
any but 0 in a cluster and on many managed services and proxies.

How it looks: ERR DB index is out of range (up to 3.2: ERR invalid DB index); in a cluster ERR SELECT is not allowed in \
cluster mode, since Valkey 9 the former text there too (cluster-databases). Connecting and authenticating succeeded; \
libraries call it unable to connect all the same.

How to be sure: it is sure when the text is one of these. Another error to SELECT means a server or proxy with one \
database only, or a renamed SELECT.

How to repair: use database 0 and tell applications apart by key prefixes or by servers of their own; on a single server \
of your own, raise 'databases' in redis.conf and restart it.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let out_of_range = case.raised(&DB_OUT_OF_RANGE);
    let finding = out_of_range.or_else(|| case.raised(&SELECT_ERROR))?;
    let target = &case.facts.ask.target;
    let (db, by) = (target.db, from(target, Part::Db));
    let cluster = dialogue(case.facts).is_some_and(is_cluster);
    let (confidence, why) = match (out_of_range, cluster) {
        (Some(_), true) => (Confidence::Certain, "does not exist: this is a cluster, which has database 0 only"),
        (Some(_), false) => (Confidence::Certain, "does not exist: the server has fewer"),
        (None, _) => (Confidence::Likely, "cannot be selected: what answers has one database only, or no SELECT"),
    };
    let support = Support::new(confidence, &[finding.code], format!("database {db}{by} {why}")).on(finding);
    let support = support.not("acl-denies-command", "the answer to SELECT is not NOPERM");
    Some(match confidence {
        Confidence::Certain => support,
        _ => support.settled_by(Step::look(
            redis_host(case.facts),
            "grep -n rename-command /etc/redis/redis.conf",
            "whether SELECT was renamed; the file's place differs between systems",
        )),
    })
}

fn is_cluster(dialogue: &Dialogue) -> bool {
    let select = dialogue.reply(Command::Select).and_then(Reply::error);
    let hello = matches!(dialogue.reply(Command::Hello), Some(Reply::Hello(hello)) if hello.mode == "cluster");
    hello || select.is_some_and(|error| error.kind == ErrorKind::SelectInCluster)
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let target = &facts.ask.target;
    let mut steps =
        vec![Step::tell(Where::Here, format!("use database 0 instead of {}{}", target.db, from(target, Part::Db)))];
    let dialogue = dialogue(facts);
    let select = dialogue.and_then(|dialogue| dialogue.reply(Command::Select)).and_then(Reply::error);
    if !dialogue.is_some_and(is_cluster) && select.is_some_and(|error| error.kind == ErrorKind::DbOutOfRange) {
        let need = target.db.saturating_add(1);
        let text = format!("or, if the server is yours: 'databases {need}' or more in its redis.conf, and restart it");
        steps.push(Step::tell(redis_host(facts), text));
    }
    steps.push(check_again(&Target { db: 0, ..target.clone() }));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};

    fn selecting(text: &str) -> Facts {
        Facts::healthy().with(|facts| facts.ask.target.db = 99).erring(Command::Select, text)
    }

    #[test]
    fn is_certain_in_every_wording() {
        for text in
            ["ERR invalid DB index", "ERR DB index is out of range", "ERR SELECT is not allowed in cluster mode"]
        {
            check_cause(&CAUSE, &selecting(text), Some(Confidence::Certain));
        }
        check_cause(&CAUSE, &selecting("ERR unknown command 'SELECT',"), Some(Confidence::Likely));
        check_cause(&CAUSE, &selecting("ERR only database 0 is supported"), Some(Confidence::Likely));
        check_cause(&CAUSE, &selecting("NOPERM User app has no permissions to run the 'select' command"), None);
        check_cause(&CAUSE, &selecting("LOADING Redis is loading the dataset in memory"), None);
    }

    #[test]
    fn a_cluster_is_not_told_to_have_more() {
        let steps = |text| diagnose(&selecting(text)).causes[0].remedy.len();
        assert_eq!(steps("ERR SELECT is not allowed in cluster mode"), 2);
        assert_eq!(steps("ERR DB index is out of range"), 3);
        let diagnosis = diagnose(&selecting("ERR DB index is out of range"));
        let last = diagnosis.causes[0].remedy.last().unwrap();
        assert!(matches!(last, Step::Run { command, .. } if command == "redisdoc check -h db -p 6379"), "{last:?}");
    }
}
