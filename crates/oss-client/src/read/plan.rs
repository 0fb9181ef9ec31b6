//! Which ranges make up an object, and how far ahead of the consumer to be. Pure.

use std::ops::Range;

/// Objects up to this size travel in one request: splitting them costs requests, which are the scarce thing.
pub const SPLIT_ABOVE_BYTES: u64 = 8 * 1024 * 1024;

/// Size of the ranges that large objects are split into.
///
/// Large enough that the first byte's latency is small beside the body, small enough that a handful of them fill
/// every connection and that a resume after a fault repeats little.
pub const PART_BYTES: u64 = 4 * 1024 * 1024;

/// Room taken in the budget by an object of unknown size, until some sizes are known.
pub const GUESSED_BYTES: u64 = 1024 * 1024;

/// Cuts `range` (half-open) into ranges of `part_bytes`, the last one shorter, in order.
pub fn cut(range: Range<u64>, part_bytes: u64) -> impl Iterator<Item = Range<u64>> {
    assert!(part_bytes > 0, "a part has at least one byte");
    let end = range.end;
    let mut start = range.start;
    std::iter::from_fn(move || {
        (start < end).then(|| {
            let part = start..end.min(start.saturating_add(part_bytes));
            start = part.end;
            part
        })
    })
}

/// How many objects to have asked for beyond those delivered, for a window of `width` requests.
///
/// Twice the window: one window's worth is on the wire while as much again waits to take its place, so that a
/// worker that ends never finds the queue empty.
#[must_use]
pub fn lookahead(width: usize) -> usize {
    2 * width
}

/// So many sizes weigh alike in the mean; after that the older half counts half, so that a list that begins with its
/// largest objects is not read one by one to its end.
const REMEMBERED: u64 = 64;

/// A running mean of object sizes, for budgets of objects whose size is not known before the answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct LikelySize {
    bytes: u64,
    count: u64,
}

impl LikelySize {
    /// Begins with what others have found, the least of witnesses; 0 = they found nothing.
    #[must_use]
    pub fn beginning_with(usual_bytes: u64) -> Self {
        Self { bytes: usual_bytes, count: u64::from(usual_bytes > 0) }
    }

    /// Whether any size is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.count > 0
    }

    /// Takes note of one object's size.
    pub fn learn(&mut self, size_bytes: u64) {
        if self.count >= REMEMBERED {
            (self.bytes, self.count) = (self.bytes / 2, self.count / 2);
        }
        self.bytes = self.bytes.saturating_add(size_bytes);
        self.count += 1;
    }

    /// What the next object will likely take.
    #[must_use]
    pub fn guess(&self) -> u64 {
        self.bytes.checked_div(self.count).unwrap_or(GUESSED_BYTES).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_tile_the_range(start in 0..u64::MAX / 2, size in 0..1_000_000_u64, part in 1..2_000_000_u64) {
            let parts: Vec<_> = cut(start..start + size, part).collect();
            let mut at = start;
            for range in &parts {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end > range.start && range.end - range.start <= part);
                at = range.end;
            }
            prop_assert_eq!(at, start + size);
            prop_assert_eq!(parts.len() as u64, size.div_ceil(part));
        }
    }

    #[test]
    fn the_guess_is_the_mean_of_what_was_seen() {
        let mut likely = LikelySize::default();
        assert_eq!(likely.guess(), GUESSED_BYTES);
        likely.learn(100);
        likely.learn(300);
        assert_eq!(likely.guess(), 200);
        let mut next = LikelySize::beginning_with(likely.guess());
        assert_eq!((next.guess(), next.is_known()), (200, true));
        next.learn(1000);
        assert_eq!(next.guess(), 600);
        assert!(!LikelySize::beginning_with(0).is_known());
    }

    #[test]
    fn the_guess_follows_a_list_that_gets_smaller() {
        let mut likely = LikelySize::default();
        (0..1000).for_each(|_| likely.learn(200 << 20));
        assert_eq!(likely.guess(), 200 << 20);
        (0..320).for_each(|_| likely.learn(1000));
        assert!(likely.guess() < 1 << 20, "{}", likely.guess());
    }
}
