//! TLS over the connections that stand: how each handshake ended, the certificates, and what the library says of them.
//!
//! The conversation goes on inside. What it all means is in `check/tls.rs`.

pub mod alert;
pub mod certificate;
pub mod oldhello;
mod stop;

use std::sync::Arc;

use rustls::{CertificateError, Error, PeerIncompatible};
use serde::{Deserialize, Serialize};

use super::tcp::Connection;
use crate::model::{Ask, Observed, Target, escape};
use crate::sys::clock::{self, Clock};
use crate::sys::socket::Stream;
use crate::sys::tls::{Client, Failed, Handshake, Identity, Material, NO_CONSTRAINTS, Roots, Verdict};
use certificate::{Certificate, distinguished_name};
pub use stop::{Stop, Why};

/// The most certificates that are kept of a chain.
const MOST_CERTIFICATES: usize = 10;
/// The most names of authorities that are kept of what the server would accept.
const MOST_ISSUERS: usize = 16;

/// TLS, on each connection that stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tls {
    /// Whom we trust.
    pub trust: Trust,
    /// One per connection, the preferred address first.
    pub hellos: Vec<Hello>,
}

/// Whom we trust, and who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// How many authorities there are.
    pub authorities: usize,
    /// True if they are the system's.
    pub of_the_system: bool,
    /// What was not to be used of the files they came from.
    pub problems: Vec<String>,
    /// The file of them that OpenSSL does not load, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unloadable: Option<String>,
    /// Our own certificate, if we have one.
    pub own: Option<Certificate>,
    /// How many certificates there are between our own and its root in the file that was named.
    #[serde(default)]
    pub own_chain: usize,
    /// The names of those authorities: all where they are few, else those of the organisations that the chains name.
    #[serde(default)]
    pub names: Vec<String>,
}

/// A handshake with one address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The address.
    pub address: String,
    /// The server name we sent (SNI); none for addresses.
    pub server_name: Option<String>,
    /// How it ended.
    pub end: Ended,
    /// The version that was agreed on.
    pub version: Option<String>,
    /// The cipher suite that was agreed on.
    pub cipher: Option<String>,
    /// The server's certificates as it sent them, its own first.
    pub chain: Vec<Certificate>,
    /// What the library says against them, also where that was to be overlooked (`--insecure`).
    pub flaws: Vec<Flaw>,
    /// True if the certificate signed itself and is among those we trust, and nothing else is: rustls refuses that, OpenSSL does not.
    pub only_itself: bool,
    /// The places in the chain of those that are trusted themselves.
    #[serde(default)]
    pub anchors: Vec<usize>,
    /// The first of the chain that another one of it was to sign, and did not.
    #[serde(default)]
    pub misfit: Option<usize>,
    /// The name that would have been sent, where our library cannot send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsent_name: Option<String>,
    /// The authority that is trusted here and vouches for the server, where that is not its own certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Certificate>,
    /// Where OpenSSL stops, though an authority that is trusted here vouches for the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// The authority that is trusted and out of its time, where it alone vouches for the server.
    #[serde(default)]
    pub lapsed: Option<Certificate>,
    /// The authorities of which the server would take a certificate of ours; `None` if it did not ask for one.
    pub asked: Option<Vec<String>>,
    /// Whether we had one to show.
    pub shown: bool,
    /// The first bytes that came, escaped, where the handshake failed.
    pub heard: Option<String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
}

/// How a handshake ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It was completed on our side. In TLS 1.3 the server may still refuse us: that comes with the first read.
    Done,
    /// We ended it: the certificate is not trusted.
    Untrusted,
    /// The server ended it with this alert.
    Alert(u8),
    /// What came is no TLS.
    NotTls,
    /// It speaks TLS, but nothing in common with us: in the library's words.
    Incompatible(String),
    /// It broke the protocol: in the library's words.
    Misbehaved(String),
    /// The peer closed.
    Closed,
    /// The connection broke, with this errno.
    Broken(String),
    /// Nothing more came in time.
    Silent,
    /// More came than any handshake has, and no end to it.
    TooMuch,
    /// Our side could not be made: in the library's words.
    BadName(String),
}

/// What the library says against a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// None of the authorities that we trust signed it.
    UnknownIssuer,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It is not valid for the name.
    WrongName,
    /// It is one of an authority, and used as a server's.
    AuthorityAsServer,
    /// It is limited to other purposes.
    WrongPurpose,
    /// An authority of the name that it gives is trusted, and did not sign it: that one has another key.
    BadSignature,
    /// The authority that alone vouches for it is none of servers, which the library does not look at: in words.
    UnfitAuthority(String),
    /// The same where libraries are of different opinions: in words.
    OddAuthority(String),
    /// It is signed in a way that the library does not have, and others do: in words.
    Beyond(String),
    /// Another, in words.
    Other(String),
}

