//! Copying an object of any size within the region.
//!
//! OSS copies up to 1 GB with one CopyObject. A larger object is copied range by range into a multipart
//! upload; every range comes from the one version that was found first, and the copy appears whole or not
//! at all, as with any upload. No byte of it passes through this machine.

use std::ops::Range;

use oss_protocol::uri::ObjectUri;

use super::failure::{not_committed, upload};
use super::parts::{MAX_PART_BYTES, MAX_PARTS};
use crate::cancel::Cancel;
use crate::client::Client;
use crate::crew::Crew;
use crate::error::{Error, ErrorKind, UploadState};
use crate::logs::{self, Level};
use crate::operations::{CopyPart, ObjectInfo, PutOptions, UploadedPart, Written};
use crate::panics;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{self, Mutex};

/// Largest object that is copied by one CopyObject: 1 GB, OSS's limit in its smaller reading.
const MAX_WHOLE_BYTES: u64 = 1_000_000_000;

/// Range of one part: 128 MiB, so that the eight at a time of a copy of 1 GB are all there are.
const PART_BYTES: u64 = 128 << 20;

/// Parts on their way at a time. The service moves the bytes; more would only be throttled.
const THREADS: usize = 8;

/// One copy under way.
struct Copy<'a> {
    client: &'a Client,
    source: &'a ObjectUri,
    target: &'a ObjectUri,
    info: &'a ObjectInfo,
    etag: &'a str,
    upload_id: &'a str,
    cancel: &'a Cancel,
}

impl Client {
    /// Copies an object within the region, with content type and metadata.
    ///
    /// `size` is the source's, where the caller knows it: up to 1 GB the copy is then one request.
    ///
    /// # Errors
    /// `NotFound` (source), `ObjectChanged` (the source was replaced meanwhile), `Upload`, or what the
    /// transport gave up with. A previous target is then intact, unless the error says otherwise.
    pub fn copy_any(
        &self,
        source: &ObjectUri,
        target: &ObjectUri,
        size: Option<u64>,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        if size.is_none_or(|size| size > MAX_WHOLE_BYTES) {
            let info = self.head_object(source, cancel)?;
            if info.size > MAX_WHOLE_BYTES {
                return self.copy_parts(source, target, &info, cancel);
            }
        }
        self.copy_object(source, target, &PutOptions::default(), cancel).map(drop)
    }

    fn copy_parts(
        &self,
        source: &ObjectUri,
        target: &ObjectUri,
        info: &ObjectInfo,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let etag = info.etag.as_deref().ok_or_else(|| {
            Error::new(
                ErrorKind::Protocol,
                "HeadObject",
                "the answer has no ETag, so no version can be copied",
            )
            .with_uri(source.to_string())
        })?;
        let options = PutOptions {
            content_type: info.content_type.clone(),
            metadata: info.metadata.clone(),
            ..PutOptions::default()
        };
        let upload_id = &self.initiate_multipart_upload(target, &options, cancel)?;
        let copy = Copy { client: self, source, target, info, etag, upload_id, cancel };
        match copy.send() {
            Ok(parts) => copy.publish(&parts),
            Err(error) => {
                copy.abort();
                Err(copy.failed(error))
            }
        }
    }
}

