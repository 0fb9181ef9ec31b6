//! Log records on their way to Python's `logging`.
//!
//! A worker must never wait for the GIL, so it leaves its record in a small queue, and a thread of Python takes
//! it out when it comes by. When nobody comes by, the oldest records make room and are counted.

use std::collections::VecDeque;

use crate::fork::ForkCell;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Records that wait at most: the audit of an upload of 128 GiB in parts of 16 MiB, some megabytes.
const MAX_RECORDS: usize = 8192;

/// How important a record is; the numbers are those of Python's `logging`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One line a request.
    Debug = 10,
    /// Nothing per object.
    Info = 20,
    /// Something the user should change or know.
    Warning = 30,
    /// Something was lost.
    Error = 40,
}

/// One line for the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// How important it is.
    pub level: Level,
    /// The module it comes from, such as `read`.
    pub module: &'static str,
    /// One line without secrets.
    pub text: String,
}

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Record>,
    lost: u64,
}

/// A record waits that people want to see while it is new.
static HAS_NEWS: AtomicBool = AtomicBool::new(false);

static QUEUES: ForkCell<Mutex<Queue>> = ForkCell::new();

fn with<R>(work: impl FnOnce(&mut Queue) -> R) -> Option<R> {
    let queue = QUEUES.get(Mutex::default)?;
    Some(work(&mut queue.lock()))
}

/// Leaves a record for whoever drains the queue.
pub fn push(level: Level, module: &'static str, text: impl Into<String>) {
    let record = Record { level, module, text: text.into() };
    with(|queue| {
        if queue.records.len() == MAX_RECORDS {
            queue.records.pop_front();
            queue.lost += 1;
        }
        queue.records.push_back(record);
    });
    if level != Level::Debug {
        HAS_NEWS.store(true, Ordering::Release);
    }
}

/// Whether a record above `Debug` waits; one load. Who waits for long asks now and then.
#[must_use]
pub fn has_news() -> bool {
    HAS_NEWS.load(Ordering::Relaxed)
}

/// Takes all waiting records, oldest first.
#[must_use]
pub fn drain() -> Vec<Record> {
    HAS_NEWS.store(false, Ordering::Release);
    with(|queue| {
        let lost = std::mem::take(&mut queue.lost);
        let note = (lost > 0).then(|| Record {
            level: Level::Warning,
            module: "logs",
            text: format!("{lost} log records were lost before they could be shown"),
        });
        note.into_iter().chain(queue.records.drain(..)).collect()
    })
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_records_make_room_and_are_counted() {
        drop(drain());
        assert!(!has_news());
        for number in 0..MAX_RECORDS + 5 {
            push(Level::Info, "test", number.to_string());
        }
        assert!(has_news());
        let records = drain();
        assert_eq!(records.len(), MAX_RECORDS + 1);
        assert!(records[0].text.starts_with("5 log records were lost"));
        assert_eq!(records[1].text, "5");
        assert!(drain().is_empty());
    }
}
