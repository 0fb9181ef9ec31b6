//! How many requests a second may go to an endpoint: found from what it refuses, below what the user allows. Pure.
//!
//! Without a refusal and without a bound nothing is paced. The first refusal sets the rate to what was admitted in the
//! second before it. That guess is poor where many begin at once, so for half a second refusals only lower the rate,
//! and it grows by e every second until the first refusal after that. From then on every round of refusals leaves four
//! fifths of the rate. In between it grows by a step that is the same for all, so that processes which share a limit
//! draw level: who sends more is refused more often. The longer nothing was refused, the faster it grows: a limit that
//! was raised is found in seconds. Time in which nobody asked for a turn teaches nothing, and hardly counts.
//! docs/decisions/0014 says how these numbers were chosen.
//!
//! Who asks takes a turn, a number. When it comes depends on the rate at that time and not on the rate when it was
//! taken: a process that was refused at once, and whose pace then grows, does not wait for turns of the slow beginning.

use std::time::{Duration, Instant};

/// What a round of refusals leaves of the rate.
const AFTER_REFUSAL: f64 = 0.8;
/// What the first refusal leaves of what was admitted lately.
const FIRST_GUESS: f64 = 0.93;
/// Growth in a second, in requests a second, but no more than this share of the rate; and a share of it besides.
const STEP: f64 = 2.0;
const STEP_AT_MOST: f64 = 0.15;
const SHARE: f64 = 0.03;
/// After this long without a refusal growth is twice as fast, after twice as long five times, and so on.
const CALM: Duration = Duration::from_secs(2);
/// Growth in a second while the first guess is being corrected, as a share of the rate; and at any time at most.
const SEARCHING: f64 = 1.0;
/// Refusals within this time of the first do not end the search: others that began now are being refused as well.
const FLOOD: Duration = Duration::from_millis(500);
/// Of a time in which nobody asked for a turn so much counts, for growth and for calm.
const TRIED_AT_MOST: Duration = Duration::from_secs(1);
/// After this long without a refusal there is no limit any more.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// The rate that a first guess does not go below, and a cut does not.
const LEAST_GUESS: f64 = 10.0;
const LEAST: f64 = 0.5;
/// A pause leaves this much to be made good at once; more would be a burst.
const BURST: Duration = Duration::from_millis(10);

/// The pace of all requests of a process to one endpoint.
#[derive(Debug)]
pub(super) struct Pacer {
    bound: Option<f64>,
    found: Option<Found>,
    /// Turns that were taken.
    taken: f64,
    /// Turns that have come.
    come: f64,
    /// Up to when turns were counted.
    counted: Instant,
}

/// A turn that was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number(f64);

/// A rate that refusals taught.
#[derive(Debug)]
struct Found {
    rate: f64,
    first_refused: Instant,
    cut: Instant,
    /// How long turns were asked for since then, and nothing was refused.
    calm: Duration,
    is_searching: bool,
}

impl Pacer {
    /// `bound` is the user's, in requests a second.
    pub(super) fn new(bound: Option<f64>, now: Instant) -> Self {
        Pacer { bound, found: None, taken: 0.0, come: 0.0, counted: now }
    }

    /// Requests a second; None while nothing holds them back.
    pub(super) fn rate(&self) -> Option<f64> {
        let found = self.found.as_ref().map(|found| found.rate);
        match (found, self.bound) {
            (Some(found), Some(bound)) => Some(found.min(bound)),
            (found, bound) => found.or(bound),
        }
    }

    /// When a refusal lowered the rate last.
    pub(super) fn cut(&self) -> Option<Instant> {
        self.found.as_ref().map(|found| found.cut)
    }

    /// Whether it is the user's bound, and not the service, that holds requests back.
    pub(super) fn is_at_bound(&self) -> bool {
        self.bound.is_some() && self.rate() == self.bound
    }

    /// Whether refusals taught a rate, or some of the turns that were taken have not come yet.
    pub(super) fn holds_back(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.found.is_some() || self.taken - 1.0 > self.come + 0.001
    }