impl Tls {
    /// The handshake with the preferred address.
    pub fn preferred(&self) -> Option<&Hello> {
        self.hellos.first()
    }

    /// The first that ended before the server has shown anything.
    pub fn turned_away(&self) -> Option<&Hello> {
        self.hellos.iter().find(|hello| hello.is_turned_away())
    }
}

impl Hello {
    /// The server's own certificate.
    pub fn leaf(&self) -> Option<&Certificate> {
        self.chain.first()
    }

    /// Those of the chain that a client needs to come from the server's own to one that is trusted, or as far as they lead.
    pub fn needed(&self) -> Vec<&Certificate> {
        let mut needed: Vec<&Certificate> = self.leaf().into_iter().collect();
        while let Some(last) = needed.last().copied().filter(|last| !last.self_signed) {
            let mut others = self.chain.iter().enumerate().filter(|(_, one)| !needed.contains(one));
            match others.find(|(_, one)| last.may_be_signed_by(one)) {
                Some((at, issuer)) if !self.anchors.contains(&at) => needed.push(issuer),
                _ => break,
            }
        }
        needed
    }

    /// True if it ended before the server has shown anything: for want of something in common, perhaps.
    pub fn is_turned_away(&self) -> bool {
        let turns_away = match &self.end {
            // handshake_failure, protocol_version, insufficient_security (RFC 8446 section 6).
            Ended::Alert(alert) => [40, 70, 71].contains(alert),
            Ended::Incompatible(_) | Ended::Misbehaved(_) => true,
            // For want of the name, perhaps.
            Ended::Closed | Ended::Broken(_) => self.unsent_name.is_some(),
            _ => false,
        };
        turns_away && self.asked.is_none() && self.chain.is_empty()
    }

    /// True if the conversation could go on inside.
    pub fn is_done(&self) -> bool {
        self.end == Ended::Done
    }
}

/// Shakes hands over every connection at the same time, if TLS is asked for; gives those that stand after it.
pub async fn gather(
    ask: &Ask,
    material: &Material,
    connections: Vec<Connection>,
    clock: &Clock,
) -> (Observed<Tls>, Vec<Connection>) {
    if !ask.target.tls {
        return (Observed::skipped("not asked for"), connections);
    }
    if connections.is_empty() {
        return (Observed::needs("tcp"), connections);
    }
    let roots = material.roots();
    let mut handshakes = tokio::task::JoinSet::new();
    for (order, connection) in connections.into_iter().enumerate() {
        let client = client(&ask.target, &connection, material, &roots);
        let clock = *clock;
        handshakes.spawn(async move { (order, one(connection, client, clock).await) });
    }
    let mut all = handshakes.join_all().await;
    all.sort_by_key(|(order, _)| *order);
    let (hellos, connections): (Vec<_>, Vec<_>) = all.into_iter().map(|(_, one)| one).unzip();
    let trust = trust(material, &roots, &hellos);
    (Observed::Seen(Tls { trust, hellos }), connections.into_iter().flatten().collect())
}

fn trust(material: &Material, roots: &Roots, hellos: &[Hello]) -> Trust {
    let own = material.identity.as_ref();
    Trust {
        authorities: roots.store.len(),
        of_the_system: material.authorities.is_none(),
        problems: roots.problems.iter().map(|problem| escape(problem.as_bytes())).collect(),
        unloadable: material.unloadable.as_ref().map(|says| escape(says.as_bytes())),
        own: own.and_then(Identity::certificate).and_then(Certificate::parse),
        own_chain: own.map_or(0, |identity| identity.length().saturating_sub(1)),
        names: names(roots, hellos),
    }
}

/// The names of the trusted authorities that may have to do with a certificate that is not trusted.
fn names(roots: &Roots, hellos: &[Hello]) -> Vec<String> {
    let issuers: Vec<&str> = hellos
        .iter()
        .filter(|hello| !hello.flaws.is_empty())
        .flat_map(|hello| hello.chain.iter().map(|certificate| certificate.issuer.as_str()))
        .collect();
    if issuers.is_empty() {
        return Vec::new();
    }
    let few = roots.store.len() <= MOST_ISSUERS;
    let kin = |name: &String| issuers.iter().any(|issuer| *issuer == name || is_kin(issuer, name));
    roots
        .names()
        .filter_map(|name| distinguished_name(&name))
        .filter(|name| few || kin(name))
        .take(MOST_ISSUERS)
        .collect()
}

