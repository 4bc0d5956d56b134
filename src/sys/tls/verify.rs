//! The verdict on a certificate: the library's own, its parts apart, and kept also where the handshake failed over it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

use super::material::{Doubt, Known, is_for_servers};
use super::walk::walk;
use super::{Client, Failed, Handshake, Verdict};
use crate::model::text::matches;
use crate::sys::clock;
use crate::sys::socket::Stream;

/// The most certificates of a chain that are compared with each other.
const MOST: usize = 10;
/// The most authorities of one name that are tried.
pub(super) const MOST_NAMESAKES: usize = 32;
/// What is held against an authority that is too far above.
pub(super) const TOO_LONG: &str = "its pathlen allows fewer authorities between it and a server";
/// The smallest key of RSA that the library takes, in bits.
const SMALLEST_RSA: usize = 2048;

/// Watches one handshake: what the server shows, and what it asks for.
#[derive(Debug)]
pub(super) struct Watch {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    known: Arc<Vec<Known>>,
    in_order: bool,
    unsent: Option<String>,
    identity: Option<Arc<CertifiedKey>>,
    strict: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    verdict: Option<Verdict>,
    asked: Option<Vec<Vec<u8>>>,
}

impl Watch {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            provider: Arc::clone(&client.provider),
            roots: Arc::clone(&client.roots),
            known: Arc::clone(&client.known),
            in_order: client.in_order,
            unsent: client.unsent.clone(),
            identity: client.identity.clone(),
            strict: client.strict,
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handshake as it ended.
    pub(super) fn handshake(
        &self,
        result: Result<Stream, Failed>,
        agreed: Option<(Option<String>, Option<String>)>,
        heard: Vec<u8>,
        began: Instant,
    ) -> Handshake {
        let Seen { chain, verdict, asked } = std::mem::take(&mut *self.seen());
        let (version, cipher) = agreed.unwrap_or_default();
        Handshake { result, chain, verdict, asked, version, cipher, heard, took: clock::now() - began }
    }

    fn verdict(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Verdict {
        let trust = |at| self.trust(&self.roots, leaf, others, at).map_err(certificate_error);
        let name = match &self.unsent {
            Some(name) => {
                if holds(leaf, name) {
                    Ok(())
                } else {
                    Err(CertificateError::NotValidForName)
                }
            }
            None => ParsedCertificate::try_from(leaf)
                .and_then(|parsed| verify_server_name(&parsed, name))
                .map_err(certificate_error),
        };
        let mut now_trusted = trust(now);
        let trust_when_valid = now_trusted.as_ref().err().and_then(|_| valid_time(leaf, now)).map(trust);
        let chain: Vec<X509Certificate> = [leaf]
            .into_iter()
            .chain(others)
            .take(MOST)
            .map_while(|one| X509Certificate::from_der(one).ok().map(|(_, one)| one))
            .collect();
        let anchors: Vec<usize> = (0..chain.len()).filter(|at| self.is_anchor(&chain[*at])).collect();
        // One that was made again with the same key has the name and the key of that which is trusted, and nobody takes it for it.
        let is_same = self.known.iter().any(|known| known.certificate == *leaf);
        let is_own = anchors.first() == Some(&0) && chain[0].subject() == chain[0].issuer();
        let is_root = is_own && is_same;
        if is_own && !is_same && trust_when_valid.is_none() {
            now_trusted = Err(CertificateError::UnknownIssuer);
        }
        let voucher = if now_trusted.is_ok() { self.voucher(&chain, is_root, leaf, others, now) } else { None };
        let doubt = voucher.and_then(|one| doubt(one, &chain));
        let of = |lapsed: bool| voucher.filter(|_| (doubt == Some(Doubt::OutOfTime)) == lapsed);
        let lapsed = of(true).map(|one| one.certificate.clone());
        let unfit = of(false).filter(|_| !is_root).and_then(|one| match doubt {
            Some(Doubt::Unfit(why)) => Some((one.certificate.clone(), why)),
            _ => None,
        });
        let misfit = if now_trusted.is_ok() { None } else { misfit(&chain) };
        match (&lapsed, &unfit) {
            (Some(lapsed), _) => now_trusted = Err(out_of_time(lapsed, now)),
            (_, Some(_)) => now_trusted = Err(CertificateError::ApplicationVerificationFailure),
            _ => {}
        }
        let walked = match &now_trusted {
            // Of a longer chain not all is known.
            Ok(()) if !is_root && chain.len() > others.len() => walk(&chain, &self.known, self.in_order),
            _ => Ok(None),
        };
        let anchor = walked.as_ref().ok().copied().flatten().or(voucher);
        let short = if now_trusted == Err(CertificateError::BadSignature) { self.short(&chain, others) } else { None };
        Verdict {
            trust: now_trusted,
            trust_when_valid,
            name,
            purpose: purpose(chain.first()),
            is_root,
            anchors,
            misfit,
            anchor: anchor.filter(|_| !is_root).map(|one| one.certificate.clone()),
            lapsed,
            unfit,
            stop: walked.err(),
            short,
            signature: Ok(()),
        }
    }

    fn trust(
        &self,
        roots: &RootCertStore,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, others, at, algorithms)
    }

