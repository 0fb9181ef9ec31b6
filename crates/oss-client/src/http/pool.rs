//! Idle connections, last in first out, and the bound on how many are in use.
//!
//! The most recently used connection is the least likely to have been closed and has the widest window.
//! A connection comes back only when its exchange ended without any doubt.
//!
//! A process that may open no more files works with the connections it has: the bound is then what is in use, for a
//! second at a time, and who needs a connection waits for one of those.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::dial::Origin;
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Arc, Condvar, Mutex};

/// Waits are cut into slices, to notice a cancelled operation.
const SLICE: Duration = Duration::from_millis(50);

/// A process that could open no more files is tried again after this long: a try that fails costs one system call.
const NARROW_FOR: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Shelf {
    origin: Arc<Origin>,
    idle: Vec<Connection>,
}

/// The connections of one process to one endpoint.
#[derive(Debug)]
pub(crate) struct Pool {
    shelves: Mutex<Vec<Shelf>>,
    in_use: AtomicUsize,
    most: usize,
    /// Set while no more files can be opened; `is_narrow` spares the lock at all other times.
    narrow: Mutex<Option<Narrow>>,
    is_narrow: AtomicBool,
    waiting: AtomicUsize,
    gate: Mutex<()>,
    freed: Condvar,
    idle_for: Duration,
    peek_after: Duration,
}

/// How many connections there can be, and until when that is believed.
#[derive(Clone, Copy, Debug)]
struct Narrow {
    most: usize,
    until: Instant,
}

/// The right to use one connection.
#[derive(Debug)]
pub(crate) struct Slot<'p>(&'p Pool);

/// Why there is no slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// All connections were busy until the deadline.
    Busy(usize),
    /// So were the few that a process has which may open no more files.
    Narrow(usize),
    /// The caller gave up.
    Cancelled,
}

impl Pool {
    /// Lets `most` connections be in use, and keeps idle ones for `idle_for`.
    pub(crate) fn new(most: u64, idle_for: Duration, peek_after: Duration) -> Self {
        Pool {
            shelves: Mutex::default(),
            in_use: AtomicUsize::new(0),
            most: usize::try_from(most).unwrap_or(usize::MAX).max(1),
            narrow: Mutex::new(None),
            is_narrow: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            gate: Mutex::new(()),
            freed: Condvar::new(),
            idle_for,
            peek_after,
        }
    }

    /// Waits until one more connection may be in use; `look` is called now and then while it waits.
    pub(crate) fn slot(
        &self,
        end: Instant,
        clock: &dyn Clock,
        cancel: &Cancel,
        look: impl FnMut(Instant),
    ) -> Result<Slot<'_>, NoSlot> {
        if self.try_slot(self.most_at(clock)) {
            return Ok(Slot(self));
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let outcome = self.wait_for_slot(end, clock, cancel, look);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        outcome
    }

