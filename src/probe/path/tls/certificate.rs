//! What a certificate says (RFC 5280), in words that can be saved, shown and compared.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OidRegistry;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

use crate::model::escape;

/// The most names that are kept of one certificate.
pub const MOST_NAMES: usize = 64;
/// The most bytes that are kept of one name.
const MOST_BYTES: usize = 256;

/// A certificate, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Whom it names (`CN=db, O=Example`).
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The common name of the subject.
    pub common_name: Option<String>,
    /// The DNS names and addresses it is valid for (subjectAltName), in words; `DNS:10.0.0.9` is an address that stands there as
    /// a name, which is none of either.
    pub names: Vec<String>,
    /// The names of other kinds in subjectAltName, as the URI of a service (SPIFFE).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_names: Vec<String>,
    /// From when it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
    /// Whether subject and issuer are the same, and so are their keys where both are told.
    pub self_signed: bool,
    /// Whether it may sign others (basicConstraints).
    pub is_ca: bool,
    /// Whether what it signs may only have certain names (nameConstraints).
    #[serde(default)]
    pub limits_names: bool,
    /// The purposes it is limited to (extendedKeyUsage), if it is.
    pub purposes: Vec<String>,
    /// Of what kind its key is: `RSA of 2048 bits`, `EC P-256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How it was signed, as an object identifier or its name.
    pub signed_with: String,
    /// The SHA-256 of the whole, in hexadecimal: `openssl x509 -fingerprint -sha256` prints the same.
    pub sha256: String,
    /// What its key is called by those that it signs (subjectKeyIdentifier), in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// What the key that signed it is called (authorityKeyIdentifier).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_key_id: Option<String>,
    /// Where the certificate of its issuer may be had (authorityInfoAccess), as public authorities write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
}

impl Certificate {
    /// What `der` says; `None` where it is no certificate.
    pub fn parse(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let is_ca = parsed.basic_constraints().ok().flatten().is_some_and(|part| part.value.ca);
        let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let key_id = extension(&parsed, |extension| match extension {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(hexadecimal(within(id.0))),
            _ => None,
        });
        let issuer_key_id = extension(&parsed, |extension| match extension {
            ParsedExtension::AuthorityKeyIdentifier(id) => Some(hexadecimal(within(id.key_identifier.as_ref()?.0))),
            _ => None,
        });
        // An authority may have the very name of what it signs: where both say which key, that counts.
        let own_key = issuer_key_id.as_ref().zip(key_id.as_ref()).is_none_or(|(signed, own)| signed == own);
        Some(Self {
            subject: name(parsed.subject()),
            issuer: name(parsed.issuer()),
            common_name: common_name.map(kept),
            names: names(&parsed),
            other_names: other_names(&parsed),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            self_signed: parsed.subject() == parsed.issuer() && own_key,
            is_ca,
            limits_names: parsed.name_constraints().map_or(true, |limits| limits.is_some()),
            purposes: purposes(&parsed),
            key: key(&parsed),
            signed_with: algorithm(&parsed),
            sha256: hexadecimal(&crate::sys::tls::sha256(der)),
            key_id,
            issuer_key_id,
            issuer_url: extension(&parsed, issuer_url),
        })
    }

    /// True if the certificate is valid at that time, in seconds since 1970.
    pub fn is_valid_at(&self, time: i64) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }

    /// True if it may be used for this purpose (extendedKeyUsage): `serverAuth`, `clientAuth`. `any` is neither to OpenSSL.
    pub fn is_for(&self, purpose: &str) -> bool {
        self.purposes.is_empty() || self.purposes.iter().any(|one| one == purpose)
    }

    /// What the key of its authority is called: where it signed itself, that is its own.
    pub fn authority_key_id(&self) -> Option<&String> {
        if self.self_signed { self.key_id.as_ref() } else { self.issuer_key_id.as_ref() }
    }

    /// True if `issuer` may be the one that signed it: by its name, and by the key where both say which.
    pub fn may_be_signed_by(&self, issuer: &Self) -> bool {
        let keys = self.issuer_key_id.as_ref().zip(issuer.key_id.as_ref());
        self.issuer == issuer.subject && keys.is_none_or(|(signed, key)| signed == key)
    }
}

/// A distinguished name out of its DER, in words.
pub fn distinguished_name(der: &[u8]) -> Option<String> {
    X509Name::from_der(der).ok().map(|(_, parsed)| name(&parsed))
}

fn name(name: &X509Name) -> String {
    // The register of all that may be in a name takes longer to make than all else here; the usual names do without.
    let usual = name.to_string_with_registry(&OidRegistry::default()).ok().filter(|text| !text.contains("OID("));
    kept(&usual.unwrap_or_else(|| name.to_string()))
}

fn kept(text: &str) -> String {
    let bytes = text.as_bytes();
    escape(&bytes[..bytes.len().min(MOST_BYTES)])
}

fn names(parsed: &X509Certificate) -> Vec<String> {
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return Vec::new() };
    let said = |name: &GeneralName| match name {
        GeneralName::DNSName(name) if name.parse::<IpAddr>().is_ok() => Some(format!("DNS:{}", kept(name))),
        GeneralName::DNSName(name) => Some(kept(name)),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(said).take(MOST_NAMES).collect()
}

