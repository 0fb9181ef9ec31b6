//! Where a part that was asked for ahead of its read lands: in memory of its own, or where the reader wants it.
//!
//! A program that reads a large object call by call mostly comes back at once. A part that its next call will likely
//! ask for waits a moment for that call when its answer begins; meanwhile its bytes arrive in the buffer of their
//! socket. If the call comes, the part is received straight into the caller's memory and is never copied.

use std::fmt;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::lend::{Lend as _, Scratch};
use crate::operations::{BodySink, GotObject};
use crate::read::fetch;
use crate::sync::{Condvar, Mutex};

/// How long a part waits for a caller who has gone: a loop that only counts what it got is back in microseconds, and
/// for one that works on it the part is to be there when it comes.
const ABSENCE: Duration = Duration::from_millis(1);

/// How long a part waits for a caller who is still busy with the call before: about as long as a fair share of the
/// wire takes to fill the buffer of its socket, so that nothing stands still meanwhile.
const PATIENCE: Duration = Duration::from_millis(50);

/// A place in somebody's memory for the whole body of one part.
pub(crate) trait Room: Send {
    /// The same address and length at every call.
    fn memory(&mut self) -> &mut [MaybeUninit<u8>];

    /// Gives the room back; it is filled unless `outcome` is an error.
    fn end(self: Box<Self>, outcome: Result<GotObject, Error>);
}

enum Place {
    /// To be had by the reader. When the caller leaves, the moment from which on it is too late is set.
    Open(Option<Instant>),
    Lent(Box<dyn Room>),
    /// Its own memory, or a room that was taken already: nothing changes any more.
    Settled,
}

/// The place of one part, for the worker that receives it and the reader that may want it elsewhere.
pub(crate) struct Landing {
    place: Mutex<Place>,
    changed: Condvar,
}

impl fmt::Debug for Landing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self.place.lock() {
            Place::Open(_) => "Open",
            Place::Lent(_) => "Lent",
            Place::Settled => "Settled",
        };
        write!(out, "Landing({name})")
    }
}

impl Landing {
    /// A part that the caller's next call likely asks for.
    pub(crate) const fn open() -> Self {
        Self { place: Mutex::new(Place::Open(None)), changed: Condvar::new() }
    }

    /// A part that nobody will ask for soon.
    pub(crate) const fn settled() -> Self {
        Self { place: Mutex::new(Place::Settled), changed: Condvar::new() }
    }

    /// Lets the part be received into `room`, which its worker ends; gives it back when it is too late for that.
    pub(crate) fn lend<R: Room + 'static>(&self, room: R) -> Result<(), R> {
        let mut place = self.place.lock();
        if !matches!(*place, Place::Open(_)) {
            return Err(room);
        }
        *place = Place::Lent(Box::new(room));
        self.changed.notify_one();
        Ok(())
    }

    /// The caller goes; the part waits for the next call, but not for long.
    pub(crate) fn leave(&self, now: Instant) {
        if let Place::Open(until) = &mut *self.place.lock() {
            *until = Some(now + ABSENCE);
            self.changed.notify_one();
        }
    }

    /// No call is going to lend it room: it lands in its own memory.
    pub(crate) fn settle(&self) {
        let mut place = self.place.lock();
        if let Place::Open(_) = *place {
            *place = Place::Settled;
            self.changed.notify_one();
        }
    }

    /// Waits, as the worker whose answer begins, for room to be lent; None: the part's own memory takes it.
    pub(crate) fn wait(&self, clock: &dyn Clock) -> Option<Box<dyn Room>> {
        let latest = clock.now() + PATIENCE;
        let mut place = self.place.lock();
        while let Place::Open(until) = *place {
            let until = until.map_or(latest, |until| until.min(latest));
            if clock.now() >= until {
                break;
            }
            place = self.changed.wait_until(place, until, clock);
        }
        Self::take(&mut place)
    }

    /// The room that was lent and not taken yet, as the worker whose request has ended; no more can be lent.
    pub(crate) fn end(&self) -> Option<Box<dyn Room>> {
        Self::take(&mut self.place.lock())
    }

    fn take(place: &mut Place) -> Option<Box<dyn Room>> {
        match std::mem::replace(place, Place::Settled) {
            Place::Lent(room) => Some(room),
            Place::Open(_) | Place::Settled => None,
        }
    }
}

/// Receives a part into the room that its landing was lent, or into memory of its own.
pub(crate) struct LandingSink<'a> {
    landing: &'a Landing,
    room: Option<Box<dyn Room>>,
    memory: Scratch,
}

impl<'a> LandingSink<'a> {
    pub(crate) fn new(landing: &'a Landing, memory: Scratch) -> Self {
        Self { landing, room: None, memory }
    }

