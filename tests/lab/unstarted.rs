//! Servers that do not run, on machines where starting them takes care: files that visibly keep them from listening, machines
//! that start no services, and users who may not see.

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Host, Lab, Server};

const CONF: &str = "/etc/redis/redis.conf";
const NOBODY: u32 = 65_534;

#[track_caller]
fn says(diagnosis: &Diagnosis, text: &str) {
    assert!(diagnosis.to_string().contains(text), "{text:?} is not said\n{diagnosis}");
}

#[track_caller]
fn never_says(diagnosis: &Diagnosis, text: &str) {
    assert!(!diagnosis.to_string().contains(text), "{text:?} is said\n{diagnosis}");
}

/// Waits for a server that goes into the background.
fn wait(host: &Host) {
    host.sh("for i in $(seq 200); do redis-cli ping | grep -q PONG && exit; sleep 0.01; done; exit 1");
}

/// Lines with which no server listens, whatever its version.
const IN_VAIN: [&str; 7] = [
    "bind 127.0.0.1 0.0.0.0",
    "bind 127.0.0.1,10.5.5.1",
    "bind \"\"",
    "bind [::1] 127.0.0.1",
    "bind 127.0.0.1 127.0.0.1",
    "bind 127.0.0.1:6379",
    "unixsocket /nosuch/redis.sock",
];

#[test]
fn no_version_starts_with_what_cannot_be_listened_on() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("judge");
    for server in Server::ALL {
        let Some(program) = server.program() else { continue };
        for line in IN_VAIN {
            one.file("/srv/r.conf", format!("port 6379\nprotected-mode no\n{line}\n"));
            let ran = one.command(&["timeout", "2", program.to_str().expect("UTF-8"), "/srv/r.conf"]).run();
            assert_eq!(ran.code, Some(1), "{server:?} {line}\n{ran}");
        }
    }
}

#[test]
fn what_keeps_it_from_listening_is_the_cause() {
    let Some(lab) = Lab::enter() else { return };
    for (number, line) in IN_VAIN.into_iter().enumerate() {
        let one = lab.host(&format!("one{number}"));
        one.without_engines().systemd(&format!("port 6379\n{line}\n"));
        let diagnosis = one.diagnose(&[]);
        diagnosis.first_cause("config-error", Confidence::Certain).exit(1);
        let started = one.command(&["systemctl", "start", "redis-server"]).run();
        assert_eq!(started.code, Some(1), "{line}\n{started}");
        // What was meant is the user's to say.
        one.file(CONF, "port 6379\nbind 127.0.0.1\n");
        diagnosis.apply(|_| &one);
        one.diagnose(&[]).healthy();
    }
    let absent = lab.host("absent");
    absent.without_engines().systemd("port 6379\nbind -10.9.9.9\n");
    absent.diagnose(&[]).first_cause("bind-address-missing", Confidence::Certain).exit(1);
    // The folders of a service are made when it starts.
    let made = lab.host("made");
    made.without_engines().systemd("port 6379\nbind 127.0.0.1\nunixsocket /run/redis/r.sock\n");
    made.diagnose(&[]).first_cause("not-running", Confidence::Certain).exit(1);
    made.sh("mkdir /run/redis; systemctl start redis-server");
    made.diagnose(&[]).healthy();
}

/// Debian's package on a machine without systemd, with folders of the user redis; none where this machine has none.
fn package(lab: &Lab, name: &str, daemonize: &str) -> Option<Host> {
    let one = lab.host(name);
    let has = "[ -e /etc/init.d/redis-server ] && [ -e /lib/systemd/system/redis-server.service ] && id redis";
    if !lab.has_users() || one.command(&["sh", "-c", has]).run().code != Some(0) {
        return None;
    }
    let conf = format!(
        "port 6379\nbind 127.0.0.1\ndaemonize {daemonize}\ndir /var/lib/redis\nlogfile /var/log/redis/redis-server.log\n\
         pidfile /run/redis/redis-server.pid\nappendonly yes\n"
    );
    one.without_engines().file(CONF, conf);
    one.sh("chown redis:redis /etc/redis /etc/redis/redis.conf /var/lib/redis /var/log/redis; chmod 2750 /etc/redis");
    Some(one)
}

#[test]
fn the_service_still_starts_after_the_repair() {
    let Some(lab) = Lab::enter() else { return };
    let Some(one) = package(&lab, "solo", "yes") else { return };
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("not-running", Confidence::Certain);
    says(&diagnosis, "sudo service redis-server start");
    diagnosis.apply(|_| &one);
    wait(&one);
    one.diagnose(&[]).healthy();
    one.sh("redis-cli set k v; service redis-server stop; service redis-server start");
    wait(&one);
    one.sh("redis-cli get k | grep -q v; service redis-server stop");
}

#[test]
fn what_no_script_starts_is_started_as_the_owner_of_its_folder() {
    let Some(lab) = Lab::enter() else { return };
    let Some(one) = package(&lab, "solo", "no") else { return };
    let diagnosis = one.diagnose(&[]);
    diagnosis.first_cause("not-running", Confidence::Certain).apply(|_| &one);
    wait(&one);
    one.diagnose(&[]).healthy();
    one.sh("[ $(stat -c %U /var/log/redis/redis-server.log) = redis ] && [ $(stat -c %U /var/lib/redis/appendonlydir) = redis ]");
    one.sh("redis-cli shutdown nosave; true");
}

#[test]
fn nobody_starts_an_empty_server_in_place_of_the_one_that_has_the_data() {
    let Some(lab) = Lab::enter() else { return };
    let Some(one) = package(&lab, "script", "yes") else { return };
    let diagnosis = one.doctor(&[]).user(NOBODY).diagnose();
    never_says(&diagnosis, "~/redis");
    says(&diagnosis, "sudo service redis-server start");
    let Some(bare) = package(&lab, "bare", "yes") else { return };
    bare.sh("rm /etc/init.d/redis-server");
    let diagnosis = bare.doctor(&[]).user(NOBODY).diagnose();
    never_says(&diagnosis, "~/redis");
    says(&diagnosis, "run redisdoc there as root");
}

#[test]
fn where_processes_are_hidden_it_is_said() {
    let Some(lab) = Lab::enter() else { return };
    for hidden in ["2", "1", "ptraceable"] {
        let one = lab.host(&format!("h{hidden}"));
        one.without_engines();
        if !lab.has_users()
            || one.command(&["mount", "-o", &format!("remount,hidepid={hidden}"), "/proc"]).run().code != Some(0)
        {
            continue;
        }
        let _redis = one.redis(&["--port", "0", "--unixsocket", "/run/r.sock"]);
        let diagnosis = one.doctor(&[]).user(NOBODY).diagnose();
        diagnosis.nothing_certain().exit(1);
        says(&diagnosis, "no process that can be seen from here is a Redis server");
    }
}

#[test]
fn what_a_variable_of_the_service_says_is_not_known() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    one.without_engines().systemd("port 6379\nbind 127.0.0.1\n");
    let unit = "/etc/systemd/system/redis-server.service";
    for arguments in ["$OPTIONS", "--port ${PORT}"] {
        one.file(unit, format!("[Service]\nExecStart=/usr/bin/redis-server {CONF} {arguments}\n"));
        one.diagnose(&[]).cause("not-running", Confidence::Likely).nothing_certain().exit(1);
    }
    one.file(unit, format!("[Service]\nExecStart=/opt/gone/redis-server {CONF}\n"));
    let diagnosis = one.diagnose(&[]);
    diagnosis.cause("not-running", Confidence::Likely).nothing_certain();
    says(&diagnosis, "starts a program that is not there");
}
