//! The search list makes several names of one, and each of them is asked for before the one that exists.

use super::{container, lookup, name, own, with_evidence};
use crate::cause::{Case, Cause, check_again};
use crate::check::dns::{SLOW_LOOKUP, TIMEOUT};
use crate::model::{Code, Confidence, Endpoint, Evidence, Family, Risk, Step, Support, Where, escape};
use crate::probe::Facts;
use crate::probe::path::dns::answers::{Answer, Own, Query, Record};
use crate::probe::path::dns::{Dns, System};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "search-list-multiplies",
    title: "the search list makes many lookups of one",
    explain: "A name with fewer dots than 'ndots' is first tried with every suffix of the search list, one after the \
              other, and each time for A and for AAAA; in Kubernetes (ndots:5, three suffixes and those of the node) \
              that makes eight and more queries of one lookup. Where they are slow or lost, every new connection waits \
              for all of them, and musl's resolver (Alpine) gives up at the first that fails, where glibc's goes on. \
              The name with a final dot is asked for as it stands, with one query for each family.",
    infer,
    remedy,
};

/// A name that takes longer than this is slow by itself: its final dot would not mend that.
const PROMPT_MS: f64 = 500.0;
/// How far what we measured of each name may be from what the system took, for all of it to be explained: a fifth, and
/// some milliseconds for each name.
const TOLERANCE: f64 = 0.2;
const TOLERANCE_MS: f64 = 150.0;

/// The names that the system asks for before it comes to the one that exists.
struct Toll<'a> {
    /// The one that exists.
    found: &'a str,
    found_ms: f64,
    /// Those before it.
    wasted: Vec<&'a str>,
    wasted_ms: f64,
    /// How many queries those are.
    queries: usize,
    /// The first of them that gets no answer.
    silent: Option<&'a Query>,
}

impl Toll<'_> {
    fn is_prompt(&self) -> bool {
        self.found_ms < PROMPT_MS
    }
}

fn infer(case: &Case) -> Option<Support> {
    let code: &'static Code = [&SLOW_LOOKUP, &TIMEOUT].into_iter().find(|code| case.raised(code).is_some())?;
    let (dns, own) = lookup(case)?;
    let own = own?;
    let toll = toll(own, case.facts.ask.target.family)?;
    let (confidence, summary) = match toll.silent {
        Some(_) if !toll.is_prompt() => return None,
        Some(query) => waited(dns, own, &toll, query),
        None => delayed(dns, own, &toll)?,
    };
    // The name that exists stands first, beside what is asked before it.
    let found = own.asked().filter(|query| query.name == toll.found);
    let queries = found.chain(own.asked().filter(|query| toll.wasted.contains(&query.name.as_str())));
    let mut support = with_evidence(Support::new(confidence, &[code], summary), dns, queries);
    support.evidence.insert(1, how(own));
    let absolute = escape(toll.found.as_bytes());
    support = support.not("resolver-unreachable", format!("nameservers answer for {absolute}"));
    if toll.is_prompt() {
        support = support.not("aaaa-lookup-slow", format!("{absolute} is answered at once, whatever is asked for"));
    }
    let tells = "an address sooner: the other names that the search list makes are what takes the time";
    let settle = Step::look(Where::Here, look_command(toll.found), tells);
    Some(if confidence == Confidence::Certain { support } else { support.settled_by(settle) })
}

/// Every name is answered, and together they take what the system took.
fn delayed(dns: &Dns, own: &Own, toll: &Toll) -> Option<(Confidence, String)> {
    let System::Addresses(_) = dns.system else { return None };
    let (name, found) = (escape(dns.name.as_bytes()), escape(toll.found.as_bytes()));
    let sum = toll.wasted_ms + toll.found_ms;
    let near = (sum - dns.elapsed_ms).abs() <= dns.elapsed_ms * TOLERANCE + TOLERANCE_MS;
    let (all, queries) = (toll.wasted.len() + own.untried + 1, toll.queries);
    let summary = format!(
        "the search list makes {all} names of {name}: {queries} queries and {:.1} s before {found}, which alone takes {:.1} s",
        toll.wasted_ms / 1000.0,
        toll.found_ms / 1000.0
    );
    if near && toll.wasted_ms > dns.elapsed_ms / 2.0 && own.untried == 0 {
        // A nameserver that is slow about everything stays so: the list only makes it worse.
        return Some((if toll.is_prompt() { Confidence::Certain } else { Confidence::Likely }, summary));
    }
    if !toll.is_prompt() {
        return None;
    }
    // What was slow for the system, a cache may answer us at once: then only the number of queries speaks.
    let summary = format!(
        "the search list makes {all} names of {name}: {queries} queries before {found}, which alone takes {:.1} ms",
        toll.found_ms
    );
    (toll.wasted.len() > 1).then_some((Confidence::Possible, summary))
}

