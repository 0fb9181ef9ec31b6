//! Counters: relaxed atomics in one shard per group of threads, summed when asked.
//!
//! The names of a [`Snapshot`] are stable; they are what `stats()` shows in Python. A name with `#` is a class of a
//! [`Histogram`], of which Python makes quantiles.

mod histogram;

use std::cell::Cell;
use std::time::Duration;

use oss_protocol::operation::Operation;

pub(crate) use self::histogram::Histogram;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

macro_rules! counters {
    ($($variant:ident $name:literal $doc:literal;)+) => {
        /// One counter, or one gauge (a counter that also goes down).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter {
            $(#[doc = $doc] $variant,)+
        }

        const NAMES: &[&str] = &[$($name),+];
    };
}

counters! {
    BytesReceived "bytes_received" "Body bytes received.";
    BytesSent "bytes_sent" "Bytes sent, heads included.";
    InFlight "in_flight" "Gauge: requests on their way now.";
    ConnectionsOpened "connections_opened" "Connections made.";
    ConnectionsReused "connections_reused" "Requests that found an open connection.";
    ConnectionsDiscarded "connections_discarded" "Connections closed because of a doubt.";
    ConnectionsRetired "connections_retired" "Connections closed because they were slower than the others.";
    HedgesSent "hedges_sent" "Second requests for an object that was late.";
    HedgesWon "hedges_won" "Second requests that were first.";
    RetriesConnect "retries_connect" "Repetitions after a connection that could not be made.";
    RetriesStale "retries_stale" "Repetitions, uncounted by policy, after an idle connection had been closed.";
    RetriesBroken "retries_broken" "Repetitions after a reset, an early end or a short body.";
    RetriesTimeout "retries_timeout" "Repetitions after silence, a stall or a rate below the floor.";
    RetriesServer "retries_server" "Repetitions after a 5xx or another transient refusal.";
    RetriesThrottled "retries_throttled" "Repetitions after a refusal for throttling.";
    RetriesProtocol "retries_protocol" "Repetitions after an answer that made no sense.";
    RetriesIntegrity "retries_integrity" "Repetitions after a checksum that differed.";
    RetriesCredentials "retries_credentials" "Repetitions with fresh credentials.";
    RetriesClock "retries_clock" "Repetitions after the service's clock was learned.";
    Throttled "throttled" "Refusals for throttling.";
    SlowMode "slow_mode_entered" "Times the retry budget ran out.";
    Resumed "resumed" "Bodies resumed in the middle.";
    CrcChecked "crc_checked" "Checksums that were compared and equal.";
    CrcUnchecked "crc_unchecked" "Whole reads and writes for which the service had no checksum.";
    CrcMismatched "crc_mismatched" "Checksums that differed.";
    ObjectsChanged "objects_changed" "Objects that were replaced between listing and reading.";
    ObjectsSkipped "objects_skipped" "Objects left out because the caller allowed it.";
    UploadsAbandoned "uploads_abandoned" "Writers dropped without close or abort: nothing was saved.";
    CredentialRefreshes "credential_refreshes" "Refusals of a key that newer credentials answered.";
    RetryPauses "retry_pause_seconds" "Time, in microseconds, between a failure and its repetition.";
    ThrottlePauses "throttle_pause_seconds" "Time, in microseconds, that requests were held back for their rate.";
    RequestTime "request_seconds" "Time, in microseconds, that requests took, their repetitions and pauses included.";
    Saves "saves" "Objects that writers published.";
    SaveBytes "save_bytes" "Bytes of these objects.";
    SaveSerialise "save_serialise_seconds" "Time, in microseconds, in which programs made the bytes of saves.";
    SaveUpload "save_upload_seconds" "Time, in microseconds, for which saves waited for bytes to be taken.";
    SaveSettle "save_settle_seconds" "Time, in microseconds, in which saves were made visible and verified.";
    UploadsLeft "uploads_left_behind" "Uploads that could not be aborted: their parts stay.";
    UploadsLeftBytes "uploads_left_behind_bytes" "Bytes of these uploads that were handed over.";
}

impl Counter {
    /// Whether it counts microseconds, which are shown as seconds.
    fn is_time(self) -> bool {
        NAMES[self as usize].ends_with("_seconds")
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer that was wanted.
    Ok,
    /// An answer that refused.
    Refused,
    /// No usable answer.
    Failed,
    /// Cut off by us: nobody waits for its answer any more.
    Cancelled,
}

const OUTCOMES: [&str; 4] = ["ok", "refused", "failed", "cancelled"];
/// The status classes of answers.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
const SHARDS: usize = 16;
const COUNTERS: usize = NAMES.len();
const REQUESTS: usize = OUTCOMES.len() * OPERATIONS;
const ANSWERS: usize = CLASSES.len() * OPERATIONS;
const OPERATIONS: usize = Operation::ALL.len();

/// One group's counters, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    counters: [AtomicU64; COUNTERS],
    requests: [AtomicU64; REQUESTS],
    answers: [AtomicU64; ANSWERS],
}

