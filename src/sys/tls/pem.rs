//! Files of certificates: what stands in them, and whether OpenSSL would load them.
//!
//! We take every certificate that is whole, and others the whole file or nothing of it: to OpenSSL one block that it cannot read
//! spoils all (`PEM_X509_INFO_read_bio`), so that redis-cli and Python do not even connect.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The longest line after an empty one (`get_header_and_data` in `pem_lib.c`), without its end.
const LONGEST: usize = 64;
/// The most that it reads of a line at once: what is longer begins no block.
const MOST_AT_ONCE: usize = 254;
/// How a block begins, and how it ends.
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// What stands in a file.
#[derive(Debug, Clone, Default)]
pub struct Bundle {
    /// The certificates, each followed by what OpenSSL is to trust it for, where it is a TRUSTED CERTIFICATE.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Why OpenSSL does not load it, if it does not.
    pub unloadable: Option<String>,
}

impl Bundle {
    /// What these bytes hold: PEM, or one certificate as it is (DER).
    pub fn read(bytes: Vec<u8>) -> Self {
        let text = plain(&bytes);
        let certificates: Vec<_> = whole(&text).collect();
        if certificates.is_empty() && X509Certificate::from_der(&bytes).is_ok() {
            // OpenSSL takes PEM alone, Java and Windows write DER.
            let says = "it is DER, and not PEM (BEGIN CERTIFICATE)".to_owned();
            return Self { certificates: vec![CertificateDer::from(bytes)], unloadable: Some(says) };
        }
        Self { certificates, unloadable: unloadable(&text) }
    }
}

/// Every certificate of the text that is whole, whatever stands before and after it.
fn whole(text: &str) -> impl Iterator<Item = CertificateDer<'static>> {
    text.match_indices(BEGIN).filter_map(|(at, _)| {
        let rest = &text[at..];
        let next = rest[BEGIN.len()..].find(BEGIN).map_or(rest.len(), |next| next + BEGIN.len());
        CertificateDer::pem_slice_iter(&rest.as_bytes()[..next]).find_map(Result::ok)
    })
}

/// The text as the library reads it: OpenSSL takes these labels, too, a byte order mark before them, as editors of Windows leave it,
/// and lines that end in white space or control characters (`sanitize_line`).
fn plain(pem: &[u8]) -> String {
    let text = String::from_utf8_lossy(pem).replace('\u{feff}', "");
    let labels = ["TRUSTED CERTIFICATE-----", "X509 CERTIFICATE-----"];
    let text = labels.iter().fold(text, |text, label| text.replace(label, "CERTIFICATE-----"));
    let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches(|c: char| c <= ' ')).collect();
    lines.join("\n")
}

/// Why OpenSSL does not load this text, by its first block that is to blame.
fn unloadable(text: &str) -> Option<String> {
    let mut lines = (1..).zip(text.split('\n'));
    let mut is_any = false;
    while let Some((number, line)) = lines.next() {
        let label = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix("-----"));
        let Some(label) = label.filter(|_| line.len() < MOST_AT_ONCE) else { continue };
        let mut body = Vec::new();
        let end = loop {
            match lines.next() {
                Some((_, line)) if line.starts_with(END) => break Some(line),
                Some((_, line)) => body.push(line),
                None => break None,
            }
        };
        let is_ended = end.is_some_and(|end| end == format!("{END}{label}-----"));
        let why = match end {
            None => Some("has no end"),
            Some(_) if !is_ended => Some("does not end on a line of its own"),
            Some(_) if label == "CERTIFICATE" => broken(&body),
            Some(_) => None,
        };
        if let Some(why) = why {
            return Some(format!("the block that begins on line {number} {why}"));
        }
        is_any |= label == "CERTIFICATE";
    }
    (!is_any).then(|| "no line of it begins a certificate (BEGIN CERTIFICATE)".to_owned())
}

/// Why these lines are no certificate to OpenSSL. An empty one ends what stands before the content, which is nothing here: there
/// may be one at the beginning, and then no line may be longer than is usual.
fn broken(body: &[&str]) -> Option<&'static str> {
    let leading = body.iter().take_while(|line| line.is_empty()).count();
    let content = &body[leading..];
    let is_long = |line: &&str| line.len() > LONGEST;
    let is_uneven = content.iter().rev().skip(1).any(|line| line.len() != LONGEST);
    if leading > 1
        || content.iter().any(|line| line.is_empty())
        || (leading == 1 && (is_uneven || content.iter().any(is_long)))
    {
        return Some("has an empty line within");
    }
    let base64: String = content.iter().flat_map(|line| line.split_whitespace()).collect();
    let block = format!("{BEGIN}CERTIFICATE-----\n{base64}\n{END}CERTIFICATE-----\n");
    match CertificateDer::from_pem_slice(block.as_bytes()) {
        Err(_) => Some("is not base64 all through: something is missing in it, or stands there that does not belong"),
        Ok(der) if X509Certificate::from_der(&der).is_err() && webpki(&der) => Some("holds no whole certificate"),
        Ok(_) => None,
    }
}

/// True if the library cannot read it either, which is less strict in other places.
fn webpki(der: &CertificateDer<'_>) -> bool {
    rustls::RootCertStore::empty().add(der.clone().into_owned()).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
    }

    /// How many certificates are found, and what OpenSSL has against the file.
    #[track_caller]
    fn check(text: &str, count: usize, why: Option<&str>) {
        let found = Bundle::read(text.as_bytes().to_vec());
        assert_eq!(found.certificates.len(), count, "{text}");
        let says = found.unloadable.unwrap_or_default();
        assert!(why.map_or(says.is_empty(), |why| says.contains(why)), "{says}: {text}");
    }

    // What OpenSSL 3.0 makes of each was measured: tests/lab/anchors.rs asks it again.
    #[test]
    fn one_bad_block_spoils_the_file() {
        let (one, other) = (pem(), pem());
        let cut: String = other.lines().take(3).fold(String::new(), |text, line| text + line + "\n");
        check(&one, 1, None);
        check(&format!("# a comment\n{one}\n\n  more\n{other}end"), 2, None);
        check(&format!("{one}{cut}"), 1, Some("has no end"));
        check(&format!("{cut}{one}"), 1, Some("line 1 is not base64"));
        check(&one.replacen("MII", "M!!", 1), 0, Some("is not base64"));
        check(&format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{one}"), 2, Some("no whole"));
        check(&format!("{}{other}", one.trim_end()), 2, Some("line of its own"));
        check(&one.replace('\n', "\r"), 1, Some("no line of it begins"));
        check(&one.replace('\n', " \r\n"), 1, None);
        for end in ["\t", "\u{b}", "\u{1a}", "\0"] {
            check(&one.replace("\r\n", "\n").replace('\n', &format!("{end}\n")), 1, None);
        }
    }

    #[test]
    fn an_empty_line_may_be_the_first_alone() {
        let one = pem().replace("\r\n", "\n");
        let begin = "BEGIN CERTIFICATE-----\n";
        check(&one.replace(begin, &format!("{begin}\n")), 1, None);
        check(&one.replace(begin, &format!("{begin}\n\n")), 1, Some("an empty line"));
        check(&one.replace("-----END", "\n-----END"), 1, Some("an empty line"));
    }

    #[test]
    fn der_is_not_pem() {
        let key = rcgen::KeyPair::generate().unwrap();
        let der = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        let found = Bundle::read(der);
        assert!(found.certificates.len() == 1 && found.unloadable.unwrap().contains("DER"));
        assert!(Bundle::read(Vec::new()).certificates.is_empty());
    }
}
