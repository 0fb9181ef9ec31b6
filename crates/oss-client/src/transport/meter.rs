//! How many requests a second were admitted lately.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Time between two marks.
const STEP: Duration = Duration::from_millis(250);
/// What "lately" means.
const SPAN: Duration = Duration::from_secs(1);
/// A shorter time says nothing about a rate.
const SHORTEST: Duration = Duration::from_millis(200);

/// A count, and where it stood at some moments of the last second. Counting takes no lock between two marks.
#[derive(Debug)]
pub(super) struct Meter {
    base: Instant,
    count: AtomicU64,
    /// Nanoseconds after `base` when the next mark is due.
    due: AtomicU64,
    marks: Mutex<VecDeque<(Instant, u64)>>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Meter {
            base: now,
            count: AtomicU64::new(0),
            due: AtomicU64::new(0),
            marks: Mutex::new(VecDeque::new()),
        }
    }

    /// Counts one.
    pub(super) fn count(&self, now: Instant) {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if self.since_base(now) >= self.due.load(Ordering::Relaxed) {
            self.mark(before, now);
        }
    }

    /// What was counted in the last second or so, by the second.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let marks = self.marks.lock();
        let Some(&(then, before)) =
            marks.iter().find(|(then, _)| now.saturating_duration_since(*then) <= SPAN + STEP)
        else {
            return 0.0;
        };
        let seconds = now.saturating_duration_since(then).max(SHORTEST).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
        let counted = self.count.load(Ordering::Relaxed).saturating_sub(before) as f64;
        counted / seconds
    }

    fn mark(&self, before: u64, now: Instant) {
        let mut marks = self.marks.lock();
        if self.since_base(now) < self.due.load(Ordering::Relaxed) {
            return;
        }
        self.due.store(self.since_base(now + STEP), Ordering::Relaxed);
        while marks.front().is_some_and(|(then, _)| now.saturating_duration_since(*then) > SPAN) {
            marks.pop_front();
        }
        marks.push_back((now, before));
    }

    fn since_base(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.base).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    #[test]
    fn the_rate_is_of_the_last_second() {
        let start = SystemClock.now();
        let meter = Meter::new(start);
        let at = |milliseconds: u64| start + Duration::from_millis(milliseconds);
        assert!(meter.rate(start).abs() < 0.1);
        (0..3000).for_each(|number| meter.count(at(number)));
        let rate = meter.rate(at(3000));
        assert!((950.0..1050.0).contains(&rate), "{rate}");
        assert!(meter.rate(at(9000)).abs() < 0.1, "that was long ago");
        (0..20).for_each(|number| meter.count(at(9000 + number)));
        let rate = meter.rate(at(9020));
        assert!((95.0..105.0).contains(&rate), "twenty in the shortest time that counts: {rate}");
    }
}
