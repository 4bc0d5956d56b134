//! What is said over the connection: who speaks first, what each command is answered, how it ends.
//!
//! Everything is written at once over the very connection that was timed, and everything that comes is read, to the
//! end: protected mode and the client limit speak first and close. Only when a connection ends or stays silent without
//! a reply is a second one opened that listens before it writes; a healthy target never pays that wait.

use serde::{Deserialize, Serialize};

use super::tcp::{Connection, Tcp};
use crate::model::{Ask, Observed, Secret};
use crate::sys::Clock;

/// What was said, on each connection that was used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Redis {
    /// The first is the one on the preferred address; the others were made because it failed.
    pub conversations: Vec<Conversation>,
}

/// What was said over one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The address it led to.
    pub address: String,
}

/// Talks over the connections, the preferred one first.
pub async fn gather(
    _ask: &Ask,
    _password: Option<&Secret>,
    _tcp: &Observed<Tcp>,
    _connections: Vec<Connection>,
    _clock: &Clock,
) -> Observed<Redis> {
    Observed::skipped("not yet")
}