fn other_names(parsed: &X509Certificate) -> Vec<String> {
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return Vec::new() };
    let is_other = |name: &&GeneralName| !matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_));
    let others = alternatives.value.general_names.iter().filter(is_other);
    others.map(|name| kept(&name.to_string())).take(MOST_NAMES).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        _ => None,
    }
}

fn purposes(parsed: &X509Certificate) -> Vec<String> {
    let usages = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::ExtendedKeyUsage(usage) => Some(usage),
        _ => None,
    });
    let Some(usage) = usages else { return Vec::new() };
    let gated = crate::sys::tls::is_server_gated(usage);
    let known = [
        (usage.any, "any"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (gated, "serverGatedCrypto"),
    ];
    let mut purposes: Vec<String> =
        known.iter().filter(|(is, _)| *is).map(|(_, purpose)| (*purpose).to_owned()).collect();
    if purposes.is_empty() {
        purposes.push("another".to_owned());
    }
    purposes
}

fn key(parsed: &X509Certificate) -> Option<String> {
    if let Ok(PublicKey::RSA(key)) = parsed.public_key().parsed() {
        return Some(format!("RSA of {} bits", key.key_size()));
    }
    // RFC 5480 section 2.1.1.1.
    let curve = parsed.public_key().algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string();
    match curve.as_str() {
        "1.2.840.10045.3.1.7" => Some("EC P-256".to_owned()),
        "1.3.132.0.34" => Some("EC P-384".to_owned()),
        "1.3.132.0.35" => Some("EC P-521".to_owned()),
        _ => None,
    }
}

fn algorithm(parsed: &X509Certificate) -> String {
    let oid = parsed.signature_algorithm.algorithm.to_id_string();
    // RFC 8017 appendix C, RFC 5758 section 3.2, RFC 8410 section 3.
    let name = match oid.as_str() {
        "1.2.840.113549.1.1.4" => "RSA with MD5",
        "1.2.840.113549.1.1.5" => "RSA with SHA-1",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.11" => "RSA with SHA-256",
        "1.2.840.113549.1.1.12" => "RSA with SHA-384",
        "1.2.840.113549.1.1.13" => "RSA with SHA-512",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.2" => "ECDSA with SHA-256",
        "1.2.840.10045.4.3.3" => "ECDSA with SHA-384",
        "1.2.840.10045.4.3.4" => "ECDSA with SHA-512",
        "1.3.101.112" => "Ed25519",
        _ => return oid,
    };
    name.to_owned()
}

fn extension(parsed: &X509Certificate, pick: impl Fn(&ParsedExtension) -> Option<String>) -> Option<String> {
    parsed.extensions().iter().find_map(|extension| pick(extension.parsed_extension()))
}

fn issuer_url(extension: &ParsedExtension) -> Option<String> {
    let ParsedExtension::AuthorityInfoAccess(access) = extension else { return None };
    access.accessdescs.iter().find_map(|one| match &one.access_location {
        // id-ad-caIssuers (RFC 5280 section 4.2.2.1).
        GeneralName::URI(url) if one.access_method.to_id_string() == "1.3.6.1.5.5.7.48.2" => Some(kept(url)),
        _ => None,
    })
}

fn within(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(MOST_BYTES)]
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod bytes_of_strangers {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_authority_of_the_same_name_is_another() {
        let make = || rcgen::CertificateParams::new(vec!["db".to_owned()]).unwrap();
        let mut params = make();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        assert!(Certificate::parse(authority.der()).unwrap().self_signed);
        let mut params = make();
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&rcgen::KeyPair::generate().unwrap(), &authority).unwrap();
        let leaf = Certificate::parse(leaf.der()).unwrap();
        assert_eq!((leaf.subject == leaf.issuer, leaf.self_signed), (true, false), "{leaf:?}");
    }

    #[test]
    fn an_address_that_stands_as_a_name_is_none() {
        let mut params = rcgen::CertificateParams::new(vec!["db".to_owned(), "10.0.0.9".to_owned()]).unwrap();
        params.subject_alt_names.push(rcgen::SanType::DnsName("127.0.0.1".try_into().unwrap()));
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(Certificate::parse(made.der()).unwrap().names, ["db", "10.0.0.9", "DNS:127.0.0.1"]);
    }

    fn fit(text: &str) -> bool {
        !text.chars().any(char::is_control) && text.len() <= 4 * MOST_BYTES
    }

    proptest! {
        #[test]
        fn no_der_panics(at in 0usize..1_000, bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["db".to_owned(), "10.0.0.9".to_owned()]).unwrap();
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            let mut der = params.self_signed(&key).unwrap().der().to_vec();
            let at = at % der.len();
            let end = der.len().min(at + bytes.len());
            der[at..end].copy_from_slice(&bytes[..end - at]);
            if let Some(kept) = Certificate::parse(&CertificateDer::from(der)) {
                prop_assert!(fit(&kept.subject) && fit(&kept.issuer) && kept.names.iter().all(|name| fit(name)));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(distinguished_name(&bytes).is_none_or(|name| fit(&name)));
            Certificate::parse(&CertificateDer::from(bytes));
        }
    }
}
