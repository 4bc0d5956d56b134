//! How long it takes: whatever the other side does, no longer than it was given.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use crate::world::{check, listener, redis, silent};

#[test]
fn a_step_is_bounded_by_its_timeout() {
    let port = silent();
    let ran = check(&["-p", &port, "-t", "0.5"]).run().exit(1).says("says nothing");
    assert!((450..1500).contains(&ran.wall.as_millis()), "{ran}");
}

#[test]
fn a_run_is_bounded_by_its_deadline() {
    let port = silent();
    let ran = check(&["-p", &port, "--deadline", "0.5"]).run();
    // Silence that was not waited out proves nothing.
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.wall < Duration::from_millis(1500), "{ran}");
}

#[test]
fn endless_answers_are_bounded_too() {
    type Talk = fn(std::net::TcpStream);
    let endless: Talk = |mut stream| while stream.write_all(&[b'x'; 4096]).is_ok() {};
    let huge: Talk = |mut stream| {
        let _ = stream.write_all(b"$999999999999\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    };
    let nested: Talk = |mut stream| while stream.write_all(b"*1000000\r\n").is_ok() {};
    let dripping: Talk = |mut stream| {
        while stream.write_all(b"+").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    for talk in [endless, huge, nested, dripping] {
        let port = listener(move |mut stream| {
            let _ = stream.read(&mut [0; 64]);
            talk(stream);
        });
        let ran = check(&["-p", &port, "-t", "0.5", "--deadline", "2"]).run().exit(1);
        assert!(ran.wall < Duration::from_secs(3), "{ran}");
    }
}

#[test]
fn a_healthy_server_is_not_waited_for() {
    let Some(redis) = redis(&[]) else { return };
    let ran = check(&["-p", &redis.port]).run().exit(0);
    assert!(ran.wall < Duration::from_secs(1), "{ran}");
}
