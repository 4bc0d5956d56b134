//! What to do about a proxy that brings no answer: where to look, what to start, and what it is to read again.

use super::front::{Front, address, holder, is_own, stop};
use crate::cause::redis_host;
use crate::check::process;
use crate::model::{Confidence, Step, Where};
use crate::probe::Facts;
use crate::probe::host::Host;
use crate::probe::host::forward::{Backend, Forward};
use crate::probe::host::process::Process;

/// Why a proxy brings no answer from a Redis that answers.
pub fn though_it_answers(front: &Front) -> (Confidence, &'static str) {
    if let Some((proxy, ..)) = front.edited() {
        // stunnel reads its file again without starting anew.
        let sure = if proxy.name.starts_with("stunnel") { Confidence::Possible } else { Confidence::Likely };
        return (sure, "its file was changed after its start, and it may still lead to where that led before");
    }
    if front.wants_header {
        let says = "it wants the PROXY protocol's header here ('accept-proxy', 'expect-proxy'), and ends what does not begin with it";
        return (Confidence::Likely, says);
    }
    if !front.fixed().is_empty() {
        let says = "it may still have the address that the name had when it started; or proxy and Redis, or proxy and client, may speak \
                    differently (PROXY protocol, TLS), or its health checks refuse the server, or a limit (maxconn) or a rule \
                    (reject) of it ends the connection";
        return (Confidence::Possible, says);
    }
    let says = "proxy and Redis, or proxy and client, may speak differently (PROXY protocol, TLS), or its health checks \
                refuse the server, or a limit (maxconn) or a rule (reject) of it ends the connection";
    (Confidence::Possible, says)
}

/// Shows where a proxy leads, or what it logs.
pub fn look_at(facts: &Facts, proxy: &Process, forward: Option<&Forward>) -> Step {
    let on = redis_host(facts);
    let tells = "where it leads, and what it says of that place";
    let args = format!("ps -o args= -p {}", proxy.pid);
    let file = forward.and_then(|forward| forward.file.as_deref()).map(crate::model::text::shell_quote);
    let unit = proxy.unit.as_deref().map(crate::model::text::shell_quote);
    let shown = file.map(|file| format!("sudo grep -nE 'server|connect|proxy_pass|address' {file}"));
    let logged = unit.map(|unit| format!("journalctl -n 20 -u {unit}"));
    let command: Vec<String> = std::iter::once(args).chain(shown).chain(logged).collect();
    Step::look(on, command.join("; "), tells)
}

/// Lets a proxy read its file that was changed after its start, or look up again what a name means.
pub fn reload(on: Where, front: &Front) -> Option<Step> {
    let (proxy, why) = if let Some((proxy, file, _)) = front.edited() {
        (proxy, format!("{file} was changed after {} had started", process::who(proxy)))
    } else {
        let (proxy, place) = front.fixed().into_iter().next()?;
        (proxy, format!("{} leads to {place} by the address that the name had when it started", process::who(proxy)))
    };
    let (verb, when) = match front.edited() {
        _ if proxy.name == "nutcracker" => ("restart", "if that was not done since"),
        Some(_) => ("reload", "if that was not done since"),
        None => ("reload", "if the name means another one since"),
    };
    let unit = proxy.unit.as_deref().map(crate::model::text::shell_quote);
    let how = unit.map_or_else(String::new, |unit| format!(": sudo systemctl {verb} {unit}"));
    Some(Step::tell(on, format!("{why}: {verb} it, {when}{how}")))
}

/// What to do where redisdoc does not know how to bring life behind the proxy.
pub fn advice(facts: &Facts, host: &Host, proxy: &Process, behind: &[&Backend]) -> Step {
    let on = redis_host(facts);
    if proxy.name.starts_with("sshd") {
        let text = "see whether Redis answers where the tunnel leads, as seen from its far end: the machine that ran 'ssh -R', which \
                    is the one that this sshd has its connection with (sudo ss -tnp)";
        return Step::tell(Where::Network, text);
    }
    if ["ssh", "autossh"].contains(&proxy.name.as_str()) {
        let places: Vec<&str> = behind.iter().map(|backend| backend.place.as_str()).collect();
        let to = if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) };
        let text = format!(
            "see whether Redis answers where the tunnel leads{to}, as seen from its far end, the machine that ssh is connected to"
        );
        return Step::tell(Where::RedisHost, text);
    }
    if behind.iter().any(|backend| backend.pongs()) && !behind.iter().any(|backend| backend.is_down()) {
        let text = "see what the proxy says of that server ('show servers state' and 'show errors' of HAProxy's own socket, or its \
                    log): whether its health checks refuse it, and what ends connections (maxconn, a reject rule). Let both \
                    sides speak alike: 'accept-proxy' only where clients send the PROXY protocol's header, 'send-proxy' only \
                    where the server takes it (Redis does not), and TLS on both sides or on none";
        return Step::tell(on, text);
    }
    let Some(backend) = behind.iter().find(|it| it.is_down()).or(behind.first()) else {
        let text =
            format!("start Redis where {} leads, or name the right place in its configuration", process::who(proxy));
        return Step::tell(on, text);
    };
    let Backend { place, said_by, .. } = *backend;
    let text = match holder(host, backend) {
        Some(at) => format!(
            "somebody listens on {}, and {place} takes no connection: name an address in {said_by} that it has, or let {place} through",
            at.address()
        ),
        None if backend.takes() => format!("see why what listens at {place} ({said_by}) does not answer"),
        None if stop(facts, backend).is_some() => {
            format!(
                "let what goes to {place} ({said_by}) pass the packet filter of the proxy's own machine, or name another place there"
            )
        }
        None if address(backend).is_some_and(|to| !is_own(host, to)) => format!(
            "see at {place} whether Redis runs there, listens on more than 127.0.0.1, and no packet filter rejects it; or name the \
             place where it is ({said_by}) and restart {}",
            proxy.name
        ),
        None => format!("start Redis at {place}, or name the place where it is ({said_by}) and restart {}", proxy.name),
    };
    Step::tell(on, text)
}
