//! A `ClientHello` as an old client sends it, written by hand: our library knows neither TLS 1.1 nor the cipher suites of
//! its time, so that only this can ask what the server would choose. It ends with the server's choice; no secret is made.
//!
//! RFC 8446 section 4.1 and RFC 5246 section 7.4.1 have the form of both messages.

use serde::{Deserialize, Serialize};

use super::alert;

/// The most that is read of the answer. A `ServerHello` without its extensions has 40 bytes and a session id.
pub const MOST_BYTES: usize = 4096;

/// What an old client is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The server would go on with this version and cipher suite.
    Chosen {
        /// The version, in words.
        version: String,
        /// The cipher suite: its name, or its number in hexadecimal (IANA's registry).
        cipher: String,
    },
    /// It refuses that, too, with this alert.
    Alert(u8),
    /// It closed, or the connection broke, without a word.
    Closed,
    /// Nothing came in time.
    Silent,
    /// What came is no `ServerHello`.
    Other,
}

/// The cipher suites that our library has, with their names in OpenSSL. They come first: a server that takes none of them is asked
/// what it would do, not to do it.
const OURS: [(u16, &str); 9] = [
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0xc030, "ECDHE-RSA-AES256-GCM-SHA384"),
    (0xc02f, "ECDHE-RSA-AES128-GCM-SHA256"),
    (0xc02c, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (0xc02b, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (0xcca8, "ECDHE-RSA-CHACHA20-POLY1305"),
    (0xcca9, "ECDHE-ECDSA-CHACHA20-POLY1305"),
];
/// Those that it lacks and OpenSSL offers by itself (`openssl ciphers -s DEFAULT`), and so redis-cli; Python offers fewer, without
/// RSA for the exchange of keys and SHA-1.
const OF_OPENSSL: &[(u16, &str)] = &[
    (0xc014, "ECDHE-RSA-AES256-SHA"),
    (0xc013, "ECDHE-RSA-AES128-SHA"),
    (0xc00a, "ECDHE-ECDSA-AES256-SHA"),
    (0xc009, "ECDHE-ECDSA-AES128-SHA"),
    (0xc028, "ECDHE-RSA-AES256-SHA384"),
    (0xc027, "ECDHE-RSA-AES128-SHA256"),
    (0xc024, "ECDHE-ECDSA-AES256-SHA384"),
    (0xc023, "ECDHE-ECDSA-AES128-SHA256"),
    (0x0039, "DHE-RSA-AES256-SHA"),
    (0x0033, "DHE-RSA-AES128-SHA"),
    (0x009f, "DHE-RSA-AES256-GCM-SHA384"),
    (0x009e, "DHE-RSA-AES128-GCM-SHA256"),
    (0x006b, "DHE-RSA-AES256-SHA256"),
    (0x0067, "DHE-RSA-AES128-SHA256"),
    (0xccaa, "DHE-RSA-CHACHA20-POLY1305"),
    (0x009d, "AES256-GCM-SHA384"),
    (0x009c, "AES128-GCM-SHA256"),
    (0x003d, "AES256-SHA256"),
    (0x003c, "AES128-SHA256"),
    (0x0035, "AES256-SHA"),
    (0x002f, "AES128-SHA"),
];
/// Those that neither offers and servers of the field have.
const LACKED: &[(u16, &str)] = &[
    (0xc0ad, "ECDHE-ECDSA-AES256-CCM"),
    (0xc0ac, "ECDHE-ECDSA-AES128-CCM"),
    (0x0088, "DHE-RSA-CAMELLIA256-SHA"),
    (0x0084, "CAMELLIA256-SHA"),
    (0xc012, "ECDHE-RSA-DES-CBC3-SHA"),
    (0x000a, "DES-CBC3-SHA"),
    (0x0005, "RC4-SHA"),
    (0x0004, "RC4-MD5"),
    (0x1304, "TLS_AES_128_CCM_SHA256"),
    (0x1305, "TLS_AES_128_CCM_8_SHA256"),
];

/// TLS 1.3 to 1.0.
const VERSIONS: [u16; 4] = [0x0304, 0x0303, 0x0302, 0x0301];
/// X25519, P-256, P-384, P-521, X448, secp256k1, the Brainpool curves, and the finite fields of RFC 7919.
const GROUPS: [u16; 11] = [0x001d, 0x0017, 0x0018, 0x0019, 0x001e, 0x0016, 0x001a, 0x001b, 0x001c, 0x0100, 0x0101];
/// Signatures with SHA-256 to SHA-512, those with SHA-1 that TLS 1.1 is content with, and those with SHA-224 that OpenSSL offers.
const SIGNATURES: [u16; 17] = [
    0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0807, 0x0808, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201, 0x0202,
    0x0402, 0x0303, 0x0301,
];

/// The record that asks. `name` is the server's name, if it is one that may be sent.
pub fn encode(name: Option<&str>) -> Vec<u8> {
    let suites: Vec<u8> = suites().flat_map(|(suite, _)| suite.to_be_bytes()).collect();
    let mut extensions = Vec::new();
    if let Some(name) = name.filter(|name| name.len() < 256) {
        let entry = [&[0][..], &counted(name.as_bytes())].concat();
        extensions.extend(extension(0, &counted(&entry)));
    }
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let versions = words(&VERSIONS);
    extensions.extend(extension(10, &counted(&words(&GROUPS))));
    // Points that are not compressed (RFC 8422 section 5.1.2).
    extensions.extend(extension(11, &[1, 0]));
    extensions.extend(extension(13, &counted(&words(&SIGNATURES))));
    extensions.extend(extension(43, &[&[short(versions.len())][..], &versions].concat()));
    // No share of a key: a server of TLS 1.3 asks for one, and has chosen by then (RFC 8446 section 4.2.8).
    extensions.extend(extension(51, &counted(&[])));
    // The random of somebody who keeps no secret need not be one.
    let random: [u8; 32] = std::array::from_fn(|at| short(at).wrapping_mul(89).wrapping_add(23));
    let body = [&[3, 3][..], &random, &[0], &counted(&suites), &[1, 0], &counted(&extensions)].concat();
    let message = [&[1, 0][..], &counted(&body)].concat();
    [&[22, 3, 1][..], &counted(&message)].concat()
}

/// What an answer says; `None` where more of it must come first.
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    match bytes {
        [21, 3, _, 0, 2, _, kind, ..] => Some(Answer::Alert(*kind)),
        [21, 3, ..] if bytes.len() < 7 => None,
        [22, 3, _, high, low, message @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let message = message.get(..length)?;
            Some(server_hello(message).unwrap_or(Answer::Other))
        }
        _ if bytes.len() < 5 && [21, 22].iter().any(|kind| bytes.first().is_none_or(|first| first == kind)) => None,
        _ => Some(Answer::Other),
    }
}

