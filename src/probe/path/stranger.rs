//! Who speaks, by the first bytes that came: a protocol is named only where its own specification, or the bytes of a real
//! server, tell it from the others. The bytes are a stranger's: little of them is looked at, and what is kept is escaped.
//!
//! `MongoDB`, Kafka, `ZooKeeper` and `PostgreSQL` close on RESP without a word (measured on `PostgreSQL` 15): the last is told
//! by a question of its own (`counter/postgres.rs`), the others only by the name of their process.

use serde::{Deserialize, Serialize};

use super::redis::{Alien, Dialogue};
use super::reply::{Command, ErrorKind, ErrorReply, Reply};
use super::tls::alert;
use crate::model::{Secret, escape};

/// How much of what came is looked at.
const MOST_BYTES: usize = 4 << 10;
/// The longest name that is kept.
const LONGEST_NAME: usize = 80;
/// What is sent back is ours from this length on; anything shorter may be chance.
const SHORTEST_ECHO: usize = 12;

/// Who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranger {
    /// What it speaks.
    pub protocol: Protocol,
    /// What it calls itself, with its version, escaped: `OpenSSH_9.2p1 Debian-2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What is spoken where Redis should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1 (RFC 9112), or a page without a header.
    Http,
    /// HTTP/2 without TLS (RFC 9113 section 3.4): gRPC.
    Http2,
    /// SSH (RFC 4253 section 4.2).
    Ssh,
    /// Mail (RFC 5321 section 4.2).
    Smtp,
    /// FTP (RFC 959 section 4.2).
    Ftp,
    /// One of these two, or another with three digits.
    Greeter,
    /// POP3 (RFC 1939 section 4).
    Pop3,
    /// IMAP (RFC 9051 section 7.1).
    Imap,
    /// IRC (RFC 2812).
    Irc,
    /// The protocol of `MySQL` and `MariaDB`.
    Mysql,
    /// `MySQL`'s X protocol, on port 33060.
    MysqlX,
    /// The protocol of `PostgreSQL`.
    Postgres,
    /// The protocol of `MongoDB`.
    Mongo,
    /// The text protocol of memcached.
    Memcached,
    /// AMQP: `RabbitMQ`.
    Amqp,
    /// NATS.
    Nats,
    /// beanstalkd.
    Beanstalk,
    /// The native protocol of Cassandra.
    Cassandra,
    /// rsync's daemon.
    Rsync,
    /// VNC (RFC 6143 section 7.1.1).
    Vnc,
    /// telnet (RFC 854).
    Telnet,
    /// TLS (RFC 8446 section 5.1).
    Tls,
    /// What we sent comes back (RFC 862).
    Echo,
}

impl Stranger {
    /// Who sent `bytes`, of which nothing was read before, after we sent `sent`; `None` where that cannot be told.
    pub fn of(bytes: &[u8], sent: &[u8], secret: Option<&Secret>) -> Option<Self> {
        if is_echo(bytes, sent) {
            return Some(Self { protocol: Protocol::Echo, name: None });
        }
        let bytes = &bytes[..bytes.len().min(MOST_BYTES)];
        let Some(secret) = secret else { return named(bytes) };
        let clean = secret.scrub(bytes);
        // The gap that a short one leaves would tell it.
        if clean != bytes && secret.is_short() { named(bytes).map(Self::nameless) } else { named(&clean) }
    }

    fn nameless(self) -> Self {
        Self { name: None, ..self }
    }

    /// `an SSH server (OpenSSH_9.2p1 Debian-2)`.
    pub fn who(&self) -> String {
        let kind = match (self.protocol, &self.name) {
            (Protocol::Mysql, Some(name)) if name.contains("MariaDB") => "a MariaDB server",
            (protocol, _) => protocol.kind(),
        };
        self.name.as_ref().map_or_else(|| kind.to_owned(), |name| format!("{kind} ({name})"))
    }
}

