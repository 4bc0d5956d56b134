//! TLS, by rustls: whom we trust, who we are, and a handshake that tells everything it saw, also when it failed.
//!
//! Nothing here judges: the verdicts of the library are kept beside each other, what they mean is `check/tls.rs`.

mod material;
mod pem;
mod session;
mod verify;
mod walk;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};

use super::clock;
use super::socket::{Dial, Failure, Read, Stream};

pub use material::{Identity, Known, Material, NO_CONSTRAINTS, Roots, is_server_gated};
pub use pem::Bundle;
pub(super) use session::Session;
use verify::Watch;
pub use walk::{Stop, Why};

/// The most bytes of a failed handshake that are kept.
const MOST_HEARD: usize = 512;

/// Our side of TLS, for one server name.
#[derive(Clone)]
pub struct Client {
    provider: Arc<CryptoProvider>,
    config: ClientConfig,
    roots: Arc<RootCertStore>,
    known: Arc<Vec<Known>>,
    /// Whether those stand in the order of the client's file.
    in_order: bool,
    name: ServerName<'static>,
    /// The name, where it is one that the library cannot send: OpenSSL sends any.
    unsent: Option<String>,
    identity: Option<Arc<CertifiedKey>>,
    /// Whether a certificate that is not trusted ends the handshake.
    strict: bool,
}

/// A handshake: how it ended, and what was seen on the way.
#[derive(Debug)]
pub struct Handshake {
    /// The connection, or why there is none.
    pub result: Result<Stream, Failed>,
    /// The server's certificates as it sent them, its own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The library's verdict on them; `None` where none came.
    pub verdict: Option<Verdict>,
    /// Whether the server asked for a certificate of ours, and the authorities it would take one of (DER of their names).
    pub asked: Option<Vec<Vec<u8>>>,
    /// The version that was agreed on.
    pub version: Option<String>,
    /// The cipher suite that was agreed on.
    pub cipher: Option<String>,
    /// The first bytes that came, where the handshake failed.
    pub heard: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

/// What verification says, each part apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Whether an authority that we trust vouches for it now, and is itself within its time.
    pub trust: Result<(), CertificateError>,
    /// The same at a time when the certificate itself is valid, where that is not now.
    pub trust_when_valid: Option<Result<(), CertificateError>>,
    /// Whether it is valid for the name.
    pub name: Result<(), CertificateError>,
    /// Whether it is for servers.
    pub purpose: Result<(), CertificateError>,
    /// Whether it signed itself and is among those we trust: OpenSSL takes that for enough, rustls does not.
    pub is_root: bool,
    /// The places in the chain of those that are trusted themselves: by their names and keys.
    pub anchors: Vec<usize>,
    /// The first of the chain that another one of it was to sign, and did not.
    pub misfit: Option<usize>,
    /// The certificate of the authority that vouches for it; of several, that which OpenSSL takes, or which is valid longest.
    pub anchor: Option<CertificateDer<'static>>,
    /// The same of the authority whose time is over, or has not come, where no other vouches for it.
    pub lapsed: Option<CertificateDer<'static>>,
    /// The same of one that OpenSSL does not take for an authority of servers, and why.
    pub unfit: Option<(CertificateDer<'static>, &'static str)>,
    /// Where OpenSSL stops on its way to an authority that signed itself, though the library trusts the server, as Go, Java and
    /// curl do: it tries no other way, and is not content with an intermediate without `X509_V_FLAG_PARTIAL_CHAIN`.
    pub stop: Option<Stop>,
    /// The certificate of an authority of the chain whose key is too short for the library to verify what it signed.
    pub short: Option<CertificateDer<'static>>,
    /// Whether the server proved that it has the certificate's key, as far as the library can tell.
    pub signature: Result<(), CertificateError>,
}

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq)]
pub enum Failed {
    /// The library ended it: what came is no TLS, or none that it accepts, or an alert.
    Refused(rustls::Error),
    /// The peer closed.
    End,
    /// The connection broke.
    Broken(Errno),
    /// Nothing more came in time.
    Silence,
    /// More came than any handshake has, and no end to it.
    TooMuch,
}

