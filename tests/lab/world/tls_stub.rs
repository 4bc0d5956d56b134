//! A server of TLS that shakes hands properly and then is no good.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConnection, StreamOwned};

use super::Host;
use super::pki::Issued;

/// Nothing waits longer than this for a stub, so that its threads end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it does inside, after the handshake.
#[derive(Clone, Copy, Debug)]
pub enum Inside {
    /// Waits for the first bytes, then repeats this without end.
    Endless(&'static [u8]),
    /// Changes its keys without end, and says nothing.
    KeyUpdates,
    /// Reads, and says nothing.
    Silent,
}

/// The certificates that it shows.
pub enum Shown<'a> {
    /// These, with their key.
    Chain(&'a Issued),
    /// So many copies of the first.
    Copies(&'a Issued, usize),
    /// What is no certificate, with the key of this one.
    Garbage(&'a Issued),
}

impl Host {
    /// Starts it on every address of this host.
    ///
    /// # Panics
    /// When the port is taken, or the key is none.
    pub fn tls_stub(&self, port: u16, shown: &Shown, inside: Inside) {
        let listener = self.inside(move || TcpListener::bind(("::", port)).expect("the port"));
        let config = Arc::new(config(shown));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                thread::spawn(move || converse(stream, config, inside));
            }
        });
    }
}

fn config(shown: &Shown) -> ServerConfig {
    let certificates = |issued: &Issued| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(issued.chain.as_bytes()).map(|one| one.expect("a certificate")).collect()
    };
    let (issued, chain) = match *shown {
        Shown::Chain(issued) => (issued, certificates(issued)),
        Shown::Copies(issued, count) => (issued, vec![certificates(issued)[0].clone(); count]),
        Shown::Garbage(issued) => {
            (issued, vec![CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff, 0x1b, b'[', b'2', b'J'])])
        }
    };
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
    let provider = ring::default_provider();
    let key = provider.key_provider.load_private_key(key).expect("a key of a known kind");
    let builder = ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_no_client_auth();
    builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))))
}

fn converse(stream: TcpStream, config: Arc<ServerConfig>, inside: Inside) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let begun = Instant::now();
    let mut stream = StreamOwned::new(ServerConnection::new(config).expect("a connection"), stream);
    let mut buffer = [0; 4_096];
    if stream.read(&mut buffer).is_err() {
        return;
    }
    match inside {
        Inside::Silent => while stream.read(&mut buffer).is_ok_and(|count| count > 0) {},
        Inside::Endless(bytes) => while begun.elapsed() < PATIENCE && stream.write_all(bytes).is_ok() {},
        Inside::KeyUpdates => {
            while begun.elapsed() < PATIENCE && stream.conn.refresh_traffic_keys().is_ok() {
                if stream.flush().is_err() {
                    return;
                }
            }
        }
    }
}
