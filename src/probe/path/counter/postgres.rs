//! Is it a `PostgreSQL` that closed without a word? Its clients may ask for TLS before anything else, with eight bytes that
//! no other protocol answers with the one letter S or N (the protocol's section "SSL Session Encryption").
//!
//! Measured on `PostgreSQL` 15: RESP is an end of file within 8 ms, `SSLRequest` an 'N', and a line in its log that names a
//! startup packet of invalid length. Nobody logs in, and nothing is read of a database.

use std::net::SocketAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::redis::{Conversation, Dialogue, End, Redis};
use super::super::tcp::Dialled;
use super::Before;
use crate::model::{Ask, escape};
use crate::sys::socket::Read;

/// `SSLRequest`: its length, and 1234 and 5679 in place of a version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// More than an answer has.
const MOST_BYTES: usize = 64;

/// What came back for an `SSLRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postgres {
    /// The bytes, escaped.
    pub said: String,
    /// True if they are what a `PostgreSQL`, or what speaks its protocol, answers.
    pub is_postgres: bool,
}

/// Asks whoever closed on RESP without a word.
pub(super) async fn gather(ask: &Ask, before: Before<'_>, deadline: Instant) -> Option<Postgres> {
    let address = mute(ask, before).filter(|(_, dialogue)| dialogue.first.end == End::Closed)?.0;
    let stream = Dialled::Tcp(address).again(deadline).await?;
    stream.write(&SSL_REQUEST, deadline).await.ok()?;
    let mut bytes = [0; MOST_BYTES];
    match stream.read(&mut bytes, deadline).await {
        Read::Bytes(count) => Some(Postgres::of(&bytes[..count])),
        _ => None,
    }
}

/// The address that ended every connection without a word, where TLS was not asked for.
pub(super) fn mute<'a>(ask: &Ask, before: Before<'a>) -> Option<(SocketAddr, &'a Dialogue)> {
    let dialogue = before.redis.seen().and_then(Redis::preferred).filter(|_| !ask.target.tls)?;
    let ended = |talk: &Conversation| !talk.said_something() && matches!(talk.end, End::Closed | End::Broken(_));
    let is_mute = ended(&dialogue.first) && dialogue.second.as_ref().is_none_or(ended);
    let address = dialogue.address.parse().ok()?;
    is_mute.then_some((address, dialogue))
}

impl Postgres {
    fn of(bytes: &[u8]) -> Self {
        Self { said: escape(bytes), is_postgres: matches!(bytes, [b'S' | b'N']) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_is_the_answer() {
        for (bytes, expected) in [(&b"N"[..], true), (b"S", true), (b"NO", false), (b"G", false), (b"", false)] {
            assert_eq!(Postgres::of(bytes).is_postgres, expected);
        }
    }
}
