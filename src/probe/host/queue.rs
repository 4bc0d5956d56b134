//! What the server's machine shows of connections that nobody takes: the listener's queue, and the process's descriptors.

use super::instance::Instance;
use super::socket::Listener;
use crate::model::{Endpoint, Target};

/// The queue of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Where it listens.
    pub at: String,
    /// How many connections wait to be accepted.
    pub waiting: u32,
    /// How many may; 0 where the kernel did not tell.
    pub backlog: u32,
}

impl Queue {
    /// True if the kernel turns further connections away: it does so when more wait than the backlog says
    /// (`sk_acceptq_is_full`; one more fits than `listen(2)` was asked for).
    pub fn is_full(&self) -> bool {
        self.backlog > 0 && self.waiting > self.backlog
    }

    /// As `ss -ltn` shows it.
    pub fn says(&self) -> String {
        let may = if self.backlog > 0 { format!(", {} may", self.backlog) } else { String::new() };
        format!("{}: {} connections wait to be accepted{may}", self.at, self.waiting)
    }
}

impl Instance<'_> {
    /// The fullest queue of the listeners of the target's port or path; `None` where none is seen.
    pub fn queue(&self, target: &Target) -> Option<Queue> {
        let queues: Vec<Queue> = match &target.endpoint {
            Endpoint::Tcp { port, .. } => {
                let its = |listener: &&Listener| listener.owner.is_none_or(|owner| self.is_server(owner));
                let queue = |listener: &Listener| Queue {
                    at: listener.address().to_string(),
                    waiting: listener.queue,
                    backlog: listener.backlog,
                };
                self.host.listeners(*port).into_iter().filter(its).map(queue).collect()
            }
            Endpoint::Unix { path } => {
                let unix = self.host.sockets.seen().map_or(&[][..], |sockets| &sockets.unix);
                let its = unix.iter().filter(|listener| listener.path == *path);
                let (at, queue) = (path, |at: &str, waiting, backlog| Queue { at: at.to_owned(), waiting, backlog });
                its.map(|listener| queue(at, listener.queue, listener.backlog)).collect()
            }
        };
        queues.into_iter().max_by_key(|queue| (queue.is_full(), queue.waiting))
    }

    fn is_server(&self, pid: u32) -> bool {
        self.process.is_some_and(|process| process.pid == pid)
    }

    /// How many files its process has open, and how many it may.
    pub fn descriptors(&self) -> Option<(u64, u64)> {
        let process = self.process?;
        Some((process.open_files?, process.open_files_limit?))
    }

    /// True if its process may open no more files; `None` where that cannot be seen.
    pub fn is_out_of_descriptors(&self) -> Option<bool> {
        self.descriptors().map(|(open, limit)| open >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use crate::probe::Facts;
    use crate::probe::healthy_host::seen;

    #[test]
    fn the_fullest_queue_counts() {
        let facts = Facts::at_home().host(|host| seen(&mut host.sockets).tcp[1].queue = 512);
        let queue = facts.instance().unwrap().queue(&facts.ask.target).unwrap();
        assert!(queue.is_full());
        assert_eq!(queue.says(), "[::1]:6379: 512 connections wait to be accepted, 511 may");
    }

    #[test]
    fn a_queue_as_long_as_the_backlog_has_room_for_one_more() {
        let facts = Facts::at_home().host(|host| seen(&mut host.sockets).tcp[0].queue = 511);
        assert!(!facts.instance().unwrap().queue(&facts.ask.target).unwrap().is_full());
        let untold = Queue { at: "[::1]:6379".to_owned(), waiting: 3, backlog: 0 };
        assert_eq!(
            (untold.is_full(), untold.says().as_str()),
            (false, "[::1]:6379: 3 connections wait to be accepted")
        );
    }

    #[test]
    fn a_strangers_queue_is_not_the_servers() {
        let facts = Facts::at_home().host(|host| {
            let tcp = &mut seen(&mut host.sockets).tcp;
            tcp.remove(1);
            tcp[0].owner = Some(7);
        });
        assert_eq!(facts.instance().unwrap().queue(&facts.ask.target), None);
    }

    #[test]
    fn descriptors_may_be_hidden() {
        let facts = Facts::at_home();
        assert_eq!(facts.instance().unwrap().is_out_of_descriptors(), Some(false));
        let hidden = facts.clone().process(|process| process.open_files = None);
        assert_eq!(hidden.instance().unwrap().is_out_of_descriptors(), None);
        let out = facts.process(|process| process.open_files_limit = Some(13));
        assert_eq!(out.instance().unwrap().is_out_of_descriptors(), Some(true));
    }
}
