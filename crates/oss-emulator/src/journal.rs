//! What happened: every request, and every change of what clients can see, in one order.
//!
//! Tests read it through the control port. An entry is appended when the head of a request has
//! been read, and completed when it was answered; a change is appended in the moment it becomes
//! visible, so it follows the entry of the request that made it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::locks::lock;

/// Entries kept; older ones are dropped, their numbers are not used again.
const MAX_ENTRIES: usize = 250_000;

/// Request headers that may be shown; nothing that carries a signature or a token.
const SHOWN_HEADERS: &[&str] = &[
    "content-length",
    "content-md5",
    "content-type",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "range",
    "transfer-encoding",
    "user-agent",
];

/// `x-oss-*` headers and query parameters that are never shown.
const HIDDEN_NAMES: &[&str] = &[
    "x-oss-security-token",
    "x-oss-signature",
    "x-oss-credential",
    "x-oss-additional-headers",
    "security-token",
    "signature",
    "ossaccesskeyid",
];

/// A request, as it is written down when its head has arrived.
#[derive(Debug)]
pub(crate) struct RequestEntry {
    /// Which connection of the emulator it came over, counted from 1.
    pub(crate) connection: u64,
    /// Name of the operation.
    pub(crate) operation: &'static str,
    /// HTTP method.
    pub(crate) method: String,
    /// Bucket, if one was named.
    pub(crate) bucket: Option<String>,
    /// Key, if one was named.
    pub(crate) key: Option<String>,
    /// Decoded query parameters.
    pub(crate) query: Vec<(String, String)>,
    /// All headers; the journal shows an allow-list of them.
    pub(crate) headers: Vec<(String, String)>,
    /// Milliseconds since the emulator's start.
    pub(crate) started_ms: u64,
}

/// How a request ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Status of the answer; `None` if none was begun.
    pub(crate) status: Option<u16>,
    /// Body bytes received.
    pub(crate) bytes_in: u64,
    /// Body bytes sent.
    pub(crate) bytes_out: u64,
    /// What a rule or the shaping did to it.
    pub(crate) fault: Option<String>,
    /// Milliseconds from the head to the last byte; `None` while it lasts.
    pub(crate) elapsed_ms: Option<u64>,
    /// The id that Initiate gave; requests that name an upload have it in their query.
    pub(crate) upload_id: Option<String>,
}

/// A change of what clients can see.
#[derive(Debug)]
pub(crate) struct Change {
    /// `put`, `delete`, `initiate`, `part`, `complete` or `abort`.
    pub(crate) change: &'static str,
    /// Bucket.
    pub(crate) bucket: String,
    /// Key.
    pub(crate) key: String,
    /// ETag of the new object or part.
    pub(crate) etag: Option<String>,
    /// Size of the new object or part, bytes.
    pub(crate) size: Option<u64>,
    /// CRC-64/XZ of the new object or part.
    pub(crate) crc64: Option<u64>,
    /// Upload it belongs to.
    pub(crate) upload_id: Option<String>,
    /// Part number.
    pub(crate) part: Option<u32>,
}

impl Change {
    /// Begins a change of a key; the caller fills in what it knows.
    pub(crate) fn new(change: &'static str, bucket: &str, key: &str) -> Self {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        Self { change, bucket, key, etag: None, size: None, crc64: None, upload_id: None, part: None }
    }
}

#[derive(Debug)]
enum Entry {
    Request(Box<RequestEntry>, Box<Outcome>),
    Change(Box<Change>),
}

#[derive(Debug, Default)]
struct Entries {
    first: u64,
    list: VecDeque<Entry>,
    generation: u64,
}

/// The list of entries; numbers count from 0 and are never reused until [`Journal::clear`].
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: Mutex<Entries>,
    grown: Condvar,
}

/// Where a request was written down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    sequence: u64,
    generation: u64,
}

impl Journal {
    /// Writes a request down.
    pub(crate) fn request(&self, entry: RequestEntry) -> Ticket {
        self.append(Entry::Request(Box::new(entry), Box::default()))
    }

    /// Says what became of a request; may be called again when more is known.
    pub(crate) fn outcome(&self, ticket: Ticket, outcome: &Outcome) {
        let mut entries = lock(&self.entries);
        let at = ticket.sequence.checked_sub(entries.first).and_then(|at| usize::try_from(at).ok());
        if ticket.generation != entries.generation {
            return;
        }
        if let Some(Entry::Request(_, known)) = at.and_then(|at| entries.list.get_mut(at)) {
            known.as_mut().clone_from(outcome);
        }
    }

    /// Writes a change down; called while the store is locked, so the order is the true one.
    pub(crate) fn change(&self, change: Change) {
        self.append(Entry::Change(Box::new(change)));
    }

