//! Copies of ranges within the service.

use oss_protocol::encoding::encode_path;
use oss_protocol::operation::Operation;
use oss_protocol::uri::ObjectUri;
use oss_protocol::xml::CopyPartResult;

use super::objects::on;
use super::{CopyPart, UploadedPart, crc64, document};
use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::Error;
use crate::transport::Answer;

impl Client {
    /// Copies a range of one version of an object into a part of an upload, within the region.
    ///
    /// # Errors
    /// `ObjectChanged` (the source is another version), `NotFound` (source or upload), or what the transport
    /// gave up with.
    pub fn upload_part_copy(&self, part: &CopyPart<'_>, cancel: &Cancel) -> Result<UploadedPart, Error> {
        let number = part.part_number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", part.upload_id)];
        let from = copy_source(part.source);
        let range = format!("bytes={}-{}", part.range.start, part.range.end - 1);
        let signed = [
            ("x-oss-copy-source", from.as_str()),
            ("x-oss-copy-source-if-match", part.etag),
            ("x-oss-copy-source-range", range.as_str()),
        ];
        let mut request = on(Operation::UploadPartCopy, "PUT", part.target);
        request.query = &query;
        request.signed = &signed;
        let accept = |answer: &Answer| document::<CopyPartResult>(answer);
        let (copied, answer) = self.transport(request.label)?.execute(&request, cancel, accept)?;
        let (etag, crc64) = (copied.etag, crc64(&answer));
        Ok(UploadedPart { part_number: part.part_number, etag, crc64, attempts: answer.attempts })
    }
}

/// The value of `x-oss-copy-source`.
pub(super) fn copy_source(source: &ObjectUri) -> String {
    format!("/{}/{}", source.bucket, encode_path(&source.key))
}
