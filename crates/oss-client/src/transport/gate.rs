//! What all requests of the process to one endpoint share: pauses, the pace, the retry budget, first contact.
//!
//! On the fast path it is a few relaxed loads and one relaxed count.

use std::time::{Duration, Instant};

use super::meter::Meter;
use super::pacer::{Number, Pacer};
use crate::config::RetryPolicy;
use crate::retry::Budget;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};

/// The gate before an endpoint.
#[derive(Debug)]
pub(super) struct Gate {
    base: Instant,
    /// Nanoseconds after `base` before which no request goes; 0 = no pause.
    closed_until: AtomicU64,
    /// The budget needs no look at: full, and not in slow mode.
    at_ease: AtomicBool,
    answered: AtomicBool,
    pacings: AtomicU64,
    budget: Mutex<Budget>,
    admitted: Meter,
    /// The pacer has something to say.
    paced: AtomicBool,
    pacer: Arc<Mutex<Pacer>>,
}

/// When a request may go, and how much of the wait is what the user wishes: that is no lack of progress.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn {
    pub(super) opens: Instant,
    pub(super) wished: Duration,
    /// Its place in the pace.
    number: Option<Number>,
    /// Its slot in slow mode; it holds as long as that lasts.
    slot: Option<Instant>,
}

impl Gate {
    /// `pacer` may be other clients' too.
    pub(super) fn new(policy: &RetryPolicy, pacer: Arc<Mutex<Pacer>>, now: Instant) -> Self {
        let is_paced = pacer.lock().rate().is_some();
        Gate {
            base: now,
            closed_until: AtomicU64::new(0),
            at_ease: AtomicBool::new(true),
            answered: AtomicBool::new(false),
            pacings: AtomicU64::new(0),
            budget: Mutex::new(Budget::new(policy)),
            admitted: Meter::new(now),
            paced: AtomicBool::new(is_paced),
            pacer,
        }
    }

    /// When a request may go: `now`, or later. A turn in the pace, or in slow mode, is taken by the asker, who asks
    /// [`Gate::still`] when it has come.
    pub(super) fn opens(&self, now: Instant) -> Turn {
        let slot = if self.at_ease.load(Ordering::Acquire) {
            None
        } else {
            let mut budget = self.budget.lock();
            budget.is_slow().then(|| budget.admit(self.unpaused(now)))
        };
        let number = self.paced.load(Ordering::Acquire).then(|| {
            let mut pacer = self.pacer.lock();
            let number = pacer.take(now);
            self.paced.store(pacer.rate().is_some(), Ordering::Release);
            number
        });
        self.still(Turn { opens: now, wished: Duration::ZERO, number, slot }, now)
    }

    /// When a turn comes as things stand now: since it was taken the pace may have changed, slow mode ended, or a pause
    /// begun.
    pub(super) fn still(&self, turn: Turn, now: Instant) -> Turn {
        let mut slow = self.unpaused(now);
        if let Some(slot) = turn.slot.filter(|_| self.is_slow()) {
            slow = slow.max(slot);
        }
        let Some(number) = turn.number else { return Turn { opens: slow, ..turn } };
        let mut pacer = self.pacer.lock();
        let opens = pacer.comes(number, now).max(slow);
        let wished = if pacer.is_at_bound() { opens.saturating_duration_since(slow) } else { Duration::ZERO };
        Turn { opens, wished, ..turn }
    }

    /// A turn that was taken is not used, as it comes too late or its asker gave up.
    pub(super) fn give_back(&self, turn: &Turn) {
        if turn.slot.is_some() {
            self.budget.lock().give_back();
        }
        if turn.number.is_some() {
            self.pacer.lock().give_back();
        }
    }

    /// No request goes before `moment`.
    pub(super) fn close_until(&self, moment: Instant, now: Instant) {
        let nanoseconds = moment.saturating_duration_since(self.base).as_nanos();
        self.closed_until.fetch_max(u64::try_from(nanoseconds).unwrap_or(u64::MAX), Ordering::AcqRel);
        if self.paced.load(Ordering::Acquire) {
            self.pacer.lock().hold_until(moment, now);
        }
    }

    /// Takes note of a refusal, for throttling, of a request of the moment `sent`; gives the requests a second that go
    /// from now on if that is news.
    pub(super) fn throttled(&self, sent: Instant, now: Instant) -> Option<f64> {
        let mut pacer = self.pacer.lock();
        let is_new = pacer.refused(self.admitted.rate(now), sent, now);
        self.paced.store(true, Ordering::Release);
        if is_new {
            self.pacings.fetch_add(1, Ordering::Relaxed);
        }
        pacer.rate().filter(|_| is_new)
    }

    /// Requests a second that go at most; None while nothing holds them back.
    pub(super) fn pace(&self) -> Option<f64> {
        if self.paced.load(Ordering::Acquire) { self.pacer.lock().rate() } else { None }
    }

    /// Whether refusals found a pace, or requests wait now for the user's bound.
    pub(super) fn holds_back(&self, now: Instant) -> bool {
        self.paced.load(Ordering::Acquire) && self.pacer.lock().holds_back(now)
    }

