use super::*;
use crate::model::Observed;
use crate::probe::healthy_host::{PID, seen};

#[track_caller]
fn check(facts: &Facts, codes: &[&str], summary: &str) {
    let judgement = judge(facts).unwrap();
    assert_eq!(judgement.findings.iter().map(|finding| finding.code.id).collect::<Vec<_>>(), codes);
    assert!(judgement.summary.contains(summary), "{}", judgement.summary);
}

fn stranger(name: &str) -> Facts {
    Facts::at_home().with(|facts| facts.redis = Observed::needs("tcp")).host(|host| {
        let processes = seen(&mut host.processes);
        let mut stranger = processes.servers.remove(0);
        name.clone_into(&mut stranger.name);
        processes.strangers.push(stranger);
    })
}

#[test]
fn a_server_that_listens_where_it_is_asked_for() {
    check(&Facts::at_home(), &[], "redis-server (pid 812) on 127.0.0.1:6379, [::1]:6379");
    check(&Facts::joined(), &[], "(pid 812) on");
}

#[test]
fn elsewhere_it_is_skipped() {
    assert!(matches!(judge(&Facts::healthy()), Err(Gap::Skipped(_))));
    let old = Facts::joined().with(|facts| facts.taken_at = "2026-11-20T13:00:00Z".to_owned());
    assert!(matches!(judge(&old), Err(Gap::Hidden(blocker)) if blocker.says.contains("180 minutes")));
    let foreign = Facts::joined().host(|host| host.origin.addresses = vec![[10, 0, 0, 7].into()]);
    assert!(
        matches!(judge(&foreign), Err(Gap::Hidden(blocker)) if blocker.says.contains("they are of db-1 (10.0.0.7)"))
    );
}

#[test]
fn none_runs() {
    check(&Facts::at_home().not_running(), &["process/none"], "nothing listens on port 6379");
    let unsure = Facts::at_home().not_running().host(|host| seen(&mut host.processes).all = false);
    check(&unsure, &[], "cannot be seen");
}

#[test]
fn a_zombie_does_not_run() {
    let zombie = Facts::at_home().process(|process| process.state = State::Zombie).host(|host| {
        seen(&mut host.sockets).tcp.clear();
    });
    check(&zombie.refused([127, 0, 0, 1]), &["process/dead"], "is a zombie");
}

#[test]
fn a_stopped_one_is_told_from_a_silent_one() {
    let silent = Facts::at_home().speechless(crate::probe::path::redis::End::Silent);
    check(&silent, &[], "(pid 812) on");
    check(&silent.process(|process| process.state = State::Stopped), &["process/stopped"], "(state T)");
}

#[test]
fn it_may_listen_elsewhere() {
    check(&Facts::on_loopback(), &["process/elsewhere"], "not on 10.0.0.9");
    let of = |name: &str| {
        Facts::on_loopback().host(|host| {
            let processes = seen(&mut host.processes);
            let stranger = Process { name: name.to_owned(), ..processes.servers.remove(0) };
            seen(&mut host.sockets).tcp.iter_mut().for_each(|at| at.owner = Some(stranger.pid));
            processes.strangers.push(stranger);
        })
    };
    check(
        &of("ssh"),
        &["process/proxy-elsewhere"],
        "ssh (pid 812, user redis) listens on 127.0.0.1:6379, [::1]:6379, not",
    );
    check(&of("python3"), &["process/elsewhere"], "python3 (pid 812, user redis) listens on");
    let other_port = Facts::at_home().refused([127, 0, 0, 1]).with(|facts| {
        facts.ask.target.endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 6380 };
    });
    check(&other_port, &["process/elsewhere"], "nothing listens on port 6380");
}

#[test]
fn a_stranger_has_the_port_unless_it_forwards() {
    check(&stranger("python3"), &["process/stranger"], "python3 (pid 812, user redis) listens on 127.0.0.1:6379");
    check(&stranger("docker-proxy"), &[], "docker-proxy (pid 812, user redis) serves port 6379");
    assert_eq!(PID, 812);
}

#[test]
fn what_ends_tls_before_a_redis_is_no_stranger() {
    use crate::probe::path::counter::Counter;
    use crate::probe::path::tls::Flaw;
    let over = |end: Ended, flaws: &[Flaw]| {
        let tls = Facts::encrypted().hello(|hello| (hello.end, hello.flaws) = (end, flaws.to_vec())).tls;
        stranger("front").with(|facts| facts.tls = tls)
    };
    let behind = |facts: Facts, end: End, answers: bool| {
        let mut inside = Facts::healthy().redis.seen().unwrap().dialogues[0].first.clone();
        if !answers {
            inside.exchanges.clear();
        }
        (inside.end, inside.bytes) = (end, usize::from(answers));
        let mut hello = facts.tls.seen().unwrap().hellos[0].clone();
        (hello.end, hello.asked) = (Ended::Done, Some(Vec::new()));
        let unverified = Some(Box::new(Through { hello, inside: Some(inside) }));
        facts.with(|facts| facts.counter = Observed::Seen(Counter { unverified, ..Counter::default() }))
    };
    let expired = || over(Ended::Untrusted, &[Flaw::Expired]);
    // Whatever the certificate: a Redis is behind it, or nobody without a certificate gets further, or nobody looked.
    check(&expired(), &[], "front (pid 812, user redis) serves port 6379");
    check(&behind(expired(), End::Closed, true), &[], "front");
    check(&behind(expired(), End::Alert(116), false), &[], "front");
    check(&behind(expired(), End::Alien, false), &["process/stranger"], "front");
    check(&over(Ended::Alert(40), &[]), &["process/stranger"], "front");
    let asking = |facts: Facts| {
        facts.with(|facts| {
            let Observed::Seen(tls) = &mut facts.tls else { return };
            tls.hellos[0].asked = Some(Vec::new());
        })
    };
    check(&asking(over(Ended::Alert(40), &[])), &[], "front");
    // What our library cannot do says nothing of anybody.
    check(&over(Ended::Untrusted, &[Flaw::Beyond("of a kind".to_owned())]), &[], "front");
}

#[test]
fn the_nearest_listener_takes_it() {
    let at = |ip: &str, owner: u32| Listener {
        ip: ip.parse().unwrap(),
        v6only: Some(false),
        owner: Some(owner),
        ..seen(&mut Host::healthy().sockets).tcp[0].clone()
    };
    let owners = |places: &[(&str, u32)]| {
        let facts = Facts::at_home().host(|host| {
            seen(&mut host.sockets).tcp = places.iter().map(|(ip, owner)| at(ip, *owner)).collect();
        });
        owners(&facts, facts.server_host().unwrap(), 6379).into_iter().flatten().collect::<Vec<_>>()
    };
    assert_eq!(owners(&[("0.0.0.0", 1), ("127.0.0.1", 2)]), [2]);
    assert_eq!(owners(&[("::", 1), ("0.0.0.0", 2)]), [2]);
    assert_eq!(owners(&[("::", 1), ("10.0.0.9", 2)]), [1]);
    assert_eq!(owners(&[("127.0.0.1", 1), ("127.0.0.1", 2)]), [1, 2]);
    assert!(owners(&[("10.0.0.9", 2)]).is_empty());
}

#[test]
fn somebody_accepts_without_a_listener() {
    let nat = Facts::at_home().speechless(crate::probe::path::redis::End::Closed).host(|host| {
        seen(&mut host.sockets).tcp.clear();
    });
    check(&nat, &[], "");
}
