//! There is nothing at the path of the unix socket.

use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::{Confidence, Endpoint, Step, Support, Where};
use crate::probe::Facts;

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

fn remedy(_facts: &Facts) -> Vec<Step> {
    vec![
        Step::look(
            Where::Here,
            "redis-cli CONFIG GET unixsocket",
            "over TCP: the path of the socket; empty if it has none",
        ),
        Step::tell(
            Where::Here,
            "use that path; or set 'unixsocket' and 'unixsocketperm 770' in redis.conf and restart Redis",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::path::tcp::Outcome;

    #[test]
    fn a_missing_socket_is_likely_a_file_in_its_place_certain() {
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::Missing, "ENOENT"), Some(Confidence::Likely));
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::NotASocket, "ENOTSOCK"), Some(Confidence::Certain));
        check_cause(&CAUSE, &Facts::healthy().on_socket(Outcome::Denied, "EACCES"), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
