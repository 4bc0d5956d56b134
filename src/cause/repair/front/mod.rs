//! The remedy where another program than Redis ends TLS: the settings of Redis change nothing there, for it has a certificate,
//! versions and rules of its own.

use std::net::SocketAddr;

use crate::cause::redis_host;
use crate::check::process::nearest;
use crate::model::text::shell_quote;
use crate::model::{Confidence, Step, Support};
use crate::probe::Facts;
use crate::probe::host::front::Front;
use crate::probe::host::process::Process;

/// The causes in what the program that ends TLS shows or wants, and what it is to be given.
const REPAIRS: [(&str, Repair); 9] = [
    ("certificate-expired", Repair::Certificate("put the renewed certificate there")),
    ("certificate-not-yet-valid", Repair::Certificate("put one there that is valid now")),
    (
        "certificate-unsupported",
        Repair::Certificate("put one there that is for servers, with a key and names as of today"),
    ),
    (
        "certificate-name-mismatch",
        Repair::Certificate("or have one made that is valid for this name, too, and put it there"),
    ),
    ("incomplete-chain", Repair::Certificate("put the certificate that is left out there, behind the server's own")),
    ("untrusted-ca", Repair::Authority),
    ("client-certificate-required", Repair::Clients),
    ("client-certificate-rejected", Repair::Clients),
    ("tls-version-mismatch", Repair::Versions),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repair {
    /// Another certificate.
    Certificate(&'static str),
    /// The authority is to be had from whoever runs it.
    Authority,
    /// Other rules for clients.
    Clients,
    /// Other versions and cipher suites.
    Versions,
}

/// What the settings of such programs are called: for the certificate, for the clients' certificates, for versions and suites.
const WORDS: [(&str, [&str; 3]); 4] = [
    ("haproxy", ["'crt'", "'verify' and 'ca-file'", "'ssl-min-ver', 'ssl-max-ver', 'ciphers' and 'ciphersuites'"]),
    ("stunnel", STUNNEL),
    ("stunnel4", STUNNEL),
    (
        "nginx",
        ["'ssl_certificate'", "'ssl_verify_client' and 'ssl_client_certificate'", "'ssl_protocols' and 'ssl_ciphers'"],
    ),
];
const STUNNEL: [&str; 3] = [
    "'cert'",
    "'verifyChain', 'verifyPeer', 'requireCert' and 'CAfile'",
    "'sslVersionMin', 'sslVersionMax', 'ciphers' and 'ciphersuites'",
];
const ANY: [&str; 3] = ["the certificate", "the clients' certificates", "versions and cipher suites"];
/// Others that end TLS, and whose files are not read.
const OTHERS: [&str; 5] = ["ghostunnel", "hitch", "envoy", "traefik", "caddy"];

/// The steps of a cause, with what speaks of Redis' settings told of the program that ends TLS in its place.
pub fn instead(id: &str, facts: &Facts, support: &mut Support, steps: Vec<Step>) -> Vec<Step> {
    let Some((_, repair)) = REPAIRS.iter().find(|(of, _)| *of == id) else { return steps };
    let Some((process, front)) = front(facts) else { return steps };
    let Some(front) = front else { return perhaps(*repair, facts, process, support, steps) };
    let name = &process.name;
    let place = &front.place;
    let evidence = format!("{name} (pid {}) has the port, and ends TLS there", process.pid);
    let source = facts.server_host().map_or_else(|_| place.clone(), |host| host.source(place.clone()));
    support.evidence.push(crate::model::Evidence::new(source, evidence));
    if support.settled_by.as_ref().is_some_and(speaks_of_redis) {
        support.settled_by = Some(Step::tell(redis_host(facts), format!("look at what {place} says of TLS")));
    }
    let who = format!("{name} ends TLS there, and not Redis");
    let mut text = told(*repair, &who, name, Some(front), place);
    if is_edited(facts, process.pid) {
        text = format!("{place} was changed after {name} had been started: reload it first, and look again; {text}");
    }
    let at = steps.iter().position(speaks_of_redis).unwrap_or(steps.len());
    let mut kept: Vec<Step> = steps.iter().filter(|step| !speaks_of_redis(step)).cloned().collect();
    if kept.len() < steps.len() {
        kept.insert(at.min(kept.len()), Step::tell(redis_host(facts), text));
    }
    if let (Repair::Certificate(_), Some(at), Some(file)) = (repair, &front.renewed_at, &front.certificate) {
        let file = shell_quote(file);
        let text = format!(
            "first let {name} read {file} again (reload), and look again: it was changed {at}, after {name} had been started"
        );
        kept.insert(0, Step::tell(redis_host(facts), text));
    }
    kept
}

/// The same where it is not known whether that program ends TLS or passes it on: what is to be done in either case.
fn perhaps(repair: Repair, facts: &Facts, process: &Process, support: &mut Support, steps: Vec<Step>) -> Vec<Step> {
    let Some(at) = steps.iter().position(speaks_of_redis) else { return steps };
    let name = &process.name;
    let place = format!("its own configuration (pid {})", process.pid);
    let evidence =
        format!("{name} (pid {}) has the port; whether it ends TLS or passes it on is not known", process.pid);
    let source = facts.server_host().map_or_else(|_| place.clone(), |host| host.source(place.clone()));
    support.evidence.push(crate::model::Evidence::new(source, evidence));
    support.confidence = support.confidence.min(Confidence::Likely);
    let look = format!("look in {place} whether {name} ends TLS there");
    support.settled_by.get_or_insert_with(|| Step::tell(redis_host(facts), look));
    let who = format!("if {name} ends TLS there, and not Redis");
    let text = format!(
        "{}; if it only passes TLS on, it is the Redis behind it that has to be mended, as follows",
        told(repair, &who, name, None, &place)
    );
    let mut both = steps;
    both.insert(at, Step::tell(redis_host(facts), text));
    both
}

/// Whether the program's file says something else now than when it was read.
fn is_edited(facts: &Facts, pid: u32) -> bool {
    let forwards = facts.server_host().map_or(&[][..], |host| &host.forwards);
    forwards.iter().any(|forward| forward.pid == pid && forward.edited_at.is_some())
}

fn told(repair: Repair, who: &str, name: &str, front: Option<&Front>, place: &str) -> String {
    let [certificate, clients, versions] = WORDS.iter().find(|(of, _)| *of == name).map_or(ANY, |(_, words)| *words);
    match repair {
        Repair::Certificate(what) => {
            let file = front.and_then(|front| front.certificate.as_deref()).map(shell_quote);
            let file = file.unwrap_or_else(|| format!("the file that {certificate} names"));
            format!(
                "{who}: its certificate is {file} ({certificate}, {place}); {what}, and let {name} read it again (reload)"
            )
        }
        Repair::Authority => format!(
            "{who}: get the certificate of the authority that signed its own ({certificate}, {place}) from whoever runs it, and give it to the \
             application (--cacert FILE)"
        ),
        Repair::Clients => {
            format!(
                "{who}: what it wants of clients is in {clients} ({place}): change that, or have a certificate made by that authority"
            )
        }
        Repair::Versions => {
            format!("{who}: let it speak TLS 1.2 and 1.3 with common cipher suites: {versions} ({place})")
        }
    }
}

/// The program that has the very listener the handshake was with, where it is one that may end TLS, and what its file says, if that is
/// understood: not where several programs share the listener.
fn front(facts: &Facts) -> Option<(&Process, Option<&Front>)> {
    let at: SocketAddr = facts.tls.seen()?.preferred()?.address.parse().ok()?;
    let host = facts.server_host().ok()?;
    if !facts.asked_addresses().contains(&at.ip()) {
        return None;
    }
    let mut owners: Vec<Option<u32>> =
        nearest(&host.listeners(at.port()), at.ip()).into_iter().map(|listener| listener.owner).collect();
    owners.dedup();
    let is_alone = owners.len() == 1;
    let pids: Vec<u32> = owners.into_iter().flatten().collect();
    let process = host.processes.seen()?.strangers.iter().find(|process| pids.contains(&process.pid))?;
    let name = process.name.as_str();
    let known = WORDS.iter().any(|(of, _)| *of == name) || OTHERS.contains(&name);
    // Of its lines for this port, one for the address counts before one for all.
    let fits = |front: &&Front| {
        let is_at = front.at.is_none_or(|ip| ip.to_canonical() == at.ip().to_canonical());
        front.pid == process.pid && front.port == at.port() && is_at
    };
    let front = host.fronts.iter().filter(fits).max_by_key(|front| front.at.is_some()).filter(|_| is_alone);
    // What passes it on by a file that it has not read yet may end it.
    let front = front.filter(|front| front.ends_tls || !is_edited(facts, process.pid));
    (known && front.is_none_or(|front| front.ends_tls)).then_some((process, front))
}

/// True for a step that speaks of settings that Redis has.
fn speaks_of_redis(step: &Step) -> bool {
    let words: [&str; 2] = match step {
        Step::Look { command, tells, .. } => [command, tells],
        Step::Run { command, text, .. } => [command, text],
        Step::Edit { file, text, .. } => [file, text],
        Step::Tell { text, .. } => [text, ""],
    };
    let speaks = |word: &str| words.iter().any(|text| text.contains(word));
    [
        "tls-cert-file",
        "tls-key-file",
        "tls-ca-cert-file",
        "tls-auth-clients",
        "tls-protocols",
        "CONFIG SET",
        "redis.conf",
    ]
    .into_iter()
    .any(speaks)
}

#[cfg(test)]
mod tests {
    use crate::cause::tests::diagnose;
    use crate::model::{Confidence, Observed};
    use crate::probe::Facts;
    use crate::probe::healthy_host::seen;
    use crate::probe::host::front::Front;
    use crate::probe::path::tls::{Ended, Flaw};

    /// A certificate that expired, on a port that this program has.
    fn behind(name: &str, front: Option<(bool, Option<&str>)>) -> Facts {
        Facts::joined()
            .with(|facts| {
                let tls = Facts::encrypted().hello(|hello| {
                    (hello.end, hello.flaws, hello.chain[0].not_after) = (Ended::Untrusted, vec![Flaw::Expired], 0);
                });
                (facts.ask.target.tls, facts.tls, facts.redis) = (true, tls.tls, Observed::needs("tls"));
            })
            .host(|host| {
                let processes = seen(&mut host.processes);
                let mut stranger = processes.servers.remove(0);
                name.clone_into(&mut stranger.name);
                let pid = stranger.pid;
                processes.strangers.push(stranger);
                let place = "/etc/x.cfg:7".to_owned();
                let said = |(ends_tls, certificate): (bool, Option<&str>)| Front {
                    pid,
                    place,
                    at: None,
                    port: 6379,
                    ends_tls,
                    certificate: certificate.map(str::to_owned),
                    renewed_at: None,
                };
                host.fronts = front.map(said).into_iter().collect();
            })
    }

    #[track_caller]
    fn says(facts: &Facts, expected: &str, redis: bool) {
        let causes = diagnose(facts).causes;
        let cause = causes.iter().find(|cause| cause.id == "certificate-expired").expect("the cause");
        let remedy = format!("{:?}", cause.remedy);
        assert!(remedy.contains(expected) && remedy.contains("tls-cert-file") == redis, "{remedy}");
    }

    #[test]
    fn what_ends_tls_has_settings_of_its_own() {
        says(
            &behind("haproxy", Some((true, Some("/etc/front.pem")))),
            "certificate is /etc/front.pem ('crt', /etc/x.cfg:7)",
            false,
        );
        says(&behind("stunnel4", Some((true, None))), "the file that 'cert' names", false);
        let renewed = behind("haproxy", Some((true, Some("/etc/front.pem"))))
            .host(|host| host.fronts[0].renewed_at = Some("2026-11-20T08:00:00Z".to_owned()));
        says(&renewed, "first let haproxy read /etc/front.pem again", false);
        // Whether it does is not known.
        says(
            &behind("nginx", None),
            "if nginx ends TLS there, and not Redis: its certificate is the file that 'ssl_certificate' names",
            true,
        );
        let unknown = diagnose(&behind("haproxy", None));
        assert!(unknown.causes.iter().all(|cause| cause.support.confidence < Confidence::Certain));
        assert!(!format!("{:?}", unknown.causes).contains("and ends TLS there"));
        // It passes TLS on as it is, or is no such program.
        says(&behind("haproxy", Some((false, None))), "put it where", true);
        says(&behind("docker-proxy", None), "put it where", true);
        says(&behind("redis-server", None), "put it where", true);
    }
}
