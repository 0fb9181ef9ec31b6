//! Whole objects fetched ahead of a consumer and delivered in the order they were asked for, or as they arrive.
//!
//! The consuming thread calls [`Prefetch::top_up`], which lends memory for the next objects and puts their
//! requests in the workers' queue, and then [`Prefetch::try_next`]. Objects of known size are received straight
//! into memory the consumer lent; others into native buffers. Large objects are split into ranges. How far ahead
//! it goes is bounded twice: by the workers' window, and by the bytes that lie between asked for and delivered, which
//! all streams of a process share (`budget`). An object whose size is not known is booked by what others had, and by
//! its own size as soon as its answer tells it; before any answer has, no more than a window of them is asked for.
//!
//! While one object is held up, by a pause before its repetition or by a stalled connection, those behind it arrive,
//! and soon nothing would be left for the workers to do. So what is there already does not count against the window as
//! long as the consumer waits, within a quarter of the bytes.

mod asking;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use oss_protocol::uri::ObjectUri;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::fork;
use crate::heap;
use crate::lend::Lend;
use crate::objects::{ObjectRef, ObjectSource};
use crate::read::budget::Account;
use crate::read::course::{Arrival, Underway, nanoseconds};
use crate::read::engine::ReadEngine;
use crate::read::fetch::{self, Announced, Want, Whole};
use crate::read::hedge::{self, Allowance};
use crate::read::nap::{Calm, NAP, Naps};
use crate::read::plan::{self, LikelySize};
use crate::read::slot::{Bell, Slot};
use crate::stats::Counter;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Weak};
use crate::telling::crowd::{Reads, Stream, Told};
use crate::workers::Workers;

/// What to do when an object of the index is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Deliver a `NotFound` error in its place.
    Raise,
    /// Deliver [`Body::Missing`] in its place; it is counted.
    Skip,
}

/// What to do when an object was replaced after it was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Read it whole in its new version; it is counted.
    Reread,
    /// Deliver an `ObjectChanged` error in its place.
    Raise,
}

/// In which order objects are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// As they were asked for.
    InOrder,
    /// As they arrive.
    AsCompleted,
}

/// The body of a delivered object.
#[derive(Debug)]
pub enum Body<B> {
    /// In the memory that was lent for it.
    Lent(B),
    /// In native memory, as its size was not known beforehand, or had changed.
    Native(Vec<u8>),
    /// The object is not there, and the consumer said to skip such.
    Missing,
}

/// What [`Prefetch::try_next`] finds.
#[derive(Debug)]
pub enum Next<B> {
    /// The next object in order, or the error in its place.
    Ready(u64, Result<Body<B>, Error>),
    /// Not there yet.
    Pending,
    /// Everything was delivered.
    End,
}

struct Asked<B> {
    /// Where it is described, and at which position.
    source: Arc<dyn ObjectSource>,
    position: u64,
    slot: Arc<Slot<Arrival<B>>>,
    /// The bytes are a guess: the size was not known, and no answer has told it yet.
    is_guess: bool,
    /// One for each request of the object, for reading it again, and for its second request.
    cancels: Vec<Cancel>,
    underway: Arc<Underway>,
    hedged: bool,
    /// What its answer has told, until it is asked for again.
    announced: Option<Announced>,
    times_announced: u32,
}

/// A stream of whole objects in a defined order. Used by one consumer at a time.
pub struct Prefetch<B: Lend> {
    source: Arc<dyn ObjectSource>,
    positions: Box<dyn Iterator<Item = u64> + Send>,
    next_position: Option<u64>,
    missing: Missing,
    changed: Changed,
    completion: Completion,
    account: Arc<Account>,
    client: Client,
    workers: Workers,
    allowance: Arc<Allowance>,
    born: Instant,
    bell: Arc<Bell>,
    asked: VecDeque<Asked<B>>,
    asked_count: u64,
    /// How many of those asked for are booked by a guess.
    guesses: usize,
    /// How many of them are to be asked for again.
    announced: usize,
    /// There are some that nobody has looked after yet.
    is_announced_anew: bool,
    likely: LikelySize,
    /// What the streams of this engine have learned of sizes, for the next one.
    usual_bytes: Arc<AtomicU64>,
    /// Refusals for throttling that the window was told of.
    pacings: u64,
    naps: Naps,
    calm: Arc<Calm>,
    /// Until then no object is late, as the last look found.
    none_late_before: Option<Instant>,
    generation: u32,
    notes: Arc<Stream>,
}