    /// Takes a turn.
    pub(super) fn take(&mut self, now: Instant) -> Number {
        self.advance(now);
        self.taken += 1.0;
        Number(self.taken)
    }

    /// When that turn comes as things stand: `now`, or later.
    pub(super) fn comes(&mut self, turn: Number, now: Instant) -> Instant {
        self.advance(now);
        let from = self.counted.max(now);
        match self.rate() {
            // A turn is there at the start of its interval, and a thousandth of one is rounding.
            Some(rate) if turn.0 - 1.0 > self.come + 0.001 => {
                from + Duration::from_secs_f64((turn.0 - 1.0 - self.come) / rate)
            }
            _ => from,
        }
    }

    /// A turn was taken that comes too late to be used: who comes next need not wait for it.
    pub(super) fn give_back(&mut self) {
        self.taken = (self.taken - 1.0).max(self.come);
    }

    /// No turn comes before `moment`.
    pub(super) fn hold_until(&mut self, moment: Instant, now: Instant) {
        self.advance(now);
        self.counted = self.counted.max(moment);
    }

    /// The service refused a request of the moment `sent` because there were too many; `admitted` a second it had not
    /// refused lately. A request from before the last cut says nothing new.
    ///
    /// True if requests are paced from now on, and were not before.
    pub(super) fn refused(&mut self, admitted: f64, sent: Instant, now: Instant) -> bool {
        self.advance(now);
        let Some(found) = &mut self.found else {
            let rate = (admitted * FIRST_GUESS).max(LEAST_GUESS);
            let calm = Duration::ZERO;
            self.found = Some(Found { rate, first_refused: now, cut: now, calm, is_searching: true });
            return true;
        };
        if sent >= found.cut {
            found.rate = (found.rate * AFTER_REFUSAL).max(LEAST);
            found.cut = now;
            found.calm = Duration::ZERO;
            found.is_searching &= sent < found.first_refused + FLOOD;
        }
        false
    }

