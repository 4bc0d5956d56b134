//! Text from strangers, made fit for a terminal and a report.

use std::fmt::Write as _;

/// Foreign bytes as printable text: control bytes, escape sequences and bytes that are not UTF-8 become `\x..`
/// escapes, so nothing a server or a file holds can reach the terminal as a control code. Unicode's own controls
/// (C1, bidirectional overrides and other invisible format characters) are escaped too: they reorder or hide what
/// stands beside them.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut out, c);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The first `limit` bytes of `bytes`, escaped, with an ellipsis where something was cut.
pub fn head(bytes: &[u8], limit: usize) -> String {
    let mut out = escape(&bytes[..bytes.len().min(limit)]);
    if bytes.len() > limit {
        out.push('…');
    }
    out
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\r' => out.push_str("\\r"),
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        c if (c as u32) < 0x100 && c.is_control() => {
            let _ = write!(out, "\\x{:02x}", c as u32);
        }
        c if is_invisible(c) => {
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        }
        c => out.push(c),
    }
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `word` quoted so that a POSIX shell passes it on as it stands.
pub fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Whether a name of a certificate, perhaps with a wildcard for its first label (RFC 6125 section 6.4.3), is this name.
pub fn matches(of_certificate: &str, name: &str) -> bool {
    let (pattern, name) = (of_certificate.to_ascii_lowercase(), name.trim_end_matches('.').to_ascii_lowercase());
    // Not for all of a top-level domain: neither rustls nor OpenSSL takes that.
    let wild = || Some(pattern.strip_prefix("*.").filter(|rest| rest.contains('.'))? == name.split_once('.')?.1);
    pattern == name || wild() == Some(true)
}

/// A size in the unit that suits it: `512 MiB`, `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1024 * 1024 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024, unit + 1);
    }
    match (value / 1024, value % 1024 * 10 / 1024) {
        (whole, tenth) if whole < 10 => format!("{whole}.{tenth} {}", UNITS[unit]),
        (whole, _) => format!("{whole} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_control_code() {
        assert_eq!(escape(b"\x1b[2Jhi\r\n\x07\xff"), "\\x1b[2Jhi\\r\\n\\x07\\xff");
        assert_eq!(escape("\u{9b}31m \u{202e}x".as_bytes()), "\\x9b31m \\u{202e}x");
        assert_eq!(escape("größe".as_bytes()), "größe");
        assert_eq!(head(b"abcdef", 3), "abc…");
    }

    #[test]
    fn wildcards_stand_for_one_label() {
        for (pattern, name, fits) in [
            ("db", "DB.", true),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "a.b.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.org", "example.org", false),
            ("*", "db", false),
            ("DNS:10.0.0.9", "10.0.0.9", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn quotes_for_the_shell() {
        assert_eq!(shell_quote("db-1.example:6379"), "db-1.example:6379");
        assert_eq!(shell_quote("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(shell_quote(""), "''");
    }

    #[test]
    fn sizes_have_units() {
        let sizes =
            [(0, "0 bytes"), (1_536, "1.5 KiB"), (10 << 20, "10 MiB"), (8 << 30, "8.0 GiB"), (u64::MAX, "16383 PiB")];
        for (bytes, says) in sizes {
            assert_eq!(size(bytes), says);
        }
    }
}
