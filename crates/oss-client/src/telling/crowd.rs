//! The streams, uploads and workers of a client, as long as they live.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::objects::ObjectSource;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, Weak};

/// What one member holds at this moment; those of all are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub(crate) read_ahead_objects: u64,
    pub(crate) read_ahead_bytes: u64,
    /// Of all that read ahead, together.
    pub(crate) read_ahead_limit_bytes: u64,
    pub(crate) uploads_open: u64,
    pub(crate) upload_buffer_bytes: u64,
    pub(crate) upload_parts_waiting: u64,
    pub(crate) jobs_waiting: u64,
    pub(crate) worker_threads: u64,
    pub(crate) in_flight_limit: u64,
    /// The limit before it changed last, and how long ago that was.
    pub(crate) in_flight_limit_before: u64,
    pub(crate) in_flight_limit_age: Option<Duration>,
}

impl Load {
    fn add(&mut self, other: Load) {
        self.read_ahead_objects += other.read_ahead_objects;
        self.read_ahead_bytes += other.read_ahead_bytes;
        self.read_ahead_limit_bytes = self.read_ahead_limit_bytes.max(other.read_ahead_limit_bytes);
        self.uploads_open += other.uploads_open;
        self.upload_buffer_bytes += other.upload_buffer_bytes;
        self.upload_parts_waiting += other.upload_parts_waiting;
        self.jobs_waiting += other.jobs_waiting;
        self.worker_threads += other.worker_threads;
        self.in_flight_limit += other.in_flight_limit;
        self.in_flight_limit_before += other.in_flight_limit_before;
        let ages = [self.in_flight_limit_age, other.in_flight_limit_age];
        self.in_flight_limit_age = ages.into_iter().flatten().min();
    }
}

/// Something that lives for a while and has something to tell.
pub(crate) trait Told: Send + Sync {
    /// What it holds.
    fn load(&self, now: Instant) -> Load;

    /// Its state for people: `kind` and what belongs to that.
    fn tell(&self, now: Instant) -> Value;
}

/// Everybody of one client and process.
#[derive(Default)]
pub(crate) struct Crowd {
    members: Mutex<(Vec<Weak<dyn Told>>, usize)>,
}

impl std::fmt::Debug for Crowd {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Crowd({})", self.members.lock().0.len())
    }
}

/// Those that are gone are looked for when the crowd has doubled, and then some.
const FEW: usize = 32;

impl Crowd {
    /// Lets somebody in, as long as it lives.
    pub(crate) fn enter(&self, member: Weak<dyn Told>) {
        let mut guard = self.members.lock();
        let (members, most) = &mut *guard;
        if members.len() >= *most {
            members.retain(|member| member.strong_count() > 0);
            *most = 2 * members.len() + FEW;
        }
        members.push(member);
    }

    /// Who is there.
    pub(crate) fn present(&self) -> Vec<Arc<dyn Told>> {
        self.members.lock().0.iter().filter_map(Weak::upgrade).collect()
    }

    /// What they hold together.
    pub(crate) fn load(&self, now: Instant) -> Load {
        let mut total = Load::default();
        self.present().iter().for_each(|member| total.add(member.load(now)));
        total
    }
}

/// What a stream reads.
pub(crate) enum Reads {
    /// Objects of an index, one after the other.
    Objects(Arc<dyn ObjectSource>),
    /// One object.
    Object(String),
}

/// The notes of one stream of data to a consumer.
pub(crate) struct Stream {
    reads: Reads,
    base: Instant,
    limit_bytes: u64,
    /// Asked for and not yet delivered.
    ahead: AtomicU64,
    ahead_bytes: AtomicU64,
    delivered: AtomicU64,
    /// Position of what was asked for last.
    position: AtomicU64,
    /// Whether the consumer waits for data; else data waits for the consumer.
    is_waited_for: AtomicBool,
    /// Nanoseconds of the stream's life when that began.
    since: AtomicU64,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Stream({} ahead)", self.ahead.load(Ordering::Relaxed))
    }
}

impl Stream {
    /// A stream that keeps `limit_bytes` ahead at most.
    pub(crate) fn new(reads: Reads, limit_bytes: u64, now: Instant) -> Arc<Self> {
        Arc::new(Stream {
            reads,
            base: now,
            limit_bytes,
            ahead: AtomicU64::new(0),
            ahead_bytes: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            position: AtomicU64::new(0),
            is_waited_for: AtomicBool::new(false),
            since: AtomicU64::new(0),
        })
    }