    /// Lets the rate grow and turns come until `now`.
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted);
        self.counted = self.counted.max(now);
        self.grow(passed.min(TRIED_AT_MOST), now);
        let passed = passed.as_secs_f64();
        self.come = match self.rate() {
            Some(rate) => (self.come + rate * passed).min(self.taken + rate * BURST.as_secs_f64()),
            None => self.taken,
        };
    }

    fn grow(&mut self, tried: Duration, now: Instant) {
        let Some(found) = &mut self.found else { return };
        if now.saturating_duration_since(found.cut) >= FORGOTTEN {
            self.found = None;
            return;
        }
        found.calm += tried;
        let haste = 1.0 + (found.calm.as_secs_f64() / CALM.as_secs_f64()).powi(2);
        let share = if found.is_searching {
            SEARCHING
        } else {
            ((STEP / found.rate).min(STEP_AT_MOST) + SHARE) * haste
        };
        found.rate += tried.as_secs_f64() * found.rate * share.min(SEARCHING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    const SECOND: Duration = Duration::from_secs(1);

    /// When one more request may go.
    fn admit(pacer: &mut Pacer, now: Instant) -> Instant {
        let turn = pacer.take(now);
        pacer.comes(turn, now)
    }

    #[test]
    fn nothing_is_paced_before_a_refusal() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(None, now);
        assert!((0..1000).all(|_| admit(&mut pacer, now) == now));
    }

    #[test]
    fn a_bound_holds_back_while_turns_are_waited_for_and_a_refusal_until_it_is_forgotten() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(Some(100.0), now);
        pacer.take(now);
        assert!(!pacer.holds_back(now), "the first turn is there");
        pacer.take(now);
        assert!(pacer.holds_back(now));
        let later = now + Duration::from_millis(10);
        assert!(!pacer.holds_back(later));
        pacer.refused(50.0, later, later);
        assert!(pacer.holds_back(later + SECOND));
        assert!(!pacer.holds_back(later + FORGOTTEN));
    }

    #[test]
    fn the_users_bound_holds_from_the_start() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(Some(100.0), now);
        let moments: Vec<_> = (0..101).map(|_| admit(&mut pacer, now)).collect();
        assert_eq!(moments[0], now);
        assert_eq!(moments[100].duration_since(now).as_millis(), 1000);
        assert!(!pacer.refused(1e6, now, now) || pacer.rate() == Some(100.0), "a refusal does not widen it");
    }

    #[test]
    fn a_pause_is_made_good_by_a_few_requests_only() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(Some(1000.0), now);
        let later = now + 60 * SECOND;
        let at_once = (0..100).filter(|_| admit(&mut pacer, later) == later).count();
        assert!((10..=11).contains(&at_once), "{at_once}");
    }

    #[test]
    fn a_minute_without_a_refusal_forgets_the_limit() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(None, now);
        assert!(pacer.refused(500.0, now, now));
        assert_eq!(pacer.rate(), Some(500.0 * FIRST_GUESS));
        admit(&mut pacer, now + 61 * SECOND);
        assert_eq!(pacer.rate(), None);
    }

    #[test]
    fn a_time_in_which_nothing_was_tried_does_not_raise_the_pace() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(None, now);
        pacer.refused(40.0, now, now);
        pacer.refused(40.0, now + SECOND, now + SECOND);
        let rate = pacer.rate().expect("it was refused");
        admit(&mut pacer, now + 31 * SECOND);
        let after = pacer.rate().expect("not forgotten yet");
        assert!(after <= 2.0 * rate, "{rate} a second before, {after} after a pause of 30 s");
        admit(&mut pacer, now + 32 * SECOND);
        let next = pacer.rate().expect("not forgotten yet");
        assert!(next <= 1.5 * after, "the pause was no calm either: {after}, and a second later {next}");
    }

    #[test]
    fn refusals_of_one_round_count_once() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(None, now);
        pacer.refused(1000.0, now, now);
        let later = now + SECOND;
        pacer.refused(1000.0, later, later);
        let rate = pacer.rate();
        let stale = later.checked_sub(Duration::from_millis(1)).expect("a while after the start");
        assert!((0..100).all(|_| !pacer.refused(1000.0, stale, later)));
        assert_eq!(pacer.rate(), rate, "they were sent before the cut");
        pacer.refused(1000.0, later, later);
        assert_eq!(pacer.rate(), rate.map(|rate| rate * AFTER_REFUSAL));
    }

    #[test]
    fn turns_come_sooner_when_the_pace_grew_since_they_were_taken() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(None, now);
        pacer.refused(0.0, now, now);
        let turns: Vec<_> = (0..31).map(|_| pacer.take(now)).collect();
        assert_eq!(pacer.comes(turns[30], now), now + 3 * SECOND, "at ten a second");
        let comes = (1..=20).map(|tenth| pacer.comes(turns[30], now + tenth * SECOND / 10)).last();
        assert_eq!(comes, Some(now + 2 * SECOND));
    }

    #[test]
    fn turns_wait_for_a_pause_and_do_not_come_at_once_after_it() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(Some(10.0), now);
        pacer.hold_until(now + 3 * SECOND, now);
        let turns: Vec<_> = (0..11).map(|_| pacer.take(now)).collect();
        assert_eq!(pacer.comes(turns[10], now), now + 4 * SECOND);
        assert_eq!(pacer.comes(turns[10], now + 3 * SECOND), now + 4 * SECOND);
    }

    #[test]
    fn a_raised_limit_is_found_in_seconds() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(None, now);
        pacer.refused(1000.0, now, now);
        pacer.refused(1000.0, now + SECOND, now + SECOND);
        let mut seconds = 0;
        while pacer.rate() < Some(4000.0) {
            seconds += 1;
            (1..=10).for_each(|tenth| {
                admit(&mut pacer, now + SECOND + (seconds * 10 + tenth - 10) * SECOND / 10);
            });
        }
        assert!(seconds <= 10, "{seconds} s to twice the rate");
    }
}