    /// The best of the authorities that vouch for it alone: one that nobody doubts, and that is valid longest.
    fn voucher(
        &self,
        chain: &[X509Certificate],
        is_root: bool,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<&Known> {
        let signs = |known: &&Known| chain.iter().any(|one| is_subject(&known.anchor, one.issuer()));
        let vouches = |known: &&Known| {
            let roots: RootCertStore = [known.anchor.clone()].into_iter().collect();
            self.trust(&roots, leaf, others, now).is_ok()
        };
        let is_doubted = |known: &Known| doubt(known, chain).is_some_and(|doubt| !is_root || doubt == Doubt::OutOfTime);
        let namesakes: Vec<&Known> = self.known.iter().filter(signs).take(MOST_NAMESAKES).collect();
        if let [only] = namesakes[..] {
            return Some(only);
        }
        let all = namesakes.into_iter().filter(vouches);
        all.max_by_key(|known| (!is_doubted(known), known.until))
    }

    /// An authority of the chain with a key that is too short, sent or known here by its name.
    fn short(&self, chain: &[X509Certificate], others: &[CertificateDer<'_>]) -> Option<CertificateDer<'static>> {
        let signs = |authority: &X509Certificate| chain.iter().any(|one| one.issuer() == authority.subject());
        let is_short =
            |der: &&CertificateDer| X509Certificate::from_der(der).is_ok_and(|(_, one)| is_short(&one) && signs(&one));
        let known = self.known.iter().map(|known| &known.certificate);
        others.iter().take(MOST).chain(known).find(is_short).map(|one| one.clone().into_owned())
    }

    /// A trust anchor has the name and the key of a certificate, and no more (RFC 5914): the same in both is the same.
    fn is_anchor(&self, one: &X509Certificate) -> bool {
        let key = inner(one.public_key().raw);
        let is_same =
            |root: &TrustAnchor| is_subject(root, one.subject()) && Some(root.subject_public_key_info.as_ref()) == key;
        self.roots.roots.iter().any(is_same)
    }

    /// What the handshake's signature is worth: where the library cannot read the certificate or has no use for its key, nobody
    /// can tell here, and a lenient client goes on, as redis-cli's `--insecure` does.
    fn signature(
        &self,
        certificate: &CertificateDer<'_>,
        verified: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Err(Error::InvalidCertificate(error)) = &verified else { return verified };
        if let Some(verdict) = &mut self.seen().verdict {
            verdict.signature = Err(error.clone());
        }
        let is_beyond = ParsedCertificate::try_from(certificate).is_err() || has_short_key(certificate);
        if is_beyond && !self.strict { Ok(HandshakeSignatureValid::assertion()) } else { verified }
    }
}

/// Why others than the library refuse the authority, for itself or below this chain.
fn doubt(authority: &Known, chain: &[X509Certificate]) -> Option<Doubt> {
    let is_too_long = authority.pathlen.is_some_and(|most| between(&authority.anchor, chain) > most);
    authority.doubt.or(is_too_long.then_some(Doubt::Unfit(TOO_LONG)))
}

/// How many authorities at least stand between this one and the server's own certificate, by their names (RFC 5280 section 4.2.1.9).
fn between(authority: &TrustAnchor<'_>, chain: &[X509Certificate]) -> u32 {
    let mut reached: Vec<&X509Certificate> = chain.first().into_iter().collect();
    for count in (0..).take(chain.len()) {
        if reached.iter().any(|one| is_subject(authority, one.issuer())) {
            return count;
        }
        let is_next = |one: &&X509Certificate| reached.iter().any(|last| last.issuer() == one.subject());
        reached = chain.iter().filter(is_next).collect();
    }
    0
}

/// The first certificate that others of the chain have the issuer's name for, and none of them signed.
fn misfit(chain: &[X509Certificate]) -> Option<usize> {
    let is_misfit = |one: &X509Certificate| {
        let mut issuers = chain.iter().filter(|other| other.subject() == one.issuer()).peekable();
        let is_foreign = |issuer: &X509Certificate| {
            let verified = one.verify_signature(Some(issuer.public_key()));
            // A short key fails whatever it signed.
            verified == Err(X509Error::SignatureVerificationError) && !is_short(issuer)
        };
        one.subject() != one.issuer() && issuers.peek().is_some() && issuers.all(is_foreign)
    };
    chain.iter().position(is_misfit)
}

fn has_short_key(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| is_short(&parsed))
}

pub(super) fn is_short(certificate: &X509Certificate) -> bool {
    let key = certificate.public_key().parsed();
    matches!(key, Ok(PublicKey::RSA(key)) if key.key_size() < SMALLEST_RSA)
}

/// True if the authority has this name.
pub(super) fn is_subject(anchor: &TrustAnchor<'_>, name: &X509Name<'_>) -> bool {
    inner(name.as_raw()) == Some(anchor.subject.as_ref())
}

/// Whether the certificate names this host, which the library takes for none.
fn holds(leaf: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return false };
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|one| matches!(one, GeneralName::DNSName(one) if matches(one, name)))
}

