//! The directives of redis.conf: what each takes.
//!
//! Taken from what the servers themselves accept and refuse: Redis 5.0.10, 6.0.9, 6.2.14, 7.0.15 and 8.0.6, Valkey 8.0.1,
//! 9.0.0 and 9.1.2, each started with every directive and a range of values. Redis 5 reads numbers with atoi(3), for which
//! `port tcp://10.0.0.1` is port 0; everything since Redis 6 refuses what is not a number.

/// What a directive takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `yes` or `no`.
    YesNo,
    /// The same up to Redis 7; newer servers ignore the directive and take anything.
    OnceYesNo,
    /// A whole number between two bounds, and how Redis 5 reads it.
    Integer(i64, i64, Old),
    /// A memory size of at least so many bytes (`100mb`), and whether Redis 5 has the directive.
    Memory(u64, Old),
    /// A memory size or a percentage.
    MemoryOrPercent,
    /// File permissions, octal.
    Permissions,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, to which newer versions have added some, and may again.
    GrowingWord(&'static [&'static str]),
    /// One or more of these words; a list that grows, too.
    GrowingWords(&'static [&'static str]),
    /// Anything, one argument.
    Text,
    /// The name of a file without its folder.
    FileName,
    /// The folder Redis changes into.
    Folder,
    /// Anything, so many arguments at least.
    AtLeast(usize),
    /// Anything, exactly so many arguments.
    Exactly(usize),
    /// Addresses.
    Addresses,
    /// `save`.
    Save,
    /// `client-output-buffer-limit`.
    BufferLimit,
    /// `notify-keyspace-events`.
    Events,
    /// `latency-tracking-info-percentiles`.
    Percentiles,
    /// `replicaof`.
    Primary,
    /// `user`.
    User,
    /// `sentinel`.
    Sentinel,
}

/// What Redis 5 makes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Old {
    /// It does not know the directive, and refuses it.
    Unknown,
    /// It reads the digits in front, or 0, and refuses what is out of bounds.
    Bounded,
    /// It reads the digits in front, or 0, and takes everything.
    Anything,
}

/// What the directive `name` (in lower case) takes; `None` where no server is known that has it.
pub(super) fn kind(name: &str) -> Option<Kind> {
    let listed = |names: &[&str]| names.contains(&name);
    if listed(YES_NO) {
        return Some(Kind::YesNo);
    }
    if listed(TEXT) {
        return Some(Kind::Text);
    }
    let integer = INTEGERS.iter().find(|(names, ..)| names.contains(&name));
    if let Some(&(_, least, most, old)) = integer {
        return Some(Kind::Integer(least, most, old));
    }
    if let Some(&(_, least, old)) = MEMORY.iter().find(|(known, ..)| *known == name) {
        return Some(Kind::Memory(least, old));
    }
    if let Some((_, kind)) = OTHERS.iter().find(|(known, _)| *known == name) {
        return Some(*kind);
    }
    let of_module = MODULES.iter().any(|prefix| name.starts_with(prefix));
    (of_module || listed(KEYDB)).then_some(Kind::AtLeast(1))
}

/// The name under which newer servers know a directive: `slaveof` is `replicaof`.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

/// How the directives of the modules begin that are part of Redis 8.
const MODULES: &[&str] = &["search-", "ts-", "bf-", "cf-", "topk-", "tdigest-", "vset-"];

/// What only `KeyDB` has.
const KEYDB: &[&str] = &[
    "active-client-balancing",
    "active-replica",
    "enable-motd",
    "min-clients-per-thread",
    "multi-master",
    "multi-master-no-forward",
    "scratch-file-path",
    "server-thread-affinity",
    "server-threads",
    "storage-provider",
];

const YES_NO: &[&str] = &[
    "activedefrag",
    "activerehashing",
    "always-show-logo",
    "aof-disable-auto-gc",
    "aof-load-truncated",
    "aof-rewrite-incremental-fsync",
    "aof-timestamp-enabled",
    "aof-use-rdb-preamble",
    "appendonly",
    "cluster-allow-pubsubshard-when-down",
    "cluster-allow-reads-when-down",
    "cluster-allow-replica-migration",
    "cluster-enabled",
    "cluster-replica-no-failover",
    "cluster-require-full-coverage",
    "cluster-slave-no-failover",
    "cluster-slot-stats-enabled",
    "crash-log-enabled",
    "crash-memcheck-enabled",
    "daemonize",
    "disable-thp",
    "dual-channel-replication-enabled",
    "enable-debug-assert",
    "extended-redis-compatibility",
    "hide-user-data-from-log",
    "import-mode",
    "jemalloc-bg-thread",
    "latency-tracking",
    "lazyfree-lazy-eviction",
    "lazyfree-lazy-expire",
    "lazyfree-lazy-server-del",
    "lazyfree-lazy-user-del",
    "lazyfree-lazy-user-flush",
    "lua-enable-deprecated-api",
    "mptcp",
    "no-appendfsync-on-rewrite",
    "protected-mode",
    "rdb-del-sync-files",
    "rdb-save-incremental-fsync",
    "rdbchecksum",
    "rdbcompression",
    "repl-disable-tcp-nodelay",
    "repl-diskless-sync",
    "repl-mptcp",
    "replica-announced",
    "replica-ignore-disk-write-errors",
    "replica-ignore-maxmemory",
    "replica-lazy-flush",
    "replica-read-only",
    "replica-serve-stale-data",
    "set-proc-title",
    "slave-ignore-maxmemory",
    "slave-lazy-flush",
    "slave-read-only",
    "slave-serve-stale-data",
    "stop-writes-on-bgsave-error",
    "syslog-enabled",
    "tls-cluster",
    "tls-prefer-server-ciphers",
    "tls-replication",
    "tls-session-caching",
    "use-exit-on-panic",
];

