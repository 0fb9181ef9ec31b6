//! The one error type of this crate.
//!
//! An [`Error`] says what was attempted, on which object, what happened and what the user can do
//! next, in one line that ends with a fixed machine tail (`faults.md`, section 8). The tail lets the
//! Python classes rebuild their fields after PyTorch has squeezed an error into one string.
//! Never in a text: credentials, signatures, header values, URL queries.

use std::any::Any;
use std::fmt;
use std::ops::{Deref, DerefMut};

use oss_protocol::error::ServiceError;

use crate::sync::Arc;

/// How far an upload got when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    /// Nothing became visible; the previous object is intact.
    NotCommitted,
    /// The object is visible, but something about it is wrong.
    Committed,
    /// The service did not say, and looking did not settle it.
    Unknown,
}

impl UploadState {
    /// The word the machine tail and the Python attribute carry.
    pub fn as_str(self) -> &'static str {
        match self {
            UploadState::NotCommitted => "not_committed",
            UploadState::Committed => "committed",
            UploadState::Unknown => "unknown",
        }
    }
}

/// What an error means for the caller. Exhaustive on purpose: each kind has one Python class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// An argument, option or file of the user is wrong: fix the argument.
    Config,
    /// No usable credentials: fix the credentials source.
    Credentials,
    /// The service refused: ask for rights, check region and key.
    PermissionDenied,
    /// Bucket, object or upload is not there.
    NotFound,
    /// `if_absent` was asked and the object exists.
    AlreadyExists,
    /// A listing came out empty: check the prefix, or allow it.
    EmptyDataset,
    /// The object is no longer the version that was pinned: list again.
    ObjectChanged,
    /// The object is archived: restore it first.
    ObjectArchived,
    /// The service asked to slow down for longer than the deadline.
    Throttled,
    /// Too slow or silent for longer than the deadline.
    RequestTimeout,
    /// Network, name lookup, proxy or TLS: the service was not reached.
    ConnectionFailed,
    /// A checksum or a size differs: stop and look.
    Integrity,
    /// Something between us and OSS does not tell the truth.
    Protocol,
    /// A listing contradicts itself.
    Listing,
    /// Content the user gave or stored is malformed.
    Format,
    /// An upload failed.
    Upload {
        /// What is known about the object's visibility.
        state: UploadState,
        /// The multipart upload concerned, if one was begun.
        upload_id: Option<String>,
    },
    /// Used after it was closed.
    Closed,
    /// A handle of the parent process was used in a forked child.
    Forked,
    /// Our bug: please report.
    Internal,
    /// Anything else the service answered.
    Service,
    /// Memory for a buffer could not be had.
    OutOfMemory,
    /// The caller gave the operation up.
    Cancelled,
}

impl ErrorKind {
    /// Says whether the operation was repeated by policy before this error was raised, so that a
    /// caller's own repetition later may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ErrorKind::Throttled | ErrorKind::RequestTimeout | ErrorKind::ConnectionFailed)
    }

    /// The `errno` of the kind when its cause names no better one (`contract.md`, A.3).
    pub fn default_errno(&self) -> i32 {
        match self {
            ErrorKind::NotFound | ErrorKind::EmptyDataset => libc::ENOENT,
            ErrorKind::PermissionDenied | ErrorKind::Credentials | ErrorKind::ObjectArchived => libc::EPERM,
            ErrorKind::AlreadyExists => libc::EEXIST,
            ErrorKind::ObjectChanged => libc::ESTALE,
            ErrorKind::RequestTimeout => libc::ETIMEDOUT,
            ErrorKind::ConnectionFailed => libc::ECONNRESET,
            ErrorKind::Config | ErrorKind::Format => libc::EINVAL,
            ErrorKind::Closed | ErrorKind::Forked => libc::EBADF,
            ErrorKind::OutOfMemory => libc::ENOMEM,
            ErrorKind::Cancelled => libc::ECANCELED,
            ErrorKind::Throttled
            | ErrorKind::Integrity
            | ErrorKind::Protocol
            | ErrorKind::Listing
            | ErrorKind::Upload { .. }
            | ErrorKind::Internal
            | ErrorKind::Service => libc::EIO,
        }
    }
}

