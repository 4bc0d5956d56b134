//! Servers that log in at each other: replicas at their master, nodes of a cluster, and the Sentinels that watch them. One of
//! them alone with a new password is one that the others take for dead.

use super::MAKE_PASSWORD;
use crate::cause::{dialogue, redis_host};
use crate::model::{Risk, Step};
use crate::probe::Facts;
use crate::probe::host::instance::Instance;
use crate::probe::path::redis::Dialogue;
use crate::probe::path::reply::Info;

/// What is to be done before this server gets a password, where others are seen to log in at it. Measured with Redis 7.0: a
/// Sentinel without the password takes the master for dead and promotes a replica, so that there are two masters.
pub fn first(facts: &Facts, instance: Option<Instance>) -> Vec<Step> {
    let has_peers = info(facts, instance).is_some_and(has_peers) || is_watched(facts);
    if !has_peers {
        return Vec::new();
    }
    let text = "other servers log in at this one, and without its password they take it for dead, so that a failover leaves two \
                masters. Give it with 'CONFIG SET masterauth' to the master and to every replica, with 'SENTINEL SET NAME \
                auth-pass' to every Sentinel, in their files too; then at once let the master and its replicas ask for it, all \
                for the same one: a replica that has one for a master without is turned away when it connects again";
    let on = redis_host(facts);
    vec![Step::run(on.clone(), Risk::Safe, "make a password", MAKE_PASSWORD), Step::tell(on, text)]
}

/// True for a master that is followed, a replica, and a node of a cluster.
fn has_peers(info: &Info) -> bool {
    let followed = info.number("connected_slaves").is_some_and(|count| count > 0);
    followed || info.get("role") == Some("slave") || info.number("cluster_enabled") == Some(1)
}

/// A Sentinel on its machine may watch it.
fn is_watched(facts: &Facts) -> bool {
    facts.server_host().is_ok_and(|host| host.servers().iter().any(|server| server.sentinel))
}

fn info<'a>(facts: &'a Facts, instance: Option<Instance<'a>>) -> Option<&'a Info> {
    let pid = || instance?.process.map(|process| process.pid);
    let running = || instance?.host.running.iter().find(|running| running.pid.is_some() && running.pid == pid());
    dialogue(facts).and_then(Dialogue::info).or_else(|| running().map(|running| &running.info))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::healthy_host::seen;

    #[test]
    fn whoever_logs_in_is_told_first() {
        let is_told = |facts: Facts| !first(&facts, facts.instance()).is_empty();
        assert!(!is_told(Facts::at_home()));
        assert!(!is_told(Facts::at_home().info("connected_slaves", "0").info("role", "master")));
        assert!(is_told(Facts::at_home().info("connected_slaves", "1")));
        assert!(is_told(Facts::at_home().info("role", "slave")));
        assert!(is_told(Facts::at_home().info("cluster_enabled", "1")));
        let watched = Facts::at_home().host(|host| {
            let servers = &mut seen(&mut host.processes).servers;
            let mut sentinel = servers[0].clone();
            (sentinel.pid, sentinel.sentinel) = (77, true);
            servers.push(sentinel);
        });
        assert!(is_told(watched));
    }
}