impl<B: Lend> std::fmt::Debug for Prefetch<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefetch")
            .field("asked", &self.asked.len())
            .field("booked_bytes", &self.account.booked())
            .finish_non_exhaustive()
    }
}

impl<B: Lend> Prefetch<B> {
    /// Prepares to fetch the objects of `source` at `positions`, in that order; nothing is sent yet.
    ///
    /// # Errors
    /// `Forked` if the client cannot work in this process.
    pub fn new(
        engine: &ReadEngine,
        source: Arc<dyn ObjectSource>,
        positions: Box<dyn Iterator<Item = u64> + Send>,
        missing: Missing,
    ) -> Result<Self, Error> {
        heap::expect_traffic();
        let mut positions = positions;
        let next_position = positions.next();
        let account = Account::open(engine.client().config().limits.max_bytes_in_flight);
        let born = SystemClock.now();
        let notes = Stream::new(Reads::Objects(Arc::clone(&source)), account.bound(), born);
        engine.client().transport("prefetch")?.crowd.enter(Arc::downgrade(&notes) as Weak<dyn Told>);
        Ok(Self {
            source,
            positions,
            next_position,
            missing,
            changed: Changed::Reread,
            completion: Completion::InOrder,
            account,
            workers: engine.workers()?,
            client: engine.client().clone(),
            allowance: Arc::clone(engine.allowance()),
            born,
            bell: Bell::new(),
            asked: VecDeque::new(),
            asked_count: 0,
            guesses: 0,
            announced: 0,
            is_announced_anew: false,
            likely: LikelySize::beginning_with(engine.usual_bytes().load(Ordering::Relaxed)),
            usual_bytes: Arc::clone(engine.usual_bytes()),
            pacings: engine.client().pressure().pacings,
            naps: Naps::after(engine.calm()),
            calm: Arc::clone(engine.calm()),
            none_late_before: None,
            generation: fork::generation(),
            notes,
        })
    }

    /// Chooses what to do with replaced objects, and the order of delivery; before anything is asked for.
    #[must_use]
    pub fn with(mut self, changed: Changed, completion: Completion) -> Self {
        (self.changed, self.completion) = (changed, completion);
        self
    }

    /// Whether all objects were asked for: there is nothing to do for the wire once they have come.
    #[must_use]
    pub fn has_asked_all(&self) -> bool {
        self.next_position.is_none()
    }

    /// Goes on with the objects of `source` at `positions`, behind those that there are.
    ///
    /// # Errors
    /// `Internal` if not all of those were asked for: what is left of one source would be looked for in the other.
    pub fn extend(
        &mut self,
        source: Arc<dyn ObjectSource>,
        mut positions: Box<dyn Iterator<Item = u64> + Send>,
    ) -> Result<(), Error> {
        if !self.has_asked_all() {
            return Err(Error::internal(
                "prefetch",
                "there are objects before these that were not asked for",
            ));
        }
        self.next_position = positions.next();
        (self.source, self.positions) = (source, positions);
        Ok(())
    }

