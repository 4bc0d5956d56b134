//! Where replies end: no bytes panic, a frame lies within what came, and more bytes do not move the end of a whole one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redisdoc::probe::path::resp::{Frame, frame, value};

fuzz_target!(|bytes: &[u8]| {
    let mut at = 0;
    while let Frame::Whole(length) = frame(&bytes[at..]) {
        assert!(length > 0 && at + length <= bytes.len());
        assert_eq!(frame(&bytes[at..at + length]), Frame::Whole(length));
        value(&bytes[at..at + length]);
        at += length;
    }
    if frame(bytes) == Frame::Alien {
        assert_eq!(frame(&[bytes, b"\r\n"].concat()), Frame::Alien);
    }
});
