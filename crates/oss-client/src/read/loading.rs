//! What a long load says of itself, and how long it took.
//!
//! The time of a load is what its calls took, not what the program did in between: a reader that stands open while a
//! loop trains is no long load.

use std::time::{Duration, Instant};

use oss_protocol::uri::ObjectUri;

use crate::clock::{Clock as _, SystemClock};
use crate::error::Error;
use crate::interrupt::Watch;
use crate::logs::{self, Level};
use crate::progress::Lines;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::workers::Job;

/// The clock of one reader, and what its log was told.
#[derive(Debug)]
pub(crate) struct Loading {
    lines: Lines,
    /// What the calls that ended took.
    before: Duration,
    /// When the call under way began.
    since: Option<Instant>,
    /// What the requests that ended brought.
    done_bytes: u64,
    /// What those that are waited for brought so far.
    arriving_bytes: Arc<AtomicU64>,
    /// What had come when its end was told.
    told_bytes: u64,
}

impl Loading {
    pub(crate) fn new(uri: &ObjectUri, tick: Duration) -> Self {
        Loading {
            lines: Lines::new(uri, tick),
            before: Duration::ZERO,
            since: None,
            done_bytes: 0,
            arriving_bytes: Arc::new(AtomicU64::new(0)),
            told_bytes: 0,
        }
    }

    /// A call begins; false if it is part of another.
    pub(crate) fn begin(&mut self) -> bool {
        let begins = self.since.is_none();
        if begins {
            self.since = Some(SystemClock.now());
        }
        begins
    }

    /// The call that began ends.
    pub(crate) fn end(&mut self) {
        self.before = self.took();
        self.since = None;
    }

    /// The same job, which counts what it receives until all of them have ended.
    pub(crate) fn counting(&self, job: Job) -> Job {
        let arriving_bytes = Arc::clone(&self.arriving_bytes);
        Box::new(move || {
            let bytes = job();
            arriving_bytes.fetch_add(bytes, Ordering::Relaxed);
            bytes
        })
    }

    /// A part came that no counting job brought.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.done_bytes += bytes;
    }

    /// All counting jobs ended, and brought so much: each counts a moment after its bytes are there.
    pub(crate) fn received_all(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        self.arriving_bytes = Arc::new(AtomicU64::new(0));
    }

    /// A watch that also looks at the clock for the log.
    pub(crate) fn telling<'a>(&'a mut self, watch: Watch<'a>) -> impl FnMut() -> Result<(), Error> + 'a {
        move || {
            self.look();
            watch()
        }
    }

    /// Whether so much came.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        self.bytes() >= bytes
    }

    /// Says how long a long load took, once for the bytes that came.
    pub(crate) fn tell_end(&mut self) {
        let (took, bytes) = (self.took(), self.bytes());
        if self.lines.is_long(took) && bytes > self.told_bytes {
            self.told_bytes = bytes;
            logs::push(Level::Info, "read", format!("loaded {}", self.lines.line(bytes, took)));
        }
    }

    fn look(&mut self) {
        let took = self.took();
        if self.lines.is_due(took) {
            logs::push(Level::Info, "read", format!("load {}", self.lines.line(self.bytes(), took)));
        }
    }

    fn took(&self) -> Duration {
        let now = self.since.map(|since| SystemClock.now().saturating_duration_since(since));
        self.before + now.unwrap_or_default()
    }

    fn bytes(&self) -> u64 {
        self.done_bytes + self.arriving_bytes.load(Ordering::Relaxed)
    }
}