    fn append(&self, entry: Entry) -> Ticket {
        let mut entries = lock(&self.entries);
        if entries.list.len() == MAX_ENTRIES {
            entries.list.pop_front();
            entries.first += 1;
        }
        let ticket =
            Ticket { sequence: entries.first + entries.list.len() as u64, generation: entries.generation };
        entries.list.push_back(entry);
        drop(entries);
        self.grown.notify_all();
        ticket
    }

    /// Forgets everything and counts from 0 again.
    pub(crate) fn clear(&self) {
        let mut entries = lock(&self.entries);
        *entries = Entries { generation: entries.generation + 1, ..Entries::default() };
    }

    /// Waits until at least `count` entries have been written since the last clear.
    pub(crate) fn wait_for(&self, count: u64, timeout: Duration) {
        let entries = lock(&self.entries);
        let enough = |entries: &mut Entries| entries.first + (entries.list.len() as u64) < count;
        let waited = self.grown.wait_timeout_while(entries, timeout, enough);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Renders the entries from number `since` on, and the number to ask for next.
    pub(crate) fn render(&self, since: u64) -> Value {
        let entries = lock(&self.entries);
        let skip = usize::try_from(since.saturating_sub(entries.first)).unwrap_or(usize::MAX);
        let numbered = (entries.first..).zip(&entries.list).skip(skip);
        let rendered: Vec<Value> = numbered.map(|(sequence, entry)| render(sequence, entry)).collect();
        json!({"next": entries.first + entries.list.len() as u64, "entries": rendered})
    }
}

fn render(sequence: u64, entry: &Entry) -> Value {
    match entry {
        Entry::Request(request, outcome) => render_request(sequence, request, outcome),
        Entry::Change(change) => json!({
            "sequence": sequence, "change": change.change, "bucket": change.bucket, "key": change.key,
            "etag": change.etag, "size": change.size, "crc64": change.crc64,
            "upload_id": change.upload_id, "part": change.part,
        }),
    }
}

fn render_request(sequence: u64, request: &RequestEntry, outcome: &Outcome) -> Value {
    let named = |name: &str| request.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let query = shown(&request.query, |name| !is_hidden(name));
    let headers = shown(&request.headers, |name| {
        SHOWN_HEADERS.contains(&name) || (name.starts_with("x-oss-") && !is_hidden(name))
    });
    json!({
        "sequence": sequence, "connection": request.connection, "operation": request.operation,
        "method": request.method, "bucket": request.bucket, "key": request.key,
        "query": query, "headers": headers,
        "status": outcome.status, "bytes_in": outcome.bytes_in, "bytes_out": outcome.bytes_out,
        "fault": outcome.fault, "started_ms": request.started_ms, "elapsed_ms": outcome.elapsed_ms,
        "upload_id": outcome.upload_id.clone().or_else(|| named("uploadId")),
        "part": named("partNumber").and_then(|part| part.parse::<u32>().ok()),
    })
}

fn is_hidden(name: &str) -> bool {
    HIDDEN_NAMES.iter().any(|hidden| hidden.eq_ignore_ascii_case(name))
}

fn shown(pairs: &[(String, String)], keep: impl Fn(&str) -> bool) -> Value {
    let kept = pairs.iter().filter(|(name, _)| keep(name));
    kept.map(|(name, value)| (name.clone(), Value::from(value.clone())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)], query: &[(&str, &str)]) -> RequestEntry {
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
        };
        RequestEntry {
            connection: 1,
            operation: "GetObject",
            method: "GET".to_owned(),
            bucket: Some("b".to_owned()),
            key: Some("k".to_owned()),
            query: own(query),
            headers: own(headers),
            started_ms: 5,
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let journal = Journal::default();
        journal.request(request(
            &[("authorization", "S3CRET"), ("x-oss-security-token", "S3CRET"), ("range", "bytes=0-1")],
            &[("x-oss-signature", "S3CRET"), ("Signature", "S3CRET"), ("prefix", "p")],
        ));
        let text = journal.render(0).to_string();
        assert!(!text.contains("S3CRET"), "{text}");
        assert!(text.contains("bytes=0-1") && text.contains("prefix"), "{text}");
    }

    #[test]
    fn an_outcome_completes_its_entry_and_none_after_a_clear() {
        let journal = Journal::default();
        let old = journal.request(request(&[], &[]));
        journal.clear();
        journal.request(request(&[], &[]));
        journal.outcome(old, &Outcome { status: Some(500), ..Outcome::default() });
        assert_eq!(journal.render(0)["entries"][0]["status"], Value::Null);
        assert_eq!(journal.render(0)["next"], 1);
        assert_eq!(journal.render(1)["entries"], json!([]));
    }

    #[test]
    fn waiting_ends_when_enough_was_written_or_time_is_up() {
        let journal = Journal::default();
        journal.request(request(&[], &[]));
        journal.wait_for(1, Duration::from_secs(60));
        journal.wait_for(2, Duration::from_millis(1));
        assert_eq!(journal.render(0)["next"], 1);
    }
}
