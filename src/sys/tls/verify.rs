//! The verdict on a certificate: the library's own, its parts apart, and kept also where the handshake failed over it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Client, Failed, Handshake, Verdict};
use crate::sys::clock;
use crate::sys::socket::Stream;

/// Watches one handshake: what the server shows, and what it asks for.
#[derive(Debug)]
pub(super) struct Watch {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
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
        let trust = |at| self.trust(leaf, others, at).map_err(certificate_error);
        let name = ParsedCertificate::try_from(leaf).and_then(|parsed| verify_server_name(&parsed, name));
        let now_trusted = trust(now);
        let trust_when_valid = now_trusted.as_ref().err().and_then(|_| valid_time(leaf, now)).map(trust);
        Verdict {
            trust: now_trusted,
            trust_when_valid,
            name: name.map_err(certificate_error),
            is_root: self.is_root(leaf),
        }
    }

    fn trust(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], at: UnixTime) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, others, at, algorithms)
    }

    /// A trust anchor has the name and the key of a certificate, and no more (RFC 5914): the same in both is the same.
    fn is_root(&self, leaf: &CertificateDer<'_>) -> bool {
        let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return false };
        if leaf.subject() != leaf.issuer() {
            return false;
        }
        let (subject, key) = (inner(leaf.subject().as_raw()), inner(leaf.public_key().raw));
        self.roots
            .roots
            .iter()
            .any(|root| Some(root.subject.as_ref()) == subject && Some(root.subject_public_key_info.as_ref()) == key)
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
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
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
    /// Why the certificate is not accepted, if it is not. One that is itself among the trusted ones, and is no more than that, is
    /// accepted as by OpenSSL (`x509_vfy.c`: a self-signed one that is trusted ends the chain), Go and Java: rustls alone demands
    /// another that signed it.
    pub fn flaw(&self) -> Option<CertificateError> {
        let by_itself = self.is_root && self.trust_when_valid.is_none();
        let trust = self.trust.clone().err().filter(|_| !by_itself);
        trust.or_else(|| self.name.clone().err())
    }
}
