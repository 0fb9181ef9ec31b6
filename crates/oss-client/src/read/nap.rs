//! Waits of a consumer that is faster than the wire: blind and short ones, so that several objects come in one go.
//!
//! A consumer that needs 8 microseconds for what comes every 40 would sleep and be woken for each object, which costs
//! both sides more than the work that it is woken for. As network cards do with interrupts, it looks away for a
//! moment as long as such moments are all it has to wait for. Who waits longer is woken by the object itself.

use std::time::Duration;

use crate::sync::atomic::{AtomicU32, Ordering};

/// Some objects of a fast endpoint; far less than any window of requests lasts, and than a consumer would feel.
pub(super) const NAP: Duration = Duration::from_micros(300);

/// So many waits must have been short before one is a nap: where requests fail now and then, whoever waits for one of
/// them is to be woken at once.
const CALM_WAITS: u32 = 32;

/// Whether the next wait is to be a nap.
#[derive(Debug, Default)]
pub(super) struct Naps {
    /// Waits that were short since the last that was not.
    short_waits: u32,
}

/// How calm it was for the last stream of an engine; the next one, of the next batch perhaps, goes on from there.
#[derive(Debug, Default)]
pub(crate) struct Calm(AtomicU32);

impl Naps {
    pub(super) fn after(calm: &Calm) -> Self {
        Self { short_waits: calm.0.load(Ordering::Relaxed) }
    }

    pub(super) fn hand_on(&self, calm: &Calm) {
        calm.0.store(self.short_waits, Ordering::Relaxed);
    }

    /// Whether to look away for a [`NAP`], with so many objects asked for under a window of `width` requests.
    ///
    /// Never for the last ones, or for the only one: nothing would come with it.
    pub(super) fn are_due(&self, asked: usize, width: usize) -> bool {
        self.short_waits >= CALM_WAITS && asked > width
    }

    /// A wait took this long until the object was there; None if it ended without.
    pub(super) fn waited(&mut self, took: Option<Duration>) {
        let is_short = took.is_some_and(|took| took < 2 * NAP);
        self.short_waits = if is_short { self.short_waits.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Naps {
        let mut naps = Naps::default();
        for _ in 0..CALM_WAITS {
            assert!(!naps.are_due(32, 16), "it is not calm for long enough");
            naps.waited(Some(NAP / 4));
        }
        naps
    }

    #[test]
    fn who_waits_briefly_naps_and_who_waits_long_is_woken() {
        let mut naps = calm();
        assert!(naps.are_due(32, 16));
        naps.waited(Some(NAP + NAP / 2));
        assert!(naps.are_due(32, 16), "a nap may be too short by a little");
        naps.waited(Some(Duration::from_millis(30)));
        assert!(!naps.are_due(32, 16));
    }

    #[test]
    fn nobody_naps_for_what_is_held_up() {
        let mut naps = calm();
        naps.waited(None);
        assert!(!naps.are_due(32, 16));
        naps.waited(Some(Duration::ZERO));
        assert!(!naps.are_due(32, 16), "there may be more of it");
    }

    #[test]
    fn the_next_stream_need_not_find_out_again() {
        let is_calm = Calm::default();
        assert!(!Naps::after(&is_calm).are_due(32, 16));
        calm().hand_on(&is_calm);
        assert!(Naps::after(&is_calm).are_due(32, 16));
    }

    #[test]
    fn nobody_naps_before_the_last_objects() {
        let naps = calm();
        assert!(!naps.are_due(1, 1));
        assert!(!naps.are_due(16, 16));
        assert!(naps.are_due(17, 16));
    }
}
