//! Which process, file and value belong to the target.

use super::*;
use crate::probe::healthy_host::seen;
use crate::probe::path::tcp::{Attempt, Outcome};

fn tcp(port: u16) -> Endpoint {
    Endpoint::Tcp { host: "127.0.0.1".to_owned(), port }
}

#[test]
fn the_process_is_that_of_the_target() {
    let facts = Facts::at_home();
    let host = facts.server_host().unwrap();
    let other = Process { pid: 7, pid_inside: Some(7), listens: Vec::new(), ..Process::healthy() };
    let servers = [other, Process::healthy()];
    let said = facts.redis.seen().and_then(Redis::preferred);
    let pid = |port, said| process_of(&tcp(port), &[], &servers, &host.sockets, said).map(|process| process.pid);
    assert_eq!(pid(6379, None), Some(812));
    // Its listeners are seen, and the target is not among them: it is not what INFO names.
    assert_eq!(pid(6380, said), None);
    assert_eq!(pid(6380, None), None);
    let elsewhere = [[10, 0, 0, 9].into()];
    assert!(process_of(&tcp(6379), &elsewhere, &servers, &host.sockets, None).is_none());
}

#[test]
fn the_file_is_that_of_the_process_or_the_port() {
    let facts = Facts::at_home();
    let confs = &facts.server_host().unwrap().confs;
    let (stranger, own) = (Conf { pid: None, ..Conf::healthy() }, Process::healthy());
    let two = [&stranger, &confs[0]];
    assert_eq!(conf_of(&two, Some(&own), None), Some(two[1]));
    assert_eq!(conf_of(&two, None, Some(6379)), Some(two[0]));
    assert_eq!(conf_of(&two, None, Some(6380)), None);
    assert_eq!(conf_of(&[&confs[0]], None, Some(6380)), Some(&confs[0]));
    let other = Process { pid: 7, unit: None, ..Process::healthy() };
    assert_eq!(conf_of(&[&confs[0]], Some(&other), Some(6379)), None);
    let usual = Conf { found_by: FoundBy::UsualPlace, pid: None, ..confs[0].clone() };
    assert_eq!(conf_of(&[&usual], None, Some(6380)), None);
    assert_eq!(conf_of(&[&usual], None, Some(6379)), Some(&usual));
    // Neither the port nor being the only one ties a file to a server that lives; nor does the unit that names it.
    assert_eq!(conf_of(&[&usual], Some(&other), Some(6379)), None);
    assert_eq!(conf_of(&[&stranger], Some(&own), Some(6379)), None);
    let given = Conf { found_by: FoundBy::Given, pid: None, ..confs[0].clone() };
    assert_eq!(conf_of(&[&given], Some(&other), Some(6379)), Some(&given));
}

#[test]
fn the_unit_of_another_servers_file_starts_another() {
    let unit = |facts: &Facts| facts.instance().unwrap().unit().map(str::to_owned);
    let bare = || Facts::joined().process(|process| process.unit = None);
    assert_eq!(unit(&bare()), None);
    let on_alpine = bare().host(|host| seen(&mut host.system).init = crate::probe::host::system::Init::OpenRc);
    assert_eq!(unit(&on_alpine).as_deref(), Some("redis-server"));
    let given = on_alpine.host(|host| (host.confs[0].found_by, host.confs[0].pid) = (FoundBy::Given, Some(7)));
    assert_eq!(unit(&given), None);
    assert!(given.instance().unwrap().conf.is_some());
    let by_cron = Facts::joined().host(|host| host.confs.clear());
    assert_eq!(unit(&by_cron.process(|process| process.unit = Some("cron.service".to_owned()))), None);
    assert_eq!(unit(&Facts::at_home().not_running()).as_deref(), Some("redis-server"));
}

#[test]
fn who_answers_unseen_has_no_file_here() {
    let behind_a_tunnel = |change: fn(&mut Conf)| {
        let facts = Facts::at_home().host(|host| {
            seen(&mut host.processes).servers.clear();
            change(&mut host.confs[0]);
        });
        facts.instance().unwrap().conf.is_some()
    };
    assert!(!behind_a_tunnel(|conf| (conf.found_by, conf.pid) = (FoundBy::UsualPlace, None)));
    assert!(!behind_a_tunnel(|conf| (conf.found_by, conf.pid) = (FoundBy::Unit, None)));
    // It said so itself, and may be read by whom its process may not be seen.
    assert!(behind_a_tunnel(|_| {}));
}

