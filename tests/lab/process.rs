//! What a check sees of the servers on its own machine, by the facts that it saves.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::diagnose::REDISDOC;
use crate::world::{Host, Lab, Stub, Task};

/// What was saved of the host.
struct Seen {
    facts: Value,
}

impl Host {
    /// The facts of a check of this host, with whatever is wrong looked into.
    #[track_caller]
    fn seen(&self, args: &[&str]) -> Seen {
        saved(self.facts(args))
    }

    fn facts(&self, args: &[&str]) -> Task {
        let line: Vec<&str> =
            [REDISDOC, "check", "-o", "facts", "-t", "2"].into_iter().chain(args.iter().copied()).collect();
        self.command(&line)
    }
}

#[track_caller]
fn saved(task: Task) -> Seen {
    let ran = task.run();
    let facts = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no facts: {error}\n{ran}"));
    Seen { facts }
}

impl Seen {
    fn processes(&self) -> &Value {
        &self.facts["host"]["seen"]["processes"]["seen"]
    }

    fn servers(&self) -> &[Value] {
        self.processes()["servers"].as_array().map_or(&[], Vec::as_slice)
    }

    fn strangers(&self) -> &[Value] {
        self.processes()["strangers"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The only server.
    #[track_caller]
    fn server(&self) -> &Value {
        let [server] = self.servers() else { panic!("not one server: {self}") };
        server
    }

    /// The TCP listeners of a port.
    fn listeners(&self, port: u16) -> Vec<&Value> {
        let all = self.facts["host"]["seen"]["sockets"]["seen"]["tcp"].as_array();
        all.into_iter().flatten().filter(|listener| listener["port"] == port).collect()
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = &self.facts["host"]["seen"];
        write!(f, "{:#}\n{:#}", host["sockets"], host["processes"])
    }
}

/// The last word of a state that a process reaches on its own.
#[track_caller]
fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_healthy_check_sees_the_server_that_answered() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("server");
    let redis = host.redis(&["--bind", "127.0.0.1", "::1"]);
    let other = host.redis(&["--port", "7000"]);
    let seen = host.seen(&[]);
    let server = seen.server();
    assert_eq!((&server["pid"], &server["pid_inside"]), (&redis.pid().into(), &redis.pid().into()), "{seen}");
    assert_eq!((&server["name"], &server["state"]), (&"redis-server".into(), &"alive".into()), "{seen}");
    assert_eq!((&server["uid"], &server["user"], &server["sentinel"]), (&0.into(), &"root".into(), &false.into()));
    assert_eq!(server["cwd"], redis.dir.as_str(), "{seen}");
    assert_eq!((&server["same_network"], &server["same_pids"]), (&true.into(), &true.into()), "{seen}");
    assert_eq!(server["listens"], serde_json::json!(["127.0.0.1:6379", "[::1]:6379"]), "{seen}");
    assert!(server["open_files_limit"].as_u64() > Some(0), "{seen}");
    assert!(server["started_at"].as_str().is_some_and(|date| date.starts_with("20")), "{seen}");
    let listeners = seen.listeners(6379);
    assert!(listeners.len() == 2 && listeners.iter().all(|one| one["owner"] == redis.pid()), "{seen}");
    assert!(listeners.iter().any(|one| one["v6only"] == true && one["backlog"] == 511), "{seen}");
    assert_eq!((&seen.processes()["all"], &seen.processes()["some_hidden"]), (&false.into(), &false.into()), "{seen}");
    // With all that might tell why, both servers are seen; the other's listeners only then.
    assert!(seen.listeners(7000).is_empty(), "{seen}");
    let seen = host.seen(&["--deep"]);
    let mut pids = [redis.pid(), other.pid()];
    pids.sort_unstable();
    assert_eq!(seen.servers().iter().map(|one| one["pid"].clone()).collect::<Vec<_>>(), pids, "{seen}");
    assert!(seen.listeners(7000).iter().all(|one| one["owner"] == other.pid()), "{seen}");
    assert_eq!((&seen.processes()["all"], &seen.processes()["some_hidden"]), (&true.into(), &false.into()), "{seen}");
}

#[test]
fn servers_of_every_version_are_known() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("server");
    for version in crate::world::Server::ALL {
        let Some(redis) = host.redis_of(version, &[]) else { continue };
        for args in [&["--deep"][..], &[]] {
            let seen = host.seen(args);
            assert_eq!(seen.server()["pid"], redis.pid(), "{version:?} {seen}");
        }
    }
    let sentinel = host
        .file("/etc/sentinel.conf", "port 26379\n")
        .command(&["redis-server", "/etc/sentinel.conf", "--sentinel"])
        .spawn();
    wait_for("the sentinel", || sentinel.said().contains("Sentinel ID is"));
    let seen = host.seen(&["-p", "26379", "--deep"]);
    assert_eq!(seen.server()["sentinel"], true, "{seen}");
}

