//! What holds the requests of several clients back together: one pace, found from what any of them was refused, and one
//! pause.
//!
//! On the fast path it is two relaxed loads.

use std::fmt;
use std::time::{Duration, Instant};

use super::meter::Meter;
use super::pacer::{Number, Pacer};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, Weak};

/// A pace, and who keeps to it. Lock order: `members`, then that of a meter; `pacer` alone.
pub(super) struct Pace {
    base: Instant,
    /// Nanoseconds after `base` before which no request goes; 0 = no pause.
    closed_until: AtomicU64,
    /// How often refusals began to hold it.
    pacings: AtomicU64,
    /// The pacer has something to say.
    holds: AtomicBool,
    pacer: Mutex<Pacer>,
    /// What is admitted of each: the first guess of a rate is of all.
    members: Mutex<Vec<Weak<Meter>>>,
}

impl fmt::Debug for Pace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Pace")
    }
}

impl Pace {
    /// A pace that nobody keeps to yet; `bound` is the user's, in requests a second.
    pub(super) fn new(bound: Option<f64>, now: Instant) -> Self {
        Pace {
            base: now,
            closed_until: AtomicU64::new(0),
            pacings: AtomicU64::new(0),
            holds: AtomicBool::new(bound.is_some()),
            pacer: Mutex::new(Pacer::new(bound, now)),
            members: Mutex::default(),
        }
    }

    /// Counts what `meter` counts from now on.
    pub(super) fn add(&self, meter: &Arc<Meter>) {
        let mut members = self.members.lock();
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(meter));
    }

    /// Takes a turn, if turns are taken.
    pub(super) fn take(&self, now: Instant) -> Option<Number> {
        self.holds.load(Ordering::Acquire).then(|| {
            let mut pacer = self.pacer.lock();
            let number = pacer.take(now);
            self.holds.store(pacer.rate().is_some(), Ordering::Release);
            number
        })
    }

    /// When that turn comes as things stand, and whether what it waits for is the user's bound.
    pub(super) fn comes(&self, turn: Number, now: Instant) -> (Instant, bool) {
        let mut pacer = self.pacer.lock();
        (pacer.comes(turn, now), pacer.is_at_bound())
    }

    /// A turn that was taken is not used.
    pub(super) fn give_back(&self) {
        self.pacer.lock().give_back();
    }

    /// No request goes before `moment`.
    pub(super) fn close_until(&self, moment: Instant, now: Instant) {
        let nanoseconds = moment.saturating_duration_since(self.base).as_nanos();
        self.closed_until.fetch_max(u64::try_from(nanoseconds).unwrap_or(u64::MAX), Ordering::AcqRel);
        if self.holds.load(Ordering::Acquire) {
            self.pacer.lock().hold_until(moment, now);
        }
    }

    /// When the pause ends that holds now, or held last.
    pub(super) fn pause_end(&self) -> Option<Instant> {
        match self.closed_until.load(Ordering::Acquire) {
            0 => None,
            nanoseconds => self.base.checked_add(Duration::from_nanos(nanoseconds)),
        }
    }

    /// Takes note of a refusal, for throttling, of a request of the moment `sent`; gives the requests a second that go
    /// from now on if that is news.
    pub(super) fn throttled(&self, sent: Instant, now: Instant) -> Option<f64> {
        let admitted =
            self.members.lock().iter().filter_map(Weak::upgrade).map(|meter| meter.rate(now)).sum();
        let mut pacer = self.pacer.lock();
        let is_new = pacer.refused(admitted, sent, now);
        self.holds.store(true, Ordering::Release);
        if is_new {
            self.pacings.fetch_add(1, Ordering::Relaxed);
        }
        pacer.rate().filter(|_| is_new)
    }

    /// How often refusals began to hold it.
    pub(super) fn pacings(&self) -> u64 {
        self.pacings.load(Ordering::Relaxed)
    }

    /// Requests a second that go at most; None while nothing holds them back.
    pub(super) fn rate(&self) -> Option<f64> {
        if self.holds.load(Ordering::Acquire) { self.pacer.lock().rate() } else { None }
    }

    /// Whether refusals found a pace, or requests wait now for the user's bound.
    pub(super) fn holds_back(&self, now: Instant) -> bool {
        self.holds.load(Ordering::Acquire) && self.pacer.lock().holds_back(now)
    }

    /// When a refusal lowered it last; None while the service refuses nothing.
    pub(super) fn cut(&self) -> Option<Instant> {
        if self.holds.load(Ordering::Acquire) { self.pacer.lock().cut() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    #[test]
    fn the_first_guess_is_what_was_admitted_of_all() {
        let now = SystemClock.now();
        let pace = Pace::new(None, now);
        let meters = [Arc::new(Meter::new(now)), Arc::new(Meter::new(now))];
        meters.iter().for_each(|meter| pace.add(meter));
        let later = now + Duration::from_secs(1);
        for number in 0..100 {
            meters.iter().for_each(|meter| meter.count(now + Duration::from_millis(10 * number)));
        }
        let rate = pace.throttled(later, later).expect("the first refusal is news");
        assert!((160.0..200.0).contains(&rate), "{rate}");
        drop(meters);
        pace.add(&Arc::new(Meter::new(now)));
        assert_eq!(pace.members.lock().len(), 1, "who is gone is forgotten");
    }
}