/// The counters of one process.
#[derive(Debug)]
pub struct Stats {
    shards: Box<[Shard; SHARDS]>,
    /// From sending a read to the head of its answer.
    pub(crate) first_byte: Histogram,
    /// From the first request for a whole object to its last byte, checked.
    pub(crate) whole_object: Histogram,
}

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = Cell::new(NEXT_THREAD.fetch_add(1, Ordering::Relaxed) % SHARDS);
}

impl Default for Shard {
    fn default() -> Self {
        Shard {
            counters: [const { AtomicU64::new(0) }; COUNTERS],
            requests: [const { AtomicU64::new(0) }; REQUESTS],
            answers: [const { AtomicU64::new(0) }; ANSWERS],
        }
    }
}

impl Default for Stats {
    fn default() -> Self {
        Stats::new()
    }
}

impl Stats {
    /// All zero.
    pub fn new() -> Self {
        // One by one on the heap: together they are a good part of the stack of a thread of ours.
        let shards: Box<[Shard]> = (0..SHARDS).map(|_| Shard::default()).collect();
        let Ok(shards) = shards.try_into() else { unreachable!("as many as there are places for") };
        Stats { shards, first_byte: Histogram::new(), whole_object: Histogram::new() }
    }

    fn shard(&self) -> &Shard {
        // The remainder is there for the compiler, which then needs no check of bounds.
        &self.shards[SHARD.try_with(Cell::get).unwrap_or(0) % SHARDS]
    }

    /// Adds `amount` to a counter.
    pub fn add(&self, counter: Counter, amount: u64) {
        self.shard().counters[counter as usize].fetch_add(amount, Ordering::Relaxed);
    }

