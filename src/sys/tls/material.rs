//! Whom we trust and who we are: certificates and a key, from the files that were named or from the system.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::sys::files;

/// What was named on the command line.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// The authorities of `--cacert` and `--cacertdir`; the system's, if none were named.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    /// `--cert` and `--key`.
    pub identity: Option<Identity>,
}

/// A certificate of our own, with its key.
#[derive(Clone)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
}

/// The authorities that are trusted.
#[derive(Debug, Clone)]
pub struct Roots {
    /// As the library takes them.
    pub store: Arc<RootCertStore>,
    /// Those of them that are out of their time, and not there again with other dates.
    pub lapsed: Arc<Vec<Lapsed>>,
    /// What was not to be used of the files they came from.
    pub problems: Vec<String>,
}

/// An authority whose time is over or has not come: its dates are not in what the library keeps of it.
#[derive(Debug, Clone)]
pub struct Lapsed {
    pub(super) anchor: TrustAnchor<'static>,
    pub(super) certificate: CertificateDer<'static>,
}

impl Material {
    /// Those of the file at `path`, which has at least one.
    ///
    /// # Errors
    /// What reading says, or what is wrong with the text.
    pub fn certificates(path: &str, patience: Duration) -> io::Result<Vec<CertificateDer<'static>>> {
        let bytes = files::read_given_bytes(path, patience)?;
        let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok).collect();
        match found.is_empty() {
            false => Ok(found),
            // OpenSSL takes PEM alone, Java and Windows write DER.
            true if X509Certificate::from_der(&bytes).is_ok() => Ok(vec![CertificateDer::from(bytes)]),
            true => Err(invalid("it holds no certificate (BEGIN CERTIFICATE)")),
        }
    }

    /// Those of every file in the folder at `path`, as `c_rehash` names them or otherwise.
    ///
    /// # Errors
    /// What reading the folder says, or that it has none.
    pub fn certificates_in(path: &str) -> io::Result<Vec<CertificateDer<'static>>> {
        let found = rustls_native_certs::load_certs_from_paths(None, Some(Path::new(path)));
        match (found.certs.is_empty(), found.errors.first()) {
            (false, _) => Ok(found.certs),
            (true, Some(error)) => Err(io::Error::other(error.to_string())),
            (true, None) => Err(invalid("no file of it is named as OpenSSL looks for them (openssl rehash)")),
        }
    }

    /// The identity of these two files.
    ///
    /// # Errors
    /// What reading says, or what is wrong with them.
    pub fn identity(cert: &str, key: &str, patience: Duration) -> Result<Identity, (String, io::Error)> {
        let at = |path: &str| {
            let path = path.to_owned();
            move |error| (path, error)
        };
        let chain = Self::certificates(cert, patience).map_err(at(cert))?;
        let text = files::read_given(key, patience).map_err(at(key))?;
        let private = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| at(key)(invalid(no_key(&text))))?;
        let certified = CertifiedKey::from_der(chain, private, &ring::default_provider());
        let certified = certified.map_err(|error| at(key)(invalid(&format!("with {cert}: {}", no_use(&error)))))?;
        Ok(Identity { key: Arc::new(certified) })
    }

    /// The authorities, read from the system if none were named.
    pub fn roots(&self) -> Roots {
        let (found, mut problems) = match &self.authorities {
            Some(named) => (named.clone(), Vec::new()),
            None => system(),
        };
        let mut store = RootCertStore::empty();
        let (mut lapsed, mut timely) = (Vec::new(), Vec::new());
        for certificate in found {
            let is_timely = is_timely(&certificate);
            if let Err(error) = store.add(certificate.clone()) {
                problems.push(error.to_string());
            } else if let Some(anchor) = store.roots.last().cloned() {
                if is_timely {
                    timely.push(anchor);
                } else {
                    lapsed.push(Lapsed { anchor, certificate });
                }
            }
        }
        lapsed.retain(|one| !timely.iter().any(|other| is_same(other, &one.anchor)));
        Roots { store: Arc::new(store), lapsed: Arc::new(lapsed), problems }
    }
}

impl Roots {
    /// The names of the authorities, as DER.
    pub fn names(&self) -> impl Iterator<Item = Vec<u8>> {
        self.store.roots.iter().map(|root| sequence(root.subject.as_ref()))
    }
}

fn is_timely(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| parsed.validity().is_valid())
}

/// True for one authority with one key.
pub(super) fn is_same(one: &TrustAnchor<'_>, other: &TrustAnchor<'_>) -> bool {
    one.subject == other.subject && one.subject_public_key_info == other.subject_public_key_info
}

/// A SEQUENCE of this content (X.690 section 8.1): a trust anchor keeps its name without the frame.
fn sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let long: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut der = vec![0x30];
    if content.len() >= 0x80 {
        // A length has at most eight bytes.
        der.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
    }
    der.extend(if long.is_empty() { vec![0] } else { long });
    der.extend_from_slice(content);
    der
}

fn system() -> (Vec<CertificateDer<'static>>, Vec<String>) {
    let found = rustls_native_certs::load_native_certs();
    (found.certs, found.errors.iter().map(ToString::to_string).collect())
}

/// Why a key and its certificate are of no use.
fn no_use(error: &Error) -> String {
    match error {
        Error::General(says) => format!(
            "redisdoc's library takes keys of RSA from 2048 bits on, of P-256, P-384 and Ed25519 (OpenSSL takes more): {says}"
        ),
        error => error.to_string(),
    }
}

/// Why there is no key in this text, without a word of it.
fn no_key(text: &str) -> &'static str {
    // RFC 5958 section 3, RFC 1421 section 4.6.1.1.
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        "its key is kept under a passphrase, which is not asked for here; a copy without one: openssl pkey -in FILE -out COPY"
    } else {
        "it holds no private key (BEGIN PRIVATE KEY)"
    }
}

fn invalid(says: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, says.to_owned())
}

impl Identity {
    /// The certificate itself, as it is shown.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.key.cert.first()
    }

    /// How many certificates are shown: its own, and those of the authorities behind it.
    pub fn length(&self) -> usize {
        self.key.cert.len()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}
