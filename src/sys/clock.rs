//! Time: the deadline of a step, the deadline of the whole run, and the date.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

/// The two clocks of a run. A step ends at its own deadline or at the run's, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    end: Instant,
    step: Duration,
}

impl Clock {
    /// Starts both clocks now.
    #[expect(clippy::disallowed_methods, reason = "the clock itself")]
    pub fn start(step: Duration, whole: Duration) -> Self {
        let started = Instant::now();
        Self { started, end: started + whole, step }
    }

    /// When a step that begins now has to end.
    pub fn step_end(&self) -> Instant {
        (now() + self.step).min(self.end)
    }

    /// When the run has to end.
    pub fn end(&self) -> Instant {
        self.end
    }

    /// The longest a step may take.
    pub fn step(&self) -> Duration {
        self.step
    }

    /// True if the run's time is up.
    pub fn is_over(&self) -> bool {
        now() >= self.end
    }

    /// Milliseconds since the run began.
    pub fn elapsed_ms(&self) -> f64 {
        ms_since(self.started)
    }
}

/// Now.
#[expect(clippy::disallowed_methods, reason = "the clock itself")]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since `instant`, to the microsecond: finer digits are noise.
pub fn ms_since(instant: Instant) -> f64 {
    round_ms(instant.elapsed())
}

/// A duration in milliseconds, to the microsecond.
pub fn round_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The date and time in UTC, to the second, as RFC 3339 writes it.
#[expect(clippy::disallowed_methods, reason = "the clock itself")]
pub fn date() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// `future`, or `None` when it has not ended by `deadline`.
pub async fn until<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}

/// Waits until `instant`.
pub async fn sleep_until(instant: Instant) {
    tokio::time::sleep_until(instant.into()).await;
}
