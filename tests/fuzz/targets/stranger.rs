//! Who speaks: no bytes panic, and what is kept of a name is short and fit for a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redisdoc::model::Secret;
use redisdoc::probe::path::stranger::Stranger;
use redisdoc::probe::path::tls::alert;

const SENT: &[u8] = b"*2\r\n$4\r\nAUTH\r\n$8\r\npassword\r\n*1\r\n$4\r\nPING\r\n";

fuzz_target!(|bytes: &[u8]| {
    let secret = Secret::new("password".to_owned());
    for secret in [None, Some(&secret)] {
        let Some(stranger) = Stranger::of(bytes, SENT, secret) else { continue };
        let who = stranger.who();
        assert!(who.len() < 1_000 && !who.chars().any(char::is_control), "{who}");
        assert!(secret.is_none() || !who.contains("password"), "{who}");
    }
    if alert::is_alert(bytes) {
        let known = Stranger::of(bytes, b"", None);
        assert!(known.is_some(), "an alert has no name");
    }
});