    /// Asks for as many of the next objects as window and budget allow; `lend` makes memory of a given size.
    ///
    /// Tops up in batches, so that the workers' queue is locked once for many objects.
    ///
    /// # Errors
    /// Those of `lend` and `Internal` for a position the index does not have, once all objects before that one were
    /// delivered; `Forked` in a child process.
    pub fn top_up<E: From<Error>>(&mut self, mut lend: impl FnMut(usize) -> Result<B, E>) -> Result<(), E> {
        if self.generation != fork::generation() {
            let text = "this iteration was begun in the parent process; iterate anew in this one";
            return Err(Error::new(ErrorKind::Forked, "prefetch", text).into());
        }
        self.heed_throttles();
        self.book_what_was_told();
        let width = self.workers.window();
        let window = plan::lookahead(width);
        let held_up = self.held_up();
        let mut jobs = Vec::new();
        self.ask_for_announced(&mut jobs, &mut lend)?;
        let is_enough = self.asked.len() > window - window / 4 + held_up;
        let outcome =
            if is_enough { Ok(()) } else { self.ask(window + held_up, width, &mut jobs, &mut lend) };
        if !jobs.is_empty() {
            self.tell_what_is_asked();
            self.workers.submit(jobs);
        }
        // What cannot be asked for now is tried again at the next call; until its turn comes, it is no failure.
        if self.asked.is_empty() { outcome } else { Ok(()) }
    }

    /// How many objects are there already, and wait for one before them that is not.
    fn held_up(&self) -> usize {
        let is_held_up = self.completion == Completion::InOrder
            && self.account.booked() <= self.account.bound() / HELD_UP_SHARE
            && self.asked.front().is_some_and(|first| !first.slot.is_done());
        if !is_held_up {
            return 0;
        }
        usize::try_from(self.bell.ready()).unwrap_or(usize::MAX).min(MOST_HELD_UP)
    }

    /// Narrows the window when the service asked to slow down since the last look. From then on requests are paced,
    /// which holds the rate; later refusals are the pace being tried, and the window is free to grow again.
    fn heed_throttles(&mut self) {
        let pacings = self.client.pressure().pacings;
        if pacings > self.pacings {
            self.pacings = pacings;
            self.workers.throttled();
        }
    }

    /// Takes the next object, if it is there.
    pub fn try_next(&mut self) -> Next<B> {
        if self.asked.is_empty() {
            return if self.next_position.is_none() { Next::End } else { Next::Pending };
        }
        let Some(number) = self.deliverable() else { return Next::Pending };
        let outcome = match self.asked[number].slot.take() {
            None => return Next::Pending,
            Some(Ok(Arrival::Announced(announced))) => {
                self.note_announced(number, announced);
                return Next::Pending;
            }
            Some(Ok(Arrival::Body(body))) => Ok(body),
            Some(Err(error)) => Err(error),
        };
        self.no_guess_any_more(number, self.asked[number].underway.size());
        let Some(asked) = self.asked.remove(number) else { return Next::Pending };
        asked.underway.booking().end();
        if asked.hedged {
            // One of the two is still on its way.
            asked.cancels.iter().for_each(Cancel::cancel);
        }
        self.notes.delivered(self.asked.len(), self.account.booked(), SystemClock.now());
        Next::Ready(asked.position, outcome)
    }

    /// Finds an object that may be delivered now: the first, or any that has arrived.
    fn deliverable(&self) -> Option<usize> {
        let among = match self.completion {
            Completion::InOrder => 1,
            Completion::AsCompleted => self.asked.len(),
        };
        self.asked.iter().take(among).position(|asked| asked.announced.is_none() && asked.slot.is_done())
    }

    /// Waits for the next object, at most `slice`; true if it is there. Asks again for what is late. A wait also ends,
    /// with false, when there is room to [`Prefetch::top_up`].
    pub fn wait(&mut self, slice: Duration) -> bool {
        let begun = SystemClock.now();
        self.notes.waits(begun);
        if self.is_announced_anew {
            return false;
        }
        if self.asked.is_empty() || self.workers.run_one() {
            return true;
        }
        // Before a nap, so that what gets ready meanwhile counts.
        let width = self.workers.window();
        let enough = self.wakes_when_ready(width);
        if self.naps.are_due(self.asked.len(), width) {
            SystemClock.sleep_until(begun + NAP.min(slice));
        }
        let is_there = self.deliverable().is_some() || self.wait_for_the_bell(enough, slice);
        self.naps.waited(is_there.then(|| SystemClock.now().saturating_duration_since(begun)));
        is_there
    }

