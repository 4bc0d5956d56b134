//! Where one RESP reply ends and what it is, read from a stranger's bytes without trusting them.
//!
//! The framing is our own, because the bytes of a stranger that is no Redis have to survive as evidence; the values are
//! parsed by the `redis` crate, and only when a frame is whole.

use redis::Value;

/// The deepest nesting of a reply. HELLO nests one array of maps; the protocol itself sets no bound.
const DEEPEST: usize = 8;
/// The longest line that may announce a reply. Redis' own protected-mode text has about 900 bytes.
const LONGEST_LINE: usize = 16 << 10;

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A whole reply of this many bytes.
    Whole(usize),
    /// The beginning of one.
    Partial,
    /// Something that is not RESP.
    Alien,
}

/// Finds where the first reply in `bytes` ends.
pub fn frame(bytes: &[u8]) -> Frame {
    match reply_end(bytes, 0, 0) {
        Ok(end) => Frame::Whole(end),
        Err(stop) => stop,
    }
}

/// The value of a whole frame; `None` if the library does not take it.
pub fn value(frame: &[u8]) -> Option<Value> {
    redis::parse_redis_value(frame).ok()
}

fn reply_end(bytes: &[u8], at: usize, depth: usize) -> Result<usize, Frame> {
    if depth > DEEPEST {
        return Err(Frame::Alien);
    }
    let kind = *bytes.get(at).ok_or(Frame::Partial)?;
    match kind {
        b'+' | b'-' | b'(' | b',' | b'_' | b'#' | b':' => Ok(line(bytes, at + 1)?.1),
        b'$' | b'=' | b'!' => match count(bytes, at + 1)? {
            (None, end) => Ok(end),
            (Some(length), start) => bulk_end(bytes, start, length),
        },
        b'*' | b'~' | b'>' => items_end(bytes, count(bytes, at + 1)?, 1, depth),
        b'%' => items_end(bytes, count(bytes, at + 1)?, 2, depth),
        _ => Err(Frame::Alien),
    }
}

fn items_end(
    bytes: &[u8],
    (items, mut end): (Option<usize>, usize),
    each: usize,
    depth: usize,
) -> Result<usize, Frame> {
    for _ in 0..items.unwrap_or(0).saturating_mul(each) {
        // A giant count ends here, at the end of what was received, not in a loop of its own length.
        end = reply_end(bytes, end, depth + 1)?;
    }
    Ok(end)
}

fn bulk_end(bytes: &[u8], start: usize, length: usize) -> Result<usize, Frame> {
    let end = start.checked_add(length).and_then(|end| end.checked_add(2)).ok_or(Frame::Alien)?;
    let tail = bytes.get(end - 2..end).ok_or(Frame::Partial)?;
    if tail == b"\r\n" { Ok(end) } else { Err(Frame::Alien) }
}

/// The length after a type byte (`None` for the null of RESP2, -1) and where the line ends.
fn count(bytes: &[u8], at: usize) -> Result<(Option<usize>, usize), Frame> {
    let first = bytes.get(at);
    if first.is_some_and(|byte| !byte.is_ascii_digit() && *byte != b'-') {
        return Err(Frame::Alien);
    }
    let (digits, end) = line(bytes, at)?;
    if digits == b"-1" {
        return Ok((None, end));
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Frame::Alien)?;
    Ok((Some(digits.parse().map_err(|_| Frame::Alien)?), end))
}

/// The line that begins at `at`, without its end, and where the next one begins.
fn line(bytes: &[u8], at: usize) -> Result<(&[u8], usize), Frame> {
    let rest = bytes.get(at..).ok_or(Frame::Partial)?;
    match rest.iter().position(|&byte| byte == b'\n') {
        Some(end) if end > 0 && rest[end - 1] == b'\r' => Ok((&rest[..end - 1], at + end + 1)),
        Some(_) => Err(Frame::Alien),
        None if rest.len() > LONGEST_LINE => Err(Frame::Alien),
        None => Err(Frame::Partial),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(bytes: &str, expected: Frame) {
        assert_eq!(frame(bytes.as_bytes()), expected);
    }

    #[test]
    fn finds_the_end_of_a_reply() {
        check("+PONG\r\n", Frame::Whole(7));
        check("+PONG\r\n+OK\r\n", Frame::Whole(7));
        check("$5\r\nhello\r\n", Frame::Whole(11));
        check("$-1\r\n", Frame::Whole(5));
        check("*2\r\n$1\r\na\r\n:1\r\n", Frame::Whole(15));
        check("%1\r\n+a\r\n*0\r\n", Frame::Whole(12));
        check("=5\r\ntxt:x\r\n", Frame::Whole(11));
    }

    #[test]
    fn waits_for_the_rest_of_a_reply() {
        check("", Frame::Partial);
        check("-ERR no end", Frame::Partial);
        check("$5\r\nhel", Frame::Partial);
        check("*2\r\n+a\r\n", Frame::Partial);
        check("*999999999999\r\n", Frame::Partial);
    }

    #[test]
    fn knows_what_is_not_resp() {
        check("HTTP/1.1 400 Bad Request\r\n", Frame::Alien);
        check("SSH-2.0-OpenSSH_9.2\r\n", Frame::Alien);
        check("* OK IMAP4 ready\r\n", Frame::Alien);
        check("+unix line end\n", Frame::Alien);
        check("$3\r\nabcXY", Frame::Alien);
        check("$99999999999999999999999999\r\n", Frame::Alien);
        check(&"*1\r\n".repeat(50), Frame::Alien);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Frame::Whole(end) = frame(&bytes) {
                prop_assert!(end <= bytes.len());
                value(&bytes[..end]);
            }
        }

        #[test]
        fn a_cut_reply_is_partial(text in "[a-z]{0,40}", cut in 0usize..40) {
            let whole = format!("*2\r\n${}\r\n{text}\r\n+OK\r\n", text.len());
            let cut = cut.min(whole.len() - 1);
            prop_assert_eq!(frame(&whole.as_bytes()[..cut]), Frame::Partial);
            prop_assert_eq!(frame(whole.as_bytes()), Frame::Whole(whole.len()));
        }
    }
}