/// True if two names are of one organisation.
pub fn is_kin(one: &str, other: &str) -> bool {
    let organisation = |name: &str| name.split(", ").find(|part| part.starts_with("O=")).map(str::to_owned);
    organisation(one).is_some_and(|of_one| organisation(other) == Some(of_one))
}

/// Our side for one connection: the name is `--sni`, else the host.
fn client(target: &Target, connection: &Connection, material: &Material, roots: &Roots) -> Result<Client, String> {
    let name = target.server_name().unwrap_or(&connection.address);
    let client = Client::new(name, Arc::clone(&roots.store), material.identity.as_ref())?.minding(roots);
    Ok(if target.certificates.insecure { client.lenient() } else { client })
}

async fn one(connection: Connection, client: Result<Client, String>, clock: Clock) -> (Hello, Option<Connection>) {
    let Connection { address, dial, stream } = connection;
    let client = match client {
        Ok(client) => client,
        Err(says) => return (Hello::unnamed(address, says), None),
    };
    let handshake = client.shake_hands(stream, clock.step_end()).await;
    let (hello, stream) = hello(address.clone(), &client, handshake);
    let dial = dial.within(client);
    (hello, stream.map(|stream| Connection { address, dial, stream }))
}

/// A handshake in words that can be saved, and its connection.
pub(super) fn hello(address: String, client: &Client, handshake: Handshake) -> (Hello, Option<Stream>) {
    let Handshake { result, chain, verdict, asked, version, cipher, heard, took } = handshake;
    let (end, stream) = match result {
        Ok(stream) => (Ended::Done, Some(stream)),
        Err(failed) => (ended(failed, &heard), None),
    };
    let chain: Vec<Certificate> = chain.iter().take(MOST_CERTIFICATES).filter_map(Certificate::parse).collect();
    let (anchors, misfit) = verdict.as_ref().map(|one| (one.anchors.clone(), one.misfit)).unwrap_or_default();
    let hello = Hello {
        address,
        server_name: client.sent_name(),
        end,
        version: version.map(|version| version.replace("TLSv1_", "TLS 1.")),
        cipher,
        flaws: verdict.as_ref().map(|verdict| flaws(verdict, &chain)).unwrap_or_default(),
        chain,
        only_itself: verdict.as_ref().is_some_and(|verdict| verdict.is_root && verdict.trust.is_err()),
        anchors,
        misfit,
        unsent_name: client.unsent_name().map(|name| escape(name.as_bytes())),
        anchor: verdict.as_ref().and_then(|verdict| Certificate::parse(verdict.anchor.as_ref()?)),
        stop: verdict.as_ref().and_then(|verdict| Stop::of(verdict.stop.as_ref()?)),
        lapsed: verdict.as_ref().and_then(|verdict| Certificate::parse(verdict.lapsed.as_ref()?)),
        asked: asked
            .map(|issuers| issuers.iter().take(MOST_ISSUERS).filter_map(|issuer| distinguished_name(issuer)).collect()),
        shown: client.has_identity(),
        heard: (!heard.is_empty()).then(|| escape(&heard)),
        elapsed_ms: clock::round_ms(took),
    };
    (hello, stream)
}

impl Hello {
    /// Not even begun.
    fn unnamed(address: String, says: String) -> Self {
        Self {
            address,
            server_name: None,
            end: Ended::BadName(says),
            version: None,
            cipher: None,
            chain: Vec::new(),
            flaws: Vec::new(),
            only_itself: false,
            anchors: Vec::new(),
            misfit: None,
            unsent_name: None,
            anchor: None,
            stop: None,
            lapsed: None,
            asked: None,
            shown: false,
            heard: None,
            elapsed_ms: 0.0,
        }
    }
}

fn ended(failed: Failed, heard: &[u8]) -> Ended {
    match failed {
        Failed::End => Ended::Closed,
        Failed::Broken(errno) => Ended::Broken(format!("{errno:?}")),
        Failed::Silence => Ended::Silent,
        Failed::TooMuch => Ended::TooMuch,
        Failed::Refused(error) => refused(error, heard),
    }
}

fn refused(error: Error, heard: &[u8]) -> Ended {
    match error {
        Error::AlertReceived(alert) => Ended::Alert(u8::from(alert)),
        Error::InvalidCertificate(_) => Ended::Untrusted,
        // What is no TLS does not begin with a record's header; what breaks its rules later is TLS all the same.
        Error::InvalidMessage(_) if !is_record(heard) => Ended::NotTls,
        Error::PeerIncompatible(why) => Ended::Incompatible(incompatible(&why)),
        error => Ended::Misbehaved(escape(error.to_string().as_bytes())),
    }
}

