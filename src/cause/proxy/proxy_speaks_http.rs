//! The proxy before Redis speaks HTTP, and what Redis speaks is none.

use super::front::{Front, met};
use super::proxy_backend_down::may_be_led_elsewhere;
use crate::cause::{Case, Cause, dialogue, redis_host};
use crate::check::{ping, process};
use crate::model::text::shell_quote;
use crate::model::{Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::forward::Backend;
use crate::probe::path::stranger::Protocol;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "proxy-speaks-http",
    title: "the proxy before Redis speaks HTTP",
    explain: "\
The port is that of a proxy whose place is a Redis, and the proxy takes what comes for HTTP: HAProxy with 'mode http', most often \
that of its 'defaults', which the packaged configuration has. It answers PING with '400 Bad request' itself, and nothing of it \
comes to Redis, though that is well.

How to be sure: on the proxy's machine its configuration says 'mode http' for all the sections on the way, and Redis answers where \
it leads. Where the mode is not seen, it is likely.

How to repair: 'mode tcp' in each section on the way ('listen', or 'frontend' and 'backend'), and reload the proxy. What else goes \
through these sections is no HTTP from then on.",
    infer,
    remedy,
};

/// The proxy that has the port, where its words are those of HTTP, and what answers PING is behind it.
fn front(facts: &Facts) -> Option<Front<'_>> {
    let protocol = dialogue(facts)?.stranger()?.protocol;
    [Protocol::Http, Protocol::Http2].contains(&protocol).then_some(())?;
    let front = Front::of(facts, facts.server_host().ok()?, facts.ask.target.port()?)?;
    // A file that is understood, and says 'mode tcp' or nothing, is of no proxy that speaks HTTP: what is behind it does.
    let may_be = !is_whole(&front) || front.behind.iter().any(|backend| backend.http.is_some());
    let pongs = front.behind.iter().any(|backend| backend.pongs());
    (may_be && pongs && front.passed_by(facts).is_none()).then_some(front)
}

/// True if its configuration is all understood.
fn is_whole(front: &Front) -> bool {
    front.is_alone && front.forwards.iter().all(|it| it.whole && it.settable_by.is_none())
}

/// True where it is this, and no service that has nothing to do with Redis.
pub fn is_met(facts: &Facts) -> bool {
    front(facts).is_some()
}

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::NOT_REDIS)?;
    let (host, front) = (case.host()?, front(case.facts)?);
    // What leads to other places, too, may be meant for the web.
    let says_so = front.behind.iter().all(|backend| backend.http.is_some() && backend.pongs());
    let is_here = !case.facts.has_old_host() && !may_be_led_elsewhere(case);
    let sure = if is_whole(&front) && says_so && is_here { Confidence::Certain } else { Confidence::Likely };
    let takes: Vec<&str> = front.behind.iter().filter(|it| it.pongs()).map(|it| it.place.as_str()).collect();
    let summary = format!("{} speaks HTTP there, and leads to {}, where Redis answers", front.who(), takes.join(", "));
    let support = Support::new(sure, &[&ping::NOT_REDIS, &process::STRANGER], summary).on(finding);
    let support = front.behind.iter().fold(support, |support, backend| {
        support.because(host.source(backend.said_by.as_str()), format!("it leads to {}", met(backend)))
    });
    let support = front.shown_in(support, host);
    let support = support.not("not-redis", "what the proxy leads to is a Redis");
    if sure == Confidence::Certain {
        return Some(support);
    }
    let file = front.forwards.iter().find_map(|forward| forward.file.as_deref()).map(shell_quote);
    let command = file.map_or_else(
        || format!("ps -o args= -p {}", front.proxies[0].pid),
        |file| format!("sudo grep -nE 'mode|listen|frontend|backend|defaults|bind' {file}"),
    );
    Some(support.settled_by(Step::look(redis_host(case.facts), command, "'mode http' for that port: this is it")))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let (on, Some(front)) = (redis_host(facts), front(facts)) else { return Vec::new() };
    let file = front.forwards.iter().find_map(|forward| forward.file.as_deref()).unwrap_or("its configuration");
    let mut lines: Vec<usize> =
        front.behind.iter().filter_map(|backend| backend.http.as_ref()).flatten().copied().collect();
    lines.sort_unstable();
    lines.dedup();
    let is_all = front.forwards.len() == 1 && front.behind.iter().all(|it| it.pongs() && says_itself(it));
    let edit = |line: &usize| Step::Edit {
        text: "pass on what comes as it is".to_owned(),
        file: file.to_owned(),
        line: u32::try_from(*line).ok(),
        from: "mode http".to_owned(),
        to: "    mode tcp".to_owned(),
        on: on.clone(),
        risk: Risk::Restarts,
    };
    let mut steps: Vec<Step> = lines.iter().filter(|_| is_all).map(edit).collect();
    if steps.is_empty() {
        let text = format!(
            "write 'mode tcp' into each section on the way to Redis ('listen', or 'frontend' and 'backend') in {file}, in the \
             place of 'mode http', or of that of the 'defaults'; what is HTTP goes through other sections from then on, for one \
             frontend in another mode than its backend, and HAProxy does not start. 'haproxy -c -f' says whether it would"
        );
        steps.push(Step::tell(on.clone(), text));
    }
    let unit = front.proxies[0].unit.as_deref().map(shell_quote);
    let how = unit.map_or_else(String::new, |unit| format!(": sudo systemctl reload {unit}"));
    steps.push(Step::tell(on, format!("reload {}{how}", front.who())));
    steps
}

