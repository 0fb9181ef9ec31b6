//! The way of one object of a stream: from its request to its slot, and what is told of it meanwhile.

use std::time::Instant;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::lend::Lend;
use crate::read::fetch::{self, Want};
use crate::read::hedge::Allowance;
use crate::read::prefetch::{Body, Changed, Missing};
use crate::read::scatter::{self, Scattered};
use crate::read::slot::Slot;
use crate::stats::Counter;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What the workers tell of an object that is on its way.
#[derive(Debug, Default)]
pub(super) struct Underway {
    /// Nanoseconds of the stream's life when a worker began with it; 0 = not yet.
    begun: AtomicU64,
    /// One more than the bytes that its answer announced; 0 = not yet.
    size_and_one: AtomicU64,
}

impl Underway {
    /// A worker begins with it now, in a stream that was `born` then.
    pub(super) fn begin(&self, born: Instant) {
        self.begun.store(nanoseconds(born, SystemClock.now()).max(1), Ordering::Relaxed);
    }

    /// Nanoseconds of the stream's life when a worker began with it.
    pub(super) fn begun(&self) -> Option<u64> {
        Some(self.begun.load(Ordering::Relaxed)).filter(|&begun| begun > 0)
    }

    fn tell_size(&self, size_bytes: u64) {
        self.size_and_one.store(size_bytes.saturating_add(1), Ordering::Relaxed);
    }

    /// Its size, once an answer has told it to a reader that did not know it.
    pub(super) fn size(&self) -> Option<u64> {
        self.size_and_one.load(Ordering::Relaxed).checked_sub(1)
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
    pub(super) slot: Arc<Slot<Body<B>>>,
    pub(super) underway: Arc<Underway>,
}

impl<B: Lend> Course<B> {
    /// Receives into lent memory of its size; returns the bytes received.
    pub(super) fn run_lent(self, want: &Want, buffer: B) -> u64 {
        let outcome = fetch::guarded(|| fetch::into_lent(&self.client, want, buffer, &self.cancel));
        let outcome = outcome.map(|fetched| Body::Lent(fetched.buffer));
        self.settle(want, outcome, want.size.unwrap_or(0))
    }

    /// Receives into native memory, as the size is not known; returns the bytes received.
    pub(super) fn run_native(self, want: &Want) -> u64 {
        let outcome = fetch::guarded(|| self.scratch(want));
        let bytes = outcome.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.settle(want, outcome.map(Body::Native), bytes)
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
        self.settle(want, outcome.map(|fetched| Body::Lent(fetched.buffer)), 0);
    }

    /// Puts the outcome in its slot, after what an index that is behind the bucket calls for.
    fn settle(self, want: &Want, outcome: Result<Body<B>, Error>, bytes: u64) -> u64 {
        let outcome = match outcome {
            Err(error)
                if error.kind == ErrorKind::ObjectChanged
                    && want.etag.is_some()
                    && self.changed == Changed::Reread =>
            {
                self.reread(want)
            }
            other => other,
        };
        let outcome = match outcome {
            Err(error) if self.missing == Missing::Skip && is_missing_object(&error) => {
                self.client.count(Counter::ObjectsSkipped);
                Ok(Body::Missing)
            }
            other => other,
        };
        let received = if outcome.is_ok() { bytes } else { 0 };
        if outcome.is_ok() {
            self.allowance.earn(want.size.unwrap_or(bytes));
        }
        self.slot.put(outcome);
        received
    }

    /// Reads an object that was replaced after it was listed: whole, in its new version.
    ///
    /// Nothing of the old version has reached the consumer, so this is no mixture.
    fn reread(&self, want: &Want) -> Result<Body<B>, Error> {
        self.client.count(Counter::ObjectsChanged);
        let latest = Want { etag: None, size: None, ..want.clone() };
        fetch::guarded(|| self.scratch(&latest)).map(Body::Native)
    }

    fn scratch(&self, want: &Want) -> Result<Vec<u8>, Error> {
        fetch::into_scratch(&self.client, want, &self.cancel, &|size_bytes| {
            self.underway.tell_size(size_bytes)
        })
    }
}

/// True for a missing object, and for nothing else: not a missing bucket, not a failed lookup.
fn is_missing_object(error: &Error) -> bool {
    error.is_not_found() && error.code == "NoSuchKey"
}
