//! Who is a server of the Redis family: by its program, its name, its title.

use super::arguments::Line;

/// The names that servers go by, before `-server` and `-sentinel`.
const STEMS: [&str; 5] = ["redis", "valkey", "keydb", "redict", "keydb-pro"];
/// What runs a program of another machine or under a watch, and gives the process its own name.
const CARRIERS: [&str; 6] = ["ld-linux", "ld-musl", "ld.so", "qemu-", "memcheck-", "rosetta"];
/// What runs a script, which the kernel names after the script.
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "zsh", "busybox", "python", "perl"];
/// The kernel keeps this much of a name (`TASK_COMM_LEN` less one).
const COMM: usize = 15;

/// True if a process of this name may be a server, so that it is worth a closer look.
pub fn may_be(comm: &str) -> bool {
    let comm = comm.to_ascii_lowercase();
    STEMS.iter().any(|stem| comm.contains(stem)) || carries(&comm)
}

/// Servers that speak the protocol of Redis, and are none.
const KIN: [&str; 7] = ["dragonfly", "kvrocks", "pika", "garnet", "ardb", "tendis", "apsaradb"];
/// What belongs to a server, by its name, and serves nobody.
const TOOLS: [&str; 9] =
    ["cli", "benchmark", "check", "export", "insight", "commander", "proxy", "operator", "metrics"];

/// True if a process of this name may be a server, though not one that is known.
pub fn is_kin(comm: &str) -> bool {
    let comm = comm.to_ascii_lowercase();
    is_named_like_a_server(&comm) || KIN.iter().any(|name| comm.starts_with(name))
}

/// True for a name that holds one of the family's, and none of a tool's.
pub fn is_named_like_a_server(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    STEMS.iter().any(|stem| name.contains(stem)) && !TOOLS.iter().any(|tool| name.contains(tool))
}

/// True if it is a server: not redis-cli, not a child that writes a snapshot, not a script of that name.
pub fn is_server(comm: &str, line: &Line, exe: Option<&str>) -> bool {
    let first = line.program();
    if is_child(first) || is_shell(first) {
        return false;
    }
    // A zombie has no arguments left.
    let by_comm = is_server_name(comm) && (first.is_empty() || !is_tool(first));
    let carried = || carries(comm) && line.args.iter().take(4).any(|arg| is_server_name(base(arg)));
    let by_exe = || exe.map(base).is_some_and(is_server_name) && !is_tool(first);
    by_comm || is_server_name(first) || carried() || by_exe() || line.is_title()
}

/// True if it is a sentinel.
pub fn is_sentinel(comm: &str, line: &Line) -> bool {
    let title = line.args.first().map_or("", String::as_str);
    let named = |name: &str| STEMS.iter().any(|stem| starts(name, &format!("{stem}-sentinel")));
    named(comm) || named(line.program()) || title.contains("[sentinel]") || line.args.iter().any(|a| a == "--sentinel")
}

/// `redis-server`, also with a version, also cut by the kernel: `redict-sentinel`, `redis-server-7`.
fn is_server_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.trim_end_matches(" (deleted)");
    let named = |stem: &str| {
        ["server", "sentinel"].iter().any(|kind| {
            let full = format!("{stem}-{kind}");
            (name.len() == COMM && full.starts_with(name)) || starts(name, &full)
        })
    };
    name == "keydb" || STEMS.iter().any(|stem| named(stem))
}

/// True if `name` is `full`, with nothing but a number after it.
fn starts(name: &str, full: &str) -> bool {
    let rest = name.strip_prefix(full);
    rest.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || "-._".contains(c)))
}

/// True for the other programs that share the server's file (Debian's is a link to redis-check-rdb).
fn is_tool(name: &str) -> bool {
    ["-cli", "-benchmark", "-check-rdb", "-check-aof"].iter().any(|tool| name.contains(tool))
}

/// True for the title of a child: `redis-rdb-bgsave`, `redis-aof-rewrite`, `redis-rdb-to-slaves`, `redis-module-fork`.
fn is_child(name: &str) -> bool {
    ["-rdb-bgsave", "-aof-rewrite", "-rdb-to-", "-module-fork"].iter().any(|title| name.contains(title))
}

fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

fn carries(comm: &str) -> bool {
    CARRIERS.iter().any(|carrier| comm.starts_with(carrier))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::super::arguments::parse;
    use super::*;

    #[test]
    fn knows_servers() {
        let line = |text: &str| parse(text.replace('|', "\0").as_bytes());
        let yes = [
            ("redis-server", "redis-server 127.0.0.1:6379", None),
            ("redis-server", "/usr/bin/redis-server *:6379 [cluster]", None),
            ("redis-server", "", None),
            ("valkey-server", "valkey-server|--port|7000", None),
            ("keydb-server", "", None),
            ("KeyDB", "", None),
            ("keydb-pro-serve", "", None),
            ("redict-sentinel", "redict-sentinel *:26379 [sentinel]", None),
            ("redis-server-7.", "redis-server-7.2 *:6379", None),
            ("redis-check-rdb", "/usr/bin/redis-server 127.0.0.1:6379", Some("/usr/bin/redis-check-rdb")),
            ("memcheck-amd64-", "/usr/bin/valgrind|redis-server|--port|1", None),
            ("db", "db *:6379", Some("/opt/redis/bin/redis-server (deleted)")),
        ];
        for (comm, text, exe) in yes {
            assert!(is_server(comm, &line(text), exe), "{comm} {text}");
        }
        let no = [
            ("redis-cli", "redis-cli|-h|x", Some("/usr/bin/redis-cli")),
            ("redis-check-rdb", "redis-check-rdb|dump.rdb", Some("/usr/bin/redis-check-rdb")),
            ("redis-check-rdb", "", None),
            ("redis-server", "redis-rdb-bgsave 127.0.0.1:6379", Some("/usr/bin/redis-server")),
            ("redis-server", "redis-aof-rewrite *:6379", None),
            ("redis-server", "/bin/sh|/usr/local/bin/redis-server", None),
            ("redis-server-ex", "redis-server-exporter", None),
            ("redis_exporter", "redis_exporter", None),
            ("redis-stack-ser", "/bin/bash|/opt/redis-stack/bin/redis-stack-server", None),
            ("nginx", "nginx: master process", Some("/usr/sbin/nginx")),
        ];
        for (comm, text, exe) in no {
            assert!(!is_server(comm, &line(text), exe), "{comm} {text}");
        }
    }

    #[test]
    fn looks_closer_at_few() {
        let worth = ["redis-server", "redis-check-rdb", "KeyDB", "ld-linux-x86-64", "valkey-sentinel"];
        assert!(worth.into_iter().all(may_be));
        assert!(["nginx", "sh", "systemd", "kworker/0:1", ""].into_iter().all(|comm| !may_be(comm)));
    }

    #[test]
    fn knows_sentinels() {
        let of = |comm: &str, text: &str| is_sentinel(comm, &parse(text.as_bytes()));
        assert!(of("redis-sentinel", "redis-sentinel *:26379 [sentinel]"));
        assert!(of("redis-server", "redis-server *:26379 [sentinel]"));
        assert!(of("redis-server", "redis-server\0sentinel.conf\0--sentinel"));
        assert!(of("valkey-sentinel", ""));
        assert!(!of("redis-server", "redis-server *:6379"));
    }
}
