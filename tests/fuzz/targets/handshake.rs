//! Our side of TLS: whatever a peer sends, the handshake ends, and ends in time.
#![no_main]

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use redisdoc::sys::socket::{self, Dial};
use redisdoc::sys::tls::Client;
use rustls::RootCertStore;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};

struct Peer {
    runtime: Runtime,
    listener: UnixListener,
    path: String,
    client: Client,
}

impl Peer {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let path = std::env::temp_dir().join(format!("redisdoc-fuzz-{}", std::process::id())).display().to_string();
        let _ = std::fs::remove_file(&path);
        let listener = runtime.block_on(async { UnixListener::bind(&path) }).expect("a socket");
        let client = Client::new("db", Arc::new(RootCertStore::empty()), None).expect("a client");
        Self { runtime, listener, path, client }
    }

    fn say(&self, bytes: &[u8]) {
        let began = Instant::now();
        self.runtime.block_on(async {
            let deadline = began + Duration::from_secs(5);
            let (dial, peer) = tokio::join!(socket::dial_unix(&self.path, deadline), self.listener.accept());
            let (Dial::Connected(stream), Ok((mut peer, _))) = (dial, peer) else { return };
            let speak = async {
                let _ = peer.write_all(bytes).await;
                let _ = peer.shutdown().await;
            };
            let lenient = self.client.clone().lenient();
            let (handshake, ()) = tokio::join!(lenient.shake_hands(stream, deadline), speak);
            assert!(handshake.heard.len() <= 512, "too much is kept");
        });
        assert!(began.elapsed() < Duration::from_secs(5), "it does not end");
    }
}

thread_local! {
    static PEER: OnceCell<Peer> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| PEER.with(|peer| peer.get_or_init(Peer::new).say(bytes)));
