//! What is ever said to a server: every command, and every setting that is asked for. All of it reads.

use serde::{Deserialize, Serialize};

/// The settings that CONFIG GET is asked for, one by one, because Redis before 7.0 takes one name at a time. None of them
/// is a secret: whether a password is set is seen by what AUTH and PING are answered.
pub const SETTINGS: &[&str] = &[
    "aclfile",
    "appenddirname",
    "appendonly",
    "bind",
    "cluster-enabled",
    "daemonize",
    "dbfilename",
    "dir",
    "logfile",
    "maxclients",
    "maxmemory",
    "maxmemory-policy",
    "pidfile",
    "port",
    "protected-mode",
    "save",
    "stop-writes-on-bgsave-error",
    "supervised",
    "tcp-backlog",
    "timeout",
    "tls-auth-clients",
    "tls-ca-cert-dir",
    "tls-ca-cert-file",
    "tls-cert-file",
    "tls-ciphers",
    "tls-client-cert-file",
    "tls-client-key-file",
    "tls-cluster",
    "tls-dh-params-file",
    "tls-key-file",
    "tls-port",
    "tls-protocols",
    "tls-replication",
    "unixsocket",
    "unixsocketperm",
];

/// The commands that are ever sent; all of them read, and none can change data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Command {
    /// AUTH as the application sends it.
    Auth,
    /// AUTH with the password alone, after AUTH with the user `default`: only a server whose default user has a
    /// password takes it (`open-default-user`).
    #[serde(rename = "AUTH (one argument)")]
    AuthAlone,
    /// HELLO.
    Hello,
    /// PING.
    Ping,
    /// SELECT of the asked database.
    Select,
    /// INFO.
    Info,
    /// EXISTS of the asked key.
    Exists,
    /// ECHO without its argument. Redis answers it with an error before it looks at authentication, pauses or the
    /// state of the data (`processCommand`), so a reply proves a living event loop and nothing else.
    ///
    /// Redis 6.0 and older, and only they, stop reading when clients are paused (measured on 5.0.10 and 6.0.9): there
    /// even this waits. Valkey 9 looks at authentication first and answers NOAUTH: as good a proof.
    #[serde(rename = "ECHO")]
    EchoNothing,
    /// ECHO of a long text of our own, to see whether large packets pass; sent only where they seem not to, and with
    /// `--deep`.
    #[serde(rename = "ECHO (long)")]
    Echo,
    /// PFCOUNT of a key that is not there, when writes are asked for. It reads, but is flagged `may_replicate`, so a
    /// pause of writes holds it back (measured on Redis 6.2, 7.0, 8.0 and Valkey 8.0, 9.0, 9.1); only Valkey 9 shows that
    /// pause in INFO.
    PfCount,
    /// CONFIG GET of one name of [`SETTINGS`]; only sent to this machine's own server.
    #[serde(rename = "CONFIG GET")]
    ConfigGet,
    /// CLUSTER NODES; only sent to the port that would be a cluster's for clients, where the asked one may be its bus port,
    /// and to a cluster that was reached over loopback.
    #[serde(rename = "CLUSTER NODES")]
    ClusterNodes,
}

impl Command {
    /// The name as typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth | Self::AuthAlone => "AUTH",
            Self::Hello => "HELLO",
            Self::Ping => "PING",
            Self::Select => "SELECT",
            Self::Info => "INFO",
            Self::Exists => "EXISTS",
            Self::EchoNothing | Self::Echo => "ECHO",
            Self::PfCount => "PFCOUNT",
            Self::ConfigGet => "CONFIG",
            Self::ClusterNodes => "CLUSTER",
        }
    }
}
