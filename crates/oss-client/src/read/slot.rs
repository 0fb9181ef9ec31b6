//! The place where a worker puts an outcome and a consumer finds it, and the bell that wakes the consumer.
//!
//! A consumer waits for one outcome at a time, the next in its order. Only the worker that finishes that one
//! rings, and only while the consumer says that it waits: an outcome that is ready before it is wanted costs no
//! system call on either side. A consumer whose next outcome is held up can ask to be woken as well when so many of
//! the others are ready that there may be nothing left to do for the workers.

use std::time::Duration;

use crate::error::Error;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, Mutex};

/// Nobody waits.
const NOBODY: u64 = u64::MAX;

/// The consumer waits for whichever outcome comes first.
const ANY: u64 = u64::MAX - 1;

/// Wakes the one consumer of a stream of slots.
#[derive(Debug)]
pub(crate) struct Bell {
    awaited: AtomicU64,
    /// Outcomes that are there and were not taken.
    ready: AtomicU64,
    /// How many of them wake a consumer that waits for another one.
    enough: AtomicU64,
    lock: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            awaited: AtomicU64::new(NOBODY),
            ready: AtomicU64::new(0),
            enough: AtomicU64::new(u64::MAX),
            lock: Mutex::new(()),
            rung: Condvar::new(),
        })
    }

    /// Outcomes that are there and were not taken.
    pub(crate) fn ready(&self) -> u64 {
        self.ready.load(Ordering::SeqCst)
    }

    /// Counts one that is about to be there. Whoever takes it counts it out again, and so never before.
    fn count_in(&self) -> u64 {
        self.ready.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Wakes the consumer if it waits for this one, or for as many as were `ready` with it.
    fn ring(&self, number: u64, ready: u64) {
        let awaited = self.awaited.load(Ordering::SeqCst);
        if awaited == number || awaited == ANY || ready == self.enough.load(Ordering::SeqCst) {
            // Taking the lock orders this ring after the consumer's last look, so that it cannot be missed.
            drop(self.lock.lock());
            self.rung.notify_one();
        }
    }

    /// Waits until `is_there` says so, at most `slice`; true if it does. Every outcome rings meanwhile.
    pub(crate) fn wait_any(&self, slice: Duration, is_there: impl Fn() -> bool) -> bool {
        self.wait(ANY, u64::MAX, slice, is_there)
    }

    fn wait(&self, number: u64, enough: u64, slice: Duration, is_there: impl Fn() -> bool) -> bool {
        self.enough.store(enough, Ordering::SeqCst);
        self.awaited.store(number, Ordering::SeqCst);
        let guard = self.lock.lock();
        if !is_there() && self.ready() < enough {
            drop(self.rung.wait_for(guard, slice));
        }
        self.awaited.store(NOBODY, Ordering::SeqCst);
        self.enough.store(u64::MAX, Ordering::SeqCst);
        is_there()
    }
}

/// One outcome of a worker, numbered within its stream.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    number: u64,
    done: AtomicBool,
    outcome: Mutex<Option<Result<T, Error>>>,
    bell: Arc<Bell>,
}

impl<T> Slot<T> {
    pub(crate) fn new(number: u64, bell: &Arc<Bell>) -> Arc<Self> {
        assert!(number < ANY, "the last two numbers mean any and nobody");
        Arc::new(Self {
            number,
            done: AtomicBool::new(false),
            outcome: Mutex::new(None),
            bell: Arc::clone(bell),
        })
    }

    /// Puts the outcome in and wakes the consumer if it waits for this one; if one is there already, it stays.
    pub(crate) fn put(&self, outcome: Result<T, Error>) {
        self.offer(outcome);
    }