const TEXT: &[&str] = &[
    "aclfile",
    "aof-rewrite-cpulist",
    "aof_rewrite_cpulist",
    "availability-zone",
    "bgsave-cpulist",
    "bgsave_cpulist",
    "bind-source-addr",
    "bio-cpulist",
    "bio_cpulist",
    "cluster-announce-client-ipv4",
    "cluster-announce-client-ipv6",
    "cluster-announce-hostname",
    "cluster-announce-human-nodename",
    "cluster-announce-ip",
    "cluster-config-file",
    "debug-context",
    "hash-seed",
    "ignore-warnings",
    "locale-collate",
    "logfile",
    "masterauth",
    "masteruser",
    "pidfile",
    "primaryauth",
    "primaryuser",
    "proc-title-template",
    "replica-announce-ip",
    "requirepass",
    "sanitize-dump-payload",
    "server-cpulist",
    "server_cpulist",
    "slave-announce-ip",
    "syslog-ident",
    "tls-ca-cert-dir",
    "tls-ca-cert-file",
    "tls-cert-file",
    "tls-ciphers",
    "tls-ciphersuites",
    "tls-client-cert-file",
    "tls-client-key-file",
    "tls-client-key-file-pass",
    "tls-dh-params-file",
    "tls-key-file",
    "tls-key-file-pass",
    "tls-protocols",
    "unixsocket",
    "unixsocketgroup",
];

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;