/// One of the names gets no answer: the system waits for it, and asks again, before it goes on (glibc 2.36, measured).
fn waited(dns: &Dns, own: &Own, toll: &Toll, query: &Query) -> (Confidence, String) {
    let (name, found) = (escape(query.name.as_bytes()), escape(toll.found.as_bytes()));
    let summary = format!(
        "the search list makes {name} of {}, and the system waits in vain for an answer about it before it comes to \
         {found}, which alone takes {:.1} ms",
        escape(dns.name.as_bytes()),
        toll.found_ms
    );
    let mut all = own.asked().filter(|other| other.name == query.name);
    // A datagram may be lost: silent is what was asked for in vain for each family, and waited for.
    let sure =
        dns.elapsed_ms >= f64::from(own.config.timeout_s) * 950.0 && all.all(|query| query.answer == Answer::Silent);
    (if sure { Confidence::Certain } else { Confidence::Likely }, summary)
}

/// What the system asks for before the name that exists, if it is not the first.
fn toll(own: &Own, family: Family) -> Option<Toll<'_>> {
    let has = |name: &str| {
        let of = |query: &&Query| query.name == name && matches!(query.answer, Answer::Addresses { .. });
        own.settled().into_iter().any(|query| of(&query))
    };
    let names = own.names();
    let at = names.iter().position(|name| has(name))?;
    let (wasted, found) = (names[..at].to_vec(), names[at]);
    let first = wasted.first()?;
    // One family of that very name that gets no answer is another cause, too: see aaaa-lookup-slow.
    let questions = || own.settled().into_iter().filter(|query| family_asks(family, query.record));
    questions().filter(|query| query.name == found).all(|query| query.answer.is_answer()).then_some(())?;
    // A nameserver that is silent about everything is another cause: see resolver-unreachable.
    let server = own.asked().find(|query| query.name == *first)?.server;
    own.asked().any(|query| query.server == server && query.answer.is_answer()).then_some(())?;
    let cost =
        |name: &str| questions().filter(|query| query.name == name).map(|query| query.elapsed_ms).fold(0.0, f64::max);
    let before = |query: &&Query| wasted.contains(&query.name.as_str());
    Some(Toll {
        found,
        found_ms: cost(found),
        wasted_ms: wasted.iter().map(|name| cost(name)).sum(),
        queries: questions().filter(before).count(),
        silent: questions().filter(before).find(|query| query.answer == Answer::Silent),
        wasted,
    })
}

fn family_asks(family: Family, record: Record) -> bool {
    match family {
        Family::Any => true,
        Family::V4 => record == Record::A,
        Family::V6 => record == Record::Aaaa,
    }
}

/// The search list and the number of dots.
fn how(own: &Own) -> Evidence {
    let search = escape(own.config.search.join(" ").as_bytes());
    Evidence::new("/etc/resolv.conf", format!("search {search}; ndots:{}", own.config.ndots))
}

fn look_command(name: &str) -> String {
    format!("getent ahosts {}", crate::model::text::shell_quote(&format!("{name}.")))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some(toll) = own(facts).and_then(|own| toll(own, facts.ask.target.family)) else { return Vec::new() };
    let absolute = format!("{}.", toll.found);
    let shown = escape(absolute.as_bytes());
    let mut steps = vec![Step::tell(
        Where::Here,
        format!("give the application the name with its final dot, {shown}: it is asked for as it stands"),
    )];
    steps.extend(fewer_dots(facts, toll.found));
    let mut target = facts.ask.target.clone();
    if let Endpoint::Tcp { host, .. } = &mut target.endpoint {
        *host = absolute;
    }
    steps.push(check_again(&target));
    steps
}

