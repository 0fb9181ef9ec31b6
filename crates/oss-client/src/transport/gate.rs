//! What all requests of a client share: the retry budget, first contact, and the pace and the pauses, which may be
//! other clients' too.
//!
//! On the fast path it is a few relaxed loads and one relaxed count.

use std::time::{Duration, Instant};

use super::meter::Meter;
use super::pace::Pace;
use super::pacer::Number;
use crate::config::RetryPolicy;
use crate::retry::Budget;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex, OnceLock};

/// The gate before an endpoint.
#[derive(Debug)]
pub(super) struct Gate {
    /// The budget needs no look at: full, and not in slow mode.
    at_ease: AtomicBool,
    answered: AtomicBool,
    budget: Mutex<Budget>,
    admitted: Arc<Meter>,
    joined: OnceLock<Joined>,
}

/// The pace that is kept to.
#[derive(Debug)]
struct Joined {
    pace: Arc<Pace>,
    /// How often refusals had begun to hold it before.
    pacings_before: u64,
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
    /// A gate that holds nothing back for its rate until it [joins](Gate::join) a pace, before the first request.
    pub(super) fn new(policy: &RetryPolicy, now: Instant) -> Self {
        Gate {
            at_ease: AtomicBool::new(true),
            answered: AtomicBool::new(false),
            budget: Mutex::new(Budget::new(policy)),
            admitted: Arc::new(Meter::new(now)),
            joined: OnceLock::new(),
        }
    }

    /// Whether it is known which pace is kept to.
    pub(super) fn has_joined(&self) -> bool {
        self.joined.get().is_some()
    }

    /// Keeps to `pace` from now on, for good; it may be other clients' too.
    pub(super) fn join(&self, pace: Arc<Pace>) {
        self.joined.get_or_init(|| {
            pace.add(&self.admitted);
            Joined { pacings_before: pace.pacings(), pace }
        });
    }

    fn pace(&self) -> Option<&Pace> {
        self.joined.get().map(|joined| &*joined.pace)
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
        let number = self.pace().and_then(|pace| pace.take(now));
        self.still(Turn { opens: now, wished: Duration::ZERO, number, slot }, now)
    }

    /// When a turn comes as things stand now: since it was taken the pace may have changed, slow mode ended, or a pause
    /// begun.
    pub(super) fn still(&self, turn: Turn, now: Instant) -> Turn {
        let mut slow = self.unpaused(now);
        if let Some(slot) = turn.slot.filter(|_| self.is_slow()) {
            slow = slow.max(slot);
        }
        let Some((number, pace)) = turn.number.zip(self.pace()) else { return Turn { opens: slow, ..turn } };
        let (comes, is_users_bound) = pace.comes(number, now);
        let opens = comes.max(slow);
        let wished = if is_users_bound { opens.saturating_duration_since(slow) } else { Duration::ZERO };
        Turn { opens, wished, ..turn }
    }

    /// A turn that was taken is not used, as it comes too late or its asker gave up.
    pub(super) fn give_back(&self, turn: &Turn) {
        if turn.slot.is_some() {
            self.budget.lock().give_back();
        }
        if let (Some(_), Some(pace)) = (turn.number, self.pace()) {
            pace.give_back();
        }
    }

    /// No request goes before `moment`.
    pub(super) fn close_until(&self, moment: Instant, now: Instant) {
        if let Some(pace) = self.pace() {
            pace.close_until(moment, now);
        }
    }

    /// Takes note of a refusal, for throttling, of a request of the moment `sent`; gives the requests a second that go
    /// from now on if that is news.
    pub(super) fn throttled(&self, sent: Instant, now: Instant) -> Option<f64> {
        self.pace()?.throttled(sent, now)
    }

    /// Requests a second that go at most; None while nothing holds them back.
    pub(super) fn limit(&self) -> Option<f64> {
        self.pace()?.rate()
    }

    /// Whether refusals found a pace, or requests wait now for the user's bound.
    pub(super) fn holds_back(&self, now: Instant) -> bool {
        self.pace().is_some_and(|pace| pace.holds_back(now))
    }

    /// Requests a second that succeeded lately.
    pub(super) fn admitted(&self, now: Instant) -> f64 {
        self.admitted.rate(now)
    }

    /// How long ago a refusal lowered the pace last; None while the service refuses nothing.
    pub(super) fn lowered(&self, now: Instant) -> Option<Duration> {
        self.pace()?.cut().map(|cut| now.saturating_duration_since(cut))
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
        let pacings = self.joined.get().map_or(0, |joined| joined.pace.pacings() - joined.pacings_before);
        let left = self.pause_end().map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
        (pacings, self.is_slow(), left)
    }

    /// Whether what the other lets through counts for this one too.
    pub(super) fn shares_pace_with(&self, other: &Gate) -> bool {
        self.pace().zip(other.pace()).is_some_and(|(own, others)| std::ptr::eq(own, others))
    }

    fn is_slow(&self) -> bool {
        !self.at_ease.load(Ordering::Acquire) && self.budget.lock().is_slow()
    }

    /// `now`, or when the pause ends that holds now.
    fn unpaused(&self, now: Instant) -> Instant {
        self.pause_end().unwrap_or(now).max(now)
    }

    fn pause_end(&self) -> Option<Instant> {
        self.pace()?.pause_end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    fn gate(policy: &RetryPolicy, now: Instant) -> Gate {
        let gate = Gate::new(policy, now);
        gate.join(Arc::new(Pace::new(None, now)));
        gate
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
    fn test_f28_a_refusal_of_one_client_is_heeded_by_all_that_share_its_pace() {
        let now = SystemClock.now();
        let policy = RetryPolicy::default();
        let pace = Arc::new(Pace::new(None, now));
        let [train, evaluate] = [Gate::new(&policy, now), Gate::new(&policy, now)];
        [&train, &evaluate].iter().for_each(|gate| gate.join(Arc::clone(&pace)));
        let stranger = gate(&policy, now);
        assert!(train.throttled(now, now).is_some());
        assert_eq!(evaluate.throttled(now, now), None, "they were told");
        train.close_until(now + Duration::from_secs(2), now);
        assert!(evaluate.holds_back(now) && evaluate.limit() == train.limit());
        assert_eq!(evaluate.opens(now).opens, now + Duration::from_secs(2));
        assert_eq!(evaluate.pressure(now), (1, false, Duration::from_secs(2)));
        assert_eq!(stranger.opens(now).opens, now);
        let late = Gate::new(&policy, now);
        late.join(pace);
        assert_eq!(late.pressure(now).0, 0, "what was before it is no news to it");
        assert!(late.holds_back(now));
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
