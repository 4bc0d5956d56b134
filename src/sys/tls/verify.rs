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
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::material::{Lapsed, is_same};
use super::{Client, Failed, Handshake, Verdict};
use crate::sys::clock;
use crate::sys::socket::Stream;

/// The most certificates of a chain that are compared with each other.
const MOST: usize = 10;
/// The smallest key of RSA that the library takes, in bits.
const SMALLEST_RSA: usize = 2048;

/// Watches one handshake: what the server shows, and what it asks for.
#[derive(Debug)]
pub(super) struct Watch {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    lapsed: Arc<Vec<Lapsed>>,
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
            lapsed: Arc::clone(&client.lapsed),
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
        let name = ParsedCertificate::try_from(leaf).and_then(|parsed| verify_server_name(&parsed, name));
        let mut now_trusted = trust(now);
        let trust_when_valid = now_trusted.as_ref().err().and_then(|_| valid_time(leaf, now)).map(trust);
        let lapsed = if now_trusted.is_ok() { self.lapsed(leaf, others, now) } else { None };
        if let Some(lapsed) = lapsed {
            now_trusted = Err(out_of_time(&lapsed.certificate, now));
        }
        let chain: Vec<X509Certificate> = [leaf]
            .into_iter()
            .chain(others)
            .take(MOST)
            .map_while(|one| X509Certificate::from_der(one).ok().map(|(_, one)| one))
            .collect();
        let anchors: Vec<usize> = (0..chain.len()).filter(|at| self.is_anchor(&chain[*at])).collect();
        Verdict {
            trust: now_trusted,
            trust_when_valid,
            name: name.map_err(certificate_error),
            is_root: anchors.first() == Some(&0) && chain[0].subject() == chain[0].issuer(),
            anchors,
            misfit: misfit(&chain),
            lapsed: lapsed.map(|lapsed| lapsed.certificate.clone()),
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

    /// The authority that is out of its time and without which nobody vouches for it.
    fn lapsed(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> Option<&Lapsed> {
        if self.lapsed.is_empty() {
            return None;
        }
        let is_lapsed = |anchor: &&TrustAnchor| self.lapsed.iter().any(|lapsed| is_same(&lapsed.anchor, anchor));
        let timely = self.roots.roots.iter().filter(|anchor| !is_lapsed(anchor)).cloned().collect();
        let by = |roots: RootCertStore| self.trust(&roots, leaf, others, now).is_ok();
        if by(timely) {
            return None;
        }
        self.lapsed.iter().find(|lapsed| by([lapsed.anchor.clone()].into_iter().collect()))
    }

    /// A trust anchor has the name and the key of a certificate, and no more (RFC 5914): the same in both is the same.
    fn is_anchor(&self, one: &X509Certificate) -> bool {
        let (subject, key) = (inner(one.subject().as_raw()), inner(one.public_key().raw));
        self.roots
            .roots
            .iter()
            .any(|root| Some(root.subject.as_ref()) == subject && Some(root.subject_public_key_info.as_ref()) == key)
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

fn is_short(certificate: &X509Certificate) -> bool {
    let key = certificate.public_key().parsed();
    matches!(key, Ok(PublicKey::RSA(key)) if key.key_size() < SMALLEST_RSA)
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
    /// Everything that counts against the certificate. One that is itself among the trusted ones is accepted within its time, as by
    /// OpenSSL (`x509_vfy.c`: a self-signed one that is trusted ends the chain), Go and Java: rustls alone demands another that
    /// signed it.
    pub fn against(&self) -> impl Iterator<Item = &CertificateError> {
        let later = self.trust_when_valid.as_ref().and_then(|then| then.as_ref().err());
        let trust = self.trust.as_ref().err().into_iter().chain(later);
        trust.filter(|error| !self.is_root || is_of_time(error)).chain(self.name.as_ref().err())
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
