//! The bytes that the streams of a process keep ahead, and the bound that all of them keep together.
//!
//! The bound is `network.maxBytesInFlight`; each stream heeds that of its own client. Up to it who comes first is
//! served. Beyond it a stream still gets its part, the bound divided by the streams there are, so that one that is read
//! does not stand behind one that lies idle with all it holds. What is asked for counts from then until it is
//! delivered, or until the worker that brings it has noticed that nobody wants it any more.
//!
//! An object whose size nobody knows is booked by a guess, within three quarters of the bound: what is left is for
//! those that turn out to be larger than the guess. A worker that hears a size for which there is no room must not
//! receive it.
//!
//! A child of a fork has none of its parent's streams and counts anew.

use crate::fork::ForkCell;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};

/// Of all streams of a process.
#[derive(Debug, Default)]
struct Process {
    booked: AtomicU64,
    streams: AtomicU64,
}

static PROCESS: ForkCell<Process> = ForkCell::new();

/// What one stream has booked; its end gives everything back.
#[derive(Debug)]
pub(super) struct Account {
    process: Arc<Process>,
    bound: u64,
    booked: AtomicU64,
}

impl Account {
    /// A stream of this process begins, of a client with this bound.
    pub(super) fn open(bound: u64) -> Arc<Self> {
        let process = PROCESS.get(Process::default);
        // Deeper in forks than anything works, it counts for itself.
        Self::of(&process.cloned().unwrap_or_default(), bound)
    }