const INTEGERS: &[(&[&str], i64, i64, Old)] = &[
    (&["port", "cluster-announce-bus-port", "cluster-announce-port"], 0, 65535, Old::Bounded),
    (&["replica-announce-port", "slave-announce-port"], 0, 65535, Old::Bounded),
    (&["tls-port", "cluster-port", "cluster-announce-tls-port"], 0, 65535, Old::Unknown),
    (&["cluster-announce-client-port", "cluster-announce-client-tls-port", "rdma-port"], 0, 65535, Old::Unknown),
    (&["active-defrag-cycle-max", "active-defrag-cycle-min"], 1, 99, Old::Bounded),
    (&["active-defrag-threshold-lower", "active-defrag-threshold-upper"], 0, 1000, Old::Bounded),
    (&["active-defrag-max-scan-fields"], 1, LONG, Old::Anything),
    (&["active-defrag-cycle-us"], 0, 100_000, Old::Unknown),
    (&["active-expire-effort"], 1, 10, Old::Unknown),
    (&["auto-aof-rewrite-percentage", "cluster-migration-barrier", "tcp-backlog"], 0, INT, Old::Bounded),
    (&["cluster-replica-validity-factor", "cluster-slave-validity-factor"], 0, INT, Old::Bounded),
    (&["lfu-decay-time", "lfu-log-factor", "tcp-keepalive", "timeout"], 0, INT, Old::Bounded),
    (&["min-replicas-max-lag", "min-replicas-to-write"], 0, INT, Old::Bounded),
    (&["min-slaves-max-lag", "min-slaves-to-write", "repl-diskless-sync-delay"], 0, INT, Old::Bounded),
    (&["databases", "repl-ping-replica-period", "repl-ping-slave-period", "repl-timeout"], 1, INT, Old::Bounded),
    (&["maxmemory-samples"], 1, INT, Old::Bounded),
    (&["cluster-node-timeout", "latency-monitor-threshold", "repl-backlog-ttl"], 0, LONG, Old::Bounded),
    (&["maxclients"], 1, u32::MAX as i64, Old::Anything),
    (&["hash-max-ziplist-entries", "zset-max-ziplist-entries"], 0, LONG, Old::Anything),
    (&["set-max-intset-entries", "stream-node-max-entries"], 0, LONG, Old::Anything),
    (&["lua-time-limit", "slowlog-max-len"], 0, LONG, Old::Anything),
    (&["slowlog-log-slower-than"], -1, LONG, Old::Anything),
    (&["hz", "list-compress-depth", "replica-priority", "slave-priority"], 0, INT, Old::Anything),
    (&["list-max-ziplist-size"], i32::MIN as i64, INT, Old::Anything),
    (&["list-max-listpack-size"], i32::MIN as i64, INT, Old::Unknown),
    (&["rdb-key-save-delay", "key-load-delay"], i32::MIN as i64, INT, Old::Unknown),
    (&["acllog-max-len", "busy-reply-threshold", "tracking-table-max-keys"], 0, LONG, Old::Unknown),
    (&["hash-max-listpack-entries", "zset-max-listpack-entries"], 0, LONG, Old::Unknown),
    (&["set-max-listpack-entries", "set-max-listpack-value"], 0, LONG, Old::Unknown),
    (&["cluster-blacklist-ttl"], i64::MIN, LONG, Old::Unknown),
    (&["cluster-compatibility-sample-ratio", "maxmemory-eviction-tenacity"], 0, 100, Old::Unknown),
    (&["cluster-databases", "cluster-manual-failover-timeout"], 1, INT, Old::Unknown),
    (&["cluster-slot-migration-log-max-len", "commandlog-slow-execution-max-len"], 0, LONG, Old::Unknown),
    (&["commandlog-large-reply-max-len", "commandlog-large-request-max-len"], 0, LONG, Old::Unknown),
    (&["commandlog-execution-slower-than"], -1, LONG, Old::Unknown),
    (&["commandlog-reply-larger-than", "commandlog-request-larger-than"], -1, LONG, Old::Unknown),
    (&["io-threads"], 1, 256, Old::Unknown),
    (&["max-new-connections-per-cycle", "max-new-tls-connections-per-cycle"], 1, 1000, Old::Unknown),
    (&["prefetch-batch-max-size"], 0, 128, Old::Unknown),
    (&["rdma-completion-vector"], -1, 1024, Old::Unknown),
    (&["rdma-rx-size"], 65536, 16_777_216, Old::Unknown),
    (&["repl-diskless-sync-max-replicas", "shutdown-timeout", "watchdog-period"], 0, INT, Old::Unknown),
    (&["tls-session-cache-size", "tls-session-cache-timeout", "tls-auto-reload-interval"], 0, INT, Old::Unknown),
    (&["socket-mark-id"], 0, u32::MAX as i64, Old::Unknown),
];

const MB: u64 = 1 << 20;

const MEMORY: &[(&str, u64, Old)] = &[
    ("active-defrag-ignore-bytes", 1, Old::Bounded),
    ("auto-aof-rewrite-min-size", 0, Old::Anything),
    ("client-query-buffer-limit", MB, Old::Anything),
    ("cluster-link-sendbuf-limit", 0, Old::Unknown),
    ("hash-max-listpack-value", 0, Old::Unknown),
    ("hash-max-ziplist-value", 0, Old::Anything),
    ("hll-sparse-max-bytes", 0, Old::Anything),
    ("maxmemory", 0, Old::Anything),
    ("proto-max-bulk-len", MB, Old::Anything),
    ("repl-backlog-size", 1, Old::Bounded),
    ("replica-full-sync-buffer-limit", 0, Old::Unknown),
    ("stream-node-max-bytes", 0, Old::Anything),
    ("zset-max-listpack-value", 0, Old::Unknown),
    ("zset-max-ziplist-value", 0, Old::Anything),
];

const LOCAL: &[&str] = &["no", "yes", "local"];
const SHUTDOWN: &[&str] = &["default", "save", "nosave", "now", "force", "safe", "failover"];
/// The last two came with Redis 8.6.
const POLICIES: &[&str] = &[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
    "volatile-lrm",
    "allkeys-lrm",
];
const FACILITIES: &[&str] = &["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"];

