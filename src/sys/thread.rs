//! Work that blocks and cannot be called off, in a thread of its own that ends with the process.
//!
//! Where this process may start no thread (`RLIMIT_NPROC`, `pids.max` of its control group), that is an error like any other:
//! std and tokio would panic.

use std::io;
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::oneshot;

/// Starts `work`.
///
/// # Errors
/// EAGAIN where no thread can be had (clone(2)).
pub fn start(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    Builder::new().spawn(work).map(drop)
}

/// What `work` gives within its time.
///
/// # Errors
/// As [`start`]; or `TimedOut`.
pub fn within<T: Send + 'static>(patience: Duration, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = mpsc::channel();
    // Nobody listens any more when patience has run out.
    start(move || drop(sender.send(work())))?;
    receiver.recv_timeout(patience).map_err(|_| io::ErrorKind::TimedOut.into())
}

/// What `work` gives, beside everything else that is waited for.
///
/// # Errors
/// As [`start`].
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    start(move || drop(sender.send(work())))?;
    receiver.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_is_left_behind() {
        assert_eq!(within(Duration::from_secs(20), || 7).unwrap(), 7);
        let late = within(Duration::from_millis(1), || std::thread::sleep(Duration::from_millis(300)));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