    fn wait_for_the_bell(&mut self, enough: u64, slice: Duration) -> bool {
        let slice = self.ask_again_for_late().map_or(slice, |next| next.min(slice));
        match self.completion {
            Completion::InOrder => {
                self.asked.front().is_none_or(|first| first.slot.wait_while_few(enough, slice))
            }
            Completion::AsCompleted => self.bell.wait_any(slice, || self.deliverable().is_some()),
        }
    }

    /// How many objects must be ready for a consumer that waits for another one to be woken, to ask for more.
    fn wakes_when_ready(&self, width: usize) -> u64 {
        let ready = self.bell.ready();
        let is_full =
            self.account.booked() > self.account.bound() / HELD_UP_SHARE || self.next_position.is_none();
        if is_full || ready >= MOST_HELD_UP as u64 {
            return u64::MAX;
        }
        ready + (width as u64 / 2).max(1)
    }

    /// Sends a second request for each object that is late; returns the time until another may be, if one may.
    fn ask_again_for_late(&mut self) -> Option<Duration> {
        let now = SystemClock.now();
        if self.none_late_before.is_none_or(|moment| moment <= now) {
            self.none_late_before = self.look_for_late(now).map(|left| now + left.max(LOOK_AGAIN));
        }
        self.none_late_before.map(|moment| moment.saturating_duration_since(now))
    }

    fn look_for_late(&mut self, now: Instant) -> Option<Duration> {
        let age = nanoseconds(self.born, now);
        let mut soonest = None;
        for number in 0..self.asked.len() {
            let asked = &self.asked[number];
            let bytes = asked.underway.booking().bytes();
            if asked.hedged || bytes > hedge::MAX_BYTES || asked.slot.is_done() {
                continue;
            }
            let Some(times) = self.client.usual_times(bytes) else { continue };
            let elapsed = asked.underway.begun().map_or(0, |begun| age.saturating_sub(begun));
            let elapsed = Duration::from_nanos(elapsed);
            let left = hedge::late_after(times).saturating_sub(elapsed);
            // The first one is what everything waits for.
            let is_due = |allowance: &Allowance| {
                allowance.spend(bytes) || (number == 0 && elapsed >= hedge::AT_ANY_PRICE_AFTER)
            };
            if left.is_zero() && self.may_hedge() && is_due(&self.allowance) {
                self.hedge(number);
            } else {
                soonest = Some(soonest.map_or(left, |soonest: Duration| soonest.min(left)));
            }
        }
        soonest
    }

    /// A service that pushes back gets no second requests, nor does a bound of the user that holds requests back.
    fn may_hedge(&self) -> bool {
        let pressure = self.client.pressure();
        !pressure.slow_mode && !pressure.holds_back
    }

    fn hedge(&mut self, number: usize) {
        let asked = &mut self.asked[number];
        let Some(object) = asked.source.object(asked.position) else { return };
        let want = want(object);
        let cancel = Cancel::new();
        let first = asked.cancels.clone();
        asked.cancels.push(cancel.clone());
        asked.hedged = true;
        let (client, slot) = (self.client.clone(), Arc::clone(&asked.slot));
        self.workers.submit_first(Box::new(move || {
            if slot.is_done() {
                return 0;
            }
            client.count(Counter::HedgesSent);
            // Only a whole answer counts: what to do about any other is the first request's affair.
            let takes = |size_bytes| size_bytes <= hedge::MAX_BYTES;
            let fetched = fetch::guarded(|| fetch::into_scratch(&client, &want, &cancel, &takes));
            let Ok(Whole::Received(bytes)) = fetched else { return 0 };
            let received = bytes.len() as u64;
            if slot.offer(Ok(Arrival::Body(Body::Native(bytes)))) {
                client.count(Counter::HedgesWon);
                first.iter().for_each(Cancel::cancel);
            }
            received
        }));
    }

