//! Going on with an upload that an earlier process began and could not end.
//!
//! Which upload that is, the caller says: it noted the id when the upload was begun. OSS shows neither who began
//! an upload nor with which options, so one that is merely found is never taken. What the service holds of it is
//! listed once. The bytes are then written from the first on, as into any upload, cut and summed up as ever; a part
//! that the service holds under its number, with its size and its checksum, is not sent again. So whatever the parts
//! hold, the object is what was written, and that is compared as it always is.

use std::collections::HashMap;

use super::etag::is_md5_of;
use super::parts::PartSchedule;
use super::stage::Stage;
use super::upload::Upload;
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind};
use crate::interrupt::{self, Watch};
use crate::operations::{ListedPart, UploadedPart};

/// A multipart upload, and what the service held of it before this process came.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) upload_id: String,
    held: HashMap<u32, ListedPart>,
}

impl Begun {
    /// One that was begun just now.
    pub(super) fn anew(upload_id: String) -> Self {
        Begun { upload_id, held: HashMap::new() }
    }

    /// One that the service holds `parts` of.
    fn before(upload_id: &str, parts: Vec<ListedPart>) -> Self {
        let held = parts.into_iter().map(|part| (part.part_number, part)).collect();
        Begun { upload_id: upload_id.to_owned(), held }
    }

    /// The part `number`, if the service holds it with these bytes.
    pub(super) fn holding(&self, number: u32, bytes: &[u8], crc64: u64) -> Option<UploadedPart> {
        let part = self.held.get(&number)?;
        let is_same = part.size == bytes.len() as u64
            && part.crc64.map_or_else(|| is_md5_of(&part.etag, bytes), |theirs| theirs == crc64);
        is_same.then(|| UploadedPart {
            part_number: number,
            etag: part.etag.clone(),
            crc64: part.crc64,
            attempts: 0,
        })
    }
}

impl Upload {
    /// Begins the multipart upload now and returns its id, so that it can be noted before a byte is sent.
    ///
    /// None, and nothing is sent, if the size hint says that the object is one part, or if there is no hint.
    ///
    /// # Errors
    /// As [`Upload::write`].
    pub fn begin(&mut self, watch: Watch<'_>) -> Result<Option<&str>, Error> {
        self.check_process("write")?;
        self.check_takes_bytes()?;
        let first = self.schedule.part_size_bytes(1);
        if self.size_hint_bytes <= first {
            return Ok(None);
        }
        self.progress.begin();
        match self.workers(0, &mut *watch) {
            Ok(()) => Ok(self.upload_id.as_deref()),
            Err(error) => Err(self.fail(error, watch)),
        }
    }

    /// Leaves the parts with the service when the upload is given up: its id was noted, so that it is gone on with.
    pub fn keep_parts(&mut self) {
        self.keeps_parts = true;
    }

    /// Goes on with the upload `upload_id` of the same object, which was begun with the same options.
    ///
    /// False, and nothing has changed, if it is gone, if its parts may not be listed, if they are not cut as those
    /// of an object of the hinted size, or if bytes were written already.
    ///
    /// # Errors
    /// What the listing of its parts failed with, or the watch's error.
    pub fn go_on_with(&mut self, upload_id: &str, watch: Watch<'_>) -> Result<bool, Error> {
        self.check_process("write")?;
        self.check_takes_bytes()?;
        let (Stage::Open, 0, Some(size_bytes)) = (self.stage, self.accepted_bytes, self.size_hint_bytes)
        else {
            return Ok(false);
        };
        self.progress.begin();
        let (client, uri) = (&self.client, &self.uri);
        let list = |cancel: &_| client.list_parts(uri, upload_id, cancel);
        let listed = interrupt::run("oss-upload", None, &SystemClock, &mut *watch, list).or_interrupt();
        let parts = match listed {
            Ok(parts) if is_cut_so(&self.schedule, size_bytes, &parts) => parts,
            Ok(_other) => return Ok(false),
            Err(error) if error.is_not_found() || error.kind == ErrorKind::PermissionDenied => {
                return Ok(false);
            }
            Err(error) => return Err(self.fail(error, watch)),
        };
        self.upload_id = Some(upload_id.to_owned());
        self.take_over(Begun::before(upload_id, parts), 0);
        Ok(true)
    }
}

/// Whether `parts` are some of those that `schedule` cuts an object of `size_bytes` into.
///
/// A part too many would have to be left out of Complete, and what OSS then does is written nowhere.
#[must_use]
pub fn is_cut_so(schedule: &PartSchedule, size_bytes: u64, parts: &[ListedPart]) -> bool {
    let mut planned = HashMap::new();
    let mut left_bytes = size_bytes;
    for number in 1.. {
        let Some(part_bytes) = schedule.part_size_bytes(number).filter(|_| left_bytes > 0) else { break };
        planned.insert(number, part_bytes.min(left_bytes));
        left_bytes = left_bytes.saturating_sub(part_bytes);
    }
    parts.iter().all(|part| planned.get(&part.part_number) == Some(&part.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn part(part_number: u32, size: u64) -> ListedPart {
        ListedPart { part_number, etag: "\"x\"".to_owned(), size, crc64: Some(1) }
    }

    #[test]
    fn parts_are_judged_by_how_the_object_would_be_cut() {
        let schedule = PartSchedule::new(16 * MIB, Some(40 * MIB), None);
        let fits = |parts: &[ListedPart]| is_cut_so(&schedule, 40 * MIB, parts);
        assert!(fits(&[]));
        assert!(fits(&[part(1, 16 * MIB)]));
        assert!(fits(&[part(3, 8 * MIB), part(2, 16 * MIB)]), "in any order, and with gaps");
        assert!(!fits(&[part(1, 8 * MIB)]), "only the last part is smaller");
        assert!(!fits(&[part(3, 16 * MIB)]), "and it is as large as what is left");
        assert!(!fits(&[part(1, 16 * MIB), part(4, 8 * MIB)]), "one too many");
        assert!(!is_cut_so(&schedule, 0, &[part(1, 0)]));
    }

    #[test]
    fn a_part_is_held_only_with_its_bytes() {
        let bytes = b"123456789";
        let crc64 = oss_protocol::crc64::crc64(bytes);
        let held = |crc64, etag: &str| {
            let part = ListedPart { part_number: 2, etag: etag.to_owned(), size: 9, crc64 };
            Begun::before("id", vec![part])
        };
        let md5 = "\"25F9E794323B453885F5181F1B624D0B\"";
        let known = held(Some(crc64), "\"opaque\"");
        assert!(known.holding(2, bytes, crc64).is_some_and(|part| part.etag == "\"opaque\""));
        assert_eq!(known.holding(1, bytes, crc64), None, "another number");
        assert_eq!(known.holding(2, &bytes[1..], crc64), None, "another size");
        assert_eq!(held(Some(crc64 ^ 1), md5).holding(2, bytes, crc64), None, "another checksum");
        assert!(held(None, md5).holding(2, bytes, crc64).is_some(), "without a checksum by its MD5");
        assert_eq!(held(None, "\"opaque\"").holding(2, bytes, crc64), None);
    }
}