impl Protocol {
    /// What speaks it, with its article.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Http => "a web server",
            Self::Http2 => "a server of HTTP/2 or gRPC",
            Self::Ssh => "an SSH server",
            Self::Smtp => "a mail server",
            Self::Ftp => "an FTP server",
            Self::Greeter => "a mail or FTP server",
            Self::Pop3 => "a POP3 server",
            Self::Imap => "an IMAP server",
            Self::Irc => "an IRC server",
            Self::Mysql => "a MySQL server",
            Self::MysqlX => "a MySQL server (X protocol)",
            Self::Postgres => "a PostgreSQL server",
            Self::Mongo => "a MongoDB server",
            Self::Memcached => "a memcached",
            Self::Amqp => "an AMQP broker",
            Self::Nats => "a NATS server",
            Self::Beanstalk => "a beanstalkd",
            Self::Cassandra => "a Cassandra node",
            Self::Rsync => "an rsync daemon",
            Self::Vnc => "a VNC server",
            Self::Telnet => "a telnet server",
            Self::Tls => "a TLS server",
            Self::Echo => "an echo service",
        }
    }

    /// What a program of this name speaks, and nothing else.
    pub fn of_program(name: &str) -> Option<Self> {
        Some(match name {
            "postgres" | "postmaster" | "pgbouncer" => Self::Postgres,
            "mysqld" | "mariadbd" => Self::Mysql,
            "mongod" | "mongos" => Self::Mongo,
            "memcached" => Self::Memcached,
            "apache2" | "httpd" => Self::Http,
            "vsftpd" | "proftpd" | "pure-ftpd" => Self::Ftp,
            "nats-server" => Self::Nats,
            "beanstalkd" => Self::Beanstalk,
            _ => return None,
        })
    }
}

impl Alien {
    /// True for the first byte or two of a record of TLS (RFC 8446 section 5.1), and no more: too little to tell by.
    pub fn may_be_tls(&self) -> bool {
        ["\\x15", "\\x16", "\\x15\\x03", "\\x16\\x03"].contains(&self.head.as_str())
    }
}

impl Dialogue {
    /// The error that answers the header of the PROXY protocol, in the place of the first answer: nobody here has sent such a
    /// command, and every answer behind it belongs to the question before.
    pub fn answer_to_header(&self) -> Option<&ErrorReply> {
        let first = [Command::Auth, Command::Ping].into_iter().find_map(|command| self.reply(command))?;
        let error = Reply::error(first).filter(|error| error.kind == ErrorKind::UnknownCommand)?;
        // Redis 5 and 6 put it into backticks.
        let names = ["unknown command 'PROXY'", "unknown command `PROXY`"];
        names.iter().any(|name| error.text.contains(name)).then_some(error)
    }
}

fn is_echo(bytes: &[u8], sent: &[u8]) -> bool {
    let same = bytes.len().min(sent.len());
    same >= SHORTEST_ECHO.min(sent.len().max(1)) && bytes[..same] == sent[..same]
}

fn named(bytes: &[u8]) -> Option<Stranger> {
    let parsers = [http, http2, ssh, greeter, mailbox, irc, mysql, postgres, memcached, others, tls];
    parsers.iter().find_map(|parse| parse(bytes))
}

fn stranger(protocol: Protocol, name: Option<String>) -> Stranger {
    Stranger { protocol, name: name.filter(|name| !name.is_empty()) }
}

/// A status line, and the header `Server` behind it (RFC 9110 section 10.2.4), or what a server before HTTP/1.0 sends.
fn http(bytes: &[u8]) -> Option<Stranger> {
    if starts_in_any_case(bytes, b"<!doctype html") || starts_in_any_case(bytes, b"<html") {
        return Some(stranger(Protocol::Http, None));
    }
    let version = bytes.strip_prefix(b"HTTP/")?;
    version.first().filter(|byte| byte.is_ascii_digit())?;
    let headers = lines(bytes).skip(1).take_while(|line| !line.is_empty());
    let server = headers.filter(|line| starts_in_any_case(line, b"server:")).map(|line| kept(&line[7..])).next();
    Some(stranger(Protocol::Http, server))
}

/// The first frame is SETTINGS (RFC 9113 section 6.5): settings of six bytes each, without flags, on stream 0.
fn http2(bytes: &[u8]) -> Option<Stranger> {
    let [0, 0, length, 4, 0, 0, 0, 0, 0, ..] = bytes else { return None };
    (length % 6 == 0).then(|| stranger(Protocol::Http2, None))
}

fn ssh(bytes: &[u8]) -> Option<Stranger> {
    let line = lines(bytes.strip_prefix(b"SSH-")?).next()?;
    let software = line.iter().position(|&byte| byte == b'-').map(|at| kept(&line[at + 1..]));
    Some(stranger(Protocol::Ssh, software))
}

