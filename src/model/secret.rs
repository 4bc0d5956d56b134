//! A secret: used, never shown. It has neither `Display` nor `Serialize`, and its `Debug` tells nothing.

/// A password on its way to the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The shortest beginning of a secret that [`Secret::scrub`] removes. Servers cut what they echo (Redis prints the
/// first 128 bytes of unknown commands' arguments), so beginnings count; shorter ones match ordinary words.
const SHORTEST_PREFIX: usize = 4;
/// Shorter secrets stand in ordinary text by chance, and the gap they leave there would tell them.
const SHORT: usize = 8;
const SCRUBBED: &[u8] = b"[password]";

impl Secret {
    /// Takes charge of a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that sends it to the server.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True if it is so short that ordinary text holds it by chance.
    pub fn is_short(&self) -> bool {
        self.0.len() < SHORT
    }

    /// `bytes` with every occurrence of the secret, or of a beginning of it, replaced: in any case, for some services
    /// shout back what they do not understand.
    pub fn scrub(&self, bytes: &[u8]) -> Vec<u8> {
        let secret = self.0.as_bytes();
        let shortest = SHORTEST_PREFIX.min(secret.len());
        let mut clean = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let common = bytes[at..].iter().zip(secret).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
            if shortest > 0 && common >= shortest {
                clean.extend_from_slice(SCRUBBED);
                at += common;
            } else {
                clean.push(bytes[at]);
                at += 1;
            }
        }
        clean
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(secret: &str, text: &str, clean: &str) {
        assert_eq!(String::from_utf8(Secret::new(secret).scrub(text.as_bytes())).unwrap(), clean);
    }

    #[test]
    fn scrubs_whole_and_cut_secrets() {
        check("hunter2", "with args 'hunter2' ", "with args '[password]' ");
        check("hunter2-and-more", "args 'hunter2-an", "args '[password]");
        check("hunter2", "the hunt is on", "the [password] is on");
        check("Hunter2", "500 HUNTER2?", "500 [password]?");
        check("abc", "ab abc", "ab [password]");
        check("", "nothing", "nothing");
    }

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }
}
