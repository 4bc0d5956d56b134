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

use x509_parser::der_parser::der::parse_der;
use x509_parser::extensions::{ExtendedKeyUsage, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::pem::Bundle;
use crate::sys::files;

/// What OpenSSL holds against an authority of version 3 without basicConstraints, and rustls does not.
pub const NO_CONSTRAINTS: &str = "it has no basicConstraints";
/// Of Netscape and of Microsoft: OpenSSL takes either for serverAuth (`XKU_SGC`).
const SERVER_GATED: [&str; 2] = ["2.16.840.1.113730.4.1", "1.3.6.1.4.1.311.10.3.3"];
/// serverAuth, and any purpose (RFC 5280 section 4.2.1.12).
const OF_SERVERS: [&str; 2] = ["1.3.6.1.5.5.7.3.1", "2.5.29.37.0"];

/// What was named on the command line.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// The authorities of `--cacert` and `--cacertdir`, as [`Material::trusted`] has them; the system's, if none were named.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    /// Whether they stand in the order in which OpenSSL has them: that of one file.
    pub in_order: bool,
    /// The file that OpenSSL would not load them from, and why.
    pub unloadable: Option<String>,
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
    /// The same with their certificates.
    pub known: Arc<Vec<Known>>,
    /// Whether they stand in the order in which OpenSSL has them.
    pub in_order: bool,
    /// What was not to be used of the files they came from.
    pub problems: Vec<String>,
}

/// An authority that is trusted, with all that its certificate says: the library keeps its name and key, and looks at no more.
#[derive(Debug, Clone)]
pub struct Known {
    pub(super) anchor: TrustAnchor<'static>,
    pub(super) certificate: CertificateDer<'static>,
    /// Until when it is valid, in seconds since 1970.
    pub(super) until: i64,
    /// Whether OpenSSL asks for nobody who signed it: its file says that it is trusted for servers (TRUSTED CERTIFICATE).
    pub(super) stands_alone: bool,
    /// How many authorities may stand between it and a server, where it says so.
    pub(super) pathlen: Option<u32>,
    /// Why others than the library refuse it.
    pub(super) doubt: Option<Doubt>,
}

/// Why an authority that is trusted is refused by OpenSSL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Its time is over, or has not come.
    OutOfTime,
    /// It may not sign others, or no servers.
    Unfit(&'static str),
}

impl Material {
    /// Those of the file at `path`, which has at least one.
    ///
    /// # Errors
    /// What reading says, or what is wrong with the text.
    pub fn certificates(path: &str, patience: Duration) -> io::Result<Vec<CertificateDer<'static>>> {
        Ok(Self::trusted(path, patience)?.certificates.into_iter().map(alone).collect())
    }

    /// The same, each followed by what OpenSSL is to trust it for, where it is a TRUSTED CERTIFICATE, and whether it would load them.
    ///
    /// # Errors
    /// As [`Self::certificates`].
    pub fn trusted(path: &str, patience: Duration) -> io::Result<Bundle> {
        let found = Bundle::read(files::read_given_bundle(path, patience)?);
        if found.certificates.is_empty() {
            return Err(invalid("it holds no certificate (BEGIN CERTIFICATE)"));
        }
        Ok(found)
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
        let mut known = Vec::new();
        for whole in found {
            let certificate = alone(whole.clone());
            if let Err(error) = store.add(certificate.clone()) {
                problems.push(error.to_string());
            } else if let Some(anchor) = store.roots.last().cloned() {
                known.extend(Known::new(anchor, &whole));
            }
        }
        Roots { store: Arc::new(store), known: Arc::new(known), in_order: self.in_order, problems }
    }
}

impl Roots {
    /// The names of the authorities, as DER.
    pub fn names(&self) -> impl Iterator<Item = Vec<u8>> {
        self.store.roots.iter().map(|root| sequence(root.subject.as_ref()))
    }
}

impl Known {
    fn new(anchor: TrustAnchor<'static>, whole: &CertificateDer<'_>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(whole).ok()?;
        let lapsed = (!parsed.validity().is_valid()).then_some(Doubt::OutOfTime);
        let constraints = parsed.basic_constraints().ok().flatten();
        let stands_alone = is_trusted_for_servers(rest);
        Some(Self {
            anchor,
            stands_alone,
            certificate: CertificateDer::from(whole[..whole.len() - rest.len()].to_vec()),
            until: parsed.validity().not_after.timestamp(),
            pathlen: constraints.and_then(|constraints| constraints.value.path_len_constraint),
            doubt: lapsed.or_else(|| unfit(&parsed, stands_alone).map(Doubt::Unfit)),
        })
    }
}

/// Why it is no authority of servers, as OpenSSL sees it (`check_purpose_ssl_server` and `check_ca` in `v3_purp.c`): one of
/// version 1 has nothing that says so. What it is trusted for by its file counts for more than its extendedKeyUsage.
pub(super) fn unfit(authority: &X509Certificate, is_trusted_for_servers: bool) -> Option<&'static str> {
    let constraints = authority.basic_constraints().ok().flatten();
    let usage = authority.key_usage().ok().flatten();
    let purposes = authority.extended_key_usage().ok().flatten();
    if !is_trusted_for_servers && purposes.is_some_and(|purposes| !is_for_servers(purposes.value)) {
        return Some("its extendedKeyUsage leaves out serverAuth");
    }
    if usage.as_ref().is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Some("its keyUsage leaves out keyCertSign");
    }
    match constraints {
        Some(constraints) if !constraints.value.ca => Some("CA:FALSE"),
        None if usage.is_none() && authority.version() == X509Version::V3 && !is_of_netscape(authority) => {
            Some(NO_CONSTRAINTS)
        }
        _ => None,
    }
}

