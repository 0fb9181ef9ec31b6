//! Uploads that somebody began and nobody ended: found, judged, removed.
//!
//! A process that is killed in the middle of a save leaves its parts behind; they cost storage and are
//! seen by nobody. OSS tells of an open upload its key, its id, when it was begun and its parts, and
//! nothing that was said when it was begun: neither metadata nor a tag can mark it, and a part that is no
//! data would have to be named by Complete. So the mark of ours is the shape: every part but the one with
//! the highest number has exactly the size that the schedule gives to its number. An upload without parts
//! has no shape and is told apart.

use std::time::Duration;

use oss_protocol::time::UtcTime;
use oss_protocol::uri::ObjectUri;

use super::parts::PartSchedule;
use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::Error;
use crate::operations::ListedPart;

/// Whose an open upload is, by its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The parts are those our schedule makes.
    Ours,
    /// There are no parts to judge by.
    Empty,
    /// Another tool's parts, or ours with a size hint or other options.
    Other,
}

impl Shape {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Shape::Ours => "ours",
            Shape::Empty => "empty",
            Shape::Other => "other",
        }
    }
}

/// An upload that was begun, and neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbandonedUpload {
    /// The object it was for.
    pub uri: ObjectUri,
    /// Its id.
    pub upload_id: String,
    /// When it was begun, by the service's clock.
    pub initiated: UtcTime,
    /// Seconds since then.
    pub age_seconds: u64,
    /// Parts the service keeps for it.
    pub part_count: usize,
    /// Their bytes.
    pub size_bytes: u64,
    /// Whose it seems to be.
    pub shape: Shape,
}

/// Finds the uploads to keys that begin with `prefix.key` and that were begun at least `older_than` ago.
///
/// Give an age no save of yours reaches: an upload that is still being written looks the same.
///
/// # Errors
/// What the listing of uploads or of their parts failed with.
pub fn abandoned_uploads(
    client: &Client,
    prefix: &ObjectUri,
    older_than: Duration,
    cancel: &Cancel,
) -> Result<Vec<AbandonedUpload>, Error> {
    let limits = &client.config().limits;
    let schedule = PartSchedule::new(limits.part_size_bytes, None, limits.upload_buffer_bytes);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = client.list_multipart_uploads(prefix, after.as_ref(), cancel)?;
        for upload in page.uploads {
            // A date that makes no sense is no age: such an upload is let alone.
            let Some(initiated) = upload.initiated else { continue };
            let age_seconds = u64::try_from(client.server_now().0.saturating_sub(initiated.0)).unwrap_or(0);
            if age_seconds < older_than.as_secs() {
                continue;
            }
            let uri = ObjectUri { bucket: prefix.bucket.clone(), key: upload.key };
            let parts = match client.list_parts(&uri, &upload.upload_id, cancel) {
                Ok(parts) => parts,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            found.push(AbandonedUpload {
                uri,
                upload_id: upload.upload_id,
                initiated,
                age_seconds,
                part_count: parts.len(),
                size_bytes: parts.iter().map(|part| part.size).sum(),
                shape: shape_of(&parts, schedule),
            });
        }
        match page.next {
            Some(next) if after.as_ref() != Some(&next) => after = Some(next),
            _ => return Ok(found),
        }
    }
}

/// Drops an abandoned upload and its parts. No object changes.
///
/// # Errors
/// What the request failed with; an upload that is gone is success.
pub fn remove_abandoned(client: &Client, upload: &AbandonedUpload, cancel: &Cancel) -> Result<(), Error> {
    client.abort_multipart_upload(&upload.uri, &upload.upload_id, cancel).map(drop)
}

/// Judges parts by the schedule that an upload of ours would have.
#[must_use]
pub fn shape_of(parts: &[ListedPart], schedule: PartSchedule) -> Shape {
    let Some(last) = parts.iter().map(|part| part.part_number).max() else { return Shape::Empty };
    let fits = |part: &ListedPart| match schedule.part_size_bytes(part.part_number) {
        Some(planned) if part.part_number == last => part.size <= planned,
        planned => planned == Some(part.size),
    };
    if parts.iter().all(fits) { Shape::Ours } else { Shape::Other }
}
