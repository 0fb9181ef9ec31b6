//! What all requests of the process to one endpoint share: pauses, the retry budget, first contact.
//!
//! On the fast path it is three relaxed loads.

use std::time::{Duration, Instant};

use crate::config::RetryPolicy;
use crate::retry::Budget;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The gate before an endpoint.
#[derive(Debug)]
pub(super) struct Gate {
    base: Instant,
    /// Nanoseconds after `base` before which no request goes; 0 = no pause.
    closed_until: AtomicU64,
    /// The budget needs no look at: full, and not in slow mode.
    at_ease: AtomicBool,
    answered: AtomicBool,
    throttles: AtomicU64,
    budget: Mutex<Budget>,
}

impl Gate {
    pub(super) fn new(policy: &RetryPolicy, now: Instant) -> Self {
        Gate {
            base: now,
            closed_until: AtomicU64::new(0),
            at_ease: AtomicBool::new(true),
            answered: AtomicBool::new(false),
            throttles: AtomicU64::new(0),
            budget: Mutex::new(Budget::new(policy)),
        }
    }

    /// When a request may go: `now`, or later. In slow mode the moment is taken by the asker.
    pub(super) fn opens(&self, now: Instant) -> Instant {
        let paused = self.pause_end().unwrap_or(now).max(now);
        if self.at_ease.load(Ordering::Acquire) { paused } else { self.budget.lock().admit(paused) }
    }

    /// No request goes before `moment`.
    pub(super) fn close_until(&self, moment: Instant) {
        let nanoseconds = moment.saturating_duration_since(self.base).as_nanos();
        self.closed_until.fetch_max(u64::try_from(nanoseconds).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// Counts a refusal for throttling.
    pub(super) fn throttled(&self) {
        self.throttles.fetch_add(1, Ordering::Relaxed);
    }

    /// Pays for a repetition; true if that emptied the budget.
    pub(super) fn pay(&self, tokens: u32) -> bool {
        if tokens == 0 {
            return false;
        }
        let mut budget = self.budget.lock();
        let emptied = budget.pay(tokens);
        self.at_ease.store(false, Ordering::Release);
        emptied
    }

    /// A request succeeded after repetitions that cost `tokens`.
    pub(super) fn succeeded(&self, tokens: u32) {
        if self.at_ease.load(Ordering::Acquire) {
            return;
        }
        let mut budget = self.budget.lock();
        budget.succeed(tokens);
        self.at_ease.store(budget.is_full(), Ordering::Release);
    }

    /// The endpoint answered something.
    pub(super) fn heard(&self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Release);
        }
    }

    /// Whether the endpoint ever answered this process.
    pub(super) fn was_heard(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// (refusals for throttling, slow mode, pause left).
    pub(super) fn pressure(&self, now: Instant) -> (u64, bool, Duration) {
        let slow = !self.at_ease.load(Ordering::Acquire) && self.budget.lock().is_slow();
        let left = self.pause_end().map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
        (self.throttles.load(Ordering::Relaxed), slow, left)
    }

    fn pause_end(&self) -> Option<Instant> {
        match self.closed_until.load(Ordering::Acquire) {
            0 => None,
            nanoseconds => self.base.checked_add(Duration::from_nanos(nanoseconds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    #[test]
    fn a_pause_holds_for_everybody_and_passes() {
        let now = SystemClock.now();
        let gate = Gate::new(&RetryPolicy::default(), now);
        assert_eq!(gate.opens(now), now);
        let end = now + Duration::from_secs(3);
        gate.close_until(end);
        gate.close_until(now + Duration::from_secs(1));
        assert_eq!(gate.opens(now), end, "a shorter pause does not end a longer one");
        let later = end + Duration::from_secs(1);
        assert_eq!(gate.opens(later), later);
    }

    #[test]
    fn an_empty_budget_slows_first_requests_too() {
        let now = SystemClock.now();
        let gate = Gate::new(&RetryPolicy { budget_tokens: 5, ..RetryPolicy::default() }, now);
        assert!(!gate.pay(5) && gate.pay(5));
        assert_eq!(gate.opens(now), now);
        assert_eq!(gate.opens(now), now + Duration::from_millis(500));
        gate.succeeded(5);
        gate.succeeded(5);
        assert_eq!(gate.opens(now), now);
        assert!(!gate.pressure(now).1);
    }
}
