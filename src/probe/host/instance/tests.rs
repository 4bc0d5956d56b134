//! Which process, file and value belong to the target.

use super::*;
use crate::probe::healthy_host::seen;

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
