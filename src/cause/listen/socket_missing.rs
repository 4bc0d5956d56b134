//! There is nothing at the path of the unix socket.

use crate::cause::{Case, Cause, check_again, repair};
use crate::check::{process, tcp};
use crate::model::{Confidence, Endpoint, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::process::Process;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "socket-missing",
    title: "Redis has no unix socket at that path",
    explain: "\
connect(2) failed with ENOENT, or what stands at the path is no socket. Redis opens a unix socket only if redis.conf says \
'unixsocket PATH' (most distributions leave it out), and removes it when it stops; /run is emptied at every boot. In a \
container the path exists only if the folder is mounted there.

From the client's side a path that is wrong and a server that is not running look the same; 'redis-cli CONFIG GET \
unixsocket' over TCP, or 'ss -lx', tells.

Repair: use the path that Redis really has, or set 'unixsocket' and 'unixsocketperm 770' in redis.conf and restart.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let Endpoint::Unix { path } = &case.facts.ask.target.endpoint else { return None };
    if let Some(support) = elsewhere(case, path) {
        return Some(support);
    }
    let no_socket = case.raised(&tcp::NOT_A_SOCKET).is_some();
    let code = if no_socket { &tcp::NOT_A_SOCKET } else { &tcp::SOCKET_MISSING };
    let attempt = *case.attempts(code).first()?;
    let confidence = if no_socket { Confidence::Certain } else { Confidence::Likely };
    let support =
        Support::new(confidence, &[code], summary(case.facts, path, no_socket)).because("connect(2)", attempt.says());
    Some(if no_socket {
        support
    } else {
        support.settled_by(Step::look(
            Where::Here,
            "ss -lx",
            "shows the paths of the unix sockets that are listened on",
        ))
    })
}

/// A server runs on this machine, and has no socket at the path.
fn elsewhere(case: &Case, path: &str) -> Option<Support> {
    let finding = case.raised(&process::ELSEWHERE)?;
    let server = server(case.facts)?;
    let codes = case.all_raised(&[&tcp::SOCKET_MISSING, &tcp::NOT_A_SOCKET, &tcp::REFUSED, &process::ELSEWHERE]);
    let summary = match server.listens_unix.as_slice() {
        [] => format!("{} runs and has no unix socket", process::who(server)),
        sockets => format!("{} has its socket at {}, not at {path}", process::who(server), sockets.join(", ")),
    };
    let support = Support::new(Confidence::Certain, &codes, summary).on(finding);
    Some(support.not("not-running", format!("{} runs", process::who(server))))
}

/// The only server of this machine, if its listeners could be seen, and no other is meant to be at that path.
fn server(facts: &Facts) -> Option<&Process> {
    let host = facts.server_host().ok()?;
    let mut living = host.living();
    let server = living.next().filter(|_| living.next().is_none() && host.rivals(facts).is_empty())?;
    (!server.listens.is_empty() || !server.listens_unix.is_empty()).then_some(server)
}

fn summary(facts: &Facts, path: &str, no_socket: bool) -> String {
    if no_socket {
        return format!("{path} is not a unix stream socket");
    }
    let parts = facts.vantage.seen().and_then(|vantage| vantage.socket_path.seen());
    let missing = parts.and_then(|parts| parts.iter().find(|part| part.meta.is_none()));
    match missing {
        Some(part) if part.path != path => format!("the folder {} does not exist", part.path),
        _ => format!("there is nothing at {path}: the path is wrong, or the server has no socket or is not running"),
    }
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let set = "set 'unixsocket' and 'unixsocketperm 770' in redis.conf and restart Redis";
    if let Some(edited) = facts.edited() {
        return vec![repair::reread(facts, edited)];
    }
    if let Some(server) = server(facts) {
        let Some(path) = server.listens_unix.first() else {
            let text = format!("let the application use host and port; or {set}");
            return vec![Step::tell(Where::Here, text)];
        };
        let mut target = facts.ask.target.clone();
        target.endpoint = Endpoint::Unix { path: path.clone() };
        let text = format!("name {path} in the application's settings; or {set}");
        return vec![Step::tell(Where::Here, text), check_again(&target)];
    }
    vec![
        Step::look(
            Where::Here,
            "redis-cli CONFIG GET unixsocket",
            "over TCP: the path of the socket; empty if it has none",
        ),
        Step::tell(Where::Here, format!("use that path; or {set}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::tcp::Outcome;

    #[test]
    fn a_server_with_another_socket_makes_it_certain() {
        let facts = Facts::at_home().on_socket(Outcome::Missing, "ENOENT");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        let other = facts.process(|process| process.listens_unix = vec!["/run/redis/redis-server.sock".to_owned()]);
        check_cause(&CAUSE, &other, Some(Confidence::Certain));
        assert!(
            matches!(remedy(&other).last(), Some(Step::Run { command, .. }) if command.contains("redis-server.sock"))
        );
    }

    #[test]
    fn a_socket_that_was_written_after_the_start_wants_a_restart() {
        let facts = Facts::at_home().on_socket(Outcome::Missing, "ENOENT");
        let Endpoint::Unix { path } = facts.ask.target.endpoint.clone() else { return };
        let edited = facts.conf(&format!("unixsocket {path}")).host(|host| {
            host.confs[0].changed_at = Some("2026-11-20T09:00:00Z".to_owned());
        });
        check_cause(&CAUSE, &edited, Some(Confidence::Certain));
        assert!(matches!(&remedy(&edited)[..], [Step::Run { command, .. }] if command.contains("restart")));
    }

    #[test]
    fn a_missing_socket_is_likely_a_file_in_its_place_certain() {
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::Missing, "ENOENT"), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::NotASocket, "ENOTSOCK"), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::Denied, "EACCES"), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