    /// Requests a second that succeeded lately.
    pub(super) fn admitted(&self, now: Instant) -> f64 {
        self.admitted.rate(now)
    }

    /// How long ago a refusal lowered the pace last; None while the service refuses nothing.
    pub(super) fn lowered(&self, now: Instant) -> Option<Duration> {
        let cut = self.paced.load(Ordering::Acquire).then(|| self.pacer.lock().cut()).flatten();
        cut.map(|cut| now.saturating_duration_since(cut))
    }

    /// Tokens that are left for repetitions, and how many there can be.
    pub(super) fn tokens(&self) -> (u32, u32) {
        self.budget.lock().tokens()
    }

    /// Whether few requests fail: most of what repetitions may cost is left.
    pub(super) fn has_plenty(&self) -> bool {
        self.at_ease.load(Ordering::Acquire) || self.budget.lock().has_plenty()
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
    pub(super) fn succeeded(&self, tokens: u32, now: Instant) {
        self.admitted.count(now);
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

    /// (how often a pace began to hold, slow mode, pause left).
    pub(super) fn pressure(&self, now: Instant) -> (u64, bool, Duration) {
        let slow = self.is_slow();
        let left = self.pause_end().map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
        (self.pacings.load(Ordering::Relaxed), slow, left)
    }

    /// Whether what the other lets through counts for this one too.
    pub(super) fn shares_pace_with(&self, other: &Gate) -> bool {
        Arc::ptr_eq(&self.pacer, &other.pacer)
    }

    fn is_slow(&self) -> bool {
        !self.at_ease.load(Ordering::Acquire) && self.budget.lock().is_slow()
    }

    /// `now`, or when the pause ends that holds now.
    fn unpaused(&self, now: Instant) -> Instant {
        self.pause_end().unwrap_or(now).max(now)
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

    fn gate(policy: &RetryPolicy, now: Instant) -> Gate {
        Gate::new(policy, Arc::new(Mutex::new(Pacer::new(None, now))), now)
    }

    #[test]
    fn a_pause_holds_for_everybody_and_passes() {
        let now = SystemClock.now();
        let gate = gate(&RetryPolicy::default(), now);
        assert_eq!(gate.opens(now).opens, now);
        let end = now + Duration::from_secs(3);
        gate.close_until(end, now);
        gate.close_until(now + Duration::from_secs(1), now);
        assert_eq!(gate.opens(now).opens, end, "a shorter pause does not end a longer one");
        let later = end + Duration::from_secs(1);
        assert_eq!(gate.opens(later).opens, later);
    }

    #[test]
    fn an_empty_budget_slows_first_requests_too() {
        let now = SystemClock.now();
        let gate = gate(&RetryPolicy { budget_tokens: 5, ..RetryPolicy::default() }, now);
        assert!(!gate.pay(5) && gate.pay(5));
        assert_eq!(gate.opens(now).opens, now);
        assert_eq!(gate.opens(now).opens, now + Duration::from_millis(500));
        gate.succeeded(5, now);
        gate.succeeded(5, now);
        assert_eq!(gate.opens(now).opens, now);
        assert!(!gate.pressure(now).1);
    }

    #[test]
    fn test_f30_turns_that_came_too_late_are_not_waited_for_by_others() {
        let now = SystemClock.now();
        let gate = gate(&RetryPolicy { budget_tokens: 5, ..RetryPolicy::default() }, now);
        assert!(!gate.pay(5) && gate.pay(5));
        let end = now + Duration::from_secs(2);
        for _ in 0..1000 {
            let turn = gate.opens(now);
            if turn.opens >= end {
                gate.give_back(&turn);
            }
        }
        assert!(gate.opens(now).opens <= end);
    }

    #[test]
    fn test_f30_turns_of_slow_mode_come_at_once_when_it_is_over() {
        let now = SystemClock.now();
        let gate = gate(&RetryPolicy { budget_tokens: 5, ..RetryPolicy::default() }, now);
        assert!(!gate.pay(5) && gate.pay(5));
        let turns: Vec<_> = (0..100).map(|_| gate.opens(now)).collect();
        assert_eq!(gate.still(turns[99], now).opens, now + 99 * Duration::from_millis(500));
        gate.succeeded(5, now);
        gate.succeeded(5, now);
        assert_eq!(gate.still(turns[99], now).opens, now);
        let end = now + Duration::from_secs(3);
        gate.close_until(end, now);
        assert_eq!(gate.still(turns[99], now).opens, end, "a pause is for those who wait as well");
    }

    #[test]
    fn a_refusal_paces_what_follows() {
        let now = SystemClock.now();
        let gate = gate(&RetryPolicy::default(), now);
        let later = now + Duration::from_secs(1);
        (0..100).for_each(|number| gate.succeeded(0, now + Duration::from_millis(10 * number)));
        let rate = gate.throttled(later, later).expect("the first refusal is news");
        assert!((80.0..100.0).contains(&rate), "{rate}");
        assert_eq!(gate.throttled(later, later), None);
        let turns: Vec<_> = (0..3).map(|_| gate.opens(later)).collect();
        assert_eq!((turns[0].opens, turns[0].wished), (later, Duration::ZERO));
        assert!(turns[2].opens > turns[1].opens && turns[1].opens > later);
    }
}
