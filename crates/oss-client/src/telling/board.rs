//! The operations that a process has under way, for whoever asks what it is doing.
//!
//! Each operation takes a seat while it lives and leaves notes there: a few relaxed stores, and its name once. A seat
//! is looked for where its thread sat last, so threads do not meet; where all seats near are taken, the operation is
//! only not seen.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::subject::Subject;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// As many operations as a client has worker threads at most.
const SEATS: usize = 256;
/// Seats that are tried.
const TRIES: usize = 8;

/// What an operation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Gets credentials, or waits for a connection to be free.
    Preparing,
    /// Is held back: the service refused requests for their rate, or the retry budget is empty.
    Throttled,
    /// Looks the name up, connects, shakes hands.
    Connecting,
    /// The request is on its way, or the answer.
    Awaiting,
    /// The body comes.
    Receiving,
    /// Failed, and pauses before the next attempt.
    BackingOff,
}

const ALL: [Doing; 6] = [
    Doing::Preparing,
    Doing::Throttled,
    Doing::Connecting,
    Doing::Awaiting,
    Doing::Receiving,
    Doing::BackingOff,
];

impl Doing {
    /// The words for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Doing::Preparing => "preparing",
            Doing::Throttled => "throttled",
            Doing::Connecting => "connecting",
            Doing::Awaiting => "waiting for the answer",
            Doing::Receiving => "receiving",
            Doing::BackingOff => "backing off",
        }
    }
}

#[derive(Debug, Default)]
struct About {
    label: &'static str,
    /// Without one, the operation is about the service itself.
    has_bucket: bool,
    bucket: String,
    key: String,
    range: Option<(u64, u64)>,
    cause: String,
}

impl About {
    /// Notes what the operation is about, in parts: most are never looked at.
    fn note(&mut self, subject: &Subject<'_>) {
        self.label = subject.label;
        self.has_bucket = subject.bucket.is_some();
        subject.bucket.unwrap_or_default().clone_into(&mut self.bucket);
        subject.key.unwrap_or_default().clone_into(&mut self.key);
        self.range = subject.range;
        self.cause.clear();
    }

    fn subject(&self) -> Subject<'_> {
        let bucket = self.has_bucket.then_some(self.bucket.as_str());
        Subject { label: self.label, bucket, key: Some(&self.key), range: self.range }
    }
}

/// On cache lines of its own: neighbours belong to other threads.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Seat {
    is_taken: AtomicBool,
    doing: AtomicU8,
    attempts: AtomicU32,
    /// Nanoseconds of the board's life.
    begun: AtomicU64,
    since: AtomicU64,
    /// 0 = it is not silent.
    silent_since: AtomicU64,
    received: AtomicU64,
    about: Mutex<About>,
}

/// The seats of one process and client.
#[derive(Debug)]
pub(crate) struct Board {
    base: Instant,
    seats: Box<[Seat]>,
}

/// What is known of one operation; times count until now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) label: &'static str,
    pub(crate) uri: String,
    pub(crate) doing: &'static str,
    pub(crate) for_seconds: f64,
    pub(crate) age_seconds: f64,
    /// No byte came for so long.
    pub(crate) silent_seconds: Option<f64>,
    pub(crate) attempts: u32,
    pub(crate) received_bytes: u64,
    pub(crate) last_cause: String,
}

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static NEAR: Cell<usize> = Cell::new(NEXT_THREAD.fetch_add(1, Ordering::Relaxed));
}

impl Board {
    pub(crate) fn new(now: Instant) -> Self {
        Board { base: now, seats: (0..SEATS).map(|_| Seat::default()).collect() }
    }

    /// Takes a seat for an operation that begins.
    pub(crate) fn sit(&self, subject: &Subject<'_>, now: Instant) -> Place<'_> {
        let near = NEAR.try_with(Cell::get).unwrap_or(0);
        let free = |seat: &&Seat| {
            !seat.is_taken.load(Ordering::Relaxed) && !seat.is_taken.swap(true, Ordering::AcqRel)
        };
        let seat = (near..near + TRIES).map(|number| &self.seats[number % SEATS]).find(free);
        let place = Place { seat, base: self.base };
        if let Some(seat) = seat {
            let now = place.moment(now);
            seat.doing.store(Doing::Preparing as u8, Ordering::Relaxed);
            seat.attempts.store(0, Ordering::Relaxed);
            seat.begun.store(now, Ordering::Relaxed);
            seat.since.store(now, Ordering::Relaxed);
            seat.silent_since.store(0, Ordering::Relaxed);
            seat.received.store(0, Ordering::Relaxed);
            seat.about.lock().note(subject);
        }
        place
    }

    /// What the operations are doing, the oldest first.
    pub(crate) fn rows(&self, now: Instant) -> Vec<Row> {
        let now = nanoseconds(now.saturating_duration_since(self.base));
        let taken = self.seats.iter().filter(|seat| seat.is_taken.load(Ordering::Acquire));
        let mut rows: Vec<_> = taken.map(|seat| seat.row(now)).collect();
        rows.sort_by(|one, other| other.age_seconds.total_cmp(&one.age_seconds));
        rows
    }
}

impl Seat {
    fn row(&self, now: u64) -> Row {
        let since = |moment: &AtomicU64| seconds(now.saturating_sub(moment.load(Ordering::Relaxed)));
        let doing =
            ALL.get(usize::from(self.doing.load(Ordering::Relaxed))).map_or("", |doing| doing.as_str());
        let is_silent = self.silent_since.load(Ordering::Relaxed) != 0;
        let about = self.about.lock();
        Row {
            label: about.label,
            uri: about.subject().uri(),
            doing,
            for_seconds: since(&self.since),
            age_seconds: since(&self.begun),
            silent_seconds: is_silent.then(|| since(&self.silent_since)),
            attempts: self.attempts.load(Ordering::Relaxed),
            received_bytes: self.received.load(Ordering::Relaxed),
            last_cause: about.cause.clone(),
        }
    }
}

/// The seat of one operation, if it found one; given up when it ends.
#[derive(Debug)]
pub(crate) struct Place<'b> {
    seat: Option<&'b Seat>,
    base: Instant,
}

