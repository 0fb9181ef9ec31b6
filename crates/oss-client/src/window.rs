//! How many requests to keep in flight: found by looking at goodput, not configured.
//!
//! Pure: it is told of completed requests and of the time, and answers with a number. The window doubles every
//! round (one round = as many completions as the window is wide) while each doubling brings at least 10 % more
//! bytes a second, then stays at the smallest width that reached the best rate. A round that brings clearly
//! less than the best is measured again before it is believed: more requests do not bring less, but a hiccup of a busy
//! machine does, and must not hold a distant endpoint at a few requests for the next thousand objects. From time to time it tries a
//! quarter more, and keeps it only if it pays: the network may have changed. A throttle shrinks it at once.

use std::time::{Duration, Instant};

/// Requests in flight at the start: enough to tell latency from bandwidth, few enough for any server.
pub const START: usize = 16;
/// A wider window must bring this much more goodput to be kept.
const WORTHWHILE: f64 = 1.10;
/// A trial of a quarter more must bring this much, so that noise does not widen the window step by step.
const TRIAL_WORTHWHILE: f64 = 1.05;
/// Less than this share of the best rate is a hiccup, not what a wider window brings.
const HICCUP: f64 = 0.9;
/// Rounds that are measured again at one width before doubling ends.
const DOUBTS: u32 = 2;
/// Rounds between two trials of a wider window.
const ROUNDS_BETWEEN_TRIALS: u32 = 64;
/// A round shorter than this says nothing about a rate: it is joined with the next.
const SHORTEST_ROUND: Duration = Duration::from_millis(20);
/// What a throttle leaves of the window.
const AFTER_THROTTLE: f64 = 0.7;
/// Throttles within this time of the last shrink are answers to the same burst.
const SHRINK_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Doubling { doubts: u32 },
    Settled { rounds: u32 },
    Trying { before: usize },
}

/// The concurrency window of one endpoint in one process.
#[derive(Debug)]
pub struct Window {
    width: usize,
    ceiling: usize,
    phase: Phase,
    best_rate: f64,
    round_started: Instant,
    round_completions: usize,
    round_bytes: u64,
    shrunk_at: Option<Instant>,
    /// The width before the last change, and when that was.
    changed: Option<(usize, Instant)>,
}

impl Window {
    /// A window that never passes `ceiling` requests.
    #[must_use]
    pub fn new(ceiling: usize, now: Instant) -> Self {
        let ceiling = ceiling.max(1);
        Self {
            width: START.min(ceiling),
            ceiling,
            phase: Phase::Doubling { doubts: 0 },
            best_rate: 0.0,
            round_started: now,
            round_completions: 0,
            round_bytes: 0,
            shrunk_at: None,
            changed: None,
        }
    }

    /// How many requests may be in flight.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many requests it never passes.
    #[must_use]
    pub fn ceiling(&self) -> usize {
        self.ceiling
    }

    /// The width before the last change, and when that was; None while it has never changed.
    #[must_use]
    pub fn last_change(&self) -> Option<(usize, Instant)> {
        self.changed
    }

    /// Starts measuring afresh: the workers were idle, so the time since the last round means nothing.
    pub fn resume(&mut self, now: Instant) {
        self.start_round(now);
    }