    /// So much was asked for and not yet delivered, up to `position`.
    pub(crate) fn asked(&self, ahead: usize, ahead_bytes: u64, position: u64) {
        self.ahead.store(ahead as u64, Ordering::Relaxed);
        self.ahead_bytes.store(ahead_bytes, Ordering::Relaxed);
        self.position.store(position, Ordering::Relaxed);
    }

    /// The consumer begins to wait at `now`, unless it waits already.
    pub(crate) fn waits(&self, now: Instant) {
        if !self.is_waited_for.load(Ordering::Relaxed) {
            self.turn(true, now);
        }
    }

    /// The consumer got something at `now`; so much is still ahead.
    pub(crate) fn delivered(&self, ahead: usize, ahead_bytes: u64, now: Instant) {
        // A stream has one consumer at a time.
        self.delivered.store(self.delivered.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.ahead.store(ahead as u64, Ordering::Relaxed);
        self.ahead_bytes.store(ahead_bytes, Ordering::Relaxed);
        self.turn(false, now);
    }

    fn turn(&self, is_waited_for: bool, now: Instant) {
        let since = now.saturating_duration_since(self.base);
        let nanoseconds =
            since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into());
        self.since.store(nanoseconds, Ordering::Relaxed);
        self.is_waited_for.store(is_waited_for, Ordering::Relaxed);
    }

    fn name(&self) -> String {
        match &self.reads {
            Reads::Object(uri) => uri.clone(),
            Reads::Objects(source) => {
                let object = source.object(self.position.load(Ordering::Relaxed));
                object.map_or_else(String::new, |object| format!("oss://{}/{}", object.bucket, object.key))
            }
        }
    }
}

impl Told for Stream {
    fn load(&self, _now: Instant) -> Load {
        Load {
            read_ahead_objects: self.ahead.load(Ordering::Relaxed),
            read_ahead_bytes: self.ahead_bytes.load(Ordering::Relaxed),
            read_ahead_limit_bytes: self.limit_bytes,
            ..Load::default()
        }
    }

    fn tell(&self, now: Instant) -> Value {
        let since = Duration::from_nanos(self.since.load(Ordering::Relaxed));
        let state = if self.is_waited_for.load(Ordering::Relaxed) {
            "waiting for data"
        } else {
            "waiting for the consumer"
        };
        json!({
            "kind": match self.reads { Reads::Object(_) => "reader", Reads::Objects(_) => "objects" },
            "state": state,
            "for_seconds": (now.saturating_duration_since(self.base).saturating_sub(since)).as_secs_f64(),
            "uri": self.name(),
            "delivered": self.delivered.load(Ordering::Relaxed),
            "ahead": self.ahead.load(Ordering::Relaxed),
            "ahead_bytes": self.ahead_bytes.load(Ordering::Relaxed),
            "limit_bytes": self.limit_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    const SECOND: Duration = Duration::from_secs(1);

    fn stream(start: Instant) -> Arc<Stream> {
        Stream::new(Reads::Object("oss://b/k".to_owned()), 100, start)
    }

    #[test]
    fn a_stream_says_who_waits_and_since_when() {
        let start = SystemClock.now();
        let stream = stream(start);
        stream.asked(3, 30, 0);
        stream.waits(start + SECOND);
        stream.waits(start + 2 * SECOND);
        let told = stream.tell(start + 4 * SECOND);
        assert_eq!((&told["state"], &told["for_seconds"]), (&json!("waiting for data"), &json!(3.0)));
        stream.delivered(2, 20, start + 5 * SECOND);
        let told = stream.tell(start + 6 * SECOND);
        assert_eq!((&told["state"], &told["for_seconds"]), (&json!("waiting for the consumer"), &json!(1.0)));
        assert_eq!(
            (&told["uri"], &told["ahead"], &told["delivered"]),
            (&json!("oss://b/k"), &json!(2), &json!(1))
        );
    }

    #[test]
    fn only_the_living_are_counted_and_the_dead_make_room() {
        let start = SystemClock.now();
        let crowd = Crowd::default();
        let living = stream(start);
        living.asked(3, 30, 0);
        crowd.enter(Arc::downgrade(&living) as Weak<dyn Told>);
        for _ in 0..1000 {
            let gone = stream(start);
            gone.asked(1, 1, 0);
            crowd.enter(Arc::downgrade(&gone) as Weak<dyn Told>);
        }
        assert!(crowd.members.lock().0.len() <= FEW + 2);
        let load = crowd.load(start);
        assert_eq!((load.read_ahead_objects, load.read_ahead_bytes), (3, 30));
    }
}
