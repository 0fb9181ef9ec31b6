//! How long a request usually takes, by the size of its body: what tells a slow connection from a slow network.
//!
//! For each power of two of bytes a running median, and a bound that nine in ten stay within. Every sample moves both a
//! little up or down, so it costs three relaxed loads and stores; a sample lost between threads does no harm.

use std::time::Duration;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Samples before a median means something.
const ENOUGH: u32 = 32;
/// A sample moves the median by this share of it: quickly at first, then so that 256 samples make a lifetime.
const FIRST_STEP: u64 = 8;
const STEP: u64 = 64;
/// So many samples lie within the bound for each one beyond. One slow connection in 16 must be beyond it, not inside.
const WITHIN_FOR_ONE_BEYOND: u64 = 9;
/// A request is slow at this many times the median.
const SLOW_TIMES: u32 = 4;
/// And when it took this much longer: below that the machine is as likely the reason as the connection.
const SLOW_BY: Duration = Duration::from_millis(5);
/// One class for each power of two.
const CLASSES: usize = 65;

/// How long requests of about the same size take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Half of them take no longer.
    pub(crate) median: Duration,
    /// Nine in ten take no longer; those that are slow at any rate are no part of it.
    pub(crate) most: Duration,
}

/// A bound that so many samples lie within for each one beyond.
#[derive(Debug, Default)]
struct Bound {
    nanoseconds: AtomicU64,
}

impl Bound {
    /// Moves it by a sample, a share of itself down or `within` of them up, and returns where it was.
    fn note(&self, sample: u64, within: u64, share: u64) -> u64 {
        let bound = self.nanoseconds.load(Ordering::Relaxed);
        let step = (bound / share).max(1);
        let moved = match (bound, sample.cmp(&bound)) {
            (0, _) => sample,
            (_, std::cmp::Ordering::Greater) => bound.saturating_add(step * within),
            (_, std::cmp::Ordering::Less) => bound.saturating_sub(step),
            (_, std::cmp::Ordering::Equal) => bound,
        };
        self.nanoseconds.store(moved, Ordering::Relaxed);
        bound
    }

    fn get(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Default)]
struct Class {
    seen: AtomicU32,
    median: Bound,
    most: Bound,
}

/// Times of the requests of one process to one endpoint.
#[derive(Debug)]
pub(crate) struct Usual {
    classes: Vec<Class>,
}

impl Usual {
    pub(crate) fn new() -> Self {
        Usual { classes: (0..CLASSES).map(|_| Class::default()).collect() }
    }

    /// Takes note of a body of `bytes` that took `took`; true if that was slow.
    pub(crate) fn note(&self, bytes: u64, took: Duration) -> bool {
        let Some(class) = self.class(bytes) else { return false };
        let sample = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let seen = class.seen.load(Ordering::Relaxed);
        let share = if seen < ENOUGH { FIRST_STEP } else { STEP };
        let median = Duration::from_nanos(class.median.note(sample, 1, share));
        class.most.note(sample, WITHIN_FOR_ONE_BEYOND, 2 * share);
        class.seen.store(seen.saturating_add(1), Ordering::Relaxed);
        seen >= ENOUGH && took > median * SLOW_TIMES && took > median + SLOW_BY
    }

    /// How long bodies of about `bytes` take, once enough of them were seen.
    pub(crate) fn times(&self, bytes: u64) -> Option<Times> {
        let class = self.class(bytes)?;
        let is_known = class.seen.load(Ordering::Relaxed) >= ENOUGH;
        let median = class.median.get();
        is_known.then(|| Times { median, most: class.most.get().min(median * SLOW_TIMES) })
    }

    fn class(&self, bytes: u64) -> Option<&Class> {
        self.classes.get(usize::try_from(u64::BITS - bytes.leading_zeros()).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Dice;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_median_is_found_among_outliers() {
        let usual = Usual::new();
        for number in 0..1000_u32 {
            let took = if number % 16 == 0 { 200 * MS } else { (8 + number % 5) * MS };
            usual.note(100_000, took);
        }
        let Times { median, most } = usual.times(100_000).expect("enough samples");
        assert!(median >= 8 * MS && median <= 12 * MS, "{median:?}");
        assert!(most >= median && most <= 15 * MS, "one in 16 is beyond: {most:?}");
    }

    #[test]
    fn nine_in_ten_stay_within_what_most_take() {
        let usual = Usual::new();
        let dice = Dice::seeded(5);
        let took = || Duration::from_secs_f64(0.010 * dice.unit());
        (0..2000).for_each(|_| {
            usual.note(100_000, took());
        });
        let times: Vec<_> = (0..2000)
            .filter_map(|_| {
                usual.note(100_000, took());
                usual.times(100_000)
            })
            .collect();
        let mean = |of: fn(&Times) -> Duration| times.iter().map(of).sum::<Duration>() / 2000;
        let (median, most) = (mean(|times| times.median), mean(|times| times.most));
        assert!(median > 4 * MS && median < 6 * MS, "{median:?}");
        assert!(most > 8 * MS && most < 10 * MS, "{most:?}");
    }

    #[test]
    fn nothing_is_slow_before_enough_was_seen_and_classes_are_apart() {
        let usual = Usual::new();
        assert!((0..ENOUGH).all(|_| !usual.note(1000, MS)));
        assert!(!usual.note(1000, 2 * MS), "the machine, perhaps");
        assert!(usual.note(1000, 40 * MS));
        assert_eq!(usual.times(1_000_000), None);
        assert!(!usual.note(1_000_000, 40 * MS), "a large body takes its time");
    }

    #[test]
    fn a_network_that_slows_down_becomes_the_usual() {
        let usual = Usual::new();
        (0..100).for_each(|_| {
            usual.note(1000, 10 * MS);
        });
        let slow = (0..500).filter(|_| usual.note(1000, 60 * MS)).count();
        assert!(slow < 150, "{slow}");
    }

    #[test]
    fn an_empty_and_an_endless_body_have_their_classes() {
        let usual = Usual::new();
        assert!(!usual.note(0, MS) && !usual.note(u64::MAX, MS));
    }
}