#[test]
fn a_stopped_server_is_seen_as_stopped() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("server");
    let redis = host.redis(&[]);
    redis.freeze();
    let seen = host.seen(&[]);
    assert_eq!((&seen.server()["state"], &seen.server()["pid"]), (&"stopped".into(), &redis.pid().into()), "{seen}");
    // The bytes that it did not read, and who ought to.
    assert!(seen.listeners(6379).iter().all(|one| one["owner"] == redis.pid()), "{seen}");
}

#[test]
fn a_dead_server_whose_parent_does_not_ask_is_seen_as_a_zombie() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("server");
    let shell = host.command(&["sh", "-c", "redis-server --save '' & echo $!; exec sleep 60"]).spawn();
    wait_for("the server", || shell.said().contains("eady to accept"));
    let said = shell.said();
    let pid = said.lines().next().unwrap();
    let _ = host.sh(&format!("kill -9 {pid}"));
    wait_for("its death", || host.read(&format!("/proc/{pid}/stat")).contains(") Z "));
    let seen = host.seen(&[]);
    let server = seen.server();
    assert_eq!((&server["state"], &server["name"]), (&"zombie".into(), &"redis-server".into()), "{seen}");
    assert!(server["args"].as_array().is_some_and(Vec::is_empty) && seen.listeners(6379).is_empty(), "{seen}");
}

#[test]
fn a_snapshot_in_the_making_is_no_second_server() {
    let Some(lab) = Lab::enter() else { return };
    for title in ["yes", "no"] {
        let host = lab.host("server");
        let redis = host.redis(&["--rdb-key-save-delay", "100000", "--set-proc-title", title]);
        let _ = host.sh("redis-cli mset a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9; redis-cli bgsave");
        let children = || host.run(&["sh", "-c", &format!("cat /proc/{0}/task/{0}/children", redis.pid())]).stdout;
        wait_for("the child", || !children().trim().is_empty());
        let seen = host.seen(&["--deep"]);
        assert_eq!(seen.server()["pid"], redis.pid(), "{seen}");
        assert!(!children().trim().is_empty(), "the snapshot was over before it was looked at");
        assert!(seen.listeners(6379).iter().all(|one| one["owner"] == redis.pid()), "{seen}");
    }
}

#[test]
fn a_stranger_on_the_port_is_seen() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("server");
    // Nothing that every machine has can listen but Redis itself, under another name and program.
    let _ = host.sh("cp $(readlink -f $(command -v redis-server)) /usr/local/bin/frobnicator");
    let stranger = host.command(&["frobnicator", "--save", "", "--set-proc-title", "no"]).spawn();
    wait_for("the stranger", || stranger.said().contains("eady to accept"));
    let seen = host.seen(&["--deep"]);
    assert!(seen.servers().is_empty(), "{seen}");
    let [one] = seen.strangers() else { panic!("not one stranger: {seen}") };
    assert_eq!((&one["name"], &one["pid"]), (&"frobnicator".into(), &stranger.pid().into()), "{seen}");
    assert_eq!(one["listens"].as_array().map(Vec::len), Some(2), "{seen}");
    assert_eq!(seen.processes()["some_hidden"], false, "{seen}");
}

#[test]
fn a_listener_whose_owner_is_out_of_sight_says_so() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("server");
    // The stub is a thread of the test, which is not in the host's PID namespace.
    let _stub = host.tcp_stub(6379, Stub::Silent);
    let seen = host.seen(&[]);
    assert!(seen.servers().is_empty() && seen.strangers().is_empty(), "{seen}");
    assert!(seen.listeners(6379).iter().all(|one| one["owner"].is_null() && one["v6only"] == false), "{seen}");
    assert_eq!((&seen.processes()["all"], &seen.processes()["some_hidden"]), (&true.into(), &true.into()), "{seen}");
}

#[test]
fn a_server_on_a_unix_socket_alone_is_seen() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("server");
    let redis = host.redis(&["--port", "0", "--unixsocket", "/run/redis.sock"]);
    for args in [&["-s", "/run/redis.sock"][..], &["--deep"]] {
        let seen = host.seen(args);
        let server = seen.server();
        assert_eq!((&server["pid"], &server["listens"]), (&redis.pid().into(), &serde_json::json!([])), "{seen}");
        assert_eq!(server["listens_unix"], serde_json::json!(["/run/redis.sock"]), "{seen}");
    }
}