impl Answer {
    /// In words, as evidence.
    pub fn says(&self) -> String {
        match self {
            Self::Chosen { version, cipher } => format!("it chooses {version} with {cipher}"),
            Self::Alert(alert) => format!("it refuses that, too: {}", alert::name(*alert)),
            Self::Closed => "it closes".to_owned(),
            Self::Silent => "it says nothing".to_owned(),
            Self::Other => "what comes is no ServerHello".to_owned(),
        }
    }
}

fn server_hello(message: &[u8]) -> Option<Answer> {
    let [2, _, _, _, body @ ..] = message else { return None };
    let session = usize::from(*body.get(34)?);
    let rest = body.get(35 + session..)?;
    let ([cipher_high, cipher_low, _, extensions @ ..], [high, low, ..]) = (rest, body) else { return None };
    let legacy = u16::from_be_bytes([*high, *low]);
    let cipher = u16::from_be_bytes([*cipher_high, *cipher_low]);
    let version = selected(extensions.get(2..).unwrap_or_default()).unwrap_or(legacy);
    Some(Answer::Chosen { version: version_name(version), cipher: suite_name(cipher) })
}

/// The version of the extension that TLS 1.3 says it in (RFC 8446 section 4.2.1).
fn selected(mut extensions: &[u8]) -> Option<u16> {
    while let [kind_high, kind_low, high, low, rest @ ..] = extensions {
        let data = rest.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
        if let ([0, 43], [high, low]) = ([*kind_high, *kind_low], data) {
            return Some(u16::from_be_bytes([*high, *low]));
        }
        extensions = &rest[data.len()..];
    }
    None
}