    /// As [`Slot::put`]; false if another outcome was first.
    pub(crate) fn offer(&self, outcome: Result<T, Error>) -> bool {
        let mut held = self.outcome.lock();
        if self.is_done() {
            // What comes too late is dropped without the lock: it may be large.
            drop(held);
            return false;
        }
        *held = Some(outcome);
        let ready = self.bell.count_in();
        self.done.store(true, Ordering::SeqCst);
        drop(held);
        self.bell.ring(self.number, ready);
        true
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// Takes the outcome out; None before it is done, and after it was taken.
    pub(crate) fn take(&self) -> Option<Result<T, Error>> {
        let outcome = if self.is_done() { self.outcome.lock().take() } else { None };
        if outcome.is_some() {
            self.bell.ready.fetch_sub(1, Ordering::SeqCst);
        }
        outcome
    }

    /// As [`Slot::take`], if it is a `wanted` one; any other stays.
    pub(crate) fn take_if(&self, wanted: impl FnOnce(&Result<T, Error>) -> bool) -> Option<Result<T, Error>> {
        let is_wanted = self.is_done() && self.outcome.lock().as_ref().is_some_and(wanted);
        // There is one consumer, so it is the same outcome.
        if is_wanted { self.take() } else { None }
    }

    /// Waits until the outcome is there, at most `slice`; true if it is.
    pub(crate) fn wait(&self, slice: Duration) -> bool {
        self.wait_while_few(u64::MAX, slice)
    }

    /// As [`Slot::wait`], but no longer than until `enough` outcomes of the stream are ready.
    pub(crate) fn wait_while_few(&self, enough: u64, slice: Duration) -> bool {
        self.bell.wait(self.number, enough, slice, || self.is_done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_taken_once() {
        let slot = Slot::new(0, &Bell::new());
        assert!(slot.take().is_none());
        assert!(slot.offer(Ok(7)));
        assert!(!slot.offer(Ok(8)), "the first holds");
        assert_eq!(slot.take().unwrap().unwrap(), 7);
        assert!(!slot.offer(Ok(9)), "also once it was taken");
        assert!(slot.take().is_none());
    }

    #[test]
    fn a_consumer_whose_outcome_is_held_up_is_woken_when_enough_others_are_ready() {
        let bell = Bell::new();
        let slots: Vec<_> = (0..200).map(|number| Slot::new(number, &bell)).collect();
        let workers = slots[1..].to_vec();
        let thread = std::thread::Builder::new()
            .spawn(move || workers.iter().for_each(|slot| slot.put(Ok(slot.number))))
            .unwrap();
        for enough in [10, 50, 199] {
            assert!(!slots[0].wait_while_few(enough, Duration::from_secs(30)), "it never comes");
            assert!(bell.ready() >= enough);
        }
        thread.join().unwrap();
        slots[1..].iter().for_each(|slot| drop(slot.take()));
        assert_eq!(bell.ready(), 0);
    }

    #[test]
    fn a_waiting_consumer_is_woken_in_order() {
        let bell = Bell::new();
        let slots: Vec<_> = (0..2000).map(|number| Slot::new(number, &bell)).collect();
        let workers = slots.clone();
        let thread = std::thread::Builder::new()
            .spawn(move || workers.iter().for_each(|slot| slot.put(Ok(slot.number))))
            .unwrap();
        for (number, slot) in slots.iter().enumerate() {
            // A lost wake-up would show as a wait of a whole slice, here far beyond the test's patience.
            assert!(slot.wait(Duration::from_secs(30)));
            assert_eq!(slot.take().unwrap().unwrap(), number as u64);
        }
        thread.join().unwrap();
    }

    #[test]
    fn a_consumer_that_takes_any_is_woken_by_whichever_comes() {
        let bell = Bell::new();
        let slots: Vec<_> = (0..2000).map(|number| Slot::new(number, &bell)).collect();
        let workers = slots.clone();
        let thread = std::thread::Builder::new()
            .spawn(move || workers.iter().rev().for_each(|slot| slot.put(Ok(slot.number))))
            .unwrap();
        let mut left: Vec<_> = slots.iter().collect();
        while !left.is_empty() {
            assert!(bell.wait_any(Duration::from_secs(30), || left.iter().any(|slot| slot.is_done())));
            left.retain(|slot| slot.take().is_none());
        }
        thread.join().unwrap();
    }
}