impl Client {
    /// Our side for the server that is called `name`: a DNS name, or an address. A name that the library does not take for one
    /// of DNS (`redis.1`, `redis-`) is not sent, and compared all the same.
    ///
    /// # Errors
    /// What the library says where it has no version of TLS at all.
    pub fn new(name: &str, roots: Arc<RootCertStore>, identity: Option<&Identity>) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        let (name, unsent) = server_name(name);
        let identity = identity.map(|identity| Arc::clone(&identity.key));
        config.resumption = Resumption::disabled();
        Ok(Self {
            provider,
            config,
            roots,
            known: Arc::default(),
            in_order: false,
            name,
            unsent,
            identity,
            strict: true,
        })
    }

    /// Our side for a server of this very machine that is asked who it is: whatever its certificate, and without one of our own.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn blind(name: &str) -> Result<Self, String> {
        Ok(Self::new(name, Arc::new(RootCertStore::empty()), None)?.lenient())
    }

    /// The same, refusing what only those of these vouch for that are out of their time, or no authorities, as OpenSSL, Python and
    /// Go do: rustls looks at neither.
    #[must_use]
    pub fn minding(self, roots: &Roots) -> Self {
        Self { known: Arc::clone(&roots.known), in_order: roots.in_order, ..self }
    }

    /// The same, going on with a certificate that is not trusted. Its signatures are verified all the same, unless the library
    /// cannot read it.
    #[must_use]
    pub fn lenient(self) -> Self {
        Self { strict: false, ..self }
    }

    /// The same, without a certificate of our own.
    #[must_use]
    pub fn anonymous(self) -> Self {
        Self { identity: None, ..self }
    }

    /// The server name that is sent (SNI, RFC 6066 section 3); none for addresses.
    pub fn sent_name(&self) -> Option<String> {
        match &self.name {
            ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
            _ => None,
        }
    }

    /// The name that would have been sent, if the library could.
    pub fn unsent_name(&self) -> Option<&str> {
        self.unsent.as_deref()
    }

    /// Whether there is a certificate of our own to show.
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// The connection inside TLS, or why there is none.
    pub async fn over(&self, stream: Stream, deadline: Instant) -> Dial {
        let errno = match self.shake_hands(stream, deadline).await.result {
            Ok(stream) => return Dial::Connected(stream),
            Err(Failed::Silence) => return Dial::TimedOut(None),
            Err(Failed::Broken(errno)) => errno,
            Err(Failed::End) => Errno::ECONNRESET,
            Err(Failed::Refused(_) | Failed::TooMuch) => Errno::EPROTO,
        };
        Dial::Failed(Failure { errno, synchronous: false, icmp: None, local: None })
    }

    /// Shakes hands over `stream`.
    pub async fn shake_hands(&self, stream: Stream, deadline: Instant) -> Handshake {
        let began = clock::now();
        let watch = Arc::new(Watch::new(self));
        let mut config = self.config.clone();
        config.dangerous().set_certificate_verifier(Arc::<Watch>::clone(&watch));
        config.client_auth_cert_resolver = Arc::<Watch>::clone(&watch);
        let mut heard = Vec::new();
        let session = match ClientConnection::new(Arc::new(config), self.name.clone()) {
            Ok(connection) => Session::new(connection),
            Err(error) => return watch.handshake(Err(Failed::Refused(error)), None, heard, began),
        };
        let result = session.complete(&stream, &mut heard, deadline).await;
        let agreed = session.agreed();
        heard.truncate(if result.is_ok() { 0 } else { MOST_HEARD });
        watch.handshake(result.map(|()| stream.within(session)), Some(agreed), heard, began)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).field("strict", &self.strict).finish_non_exhaustive()
    }
}

/// The SHA-256 of `bytes` (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    suite.map(|suite| suite.common.hash_provider.hash(bytes).as_ref().to_vec()).unwrap_or_default()
}

/// A name without what only the resolver or the kernel reads: the root's dot, an address' zone. One that the library cannot send
/// comes beside it, and in its place an address, for which none is sent.
fn server_name(name: &str) -> (ServerName<'static>, Option<String>) {
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = name.split('%').next().unwrap_or(name);
    if let Ok(ip) = address.parse::<IpAddr>() {
        return (ServerName::from(ip.to_canonical()), None);
    }
    match ServerName::try_from(name.to_owned()) {
        Ok(name) => (name, None),
        Err(_) => (ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)), Some(name.to_owned())),
    }
}

/// What a read that ended a handshake means.
fn failed(read: Read) -> Failed {
    match read {
        Read::Broken(errno) => Failed::Broken(errno),
        Read::Silence => Failed::Silence,
        Read::End | Read::Bytes(_) | Read::Alert(_) => Failed::End,
    }
}
