//! TLS over a connection: what comes is decrypted, what goes is encrypted, and an alert is told from an end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::errno::Errno;
use rustls::{ClientConnection, Error};

use super::{Failed, MOST_HEARD, failed};
use crate::sys::socket::{Read, Stream, Wire};

/// How much is read of the connection at once: the largest record of TLS and its header (RFC 8446 section 5.2) fit.
const CHUNK: usize = 17 << 10;
/// The most that is read of a handshake. A chain of certificates has some 10 KiB, and OpenSSL's clients take 100 KiB of one.
const MOST_HANDSHAKE: usize = 256 << 10;

/// The state of TLS on one connection.
#[derive(Debug)]
pub(in crate::sys) struct Session(Mutex<State>);

#[derive(Debug)]
struct State {
    connection: ClientConnection,
    /// What was decrypted and not yet read.
    plain: Vec<u8>,
    /// How it ended.
    end: Option<Read>,
}

impl Session {
    pub(super) fn new(connection: ClientConnection) -> Self {
        Self(Mutex::new(State { connection, plain: Vec::new(), end: None }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No lock is held where something can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes the handshake; `heard` gets the first bytes that come.
    pub(super) async fn complete(&self, stream: &Stream, heard: &mut Vec<u8>, deadline: Instant) -> Result<(), Failed> {
        let (mut raw, mut bytes) = (vec![0; CHUNK], 0);
        loop {
            let sent = self.flush(stream.wire(), deadline).await;
            if !self.state().connection.is_handshaking() {
                return Ok(());
            }
            match stream.wire().read(&mut raw, deadline).await {
                Read::Bytes(_) if bytes > MOST_HANDSHAKE => return Err(Failed::TooMuch),
                Read::Bytes(count) => {
                    bytes += count;
                    let room = MOST_HEARD.saturating_sub(heard.len()).min(count);
                    heard.extend_from_slice(&raw[..room]);
                    let fed = self.state().feed(&raw[..count]);
                    if let Err(error) = fed {
                        // The alert that says why.
                        let _ = self.flush(stream.wire(), deadline).await;
                        return Err(Failed::Refused(error));
                    }
                }
                // A write that failed says why the connection is gone where the read does not.
                Read::End if sent.is_err() => return Err(Failed::Broken(sent.err().unwrap_or(Errno::EPIPE))),
                read => return Err(failed(read)),
            }
        }
    }

    /// The version and cipher suite that were agreed on.
    pub(super) fn agreed(&self) -> (Option<String>, Option<String>) {
        let state = self.state();
        let version = state.connection.protocol_version().map(|version| format!("{version:?}"));
        let cipher = state.connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        (version, cipher)
    }

    /// Reads what is there, or waits for it until `deadline`.
    pub(in crate::sys) async fn read(&self, wire: &Wire, buffer: &mut [u8], deadline: Instant) -> Read {
        let mut raw = vec![0; CHUNK];
        loop {
            if let Some(read) = self.state().take(buffer) {
                return read;
            }
            match wire.read(&mut raw, deadline).await {
                Read::Bytes(count) => {
                    let fed = self.state().feed(&raw[..count]);
                    if let Err(error) = fed {
                        self.state().end = Some(end_of(&error));
                    }
                    // An answer to a change of keys, or the alert that ends it.
                    let _ = self.flush(wire, deadline).await;
                }
                Read::Silence => return Read::Silence,
                end => self.state().end = Some(end),
            }
        }
    }

    /// Writes all of `bytes`.
    pub(in crate::sys) async fn write(&self, wire: &Wire, bytes: &[u8], deadline: Instant) -> Result<(), Errno> {
        for piece in bytes.chunks(CHUNK) {
            {
                let mut state = self.state();
                std::io::Write::write_all(&mut state.connection.writer(), piece).map_err(|_| Errno::EPIPE)?;
            }
            self.flush(wire, deadline).await?;
        }
        Ok(())
    }

    /// Sends what is to be sent.
    async fn flush(&self, wire: &Wire, deadline: Instant) -> Result<(), Errno> {
        let mut bytes = Vec::new();
        {
            let mut state = self.state();
            while state.connection.wants_write() {
                // A vector takes everything.
                let _ = state.connection.write_tls(&mut bytes);
            }
        }
        if bytes.is_empty() { Ok(()) } else { wire.write(&bytes, deadline).await }
    }
}

impl State {
    /// Decrypts `raw`.
    fn feed(&mut self, mut raw: &[u8]) -> Result<(), Error> {
        while !raw.is_empty() {
            if self.connection.read_tls(&mut raw).is_err() {
                return Err(Error::General("more came than fits".to_owned()));
            }
            let state = self.connection.process_new_packets()?;
            if state.plaintext_bytes_to_read() > 0 {
                let had = self.plain.len();
                self.plain.resize(had + state.plaintext_bytes_to_read(), 0);
                let read = std::io::Read::read(&mut self.connection.reader(), &mut self.plain[had..]).unwrap_or(0);
                self.plain.truncate(had + read);
            }
            if state.peer_has_closed() {
                self.end = Some(Read::End);
                return Ok(());
            }
        }
        Ok(())
    }

    /// What can be read at once.
    fn take(&mut self, buffer: &mut [u8]) -> Option<Read> {
        if self.plain.is_empty() {
            return self.end;
        }
        let count = buffer.len().min(self.plain.len());
        buffer[..count].copy_from_slice(&self.plain[..count]);
        self.plain.drain(..count);
        Some(Read::Bytes(count))
    }
}

/// How a session ends that the library cannot go on with.
fn end_of(error: &Error) -> Read {
    match error {
        Error::AlertReceived(alert) => Read::Alert(u8::from(*alert)),
        _ => Read::Broken(Errno::EPROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tls::Client;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn state() -> State {
        let client = Client::new("db", Arc::new(rustls::RootCertStore::empty()), None).unwrap();
        let connection = ClientConnection::new(Arc::new(client.config), client.name).unwrap();
        State { connection, plain: Vec::new(), end: None }
    }

    proptest! {
        #[test]
        fn no_records_panic(records in proptest::collection::vec(
            (20u8..25, proptest::sample::select(vec![0u8, 1, 2, 4, 8, 11, 12, 14, 24]),
             proptest::collection::vec(any::<u8>(), 0..120)), 1..6)) {
            let mut state = state();
            for (kind, message, body) in records {
                let length = u16::try_from(body.len() + 4).unwrap().to_be_bytes();
                let inner = u8::try_from(body.len()).unwrap();
                let record = [&[kind, 3, 3, length[0], length[1], message, 0, 0, inner][..], &body].concat();
                if state.feed(&record).is_err() {
                    break;
                }
                prop_assert!(state.connection.is_handshaking() && state.plain.is_empty());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = state().feed(&bytes);
        }
    }
}
