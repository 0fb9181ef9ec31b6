//! The way of one object of a stream: from its request to its slot, and what is told of it meanwhile.

use std::time::Instant;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::lend::Lend;
use crate::read::budget::Booking;
use crate::read::fetch::{self, Announced, Want, Whole};
use crate::read::hedge::Allowance;
use crate::read::plan;
use crate::read::prefetch::{Body, Changed, Missing};
use crate::read::scatter::{self, Scattered};
use crate::read::slot::Slot;
use crate::stats::Counter;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// An object that is replaced each time after its answer has announced it is asked for so often.
const MOST_ANNOUNCED: u32 = 3;

/// What came of one object, besides an error.
#[derive(Debug)]
pub(super) enum Arrival<B> {
    /// What the consumer gets.
    Body(Body<B>),
    /// Its size and version alone: it is to be asked for again.
    Announced(Announced),
}

/// What the workers tell of an object that is on its way, and what is booked for it.
#[derive(Debug)]
pub(super) struct Underway {
    booking: Booking,
    /// Nanoseconds of the stream's life when a worker began with it; 0 = not yet.
    begun: AtomicU64,
    /// One more than the bytes that its answer announced; 0 = not yet.
    size_and_one: AtomicU64,
    /// It is not received in the way that it was asked for.
    is_declined: AtomicBool,
}

impl Underway {
    pub(super) fn new(booking: Booking) -> Self {
        let (begun, size_and_one) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { booking, begun, size_and_one, is_declined: AtomicBool::new(false) }
    }

    /// What is booked for it.
    pub(super) fn booking(&self) -> &Booking {
        &self.booking
    }

    /// A worker begins with it now, in a stream that was `born` then.
    pub(super) fn begin(&self, born: Instant) {
        self.begun.store(nanoseconds(born, SystemClock.now()).max(1), Ordering::Relaxed);
    }

    /// Nanoseconds of the stream's life when a worker began with it.
    pub(super) fn begun(&self) -> Option<u64> {
        Some(self.begun.load(Ordering::Relaxed)).filter(|&begun| begun > 0)
    }

    /// Its answer tells its size; whether it is to be received as it comes. Large ones come in parts.
    fn takes(&self, size_bytes: u64) -> bool {
        let takes = size_bytes <= plan::SPLIT_ABOVE_BYTES && self.booking.told(size_bytes);
        if !takes {
            self.booking.end();
        }
        self.is_declined.store(!takes, Ordering::Relaxed);
        self.size_and_one.store(size_bytes.saturating_add(1), Ordering::Release);
        takes
    }

    /// Whether it was found, with its size, that it is not to be received as it comes.
    pub(super) fn is_declined(&self) -> bool {
        self.is_declined.load(Ordering::Relaxed)
    }

    /// Its size, once an answer has told it to a reader that did not know it.
    pub(super) fn size(&self) -> Option<u64> {
        self.size_and_one.load(Ordering::Acquire).checked_sub(1)
    }
}

pub(super) fn nanoseconds(born: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(born).as_nanos()).unwrap_or(u64::MAX)
}

/// The way of one object from its request to its slot.
pub(super) struct Course<B> {
    pub(super) client: Client,
    /// What arrives pays for second requests.
    pub(super) allowance: Arc<Allowance>,
    pub(super) cancel: Cancel,
    pub(super) missing: Missing,
    pub(super) changed: Changed,
    /// How often an answer had announced it before.
    pub(super) times_announced: u32,
    pub(super) slot: Arc<Slot<Arrival<B>>>,
    pub(super) underway: Arc<Underway>,
}

impl<B: Lend> Course<B> {
    /// Receives into lent memory of its size; returns the bytes received.
    pub(super) fn run_lent(self, want: &Want, buffer: B) -> u64 {
        let outcome = fetch::guarded(|| fetch::into_lent(&self.client, want, buffer, &self.cancel));
        let outcome = outcome.map(|fetched| Arrival::Body(Body::Lent(fetched.buffer)));
        self.settle(want, outcome, want.size.unwrap_or(0))
    }

    /// Receives into native memory, as the size is not known; returns the bytes received.
    pub(super) fn run_native(self, want: &Want) -> u64 {
        let outcome = fetch::guarded(|| self.scratch(want));
        let bytes = match &outcome {
            Ok(Arrival::Body(Body::Native(bytes))) => bytes.len() as u64,
            _ => 0,
        };
        self.settle(want, outcome, bytes)
    }

    /// Checks what came in several requests, and puts it in the slot.
    pub(super) fn finish_parts(self, want: &Want, outcome: Result<Scattered<B>, Error>) {
        let outcome = outcome.and_then(scatter::single).and_then(|fetched| match fetched.object_crc64 {
            Some(expected) if expected != fetched.crc64 => {
                self.client.count(Counter::CrcMismatched);
                fetch::into_lent(&self.client, &want.after_damage(), fetched.buffer, &self.cancel)
            }
            Some(_) => {
                self.client.count(Counter::CrcChecked);
                Ok(fetched)
            }
            None => fetch::unchecked(&self.client, &want.uri).map(|()| fetched),
        });
        self.settle(want, outcome.map(|fetched| Arrival::Body(Body::Lent(fetched.buffer))), 0);
    }

    /// Puts the outcome in its slot, after what an index that is behind the bucket calls for.
    fn settle(self, want: &Want, outcome: Result<Arrival<B>, Error>, bytes: u64) -> u64 {
        let outcome = match outcome {
            Err(error) if error.kind == ErrorKind::ObjectChanged && self.rereads(want) => self.reread(want),
            other => other,
        };
        let outcome = match outcome {
            Err(error) if self.missing == Missing::Skip && is_missing_object(&error) => {
                self.client.count(Counter::ObjectsSkipped);
                Ok(Arrival::Body(Body::Missing))
            }
            other => other,
        };
        let is_there = matches!(outcome, Ok(Arrival::Body(_)));
        let received = if is_there { bytes } else { 0 };
        if is_there {
            self.allowance.earn(want.size.unwrap_or(bytes));
        }
        self.slot.put(outcome);
        received
    }

    /// Whether an object that was replaced is read in its new version: one whose version only its own answer told
    /// always is, as nobody listed it.
    fn rereads(&self, want: &Want) -> bool {
        let may = if self.times_announced == 0 {
            self.changed == Changed::Reread
        } else {
            self.times_announced < MOST_ANNOUNCED
        };
        want.etag.is_some() && may
    }

    /// Reads an object that was replaced after it was listed: whole, in its new version.
    ///
    /// Nothing of the old version has reached the consumer, so this is no mixture.
    fn reread(&self, want: &Want) -> Result<Arrival<B>, Error> {
        if self.times_announced == 0 {
            self.client.count(Counter::ObjectsChanged);
        }
        let latest = Want { etag: None, size: None, ..want.clone() };
        fetch::guarded(|| self.scratch(&latest))
    }

    fn scratch(&self, want: &Want) -> Result<Arrival<B>, Error> {
        let takes = |size_bytes| self.underway.takes(size_bytes);
        Ok(match fetch::into_scratch(&self.client, want, &self.cancel, &takes)? {
            Whole::Received(bytes) => Arrival::Body(Body::Native(bytes)),
            Whole::Declined(announced) => Arrival::Announced(announced),
        })
    }
}

/// True for a missing object, and for nothing else: not a missing bucket, not a failed lookup.
fn is_missing_object(error: &Error) -> bool {
    error.is_not_found() && error.code == "NoSuchKey"
}
