//! How long a request usually takes, by the size of its body: what tells a slow connection from a slow network.
//!
//! One running median for each power of two of bytes. A median is moved a little up or down by every sample, so it
//! costs two relaxed loads and two stores; a sample lost between threads does no harm.

use std::time::Duration;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Samples before a median means something.
const ENOUGH: u32 = 32;
/// A sample moves the median by this share of it: quickly at first, then so that 256 samples make a lifetime.
const FIRST_STEP: u64 = 8;
const STEP: u64 = 64;
/// A request is slow at this many times the median.
const SLOW_TIMES: u32 = 4;
/// And when it took this much longer: below that the machine is as likely the reason as the connection.
const SLOW_BY: Duration = Duration::from_millis(5);
/// One class for each power of two.
const CLASSES: usize = 65;

#[derive(Debug, Default)]
struct Class {
    seen: AtomicU32,
    median_nanoseconds: AtomicU64,
}

/// Medians of the requests of one process to one endpoint.
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
        let median = class.median_nanoseconds.load(Ordering::Relaxed);
        let step = median / if seen < ENOUGH { FIRST_STEP } else { STEP };
        let moved = match (seen, sample.cmp(&median)) {
            (0, _) => sample,
            (_, std::cmp::Ordering::Greater) => median + step.max(1),
            (_, std::cmp::Ordering::Less) => median.saturating_sub(step.max(1)),
            (_, std::cmp::Ordering::Equal) => median,
        };
        class.median_nanoseconds.store(moved, Ordering::Relaxed);
        class.seen.store(seen.saturating_add(1), Ordering::Relaxed);
        let median = Duration::from_nanos(median);
        seen >= ENOUGH && took > median * SLOW_TIMES && took > median + SLOW_BY
    }

    /// The median of bodies of about `bytes`, once enough of them were seen.
    pub(crate) fn median(&self, bytes: u64) -> Option<Duration> {
        let class = self.class(bytes)?;
        let is_known = class.seen.load(Ordering::Relaxed) >= ENOUGH;
        is_known.then(|| Duration::from_nanos(class.median_nanoseconds.load(Ordering::Relaxed)))
    }

    fn class(&self, bytes: u64) -> Option<&Class> {
        self.classes.get(usize::try_from(u64::BITS - bytes.leading_zeros()).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_median_is_found_among_outliers() {
        let usual = Usual::new();
        for number in 0..1000_u32 {
            let took = if number % 16 == 0 { 200 * MS } else { (8 + number % 5) * MS };
            usual.note(100_000, took);
        }
        let median = usual.median(100_000).expect("enough samples");
        assert!(median >= 8 * MS && median <= 12 * MS, "{median:?}");
    }

    #[test]
    fn nothing_is_slow_before_enough_was_seen_and_classes_are_apart() {
        let usual = Usual::new();
        assert!((0..ENOUGH).all(|_| !usual.note(1000, MS)));
        assert!(!usual.note(1000, 2 * MS), "the machine, perhaps");
        assert!(usual.note(1000, 40 * MS));
        assert_eq!(usual.median(1_000_000), None);
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
