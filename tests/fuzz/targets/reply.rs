//! What replies say: no frame panics, and neither a control code nor the password is kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redisdoc::model::Secret;
use redisdoc::probe::path::reply::{Command, Reply};
use redisdoc::probe::path::resp::{Frame, frame, value};

const COMMANDS: [Command; 5] = [Command::Ping, Command::Auth, Command::Hello, Command::Info, Command::ConfigGet];
const PASSWORD: &str = "correct-horse-battery";

fuzz_target!(|bytes: &[u8]| {
    let Frame::Whole(length) = frame(bytes) else { return };
    let secret = Secret::new(PASSWORD.to_owned());
    for command in COMMANDS {
        let said = format!("{:?}", Reply::of(&bytes[..length], value(&bytes[..length]), command, Some(&secret)));
        assert!(!said.contains(PASSWORD) && !said.chars().any(char::is_control), "{said}");
    }
});