    /// The room to be ended, or else its own memory. It may have been lent after the request failed.
    pub(crate) fn into_place(self) -> Result<Box<dyn Room>, Scratch> {
        self.room.or_else(|| self.landing.end()).ok_or(self.memory)
    }
}

impl BodySink for LandingSink<'_> {
    fn begin(&mut self, body_bytes: u64) -> Result<(), Error> {
        // Begun again, the body goes where it went before.
        self.room = self.room.take().or_else(|| self.landing.wait(&SystemClock));
        if self.room.is_some() || usize::try_from(body_bytes).is_ok_and(|bytes| self.memory.reserve(bytes)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::OutOfMemory, "GetObject", "no memory to read ahead"))
    }

    fn memory(&mut self, received: u64) -> &mut [MaybeUninit<u8>] {
        let memory = match &mut self.room {
            Some(room) => room.memory(),
            None => self.memory.memory(),
        };
        fetch::behind(memory, received)
    }

    fn wants_crc(&self) -> bool {
        self.room.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::sync::{Arc, spawn};
    use oss_protocol::time::UtcTime;

    /// Longer than a test lasts.
    const LONG: Duration = Duration::from_secs(60);

    #[derive(Debug)]
    struct Bed(mpsc::Sender<ErrorKind>);

    impl Room for Bed {
        fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
            Default::default()
        }

        fn end(self: Box<Self>, outcome: Result<GotObject, Error>) {
            let kind = outcome.map_or_else(|error| error.kind.clone(), |_| ErrorKind::Internal);
            self.0.send(kind).unwrap();
        }
    }

    /// A clock whose waits end by a signal alone, or at once, when their moment has come.
    #[derive(Debug)]
    struct Waits {
        clock: ManualClock,
        end_at_once: bool,
    }

    impl Clock for Waits {
        fn now(&self) -> Instant {
            self.clock.now()
        }

        fn wall(&self) -> UtcTime {
            self.clock.wall()
        }

        fn sleep_until(&self, moment: Instant) {
            self.clock.sleep_until(moment);
        }

        fn left_until(&self, moment: Instant) -> Duration {
            if !self.end_at_once {
                return LONG;
            }
            self.sleep_until(moment);
            Duration::ZERO
        }
    }

    fn clock() -> Waits {
        Waits { clock: ManualClock::new(UtcTime(1_000_000)), end_at_once: true }
    }

    #[test]
    fn room_that_was_lent_is_taken_once() {
        let (told, ends) = mpsc::channel();
        let landing = Landing::open();
        landing.lend(Bed(told.clone())).unwrap();
        assert!(landing.lend(Bed(told.clone())).is_err(), "there is one body");
        landing.settle();
        landing.wait(&clock()).expect("it was lent before").end(Err(Error::cancelled("GetObject")));
        assert_eq!(ends.recv().unwrap(), ErrorKind::Cancelled);
        assert!(landing.end().is_none());
        assert!(landing.lend(Bed(told)).is_err(), "it is too late");
    }

    #[test]
    fn a_request_that_failed_before_its_answer_ends_the_room_all_the_same() {
        let (told, _ends) = mpsc::channel();
        let landing = Landing::open();
        landing.lend(Bed(told)).unwrap();
        assert!(landing.end().is_some());
    }

    #[test]
    fn nobody_waits_where_no_call_is_expected() {
        let landing = Landing::settled();
        assert!(landing.wait(&clock()).is_none());
    }

    #[test]
    fn who_waits_for_a_caller_does_not_wait_for_ever() {
        let (landing, clock) = (Landing::open(), clock());
        let began = clock.now();
        assert!(landing.wait(&clock).is_none());
        assert_eq!(clock.now() - began, PATIENCE);
        let (told, _ends) = mpsc::channel();
        assert!(landing.lend(Bed(told)).is_err(), "its own memory takes it");
    }

    #[test]
    fn it_waits_less_for_a_caller_who_has_gone() {
        let (landing, clock) = (Landing::open(), clock());
        let began = clock.now();
        landing.leave(began);
        assert!(landing.wait(&clock).is_none());
        assert_eq!(clock.now() - began, ABSENCE);
    }

    #[test]
    fn who_waits_is_woken() {
        let (told, _ends) = mpsc::channel();
        for is_lent in [true, false] {
            let landing = Arc::new(Landing::open());
            let waiting = Arc::clone(&landing);
            let clock = Waits { end_at_once: false, ..clock() };
            let worker = spawn("worker", move || waiting.wait(&clock).is_some()).unwrap();
            if is_lent {
                landing.lend(Bed(told.clone())).unwrap();
            } else {
                landing.settle();
            }
            assert_eq!(worker.join().unwrap(), is_lent);
        }
    }
}