impl Copy<'_> {
    /// Copies all parts; the first failure ends it.
    fn send(&self) -> Result<Vec<UploadedPart>, Error> {
        let ranges = ranges(self.info.size);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let outcomes = Mutex::new(Vec::new());
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(range) = ranges.get(index) else { return };
                let outcome = panics::as_error("UploadPartCopy", || self.part(index, range.clone()));
                failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                outcomes.lock().push(outcome);
            }
        };
        let crew = Crew::new(&self.client.config().limits);
        sync::scope(|scope| {
            let threads = 0..THREADS.min(ranges.len());
            if threads.map_while(|_| crew.spawn_scoped(scope, "oss-copy", work).ok()).count() == 0 {
                work();
            }
        });
        outcomes.into_inner().into_iter().collect()
    }

    fn part(&self, index: usize, range: Range<u64>) -> Result<UploadedPart, Error> {
        let part = CopyPart {
            source: self.source,
            etag: self.etag,
            range,
            target: self.target,
            upload_id: self.upload_id,
            part_number: u32::try_from(index + 1).unwrap_or(u32::MAX),
        };
        self.client.upload_part_copy(&part, self.cancel)
    }

    /// What became of the copy when a part of it failed. It is the source that is gone or another now.
    fn failed(&self, error: Error) -> Error {
        let is_gone = error.is_not_found() && error.code == "NoSuchKey";
        if error.kind == ErrorKind::ObjectChanged || is_gone {
            return error.with_uri(self.source.to_string());
        }
        not_committed(error, Some(self.upload_id))
    }

    fn publish(&self, parts: &[UploadedPart]) -> Result<(), Error> {
        let options = PutOptions::default();
        let client = self.client;
        match client.complete_multipart_upload(self.target, self.upload_id, parts, &options, self.cancel) {
            Ok(written) => self.check(&written),
            Err(error) if error.ambiguous || error.own_repeat => self.settle(error),
            Err(error) => {
                self.abort();
                Err(not_committed(error, Some(self.upload_id)))
            }
        }
    }

    /// What a lost answer means. If the abort drops the upload, no Complete of it was carried out, and none can be.
    fn settle(&self, lost: Error) -> Result<(), Error> {
        if self.is_there() {
            return Ok(());
        }
        let is_dropped = self.abort();
        // It may have been carried out in between.
        if self.is_there() {
            return Ok(());
        }
        let state = if is_dropped { UploadState::NotCommitted } else { UploadState::Unknown };
        Err(upload(lost, state, Some(self.upload_id)))
    }

    /// Compares the checksum of the copy with that of the source, where the service keeps both.
    fn check(&self, written: &Written) -> Result<(), Error> {
        match (self.info.crc64, written.crc64) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                let text = format!("the copy has CRC-64 {theirs}, its source {ours}");
                let error = Error::new(ErrorKind::Integrity, "CompleteMultipartUpload", text)
                    .with_uri(self.target.to_string());
                Err(upload(error, UploadState::Committed, Some(self.upload_id)))
            }
            _ => Ok(()),
        }
    }

    /// Whether the target is the copy, after an answer was lost: same size, same checksum.
    fn is_there(&self) -> bool {
        let found = self.client.head_object(self.target, self.cancel);
        found.is_ok_and(|found| {
            found.size == self.info.size && found.crc64.is_some() && found.crc64 == self.info.crc64
        })
    }

    /// Drops the parts. They are the service's own copies: none is on its way from here any more. True if the upload
    /// was still there to be dropped.
    fn abort(&self) -> bool {
        let aborted = self.client.abort_multipart_upload(self.target, self.upload_id, &Cancel::new());
        aborted.unwrap_or_else(|error| {
            let text = format!("the upload {} of a copy that failed is left: {error}", self.upload_id);
            logs::push(Level::Warning, "copy", text);
            false
        })
    }
}

/// The ranges that `size` bytes are copied in.
fn ranges(size: u64) -> Vec<Range<u64>> {
    let step = PART_BYTES.max(size.div_ceil(u64::from(MAX_PARTS))).min(MAX_PART_BYTES);
    (0..size.div_ceil(step)).map(|part| part * step..size.min((part + 1) * step)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_tile_the_object_and_stay_within_the_limits() {
        let largest = u64::from(MAX_PARTS) * MAX_PART_BYTES;
        for size in [MAX_WHOLE_BYTES + 1, PART_BYTES * 9, (PART_BYTES * 9) + 1, 2 << 40, largest] {
            let ranges = ranges(size);
            assert!(ranges.len() <= MAX_PARTS as usize, "{size}");
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, size));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(ranges.iter().all(|range| range.end - range.start <= MAX_PART_BYTES));
        }
    }
}