/// True for the beginning of a record of TLS (RFC 8446 section 5.1): an alert, or a handshake.
fn is_record(bytes: &[u8]) -> bool {
    matches!(bytes, [21 | 22, 3, 0..=4, ..])
}

fn incompatible(why: &PeerIncompatible) -> String {
    escape(format!("{why:?}").as_bytes())
}

/// Everything that is said against a certificate, each once.
fn flaws(verdict: &Verdict, chain: &[Certificate]) -> Vec<Flaw> {
    let mut flaws: Vec<Flaw> = Vec::new();
    for flaw in verdict.against().map(|error| of_authority(error, verdict).unwrap_or_else(|| flaw(error, chain))) {
        if !flaws.contains(&flaw) {
            flaws.push(flaw);
        }
    }
    // Where the certificate cannot be read at all, that has been said.
    if let (Err(error), true) = (&verdict.signature, flaws.is_empty()) {
        let key = chain.first().and_then(|leaf| leaf.key.as_deref()).filter(|key| key.starts_with("RSA"));
        flaws.push(Flaw::Other(match key {
            Some(key) => format!("its key is {key}, and the library takes none of less than 2048"),
            None => escape(format!("the signature of the handshake: {error}").as_bytes()),
        }));
    }
    flaws
}

/// What is wrong with an authority, where that is it.
fn of_authority(error: &CertificateError, verdict: &Verdict) -> Option<Flaw> {
    match error {
        CertificateError::ApplicationVerificationFailure => {
            let (authority, why) = verdict.unfit.as_ref()?;
            let subject = Certificate::parse(authority)?.subject;
            Some(if *why == NO_CONSTRAINTS {
                Flaw::OddAuthority(format!("of {subject}, which signed it and is trusted here: {why}"))
            } else {
                Flaw::UnfitAuthority(format!("{subject}, which signed it and is trusted here, may not: {why}"))
            })
        }
        CertificateError::BadSignature => {
            let authority = Certificate::parse(verdict.short.as_ref()?)?;
            let (subject, key) = (authority.subject, authority.key?);
            Some(Flaw::Other(format!(
                "the key of {subject}, which signed it, is {key}, and the library takes none of less than 2048"
            )))
        }
        _ => None,
    }
}

fn flaw(error: &CertificateError, chain: &[Certificate]) -> Flaw {
    use CertificateError as E;
    let counts = |one: &&Certificate| !one.self_signed || Some(*one) == chain.first();
    let signed = || chain.iter().filter(counts);
    let weak = || signed().find(|one| ["SHA-1", "MD5"].iter().any(|hash| one.signed_with.ends_with(hash)));
    match error {
        E::UnknownIssuer => Flaw::UnknownIssuer,
        E::Expired | E::ExpiredContext { .. } => Flaw::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => Flaw::NotYetValid,
        E::NotValidForName | E::NotValidForNameContext { .. } => Flaw::WrongName,
        E::BadSignature => Flaw::BadSignature,
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => Flaw::WrongPurpose,
        E::Other(other) if other.0.to_string().contains("CaUsedAsEndEntity") => Flaw::AuthorityAsServer,
        error if format!("{error:?}").contains("UnsupportedSignatureAlgorithm") => {
            if let Some(one) = weak() {
                return Flaw::Other(format!("{} is signed with {}", one.subject, one.signed_with));
            }
            let told: Vec<String> = signed().map(|one| format!("{} by {}", one.signed_with, one.issuer)).collect();
            let told = told.join("; ");
            Flaw::Beyond(format!("a signature of its chain is of a kind that the library does not have ({told})"))
        }
        error if format!("{error:?}").contains("MaximumPathDepthExceeded") => Flaw::Beyond(in_words(error)),
        error => Flaw::Other(in_words(error)),
    }
}

/// What the library calls by a name of its own alone.
fn in_words(error: &CertificateError) -> String {
    let says = escape(error.to_string().as_bytes());
    let known = [
        ("UnsupportedCertVersion", "it, or one that it depends on, is of version 1 (made without extensions)"),
        (
            "NameConstraintViolation",
            "its authority is limited to other names than those of the certificate (nameConstraints)",
        ),
        ("PathLenConstraintViolated", "more authorities stand between it and the root than the root allows (pathlen)"),
        ("EndEntityUsedAsCa", "it is signed by a certificate that is not one of an authority (CA:FALSE)"),
        ("UnsupportedCriticalExtension", "it has a critical extension that the library does not know"),
        ("MaximumPathDepthExceeded", "its chain is longer than the library follows"),
    ];
    known.iter().find(|(name, _)| says.contains(name)).map_or(says.clone(), |(_, words)| (*words).to_owned())
}
