//! How long things took: counts in classes that grow with the time, eight to each doubling.
//!
//! A quantile read from them is off by a sixteenth at most, and counting costs one relaxed addition. Classes of several
//! processes are added up before quantiles are read, so what crosses to Python are the classes.

use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};

/// Classes of one doubling.
const STEPS: u64 = 8;
const STEP_BITS: u32 = STEPS.ilog2();
/// Classes in all: from a microsecond to 71 minutes.
const CLASSES: usize = 240;

/// Counts of durations.
#[derive(Debug)]
pub(crate) struct Histogram {
    classes: Box<[AtomicU64]>,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { classes: (0..CLASSES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts one.
    pub(crate) fn note(&self, took: Duration) {
        self.classes[class(microseconds(took))].fetch_add(1, Ordering::Relaxed);
    }

    /// Number and count of each class that has any.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.classes.iter().map(|class| class.load(Ordering::Relaxed));
        counts.enumerate().filter(|(_, count)| *count > 0)
    }
}

/// A time in microseconds. Not by way of 128 bits, as it is on the path of every request.
pub(super) fn microseconds(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros().into())
}

/// The class of a time: below eight microseconds each has its own, then every doubling has eight.
fn class(microseconds: u64) -> usize {
    if microseconds < STEPS {
        return usize::try_from(microseconds).unwrap_or(0);
    }
    let doubling = microseconds.ilog2();
    let step = (microseconds >> (doubling - STEP_BITS)) & (STEPS - 1);
    let number = u64::from(doubling - STEP_BITS + 1) * STEPS + step;
    usize::try_from(number).map_or(CLASSES - 1, |number| number.min(CLASSES - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_that_python_reads() {
        // tests/test_measures.py has the same table.
        let table = [(0, 0), (7, 7), (8, 8), (15, 15), (16, 16), (18, 17), (1000, 63), (1_000_000, 143)];
        for (microseconds, number) in table {
            assert_eq!(class(microseconds), number, "{microseconds}");
        }
        assert_eq!(class(u64::MAX), CLASSES - 1);
    }

    #[test]
    fn classes_rise_without_a_gap() {
        let numbers: Vec<_> = (0..100_000).map(class).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1));
    }

    #[test]
    fn what_was_noted_is_counted_in_its_class() {
        let histogram = Histogram::new();
        for milliseconds in [1, 1, 2000] {
            histogram.note(Duration::from_millis(milliseconds));
        }
        assert_eq!(histogram.counts().collect::<Vec<_>>(), [(63, 2), (151, 1)]);
    }
}
