//! Counters: relaxed atomics in one shard per group of threads, summed when asked.
//!
//! The names of a [`Snapshot`] are stable; they are what `stats()` shows in Python.

use std::cell::Cell;

use oss_protocol::operation::Operation;

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
}

const OUTCOMES: [&str; 3] = ["ok", "refused", "failed"];
const SHARDS: usize = 16;
const COUNTERS: usize = NAMES.len();
const REQUESTS: usize = 3 * OPERATIONS;
const OPERATIONS: usize = Operation::ALL.len();

/// One group's counters, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    counters: [AtomicU64; COUNTERS],
    requests: [AtomicU64; REQUESTS],
}

/// The counters of one process.
#[derive(Debug)]
pub struct Stats {
    shards: Box<[Shard]>,
}

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = Cell::new(NEXT_THREAD.fetch_add(1, Ordering::Relaxed) % SHARDS);
}

impl Default for Stats {
    fn default() -> Self {
        Stats::new()
    }
}

impl Stats {
    /// All zero.
    pub fn new() -> Self {
        let shard = |_| Shard {
            counters: [const { AtomicU64::new(0) }; COUNTERS],
            requests: [const { AtomicU64::new(0) }; REQUESTS],
        };
        Stats { shards: (0..SHARDS).map(shard).collect() }
    }

    fn shard(&self) -> &Shard {
        &self.shards[SHARD.try_with(Cell::get).unwrap_or(0)]
    }

    /// Adds `amount` to a counter.
    pub fn add(&self, counter: Counter, amount: u64) {
        self.shard().counters[counter as usize].fetch_add(amount, Ordering::Relaxed);
    }

    /// Lowers a gauge by one. Shards may wrap below zero; their sum does not.
    pub fn lower(&self, gauge: Counter) {
        self.shard().counters[gauge as usize].fetch_sub(1, Ordering::Relaxed);
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

    /// All counters; requests that never happened are left out.
    pub fn snapshot(&self) -> Snapshot {
        let mut values: Vec<(String, u64)> = Vec::with_capacity(COUNTERS + 8);
        let mut totals = [0; 3];
        for (index, operation) in Operation::ALL.iter().enumerate() {
            for (outcome, word) in OUTCOMES.iter().enumerate() {
                let cell =
                    |shard: &Shard| shard.requests[index * OUTCOMES.len() + outcome].load(Ordering::Relaxed);
                let count: u64 = self.shards.iter().map(cell).sum();
                totals[outcome] += count;
                if count > 0 {
                    values.push((format!("requests.{}.{word}", operation.name()), count));
                }
            }
        }
        values.push(("requests".to_owned(), totals.iter().sum()));
        for (outcome, word) in OUTCOMES.iter().enumerate() {
            values.push((format!("requests_{word}"), totals[outcome]));
        }
        for (index, name) in NAMES.iter().enumerate() {
            let values_of = self.shards.iter().map(|shard| shard.counters[index].load(Ordering::Relaxed));
            values.push(((*name).to_owned(), values_of.fold(0, u64::wrapping_add)));
        }
        values.sort();
        Snapshot { values }
    }
}

/// The counters at one moment, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    values: Vec<(String, u64)>,
}

impl Snapshot {
    /// A counter by its name; 0 if nothing was counted under it.
    pub fn get(&self, name: &str) -> u64 {
        self.values.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
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
}