/// The fields of an [`Error`]; reached through it by dereference.
#[derive(Debug, Clone)]
pub struct Details {
    /// What the error means for the caller.
    pub kind: ErrorKind,
    /// The operation that failed, by its OSS name or ours (`GetObject`, `open`, ...).
    pub operation: &'static str,
    /// `oss://bucket/key`, with `[start..end)` for a range; empty when no object is concerned.
    pub uri: String,
    /// What happened and what to do next; one line.
    pub message: String,
    /// HTTP status of the answer that decided, if there was one.
    pub status: Option<u16>,
    /// OSS error code; empty if the answer gave none.
    pub code: String,
    /// OSS fine-grained error code; diagnostic only.
    pub ec: String,
    /// The service's name for the request; empty if it gave none.
    pub request_id: String,
    /// Requests sent for this operation, the first included.
    pub attempts: u32,
    /// Seconds from the start of the operation to this error.
    pub elapsed_seconds: f64,
    /// `errno` as `contract.md`, A.3 assigns it.
    pub errno: i32,
    /// What the attempts before failed with, oldest first; at most eight lines.
    pub causes: Vec<String>,
    /// What the caller's own code raised, if that is the reason; carried, never looked at.
    pub origin: Option<Arc<dyn Any + Send + Sync>>,
    /// At least one byte of the last attempt's request reached the socket.
    pub request_sent: bool,
    /// The service may have carried the last attempt out (`faults.md`, 4.2).
    pub ambiguous: bool,
    /// An earlier attempt of this same call was ambiguous: a 404 `NoSuchUpload` or a 409
    /// `FileAlreadyExists` may be the echo of our own success.
    pub own_repeat: bool,
}

/// An error of the client. One pointer wide; its [`Details`] are on the heap.
#[derive(Debug, Clone)]
pub struct Error(Box<Details>);

/// Causes kept in an error; more would only repeat themselves.
const MAX_CAUSES: usize = 8;

impl Error {
    /// Makes an error of `kind`; the remaining fields are empty.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        let errno = kind.default_errno();
        Error(Box::new(Details {
            kind,
            operation,
            uri: String::new(),
            message: message.into(),
            status: None,
            code: String::new(),
            ec: String::new(),
            request_id: String::new(),
            attempts: 0,
            elapsed_seconds: 0.0,
            errno,
            causes: Vec::new(),
            origin: None,
            request_sent: false,
            ambiguous: false,
            own_repeat: false,
        }))
    }

    /// A wrong argument or option.
    pub fn config(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Config, "configure", message)
    }

    /// A broken promise of our own code.
    pub fn internal(operation: &'static str, message: impl fmt::Display) -> Self {
        let text = format!("{message}; this is a bug of osstorchconnector, please report it");
        Error::new(ErrorKind::Internal, operation, text)
    }

    /// The operation was given up by its caller.
    pub fn cancelled(operation: &'static str) -> Self {
        Error::new(ErrorKind::Cancelled, operation, "cancelled by the caller")
    }

    /// Names the object concerned.
    #[must_use]
    pub fn with_uri(mut self, uri: impl Into<String>) -> Self {
        self.0.uri = uri.into();
        self
    }

    /// Sets `errno` to something more exact than the kind's own.
    #[must_use]
    pub fn with_errno(mut self, errno: i32) -> Self {
        self.0.errno = errno;
        self
    }

    /// Copies status, code, EC and request id of an answer.
    #[must_use]
    pub fn with_service(mut self, answer: &ServiceError) -> Self {
        self.0.status = Some(answer.status);
        self.0.code.clone_from(&answer.code);
        self.0.ec.clone_from(&answer.ec);
        self.0.request_id.clone_from(&answer.request_id);
        self
    }

    /// Says how often and for how long the operation was tried.
    #[must_use]
    pub fn with_effort(mut self, attempts: u32, elapsed_seconds: f64) -> Self {
        self.0.attempts = attempts;
        self.0.elapsed_seconds = elapsed_seconds;
        self
    }

    /// Adds a line to the chain of causes.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        if self.0.causes.len() < MAX_CAUSES && self.0.causes.last() != Some(&cause) {
            self.0.causes.push(cause);
        }
        self
    }

    /// Carries what the caller's own code raised.
    #[must_use]
    pub fn with_origin(mut self, raised: impl Any + Send + Sync) -> Self {
        self.0.origin = Some(Arc::new(raised));
        self
    }

    /// Wraps this error as an upload's, keeping its fields and its text as a cause.
    #[must_use]
    pub fn into_upload(mut self, state: UploadState, upload_id: Option<String>) -> Self {
        let kind = ErrorKind::Upload { state, upload_id };
        self.0.errno = kind.default_errno();
        self.0.kind = kind;
        self
    }

    /// Whether this is "not there" (404), and nothing else.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }
}