#[test]
fn a_file_counts_from_the_start_that_came_after_it() {
    let has_read = |changed: Option<&str>, started: &str| {
        let facts = Facts::joined().host(|host| host.confs[0].changed_at = changed.map(str::to_owned));
        let facts = facts.process(|process| process.started_at = Some(started.to_owned()));
        facts.instance().unwrap().has_read_conf()
    };
    assert!(has_read(Some("2026-11-20T10:00:00.007Z"), "2026-11-20T10:00:00.000Z"));
    assert!(!has_read(Some("2026-11-20T10:00:00.020Z"), "2026-11-20T10:00:00.000Z"));
    assert!(!has_read(None, "2026-11-20T10:00:00.000Z"));
}

#[test]
fn of_two_machines_of_a_name_only_the_own_is_spoken_of() {
    let tried = |ips: [[u8; 4]; 2]| {
        let refused = |ip: [u8; 4]| Attempt::failed(ip.into(), Outcome::Refused, "ECONNREFUSED", 0.1);
        Facts::at_home().attempting(ips.map(refused).to_vec())
    };
    let two = tried([[10, 0, 0, 9], [10, 0, 0, 8]]);
    assert_eq!(two.asked_addresses(), [IpAddr::from([10, 0, 0, 9])]);
    assert!(two.has_more_machines());
    let connected = |own: [u8; 4]| {
        let refused = Attempt::failed([10, 0, 0, 8].into(), Outcome::Refused, "ECONNREFUSED", 0.1);
        Facts::at_home().attempting(vec![refused, Attempt::connected(own.into())])
    };
    assert!(!connected([10, 0, 0, 9]).has_more_machines());
    let one = tried([[10, 0, 0, 9], [127, 0, 0, 5]]);
    assert_eq!(one.asked_addresses().len(), 2);
    assert!(!one.has_more_machines());
    // Loopback is never the machine that facts were collected on.
    let collected = tried([[10, 0, 0, 9], [127, 0, 0, 1]]).host(|host| host.origin.collected = true);
    assert_eq!(collected.asked_addresses(), [IpAddr::from([10, 0, 0, 9])]);
}

#[test]
fn what_counts_of_a_setting() {
    let source = |facts: &Facts| facts.instance().unwrap().setting("bind").unwrap().source;
    assert_eq!(source(&Facts::at_home()), "CONFIG GET");
    assert_eq!(source(&Facts::at_home().not_running()), "/etc/redis/redis.conf:87");
    let args = ["redis-server", "--bind", "10.0.0.9", "127.0.0.1", "--port", "1"].map(str::to_owned);
    let started = Facts::joined().process(|process| process.args = args.into());
    assert_eq!(source(&started), "the arguments of pid 812");
    assert_eq!(started.instance().unwrap().setting("bind").unwrap().values, ["10.0.0.9", "127.0.0.1"]);
}

#[test]
fn a_forwarder_is_not_the_server() {
    let tunnel = Facts::at_home().host(|host| {
        for listener in &mut seen(&mut host.sockets).tcp {
            listener.owner = Some(99);
        }
        seen(&mut host.processes).servers[0].listens.clear();
    });
    assert!(tunnel.instance().unwrap().process.is_none());
}

#[test]
fn listens_and_serves() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(serves(ip("0.0.0.0"), ip("10.0.0.9")) && !serves(ip("::"), ip("10.0.0.9")));
    assert!(!serves(ip("127.0.0.1"), ip("10.0.0.9")) && serves(ip("10.0.0.9"), ip("::ffff:10.0.0.9")));
    let both = Listener { v6only: Some(false), ..Listener::healthy(ip("::"), 6379, 1) };
    assert!(both.serves(ip("10.0.0.9")));
    assert_eq!(Bind::parse("-::*"), Some(Bind { ip: ip("::"), optional: true }));
    assert_eq!(Bind::parse("eth0"), None);
}
