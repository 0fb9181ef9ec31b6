//! Second requests for objects that are late: when, and how many of them.
//!
//! A stalled or slow connection would hold up everything that is delivered after its object. So an object that takes
//! much longer than its like is asked for once more, into memory of its own; the first whole answer is delivered and
//! the other request is cut off. What that may cost is bounded in bytes (`faults.md`, 2.6), but for the one object that
//! everything has waited for too long.

use std::time::Duration;

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::usual::Times;

/// A late object that has held everything up for so long is asked for again whatever was spent: where many requests are
/// late, they use up what a stalled one needs. Only the object that everything waits for is asked for so, one by one.
pub(crate) const AT_ANY_PRICE_AFTER: Duration = Duration::from_secs(1);

/// Larger objects are not asked for twice.
pub(crate) const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Late is this much longer than the median at least: below that the machine is as likely the reason.
const LATE_BY: Duration = Duration::from_millis(4);

/// One byte may be asked for again for so many that arrived.
const ARRIVED_PER_BYTE: u64 = 20;

/// No more than this is saved up: two objects of the largest size.
const MOST_SAVED: u64 = 2 * MAX_BYTES;

/// When a request is late: twice as long as most of its like take.
pub(crate) fn late_after(times: Times) -> Duration {
    (times.most * 2).max(times.median + LATE_BY)
}

/// Bytes that may still be asked for twice.
///
/// What arrived pays, not what was delivered: nothing is delivered behind an object that stalled, and what waits there
/// must pay for its second request. The first one is free, as an object may stall before anything else arrived.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    saved: AtomicU64,
    is_first_spent: AtomicBool,
}

impl Allowance {
    /// So many bytes arrived.
    pub(crate) fn earn(&self, arrived: u64) {
        let earned = arrived / ARRIVED_PER_BYTE;
        let more = |saved: u64| (saved < MOST_SAVED).then(|| (saved + earned).min(MOST_SAVED));
        let _is_full = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err();
    }

    /// Takes what one more request would cost; false if there is not that much.
    pub(crate) fn spend(&self, bytes: u64) -> bool {
        let less = |saved: u64| saved.checked_sub(bytes);
        let is_paid = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        is_paid || !self.is_first_spent.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_is_twice_what_most_take_and_some_milliseconds_at_least() {
        let late_after = |median, most| {
            let ms = Duration::from_millis;
            late_after(Times { median: ms(median), most: ms(most) }).as_millis()
        };
        assert_eq!(late_after(1, 1), 5);
        assert_eq!(late_after(100, 120), 240);
    }

    #[test]
    fn one_and_a_twentieth_of_what_arrived_may_be_spent() {
        let allowance = Allowance::default();
        assert!(allowance.spend(MAX_BYTES), "the first is free");
        assert!(!allowance.spend(1));
        (0..100).for_each(|_| allowance.earn(1000));
        assert!(allowance.spend(3000) && allowance.spend(2000));
        assert!(!allowance.spend(1));
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let allowance = Allowance::default();
        assert!(allowance.spend(MAX_BYTES), "the first is free");
        (0..1000).for_each(|_| allowance.earn(100 << 20));
        assert!((0..2).all(|_| allowance.spend(MAX_BYTES)));
        assert!(!allowance.spend(MAX_BYTES), "two of the largest");
    }
}