/// Three digits and a text: the greeting 220, or a refusal.
fn greeter(bytes: &[u8]) -> Option<Stranger> {
    const CODES: [&[u8]; 8] = [b"220", b"421", b"500", b"501", b"502", b"521", b"530", b"554"];
    let line = lines(bytes).next()?;
    let (code, text) = line.split_at_checked(3)?;
    let text = text.strip_prefix(b" ").or_else(|| text.strip_prefix(b"-"))?;
    CODES.contains(&code).then_some(())?;
    let protocol = match text.to_ascii_uppercase() {
        text if holds(&text, b"SMTP") => Protocol::Smtp,
        text if holds(&text, b"FTP") => Protocol::Ftp,
        _ => Protocol::Greeter,
    };
    Some(stranger(protocol, Some(kept(text))))
}

fn mailbox(bytes: &[u8]) -> Option<Stranger> {
    let line = lines(bytes).next()?;
    if let Some(text) =
        [b"* OK ".as_slice(), b"* BYE ", b"* PREAUTH "].iter().find_map(|start| line.strip_prefix(*start))
    {
        return Some(stranger(Protocol::Imap, Some(kept(text))));
    }
    // +OK alone is a status of RESP, and any text may follow it.
    let text = line.strip_prefix(b"+OK ")?;
    let is_pop = [b"POP".as_slice(), b"Dovecot"].iter().any(|word| holds(text, word));
    let is_apop = text.ends_with(b">") && holds(text, b"<") && holds(text, b"@");
    (is_pop || is_apop).then(|| stranger(Protocol::Pop3, Some(kept(text))))
}

fn irc(bytes: &[u8]) -> Option<Stranger> {
    let line = lines(bytes).next()?;
    let of_server = line.starts_with(b":") && holds(line, b" NOTICE ");
    let closing = line.starts_with(b"ERROR :") || line.starts_with(b"NOTICE AUTH :");
    (of_server || closing).then(|| stranger(Protocol::Irc, None))
}

/// The first packet of the server: three bytes of length, number 0, then protocol 10 and the version, or an error.
fn mysql(bytes: &[u8]) -> Option<Stranger> {
    // A notice of the X protocol: capabilities (`MySQL` 8.0.16 and later).
    if bytes.starts_with(b"\x05\0\0\0\x0b\x08\x05\x1a\0") {
        return Some(stranger(Protocol::MysqlX, None));
    }
    let [_, length, 0, 0, kind, rest @ ..] = bytes else { return None };
    (*length < 8).then_some(())?;
    match kind {
        0x0a => {
            let end = rest.iter().position(|&byte| byte == 0).filter(|end| (1..=64).contains(end))?;
            let version = &rest[..end];
            let is_version = version[0].is_ascii_digit() && version.iter().all(u8::is_ascii_graphic);
            // MariaDB says 5.5.5 first, for old clients.
            is_version
                .then(|| stranger(Protocol::Mysql, Some(kept(version.strip_prefix(b"5.5.5-").unwrap_or(version)))))
        }
        0xff => {
            let [low, high, text @ ..] = rest else { return None };
            let code = u16::from_le_bytes([*low, *high]);
            let is_text = text.len() >= 8 && text.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic());
            ((1000..5000).contains(&code) && is_text).then(|| stranger(Protocol::Mysql, Some(kept(text))))
        }
        _ => None,
    }
}

/// An error: its length, then fields that begin with a letter each, the severity first.
fn postgres(bytes: &[u8]) -> Option<Stranger> {
    // Protocol 2, for what is no packet of a later one.
    if bytes.starts_with(b"EFATAL: ") {
        return Some(stranger(Protocol::Postgres, None));
    }
    let [b'E', 0, 0, _, _, b'S', severity @ ..] = bytes else { return None };
    let known = [b"FATAL\0".as_slice(), b"ERROR\0", b"PANIC\0"].iter().any(|word| severity.starts_with(word));
    known.then(|| stranger(Protocol::Postgres, None))
}

/// It answers each line of ours, of which RESP has several.
fn memcached(bytes: &[u8]) -> Option<Stranger> {
    let answers = [b"ERROR\r\nERROR\r\n".as_slice(), b"CLIENT_ERROR ", b"SERVER_ERROR "];
    answers.iter().any(|answer| bytes.starts_with(answer)).then(|| stranger(Protocol::Memcached, None))
}