fn version_name(version: u16) -> String {
    match version {
        0x0300 => "SSL 3.0".to_owned(),
        0x0301..=0x0304 => format!("TLS 1.{}", version - 0x0301),
        other => format!("version 0x{other:04x}"),
    }
}

/// True for the name of a cipher suite that our library has.
pub fn is_ours(cipher: &str) -> bool {
    OURS.iter().any(|(_, name)| *name == cipher)
}

/// True for the name of a cipher suite that our library has, or clients with OpenSSL.
pub fn is_common(cipher: &str) -> bool {
    OURS.iter().chain(OF_OPENSSL).any(|(_, name)| *name == cipher)
}

fn suites() -> impl Iterator<Item = &'static (u16, &'static str)> {
    OURS.iter().chain(OF_OPENSSL).chain(LACKED)
}

fn suite_name(suite: u16) -> String {
    let known = suites().find(|(number, _)| *number == suite);
    known.map_or_else(|| format!("cipher suite 0x{suite:04x}"), |(_, name)| (*name).to_owned())
}

fn extension(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[0, kind][..], &counted(data)].concat()
}

/// Behind its length in two bytes.
fn counted(data: &[u8]) -> Vec<u8> {
    // Everything here is far shorter.
    let length = u16::try_from(data.len()).unwrap_or_default();
    [&length.to_be_bytes()[..], data].concat()
}

fn short(number: usize) -> u8 {
    u8::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(version: &str, cipher: &str) -> Answer {
        Answer::Chosen { version: version.to_owned(), cipher: cipher.to_owned() }
    }

    /// A `ServerHello` of these parts.
    fn hello(version: [u8; 2], cipher: [u8; 2], extensions: &[u8]) -> Vec<u8> {
        let extensions = if extensions.is_empty() { Vec::new() } else { counted(extensions) };
        let body = [&version[..], &[7; 32], &[2, 9, 9], &cipher, &[0], &extensions].concat();
        [&[22, 3, 3][..], &counted(&[&[2, 0][..], &counted(&body)].concat())].concat()
    }

    #[test]
    fn tells_what_the_server_chooses() {
        for (answer, expected) in [
            (hello([3, 2], [0xc0, 0x14], &[]), Some(chosen("TLS 1.1", "ECDHE-RSA-AES256-SHA"))),
            (hello([3, 1], [0, 0x35], &[]), Some(chosen("TLS 1.0", "AES256-SHA"))),
            (hello([3, 3], [0, 0x9d], &extension(23, &[])), Some(chosen("TLS 1.2", "AES256-GCM-SHA384"))),
            (hello([3, 3], [0x13, 4], &extension(43, &[3, 4])), Some(chosen("TLS 1.3", "TLS_AES_128_CCM_SHA256"))),
            (hello([3, 0], [0xaa, 0xbb], &[]), Some(chosen("SSL 3.0", "cipher suite 0xaabb"))),
            (vec![21, 3, 2, 0, 2, 2, 70], Some(Answer::Alert(70))),
            (b"-ERR unknown".to_vec(), Some(Answer::Other)),
            (vec![22, 3, 3, 0, 4, 2, 0, 0, 0], Some(Answer::Other)),
            (vec![22, 3, 3, 0, 9, 2], None),
            (vec![21, 3, 3], None),
            (Vec::new(), None),
        ] {
            assert_eq!(parse(&answer), expected, "{answer:02x?}");
        }
    }

    #[test]
    fn what_is_asked_is_one_whole_record() {
        for name in [None, Some("db.example")] {
            let record = encode(name);
            let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
            assert_eq!((&record[..3], record.len()), (&[22, 3, 1][..], 5 + length));
            assert_eq!(name.is_some(), record.windows(10).any(|part| part == b"db.example"));
            assert!(record.len() < 512, "{} bytes", record.len());
        }
        assert_eq!(encode(Some(&"x".repeat(300))), encode(None));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600), kind in 20_u8..24) {
            let _ = parse(&bytes);
            let _ = parse(&[&[kind, 3, 3][..], &bytes].concat());
            let _ = parse(&[&[22, 3, 3][..], &counted(&[&[2, 0][..], &counted(&bytes)].concat())].concat());
        }
    }
}