impl Place<'_> {
    /// Says what the operation is doing from `now` on.
    pub(crate) fn turns_to(&self, doing: Doing, now: Instant) {
        if let Some(seat) = self.seat {
            seat.doing.store(doing as u8, Ordering::Relaxed);
            seat.since.store(self.moment(now), Ordering::Relaxed);
            seat.silent_since.store(0, Ordering::Relaxed);
        }
    }

    /// Says what the operation is doing from so long after its last turn on: where that is known, it is cheaper.
    pub(crate) fn turns_to_after(&self, doing: Doing, elapsed: Duration) {
        if let Some(seat) = self.seat {
            let since = seat.since.load(Ordering::Relaxed).saturating_add(nanoseconds(elapsed));
            seat.doing.store(doing as u8, Ordering::Relaxed);
            seat.since.store(since, Ordering::Relaxed);
            seat.silent_since.store(0, Ordering::Relaxed);
        }
    }

    /// Begins an attempt, from 1 on.
    pub(crate) fn attempts(&self, number: u32) {
        if let Some(seat) = self.seat {
            seat.attempts.store(number, Ordering::Relaxed);
        }
    }

    /// Bytes of a body came.
    pub(crate) fn received(&self, bytes: usize) {
        if let Some(seat) = self.seat {
            // Nobody else writes here: a plain addition costs a twentieth of one that others may not come between.
            let before = seat.received.load(Ordering::Relaxed);
            seat.received.store(before.saturating_add(bytes as u64), Ordering::Relaxed);
        }
    }

    /// Nothing moves since `moment`, or something does again.
    pub(crate) fn silent(&self, since: Option<Instant>) {
        if let Some(seat) = self.seat {
            let moment = since.map_or(0, |moment| self.moment(moment).max(1));
            seat.silent_since.store(moment, Ordering::Relaxed);
        }
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, cause: &str, now: Instant) {
        if let Some(seat) = self.seat {
            cause.clone_into(&mut seat.about.lock().cause);
        }
        self.turns_to(Doing::BackingOff, now);
    }

    fn moment(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.base))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(seat) = self.seat {
            seat.is_taken.store(false, Ordering::Release);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    // Not by way of 128 bits, as it is on the path of every request.
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    const SECOND: Duration = Duration::from_secs(1);

    fn subject(key: &str) -> Subject<'_> {
        Subject { label: "GetObject", bucket: Some("b"), key: Some(key), range: Some((0, 9)) }
    }

    #[test]
    fn all_ways_of_doing_number_their_table() {
        assert!(ALL.iter().enumerate().all(|(number, doing)| *doing as usize == number));
    }

    #[test]
    fn an_operation_is_seen_while_it_lives() {
        let start = SystemClock.now();
        let board = Board::new(start);
        let place = board.sit(&subject("k"), start + SECOND);
        place.attempts(2);
        place.failed("reset", start + 2 * SECOND);
        place.turns_to(Doing::Awaiting, start + 2 * SECOND);
        place.turns_to_after(Doing::Receiving, SECOND);
        place.received(7);
        place.silent(Some(start + 4 * SECOND));
        let (row,) = match board.rows(start + 6 * SECOND).as_slice() {
            [row] => (row.clone(),),
            rows => panic!("{rows:?}"),
        };
        assert_eq!((row.label, row.uri.as_str(), row.doing), ("GetObject", "oss://b/k[0..9)", "receiving"));
        assert_eq!((row.for_seconds, row.age_seconds, row.silent_seconds), (3.0, 5.0, Some(2.0)));
        assert_eq!((row.attempts, row.received_bytes, row.last_cause.as_str()), (2, 7, "reset"));
        place.silent(None);
        assert_eq!(board.rows(start)[0].silent_seconds, None);
        drop(place);
        assert!(board.rows(start).is_empty());
    }

    #[test]
    fn a_seat_is_used_again_and_remembers_nothing() {
        let start = SystemClock.now();
        let board = Board::new(start);
        let first = board.sit(&subject("a-long-key"), start);
        first.failed("reset", start);
        drop(first);
        let _second = board.sit(&subject("k"), start);
        let rows = board.rows(start);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].uri.as_str(), rows[0].last_cause.as_str()), ("oss://b/k[0..9)", ""));
    }

    #[test]
    fn operations_beyond_the_seats_are_not_seen_and_do_no_harm() {
        let start = SystemClock.now();
        let board = Board::new(start);
        let places: Vec<_> = (0..20).map(|_| board.sit(&subject("k"), start)).collect();
        places.iter().for_each(|place| place.failed("x", start));
        assert_eq!(board.rows(start).len(), TRIES);
    }
}
