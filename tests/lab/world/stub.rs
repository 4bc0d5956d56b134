//! Things that listen where Redis should be and are not Redis.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Host;

/// What it does with every connection.
#[derive(Clone, Debug)]
pub enum Stub {
    /// Accepts, reads, and says nothing.
    Silent,
    /// Speaks first, then says nothing more.
    Banner(Vec<u8>),
    /// Closes politely, having said nothing.
    CloseAtOnce,
    /// Resets the connection at once.
    ResetAtOnce,
    /// Resets the connection as soon as it is spoken to.
    ResetOnData,
    /// Waits for the first bytes, answers them and closes.
    ReplyThenClose(Vec<u8>),
    /// Answers every read with the same.
    Reply(Vec<u8>),
    /// Waits for the first bytes, then repeats this without end.
    Endless(Vec<u8>),
    /// Waits for the first bytes, then says this one byte a second.
    BytePerSecond(Vec<u8>),
    /// Answers whatever was read with the answer of the first line whose bytes occur in it (in any case); otherwise silent.
    Script(Vec<(Vec<u8>, Vec<u8>)>),
    /// Closes when these bytes are among what it reads, and answers anything else with the others: a proxy that does not
    /// know every command.
    Picky(Vec<u8>, Vec<u8>),
    /// Speaks first and closes at once: protected mode, too many clients.
    BannerThenClose(Vec<u8>),
}

/// A stub that runs until the test ends.
pub struct Listener {
    heard: Heard,
}

/// Everything read, one entry a connection.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// Nothing waits longer than this for a stub, so that its threads end.
const PATIENCE: Duration = Duration::from_secs(120);

impl Host {
    /// Starts a stub on every address of this host.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn tcp_stub(&self, port: u16, stub: Stub) -> Listener {
        self.tcp_stub_at(&format!("[::]:{port}"), stub)
    }

    /// Starts a stub on one address.
    ///
    /// # Panics
    /// When it is taken or not ours.
    pub fn tcp_stub_at(&self, address: &str, stub: Stub) -> Listener {
        let address = address.to_owned();
        let listener =
            self.inside(move || TcpListener::bind(&address).unwrap_or_else(|error| panic!("{address}: {error}")));
        let heard = Heard::default();
        let log = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (stub, log) = (stub.clone(), Arc::clone(&log));
                thread::spawn(move || converse(stream, stub, &log));
            }
        });
        Listener { heard }
    }
}

impl Listener {
    /// What was sent to it, one entry a connection.
    #[must_use]
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many connections it has had.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.heard().len()
    }
}

/// One connection, and where to note what it says.
struct Talk<'a> {
    stream: TcpStream,
    heard: &'a Heard,
    index: usize,
}

fn converse(stream: TcpStream, stub: Stub, heard: &Heard) {
    let index = {
        let mut all = heard.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Vec::new());
        all.len() - 1
    };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut talk = Talk { stream, heard, index };
    match stub {
        Stub::Silent => talk.listen(),
        Stub::Banner(bytes) => {
            talk.say(&bytes);
            talk.listen();
        }
        Stub::BannerThenClose(bytes) => {
            talk.say(&bytes);
        }
        Stub::CloseAtOnce => (),
        Stub::ResetAtOnce => {
            let _ = socket2::SockRef::from(&talk.stream).set_linger(Some(Duration::ZERO));
        }
        Stub::ResetOnData => {
            let _ = talk.hear();
            let _ = socket2::SockRef::from(&talk.stream).set_linger(Some(Duration::ZERO));
        }
        Stub::ReplyThenClose(bytes) => talk.reply_then_close(&bytes),
        Stub::Reply(bytes) => while talk.hear().is_some() && talk.say(&bytes) {},
        Stub::Endless(bytes) => talk.repeat(&bytes),
        Stub::BytePerSecond(bytes) => talk.drip(&bytes),
        Stub::Picky(unknown, answer) => talk.pick(&unknown, &answer),
        Stub::Script(lines) => talk.follow(&lines),
    }
}

impl Talk<'_> {
    fn hear(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let length = self.stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)[self.index].extend(&buffer[..length]);
        Some(buffer[..length].to_vec())
    }

    fn say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    fn listen(&mut self) {
        while self.hear().is_some() {}
    }

    /// Reads on until the other side has closed, lest the kernel turn the close into a reset.
    fn reply_then_close(&mut self, bytes: &[u8]) {
        if self.hear().is_some() && self.say(bytes) {
            let _ = self.stream.shutdown(Shutdown::Write);
            self.listen();
        }
    }

    fn repeat(&mut self, bytes: &[u8]) {
        let begun = Instant::now();
        let _ = self.hear();
        while begun.elapsed() < PATIENCE && self.say(bytes) {}
    }

    fn drip(&mut self, bytes: &[u8]) {
        let _ = self.hear();
        for byte in bytes {
            if !self.say(&[*byte]) {
                return;
            }
            thread::sleep(Duration::from_secs(1));
        }
        self.listen();
    }

    fn pick(&mut self, unknown: &[u8], answer: &[u8]) {
        while let Some(said) = self.hear() {
            if said.windows(unknown.len()).any(|part| part == unknown) || !self.say(answer) {
                return;
            }
        }
    }

    fn follow(&mut self, lines: &[(Vec<u8>, Vec<u8>)]) {
        while let Some(said) = self.hear() {
            let said = said.to_ascii_lowercase();
            let told =
                |asked: &Vec<u8>| said.windows(asked.len().max(1)).any(|part| part == asked.to_ascii_lowercase());
            let answer = lines.iter().find(|(asked, _)| asked.is_empty() || told(asked));
            if let Some((_, answer)) = answer
                && !self.say(answer)
            {
                return;
            }
        }
    }
}