/// True if all that makes the way one of HTTP are lines of its own sections.
fn says_itself(backend: &Backend) -> bool {
    backend.http.as_ref().is_some_and(|lines| !lines.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::{check_cause, diagnose};
    use crate::model::Observed;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::forward::{Forward, Met};
    use crate::probe::path::redis::{Alien, End};
    use crate::probe::path::stranger::Stranger;
    use crate::probe::path::tcp::Attempt;

    fn proxied(bytes: &str, ping: Option<&str>, http: Option<Vec<usize>>) -> Facts {
        let met = Met { attempt: Attempt::connected([127, 0, 0, 1].into()), ping: ping.map(str::to_owned) };
        let backend = Backend {
            port: Some(6379),
            at: None,
            place: "127.0.0.1:6380".to_owned(),
            said_by: "/etc/haproxy/haproxy.cfg:6".to_owned(),
            wants_header: false,
            http,
            met: Observed::Seen(met),
        };
        let facts = Facts::at_home().speechless(End::Alien).with(|facts| {
            let first = &mut seen(&mut facts.redis).dialogues[0].first;
            first.stranger = Stranger::of(bytes.as_bytes(), b"", None);
            first.alien = Some(Alien { head: bytes.to_owned(), before_we_spoke: false });
        });
        facts.host(|host| {
            let processes = seen(&mut host.processes);
            let mut proxy = processes.servers.remove(0);
            proxy.name = "haproxy".to_owned();
            let file = Some("/etc/haproxy/haproxy.cfg".to_owned());
            let (pid, backends) = (proxy.pid, vec![backend]);
            host.forwards = vec![Forward { pid, file, backends, whole: true, ..Forward::default() }];
            processes.strangers.push(proxy);
        })
    }

    const BAD: &str = "HTTP/1.1 400 Bad request\r\n";

    #[test]
    fn a_redis_behind_a_proxy_of_http_is_another_fault_than_a_web_server() {
        let facts = proxied(BAD, Some("PONG"), Some(vec![4]));
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        let causes = diagnose(&facts).causes;
        assert_eq!(causes.iter().map(|cause| cause.id).collect::<Vec<_>>(), [CAUSE.id]);
        let first = &causes[0].remedy[0];
        assert!(matches!(first, Step::Edit { line: Some(4), from, .. } if from == "mode http"), "{first:?}");
        let usual = proxied(BAD, Some("PONG"), Some(Vec::new()));
        check_cause(&CAUSE, &usual, Some(Confidence::Certain));
        let part = proxied(BAD, Some("PONG"), None).host(|host| host.forwards[0].whole = false);
        check_cause(&CAUSE, &part, Some(Confidence::Likely));
        for facts in [usual, part] {
            assert!(matches!(&remedy(&facts)[0], Step::Tell { text, .. } if text.contains("mode tcp")));
        }
        // It leads to the web, too.
        let both = proxied(BAD, Some("PONG"), Some(vec![4])).host(|host| {
            let mut web = host.forwards[0].backends[0].clone();
            web.met = Observed::Seen(Met { attempt: Attempt::connected([127, 0, 0, 1].into()), ping: None });
            host.forwards[0].backends.push(web);
        });
        check_cause(&CAUSE, &both, Some(Confidence::Likely));
        let edited = proxied(BAD, Some("PONG"), Some(vec![4])).host(|host| host.forwards[0].whole = false);
        check_cause(&CAUSE, &edited, Some(Confidence::Likely));
    }

    #[test]
    fn a_web_server_stays_one() {
        let check = |facts: Facts| {
            check_cause(&CAUSE, &facts, None);
            assert_eq!(diagnose(&facts).causes[0].id, "not-redis");
        };
        check(proxied(BAD, None, Some(vec![4])));
        // Its file says 'mode tcp', or nothing.
        check(proxied(BAD, Some("PONG"), None));
        check(proxied("SSH-2.0-OpenSSH_9.2p1\r\n", Some("PONG"), Some(vec![4])));
        check(proxied(BAD, Some("PONG"), None).host(|host| host.forwards.clear()));
    }
}
