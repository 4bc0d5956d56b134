//! Processes as the system under the tests shows them, and made-up ones.

use super::look::Looked;
use super::*;
use crate::probe::host::socket::{self, Listener};

fn server(pid: u32, title: &str) -> Looked {
    let line = arguments::parse(title.as_bytes());
    let process = Process {
        pid,
        name: "redis-server".into(),
        args: line.args.clone(),
        exe: None,
        state: State::Alive,
        uid: 106,
        user: None,
        cwd: None,
        started_at: None,
        same_network: Some(true),
        addresses: Vec::new(),
        same_pids: Some(true),
        pid_inside: Some(pid),
        sentinel: false,
        gids: vec![106],
        overrides_modes: false,
        reads_all: false,
        unit: None,
        container: None,
        open_files_limit: None,
        open_files: None,
        listens: Vec::new(),
        listens_unix: Vec::new(),
    };
    Looked { process, is_server: true, parent: 1, line, sealed: true }
}

fn listener(port: u16, inode: u64, uid: u32) -> Listener {
    let ip = "127.0.0.1".parse().unwrap();
    Listener { ip, port, inode, uid, queue: 0, backlog: 511, v6only: None, owner: None }
}

fn listening(tcp: Vec<Listener>) -> Sockets {
    Sockets { tcp, ..Sockets::default() }
}

#[test]
fn a_sealed_server_is_known_by_its_title_and_user() {
    let sockets = listening(vec![listener(6379, 1, 106), listener(6380, 2, 106), listener(6381, 3, 0)]);
    let derived = |titles: &[&str]| {
        let mut servers: Vec<Looked> = (10..).zip(titles).map(|(pid, title)| server(pid, title)).collect();
        owner::derive(&mut servers, &sockets);
        servers
            .iter()
            .map(|one| one.process.listens.iter().map(std::net::SocketAddr::port).collect())
            .collect::<Vec<Vec<u16>>>()
    };
    assert_eq!(derived(&["redis-server 127.0.0.1:6379"]), [[6379]]);
    assert_eq!(derived(&["redis-server *:6379", "redis-server *:6380"]), [[6379], [6380]]);
    // Two that say the same, another user's listener, no title: nothing is sure.
    assert_eq!(derived(&["redis-server *:6379", "redis-server *:6379"]), [[0_u16; 0]; 2]);
    assert_eq!(derived(&["redis-server *:6381"]), [[0_u16; 0]]);
    assert_eq!(derived(&["redis-server\0--port\x006379"]), [[0_u16; 0]]);
}

#[test]
fn children_are_no_servers() {
    let left = |change: fn(&mut Looked)| {
        let mut child = server(11, "redis-server *:6379");
        child.parent = 10;
        change(&mut child);
        let mut servers = vec![server(10, "redis-server *:6379"), child];
        look::drop_children(&mut servers);
        servers.len()
    };
    assert_eq!(left(|_| ()), 1);
    assert_eq!(left(|child| child.line = arguments::parse(b"redis-server *:6380")), 2);
    assert_eq!(left(|child| child.parent = 1), 2);
    assert_eq!(left(|child| (child.process.state, child.line) = (State::Zombie, arguments::parse(b""))), 1);
}

#[test]
fn strangers_near_the_usual_port_come_first() {
    let mut sockets =
        listening(vec![listener(80, 1, 0), listener(6380, 2, 0), listener(6379, 3, 0), listener(22, 4, 0)]);
    for (one, pid) in sockets.tcp.iter_mut().zip([5, 6, 7, 5]) {
        one.owner = Some(pid);
    }
    assert_eq!(owner::strangers(&sockets, &HashSet::from([6])), [7, 5]);
}

#[cfg(target_os = "linux")]
#[test]
fn finds_itself_as_the_stranger_on_a_port() {
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sockets = socket::gather(Some(own.local_addr().unwrap().port()), false);
    let processes = gather(&mut sockets, Some(1), true).seen().cloned().unwrap();
    assert_eq!(sockets.seen().unwrap().tcp[0].owner, Some(std::process::id()));
    let stranger = processes.strangers.iter().find(|one| one.pid == std::process::id()).unwrap();
    assert_eq!(stranger.listens, [own.local_addr().unwrap()]);
    assert_eq!((stranger.state, stranger.same_network, stranger.same_pids), (State::Alive, Some(true), Some(true)));
    assert!(stranger.open_files_limit.is_some() && stranger.open_files.is_some() && stranger.exe.is_some());
    assert!(stranger.started_at.as_ref().is_some_and(|date| *date <= clock::date()));
}