    fn of(process: &Arc<Process>, bound: u64) -> Arc<Self> {
        process.streams.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self { process: Arc::clone(process), bound, booked: AtomicU64::new(0) })
    }

    /// The bound of its client, in bytes.
    pub(super) fn bound(&self) -> u64 {
        self.bound
    }

    /// Bytes that it has booked.
    pub(super) fn booked(&self) -> u64 {
        self.booked.load(Ordering::Relaxed)
    }

    /// Books an object of this size, or one that likely has it, if there is room.
    pub(super) fn book(self: &Arc<Self>, bytes: u64, is_guess: bool) -> Option<Booking> {
        let bound = if is_guess { self.bound_of_guesses() } else { self.bound };
        self.take(bytes, bound).then(|| Booking::of(self, bytes, is_guess))
    }

    /// As [`Account::book`] for an object that the stream cannot do without, whether or not there is room.
    pub(super) fn book_anyway(self: &Arc<Self>, bytes: u64, is_guess: bool) -> Booking {
        self.booked.fetch_add(bytes, Ordering::Relaxed);
        self.process.booked.fetch_add(bytes, Ordering::AcqRel);
        Booking::of(self, bytes, is_guess)
    }

    fn bound_of_guesses(&self) -> u64 {
        self.bound - self.bound / 4
    }

    /// Books, if all streams stay within `bound` with it, or this one within its part of that.
    fn take(&self, bytes: u64, bound: u64) -> bool {
        let within = |bound: u64| move |booked: u64| booked.checked_add(bytes).filter(|sum| *sum <= bound);
        let all = &self.process.booked;
        if all.fetch_update(Ordering::AcqRel, Ordering::Relaxed, within(bound)).is_ok() {
            self.booked.fetch_add(bytes, Ordering::Relaxed);
            return true;
        }
        let part = bound / self.process.streams.load(Ordering::Acquire).max(1);
        let is_within = self.booked.fetch_update(Ordering::AcqRel, Ordering::Relaxed, within(part)).is_ok();
        if is_within {
            all.fetch_add(bytes, Ordering::AcqRel);
        }
        is_within
    }

    fn give_back(&self, bytes: u64) {
        self.booked.fetch_sub(bytes, Ordering::Relaxed);
        self.process.booked.fetch_sub(bytes, Ordering::AcqRel);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.process.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What one object has booked; dropped, it gives that back.
///
/// Lock order: nothing is called while its lock is held but the account, which has none.
#[derive(Debug)]
pub(super) struct Booking {
    account: Arc<Account>,
    booked: Mutex<Booked>,
}

#[derive(Debug)]
struct Booked {
    bytes: u64,
    is_guess: bool,
}

impl Booking {
    fn of(account: &Arc<Account>, bytes: u64, is_guess: bool) -> Self {
        Self { account: Arc::clone(account), booked: Mutex::new(Booked { bytes, is_guess }) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.booked.lock().bytes
    }

    /// The object has this size. False if there is no room for it: then nothing is booked for it any more.
    pub(super) fn told(&self, bytes: u64) -> bool {
        let mut booked = self.booked.lock();
        booked.is_guess = false;
        let has_room = self.change(&mut booked, bytes, self.account.bound);
        if !has_room {
            self.change(&mut booked, 0, 0);
        }
        has_room
    }

    /// It likely has this size, unless more is known by now; more is booked only where there is room.
    pub(super) fn guess(&self, bytes: u64) {
        let mut booked = self.booked.lock();
        if booked.is_guess {
            self.change(&mut booked, bytes, self.account.bound_of_guesses());
        }
    }

    /// The object was delivered.
    pub(super) fn end(&self) {
        let mut booked = self.booked.lock();
        booked.is_guess = false;
        self.change(&mut booked, 0, 0);
    }

    fn change(&self, booked: &mut Booked, bytes: u64, bound: u64) -> bool {
        match bytes.checked_sub(booked.bytes) {
            Some(more) if !self.account.take(more, bound) => return false,
            Some(_) => {}
            None => self.account.give_back(booked.bytes - bytes),
        }
        booked.bytes = bytes;
        true
    }
}

impl Drop for Booking {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts<const COUNT: usize>(bound: u64) -> [Arc<Account>; COUNT] {
        let process = Arc::default();
        [(); COUNT].map(|()| Account::of(&process, bound))
    }

    #[test]
    fn streams_keep_one_bound_together_and_whoever_comes_late_gets_a_part() {
        let [first, second] = accounts(100);
        let held: Vec<_> = (0..10).filter_map(|_| first.book(10, false)).collect();
        assert_eq!((held.len(), first.booked()), (10, 100), "alone it may have all");
        assert!(first.book(1, false).is_none());
        let part: Vec<_> = (0..10).map_while(|_| second.book(10, false)).collect();
        assert_eq!(part.len(), 5, "half, though the first holds all");
        drop(held);
        assert_eq!((first.booked(), second.booked()), (0, 50));
        let more: Vec<_> = (0..10).map_while(|_| second.book(10, false)).collect();
        assert_eq!(more.len(), 5, "what the first does not use");
        drop((part, more));
        assert_eq!(first.process.booked.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_stream_that_ends_leaves_its_part() {
        let [first, second] = accounts(100);
        let _held = first.book(100, false);
        drop(second);
        assert!(first.book(1, false).is_none());
        let third = Account::of(&first.process, 100);
        assert!(third.book(51, false).is_none());
        assert!(third.book(50, false).is_some(), "two are there, not three");
    }

    #[test]
    fn guesses_leave_a_quarter_to_what_is_larger() {
        let [account] = accounts(100);
        let guesses: Vec<_> = (0..10).map_while(|_| account.book(15, true)).collect();
        assert_eq!(guesses.len(), 5);
        assert!(guesses[0].told(30));
        assert!(guesses[1].told(25) && account.booked() == 100);
        assert!(!guesses[2].told(16), "there is no room");
        assert_eq!((guesses[2].bytes(), account.booked()), (0, 85), "it is not received, so it takes none");
        assert!(guesses[3].told(1));
        guesses[4].guess(90);
        assert_eq!(guesses[4].bytes(), 15, "no more is booked than there is room for");
        guesses[4].guess(5);
        guesses[3].guess(50);
        assert_eq!(account.booked(), 30 + 25 + 1 + 5, "what is told is no guess");
    }

    #[test]
    fn what_a_stream_cannot_do_without_is_booked_beyond_the_bound() {
        let [account] = accounts(100);
        let large = account.book_anyway(1000, false);
        assert!(account.book(1, false).is_none());
        large.end();
        large.end();
        assert!(account.book(100, false).is_some());
    }
}