impl Deref for Error {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

/// Writes a field of the machine tail: `-` stands for nothing, blanks become `_`.
fn tail_value(text: &str) -> String {
    let clean: String = text
        .chars()
        .take(128)
        .map(|c| if c.is_ascii_graphic() && c != ']' && c != '[' { c } else { '_' })
        .collect();
    if clean.is_empty() { "-".to_owned() } else { clean }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.operation)?;
        if !self.uri.is_empty() {
            write!(out, " {}", one_line(&self.uri))?;
        }
        write!(out, ": {}", one_line(&self.message))?;
        let status = self.status.map_or_else(|| "-".to_owned(), |s| s.to_string());
        write!(
            out,
            " [status={status} code={} ec={} request_id={} attempts={} elapsed={:.1}s",
            tail_value(&self.code),
            tail_value(&self.ec),
            tail_value(&self.request_id),
            self.attempts,
            self.elapsed_seconds,
        )?;
        if self.errno != self.kind.default_errno() {
            write!(out, " errno={}", self.errno)?;
        }
        if let ErrorKind::Upload { state, upload_id } = &self.kind {
            write!(
                out,
                " state={} upload_id={}",
                state.as_str(),
                tail_value(upload_id.as_deref().unwrap_or(""))
            )?;
        }
        out.write_str("]")
    }
}

impl std::error::Error for Error {}

/// Replaces control characters so that a text stays on one line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_ends_with_the_machine_tail() {
        let answer = ServiceError {
            status: 503,
            code: "ServiceUnavailable".to_owned(),
            message: "busy".to_owned(),
            request_id: "5F3A".to_owned(),
            ec: "0001-00000001".to_owned(),
            host_id: String::new(),
        };
        let error = Error::new(ErrorKind::Service, "GetObject", "the service is\nbusy; try again later")
            .with_uri("oss://bucket/key[0..10)")
            .with_service(&answer)
            .with_effort(31, 180.24);
        assert_eq!(
            error.to_string(),
            "GetObject oss://bucket/key[0..10): the service is busy; try again later \
             [status=503 code=ServiceUnavailable ec=0001-00000001 request_id=5F3A attempts=31 elapsed=180.2s]"
        );
    }

    #[test]
    fn an_errno_that_the_class_does_not_imply_travels_in_the_tail() {
        let refused =
            Error::new(ErrorKind::ConnectionFailed, "GetObject", "x").with_errno(libc::ECONNREFUSED);
        assert!(refused.to_string().ends_with(" elapsed=0.0s errno=111]"), "{refused}");
    }

    #[test]
    fn an_absent_field_is_a_dash_and_uploads_name_their_state() {
        let error = Error::new(ErrorKind::Internal, "close", "x")
            .into_upload(UploadState::Unknown, Some("id ]1".to_owned()));
        let text = error.to_string();
        assert!(text.ends_with(
            "[status=- code=- ec=- request_id=- attempts=0 elapsed=0.0s state=unknown upload_id=id__1]"
        ));
        assert_eq!(error.errno, libc::EIO);
    }

    #[test]
    fn causes_are_bounded_and_do_not_repeat() {
        let mut error = Error::cancelled("GetObject");
        for n in 0..40 {
            error = error.with_cause(format!("cause {}", n / 2));
        }
        assert_eq!(error.causes.len(), MAX_CAUSES);
        assert_eq!(error.causes[1], "cause 1");
    }
}
