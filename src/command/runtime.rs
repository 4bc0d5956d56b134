//! The runtime of a run that looks: one thread, ended by a signal.

use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit;
use crate::sys::machine;

/// The files that the runtime, its signals and one connection need. tokio panics where those of its signals cannot be
/// had, so they are tried beforehand (measured: it needs six).
const RUNTIME_FILES: usize = 7;

/// Why a run did not come to its end.
#[derive(Debug)]
pub enum Stop {
    /// A signal came: the exit code that stands for it.
    Signal(u8),
    /// This process may open no more files.
    Starved(io::Error),
}

/// Runs `looking` to its end.
///
/// # Errors
/// A signal, or no file descriptors to begin with.
pub fn block_on<T>(looking: impl Future<Output = T>) -> Result<T, Stop> {
    let runtime = machine::can_open(RUNTIME_FILES).and_then(|()| Builder::new_current_thread().enable_all().build());
    // The program ends with it: nobody need take it apart.
    let runtime = ManuallyDrop::new(runtime.map_err(Stop::Starved)?);
    runtime.block_on(async {
        tokio::select! {
            seen = looking => Ok(seen),
            code = interrupted() => Err(Stop::Signal(code)),
        }
    })
}

/// Waits for SIGINT or SIGTERM; for ever where they cannot be waited for.
async fn interrupted() -> u8 {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)): (io::Result<_>, io::Result<_>) = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => exit::INTERRUPTED,
        _ = terminate.recv() => exit::TERMINATED,
    }
}
