//! The emulator's clocks: the service's wall clock, which tests may shift, and a monotonic one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oss_protocol::time::UtcTime;

/// Wall clock with a settable offset, and milliseconds since the emulator was started.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    offset_seconds: AtomicI64,
}

#[expect(clippy::disallowed_methods, reason = "this is the emulator's door to time")]
impl Clock {
    /// Starts the clock with no offset.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), offset_seconds: AtomicI64::new(0) }
    }

    /// Says the service's idea of unix time in milliseconds, offset included.
    pub(crate) fn unix_millis(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        millis.saturating_add(self.offset_seconds.load(Ordering::Relaxed).saturating_mul(1000))
    }

    /// Says how long the emulator has been running; the offset does not move it.
    pub(crate) fn elapsed(&self) -> Duration {
        Instant::now().duration_since(self.started)
    }
}

impl Clock {
    /// Says the service's idea of the time, in whole seconds.
    pub(crate) fn utc(&self) -> UtcTime {
        UtcTime(self.unix_millis().div_euclid(1000))
    }

    /// Shifts the wall clock: answers are dated, and signatures judged, that much later.
    pub(crate) fn set_offset_seconds(&self, seconds: i64) {
        self.offset_seconds.store(seconds, Ordering::Relaxed);
    }

    /// Milliseconds since the emulator was started.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
