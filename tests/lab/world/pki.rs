//! Authorities and certificates, made afresh for each scenario, and servers that use them.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::Host;
use super::redis::Redis;

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority that signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The certificates between what it signs and the root, its own first, as PEM.
    between: String,
}

/// A certificate with its key.
pub struct Issued {
    /// The certificate alone, as PEM.
    pub leaf: String,
    /// The same with those of the authorities between it and the root.
    pub chain: String,
    /// Its key, as PEM.
    pub key: String,
}

/// A moment so many days from now.
#[must_use]
pub fn in_days(days: i32) -> SystemTime {
    let distance = DAY * days.unsigned_abs();
    if days < 0 { SystemTime::now() - distance } else { SystemTime::now() + distance }
}

impl Authority {
    /// One that signed itself.
    #[must_use]
    pub fn root(name: &str) -> Self {
        Self::dated(name, -30, 365)
    }

    /// The same, valid from and until so many days from now.
    #[must_use]
    pub fn dated(name: &str, from: i32, until: i32) -> Self {
        let mut params = authority(name);
        (params.not_before, params.not_after) = (in_days(from).into(), in_days(until).into());
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        Self { issuer, between: String::new() }
    }

    /// One that signed itself, with one thing changed.
    #[must_use]
    pub fn odd(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority(name);
        change(&mut params);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        Self { issuer, between: String::new() }
    }

    /// One that this one vouches for.
    #[must_use]
    pub fn intermediate(&self, name: &str) -> Self {
        self.between(name, -30, 365)
    }

    /// The same, valid from and until so many days from now.
    #[must_use]
    pub fn between(&self, name: &str, from: i32, until: i32) -> Self {
        let mut params = authority(name);
        (params.not_before, params.not_after) = (in_days(from).into(), in_days(until).into());
        let issuer = CertifiedIssuer::signed_by(params, key(), &self.issuer).expect("a certificate");
        let between = format!("{}{}", issuer.pem(), self.between);
        Self { issuer, between }
    }

    /// Its own certificate, as PEM: what `--cacert` takes of a root.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server's certificate for these names and addresses.
    #[must_use]
    pub fn certify(&self, names: &[&str]) -> Issued {
        self.issue(names, |_| {})
    }

    /// The same with one thing changed.
    #[must_use]
    pub fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = key();
        let params = server(names, change);
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Issued { chain: format!("{leaf}{}", self.between), leaf, key: key.serialize_pem() }
    }
}

/// A certificate that signed itself, and is no authority unless `change` makes it one.
#[must_use]
pub fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let key = key();
    let leaf = server(names, change).self_signed(&key).expect("a certificate").pem();
    Issued { chain: leaf.clone(), leaf, key: key.serialize_pem() }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = dated(CertificateParams::default(), name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let name = names.first().cloned().unwrap_or_else(|| "nameless".to_owned());
    let mut params = dated(CertificateParams::new(names).expect("names"), &name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    params
}

fn dated(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (in_days(-30).into(), in_days(365).into());
    // As OpenSSL does: the certificate says by which key it was signed.
    params.use_authority_key_identifier_extension = true;
    params
}

impl Host {
    /// Puts a certificate with its chain and its key, and the authority, where [`Host::tls_redis`] looks for them:
    /// `/etc/tls/{server.crt,server.key,ca.crt}`.
    pub fn certificate(&self, issued: &Issued, authority: &str) -> &Self {
        self.file("/etc/tls/server.crt", issued.chain.as_str());
        self.file("/etc/tls/server.key", issued.key.as_str());
        self.file("/etc/tls/ca.crt", authority)
    }

    /// Starts a server with TLS alone on port 6379, with what [`Host::certificate`] put there.
    #[track_caller]
    pub fn tls_redis(&self, args: &[&str]) -> Redis {
        let files = ["--tls-cert-file", "/etc/tls/server.crt", "--tls-key-file", "/etc/tls/server.key"];
        let tls = ["--port", "0", "--tls-port", "6379", "--tls-ca-cert-file", "/etc/tls/ca.crt"];
        self.redis(&[&tls[..], &files[..], &["--protected-mode", "no"], args].concat())
    }
}
