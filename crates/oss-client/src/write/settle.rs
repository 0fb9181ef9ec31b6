//! What a lost answer means. Pure: what was seen goes in, what to do next comes out.
//!
//! A timeout, a reset, a 5xx or an unreadable 200 to PutObject or CompleteMultipartUpload does not say
//! whether the object is there, and neither does a 404 `NoSuchUpload` or a 409 `FileAlreadyExists` to our
//! own repeat. So we look (`faults.md`, 4.2): HEAD first; then, where that does not settle it, the MD5 of
//! a body still in memory, or ListParts. Only what proves our bytes are visible is success, only what
//! proves they cannot be is a failure; the rest is told to the user as unknown, and nothing is deleted.

use oss_protocol::time::UtcTime;

use crate::error::{Error, ErrorKind};
use crate::operations::Written;

/// The request whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// PutObject: the whole object in one request.
    Put,
    /// CompleteMultipartUpload.
    Complete,
}

/// What we tried to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// By which request.
    pub commit: Commit,
    /// Size of our object in bytes.
    pub size_bytes: u64,
    /// CRC-64/XZ of our object.
    pub crc64: u64,
    /// An existing object was not to be replaced.
    pub if_absent: bool,
    /// When the first try was sent, by the service's clock.
    pub first_sent: UtcTime,
}

/// What HEAD found under the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Size in bytes.
    pub size_bytes: u64,
    /// CRC-64/XZ, where OSS keeps one for this object.
    pub crc64: Option<u64>,
    /// ETag as sent.
    pub etag: Option<String>,
    /// Last modification by the service's clock, to the second.
    pub last_modified: Option<UtcTime>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Our object is visible: success.
    Published,
    /// Our object is not visible and the request may be sent again.
    SendAgain,
    /// Somebody else's object is there and `if_absent` forbids to replace it.
    AlreadyExists,
    /// Compare the ETag found with the MD5 of the body.
    CompareMd5,
    /// Ask whether the upload is still open.
    ListParts,
    /// It cannot be told whether our object was visible.
    Unknown,
}

/// Decides by what HEAD found; None is a 404.
#[must_use]
pub fn after_head(intent: &Intent, found: Option<&Found>) -> Step {
    match (found, intent.commit) {
        (Some(found), _) if is_ours(intent, found) => Step::Published,
        (_, Commit::Complete) => Step::ListParts,
        (Some(found), Commit::Put) if may_be_ours(intent, found) => Step::CompareMd5,
        (Some(_), Commit::Put) => other_object(intent),
        (None, Commit::Put) => Step::SendAgain,
    }
}

/// Decides a PutObject by whether the ETag found is the MD5 of our body.
#[must_use]
pub fn after_md5(intent: &Intent, is_equal: bool) -> Step {
    if is_equal { Step::Published } else { other_object(intent) }
}

/// Decides a Complete by what HEAD found and whether ListParts still knows the upload.
///
/// An open upload proves that our Complete was not carried out. A closed one without our object under
/// the key may mean that it was, and that somebody has replaced the object since.
#[must_use]
pub fn after_parts(intent: &Intent, found: Option<&Found>, is_open: bool) -> Step {
    match found {
        Some(_) if is_open && intent.if_absent => Step::AlreadyExists,
        _ if is_open => Step::SendAgain,
        Some(found) if may_be_ours(intent, found) && is_fresh(intent, found) => Step::Published,
        _ => Step::Unknown,
    }
}

fn is_ours(intent: &Intent, found: &Found) -> bool {
    found.size_bytes == intent.size_bytes && found.crc64 == Some(intent.crc64)
}

fn may_be_ours(intent: &Intent, found: &Found) -> bool {
    found.size_bytes == intent.size_bytes && found.crc64.is_none()
}

fn is_fresh(intent: &Intent, found: &Found) -> bool {
    found.last_modified.is_some_and(|modified| modified >= intent.first_sent)
}

/// Another object is under the key: PutObject replaces it, unless it was told not to.
fn other_object(intent: &Intent) -> Step {
    if intent.if_absent { Step::AlreadyExists } else { Step::SendAgain }
}

/// Whether `error` leaves open if the request was carried out.
pub(super) fn is_lost(error: &Error, has_lost: bool) -> bool {
    let may_echo = matches!(error.kind, ErrorKind::NotFound | ErrorKind::AlreadyExists);
    let is_cut = error.kind == ErrorKind::Cancelled && error.request_sent;
    error.ambiguous || error.own_repeat || is_cut || (has_lost && may_echo)
}

/// Whether the service itself answered, and so is done with the request. A proxy that lost its patience says nothing
/// of what becomes of it, and names no request.
pub(super) fn is_answered(lost: &Error) -> bool {
    lost.status.is_some() && !lost.request_id.is_empty()
}

/// What a lost answer would have said.
pub(super) fn settled(found: Option<Found>, lost: &Error) -> Written {
    let found = found.unwrap_or(Found { size_bytes: 0, crc64: None, etag: None, last_modified: None });
    Written {
        etag: found.etag,
        crc64: found.crc64,
        version_id: None,
        request_id: lost.request_id.clone(),
        date: found.last_modified,
        attempts: lost.attempts,
    }
}