/// The other way: a name with dots is asked for as it stands first.
fn fewer_dots(facts: &Facts, found: &str) -> Option<Step> {
    let dots = found.matches('.').count();
    if container(facts) == Some("kubernetes") {
        return Some(Step::tell(
            Where::Cluster,
            format!(
                "or let the pod try names with dots as they stand first: in its spec, dnsConfig: {{options: [{{name: ndots, value: \"{}\"}}]}}",
                dots.clamp(1, 2)
            ),
        ));
    }
    (found == name(facts) && dots > 0).then(|| Step::Edit {
        text: "or let this machine try names with dots as they stand first (NetworkManager, netplan, DHCP clients and \
               container runtimes write this file anew: change it there)"
            .to_owned(),
        file: "/etc/resolv.conf".to_owned(),
        line: None,
        from: String::new(),
        to: "options ndots:1".to_owned(),
        on: Where::Here,
        risk: Risk::Safe,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::dns::tests::{check, check_none, slow};
    use crate::model::Observed;

    /// `db` is asked for with two suffixes first: each of them is answered so, after so long.
    fn own(answer: &Answer, elapsed_ms: f64) -> Own {
        let mut own = Own::of(Answer::a(), Answer::none());
        own.config.search = vec!["a.test".to_owned(), "b.test".to_owned()];
        own.config.ndots = 5;
        let last: Vec<Query> = own.queries.drain(..).collect();
        for suffix in &own.config.search {
            let of = |query: &Query| Query {
                name: format!("db.{suffix}"),
                answer: answer.clone(),
                elapsed_ms,
                ..query.clone()
            };
            own.queries.extend(last.iter().map(of));
        }
        own.queries.extend(last);
        own
    }

    #[test]
    fn certain_where_the_names_before_take_the_time() {
        let support = check(&CAUSE, &slow(1200.0, own(&Answer::nx(), 600.0)), Some(Confidence::Certain)).unwrap();
        let summary = "the search list makes 3 names of db: 4 queries and 1.2 s before db, which alone takes 0.0 s";
        assert_eq!(support.summary, summary);
        assert_eq!(support.evidence[1].says, "search a.test b.test; ndots:5");
        // What a cache answers us at once proves nothing.
        check(&CAUSE, &slow(1200.0, own(&Answer::nx(), 0.4)), Some(Confidence::Possible));
        // The name itself is slow, too: its final dot mends a part.
        let mut slow_itself = own(&Answer::nx(), 600.0);
        slow_itself.queries[4].elapsed_ms = 600.0;
        check(&CAUSE, &slow(1800.0, slow_itself), Some(Confidence::Likely));
        let untried = own(&Answer::nx(), 600.0);
        check(&CAUSE, &slow(1200.0, Own { untried: 3, ..untried }), Some(Confidence::Possible));
    }

    #[test]
    fn certain_where_the_system_waits_for_a_name_in_vain() {
        check(&CAUSE, &slow(10_020.0, own(&Answer::Silent, 3000.0)), Some(Confidence::Certain));
        check(&CAUSE, &slow(2000.0, own(&Answer::Silent, 3000.0)), Some(Confidence::Likely));
        let mut lossy = own(&Answer::Silent, 3000.0);
        lossy.queries[1].answer = Answer::nx();
        check(&CAUSE, &slow(10_020.0, lossy), Some(Confidence::Likely));
    }

    #[test]
    fn not_the_look_alikes() {
        check_none(&CAUSE, &Facts::healthy());
        // One name, or the first of them exists.
        check_none(&CAUSE, &slow(5004.0, Own::of(Answer::a(), Answer::Silent)));
        // The first nameserver is dead, whatever it is asked for.
        let mut dead = own(&Answer::Silent, 3000.0);
        dead.queries.iter_mut().for_each(|query| query.answer = Answer::Silent);
        check_none(&CAUSE, &slow(5004.0, dead));
        // One family of the name itself is dropped.
        let mut six = own(&Answer::nx(), 0.4);
        six.queries[5].answer = Answer::Silent;
        check_none(&CAUSE, &slow(5004.0, six));
    }

    #[test]
    fn the_final_dot_is_tried_and_kubernetes_has_its_own_way() {
        let facts = slow(1200.0, own(&Answer::nx(), 600.0));
        let is_check =
            |step: &Step| matches!(step, Step::Run { command, .. } if command == "redisdoc check -h db. -p 6379");
        assert!(remedy(&facts).last().is_some_and(is_check));
        let pod = facts.with(|facts| {
            let Observed::Seen(vantage) = &mut facts.vantage else { return };
            vantage.container = Some("kubernetes".to_owned());
        });
        assert!(remedy(&pod).iter().any(|step| matches!(step, Step::Tell { on: Where::Cluster, .. })));
    }
}