    /// Gives up what was asked for, the last first: a worker that is cut off takes the next job, and is to find it
    /// given up already.
    fn cancel(&self) {
        self.asked.iter().rev().flat_map(|asked| &asked.cancels).for_each(Cancel::cancel);
    }

    /// How many objects were asked for and not yet delivered.
    #[must_use]
    pub fn ahead(&self) -> usize {
        self.asked.len()
    }

    /// Gives up: what is in flight is cut off, and its memory given back, within `patience`.
    ///
    /// Memory that a worker still holds after that is freed by the worker.
    pub fn close(&mut self, patience: Duration) {
        self.next_position = None;
        self.cancel();
        let end = SystemClock.now() + patience;
        for asked in self.asked.drain(..) {
            let left = end.saturating_duration_since(SystemClock.now());
            if !asked.slot.is_done() && !left.is_zero() {
                asked.slot.wait(left);
            }
        }
        (self.guesses, self.announced, self.is_announced_anew) = (0, 0, false);
        self.notes.asked(0, 0, 0);
    }
}

impl<B: Lend> Drop for Prefetch<B> {
    fn drop(&mut self) {
        self.naps.hand_on(&self.calm);
        self.cancel();
    }
}

/// While one object is held up, others may be asked for until they take this part of the bytes: at 2 GB/s that is what
/// arrives before the one is late and was asked for again.
const HELD_UP_SHARE: u64 = 4;

/// Objects that are there already do not count against the window, up to this many.
const MOST_HELD_UP: usize = 2048;

/// Time between two looks for objects that are late, at least.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

fn want(object: ObjectRef<'_>) -> Want {
    Want {
        uri: ObjectUri { bucket: object.bucket.to_owned(), key: object.key.to_owned() },
        range: None,
        etag: object.etag.map(str::to_owned),
        size: object.size,
        damaged_before: 0,
        is_sample: true,
    }
}

#[cfg(test)]
mod tests {
    use oss_protocol::sign::Credentials;
    use oss_protocol::uri::Endpoint;

    use super::*;
    use crate::config::ClientConfig;
    use crate::credentials::StaticProvider;
    use crate::lend::Scratch;
    use crate::objects::OneObject;

    #[test]
    fn closing_takes_its_patience_once_however_many_are_stuck() {
        let config = ClientConfig::new(Endpoint::parse("http://127.0.0.1:1").expect("an endpoint"), "cn-x");
        let credentials = Credentials::new("id", "secret", None);
        let provider = Arc::new(StaticProvider::new(credentials).expect("credentials"));
        let engine = ReadEngine::new(Client::new(config, provider).expect("a client"), 4);
        let uri = ObjectUri::parse("oss://b/k").expect("a location");
        let source = Arc::new(OneObject { uri, size: None, etag: None });
        let mut prefetch: Prefetch<Scratch> =
            Prefetch::new(&engine, source, Box::new(std::iter::empty()), Missing::Raise).expect("no fork");
        for number in 0..100 {
            let slot = Slot::new(number, &prefetch.bell);
            let asked = Asked {
                source: Arc::clone(&prefetch.source),
                position: number,
                slot,
                is_guess: false,
                cancels: Vec::new(),
                underway: Arc::new(Underway::new(prefetch.account.book_anyway(1, false))),
                hedged: false,
                announced: None,
                times_announced: 0,
            };
            prefetch.asked.push_back(asked);
        }
        let started = SystemClock.now();
        prefetch.close(Duration::from_millis(50));
        assert!(SystemClock.now() - started < Duration::from_secs(2), "100 times the patience is 5 s");
        assert_eq!(prefetch.ahead(), 0);
    }
}
