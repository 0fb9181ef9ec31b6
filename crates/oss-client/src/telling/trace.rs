//! The requests that went by, kept on demand, in the form that chrome://tracing and Perfetto open.
//!
//! Off, it costs one relaxed load a request. On, a record each, of which the newest are kept.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clock::{Clock, SystemClock, wall_microseconds};
use crate::fork::ForkCell;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Requests that are kept at most: some 20 MiB.
pub const REQUESTS: usize = 65_536;

/// One attempt that ended.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) label: &'static str,
    pub(crate) uri: String,
    pub(crate) begun: Instant,
    pub(crate) answered: Option<Instant>,
    pub(crate) ended: Instant,
    /// Counts from 1.
    pub(crate) number: u32,
    pub(crate) status: Option<u16>,
    pub(crate) request_id: String,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) failure: Option<String>,
}

#[derive(Debug)]
struct Trace {
    base: Instant,
    /// Microseconds since 1970 at `base`: traces of several processes lie side by side.
    base_microseconds: u64,
    capacity: usize,
    attempts: VecDeque<(usize, Attempt)>,
    lost: u64,
}

static IS_ON: AtomicBool = AtomicBool::new(false);
static TRACE: ForkCell<Mutex<Option<Trace>>> = ForkCell::new();
static NEXT_THREAD: AtomicUsize = AtomicUsize::new(1);

thread_local! {
    static THREAD: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed);
}

fn with<R>(work: impl FnOnce(&mut Option<Trace>) -> R) -> Option<R> {
    let trace = TRACE.get(Mutex::default)?;
    Some(work(&mut trace.lock()))
}

/// Keeps the requests of this process from now on, the newest `capacity` of them. False if that is done already.
pub fn start(capacity: usize) -> bool {
    let base = SystemClock.now();
    let fresh = Trace {
        base,
        base_microseconds: wall_microseconds(),
        capacity: capacity.max(1),
        attempts: VecDeque::new(),
        lost: 0,
    };
    let started = with(|trace| trace.is_none().then(|| *trace = Some(fresh)).is_some()).unwrap_or(false);
    if started {
        IS_ON.store(true, Ordering::Release);
    }
    started
}

/// Keeps none any more; returns those that were kept, in the trace event format.
#[must_use]
pub fn stop() -> Value {
    IS_ON.store(false, Ordering::Release);
    let trace = with(Option::take).flatten();
    let (events, lost) = trace.map_or_else(Default::default, |trace| (trace.events(), trace.lost));
    json!({ "traceEvents": events, "displayTimeUnit": "ms", "otherData": { "lost_requests": lost } })
}

/// Whether requests are kept.
pub(crate) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Keeps one; it is not made unless it is wanted. A forked child of a traced process keeps none.
pub(crate) fn keep(attempt: Attempt) {
    let thread = THREAD.try_with(|number| *number).unwrap_or(0);
    with(|trace| {
        let Some(trace) = trace else { return };
        if trace.attempts.len() == trace.capacity {
            trace.attempts.pop_front();
            trace.lost += 1;
        }
        trace.attempts.push_back((thread, attempt));
    });
}

impl Trace {
    fn events(&self) -> Vec<Value> {
        self.attempts.iter().flat_map(|(thread, attempt)| self.events_of(*thread, attempt)).collect()
    }

    /// The attempt, and within it the wait for the first byte.
    fn events_of(&self, thread: usize, attempt: &Attempt) -> Vec<Value> {
        let event = |name: &str, from: Instant, to: Instant, arguments: Value| {
            json!({
                "name": name, "cat": "request", "ph": "X", "pid": std::process::id(), "tid": thread,
                "ts": self.microseconds(from), "dur": microseconds(to.saturating_duration_since(from)),
                "args": arguments,
            })
        };
        let arguments = json!({
            "uri": attempt.uri, "attempt": attempt.number, "status": attempt.status,
            "request_id": attempt.request_id, "received_bytes": attempt.received_bytes,
            "sent_bytes": attempt.sent_bytes, "failure": attempt.failure,
        });
        let whole = event(attempt.label, attempt.begun, attempt.ended, arguments);
        let answered =
            attempt.answered.map(|answered| event("first byte", attempt.begun, answered, json!({})));
        std::iter::once(whole).chain(answered).collect()
    }

    fn microseconds(&self, moment: Instant) -> u64 {
        let since = microseconds(moment.saturating_duration_since(self.base));
        // A request may have begun before the trace did.
        let before = microseconds(self.base.saturating_duration_since(moment));
        (self.base_microseconds + since).saturating_sub(before)
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(uri: &str, begun: Instant) -> Attempt {
        Attempt {
            label: "GetObject",
            uri: uri.to_owned(),
            begun,
            answered: Some(begun + Duration::from_millis(2)),
            ended: begun + Duration::from_millis(5),
            number: 1,
            status: Some(200),
            request_id: String::new(),
            received_bytes: 3,
            sent_bytes: 0,
            failure: None,
        }
    }

    #[test]
    fn the_newest_requests_are_kept_and_the_others_counted() {
        let now = SystemClock.now();
        assert!(!is_on());
        assert!(start(2));
        assert!(!start(2), "one at a time");
        assert!(is_on());
        for number in 0..5 {
            keep(attempt(&number.to_string(), now));
        }
        let told = stop();
        assert!(!is_on());
        assert_eq!(told["otherData"]["lost_requests"], 3);
        let events = told["traceEvents"].as_array().expect("a list");
        let names: Vec<_> = events.iter().map(|event| event["name"].as_str().unwrap_or_default()).collect();
        assert_eq!(names, ["GetObject", "first byte", "GetObject", "first byte"]);
        assert_eq!((&events[0]["args"]["uri"], &events[0]["dur"]), (&json!("3"), &json!(5000)));
        assert_eq!((&events[1]["ts"], &events[1]["dur"]), (&events[0]["ts"], &json!(2000)));
        assert!(stop()["traceEvents"].as_array().is_some_and(Vec::is_empty));
    }
}