/// Whether a server may show it: the library looks at that last, and not at all at one that signed itself.
fn purpose(leaf: Option<&X509Certificate<'_>>) -> Result<(), CertificateError> {
    let purposes = leaf.and_then(|leaf| leaf.extended_key_usage().ok().flatten());
    let is_limited = purposes.is_some_and(|purposes| !is_for_servers(purposes.value));
    if is_limited { Err(CertificateError::InvalidPurpose) } else { Ok(()) }
}

/// On which side of its time an authority is.
fn out_of_time(certificate: &CertificateDer<'_>, now: UnixTime) -> CertificateError {
    let begin = X509Certificate::from_der(certificate).map_or(0, |(_, one)| one.validity().not_before.timestamp());
    if u64::try_from(begin).unwrap_or_default() > now.as_secs() {
        CertificateError::NotValidYet
    } else {
        CertificateError::Expired
    }
}

/// The content of a DER value without its tag and length.
fn inner(der: &[u8]) -> Option<&[u8]> {
    match *der.get(1)? {
        short if short < 0x80 => der.get(2..),
        long => der.get(2 + usize::from(long & 0x7f)..),
    }
}

/// A time at which the certificate itself is valid, where that is not now.
fn valid_time(leaf: &CertificateDer<'_>, now: UnixTime) -> Option<UnixTime> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
    let (begin, end) =
        (seconds(leaf.validity().not_before.timestamp()), seconds(leaf.validity().not_after.timestamp()));
    let is_valid = (begin..=end).contains(&now.as_secs());
    let last = std::time::Duration::from_secs(if now.as_secs() > end { end } else { begin });
    (!is_valid).then(|| UnixTime::since_unix_epoch(last))
}

fn certificate_error(error: Error) -> CertificateError {
    match error {
        Error::InvalidCertificate(error) => error,
        _ => CertificateError::BadEncoding,
    }
}

impl ServerCertVerifier for Watch {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.verdict(leaf, others, name, now);
        let flaw = verdict.flaw();
        let mut seen = self.seen();
        seen.chain = [leaf].into_iter().chain(others).map(|one| one.clone().into_owned()).collect();
        seen.verdict = Some(verdict);
        match flaw {
            Some(error) if self.strict => Err(Error::InvalidCertificate(error)),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(
            cert,
            verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms),
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(
            cert,
            verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms),
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Watch {
    fn resolve(&self, issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.seen().asked = Some(issuers.iter().map(|issuer| issuer.to_vec()).collect());
        self.identity.clone()
    }

    fn has_certs(&self) -> bool {
        // Otherwise we are not even asked.
        true
    }
}

impl Verdict {
    /// Everything that counts against the certificate. One that is itself among the trusted ones is accepted within its time and for
    /// its purpose, as by OpenSSL (`x509_vfy.c`: a self-signed one that is trusted ends the chain), Go and Java: rustls alone demands another that
    /// signed it.
    pub fn against(&self) -> impl Iterator<Item = &CertificateError> {
        let later = self.trust_when_valid.as_ref().and_then(|then| then.as_ref().err());
        let trust = self.trust.as_ref().err().into_iter().chain(later);
        let trust = trust.filter(|error| !self.is_root || is_of_time(error));
        trust.chain(self.purpose.as_ref().err()).chain(self.name.as_ref().err())
    }

    /// Why the certificate is not accepted, if it is not.
    pub fn flaw(&self) -> Option<CertificateError> {
        self.against().next().cloned()
    }
}

fn is_of_time(error: &CertificateError) -> bool {
    use CertificateError as E;
    matches!(error, E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. })
}
