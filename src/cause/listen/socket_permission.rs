//! This user may not use the unix socket.

use crate::cause::{Case, Cause};
use crate::check::tcp;
use crate::model::text::shell_quote;
use crate::model::{Confidence, Endpoint, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::vantage::PathPart;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "socket-permission",
    title: "this user has no right to the unix socket",
    explain: "\
connect(2) failed with EACCES. To use a unix socket a process needs the right to write to the socket itself (mode 755 is \
not enough) and to search every folder on the way to it. Redis creates its socket with the mode of 'unixsocketperm', \
else with what its umask leaves.

A daemon gets its groups when it starts: after adding its user to a group it must be restarted, and some daemons drop \
their supplementary groups altogether. Run redisdoc as the application's user, or the answer is about yours.

Repair: give the socket a group (unixsocketperm 770), add the application's user to it, and restart the application.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let attempt = *case.attempts(&tcp::SOCKET_DENIED).first()?;
    let uid = case.vantage().map_or(0, |vantage| vantage.uid);
    let support = |confidence, summary: String| {
        Support::new(confidence, &[&tcp::SOCKET_DENIED], summary).because("connect(2)", attempt.says())
    };
    let Some(barrier) = barrier(case.facts) else {
        let step = Step::look(Where::Here, "getenforce", "'Enforcing': a security module may forbid it, not the mode");
        let summary = format!("user {uid} may not use it, although its mode and those of its folders would allow it");
        return Some(support(Confidence::Possible, summary).settled_by(step));
    };
    let summary = format!("user {uid} may not {} {}", need(barrier), barrier.path);
    Some(
        support(Confidence::Certain, summary)
            .because("stat(2)", mode(barrier))
            .not("not-running", "the path was refused by its permissions, before any process was asked"),
    )
}

/// The first part of the path that stands in the way.
fn barrier(facts: &Facts) -> Option<&PathPart> {
    let parts = facts.vantage.seen()?.socket_path.seen()?;
    parts.iter().find(|part| part.meta.as_ref().is_some_and(|meta| !meta.usable))
}

fn need(part: &PathPart) -> &'static str {
    if part.meta.as_ref().is_some_and(|meta| meta.kind == "folder") { "search" } else { "write to" }
}

fn mode(part: &PathPart) -> String {
    part.meta.as_ref().map_or_else(String::new, |meta| {
        format!("{} has mode {:o}, user {}, group {}", part.path, meta.mode, meta.uid, meta.gid)
    })
}

/// Lets Redis give the socket that mode at its next start, too.
fn keep_mode(facts: &Facts) -> Step {
    let text = "set 'unixsocketperm 770' in redis.conf, so that it stays so";
    match facts.instance().and_then(|instance| instance.from_conf("unixsocketperm")?.line) {
        Some((file, line, from)) => {
            let (text, to) = (text.to_owned(), "unixsocketperm 770".to_owned());
            Step::Edit { text, file, line: Some(line), from, to, on: Where::Here, risk: Risk::WidensAccess }
        }
        None => Step::tell(Where::Here, text),
    }
}

const RESTART: &str = "restart the application: a process gets its groups when it starts";

fn remedy(facts: &Facts) -> Vec<Step> {
    let Endpoint::Unix { .. } = facts.ask.target.endpoint else { return Vec::new() };
    let Some((part, meta)) = barrier(facts).and_then(|part| Some((part, part.meta.as_ref()?))) else {
        return vec![Step::tell(
            Where::Here,
            "see what security module is active, and what its log says of the socket",
        )];
    };
    if meta.gid == 0 {
        let text = format!(
            "{} belongs to root's group, which is no group for an application: let Redis make it with a group of its own \
             (run Redis as its own user, 'unixsocketperm 770' in redis.conf), and add the application's user to that group",
            part.path
        );
        return vec![Step::tell(Where::Here, text), Step::tell(Where::Here, RESTART)];
    }
    let (uid, path) = (facts.vantage.seen().map_or(0, |vantage| vantage.uid), shell_quote(&part.path));
    let bit = if meta.kind == "folder" { 0o010 } else { 0o020 };
    let mut steps = Vec::new();
    if meta.mode & bit == 0 {
        let (letter, text) = if meta.kind == "folder" {
            ("x", "let the folder's group search it")
        } else {
            ("w", "let the socket's group write to it, until Redis restarts")
        };
        steps.push(Step::run(Where::Here, Risk::WidensAccess, text, format!("sudo chmod g+{letter} {path}")));
    }
    if meta.kind != "folder" {
        steps.push(keep_mode(facts));
    }
    let join = format!("sudo usermod -aG \"$(stat -c %G {path})\" \"$(id -un {uid})\"");
    steps.push(Step::run(Where::Here, Risk::WidensAccess, "add the application's user to that group", join));
    steps.push(Step::tell(Where::Here, RESTART));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::tcp::Outcome;
    use crate::probe::path::vantage::Meta;

    fn denied(socket_usable: bool) -> Facts {
        let part = |path: &str, kind: &str, mode, usable| PathPart {
            path: path.to_owned(),
            meta: Some(Meta { kind: kind.to_owned(), mode, uid: 100, gid: 100, usable }),
        };
        let parts = vec![part("/run", "folder", 0o755, true), part("/run/redis.sock", "socket", 0o755, socket_usable)];
        Facts::healthy().on_socket(Outcome::Denied, "EACCES").with(|facts| {
            if let Observed::Seen(vantage) = &mut facts.vantage {
                vantage.socket_path = Observed::Seen(parts);
            }
        })
    }

    #[test]
    fn a_mode_that_forbids_is_certain() {
        check_cause(&CAUSE, &denied(false), Some(Confidence::Certain));
    }

    #[test]
    fn nobody_is_given_roots_group() {
        let facts = denied(false).with(|facts| {
            let Observed::Seen(vantage) = &mut facts.vantage else { return };
            let Observed::Seen(parts) = &mut vantage.socket_path else { return };
            parts[1].meta.as_mut().unwrap().gid = 0;
        });
        assert!(remedy(&facts).iter().all(|step| matches!(step, Step::Tell { .. })));
        assert!(remedy(&denied(false)).iter().any(|step| matches!(step, Step::Run { .. })));
    }

    #[test]
    fn modes_that_would_allow_leave_it_open() {
        check_cause(&CAUSE, &denied(true), Some(Confidence::Possible));
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