#[test]
fn a_server_in_another_network_is_seen_with_its_addresses() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("server");
    let line = "ip link set lo up; ip addr add 10.9.9.9/24 dev lo; \
                exec redis-server --save '' --bind 0.0.0.0";
    let container = host.command(&["unshare", "--net", "sh", "-c", line]).spawn();
    wait_for("the server", || container.said().contains("eady to accept"));
    let check = |seen: &Seen| {
        let server = seen.server();
        assert_eq!((&server["pid"], &server["same_network"]), (&container.pid().into(), &false.into()), "{seen}");
        assert_eq!(server["addresses"], serde_json::json!(["10.9.9.9"]), "{seen}");
        assert_eq!(server["listens"], serde_json::json!(["0.0.0.0:6379"]), "{seen}");
        assert!(seen.listeners(6379).is_empty(), "{seen}");
    };
    check(&host.seen(&[]));
    if lab.has_users() {
        check(&saved(host.facts(&[]).user(1234)));
    }
}

#[test]
fn a_server_in_another_pid_namespace_is_found_though_its_number_is_anothers() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("server");
    // To itself it is process 1, which is the host's init here.
    let line = ["unshare", "--pid", "--fork", "--kill-child", "redis-server", "--save", ""];
    let container = host.command(&line).spawn();
    wait_for("the server", || container.said().contains("eady to accept"));
    for args in [&[][..], &["--deep"]] {
        let seen = host.seen(args);
        let server = seen.server();
        assert_eq!((&server["pid_inside"], &server["same_pids"]), (&1.into(), &false.into()), "{seen}");
        assert!(seen.listeners(6379).iter().all(|one| one["owner"] == server["pid"]), "{seen}");
    }
}

#[test]
fn without_rights_servers_are_seen_and_what_is_unsure_stays_open() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return crate::world::enter::skipped("other users than root: only where the tests run as root");
    }
    let host = lab.host("server");
    let redis = host.redis_as(106, &["--unixsocket", "/tmp/r.sock"]);
    for args in [&[][..], &["--deep"]] {
        let seen = saved(host.facts(args).user(1234));
        let server = seen.server();
        assert_eq!((&server["pid"], &server["uid"]), (&redis.pid().into(), &106.into()), "{seen}");
        assert!(server["exe"].is_null() && server["cwd"].is_null(), "{seen}");
        assert_eq!((&server["same_network"], &server["same_pids"]), (&true.into(), &true.into()), "{seen}");
        assert_eq!(server["listens"].as_array().map(Vec::len), Some(2), "{seen}");
        assert!(seen.listeners(6379).iter().all(|one| one["owner"].is_null() && one["uid"] == 106), "{seen}");
        assert_eq!(seen.processes()["some_hidden"], true, "{seen}");
    }
    // One that says the same, of the same user, in another network: there is still no doubt.
    let line = ["unshare", "--net", "setpriv", "--reuid=106", "redis-server", "--save", ""];
    let twin = host.command(&line).spawn();
    wait_for("the twin", || twin.said().contains("eady to accept"));
    let seen = saved(host.facts(&["--deep"]).user(1234));
    let listens = |pid: u32| {
        let one = seen.servers().iter().find(|one| one["pid"] == pid).unwrap_or_else(|| panic!("no {pid}: {seen}"));
        (one["same_network"].as_bool(), one["listens"].as_array().map(Vec::len))
    };
    assert_eq!(listens(redis.pid()), (Some(true), Some(2)), "{seen}");
    assert_eq!(listens(twin.pid()), (Some(false), Some(2)), "{seen}");
}

#[test]
fn where_proc_hides_others_a_listener_without_owner_says_nothing() {
    let Some(lab) = Lab::enter() else { return };
    if !lab.has_users() {
        return crate::world::enter::skipped("other users than root: only where the tests run as root");
    }
    let host = lab.host("server");
    let _redis = host.redis_as(106, &[]);
    if host.run(&["mount", "-o", "remount,hidepid=2", "/proc"]).code != Some(0) {
        return crate::world::enter::skipped("hidepid cannot be set here");
    }
    let seen = saved(host.facts(&["--deep"]).user(1234));
    assert!(seen.servers().is_empty(), "{seen}");
    assert_eq!(seen.processes()["some_hidden"], true, "{seen}");
}

#[test]
fn secrets_of_arguments_and_titles_are_not_saved() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host("server");
    let lines: [&[&str]; 3] = [
        &["--requirepass", "MARKER1", "--masterauth", "MARKER2"],
        &["--requirepass MARKER1", "--user", "x", "on", ">MARKER3"],
        &["--requirepass", "MARKER1", "--rename-command", "CONFIG", "ELSE"],
    ];
    for args in lines {
        let with_title = [args, &["--set-proc-title", "no"]].concat();
        let redis = host.redis(&with_title);
        let cmdline = host.run(&["cat", &format!("/proc/{}/cmdline", redis.pid())]).stdout;
        assert!(cmdline.contains("MARKER1"), "{cmdline:?}");
        let ran = host.facts(&["--deep"]).run();
        assert!(!ran.stdout.contains("MARKER") && ran.stdout.contains("[secret]"), "{ran}");
    }
}