const OTHERS: &[(&str, Kind)] = &[
    ("include", Kind::Exactly(1)),
    ("bind", Kind::Addresses),
    ("rdma-bind", Kind::Addresses),
    ("save", Kind::Save),
    ("dir", Kind::Folder),
    ("user", Kind::User),
    ("rename-command", Kind::Exactly(2)),
    ("loadmodule", Kind::AtLeast(1)),
    ("sentinel", Kind::Sentinel),
    ("replicaof", Kind::Primary),
    ("slaveof", Kind::Primary),
    ("client-output-buffer-limit", Kind::BufferLimit),
    ("notify-keyspace-events", Kind::Events),
    ("latency-tracking-info-percentiles", Kind::Percentiles),
    ("oom-score-adj-values", Kind::Exactly(3)),
    ("maxmemory-clients", Kind::MemoryOrPercent),
    ("slot-migration-max-failover-repl-bytes", Kind::Text),
    ("events-per-io-thread", Kind::Text),
    ("unixsocketperm", Kind::Permissions),
    ("dbfilename", Kind::FileName),
    ("appendfilename", Kind::FileName),
    ("appenddirname", Kind::FileName),
    ("dynamic-hz", Kind::OnceYesNo),
    ("io-threads-do-reads", Kind::OnceYesNo),
    ("gopher-enabled", Kind::Text),
    ("lua-replicate-commands", Kind::AtLeast(1)),
    ("list-max-ziplist-entries", Kind::AtLeast(1)),
    ("list-max-ziplist-value", Kind::AtLeast(1)),
    ("appendfsync", Kind::Word(&["everysec", "always", "no"])),
    ("supervised", Kind::Word(&["upstart", "systemd", "auto", "no"])),
    ("syslog-facility", Kind::Word(FACILITIES)),
    ("acl-pubsub-default", Kind::Word(&["allchannels", "resetchannels"])),
    ("oom-score-adj", Kind::Word(&["no", "yes", "relative", "absolute"])),
    ("tls-auth-clients", Kind::Word(&["no", "yes", "optional"])),
    ("enable-debug-command", Kind::Word(LOCAL)),
    ("enable-module-command", Kind::Word(LOCAL)),
    ("enable-protected-configs", Kind::Word(LOCAL)),
    ("cluster-preferred-endpoint-type", Kind::GrowingWord(&["ip", "hostname", "unknown-endpoint"])),
    ("cluster-config-save-behavior", Kind::GrowingWord(&["sync", "best-effort"])),
    ("loglevel", Kind::GrowingWord(&["debug", "verbose", "notice", "warning", "nothing"])),
    ("log-format", Kind::GrowingWord(&["legacy", "logfmt", "json"])),
    ("log-timestamp-format", Kind::GrowingWord(&["legacy", "iso8601", "milliseconds"])),
    ("maxmemory-policy", Kind::GrowingWord(POLICIES)),
    ("propagation-error-behavior", Kind::GrowingWord(&["ignore", "panic", "panic-on-replicas"])),
    ("rdb-version-check", Kind::GrowingWord(&["strict", "relaxed"])),
    ("repl-diskless-load", Kind::GrowingWord(&["disabled", "on-empty-db", "swapdb", "flush-before-load"])),
    ("shutdown-on-sigint", Kind::GrowingWords(SHUTDOWN)),
    ("shutdown-on-sigterm", Kind::GrowingWords(SHUTDOWN)),
    ("tls-auth-clients-user", Kind::GrowingWord(&["cn", "uri", "off"])),
];

/// Redis 5 to 7 renamed directives and takes the old names still; Valkey 8 renamed two more.
const ALIASES: &[(&str, &str)] = &[
    ("slaveof", "replicaof"),
    ("slave-announce-ip", "replica-announce-ip"),
    ("slave-announce-port", "replica-announce-port"),
    ("slave-ignore-maxmemory", "replica-ignore-maxmemory"),
    ("slave-lazy-flush", "replica-lazy-flush"),
    ("slave-priority", "replica-priority"),
    ("slave-read-only", "replica-read-only"),
    ("slave-serve-stale-data", "replica-serve-stale-data"),
    ("cluster-slave-no-failover", "cluster-replica-no-failover"),
    ("cluster-slave-validity-factor", "cluster-replica-validity-factor"),
    ("min-slaves-max-lag", "min-replicas-max-lag"),
    ("min-slaves-to-write", "min-replicas-to-write"),
    ("repl-ping-slave-period", "repl-ping-replica-period"),
    ("lua-time-limit", "busy-reply-threshold"),
    ("hash-max-ziplist-entries", "hash-max-listpack-entries"),
    ("hash-max-ziplist-value", "hash-max-listpack-value"),
    ("zset-max-ziplist-entries", "zset-max-listpack-entries"),
    ("zset-max-ziplist-value", "zset-max-listpack-value"),
    ("list-max-ziplist-size", "list-max-listpack-size"),
    ("primaryauth", "masterauth"),
    ("primaryuser", "masteruser"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_directive_stands_once() {
        let integers = INTEGERS.iter().flat_map(|(names, ..)| names.iter());
        let memory = MEMORY.iter().map(|(name, ..)| name);
        let others = OTHERS.iter().map(|(name, _)| name);
        let names: Vec<&&str> = YES_NO.iter().chain(TEXT).chain(integers).chain(memory).chain(others).collect();
        let unique: BTreeSet<&str> = names.iter().map(|name| **name).collect();
        assert_eq!(unique.len(), names.len());
        for (alias, name) in ALIASES {
            assert!(unique.contains(alias) && unique.contains(name), "{alias}, {name}");
        }
    }
}
