//! Waits of a consumer that is faster than the wire: blind and short ones, so that several objects come in one go.
//!
//! A consumer that needs 8 microseconds for what comes every 40 would sleep and be woken for each object, which costs
//! both sides more than the work that it is woken for. As network cards do with interrupts, it looks away for a
//! moment as long as such moments are all it has to wait for. Who waits longer is woken by the object itself.

use std::time::Duration;

/// Some objects of a fast endpoint; far less than any window of requests lasts, and than a consumer would feel.
pub(super) const NAP: Duration = Duration::from_micros(300);

/// Whether the next wait is to be a nap.
#[derive(Debug, Default)]
pub(super) struct Naps {
    was_short: bool,
}

impl Naps {
    /// Whether to look away for a [`NAP`], with so many objects asked for under a window of `width` requests.
    ///
    /// Never for the last ones, or for the only one: nothing would come with it.
    pub(super) fn are_due(&self, asked: usize, width: usize) -> bool {
        self.was_short && asked > width
    }

    /// A wait took this long until the object was there.
    pub(super) fn waited(&mut self, took: Duration) {
        self.was_short = took < 2 * NAP;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_briefly_naps_and_who_waits_long_is_woken() {
        let mut naps = Naps::default();
        assert!(!naps.are_due(32, 16), "nobody knows yet how fast they come");
        naps.waited(NAP / 4);
        assert!(naps.are_due(32, 16));
        naps.waited(NAP + NAP / 2);
        assert!(naps.are_due(32, 16), "a nap may be too short by a little");
        naps.waited(Duration::from_millis(30));
        assert!(!naps.are_due(32, 16));
    }

    #[test]
    fn nobody_naps_before_the_last_objects() {
        let mut naps = Naps::default();
        naps.waited(Duration::ZERO);
        assert!(!naps.are_due(1, 1));
        assert!(!naps.are_due(16, 16));
        assert!(naps.are_due(17, 16));
    }
}
