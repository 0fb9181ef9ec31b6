//! How failures of an upload read.

use crate::error::{Error, ErrorKind, UploadState};

/// Turns what a request of an upload failed with into the error of the upload.
///
/// Kinds that tell the user what to do (ask for rights, fix credentials, name another bucket) stay as
/// they are; everything else is an upload that published nothing.
pub(super) fn not_committed(error: Error, upload_id: Option<&str>) -> Error {
    let keeps_kind = match error.kind {
        ErrorKind::Config
        | ErrorKind::Credentials
        | ErrorKind::PermissionDenied
        | ErrorKind::AlreadyExists
        | ErrorKind::Upload { .. }
        | ErrorKind::Closed
        | ErrorKind::Forked
        | ErrorKind::Internal
        | ErrorKind::OutOfMemory => true,
        ErrorKind::NotFound => error.code == "NoSuchBucket",
        _ => false,
    };
    if keeps_kind { error } else { upload(error, UploadState::NotCommitted, upload_id) }
}

/// Wraps `error` as an upload's and says what is visible now.
pub(super) fn upload(error: Error, state: UploadState, upload_id: Option<&str>) -> Error {
    let visible = match state {
        UploadState::NotCommitted => "nothing was published, a previous object is intact",
        UploadState::Committed => "the object is visible and was left as it is: do not use it",
        UploadState::Unknown => "the object may or may not be visible: look at it before writing it again",
    };
    let mut error = error.into_upload(state, upload_id.map(str::to_owned));
    error.message = format!("{}; {visible}", error.message);
    error
}

/// Says which part failed, how large it was and how often it was tried.
pub(super) fn of_part(mut error: Error, number: u32, size_bytes: usize) -> Error {
    error.message =
        format!("part {number} ({size_bytes} bytes, {} attempts) failed: {}", error.attempts, error.message);
    error
}