/// True if these are a server's purposes, as OpenSSL takes them.
pub(super) fn is_for_servers(purposes: &ExtendedKeyUsage) -> bool {
    purposes.server_auth || is_server_gated(purposes)
}

/// True if one of these is that of servers from before there was serverAuth.
pub fn is_server_gated(purposes: &ExtendedKeyUsage) -> bool {
    purposes.other.iter().any(|one| SERVER_GATED.contains(&one.to_id_string().as_str()))
}

/// True if it is an authority of servers as Netscape said it (nsCertType).
fn is_of_netscape(authority: &X509Certificate) -> bool {
    let kinds = authority.extensions().iter().map(x509_parser::extensions::X509Extension::parsed_extension);
    kinds.into_iter().any(|kind| matches!(kind, ParsedExtension::NSCertType(kind) if kind.ssl_ca()))
}

/// True if what follows a TRUSTED CERTIFICATE (`X509_CERT_AUX`, whose first part has the purposes that it is trusted for) names servers.
fn is_trusted_for_servers(aux: &[u8]) -> bool {
    let Ok((_, aux)) = parse_der(aux) else { return false };
    let trust = aux.as_sequence().ok().and_then(|parts| parts.first()?.as_sequence().ok());
    let mut purposes = trust.map_or(&[][..], Vec::as_slice).iter().filter_map(|one| one.as_oid().ok());
    purposes.any(|one| OF_SERVERS.contains(&one.to_id_string().as_str()))
}

/// The certificate without what follows it: in a TRUSTED CERTIFICATE, what OpenSSL is to trust it for.
fn alone(certificate: CertificateDer<'static>) -> CertificateDer<'static> {
    let rest = X509Certificate::from_der(&certificate).map_or(0, |(rest, _)| rest.len());
    match rest {
        0 => certificate,
        rest => CertificateDer::from(certificate[..certificate.len() - rest].to_vec()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is against an authority that is made so.
    #[track_caller]
    fn against(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Option<Doubt> {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        change(&mut params);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let mut store = RootCertStore::empty();
        store.add(certificate.der().clone()).unwrap();
        Known::new(store.roots[0].clone(), certificate.der()).unwrap().doubt
    }

    #[test]
    fn what_may_not_sign_servers_is_doubted() {
        use rcgen::ExtendedKeyUsagePurpose as Purpose;
        assert_eq!(against(|_| {}), None);
        assert_eq!(against(|it| it.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]), None);
        assert_eq!(against(|it| it.extended_key_usages = vec![Purpose::ServerAuth, Purpose::ClientAuth]), None);
        assert_eq!(against(|it| it.is_ca = rcgen::IsCa::ExplicitNoCa), Some(Doubt::Unfit("CA:FALSE")));
        let bare = against(|it| it.is_ca = rcgen::IsCa::NoCa);
        assert_eq!(bare, Some(Doubt::Unfit(NO_CONSTRAINTS)));
        let old = |it: &mut rcgen::CertificateParams, kind: u8| {
            it.is_ca = rcgen::IsCa::NoCa;
            // nsCertType: a BIT STRING.
            let value = vec![0x03, 0x02, 0x00, kind];
            let kind = rcgen::CustomExtension::from_oid_content(&[2, 16, 840, 1, 113_730, 1, 1], value);
            it.custom_extensions = vec![kind];
        };
        assert_eq!(against(|it| old(it, 0x04)), None);
        assert_eq!(against(|it| old(it, 0x02)), Some(Doubt::Unfit(NO_CONSTRAINTS)));
        let gated = Purpose::Other(vec![2, 16, 840, 1, 113_730, 4, 1]);
        assert_eq!(against(|it| it.extended_key_usages = vec![gated]), None);
        let other = against(|it| it.extended_key_usages = vec![Purpose::ClientAuth]);
        assert_eq!(other, Some(Doubt::Unfit("its extendedKeyUsage leaves out serverAuth")));
        let signs_lists = against(|it| it.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign]);
        assert_eq!(signs_lists, Some(Doubt::Unfit("its keyUsage leaves out keyCertSign")));
        assert_eq!(against(|it| it.not_after = rcgen::date_time_ymd(2001, 1, 1)), Some(Doubt::OutOfTime));
    }

    #[test]
    fn files_are_taken_as_openssl_takes_them() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let pem = certificate.pem();
        let labelled = |label: &str| pem.replace(" CERTIFICATE", &format!(" {label} CERTIFICATE"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt").to_str().unwrap().to_owned();
        let found = |text: &str| {
            files::write(Path::new(&path), text).unwrap();
            Material::certificates(&path, files::PATIENCE).unwrap()
        };
        let marked = format!("\u{feff}{}", pem.replace('\n', "\r\n"));
        for text in [&pem, &labelled("TRUSTED"), &labelled("X509"), &marked] {
            assert_eq!(found(text), [certificate.der().clone()], "{text}");
        }
        assert_eq!(found(&format!("{pem}\u{feff}{marked}")).len(), 2);
        // More than any file of settings has: the bundle of a system is some 200 KiB.
        assert_eq!(found(&format!("{}{pem}", "# so many words\n".repeat(1 << 17))).len(), 1);
        let trusted = [certificate.der(), &[0x30, 0x00][..]].concat();
        assert_eq!(alone(CertificateDer::from(trusted)), *certificate.der());
        let server_auth = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
        let aux = |outer: &[u8]| [outer, &server_auth].concat();
        assert!(is_trusted_for_servers(&aux(&[0x30, 0x0c, 0x30, 0x0a])));
        // What it is not to be trusted for.
        assert!(!is_trusted_for_servers(&aux(&[0x30, 0x0c, 0xa0, 0x0a])));
        assert!(!is_trusted_for_servers(&[0x30, 0x00]) && !is_trusted_for_servers(&[]));
    }
}