    /// Lowers a gauge by one. Shards may wrap below zero; their sum does not.
    pub fn lower(&self, gauge: Counter) {
        self.shard().counters[gauge as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds a time to a counter of times.
    pub fn add_time(&self, counter: Counter, time: Duration) {
        debug_assert!(counter.is_time(), "a counter of times is named after its unit");
        self.add(counter, histogram::microseconds(time));
    }

    /// Counts one answer by its status.
    pub fn answer(&self, operation: Operation, status: u16) {
        let class = usize::from(status / 100).checked_sub(2);
        if let Some(class) = class.filter(|class| *class < CLASSES.len()) {
            let index = operation as usize * CLASSES.len() + class;
            self.shard().answers[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one request.
    pub fn request(&self, operation: Operation, outcome: Outcome) {
        let index = operation as usize * OUTCOMES.len() + outcome as usize;
        self.shard().requests[index].fetch_add(1, Ordering::Relaxed);
    }

    /// The present sum of one counter.
    pub fn sum(&self, counter: Counter) -> u64 {
        let values = self.shards.iter().map(|shard| shard.counters[counter as usize].load(Ordering::Relaxed));
        values.fold(0, u64::wrapping_add)
    }

    /// All counters; requests and answers that never happened are left out.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { values: Vec::with_capacity(COUNTERS + 32) };
        let requests = self.table(&mut snapshot, "requests", &OUTCOMES, |shard| &shard.requests);
        snapshot.set("requests", Amount::Count(requests.iter().sum()));
        for (word, count) in OUTCOMES.iter().zip(requests) {
            snapshot.set(format!("requests_{word}"), Amount::Count(count));
        }
        let answers = self.table(&mut snapshot, "answers", &CLASSES, |shard| &shard.answers);
        for (class, count) in CLASSES.iter().zip(answers) {
            snapshot.set(format!("answers_{class}"), Amount::Count(count));
        }
        for (index, name) in NAMES.iter().enumerate() {
            let values = self.shards.iter().map(|shard| shard.counters[index].load(Ordering::Relaxed));
            let sum = values.fold(0, u64::wrapping_add);
            let is_time = name.ends_with("_seconds");
            #[expect(clippy::cast_precision_loss, reason = "microseconds of a century fit into 52 bits")]
            snapshot.set(*name, if is_time { Amount::Real(sum as f64 / 1e6) } else { Amount::Count(sum) });
        }
        for (name, histogram) in [("first_byte", &self.first_byte), ("whole_object", &self.whole_object)] {
            for (class, count) in histogram.counts() {
                snapshot.set(format!("{name}#{class}"), Amount::Count(count));
            }
        }
        snapshot.values.sort_by(|(one, _), (other, _)| one.cmp(other));
        snapshot
    }

    /// Enters what happened of a table of operations by words; returns the sum of each word.
    fn table<const WIDTH: usize>(
        &self,
        snapshot: &mut Snapshot,
        name: &str,
        words: &[&str; WIDTH],
        cells: impl Fn(&Shard) -> &[AtomicU64],
    ) -> [u64; WIDTH] {
        let mut totals = [0; WIDTH];
        for (row, operation) in Operation::ALL.iter().enumerate() {
            for (column, word) in words.iter().enumerate() {
                let cell = |shard| cells(shard)[row * WIDTH + column].load(Ordering::Relaxed);
                let count: u64 = self.shards.iter().map(cell).sum();
                totals[column] += count;
                if count > 0 {
                    snapshot.set(format!("{name}.{}.{word}", operation.name()), Amount::Count(count));
                }
            }
        }
        totals
    }
}

/// A value of a [`Snapshot`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// Of things.
    Count(u64),
    /// Of seconds, or of something else that is no whole number.
    Real(f64),
}

impl std::ops::Add for Amount {
    type Output = Amount;

    #[expect(clippy::cast_precision_loss, reason = "only amounts of one kind are added")]
    fn add(self, other: Amount) -> Amount {
        match (self, other) {
            (Amount::Count(one), Amount::Count(other)) => Amount::Count(one.wrapping_add(other)),
            (Amount::Real(one), Amount::Real(other)) => Amount::Real(one + other),
            (Amount::Real(real), Amount::Count(count)) | (Amount::Count(count), Amount::Real(real)) => {
                Amount::Real(real + count as f64)
            }
        }
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    values: Vec<(String, Amount)>,
}

impl Snapshot {
    /// A counter of things by its name; 0 if nothing was counted under it.
    pub fn get(&self, name: &str) -> u64 {
        match self.values.iter().find(|(known, _)| known == name) {
            Some((_, Amount::Count(count))) => *count,
            _ => 0,
        }
    }

    /// Takes a value out.
    pub(crate) fn leave_out(&mut self, name: &str) {
        self.values.retain(|(known, _)| known != name);
    }

    /// Enters a value.
    pub(crate) fn set(&mut self, name: impl Into<String>, amount: Amount) {
        self.values.push((name.into(), amount));
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Amount)> {
        self.values.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, spawn};

    #[test]
    fn operations_number_their_table() {
        for (index, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(*operation as usize, index);
        }
    }

    #[test]
    fn counts_of_all_threads_are_summed() {
        let stats = Arc::new(Stats::new());
        stats.add(Counter::InFlight, 1);
        let threads: Vec<_> = (0..40)
            .map(|_| {
                let stats = Arc::clone(&stats);
                spawn("counter", move || {
                    stats.add(Counter::BytesReceived, 10);
                    stats.request(Operation::GetObject, Outcome::Ok);
                })
                .expect("a thread")
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let stats = Arc::clone(&stats);
        let lowered = spawn("lower", move || {
            stats.lower(Counter::InFlight);
            stats.snapshot()
        });
        let snapshot = lowered.expect("a thread").join().expect("no panic");
        assert_eq!(snapshot.get("bytes_received"), 400);
        assert_eq!(snapshot.get("in_flight"), 0);
        assert_eq!(snapshot.get("requests.GetObject.ok"), 40);
        assert_eq!(snapshot.get("requests"), 40);
        assert_eq!(snapshot.get("requests.PutObject.ok"), 0);
    }

    #[test]
    fn answers_are_counted_by_the_class_of_their_status() {
        let stats = Stats::new();
        for status in [200, 206, 304, 404, 503, 599, 99, 700] {
            stats.answer(Operation::HeadObject, status);
        }
        let snapshot = stats.snapshot();
        let of = |name: &str| snapshot.get(name);
        assert_eq!(
            (of("answers_2xx"), of("answers_3xx"), of("answers_4xx"), of("answers_5xx")),
            (2, 1, 1, 2)
        );
        assert_eq!((of("answers.HeadObject.2xx"), of("answers.GetObject.2xx")), (2, 0));
    }

    #[test]
    fn times_are_shown_in_seconds() {
        let stats = Stats::new();
        stats.add_time(Counter::RetryPauses, Duration::from_millis(1500));
        let snapshot = stats.snapshot();
        let shown = snapshot.iter().find(|(name, _)| *name == "retry_pause_seconds");
        assert_eq!(shown, Some(("retry_pause_seconds", Amount::Real(1.5))));
    }
}
