//! Every way a server speaks TLS or none, met by every way a client asks: each cell has its one answer.

use crate::world::diagnose::Diagnosis;
use crate::world::redis::Redis;
use crate::world::{Authority, Confidence, Host, Lab, Running, Server};

use Confidence::{Certain, Likely, Possible};
use Expected::{Candidates, First, Healthy, Overlooks, Sees};

const SERVER: &str = "10.77.1.2";

/// What a cell answers.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// All is well.
    Healthy,
    /// All is well, but for the certificate, which was to be overlooked.
    Overlooks,
    /// This cause is the first, at least so sure.
    First(&'static str, Confidence),
    /// This was found, whatever explains it.
    Sees(&'static str),
    /// This was found, and nothing that explains it is certain.
    Candidates(&'static str),
}

/// The ways of a client, in the order of a row.
const CLIENTS: [&[&str]; 6] = [
    &[],
    &["--tls", "--cacert", "/tmp/ca.pem"],
    &["--tls"],
    &["--tls", "--insecure"],
    &["--tls", "--cacert", "/tmp/ca.pem", "--cert", "/tmp/client.crt", "--key", "/tmp/client.key"],
    &["--tls", "--cacert", "/tmp/ca.pem", "--sni", "cache"],
];

/// Every cell of a server that speaks TLS with whoever verifies it.
const OPEN_TLS: [Expected; 6] = [
    First("plaintext-to-tls-port", Certain),
    Healthy,
    First("untrusted-ca", Likely),
    Overlooks,
    Healthy,
    First("certificate-name-mismatch", Certain),
];

/// Every cell of a server that wants a certificate of the client's, in TLS 1.3.
const CLOSED_TLS: [Expected; 6] = [
    First("plaintext-to-tls-port", Likely),
    First("client-certificate-required", Certain),
    First("untrusted-ca", Likely),
    First("client-certificate-required", Certain),
    Healthy,
    First("certificate-name-mismatch", Certain),
];

/// The same in TLS 1.2: its alert comes within the handshake.
const CLOSED_TLS_12: [Expected; 6] = [
    First("plaintext-to-tls-port", Likely),
    First("client-certificate-required", Likely),
    First("untrusted-ca", Likely),
    First("client-certificate-required", Likely),
    Healthy,
    First("certificate-name-mismatch", Certain),
];

const PLAIN: [Expected; 6] = {
    let wrong = First("tls-to-plaintext-port", Certain);
    [Healthy, wrong, wrong, wrong, wrong, wrong]
};

const DENIED: [Expected; 6] = [First("protected-mode", Certain); 6];
const FULL: [Expected; 6] = [First("max-clients", Certain); 6];

/// The application's machine and the server's, with an authority that both know.
struct Pair {
    client: Host,
    server: Host,
}

impl Pair {
    fn of(lab: &Lab) -> Self {
        let (client, server) = lab.pair();
        let authority = Authority::root("Lab CA");
        let own = authority.certify(&["app"]);
        server.certificate(&authority.certify(&["db", SERVER]), &authority.pem());
        client.file("/tmp/ca.pem", authority.pem());
        client.file("/tmp/client.crt", own.chain).file("/tmp/client.key", own.key);
        Self { client, server }
    }

    /// One row: what each client is told of `port`.
    #[track_caller]
    fn row(&self, what: &str, port: u16, expected: [Expected; 6]) {
        for (client, expected) in CLIENTS.into_iter().zip(expected) {
            let port = port.to_string();
            let diagnosis = self.client.diagnose(&[&["-h", SERVER, "-p", &port, "-t", "1"], client].concat());
            eprintln!("{what} × {client:?}: {:?} {:?}", diagnosis.findings(), diagnosis.causes());
            cell(&diagnosis, expected);
        }
    }

    #[track_caller]
    fn tls(&self, what: &str, args: &[&str], expected: [Expected; 6]) {
        let _redis = self.server.tls_redis(args);
        self.row(what, 6379, expected);
    }
}

#[track_caller]
fn cell(diagnosis: &Diagnosis, expected: Expected) {
    match expected {
        Healthy => diagnosis.healthy(),
        Overlooks => diagnosis.exit(0).finding("tls/overlooked"),
        First(cause, sure) => diagnosis.exit(1).first_cause(cause, sure),
        Sees(code) => diagnosis.exit(1).finding(code),
        Candidates(code) => diagnosis.exit(1).finding(code).nothing_certain(),
    };
}

#[test]
fn servers_without_tls() {
    let Some(lab) = Lab::enter() else { return };
    let pair = Pair::of(&lab);
    let redis = pair.server.redis(&["--protected-mode", "no"]);
    pair.row("plain", 6379, PLAIN);
    drop(redis);
    let redis = pair.server.redis(&[]);
    pair.row("protected mode", 6379, DENIED);
    drop(redis);
    let _redis = pair.server.redis(&["--protected-mode", "no", "--maxclients", "1"]);
    let _held = held(&pair.server, "");
    pair.row("max clients", 6379, FULL);
}

/// A client that stays.
fn held(server: &Host, flags: &str) -> Running {
    let running =
        server.command(&["sh", "-c", &format!("(echo PING; sleep 60) | redis-cli {flags} >/dev/null")]).spawn();
    server.sh("for i in $(seq 100); do ss -tn | grep -q :6379 && break; sleep 0.05; done; sleep 0.1");
    running
}

#[test]
fn servers_that_take_every_client() {
    let Some(lab) = Lab::enter() else { return };
    let pair = Pair::of(&lab);
    let open = ["--tls-auth-clients", "no"];
    pair.tls("TLS", &open, OPEN_TLS);
    pair.tls("a certificate is welcome", &["--tls-auth-clients", "optional"], OPEN_TLS);
    pair.tls("TLS 1.2", &[&open[..], &["--tls-protocols", "TLSv1.2"]].concat(), OPEN_TLS);
    pair.tls("TLS 1.3", &[&open[..], &["--tls-protocols", "TLSv1.3"]].concat(), OPEN_TLS);
    let beside = ["--port", "6380", "--tls-auth-clients", "no"];
    let _redis = pair.server.tls_redis(&beside);
    pair.row("TLS, beside a plain port", 6379, OPEN_TLS);
    pair.row("plain, beside a TLS port", 6380, PLAIN);
}

#[test]
fn servers_that_want_a_certificate() {
    let Some(lab) = Lab::enter() else { return };
    let pair = Pair::of(&lab);
    pair.tls("a certificate is wanted", &[], CLOSED_TLS);
    pair.tls("a certificate is wanted in TLS 1.2", &["--tls-protocols", "TLSv1.2"], CLOSED_TLS_12);
}

#[test]
fn a_full_server_with_tls_says_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let pair = Pair::of(&lab);
    let _redis = pair.server.tls_redis(&["--tls-auth-clients", "no", "--maxclients", "1"]);
    let _held = held(&pair.server, "--tls --cacert /etc/tls/ca.crt");
    let mut full = [Candidates("tls/closed"); 6];
    full[0] = Candidates("ping/closed");
    pair.row("max clients inside TLS", 6379, full);
}

#[test]
fn a_proxy_with_tls() {
    let Some(lab) = Lab::enter() else { return };
    let pair = Pair::of(&lab);
    let _redis = pair.server.redis(&["--port", "6380"]);
    let stunnel = super::counter::stunnel(&pair.server, "");
    pair.row("stunnel", 6379, OPEN_TLS);
    drop(stunnel);
    let _stunnel = super::counter::stunnel(&pair.server, "verifyChain = yes\nCAfile = /etc/tls/ca.crt");
    pair.row("stunnel that wants a certificate", 6379, CLOSED_TLS);
}

#[test]
fn other_versions_of_the_server() {
    let Some(lab) = Lab::enter() else { return };
    let pair = Pair::of(&lab);
    let files = ["--tls-cert-file", "/etc/tls/server.crt", "--tls-key-file", "/etc/tls/server.key"];
    let tls = ["--port", "0", "--tls-port", "6379", "--tls-ca-cert-file", "/etc/tls/ca.crt", "--protected-mode", "no"];
    let start = |server, more: &[&str]| -> Option<Redis> {
        pair.server.redis_of(server, &[&tls[..], &files[..], more].concat())
    };
    for server in [Server::Valkey80, Server::Redis80, Server::Valkey91Tls] {
        let Some(open) = start(server, &["--tls-auth-clients", "no"]) else { continue };
        pair.row(&format!("{server:?}"), 6379, OPEN_TLS);
        drop(open);
        let _closed = start(server, &[]);
        pair.row(&format!("{server:?} that wants a certificate"), 6379, CLOSED_TLS);
    }
    for server in [Server::Redis50, Server::Redis60, Server::Redis62, Server::Valkey90] {
        let Some(_plain) = pair.server.redis_of(server, &["--protected-mode", "no"]) else { continue };
        pair.row(&format!("{server:?}"), 6379, PLAIN);
    }
}

#[test]
fn candidates_are_never_more_than_that() {
    let Some(lab) = Lab::enter() else { return };
    let pair = Pair::of(&lab);
    let _redis = pair.server.tls_redis(&[]);
    let ask = ["-h", SERVER, "--no-counter-probe"];
    pair.client.diagnose(&ask).cause("plaintext-to-tls-port", Possible).nothing_certain();
}
