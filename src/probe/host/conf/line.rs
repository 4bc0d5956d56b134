//! One line of redis.conf, taken apart as `sdssplitargs` (sds.c) does it.

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A comment, or nothing.
    Nothing,
    /// A directive and its arguments, unquoted.
    Words(Vec<Vec<u8>>),
    /// The same, with something right behind a closing quote (`'a'b`): Redis, and Valkey up to 8, call that unbalanced;
    /// Valkey 9 takes both for one word.
    Glued(Vec<Vec<u8>>),
    /// A quote is not closed.
    Unbalanced,
}

/// The line without what Redis trims off its ends.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| b" \t\r\n".contains(byte);
    let from = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    let to = line.iter().rposition(|byte| !blank(byte)).map_or(from, |at| at + 1);
    &line[from..to]
}

/// Takes a trimmed line apart.
pub(super) fn split(line: &[u8]) -> Line {
    if line.is_empty() || line[0] == b'#' {
        return Line::Nothing;
    }
    let mut rest = line;
    let mut words = Vec::new();
    let mut glued = false;
    loop {
        while rest.first().is_some_and(|&byte| is_space(byte)) {
            rest = &rest[1..];
        }
        if rest.is_empty() {
            break;
        }
        match word(rest, &mut glued) {
            Some((word, left)) => {
                words.push(word);
                rest = left;
            }
            None => return Line::Unbalanced,
        }
    }
    match words.as_slice() {
        [] => Line::Nothing,
        _ if glued => Line::Glued(words),
        _ => Line::Words(words),
    }
}

/// isspace(3) in the C locale.
pub(super) fn is_space(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

/// The first word, and what is left behind it. Quotes may begin inside a word.
fn word<'a>(mut rest: &'a [u8], glued: &mut bool) -> Option<(Vec<u8>, &'a [u8])> {
    let mut word = Vec::new();
    loop {
        rest = match rest {
            // Vertical tabs and form feeds part words only where they are skipped, not where a word ends.
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some((word, rest)),
            [quote @ (b'"' | b'\''), quoted @ ..] => {
                let left =
                    if *quote == b'"' { double_quoted(&mut word, quoted) } else { single_quoted(&mut word, quoted) }?;
                if left.first().is_none_or(|&byte| is_space(byte)) {
                    return Some((word, left));
                }
                *glued = true;
                left
            }
            [byte, left @ ..] => {
                word.push(*byte);
                left
            }
        }
    }
}

/// Reads to the closing quote; none where there is none.
fn double_quoted<'a>(word: &mut Vec<u8>, mut rest: &'a [u8]) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'"', left @ ..] => return Some(left),
            [b'\\', b'x', high, low, left @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) << 4 | hex(*low));
                left
            }
            [b'\\', escaped, left @ ..] => {
                word.push(unescaped(*escaped));
                left
            }
            [byte, left @ ..] => {
                word.push(*byte);
                left
            }
        }
    }
}

fn single_quoted<'a>(word: &mut Vec<u8>, mut rest: &'a [u8]) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'\'', left @ ..] => return Some(left),
            [b'\\', b'\'', left @ ..] => {
                word.push(b'\'');
                left
            }
            [byte, left @ ..] => {
                word.push(*byte);
                left
            }
        }
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.to_ascii_lowercase().wrapping_sub(b'a').wrapping_add(10) & 0x0f,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn words(line: &str, want: &[&str]) {
        let want = want.iter().map(|word| word.as_bytes().to_vec()).collect();
        assert_eq!(split(trim(line.as_bytes())), Line::Words(want), "{line:?}");
    }

    #[test]
    fn quotes_as_redis_does() {
        words("port 6379\r", &["port", "6379"]);
        words(" \tbind  127.0.0.1\t::1 ", &["bind", "127.0.0.1", "::1"]);
        words(r#"requirepass "a b\x41\n\t\\\"c""#, &["requirepass", "a bA\n\t\\\"c"]);
        words(r#"requirepass "\xzz\q""#, &["requirepass", "xzzq"]);
        words(r"requirepass 'a \n \'b\' c'", &["requirepass", r"a \n 'b' c"]);
        words(r#"requirepass """#, &["requirepass", ""]);
        words(r#"dir /a"b c" x"#, &["dir", "/ab c", "x"]);
        words(r"dir \x41", &["dir", r"\x41"]);
        words("port 1 # x", &["port", "1", "#", "x"]);
        words("port\u{b}1", &["port\u{b}1"]);
        words("port \u{b}1", &["port", "1"]);
        words(r#""\xAf\xfA" "#.replace("xAf", "x6F").replace("xfA", "x4b").as_str(), &["oK"]);
    }

    #[test]
    fn knows_what_is_no_line() {
        for line in ["", " ", "\t\r", "# x", "  #x"] {
            assert_eq!(split(trim(line.as_bytes())), Line::Nothing, "{line:?}");
        }
        for line in ["requirepass \"x", "requirepass 'x", "a \"x\\", "a 'x\\'", "a 'x'y\""] {
            assert_eq!(split(trim(line.as_bytes())), Line::Unbalanced, "{line:?}");
        }
        for line in ["a \"x\"y", "a 'x'y", "a \"x\"\"y\""] {
            assert_eq!(split(line.as_bytes()), Line::Glued(vec![b"a".to_vec(), b"xy".to_vec()]), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_breaks_it(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Line::Words(words) = split(trim(&line)) {
                prop_assert!(words.iter().map(Vec::len).sum::<usize>() <= line.len());
            }
        }
    }
}
