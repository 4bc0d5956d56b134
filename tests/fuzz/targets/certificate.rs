//! What certificates say: no DER panics, and what is kept is bounded and fit for a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redisdoc::probe::path::tls::certificate::{Certificate, distinguished_name};
use rustls::pki_types::CertificateDer;

fuzz_target!(|bytes: &[u8]| {
    let fit = |text: &str| text.len() <= 4_096 && !text.chars().any(char::is_control);
    if let Some(kept) = Certificate::parse(&CertificateDer::from(bytes)) {
        assert!(fit(&kept.subject) && fit(&kept.issuer) && fit(&kept.signed_with));
        assert!(kept.names.len() <= 64 && kept.names.iter().all(|name| fit(name)));
        assert!(kept.common_name.is_none_or(|name| fit(&name)));
    }
    assert!(distinguished_name(bytes).is_none_or(|name| fit(&name)));
});