fn others(bytes: &[u8]) -> Option<Stranger> {
    match bytes {
        [b'A', b'M', b'Q', b'P', id, major, minor, revision, ..] if *id < 4 => {
            Some(stranger(Protocol::Amqp, Some(format!("{major}-{minor}-{revision}"))))
        }
        [b'I', b'N', b'F', b'O', b' ', b'{', rest @ ..] if holds(rest, b"\"server_id\"") => {
            Some(stranger(Protocol::Nats, quoted(rest, b"\"version\":\"")))
        }
        [b'R', b'F', b'B', b' ', b'0'..=b'9', ..] => Some(stranger(Protocol::Vnc, None)),
        // IAC and one of WILL, WONT, DO, DONT, which name an option.
        [0xff, 0xfb..=0xfe, option, ..] if *option < 50 => Some(stranger(Protocol::Telnet, None)),
        // An error frame of version 3 and later with the code of a protocol error.
        [0x83..=0x86, _, _, _, 0, _, _, _, _, 0, 0, 0, 10, ..] if holds(bytes, b"protocol version") => {
            Some(stranger(Protocol::Cassandra, None))
        }
        _ if bytes.starts_with(b"@RSYNCD: ") => Some(stranger(Protocol::Rsync, None)),
        _ if bytes.starts_with(b"UNKNOWN_COMMAND\r\n") => Some(stranger(Protocol::Beanstalk, None)),
        _ => None,
    }
}

/// An alert, or a handshake.
fn tls(bytes: &[u8]) -> Option<Stranger> {
    match bytes {
        [21, 3, 0..=4, 0, 2, _, says, ..] => {
            Some(stranger(Protocol::Tls, Some(format!("alert {}", alert::name(*says)))))
        }
        [21 | 22, 3, 0..=4, ..] => Some(stranger(Protocol::Tls, None)),
        _ => None,
    }
}

/// The lines, without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn starts_in_any_case(bytes: &[u8], start: &[u8]) -> bool {
    bytes.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// What stands between `before` and the next quotation mark.
fn quoted(bytes: &[u8], before: &[u8]) -> Option<String> {
    let at = bytes.windows(before.len()).position(|window| window == before)? + before.len();
    let end = bytes[at..].iter().position(|&byte| byte == b'"')?;
    Some(kept(&bytes[at..at + end]))
}

