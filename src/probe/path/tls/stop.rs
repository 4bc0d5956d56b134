//! Where OpenSSL stops, though an authority that is trusted here vouches for the server.

use serde::{Deserialize, Serialize};

use super::certificate::Certificate;
use crate::sys::tls;

/// Where OpenSSL stops on its way from the server's certificate to an authority that signed itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The certificate that it stops at.
    pub at: Certificate,
    /// Why.
    pub why: Why,
}

/// Why it stops there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It is trusted and did not sign itself, and who signed it is not trusted.
    Unrooted,
    /// It names a key or a number of its authority that none of that name has.
    NamesAnother,
    /// It did not sign the one below.
    AnotherKey,
    /// Its time is over, or has not come.
    OutOfTime,
    /// It may not sign others, or not so many: in words.
    Unfit(String),
}

impl Stop {
    /// The same in words that can be saved.
    pub(super) fn of(stop: &tls::Stop) -> Option<Self> {
        let why = match stop.why {
            tls::Why::Unrooted => Why::Unrooted,
            tls::Why::NamesAnother => Why::NamesAnother,
            tls::Why::AnotherKey => Why::AnotherKey,
            tls::Why::OutOfTime => Why::OutOfTime,
            tls::Why::Unfit(says) => Why::Unfit(says.to_owned()),
        };
        Some(Self { at: Certificate::parse(&stop.certificate)?, why })
    }
}
