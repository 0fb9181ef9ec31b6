//! The door to time.
//!
//! Timers run on the monotonic clock. The wall clock serves two things only, signing and the expiry
//! of credentials, and is corrected there by the offset learned from the service's `Date` header.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oss_protocol::time::UtcTime;

use crate::sync::atomic::{AtomicI64, Ordering};
use crate::sync::{Arc, Condvar, Mutex, OnceLock};

/// Source of time; a test replaces it.
pub trait Clock: Send + Sync + Debug {
    /// The monotonic now.
    fn now(&self) -> Instant;

    /// The wall clock, in unix seconds, uncorrected.
    fn wall(&self) -> UtcTime;

    /// Blocks this thread until `moment`.
    fn sleep_until(&self, moment: Instant);

    /// How long a thread that waits for a signal, or for `moment`, is to wait for the signal. Simulated time, in which
    /// no other thread could send one, comes to the moment at once.
    fn left_until(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.now())
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// The machine's clocks, as all of this program have them in common.
pub(crate) fn system() -> Arc<dyn Clock> {
    static SYSTEM: OnceLock<Arc<SystemClock>> = OnceLock::new();
    Arc::clone(SYSTEM.get_or_init(Arc::default)) as Arc<dyn Clock>
}

#[expect(clippy::disallowed_methods, reason = "this is the door through which time enters")]
impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> UtcTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        UtcTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    fn sleep_until(&self, moment: Instant) {
        let left = moment.saturating_duration_since(self.now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
    }
}

/// The machine's wall clock in microseconds since 1970, for putting records of several processes side by side.
#[expect(clippy::disallowed_methods, reason = "this is the door through which time enters")]
pub(crate) fn wall_microseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A clock plus what was learned about the service's own.
#[derive(Debug)]
pub struct ServerClock {
    clock: Arc<dyn Clock>,
    offset_seconds: AtomicI64,
}

impl ServerClock {
    /// Starts without an offset.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        ServerClock { clock, offset_seconds: AtomicI64::new(0) }
    }

    /// The clock below.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The service's time as far as we know it.
    pub fn server_now(&self) -> UtcTime {
        self.wall_with(self.offset_seconds())
    }

    /// The machine's wall clock, corrected by so much.
    pub fn wall_with(&self, offset_seconds: i64) -> UtcTime {
        UtcTime(self.clock.wall().0.saturating_add(offset_seconds))
    }

    /// Seconds the service is ahead of this machine.
    pub fn offset_seconds(&self) -> i64 {
        self.offset_seconds.load(Ordering::Relaxed)
    }

    /// Takes the service's `date` as true from now on; returns the new offset in seconds.
    pub fn learn(&self, date: UtcTime) -> i64 {
        let offset = date.0.saturating_sub(self.clock.wall().0);
        self.offset_seconds.store(offset, Ordering::Relaxed);
        offset
    }
}

/// A clock that only moves when it is told to, or when somebody sleeps on it. For tests.
#[derive(Debug)]
pub struct ManualClock {
    base: Instant,
    state: Mutex<(Duration, i64)>,
    moved: Condvar,
}

impl ManualClock {
    /// Starts at an arbitrary moment, the wall clock showing `wall`.
    pub fn new(wall: UtcTime) -> Self {
        ManualClock {
            base: SystemClock.now(),
            state: Mutex::new((Duration::ZERO, wall.0)),
            moved: Condvar::new(),
        }
    }

    /// Moves the wall clock alone, forwards or back, as when somebody sets it.
    pub fn jump(&self, seconds: i64) {
        self.state.lock().1 += seconds;
        self.moved.notify_all();
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        let before = state.0.as_secs();
        state.0 += by;
        let seconds = i64::try_from(state.0.as_secs() - before).unwrap_or(0);
        state.1 += seconds;
        drop(state);
        self.moved.notify_all();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.base + self.state.lock().0
    }

    fn wall(&self) -> UtcTime {
        UtcTime(self.state.lock().1)
    }

    fn sleep_until(&self, moment: Instant) {
        self.advance(moment.saturating_duration_since(self.now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_learned_from_the_service() {
        let manual = Arc::new(ManualClock::new(UtcTime(1_000)));
        let clock = ServerClock::new(Arc::clone(&manual) as Arc<dyn Clock>);
        assert_eq!(clock.server_now(), UtcTime(1_000));
        assert_eq!(clock.learn(UtcTime(4_600)), 3_600);
        manual.advance(Duration::from_millis(1_500));
        assert_eq!(clock.server_now(), UtcTime(4_601));
    }

    #[test]
    fn sleeping_moves_a_manual_clock() {
        let clock = ManualClock::new(UtcTime(0));
        let start = clock.now();
        clock.sleep_until(start + Duration::from_secs(5));
        assert_eq!(clock.now() - start, Duration::from_secs(5));
        assert_eq!(clock.wall(), UtcTime(5));
    }
}