    /// Takes note of `completions` finished requests of `bytes` together; true when the width changed.
    pub fn completed(&mut self, completions: usize, bytes: u64, now: Instant) -> bool {
        self.round_completions += completions;
        self.round_bytes += bytes;
        let elapsed = now.saturating_duration_since(self.round_started);
        if self.round_completions < self.width || elapsed < SHORTEST_ROUND {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
        let rate = self.round_bytes as f64 / elapsed.as_secs_f64();
        let before = self.width;
        self.end_round(rate);
        self.start_round(now);
        self.note_change(before, now)
    }

    /// Shrinks after the service said "slow down"; true when the width changed.
    pub fn throttled(&mut self, now: Instant) -> bool {
        if self.shrunk_at.is_some_and(|at| now.saturating_duration_since(at) < SHRINK_PAUSE) {
            return false;
        }
        self.shrunk_at = Some(now);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a width is far below 2^52 and never negative"
        )]
        let narrower = ((self.width as f64 * AFTER_THROTTLE) as usize).max(1);
        let before = std::mem::replace(&mut self.width, narrower);
        self.phase = Phase::Settled { rounds: 0 };
        self.start_round(now);
        self.note_change(before, now)
    }

    fn note_change(&mut self, before: usize, now: Instant) -> bool {
        let is_changed = self.width != before;
        if is_changed {
            self.changed = Some((before, now));
        }
        is_changed
    }

    fn start_round(&mut self, now: Instant) {
        self.round_started = now;
        self.round_completions = 0;
        self.round_bytes = 0;
    }

    fn end_round(&mut self, rate: f64) {
        match self.phase {
            Phase::Doubling { .. } if rate >= self.best_rate * WORTHWHILE => {
                self.best_rate = rate;
                self.phase = Phase::Doubling { doubts: 0 };
                self.widen(self.width * 2);
            }
            Phase::Doubling { doubts } if doubts < DOUBTS && rate < self.best_rate * HICCUP => {
                self.phase = Phase::Doubling { doubts: doubts + 1 };
            }
            Phase::Doubling { .. } => {
                self.width = (self.width / 2).max(START.min(self.ceiling));
                self.phase = Phase::Settled { rounds: 0 };
            }
            Phase::Settled { rounds } if rounds >= ROUNDS_BETWEEN_TRIALS => {
                self.best_rate = rate;
                self.phase = Phase::Trying { before: self.width };
                self.widen(self.width + (self.width / 4).max(1));
            }
            Phase::Settled { rounds } => self.phase = Phase::Settled { rounds: rounds + 1 },
            Phase::Trying { before } => {
                if rate < self.best_rate * TRIAL_WORTHWHILE {
                    self.width = before;
                    self.phase = Phase::Settled { rounds: 0 };
                } else {
                    self.phase = Phase::Doubling { doubts: 0 };
                    self.best_rate = rate;
                }
            }
        }
    }

    fn widen(&mut self, width: usize) {
        if self.width == self.ceiling {
            self.phase = Phase::Settled { rounds: 0 };
        }
        self.width = width.min(self.ceiling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    /// Runs the window against a server of `latency` per request and `capacity` bytes a second.
    fn settle(latency: f64, capacity: f64, ceiling: usize) -> usize {
        let start = SystemClock.now();
        let mut window = Window::new(ceiling, start);
        let mut seconds = 0.0;
        for _ in 0..2000 {
            let width = window.width();
            let bytes = 100_000.0;
            let rate = (width as f64 * bytes / latency).min(capacity);
            seconds += bytes / rate;
            window.completed(1, 100_000, start + Duration::from_secs_f64(seconds));
        }
        window.width()
    }

    #[test]
    fn a_long_way_to_the_first_byte_widens_the_window() {
        let width = settle(0.030, 2e9, 256);
        assert!(width >= 128, "30 ms and plenty of bandwidth need many in flight, not {width}");
    }

    #[test]
    fn a_slow_round_while_it_widens_does_not_hold_it_back() {
        let start = SystemClock.now();
        let (mut window, mut seconds, mut rounds) = (Window::new(256, start), 0.0, 0);
        while rounds < 12 {
            // Every second round takes ten times as long: something else has the processor.
            seconds += if rounds % 2 == 0 { 0.030 } else { 0.300 };
            let width = window.width();
            window.completed(width, width as u64 * 100_000, start + Duration::from_secs_f64(seconds));
            rounds += 1;
        }
        assert_eq!(window.width(), 256);
    }

    #[test]
    fn a_full_link_keeps_the_window_narrow() {
        let width = settle(0.000_1, 1e9, 256);
        assert!(width <= 32, "more in flight bring nothing, yet the window is {width}");
    }

    #[test]
    fn the_ceiling_holds() {
        assert_eq!(settle(0.5, 1e12, 24), 24);
        assert_eq!(settle(0.5, 1e12, 3), 3);
    }

    #[test]
    fn a_throttle_shrinks_once_a_second() {
        let start = SystemClock.now();
        let mut window = Window::new(256, start);
        assert!(window.throttled(start + Duration::from_secs(5)));
        assert_eq!(window.width(), 11);
        assert_eq!(window.last_change(), Some((16, start + Duration::from_secs(5))));
        assert!(!window.throttled(start + Duration::from_millis(5900)));
        assert_eq!(window.width(), 11);
        assert!(window.throttled(start + Duration::from_millis(6100)));
        assert_eq!(window.width(), 7);
    }

    #[test]
    fn the_window_never_closes() {
        let start = SystemClock.now();
        let mut window = Window::new(256, start);
        for second in 0..100 {
            window.throttled(start + Duration::from_secs(second));
        }
        assert_eq!(window.width(), 1);
    }
}