    fn wait_for_slot(
        &self,
        end: Instant,
        clock: &dyn Clock,
        cancel: &Cancel,
        mut look: impl FnMut(Instant),
    ) -> Result<Slot<'_>, NoSlot> {
        let mut guard = self.gate.lock();
        loop {
            let most = self.most_at(clock);
            if self.try_slot(most) {
                return Ok(Slot(self));
            }
            if cancel.is_cancelled() {
                return Err(NoSlot::Cancelled);
            }
            let now = clock.now();
            look(now);
            let left = end.saturating_duration_since(now);
            if left.is_zero() {
                return Err(if most < self.most { NoSlot::Narrow(most) } else { NoSlot::Busy(most) });
            }
            guard = self.freed.wait_for(guard, left.min(SLICE));
        }
    }

    fn try_slot(&self, most: usize) -> bool {
        let one_more = |used: usize| (used < most).then_some(used + 1);
        self.in_use.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
    }

    /// How many connections may be in use now.
    fn most_at(&self, clock: &dyn Clock) -> usize {
        if !self.is_narrow.load(Ordering::Acquire) {
            return self.most;
        }
        let mut narrow = self.narrow.lock();
        match *narrow {
            Some(Narrow { most, until }) if clock.now() < until => most,
            _ => {
                *narrow = None;
                self.is_narrow.store(false, Ordering::Release);
                self.most
            }
        }
    }

    /// No more files can be opened: closes what is idle, or lets no more connections be in use than the others of
    /// this moment. False if neither helps, as the caller, who holds a slot, is the only one.
    pub(crate) fn make_do(&self, now: Instant) -> bool {
        let idle = std::mem::take(&mut *self.shelves.lock());
        if idle.iter().any(|shelf| !shelf.idle.is_empty()) {
            return true;
        }
        let others = self.in_use.load(Ordering::Acquire).saturating_sub(1);
        if others == 0 {
            return false;
        }
        *self.narrow.lock() = Some(Narrow { most: others, until: now + NARROW_FOR });
        self.is_narrow.store(true, Ordering::Release);
        true
    }

    /// Takes the connection that was used last, if it is young enough and, after some idleness, still quiet.
    /// `peek` looks at it however young it is.
    pub(crate) fn take(&self, origin: &Arc<Origin>, now: Instant, peek: bool) -> Option<Connection> {
        loop {
            let mut connection = self.pop(origin)?;
            let idle = now.saturating_duration_since(connection.idle_since);
            if idle >= self.idle_for {
                // The others of this shelf are older still.
                self.clear(origin);
                return None;
            }
            if (idle < self.peek_after && !peek) || connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    fn pop(&self, origin: &Arc<Origin>) -> Option<Connection> {
        let mut shelves = self.shelves.lock();
        shelves.iter_mut().find(|shelf| Arc::ptr_eq(&shelf.origin, origin))?.idle.pop()
    }

    fn clear(&self, origin: &Arc<Origin>) {
        let mut shelves = self.shelves.lock();
        let shelf = shelves.iter_mut().find(|shelf| Arc::ptr_eq(&shelf.origin, origin));
        let old = shelf.map(|shelf| std::mem::take(&mut shelf.idle));
        drop(shelves);
        drop(old);
    }

    /// Puts a connection back, and drops one that has been idle for too long.
    pub(crate) fn put(&self, origin: &Arc<Origin>, mut connection: Connection, now: Instant) {
        connection.idle_since = now;
        let mut shelves = self.shelves.lock();
        let index =
            shelves.iter().position(|shelf| Arc::ptr_eq(&shelf.origin, origin)).unwrap_or_else(|| {
                shelves.push(Shelf { origin: Arc::clone(origin), idle: Vec::new() });
                shelves.len() - 1
            });
        let idle = &mut shelves[index].idle;
        idle.push(connection);
        let is_old = now.saturating_duration_since(idle[0].idle_since) >= self.idle_for;
        let expired = (is_old || idle.len() > self.most).then(|| idle.remove(0));
        // Closing is a system call: not under the lock.
        drop(shelves);
        drop(expired);
    }

    /// Connections in use, and idle ones.
    pub(crate) fn fill(&self) -> (usize, usize) {
        let idle = self.shelves.lock().iter().map(|shelf| shelf.idle.len()).sum();
        (self.in_use.load(Ordering::Relaxed), idle)
    }

    /// Idle connections, for tests.
    #[cfg(test)]
    fn idle(&self) -> usize {
        self.shelves.lock().iter().map(|shelf| shelf.idle.len()).sum()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::AcqRel);
        if self.0.waiting.load(Ordering::Acquire) > 0 {
            drop(self.0.gate.lock());
            self.0.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::mem::MaybeUninit;

    use oss_protocol::crc64::Crc64;
    use oss_protocol::time::UtcTime;

    use super::*;
    use crate::cancel::Interrupt;
    use crate::clock::ManualClock;
    use crate::http::stream::Stream;

    /// A stream that is quiet or not, and otherwise never used.
    #[derive(Debug)]
    struct Idle {
        quiet: bool,
    }

    struct Nothing;

    impl Interrupt for Nothing {
        fn interrupt(&self) {}
    }

    impl Stream for Idle {
        fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn fill(&mut self, _into: &mut [MaybeUninit<u8>], _crc: Option<&mut Crc64>) -> io::Result<usize> {
            Ok(0)
        }

        fn send(&mut self, _pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            Ok(0)
        }

        fn is_quiet(&mut self) -> bool {
            self.quiet
        }

        fn has_answer(&mut self) -> bool {
            false
        }

        fn interrupt_handle(&self) -> Arc<dyn Interrupt> {
            Arc::new(Nothing)
        }
    }

    fn origin() -> Arc<Origin> {
        Arc::new(Origin { https: false, host: "h".to_owned(), port: 80 })
    }

    fn pool() -> Pool {
        Pool::new(2, Duration::from_secs(30), Duration::from_secs(1))
    }

    fn connection(quiet: bool, served: u64, now: Instant) -> Connection {
        let mut connection = Connection::new(Box::new(Idle { quiet }), now);
        connection.served = served;
        connection
    }

    #[test]
    fn the_last_one_in_is_the_first_one_out() {
        let (pool, origin, clock) = (pool(), origin(), ManualClock::new(UtcTime(0)));
        pool.put(&origin, connection(true, 1, clock.now()), clock.now());
        pool.put(&origin, connection(true, 2, clock.now()), clock.now());
        assert_eq!(pool.take(&origin, clock.now(), false).expect("one").served, 2);
        assert_eq!(pool.take(&origin, clock.now(), false).expect("another").served, 1);
        assert!(pool.take(&origin, clock.now(), false).is_none());
        let other = self::origin();
        pool.put(&origin, connection(true, 1, clock.now()), clock.now());
        assert!(pool.take(&other, clock.now(), false).is_none(), "another origin has its own");
    }

    #[test]
    fn old_connections_are_closed_and_doubtful_ones_looked_at() {
        let (pool, origin, clock) = (pool(), origin(), ManualClock::new(UtcTime(0)));
        pool.put(&origin, connection(false, 1, clock.now()), clock.now());
        clock.advance(Duration::from_millis(900));
        let young = pool.take(&origin, clock.now(), false).expect("young enough to be trusted");
        pool.put(&origin, young, clock.now());
        clock.advance(Duration::from_secs(2));
        assert!(pool.take(&origin, clock.now(), false).is_none(), "the peer closed it");
        pool.put(&origin, connection(true, 1, clock.now()), clock.now());
        clock.advance(Duration::from_secs(30));
        assert!(pool.take(&origin, clock.now(), false).is_none(), "too old");
        assert_eq!(pool.idle(), 0);
    }

    #[test]
    fn the_bound_is_kept_and_named() {
        let (pool, clock) = (pool(), ManualClock::new(UtcTime(0)));
        let cancel = Cancel::new();
        let first = pool.slot(clock.now(), &clock, &cancel, |_now| {}).expect("free");
        let _second = pool.slot(clock.now(), &clock, &cancel, |_now| {}).expect("free");
        assert_eq!(pool.slot(clock.now(), &clock, &cancel, |_now| {}).expect_err("full"), NoSlot::Busy(2));
        drop(first);
        assert!(pool.slot(clock.now(), &clock, &cancel, |_now| {}).is_ok());
    }

    #[test]
    fn test_f84_without_more_files_the_connections_there_are_have_to_do_for_a_while() {
        let pool = Pool::new(4, Duration::from_secs(30), Duration::from_secs(1));
        let (origin, clock, cancel) = (origin(), ManualClock::new(UtcTime(0)), Cancel::new());
        let slot = || pool.slot(clock.now(), &clock, &cancel, |_now| {});
        let (first, second) = (slot().expect("free"), slot().expect("free"));
        pool.put(&origin, connection(true, 1, clock.now()), clock.now());
        assert!(pool.make_do(clock.now()), "an idle connection was closed instead");
        assert_eq!(pool.idle(), 0);
        assert!(pool.make_do(clock.now()), "the other one has to do");
        drop(second);
        assert_eq!(slot().expect_err("one is in use"), NoSlot::Narrow(1));
        clock.advance(NARROW_FOR);
        drop(slot().expect("tried again after a while"));
        assert!(!pool.make_do(clock.now()), "there is no other one");
        drop(first);
    }
}