fn kept(text: &[u8]) -> String {
    let text = text.trim_ascii();
    escape(&text[..text.len().min(LONGEST_NAME)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n*1\r\n$4\r\nINFO\r\n";

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<&str>) {
        let who = Stranger::of(bytes, PING, None).map(|stranger| stranger.who());
        assert_eq!(who.as_deref(), expected);
    }

    /// Captured from nginx 1.22.1, OpenSSH 9.2p1 and memcached 1.6.18 of Debian 12, asked with `PING`.
    #[test]
    fn real_servers_are_named_by_their_bytes() {
        let nginx = b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 10:32:15 GMT\r\n\
            Content-Type: text/html\r\nContent-Length: 157\r\nConnection: close\r\n\r\n<html>\r\n";
        check(nginx, Some("a web server (nginx/1.22.1)"));
        let sshd = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\nInvalid SSH identification string.\r\n";
        check(sshd, Some("an SSH server (OpenSSH_9.2p1 Debian-2+deb12u10)"));
        check(&b"ERROR\r\n".repeat(11), Some("a memcached"));
    }

    /// After the specifications and the sources of the servers.
    #[test]
    fn others_are_named_by_what_they_document() {
        check(b"HTTP/1.0 400 Bad Request\r\n\r\nServer: of the body", Some("a web server"));
        check(b"<!DOCTYPE HTML PUBLIC", Some("a web server"));
        check(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80", Some("a server of HTTP/2 or gRPC"));
        check(
            b"220 mail.test ESMTP Postfix (Debian/GNU)\r\n",
            Some("a mail server (mail.test ESMTP Postfix (Debian/GNU))"),
        );
        check(b"220 (vsFTPd 3.0.3)\r\n530 Please login", Some("an FTP server ((vsFTPd 3.0.3))"));
        check(b"220-welcome\r\n", Some("a mail or FTP server (welcome)"));
        check(b"+OK Dovecot (Debian) ready.\r\n", Some("a POP3 server (Dovecot (Debian) ready.)"));
        check(b"+OK <1896.697170952@mail.test>\r\n", Some("a POP3 server (<1896.697170952@mail.test>)"));
        check(b"* OK [CAPABILITY IMAP4rev1] ready.\r\n", Some("an IMAP server ([CAPABILITY IMAP4rev1] ready.)"));
        check(b":irc.test NOTICE * :*** Looking up your hostname\r\n", Some("an IRC server"));
        check(b"J\0\0\0\n8.0.36\0\x0b\0\0\0", Some("a MySQL server (8.0.36)"));
        check(b"Y\0\0\0\n5.5.5-10.11.6-MariaDB-0+deb12u1\0", Some("a MariaDB server (10.11.6-MariaDB-0+deb12u1)"));
        check(
            b"E\0\0\0\xffj\x04Host '10.77.1.1' is not allowed to connect to this MariaDB server",
            Some("a MariaDB server (Host '10.77.1.1' is not allowed to connect to this MariaDB server)"),
        );
        check(b"\x05\0\0\0\x0b\x08\x05\x1a\0", Some("a MySQL server (X protocol)"));
        check(b"E\0\0\0\x74SFATAL\0VFATAL\0C0A000\0M", Some("a PostgreSQL server"));
        check(b"AMQP\0\0\x09\x01", Some("an AMQP broker (0-9-1)"));
        check(
            b"INFO {\"server_id\":\"NA\",\"version\":\"2.10.4\",\"go\":\"go1.21\"} \r\n",
            Some("a NATS server (2.10.4)"),
        );
        check(b"UNKNOWN_COMMAND\r\nUNKNOWN_COMMAND\r\n", Some("a beanstalkd"));
        check(b"RFB 003.008\n", Some("a VNC server"));
        check(b"@RSYNCD: 31.0\n", Some("an rsync daemon"));
        check(b"\xff\xfd\x18\xff\xfd\x20", Some("a telnet server"));
        check(b"\x15\x03\x01\0\x02\x02F", Some("a TLS server (alert protocol_version (70))"));
        check(b"\x16\x03\x03\0\x5a\x02", Some("a TLS server"));
        check(&PING[..20], Some("an echo service"));
    }

    #[test]
    fn nobody_is_named_by_guess() {
        for bytes in [
            &b""[..],
            b"+PONG\r\n",
            b"+OK\r\n+PONG\r\n",
            b"+OK ready\r\n",
            b"-ERR unknown command\r\n",
            b"-NOAUTH Authentication required.\r\n",
            b"*1\r\n",
            b"$5\r\nhello\r\n",
            b":1\r\n",
            b"ERROR\r\n",
            b"ERR\r\n",
            b"2200 bottles\r\n",
            b"HTTPS",
            b"HTTP/x",
            b"SSH",
            b"J\0\0\0\n\0",
            b"AMQ",
            b"E\0\0\0\x08X",
            b"\x15\x02\0",
            b"INFO {}",
            b"\xff\xff\xff\xff",
            b"garbage",
        ] {
            check(bytes, None);
        }
    }

    #[test]
    fn a_name_is_short_and_without_control_codes_or_the_password() {
        let stranger = Stranger::of(&[b"SSH-2.0-\x1b[2J".as_slice(), &[b'x'; 999]].concat(), b"", None).unwrap();
        assert_eq!(stranger.name.as_deref().unwrap(), format!("\\x1b[2J{}", "x".repeat(LONGEST_NAME - 4)));
        let secret = Secret::new("correct-horse".to_owned());
        let stranger = Stranger::of(b"SSH-2.0-correct-horse\r\n", b"", Some(&secret)).unwrap();
        assert!(!stranger.who().contains("correct"), "{stranger:?}");
        let short = Secret::new("Open".to_owned());
        assert_eq!(Stranger::of(b"SSH-2.0-OpenSSH_9.2\r\n", b"", Some(&short)).unwrap().who(), "an SSH server");
    }

    #[test]
    fn programs_are_known_by_their_names() {
        assert_eq!(Protocol::of_program("postgres"), Some(Protocol::Postgres));
        assert_eq!(Protocol::of_program("redis-server"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(stranger) = Stranger::of(&bytes, PING, None) {
                prop_assert!(stranger.who().chars().all(|c| !c.is_control()));
            }
        }

        #[test]
        fn a_beginning_that_is_known_may_be_followed_by_anything(
            start in proptest::sample::select(vec!["HTTP/1.1 ", "SSH-2.0-", "220 ", "+OK ", "* OK ", "J\0\0\0\n", "E\0\0\0",
                "AMQP", "INFO {\"server_id\"", "\x15\x03\x03\0\x02", ":a NOTICE "]),
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Some(stranger) = Stranger::of(&[start.as_bytes(), &bytes].concat(), PING, None) {
                prop_assert!(stranger.who().len() < 1_000 && stranger.who().chars().all(|c| !c.is_control()));
            }
        }
    }
}
