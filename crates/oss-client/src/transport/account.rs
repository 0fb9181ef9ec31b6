//! What the log and the audit file are told of each attempt, when they want to hear of it.
//!
//! A line of the audit is the original's: `oss:read [url=...][offset=...]...`, times in microseconds, and then what is
//! ours. Neither line has a query, a header or anything else that a secret could be in.

use std::fmt::Write;
use std::time::{Duration, Instant};

use oss_protocol::http1::ResponseHead;
use oss_protocol::operation::Operation;

use super::Request;
use super::call::Failure;
use crate::config::{ClientConfig, Telling};
use crate::logs::{self, Level};
use crate::subject::Subject;
use crate::telling::trace;

/// Samples of a dataset that were faster, and went well, are not audited: 100 ms, as in the original.
const SLOW: Duration = Duration::from_millis(100);

/// One attempt, as far as it is to be told.
#[derive(Debug)]
pub(super) struct Account {
    begun: Instant,
    answered: Option<Instant>,
    answer: Heard,
    /// Bytes of the answer's body that were received.
    pub(super) received_bytes: u64,
}

/// What is remembered of an answer's head.
#[derive(Debug, Default)]
pub(super) struct Heard {
    status: Option<u16>,
    request_id: String,
    server_ms: Option<u64>,
    length: Option<u64>,
}

impl Heard {
    pub(super) fn of(head: &ResponseHead<'_>) -> Self {
        Heard {
            status: Some(head.status),
            request_id: head.request_id().unwrap_or_default().to_owned(),
            server_ms: head.header("x-oss-server-time").and_then(|text| text.parse().ok()),
            length: head.content_length().unwrap_or_default(),
        }
    }
}

impl Account {
    /// Begins one at `now`, unless nobody wants to hear of requests.
    pub(super) fn begun(telling: &Telling, now: Instant) -> Option<Self> {
        let wanted = telling.requests || telling.audit || trace::is_on();
        wanted.then(|| Account { begun: now, answered: None, answer: Heard::default(), received_bytes: 0 })
    }

    /// The head of the answer came.
    pub(super) fn heard(&mut self, answer: Heard, now: Instant) {
        (self.answered, self.answer) = (Some(now), answer);
    }

    /// Tells it; `attempt` counts from 1.
    pub(super) fn tell(
        self,
        config: &ClientConfig,
        request: &Request<'_>,
        subject: &Subject<'_>,
        attempt: u32,
        now: Instant,
        failure: Option<&Failure>,
    ) {
        if config.telling.requests {
            logs::push(Level::Debug, "transport", self.line(subject, attempt, now, failure));
        }
        let is_audited = config.telling.audit
            && (config.telling.audit_all || !is_usual(request, now - self.begun, failure));
        if is_audited {
            let line = self.audit(kind(request.operation), config, request, attempt, now, failure);
            logs::push(Level::Info, "audit", line);
        }
        if trace::is_on() {
            trace::keep(self.traced(request, subject, attempt, now, failure));
        }
    }

    fn traced(
        self,
        request: &Request<'_>,
        subject: &Subject<'_>,
        attempt: u32,
        now: Instant,
        failure: Option<&Failure>,
    ) -> trace::Attempt {
        trace::Attempt {
            label: subject.label,
            uri: subject.uri(),
            begun: self.begun,
            answered: self.answered,
            ended: now,
            number: attempt,
            status: self.answer.status,
            request_id: self.answer.request_id,
            received_bytes: self.received_bytes,
            sent_bytes: sent_bytes(request),
            failure: failure.map(|failure| failure.error.message.clone()),
        }
    }

    fn line(&self, subject: &Subject<'_>, attempt: u32, now: Instant, failure: Option<&Failure>) -> String {
        let mut line = subject.to_string();
        let told = write!(
            line,
            " status={} request_id={} attempt={attempt} elapsed_ms={}",
            or_dash(self.answer.status),
            clean(&self.answer.request_id),
            (now - self.begun).as_millis(),
        );
        if let (Ok(()), Some(failure)) = (told, failure) {
            line.push_str(": ");
            line.push_str(&failure.error.message);
        }
        line
    }

    fn audit(
        &self,
        kind: &str,
        config: &ClientConfig,
        request: &Request<'_>,
        attempt: u32,
        now: Instant,
        failure: Option<&Failure>,
    ) -> String {
        let target = config.endpoint.target(config.addressing, request.bucket, request.key);
        let url = format!("{}://{}{}", config.endpoint.scheme.as_str(), target.host_header, target.path);
        let is_read = request.operation == Operation::GetObject;
        let (offset, size) = if is_read { self.asked(request) } else { (0, sent_bytes(request)) };
        let moved = if is_read { self.received_bytes } else { size };
        let result = failure.map_or_else(|| moved.to_string(), |failure| format!("-{}", failure.error.errno));
        let call_time = self.answered.map(|answered| (answered - self.begun).as_micros());
        format!(
            "{kind} [url={}][offset={offset}][size={size}][ret={result}][server_time={}][call_time={}][latency={}]\
             [status={}][request_id={}][attempt={attempt}][operation={}]",
            clean(&url),
            or_dash(self.answer.server_ms.map(|milliseconds| milliseconds.saturating_mul(1000))),
            or_dash(call_time),
            (now - self.begun).as_micros(),
            or_dash(self.answer.status),
            clean(&self.answer.request_id),
            request.operation.name(),
        )
    }

    /// Offset and size of the range that was asked for; of the whole object as the answer announced it.
    fn asked(&self, request: &Request<'_>) -> (u64, u64) {
        let range = request.plain.iter().find(|(name, _)| *name == "Range");
        let ends = range.and_then(|(_, text)| text.strip_prefix("bytes=")?.split_once('-'));
        let range = ends.and_then(|(first, last)| first.parse::<u64>().ok().zip(last.parse::<u64>().ok()));
        range.map_or((0, self.answer.length.unwrap_or(0)), |(first, last)| (first, last - first + 1))
    }
}

/// The samples of a dataset are many, and of no interest while they come quickly.
fn is_usual(request: &Request<'_>, took: Duration, failure: Option<&Failure>) -> bool {
    request.is_sample && took < SLOW && failure.is_none()
}

fn sent_bytes(request: &Request<'_>) -> u64 {
    request.body.iter().map(|piece| piece.len() as u64).sum()
}

/// The kind of an audit line; what only looks at something without listing it is a head.
fn kind(operation: Operation) -> &'static str {
    match operation {
        Operation::GetObject => "oss:read",
        Operation::PutObject
        | Operation::AppendObject
        | Operation::CopyObject
        | Operation::InitiateMultipartUpload
        | Operation::UploadPart
        | Operation::UploadPartCopy
        | Operation::CompleteMultipartUpload
        | Operation::AbortMultipartUpload
        | Operation::PutSymlink
        | Operation::RestoreObject
        | Operation::PutBucket => "oss:write",
        Operation::DeleteObject | Operation::DeleteMultipleObjects | Operation::DeleteBucket => "oss:delete",
        Operation::ListObjects
        | Operation::ListObjectsV2
        | Operation::ListObjectVersions
        | Operation::ListParts
        | Operation::ListMultipartUploads
        | Operation::ListBuckets => "oss:list",
        _ => "oss:head",
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Keeps a value inside its brackets and on its line.
fn clean(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_graphic() && c != '[' && c != ']' { c } else { '_' };
    text.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use oss_protocol::time::UtcTime;
    use oss_protocol::uri::Endpoint;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::error::{Error, ErrorKind};
    use crate::retry::Cause;

    const MS: Duration = Duration::from_millis(1);

    fn config() -> ClientConfig {
        ClientConfig::new(Endpoint::parse("http://oss-cn-x.aliyuncs.com").expect("an endpoint"), "cn-x")
    }

    fn now() -> Instant {
        ManualClock::new(UtcTime(0)).now()
    }

    fn account(now: Instant) -> Account {
        let answer = Heard {
            status: Some(206),
            request_id: "5F3A]\n".to_owned(),
            server_ms: Some(7),
            length: Some(10),
        };
        Account { begun: now, answered: Some(now + 2 * MS), answer, received_bytes: 10 }
    }

    #[test]
    fn a_line_of_the_audit_is_the_originals_and_then_ours() {
        let plain = [("Range", "bytes=20-29")];
        let get = Request {
            plain: &plain,
            ..Request::new(Operation::GetObject, "GET", Some("bucket"), Some("a ]b"))
        };
        let now = now();
        let line = account(now).audit("oss:read", &config(), &get, 3, now + 5 * MS, None);
        assert_eq!(
            line,
            "oss:read [url=http://bucket.oss-cn-x.aliyuncs.com/a%20%5Db][offset=20][size=10][ret=10]\
             [server_time=7000][call_time=2000][latency=5000][status=206][request_id=5F3A__][attempt=3]\
             [operation=GetObject]"
        );
    }

    #[test]
    fn quick_samples_that_went_well_are_the_only_usual_ones() {
        let failure = Failure::new(Cause::Broken, Error::new(ErrorKind::ConnectionFailed, "GetObject", "x"));
        let whole = Request::new(Operation::GetObject, "GET", Some("b"), Some("k"));
        let sample = Request { is_sample: true, ..whole };
        let put = Request::new(Operation::PutObject, "PUT", Some("b"), Some("k"));
        assert!(is_usual(&sample, 99 * MS, None));
        assert!(!is_usual(&sample, 100 * MS, None));
        assert!(!is_usual(&sample, MS, Some(&failure)));
        assert!(!is_usual(&whole, MS, None), "a reader's");
        assert!(!is_usual(&put, MS, None));
    }

    #[test]
    fn nobody_asked_means_nothing_is_kept() {
        assert!(Account::begun(&Telling::default(), now()).is_none());
        let audit = Telling { audit: true, ..Telling::default() };
        assert!(Account::begun(&audit, now()).is_some());
    }
}
